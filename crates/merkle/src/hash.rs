//! SHA-256 as RFC 6962 section 2.1 uses it: leaves and nodes are hashed under different first
//! bytes, so that no node can be passed off as a leaf (second preimage).

use std::fmt;

use aws_lc_rs::digest;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::Error;

/// A SHA-256 hash: of a leaf, a node, or a whole tree. Public, so compared without care for time.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Hash([u8; 32]);

impl Hash {
    /// Bytes in a hash.
    pub const LEN: usize = 32;

    /// The root of the tree without leaves: SHA-256 of nothing (RFC 6962 section 2.1).
    pub const EMPTY_ROOT: Self = Self([
        0xe3, 0xb0, 0xc4, 0x42, 0x98, 0xfc, 0x1c, 0x14, 0x9a, 0xfb, 0xf4, 0xc8, 0x99, 0x6f, 0xb9,
        0x24, 0x27, 0xae, 0x41, 0xe4, 0x64, 0x9b, 0x93, 0x4c, 0xa4, 0x95, 0x99, 0x1b, 0x78, 0x52,
        0xb8, 0x55,
    ]);

    /// Takes 32 bytes as they are.
    #[must_use]
    pub const fn new(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// Takes exactly 32 bytes.
    ///
    /// # Errors
    /// `Malformed` for any other length.
    pub fn from_slice(bytes: &[u8]) -> Result<Self, Error> {
        let bytes = bytes.try_into().map_err(|_| Error::malformed("hash", "not 32 bytes"))?;
        Ok(Self(bytes))
    }

    /// Reads canonical, padded standard base64 (RFC 4648 section 4): 44 characters.
    ///
    /// # Errors
    /// `Malformed` for any other spelling.
    pub fn from_base64(text: &str) -> Result<Self, Error> {
        if text.len() != 44 {
            return Err(Error::malformed("hash", "not 44 base64 characters"));
        }
        let bytes =
            STANDARD.decode(text).map_err(|_| Error::malformed("hash", "not canonical base64"))?;
        Self::from_slice(&bytes)
    }

    /// Reads 64 lowercase hex digits.
    ///
    /// # Errors
    /// `Malformed` for any other spelling.
    pub fn from_hex(text: &str) -> Result<Self, Error> {
        if text.len() != 64 {
            return Err(Error::malformed("hash", "not 64 hex digits"));
        }
        let bytes = hex_decode(text).ok_or(Error::malformed("hash", "not lowercase hex"))?;
        Self::from_slice(&bytes)
    }

    /// The bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// Padded standard base64, 44 characters.
    #[must_use]
    pub fn to_base64(&self) -> String {
        STANDARD.encode(self.0)
    }

    /// 64 lowercase hex digits.
    #[must_use]
    pub fn to_hex(&self) -> String {
        hex_encode(&self.0)
    }
}

impl fmt::Debug for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.to_hex())
    }
}

/// Base64, as in checkpoints and proofs.
impl fmt::Display for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.to_base64())
    }
}

impl AsRef<[u8]> for Hash {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

/// Hash of one entry: SHA-256(0x00 || entry), RFC 6962 section 2.1.
#[must_use]
pub fn leaf_hash(entry: &[u8]) -> Hash {
    let mut context = digest::Context::new(&digest::SHA256);
    context.update(&[0x00]);
    context.update(entry);
    from_digest(&context.finish())
}

/// Hash of two subtrees: SHA-256(0x01 || left || right), RFC 6962 section 2.1.
#[must_use]
pub fn node_hash(left: &Hash, right: &Hash) -> Hash {
    let mut input = [0x01_u8; 65];
    let (_, pair) = input.split_at_mut(1);
    let (l, r) = pair.split_at_mut(32);
    l.copy_from_slice(&left.0);
    r.copy_from_slice(&right.0);
    sha256(&input)
}

/// Plain SHA-256, for key ids.
pub(crate) fn sha256(bytes: &[u8]) -> Hash {
    from_digest(&digest::digest(&digest::SHA256, bytes))
}

fn from_digest(digest: &digest::Digest) -> Hash {
    let mut out = [0_u8; 32];
    // SHA-256 gives 32 bytes always; zip instead of copy_from_slice keeps this free of panics
    for (to, from) in out.iter_mut().zip(digest.as_ref()) {
        *to = *from;
    }
    Hash(out)
}

/// Lowercase hex.
pub(crate) fn hex_encode(bytes: &[u8]) -> String {
    bytes
        .iter()
        .flat_map(|b| [b >> 4, b & 0x0f])
        .filter_map(|n| char::from_digit(u32::from(n), 16))
        .collect()
}

/// Lowercase hex only: one spelling per value.
pub(crate) fn hex_decode(text: &str) -> Option<Vec<u8>> {
    let digit = |c: u8| match c {
        b'0'..=b'9' => Some(c - b'0'),
        b'a'..=b'f' => Some(c - b'a' + 10),
        _ => None,
    };
    let (pairs, rest) = text.as_bytes().as_chunks::<2>();
    if !rest.is_empty() {
        return None;
    }
    pairs.iter().map(|[high, low]| Some(digit(*high)? << 4 | digit(*low)?)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn leaf_and_node_differ_from_plain_hashing() {
        assert_eq!(sha256(b""), Hash::EMPTY_ROOT);
        // RFC 6962 test values: the leaf of an empty entry
        assert_eq!(
            leaf_hash(b"").to_hex(),
            "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d"
        );
        assert_eq!(leaf_hash(b"x"), sha256(b"\x00x"));
        let (a, b) = (leaf_hash(b"a"), leaf_hash(b"b"));
        let joined = [&[1_u8][..], a.as_ref(), b.as_ref()].concat();
        assert_eq!(node_hash(&a, &b), sha256(&joined));
        assert_ne!(node_hash(&a, &b), node_hash(&b, &a));
    }

    #[test]
    fn text_forms_have_one_spelling() {
        let hash = leaf_hash(b"text");
        assert_eq!(Hash::from_base64(&hash.to_base64()), Ok(hash));
        assert_eq!(Hash::from_hex(&hash.to_hex()), Ok(hash));
        assert!(Hash::from_hex(&hash.to_hex().to_uppercase()).is_err());
        assert!(Hash::from_base64(hash.to_base64().trim_end_matches('=')).is_err());
        // 43rd character with stray low bits decodes to the same bytes in a lax decoder
        let mut stray = hash.to_base64().into_bytes();
        stray[42] += 1;
        assert!(Hash::from_base64(&String::from_utf8(stray).unwrap()).is_err());
        assert!(Hash::from_slice(&[0; 31]).is_err());
        assert!(Hash::from_slice(&[0; 33]).is_err());
    }
}
