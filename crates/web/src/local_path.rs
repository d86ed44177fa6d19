//! A path on this host that a caller may name as "go there next" (W4). What browsers would read
//! as another host, or what could split a header, is refused at the type's door.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer};
use thiserror::Error;

const MAX_BYTES: usize = 512;

/// Why a text is not a local path.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("a path on this site is wanted: it begins with one slash and has no backslash or space")]
pub struct NotLocal;

/// A path, with its query, that stays on this host. At most 512 bytes of visible ASCII.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LocalPath(String);

impl LocalPath {
    /// The site's root.
    #[must_use]
    pub fn root() -> Self {
        Self("/".to_owned())
    }

    /// The path as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The path with `next=<this>` as its query.
    #[must_use]
    pub fn as_next_of(&self, page: &str) -> String {
        let next: String = form_urlencoded::byte_serialize(self.0.as_bytes()).collect();
        format!("{page}?next={next}")
    }
}

impl FromStr for LocalPath {
    type Err = NotLocal;

    /// Browsers take `\` for `/` and drop tabs and line ends inside an address (WHATWG URL,
    /// section 4.4), so that none of them may stand anywhere; `//` and dot segments could become
    /// another host after the browser has tidied the path.
    fn from_str(text: &str) -> Result<Self, NotLocal> {
        let visible = text.bytes().all(|byte| matches!(byte, 0x21..=0x7e) && byte != b'\\');
        if !visible || text.len() > MAX_BYTES || !text.starts_with('/') || text.contains('#') {
            return Err(NotLocal);
        }
        let path = text.split_once('?').map_or(text, |(path, _)| path).to_ascii_lowercase();
        let tricky = ["//", "/.", "%2f", "%5c", "%2e", "%00", "%09", "%0a", "%0d"];
        if tricky.iter().any(|part| path.contains(part)) {
            return Err(NotLocal);
        }
        Ok(Self(text.to_owned()))
    }
}

impl fmt::Display for LocalPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for LocalPath {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    // W4
    #[test]
    fn paths_that_leave_are_refused() {
        let attacks = [
            "",
            "shop",
            "//evil.example",
            "///evil.example",
            "/\\evil.example",
            "\\\\evil.example",
            "/\t/evil.example",
            "/\n/evil.example",
            "/\r\nSet-Cookie: a=b",
            "/ /evil.example",
            "/.//evil.example",
            "/a/..//evil.example",
            "/%2f%2fevil.example",
            "/%5cevil.example",
            "/a/%2e%2e/b",
            "/a//b",
            "https://evil.example",
            "javascript:alert(1)",
            "data:text/html,x",
            "@evil.example",
            "/#//evil.example",
            "/caf\u{e9}",
            "/\u{0}",
            "/.well-known/..//evil.example",
        ];
        for attack in attacks {
            assert!(attack.parse::<LocalPath>().is_err(), "{attack:?}");
        }
        assert!(format!("/{}", "a".repeat(512)).parse::<LocalPath>().is_err());
    }

    #[test]
    fn paths_that_stay_are_kept() {
        for path in ["/", "/checkout?step=2&to=https://x.example//y", "/@seller/show.html"] {
            assert_eq!(path.parse::<LocalPath>().unwrap().as_str(), path);
        }
        let next: LocalPath = "/orders?page=2&all=1".parse().unwrap();
        assert_eq!(
            next.as_next_of("/auth/sign-in"),
            "/auth/sign-in?next=%2Forders%3Fpage%3D2%26all%3D1"
        );
    }

    proptest! {
        // W4
        #[test]
        fn whatever_is_taken_has_one_leading_slash(text in "[/\\\\.%a-f0-9?#:@ \t\n]{0,24}") {
            if let Ok(path) = text.parse::<LocalPath>() {
                prop_assert!(path.as_str().starts_with('/'));
                prop_assert!(!path.as_str().starts_with("//"));
                prop_assert!(!path.as_str().contains('\\'));
            }
        }
    }
}
