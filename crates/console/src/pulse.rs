//! The pulse of the house: what the log's own tables say of the last hour, counted in the database
//! over a bounded number of leaves (C7).

use std::collections::BTreeMap;
use std::time::Duration;

use kernel::Timestamp;
use spine::{FromRow, Row, Spine, StoreError, args};

spine::sql! {
    read MINUTES =
        "SELECT at / 60000000 AS minute, kind, COUNT(*) AS many FROM spine_leaf \
         WHERE idx >= $1 AND at >= $2 GROUP BY at / 60000000, kind LIMIT 20000";
    read HEAD = "SELECT origin, size, holder, note_size, note_at FROM spine_head WHERE id = 1";
    read WAITING =
        "SELECT COUNT(*) AS waiting, MIN(at) AS oldest FROM \
         (SELECT at FROM spine_outbox ORDER BY id LIMIT 10001) AS behind";
    read NODES = "SELECT node, size, at FROM spine_cosignature ORDER BY node LIMIT 64";
    read KEPT = "SELECT size, at FROM spine_checkpoint ORDER BY size DESC LIMIT 8";
}

/// Minutes that are shown.
pub(crate) const MINUTES_SHOWN: i64 = 60;
/// The newest leaves that are counted; an hour of a busier log is counted in part, and it is said.
const LEAVES_MAX: i64 = 100_000;
const HOUR: Duration = Duration::from_secs(3_600);

/// The head of the log.
#[derive(Clone, Debug)]
pub(crate) struct Head {
    /// The log's name.
    pub(crate) origin: String,
    /// Leaves.
    pub(crate) size: i64,
    /// The node that sequences.
    pub(crate) holder: String,
    /// Leaves under the last checkpoint.
    pub(crate) note_size: i64,
    /// When it was signed.
    pub(crate) note_at: Timestamp,
}

impl FromRow for Head {
    fn from_row(row: &Row) -> Result<Self, StoreError> {
        Ok(Self {
            origin: row.text("origin")?,
            size: row.int("size")?,
            holder: row.text("holder")?,
            note_size: row.int("note_size")?,
            note_at: row.time("note_at")?,
        })
    }
}

/// A size of the log that somebody signed, and when.
#[derive(Clone, Debug)]
pub(crate) struct Signed {
    /// The node; empty for the log itself.
    pub(crate) node: String,
    /// Leaves.
    pub(crate) size: i64,
    /// When.
    pub(crate) at: Timestamp,
}

struct Node(Signed);

impl FromRow for Node {
    fn from_row(row: &Row) -> Result<Self, StoreError> {
        let (node, size, at) = (row.text("node")?, row.int("size")?, row.time("at")?);
        Ok(Self(Signed { node, size, at }))
    }
}

struct Kept(Signed);

impl FromRow for Kept {
    fn from_row(row: &Row) -> Result<Self, StoreError> {
        let (size, at) = (row.int("size")?, row.time("at")?);
        Ok(Self(Signed { node: String::new(), size, at }))
    }
}

struct Waiting {
    waiting: i64,
    oldest: Option<Timestamp>,
}

impl FromRow for Waiting {
    fn from_row(row: &Row) -> Result<Self, StoreError> {
        Ok(Self { waiting: row.int("waiting")?, oldest: row.opt_time("oldest")? })
    }
}

struct Minute {
    minute: i64,
    kind: String,
    many: i64,
}

impl FromRow for Minute {
    fn from_row(row: &Row) -> Result<Self, StoreError> {
        Ok(Self { minute: row.int("minute")?, kind: row.text("kind")?, many: row.int("many")? })
    }
}

/// What the last hour was like.
#[derive(Clone, Debug, Default)]
pub(crate) struct Hour {
    /// Events in each of the last sixty minutes, oldest first.
    pub(crate) minutes: Vec<i64>,
    pub(crate) kinds: BTreeMap<String, i64>,
    /// Whether the hour had more leaves than were counted.
    pub(crate) cut: bool,
}

impl Hour {
    /// Events of these kinds.
    pub(crate) fn of(&self, kinds: &[&str]) -> i64 {
        kinds.iter().filter_map(|kind| self.kinds.get(*kind)).sum()
    }

    /// All events.
    pub(crate) fn total(&self) -> i64 {
        self.minutes.iter().sum()
    }
}

/// The log's state.
#[derive(Clone, Debug)]
pub(crate) struct Log {
    /// The head; none before the first start of a sequencer.
    pub(crate) head: Option<Head>,
    /// Committed events without a leaf, at most 10,001 counted.
    pub(crate) waiting: i64,
    /// How long the oldest of them waits.
    pub(crate) lag: Duration,
    /// What each node signed.
    pub(crate) nodes: Vec<Signed>,
    /// The last checkpoints that were kept, newest first.
    pub(crate) kept: Vec<Signed>,
}

/// Reads the log's state.
///
/// # Errors
/// As the database says.
pub(crate) async fn log(spine: &Spine, now: Timestamp) -> Result<Log, spine::Error> {
    let mut read = spine.read().await?;
    let head = read.maybe(&HEAD, args![]).await?;
    let Waiting { waiting, oldest } = read.one(&WAITING, args![]).await?;
    let nodes: Vec<Node> = read.all(&NODES, args![]).await?;
    let kept: Vec<Kept> = read.all(&KEPT, args![]).await?;
    Ok(Log {
        head,
        waiting,
        lag: oldest.map_or(Duration::ZERO, |oldest| now.since(oldest)),
        nodes: nodes.into_iter().map(|Node(signed)| signed).collect(),
        kept: kept.into_iter().map(|Kept(signed)| signed).collect(),
    })
}

/// Counts the last hour of a log of this size.
///
/// # Errors
/// As the database says.
pub(crate) async fn hour(spine: &Spine, size: i64, now: Timestamp) -> Result<Hour, spine::Error> {
    let first = size.saturating_sub(LEAVES_MAX).max(0);
    let rows: Vec<Minute> =
        spine.read().await?.all(&MINUTES, args![first, now.minus(HOUR)]).await?;
    let last = now.seconds().div_euclid(60);
    let mut minutes = vec![0; usize::try_from(MINUTES_SHOWN).unwrap_or(0)];
    let mut kinds = BTreeMap::new();
    let mut counted = 0;
    for row in rows {
        *kinds.entry(row.kind).or_insert(0) += row.many;
        counted += row.many;
        let place = usize::try_from(row.minute - last + MINUTES_SHOWN - 1).ok();
        if let Some(slot) = place.and_then(|place| minutes.get_mut(place)) {
            *slot += row.many;
        }
    }
    Ok(Hour { minutes, kinds, cut: counted >= LEAVES_MAX })
}
