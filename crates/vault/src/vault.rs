//! The vault itself: made once, opened at each start, refreshed while it runs.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use aws_lc_rs::hmac;
use kernel::{Clock, Entropy, KeyId, TenantId, Timestamp};
use store::{Db, Options, Transaction, args};
use tokio::sync::Mutex;

use crate::cache::Cache;
use crate::config::{Config, Tuning, Where};
use crate::error::Error;
use crate::holder::{Holder, KeyName, Keyholder, Minute, Named, Remote, TenantKeys};
use crate::purpose::Purpose;
use crate::ring::{Material, Ring};
use crate::rows::{ADD_EPOCH, ADD_PURPOSE, ADD_VAULT, MIGRATIONS, VAULT, VaultRow};
use crate::steps::{Step, passed};

/// The vault: cheap to clone, one for each process.
#[derive(Clone)]
pub struct Vault {
    pub(crate) inner: Arc<Inner>,
}

pub(crate) struct Inner {
    pub(crate) db: Db,
    pub(crate) keyholder: TenantKeys,
    pub(crate) tenant: TenantId,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) entropy: Arc<dyn Entropy>,
    pub(crate) tuning: Tuning,
    pub(crate) cache: Cache,
    /// The keys of digests, which must always be at hand: making a digest cannot fail.
    pub(crate) digests: Digests,
    /// One rotation at a time in this process.
    pub(crate) rotating: Mutex<()>,
    ring: RwLock<Arc<Ring>>,
    /// Something was sealed with a key that this ring does not have: read it again.
    stale: AtomicBool,
}

impl fmt::Debug for Vault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Vault")
            .field("keyholder", &self.inner.keyholder)
            .field("tenant", &self.inner.tenant)
            .finish_non_exhaustive()
    }
}

impl Vault {
    /// Makes the root key (where its file is not there yet), the keyholder folder, the first epoch,
    /// the key database's tables and the installation's keys, and opens the vault.
    ///
    /// Order, and why a crash after any step leaves what a second `init` completes: the database's
    /// own row comes after every file that it needs, so a vault that has its row can be opened;
    /// files that stand are used, never replaced; purpose keys are completed by `open` too.
    ///
    /// # Errors
    /// [`Error::Exists`] where the database holds a vault already: nothing was changed.
    pub async fn init(config: Config) -> Result<Self, Error> {
        let db = connect(&config).await?;
        if stored_name(&db).await?.is_some() {
            return Err(Error::Exists);
        }
        let keyholder = TenantKeys::new(make_holder(&config).await?, config.tenant).await?;
        // Epochs beyond the first: this folder has lived with another database.
        if keyholder.epochs().await?.iter().any(|epoch| *epoch != 1) {
            return Err(Error::Mismatch);
        }
        keyholder.add_epoch(1).await?;
        passed(config.tuning.drill.as_ref(), Step::EpochWritten)?;
        let wrapped = keyholder.make_tenant(1).await?;
        let now = config.clock.now();
        let mut tx = db.begin().await?;
        let added = tx.rows(ADD_VAULT.text(), args![keyholder.name(), now]).await?;
        if added.is_empty() {
            return Err(Error::Exists);
        }
        add_epoch(&mut tx, (config.tenant, 1), wrapped, now).await?;
        tx.commit().await?;
        passed(config.tuning.drill.as_ref(), Step::VaultRecorded)?;
        Self::start(config, db, keyholder).await
    }

    /// Opens the vault that [`Vault::init`] made.
    ///
    /// # Errors
    /// [`Error::Missing`] where there is none, [`Error::RootRefused`] for a wrong passphrase,
    /// [`Error::Mismatch`] where folder and database are of two vaults, [`Error::EpochGone`] where
    /// the database is older than the last epoch rotation.
    pub async fn open(config: Config) -> Result<Self, Error> {
        let keyholder = TenantKeys::new(open_holder(&config).await?, config.tenant).await?;
        let db = connect(&config).await?;
        match stored_name(&db).await? {
            None => return Err(Error::Missing { what: "its row in the key database" }),
            Some(name) if name != keyholder.name() => return Err(Error::Mismatch),
            Some(_) => {}
        }
        Self::start(config, db, keyholder).await
    }

    async fn start(config: Config, db: Db, keyholder: TenantKeys) -> Result<Self, Error> {
        let ring = complete_purposes(&config, &db, &keyholder).await?;
        let cache = Cache::new(config.tuning.cache_keys, config.tuning.recheck);
        let digests = Digests::new(&ring)?;
        Ok(Self {
            inner: Arc::new(Inner {
                db,
                keyholder,
                tenant: config.tenant,
                clock: config.clock,
                entropy: config.entropy,
                tuning: config.tuning,
                cache,
                digests,
                rotating: Mutex::new(()),
                ring: RwLock::new(Arc::new(ring)),
                stale: AtomicBool::new(false),
            }),
        })
    }

    /// Reads the installation's keys again: what another process rotated is known then.
    ///
    /// # Errors
    /// [`Error`], as database and keyholder say; the keys that were known stay in use.
    pub async fn refresh(&self) -> Result<(), Error> {
        let before = self.ring();
        // Before the read: what is found missing while it runs asks for another.
        self.inner.stale.store(false, Ordering::Relaxed);
        let read = Ring::read(&self.inner.db, &self.inner.keyholder, self.tenant(), &before);
        let ring = read.await.inspect_err(|_| self.mark_stale())?;
        let mut place = self.inner.ring.write().unwrap_or_else(PoisonError::into_inner);
        *place = Arc::new(ring);
        Ok(())
    }

    /// What the keyholder's process opened in each minute after this one (minutes since 1970), as
    /// far as it remembers; nothing where the keyholder is in this process.
    ///
    /// # Errors
    /// [`Error::KeyholderAway`].
    pub async fn minutes(&self, after: i64) -> Result<Vec<Minute>, Error> {
        self.inner.keyholder.minutes(after).await
    }

    /// Ends the connections to the key database.
    pub async fn close(&self) {
        self.inner.db.close().await;
    }

    pub(crate) fn ring(&self) -> Arc<Ring> {
        Arc::clone(&self.inner.ring.read().unwrap_or_else(PoisonError::into_inner))
    }

    pub(crate) fn mark_stale(&self) {
        self.inner.stale.store(true, Ordering::Relaxed);
    }

    pub(crate) fn is_stale(&self) -> bool {
        self.inner.stale.load(Ordering::Relaxed)
    }

    pub(crate) fn tenant(&self) -> TenantId {
        self.inner.tenant
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.inner.clock.now()
    }

    pub(crate) fn entropy(&self) -> &dyn Entropy {
        self.inner.entropy.as_ref()
    }

    pub(crate) fn drill(&self) -> &dyn crate::steps::Drill {
        self.inner.tuning.drill.as_ref()
    }
}

/// The keyholder, with its root key and folder where they are to be made in this process.
async fn make_holder(config: &Config) -> Result<Arc<dyn Holder>, Error> {
    let Where::Here(home) = &config.keyholder else { return open_holder(config).await };
    let (entropy, drill) = (Arc::clone(&config.entropy), Arc::clone(&config.tuning.drill));
    Ok(Arc::new(Keyholder::make_in_steps(home, entropy, drill).await?))
}

/// The name of the vault whose keyholder answers there, without a database.
///
/// # Errors
/// [`Error::Missing`], [`Error::RootRefused`], [`Error::KeyholderAway`].
pub async fn keyholder_name(config: &Config) -> Result<[u8; 16], Error> {
    Ok(open_holder(config).await?.facts().await?.name)
}

async fn open_holder(config: &Config) -> Result<Arc<dyn Holder>, Error> {
    match &config.keyholder {
        Where::Here(home) => {
            Ok(Arc::new(Keyholder::open(home, Arc::clone(&config.entropy)).await?))
        }
        Where::Socket { path, wait } => Ok(Arc::new(Remote::reach(path, *wait).await?)),
    }
}

async fn connect(config: &Config) -> Result<Db, Error> {
    let options = Options { connections: 4, ..Options::new(config.database_url.clone()) };
    let db = Db::open(&options).await?;
    // Who may not change the schema must not try to: a role of core's own on PostgreSQL.
    if !store::pending(&db, MIGRATIONS).await?.is_empty() {
        store::migrate(&db, MIGRATIONS, config.clock.now()).await?;
    }
    Ok(db)
}

async fn stored_name(db: &Db) -> Result<Option<[u8; 16]>, Error> {
    let rows: Vec<VaultRow> = db.read().await?.all(VAULT.text(), args![]).await?;
    Ok(rows.first().map(|row| row.name))
}

/// Makes the first version of each purpose that has none: at `init`, after an `init` that was cut
/// short, and after an update of the program that brought a new purpose.
async fn complete_purposes(
    config: &Config,
    db: &Db,
    keyholder: &TenantKeys,
) -> Result<Ring, Error> {
    let mut ring = Ring::read(db, keyholder, config.tenant, &Ring::default()).await?;
    let now = config.clock.now();
    for purpose in Purpose::ALL {
        if !ring.versions(purpose).is_empty() {
            continue;
        }
        let new = NewVersion { tenant: config.tenant, purpose, version: 1, now, not_before: now };
        add_version((db, keyholder), &ring, new, config.entropy.as_ref()).await?;
        ring = Ring::read(db, keyholder, config.tenant, &ring).await?;
        passed(config.tuning.drill.as_ref(), Step::PurposeRecorded)?;
    }
    Ok(ring)
}

/// A version of a purpose key that is to be made.
#[derive(Clone, Copy)]
pub(crate) struct NewVersion {
    pub(crate) tenant: TenantId,
    pub(crate) purpose: Purpose,
    pub(crate) version: u32,
    pub(crate) now: Timestamp,
    pub(crate) not_before: Timestamp,
}

/// Adds a version of a purpose key. False where another process has just added it.
pub(crate) async fn add_version(
    (db, keyholder): (&Db, &TenantKeys),
    ring: &Ring,
    new: NewVersion,
    entropy: &dyn Entropy,
) -> Result<bool, Error> {
    let NewVersion { tenant, purpose, version, now, not_before } = new;
    let epoch = ring.epoch()?;
    let id = KeyId::generate(now, entropy);
    let what = Named::Purpose { purpose: purpose.name().to_owned(), version };
    let (wrapped, key) = keyholder.make(epoch.key.clone(), KeyName { what, id }).await?;
    let public_key = Material::new(purpose, &key)?.public_key();
    drop(key);
    let (name, id, number) = (purpose.name(), id.as_bytes(), epoch.key.number);
    let args =
        args![tenant.as_bytes(), name, version, id, number, wrapped, public_key, now, not_before];
    let mut tx = db.begin().await?;
    let added = tx.rows(ADD_PURPOSE.text(), args).await?;
    tx.commit().await?;
    Ok(!added.is_empty())
}

/// The digest keys. The first version of the MAC key is here too, for a ring that has lost it.
pub(crate) struct Digests {
    pub(crate) pseudonym: hmac::Key,
    pub(crate) blind: hmac::Key,
    pub(crate) mac: hmac::Key,
}

impl Digests {
    fn new(ring: &Ring) -> Result<Self, Error> {
        let first = |purpose: Purpose| {
            let version = ring.versions(purpose).first();
            match version.map(|version| version.material.as_ref()) {
                Some(Material::Mac(key)) => Ok(key.as_ref().clone()),
                Some(Material::Cipher(_) | Material::Pair(_) | Material::Gone) | None => {
                    Err(Error::Missing { what: "a digest key" })
                }
            }
        };
        let (pseudonym, blind) = (first(Purpose::Pseudonym)?, first(Purpose::Blind)?);
        Ok(Self { pseudonym, blind, mac: first(Purpose::Mac)? })
    }
}

/// Records an epoch with the tenant's key under it. False where it is recorded already.
pub(crate) async fn add_epoch(
    tx: &mut Transaction,
    (tenant, number): (TenantId, i64),
    wrapped: Vec<u8>,
    now: Timestamp,
) -> Result<bool, Error> {
    let args = args![tenant.as_bytes(), number, wrapped, now];
    Ok(!tx.rows(ADD_EPOCH.text(), args).await?.is_empty())
}
