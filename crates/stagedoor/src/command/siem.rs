//! `siem`: what stands of the sinks, and events that are sent again.

use crate::cli::SiemCommand;
use crate::house::House;
use crate::out;

/// Runs a `siem` command.
pub(crate) async fn run(house: &House, command: SiemCommand) -> anyhow::Result<()> {
    let done = match command {
        SiemCommand::List => list(house).await,
        SiemCommand::Replay { name, from, dry_run } => replay(house, &name, from, dry_run).await,
    };
    let closed = house.close().await;
    done.and(closed)
}

async fn list(house: &House) -> anyhow::Result<()> {
    let size = house.spine.standing().await?.size;
    let lags = house.observe.lags(size).await?;
    let rows: Vec<Vec<String>> = house
        .observe
        .sinks()
        .into_iter()
        .zip(&lags)
        .map(|(sink, (_, lag))| {
            vec![sink.name, sink.to.to_owned(), (size - lag).to_string(), lag.to_string()]
        })
        .collect();
    out::table(&["sink", "to", "next leaf", "not heard"], &rows);
    let sinks: Vec<_> =
        lags.iter().map(|(name, lag)| serde_json::json!({ "name": name, "lag": lag })).collect();
    out::json(&serde_json::json!({ "leaves": size, "sinks": sinks }));
    Ok(())
}

async fn replay(house: &House, name: &str, from: i64, dry_run: bool) -> anyhow::Result<()> {
    let (events, stands_at) = house.observe.would_replay(name, from).await?;
    if !dry_run {
        house.observe.replay(&house.operator_ctx(), name, from).await?;
    }
    let will = if dry_run { "would hear" } else { "hears" };
    out::say(format!(
        "{name} {will} of {events} events, from leaf {from} on; it stood at leaf {stands_at}"
    ));
    out::json(&serde_json::json!({
        "sink": name, "events": events, "from": from, "stood_at": stands_at, "dry_run": dry_run,
    }));
    Ok(())
}
