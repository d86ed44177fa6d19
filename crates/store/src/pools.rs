//! What can be seen of a database from outside: its pools, how long callers waited for a connection,
//! and how large it is.

use std::sync::Arc;

use meter::{Counter, Histogram};
use tokio::time::Instant;

use crate::db::{Backend, Db, Writers};
use crate::{Error, Value};

const SQLITE_BYTES: &str = "SELECT page_count * page_size AS bytes FROM pragma_page_count(), \
     pragma_page_size()";
const POSTGRES_BYTES: &str = "SELECT pg_database_size(current_database()) AS bytes";

/// How long callers waited for a connection, and how often in vain.
#[derive(Clone, Debug, Default)]
pub(crate) struct Waits(Arc<(Histogram, Counter)>);

/// A caller that waits; one that goes away, or is refused, waited in vain.
pub(crate) struct Waiting<'a> {
    waits: &'a Waits,
    since: Instant,
    is_over: bool,
}

impl Waits {
    pub(crate) fn begin(&self) -> Waiting<'_> {
        Waiting { waits: self, since: Instant::now(), is_over: false }
    }
}

impl Waiting<'_> {
    /// It has its connection.
    pub(crate) fn over(mut self) {
        self.is_over = true;
        self.waits.0.0.observe(self.since.elapsed());
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        if !self.is_over {
            self.waits.0.1.inc();
        }
    }
}

/// One pool as it stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pool {
    /// `read` or `write`.
    pub name: &'static str,
    /// Connections that somebody uses now.
    pub in_use: usize,
    /// Connections that are open.
    pub open: usize,
    /// Callers that wait; known of SQLite's one writer only.
    pub waiting: usize,
}

impl Pool {
    fn of(name: &'static str, pool: &sqlx::AnyPool) -> Self {
        let open = usize::try_from(pool.size()).unwrap_or(usize::MAX);
        Self { name, in_use: open.saturating_sub(pool.num_idle()), open, waiting: 0 }
    }
}

impl Db {
    /// Both pools.
    #[must_use]
    pub fn pools(&self) -> [Pool; 2] {
        let write = match &self.writers {
            Writers::Sqlite(writer) => Pool {
                name: "write",
                in_use: usize::from(writer.is_busy()),
                open: 1,
                waiting: writer.waiting(),
            },
            Writers::Postgres(pool) => Pool::of("write", pool),
        };
        [Pool::of("read", &self.readers), write]
    }

    /// How long callers waited for a connection, and how many waited in vain.
    #[must_use]
    pub fn waits(&self) -> (&Histogram, u64) {
        (&self.waits.0.0, self.waits.0.1.get())
    }

    /// How many bytes the database takes.
    ///
    /// # Errors
    /// [`Error`], as the database says.
    pub async fn bytes(&self) -> Result<i64, Error> {
        let text = match self.backend() {
            Backend::Sqlite => SQLITE_BYTES,
            Backend::Postgres => POSTGRES_BYTES,
        };
        self.number(text, "bytes").await
    }

    async fn number(&self, text: &'static str, column: &'static str) -> Result<i64, Error> {
        let rows = self.read().await?.rows(text, Vec::<Value>::new()).await?;
        rows.first().ok_or(Error::Rows { found: 0 })?.int(column)
    }
}
