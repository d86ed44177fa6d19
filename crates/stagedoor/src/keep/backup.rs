//! Taking backups while the house is open, and checking them.

use std::path::{Path, PathBuf};

use kernel::Secret;
use serde_json::json;
use spine::Moment;
use store::copy::{Counted, Nowhere, Snapshot, Tally};

use super::file::{Beside, Whole, check};
use super::manifest::{Kind, LogAt, Manifest, Taken};
use super::{BackupTaken, Pace, rows_of, size_text, tell};
use crate::config::Loaded;
use crate::house::House;
use crate::out;
use crate::rooms::rooms;

/// What a backup is asked to be.
pub(crate) struct Wanted {
    /// The file of the data, or a folder.
    pub data: PathBuf,
    /// The file of the keys, or a folder.
    pub keys: Option<PathBuf>,
    /// The passphrase that seals both; none where it is only to be said how large they would be.
    pub passphrase: Option<Secret<String>>,
}

/// A backup that was written.
pub(crate) struct Written {
    pub path: PathBuf,
    pub bytes: u64,
    pub rows: u64,
    pub leaves: u64,
}

/// Takes a backup.
pub(crate) async fn run(loaded: Loaded, wanted: Wanted) -> anyhow::Result<()> {
    if let Some(keys) = &wanted.keys {
        let folder =
            |path: &Path| if path.is_dir() { path.to_owned() } else { path.with_file_name("") };
        anyhow::ensure!(
            folder(keys) != folder(&wanted.data),
            "data and keys in one folder: whoever finds it has both, and the keys would be kept as \
             long as the data. Name another place for --keys"
        );
    }
    let house = House::open(loaded).await?;
    let standing = store::standing(house.spine.db(), &rooms()?.migrations()).await?;
    anyhow::ensure!(
        standing.newer.is_empty(),
        "the schema is newer than this program, which would leave columns out: back up with the \
         newer one"
    );
    let Some(passphrase) = &wanted.passphrase else {
        return estimate(&house).await;
    };
    let (data, keys) = take(&house, &wanted.data, wanted.keys.as_deref(), passphrase).await?;
    let (rows, leaves) = (data.rows, data.leaves);
    out::json(&json!({
        "data": data.path, "bytes": data.bytes, "rows": rows, "leaves": leaves,
        "keys": keys.as_ref().map(|keys| &keys.path), "keys_bytes": keys.as_ref().map(|keys| keys.bytes),
    }));
    let shown = size_text(data.bytes);
    out::say(format!("{}: {rows} rows, {leaves} leaves, {shown}.", data.path.display()));
    match &keys {
        Some(keys) => {
            let (path, shown) = (keys.path.display(), size_text(keys.bytes));
            out::say(format!("{path}: the keys, {shown}. Keep it for less than an epoch."));
        }
        None => out::say("The keys are not in it: back them up too (--keys), to another place."),
    }
    house.close().await
}

/// Takes a backup of the data, and of the keys where they are to go somewhere, and tells so.
pub(crate) async fn take(
    house: &House,
    data_to: &Path,
    keys_to: Option<&Path>,
    passphrase: &Secret<String>,
) -> anyhow::Result<(Written, Option<Written>)> {
    let data = take_data(house, data_to, passphrase).await?;
    let keys = match keys_to {
        // After the data: whoever is in the data has a key here.
        Some(path) => Some(take_keys(house, path, passphrase).await?),
        None => None,
    };
    let told = BackupTaken { rows: data.rows, keys: keys.is_some(), leaves: data.leaves };
    tell(house, told).await?;
    Ok((data, keys))
}

/// Says what a backup would hold.
async fn estimate(house: &House) -> anyhow::Result<()> {
    let shapes = rooms()?.shapes()?;
    let mut snapshot = Snapshot::of(house.spine.db()).await?;
    let counts = snapshot.count(&shapes).await?;
    let mut pace = Pace::new("counted", &shapes, &counts);
    let mut watch = |table: usize, tally: &Tally| pace.at(table, tally);
    let mut nowhere = Nowhere;
    let mut counted = Counted::new(&mut nowhere, shapes.len(), &mut watch);
    snapshot.pour(&shapes, &mut counted).await?;
    let tallies = counted.tallies();
    drop(snapshot);
    out::progress_done();
    let (rows, bytes) = (rows_of(&tallies), tallies.iter().map(|tally| tally.bytes).sum());
    out::json(&json!({ "dry_run": true, "rows": rows, "bytes": bytes }));
    out::say(format!("A backup of the data would hold {rows} rows, {}.", size_text(bytes)));
    house.spine.close().await;
    house.vault.close().await;
    Ok(())
}

/// The facts and the log, as they are at one moment.
async fn take_data(
    house: &House,
    to: &Path,
    passphrase: &Secret<String>,
) -> anyhow::Result<Written> {
    let rooms = rooms()?;
    let (shapes, steps) = (rooms.shapes()?, rooms.migrations());
    let at = house.clock.now();
    let mut snapshot = Snapshot::of(house.spine.db()).await?;
    let moment = Moment::of(&mut snapshot).await?;
    let taken =
        Taken { kind: Kind::Data, at, vault: house.vault.name(), steps: &steps, shapes: &shapes };
    let mut manifest = Manifest::of(&taken);
    let leaves = moment.as_ref().map_or(0, |moment| moment.size);
    manifest.log = moment.map(|moment| {
        let Moment { origin, size, checkpoint } = moment;
        LogAt { origin, leaves: size, checkpoint }
    });
    let counts = snapshot.count(&shapes).await?;
    let (beside, mut archive) = Beside::begin(to, &manifest, passphrase, house.entropy.as_ref())?;
    let mut pace = Pace::new("backed up", &shapes, &counts);
    let mut watch = |table: usize, tally: &Tally| pace.at(table, tally);
    let mut counted = Counted::new(&mut archive, shapes.len(), &mut watch);
    snapshot.pour(&shapes, &mut counted).await?;
    let tallies = counted.tallies();
    out::progress_done();
    let (path, bytes) = beside.end(archive, &tallies)?;
    Ok(Written { path, bytes, rows: rows_of(&tallies), leaves })
}

/// The keys, as they are at one moment.
async fn take_keys(
    house: &House,
    to: &Path,
    passphrase: &Secret<String>,
) -> anyhow::Result<Written> {
    let shapes = vault::shapes()?;
    let at = house.clock.now();
    let steps = vault::MIGRATIONS;
    let taken = Taken { kind: Kind::Keys, at, vault: house.vault.name(), steps, shapes: &shapes };
    let manifest = Manifest::of(&taken);
    let mut keys = house.vault.key_snapshot().await?;
    let counts = keys.rows.count(&shapes).await?;
    let (beside, mut archive) = Beside::begin(to, &manifest, passphrase, house.entropy.as_ref())?;
    for (name, bytes) in &keys.files {
        archive.add_file(name, bytes)?;
    }
    let mut pace = Pace::new("backed up", &shapes, &counts);
    let mut watch = |table: usize, tally: &Tally| pace.at(table, tally);
    let mut counted = Counted::new(&mut archive, shapes.len(), &mut watch);
    keys.rows.pour(&shapes, &mut counted).await?;
    let tallies = counted.tallies();
    out::progress_done();
    let (path, bytes) = beside.end(archive, &tallies)?;
    Ok(Written { path, bytes, rows: rows_of(&tallies), leaves: 0 })
}

/// Reads a backup to its end and says what is in it.
pub(crate) async fn verify(
    path: &Path,
    kind: Kind,
    passphrase: &Secret<String>,
) -> anyhow::Result<()> {
    let Whole { manifest, shapes, tallies, bytes, .. } = check(path, kind, passphrase).await?;
    out::progress_done();
    let tables: Vec<serde_json::Value> = shapes
        .iter()
        .zip(&tallies)
        .map(|(shape, tally)| {
            json!({ "table": shape.table(), "rows": tally.rows, "digest": tally.digest_text() })
        })
        .collect();
    let rows = rows_of(&tallies);
    out::json(&json!({
        "whole": true, "kind": manifest.kind, "program": manifest.program, "bytes": bytes,
        "taken_at": manifest.taken_at().to_string(), "rows": rows, "log": manifest.log,
        "tables": tables,
    }));
    let (kind, at, program) = (kind.word(), manifest.taken_at(), &manifest.program);
    out::say(format!("Whole: {kind} of {at}, by version {program}, {rows} rows."));
    if let Some(log) = &manifest.log {
        out::say(format!("The log {} had {} leaves.", log.origin, log.leaves));
    }
    Ok(())
}

pub(crate) use super::manifest::Kind as BackupKind;
