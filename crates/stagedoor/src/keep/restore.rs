//! Restoring a backup into an empty installation, on either database.

use std::path::PathBuf;

use anyhow::Context as _;
use kernel::{Clock as _, Secret, SystemClock};
use serde_json::json;
use store::copy::{Filling, Tally};
use store::{Db, Migration};

use super::apart::put_keys;
use super::file::{Whole, check, head, read_into};
use super::finish::{Finished, Rest, finish};
use super::ledger::{self, Erased};
use super::manifest::{Kind, Manifest};
use super::{Pace, open_by_url, rows_of};
use crate::config::Loaded;
use crate::house::{House, Nature, without_password};
use crate::node::Node;
use crate::out;
use crate::rooms::rooms;

/// Why a restored database is held at first.
const HELD: &str = "a restore is not finished: run the same `stagedoor restore` again";

/// What is to be restored.
#[derive(Clone, Debug)]
pub(crate) struct Wanted {
    pub data: PathBuf,
    pub keys: Option<PathBuf>,
    /// Lists of erased persons.
    pub erased: Vec<PathBuf>,
    /// Nobody was erased since the keys were backed up, says the operator.
    pub none_erased: bool,
    pub dry_run: bool,
    pub passphrase: Secret<String>,
}

/// What was restored.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub taken_at: String,
    pub rows: u64,
    pub finished: Finished,
}

/// Restores, and says so.
pub(crate) async fn run(loaded: Loaded, wanted: Wanted) -> anyhow::Result<()> {
    if wanted.dry_run {
        return look(&loaded, &wanted).await;
    }
    let (house, outcome) = restore(loaded, &wanted).await?;
    let Outcome { taken_at, rows, finished } = outcome;
    out::json(&json!({
        "taken_at": taken_at, "rows": rows, "leaves": finished.leaves, "origin": finished.origin,
        "erased_again": finished.erased_again, "sessions_ended": finished.sessions_ended,
        "links_spent": finished.links_spent, "keys": wanted.keys.is_some(),
    }));
    out::say(format!("Restored: {rows} rows of {taken_at}; the log verifies."));
    out::say(format!("The log goes on as {}, and tells of the restore.", finished.origin));
    out::say(format!("{} persons were erased again.", finished.erased_again));
    out::say(format!(
        "All {} sessions ended, and {} open links are spent: everybody signs in anew. What happened \
         after the backup, passwords too, is gone.",
        finished.sessions_ended, finished.links_spent
    ));
    if wanted.keys.is_some() {
        out::say("A new epoch began. Destroy older backups of the keys, and take a new one.");
    }
    house.close().await
}

/// What a restore would meet, without changing anything.
async fn look(loaded: &Loaded, wanted: &Wanted) -> anyhow::Result<()> {
    let (data, keys) = read(wanted).await?;
    data.manifest.steps(&rooms()?.migrations())?;
    let erased = lists(loaded, wanted)?;
    let places = loaded.places();
    // SQLite makes a file where it looks for one.
    for (what, url) in [("data", loaded.database_url()), ("keys", loaded.keys_database_url())] {
        let is_there =
            url.strip_prefix("sqlite://").is_none_or(|file| PathBuf::from(file).exists());
        if !is_there || (what == "keys" && keys.is_none()) {
            continue;
        }
        let db = open_by_url(&url).await?;
        let is_empty = db.columns().await?.is_empty();
        db.close().await;
        anyhow::ensure!(is_empty, "the database of {what} is not empty");
    }
    out::progress_done();
    let (rows, at) = (rows_of(&data.tallies), data.manifest.taken_at().to_string());
    out::json(&json!({
        "dry_run": true, "rows": rows, "taken_at": at, "bytes": data.bytes,
        "keys": keys.is_some(), "erased_named": erased.len(),
    }));
    let shown = without_password(&loaded.database_url());
    out::say(format!("Would restore {rows} rows of {at} into {shown}."));
    if keys.is_some() {
        out::say(format!("Would restore the keys into {}.", places.keys.display()));
    }
    Ok(())
}

/// Reads both backups to their ends.
async fn read(wanted: &Wanted) -> anyhow::Result<(Whole, Option<Whole>)> {
    let data = check(&wanted.data, Kind::Data, &wanted.passphrase).await?;
    let Some(path) = &wanted.keys else { return Ok((data, None)) };
    let keys = check(path, Kind::Keys, &wanted.passphrase).await?;
    check_pair(&data.manifest, &keys.manifest)?;
    if keys.manifest.taken_at_us < data.manifest.taken_at_us {
        out::progress(
            "warning: the keys are older than the data: whoever came between the two stays \
             unreadable",
        );
    }
    Ok((data, Some(keys)))
}

fn check_pair(data: &Manifest, keys: &Manifest) -> anyhow::Result<()> {
    anyhow::ensure!(data.vault == keys.vault, "the data and the keys are of two installations");
    Ok(())
}

/// Refuses, before anything is put in its place, what the heads of the backups and the lists are
/// enough to refuse.
pub(super) fn check_heads(loaded: &Loaded, wanted: &Wanted) -> anyhow::Result<()> {
    lists(loaded, wanted)?;
    let data = head(&wanted.data, Kind::Data, &wanted.passphrase)?;
    data.steps(&rooms()?.migrations())?;
    let Some(keys) = &wanted.keys else { return Ok(()) };
    let keys = head(keys, Kind::Keys, &wanted.passphrase)?;
    keys.steps(vault::MIGRATIONS)?;
    check_pair(&data, &keys)
}

/// The lists of erased persons: those that were given, and the one that is still in its place.
fn lists(loaded: &Loaded, wanted: &Wanted) -> anyhow::Result<Erased> {
    let own = ledger::file_of(loaded);
    let mut files = wanted.erased.clone();
    if own.exists() {
        files.push(own);
    }
    anyhow::ensure!(
        wanted.keys.is_none() || wanted.none_erased || !files.is_empty(),
        "whoever was erased after the keys were backed up would be readable again: name the list of \
         erased persons by --erased, or say --none-erased where there is nobody"
    );
    Erased::read(&files)
}

/// Restores into the configured places, which must be empty; the house is not serving yet.
pub(crate) async fn restore(loaded: Loaded, wanted: &Wanted) -> anyhow::Result<(House, Outcome)> {
    let (data, keys) = read(wanted).await?;
    let steps = data.manifest.steps(&rooms()?.migrations())?;
    let erased = lists(&loaded, wanted)?;
    loaded.make_places()?;
    let node_dir = loaded.places().data.join("node");
    std::fs::create_dir_all(&node_dir)
        .with_context(|| format!("{} cannot be made", node_dir.display()))?;
    let node = Node::new(&node_dir);
    anyhow::ensure!(node.take()?, "a program serves here: stop it first");
    let db = loaded.open_database().await?;
    let begun = store::held(&db).await?.is_some_and(|why| why == HELD);
    anyhow::ensure!(
        begun || db.columns().await?.is_empty(),
        "the database of data is not empty: a restore overwrites nothing. Move the old one away, or \
         name another in the configuration"
    );
    if let Some(keys) = &keys {
        restore_keys(&loaded, keys, wanted).await?;
    }
    let vault = vault::Vault::open(loaded.vault_config(&Nature::default())?).await;
    let vault = vault.context("the keys that the data needs cannot be opened")?;
    let name = super::manifest::vault_text(vault.name());
    vault.close().await;
    anyhow::ensure!(
        name == data.manifest.vault,
        "the keys that are here are another installation's: restore its own by --keys"
    );
    if !begun {
        fill(&db, (&wanted.data, Kind::Data), &data, steps, (&wanted.passphrase, Some(HELD)))
            .await?;
    }
    db.close().await;
    drop(node);
    let rest = Rest { manifest: &data.manifest, erased: &erased, keys: keys.is_some() };
    let (house, finished) = finish(loaded, rest).await?;
    let taken_at = data.manifest.taken_at().to_string();
    Ok((house, Outcome { taken_at, rows: rows_of(&data.tallies), finished }))
}

/// Restores the keys: first the files, which are tried, then the rows. Those of an earlier try are
/// used.
async fn restore_keys(loaded: &Loaded, keys: &Whole, wanted: &Wanted) -> anyhow::Result<()> {
    let path = wanted.keys.as_ref().context("no backup of keys")?;
    let db = open_by_url(&loaded.keys_database_url()).await?;
    if !db.columns().await?.is_empty() {
        db.close().await;
        let name = kept_name(loaded).await?;
        anyhow::ensure!(
            name == keys.manifest.vault,
            "the database of keys is not empty: a restore overwrites nothing. Move the old one \
             away, or leave --keys out to use the keys that are there"
        );
        out::progress("the keys are there already, and are used as they are");
        return Ok(());
    }
    if loaded.config.keyholder.socket.is_none() {
        put_keys(&loaded.keyholder_home()?, &keys.files).await?;
    }
    let name = vault::keyholder_name(&loaded.vault_config(&Nature::default())?).await;
    let name = name.context(
        "the keyholder is a process of its own: run this as root where `serve` starts it, else \
         `stagedoor keyholder restore` as its user, and start it",
    )?;
    anyhow::ensure!(
        super::manifest::vault_text(name) == keys.manifest.vault,
        "the keyholder has another installation's keys"
    );
    let steps = keys.manifest.steps(vault::MIGRATIONS)?;
    let filled = fill(&db, (path, Kind::Keys), keys, steps, (&wanted.passphrase, None)).await;
    db.close().await;
    filled
}

/// The name of the vault that stands here.
async fn kept_name(loaded: &Loaded) -> anyhow::Result<String> {
    let vault = vault::Vault::open(loaded.vault_config(&Nature::default())?).await?;
    let name = super::manifest::vault_text(vault.name());
    vault.close().await;
    Ok(name)
}

/// Fills an empty database from a backup that was read before, in one transaction.
async fn fill(
    db: &Db,
    (path, kind): (&PathBuf, Kind),
    whole: &Whole,
    (steps, since): (Vec<Migration>, Vec<Migration>),
    (passphrase, hold): (&Secret<String>, Option<&str>),
) -> anyhow::Result<()> {
    let shapes = &whole.shapes;
    let mut filling = Filling::begin(db, &steps, shapes, SystemClock.now()).await?;
    let again = read_into(path, kind, passphrase, &mut filling).await?;
    anyhow::ensure!(again.tallies == whole.tallies, "the backup changed while it was read");
    let counts: Vec<u64> = whole.tallies.iter().map(|tally| tally.rows).collect();
    let mut pace = Pace::new("checked", shapes, &counts);
    let mut watch = |table: usize, tally: &Tally| pace.at(table, tally);
    filling.check(shapes, &whole.tallies, &mut watch).await?;
    out::progress_done();
    Ok(filling.finish(&since, hold).await?)
}
