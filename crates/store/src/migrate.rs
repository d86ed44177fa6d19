//! Migrations: forward only, one text for both databases, each applied once under a lock row. A step
//! may say that older programs run on what it made, so that nodes are updated one after another; a
//! database that nobody is to serve from is held by a step that no program knows (S8).

use kernel::Timestamp;

use crate::{Db, Error, FromRow, Row, Transaction, Value, args};

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
    /// The oldest program that runs on what it made; none where only those that know it do.
    pub least: Option<i64>,
}

impl FromRow for Applied {
    fn from_row(row: &Row) -> Result<Self, Error> {
        Ok(Self {
            version: row.int("version")?,
            name: row.text("name")?,
            mark: row.int("mark")?,
            least: row.opt_int("least")?,
        })
    }
}

/// How a database stands to this program's migrations.
#[derive(Clone, Debug, Default)]
pub struct Standing {
    /// Those that the program has and the database not, in their order.
    pub missing: Vec<Migration>,
    /// Those of a newer program, on which this one runs nevertheless: its rows may have columns that
    /// this program does not know.
    pub newer: Vec<Applied>,
}

const TABLE: &str = "store_migration";
const MAKE: &str = "CREATE TABLE IF NOT EXISTS store_migration (version BIGINT PRIMARY KEY, \
     name TEXT NOT NULL, mark BIGINT NOT NULL, applied_at BIGINT NOT NULL)";
/// The column came later than the table.
const ADD_LEAST: &str = "ALTER TABLE store_migration ADD COLUMN least BIGINT";
const LOCK: &str = "INSERT INTO store_migration (version, name, mark, applied_at) \
     VALUES (0, 'lock', 0, 0) ON CONFLICT (version) DO UPDATE SET mark = 0";
const ALL: &str =
    "SELECT version, name, mark, least FROM store_migration WHERE version > 0 ORDER BY version";
const ALL_OF_OLD: &str = "SELECT version, name, mark, CAST(NULL AS BIGINT) AS least \
     FROM store_migration WHERE version > 0 ORDER BY version";
const ADD: &str = "INSERT INTO store_migration (version, name, mark, applied_at, least) \
     VALUES ($1, $2, $3, $4, $5)";
const HOLD: &str = "INSERT INTO store_migration (version, name, mark, applied_at, least) \
     VALUES ($1, $2, 0, $3, $1) ON CONFLICT (version) DO UPDATE SET name = excluded.name, \
     applied_at = excluded.applied_at";
const RELEASE: &str = "DELETE FROM store_migration WHERE version = $1";

/// A step that no program knows: who meets it, an older program too, stops before it serves.
const HELD: i64 = i64::MAX;

/// The line by which a migration says which program still runs on what it made.
const RUNS_WITH: &str = "-- runs with: ";

impl Migration {
    /// The oldest program that runs on what this step made, as its text says in a line
    /// `-- runs with: 0.1.0`; none where only programs that know it do.
    #[must_use]
    pub fn least(&self) -> Option<i64> {
        self.text.lines().find_map(|line| number(line.strip_prefix(RUNS_WITH)?.trim()))
    }

    /// FNV-1a of its text: another text has another mark.
    #[must_use]
    pub fn mark(&self) -> i64 {
        mark(self.text)
    }
}

/// A program's version as a number that grows with it.
fn number(version: &str) -> Option<i64> {
    const PART_MAX: i64 = 1_000_000;
    let mut parts = version.splitn(3, '.').map(|part| part.parse::<i64>().ok());
    let mut number = 0;
    for _ in 0..3 {
        let part = parts.next()??;
        if !(0..PART_MAX).contains(&part) {
            return None;
        }
        number = number * PART_MAX + part;
    }
    Some(number)
}

/// This program's version.
fn program() -> i64 {
    number(env!("CARGO_PKG_VERSION")).unwrap_or(0)
}

fn mark(text: &str) -> i64 {
    let hash = text.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    });
    i64::from_be_bytes(hash.to_be_bytes())
}

/// Holds what the database has against what the program has.
///
/// # Errors
/// [`Error::Migration`] where the database is held, where a step that it has was edited since, or
/// where one is newer than this program and does not say that older programs run on it.
fn compare(
    applied: Vec<Applied>,
    migrations: &[Migration],
    program: i64,
) -> Result<Standing, Error> {
    if let Some(held) = applied.iter().find(|known| known.version == HELD) {
        return Err(Error::Migration(format!("this database is not to be served: {}", held.name)));
    }
    let mut missing = migrations.to_vec();
    missing.retain(|ours| applied.iter().all(|known| known.version != ours.version));
    missing.sort_by_key(|migration| migration.version);
    let mut newer = Vec::new();
    for known in applied {
        let Some(ours) = migrations.iter().find(|ours| ours.version == known.version) else {
            if known.least.is_none_or(|least| least > program) {
                return Err(Error::Migration(format!(
                    "the database has step {} ({}), which this program does not know: run the \
                     newer program",
                    known.version, known.name
                )));
            }
            newer.push(known);
            continue;
        };
        if ours.mark() != known.mark {
            return Err(Error::Migration(format!(
                "step {} ({}) was changed after it was applied: restore its text and add a step",
                known.version, known.name
            )));
        }
    }
    Ok(Standing { missing, newer })
}

/// Everything that was applied, a hold too.
async fn applied(db: &Db) -> Result<Vec<Applied>, Error> {
    let columns = db.columns().await?;
    let has = |column: &str| columns.iter().any(|(table, col)| table == TABLE && col == column);
    let all = match (has("version"), has("least")) {
        (false, _) => return Ok(Vec::new()),
        (true, false) => ALL_OF_OLD,
        (true, true) => ALL,
    };
    db.read().await?.all(all, Vec::new()).await
}

/// How the database stands to these migrations.
///
/// # Errors
/// [`Error::Migration`] where program and database do not fit (S8), or as the database says.
pub async fn standing(db: &Db, migrations: &[Migration]) -> Result<Standing, Error> {
    compare(applied(db).await?, migrations, program())
}

/// What [`migrate`] would apply.
///
/// # Errors
/// As [`standing`].
pub async fn pending(db: &Db, migrations: &[Migration]) -> Result<Vec<Migration>, Error> {
    Ok(standing(db, migrations).await?.missing)
}

/// Applies what is missing, all in one transaction: all of it, or nothing.
///
/// # Errors
/// As [`standing`].
pub async fn migrate(
    db: &Db,
    migrations: &[Migration],
    now: Timestamp,
) -> Result<Vec<Migration>, Error> {
    let mut tx = db.begin().await?;
    prepare(db, &mut tx).await?;
    let applied: Vec<Applied> = tx.all(ALL, Vec::new()).await?;
    let missing = compare(applied, migrations, program())?.missing;
    for step in &missing {
        apply_one(&mut tx, step, now).await?;
    }
    tx.commit().await?;
    Ok(missing)
}

/// Applies these steps to a database that has none of them, in the caller's transaction.
pub(crate) async fn apply(
    db: &Db,
    tx: &mut Transaction,
    steps: &[Migration],
    now: Timestamp,
) -> Result<(), Error> {
    prepare(db, tx).await?;
    for step in steps {
        apply_one(tx, step, now).await?;
    }
    Ok(())
}

async fn prepare(db: &Db, tx: &mut Transaction) -> Result<(), Error> {
    tx.run(MAKE, Vec::new()).await?;
    // Two programs that start at once: the second waits here until the first is done.
    tx.run(LOCK, Vec::new()).await?;
    let columns = tx.rows(db.columns_text(), Vec::new()).await?;
    for row in &columns {
        if row.text("tab")? == TABLE && row.text("col")? == "least" {
            return Ok(());
        }
    }
    tx.run(ADD_LEAST, Vec::new()).await?;
    Ok(())
}

async fn apply_one(tx: &mut Transaction, step: &Migration, now: Timestamp) -> Result<(), Error> {
    tx.script(step.text).await?;
    let row: Vec<Value> = args![step.version, step.name, step.mark(), now, step.least()];
    tx.run(ADD, row).await?;
    Ok(())
}

pub(crate) async fn put_hold(tx: &mut Transaction, why: &str, now: Timestamp) -> Result<(), Error> {
    tx.run(HOLD, args![HELD, why, now]).await?;
    Ok(())
}

/// Holds the database: no program serves from it, whatever its version, until [`release`].
///
/// # Errors
/// As the database says.
pub async fn hold(db: &Db, why: &str, now: Timestamp) -> Result<(), Error> {
    let mut tx = db.begin().await?;
    prepare(db, &mut tx).await?;
    put_hold(&mut tx, why, now).await?;
    tx.commit().await
}

/// Why the database is held; none where it is not.
///
/// # Errors
/// As the database says.
pub async fn held(db: &Db) -> Result<Option<String>, Error> {
    let held = applied(db).await?.into_iter().find(|known| known.version == HELD);
    Ok(held.map(|held| held.name))
}

/// Lets the database be served again.
///
/// # Errors
/// As the database says.
pub async fn release(db: &Db) -> Result<(), Error> {
    let mut tx = db.begin().await?;
    tx.run(RELEASE, args![HELD]).await?;
    tx.commit().await
}

#[cfg(test)]
mod tests {
    use super::*;

    const OURS: Migration = Migration { version: 1, name: "demo/0001_a", text: "" };

    fn known(version: i64, least: Option<&str>) -> Applied {
        let least = least.and_then(number);
        Applied { version, name: format!("step {version}"), mark: mark(""), least }
    }

    #[test]
    fn versions_grow() {
        assert!(number("0.2.0") > number("0.1.999"));
        assert!(number("1.0.0") > number("0.99.99"));
        for odd in ["", "1", "1.2", "1.2.x", "1.2.-3", "1.2.3.4"] {
            assert_eq!(number(odd), None, "{odd}");
        }
        assert!(program() > 0);
    }

    #[test]
    fn a_step_says_who_still_runs_on_what_it_made() {
        let step = |text| Migration { text, ..OURS };
        assert_eq!(step("-- runs with: 0.1.0\nCREATE TABLE a (b BIGINT)").least(), number("0.1.0"));
        assert_eq!(step("CREATE TABLE a (b BIGINT)").least(), None);
        assert_eq!(step("-- runs with: everybody").least(), None);
    }

    // S8
    #[test]
    fn an_older_program_runs_on_a_newer_schema_only_where_that_says_so() {
        let now = number("0.2.0").unwrap();
        let on = |least| compare(vec![known(1, None), known(2, least)], &[OURS], now);
        assert_eq!(on(Some("0.2.0")).unwrap().newer.len(), 1);
        assert_eq!(on(Some("0.1.0")).unwrap().newer.len(), 1);
        assert!(on(Some("0.2.1")).is_err());
        let refused = on(None).unwrap_err().to_string();
        assert!(refused.contains("run the newer program"), "{refused}");
    }

    // S8
    #[test]
    fn what_is_held_or_was_edited_is_refused() {
        let held = compare(vec![known(1, None), known(HELD, None)], &[OURS], 1).unwrap_err();
        assert!(held.to_string().contains("not to be served"), "{held}");
        let edited = Applied { mark: 5, ..known(1, None) };
        assert!(compare(vec![edited], &[OURS], 1).is_err());
        assert_eq!(compare(Vec::new(), &[OURS], 1).unwrap().missing.len(), 1);
    }
}
