//! A database: opened by its URL, read through a pool, written through transactions.

use std::sync::{Arc, Once};
use std::time::Duration;

use sqlx::AnyConnection;
use sqlx::any::{AnyArguments, AnyPoolOptions};
use sqlx::{Any, AnyPool, Connection as _, Executor as _};

use crate::lent::{self, Answers, Lent};
use crate::pools::Waits;
use crate::writer::{self, Writer};
use crate::{Error, FromRow, Row, Statement, Transaction, Value};

/// Which database it is. Nothing outside this crate should need to ask, but `doctor` and tests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Backend {
    /// SQLite, one file.
    Sqlite,
    /// PostgreSQL.
    Postgres,
}

/// How to open a database.
#[derive(Clone, Debug)]
pub struct Options {
    /// `sqlite:///path/file.db` or `postgres://user@host/name`.
    pub url: String,
    /// The most connections, half of which only read; on SQLite all of them do, besides one writer.
    pub connections: u32,
    /// How long to wait for a connection from the pool, and on SQLite for the writer's turn.
    pub acquire_timeout: Duration,
    /// How long `PostgreSQL` may take for one statement. Migrations are not bounded.
    pub answer_timeout: Duration,
}

impl Options {
    /// The defaults: 8 connections, 5 s of waiting for one, 10 s for a statement.
    #[must_use]
    pub fn new(url: impl Into<String>) -> Self {
        Self {
            url: url.into(),
            connections: 8,
            acquire_timeout: Duration::from_secs(5),
            answer_timeout: Duration::from_secs(10),
        }
    }
}

/// For each connection to SQLite. FULL: a commit that was answered survives a loss of power.
/// `secure_delete`: what is erased is overwritten, not only unlinked.
pub(crate) const SQLITE_PRAGMAS: &str = "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; \
     PRAGMA busy_timeout = 5000; PRAGMA foreign_keys = ON; PRAGMA secure_delete = ON; \
     PRAGMA temp_store = MEMORY; PRAGMA cache_size = -2048";

const SQLITE_READERS: &str = "PRAGMA busy_timeout = 5000; PRAGMA query_only = ON; \
     PRAGMA temp_store = MEMORY; PRAGMA cache_size = -1024";

/// For each connection to PostgreSQL: the server gives up a statement that nobody waits for any more
/// (S6). For those that read: a statement that writes is refused there (S4).
fn postgres_settings(answer_timeout: Duration, reads: bool) -> String {
    let timeout_ms = answer_timeout.as_millis().clamp(1, i32::MAX.unsigned_abs().into());
    let reads = if reads { "; SET default_transaction_read_only = on" } else { "" };
    format!("SET statement_timeout = {timeout_ms}{reads}")
}

/// For the rest of a transaction on PostgreSQL, the server does not bound statements.
pub(crate) const UNBOUNDED_HERE: &str = "SET LOCAL statement_timeout = 0";

/// A database. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Db {
    pub(crate) readers: AnyPool,
    pub(crate) writers: Writers,
    answers: Answers,
    pub(crate) waits: Waits,
}

/// How a database is written.
#[derive(Clone, Debug)]
pub(crate) enum Writers {
    Sqlite(Arc<Writer>),
    Postgres(AnyPool),
}

impl Db {
    /// Opens a database; SQLite's file is made where there is none.
    ///
    /// # Errors
    /// [`Error`] where it cannot be reached, or the URL is of neither database.
    pub async fn open(options: &Options) -> Result<Self, Error> {
        static DRIVERS: Once = Once::new();
        DRIVERS.call_once(sqlx::any::install_default_drivers);
        let backend =
            if options.url.starts_with("sqlite:") { Backend::Sqlite } else { Backend::Postgres };
        let pool = |connections| {
            AnyPoolOptions::new()
                .max_connections(connections)
                .acquire_timeout(options.acquire_timeout)
                .idle_timeout(Duration::from_secs(300))
        };
        match backend {
            Backend::Sqlite => {
                let url = with_create_mode(&options.url);
                let writer = Writer::new(writer::connect(&url).await?, options.acquire_timeout);
                let readers = told_first(pool(options.connections), SQLITE_READERS.to_owned());
                let writers = Writers::Sqlite(Arc::new(writer));
                let answers = Answers::UNBOUNDED;
                let readers = readers.connect_lazy(&url)?;
                Ok(Self { readers, writers, answers, waits: Waits::default() })
            }
            Backend::Postgres => {
                let reading = (options.connections / 2).max(1);
                let writing = options.connections.saturating_sub(reading).max(1);
                let told = |pool, reads| {
                    tested(told_first(pool, postgres_settings(options.answer_timeout, reads)))
                };
                let writers = told(pool(writing), false).connect(&options.url).await?;
                let readers = told(pool(reading), true);
                let readers = readers.connect_lazy(&options.url)?;
                let answers = Answers::within_of(options.answer_timeout);
                let writers = Writers::Postgres(writers);
                Ok(Self { readers, writers, answers, waits: Waits::default() })
            }
        }
    }

    /// Which database it is.
    #[must_use]
    pub const fn backend(&self) -> Backend {
        match self.writers {
            Writers::Sqlite(_) => Backend::Sqlite,
            Writers::Postgres(_) => Backend::Postgres,
        }
    }

    /// Begins a write transaction.
    ///
    /// # Errors
    /// [`Error`] where the database is busy or does not answer; on SQLite also where the writer is
    /// not to be had in time: who begins within a transaction of its own waits in vain.
    pub async fn begin(&self) -> Result<Transaction, Error> {
        let waiting = self.waits.begin();
        match &self.writers {
            Writers::Sqlite(writer) => {
                let member = writer.begin().await?;
                waiting.over();
                Ok(Transaction::sqlite(member))
            }
            Writers::Postgres(pool) => {
                let lent = Lent::new(pool.acquire().await?, self.answers);
                waiting.over();
                Ok(Transaction::postgres(lent.begin().await?))
            }
        }
    }

    /// A connection to read with.
    ///
    /// # Errors
    /// [`Error`] where none is to be had in time.
    pub async fn read(&self) -> Result<Reader, Error> {
        let waiting = self.waits.begin();
        let connection = self.readers.acquire().await?;
        waiting.over();
        Ok(Reader(Lent::new(connection, self.answers)))
    }

    /// A connection that sees this moment of the database, and only reads. Each of its rows comes
    /// within the usual bound, but all of them together may take as long as they take.
    pub(crate) async fn snapshot(&self) -> Result<Lent, Error> {
        let (begin, look) = match self.backend() {
            // The moment is that of the first look at the file.
            Backend::Sqlite => ("BEGIN", "SELECT COUNT(*) AS n FROM sqlite_master"),
            Backend::Postgres => {
                ("BEGIN ISOLATION LEVEL REPEATABLE READ, READ ONLY", UNBOUNDED_HERE)
            }
        };
        let lent = Lent::new(self.readers.acquire().await?, self.answers);
        let mut lent = lent.begin_with(begin).await?;
        let answers = lent.answers();
        answers.within(fetch(lent.connection()?, look, Vec::new())).await?;
        if self.backend() == Backend::Postgres {
            let look = "SELECT 1 AS n FROM pg_class LIMIT 1";
            answers.within(fetch(lent.connection()?, look, Vec::new())).await?;
        }
        Ok(lent)
    }

    /// Lets the database check statements against its schema, without running them. Returns those
    /// that do not fit, with the database's words.
    ///
    /// # Errors
    /// [`Error`] where the database does not answer.
    pub async fn misfits(
        &self,
        statements: &[Statement],
    ) -> Result<Vec<(&'static str, Error)>, Error> {
        // Not a connection of the pool: what is prepared without values has other types in its
        // cache than the same text with values.
        let mut connection = self.readers.acquire().await?.detach();
        let mut misfits = Vec::new();
        for statement in statements {
            let text = sqlx::SqlStr::from_static(statement.text);
            if let Err(error) = connection.prepare(text).await {
                misfits.push((statement.name, Error::from(error)));
            }
        }
        connection.close().await?;
        Ok(misfits)
    }

    /// Every table with its columns, as the database has them now, in order of name.
    ///
    /// # Errors
    /// [`Error`], as the database says.
    pub async fn columns(&self) -> Result<Vec<(String, String)>, Error> {
        let rows = self.read().await?.rows(self.columns_text(), Vec::new()).await?;
        rows.iter().map(|row| Ok((row.text("tab")?, row.text("col")?))).collect()
    }

    /// Reads every table with its columns and their kinds.
    pub(crate) const fn columns_text(&self) -> &'static str {
        const SQLITE: &str = "SELECT m.name AS tab, p.name AS col, p.type AS kind \
             FROM sqlite_master m JOIN pragma_table_info(m.name) p WHERE m.type = 'table' \
             ORDER BY m.name, p.name";
        const POSTGRES: &str = "SELECT CAST(table_name AS TEXT) AS tab, \
             CAST(column_name AS TEXT) AS col, CAST(data_type AS TEXT) AS kind \
             FROM information_schema.columns \
             WHERE table_schema = current_schema() ORDER BY table_name, column_name";
        match self.backend() {
            Backend::Sqlite => SQLITE,
            Backend::Postgres => POSTGRES,
        }
    }

    /// The server's clock; none on SQLite, which has none of its own.
    ///
    /// # Errors
    /// [`Error`], as the database says.
    pub async fn server_time(&self) -> Result<Option<kernel::Timestamp>, Error> {
        const NOW: &str =
            "SELECT CAST(EXTRACT(EPOCH FROM clock_timestamp()) * 1000000 AS BIGINT) AS now";
        match self.backend() {
            Backend::Sqlite => Ok(None),
            Backend::Postgres => {
                let rows = self.read().await?.rows(NOW, Vec::new()).await?;
                rows.first().map(|row| row.time("now")).transpose()
            }
        }
    }

    /// Ends all connections, in order: what was begun is finished or undone.
    pub async fn close(&self) {
        match &self.writers {
            Writers::Sqlite(writer) => writer.close().await,
            Writers::Postgres(pool) => pool.close().await,
        }
        self.readers.close().await;
    }
}

/// Connections that are told this before anything else.
fn told_first(pool: AnyPoolOptions, statements: String) -> AnyPoolOptions {
    pool.after_connect(move |connection, _| {
        let statements = sqlx::AssertSqlSafe(statements.clone());
        Box::pin(async move {
            connection.execute(sqlx::raw_sql(statements)).await?;
            Ok(())
        })
    })
}

/// Connections that are tried before they are lent. The pool's own test waits for ever for a host that
/// is gone without a word.
fn tested(pool: AnyPoolOptions) -> AnyPoolOptions {
    pool.test_before_acquire(false)
        .before_acquire(|connection, _| Box::pin(lent::lives(connection)))
}

fn with_create_mode(url: &str) -> String {
    if url.contains("mode=") {
        return url.to_owned();
    }
    let sign = if url.contains('?') { '&' } else { '?' };
    format!("{url}{sign}mode=rwc")
}

/// A connection that only reads (S4).
#[derive(Debug)]
pub struct Reader(Lent);

impl Reader {
    /// Runs a statement and returns its rows.
    ///
    /// # Errors
    /// [`Error`], as the database says.
    pub async fn rows(&mut self, text: &'static str, args: Vec<Value>) -> Result<Vec<Row>, Error> {
        let answers = self.0.answers();
        answers.within(fetch(self.0.connection()?, text, args)).await
    }

    /// Reads rows as `T`.
    ///
    /// # Errors
    /// [`Error`], as the database says, or a column that does not fit.
    pub async fn all<T: FromRow>(
        &mut self,
        text: &'static str,
        args: Vec<Value>,
    ) -> Result<Vec<T>, Error> {
        self.rows(text, args).await?.iter().map(T::from_row).collect()
    }
}

fn bind(text: &'static str, args: Vec<Value>) -> sqlx::query::Query<'static, Any, AnyArguments> {
    #[expect(clippy::disallowed_methods, reason = "the one place where statements are run")]
    let query = sqlx::query(text);
    bind_all(query, args)
}

pub(crate) fn bind_all(
    query: sqlx::query::Query<'static, Any, AnyArguments>,
    args: Vec<Value>,
) -> sqlx::query::Query<'static, Any, AnyArguments> {
    args.into_iter().fold(query, |query, value| match value {
        Value::Int(int) => query.bind(int),
        Value::Text(text) => query.bind(text),
        Value::Bytes(bytes) => query.bind(bytes),
        Value::Real(real) => query.bind(real),
        Value::NoInt => query.bind(None::<i64>),
        Value::NoText => query.bind(None::<String>),
        Value::NoBytes => query.bind(None::<Vec<u8>>),
    })
}

pub(crate) async fn fetch(
    connection: &mut AnyConnection,
    text: &'static str,
    args: Vec<Value>,
) -> Result<Vec<Row>, Error> {
    Ok(bind(text, args).fetch_all(connection).await?.into_iter().map(Row).collect())
}

pub(crate) async fn run(
    connection: &mut AnyConnection,
    text: &'static str,
    args: Vec<Value>,
) -> Result<u64, Error> {
    Ok(bind(text, args).execute(connection).await?.rows_affected())
}
