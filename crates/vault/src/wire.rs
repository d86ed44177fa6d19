//! Messages between the nodes of one installation that pass through others' hands: sealed by a key
//! that every node can derive and nobody else, so that who carries them can neither read nor make
//! nor change one.

use crate::aead::{Cipher, NONCE_LEN, take_key};
use crate::error::Error;
use crate::vault::Vault;

/// The key of one sender's run.
pub struct WireKey(Cipher);

impl std::fmt::Debug for WireKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("WireKey")
    }
}

impl Vault {
    /// The key under which one run of one sender seals. `sender` must be other in each run: the
    /// messages of a run are numbered, and a number is used once.
    ///
    /// # Errors
    /// [`Error::Primitive`].
    pub fn wire_key(&self, context: &'static str, sender: &[u8]) -> Result<WireKey, Error> {
        let bytes = self.blind(context, sender);
        let key = take_key(&bytes).ok_or(Error::Primitive("a derived key"))?;
        Ok(WireKey(Cipher::new(&key)?))
    }
}

impl WireKey {
    /// Seals the message of this number, which no other of this key may have.
    ///
    /// # Errors
    /// [`Error::Primitive`].
    pub fn seal(&self, number: u64, bound: &[u8], text: &[u8]) -> Result<Vec<u8>, Error> {
        let mut sealed = text.to_vec();
        let tag = self.0.seal(nonce(number), bound, &mut sealed)?;
        sealed.extend_from_slice(&tag);
        Ok(sealed)
    }

    /// Opens the message of this number.
    ///
    /// # Errors
    /// [`Error::Forged`] where it is not what was sealed under this number and `bound`.
    pub fn open(&self, number: u64, bound: &[u8], sealed: &[u8]) -> Result<Vec<u8>, Error> {
        self.0.open(nonce(number), bound, sealed)
    }
}

fn nonce(number: u64) -> [u8; NONCE_LEN] {
    let mut nonce = [0; NONCE_LEN];
    for (to, from) in nonce.iter_mut().skip(4).zip(number.to_be_bytes()) {
        *to = from;
    }
    nonce
}
