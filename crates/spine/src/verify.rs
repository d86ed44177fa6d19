//! The check of the whole log and of every fact row against it (P5).
//!
//! The log is read once, leaf by leaf: entries are hashed, compared with their columns and their
//! bodies, and grown into a tree whose tiles, frontier, signed head and outside checkpoints must all
//! agree. The rows that the entries attest are folded by version; then every row of every fact
//! table must be the one that was attested last.

use std::collections::BTreeMap;

use merkle::{Checkpoint, CompactRange, Hash, Policy, SignedCheckpoint, TileId, TileMap, TileReader};
use store::{Row, args, sql};

use crate::entry::{Entry, RowMark, sha256, split_body};
use crate::tx::{body_place, digest_row};
use crate::{Error, SealError, Sealer, Spine, Subject, Table, TableKind, node};

sql! {
    read LEAVES =
        "SELECT idx, id, at, kind, actor_kind, subject, aggregate, aggregate_id, version, entry, \
         body, leaf, mac FROM spine_leaf WHERE idx >= $1 ORDER BY idx LIMIT $2";
    read PENDING = "SELECT entry, leaf, mac FROM spine_outbox ORDER BY id LIMIT $1";
}

/// One thing that is not as it was told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// Where: `leaf 17`, `tile/0/000`, `identity_account row`.
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
/// The rest of the log and outbox may move while a living system is checked: how often to look
/// again at rows that did not fit.
const ROUNDS: usize = 5;
const MOST_PENDING: i64 = 100_000;

impl Verification {
    /// Whether nothing is wrong.
    #[must_use]
    pub fn holds(&self) -> bool {
        self.faults.is_empty()
    }

    fn fault(&mut self, place: impl Into<String>, what: impl Into<String>) {
        if self.faults.len() < MOST_FAULTS {
            self.faults.push(Fault { place: place.into(), what: what.into() });
        }
    }
}

/// The rows that the log attests: version and digest by table and pseudonym.
type Attested = BTreeMap<(String, [u8; 16]), (i64, Option<[u8; 32]>)>;

struct Walk<'a> {
    spine: &'a Spine,
    out: Verification,
    attested: Attested,
    range: CompactRange,
    edge: TileMap,
    known: BTreeMap<u64, Hash>,
}

impl Spine {
    /// Checks the whole log, and every fact row against it. `known` are checkpoints that were kept
    /// outside; `progress` is told how many leaves are done.
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
            attested: Attested::new(),
            range: CompactRange::new(),
            edge: TileMap::new(),
            known: BTreeMap::new(),
        };
        walk.learn_known(known).await?;
        walk.read_leaves(progress).await?;
        walk.check_head().await?;
        walk.check_tiles().await?;
        walk.check_facts().await?;
        walk.out.size = walk.range.size();
        walk.out.root = walk.range.root().to_base64();
        Ok(walk.out)
    }
}

impl Walk<'_> {
    async fn learn_known(&mut self, known: &[Checkpoint]) -> Result<(), Error> {
        let origin = self.spine.verifier_key().await?.name().to_owned();
        for checkpoint in known {
            if checkpoint.origin() != origin {
                self.out.fault("checkpoint", format!("it is of {}", checkpoint.origin()));
                continue;
            }
            self.out.covered = self.out.covered.max(checkpoint.size());
            let other = self.known.insert(checkpoint.size(), checkpoint.root());
            if other.is_some_and(|other| other != checkpoint.root()) {
                self.out.fault("checkpoint", "two roots were given for one size");
            }
        }
        let memory = node::Memory::load(self.spine);
        match memory {
            Ok(memory) => {
                if let Some((size, root)) = memory.seen()
                    && self.known.insert(size, root).is_some_and(|other| other != root)
                {
                    self.out.fault("checkpoint", "this node remembers another root");
                }
            }
            Err(error) => self.out.fault("node memory", error.to_string()),
        }
        Ok(())
    }

    async fn read_leaves(&mut self, progress: &mut (dyn FnMut(u64) + Send)) -> Result<(), Error> {
        loop {
            let from = i64::try_from(self.range.size()).unwrap_or(i64::MAX);
            let rows = self.spine.read().await?.rows(&LEAVES, args![from, PAGE]).await?;
            let mut subjects: Vec<Subject> = Vec::with_capacity(rows.len());
            for row in &rows {
                subjects.extend(row.opt_bytes("subject")?.and_then(|b| Subject::from_bytes(&b)));
            }
            subjects.sort_unstable();
            subjects.dedup();
            self.spine.0.sealer.resolve(&subjects).await?;
            let mut leaves = Vec::with_capacity(rows.len());
            for (row, expected) in rows.iter().zip(from..) {
                if row.int("idx")? != expected {
                    self.out.fault(format!("leaf {expected}"), "it is missing");
                    return Ok(());
                }
                let leaf = self.check_leaf(expected, row)?;
                self.check_known(&leaves, leaf).await?;
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
    async fn check_known(&mut self, page: &[Hash], leaf: Hash) -> Result<(), Error> {
        let size = self.range.size() + page.len() as u64 + 1;
        let Some(expected) = self.known.get(&size).copied() else { return Ok(()) };
        let mut range = self.range.clone();
        page.iter().chain([&leaf]).for_each(|leaf| range.append(*leaf));
        if range.root() != expected {
            self.out.fault(format!("leaf {}", size - 1), "up to here it is another log");
        }
        Ok(())
    }

    /// Checks one leaf against its entry, columns and body, and returns its hash.
    fn check_leaf(&mut self, index: i64, row: &Row) -> Result<Hash, Error> {
        let place = format!("leaf {index}");
        let bytes = row.bytes("entry")?;
        let hash = merkle::leaf_hash(&bytes);
        if row.fixed::<32>("leaf")? != *hash.as_bytes() {
            self.out.fault(&place, "its entry does not hash to it");
        }
        let sealer = self.spine.0.sealer.as_ref();
        if sealer.pseudonym(hash.as_bytes()) != row.id16("mac")? {
            self.out.fault(&place, "this program did not write it");
        }
        let Some(entry) = Entry::from_bytes(&bytes) else {
            self.out.fault(&place, "its entry cannot be read");
            return Ok(hash);
        };
        for what in differences(sealer, &entry, row)? {
            self.out.fault(&place, what);
        }
        self.check_body(&place, &entry, row)?;
        self.attest(entry.rows);
        Ok(hash)
    }

    fn check_body(&mut self, place: &str, entry: &Entry, row: &Row) -> Result<(), Error> {
        let Some(body) = row.opt_bytes("body")? else {
            self.out.deleted += 1;
            return Ok(());
        };
        self.out.bodies += 1;
        let Some((plain, sealed)) = split_body(&body) else {
            self.out.fault(place, "its body cannot be read");
            return Ok(());
        };
        if sha256(plain) != entry.plain || sha256(sealed) != entry.sealed {
            self.out.fault(place, "its body is not the one that was logged");
            return Ok(());
        }
        let subject = row.opt_bytes("subject")?.and_then(|bytes| Subject::from_bytes(&bytes));
        let Some(subject) = subject else {
            self.out.erased += 1;
            return Ok(());
        };
        match self.spine.0.sealer.open(subject, body_place(entry.id), sealed) {
            Ok(_) => {}
            Err(SealError::Erased) => self.out.erased += 1,
            Err(SealError::Forged) => self.out.fault(place, "its sealed part is forged"),
            Err(error @ (SealError::Unresolved | SealError::Unavailable)) => {
                return Err(error.into());
            }
        }
        Ok(())
    }

    fn attest(&mut self, rows: Vec<RowMark>) {
        for mark in rows {
            let slot = self.attested.entry((mark.table, mark.row)).or_insert((i64::MIN, None));
            // Leaf order is not commit order: the version decides.
            if mark.version >= slot.0 {
                *slot = (mark.version, mark.digest);
            }
        }
    }

    /// Grows our own tree, and compares each tile that is full with the stored one.
    async fn grow(&mut self, leaves: &[Hash]) -> Result<(), Error> {
        let growth = merkle::grow(&self.range, leaves, &self.edge)?;
        let mut inner = self.spine.0.db.begin().await?;
        for tile in growth.tiles {
            if !tile.id.is_partial() {
                let stored = node::tiles(&mut inner, &[tile.id]).await?;
                self.compare_tile(&stored, tile.id, &tile.bytes);
            }
            self.edge.insert(tile.id.level(), tile.id.index(), tile.bytes);
        }
        inner.rollback().await?;
        self.range = growth.range;
        Ok(())
    }

    fn compare_tile(&mut self, stored: &TileMap, id: TileId, ours: &[u8]) {
        let path = || merkle::Resource::Tile(id).path();
        match stored.tile(id) {
            Err(_) => self.out.fault(path(), "it is missing"),
            Ok(stored) if !stored.starts_with(ours) => {
                self.out.fault(path(), "it is not made of the leaves below");
            }
            Ok(_) => {}
        }
    }

    async fn check_tiles(&mut self) -> Result<(), Error> {
        let mut inner = self.spine.0.db.begin().await?;
        for id in TileId::edge(self.range.size()) {
            let stored = node::tiles(&mut inner, &[id]).await?;
            let ours = self.edge.tile(id)?.into_owned();
            self.compare_tile(&stored, id, &ours);
        }
        inner.rollback().await?;
        Ok(())
    }

    /// The head row and its signature. The log may have grown since the leaves were read.
    async fn check_head(&mut self) -> Result<(), Error> {
        let size = self.range.size();
        let head = self.spine.head().await;
        match head {
            Err(error @ Error::Store(_)) => return Err(error),
            Err(error) => self.out.fault("head", error.to_string()),
            Ok(None) if size == 0 => {}
            Ok(None) => self.out.fault("head", "it is missing"),
            Ok(Some(head)) => {
                if head.size() < size || (head.size() == size && head.range != self.range) {
                    self.out.fault("head", "its frontier is not made of the leaves");
                }
                self.check_note(&head.origin, &head.note)?;
            }
        }
        for (known, _) in self.known.range(size + 1..) {
            let what = format!("the log has {size} leaves and had {known} before");
            self.out.faults.push(Fault { place: "head".to_owned(), what });
        }
        Ok(())
    }

    fn check_note(&mut self, origin: &str, note: &str) -> Result<(), Error> {
        if note.is_empty() {
            if self.range.size() > 0 {
                self.out.fault("head", "it is not signed");
            }
            return Ok(());
        }
        let public = self.spine.0.signer.public_key();
        let key = merkle::VerifyKey::new(origin, merkle::key::KeyKind::Ed25519, public)?;
        let verified = SignedCheckpoint::parse(note.as_bytes())
            .and_then(|signed| Policy::new(vec![key])?.verify(&signed));
        match verified {
            Err(error) => self.out.fault("head", format!("its signature does not hold: {error}")),
            Ok(verified) => {
                let (size, root) = (verified.checkpoint.size(), verified.checkpoint.root());
                let ours = match size.cmp(&self.range.size()) {
                    // It grew while we read: the next check covers it.
                    std::cmp::Ordering::Greater => return Ok(()),
                    std::cmp::Ordering::Equal => self.range.root(),
                    std::cmp::Ordering::Less => merkle::root_at(&self.edge, size)?,
                };
                if ours != root {
                    self.out.fault("head", "what was signed is not this log");
                }
            }
        }
        Ok(())
    }

    /// Every fact row must be the one that was attested last.
    async fn check_facts(&mut self) -> Result<(), Error> {
        self.attest_pending().await?;
        let tables: Vec<Table> =
            self.spine.tables().filter(|t| t.kind == TableKind::Fact).copied().collect();
        let mut live = Live::new();
        for table in &tables {
            self.read_facts(table, &mut live).await?;
        }
        self.out.rows = live.len() as u64;
        let mut odd = odd_rows(&live, &self.attested);
        for _ in 0..ROUNDS {
            if odd.is_empty() {
                return Ok(());
            }
            // A living system moved on while we read: take in what came since and look again.
            self.read_leaves(&mut |_| {}).await?;
            self.attest_pending().await?;
            for (name, row) in odd {
                self.reread(&tables, &mut live, (name, row)).await?;
            }
            odd = odd_rows(&live, &self.attested);
        }
        for key in odd {
            let what = match (live.contains_key(&key), self.attested.contains_key(&key)) {
                (false, _) => "it was deleted, and nothing tells of it",
                (true, false) => "nothing tells of it",
                (true, true) => "it is not as it was told",
            };
            self.out.fault(format!("a row of {}", key.0), what);
        }
        Ok(())
    }

    async fn read_facts(&self, table: &Table, live: &mut Live) -> Result<(), Error> {
        let mut after = [0_u8; 16];
        let mut read = self.spine.0.db.read().await?;
        loop {
            let rows = read.rows(table.page_sql, args![after, PAGE]).await?;
            let Some(last) = rows.last() else { return Ok(()) };
            after = last.id16("id")?;
            for row in &rows {
                let id = row.id16("id")?;
                let key = (table.name.to_owned(), self.spine.0.sealer.pseudonym(&id));
                let (version, digest) = digest_row(table, row)?;
                live.insert(key, LiveRow { id, version, digest });
            }
        }
    }

    async fn reread(
        &self,
        tables: &[Table],
        live: &mut Live,
        key: (String, [u8; 16]),
    ) -> Result<(), Error> {
        let Some(LiveRow { id, .. }) = live.get(&key).copied() else { return Ok(()) };
        let Some(table) = tables.iter().find(|table| table.name == key.0) else { return Ok(()) };
        let mut read = self.spine.0.db.read().await?;
        match read.rows(table.digest_sql, args![id]).await?.first() {
            None => {
                live.remove(&key);
            }
            Some(row) => {
                let (version, digest) = digest_row(table, row)?;
                live.insert(key, LiveRow { id, version, digest });
            }
        }
        Ok(())
    }

    async fn attest_pending(&mut self) -> Result<(), Error> {
        let rows = self.spine.read().await?.rows(&PENDING, args![MOST_PENDING]).await?;
        self.out.pending = rows.len() as u64;
        for row in rows {
            let bytes = row.bytes("entry")?;
            let leaf = merkle::leaf_hash(&bytes);
            let ours = self.spine.0.sealer.pseudonym(leaf.as_bytes()) == row.id16("mac")?;
            match Entry::from_bytes(&bytes) {
                Some(entry) if ours => self.attest(entry.rows),
                _ => self.out.fault("outbox", "a row that this program did not write"),
            }
        }
        Ok(())
    }
}

/// A row as it stands.
#[derive(Clone, Copy)]
struct LiveRow {
    id: [u8; 16],
    version: i64,
    digest: [u8; 32],
}

type Live = BTreeMap<(String, [u8; 16]), LiveRow>;

/// Those rows that stand and are not as attested, and those attested that do not stand.
fn odd_rows(live: &Live, attested: &Attested) -> Vec<(String, [u8; 16])> {
    let altered = live.iter().filter(|(key, row)| {
        attested.get(*key).is_none_or(|(version, digest)| {
            *version != row.version || *digest != Some(row.digest)
        })
    });
    let gone = attested
        .iter()
        .filter(|(key, (_, digest))| digest.is_some() && !live.contains_key(*key))
        .map(|(key, _)| key.clone());
    altered.map(|(key, _)| key.clone()).chain(gone).collect()
}

/// How a leaf's columns differ from its entry.
fn differences(sealer: &dyn Sealer, entry: &Entry, row: &Row) -> Result<Vec<&'static str>, Error> {
    let mut found = Vec::new();
    let mut expect = |same: bool, what| {
        if !same {
            found.push(what);
        }
    };
    expect(row.id16("id")? == entry.id, "its id was changed");
    expect(row.int("at")? == entry.at, "its time was changed");
    expect(row.text("kind")? == entry.kind, "its kind was changed");
    expect(row.text("actor_kind")? == entry.actor_kind, "its actor was changed");
    expect(row.text("aggregate")? == entry.aggregate, "its aggregate was changed");
    expect(row.int("version")? == entry.version, "its version was changed");
    let thing = sealer.pseudonym(&row.id16("aggregate_id")?);
    expect(thing == entry.aggregate_id, "its aggregate's id was changed");
    if let Some(subject) = row.opt_bytes("subject")? {
        expect(sealer.pseudonym(&subject) == entry.subject, "its subject was changed");
    }
    Ok(found)
}
