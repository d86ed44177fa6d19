//! Keys of signed notes: names, key ids, verifier keys (vkey), and the door to private keys. The
//! private key itself stays behind [`NoteSigner`]; [`SeedSigner`] is for witnesses and tools that
//! hold their seed in memory.

use std::fmt;

use aws_lc_rs::signature::{ED25519, Ed25519KeyPair, KeyPair as _, UnparsedPublicKey};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use zeroize::Zeroizing;

use crate::Error;
use crate::cosign::{cosigned_message, split_cosignature};
use crate::hash::{hex_decode, hex_encode, sha256};

/// Bytes in the longest key name.
pub const MAX_NAME_BYTES: usize = 255;

/// What a key signs: the signature type byte of C2SP signed-note.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum KeyKind {
    /// `0x01`: Ed25519 over the note text.
    Ed25519 = 0x01,
    /// `0x04`: Ed25519 over a checkpoint and a time (C2SP tlog-cosignature).
    Cosigner = 0x04,
}

impl KeyKind {
    fn from_byte(byte: u8) -> Option<Self> {
        match byte {
            0x01 => Some(Self::Ed25519),
            0x04 => Some(Self::Cosigner),
            _ => None,
        }
    }
}

/// The first four bytes of SHA-256(name || newline || type || public key): tells keys apart, and
/// proves nothing.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyId([u8; 4]);

impl KeyId {
    /// Takes the four bytes.
    #[must_use]
    pub const fn new(bytes: [u8; 4]) -> Self {
        Self(bytes)
    }

    /// The id of an Ed25519 public key under a name.
    #[must_use]
    pub fn of(name: &str, kind: KeyKind, public: &[u8; 32]) -> Self {
        let input = [name.as_bytes(), b"\n", &[kind as u8], public].concat();
        let [a, b, c, d, ..] = *sha256(&input).as_bytes();
        Self([a, b, c, d])
    }

    /// The four bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 4] {
        &self.0
    }
}

/// Eight lowercase hex digits.
impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex_encode(&self.0))
    }
}

impl fmt::Debug for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A public key with its name and use. Its text is a vkey: `name+keyid+base64(type || key)`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VerifyKey {
    name: String,
    id: KeyId,
    kind: KeyKind,
    public: [u8; 32],
}

impl VerifyKey {
    /// Names a public key.
    ///
    /// # Errors
    /// `Malformed` for a bad name.
    pub fn new(name: &str, kind: KeyKind, public: [u8; 32]) -> Result<Self, Error> {
        check_name(name)?;
        let id = KeyId::of(name, kind, &public);
        Ok(Self { name: name.to_owned(), id, kind, public })
    }

    /// Reads a vkey.
    ///
    /// # Errors
    /// `Malformed` for a bad name, a key id that does not belong to the key, or another type than
    /// Ed25519 (`0x01`) and Ed25519 cosigner (`0x04`).
    pub fn parse(vkey: &str) -> Result<Self, Error> {
        let (name, id, kind, public) = split_key(vkey, "verifier key")?;
        let key = Self::new(name, kind, *public)?;
        if key.id != id {
            return Err(Error::malformed("verifier key", "the key id is not the key's"));
        }
        Ok(key)
    }

    /// Key name; a log's is its origin.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Key id.
    #[must_use]
    pub const fn id(&self) -> KeyId {
        self.id
    }

    /// What the key signs.
    #[must_use]
    pub const fn kind(&self) -> KeyKind {
        self.kind
    }

    /// The 32 bytes of RFC 8032.
    #[must_use]
    pub const fn public(&self) -> &[u8; 32] {
        &self.public
    }

    /// Checks a signature over a note's text; a cosigner's gives its time in seconds since 1970.
    ///
    /// # Errors
    /// `Signature` when it does not verify or has the wrong length.
    pub(crate) fn verify(&self, text: &str, signature: &[u8]) -> Result<Option<u64>, Error> {
        let failed = || Error::Signature { name: self.name.clone() };
        let public = UnparsedPublicKey::new(&ED25519, &self.public);
        match self.kind {
            KeyKind::Ed25519 => {
                public.verify(text.as_bytes(), signature).map_err(|_| failed())?;
                Ok(None)
            }
            KeyKind::Cosigner => {
                let (time_s, signature) = split_cosignature(signature).ok_or_else(failed)?;
                let message = cosigned_message(text, time_s);
                public.verify(message.as_bytes(), signature).map_err(|_| failed())?;
                Ok(Some(time_s))
            }
        }
    }
}

/// The vkey.
impl fmt::Display for VerifyKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut key = vec![self.kind as u8];
        key.extend_from_slice(&self.public);
        write!(f, "{}+{}+{}", self.name, self.id, STANDARD.encode(key))
    }
}

/// A private key that may live elsewhere. One signer has one use: name and key id belong to its
/// [`KeyKind`].
pub trait NoteSigner {
    /// Key name.
    fn name(&self) -> &str;

    /// Key id: [`KeyId::of`] name, kind and public key.
    fn key_id(&self) -> KeyId;

    /// Ed25519 over `message` (RFC 8032).
    ///
    /// # Errors
    /// `Signer` when the key holder refuses or is away.
    fn sign(&self, message: &[u8]) -> Result<[u8; 64], Error>;
}

/// An Ed25519 key in memory.
pub struct SeedSigner {
    pair: Ed25519KeyPair,
    verifier: VerifyKey,
}

const SECRET_PREFIX: &str = "PRIVATE+KEY+";

impl SeedSigner {
    /// Makes the key of a 32-byte seed, which must come from a cryptographic random source.
    ///
    /// # Errors
    /// `Malformed` for a bad name; `Signer` when the library refuses the seed.
    pub fn new(name: &str, kind: KeyKind, seed: &[u8; 32]) -> Result<Self, Error> {
        let refused = |_| Error::Signer { cause: "the seed was refused".to_owned() };
        let pair = Ed25519KeyPair::from_seed_unchecked(seed).map_err(refused)?;
        let public = pair.public_key().as_ref().try_into();
        let public = public.map_err(|_| Error::malformed("public key", "not 32 bytes"))?;
        let verifier = VerifyKey::new(name, kind, public)?;
        Ok(Self { pair, verifier })
    }

    /// Reads a secret key as Go's note package writes it:
    /// `PRIVATE+KEY+name+keyid+base64(type || seed)`.
    ///
    /// # Errors
    /// `Malformed` for any other form or a key id that does not belong to the key.
    pub fn parse(skey: &str) -> Result<Self, Error> {
        let bad = |why| Error::malformed("secret key", why);
        let rest = skey.strip_prefix(SECRET_PREFIX).ok_or(bad("no PRIVATE+KEY+ prefix"))?;
        let (name, id, kind, seed) = split_key(rest, "secret key")?;
        let signer = Self::new(name, kind, &seed)?;
        if signer.verifier.id != id {
            return Err(bad("the key id is not the key's"));
        }
        Ok(signer)
    }

    /// Writes the secret key that [`parse`](Self::parse) reads. The text is cleared when dropped.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub fn secret_text(
        name: &str,
        kind: KeyKind,
        seed: &[u8; 32],
    ) -> Result<Zeroizing<String>, Error> {
        let id = Self::new(name, kind, seed)?.verifier.id;
        let key = Zeroizing::new([&[kind as u8][..], seed].concat());
        let key = Zeroizing::new(STANDARD.encode(&*key));
        Ok(Zeroizing::new(format!("{SECRET_PREFIX}{name}+{id}+{}", *key)))
    }

    /// The public half.
    #[must_use]
    pub const fn verifier(&self) -> &VerifyKey {
        &self.verifier
    }
}

/// Never the secret.
impl fmt::Debug for SeedSigner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SeedSigner({})", self.verifier)
    }
}

impl NoteSigner for SeedSigner {
    fn name(&self) -> &str {
        &self.verifier.name
    }

    fn key_id(&self) -> KeyId {
        self.verifier.id
    }

    fn sign(&self, message: &[u8]) -> Result<[u8; 64], Error> {
        let signature = self.pair.sign(message);
        let bytes = signature.as_ref().try_into();
        bytes.map_err(|_| Error::Signer { cause: "not a 64-byte signature".to_owned() })
    }
}

type KeyParts<'a> = (&'a str, KeyId, KeyKind, Zeroizing<[u8; 32]>);

/// Splits `name+keyid+base64(type || 32 bytes)`; the base64 may hold plus signs itself.
fn split_key<'a>(text: &'a str, what: &'static str) -> Result<KeyParts<'a>, Error> {
    let bad = |why| Error::malformed(what, why);
    let mut parts = text.splitn(3, '+');
    let (Some(name), Some(id), Some(key)) = (parts.next(), parts.next(), parts.next()) else {
        return Err(bad("not three parts"));
    };
    // 33 bytes are 44 characters: no longer text is decoded
    if key.len() != 44 {
        return Err(bad("not 33 bytes of type and key"));
    }
    let id = hex_decode(id).and_then(|id| <[u8; 4]>::try_from(id).ok());
    let id = KeyId(id.ok_or(bad("the key id is not 8 hex digits"))?);
    let decoded = STANDARD.decode(key).map_err(|_| bad("not canonical base64"))?;
    let decoded = Zeroizing::new(decoded);
    let (kind, key) = decoded.split_first().ok_or(bad("no key type"))?;
    let kind = KeyKind::from_byte(*kind).ok_or(bad("unknown key type"))?;
    let mut bytes = Zeroizing::new([0; 32]);
    bytes.copy_from_slice(key.first_chunk::<32>().ok_or(bad("not a 32-byte key"))?);
    Ok((name, id, kind, bytes))
}

/// Key names: 1 … 255 bytes, no space of any script, no plus, no control characters.
pub(crate) fn check_name(name: &str) -> Result<(), Error> {
    let bad = |why| Err(Error::malformed("key name", why));
    if name.is_empty() || name.len() > MAX_NAME_BYTES {
        return bad("not 1 to 255 bytes");
    }
    if name.chars().any(|c| c.is_whitespace() || c.is_control() || c == '+') {
        return bad("spaces, control characters or a plus sign");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_round_trip_through_their_texts() {
        for kind in [KeyKind::Ed25519, KeyKind::Cosigner] {
            let text = SeedSigner::secret_text("log.example/a", kind, &[9; 32]).unwrap();
            let signer = SeedSigner::parse(&text).unwrap();
            let vkey = signer.verifier().to_string();
            assert_eq!(VerifyKey::parse(&vkey).as_ref(), Ok(signer.verifier()));
            assert!(!format!("{signer:?}").contains(&text[text.len() - 20..]));
            // another name, id or kind is another key
            assert!(VerifyKey::parse(&vkey.replace("example/a", "example/b")).is_err());
            let other_id = vkey.replacen(&signer.key_id().to_string(), "00000000", 1);
            assert!(VerifyKey::parse(&other_id).is_err());
        }
        let plain = SeedSigner::new("n", KeyKind::Ed25519, &[1; 32]).unwrap();
        let cosigner = SeedSigner::new("n", KeyKind::Cosigner, &[1; 32]).unwrap();
        assert_ne!(plain.key_id(), cosigner.key_id());
    }

    #[test]
    fn names_without_spaces_or_plus() {
        for bad in ["", "a b", "a+b", "a\u{2003}b", "a\nb", "a\u{7f}", &"x".repeat(256)] {
            assert!(check_name(bad).is_err(), "{bad:?}");
        }
        assert!(check_name("quasimodo.example/salvatore").is_ok());
    }
}
