//! Files that hold keys: private to their owner, written whole or not at all, destroyed by
//! overwriting. All calls block; callers run them where that is allowed.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use kernel::Entropy;

use crate::error::Error;

/// The longest key file that is read: ours are below 1 kB.
const FILE_MAX: u64 = 16 * 1024;

/// What an overwritten file begins with, as no format does: it is gone, not damaged.
pub(crate) const OVERWRITTEN: u8 = 0;

/// An error about a file.
pub(crate) fn failed(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Error {
    let path = path.to_owned();
    move |source| Error::File { what, path, source }
}

/// Makes a folder of mode 0700, or checks that the one that stands is not open to others.
pub(crate) fn make_private_folder(folder: &Path) -> Result<(), Error> {
    #[cfg(unix)]
    {
        use std::os::unix::fs::DirBuilderExt as _;
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(folder)
            .map_err(failed("make", folder))?;
    }
    #[cfg(not(unix))]
    fs::create_dir_all(folder).map_err(failed("make", folder))?;
    refuse_exposed(folder)
}

/// Refuses a file or folder that the group or others may read or write.
pub(crate) fn refuse_exposed(path: &Path) -> Result<(), Error> {
    let facts = fs::metadata(path).map_err(failed("look at", path))?;
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        if facts.permissions().mode() & 0o077 != 0 {
            return Err(Error::Exposed { path: path.to_owned() });
        }
    }
    #[cfg(not(unix))]
    let _ = facts;
    Ok(())
}

/// Reads a private file.
pub(crate) fn read_private(path: &Path) -> Result<Vec<u8>, Error> {
    refuse_exposed(path)?;
    let file = File::open(path).map_err(failed("read", path))?;
    let mut bytes = Vec::new();
    file.take(FILE_MAX).read_to_end(&mut bytes).map_err(failed("read", path))?;
    Ok(bytes)
}

/// Writes a private file that is not there yet: beside it, to the disk, then under its name; so it
/// is there whole or not at all. Never replaces a file: a key that is overwritten is lost.
pub(crate) fn write_private(path: &Path, bytes: &[u8]) -> Result<(), Error> {
    let beside = beside(path);
    // What a crash of an earlier process of this number left. Only the name goes: the file may be
    // linked under its own name already, and must not be emptied.
    if beside.exists() {
        fs::remove_file(&beside).map_err(failed("write", &beside))?;
    }
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt as _;
        options.mode(0o600);
    }
    let mut file = options.open(&beside).map_err(failed("write", &beside))?;
    refuse_exposed(&beside)?;
    file.write_all(bytes).map_err(failed("write", &beside))?;
    file.sync_all().map_err(failed("write", &beside))?;
    // A hard link fails where the name is taken, which a rename would not.
    fs::hard_link(&beside, path).map_err(failed("write", path))?;
    fs::remove_file(&beside).map_err(failed("write", &beside))?;
    sync_folder(path)
}

/// Puts a private file in the place of one that may stand: whole, or the old one stays. It belongs to
/// whose folder it is, where root puts it there.
pub(crate) fn replace_private(path: &Path, bytes: &[u8]) -> Result<(), Error> {
    let beside = beside(path);
    write_private(&beside, bytes)?;
    #[cfg(unix)]
    {
        use std::os::unix::fs::{MetadataExt as _, lchown};
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
        let owner =
            fs::metadata(folder.unwrap_or(Path::new("."))).map_err(failed("look at", path))?;
        let ours = fs::metadata(&beside).map_err(failed("look at", path))?;
        if ours.uid() != owner.uid() {
            // The folder is not root's: what somebody put in the file's place is not followed.
            let given = lchown(&beside, Some(owner.uid()), Some(owner.gid()));
            given.map_err(failed("write", path))?;
        }
    }
    fs::rename(&beside, path).map_err(failed("write", path))?;
    sync_folder(path)
}

/// A name beside `path` that no other writer uses.
fn beside(path: &Path) -> PathBuf {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let mut name = path.file_name().unwrap_or_default().to_owned();
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    name.push(format!(".{}.{count}.new", std::process::id()));
    path.with_file_name(name)
}

/// Overwrites a file's bytes with random ones, to the disk. What a journaling or copying file
/// system, or a flash disk, keeps of the old bytes is out of reach: the bytes are wrapped by the
/// root key for that case.
pub(crate) fn overwrite(path: &Path, entropy: &dyn Entropy) -> Result<(), Error> {
    let mut file = OpenOptions::new().write(true).open(path).map_err(failed("destroy", path))?;
    let length = file.metadata().map_err(failed("destroy", path))?.len().min(FILE_MAX);
    let mut noise = vec![0; usize::try_from(length).unwrap_or(0)];
    entropy.fill(&mut noise);
    if let Some(first) = noise.first_mut() {
        *first = OVERWRITTEN;
    }
    file.write_all(&noise).map_err(failed("destroy", path))?;
    file.sync_all().map_err(failed("destroy", path))
}

/// Removes a file, to the disk.
pub(crate) fn remove(path: &Path) -> Result<(), Error> {
    fs::remove_file(path).map_err(failed("destroy", path))?;
    sync_folder(path)
}

fn sync_folder(path: &Path) -> Result<(), Error> {
    let Some(folder) = path.parent() else { return Ok(()) };
    let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(failed("write", folder))
}

/// Whether two paths lie on one volume; a path that is not there yet is judged by its nearest
/// parent. On a system that cannot tell, the answer is yes: the careful one.
///
/// # Errors
/// [`Error::File`] where neither path nor a parent can be looked at.
pub fn same_volume(data: &Path, keys: &Path) -> Result<bool, Error> {
    Ok(volume(data)? == volume(keys)?)
}

/// The number of the volume that a path lies on.
pub(crate) fn volume(path: &Path) -> Result<u64, Error> {
    let whole = std::path::absolute(path).map_err(failed("look at", path))?;
    let standing = whole.ancestors().find(|part| part.exists()).unwrap_or(Path::new("/"));
    let facts = fs::metadata(standing).map_err(failed("look at", standing))?;
    #[cfg(unix)]
    {
        use std::os::unix::fs::MetadataExt as _;
        Ok(facts.dev())
    }
    #[cfg(not(unix))]
    {
        let _ = facts;
        Ok(0)
    }
}
