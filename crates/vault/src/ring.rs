//! The keys of the installation that stay in memory: the purpose keys in their versions, and which
//! epochs live. Read whole, replaced whole; no caller sees half a change.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use aws_lc_rs::hmac;
use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
use kernel::{KeyId, TenantId, Timestamp};
use store::{Db, args};

use crate::aead::{Cipher, KeyBytes};
use crate::error::Error;
use crate::holder::{Bytes, EpochKey, KeyName, Named, TenantKeys, Wrapped};
use crate::purpose::{Life, Phase, Purpose, current, phase};
use crate::rows::{EPOCHS, EpochRow, PURPOSES, PurposeRow, VAULT, VaultRow};

/// A key in the form that its purpose uses.
pub(crate) enum Material {
    Cipher(Cipher),
    Mac(Box<hmac::Key>),
    Pair(Ed25519KeyPair),
    /// Its end has come: the row is inventory only.
    Gone,
}

impl Material {
    pub(crate) fn new(purpose: Purpose, key: &KeyBytes) -> Result<Self, Error> {
        Ok(match purpose {
            Purpose::Field => Self::Cipher(Cipher::new(key)?),
            Purpose::Pseudonym | Purpose::Blind | Purpose::Mac => {
                Self::Mac(Box::new(hmac::Key::new(hmac::HMAC_SHA256, key.expose())))
            }
            Purpose::Session | Purpose::Access | Purpose::Checkpoint => Self::Pair(
                Ed25519KeyPair::from_seed_unchecked(key.expose())
                    .map_err(|_| Error::Primitive("Ed25519 key"))?,
            ),
        })
    }

    /// The public half; empty where there is none.
    pub(crate) fn public_key(&self) -> Vec<u8> {
        match self {
            Self::Pair(pair) => pair.public_key().as_ref().to_vec(),
            Self::Cipher(_) | Self::Mac(_) | Self::Gone => Vec::new(),
        }
    }
}

/// One version of a purpose key.
pub(crate) struct Version {
    pub(crate) id: KeyId,
    pub(crate) life: Life,
    pub(crate) created_at: Timestamp,
    pub(crate) public_key: Vec<u8>,
    /// Shared by the rings that follow each other: opened once.
    pub(crate) material: Arc<Material>,
    /// Uses that the database knows of.
    uses_stored: u64,
    /// Uses by this process since the last count; shared by the rings that follow each other.
    uses: Arc<AtomicU64>,
}

impl Version {
    /// Counts one use and gives the number so far, of all processes as far as it is known.
    pub(crate) fn use_once(&self) -> u64 {
        self.uses_stored.saturating_add(self.uses.fetch_add(1, Ordering::Relaxed)) + 1
    }

    fn is_gone(&self) -> bool {
        matches!(*self.material, Material::Gone)
    }

    /// Uses so far.
    pub(crate) fn uses(&self) -> u64 {
        self.uses_stored.saturating_add(self.uses.load(Ordering::Relaxed))
    }

    /// Takes the uses that the database does not know of yet.
    pub(crate) fn take_uses(&self) -> u64 {
        self.uses.swap(0, Ordering::Relaxed)
    }
}

/// The keys of the installation at one moment.
#[derive(Default)]
pub(crate) struct Ring {
    /// Days before this one are retired.
    pub(crate) day_horizon: i64,
    /// The living epochs, oldest first.
    pub(crate) epochs: Vec<Epoch>,
    versions: BTreeMap<Purpose, Vec<Arc<Version>>>,
}

/// A living epoch.
pub(crate) struct Epoch {
    pub(crate) created_at: Timestamp,
    /// The tenant's key, wrapped: only the keyholder can open it.
    pub(crate) key: EpochKey,
}

impl Ring {
    /// The epoch that new keys are wrapped under.
    pub(crate) fn epoch(&self) -> Result<&Epoch, Error> {
        self.epochs.last().ok_or(Error::Missing { what: "its epoch" })
    }

    /// An epoch by its number.
    pub(crate) fn epoch_key(&self, epoch: i64) -> Option<&EpochKey> {
        self.epochs.iter().map(|known| &known.key).find(|key| key.number == epoch)
    }

    /// The tenant's keys of all living epochs, wrapped.
    pub(crate) fn epoch_keys(&self) -> Vec<EpochKey> {
        self.epochs.iter().map(|known| known.key.clone()).collect()
    }

    /// All versions of a purpose, oldest first.
    pub(crate) fn versions(&self, purpose: Purpose) -> &[Arc<Version>] {
        self.versions.get(&purpose).map_or(&[], Vec::as_slice)
    }

    /// The version to use at `now`.
    pub(crate) fn current(&self, purpose: Purpose, now: Timestamp) -> Result<&Version, Error> {
        let versions = self.versions(purpose);
        let living = versions.iter().filter(|version| !version.is_gone());
        let lives: Vec<Life> = living.map(|version| version.life).collect();
        let number = current(&lives, now).ok_or(Error::Missing { what: "a purpose key" })?;
        self.version(purpose, number).ok_or(Error::Missing { what: "a purpose key" })
    }

    /// A version by its number.
    pub(crate) fn version(&self, purpose: Purpose, number: u32) -> Option<&Version> {
        let found = self.versions(purpose).iter().find(|version| version.life.version == number)?;
        Some(found.as_ref())
    }

    /// Where each version of a purpose stands at `now`, oldest first.
    pub(crate) fn phases(
        &self,
        purpose: Purpose,
        now: Timestamp,
    ) -> Result<Vec<(Arc<Version>, Phase)>, Error> {
        let number = self.current(purpose, now)?.life.version;
        let with_phase = |version: &Arc<Version>| {
            let gone = version.is_gone();
            let phase = if gone { Phase::Retired } else { phase(&version.life, number, now) };
            (Arc::clone(version), phase)
        };
        Ok(self.versions(purpose).iter().map(with_phase).collect())
    }

    /// Reads the ring from the database and the keyholder. `before` is the ring that it follows:
    /// uses that were not stored yet go over.
    ///
    /// An epoch rotation by another process may pull an epoch away between two of the reads; then
    /// all is read again.
    pub(crate) async fn read(
        db: &Db,
        keyholder: &TenantKeys,
        tenant: TenantId,
        before: &Self,
    ) -> Result<Self, Error> {
        let mut tries = 4u8;
        loop {
            match Self::read_once(db, keyholder, tenant, before).await {
                Err(Error::EpochGone { .. } | Error::Raced) if tries > 0 => tries -= 1,
                done => return done,
            }
        }
    }

    async fn read_once(
        db: &Db,
        keyholder: &TenantKeys,
        tenant: TenantId,
        before: &Self,
    ) -> Result<Self, Error> {
        let mut reader = db.read().await?;
        let vault: Vec<VaultRow> = reader.all(VAULT.text(), args![]).await?;
        let vault = vault.first().ok_or(Error::Missing { what: "its row in the key database" })?;
        if vault.name != keyholder.name() {
            return Err(Error::Mismatch);
        }
        let purposes: Vec<PurposeRow> =
            reader.all(PURPOSES.text(), args![tenant.as_bytes()]).await?;
        let rows: Vec<EpochRow> = reader.all(EPOCHS.text(), args![tenant.as_bytes()]).await?;
        drop(reader);
        let epochs = rows.into_iter().map(Epoch::from).collect();
        let mut ring = Self { day_horizon: vault.day_horizon, epochs, versions: BTreeMap::new() };
        // A purpose of a newer program than this one is left alone.
        let named = |row: PurposeRow| Some((Purpose::named(&row.purpose)?, row));
        let rows: Vec<_> = purposes.into_iter().filter_map(named).collect();
        let mut opened = ring.open_new(keyholder, before, &rows).await?;
        for (purpose, row) in rows {
            let known = before.by_key(purpose, row.key);
            let material = match (row.epoch, known, opened.remove(&row.key)) {
                (None, _, _) => Arc::new(Material::Gone),
                (Some(_), _, Some(key)) => Arc::new(Material::new(purpose, &key)?),
                (Some(_), Some(known), None) => Arc::clone(&known.material),
                (Some(_), None, None) => return Err(Error::Raced),
            };
            let uses = known.map(|known| Arc::clone(&known.uses)).unwrap_or_default();
            let version = Version::new(row, material, uses)?;
            ring.versions.entry(purpose).or_default().push(Arc::new(version));
        }
        Ok(ring)
    }

    /// Opens what `before` does not have. Where the epochs are others than before, it is tried
    /// whether their keys open, for else nothing would show that one is gone.
    async fn open_new(
        &self,
        keyholder: &TenantKeys,
        before: &Self,
        rows: &[(Purpose, PurposeRow)],
    ) -> Result<HashMap<KeyId, KeyBytes>, Error> {
        let mut wanted = Vec::new();
        for (purpose, row) in rows {
            let Some(epoch) = row.epoch else { continue };
            if before.by_key(*purpose, row.key).is_some_and(|known| !known.is_gone()) {
                continue;
            }
            wanted.push(row.wrapped(epoch));
        }
        let epochs = self.epoch_keys();
        if wanted.is_empty() && epochs == before.epoch_keys() {
            return Ok(HashMap::new());
        }
        let ids: Vec<KeyId> = wanted.iter().map(|key| key.name.id).collect();
        let keys = keyholder.open(epochs, wanted).await?;
        Ok(ids.into_iter().zip(keys).collect())
    }

    fn by_key(&self, purpose: Purpose, key: KeyId) -> Option<&Version> {
        self.versions(purpose).iter().find(|version| version.id == key).map(AsRef::as_ref)
    }
}

impl Version {
    fn new(row: PurposeRow, material: Arc<Material>, uses: Arc<AtomicU64>) -> Result<Self, Error> {
        let PurposeRow { key: id, life, created_at, public_key, uses: uses_stored, .. } = row;
        // The public half is not sealed: it must be the one that the private half gives.
        if !matches!(*material, Material::Gone) && material.public_key() != public_key {
            return Err(Error::Forged);
        }
        Ok(Self { id, life, created_at, public_key, material, uses_stored, uses })
    }
}

impl PurposeRow {
    /// The key as the keyholder is shown it.
    pub(crate) fn wrapped(&self, epoch: i64) -> Wrapped {
        let what = Named::Purpose { purpose: self.purpose.clone(), version: self.life.version };
        let name = KeyName { what, id: self.key };
        Wrapped { name, epoch, wrapped: Bytes(self.wrapped.clone()) }
    }
}

impl From<EpochRow> for Epoch {
    fn from(row: EpochRow) -> Self {
        let key = EpochKey { number: row.epoch, wrapped: Bytes(row.wrapped) };
        Self { created_at: row.created_at, key }
    }
}
