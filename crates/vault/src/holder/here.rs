//! The keyholder itself: the root key and the folder, and the tenant keys that were opened.
//!
//! It sees no database: whoever asks brings the wrapped keys along, and each opens only under the
//! whole name that it was wrapped with. A tenant key stays in memory while its epoch's file stands.

use std::collections::HashMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use kernel::{Entropy, TenantId};
use spine::BoxFuture;

use crate::aead::{Cipher, fresh_key};
use crate::config::Home;
use crate::copied::read_files;
use crate::error::Error;
use crate::files;
use crate::folder::{Folder, blocking};
use crate::holder::ask::{Answer, Ask, Bytes, EpochKey, Facts, KeyName, Said, Under, Wrapped};
use crate::holder::{EPOCHS_MAX, Holder};
use crate::root::{Root, RootKey};
use crate::sealed::{tenant_context, unwrap, wrap};
use crate::steps::{Drill, NoDrill, Step, passed};

/// The keyholder of an installation. Cheap to clone.
#[derive(Clone)]
pub struct Keyholder(Arc<Inner>);

struct Inner {
    folder: Folder,
    /// The root key's file, where it is one.
    root_file: Option<PathBuf>,
    /// The root key stands there as it is.
    is_bare: bool,
    entropy: Arc<dyn Entropy>,
    tenants: Mutex<Vec<Tenant>>,
    /// Epochs are made and destroyed one at a time.
    changing: tokio::sync::Mutex<()>,
}

/// A tenant's key of an epoch, opened.
struct Tenant {
    tenant: TenantId,
    key: EpochKey,
    cipher: Arc<Cipher>,
}

impl fmt::Debug for Keyholder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Keyholder").field("folder", &self.0.folder.path()).finish_non_exhaustive()
    }
}

impl Keyholder {
    /// Makes the root key and the folder where they are not there yet; what stands is used.
    ///
    /// # Errors
    /// [`Error::WeakPassphrase`], [`Error::RootRefused`], [`Error::File`].
    pub async fn make(home: &Home, entropy: Arc<dyn Entropy>) -> Result<Self, Error> {
        Self::make_in_steps(home, entropy, Arc::new(NoDrill)).await
    }

    pub(crate) async fn make_in_steps(
        home: &Home,
        entropy: Arc<dyn Entropy>,
        drill: Arc<dyn Drill>,
    ) -> Result<Self, Error> {
        let (Home { folder, root }, random) = (home.clone(), Arc::clone(&entropy));
        let made = blocking(move || {
            files::make_private_folder(&folder)?;
            root.make(random.as_ref())?;
            passed(drill.as_ref(), Step::RootWritten)?;
            let folder = Folder::make(&folder, root.open()?, random.as_ref())?;
            passed(drill.as_ref(), Step::NameWritten)?;
            Ok(folder)
        });
        Ok(Self::new(made.await?, &home.root, entropy))
    }

    /// Opens the root key and the folder.
    ///
    /// # Errors
    /// [`Error::Missing`] where there are none, [`Error::RootRefused`] for a wrong passphrase,
    /// [`Error::Exposed`] where others on this host can read them.
    pub async fn open(home: &Home, entropy: Arc<dyn Entropy>) -> Result<Self, Error> {
        let Home { folder, root } = home.clone();
        let opened = blocking(move || {
            let root: Arc<dyn RootKey> = match root.open() {
                Err(Error::File { source, .. })
                    if source.kind() == std::io::ErrorKind::NotFound =>
                {
                    return Err(Error::Missing { what: "the root key's file" });
                }
                other => other?,
            };
            Folder::open(&folder, root)
        });
        let folder = opened.await?.ok_or(Error::Missing { what: "the keyholder folder" })?;
        Ok(Self::new(folder, &home.root, entropy))
    }

    fn new(folder: Folder, root: &Root, entropy: Arc<dyn Entropy>) -> Self {
        Self(Arc::new(Inner {
            folder,
            root_file: root.file().map(Path::to_owned),
            is_bare: root.is_bare(),
            entropy,
            tenants: Mutex::default(),
            changing: tokio::sync::Mutex::new(()),
        }))
    }

    /// Whether its files are the root key itself: they are no stranger's, not even a backup's.
    pub(crate) fn is_bare(&self) -> bool {
        self.0.is_bare
    }

    async fn files(&self) -> Result<Answer, Error> {
        let inner = Arc::clone(&self.0);
        let files = blocking(move || read_files(inner.folder.path(), inner.root_file.as_deref()));
        Ok(Said::Files(files.await?).into())
    }

    /// Its folder.
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.0.folder.path()
    }

    fn entropy(&self) -> &dyn Entropy {
        self.0.entropy.as_ref()
    }

    fn facts_now(&self) -> Result<Facts, Error> {
        let folder = &self.0.folder;
        Ok(Facts {
            name: folder.name(),
            root: folder.root_kind().to_owned(),
            exposed: files::refuse_exposed(folder.path()).is_err(),
            volume: files::volume(folder.path())?,
            epochs: folder.epochs()?,
        })
    }

    /// The epoch after the newest, or one that stands: whoever asks cannot fill the disk with them.
    async fn add_epoch(&self, epoch: i64) -> Result<(), Error> {
        let _one = self.0.changing.lock().await;
        let newest = self.0.folder.epochs()?.last().copied().unwrap_or(0);
        if epoch < 1 || epoch > newest.saturating_add(1) {
            return Err(denied("no such epoch can follow"));
        }
        self.0.folder.add(epoch, self.entropy()).await
    }

    /// Refuses to destroy what may be in use.
    fn refuse_newest(&self, epoch: i64) -> Result<(), Error> {
        match self.0.folder.epochs()?.last() {
            Some(newest) if epoch < *newest => Ok(()),
            Some(_) | None => Err(denied("the newest epoch is not destroyed")),
        }
    }

    async fn overwrite_epoch(&self, epoch: i64) -> Result<(), Error> {
        let _one = self.0.changing.lock().await;
        self.refuse_newest(epoch)?;
        self.tenants(|known| known.retain(|tenant| tenant.key.number != epoch));
        self.0.folder.overwrite(epoch, Arc::clone(&self.0.entropy)).await
    }

    async fn remove_epoch(&self, epoch: i64) -> Result<(), Error> {
        let _one = self.0.changing.lock().await;
        self.refuse_newest(epoch)?;
        self.tenants(|known| known.retain(|tenant| tenant.key.number != epoch));
        self.0.folder.remove(epoch).await
    }

    async fn make_tenant(&self, tenant: TenantId, epoch: i64) -> Result<Answer, Error> {
        let above = self.0.folder.epoch(epoch).await?;
        let key = fresh_key(self.entropy());
        let wrapped = wrap(&above, &tenant_context(tenant, epoch), &key, self.entropy())?;
        Ok(Said::Wrapped(vec![Bytes(wrapped)]).into())
    }

    fn tenants<T>(&self, work: impl FnOnce(&mut Vec<Tenant>) -> T) -> T {
        work(&mut self.0.tenants.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// The tenant's key of an epoch, from memory where it was opened before. An epoch whose file is
    /// gone opens nothing, whatever is in memory.
    async fn tenant_key(&self, tenant: TenantId, key: &EpochKey) -> Result<Arc<Cipher>, Error> {
        if !self.0.folder.has(key.number) {
            self.tenants(|known| known.retain(|one| one.key.number != key.number));
            return Err(Error::EpochGone { epoch: key.number });
        }
        let known = self.tenants(|known| {
            let found = known.iter().find(|one| one.tenant == tenant && one.key == *key);
            found.map(|one| Arc::clone(&one.cipher))
        });
        if let Some(cipher) = known {
            return Ok(cipher);
        }
        let above = self.0.folder.epoch(key.number).await?;
        let context = tenant_context(tenant, key.number);
        let cipher = Arc::new(Cipher::new(&unwrap(&above, &context, &key.wrapped.0)?)?);
        let opened = Tenant { tenant, key: key.clone(), cipher: Arc::clone(&cipher) };
        self.tenants(|known| {
            if known.len() >= EPOCHS_MAX {
                known.remove(0);
            }
            known.push(opened);
        });
        Ok(cipher)
    }

    async fn above(&self, under: &Under) -> Result<Above, Error> {
        let mut epochs = HashMap::with_capacity(under.epochs.len());
        for key in &under.epochs {
            epochs.insert(key.number, self.tenant_key(under.tenant, key).await?);
        }
        Ok(Above { tenant: under.tenant, epochs })
    }

    async fn make_keys(&self, under: &Under, names: &[KeyName]) -> Result<Answer, Error> {
        let above = self.above(under).await?;
        let epoch = under.epochs.last().ok_or_else(|| denied("no epoch is named"))?.number;
        let cipher = above.cipher(epoch)?;
        let (mut keys, mut all) = (Vec::with_capacity(names.len()), Vec::new());
        for name in names {
            let key = fresh_key(self.entropy());
            let context = name.context(under.tenant, epoch);
            all.push(Bytes(wrap(cipher, &context, &key, self.entropy())?));
            keys.push(key);
        }
        Ok(Answer { said: Said::Wrapped(all), keys })
    }

    async fn open_keys(&self, under: &Under, keys: &[Wrapped]) -> Result<Answer, Error> {
        let above = self.above(under).await?;
        let keys = keys.iter().map(|key| above.open(key)).collect::<Result<_, _>>()?;
        Ok(Answer { said: Said::Opened, keys })
    }

    async fn rewrap(&self, under: &Under, to: i64, keys: &[Wrapped]) -> Result<Answer, Error> {
        let above = self.above(under).await?;
        let cipher = above.cipher(to)?;
        let rewrap_one = |key: &Wrapped| {
            let opened = above.open(key)?;
            let context = key.name.context(under.tenant, to);
            wrap(cipher, &context, &opened, self.entropy()).map(Bytes)
        };
        let all = keys.iter().map(rewrap_one).collect::<Result<_, Error>>()?;
        Ok(Said::Wrapped(all).into())
    }
}

/// The opened keys that others hang under.
struct Above {
    tenant: TenantId,
    epochs: HashMap<i64, Arc<Cipher>>,
}

impl Above {
    fn cipher(&self, epoch: i64) -> Result<&Cipher, Error> {
        self.epochs.get(&epoch).map(AsRef::as_ref).ok_or(Error::EpochGone { epoch })
    }

    fn open(&self, key: &Wrapped) -> Result<crate::aead::KeyBytes, Error> {
        let context = key.name.context(self.tenant, key.epoch);
        unwrap(self.cipher(key.epoch)?, &context, &key.wrapped.0)
    }
}

pub(crate) fn denied(why: &str) -> Error {
    Error::Denied { why: why.to_owned() }
}

impl Holder for Keyholder {
    fn answer(&self, ask: Ask) -> BoxFuture<'_, Result<Answer, Error>> {
        Box::pin(async move {
            ask.check()?;
            let done = || Answer::from(Said::Done);
            match &ask {
                Ask::Facts => Ok(Said::Facts(self.facts_now()?).into()),
                // Counted where they pass a socket.
                Ask::Minutes { .. } => Ok(Said::Minutes(Vec::new()).into()),
                Ask::AddEpoch { epoch } => self.add_epoch(*epoch).await.map(|()| done()),
                Ask::OverwriteEpoch { epoch } => {
                    self.overwrite_epoch(*epoch).await.map(|()| done())
                }
                Ask::RemoveEpoch { epoch } => self.remove_epoch(*epoch).await.map(|()| done()),
                Ask::MakeTenant { tenant, epoch } => self.make_tenant(*tenant, *epoch).await,
                Ask::Make { under, names } => self.make_keys(under, names).await,
                Ask::Open { under, keys } => self.open_keys(under, keys).await,
                Ask::Rewrap { under, to, keys } => self.rewrap(under, *to, keys).await,
                Ask::Files => self.files().await,
            }
        })
    }
}
