//! What this node remembers of the log outside the database (P4), and its signature under it.
//!
//! One small file holds the size and root of the last tree that this node found to be a
//! continuation; another holds the node's own key. Who controls the database alone can neither
//! shorten nor rewrite the log without this node noticing before it signs again.

use std::future::Future;
use std::path::PathBuf;

use kernel::Entropy;
use merkle::key::{KeyKind, SeedSigner};
use merkle::{Checkpoint, Hash, SignedCheckpoint, TileMap, VerifyKey};
use store::{Reader, Row, Transaction, Value, args, sql};

use crate::entry::frame;
use crate::{CheckpointSigner, Error, Sealer, Spine, keys};

sql! {
    read TILE = "SELECT bytes FROM spine_tile WHERE level = $1 AND idx = $2";
    read COSIGNED = "SELECT node, note, key, mac FROM spine_cosignature ORDER BY node";
    upkeep COSIGN in spine_cosignature =
        "INSERT INTO spine_cosignature (node, size, at, note, key, mac) \
         VALUES ($1, $2, $3, $4, $5, $6) \
         ON CONFLICT (node) DO UPDATE SET size = excluded.size, at = excluded.at, \
         note = excluded.note, key = excluded.key, mac = excluded.mac";
}

/// The last tree that a node saw.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Seen {
    /// The log's name then; none in files of before names were kept.
    pub origin: Option<String>,
    pub size: u64,
    pub root: Hash,
}

impl Seen {
    fn parse(text: &str) -> Option<Self> {
        let mut lines = text.lines();
        let size = lines.next()?.parse().ok()?;
        let root = Hash::from_base64(lines.next()?).ok()?;
        let origin = lines.next().map(str::to_owned);
        lines.next().is_none().then_some(Self { origin, size, root })
    }

    /// Whether it is of the log of this name.
    pub(crate) fn is_of(&self, origin: &str) -> bool {
        self.origin.as_deref().is_none_or(|seen| seen == origin)
    }
}

/// What this node remembers, in a file.
#[derive(Debug)]
pub(crate) struct Memory {
    path: PathBuf,
    seen: Option<Seen>,
}

impl Memory {
    /// Reads what was remembered; nothing where there is no file yet.
    pub(crate) fn load(spine: &Spine) -> Result<Self, Error> {
        let path = spine.0.node_dir.join("last-tree");
        let seen = match std::fs::read_to_string(&path) {
            Ok(text) => {
                let damaged = || Error::Fork(format!("{} is damaged", path.display()));
                Some(Seen::parse(&text).ok_or_else(damaged)?)
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
            Err(error) if error.kind() == std::io::ErrorKind::InvalidData => {
                return Err(Error::Fork(format!("{} is damaged", path.display())));
            }
            Err(source) => return Err(file_error(&path, source)),
        };
        Ok(Self { path, seen })
    }

    pub(crate) const fn seen(&self) -> Option<&Seen> {
        self.seen.as_ref()
    }

    /// Remembers a tree: written beside, forced to the disk and moved into place, so that a loss of
    /// power leaves one or the other, and never an empty file that would stop the log. In one go:
    /// left half-done by a caller that goes away, an older tree could overwrite a newer one.
    pub(crate) fn remember(&mut self, origin: &str, size: u64, root: Hash) -> Result<(), Error> {
        let seen = Seen { origin: Some(origin.to_owned()), size, root };
        if self.seen.as_ref() == Some(&seen) {
            return Ok(());
        }
        let text = format!("{size}\n{}\n{origin}\n", root.to_base64());
        replace(&self.path, &text).map_err(|source| file_error(&self.path, source))?;
        self.seen = Some(seen);
        Ok(())
    }
}

fn replace(path: &std::path::Path, text: &str) -> std::io::Result<()> {
    use std::io::Write as _;
    let beside = path.with_extension("new");
    let mut file = std::fs::File::create(&beside)?;
    file.write_all(text.as_bytes())?;
    file.sync_data()?;
    std::fs::rename(&beside, path)
}

fn file_error(path: &std::path::Path, source: std::io::Error) -> Error {
    Error::File { path: path.display().to_string(), source }
}

/// Whatever runs a read statement.
pub(crate) trait Fetch: Send {
    /// Its rows.
    fn fetch(
        &mut self,
        text: &'static str,
        args: Vec<Value>,
    ) -> impl Future<Output = Result<Vec<Row>, store::Error>> + Send;
}

impl Fetch for Transaction {
    async fn fetch(
        &mut self,
        text: &'static str,
        args: Vec<Value>,
    ) -> Result<Vec<Row>, store::Error> {
        self.rows(text, args).await
    }
}

impl Fetch for Reader {
    async fn fetch(
        &mut self,
        text: &'static str,
        args: Vec<Value>,
    ) -> Result<Vec<Row>, store::Error> {
        self.rows(text, args).await
    }
}

/// Fetches tiles for a calculation that reads them synchronously.
pub(crate) async fn tiles(
    from: &mut impl Fetch,
    wanted: &[merkle::TileId],
) -> Result<TileMap, Error> {
    let mut map = TileMap::new();
    for id in wanted {
        let index = i64::try_from(id.index()).unwrap_or(i64::MAX);
        let rows = from.fetch(TILE.text(), args![i64::from(id.level()), index]).await?;
        if let Some(row) = rows.first() {
            map.insert(id.level(), id.index(), row.bytes("bytes")?);
        }
    }
    Ok(map)
}

/// Whether the tree of `size` and `root` continues the older one.
pub(crate) async fn continues(
    inner: &mut impl Fetch,
    old: (u64, Hash),
    new: (u64, Hash),
) -> Result<(), Error> {
    if old.0 > new.0 {
        return Err(Error::Fork(format!("it has {} leaves and had {} before", new.0, old.0)));
    }
    let fork = |why: &dyn std::fmt::Display| {
        Error::Fork(format!("its first {} leaves are not those seen before ({why})", old.0))
    };
    if old.0 == 0 || old.0 == new.0 {
        let same = old.0 == 0 || old.1 == new.1;
        return if same { Ok(()) } else { Err(fork(&"another root")) };
    }
    let map = tiles(inner, &merkle::consistency_tiles(old.0, new.0)?).await?;
    let fork = |error: merkle::Error| fork(&error);
    let proof = merkle::prove_consistency(&map, old.0, new.0).map_err(fork)?;
    merkle::verify_consistency(old.0, new.0, &proof, &old.1, &new.1).map_err(fork)
}

/// Whether the tree continues what every node has signed. A signature counts by the node's own key,
/// and a key because the program marked it as that node's: who has the database alone can take a
/// row away, but not put another one in its place.
pub(crate) async fn continues_cosigned(
    spine: &Spine,
    inner: &mut Transaction,
    new: (u64, Hash),
) -> Result<(), Error> {
    for row in inner.rows(COSIGNED.text(), Vec::new()).await? {
        let node = row.text("node")?;
        let Some(key) = known_key(spine, &node, &row)? else {
            tracing::warn!(
                node,
                "a node's last checkpoint is by a key that is not known to be its"
            );
            continue;
        };
        let signed = SignedCheckpoint::parse(row.text("note")?.as_bytes())?;
        if signed.note().open(&[&key]).is_err() || !keys::is_signed(spine, inner, &signed).await? {
            return Err(Error::Fork(format!(
                "the last checkpoint of {node} is not what it signed"
            )));
        }
        let old = signed.claimed();
        continues(inner, (old.size(), old.root()), new).await?;
    }
    Ok(())
}

fn known_key(spine: &Spine, node: &str, row: &Row) -> Result<Option<VerifyKey>, Error> {
    let (Some(key), Some(mac)) = (row.opt_bytes("key")?, row.opt_bytes("mac")?) else {
        return Ok(None);
    };
    let Ok(key) = <[u8; 32]>::try_from(key.as_slice()) else { return Ok(None) };
    if mac != mark(spine.0.sealer.as_ref(), node, &key) {
        return Ok(None);
    }
    Ok(Some(VerifyKey::new(&key_name(spine, node), KeyKind::Cosigner, key)?))
}

/// The keyed mark by which the program vouches that a key is a node's.
fn mark(sealer: &dyn Sealer, node: &str, key: &[u8; 32]) -> [u8; 16] {
    let mut bytes = Vec::new();
    for part in [b"spine node".as_slice(), node.as_bytes(), key] {
        frame(&mut bytes, part);
    }
    sealer.pseudonym(&bytes)
}

fn key_name(spine: &Spine, node: &str) -> String {
    format!("{}+{node}", spine.0.signer.name()).replace('+', "/node/")
}

/// This node's key, made when first asked for.
pub(crate) fn key(spine: &Spine, entropy: &dyn Entropy) -> Result<SeedSigner, Error> {
    let path = spine.0.node_dir.join("node-key");
    let name = key_name(spine, &spine.0.node);
    match std::fs::read(&path) {
        Ok(seed) => {
            let seed = seed.try_into();
            let damaged = |_| Error::Fork(format!("{} is damaged", path.display()));
            Ok(SeedSigner::new(&name, KeyKind::Cosigner, &seed.map_err(damaged)?)?)
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            let mut seed = [0; 32];
            entropy.fill(&mut seed);
            write_private(&path, &seed).map_err(|source| file_error(&path, source))?;
            Ok(SeedSigner::new(&name, KeyKind::Cosigner, &seed)?)
        }
        Err(source) => Err(file_error(&path, source)),
    }
}

/// Writes beside and renames: a crash leaves no half key. Only the node that holds the folder's lock
/// comes here.
fn write_private(path: &std::path::Path, bytes: &[u8]) -> std::io::Result<()> {
    use std::io::Write as _;
    use std::os::unix::fs::OpenOptionsExt as _;
    let beside = path.with_extension("new");
    let mut options = std::fs::OpenOptions::new();
    let mut file = options.write(true).create(true).truncate(true).mode(0o600).open(&beside)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    std::fs::rename(&beside, path)
}

/// Signs the checkpoint as this node and puts it where the next leader looks.
pub(crate) async fn cosign(
    spine: &Spine,
    key: &SeedSigner,
    mut signed: SignedCheckpoint,
) -> Result<SignedCheckpoint, Error> {
    let now = spine.0.clock.now();
    signed.cosign(key, u64::try_from(now.seconds()).unwrap_or(1).max(1))?;
    let size = i64::try_from(signed.claimed().size()).unwrap_or(i64::MAX);
    let node = spine.0.node.as_str();
    let public = key.verifier().public();
    let mac = mark(spine.0.sealer.as_ref(), node, public);
    let mut inner = spine.0.db.begin().await?;
    let row = args![node, size, now, signed.to_string(), public, mac];
    inner.run(COSIGN.text(), row).await?;
    inner.commit().await?;
    Ok(signed)
}

/// Signs a tree with the log's key under its present origin.
pub(crate) fn sign(spine: &Spine, checkpoint: &Checkpoint) -> Result<SignedCheckpoint, Error> {
    let signer = spine.0.signer.as_ref();
    Ok(checkpoint.sign(&LogSigner { signer, origin: checkpoint.origin() })?)
}

/// A key of the log under the log's present name.
pub(crate) struct LogSigner<'a> {
    pub signer: &'a dyn CheckpointSigner,
    pub origin: &'a str,
}

impl merkle::NoteSigner for LogSigner<'_> {
    fn name(&self) -> &str {
        self.origin
    }

    fn key_id(&self) -> merkle::key::KeyId {
        let public = self.signer.public_key();
        merkle::key::KeyId::of(self.origin, KeyKind::Ed25519, &public)
    }

    fn sign(&self, message: &[u8]) -> Result<[u8; 64], merkle::Error> {
        let signed = self.signer.sign(message);
        signed.map_err(|error| merkle::Error::Signer { cause: error.to_string() })
    }
}
