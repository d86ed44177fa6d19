//! What a witness must never forget: its key, the logs that it watches, and the last checkpoint
//! that it accepted of each, on the disk before it signs. A lost folder is a lost witness: a new one
//! needs a new key, because an empty memory accepts any history.

use std::io::Write as _;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use kernel::Entropy;
use merkle::key::{KeyKind, SeedSigner};
use merkle::note::MAX_NOTE_BYTES;
use merkle::witness::{WitnessState, log_id};
use merkle::{Policy, SignedCheckpoint, VerifyKey};

use crate::node::Node;

/// Logs that one witness watches.
const LOGS_MAX: usize = 1_000;
/// Requests kept as evidence against logs; more are not written.
const EVIDENCE_MAX: usize = 100;

/// A witness's folder.
pub(crate) struct Folder {
    dir: PathBuf,
    pub key: SeedSigner,
    node: Node,
}

impl Folder {
    /// Makes a folder with a new key; touches nothing that stands.
    pub(crate) fn make(dir: &Path, name: &str, entropy: &dyn Entropy) -> anyhow::Result<Self> {
        let made = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(dir);
        made.with_context(|| format!("{} cannot be made", dir.display()))?;
        let mut seed = zeroize::Zeroizing::new([0; 32]);
        entropy.fill(&mut *seed);
        let text = SeedSigner::secret_text(name, KeyKind::Cosigner, &seed)?;
        crate::command::init::write_private(&dir.join("key"), text.as_bytes())?;
        std::fs::create_dir_all(dir.join("last"))?;
        Self::open(dir)
    }

    /// Opens what [`Folder::make`] made.
    pub(crate) fn open(dir: &Path) -> anyhow::Result<Self> {
        let file = dir.join("key");
        let text = std::fs::read_to_string(&file).with_context(|| {
            format!("{} cannot be read: `stagedoor witness init` makes one", file.display())
        })?;
        let key = SeedSigner::parse(text.trim_end()).context("the witness's key is damaged")?;
        anyhow::ensure!(
            dir.join("last").is_dir(),
            "{} is gone, and with it what was cosigned: make a new witness with a new key",
            dir.join("last").display()
        );
        Ok(Self { dir: dir.to_owned(), key, node: Node::new(dir) })
    }

    /// Takes the folder for this program: two that sign from one memory would cosign two histories.
    pub(crate) fn take(&self) -> anyhow::Result<()> {
        anyhow::ensure!(self.node.take()?, "another program serves from {}", self.dir.display());
        Ok(())
    }

    /// The keys of the logs that are watched; one log may have several, of one name.
    pub(crate) fn logs(&self) -> anyhow::Result<Vec<VerifyKey>> {
        let file = self.dir.join("logs");
        let text = match std::fs::read_to_string(&file) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => String::new(),
            Err(error) => {
                return Err(error).with_context(|| format!("{} cannot be read", file.display()));
            }
        };
        let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
        let keys = lines.map(|line| {
            VerifyKey::parse(line).with_context(|| format!("{}: `{line}`", file.display()))
        });
        let keys = keys.collect::<anyhow::Result<Vec<_>>>()?;
        anyhow::ensure!(keys.len() <= LOGS_MAX, "more than {LOGS_MAX} logs");
        Ok(keys)
    }

    /// Watches a log by this key from now on; a running witness reads it with the next request.
    pub(crate) fn add_log(&self, key: &VerifyKey) -> anyhow::Result<()> {
        let mut keys = self.logs()?;
        anyhow::ensure!(!keys.contains(key), "this key is known already");
        keys.push(key.clone());
        let text: String = keys.iter().map(|key| format!("{key}\n")).collect();
        let of_name = keys.into_iter().filter(|known| known.name() == key.name()).collect();
        Policy::new(of_name)?.with_witnesses(vec![self.key.verifier().clone()], 0)?;
        replace(&self.dir.join("logs"), text.as_bytes())
    }

    /// Whom to believe about a log; none where it is not watched. A checkpoint that this witness
    /// cosigned carries its signature.
    pub(crate) fn policy(&self, origin: &str) -> anyhow::Result<Option<Policy>> {
        let mut keys = self.logs()?;
        keys.retain(|key| key.name() == origin);
        if keys.is_empty() {
            return Ok(None);
        }
        let own = vec![self.key.verifier().clone()];
        Ok(Some(Policy::new(keys)?.with_witnesses(own, 0)?))
    }

    /// The last checkpoint of a log that was accepted. A file that cannot be read is an error,
    /// never a first contact.
    pub(crate) fn last(&self, origin: &str) -> anyhow::Result<Option<SignedCheckpoint>> {
        let file = self.last_file(origin);
        let bytes = match std::fs::read(&file) {
            Ok(bytes) if bytes.len() <= MAX_NOTE_BYTES => bytes,
            Ok(_) => anyhow::bail!("{} is damaged", file.display()),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => {
                return Err(error).with_context(|| format!("{} cannot be read", file.display()));
            }
        };
        let damaged = || format!("{} is damaged", file.display());
        let last = SignedCheckpoint::parse(&bytes).with_context(damaged)?;
        anyhow::ensure!(last.claimed().origin() == origin, damaged());
        Ok(Some(last))
    }

    /// The last checkpoint by the log's id, for whoever wants to compare.
    pub(crate) fn last_by_id(&self, id: &str) -> anyhow::Result<Option<SignedCheckpoint>> {
        let logs = self.logs()?;
        let found = logs.iter().find(|key| log_id(key.name()) == id);
        found.map_or(Ok(None), |key| self.last(key.name()))
    }

    /// What [`WitnessState::judge`] starts from.
    pub(crate) fn state(last: Option<&SignedCheckpoint>, origin: &str) -> WitnessState {
        last.map_or_else(
            || WitnessState::first(origin),
            |last| WitnessState {
                origin: origin.to_owned(),
                size: last.claimed().size(),
                root: last.claimed().root(),
            },
        )
    }

    /// When this witness signed a checkpoint, in seconds since 1970; 0 where it stopped before.
    pub(crate) fn cosigned_at(&self, last: &SignedCheckpoint) -> anyhow::Result<u64> {
        match last.note().open(&[self.key.verifier()]) {
            Ok((_, by)) => Ok(by.first().and_then(|signed| signed.time_s).unwrap_or(0)),
            Err(merkle::Error::Unsigned { .. }) => Ok(0),
            Err(error) => Err(error).context("what was accepted last is damaged"),
        }
    }

    /// Remembers a checkpoint: on the disk when this returns.
    pub(crate) fn remember(&self, signed: &SignedCheckpoint) -> anyhow::Result<()> {
        let file = self.last_file(signed.claimed().origin());
        replace(&file, signed.to_string().as_bytes())
    }

    /// Keeps a request that the log signed and that does not grow out of what was cosigned: with
    /// the last checkpoint it proves that the log showed two histories.
    pub(crate) fn keep_evidence(&self, origin: &str, size: u64, body: &[u8]) -> anyhow::Result<()> {
        let dir = self.dir.join("evidence");
        std::fs::create_dir_all(&dir)?;
        if std::fs::read_dir(&dir)?.count() >= EVIDENCE_MAX {
            return Ok(());
        }
        let mark = merkle::leaf_hash(body).to_hex();
        let mark = mark.get(..16).unwrap_or_default();
        replace(&dir.join(format!("{}-{size}-{mark}", log_id(origin))), body)
    }

    fn last_file(&self, origin: &str) -> PathBuf {
        self.dir.join("last").join(log_id(origin))
    }
}

/// Written beside, forced to the disk, moved into place, and the move forced to the disk too.
fn replace(file: &Path, bytes: &[u8]) -> anyhow::Result<()> {
    let failed = || format!("{} cannot be written", file.display());
    let beside = file.with_extension("new");
    let mut options = std::fs::OpenOptions::new();
    let opened = options.write(true).create(true).truncate(true).mode(0o600).open(&beside);
    let mut opened = opened.with_context(failed)?;
    opened.write_all(bytes).and_then(|()| opened.sync_all()).with_context(failed)?;
    std::fs::rename(&beside, file).with_context(failed)?;
    let folder = file.parent().context("a file without a folder")?;
    std::fs::File::open(folder).and_then(|folder| folder.sync_all()).with_context(failed)
}
