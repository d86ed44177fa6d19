//! The one form of a path that is matched and forwarded.
//!
//! A route that guards `/admin` is worth nothing where the upstream also understands
//! `/x/..%2fadmin`, `/%61dmin` or `/admin;x`. So what can be read in two ways is refused, and what
//! is matched is the path as upstreams decode it, without its path parameters; the bytes that are
//! forwarded are those that came.

use std::borrow::Cow;

use crate::head::Flaw;

/// The decoded path of a target in origin-form without its query, for matching.
///
/// # Errors
/// [`Flaw::Path`] for a path that does not begin with `/`, has an empty segment (`//`), a `.` or
/// `..` segment however written, an encoded `/`, `\` or control byte, `%` without two hex digits,
/// a byte that RFC 3986 section 3.3 does not have in a path, or bytes that are no UTF-8.
pub fn decoded(path: &str) -> Result<Cow<'_, str>, Flaw> {
    if !path.starts_with('/') || !path.bytes().all(is_path_byte) {
        return Err(Flaw::Path);
    }
    if is_plain(path) {
        return Ok(Cow::Borrowed(path));
    }
    let path = if path.contains('%') { Cow::Owned(decode(path)?) } else { Cow::Borrowed(path) };
    // Some servers cut each segment at `;` before they look at it.
    let path = if path.contains(';') { Cow::Owned(without_parameters(&path)) } else { path };
    let mut segments = path.split('/').skip(1).peekable();
    while let Some(segment) = segments.next() {
        let empty_inside = segment.is_empty() && segments.peek().is_some();
        if empty_inside || segment == "." || segment == ".." {
            return Err(Flaw::Path);
        }
    }
    Ok(path)
}

/// Whether nothing in a path needs a second look: no `%`, no `;`, no `//`, no segment that begins
/// with a dot. Most paths are plain.
fn is_plain(path: &str) -> bool {
    let (_, plain) = path.bytes().fold((0, true), |(last, plain), byte| {
        let pair = (last == b'/') & ((byte == b'/') | (byte == b'.'));
        (byte, plain & !pair & (byte != b'%') & (byte != b';'))
    });
    plain
}

fn without_parameters(path: &str) -> String {
    let names: Vec<&str> =
        path.split('/').map(|segment| segment.split(';').next().unwrap_or_default()).collect();
    names.join("/")
}

/// Whether a query holds nothing but visible ASCII.
#[must_use]
pub fn is_query(query: &str) -> bool {
    query.bytes().fold(true, |good, byte| good & byte.is_ascii_graphic() & (byte != b'#'))
}

/// pchar, `/` and `%` (RFC 3986 section 3.3), by value; and `|`, which browsers leave as it is.
fn is_path_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric()
        || matches!(
            byte,
            b'/' | b'-'
                | b'.'
                | b'_'
                | b'~'
                | b'%'
                | b'!'
                | b'$'
                | b'&'
                | b'\''
                | b'('
                | b')'
                | b'*'
                | b'+'
                | b','
                | b';'
                | b'='
                | b':'
                | b'@'
                | b'|'
        )
}

fn decode(path: &str) -> Result<String, Flaw> {
    let mut bytes = path.bytes();
    let mut decoded = Vec::with_capacity(path.len());
    while let Some(byte) = bytes.next() {
        if byte != b'%' {
            decoded.push(byte);
            continue;
        }
        let (high, low) = (hex(bytes.next())?, hex(bytes.next())?);
        let byte = high << 4 | low;
        if byte < 0x20 || matches!(byte, b'/' | b'\\' | 0x7f) {
            return Err(Flaw::Path);
        }
        decoded.push(byte);
    }
    let decoded = String::from_utf8(decoded).map_err(|_| Flaw::Path)?;
    // What an upstream that decodes twice would make of it.
    let lower = decoded.to_ascii_lowercase();
    let twice = ["%2e", "%2f", "%5c", "%00"].iter().any(|again| lower.contains(again));
    if twice { Err(Flaw::Path) } else { Ok(decoded) }
}

fn hex(byte: Option<u8>) -> Result<u8, Flaw> {
    match byte {
        Some(byte @ b'0'..=b'9') => Ok(byte - b'0'),
        Some(byte @ b'a'..=b'f') => Ok(byte - b'a' + 10),
        Some(byte @ b'A'..=b'F') => Ok(byte - b'A' + 10),
        _ => Err(Flaw::Path),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    // E2
    #[test]
    fn two_readings_are_refused() {
        let wrong = [
            "",
            "a",
            "//",
            "/a//b",
            "/.",
            "/..",
            "/a/../b",
            "/a/./b",
            "/a/%2e%2e/b",
            "/a/.%2E/b",
            "/a/..%2fb",
            "/a%2Fb",
            "/a%5cb",
            "/a\\b",
            "/a%00",
            "/a%0a",
            "/%",
            "/%4",
            "/%zz",
            "/a/..;/b",
            "/a/.;x/b",
            "/%c0%af",
            "/%ff",
            "/a%252fb",
            "/%252e%252e/a",
            "/a b",
            "/a#b",
            "/a<b",
            "/\u{e9}",
            "/a/%2e",
            "/;/a",
        ];
        for path in wrong {
            assert_eq!(decoded(path), Err(Flaw::Path), "{path:?}");
        }
    }

    // E2
    #[test]
    fn one_reading_is_matched() {
        for (path, read) in [
            ("/", "/"),
            ("/a/", "/a/"),
            ("/%61dmin", "/admin"),
            ("/caf%C3%A9", "/café"),
            ("/a..b/...", "/a..b/..."),
            ("/100%25", "/100%"),
            ("/a;b=c/d", "/a/d"),
        ] {
            assert_eq!(decoded(path).unwrap(), read, "{path:?}");
        }
    }

    proptest! {
        #[test]
        fn never_panics(text in "\\PC{0,80}") {
            let _ = decoded(&text);
            let _ = is_query(&text);
        }

        #[test]
        fn nothing_decoded_has_dots(text in "(/|%2e|\\.|%2f|;|a|%61){0,20}") {
            if let Ok(path) = decoded(&text) {
                prop_assert!(path.split('/').all(|segment| segment != ".." && segment != "."));
            }
        }
    }
}
