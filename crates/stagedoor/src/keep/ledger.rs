//! The list of erased persons, outside every database: for the day on which the keys are restored
//! from a backup that is older than an erasure. It names nobody: each line is a keyed pseudonym, that
//! only the restored keys can hold against the restored accounts.

use std::collections::BTreeSet;
use std::io::{Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use kernel::AccountId;
use spine::{BoxFuture, Consumer, Error, Recorded, Spine, Tx};
use vault::Vault;

use crate::config::Loaded;

/// The longest list that is read; a line has some 60 bytes.
const LIST_BYTES_MAX: u64 = 1024 * 1024 * 1024;

/// Writes the list as the log tells of erasures.
#[derive(Debug)]
pub(crate) struct Ledger {
    file: PathBuf,
    vault: Vault,
}

impl Ledger {
    /// The name of its cursor.
    pub(crate) const NAME: &'static str = "keep.ledger";

    /// The list in this file.
    pub(crate) const fn new(file: PathBuf, vault: Vault) -> Self {
        Self { file, vault }
    }

    fn append(&self, events: &[Recorded]) -> Result<(), Error> {
        let erased = events.iter().filter_map(|event| Some((event.erased_account()?, event.at)));
        let lines: String =
            erased.map(|(id, at)| format!("{} {at}\n", pseudonym(&self.vault, id))).collect();
        if lines.is_empty() {
            return Ok(());
        }
        let mut options = std::fs::File::options();
        let opened = options.append(true).create(true).mode(0o600).open(&self.file);
        let written = opened.and_then(|mut file| {
            // Behind what an earlier write left of a line, ours begins anew.
            if !ends_a_line(&self.file)? {
                file.write_all(b"\n")?;
            }
            file.write_all(lines.as_bytes())?;
            file.sync_data()
        });
        written.map_err(|source| Error::File { path: self.file.display().to_string(), source })
    }
}

impl Consumer for Ledger {
    fn name(&self) -> &'static str {
        Self::NAME
    }

    fn kinds(&self) -> &'static [&'static str] {
        &[spine::ACCOUNT_ERASED]
    }

    /// Written before the cursor moves: a line may stand twice, none is missing.
    fn prepare<'a>(
        &'a self,
        _: &'a Spine,
        events: &'a [Recorded],
    ) -> BoxFuture<'a, Result<(), Error>> {
        Box::pin(std::future::ready(self.append(events)))
    }

    fn handle<'a>(&'a self, _: &'a mut Tx, _: &'a [Recorded]) -> BoxFuture<'a, Result<(), Error>> {
        Box::pin(std::future::ready(Ok(())))
    }
}

/// Whether a file is empty or ends with a whole line.
fn ends_a_line(file: &Path) -> std::io::Result<bool> {
    let mut file = std::fs::File::open(file)?;
    if file.seek(SeekFrom::End(0))? == 0 {
        return Ok(true);
    }
    file.seek(SeekFrom::End(-1))?;
    let mut last = [0];
    file.read_exact(&mut last)?;
    Ok(last == *b"\n")
}

/// Hex digits of a pseudonym.
const PSEUDONYM_LEN: usize = 32;

/// What stands for a person in the list.
fn pseudonym(vault: &Vault, id: AccountId) -> String {
    let bytes = [b"erased person ".as_slice(), id.as_bytes()].concat();
    format!("{:032x}", u128::from_be_bytes(vault.pseudonym(&bytes)))
}

/// Whom the lists that were given name.
#[derive(Debug, Default)]
pub(crate) struct Erased(BTreeSet<String>);

impl Erased {
    /// Reads lists. Where a write was cut, what it left of a line is passed over: it was written again.
    pub(crate) fn read(files: &[PathBuf]) -> anyhow::Result<Self> {
        let mut all = BTreeSet::new();
        for file in files {
            let name = || format!("the list of erased persons {}", file.display());
            let size = std::fs::metadata(file).with_context(name)?.len();
            anyhow::ensure!(size <= LIST_BYTES_MAX, "{} is too long", name());
            let text = std::fs::read_to_string(file).with_context(name)?;
            for line in text.lines() {
                let word = line.split(' ').next().unwrap_or_default();
                let is_ours = word.bytes().all(|byte| byte.is_ascii_hexdigit());
                anyhow::ensure!(is_ours, "{} has a line that is none of ours: {line:?}", name());
                // One that was cut may have another behind it.
                if let Some(whole) = word.len().checked_sub(PSEUDONYM_LEN) {
                    all.insert(word.get(whole..).unwrap_or_default().to_owned());
                }
            }
        }
        Ok(Self(all))
    }

    /// Whether this person is named.
    pub(crate) fn names(&self, vault: &Vault, id: AccountId) -> bool {
        !self.0.is_empty() && self.0.contains(&pseudonym(vault, id))
    }

    /// How many are named.
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }
}

/// Where this installation keeps its list.
pub(crate) fn file_of(loaded: &Loaded) -> PathBuf {
    file_in(&loaded.config, &loaded.base)
}

/// Where an installation with this configuration keeps its list.
pub(crate) fn file_in(config: &crate::config::Config, base: &Path) -> PathBuf {
    match &config.backup.erased_file {
        Some(file) => base.join(file),
        None => {
            let keys = config.data.keys_dir.as_ref().map(|dir| base.join(dir));
            keys.unwrap_or_else(|| base.join(&config.data.dir).join("keys")).join("erased")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_is_read_but_for_a_line_that_was_cut() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("erased");
        let whole = format!("{:032x} 2026-11-24T02:00:00.000000Z\n", 7);
        std::fs::write(&file, format!("{whole}{whole}00ab")).unwrap();
        let read = |file: &PathBuf| Erased::read(std::slice::from_ref(file)).unwrap();
        assert_eq!(read(&file).len(), 1);
        let other = format!("{:032x} 2026-11-24T03:00:00.000000Z\n", 8);
        for torn in ["00ab\n", "00ab", ""] {
            std::fs::write(&file, format!("{whole}{torn}{other}{whole}")).unwrap();
            assert_eq!(read(&file).len(), 2, "{torn:?}");
        }
        std::fs::write(&file, format!("what is this\n{whole}")).unwrap();
        assert!(Erased::read(&[file]).is_err());
        assert!(Erased::read(&[dir.path().join("none")]).is_err());
    }
}
