//! SQLite's one writer (S3): a fair queue, a savepoint for each member, one commit for those who
//! waited together.
//!
//! The first member opens the outer transaction. A member that commits while others wait leaves
//! the outer transaction open and queues a closer behind them; the closer (or the last member,
//! when nobody waits) commits for all. The queue is first come, first served, so a group is what
//! waited while its first member worked, and nobody waits longer than that.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use sqlx::AnyConnection;
use sqlx::{Connection as _, Executor as _};
use tokio::sync::{Mutex, OwnedMutexGuard, oneshot};

use crate::Error;

/// The writer's queue.
#[derive(Debug)]
pub(crate) struct Writer {
    seat: Arc<Mutex<Seat>>,
    waiting: Arc<AtomicUsize>,
}

/// The one writing connection and the group that is open on it.
#[derive(Debug)]
pub(crate) struct Seat {
    pub(crate) connection: AnyConnection,
    /// Members of the open outer transaction that wait for its commit; none: no transaction open.
    group: Option<Vec<oneshot::Sender<bool>>>,
    /// The last holder went away in the middle of its savepoint.
    abandoned: bool,
}

/// A place in the queue, given back when dropped also while waiting.
struct Waiting(Arc<AtomicUsize>);

impl Waiting {
    fn join(count: &Arc<AtomicUsize>) -> Self {
        count.fetch_add(1, Ordering::SeqCst);
        Self(Arc::clone(count))
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Writer {
    pub(crate) fn new(connection: AnyConnection) -> Self {
        let seat = Seat { connection, group: None, abandoned: false };
        Self { seat: Arc::new(Mutex::new(seat)), waiting: Arc::default() }
    }

    pub(crate) async fn begin(&self) -> Result<Member, Error> {
        let waiting = Waiting::join(&self.waiting);
        let mut seat = Arc::clone(&self.seat).lock_owned().await;
        drop(waiting);
        seat.clean().await?;
        if seat.group.is_none() {
            seat.connection.execute("BEGIN IMMEDIATE").await?;
            seat.group = Some(Vec::new());
        }
        seat.abandoned = true;
        seat.connection.execute("SAVEPOINT member").await?;
        Ok(Member {
            seat: Some(seat),
            writer: Arc::clone(&self.seat),
            waiting: Arc::clone(&self.waiting),
        })
    }

    pub(crate) async fn close(&self) {
        let mut seat = Arc::clone(&self.seat).lock_owned().await;
        if seat.clean().await.is_ok() {
            seat.commit_group().await;
        }
        // The last writer's close also folds the write-ahead log into the database file.
        if let Err(error) = seat.connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").await {
            tracing::debug!(%error, "the write-ahead log was not folded in");
        }
    }
}

impl Seat {
    /// Undoes what a holder left behind when its future was dropped (S2).
    async fn clean(&mut self) -> Result<(), Error> {
        if !std::mem::take(&mut self.abandoned) {
            return Ok(());
        }
        // The savepoint may not have been reached: then there is nothing to undo.
        let undone = self.connection.execute("ROLLBACK TO member").await.is_ok();
        if undone {
            self.connection.execute("RELEASE member").await?;
        }
        if self.group.as_ref().is_some_and(Vec::is_empty) {
            self.group = None;
            self.connection.execute("ROLLBACK").await?;
        }
        Ok(())
    }

    async fn commit_group(&mut self) -> bool {
        let Some(members) = self.group.take() else { return true };
        let committed = match self.connection.execute("COMMIT").await {
            Ok(_) => true,
            Err(error) => {
                tracing::error!(%error, "a commit failed; all of its members are told");
                if let Err(error) = self.connection.execute("ROLLBACK").await {
                    tracing::error!(%error, "and could not be rolled back");
                }
                false
            }
        };
        for member in members {
            // A member whose caller went away needs no answer.
            let _ = member.send(committed);
        }
        committed
    }
}

/// One writer's turn.
#[derive(Debug)]
pub(crate) struct Member {
    seat: Option<OwnedMutexGuard<Seat>>,
    writer: Arc<Mutex<Seat>>,
    waiting: Arc<AtomicUsize>,
}

impl Member {
    pub(crate) fn connection(&mut self) -> Result<&mut AnyConnection, Error> {
        self.seat.as_mut().map(|seat| &mut seat.connection).ok_or(Error::CommitFailed)
    }

    pub(crate) async fn commit(mut self) -> Result<(), Error> {
        let Some(mut seat) = self.seat.take() else { return Err(Error::CommitFailed) };
        seat.connection.execute("RELEASE member").await?;
        seat.abandoned = false;
        if self.waiting.load(Ordering::SeqCst) == 0 {
            return if seat.commit_group().await { Ok(()) } else { Err(Error::CommitFailed) };
        }
        let (told, tells) = oneshot::channel();
        let group = seat.group.get_or_insert_default();
        let first = group.is_empty();
        group.push(told);
        if first {
            queue_closer(&self.writer);
        }
        drop(seat);
        match tells.await {
            Ok(true) => Ok(()),
            Ok(false) | Err(_) => Err(Error::CommitFailed),
        }
    }

    pub(crate) async fn rollback(mut self) -> Result<(), Error> {
        match self.seat.take() {
            Some(mut seat) => seat.clean().await,
            None => Ok(()),
        }
    }
}

/// Commits for the group when its turn comes.
fn queue_closer(writer: &Arc<Mutex<Seat>>) {
    let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
    let writer = Arc::clone(writer);
    #[expect(clippy::disallowed_methods, reason = "ends by itself after one turn in the queue")]
    runtime.spawn(async move {
        let mut seat = writer.lock_owned().await;
        match seat.clean().await {
            Ok(()) => {
                seat.commit_group().await;
            }
            Err(error) => tracing::error!(%error, "the writer could not be cleaned"),
        }
    });
}

impl Drop for Member {
    fn drop(&mut self) {
        // Still seated: dropped in the middle. `abandoned` is set; whoever comes next cleans up,
        // and a closer makes sure that somebody does come.
        if self.seat.take().is_some() {
            queue_closer(&self.writer);
        }
    }
}

/// Opens the writing connection.
pub(crate) async fn connect(url: &str) -> Result<AnyConnection, Error> {
    let mut connection = AnyConnection::connect(url).await?;
    connection.execute(crate::db::SQLITE_PRAGMAS).await?;
    Ok(connection)
}
