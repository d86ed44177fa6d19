//! What arrives in forms, cookies and configuration: addresses, "go there next", networks.

use http::HeaderMap;
use http::header::{COOKIE, HeaderValue};
use identity::Email;
use web::LocalPath;
use web::feed::Net;

/// Addresses that are taken.
pub const EMAIL_SEEDS: &[&[u8]] = &[b"anna@example.org", b"A.b+c@sub.example.org"];
/// Paths that are taken.
pub const NEXT_SEEDS: &[&[u8]] = &[b"/", b"/cart?step=2", b"/auth/sign-in"];
/// Networks that are taken.
pub const NET_SEEDS: &[&[u8]] = &[b"192.0.2.7", b"192.0.2.0/24", b"2001:db8::/64"];
/// Lists of cookies with the one that is asked for.
pub const COOKIE_SEEDS: &[&[u8]] = &[b"__Host-stagedoor=abc", b"a=b; __Host-stagedoor=abc; c=d"];

/// An e-mail address: what it was read as is read as the same again.
pub fn email(bytes: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(bytes) else { return false };
    let Ok(email) = Email::parse(text) else { return false };
    assert!(Email::parse(email.as_str()).is_ok_and(|again| again.normal() == email.normal()));
    assert!(!email.as_str().contains(['\r', '\n', '\0', ' ']), "it could split a mail's head");
    true
}

/// Where to go next: always this host.
pub fn next(bytes: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(bytes) else { return false };
    let Ok(path) = text.parse::<LocalPath>() else { return false };
    assert_eq!(path.as_str(), text);
    assert!(text.starts_with('/') && !text.starts_with("//") && !text.contains('\\'));
    true
}

/// A network: what is written back is read as the same.
pub fn net(bytes: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(bytes) else { return false };
    let Ok(net) = text.parse::<Net>() else { return false };
    assert_eq!(net.to_string().parse(), Ok(net));
    true
}

/// A list of cookies.
pub fn cookies(bytes: &[u8]) -> bool {
    let Ok(value) = HeaderValue::from_bytes(bytes) else { return false };
    let headers = HeaderMap::from_iter([(COOKIE, value)]);
    web::cookie(&headers, "__Host-stagedoor").is_some()
}
