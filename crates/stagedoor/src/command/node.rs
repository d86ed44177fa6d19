//! `node`: the nodes that serve on this database, as each tells of itself.

use kernel::Timestamp;
use spine::NodeEntry;

use crate::cli::NodeCommand;
use crate::house::House;
use crate::nodes::{PeerReport, Report};
use crate::out;

/// Runs a `node` command.
pub(crate) async fn run(house: &House, command: NodeCommand) -> anyhow::Result<()> {
    match command {
        NodeCommand::List => list(house).await?,
    }
    // Who only looks sequences nothing: it would keep the lease of a node that is gone.
    house.spine.close().await;
    house.vault.close().await;
    Ok(())
}

async fn list(house: &House) -> anyhow::Result<()> {
    house.spine.compare_clock().await?;
    let now = house.spine.house_time();
    let (nodes, queues) = (house.spine.nodes().await?, house.spine.queues().await?);
    let mut rows = Vec::new();
    for entry in &nodes {
        let report: Report = serde_json::from_str(&entry.report).unwrap_or_default();
        let lives = entry.lives(now);
        out::say(line(entry, &report, now));
        for peer in &report.peers {
            out::say(heard(peer));
        }
        rows.push(serde_json::json!({
            "node": entry.node, "run": entry.run, "lives": lives, "leads": entry.leads,
            "program": entry.program, "schema_version": entry.schema_version,
            "config": entry.config, "started_at": entry.started_at, "seen_at": entry.seen_at,
            "report": report,
        }));
    }
    if nodes.is_empty() {
        out::say("No node serves on this database: `stagedoor serve` starts one.");
    }
    let behind: serde_json::Map<String, serde_json::Value> =
        queues.behind.iter().map(|(name, behind)| (name.clone(), (*behind).into())).collect();
    let most = queues.behind.iter().max_by_key(|(_, behind)| *behind);
    let most = most.map_or(String::new(), |(name, behind)| {
        format!(", {behind} leaves before the consumer that is furthest behind ({name})")
    });
    out::say(format!("{} events wait for their leaf{most}", queues.pending));
    out::json(&serde_json::json!({
        "nodes": rows, "pending": queues.pending, "behind": behind,
    }));
    Ok(())
}

/// How far a node's clock may be off before `doctor` says so, ms.
const SKEW_MS: u64 = 5_000;

/// What is to be mended about the nodes that serve now, one line each.
pub(crate) async fn mends(house: &House) -> anyhow::Result<Vec<String>> {
    house.spine.compare_clock().await?;
    let (now, config) = (house.spine.house_time(), house.config.digest()?);
    let nodes = house.spine.nodes().await?;
    let living: Vec<&NodeEntry> = nodes.iter().filter(|entry| entry.lives(now)).collect();
    let mut mends = Vec::new();
    for entry in &living {
        let report: Report = serde_json::from_str(&entry.report).unwrap_or_default();
        let mut say = |what: String| mends.push(format!("{}: {what}", entry.node));
        if entry.config != config {
            say("its configuration is not this file's: give all nodes the same, and restart it"
                .into());
        }
        if entry.program != env!("CARGO_PKG_VERSION") {
            say(format!("it runs version {}: update it", entry.program));
        }
        if living.len() > 1 && report.redis == "none" {
            say("it hears the others a second late: set redis.url, on every node".to_owned());
        }
        if report.redis == "down" {
            say("it cannot reach Redis: look for `Redis` in its log".to_owned());
        }
        if report.skew_ms.unsigned_abs() > SKEW_MS {
            let off = report.skew_ms;
            say(format!("its clock is {off} ms off the database's: set it right (NTP)"));
        }
        if report.refused.values().any(|count| *count > 0) {
            say("it refused messages on Redis that are no node's: who else can write there?".into());
        }
    }
    Ok(mends)
}

fn line(entry: &NodeEntry, report: &Report, now: Timestamp) -> String {
    let silent_s = now.since(entry.seen_at).as_secs();
    let state =
        if entry.lives(now) { "serves".to_owned() } else { format!("silent for {silent_s} s") };
    let leads = if entry.leads { ", sequences the log" } else { "" };
    let known = report.known_ms.map_or("never".to_owned(), |ms| format!("{ms} ms ago"));
    format!(
        "{}: {state}{leads} · {} · schema {} · configuration {} · Redis {} · all known {known} · \
         clock {:+} ms",
        entry.node, entry.program, entry.schema_version, entry.config, report.redis, report.skew_ms
    )
}

fn heard(peer: &PeerReport) -> String {
    let lag = peer.lag_ms.map_or("not yet".to_owned(), |ms| format!("{ms} ms ago"));
    let gap = if peer.gap { ", something was missed" } else { "" };
    format!("  hears {}: change {}, {lag}{gap}", peer.node, peer.number)
}
