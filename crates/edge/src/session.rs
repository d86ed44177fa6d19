//! Session tokens: verified once, remembered by their hash, and checked against the feed each
//! time. A token is a JWT (RFC 7519, profile of RFC 9068) signed with Ed25519; every other
//! algorithm, type, issuer or audience is refused before any signature is looked at.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::signature::{ED25519, ParsedPublicKey};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::HeaderValue;
use kernel::{AccountId, SessionId, Timestamp};
use serde::Deserialize;
use web::feed::Jwks;

/// Tokens that are longer are refused unread.
const TOKEN_MAX_BYTES: usize = 4 * 1024;
/// Clocks of the nodes may differ by so much, in seconds.
const LEEWAY_S: i64 = 5;
/// A token that says it lives longer than this was not made for the edge, in seconds.
const LIFE_MAX_S: i64 = 600;
const SHARDS: usize = 16;

/// A session as its token tells it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Session {
    /// The account.
    pub account: AccountId,
    /// The session.
    pub id: SessionId,
    /// The kind of account.
    pub kind: String,
    /// Roles.
    pub roles: Vec<String>,
    /// Whether a second factor was proved in it: its `acr` is `aal2`.
    pub second_factor: bool,
    /// When the person proved who they are.
    pub proved: Timestamp,
    /// When the token was issued.
    pub issued: Timestamp,
    /// When it ends.
    pub expires: Timestamp,
    /// The header values that tell the upstream, made once.
    pub headers: SessionHeaders,
}

/// Values of the identity headers that do not change from request to request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionHeaders {
    /// `usr_…`
    pub account: HeaderValue,
    /// `ses_…`
    pub session: HeaderValue,
    /// The kind.
    pub kind: HeaderValue,
    /// Roles, comma-separated.
    pub roles: HeaderValue,
}

/// Why a token is not believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TokenFault {
    /// No JWT of our form.
    Form,
    /// No key of this id, or another algorithm or type.
    Key,
    /// The signature is wrong.
    Signature,
    /// Another issuer or audience, or times that make no sense.
    Claims,
    /// Its time is over.
    Expired,
}

impl TokenFault {
    /// A stable name, for problems and observations.
    #[must_use]
    pub const fn code(self) -> &'static str {
        match self {
            Self::Form => "session.token_form",
            Self::Key => "session.token_key",
            Self::Signature => "session.token_signature",
            Self::Claims => "session.token_claims",
            Self::Expired => "session.token_expired",
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Header<'a> {
    alg: &'a str,
    typ: &'a str,
    kid: &'a str,
}

#[derive(Deserialize)]
struct Claims {
    iss: String,
    aud: Audience,
    sub: AccountId,
    sid: SessionId,
    iat: i64,
    exp: i64,
    #[serde(default)]
    nbf: Option<i64>,
    kind: String,
    #[serde(default)]
    roles: Vec<String>,
    /// Missing in tokens of an older program: then nothing more was proved.
    #[serde(default)]
    acr: String,
    #[serde(default)]
    auth_time: i64,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Audience {
    One(String),
    Many(Vec<String>),
}

impl Audience {
    fn names(&self, audience: &str) -> bool {
        match self {
            Self::One(one) => one == audience,
            Self::Many(many) => many.iter().any(|one| one == audience),
        }
    }
}

/// The public keys in force.
#[derive(Default)]
pub struct Keys(HashMap<String, ParsedPublicKey>);

impl std::fmt::Debug for Keys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

impl Keys {
    /// The Ed25519 keys of a set; at most 64, and others are left out.
    #[must_use]
    pub fn new(set: &Jwks) -> Self {
        let keys = set.keys.iter().take(64).filter_map(|key| {
            if key.kty != "OKP" || key.crv != "Ed25519" {
                return None;
            }
            let bytes = URL_SAFE_NO_PAD.decode(&key.x).ok()?;
            Some((key.kid.clone(), ParsedPublicKey::new(&ED25519, &bytes).ok()?))
        });
        Self(keys.collect())
    }
}

/// Whose tokens are believed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Issuer {
    /// `iss`, exactly.
    pub issuer: String,
    /// What `aud` must name.
    pub audience: String,
}

/// Reads and verifies a token.
///
/// # Errors
/// [`TokenFault`].
pub fn verify(
    token: &str,
    keys: &Keys,
    issuer: &Issuer,
    now: Timestamp,
) -> Result<Session, TokenFault> {
    if token.len() > TOKEN_MAX_BYTES {
        return Err(TokenFault::Form);
    }
    let (signed, signature) = token.rsplit_once('.').ok_or(TokenFault::Form)?;
    let (header, claims) = signed.split_once('.').ok_or(TokenFault::Form)?;
    let header = URL_SAFE_NO_PAD.decode(header).map_err(|_| TokenFault::Form)?;
    let header: Header<'_> = serde_json::from_slice(&header).map_err(|_| TokenFault::Form)?;
    if header.alg != "EdDSA" || !header.typ.eq_ignore_ascii_case("at+jwt") {
        return Err(TokenFault::Key);
    }
    let key = keys.0.get(header.kid).ok_or(TokenFault::Key)?;
    let claims = URL_SAFE_NO_PAD.decode(claims).map_err(|_| TokenFault::Form)?;
    let claims: Claims = serde_json::from_slice(&claims).map_err(|_| TokenFault::Form)?;
    claims.check(issuer, now)?;
    let signature = URL_SAFE_NO_PAD.decode(signature).map_err(|_| TokenFault::Form)?;
    key.verify_sig(signed.as_bytes(), &signature).map_err(|_| TokenFault::Signature)?;
    claims.session()
}

impl Claims {
    fn check(&self, issuer: &Issuer, now: Timestamp) -> Result<(), TokenFault> {
        let now_s = now.seconds();
        let sane = self.iss == issuer.issuer
            && self.aud.names(&issuer.audience)
            && self.iat <= now_s.saturating_add(LEEWAY_S)
            && self.nbf.is_none_or(|nbf| nbf <= now_s.saturating_add(LEEWAY_S))
            && self.exp > self.iat
            && self.exp.saturating_sub(self.iat) <= LIFE_MAX_S;
        if !sane {
            return Err(TokenFault::Claims);
        }
        if self.exp <= now_s { Err(TokenFault::Expired) } else { Ok(()) }
    }

    fn session(self) -> Result<Session, TokenFault> {
        let value = |text: &str| HeaderValue::from_str(text).map_err(|_| TokenFault::Claims);
        // A comma inside a role would read as two.
        if self.roles.iter().any(|role| role.contains(',')) {
            return Err(TokenFault::Claims);
        }
        let headers = SessionHeaders {
            account: value(&self.sub.to_string())?,
            session: value(&self.sid.to_string())?,
            kind: value(&self.kind)?,
            roles: value(&self.roles.join(","))?,
        };
        Ok(Session {
            account: self.sub,
            id: self.sid,
            kind: self.kind,
            roles: self.roles,
            second_factor: self.acr == "aal2",
            proved: Timestamp::from_seconds(self.auth_time),
            issued: Timestamp::from_seconds(self.iat),
            expires: Timestamp::from_seconds(self.exp),
            headers,
        })
    }
}

/// Tokens that were verified under the keys in force.
#[derive(Debug)]
pub struct Tokens {
    shards: Vec<Mutex<HashMap<[u8; 32], Arc<Session>>>>,
    shard_max: usize,
}

/// SHA-256 of a secret text, under which it is remembered.
#[must_use]
pub fn hash(text: &str) -> [u8; 32] {
    let mut key = [0; 32];
    let hashed = digest(&SHA256, text.as_bytes());
    for (to, from) in key.iter_mut().zip(hashed.as_ref()) {
        *to = *from;
    }
    key
}

impl Tokens {
    /// Room for about `tokens_max`.
    #[must_use]
    pub fn new(tokens_max: usize) -> Self {
        Self {
            shards: (0..SHARDS).map(|_| Mutex::default()).collect(),
            shard_max: (tokens_max / SHARDS).max(1),
        }
    }

    /// The session of a token, verified now or before.
    ///
    /// # Errors
    /// [`TokenFault`].
    pub fn session(
        &self,
        token: &str,
        keys: &Keys,
        issuer: &Issuer,
        now: Timestamp,
    ) -> Result<Arc<Session>, TokenFault> {
        let key = hash(token);
        let shard = key.first().map_or(0, |byte| usize::from(*byte) % SHARDS);
        let Some(shard) = self.shards.get(shard) else { return Err(TokenFault::Form) };
        {
            let held = shard.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(session) = held.get(&key) {
                let live = session.expires > now;
                return if live { Ok(Arc::clone(session)) } else { Err(TokenFault::Expired) };
            }
        }
        let session = Arc::new(verify(token, keys, issuer, now)?);
        let mut held = shard.lock().unwrap_or_else(PoisonError::into_inner);
        if held.len() >= self.shard_max {
            held.retain(|_, session| session.expires > now);
            if held.len() >= self.shard_max
                && let Some(any) = held.keys().next().copied()
            {
                held.remove(&any);
            }
        }
        held.insert(key, Arc::clone(&session));
        Ok(session)
    }

    /// Forgets all: other keys are in force.
    pub fn clear(&self) {
        for shard in &self.shards {
            shard.lock().unwrap_or_else(PoisonError::into_inner).clear();
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
    use proptest::prelude::*;
    use web::feed::Jwk;

    use super::*;

    const ACCOUNT: &str = "usr_00000000000000000000000001";
    const SESSION: &str = "ses_00000000000000000000000002";

    pub(crate) struct Signer(Ed25519KeyPair);

    impl Signer {
        pub(crate) fn new() -> Self {
            Self(Ed25519KeyPair::from_seed_unchecked(&[7; 32]).unwrap())
        }

        pub(crate) fn jwks(&self) -> Jwks {
            let x = URL_SAFE_NO_PAD.encode(self.0.public_key().as_ref());
            let key = Jwk { kty: "OKP".into(), crv: "Ed25519".into(), kid: "k1".into(), x };
            Jwks { keys: vec![key] }
        }

        pub(crate) fn token(&self, header: &str, claims: &str) -> String {
            let signed =
                format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(claims));
            let signature = URL_SAFE_NO_PAD.encode(self.0.sign(signed.as_bytes()));
            format!("{signed}.{signature}")
        }
    }

    fn claims() -> serde_json::Value {
        serde_json::json!({
            "iss": "https://shop.example", "aud": "shop", "sub": ACCOUNT, "sid": SESSION,
            "iat": 1_000, "exp": 1_300, "kind": "customer", "roles": ["a", "b"],
        })
    }

    const HEADER: &str = r#"{"alg":"EdDSA","typ":"at+jwt","kid":"k1"}"#;

    fn issuer() -> Issuer {
        Issuer { issuer: "https://shop.example".into(), audience: "shop".into() }
    }

    fn judged(header: &str, claims: &serde_json::Value) -> Result<Session, TokenFault> {
        let signer = Signer::new();
        let token = signer.token(header, &claims.to_string());
        verify(&token, &Keys::new(&signer.jwks()), &issuer(), Timestamp::from_seconds(1_100))
    }

    // E5
    #[test]
    fn a_good_token_is_a_session() {
        let session = judged(HEADER, &claims()).unwrap();
        assert_eq!(session.headers.account, ACCOUNT);
        assert_eq!(session.headers.roles, "a,b");
    }

    // E5
    #[test]
    fn every_other_token_is_refused() {
        for header in [
            r#"{"alg":"none","typ":"at+jwt","kid":"k1"}"#,
            r#"{"alg":"HS256","typ":"at+jwt","kid":"k1"}"#,
            r#"{"alg":"EdDSA","typ":"JWT","kid":"k1"}"#,
            r#"{"alg":"EdDSA","typ":"at+jwt","kid":"k2"}"#,
            r#"{"alg":"EdDSA","kid":"k1"}"#,
            r#"{"alg":"EdDSA","typ":"at+jwt","kid":"k1","crit":["x"]}"#,
            r#"{"alg":"EdDSA","typ":"at+jwt","kid":"k1","jwk":{}}"#,
        ] {
            assert!(judged(header, &claims()).is_err(), "{header}");
        }
        let wrong = [
            ("iss", serde_json::json!("https://other.example")),
            ("aud", serde_json::json!(["other"])),
            ("sub", serde_json::json!(SESSION)),
            ("sid", serde_json::json!(ACCOUNT)),
            ("exp", serde_json::json!(1_100)),
            ("exp", serde_json::json!(9_000)),
            ("iat", serde_json::json!(1_200)),
            ("nbf", serde_json::json!(1_200)),
            ("roles", serde_json::json!(["a,b"])),
            ("kind", serde_json::json!("a\r\nb")),
        ];
        for (name, value) in wrong {
            let mut claims = claims();
            claims[name] = value;
            assert!(judged(HEADER, &claims).is_err(), "{claims}");
        }
    }

    // E5
    #[test]
    fn a_remembered_token_still_ends() {
        let signer = Signer::new();
        let tokens = Tokens::new(SHARDS);
        let keys = Keys::new(&signer.jwks());
        let token = signer.token(HEADER, &claims().to_string());
        let at = |second| tokens.session(&token, &keys, &issuer(), Timestamp::from_seconds(second));
        assert!(at(1_100).is_ok() && at(1_299).is_ok());
        assert_eq!(at(1_300), Err(TokenFault::Expired));
        let mut forged = token.clone();
        forged.replace_range(forged.len() - 4..forged.len() - 3, "_");
        let judged = tokens.session(&forged, &keys, &issuer(), Timestamp::from_seconds(1_100));
        assert_eq!(judged, Err(TokenFault::Signature));
    }

    proptest! {
        #[test]
        fn never_panics(token in "[a-zA-Z0-9_.-]{0,200}") {
            let keys = Keys::new(&Signer::new().jwks());
            prop_assert!(verify(&token, &keys, &issuer(), Timestamp::from_seconds(1)).is_err());
        }
    }
}
