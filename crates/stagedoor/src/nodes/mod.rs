//! Several nodes on one database are one: each tells the others at once what it committed, through
//! Redis, and reads each second what it was not told, from the database.
//!
//! The database is the truth, Redis the fast way. The door is told that the source of truth lives as
//! of the later of two moments: when the database last answered, and when every other node was last
//! proved to have told all (`peers`). So either may be cut; where both are, sensitive routes close.

mod envelope;
mod follow;
mod link;
mod peers;
mod report;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::Context as _;
use kernel::Timestamp;
use spine::NodeClaim;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use self::envelope::Keys;
use self::peers::Peers;
use crate::house::House;
use crate::redis::Server;
use crate::rooms::rooms;

pub(crate) use self::report::{PeerReport, Report};

/// How often the door is told up to when all is known.
const PULSE: Duration = Duration::from_millis(500);
/// How long a start waits for Redis, and how often it looks.
const JOIN_TRIES: u32 = 100;
const JOIN_STEP: Duration = Duration::from_millis(10);
/// How far this node's clock may be from the database server's before it is not believed: less than
/// what signed tokens and revocations allow for.
const SKEW_MAX: Duration = Duration::from_secs(30);

/// This node among the others.
pub(crate) struct Nodes {
    house: Arc<House>,
    run: String,
    server: Option<Server>,
    channel: String,
    peers: Mutex<Peers>,
    seen: Mutex<Seen>,
    /// Asked to read the database now.
    read: Notify,
    /// Asked to say a beat now.
    beat: Notify,
    /// Another program has this node's name.
    lost: CancellationToken,
}

/// What is known of the two ways.
#[derive(Clone, Copy, Debug, Default)]
struct Seen {
    /// When the last reading of the database began that came to its end.
    database_at: Option<Timestamp>,
    /// Ours before the server's, in microseconds.
    skew_us: i64,
    link: Link,
}

/// How it stands with Redis.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Link {
    /// None is configured.
    #[default]
    None,
    Up,
    Down,
}

impl Nodes {
    /// Takes this node's name, before it serves.
    pub(crate) async fn claim(house: &Arc<House>) -> anyhow::Result<Arc<Self>> {
        let config = &house.config;
        let server = config.redis.server(&house.base)?;
        let keys = Keys::new(house.vault.clone(), house.log_name.clone());
        let own = house.publisher.id();
        let link = if server.is_some() { Link::Down } else { Link::None };
        let nodes = Self {
            house: Arc::clone(house),
            run: format!("{:016x}", own.0),
            channel: format!("{}:feed", config.redis.prefix),
            server,
            peers: Mutex::new(Peers::new(keys, own, config.data.node.clone())?),
            seen: Mutex::new(Seen { link, ..Seen::default() }),
            read: Notify::new(),
            beat: Notify::new(),
            lost: CancellationToken::new(),
        };
        nodes.check_clock().await?;
        let migrations = rooms()?.migrations();
        let claim = NodeClaim {
            run: &nodes.run,
            program: env!("CARGO_PKG_VERSION"),
            schema_version: migrations.iter().map(|step| step.version).max().unwrap_or(0),
            config: &config.digest()?,
        };
        anyhow::ensure!(
            house.spine.claim_node(&claim).await?,
            "another program serves on this database as node {0}: give this one another data.node. \
             If that one is gone for good, its name is free {1} s after its last word \
             (`stagedoor node list`)",
            config.data.node,
            spine::SILENT_AFTER.as_secs()
        );
        Ok(Arc::new(nodes))
    }

    async fn check_clock(&self) -> anyhow::Result<()> {
        self.measure_clock().await.context("the database's clock")?;
        let skew = self.seen().skew_us;
        anyhow::ensure!(
            !is_off(skew),
            "this machine's clock is {} s off the database server's: set it right (NTP), or \
             sessions and revocations would be judged by a wrong time",
            skew / 1_000_000
        );
        Ok(())
    }

    /// Runs what keeps this node one with the others, until `stop`.
    pub(crate) fn start(self: &Arc<Self>, tracker: &TaskTracker, stop: &CancellationToken) {
        tracker.spawn(follow::run(Arc::clone(self), stop.clone()));
        tracker.spawn(report::run(Arc::clone(self), stop.clone()));
        tracker.spawn(Arc::clone(self).pulse(stop.clone()));
        if self.server.is_some() {
            tracker.spawn(link::run(Arc::clone(self), stop.clone()));
        }
    }

    /// Waits until the others hear this node, for a moment at most: where one of them is cut from the
    /// database, it must know of this node before anything is committed here.
    pub(crate) async fn joined(&self) {
        for _ in 0..JOIN_TRIES {
            if self.seen().link != Link::Down {
                return;
            }
            tokio::time::sleep(JOIN_STEP).await;
        }
    }

    /// Waits until another program turns out to have this node's name.
    pub(crate) async fn lost(&self) -> anyhow::Error {
        self.lost.cancelled().await;
        let name = &self.house.config.data.node;
        anyhow::anyhow!("another program serves under this node's name, {name}")
    }

    /// Tells the door up to when all is known; silence closes what is sensitive.
    async fn pulse(self: Arc<Self>, stop: CancellationToken) {
        loop {
            if let Some(known) = self.known() {
                self.house.publisher.beat_as_of(known);
            }
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(PULSE) => {}
            }
        }
    }

    /// Up to when all that any node committed is known here.
    fn known(&self) -> Option<Timestamp> {
        let seen = self.seen();
        if is_off(seen.skew_us) {
            return None;
        }
        let now = self.now();
        let known = seen.database_at.max(self.peers().evidence());
        // A moment to come: the clock was set back since.
        known.filter(|at| *at <= now)
    }

    fn peers(&self) -> MutexGuard<'_, Peers> {
        self.peers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn seen(&self) -> Seen {
        *self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn see(&self, change: impl FnOnce(&mut Seen)) {
        change(&mut self.seen.lock().unwrap_or_else(PoisonError::into_inner));
    }

    fn now(&self) -> Timestamp {
        self.house.clock.now()
    }

    /// Compares this machine's clock with the database server's.
    async fn measure_clock(&self) -> anyhow::Result<()> {
        let Some(mut skew_us) = self.house.spine.compare_clock().await? else { return Ok(()) };
        if self.house.clock.compared(skew_us) {
            // The difference was the old time's: until the next look the new one would be judged by it.
            let Some(again) = self.house.spine.compare_clock().await? else { return Ok(()) };
            skew_us = again;
        }
        self.see(|seen| seen.skew_us = skew_us);
        self.house.clock_is_off.store(is_off(skew_us), Ordering::Relaxed);
        Ok(())
    }

    /// The names of the other nodes that live, as the database has them.
    async fn others(&self) -> anyhow::Result<BTreeSet<String>> {
        let now = self.house.spine.house_time();
        let nodes = self.house.spine.nodes().await?;
        let others = nodes.into_iter().filter(|entry| entry.run != self.run && entry.lives(now));
        Ok(others.map(|entry| entry.node).collect())
    }
}

/// Whether a clock is too far off to be believed.
const fn is_off(skew_us: i64) -> bool {
    skew_us.unsigned_abs() / 1_000_000 >= SKEW_MAX.as_secs()
}
