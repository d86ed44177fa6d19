//! The file of a backup: written beside its name and moved there when it is whole and on the disk,
//! sealed by a passphrase, read to its end before anything is believed.

use std::fs::File;
use std::io::{BufReader, BufWriter, Write as _};
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
    let is_ours = file.try_lock().is_ok()
        // It may have been put in its place since it was opened.
        && std::fs::metadata(beside).is_ok_and(|there| {
            file.metadata().is_ok_and(|own| (own.dev(), own.ino()) == (there.dev(), there.ino()))
        });
    anyhow::ensure!(is_ours, "another backup is being written to {shown}: try again after it");
    file.set_len(0)?;
    Ok(file)
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
