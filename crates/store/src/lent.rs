//! A connection lent by the pool, and the bounds of waiting on it (S6).
//!
//! A host that is gone without a word neither answers nor refuses: whoever waits for it without a
//! bound waits for ever, and the pool's own test of what comes back to it would do so, one
//! connection after the other. So a connection goes back in bounded time, or it is thrown away.

use std::time::Duration;

use sqlx::pool::PoolConnection;
use sqlx::{Any, AnyConnection, Connection as _, Executor as _};

use crate::Error;

/// How long a connection may take for a sign of life.
const SIGN_OF_LIFE: Duration = Duration::from_secs(1);

/// How long a statement may take. For ever on SQLite: what a disk was asked for cannot be called
/// back.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Answers(Option<Duration>);

impl Answers {
    pub(crate) const UNBOUNDED: Self = Self(None);

    pub(crate) const fn within_of(bound: Duration) -> Self {
        Self(Some(bound))
    }

    /// For a statement that goes through a whole table before it answers.
    pub(crate) fn of_whole_tables(self) -> Self {
        const LONG: Duration = Duration::from_secs(3_600);
        Self(self.0.map(|bound| bound.max(LONG)))
    }

    /// Waits for the database, but not longer than this.
    pub(crate) async fn within<T>(
        self,
        work: impl Future<Output = Result<T, Error>>,
    ) -> Result<T, Error> {
        let Some(bound) = self.0 else { return work.await };
        let answered = tokio::time::timeout(bound, work).await;
        answered.unwrap_or_else(|_| {
            Err(Error::Unavailable { why: "it took too long", source: timed_out() })
        })
    }
}

fn timed_out() -> sqlx::Error {
    sqlx::Error::Io(std::io::ErrorKind::TimedOut.into())
}

/// Whether a connection still answers; the pool throws away one that does not.
pub(crate) async fn lives(connection: &mut AnyConnection) -> Result<bool, sqlx::Error> {
    let sign = tokio::time::timeout(SIGN_OF_LIFE, connection.ping()).await;
    sign.unwrap_or_else(|_| Err(timed_out()))?;
    Ok(true)
}

/// A connection of the pool, perhaps in a transaction, which is undone where it is dropped.
#[derive(Debug)]
pub(crate) struct Lent {
    connection: Option<PoolConnection<Any>>,
    in_transaction: bool,
    answers: Answers,
}

impl Lent {
    pub(crate) const fn new(connection: PoolConnection<Any>, answers: Answers) -> Self {
        Self { connection: Some(connection), in_transaction: false, answers }
    }

    pub(crate) const fn answers(&self) -> Answers {
        self.answers
    }

    pub(crate) fn connection(&mut self) -> Result<&mut AnyConnection, Error> {
        // Taken only when this is dropped.
        self.connection.as_deref_mut().ok_or(Error::CommitFailed)
    }

    pub(crate) async fn begin(self) -> Result<Self, Error> {
        self.begin_with("BEGIN").await
    }

    pub(crate) async fn begin_with(mut self, statement: &'static str) -> Result<Self, Error> {
        self.in_transaction = true;
        self.steer(statement).await?;
        Ok(self)
    }

    pub(crate) async fn commit(mut self) -> Result<(), Error> {
        self.steer("COMMIT").await?;
        self.in_transaction = false;
        Ok(())
    }

    pub(crate) async fn rollback(mut self) -> Result<(), Error> {
        self.steer("ROLLBACK").await?;
        self.in_transaction = false;
        Ok(())
    }

    async fn steer(&mut self, statement: &'static str) -> Result<(), Error> {
        let answers = self.answers;
        let connection = self.connection()?;
        answers.within(async { Ok(connection.execute(statement).await.map(|_| ())?) }).await
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        let Some(mut connection) = self.connection.take() else { return };
        let in_transaction = self.in_transaction;
        // Until it has shown that it lives, it is to be closed.
        connection.close_on_drop();
        let back = async move {
            if !in_transaction || connection.execute("ROLLBACK").await.is_ok() {
                connection.return_to_pool().await;
            }
        };
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
        // Ends by itself: nothing to track.
        runtime.spawn(tokio::time::timeout(SIGN_OF_LIFE, back));
    }
}
