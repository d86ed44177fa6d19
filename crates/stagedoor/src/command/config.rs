//! `config`: check, schema, plan, apply, history, roll back.

use std::path::Path;

use anyhow::Context as _;

use crate::cli::ConfigCommand;
use crate::command::act;
use crate::config::{load, schema};
use crate::house::House;
use crate::{certificates, out};

/// Runs a `config` command.
pub(crate) async fn run(file: &Path, command: ConfigCommand) -> anyhow::Result<()> {
    match command {
        ConfigCommand::Check => {
            let loaded = load(file)?;
            certificates::check(&loaded.config, &loaded.base)?;
            out::say(format!("{} is right.", file.display()));
            out::json(&serde_json::json!({
                "right": true, "routes": loaded.config.route.len(),
            }));
            Ok(())
        }
        ConfigCommand::Schema => {
            out::print(&serde_json::to_string_pretty(&schema()?)?);
            Ok(())
        }
        ConfigCommand::Plan => plan(&House::open(act(file)?).await?).await,
        ConfigCommand::Apply { base } => apply(&House::open(act(file)?).await?, base).await,
        ConfigCommand::History => history(&House::open(act(file)?).await?).await,
        ConfigCommand::RollBack { revision } => {
            let house = House::open(act(file)?).await?;
            let applied = house.access.roll_back(&house.operator_ctx(), revision).await?;
            tell(&applied);
            house.close().await
        }
    }
}

async fn plan(house: &House) -> anyhow::Result<()> {
    let (revision, diff) = house.access.plan(&house.config.edge_config()).await?;
    let lines = diff.lines();
    out::json(&serde_json::json!({ "base": revision, "changes": lines }));
    for line in &lines {
        out::say(line);
    }
    if lines.is_empty() {
        out::say(format!("Revision {revision} is what the file says: nothing to apply."));
    } else {
        out::say(format!("Apply with: stagedoor config apply --base {revision}"));
    }
    house.close().await
}

async fn apply(house: &House, base: Option<i64>) -> anyhow::Result<()> {
    let wanted = house.config.edge_config();
    let applied = house
        .access
        .apply(&house.operator_ctx(), &wanted, base)
        .await
        .context("nothing was applied")?;
    tell(&applied);
    house.close().await
}

fn tell(applied: &access::Applied) {
    let lines = applied.diff.lines();
    out::json(&serde_json::json!({ "revision": applied.revision, "changes": lines }));
    for line in &lines {
        out::say(line);
    }
    if lines.is_empty() {
        out::say(format!("Nothing changes: revision {} stays in force.", applied.revision));
    } else {
        out::say(format!("Revision {} is in force.", applied.revision));
    }
}

async fn history(house: &House) -> anyhow::Result<()> {
    let revisions = house.access.revisions(None, 50).await?;
    let rows: Vec<Vec<String>> = revisions
        .iter()
        .map(|revision| {
            vec![
                revision.number.to_string(),
                revision.applied_at.to_string(),
                format!("+{} ~{} -{}", revision.added, revision.changed, revision.removed),
            ]
        })
        .collect();
    out::json(&serde_json::json!({ "revisions": rows }));
    out::table(&["revision", "applied", "sections"], &rows);
    house.close().await
}
