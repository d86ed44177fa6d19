//! Proof that a form came from our own page (W3): a token bound to the session's cookie, or to a
//! visit cookie before sign-in; and what the browser itself says of the sender.

use std::sync::{Arc, OnceLock};

use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::HeaderMap;
use http::header::ORIGIN;
use kernel::{Ctx, Kind, Secret};

use crate::{App, Problem, SameSite, SetCookie, Site, cookie, texts};

/// The field that carries the token.
pub(crate) const FIELD: &str = "csrf";

/// Binds the forms of a browser that has no session yet.
const VISIT_COOKIE: &str = "__Host-stagedoor_visit";
const NONCE_BYTES: usize = 16;
const TOKEN_BYTES: usize = NONCE_BYTES + 32;
const TOKEN_LETTERS: usize = TOKEN_BYTES / 3 * 4;

/// Makes and checks form tokens: base64url of a nonce and HMAC-SHA256 over nonce and binding.
/// The nonce makes each token another text, so that compressed pages do not leak it.
#[derive(Clone)]
pub struct Csrf(Arc<hmac::Key>);

impl Csrf {
    /// Takes the key; the same on every node.
    #[must_use]
    pub fn new(key: &Secret<[u8; 32]>) -> Self {
        Self(Arc::new(hmac::Key::new(hmac::HMAC_SHA256, key.expose())))
    }

    fn token(&self, binding: &str, nonce: [u8; NONCE_BYTES]) -> String {
        let tag = hmac::sign(&self.0, &message(binding, &nonce));
        URL_SAFE_NO_PAD.encode([&nonce, tag.as_ref()].concat())
    }

    /// Compares in constant time.
    fn verifies(&self, binding: &str, token: &str) -> bool {
        if token.len() != TOKEN_LETTERS {
            return false;
        }
        let Ok(bytes) = URL_SAFE_NO_PAD.decode(token) else {
            return false;
        };
        let Some((nonce, tag)) = bytes.split_at_checked(NONCE_BYTES) else {
            return false;
        };
        hmac::verify(&self.0, &message(binding, nonce), tag).is_ok()
    }
}

fn message(binding: &str, nonce: &[u8]) -> Vec<u8> {
    [b"stagedoor form v1\0", nonce, binding.as_bytes()].concat()
}

/// The visit cookie that this request's page needs and its browser does not have yet.
#[derive(Clone, Debug, Default)]
pub(crate) struct NewVisit(Arc<OnceLock<String>>);

impl NewVisit {
    /// The cookie to set, where a page asked for one.
    pub(crate) fn cookie(&self) -> Option<SetCookie> {
        SetCookie::new(VISIT_COOKIE, self.0.get()?, SameSite::Lax, None).ok()
    }
}

/// What a form of this request is bound to: the session where there is one, else the visit.
fn binding<'a>(headers: &'a HeaderMap, site: &Site) -> Option<&'a str> {
    let bound = |name| cookie(headers, name).filter(|value| !value.is_empty());
    bound(site.session_cookie).or_else(|| bound(VISIT_COOKIE))
}

/// A token for the forms of a page; begins a visit where the browser has neither cookie.
pub(crate) fn token_for(app: &App, headers: &HeaderMap, visit: &NewVisit, ctx: &Ctx) -> String {
    let nonce = ctx.random();
    if let Some(binding) = binding(headers, &app.site) {
        return app.csrf.token(binding, nonce);
    }
    let fresh = visit.0.get_or_init(|| URL_SAFE_NO_PAD.encode(ctx.random::<16>()));
    app.csrf.token(fresh, nonce)
}

/// A token for a form that is bound to this session's secret.
pub(crate) fn token_of(app: &App, secret: &str, ctx: &Ctx) -> String {
    app.csrf.token(secret, ctx.random())
}

/// Refuses a form whose token is missing, wrong, or another browser's.
pub(crate) fn check(app: &App, headers: &HeaderMap, token: Option<&str>) -> Result<(), Problem> {
    if sender(headers, &app.site) == Sender::Foreign {
        return Err(cross_site());
    }
    let verified = match (binding(headers, &app.site), token) {
        (Some(binding), Some(token)) => app.csrf.verifies(binding, token),
        (None, _) | (_, None) => false,
    };
    if verified { Ok(()) } else { Err(Problem::new(Kind::Forbidden, "web.csrf", texts::CSRF)) }
}

/// Whose page sent a request, as the browser says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sender {
    /// A page of this site.
    Own,
    /// A page of another site.
    Foreign,
    /// Not said: a program, or a person at the address bar.
    Unknown,
}

/// Sec-Fetch-Site (W3C Fetch Metadata) where the browser sends it, else Origin (RFC 6454).
pub(crate) fn sender(headers: &HeaderMap, site: &Site) -> Sender {
    if let Some(said) = headers.get("sec-fetch-site") {
        return match said.as_bytes() {
            b"same-origin" => Sender::Own,
            b"none" => Sender::Unknown,
            _ => Sender::Foreign,
        };
    }
    match headers.get(ORIGIN).map(|value| value.to_str()) {
        None => Sender::Unknown,
        Some(Ok(origin)) if origin.eq_ignore_ascii_case(origin_of(&site.public_url)) => Sender::Own,
        Some(_) => Sender::Foreign,
    }
}

pub(crate) fn cross_site() -> Problem {
    Problem::new(Kind::Forbidden, "web.cross_site", texts::CROSS_SITE)
}

/// Scheme and authority of an address.
fn origin_of(url: &str) -> &str {
    let authority = url.find("://").map_or(0, |at| at + 3);
    let end = url.get(authority..).and_then(|rest| rest.find('/')).map(|at| authority + at);
    url.get(..end.unwrap_or(url.len())).unwrap_or(url)
}

impl std::fmt::Debug for Csrf {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Csrf(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // W3
    #[test]
    fn a_token_is_good_for_its_binding_only() {
        let csrf = Csrf::new(&Secret::new([7; 32]));
        let token = csrf.token("session-a", [1; 16]);
        assert_eq!(token.len(), TOKEN_LETTERS);
        assert!(csrf.verifies("session-a", &token));
        assert!(!csrf.verifies("session-b", &token));
        assert!(!Csrf::new(&Secret::new([8; 32])).verifies("session-a", &token));
        assert_ne!(token, csrf.token("session-a", [2; 16]));
        for at in 0..TOKEN_LETTERS {
            let mut other = token.clone().into_bytes();
            other[at] = if other[at] == b'A' { b'B' } else { b'A' };
            assert!(!csrf.verifies("session-a", std::str::from_utf8(&other).unwrap()));
        }
    }

    #[test]
    fn the_browser_says_whose_page_it_was() {
        let site = Site::shop("Shop", "https://shop.example/");
        let said = |name: &'static str, value: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(name, http::HeaderValue::from_static(value));
            sender(&headers, &site)
        };
        assert_eq!(said("sec-fetch-site", "same-origin"), Sender::Own);
        assert_eq!(said("sec-fetch-site", "same-site"), Sender::Foreign);
        assert_eq!(said("sec-fetch-site", "cross-site"), Sender::Foreign);
        assert_eq!(said("sec-fetch-site", "none"), Sender::Unknown);
        assert_eq!(said("origin", "https://shop.example"), Sender::Own);
        assert_eq!(said("origin", "https://shop.example.evil"), Sender::Foreign);
        assert_eq!(said("origin", "null"), Sender::Foreign);
        assert_eq!(said("accept", "*/*"), Sender::Unknown);
        assert_eq!(origin_of("https://shop.example:8443/a/b"), "https://shop.example:8443");
    }
}
