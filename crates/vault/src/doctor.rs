//! What `key list` and `doctor` show: which keys there are, how old and how much used, and whether
//! they stand where they may.

use std::path::Path;

use kernel::{KeyId, Timestamp};
use serde::Serialize;
use store::args;

use crate::aead::SEALS_MAX;
use crate::error::Error;
use crate::files::volume;
use crate::purpose::{Phase, Purpose};
use crate::rows::{COUNT_SUBJECTS, Count};
use crate::vault::Vault;

/// A key of the installation, without the key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct KeyFacts {
    /// What it is for.
    pub purpose: Purpose,
    /// Its version.
    pub version: u32,
    /// Its id (a signing key's `kid`).
    pub id: KeyId,
    /// Where it stands in its life.
    pub phase: Phase,
    /// When it was made.
    pub created_at: Timestamp,
    /// Its age, seconds.
    pub age_s: u64,
    /// From when it is used.
    pub not_before: Timestamp,
    /// Until when it is published.
    pub retire_at: Option<Timestamp>,
    /// Times that it was used, of all processes as far as they have told.
    pub uses: u64,
    /// Times that it may be used; none: without a bound.
    pub uses_max: Option<u64>,
}

/// How the vault stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct VaultFacts {
    /// The root's kind (`passphrase`, `key file` ...).
    pub root: String,
    /// Keys and data on one volume: one stolen disk or snapshot has both. Not for production.
    pub same_volume: bool,
    /// The keyholder folder may be read by others on this host.
    pub exposed: bool,
    /// The present epoch.
    pub epoch: i64,
    /// Its age, seconds: erasure is final against backups of the key database once per epoch.
    pub epoch_age_s: u64,
    /// An epoch rotation was cut short and waits to be finished.
    pub rotation_unfinished: bool,
    /// Subjects with a key.
    pub subjects: u64,
    /// Subjects whose key was destroyed.
    pub erased: u64,
}

impl Vault {
    /// The installation's keys, by purpose and version.
    ///
    /// # Errors
    /// [`Error::Missing`] where a purpose has no key.
    pub fn list(&self) -> Result<Vec<KeyFacts>, Error> {
        let (ring, now) = (self.ring(), self.now());
        let mut list = Vec::new();
        for purpose in Purpose::ALL {
            for (version, phase) in ring.phases(purpose, now)? {
                list.push(KeyFacts {
                    purpose,
                    version: version.life.version,
                    id: version.id,
                    phase,
                    created_at: version.created_at,
                    age_s: now.since(version.created_at).as_secs(),
                    not_before: version.life.not_before,
                    retire_at: version.life.retire_at,
                    uses: version.uses(),
                    uses_max: (purpose == Purpose::Field).then_some(SEALS_MAX),
                });
            }
        }
        Ok(list)
    }

    /// How the vault stands, with the data at `data_path`.
    ///
    /// # Errors
    /// [`Error`] of database or folder.
    pub async fn facts(&self, data_path: &Path) -> Result<VaultFacts, Error> {
        let keyholder = self.inner.keyholder.facts().await?;
        let (ring, now) = (self.ring(), self.now());
        let epoch = ring.epoch()?;
        Ok(VaultFacts {
            root: keyholder.root,
            same_volume: volume(data_path)? == keyholder.volume,
            exposed: keyholder.exposed,
            epoch: epoch.key.number,
            epoch_age_s: now.since(epoch.created_at).as_secs(),
            rotation_unfinished: self.is_rotation_unfinished().await?,
            subjects: self.count_subjects(1).await?,
            erased: self.count_subjects(2).await?,
        })
    }

    async fn count_subjects(&self, state: i64) -> Result<u64, Error> {
        let tenant = self.tenant();
        let mut reader = self.inner.db.read().await?;
        let counts: Vec<Count> =
            reader.all(COUNT_SUBJECTS.text(), args![tenant.as_bytes(), state]).await?;
        Ok(counts.first().map_or(0, |count| count.0))
    }
}
