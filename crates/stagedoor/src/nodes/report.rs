//! What this node says of itself in the table of nodes, every few seconds: for `stagedoor node list`,
//! `doctor`, the console and whoever watches.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;

use super::{Link, Nodes, is_off};

/// How often it is written.
const EVERY: Duration = Duration::from_secs(3);
/// How long a sender may be silent before it is forgotten.
const FORGET_AFTER: Duration = Duration::from_secs(60);

/// A node's word, as its row's `report` holds it in JSON.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Report {
    /// `up`, `down`, or `none` where no Redis is configured.
    pub redis: String,
    /// How old the news is by which the door goes, ms; none where there never was any.
    pub known_ms: Option<u64>,
    /// How long ago the last reading of the database began, ms.
    pub database_ms: Option<u64>,
    /// This machine's clock before the database server's, ms.
    pub skew_ms: i64,
    /// The others, as this node hears them.
    pub peers: Vec<PeerReport>,
    /// Messages that were refused, by why.
    pub refused: BTreeMap<String, u64>,
}

/// Another node, as one hears it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct PeerReport {
    /// Its name.
    pub node: String,
    /// The number of its last change that was heard of.
    pub number: u64,
    /// How long ago it surely had nothing that is not known here, ms; none before its first echo.
    pub lag_ms: Option<u64>,
    /// How long ago it was heard, ms.
    pub heard_ms: u64,
    /// Whether something of it was missed and is not read yet.
    pub gap: bool,
}

/// Reports until `stop`, then takes the row away.
pub(super) async fn run(nodes: Arc<Nodes>, stop: CancellationToken) {
    loop {
        if let Err(error) = write(&nodes).await {
            tracing::debug!(error = %format!("{error:#}"), "this node's row was not written");
        }
        tokio::select! {
            () = stop.cancelled() => break,
            _ = nodes.lost() => return,
            () = tokio::time::sleep(EVERY) => {}
        }
    }
    // Where that fails, the row grows old by itself.
    let _ = nodes.house.spine.leave_node(&nodes.run).await;
}

async fn write(nodes: &Nodes) -> anyhow::Result<()> {
    let now = nodes.now();
    nodes.peers().forget_silent(&nodes.house.hub, now.minus(FORGET_AFTER));
    nodes.measure_clock().await?;
    let skew_us = nodes.seen().skew_us;
    if is_off(skew_us) {
        tracing::error!(
            seconds = skew_us / 1_000_000,
            "THIS MACHINE'S CLOCK IS WRONG by the database server's: sensitive routes stay closed"
        );
    }
    let report = serde_json::to_string(&nodes.report())?;
    if !nodes.house.spine.report_node(&nodes.run, &report).await? {
        tracing::error!(
            node = nodes.house.config.data.node,
            "ANOTHER PROGRAM SERVES UNDER THIS NODE'S NAME: this one ends"
        );
        nodes.lost.cancel();
    }
    Ok(())
}

impl Nodes {
    /// What this node says of itself now.
    pub(crate) fn report(&self) -> Report {
        let (now, seen) = (self.now(), self.seen());
        let ago = |at: kernel::Timestamp| u64::try_from(now.since(at).as_millis()).unwrap_or(0);
        let known = self.known();
        let peers = self.peers();
        let shown = peers.shown().into_iter().map(|peer| PeerReport {
            node: peer.node,
            number: peer.number,
            lag_ms: peer.echo_at.map(ago),
            heard_ms: ago(peer.heard_at),
            gap: peer.gap,
        });
        let redis = match seen.link {
            Link::None => "none",
            Link::Up => "up",
            Link::Down => "down",
        };
        Report {
            redis: redis.to_owned(),
            known_ms: known.map(ago),
            database_ms: seen.database_at.map(ago),
            skew_ms: seen.skew_us / 1_000,
            peers: shown.collect(),
            refused: peers.refused(),
        }
    }
}
