//! The key that signs the log's checkpoints. One value holds one version, so that its public key
//! and its signatures belong together; after a rotation the program makes a new one.

use std::fmt;
use std::sync::Arc;

use spine::{CheckpointSigner, SealError};

use crate::error::Error;
use crate::purpose::Purpose;
use crate::ring::{Material, Version};
use crate::vault::Vault;

/// Signs checkpoints under a name.
#[derive(Clone)]
pub struct Notary {
    name: String,
    version: Arc<Version>,
    public_key: [u8; 32],
}

impl fmt::Debug for Notary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Notary").field("name", &self.name).finish_non_exhaustive()
    }
}

impl Vault {
    /// The signer of the log of this name (C2SP signed-note key name), with the checkpoint key
    /// that is in use now. A rotation of it changes the log's verification key, of which the log
    /// tells (`spine::Spine::tell_key_changes`).
    ///
    /// # Errors
    /// [`Error::Missing`] where there is no key.
    pub fn notary(&self, name: impl Into<String>) -> Result<Notary, Error> {
        let ring = self.ring();
        let number = ring.current(Purpose::Checkpoint, self.now())?.life.version;
        let mut versions = ring.versions(Purpose::Checkpoint).iter();
        let version = versions.find(|version| version.life.version == number);
        let version = version.ok_or(Error::Missing { what: "the checkpoint key" })?;
        let public_key = version.public_key.as_slice().try_into().map_err(|_| Error::Forged)?;
        Ok(Notary { name: name.into(), version: Arc::clone(version), public_key })
    }

    /// The signers of all checkpoint keys so far, oldest first: old ones vouch for those that follow.
    ///
    /// # Errors
    /// [`Error::Forged`] where a public half is none.
    pub fn notaries(&self, name: &str) -> Result<Vec<Notary>, Error> {
        let ring = self.ring();
        let notary = |version: &Arc<Version>| {
            let public_key = version.public_key.as_slice().try_into().map_err(|_| Error::Forged)?;
            Ok(Notary { name: name.to_owned(), version: Arc::clone(version), public_key })
        };
        ring.versions(Purpose::Checkpoint).iter().map(notary).collect()
    }
}

impl CheckpointSigner for Notary {
    fn name(&self) -> &str {
        &self.name
    }

    fn public_key(&self) -> [u8; 32] {
        self.public_key
    }

    fn sign(&self, note: &[u8]) -> Result<[u8; 64], SealError> {
        let Material::Pair(pair) = self.version.material.as_ref() else {
            return Err(SealError::Unavailable);
        };
        self.version.use_once();
        pair.sign(note).as_ref().try_into().map_err(|_| SealError::Unavailable)
    }
}
