//! The file of a backup: written beside its name and moved there when it is whole and on the disk,
//! sealed by a passphrase, read to its end before anything is believed.

use std::fs::{File, TryLockError};
use std::io::{BufReader, BufWriter, ErrorKind, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use kernel::{Entropy, Secret, Timestamp};
use store::copy::{ArchiveReader, ArchiveWriter, Counted, Nowhere, Shape, Sink, Tally};
use vault::{SealedReader, SealedWriter};

use super::Pace;
use super::manifest::{End, Kind, Manifest};

/// The writing end.
pub(super) type Archive = ArchiveWriter<SealedWriter<BufWriter<File>>>;

/// A backup that is being written. Dropped before it is whole, nothing of it is left.
pub(super) struct Beside {
    path: PathBuf,
    beside: PathBuf,
    is_whole: bool,
}

impl Beside {
    /// Begins a backup under this name, or under one of its own in this folder.
    pub(super) fn begin(
        to: &Path,
        manifest: &Manifest,
        passphrase: &Secret<String>,
        entropy: &dyn Entropy,
    ) -> anyhow::Result<(Self, Archive)> {
        let path = name_in(to, manifest.kind, manifest.taken_at());
        let mut name = path.file_name().unwrap_or_default().to_owned();
        name.push(".new");
        let beside = path.with_file_name(name);
        let file = take(&beside)?;
        let beside = Self { beside, path, is_whole: false };
        let sealed = SealedWriter::begin(BufWriter::new(file), passphrase, entropy)?;
        let archive = ArchiveWriter::begin(sealed, &serde_json::to_vec(manifest)?)?;
        Ok((beside, archive))
    }

    /// Ends the backup and puts it in its place; gives that, and its size.
    pub(super) fn end(
        mut self,
        archive: Archive,
        tallies: &[Tally],
    ) -> anyhow::Result<(PathBuf, u64)> {
        let mut written = archive.end(&serde_json::to_vec(&End::of(tallies))?)?.end()?;
        written.flush()?;
        let file = written.into_inner().map_err(std::io::IntoInnerError::into_error)?;
        file.sync_all()?;
        let size = file.metadata()?.len();
        std::fs::rename(&self.beside, &self.path)
            .with_context(|| format!("{} cannot be put in place", self.path.display()))?;
        self.is_whole = true;
        let folder = self.path.parent().filter(|folder| !folder.as_os_str().is_empty());
        File::open(folder.unwrap_or(Path::new(".")))?.sync_all()?;
        Ok((self.path.clone(), size))
    }
}

impl Drop for Beside {
    fn drop(&mut self) {
        if !self.is_whole {
            // Half a backup is none.
            let _ = std::fs::remove_file(&self.beside);
        }
    }
}

/// Opens the file that a backup grows in, for one writer at a time; what an earlier try left in it goes.
fn take(beside: &Path) -> anyhow::Result<File> {
    let shown = beside.display();
    let opened = File::options().write(true).create(true).truncate(false).mode(0o600).open(beside);
    let file = opened.with_context(|| format!("{shown} cannot be made"))?;
    let is_locked = match file.try_lock() {
        Ok(()) => true,
        Err(TryLockError::WouldBlock) => false,
        Err(TryLockError::Error(error)) => {
            return Err(error).with_context(|| format!("{shown} cannot be locked"));
        }
    };
    // It may have been put in its place since it was opened.
    let is_ours = is_locked && is_at(&file, beside).with_context(|| shown.to_string())?;
    anyhow::ensure!(is_ours, "another backup is being written to {shown}: try again after it");
    file.set_len(0)?;
    Ok(file)
}

/// Whether a path is still this file's.
fn is_at(file: &File, path: &Path) -> std::io::Result<bool> {
    let own = file.metadata()?;
    match std::fs::metadata(path) {
        Ok(there) => Ok((own.dev(), own.ino()) == (there.dev(), there.ino())),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

/// The file itself, or in a folder `stagedoor-data-20261124T020000Z.backup`.
fn name_in(to: &Path, kind: Kind, at: Timestamp) -> PathBuf {
    if !to.is_dir() {
        return to.to_owned();
    }
    let at: String = at.to_string().chars().filter(|c| *c != '-' && *c != ':').take(15).collect();
    to.join(format!("stagedoor-{}-{at}Z.backup", kind.word()))
}

/// A backup that was read to its end, and is what it says.
#[derive(Debug)]
pub(super) struct Whole {
    pub manifest: Manifest,
    pub shapes: Vec<Shape>,
    pub tallies: Vec<Tally>,
    /// The small files in it.
    pub files: Vec<(String, Vec<u8>)>,
    /// Its size on the disk.
    pub bytes: u64,
}

/// Opens a backup; gives its head.
fn open(
    path: &Path,
    kind: Kind,
    passphrase: &Secret<String>,
) -> anyhow::Result<(ArchiveReader<SealedReader<BufReader<File>>>, Manifest)> {
    let file = File::open(path)?;
    let sealed =
        SealedReader::open(BufReader::new(file), passphrase).map_err(|error| match error {
            vault::Error::Forged => {
                anyhow::anyhow!("it is no backup, or its beginning was altered")
            }
            other => other.into(),
        })?;
    let (archive, head) = ArchiveReader::open(sealed)?;
    Ok((archive, Manifest::read(&head, kind)?))
}

/// Reads what a backup says of itself, and no more of it.
pub(super) fn head(
    path: &Path,
    kind: Kind,
    passphrase: &Secret<String>,
) -> anyhow::Result<Manifest> {
    let opened = open(path, kind, passphrase);
    let (_, manifest) = opened.with_context(|| format!("the backup {}", path.display()))?;
    Ok(manifest)
}

/// Reads a backup to its end and holds every table against what its end says. Changes nothing.
pub(super) async fn check(
    path: &Path,
    kind: Kind,
    passphrase: &Secret<String>,
) -> anyhow::Result<Whole> {
    let mut nowhere = Nowhere;
    read_into(path, kind, passphrase, &mut nowhere).await
}

/// Reads a backup into a sink, and holds every table against what its end says.
pub(super) async fn read_into(
    path: &Path,
    kind: Kind,
    passphrase: &Secret<String>,
    sink: &mut impl Sink,
) -> anyhow::Result<Whole> {
    let name = || format!("the backup {}", path.display());
    let (archive, manifest) = open(path, kind, passphrase).with_context(name)?;
    let shapes = manifest.shapes()?;
    let mut pace = Pace::new("read", &shapes, &[]);
    let mut watch = |table: usize, tally: &Tally| pace.at(table, tally);
    let mut counted = Counted::new(sink, shapes.len(), &mut watch);
    let mut files = Vec::new();
    let end = archive.pour(&shapes, &mut counted, &mut files).await.with_context(name)?;
    let tallies = counted.tallies();
    let end: End = serde_json::from_slice(&end).with_context(name)?;
    anyhow::ensure!(
        end == End::of(&tallies),
        "the backup {} does not hold what its end says",
        path.display()
    );
    let bytes = std::fs::metadata(path)?.len();
    Ok(Whole { manifest, shapes, tallies, files, bytes })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_backup_at_a_time_is_written_to_a_file() {
        let dir = tempfile::tempdir().unwrap();
        let (path, moved) = (dir.path().join("night.new"), dir.path().join("night"));
        let first = take(&path).unwrap();
        assert!(is_at(&first, &path).unwrap());
        let refused = take(&path).unwrap_err().to_string();
        assert!(refused.contains("another backup is being written"), "{refused}");
        std::fs::rename(&path, &moved).unwrap();
        assert!(!is_at(&first, &path).unwrap());
        let _second = take(&path).unwrap();
        assert!(!is_at(&first, &path).unwrap());
        // What cannot be looked at is not what another writes.
        assert!(is_at(&first, &moved.join("below")).is_err());
    }
}
