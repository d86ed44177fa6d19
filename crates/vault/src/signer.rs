//! Signing keys for tokens: JWTs by EdDSA (RFC 8037) with a key id, the published key set
//! (RFC 7517), and the check for the core's own use.

use aws_lc_rs::signature::{ED25519, UnparsedPublicKey};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64URL;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::error::Error;
use crate::purpose::{Phase, Purpose};
use crate::ring::Material;
use crate::vault::Vault;

/// The longest token that is looked at, bytes.
const TOKEN_MAX: usize = 8 * 1024;
/// How far two clocks of the house may be apart, seconds.
const LEEWAY_S: i64 = 5;

/// A set of signing keys by its name. Cheap to clone; follows rotations.
#[derive(Clone, Debug)]
pub struct Signer {
    vault: Vault,
    purpose: Purpose,
}

/// What a token must say to be accepted.
#[derive(Clone, Copy, Debug)]
pub struct Expected<'a> {
    /// Its type (`typ`), compared without case: `at+jwt` for access tokens (RFC 9068).
    pub typ: &'a str,
    /// Who issued it (`iss`).
    pub issuer: &'a str,
    /// For whom (`aud`, a string or one of a list).
    pub audience: &'a str,
}

#[derive(Serialize, Deserialize)]
struct Header {
    alg: String,
    kid: String,
    typ: String,
    /// Extensions that must be understood (RFC 7515 section 4.1.11): we understand none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    crit: Option<Value>,
}

impl Vault {
    /// The signing key set of this name: `session` or `access`.
    ///
    /// # Errors
    /// [`Error::UnknownSigner`] for any other name.
    pub fn signer(&self, name: &str) -> Result<Signer, Error> {
        match Purpose::named(name) {
            Some(purpose @ (Purpose::Session | Purpose::Access)) => {
                Ok(Signer { vault: self.clone(), purpose })
            }
            Some(
                Purpose::Field
                | Purpose::Pseudonym
                | Purpose::Blind
                | Purpose::Mac
                | Purpose::Checkpoint,
            )
            | None => Err(Error::UnknownSigner),
        }
    }
}

impl Signer {
    /// Signs claims as a JWT of type `typ` with the newest key that has begun. The claims are
    /// the caller's: `exp` among them.
    ///
    /// # Errors
    /// [`Error::Token`] where the claims are no JSON object; [`Error::Missing`] without a key.
    pub fn sign_jwt(&self, claims: &impl Serialize, typ: &str) -> Result<String, Error> {
        let ring = self.vault.ring();
        let version = ring.current(self.purpose, self.vault.now())?;
        let Material::Pair(pair) = version.material.as_ref() else {
            return Err(Error::Missing { what: "a signing key" });
        };
        let header = Header {
            alg: "EdDSA".to_owned(),
            kid: version.id.to_string(),
            typ: typ.to_owned(),
            crit: None,
        };
        let header = serde_json::to_vec(&header).map_err(|_| Error::Token("its header"))?;
        let claims = serde_json::to_vec(claims).map_err(|_| Error::Token("its claims"))?;
        if claims.first() != Some(&b'{') {
            return Err(Error::Token("its claims are no object"));
        }
        let mut token = String::with_capacity((header.len() + claims.len() + 66) * 4 / 3 + 4);
        BASE64URL.encode_string(header, &mut token);
        token.push('.');
        BASE64URL.encode_string(claims, &mut token);
        let signature = pair.sign(token.as_bytes());
        token.push('.');
        BASE64URL.encode_string(signature.as_ref(), &mut token);
        version.use_once();
        Ok(token)
    }

    /// The public keys to publish: the next, the current, and the retiring until their end.
    #[must_use]
    pub fn jwks(&self) -> Value {
        let phases = self.vault.ring().phases(self.purpose, self.vault.now()).unwrap_or_default();
        let keys: Vec<Value> = phases
            .iter()
            .filter(|(_, phase)| *phase != Phase::Retired)
            .map(|(version, _)| {
                json!({
                    "kty": "OKP", "crv": "Ed25519", "alg": "EdDSA", "use": "sig",
                    "kid": version.id.to_string(),
                    "x": BASE64URL.encode(&version.public_key),
                })
            })
            .collect();
        json!({ "keys": keys })
    }

    /// Checks a token of ours and reads its claims: signature by a key that is published now,
    /// algorithm and type exactly, issuer, audience, `exp` (must be there) and `nbf`.
    ///
    /// # Errors
    /// [`Error::Token`] with what is wrong.
    pub fn verify_jwt<C: DeserializeOwned>(
        &self,
        token: &str,
        expected: Expected<'_>,
    ) -> Result<C, Error> {
        if token.len() > TOKEN_MAX {
            return Err(Error::Token("too long"));
        }
        let (signed, signature) = token.rsplit_once('.').ok_or(Error::Token("its form"))?;
        let (header, claims) = signed.split_once('.').ok_or(Error::Token("its form"))?;
        let header: Header = read(header)?;
        if header.alg != "EdDSA" || header.crit.is_some() {
            return Err(Error::Token("its algorithm"));
        }
        if !header.typ.eq_ignore_ascii_case(expected.typ) {
            return Err(Error::Token("its type"));
        }
        let signature = BASE64URL.decode(signature).map_err(|_| Error::Token("its form"))?;
        let now = self.vault.now();
        let phases = self.vault.ring().phases(self.purpose, now)?;
        let (version, _) = phases
            .iter()
            .filter(|(_, phase)| *phase != Phase::Retired)
            .find(|(version, _)| version.id.to_string() == header.kid)
            .ok_or(Error::Token("its key"))?;
        UnparsedPublicKey::new(&ED25519, &version.public_key)
            .verify(signed.as_bytes(), &signature)
            .map_err(|_| Error::Token("its signature"))?;
        let claims: Value = read(claims)?;
        check_claims(&claims, expected, now.seconds())?;
        serde_json::from_value(claims).map_err(|_| Error::Token("its claims"))
    }
}

fn read<T: DeserializeOwned>(part: &str) -> Result<T, Error> {
    let bytes = BASE64URL.decode(part).map_err(|_| Error::Token("its form"))?;
    serde_json::from_slice(&bytes).map_err(|_| Error::Token("its form"))
}

fn check_claims(claims: &Value, expected: Expected<'_>, now_s: i64) -> Result<(), Error> {
    let moment = |name: &str| claims.get(name).and_then(Value::as_i64);
    let end = moment("exp").ok_or(Error::Token("no end"))?;
    if end.saturating_add(LEEWAY_S) <= now_s {
        return Err(Error::Token("expired"));
    }
    if claims.get("nbf").is_some() {
        let begin = moment("nbf").ok_or(Error::Token("its beginning"))?;
        if begin.saturating_sub(LEEWAY_S) > now_s {
            return Err(Error::Token("not yet"));
        }
    }
    if claims.get("iss").and_then(Value::as_str) != Some(expected.issuer) {
        return Err(Error::Token("its issuer"));
    }
    let named = |value: &Value| value.as_str() == Some(expected.audience);
    let meant = match claims.get("aud") {
        Some(Value::Array(list)) => list.iter().any(named),
        Some(one) => named(one),
        None => false,
    };
    if meant { Ok(()) } else { Err(Error::Token("its audience")) }
}
