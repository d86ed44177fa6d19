//! The nodes that serve on one database: each has a row, which it writes every few seconds. A name
//! is one node's: who comes second under a name that is in use is told so, and a program whose name
//! was taken while it slept finds that out at its next word.

use std::sync::atomic::Ordering;
use std::time::Duration;

use kernel::Timestamp;
use store::{FromRow, Row, args, sql};

use crate::{Error, Spine, node};

sql! {
    upkeep CLAIM in spine_node =
        "INSERT INTO spine_node (node, place, run, program, schema_version, config, started_at, \
         seen_at, report) VALUES ($1, $2, $3, $4, $5, $6, $7, $7, '{}') \
         ON CONFLICT (node) DO UPDATE SET place = excluded.place, run = excluded.run, \
         program = excluded.program, schema_version = excluded.schema_version, \
         config = excluded.config, started_at = excluded.started_at, \
         seen_at = excluded.seen_at, report = excluded.report \
         WHERE spine_node.place = excluded.place OR spine_node.seen_at < $8 \
         OR spine_node.seen_at > $9 RETURNING node";
    upkeep REPORT in spine_node =
        "UPDATE spine_node SET seen_at = $3, report = $4 WHERE node = $1 AND run = $2 \
         RETURNING node";
    upkeep LEAVE in spine_node = "DELETE FROM spine_node WHERE node = $1 AND run = $2";
    upkeep RETIRE in spine_node = "DELETE FROM spine_node WHERE seen_at < $1";
    upkeep FORGET in spine_node = "DELETE FROM spine_node WHERE seen_at >= 0";
    read NODES =
        "SELECT n.node, n.run, n.program, n.schema_version, n.config, n.started_at, n.seen_at, \
         n.report, CASE WHEN h.lease_until >= $1 THEN 1 ELSE 0 END AS leads FROM spine_node n \
         LEFT JOIN spine_head h ON h.holder = n.node ORDER BY n.node LIMIT 256";
    read PENDING = "SELECT COUNT(*) AS pending FROM spine_outbox";
    read BEHIND =
        "SELECT c.name, h.size - c.idx AS behind FROM spine_cursor c, spine_head h ORDER BY c.name";
}

/// How long a node may say nothing before it counts as gone.
pub const SILENT_AFTER: Duration = Duration::from_secs(15);
/// How long the row of a node that is gone is kept.
const KEEP: Duration = Duration::from_secs(86_400);

/// What a node says of itself when it begins to serve.
#[derive(Clone, Debug)]
pub struct NodeClaim<'a> {
    /// This run: no other has it.
    pub run: &'a str,
    /// The program's version.
    pub program: &'a str,
    /// The newest migration that the program knows.
    pub schema_version: i64,
    /// A digest of the part of the configuration in which nodes should not differ.
    pub config: &'a str,
}

/// A node, as its row tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeEntry {
    /// Its name.
    pub node: String,
    /// Its run.
    pub run: String,
    /// The program's version.
    pub program: String,
    /// The newest migration that the program knows.
    pub schema_version: i64,
    /// A digest of the part of the configuration in which nodes should not differ.
    pub config: String,
    /// Since when it serves, by the house's time.
    pub started_at: Timestamp,
    /// Its last word, by the house's time.
    pub seen_at: Timestamp,
    /// What it says of its feed: a JSON document.
    pub report: String,
    /// Whether it holds the sequencer's lease.
    pub leads: bool,
}

impl FromRow for NodeEntry {
    fn from_row(row: &Row) -> Result<Self, store::Error> {
        Ok(Self {
            node: row.text("node")?,
            run: row.text("run")?,
            program: row.text("program")?,
            schema_version: row.int("schema_version")?,
            config: row.text("config")?,
            started_at: row.time("started_at")?,
            seen_at: row.time("seen_at")?,
            report: row.text("report")?,
            leads: row.int("leads")? != 0,
        })
    }
}

impl NodeEntry {
    /// Whether it has spoken lately, by the house's time ([`Spine::house_time`]).
    #[must_use]
    pub fn lives(&self, now: Timestamp) -> bool {
        now.since(self.seen_at) <= SILENT_AFTER
    }
}

/// What waits in the database, for all nodes together.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Queues {
    /// Events that are committed and have no leaf yet.
    pub pending: i64,
    /// How many leaves each consumer has not read yet. A consumer that wants none of the newest
    /// notes its place only now and then.
    pub behind: Vec<(String, i64)>,
}

impl Spine {
    /// Takes this node's name for a run. False where another program holds it: one in another
    /// folder that has spoken lately. In this node's own folder one program serves at a time, so an
    /// earlier run there is over.
    ///
    /// # Errors
    /// [`Error::Store`]; [`Error::File`] for the node's folder.
    pub async fn claim_node(&self, claim: &NodeClaim<'_>) -> Result<bool, Error> {
        let now = self.house_time();
        let place = *node::key(self, self.0.entropy.as_ref())?.verifier().public();
        let (gone, nonsense) = (now.minus(SILENT_AFTER), now.plus(SILENT_AFTER));
        let row = args![
            self.node(),
            place,
            claim.run,
            claim.program,
            claim.schema_version,
            claim.config,
            now,
            gone,
            nonsense
        ];
        let mut upkeep = self.upkeep().await?;
        let taken = !upkeep.rows(&CLAIM, row).await?.is_empty();
        upkeep.commit().await?;
        Ok(taken)
    }

    /// Writes this node's word. False where the name is another run's by now.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub async fn report_node(&self, run: &str, report: &str) -> Result<bool, Error> {
        let mut upkeep = self.upkeep().await?;
        let row = args![self.node(), run, self.house_time(), report];
        let ours = !upkeep.rows(&REPORT, row).await?.is_empty();
        upkeep.commit().await?;
        Ok(ours)
    }

    /// Takes this node's row away: it serves no more.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub async fn leave_node(&self, run: &str) -> Result<(), Error> {
        let mut upkeep = self.upkeep().await?;
        upkeep.run(&LEAVE, args![self.node(), run]).await?;
        upkeep.commit().await
    }

    /// Takes away the rows of nodes that have been gone for a day.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub async fn retire_nodes(&self) -> Result<(), Error> {
        let mut upkeep = self.upkeep().await?;
        upkeep.run(&RETIRE, args![self.house_time().minus(KEEP)]).await?;
        upkeep.commit().await
    }

    /// Takes every row away: after a restore they are of nodes that were.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub async fn forget_nodes(&self) -> Result<(), Error> {
        let mut upkeep = self.upkeep().await?;
        upkeep.run(&FORGET, Vec::new()).await?;
        upkeep.commit().await
    }

    /// Every node that has a row, by name.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub async fn nodes(&self) -> Result<Vec<NodeEntry>, Error> {
        self.read().await?.all(&NODES, args![self.house_time()]).await
    }

    /// How much waits.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub async fn queues(&self) -> Result<Queues, Error> {
        let mut read = self.read().await?;
        let pending = read.rows(&PENDING, args![]).await?;
        let behind = read.rows(&BEHIND, args![]).await?;
        let behind = behind.iter().map(|row| Ok((row.text("name")?, row.int("behind")?.max(0))));
        Ok(Queues {
            pending: pending.first().map_or(Ok(0), |row| row.int("pending"))?,
            behind: behind.collect::<Result<_, store::Error>>()?,
        })
    }

    /// Compares our clock with the database server's: how far ours is ahead, in microseconds, negative
    /// where behind. [`Spine::house_time`] goes by it from then on. None where the database is a file, or
    /// took too long for its answer to mean anything: the difference that was known stays.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub async fn compare_clock(&self) -> Result<Option<i64>, Error> {
        let asked = self.0.clock.now();
        let Some(server) = self.0.db.server_time().await? else { return Ok(None) };
        let ahead_us = kernel::ahead_us(asked, server, self.0.clock.now());
        if let Some(ahead_us) = ahead_us {
            self.0.ahead_us.store(ahead_us, Ordering::Relaxed);
        }
        Ok(ahead_us)
    }

    /// The database server's time, by our clock and the last comparison: what nodes say to each other
    /// in the database is judged by it, so that their own clocks may differ.
    #[must_use]
    pub fn house_time(&self) -> Timestamp {
        let ahead_us = self.0.ahead_us.load(Ordering::Relaxed);
        Timestamp::from_micros(self.0.clock.now().micros().saturating_sub(ahead_us))
    }
}
