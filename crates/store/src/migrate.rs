//! Migrations: forward only, one text for both databases, each applied once under a lock row.

use kernel::Timestamp;

use crate::{Db, Error, FromRow, Row, Value, args};

/// One step of a room's schema.
#[derive(Clone, Copy, Debug)]
pub struct Migration {
    /// The room's number × 10,000 + the step's: the order over all rooms.
    pub version: i64,
    /// `room/0001_what`.
    pub name: &'static str,
    /// The statements.
    pub text: &'static str,
}

/// A migration that the database has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Applied {
    /// Its version.
    pub version: i64,
    /// Its name when it was applied.
    pub name: String,
    /// FNV-1a of its text when it was applied: to notice an edit, not to stop a forger.
    pub mark: i64,
}

impl FromRow for Applied {
    fn from_row(row: &Row) -> Result<Self, Error> {
        Ok(Self { version: row.int("version")?, name: row.text("name")?, mark: row.int("mark")? })
    }
}

const MAKE: &str = "CREATE TABLE IF NOT EXISTS store_migration (version BIGINT PRIMARY KEY, \
     name TEXT NOT NULL, mark BIGINT NOT NULL, applied_at BIGINT NOT NULL)";
const LOCK: &str = "INSERT INTO store_migration (version, name, mark, applied_at) \
     VALUES (0, 'lock', 0, 0) ON CONFLICT (version) DO UPDATE SET mark = 0";
const ALL: &str =
    "SELECT version, name, mark FROM store_migration WHERE version > 0 ORDER BY version";
const ADD: &str =
    "INSERT INTO store_migration (version, name, mark, applied_at) VALUES ($1, $2, $3, $4)";

fn mark(text: &str) -> i64 {
    let hash = text.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    });
    i64::from_be_bytes(hash.to_be_bytes())
}

/// Those of `migrations` that the database does not have yet, in their order.
///
/// # Errors
/// [`Error::Migration`] where one that it has was edited since, or is newer than this program.
fn missing(applied: &[Applied], migrations: &[Migration]) -> Result<Vec<Migration>, Error> {
    for known in applied {
        let Some(ours) = migrations.iter().find(|ours| ours.version == known.version) else {
            return Err(Error::Migration(format!(
                "the database has step {} ({}), which this program does not know: run the newer \
                 program",
                known.version, known.name
            )));
        };
        if mark(ours.text) != known.mark {
            return Err(Error::Migration(format!(
                "step {} ({}) was changed after it was applied: restore its text and add a step",
                known.version, known.name
            )));
        }
    }
    let mut missing: Vec<Migration> = migrations
        .iter()
        .filter(|ours| applied.iter().all(|known| known.version != ours.version))
        .copied()
        .collect();
    missing.sort_by_key(|migration| migration.version);
    Ok(missing)
}

/// What [`migrate`] would apply.
///
/// # Errors
/// [`Error::Migration`] where program and database do not fit, or as the database says.
pub async fn pending(db: &Db, migrations: &[Migration]) -> Result<Vec<Migration>, Error> {
    let has_table = db.columns().await?.iter().any(|(table, _)| table == "store_migration");
    let applied = if has_table { db.read().await?.all(ALL, Vec::new()).await? } else { Vec::new() };
    missing(&applied, migrations)
}

/// Applies what is missing, all in one transaction: all of it, or nothing.
///
/// # Errors
/// [`Error::Migration`] where program and database do not fit, or as the database says.
pub async fn migrate(
    db: &Db,
    migrations: &[Migration],
    now: Timestamp,
) -> Result<Vec<Migration>, Error> {
    let mut tx = db.begin().await?;
    tx.run(MAKE, Vec::new()).await?;
    // Two programs that start at once: the second waits here until the first is done.
    tx.run(LOCK, Vec::new()).await?;
    let applied: Vec<Applied> = tx.all(ALL, Vec::new()).await?;
    let missing = missing(&applied, migrations)?;
    for step in &missing {
        tx.script(step.text).await?;
        let row: Vec<Value> = args![step.version, step.name, mark(step.text), now];
        tx.run(ADD, row).await?;
    }
    tx.commit().await?;
    Ok(missing)
}
