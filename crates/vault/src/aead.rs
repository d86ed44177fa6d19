//! AES-256-GCM (NIST SP 800-38D) through aws-lc-rs: the one place that touches the cipher.
//!
//! Nonces are 96 random bits from the caller's entropy. At 2^32 messages under one key the chance
//! of a repeated nonce reaches 2^-32 (SP 800-38D section 8.3): [`SEALS_MAX`] is that bound, and
//! whoever holds a key counts towards it.

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use kernel::{Entropy, Secret};

use crate::error::Error;

/// Bytes of a key.
pub(crate) const KEY_LEN: usize = 32;
/// Bytes of a nonce.
pub(crate) const NONCE_LEN: usize = 12;
/// Bytes of a tag.
pub(crate) const TAG_LEN: usize = 16;
/// Most messages under one key with random nonces.
pub(crate) const SEALS_MAX: u64 = 1 << 32;

/// The bytes of a key.
pub(crate) type KeyBytes = Secret<[u8; KEY_LEN]>;

/// A fresh key.
pub(crate) fn fresh_key(entropy: &dyn Entropy) -> KeyBytes {
    let mut bytes = [0; KEY_LEN];
    entropy.fill(&mut bytes);
    let key = Secret::new(bytes);
    zeroize::Zeroize::zeroize(&mut bytes);
    key
}

/// Takes the bytes of a key into custody; none where they are not 32.
pub(crate) fn take_key(bytes: &[u8]) -> Option<KeyBytes> {
    let mut bytes: [u8; KEY_LEN] = bytes.try_into().ok()?;
    let key = Secret::new(bytes);
    zeroize::Zeroize::zeroize(&mut bytes);
    Some(key)
}

/// A key whose schedule is ready. aws-lc wipes the schedule when it frees it.
pub(crate) struct Cipher(LessSafeKey);

impl Cipher {
    /// Expands the key.
    pub(crate) fn new(key: &KeyBytes) -> Result<Self, Error> {
        UnboundKey::new(&AES_256_GCM, key.expose())
            .map(|key| Self(LessSafeKey::new(key)))
            .map_err(|_| Error::Primitive("AES-256-GCM key"))
    }

    /// Encrypts in place and gives the tag.
    pub(crate) fn seal(
        &self,
        nonce: [u8; NONCE_LEN],
        aad: &[u8],
        text: &mut [u8],
    ) -> Result<[u8; TAG_LEN], Error> {
        let tag = self
            .0
            .seal_in_place_separate_tag(Nonce::assume_unique_for_key(nonce), Aad::from(aad), text)
            .map_err(|_| Error::Primitive("AES-256-GCM seal"))?;
        tag.as_ref().try_into().map_err(|_| Error::Primitive("AES-256-GCM tag"))
    }

    /// Opens ciphertext and tag, or says that they are not what was sealed.
    pub(crate) fn open(
        &self,
        nonce: [u8; NONCE_LEN],
        aad: &[u8],
        sealed: &[u8],
    ) -> Result<Vec<u8>, Error> {
        let (text, tag) = sealed.split_last_chunk::<TAG_LEN>().ok_or(Error::Forged)?;
        let mut plain = vec![0; text.len()];
        let nonce = Nonce::assume_unique_for_key(nonce);
        self.0
            .open_separate_gather(nonce, Aad::from(aad), text, tag, &mut plain)
            .map_err(|_| Error::Forged)?;
        Ok(plain)
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use serde_json::Value;

    use super::*;

    /// Project Wycheproof's vectors, where they are laid out beside the repository.
    fn vectors() -> Option<Value> {
        let folder = std::env::var_os("STAGEDOOR_DATA").map_or_else(
            || PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data"),
            PathBuf::from,
        );
        let path = folder.join("wycheproof/testvectors_v1/aes_gcm_test.json");
        let Ok(text) = std::fs::read_to_string(&path) else {
            assert!(std::env::var_os("CI").is_none(), "no vectors at {}", path.display());
            eprintln!("LEFT OUT: no Wycheproof vectors at {}", path.display());
            return None;
        };
        Some(serde_json::from_str(&text).expect("vectors are JSON"))
    }

    fn bytes(test: &Value, name: &str) -> Vec<u8> {
        let text = test[name].as_str().expect("a hex text");
        (0..text.len())
            .step_by(2)
            .map(|at| u8::from_str_radix(&text[at..at + 2], 16).expect("hex"))
            .collect()
    }

    // V1
    #[test]
    fn wycheproof_aes_256_gcm() {
        let Some(vectors) = vectors() else { return };
        let (mut valid, mut invalid) = (0, 0);
        let fits = |group: &&Value| {
            group["keySize"] == 256 && group["ivSize"] == 96 && group["tagSize"] == 128
        };
        for group in vectors["testGroups"].as_array().expect("groups").iter().filter(fits) {
            for test in group["tests"].as_array().expect("tests") {
                let key = Secret::new(bytes(test, "key").try_into().expect("32 bytes"));
                let nonce: [u8; NONCE_LEN] = bytes(test, "iv").try_into().expect("12 bytes");
                let (aad, plain) = (bytes(test, "aad"), bytes(test, "msg"));
                let cipher = Cipher::new(&key).expect("a key");
                let mut text = plain.clone();
                let tag = cipher.seal(nonce, &aad, &mut text).expect("seals");
                let expected = [bytes(test, "ct"), bytes(test, "tag")].concat();
                let opened = cipher.open(nonce, &aad, &expected);
                if test["result"] == "valid" {
                    assert_eq!([text.as_slice(), &tag].concat(), expected, "{test}");
                    assert_eq!(opened.expect("opens"), plain, "{test}");
                    valid += 1;
                } else {
                    assert!(matches!(opened, Err(Error::Forged)), "{test}");
                    invalid += 1;
                }
            }
        }
        assert_eq!((valid, invalid), (39, 27));
    }
}
