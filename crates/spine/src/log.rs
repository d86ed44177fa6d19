//! Reading the log: events with filters, proofs for one event, the whole tree for a stranger.

use std::path::Path;

use kernel::{AccountId, EventId, Limits};
use merkle::tile::encode_bundle;
use merkle::{Resource, SignedCheckpoint, TileId, TlogProof};
use serde_json::{Map, Value as Json};
use store::{Row, args, sql};

use crate::leaf::Leaf;
use crate::tx::body_place;
use crate::{Error, Opened, Recorded, SealError, Spine, Subject, node};

sql! {
    read PAGE =
        "SELECT idx, id, at, kind, actor_kind, subject, aggregate, aggregate_id, version, entry, \
         body, leaf, mac FROM spine_leaf WHERE idx < $1 \
         AND (CAST($2 AS TEXT) IS NULL OR (kind >= $2 AND kind < $3)) \
         AND (CAST($4 AS TEXT) IS NULL OR actor_kind = $4) ORDER BY idx DESC LIMIT $5";
    read PAGE_OF =
        "SELECT idx, id, at, kind, actor_kind, subject, aggregate, aggregate_id, version, entry, \
         body, leaf, mac FROM spine_leaf WHERE subject = $1 AND idx < $2 \
         AND (CAST($3 AS TEXT) IS NULL OR (kind >= $3 AND kind < $4)) ORDER BY idx DESC LIMIT $5";
    read FROM =
        "SELECT idx, id, at, kind, actor_kind, subject, aggregate, aggregate_id, version, entry, \
         body, leaf, mac FROM spine_leaf WHERE idx >= $1 \
         AND idx < (SELECT MAX(size) FROM spine_head) ORDER BY idx LIMIT $2";
    read ONE =
        "SELECT idx, id, at, kind, actor_kind, subject, aggregate, aggregate_id, version, entry, \
         body, leaf, mac FROM spine_leaf WHERE id = $1";
    read ENTRY = "SELECT idx, entry FROM spine_leaf WHERE id = $1";
    read ENTRIES = "SELECT entry FROM spine_leaf WHERE idx >= $1 AND idx < $2 ORDER BY idx";
}

/// Which events are wanted.
#[derive(Clone, Debug, Default)]
pub struct EventFilter {
    /// A kind (`identity.login_failed`), or a room with its dot (`identity.`).
    pub kind: Option<String>,
    /// What sort of actor.
    pub actor_kind: Option<String>,
    /// Whose events.
    pub account: Option<AccountId>,
    /// Only leaves below this number: the next page.
    pub before: Option<i64>,
    /// How many, 1 to 200.
    pub limit: i64,
}

impl EventFilter {
    /// The bounds of kinds: a room's dot sorts right before its slash.
    fn kinds(&self) -> (Option<String>, Option<String>) {
        let Some(kind) = &self.kind else { return (None, None) };
        let end = match kind.strip_suffix('.') {
            Some(room) => format!("{room}/"),
            None => format!("{kind}\u{1}"),
        };
        (Some(kind.clone()), Some(end))
    }
}

/// A leaf as stored: its columns, and the row to hold them against its entry.
struct LeafRow {
    recorded: Recorded,
    row: Row,
}

impl LeafRow {
    fn read(row: Row) -> Result<Self, store::Error> {
        let subject = row.opt_bytes("subject")?;
        let recorded = Recorded {
            index: row.int("idx")?,
            id: EventId::from_bytes(row.id16("id")?),
            at: row.time("at")?,
            kind: row.text("kind")?,
            actor_kind: row.text("actor_kind")?,
            subject: subject.and_then(|bytes| Subject::from_bytes(&bytes)),
            aggregate: row.text("aggregate")?,
            aggregate_id: row.id16("aggregate_id")?,
            version: row.int("version")?,
            plain: Map::new(),
            sealed: Opened::Deleted,
            leaf: row.fixed("leaf")?,
        };
        Ok(Self { recorded, row })
    }
}

/// Everything that a stranger needs to check one event offline.
#[derive(Clone, Debug)]
pub struct EventProof {
    /// The bytes that the leaf hashes.
    pub entry: Vec<u8>,
    /// Index, inclusion proof and signed checkpoint (C2SP tlog-proof).
    pub proof: TlogProof,
}

impl Spine {
    /// Events, newest first.
    ///
    /// # Errors
    /// [`Error::Store`], [`Error::Seal`] where the key store does not answer.
    pub async fn events(&self, filter: &EventFilter) -> Result<Vec<Recorded>, Error> {
        let limit = filter.limit.clamp(1, Limits::PAGE_ROWS);
        let before = filter.before.unwrap_or(i64::MAX);
        let (from, to) = filter.kinds();
        let mut read = self.read().await?;
        let rows = match filter.account {
            Some(account) => {
                let subject = Subject::Account(account).to_bytes();
                read.rows(&PAGE_OF, args![subject, before, from, to, limit]).await?
            }
            None => {
                let actor = filter.actor_kind.clone();
                read.rows(&PAGE, args![before, from, to, actor, limit]).await?
            }
        };
        drop(read);
        self.open(rows, |_| true).await
    }

    /// Events from a leaf on, oldest first. Bodies of kinds that `wanted` refuses stay closed.
    ///
    /// # Errors
    /// [`Error::Store`], [`Error::Seal`] where the key store does not answer.
    pub async fn events_from(
        &self,
        index: i64,
        limit: i64,
        wanted: impl Fn(&str) -> bool,
    ) -> Result<Vec<Recorded>, Error> {
        let rows = self.read().await?.rows(&FROM, args![index, limit]).await?;
        self.open(rows, wanted).await
    }

    /// One event by its id.
    ///
    /// # Errors
    /// [`Error::NoSuchEvent`] also while it waits for its leaf; [`Error::Store`].
    pub async fn event(&self, id: EventId) -> Result<Recorded, Error> {
        let rows = self.read().await?.rows(&ONE, args![id.as_bytes()]).await?;
        self.open(rows, |_| true).await?.pop().ok_or(Error::NoSuchEvent)
    }

    async fn open(
        &self,
        rows: Vec<Row>,
        wanted: impl Fn(&str) -> bool,
    ) -> Result<Vec<Recorded>, Error> {
        let rows: Vec<LeafRow> = rows.into_iter().map(LeafRow::read).collect::<Result<_, _>>()?;
        let wants = |row: &&LeafRow| wanted(&row.recorded.kind);
        let mut subjects: Vec<Subject> =
            rows.iter().filter(wants).filter_map(|row| row.recorded.subject).collect();
        subjects.sort_unstable();
        subjects.dedup();
        self.0.sealer.resolve(&subjects).await?;
        rows.into_iter()
            .map(|row| {
                let wanted = wanted(&row.recorded.kind);
                if wanted { self.open_one(row) } else { Ok(row.recorded) }
            })
            .collect()
    }

    /// Opens an event. What is forged or without its key is named so, and stops nobody; only a store
    /// that does not answer, or a key of the house's own that is not known yet, is an error.
    fn open_one(&self, found: LeafRow) -> Result<Recorded, Error> {
        let LeafRow { mut recorded, row } = found;
        let leaf = Leaf::read(self.0.sealer.as_ref(), &row);
        if !leaf.faults.is_empty() {
            recorded.sealed = Opened::Forged;
            return Ok(recorded);
        }
        let Some((plain, sealed)) = leaf.body else { return Ok(recorded) };
        recorded.plain = serde_json::from_slice(&plain)?;
        let Some(subject) = recorded.subject else {
            recorded.sealed = Opened::Erased;
            return Ok(recorded);
        };
        let place = body_place(*recorded.id.as_bytes());
        recorded.sealed = match self.0.sealer.open(subject, place, &sealed) {
            Ok(opened) => Opened::Whole(serde_json::from_slice::<Map<String, Json>>(&opened)?),
            Err(SealError::Erased) => Opened::Erased,
            Err(SealError::Missing) => Opened::Missing,
            // The bytes are those that were logged: the key at hand is another than theirs was.
            Err(SealError::Forged) if subject != Subject::House => Opened::Missing,
            Err(error) => return Err(error.into()),
        };
        Ok(recorded)
    }

    /// The latest signed checkpoint; none while the log is empty.
    ///
    /// # Errors
    /// [`Error::Store`], [`Error::Tree`].
    pub async fn checkpoint(&self) -> Result<Option<SignedCheckpoint>, Error> {
        let Some(head) = self.head().await? else { return Ok(None) };
        if head.note.is_empty() {
            return Ok(None);
        }
        Ok(Some(SignedCheckpoint::parse(head.note.as_bytes())?))
    }

    /// What a stranger must trust to check this log: its name and public key (`vkey`).
    ///
    /// # Errors
    /// [`Error::Store`], [`Error::Tree`].
    pub async fn verifier_key(&self) -> Result<merkle::VerifyKey, Error> {
        let origin = match self.head().await? {
            Some(head) => head.origin,
            None => self.0.signer.name().to_owned(),
        };
        let public = self.0.signer.public_key();
        Ok(merkle::VerifyKey::new(&origin, merkle::key::KeyKind::Ed25519, public)?)
    }

    /// The proof of one event: under the published checkpoint where witnesses signed it and it
    /// covers the event, else under the newest.
    ///
    /// # Errors
    /// [`Error::NoSuchEvent`] also while it is under no checkpoint yet.
    pub async fn prove(&self, id: EventId) -> Result<EventProof, Error> {
        let rows = self.read().await?.rows(&ENTRY, args![id.as_bytes()]).await?;
        let row = rows.first().ok_or(Error::NoSuchEvent)?;
        let index = u64::try_from(row.int("idx")?).unwrap_or(u64::MAX);
        let entry = row.bytes("entry")?;
        let checkpoint = self.to_hand_out(index.saturating_add(1)).await?;
        let checkpoint = checkpoint.ok_or(Error::NoSuchEvent)?;
        let size = checkpoint.claimed().size();
        if index >= size {
            return Err(Error::NoSuchEvent);
        }
        let mut read = self.0.db.read().await?;
        let tiles = node::tiles(&mut read, &merkle::inclusion_tiles(index, size)?).await?;
        drop(read);
        let proof = merkle::prove_inclusion(&tiles, index, size)?;
        Ok(EventProof { entry, proof: TlogProof { extra: None, index, proof, checkpoint } })
    }

    /// Writes the log as a static tree that any C2SP tlog-tiles client reads: `checkpoint`,
    /// `tile/…`, `tile/entries/…`. It is the published checkpoint where witnesses signed it, else
    /// the newest. `progress` is told how many leaves are done.
    ///
    /// # Errors
    /// [`Error::NoSuchEvent`] for an empty log; [`Error::File`]; [`Error::Store`].
    pub async fn export(&self, dir: &Path, progress: &mut dyn FnMut(u64)) -> Result<u64, Error> {
        let checkpoint = self.to_hand_out(0).await?.ok_or(Error::NoSuchEvent)?;
        let size = checkpoint.claimed().size();
        for id in TileId::all(size) {
            let tiles = node::tiles(&mut self.0.db.read().await?, &[id]).await?;
            let bytes = merkle::TileReader::tile(&tiles, id)?;
            let width = usize::from(id.width()) * 32;
            let bytes = bytes.get(..width).ok_or(Error::NoSuchEvent)?;
            write(dir, &Resource::Tile(id).path(), bytes)?;
            if id.level() == 0 {
                self.export_bundle(dir, id).await?;
                progress(id.first_leaf(id.width()).min(size));
            }
        }
        // Last, so that a reader never sees a checkpoint whose tiles are not there yet.
        write(dir, "checkpoint", checkpoint.to_string().as_bytes())?;
        Ok(size)
    }

    async fn export_bundle(&self, dir: &Path, id: TileId) -> Result<(), Error> {
        let bundle = self.bundle(id).await?.ok_or(Error::NoSuchEvent)?;
        write(dir, &Resource::Entries(id).path(), &bundle)
    }

    /// The entries of a bundle as tlog-tiles frames them; none where the log is not so long yet.
    async fn bundle(&self, id: TileId) -> Result<Option<Vec<u8>>, Error> {
        let first = i64::try_from(id.first_leaf(0)).unwrap_or(i64::MAX);
        let after = first.saturating_add(i64::from(id.width()));
        let rows = self.read().await?.rows(&ENTRIES, args![first, after]).await?;
        if rows.len() < usize::from(id.width()) {
            return Ok(None);
        }
        let entries = rows.iter().map(|row| row.bytes("entry")).collect::<Result<Vec<_>, _>>()?;
        Ok(Some(encode_bundle(&entries)?))
    }

    /// One file of the static tree that [`Spine::export`] writes; none where the log is not so long
    /// yet.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub async fn resource(&self, resource: &Resource) -> Result<Option<Vec<u8>>, Error> {
        match resource {
            Resource::Checkpoint => {
                Ok(self.checkpoint().await?.map(|signed| signed.to_string().into_bytes()))
            }
            Resource::Entries(id) => self.bundle(*id).await,
            Resource::Tile(id) => {
                let index = i64::try_from(id.index()).unwrap_or(i64::MAX);
                let at = args![i64::from(id.level()), index];
                let rows = self.read().await?.rows(&node::TILE, at).await?;
                let bytes = rows.first().map(|row| row.bytes("bytes")).transpose()?;
                let width = usize::from(id.width()) * 32;
                Ok(bytes.and_then(|bytes| bytes.get(..width).map(<[u8]>::to_vec)))
            }
        }
    }
}

fn write(dir: &Path, path: &str, bytes: &[u8]) -> Result<(), Error> {
    let path = dir.join(path);
    let fail = |source| Error::File { path: path.display().to_string(), source };
    if let Some(parent) = path.parent() {
        std::fs::create_dir_all(parent).map_err(fail)?;
    }
    std::fs::write(&path, bytes).map_err(fail)
}
