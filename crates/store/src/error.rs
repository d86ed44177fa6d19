//! What can go wrong with a database, told apart by what the caller can do about it (S5).

use thiserror::Error;

/// A failure of the store.
#[derive(Debug, Error)]
pub enum Error {
    /// A row with that key stands already.
    #[error("a row with that key stands already")]
    Unique,
    /// The database was busy, or broke a deadlock: the whole transaction may be tried again.
    #[error("the database is busy")]
    Busy(#[source] sqlx::Error),
    /// The database does not answer, or has no room left.
    #[error("the database does not answer: {why}")]
    Unavailable {
        /// What is known of the reason; log-safe.
        why: &'static str,
        /// The driver's error.
        #[source]
        source: sqlx::Error,
    },
    /// The statement and the database do not fit: a fault of ours.
    #[error("a statement failed")]
    Broken(#[source] sqlx::Error),
    /// A column does not hold what the code expects.
    #[error("column {column} does not hold what is expected")]
    Column {
        /// The column's name.
        column: &'static str,
    },
    /// A statement that must find exactly one row found another number.
    #[error("one row was expected, {found} found")]
    Rows {
        /// How many were found.
        found: usize,
    },
    /// The migrations in this program and those in the database do not fit together.
    #[error("{0}")]
    Migration(String),
    /// Tables cannot be copied, or an archive cannot be read.
    #[error("{0}")]
    Copy(String),
    /// The file of an archive cannot be read or written.
    #[error("the file cannot be read or written: {0}")]
    File(#[from] std::io::Error),
    /// Another member of the same group commit took the commit down with it.
    #[error("the commit failed")]
    CommitFailed,
}

impl Error {
    /// Whether the whole transaction may be tried again with hope.
    #[must_use]
    pub const fn is_busy(&self) -> bool {
        matches!(self, Self::Busy(_))
    }
}

/// SQLite's primary result codes (the low byte of the extended ones).
const SQLITE_BUSY: i32 = 5;
const SQLITE_LOCKED: i32 = 6;
const SQLITE_IOERR: i32 = 10;
const SQLITE_FULL: i32 = 13;
const SQLITE_CANTOPEN: i32 = 14;

impl From<sqlx::Error> for Error {
    fn from(source: sqlx::Error) -> Self {
        let unavailable = |why, source| Self::Unavailable { why, source };
        let Some(database) = source.as_database_error() else {
            return match source {
                sqlx::Error::Io(_) => unavailable("the connection broke", source),
                sqlx::Error::PoolTimedOut => unavailable("all its connections are in use", source),
                sqlx::Error::PoolClosed => unavailable("the program is stopping", source),
                sqlx::Error::WorkerCrashed => unavailable("its worker died", source),
                other => Self::Broken(other),
            };
        };
        if database.is_unique_violation() {
            return Self::Unique;
        }
        let code = database.code().unwrap_or_default().into_owned();
        // PostgreSQL speaks SQLSTATE (five letters), SQLite numbers.
        if code.len() == 5 {
            // The server's own bound (statement_timeout) was the first.
            if code == "57014" {
                return unavailable("it took too long", source);
            }
            return match code.get(..2) {
                Some("40") => Self::Busy(source),
                Some("53") => unavailable("it has no room or no connections left", source),
                Some("58") => unavailable("the disk fails", source),
                Some("57" | "08") => unavailable("it is stopping or starting", source),
                _ => Self::Broken(source),
            };
        }
        match code.parse::<i32>().map(|code| code & 0xff) {
            Ok(SQLITE_BUSY | SQLITE_LOCKED) => Self::Busy(source),
            Ok(SQLITE_FULL) => unavailable("the disk is full", source),
            Ok(SQLITE_IOERR | SQLITE_CANTOPEN) => unavailable("the disk fails", source),
            _ => Self::Broken(source),
        }
    }
}
