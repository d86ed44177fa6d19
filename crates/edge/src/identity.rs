//! The identity headers: how the edge tells an upstream who asks, so that it can be believed.
//!
//! | header | value |
//! |---|---|
//! | `X-Stagedoor-Account` | the account, `usr_…` |
//! | `X-Stagedoor-Session` | the session, `ses_…` |
//! | `X-Stagedoor-Kind` | `customer`, `influencer`, `wholesaler` or `staff` |
//! | `X-Stagedoor-Roles` | roles, comma-separated, may be empty |
//! | `X-Stagedoor-Time` | seconds since the epoch, in decimal |
//! | `X-Stagedoor-Nonce` | 32 hex digits, never the same twice |
//! | `X-Stagedoor-Signature` | base64url without padding of the HMAC |
//!
//! The HMAC is HMAC-SHA256 under the upstream's own key over, in this order: method, path with
//! query as received by the upstream, account, session, kind, roles, time, nonce; each as its
//! length in bytes (four bytes, big-endian) followed by its bytes. Header values are taken as
//! they stand. Where no header is there, nobody is signed in: the edge removes every
//! `X-Stagedoor-…` header that comes from outside. A receiver refuses a time that is more than
//! 60 s away, and a nonce that it has seen within that time.

use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::{HeaderMap, HeaderName, HeaderValue};
use kernel::Timestamp;

use crate::limits::push_decimal;
use crate::session::SessionHeaders;

/// Names of the headers, in the order of the signature.
pub(crate) const ACCOUNT: HeaderName = HeaderName::from_static("x-stagedoor-account");
pub(crate) const SESSION: HeaderName = HeaderName::from_static("x-stagedoor-session");
pub(crate) const KIND: HeaderName = HeaderName::from_static("x-stagedoor-kind");
pub(crate) const ROLES: HeaderName = HeaderName::from_static("x-stagedoor-roles");
pub(crate) const TIME: HeaderName = HeaderName::from_static("x-stagedoor-time");
pub(crate) const NONCE: HeaderName = HeaderName::from_static("x-stagedoor-nonce");
pub(crate) const SIGNATURE: HeaderName = HeaderName::from_static("x-stagedoor-signature");

/// Seconds that the time in the headers may be away from the receiver's.
pub const SKEW_MAX_S: i64 = 60;

/// The key that one upstream's headers are signed with.
#[derive(Clone, Debug)]
pub struct HeaderKey(hmac::Key);

impl HeaderKey {
    /// A key of at least 32 bytes; none for a shorter one.
    #[must_use]
    pub fn new(secret: &[u8]) -> Option<Self> {
        (secret.len() >= 32).then(|| Self(hmac::Key::new(hmac::HMAC_SHA256, secret)))
    }

    /// Adds the headers of a session to a request for `target`.
    pub(crate) fn sign(
        &self,
        request: (&str, &str),
        session: &SessionHeaders,
        (now, nonce): (Timestamp, [u8; 16]),
        headers: &mut HeaderMap,
    ) {
        let mut time = Vec::with_capacity(12);
        push_decimal(&mut time, now.seconds());
        let mut nonce_text = Vec::with_capacity(32);
        for byte in nonce {
            nonce_text.push(hex(byte >> 4));
            nonce_text.push(hex(byte & 15));
        }
        let mut context = hmac::Context::with_key(&self.0);
        let parts = [
            request.0.as_bytes(),
            request.1.as_bytes(),
            session.account.as_bytes(),
            session.session.as_bytes(),
            session.kind.as_bytes(),
            session.roles.as_bytes(),
            &time,
            &nonce_text,
        ];
        frame(&mut context, &parts);
        let signature = URL_SAFE_NO_PAD.encode(context.sign());
        headers.insert(ACCOUNT, session.account.clone());
        headers.insert(SESSION, session.session.clone());
        headers.insert(KIND, session.kind.clone());
        headers.insert(ROLES, session.roles.clone());
        for (name, value) in [(TIME, time), (NONCE, nonce_text), (SIGNATURE, signature.into())] {
            if let Ok(value) = HeaderValue::from_maybe_shared(bytes::Bytes::from(value)) {
                headers.insert(name, value);
            }
        }
    }
}

const fn hex(nibble: u8) -> u8 {
    if nibble < 10 { b'0' + nibble } else { b'a' + nibble - 10 }
}

fn frame(context: &mut hmac::Context, parts: &[&[u8]]) {
    let mut framed = Vec::with_capacity(320);
    for part in parts {
        let length = u32::try_from(part.len()).unwrap_or(u32::MAX);
        framed.extend_from_slice(&length.to_be_bytes());
        framed.extend_from_slice(part);
    }
    context.update(&framed);
}

/// Who asks, as an upstream reads it from verified headers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verified {
    /// The account, `usr_…`.
    pub account: String,
    /// The session, `ses_…`.
    pub session: String,
    /// The kind of account.
    pub kind: String,
    /// Roles.
    pub roles: Vec<String>,
    /// To be remembered for [`SKEW_MAX_S`] seconds, and refused when it comes again.
    pub nonce: String,
}

/// Why headers are not believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IdentityFault {
    /// Some of the headers are there and others are not, or one is there twice.
    Incomplete,
    /// The time is too far away.
    Time,
    /// The signature is another.
    Signature,
}

/// What a receiver does: `Ok(None)` where nobody is signed in.
///
/// # Errors
/// [`IdentityFault`]; then the request did not come through the edge as it stands.
pub fn verify(
    key: &HeaderKey,
    method: &str,
    path_and_query: &str,
    headers: &HeaderMap,
    now: Timestamp,
) -> Result<Option<Verified>, IdentityFault> {
    let names = [ACCOUNT, SESSION, KIND, ROLES, TIME, NONCE, SIGNATURE];
    if names.iter().all(|name| !headers.contains_key(name)) {
        return Ok(None);
    }
    let mut values = names.iter().map(|name| {
        let mut all = headers.get_all(name).iter();
        let first = all.next().ok_or(IdentityFault::Incomplete)?;
        let text = first.to_str().map_err(|_| IdentityFault::Incomplete)?;
        if all.next().is_some() { Err(IdentityFault::Incomplete) } else { Ok(text) }
    });
    let mut next = || values.next().ok_or(IdentityFault::Incomplete)?;
    let (account, session, kind, roles) = (next()?, next()?, next()?, next()?);
    let (time, nonce, signature) = (next()?, next()?, next()?);
    let mut context = hmac::Context::with_key(&key.0);
    let texts = [method, path_and_query, account, session, kind, roles, time, nonce];
    frame(&mut context, &texts.map(str::as_bytes));
    let signature = URL_SAFE_NO_PAD.decode(signature).map_err(|_| IdentityFault::Signature)?;
    aws_lc_rs::constant_time::verify_slices_are_equal(context.sign().as_ref(), &signature)
        .map_err(|_| IdentityFault::Signature)?;
    let second: i64 = time.parse().map_err(|_| IdentityFault::Time)?;
    if second.saturating_sub(now.seconds()).abs() > SKEW_MAX_S {
        return Err(IdentityFault::Time);
    }
    Ok(Some(Verified {
        account: account.to_owned(),
        session: session.to_owned(),
        kind: kind.to_owned(),
        roles: roles.split(',').filter(|role| !role.is_empty()).map(str::to_owned).collect(),
        nonce: nonce.to_owned(),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn signed() -> (HeaderKey, HeaderMap) {
        let key = HeaderKey::new(&[9; 32]).unwrap();
        let session = SessionHeaders {
            account: HeaderValue::from_static("usr_1"),
            session: HeaderValue::from_static("ses_1"),
            kind: HeaderValue::from_static("staff"),
            roles: HeaderValue::from_static("a,b"),
        };
        let mut headers = HeaderMap::new();
        let now = Timestamp::from_seconds(1_000);
        key.sign(("GET", "/a?b=c"), &session, (now, [0xab; 16]), &mut headers);
        (key, headers)
    }

    // E6
    #[test]
    fn only_the_request_that_was_signed_is_believed() {
        let (key, headers) = signed();
        let now = Timestamp::from_seconds(1_030);
        let verified = verify(&key, "GET", "/a?b=c", &headers, now).unwrap().unwrap();
        assert_eq!((verified.account.as_str(), verified.roles.len()), ("usr_1", 2));
        for (method, path) in [("POST", "/a?b=c"), ("GET", "/a?b=d"), ("GET", "/a")] {
            let judged = verify(&key, method, path, &headers, now);
            assert_eq!(judged, Err(IdentityFault::Signature));
        }
        let other = HeaderKey::new(&[8; 32]).unwrap();
        assert!(verify(&other, "GET", "/a?b=c", &headers, now).is_err());
        let late = Timestamp::from_seconds(1_061);
        assert_eq!(verify(&key, "GET", "/a?b=c", &headers, late), Err(IdentityFault::Time));
    }

    // E6
    #[test]
    fn parts_of_the_headers_are_not_believed() {
        for name in [ACCOUNT, SESSION, KIND, ROLES, TIME, NONCE, SIGNATURE] {
            let (key, mut headers) = signed();
            headers.remove(&name);
            let judged = verify(&key, "GET", "/a?b=c", &headers, Timestamp::from_seconds(1_000));
            assert_eq!(judged, Err(IdentityFault::Incomplete), "{name}");
            let (key, mut headers) = signed();
            headers.insert(&name, HeaderValue::from_static("forged"));
            assert!(
                verify(&key, "GET", "/a?b=c", &headers, Timestamp::from_seconds(1_000)).is_err()
            );
        }
        let (key, _) = signed();
        assert_eq!(verify(&key, "GET", "/", &HeaderMap::new(), Timestamp::default()), Ok(None));
        assert!(HeaderKey::new(&[1; 31]).is_none());
    }
}
