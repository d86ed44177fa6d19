//! The keys of the installation that stay in memory: the tenant's key of each living epoch, and
//! the purpose keys in their versions. Read whole, replaced whole; no caller sees half a change.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use aws_lc_rs::hmac;
use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
use kernel::{KeyId, TenantId, Timestamp};
use store::{Db, args};

use crate::aead::{Cipher, KeyBytes};
use crate::error::Error;
use crate::keyholder::Keyholder;
use crate::purpose::{Life, Phase, Purpose, current, phase};
use crate::rows::{EPOCHS, EpochRow, PURPOSES, PurposeRow, VAULT, VaultRow};
use crate::sealed::{purpose_context, tenant_context, unwrap};

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
    pub(crate) material: Material,
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
    /// The tenant's key of each living epoch, oldest first.
    pub(crate) epochs: Vec<Epoch>,
    versions: BTreeMap<Purpose, Vec<Arc<Version>>>,
}

/// A living epoch.
pub(crate) struct Epoch {
    pub(crate) number: i64,
    pub(crate) created_at: Timestamp,
    pub(crate) tenant_key: Arc<Cipher>,
}

impl Ring {
    /// The epoch that new keys are wrapped under.
    pub(crate) fn epoch(&self) -> Result<&Epoch, Error> {
        self.epochs.last().ok_or(Error::Missing { what: "its epoch" })
    }

    /// The tenant's key of an epoch.
    pub(crate) fn tenant_key(&self, epoch: i64) -> Option<&Cipher> {
        let found = self.epochs.iter().find(|known| known.number == epoch)?;
        Some(found.tenant_key.as_ref())
    }

    /// All versions of a purpose, oldest first.
    pub(crate) fn versions(&self, purpose: Purpose) -> &[Arc<Version>] {
        self.versions.get(&purpose).map_or(&[], Vec::as_slice)
    }

    /// The version to use at `now`.
    pub(crate) fn current(&self, purpose: Purpose, now: Timestamp) -> Result<&Version, Error> {
        let versions = self.versions(purpose);
        let living = versions.iter().filter(|version| !matches!(version.material, Material::Gone));
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
            let gone = matches!(version.material, Material::Gone);
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
        keyholder: &Keyholder,
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
        keyholder: &Keyholder,
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
        let epochs = open_epochs(keyholder, tenant, rows, before).await?;
        let mut ring = Self { day_horizon: vault.day_horizon, epochs, versions: BTreeMap::new() };
        let uses = before.uses_by_key();
        for row in purposes {
            // A purpose of a newer program than this one is left alone.
            let Some(purpose) = Purpose::named(&row.purpose) else { continue };
            let version = ring.open_version(tenant, purpose, row, &uses)?;
            ring.versions.entry(purpose).or_default().push(Arc::new(version));
        }
        Ok(ring)
    }

    fn uses_by_key(&self) -> HashMap<KeyId, Arc<AtomicU64>> {
        let versions = self.versions.values().flatten();
        versions.map(|version| (version.id, Arc::clone(&version.uses))).collect()
    }

    fn open_version(
        &self,
        tenant: TenantId,
        purpose: Purpose,
        row: PurposeRow,
        uses: &HashMap<KeyId, Arc<AtomicU64>>,
    ) -> Result<Version, Error> {
        let material = match row.epoch {
            None => Material::Gone,
            Some(epoch) => {
                let above = self.tenant_key(epoch).ok_or(Error::Raced)?;
                let version = row.life.version;
                let context = purpose_context(tenant, purpose.name(), version, row.key, epoch);
                Material::new(purpose, &unwrap(above, &context, &row.wrapped)?)?
            }
        };
        // The public half is not sealed: it must be the one that the private half gives.
        if !matches!(material, Material::Gone) && material.public_key() != row.public_key {
            return Err(Error::Forged);
        }
        Ok(Version {
            id: row.key,
            life: row.life,
            created_at: row.created_at,
            public_key: row.public_key,
            material,
            uses_stored: row.uses,
            uses: uses.get(&row.key).cloned().unwrap_or_default(),
        })
    }
}

/// Unwraps the tenant's keys. One that is in memory already is not asked of the root again.
async fn open_epochs(
    keyholder: &Keyholder,
    tenant: TenantId,
    rows: Vec<EpochRow>,
    before: &Ring,
) -> Result<Vec<Epoch>, Error> {
    let mut epochs = Vec::with_capacity(rows.len());
    for row in rows {
        let known = before.epochs.iter().find(|known| known.number == row.epoch);
        let tenant_key = match known {
            Some(known) => Arc::clone(&known.tenant_key),
            None => {
                let above = keyholder.epoch(row.epoch).await?;
                let context = tenant_context(tenant, row.epoch);
                Arc::new(Cipher::new(&unwrap(&above, &context, &row.wrapped)?)?)
            }
        };
        epochs.push(Epoch { number: row.epoch, created_at: row.created_at, tenant_key });
    }
    Ok(epochs)
}
