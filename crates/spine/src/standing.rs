//! What can be seen of the spine from outside: how the log stands, what this process did, and the
//! cursors of those who follow the log and write elsewhere than into this database.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use kernel::Timestamp;
use meter::{Counter, Named};
use store::{FromRow, Row, args, sql};

use crate::{Error, Spine, Tx};

sql! {
    read STANDING =
        "SELECT size, epoch, holder, note_size, note_at FROM spine_head WHERE id = 1";
    read WAITING =
        "SELECT COUNT(*) AS waiting, MIN(at) AS oldest FROM \
         (SELECT at FROM spine_outbox ORDER BY id LIMIT 10001) AS behind";
    read CURSOR = "SELECT idx FROM spine_cursor WHERE name = $1";
    upkeep BEGIN in spine_cursor =
        "INSERT INTO spine_cursor (name, idx) VALUES ($1, $2) ON CONFLICT (name) DO NOTHING";
    upkeep MOVE in spine_cursor =
        "UPDATE spine_cursor SET idx = $2 WHERE name = $1 AND idx = $3";
    upkeep PUT in spine_cursor =
        "INSERT INTO spine_cursor (name, idx) VALUES ($1, $2) \
         ON CONFLICT (name) DO UPDATE SET idx = excluded.idx";
}

/// Kinds of event that are counted one by one: those of all rooms, and many of the shop's own.
const KINDS_MAX: usize = 512;

/// What this process did since its start.
#[derive(Debug)]
pub struct Meters {
    kinds: Named<Counter>,
    transactions: Counter,
    batches: Counter,
    last_batch: AtomicU64,
    read_to: Mutex<BTreeMap<&'static str, i64>>,
}

impl Default for Meters {
    fn default() -> Self {
        Self {
            kinds: Named::at_most(KINDS_MAX),
            transactions: Counter::default(),
            batches: Counter::default(),
            last_batch: AtomicU64::new(0),
            read_to: Mutex::default(),
        }
    }
}

impl Meters {
    pub(crate) fn committed(&self, kinds: &[String]) {
        self.transactions.inc();
        for kind in kinds {
            self.kinds.of(kind).inc();
        }
    }

    pub(crate) fn sequenced(&self, leaves: usize) {
        self.batches.inc();
        self.last_batch.store(u64::try_from(leaves).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    pub(crate) fn read_to(&self, consumer: &'static str, leaf: i64) {
        let mut read_to = self.read_to.lock().unwrap_or_else(PoisonError::into_inner);
        read_to.insert(consumer, leaf);
    }

    /// Events that this process committed, by kind.
    #[must_use]
    pub fn events(&self) -> Vec<(String, u64)> {
        self.kinds.all().into_iter().map(|(kind, count)| (kind, count.get())).collect()
    }

    /// Events of one kind that this process committed.
    #[must_use]
    pub fn events_of(&self, kind: &str) -> u64 {
        let known = self.kinds.all();
        known.iter().find(|(name, _)| name == kind).map_or(0, |(_, count)| count.get())
    }

    /// Transactions that could change facts and were committed.
    #[must_use]
    pub fn transactions(&self) -> u64 {
        self.transactions.get()
    }

    /// Batches that this process sequenced, and the leaves of the last.
    #[must_use]
    pub fn batches(&self) -> (u64, u64) {
        (self.batches.get(), self.last_batch.load(Ordering::Relaxed))
    }

    /// The leaf that each consumer of this process reads next.
    #[must_use]
    pub fn consumers(&self) -> Vec<(&'static str, i64)> {
        let read_to = self.read_to.lock().unwrap_or_else(PoisonError::into_inner);
        read_to.iter().map(|(name, leaf)| (*name, *leaf)).collect()
    }
}

/// How the log stands in the database.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Standing {
    /// Leaves.
    pub size: i64,
    /// Raised each time that another node took the lead.
    pub epoch: i64,
    /// The node that sequences.
    pub holder: String,
    /// Leaves under the last checkpoint; -1 before the first.
    pub note_size: i64,
    /// When it was signed.
    pub note_at: Timestamp,
    /// Committed events without a leaf, at most 10,001 counted.
    pub waiting: i64,
    /// When the oldest of them was committed.
    pub oldest: Option<Timestamp>,
}

impl FromRow for Standing {
    fn from_row(row: &Row) -> Result<Self, store::Error> {
        Ok(Self {
            size: row.int("size")?,
            epoch: row.int("epoch")?,
            holder: row.text("holder")?,
            note_size: row.int("note_size")?,
            note_at: row.time("note_at")?,
            waiting: 0,
            oldest: None,
        })
    }
}

struct Waiting(i64, Option<Timestamp>);

impl FromRow for Waiting {
    fn from_row(row: &Row) -> Result<Self, store::Error> {
        Ok(Self(row.int("waiting")?, row.opt_time("oldest")?))
    }
}

impl Spine {
    /// What this process did since its start.
    #[must_use]
    pub fn meters(&self) -> &Meters {
        &self.0.meters
    }

    /// How the log stands.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub async fn standing(&self) -> Result<Standing, Error> {
        let mut read = self.read().await?;
        let head: Option<Standing> = read.maybe(&STANDING, args![]).await?;
        let Waiting(waiting, oldest) = read.one(&WAITING, args![]).await?;
        let none = Standing { note_size: -1, ..Standing::default() };
        Ok(Standing { waiting, oldest, ..head.unwrap_or(none) })
    }

    /// The leaf that whoever follows the log under this name reads next; begun at the first leaf.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub async fn cursor(&self, name: &str) -> Result<i64, Error> {
        let rows = self.read().await?.rows(&CURSOR, args![name]).await?;
        if let Some(row) = rows.first() {
            return Ok(row.int("idx")?);
        }
        let mut upkeep = self.upkeep().await?;
        upkeep.run(&BEGIN, args![name, 0_i64]).await?;
        upkeep.commit().await?;
        Ok(0)
    }

    /// Moves a cursor on. False where it stands elsewhere by now: another was faster, or an operator
    /// has put it back.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub async fn move_cursor(&self, name: &str, from: i64, to: i64) -> Result<bool, Error> {
        let mut upkeep = self.upkeep().await?;
        let moved = upkeep.run(&MOVE, args![name, to, from]).await?;
        upkeep.commit().await?;
        Ok(moved > 0)
    }
}

impl Tx {
    /// Puts a cursor on a leaf, wherever it stood.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub async fn put_cursor(&mut self, name: &str, leaf: i64) -> Result<(), Error> {
        self.upkeep(&PUT, args![name, leaf]).await?;
        Ok(())
    }
}
