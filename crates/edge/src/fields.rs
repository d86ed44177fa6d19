//! Which of the fields that the edge cares about a message has: found in one pass, so that what
//! is not there is not looked for again.

use http::header::{
    CONNECTION, PROXY_AUTHENTICATE, PROXY_AUTHORIZATION, TE, TRANSFER_ENCODING, UPGRADE,
};
use http::{HeaderMap, HeaderName};

use crate::token::members;

/// A set of fields.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Fields(u32);

impl Fields {
    pub(crate) const CONNECTION: Self = Self(1);
    pub(crate) const EXPECT: Self = Self(1 << 1);
    pub(crate) const VIA: Self = Self(1 << 2);
    pub(crate) const COOKIE: Self = Self(1 << 3);
    pub(crate) const AUTHORIZATION: Self = Self(1 << 4);
    pub(crate) const LENGTH: Self = Self(1 << 5);
    pub(crate) const SET_COOKIE: Self = Self(1 << 6);
    pub(crate) const UPGRADE: Self = Self(1 << 7);
    /// Names that end with a hop, other than Connection and those it lists.
    pub(crate) const HOP: Self = Self(1 << 8);
    /// `X-Stagedoor-…`
    pub(crate) const OURS: Self = Self(1 << 9);
    /// Names with an underscore.
    pub(crate) const UNDERSCORE: Self = Self(1 << 10);
    /// What is said of the way that a request came.
    pub(crate) const WAY: Self = Self(1 << 11);
    /// What is said of a trace that the request belongs to.
    pub(crate) const TRACE: Self = Self(1 << 12);

    /// The fields of a message.
    pub(crate) fn of(headers: &HeaderMap) -> Self {
        headers.keys().fold(Self::default(), |all, name| Self(all.0 | Self::named(name.as_str()).0))
    }

    fn named(name: &str) -> Self {
        match name {
            "connection" => Self::CONNECTION,
            "expect" => Self::EXPECT,
            "via" => Self::VIA,
            "cookie" => Self::COOKIE,
            "authorization" => Self::AUTHORIZATION,
            "content-length" => Self::LENGTH,
            "set-cookie" => Self::SET_COOKIE,
            "upgrade" => Self::UPGRADE,
            "te"
            | "transfer-encoding"
            | "keep-alive"
            | "proxy-connection"
            | "proxy-authorization"
            | "proxy-authenticate" => Self::HOP,
            "forwarded" | "x-real-ip" => Self::WAY,
            "traceparent" | "tracestate" => Self::TRACE,
            _ if name.starts_with("x-stagedoor-") => Self::OURS,
            _ if name.starts_with("x-forwarded-") => Self::WAY,
            _ if name.as_bytes().contains(&b'_') => Self::UNDERSCORE,
            _ => Self::default(),
        }
    }

    /// Whether one of `others` is there.
    pub(crate) const fn has(self, others: Self) -> bool {
        self.0 & others.0 != 0
    }
}

/// Removes the fields that `wrong` names.
pub(crate) fn strip(headers: &mut HeaderMap, wrong: impl Fn(&str) -> bool) {
    let names: Vec<HeaderName> =
        headers.keys().filter(|name| wrong(name.as_str())).cloned().collect();
    for name in names {
        headers.remove(name);
    }
}

/// Removes what belongs to one connection only (RFC 9110 section 7.6.1).
pub(crate) fn strip_hop_by_hop(headers: &mut HeaderMap, fields: Fields) {
    if fields.has(Fields::CONNECTION) {
        let named: Vec<HeaderName> = headers
            .get_all(CONNECTION)
            .iter()
            .flat_map(|value| members(value.as_bytes()))
            .filter(|name| !matches!(*name, b"keep-alive" | b"close"))
            .filter_map(|name| HeaderName::from_bytes(name).ok())
            .collect();
        for name in named {
            headers.remove(name);
        }
        headers.remove(CONNECTION);
    }
    if fields.has(Fields::UPGRADE) {
        headers.remove(UPGRADE);
    }
    if fields.has(Fields::HOP) {
        for name in [TE, TRANSFER_ENCODING, PROXY_AUTHENTICATE, PROXY_AUTHORIZATION] {
            headers.remove(name);
        }
        headers.remove("keep-alive");
        headers.remove("proxy-connection");
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn what_is_there_is_found_and_what_ends_here_is_stripped() {
        let mut headers = HeaderMap::new();
        for (name, value) in [
            ("connection", "keep-alive, X-Hop"),
            ("x-hop", "1"),
            ("keep-alive", "5"),
            ("te", "trailers"),
            ("x-stagedoor-kind", "staff"),
            ("x_y", "1"),
            ("accept", "*/*"),
        ] {
            headers.insert(name, HeaderValue::from_static(value));
        }
        let fields = Fields::of(&headers);
        assert!(fields.has(Fields::HOP) && fields.has(Fields::OURS));
        assert!(fields.has(Fields::UNDERSCORE) && !fields.has(Fields::WAY));
        strip_hop_by_hop(&mut headers, fields);
        strip(&mut headers, |name| name.starts_with("x-stagedoor-") || name.contains('_'));
        assert_eq!(headers.keys().map(HeaderName::as_str).collect::<Vec<_>>(), ["accept"]);
    }
}
