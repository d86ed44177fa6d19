//! The tamper drill: seeded changes past the spine, each of which a check must find.
//!
//! The same file is the long drill in `bench` and the short one in the tests of `spine`. A change
//! is made, the log is checked against a checkpoint that was kept outside, and what was changed is
//! put back. Not part of it, because nothing promises to find it: leases, stamps of time beside a
//! signature, cursors, another node's signature under a checkpoint (its key is not here), and the
//! removal of checkpoints that were kept inside.

use std::collections::{BTreeMap, BTreeSet};

use kernel::Entropy as _;
use merkle::{Checkpoint, CompactRange, TileMap};
use spine::{CheckpointSigner as _, Entry};
use store::{Backend, Db, Value, args};
use testkit::{SeededEntropy, World};

use crate::thing;

/// The sorts of change, in the order in which they take turns.
pub(crate) const KINDS: [&str; 12] = [
    "flip in the log",
    "flip in a fact table",
    "null in the log",
    "swap of two rows",
    "deletion",
    "insertion",
    "duplicate",
    "cut tail",
    "replay of an old row",
    "replay of an old table",
    "replay of the old database",
    "full re-hash",
];

/// Columns of the log that the check answers for.
const LOG: [(&str, &[&str]); 5] = [
    (
        "spine_leaf",
        &[
            "idx",
            "id",
            "at",
            "kind",
            "actor_kind",
            "subject",
            "aggregate",
            "aggregate_id",
            "version",
            "entry",
            "body",
            "leaf",
            "mac",
        ],
    ),
    ("spine_tile", &["level", "idx", "width", "bytes"]),
    ("spine_head", &["origin", "size", "frontier", "note", "note_size"]),
    ("spine_checkpoint", &["size", "note"]),
    ("spine_cosignature", &["size"]),
];
const FACTS: (&str, &[&str]) = ("demo_thing", &["id", "version", "owner_id", "note", "count"]);

type Rows = Vec<Vec<Value>>;
/// The rows of each table, columns in order of name.
type Tables = BTreeMap<String, Rows>;

/// How often each kind was tried and found.
pub(crate) type Tally = BTreeMap<&'static str, (u32, u32)>;

pub(crate) struct Drill<'a> {
    world: &'a World,
    db: Db,
    entropy: SeededEntropy,
    columns: BTreeMap<String, Vec<String>>,
    texts: BTreeMap<String, &'static str>,
    now: Tables,
    old: Tables,
    known: Vec<Checkpoint>,
    memory: Vec<u8>,
    /// What the last change was, for the message where it was missed.
    last: String,
}

impl<'a> Drill<'a> {
    /// A log of some leaves more than one and a half times `made`, with a backup of an earlier state
    /// and an outside checkpoint. From 256 leaves on it has tiles above the lowest.
    pub(crate) async fn prepare(world: &'a World, seed: u64, made: usize) -> Drill<'a> {
        let (ada, bob) = (world.person().await, world.person().await);
        let mut things = Vec::new();
        for number in 0..made {
            let owner = if number % 3 == 0 { bob } else { ada };
            let (id, _) = thing::make(world, owner, &format!("thing {number}")).await;
            things.push((owner, id));
            if number % 4 == 0 {
                let (owner, id) = things[number / 2];
                thing::count_up(world, owner, id).await;
            }
            if number == made / 2 {
                world.spine.sequence().await.unwrap();
                world.advance(std::time::Duration::from_secs(61));
                thing::drop_it(world, things[1].0, things[1].1).await;
            }
        }
        let db = world.attacker().await;
        let mut drill = Self {
            world,
            db,
            entropy: SeededEntropy::new(seed),
            columns: BTreeMap::new(),
            texts: BTreeMap::new(),
            now: Tables::new(),
            old: Tables::new(),
            known: Vec::new(),
            memory: Vec::new(),
            last: String::new(),
        };
        for (table, column) in drill.db.columns().await.unwrap() {
            let is_ours = LOG.iter().any(|(name, _)| *name == table) || table == FACTS.0;
            if is_ours {
                drill.columns.entry(table).or_default().push(column);
            }
        }
        world.spine.sequence().await.unwrap();
        drill.old = drill.copy().await;
        world.advance(std::time::Duration::from_secs(61));
        for number in 0..6 {
            let (owner, id) = things[2 + number];
            thing::count_up(world, owner, id).await;
            thing::make(world, owner, "late").await;
        }
        world.spine.sequence().await.unwrap();
        drill.now = drill.copy().await;
        drill.known.push(world.spine.checkpoint().await.unwrap().unwrap().claimed().clone());
        drill.memory = std::fs::read(drill.memory_file()).unwrap();
        assert!(!drill.is_found().await, "a sound log is found wanting: {}", drill.last);
        drill
    }

    fn memory_file(&self) -> std::path::PathBuf {
        self.world.dir().join("last-tree")
    }

    /// Makes `count` changes, all kinds in turn, and tells how many were found. `missed` hears of
    /// each that was not.
    pub(crate) async fn run(&mut self, count: usize, missed: &mut dyn FnMut(&str)) -> Tally {
        let mut tally = Tally::new();
        for kind in KINDS.into_iter().cycle().take(count) {
            let touched = self.change(kind).await;
            let found = self.is_found().await;
            let slot = tally.entry(kind).or_default();
            slot.0 += 1;
            slot.1 += u32::from(found);
            if !found {
                missed(&format!("{kind}: {}", self.last));
            }
            self.put_back(&touched).await;
        }
        assert!(!self.is_found().await, "it was not put back as it was");
        tally
    }

    pub(crate) async fn close(self) {
        self.db.close().await;
    }

    async fn is_found(&mut self) -> bool {
        match self.world.spine.verify(&self.known, &mut |_| {}).await {
            Ok(found) if found.holds() => false,
            Ok(found) => {
                if self.last.is_empty() {
                    self.last = format!("{:?}", found.faults);
                }
                true
            }
            Err(error) => panic!("the check gave up on {}: {error}", self.last),
        }
    }

    fn random(&self, below: usize) -> usize {
        let mut bytes = [0_u8; 8];
        self.entropy.fill(&mut bytes);
        usize::try_from(u64::from_be_bytes(bytes) % below.max(1) as u64).unwrap()
    }

    /// A statement's text lives as long as the program; each is kept once.
    fn text(&mut self, text: String) -> &'static str {
        self.texts.entry(text).or_insert_with_key(|text| Box::leak(text.clone().into_boxed_str()))
    }

    async fn copy(&mut self) -> Tables {
        let mut copy = Tables::new();
        for (table, columns) in self.columns.clone() {
            let text = self.text(format!("SELECT {} FROM {table}", columns.join(", ")));
            let rows = self.db.read().await.unwrap().rows(text, args![]).await.unwrap();
            let leaked: Vec<&'static str> =
                columns.iter().map(|column| self.text(column.clone())).collect();
            let values = rows.iter().map(|row| {
                leaked.iter().map(|column| row.value(column).unwrap()).collect::<Vec<_>>()
            });
            copy.insert(table, values.collect());
        }
        copy
    }

    /// Writes a table's rows in place of all that it holds. False where the database refuses.
    async fn write(&mut self, tables: &[(&str, Rows)]) -> bool {
        let mut tx = self.db.begin().await.unwrap();
        for (table, rows) in tables {
            let columns = self.columns[*table].clone();
            let delete = self.text(format!("DELETE FROM {table}"));
            tx.run(delete, args![]).await.unwrap();
            for row in rows {
                let mut places = Vec::new();
                let mut bound = Vec::new();
                for value in row {
                    if *value == Value::NoBytes {
                        places.push("NULL".to_owned());
                    } else {
                        bound.push(value.clone());
                        places.push(format!("${}", bound.len()));
                    }
                }
                let (names, places) = (columns.join(", "), places.join(", "));
                let insert = self.text(format!("INSERT INTO {table} ({names}) VALUES ({places})"));
                if tx.run(insert, bound).await.is_err() {
                    return false;
                }
            }
        }
        tx.commit().await.is_ok()
    }

    async fn put_back(&mut self, touched: &BTreeSet<String>) {
        let rows: Vec<(String, Rows)> =
            touched.iter().map(|table| (table.clone(), self.now[table].clone())).collect();
        let rows: Vec<(&str, Rows)> =
            rows.iter().map(|(table, rows)| (table.as_str(), rows.clone())).collect();
        assert!(self.write(&rows).await, "put back");
        std::fs::write(self.memory_file(), &self.memory).unwrap();
        self.last.clear();
    }

    /// Makes one change of this kind; one that the database's own rules refuse is made otherwise.
    async fn change(&mut self, kind: &'static str) -> BTreeSet<String> {
        loop {
            self.last.clear();
            let changed = self.changed(kind).await;
            let same = changed.iter().all(|(table, rows)| self.now[*table] == *rows);
            if changed.is_empty() || same || !self.write(&changed).await {
                continue;
            }
            if self.last.is_empty() {
                self.last = changed.iter().map(|(table, _)| *table).collect::<Vec<_>>().join(", ");
            }
            return changed.into_iter().map(|(table, _)| table.to_owned()).collect();
        }
    }

    async fn changed(&mut self, kind: &'static str) -> Vec<(&'static str, Rows)> {
        match kind {
            "flip in the log" => self.flip(&LOG, false),
            "flip in a fact table" => self.flip(&[FACTS], false),
            "null in the log" => self.flip(&LOG[..1], true),
            "swap of two rows" => self.swap(),
            "deletion" => self.delete(),
            "insertion" => self.insert(),
            "duplicate" => self.duplicate(),
            "cut tail" => self.cut_tail(),
            "replay of an old row" => self.replay_row(),
            "replay of an old table" => self.replay_table(),
            "replay of the old database" => self.replay_all(),
            "full re-hash" => self.rehash(),
            other => panic!("{other}"),
        }
    }

    fn place(&self, table: &str, column: &str) -> usize {
        self.columns[table].iter().position(|name| name == column).unwrap()
    }

    /// Flips bits of one value, or blanks it.
    fn flip(
        &mut self,
        tables: &[(&'static str, &[&'static str])],
        blank: bool,
    ) -> Vec<(&'static str, Rows)> {
        // each column in turn, so that none is left out
        let all: Vec<(&str, &str)> = tables
            .iter()
            .flat_map(|(table, columns)| columns.iter().map(move |column| (*table, *column)))
            .collect();
        let (table, column) = all[self.random(all.len())];
        let mut rows = self.now[table].clone();
        let (row, place) = (self.random(rows.len()), self.place(table, column));
        let (byte, mask) = (self.random(1 << 16), self.random(255) + 1);
        let value = &mut rows[row][place];
        let before = value.clone();
        let mask = u8::try_from(mask).unwrap();
        match value {
            _ if blank => rows[row][place] = Value::NoBytes,
            Value::Int(number) => *number ^= 1_i64 << (byte % 63),
            Value::Text(text) => {
                let mut bytes = std::mem::take(text).into_bytes();
                let at = byte % bytes.len().max(1);
                if let Some(byte) = bytes.get_mut(at) {
                    *byte ^= mask & 0x7f;
                }
                *text = String::from_utf8(bytes).unwrap_or_default();
            }
            Value::Bytes(bytes) => {
                let at = byte % bytes.len().max(1);
                if let Some(byte) = bytes.get_mut(at) {
                    *byte ^= mask;
                }
            }
            _ => {}
        }
        let after = &rows[row][place];
        self.last = format!("{table}.{column} of row {row}: {before:?} to {after:?}");
        vec![(table, rows)]
    }

    /// Swaps two leaves, two tiles' bytes, two fact rows, or one column of two rows.
    fn swap(&mut self) -> Vec<(&'static str, Rows)> {
        let (table, key) = [("spine_leaf", "idx"), (FACTS.0, "id")][self.random(2)];
        let mut rows = self.now[table].clone();
        let (first, second) = (self.random(rows.len()), self.random(rows.len()));
        let whole = self.random(2) == 0;
        let key = self.place(table, key);
        let only = self.random(rows[0].len());
        for place in 0..rows[0].len() {
            if place != key && (whole || place == only) {
                let value = rows[first][place].clone();
                rows[first][place] = rows[second][place].clone();
                rows[second][place] = value;
            }
        }
        self.last = format!("{table}: {first} and {second}, whole: {whole}, column {only}");
        vec![(table, rows)]
    }

    fn delete(&mut self) -> Vec<(&'static str, Rows)> {
        let table = ["spine_leaf", FACTS.0, "spine_tile", "spine_head"][self.random(4)];
        let mut rows = self.now[table].clone();
        if self.random(8) == 0 {
            rows.clear();
        } else {
            rows.remove(self.random(rows.len()));
        }
        self.last = format!("{table}: {} rows left", rows.len());
        vec![(table, rows)]
    }

    fn fresh(&self, like: &Value) -> Value {
        match like {
            Value::Bytes(bytes) => {
                let mut fresh = vec![0; bytes.len()];
                self.entropy.fill(&mut fresh);
                Value::Bytes(fresh)
            }
            Value::Int(_) => Value::Int(i64::try_from(self.random(1_000_000)).unwrap() - 500_000),
            other => other.clone(),
        }
    }

    /// A row that nobody wrote: like another one, with some values of its own.
    fn insert(&mut self) -> Vec<(&'static str, Rows)> {
        let (table, keys): (_, &[&str]) = [
            ("spine_leaf", &["idx", "id"][..]),
            (FACTS.0, &["id"][..]),
            ("spine_tile", &["idx"][..]),
        ][self.random(3)];
        let mut rows = self.now[table].clone();
        let mut row = rows[self.random(rows.len())].clone();
        for key in keys {
            let place = self.place(table, key);
            row[place] = self.fresh(&row[place]);
        }
        // SQLite lets a text or nothing stand where a key should
        if self.db.backend() == Backend::Sqlite && table == FACTS.0 {
            let place = self.place(table, "id");
            match self.random(4) {
                0 => row[place] = Value::Text("sixteen letters!".to_owned()),
                1 => row[place] = Value::NoBytes,
                2 => row[place] = Value::Bytes(vec![0; 16]),
                _ => {}
            }
        }
        self.last = format!("{table}: {row:?}");
        rows.push(row);
        vec![(table, rows)]
    }

    /// A leaf or an event a second time: under the next number, or back in the outbox's place.
    fn duplicate(&mut self) -> Vec<(&'static str, Rows)> {
        let mut rows = self.now["spine_leaf"].clone();
        let mut row = rows[self.random(rows.len())].clone();
        let (idx, id) = (self.place("spine_leaf", "idx"), self.place("spine_leaf", "id"));
        row[idx] = Value::Int(i64::try_from(rows.len()).unwrap());
        row[id] = self.fresh(&row[id]);
        rows.push(row);
        let size = rows.len();
        if self.random(2) == 0 {
            return vec![("spine_leaf", rows)];
        }
        // and grown into the tree
        let mut changed = self.grown(rows, size);
        changed.retain(|(table, _)| *table != "spine_checkpoint");
        changed
    }

    /// The last leaves are gone, and all that has a number is made to fit.
    fn cut_tail(&mut self) -> Vec<(&'static str, Rows)> {
        let mut rows = self.now["spine_leaf"].clone();
        let keep = 1 + self.random(rows.len() - 1);
        let idx = self.place("spine_leaf", "idx");
        rows.sort_by_key(|row| match row[idx] {
            Value::Int(number) => number,
            _ => i64::MAX,
        });
        rows.truncate(keep);
        self.last = format!("{keep} leaves left");
        if self.random(3) == 0 {
            return vec![("spine_leaf", rows)];
        }
        self.grown(rows, keep)
    }

    fn replay_row(&mut self) -> Vec<(&'static str, Rows)> {
        let table = [FACTS.0, "spine_head", "spine_tile"][self.random(3)];
        let key = self.place(table, if table == "spine_tile" { "level" } else { "id" });
        let mut rows = self.now[table].clone();
        let old = self.old[table][self.random(self.old[table].len())].clone();
        match rows.iter_mut().find(|row| row[key] == old[key]) {
            Some(row) => *row = old,
            None => rows.push(old),
        }
        vec![(table, rows)]
    }

    fn replay_table(&mut self) -> Vec<(&'static str, Rows)> {
        let table = [FACTS.0, "spine_leaf", "spine_tile", "spine_head"][self.random(4)];
        vec![(table, self.old[table].clone())]
    }

    /// All of the old state; half of the time the node's own memory goes with it.
    fn replay_all(&mut self) -> Vec<(&'static str, Rows)> {
        if self.random(2) == 0 {
            std::fs::remove_file(self.memory_file()).unwrap();
        }
        let tables = LOG.iter().map(|(table, _)| *table).chain([FACTS.0]);
        tables.map(|table| (table, self.old[table].clone())).collect()
    }

    /// A changed history whose every hash fits: without keys, with the log's key, or with that, the
    /// mark's key and the node's memory besides.
    fn rehash(&mut self) -> Vec<(&'static str, Rows)> {
        let mut rows = self.now["spine_leaf"].clone();
        let at = self.random(rows.len());
        let (entry_place, leaf_place) =
            (self.place("spine_leaf", "entry"), self.place("spine_leaf", "leaf"));
        let (kind_place, mac_place) =
            (self.place("spine_leaf", "kind"), self.place("spine_leaf", "mac"));
        let Value::Bytes(bytes) = &rows[at][entry_place] else { return Vec::new() };
        let mut entry = Entry::from_bytes(bytes).unwrap();
        entry.kind = "demo.nothing_happened".to_owned();
        if self.random(2) == 0 {
            entry.rows.clear();
        }
        let bytes = entry.to_bytes();
        let leaf = *merkle::leaf_hash(&bytes).as_bytes();
        let power = self.random(3);
        rows[at][kind_place] = Value::Text(entry.kind);
        rows[at][entry_place] = Value::Bytes(bytes);
        rows[at][leaf_place] = Value::Bytes(leaf.to_vec());
        if power == 2 {
            let mark = self.world.vault.pseudonym(&[b"spine leaf", &leaf[..]].concat());
            rows[at][mac_place] = Value::Bytes(mark.to_vec());
        }
        let size = rows.len();
        let mut changed = self.grown(rows, size);
        if power > 0 {
            self.sign_anew(&mut changed);
            std::fs::remove_file(self.memory_file()).unwrap();
        }
        self.last = format!("leaf row {at}, power {power}");
        changed
    }

    /// Leaves with their tree: tiles, frontier and size fit.
    fn grown(&self, rows: Rows, size: usize) -> Vec<(&'static str, Rows)> {
        let (idx, leaf) = (self.place("spine_leaf", "idx"), self.place("spine_leaf", "leaf"));
        let mut leaves: Vec<(i64, merkle::Hash)> = rows
            .iter()
            .map(|row| match (&row[idx], &row[leaf]) {
                (Value::Int(number), Value::Bytes(leaf)) => {
                    (*number, merkle::Hash::new(leaf[..].try_into().unwrap()))
                }
                _ => panic!("a leaf has a number and a hash"),
            })
            .collect();
        leaves.sort_unstable();
        let leaves: Vec<merkle::Hash> = leaves.into_iter().map(|(_, leaf)| leaf).collect();
        let growth = merkle::grow(&CompactRange::new(), &leaves, &TileMap::new()).unwrap();
        let tiles = growth.tiles.into_iter().map(|tile| {
            self.columns["spine_tile"]
                .iter()
                .map(|column| match column.as_str() {
                    "level" => Value::from(i64::from(tile.id.level())),
                    "idx" => Value::from(i64::try_from(tile.id.index()).unwrap()),
                    "width" => Value::from(i64::from(tile.id.width())),
                    _ => Value::from(tile.bytes.clone()),
                })
                .collect()
        });
        let tiles = tiles.collect();
        let mut head = self.now["spine_head"].clone();
        head[0][self.place("spine_head", "size")] = Value::Int(i64::try_from(size).unwrap());
        head[0][self.place("spine_head", "frontier")] = Value::Bytes(growth.range.to_bytes());
        vec![("spine_leaf", rows), ("spine_tile", tiles), ("spine_head", head)]
    }

    /// Signs the changed head with the log's own key, and forgets what was signed before.
    fn sign_anew(&self, changed: &mut Vec<(&'static str, Rows)>) {
        let (note, frontier) =
            (self.place("spine_head", "note"), self.place("spine_head", "frontier"));
        let Some((_, head)) = changed.iter_mut().find(|(table, _)| *table == "spine_head") else {
            return;
        };
        let Value::Bytes(bytes) = &head[0][frontier] else { return };
        let range = CompactRange::from_bytes(bytes).unwrap();
        let origin = self.known[0].origin();
        let checkpoint = Checkpoint::new(origin, range.size(), range.root()).unwrap();
        let signed = checkpoint.sign(&LogKey(self.world, origin)).unwrap();
        head[0][note] = Value::Text(signed.to_string());
        changed.push(("spine_checkpoint", Vec::new()));
        changed.push(("spine_cosignature", Vec::new()));
    }
}

/// The log's key in wrong hands.
struct LogKey<'a>(&'a World, &'a str);

impl LogKey<'_> {
    fn notary(&self) -> impl spine::CheckpointSigner {
        self.0.vault.notary(self.1).unwrap()
    }
}

impl merkle::NoteSigner for LogKey<'_> {
    fn name(&self) -> &str {
        self.1
    }

    fn key_id(&self) -> merkle::key::KeyId {
        let public = self.notary().public_key();
        merkle::key::KeyId::of(self.1, merkle::key::KeyKind::Ed25519, &public)
    }

    fn sign(&self, message: &[u8]) -> Result<[u8; 64], merkle::Error> {
        Ok(self.notary().sign(message).unwrap())
    }
}
