//! The check of the whole log and of every fact row against it (P5).
//!
//! The log is read once, leaf by leaf: entries are hashed, compared with their columns and their
//! bodies, and grown into a tree whose tiles, frontier, signed head, kept checkpoints and outside
//! checkpoints must all agree. What is missing must have been told of. The rows that the entries
//! attest are folded by version; then every row of every fact table must be the one that was
//! attested last. What is claimed of the size of the log is read before the log: it may only grow.

mod facts;
mod marks;

use std::collections::BTreeMap;

use merkle::{Checkpoint, CompactRange, Hash, SignedCheckpoint, TileId, TileMap, TileReader};
use store::{Row, args, sql};

use self::marks::Marks;
use crate::leaf::Leaf;
use crate::retire::Retired;
use crate::tx::body_place;
use crate::{Error, Event as _, LogReopened, SealError, Spine, Subject, keys, node};

sql! {
    read LEAVES =
        "SELECT idx, id, at, kind, actor_kind, subject, aggregate, aggregate_id, version, entry, \
         body, leaf, mac FROM spine_leaf WHERE idx >= $1 ORDER BY idx LIMIT $2";
    read PENDING =
        "SELECT id, at, kind, actor_kind, subject, aggregate, aggregate_id, version, entry, body, \
         leaf, mac FROM spine_outbox ORDER BY id LIMIT $1";
    read COUNTS = "SELECT size, (SELECT COUNT(*) FROM spine_leaf) AS leaves, \
         (SELECT COUNT(*) FROM spine_tile WHERE width * 32 <> length(bytes)) AS odd_tiles \
         FROM spine_head WHERE id = 1";
    read TILES = "SELECT t.level AS level, COUNT(*) AS tiles, MAX(t.idx) AS last, h.size AS size \
         FROM spine_tile t, spine_head h WHERE h.id = 1 GROUP BY t.level, h.size";
    read KEPT = "SELECT size, note FROM spine_checkpoint WHERE size > $1 ORDER BY size LIMIT $2";
    read COSIGNED = "SELECT size, note FROM spine_cosignature ORDER BY node LIMIT $1";
    read PUBLISHED = "SELECT size, note FROM spine_published ORDER BY id LIMIT $1";
}

/// One thing that is not as it was told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// Where: `leaf 17`, `tile/0/000`, `a row of identity_account`.
    pub place: String,
    /// What is wrong.
    pub what: String,
}

/// What a check found.
#[derive(Clone, Debug, Default)]
pub struct Verification {
    /// Leaves in the log.
    pub size: u64,
    /// The root of all of them.
    pub root: String,
    /// Bodies that were opened or hashed.
    pub bodies: u64,
    /// Bodies that retention deleted, of which only the hashes are left.
    pub deleted: u64,
    /// Sealed parts whose key was destroyed.
    pub erased: u64,
    /// Fact rows compared.
    pub rows: u64,
    /// Leaves under the newest outside checkpoint that was given: later ones are this program's
    /// word only.
    pub covered: u64,
    /// Committed events that have no leaf yet.
    pub pending: u64,
    /// What is wrong; the first hundred.
    pub faults: Vec<Fault>,
}

const PAGE: i64 = 500;
const MOST_FAULTS: usize = 100;
const MOST_PENDING: i64 = 100_000;

impl Verification {
    /// Whether nothing is wrong.
    #[must_use]
    pub fn holds(&self) -> bool {
        self.faults.is_empty()
    }

    /// Tells of a fault once, however often it is met.
    fn fault(&mut self, place: impl Into<String>, what: impl Into<String>) {
        let fault = Fault { place: place.into(), what: what.into() };
        if self.faults.len() < MOST_FAULTS && !self.faults.contains(&fault) {
            self.faults.push(fault);
        }
    }

    /// Tells of a fault that several things of one name may have.
    fn fault_each(&mut self, place: impl Into<String>, what: impl Into<String>) {
        if self.faults.len() < MOST_FAULTS {
            self.faults.push(Fault { place: place.into(), what: what.into() });
        }
    }
}

struct Walk<'a> {
    spine: &'a Spine,
    out: Verification,
    marks: Marks,
    retired: Retired,
    range: CompactRange,
    /// Every tile of our own tree: 33 bytes a leaf.
    tree: TileMap,
    known: BTreeMap<u64, Hash>,
    /// The log's name now.
    origin: String,
    /// Names that it had, with how many leaves were restored when it lost them.
    former: BTreeMap<String, u64>,
    /// Changes of the log's key that it tells of.
    key_changes: Vec<([u8; 32], [u8; 32])>,
    /// The name that this node remembers, where it is another.
    remembered: Option<String>,
}

impl Spine {
    /// Checks the whole log, and every fact row against it. `known` are checkpoints that were kept
    /// outside; `progress` is told how many leaves are done. Memory: about 33 bytes a leaf and 100
    /// a fact row.
    ///
    /// # Errors
    /// [`Error::Store`], [`Error::Seal`] where a store does not answer: then nothing was found out.
    pub async fn verify(
        &self,
        known: &[Checkpoint],
        progress: &mut (dyn FnMut(u64) + Send),
    ) -> Result<Verification, Error> {
        let mut walk = Walk {
            spine: self,
            out: Verification::default(),
            marks: Marks::default(),
            retired: Retired::default(),
            range: CompactRange::new(),
            tree: TileMap::new(),
            known: BTreeMap::new(),
            origin: self.0.signer.name().to_owned(),
            former: BTreeMap::new(),
            key_changes: Vec::new(),
            remembered: None,
        };
        let signed = walk.read_note().await?;
        walk.learn_known(known);
        walk.count().await?;
        walk.read_leaves(progress).await?;
        walk.check_head(signed).await?;
        walk.check_tiles().await?;
        walk.check_kept().await?;
        walk.check_facts().await?;
        if walk.remembered.as_ref().is_some_and(|name| !walk.former.contains_key(name)) {
            walk.out.fault("node memory", "it is of a log of another name");
        }
        for (index, what) in walk.retired.faults() {
            let place = index.map_or("outbox".to_owned(), |index| format!("leaf {index}"));
            walk.out.fault(place, what);
        }
        walk.out.size = walk.range.size();
        walk.out.root = walk.range.root().to_base64();
        Ok(walk.out)
    }
}

impl Walk<'_> {
    /// The signed head and its size as the row has it; read first, so that the log may not be
    /// shorter than it says.
    async fn read_note(&mut self) -> Result<Option<(i64, String)>, Error> {
        match self.spine.head().await {
            Ok(head) => Ok(head.map(|head| {
                self.origin.clone_from(&head.origin);
                (head.note_size, head.note)
            })),
            Err(error) => self.misread("head", error).map(|()| None),
        }
    }

    /// A column of another type is a fault; a store that does not answer is none.
    fn misread(&mut self, place: &str, error: Error) -> Result<(), Error> {
        match error {
            Error::Store(store::Error::Column { column }) => {
                self.out.fault(place, format!("its {column} cannot be read"));
            }
            error @ (Error::Store(_) | Error::Seal(_)) => return Err(error),
            other => self.out.fault(place, other.to_string()),
        }
        Ok(())
    }

    fn learn_known(&mut self, known: &[Checkpoint]) {
        for checkpoint in known {
            if checkpoint.origin() != self.origin {
                self.out.fault("checkpoint", format!("it is of {}", checkpoint.origin()));
                continue;
            }
            self.out.covered = self.out.covered.max(checkpoint.size());
            let other = self.known.insert(checkpoint.size(), checkpoint.root());
            if other.is_some_and(|other| other != checkpoint.root()) {
                self.out.fault("checkpoint", "two roots were given for one size");
            }
        }
        match node::Memory::load(self.spine) {
            Ok(memory) => {
                let Some(seen) = memory.seen() else { return };
                if !seen.is_of(&self.origin) {
                    self.remembered.clone_from(&seen.origin);
                } else if self.known.insert(seen.size, seen.root).is_some_and(|it| it != seen.root)
                {
                    self.out.fault("node memory", "it has another root");
                }
            }
            Err(error) => self.out.fault("node memory", error.to_string()),
        }
    }

    /// Rows that no reading in order would meet.
    async fn count(&mut self) -> Result<(), Error> {
        let mut read = self.spine.read().await?;
        if let Some(row) = read.rows(&COUNTS, args![]).await?.first() {
            if row.int("size").ok() != row.int("leaves").ok() {
                self.out.fault("the log", "it has another number of leaves than its head says");
            }
            if row.int("odd_tiles").ok() != Some(0) {
                self.out.fault("a tile", "its width is not that of its hashes");
            }
        }
        for row in read.rows(&TILES, args![]).await? {
            let as_grown = || {
                let level =
                    u32::try_from(row.int("level").ok()?).ok().filter(|level| *level < 8)?;
                let size = u64::try_from(row.int("size").ok()?).ok()?;
                let tiles = i64::try_from((size >> (8 * level)).div_ceil(256)).ok()?;
                Some(row.int("tiles").ok()? == tiles && row.int("last").ok()? == tiles - 1)
            };
            if as_grown() != Some(true) {
                self.out.fault("a tile", "it is not of this tree, or one is missing");
            }
        }
        Ok(())
    }

    async fn read_leaves(&mut self, progress: &mut (dyn FnMut(u64) + Send)) -> Result<(), Error> {
        loop {
            let from = i64::try_from(self.range.size()).unwrap_or(i64::MAX);
            let rows = self.spine.read().await?.rows(&LEAVES, args![from, PAGE]).await?;
            let subject = |row: &Row| Subject::from_bytes(&row.opt_bytes("subject").ok()??);
            let mut subjects: Vec<Subject> = rows.iter().filter_map(subject).collect();
            subjects.sort_unstable();
            subjects.dedup();
            self.spine.0.sealer.resolve(&subjects).await?;
            let mut leaves = Vec::with_capacity(rows.len());
            for (row, expected) in rows.iter().zip(from..) {
                if row.int("idx").ok() != Some(expected) {
                    self.out.fault(format!("leaf {expected}"), "it is missing");
                    return Ok(());
                }
                let leaf = self.check_leaf(Some(expected), row)?;
                self.check_known(&leaves, leaf);
                leaves.push(leaf);
            }
            if leaves.is_empty() {
                return Ok(());
            }
            self.grow(&leaves).await?;
            progress(self.range.size());
        }
    }

    /// Compares the root at each known size that falls within the page.
    fn check_known(&mut self, page: &[Hash], leaf: Hash) {
        let size = self.range.size() + page.len() as u64 + 1;
        let Some(expected) = self.known.get(&size).copied() else { return };
        let mut range = self.range.clone();
        page.iter().chain([&leaf]).for_each(|leaf| range.append(*leaf));
        if range.root() != expected {
            self.out.fault(format!("leaf {}", size - 1), "up to here it is another log");
        }
    }

    /// Checks one leaf, or one event that has none yet, and returns its hash.
    fn check_leaf(&mut self, index: Option<i64>, row: &Row) -> Result<Hash, Error> {
        let place = index.map_or("outbox".to_owned(), |index| format!("leaf {index}"));
        let leaf = Leaf::read(self.spine.0.sealer.as_ref(), row);
        let hash = leaf.hash;
        for what in &leaf.faults {
            self.out.fault(&place, *what);
        }
        if !leaf.faults.is_empty() {
            return Ok(hash);
        }
        self.retired.learn(index, &leaf);
        if index.is_some() {
            self.open_body(&place, &leaf)?;
        }
        if let Some(entry) = leaf.entry {
            self.learn_reopened(&entry.kind, leaf.body.as_ref());
            let change = leaf.body.as_ref().and_then(|(plain, _)| keys::change(&entry.kind, plain));
            self.key_changes.extend(change);
            self.marks.attest(entry.rows);
        }
        Ok(hash)
    }

    fn open_body(&mut self, place: &str, leaf: &Leaf) -> Result<(), Error> {
        let (Some((_, sealed)), Some(entry)) = (&leaf.body, &leaf.entry) else {
            self.out.deleted += 1;
            return Ok(());
        };
        self.out.bodies += 1;
        let Some(subject) = leaf.subject else {
            self.out.erased += 1;
            return Ok(());
        };
        match self.spine.0.sealer.open(subject, body_place(entry.id), sealed) {
            Ok(_) => {}
            Err(SealError::Erased) => self.out.erased += 1,
            Err(SealError::Forged) => self.out.fault(place, "its sealed part is forged"),
            Err(SealError::Missing) => {
                self.out
                    .fault(place, "the key of its sealed part is missing, and nothing tells why");
            }
            Err(error @ (SealError::Unresolved | SealError::Unavailable)) => {
                return Err(error.into());
            }
        }
        Ok(())
    }

    fn learn_reopened(&mut self, kind: &str, body: Option<&(Vec<u8>, Vec<u8>)>) {
        let (true, Some((plain, _))) = (kind == LogReopened::SPEC.kind, body) else { return };
        if let Ok(told) = serde_json::from_slice::<LogReopened>(plain) {
            self.former.insert(told.old_origin, told.restored_size);
        }
    }

    /// Grows our own tree, and compares each tile that is full with the stored one.
    async fn grow(&mut self, leaves: &[Hash]) -> Result<(), Error> {
        let growth = merkle::grow(&self.range, leaves, &self.tree)?;
        let mut read = self.spine.0.db.read().await?;
        for tile in growth.tiles {
            if !tile.id.is_partial() {
                self.compare_tile(&mut read, tile.id, &tile.bytes).await?;
            }
            self.tree.insert(tile.id.level(), tile.id.index(), tile.bytes);
        }
        self.range = growth.range;
        Ok(())
    }

    /// Compares a stored tile with ours; true where it is ours, and more.
    async fn compare_tile(
        &mut self,
        read: &mut store::Reader,
        id: TileId,
        ours: &[u8],
    ) -> Result<bool, Error> {
        let path = || merkle::Resource::Tile(id).path();
        let index = i64::try_from(id.index()).unwrap_or(i64::MAX);
        let rows = read.rows(node::TILE.text(), args![i64::from(id.level()), index]).await?;
        match rows.first().map(|row| row.bytes("bytes")) {
            None => self.out.fault(path(), "it is missing"),
            Some(Ok(stored)) if stored.starts_with(ours) => return Ok(stored.len() > ours.len()),
            Some(_) => self.out.fault(path(), "it is not made of the leaves below"),
        }
        Ok(false)
    }

    async fn check_tiles(&mut self) -> Result<(), Error> {
        let mut read = self.spine.0.db.read().await?;
        let mut longer = Vec::new();
        for id in TileId::edge(self.range.size()) {
            let ours = self.tree.tile(id)?.into_owned();
            if self.compare_tile(&mut read, id, &ours).await? {
                longer.push(id);
            }
        }
        drop(read);
        // Longer is right only where the log has grown since its leaves were read.
        let grown = self
            .spine
            .head()
            .await
            .is_ok_and(|head| head.is_some_and(|head| head.size() > self.range.size()));
        for id in longer.into_iter().filter(|_| !grown) {
            self.out.fault(merkle::Resource::Tile(id).path(), "it has more than the log");
        }
        Ok(())
    }

    /// The head row and its signature. The log may have grown since the leaves were read.
    async fn check_head(&mut self, signed: Option<(i64, String)>) -> Result<(), Error> {
        let size = self.range.size();
        match self.spine.head().await {
            Err(error) => self.misread("head", error)?,
            Ok(None) if size == 0 => {}
            Ok(None) => self.out.fault("head", "it is missing"),
            Ok(Some(head)) => {
                if head.size() < size || (head.size() == size && head.range != self.range) {
                    self.out.fault("head", "its frontier is not made of the leaves");
                }
            }
        }
        if let Some((note_size, note)) = signed {
            let what = if note.is_empty() {
                (size > 0).then_some("it is not signed")
            } else {
                self.note_fault(u64::try_from(note_size).ok(), &note, size)
            };
            what.into_iter().for_each(|what| self.out.fault("head", what));
        }
        for (known, _) in self.known.range(size + 1..) {
            let what = format!("the log has {size} leaves and had {known} before");
            self.out.faults.push(Fault { place: "head".to_owned(), what });
        }
        Ok(())
    }

    /// Every checkpoint that is kept, and every node's last, is of this log.
    async fn check_kept(&mut self) -> Result<(), Error> {
        let mut after = i64::MIN;
        loop {
            let rows = self.spine.read().await?.rows(&KEPT, args![after, PAGE]).await?;
            let Some(last) = rows.last() else { break };
            after = last.int("size").unwrap_or(i64::MAX);
            self.check_notes("a kept checkpoint", &rows).await?;
        }
        let rows = self.spine.read().await?.rows(&COSIGNED, args![PAGE]).await?;
        self.check_notes("a node's checkpoint", &rows).await?;
        let rows = self.spine.read().await?.rows(&PUBLISHED, args![PAGE]).await?;
        self.check_notes("the published checkpoint", &rows).await
    }

    async fn check_notes(&mut self, place: &str, rows: &[Row]) -> Result<(), Error> {
        // Read after the notes: no note may be of more leaves.
        let now = self.spine.head().await.ok().flatten();
        let most = now.map_or(0, |head| head.size());
        for row in rows {
            let size = row.int("size").ok().and_then(|size| u64::try_from(size).ok());
            let note = row.text("note").unwrap_or_default();
            if let Some(what) = self.note_fault(size, &note, most) {
                self.out.fault(place, what);
            }
        }
        Ok(())
    }

    /// What is wrong with a signed note that stands in a row of this size, in a log of `most`
    /// leaves.
    fn note_fault(&self, size: Option<u64>, note: &str, most: u64) -> Option<&'static str> {
        let Ok(signed) = SignedCheckpoint::parse(note.as_bytes()) else {
            return Some("its note cannot be read");
        };
        let claimed = signed.claimed();
        if size != Some(claimed.size()) {
            return Some("its note is of another size");
        }
        if claimed.origin() == self.origin {
            if !self.is_signed(&signed) {
                return Some("its signature does not hold");
            }
        } else {
            match self.former.get(claimed.origin()) {
                None => return Some("its note is of another log"),
                // Of a tree that was lost, as the log tells.
                Some(restored) if claimed.size() > *restored => return None,
                Some(_) => {}
            }
        }
        if claimed.size() > self.range.size() {
            return (claimed.size() > most).then_some("its note is of more leaves than the log");
        }
        let ours = merkle::root_at(&self.tree, claimed.size());
        (!ours.is_ok_and(|ours| ours == claimed.root()))
            .then_some("what was signed is not this log")
    }

    fn is_signed(&self, signed: &SignedCheckpoint) -> bool {
        let now = self.spine.0.signer.public_key();
        keys::is_signed_by(signed, &keys::accepted(now, &self.key_changes))
    }

    async fn attest_pending(&mut self) -> Result<(), Error> {
        let rows = self.spine.read().await?.rows(&PENDING, args![MOST_PENDING]).await?;
        self.out.pending = rows.len() as u64;
        for row in rows {
            self.check_leaf(None, &row)?;
        }
        Ok(())
    }
}
