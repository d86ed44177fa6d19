//! The keyholder's folder: one file for each epoch key, wrapped by the root, outside every database.
//! Destroying an old epoch's file is what makes erasure final against old backups (V6).

use std::path::{Path, PathBuf};
use std::sync::Arc;

use kernel::Entropy;

use crate::aead::{Cipher, KeyBytes};
use crate::error::Error;
use crate::files;
use crate::root::RootKey;
use crate::sealed::epoch_context;

/// The file that names the vault, so that a database is not taken for another one's.
pub(crate) const NAME_FILE: &str = "vault.name";
pub(crate) const EPOCH_HEAD: &str = "epoch-";
pub(crate) const EPOCH_TAIL: &str = ".key";
/// Most files that are looked at in the folder.
const FILES_MAX: usize = 4096;

/// The folder and the root that wraps its files.
#[derive(Clone, Debug)]
pub(crate) struct Folder {
    path: PathBuf,
    root: Arc<dyn RootKey>,
    /// The vault's name: 16 random bytes, bound to each epoch key.
    name: [u8; 16],
}

impl Folder {
    /// The folder as it stands, or none where it has no name yet.
    pub(crate) fn open(folder: &Path, root: Arc<dyn RootKey>) -> Result<Option<Self>, Error> {
        let path = folder.join(NAME_FILE);
        if !path.exists() {
            return Ok(None);
        }
        files::refuse_exposed(folder)?;
        let bytes = files::read_private(&path)?;
        let name = bytes.try_into().map_err(|_| Error::Malformed { path, what: "its length" })?;
        Ok(Some(Self { path: folder.to_owned(), root, name }))
    }

    /// Gives the folder a name, where it has none.
    pub(crate) fn make(
        folder: &Path,
        root: Arc<dyn RootKey>,
        entropy: &dyn Entropy,
    ) -> Result<Self, Error> {
        files::make_private_folder(folder)?;
        if let Some(standing) = Self::open(folder, Arc::clone(&root))? {
            return Ok(standing);
        }
        let mut name = [0; 16];
        entropy.fill(&mut name);
        files::write_private(&folder.join(NAME_FILE), &name)?;
        Ok(Self { path: folder.to_owned(), root, name })
    }

    /// The vault's name.
    pub(crate) const fn name(&self) -> [u8; 16] {
        self.name
    }

    /// Where it is.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// The word for the root's kind.
    pub(crate) fn root_kind(&self) -> &'static str {
        self.root.kind()
    }

    fn file(&self, epoch: i64) -> PathBuf {
        self.path.join(format!("{EPOCH_HEAD}{epoch:08}{EPOCH_TAIL}"))
    }

    /// The epochs whose files stand, in order.
    pub(crate) fn epochs(&self) -> Result<Vec<i64>, Error> {
        let entries = std::fs::read_dir(&self.path);
        let entries = entries.map_err(files::failed("read", &self.path))?;
        let mut epochs: Vec<i64> = entries
            .take(FILES_MAX)
            .filter_map(|entry| {
                let name = entry.ok()?.file_name().into_string().ok()?;
                name.strip_prefix(EPOCH_HEAD)?.strip_suffix(EPOCH_TAIL)?.parse().ok()
            })
            .collect();
        epochs.sort_unstable();
        Ok(epochs)
    }

    /// Writes a new epoch's key. One that stands already (a rotation that was cut short) is kept:
    /// nothing has been wrapped under it, or what was must stay readable.
    pub(crate) async fn add(&self, epoch: i64, entropy: &dyn Entropy) -> Result<(), Error> {
        let path = self.file(epoch);
        if path.exists() {
            return Ok(());
        }
        let key = crate::aead::fresh_key(entropy);
        let wrapped = self.root.wrap(&epoch_context(&self.name, epoch), &key, entropy).await?;
        match blocking(move || files::write_private(&path, &wrapped)).await {
            // Another process of the same installation was first: its key is as good.
            Err(Error::File { source, .. })
                if source.kind() == std::io::ErrorKind::AlreadyExists =>
            {
                Ok(())
            }
            other => other,
        }
    }

    /// Whether an epoch's file stands.
    pub(crate) fn has(&self, epoch: i64) -> bool {
        self.file(epoch).exists()
    }

    /// An epoch's key, ready to unwrap tenant keys.
    pub(crate) async fn epoch(&self, epoch: i64) -> Result<Cipher, Error> {
        let path = self.file(epoch);
        if !path.exists() {
            return Err(Error::EpochGone { epoch });
        }
        let wrapped = match blocking(move || files::read_private(&path)).await {
            // Removed since.
            Err(Error::File { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => {
                return Err(Error::EpochGone { epoch });
            }
            wrapped => wrapped?,
        };
        if wrapped.first() == Some(&files::OVERWRITTEN) {
            return Err(Error::EpochGone { epoch });
        }
        let context = epoch_context(&self.name, epoch);
        let key: KeyBytes = self.root.unwrap(&context, &wrapped).await?;
        Cipher::new(&key)
    }

    /// First half of destroying an epoch: its bytes are overwritten on the disk.
    pub(crate) async fn overwrite(
        &self,
        epoch: i64,
        entropy: Arc<dyn Entropy>,
    ) -> Result<(), Error> {
        let path = self.file(epoch);
        blocking(move || gone_is_done(files::overwrite(&path, entropy.as_ref()))).await
    }

    /// Second half: the file is removed.
    pub(crate) async fn remove(&self, epoch: i64) -> Result<(), Error> {
        let path = self.file(epoch);
        blocking(move || gone_is_done(files::remove(&path))).await
    }
}

/// A file that is gone is destroyed: whoever asked before did not hear the answer.
fn gone_is_done(done: Result<(), Error>) -> Result<(), Error> {
    match done {
        Err(Error::File { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

/// Runs blocking work where it may block.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Error> + Send + 'static,
) -> Result<T, Error> {
    tokio::task::spawn_blocking(work).await.map_err(|_| Error::Stopping)?
}
