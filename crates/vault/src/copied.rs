//! The keys on their way into a backup or another database: the rows of the key database at one
//! moment, and the files that open them. All of it is wrapped; the root key is where its kind is a
//! bare key file not, so a backup of keys is sealed as a whole.

use std::path::{Path, PathBuf};

use kernel::AccountId;
use spine::Subject;
use store::copy::{Shape, Snapshot};
use store::{Value, args};

use crate::config::Home;
use crate::error::Error;
use crate::files::{OVERWRITTEN, failed, make_private_folder, read_private, remove, write_private};
use crate::folder::{EPOCH_HEAD, EPOCH_TAIL, Folder, NAME_FILE, blocking};
use crate::holder::{Bytes, NamedFile};
use crate::recovery;
use crate::rows::{EPOCHS_NEEDED, ERASED};
use crate::vault::Vault;

/// Every table of the key database, those first that others refer to.
const TABLES: &[(&str, &[&str])] = &[
    ("key_vault", &["id", "name", "day_horizon", "created_at"]),
    ("key_epoch", &["tenant", "epoch", "wrapped", "created_at"]),
    (
        "key_subject",
        &["tenant", "subject", "key_id", "epoch", "wrapped", "created_at", "erased_at", "state"],
    ),
    (
        "key_purpose",
        &[
            "tenant",
            "purpose",
            "version",
            "key_id",
            "epoch",
            "wrapped",
            "public_key",
            "created_at",
            "not_before",
            "retire_at",
            "uses",
        ],
    ),
];

/// Tries at a moment in which no epoch is being destroyed.
const TRIES: u8 = 4;
/// Accounts that one look for the erased returns.
const PAGE: i64 = 500;
/// Where the keyholder's files stand in a backup.
const FOLDER: &str = "keyholder/";

/// The tables of the key database, in the order in which they can be written.
///
/// # Errors
/// [`Error::Store`] where a name is none of ours.
pub fn shapes() -> Result<Vec<Shape>, Error> {
    let shape = |(table, columns): &(&str, &[&str])| Shape::new(*table, columns.iter().copied());
    Ok(TABLES.iter().map(shape).collect::<Result<_, _>>()?)
}

/// The keys at one moment.
#[derive(Debug)]
pub struct KeySnapshot {
    /// The rows.
    pub rows: Snapshot,
    /// The files that open them, by their names in a backup: of the keyholder folder, the root key's
    /// and the recovery code's.
    pub files: Vec<(String, Vec<u8>)>,
}

impl Vault {
    /// The keys as they are now, with the keyholder's files, which it gives wrapped as they are.
    ///
    /// # Errors
    /// [`Error`] of database or keyholder; [`Error::Denied`] where its root key is a bare file that
    /// no process but its own may see; [`Error::Raced`] where epochs are destroyed all the time.
    pub async fn key_snapshot(&self) -> Result<KeySnapshot, Error> {
        for _ in 0..TRIES {
            let mut rows = Snapshot::of(&self.inner.db).await?;
            let mut needed = Vec::new();
            for row in rows.rows(EPOCHS_NEEDED.text(), args![]).await? {
                needed.push(epoch_file(row.int("epoch")?));
            }
            // An epoch that is destroyed between the rows and the files is missed here.
            let files = self.inner.keyholder.files().await?;
            if needed.iter().all(|needed| files.iter().any(|file| file.name == *needed)) {
                let files = files.into_iter().map(|file| (file.name, file.bytes.0)).collect();
                return Ok(KeySnapshot { rows, files });
            }
        }
        Err(Error::Raced)
    }

    /// The vault's name: which keys belong to which data.
    #[must_use]
    pub fn name(&self) -> [u8; 16] {
        self.inner.keyholder.name()
    }

    /// Some of the accounts whose key was destroyed, after this one.
    ///
    /// # Errors
    /// [`Error`] of the key database.
    pub async fn erased_after(&self, after: Option<AccountId>) -> Result<Vec<AccountId>, Error> {
        let after = after.map_or(Vec::new(), |id| Subject::Account(id).to_bytes().to_vec());
        let tenant = self.tenant();
        let args: Vec<Value> = args![tenant.as_bytes(), after, PAGE];
        let rows = self.inner.db.read().await?.rows(ERASED.text(), args).await?;
        let mut erased = Vec::with_capacity(rows.len());
        for row in rows {
            if let Some(Subject::Account(id)) = Subject::from_bytes(&row.bytes("subject")?) {
                erased.push(id);
            }
        }
        Ok(erased)
    }
}

fn epoch_file(epoch: i64) -> String {
    format!("{FOLDER}{EPOCH_HEAD}{epoch:08}{EPOCH_TAIL}")
}

/// What of a keyholder's folder belongs into a backup of keys, and its root key's file.
pub(crate) fn read_files(folder: &Path, root: Option<&Path>) -> Result<Vec<NamedFile>, Error> {
    let mut files = Vec::new();
    let entries = std::fs::read_dir(folder).map_err(failed("read", folder))?;
    for entry in entries.take(store::copy::FILES_MAX) {
        let Ok(entry) = entry else { continue };
        let Ok(name) = entry.file_name().into_string() else { continue };
        if name == NAME_FILE || (name.starts_with(EPOCH_HEAD) && name.ends_with(EPOCH_TAIL)) {
            match read_private(&entry.path()) {
                // An epoch on its way out.
                Ok(bytes) if name != NAME_FILE && bytes.first() == Some(&OVERWRITTEN) => {}
                Ok(bytes) => {
                    files.push(NamedFile { name: format!("{FOLDER}{name}"), bytes: Bytes(bytes) });
                }
                // Destroyed at this moment.
                Err(Error::File { source, .. })
                    if source.kind() == std::io::ErrorKind::NotFound => {}
                Err(other) => return Err(other),
            }
        }
    }
    let Some(root) = root else { return Ok(files) };
    let recovery = root.with_file_name(recovery::FILE);
    for path in [root.to_owned(), recovery].into_iter().filter(|path| path.exists()) {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        files.push(NamedFile { name, bytes: Bytes(read_private(&path)?) });
    }
    Ok(files)
}

/// Puts the files of a backup of keys in their places, and tries whether the root key opens them: if
/// not, they go again. One that stands and is the same is left; one that is another is an error,
/// before anything is written.
///
/// # Errors
/// [`Error::Stands`]; [`Error::RootRefused`]; [`Error::Malformed`] for a file that no backup of ours
/// has; [`Error::File`].
pub async fn put_key_files(home: &Home, files: &[(String, Vec<u8>)]) -> Result<(), Error> {
    let mut wanted = Vec::new();
    for (name, bytes) in files {
        let path = place(home, name).ok_or_else(|| Error::Malformed {
            path: PathBuf::from(name),
            what: "no backup of keys for this kind of root key has it",
        })?;
        if !path.exists() {
            wanted.push((path, bytes));
        } else if read_private(&path)? != *bytes {
            return Err(Error::Stands { path });
        }
    }
    make_private_folder(&home.folder)?;
    let mut tried = Ok(());
    for (path, bytes) in &wanted {
        tried = tried.and_then(|()| write_private(path, bytes));
    }
    if tried.is_ok() {
        tried = open_all(home).await;
    }
    if tried.is_err() {
        for (path, _) in wanted.iter().filter(|(path, _)| path.exists()) {
            if let Err(error) = remove(path) {
                tracing::error!(%error, "a file of a backup that does not open stays");
            }
        }
    }
    tried
}

/// Opens every epoch's key.
async fn open_all(home: &Home) -> Result<(), Error> {
    let (root, folder) = (home.root.clone(), home.folder.clone());
    let opened = blocking(move || Folder::open(&folder, root.open()?)).await?;
    let folder = opened.ok_or(Error::Missing { what: "the keyholder folder" })?;
    for epoch in folder.epochs()? {
        folder.epoch(epoch).await?;
    }
    Ok(())
}

fn place(home: &Home, name: &str) -> Option<PathBuf> {
    let is_plain = |name: &str| !name.is_empty() && !name.contains(['/', '\\', '\0']);
    if let Some(name) = name.strip_prefix(FOLDER) {
        let known = name == NAME_FILE || name.starts_with(EPOCH_HEAD);
        return (known && is_plain(name)).then(|| home.folder.join(name));
    }
    let root = home.root.file()?;
    let known = Some(name) == root.file_name().and_then(|name| name.to_str());
    (known || name == recovery::FILE).then(|| root.with_file_name(name))
}
