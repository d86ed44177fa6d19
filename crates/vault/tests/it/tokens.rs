//! V8: tokens of the session key, checked by another implementation, through a rotation.

use aws_lc_rs::signature::{ED25519, UnparsedPublicKey};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64URL;
use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use serde_json::{Value, json};
use spine::CheckpointSigner;
use vault::{Error, Expected, Purpose, Signer};

use crate::world::{NOON, both};

const EXPECTED: Expected<'static> =
    Expected { typ: "at+jwt", issuer: "https://shop.test", audience: "shop" };

fn claims() -> Value {
    json!({
        "iss": "https://shop.test", "aud": "shop", "sub": "usr_1",
        "exp": NOON.seconds() + 300, "nbf": NOON.seconds(),
    })
}

/// Checks with the published keys and nothing else, by another implementation.
fn outside(jwks: &Value, token: &str) -> Option<Value> {
    let kid = jsonwebtoken::decode_header(token).unwrap().kid.unwrap();
    let keys = jwks["keys"].as_array().unwrap();
    let key = keys.iter().find(|key| key["kid"] == kid.as_str())?;
    let key = DecodingKey::from_ed_components(key["x"].as_str().unwrap()).unwrap();
    let mut validation = Validation::new(Algorithm::EdDSA);
    validation.set_audience(&["shop"]);
    validation.validate_exp = false;
    Some(jsonwebtoken::decode::<Value>(token, &key, &validation).ok()?.claims)
}

fn refused(signer: &Signer, token: &str) -> &'static str {
    match signer.verify_jwt::<Value>(token, EXPECTED) {
        Err(Error::Token(why)) => why,
        other => panic!("{other:?}"),
    }
}

// V8
#[test]
fn tokens_are_verified_by_another_implementation_and_through_a_rotation() {
    both(async |world| {
        let vault = world.init().await;
        let signer = vault.signer("session").unwrap();
        let old = signer.sign_jwt(&claims(), "at+jwt").unwrap();
        assert_eq!(outside(&signer.jwks(), &old), Some(claims()));
        assert_eq!(signer.verify_jwt::<Value>(&old, EXPECTED).unwrap(), claims());
        let rotated = vault.rotate(Purpose::Session).await.unwrap();
        // Published, not used.
        let published = signer.jwks();
        assert_eq!(published["keys"].as_array().unwrap().len(), 2);
        let same = signer.sign_jwt(&claims(), "at+jwt").unwrap();
        assert_eq!(same.split('.').next(), old.split('.').next());
        // Used; the old one is published still.
        world.clock.pass(rotated.not_before.since(NOON).as_secs().cast_signed());
        let new = signer.sign_jwt(&claims(), "at+jwt").unwrap();
        assert_ne!(new.split('.').next(), old.split('.').next());
        for token in [&old, &new] {
            assert_eq!(outside(&published, token), Some(claims()));
            signer.verify_jwt::<Value>(token, EXPECTED).unwrap();
        }
        // Over.
        world.clock.pass(900);
        assert_eq!(outside(&signer.jwks(), &old), None);
        assert_eq!(refused(&signer, &old), "its key");
        assert_eq!(vault.tend().await.unwrap().ended, 1);
        let dead = "SELECT wrapped FROM key_purpose WHERE purpose = 'session' AND version = 1";
        assert!(world.sql(dead, Vec::new()).await[0].bytes("wrapped").unwrap().is_empty());
        vault.close().await;
        let signer = world.open().await.signer("session").unwrap();
        assert_eq!(signer.jwks()["keys"].as_array().unwrap().len(), 1);
    });
}

fn with_header(token: &str, header: &Value) -> String {
    let (_, rest) = token.split_once('.').unwrap();
    format!("{}.{rest}", BASE64URL.encode(header.to_string()))
}

#[test]
fn every_other_token_is_refused() {
    both(async |world| {
        let vault = world.init().await;
        let signer = vault.signer("session").unwrap();
        let sign = |change: &dyn Fn(&mut Value)| {
            let mut claims = claims();
            change(&mut claims);
            signer.sign_jwt(&claims, "at+jwt").unwrap()
        };
        let good = sign(&|_| ());
        let header: Value =
            serde_json::from_slice(&BASE64URL.decode(good.split('.').next().unwrap()).unwrap())
                .unwrap();
        let changed = |name: &str, value: Value| {
            let mut header = header.clone();
            header[name] = value;
            with_header(&good, &header)
        };
        let cases = [
            (changed("alg", json!("none")), "its algorithm"),
            (changed("alg", json!("HS256")), "its algorithm"),
            (changed("crit", json!(["b64"])), "its algorithm"),
            (changed("typ", json!("JWT")), "its type"),
            (changed("kid", json!("key_00000000000000000000000000")), "its key"),
            (changed("typ", json!("AT+jwt")), "its signature"),
            (sign(&|claims| claims["iss"] = json!("https://evil.test")), "its issuer"),
            (sign(&|claims| claims["aud"] = json!(["other"])), "its audience"),
            (sign(&|claims| claims["aud"] = json!({"shop": 1})), "its audience"),
            (sign(&|claims| claims["exp"] = json!(NOON.seconds() - 5)), "expired"),
            (sign(&|claims| claims["exp"] = json!("never")), "no end"),
            (sign(&|claims| claims["nbf"] = json!(NOON.seconds() + 60)), "not yet"),
            (good[..good.len() - 2].to_owned(), "its signature"),
            ("a.b".to_owned(), "its form"),
            (String::new(), "its form"),
            ("x".repeat(9000), "too long"),
        ];
        for (token, why) in cases {
            assert_eq!(refused(&signer, &token), why, "{token}");
        }
        // The other set's key is not this set's.
        let access = vault.signer("access").unwrap().sign_jwt(&claims(), "at+jwt").unwrap();
        assert_eq!(refused(&signer, &access), "its key");
        let list = sign(&|claims| claims["aud"] = json!(["other", "shop"]));
        signer.verify_jwt::<Value>(&list, EXPECTED).unwrap();
        assert!(matches!(vault.signer("field"), Err(Error::UnknownSigner)));
        assert!(signer.sign_jwt(&"text", "at+jwt").is_err());
        vault.close().await;
    });
}

#[test]
fn checkpoints_are_signed_by_one_version_of_the_key() {
    both(async |world| {
        let vault = world.init().await;
        let notary = vault.notary("shop.test/log").unwrap();
        let key = notary.public_key();
        vault.rotate(Purpose::Checkpoint).await.unwrap();
        world.clock.pass(1000);
        let signature = notary.sign(b"note\n").unwrap();
        assert_eq!((notary.public_key(), notary.name()), (key, "shop.test/log"));
        UnparsedPublicKey::new(&ED25519, key).verify(b"note\n", &signature).unwrap();
        let next = vault.notary("shop.test/log").unwrap();
        assert_ne!(next.public_key(), key);
        let notaries = vault.notaries("shop.example/log").unwrap();
        let keys: Vec<_> = notaries.iter().map(CheckpointSigner::public_key).collect();
        assert_eq!(keys, [key, next.public_key()]);
        vault.close().await;
    });
}
