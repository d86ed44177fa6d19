//! `migrate`: brings the database to this program's schema, forward only.

use anyhow::Context as _;
use kernel::{Clock as _, SystemClock};
use store::{Db, Migration, Options};

use super::database::is_postgres;
use crate::config::Loaded;
use crate::out;
use crate::rooms::rooms;

/// Applies what is missing, or says what that is.
pub(crate) async fn run(loaded: &Loaded, dry_run: bool) -> anyhow::Result<()> {
    let mut steps = apply(&loaded.open_database().await?, &rooms()?.migrations(), dry_run).await?;
    // In a file the vault does it by itself; on a server core may not.
    let keys = loaded.config.data.keys_database_url.as_deref();
    if let Some(url) = keys.filter(|url| is_postgres(url)) {
        let db = Db::open(&Options::new(url)).await;
        let db = db.context("the keys' database cannot be opened")?;
        steps.extend(apply(&db, vault::MIGRATIONS, dry_run).await?);
    }
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

async fn apply(db: &Db, migrations: &[Migration], dry_run: bool) -> anyhow::Result<Vec<Migration>> {
    let standing = store::standing(db, migrations).await?;
    for step in &standing.newer {
        out::say(format!("{} is of a newer program, and this one runs on it", step.name));
    }
    let steps = if dry_run {
        standing.missing
    } else {
        store::migrate(db, migrations, SystemClock.now()).await?
    };
    db.close().await;
    Ok(steps)
}
