//! Cookies that only this host can set and that only HTTP can read: every one is `__Host-`
//! (RFC 6265bis section 4.1.3.2). Reading is bounded, and a name given twice counts as none.

use axum::response::{IntoResponseParts, ResponseParts};
use http::header::{COOKIE, SET_COOKIE};
use http::{HeaderMap, HeaderValue};
use thiserror::Error;

use crate::Problem;

const MAX_BYTES: usize = 8 * 1024;
const MAX_PAIRS: usize = 64;
const MAX_VALUE_BYTES: usize = 4 * 1024;

/// Why a cookie cannot be set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum CookieError {
    /// Its name does not begin with `__Host-`.
    #[error("a cookie's name begins with __Host-")]
    Name,
    /// Its value has letters that a cookie cannot hold, or more than 4,096 bytes.
    #[error("a cookie's value is at most 4,096 visible letters without quotes, commas, semicolons")]
    Value,
}

/// When a browser sends the cookie along with requests of other sites.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SameSite {
    /// Never.
    Strict,
    /// Only where a person follows a link.
    Lax,
}

/// A cookie to set: `Secure`, `HttpOnly`, `Path=/`, no `Domain`. Returned beside the body of an
/// answer, as in `(cookie, redirect)`.
#[derive(Clone, Debug)]
pub struct SetCookie {
    header: HeaderValue,
}

impl SetCookie {
    /// A cookie that ends with the browser (`max_age_s` none) or after that many seconds.
    ///
    /// # Errors
    /// [`CookieError`] where the name or the value cannot stand in a cookie.
    pub fn new(
        name: &str,
        value: &str,
        same_site: SameSite,
        max_age_s: Option<u32>,
    ) -> Result<Self, CookieError> {
        let rest = name.strip_prefix("__Host-").ok_or(CookieError::Name)?;
        if rest.is_empty() || !rest.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_') {
            return Err(CookieError::Name);
        }
        if value.len() > MAX_VALUE_BYTES || !value.bytes().all(is_cookie_octet) {
            return Err(CookieError::Value);
        }
        let same_site = match same_site {
            SameSite::Strict => "Strict",
            SameSite::Lax => "Lax",
        };
        let mut text = format!("{name}={value}; Path=/; Secure; HttpOnly; SameSite={same_site}");
        if let Some(max_age_s) = max_age_s {
            text.push_str(&format!("; Max-Age={max_age_s}"));
        }
        let mut header = HeaderValue::from_str(&text).map_err(|_| CookieError::Value)?;
        header.set_sensitive(true);
        Ok(Self { header })
    }

    /// Takes a cookie away.
    ///
    /// # Errors
    /// [`CookieError::Name`] where the name is not `__Host-`.
    pub fn removed(name: &str) -> Result<Self, CookieError> {
        Self::new(name, "", SameSite::Lax, Some(0))
    }

    /// Adds it to an answer's headers.
    pub fn add_to(self, headers: &mut HeaderMap) {
        headers.append(SET_COOKIE, self.header);
    }
}

impl IntoResponseParts for SetCookie {
    type Error = std::convert::Infallible;

    fn into_response_parts(self, mut parts: ResponseParts) -> Result<ResponseParts, Self::Error> {
        self.add_to(parts.headers_mut());
        Ok(parts)
    }
}

impl From<CookieError> for Problem {
    fn from(error: CookieError) -> Self {
        Self::broken("web.cookie", error)
    }
}

/// The value of a cookie of the request. None where it is missing, given twice (a smuggled second
/// one must not win), or the list is larger than 8 KiB or 64 cookies.
#[must_use]
pub fn cookie<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    let mut found = None;
    for (key, value) in pairs(headers)? {
        if key == name && found.replace(value).is_some() {
            return None;
        }
    }
    found
}

/// Puts another value in the place of a cookie of the request, for whoever reads it from here on.
pub(crate) fn replace(headers: &mut HeaderMap, name: &str, value: &str) -> Result<(), CookieError> {
    let kept = pairs(headers).unwrap_or_default();
    let others = kept.into_iter().filter(|(key, _)| *key != name);
    let all = others.chain([(name, value)]).map(|(key, value)| format!("{key}={value}"));
    let list = all.collect::<Vec<_>>().join("; ");
    let mut list = HeaderValue::from_str(&list).map_err(|_| CookieError::Value)?;
    list.set_sensitive(true);
    headers.insert(COOKIE, list);
    Ok(())
}

/// Whether the request carries any cookie that this house sets, or a list too large to tell.
pub(crate) fn carries_ours(headers: &HeaderMap) -> bool {
    pairs(headers)
        .is_none_or(|pairs| pairs.iter().any(|(key, _)| key.starts_with("__Host-stagedoor")))
}

fn pairs(headers: &HeaderMap) -> Option<Vec<(&str, &str)>> {
    let mut pairs = Vec::new();
    let mut bytes = 0;
    // HTTP/2 may split the list over several headers (RFC 9113 section 8.2.3).
    for header in headers.get_all(COOKIE) {
        bytes += header.len();
        if bytes > MAX_BYTES {
            return None;
        }
        for pair in header.to_str().ok()?.split(';') {
            if let Some((key, value)) = pair.trim().split_once('=') {
                pairs.push((key, value));
            }
            if pairs.len() > MAX_PAIRS {
                return None;
            }
        }
    }
    Some(pairs)
}

/// cookie-octet of RFC 6265 section 4.1.1.
const fn is_cookie_octet(byte: u8) -> bool {
    matches!(byte, 0x21 | 0x23..=0x2b | 0x2d..=0x3a | 0x3c..=0x5b | 0x5d..=0x7e)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn with(lists: &[&str]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for list in lists {
            headers.append(COOKIE, HeaderValue::from_str(list).unwrap());
        }
        headers
    }

    #[test]
    fn reads_over_several_headers() {
        let headers = with(&["a=1; __Host-stagedoor=abc", "b=2=3"]);
        assert_eq!(cookie(&headers, "__Host-stagedoor"), Some("abc"));
        assert_eq!(cookie(&headers, "b"), Some("2=3"));
        assert_eq!(cookie(&headers, "c"), None);
        assert!(carries_ours(&headers));
        assert!(!carries_ours(&with(&["theme=dark"])));
    }

    #[test]
    fn one_cookie_is_replaced_and_the_others_stay() {
        let mut headers = with(&["a=1; b=2", "c=3"]);
        replace(&mut headers, "b", "new").unwrap();
        let read = ["a", "b", "c"].map(|name| cookie(&headers, name));
        assert_eq!(read, [Some("1"), Some("new"), Some("3")]);
        assert_eq!(replace(&mut headers, "b", "x\r\ny").unwrap_err(), CookieError::Value);
    }

    // W5
    #[test]
    fn twice_or_too_many_is_none() {
        assert_eq!(cookie(&with(&["a=1; a=2"]), "a"), None);
        assert_eq!(cookie(&with(&["a=1", "a=1"]), "a"), None);
        let many = (0..65).map(|n| format!("c{n}=1")).collect::<Vec<_>>().join("; ");
        assert_eq!(cookie(&with(&[&many]), "c1"), None);
        assert!(carries_ours(&with(&[&many])));
        let long = format!("a={}", "x".repeat(9000));
        assert_eq!(cookie(&with(&[&long]), "a"), None);
    }

    #[test]
    fn sets_only_host_cookies() {
        let set = |name, value| SetCookie::new(name, value, SameSite::Lax, Some(60));
        let mut headers = HeaderMap::new();
        set("__Host-stagedoor", "abc").unwrap().add_to(&mut headers);
        assert_eq!(
            headers[SET_COOKIE],
            "__Host-stagedoor=abc; Path=/; Secure; HttpOnly; SameSite=Lax; Max-Age=60"
        );
        assert_eq!(set("stagedoor", "abc").unwrap_err(), CookieError::Name);
        assert_eq!(set("__Host-a;b", "abc").unwrap_err(), CookieError::Name);
        for value in ["a b", "a;b", "a\"", "a,b", "a\r\nb", "é"] {
            assert_eq!(set("__Host-a", value).unwrap_err(), CookieError::Value);
        }
    }

    proptest! {
        #[test]
        fn any_list_is_read_without_panic(list in "[ -~]{0,200}", name in "[a-z]{1,3}") {
            let headers = with(&[&list]);
            if let Some(value) = cookie(&headers, &name) {
                prop_assert!(list.contains(value));
            }
        }
    }
}
