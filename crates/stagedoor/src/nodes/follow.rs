//! Reads from the database, each second and whenever something was missed, what other nodes and
//! commands beside this program changed.

use std::sync::Arc;
use std::time::Duration;

use access::Followed;
use kernel::Timestamp;
use tokio_util::sync::CancellationToken;
use web::feed::Truth;

use super::Nodes;

/// How often the database is read.
const EVERY: Duration = Duration::from_secs(1);
/// How soon it is tried again where the database did not answer.
const RETRY: Duration = Duration::from_millis(250);
/// The least time between two readings that were asked for.
const LEAST: Duration = Duration::from_millis(20);
/// How often everything is read, whether or not it looks changed.
const WHOLE_EVERY: Duration = Duration::from_secs(60);
/// How far back ended sessions are looked for: longer than a transaction may take, and than clocks
/// may differ.
const LOOK_BACK: Duration = Duration::from_secs(60);

/// Follows until `stop`.
pub(super) async fn run(nodes: Arc<Nodes>, stop: CancellationToken) {
    let mut follower = Follower::new(nodes.now());
    let mut failing = false;
    loop {
        let done = follower.round(&nodes).await;
        match &done {
            Ok(()) if failing => tracing::info!("the database is followed again"),
            Ok(()) => {}
            Err(error) if failing => tracing::debug!(%error, "the database was not followed"),
            Err(error) => tracing::warn!(
                error = %format!("{error:#}"),
                "the database was not followed: what others change is heard through Redis only"
            ),
        }
        failing = done.is_err();
        tokio::select! {
            () = stop.cancelled() => return,
            () = nodes.read.notified() => tokio::time::sleep(LEAST).await,
            () = tokio::time::sleep(if failing { RETRY } else { EVERY }) => {}
        }
    }
}

struct Follower {
    followed: Followed,
    /// When the last reading began that came to its end; the house was loaded just before the first.
    read_at: Timestamp,
    whole_at: Timestamp,
}

impl Follower {
    fn new(now: Timestamp) -> Self {
        Self { followed: Followed::default(), read_at: now, whole_at: now }
    }

    async fn round(&mut self, nodes: &Nodes) -> anyhow::Result<()> {
        let house = &nodes.house;
        let began = nodes.now();
        let (heard, gap, unblocked) = {
            let mut peers = nodes.peers();
            (peers.heard(), peers.has_gap(), peers.take_unblocked())
        };
        let reading = house.hub.reading();
        // Also where the clock was set back: what was looked at by a wrong one does not count.
        let whole = began.since(self.whole_at) >= WHOLE_EVERY || began < self.read_at;
        if gap || whole || unblocked {
            self.followed.forget();
        }
        let others = nodes.others().await?;
        let revocations = if whole {
            house.identity.revocations(began).await?
        } else {
            house.identity.revocations_since(self.read_at.minus(LOOK_BACK)).await?
        };
        let news = house.access.follow(&mut self.followed).await?;
        let mut truth =
            Truth { blocks: news.blocks, routes: news.routes, heard, ..Truth::default() };
        if gap || whole {
            truth.revocations = revocations;
        } else {
            // Said by a command that nobody hears: the others may be cut from the database.
            for delta in revocations.into_iter().filter(|delta| house.hub.lacks(delta)) {
                house.publisher.publish(delta);
            }
        }
        if !house.follower.fold(reading, truth) {
            self.followed.forget();
        }
        self.read_at = began;
        if whole {
            self.whole_at = began;
        }
        nodes.see(|seen| seen.database_at = Some(began));
        let mut peers = nodes.peers();
        peers.expect(others);
        if peers.caught_up(&house.hub) {
            nodes.read.notify_one();
        }
        Ok(())
    }
}
