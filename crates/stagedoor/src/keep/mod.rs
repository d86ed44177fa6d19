//! Moving house, backups, restoring: what is copied, where to, and what must be true before the
//! first request afterwards. The copying itself is `store::copy`, one engine for all of it.
//!
//! A backup of the data and one of the keys are two files for two places. A restored house is held
//! until whoever was erased since is erased again, every session has ended, and the log goes on under
//! a new name; a house that moved leaves its old database held.

pub(crate) mod apart;
pub(crate) mod backup;
pub(crate) mod drill;
mod file;
pub(crate) mod finish;
pub(crate) mod ledger;
mod manifest;
pub(crate) mod moving;
pub(crate) mod places;
pub(crate) mod restore;
#[cfg(test)]
mod tests;

use std::path::Path;

use anyhow::Context as _;
use kernel::Secret;
use store::copy::{Shape, Tally};
use store::{Db, Options};

use crate::config::{Loaded, read_secret};
use crate::house::without_password;
use crate::out;

spine::events! {
    room = "keep";
    /// A backup of the data was taken, and perhaps one of the keys.
    BackupTaken = "backup_taken" {
        plain { rows: u64, keys: bool, leaves: u64 } sealed {} retain_days = 3650, ocsf = 6003
    }
    /// The house was restored from a backup.
    Restored = "restored" {
        plain { taken_at: String, leaves: u64, keys: bool, erased_again: u64, sessions_ended: u64 }
        sealed {} retain_days = 3650, ocsf = 6003
    }
    /// A backup was restored in a throw-away place, and looked at.
    DrillDone = "drill_done" {
        plain { taken_at: String, holds: bool, rows: u64, took_ms: u64 }
        sealed {} retain_days = 3650, ocsf = 6003
    }
    /// Everything begins to move into another database; it is told in both.
    MoveBegun = "move_begun" {
        plain { from: String, to: String } sealed {} retain_days = 3650, ocsf = 6003
    }
}

/// What keeping brings into the house.
pub(crate) const ROOM: spine::Room = spine::Room {
    name: "keep",
    number: 10,
    tables: &[],
    events: EVENTS,
    migrations: &[],
    statements: &[],
    consumers: &[ledger::Ledger::NAME],
    obeys: &[],
};

/// Tells of an act of an operator on this host.
async fn tell(house: &crate::house::House, event: impl spine::Event) -> anyhow::Result<()> {
    house.vault.resolve(&[spine::Subject::House]).await?;
    let mut tx = house.spine.begin(&house.operator_ctx()).await?;
    tx.emit(spine::About::house("house", [0; 16], 0), event)?;
    tx.commit().await?;
    Ok(())
}

/// The passphrase of backups: of the file that is named, else of the configuration's.
pub(crate) fn passphrase(
    named: Option<&Path>,
    loaded: Option<&Loaded>,
) -> anyhow::Result<Secret<String>> {
    if let Some(file) = named {
        return read_secret(file);
    }
    let file = loaded.and_then(|loaded| {
        let file = loaded.config.backup.passphrase_file.as_ref()?;
        Some(loaded.base.join(file))
    });
    let file = file.context(
        "backups are sealed by a passphrase: name its file by --passphrase-file, or by \
         backup.passphrase_file in the configuration",
    )?;
    read_secret(&file)
}

/// Opens a database that is not the configured one.
async fn open_by_url(url: &str) -> anyhow::Result<Db> {
    let known = ["sqlite://", "postgres://", "postgresql://"];
    anyhow::ensure!(
        known.iter().any(|scheme| url.starts_with(scheme)),
        "a database is sqlite:///path/file.db or postgres://user@host/name"
    );
    let options = Options { connections: 4, ..Options::new(url) };
    let shown = without_password(url);
    Db::open(&options).await.with_context(|| format!("the database {shown} cannot be opened"))
}

/// Says how far a copy is: the table, its rows, and the part of all rows.
struct Pace<'a> {
    verb: &'static str,
    shapes: &'a [Shape],
    total: u64,
    before: u64,
    table: usize,
    rows: u64,
    said: u64,
}

/// Rows between two lines of progress.
const SAY_EVERY: u64 = 20_000;

impl<'a> Pace<'a> {
    fn new(verb: &'static str, shapes: &'a [Shape], counts: &[u64]) -> Self {
        let total = counts.iter().sum();
        Self { verb, shapes, total, before: 0, table: 0, rows: 0, said: 0 }
    }

    fn at(&mut self, table: usize, tally: &Tally) {
        if table != self.table {
            self.before += self.rows;
            self.table = table;
        }
        self.rows = tally.rows;
        let done = self.before + self.rows;
        if done < self.said + SAY_EVERY && done != self.total {
            return;
        }
        self.said = done;
        let name = self.shapes.get(table).map_or("", Shape::table);
        let (verb, total) = (self.verb, self.total);
        out::progress(match done.saturating_mul(100).checked_div(total) {
            Some(percent) => format!("{verb} {name}: {done} of {total} rows, {percent} %"),
            None => format!("{verb} {name}: {done} rows"),
        });
    }
}

/// The rows of all tables together.
fn rows_of(tallies: &[Tally]) -> u64 {
    tallies.iter().map(|tally| tally.rows).sum()
}

/// A size for people.
fn size_text(bytes: u64) -> String {
    const KIB: u64 = 1024;
    const MIB: u64 = KIB * KIB;
    if bytes < KIB {
        return format!("{bytes} bytes");
    }
    if bytes < MIB {
        return format!("{} KiB", bytes / KIB);
    }
    format!("{}.{} MiB", bytes / MIB, bytes % MIB * 10 / MIB)
}
