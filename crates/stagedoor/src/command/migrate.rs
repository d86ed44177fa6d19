//! `migrate`: brings the database to this program's schema, forward only.

use kernel::{Clock as _, SystemClock};

use crate::config::Loaded;
use crate::out;
use crate::rooms::rooms;

/// Applies what is missing, or says what that is.
pub(crate) async fn run(loaded: &Loaded, dry_run: bool) -> anyhow::Result<()> {
    let db = loaded.open_database().await?;
    let steps = if dry_run {
        store::pending(&db, &rooms()?.migrations()).await?
    } else {
        store::migrate(&db, &rooms()?.migrations(), SystemClock.now()).await?
    };
    db.close().await;
    let names: Vec<&str> = steps.iter().map(|step| step.name).collect();
    out::json(&serde_json::json!({ "dry_run": dry_run, "steps": names }));
    let verb = if dry_run { "would apply" } else { "applied" };
    for name in &names {
        out::say(format!("{verb} {name}"));
    }
    if names.is_empty() {
        out::say("The database has this program's schema.");
    }
    Ok(())
}
