//! SQLite's one writer (S3): a fair queue, a savepoint for each member, one commit for those who
//! waited together.
//!
//! The first member opens the outer transaction. A member that commits while others wait leaves
//! the outer transaction open and queues a closer behind them; the closer (or the last member,
//! when nobody waits) commits for all. The queue is first come, first served, so a group is what
//! waited while its first member worked, and nobody waits longer than that.
//!
//! Statements that steer the transaction run in tasks of their own: a caller that goes away cannot
//! cut them in two. Where one fails, nothing is assumed: all is rolled back, and all are told.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use sqlx::AnyConnection;
use sqlx::{Connection as _, Executor as _};
use tokio::sync::{Mutex, OwnedMutexGuard, oneshot};

use crate::Error;

/// The writer's queue.
#[derive(Debug)]
pub(crate) struct Writer {
    seat: Arc<Mutex<Seat>>,
    waiting: Arc<AtomicUsize>,
    patience: Duration,
}

/// How far the connection is within a transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// In none.
    Idle,
    /// In the outer one, which holds the work of the group's members.
    Open,
    /// In a member's savepoint within it.
    Seated,
    /// The program is stopping: in none, and none begins.
    Closed,
}

/// The one writing connection and the group that is open on it.
#[derive(Debug)]
pub(crate) struct Seat {
    connection: AnyConnection,
    phase: Phase,
    /// Members whose work is done and waits for the commit of the outer transaction.
    group: Vec<oneshot::Sender<bool>>,
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
    /// A queue before the connection; who waits in it longer than `patience` is told.
    pub(crate) fn new(connection: AnyConnection, patience: Duration) -> Self {
        let seat = Seat { connection, phase: Phase::Idle, group: Vec::new() };
        Self { seat: Arc::new(Mutex::new(seat)), waiting: Arc::default(), patience }
    }

    /// How many wait for their turn.
    pub(crate) fn waiting(&self) -> usize {
        self.waiting.load(Ordering::Relaxed)
    }

    /// Whether somebody sits on the connection.
    pub(crate) fn is_busy(&self) -> bool {
        self.seat.try_lock().is_err()
    }

    pub(crate) async fn begin(&self) -> Result<Member, Error> {
        let waiting = Waiting::join(&self.waiting);
        let turn = Arc::clone(&self.seat).lock_owned();
        let seat = tokio::time::timeout(self.patience, turn).await;
        let seat = seat.map_err(|_| sqlx::Error::PoolTimedOut)?;
        drop(waiting);
        let (writer, waiting) = (Arc::clone(&self.seat), Arc::clone(&self.waiting));
        let mut member = Member { seat: Some(seat), writer, waiting };
        uncut(async move {
            member.seat()?.sit_down().await?;
            Ok(member)
        })
        .await
    }

    pub(crate) async fn close(&self) {
        let seat = Arc::clone(&self.seat).lock_owned().await;
        let closed = uncut(async move {
            let mut seat = seat;
            seat.settle().await;
            // Its members hear how it went.
            let _ = seat.commit_group().await;
            seat.phase = Phase::Closed;
            // The last writer's close also folds the write-ahead log into the database file.
            seat.connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").await?;
            Ok(())
        });
        if let Err(error) = closed.await {
            tracing::debug!(%error, "the write-ahead log was not folded in");
        }
    }
}

impl Seat {
    /// Into a savepoint of its own, within the outer transaction, which is begun where none is.
    async fn sit_down(&mut self) -> Result<(), Error> {
        self.settle().await;
        let statements: &[&'static str] = match self.phase {
            Phase::Closed => return Err(sqlx::Error::PoolClosed.into()),
            Phase::Idle => &["BEGIN IMMEDIATE", "SAVEPOINT member"],
            Phase::Open | Phase::Seated => &["SAVEPOINT member"],
        };
        for statement in statements {
            if let Err(error) = self.connection.execute(*statement).await {
                self.give_up().await;
                return Err(error.into());
            }
        }
        self.phase = Phase::Seated;
        Ok(())
    }

    /// Undoes what a member left behind when it was dropped (S2).
    async fn settle(&mut self) {
        if self.phase != Phase::Seated {
            return;
        }
        for statement in ["ROLLBACK TO member", "RELEASE member"] {
            if let Err(error) = self.connection.execute(statement).await {
                // SQLite rolls the whole transaction back by itself where a disk is full or fails.
                tracing::error!(%error, "a group of transactions is lost; its members are told");
                return self.give_up().await;
            }
        }
        self.phase = Phase::Open;
        if self.group.is_empty() {
            self.give_up().await;
        }
    }

    /// Leaves the outer transaction without committing it: nothing in it stands.
    async fn give_up(&mut self) {
        self.phase = Phase::Idle;
        if let Err(error) = self.connection.execute("ROLLBACK").await {
            tracing::debug!(%error, "there was nothing left to roll back");
        }
        self.tell(false);
    }

    async fn commit_group(&mut self) -> Result<(), Error> {
        if self.phase != Phase::Open {
            return Ok(());
        }
        if let Err(error) = self.connection.execute("COMMIT").await {
            tracing::error!(%error, "a commit failed; all of its members are told");
            self.give_up().await;
            return Err(error.into());
        }
        self.phase = Phase::Idle;
        self.tell(true);
        Ok(())
    }

    fn tell(&mut self, committed: bool) {
        for member in self.group.drain(..) {
            // A member whose caller went away needs no answer.
            let _ = member.send(committed);
        }
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
    fn seat(&mut self) -> Result<&mut Seat, Error> {
        self.seat.as_deref_mut().ok_or(Error::CommitFailed)
    }

    pub(crate) fn connection(&mut self) -> Result<&mut AnyConnection, Error> {
        Ok(&mut self.seat()?.connection)
    }

    pub(crate) async fn commit(self) -> Result<(), Error> {
        uncut(self.finish()).await
    }

    async fn finish(mut self) -> Result<(), Error> {
        let nobody_waits = self.waiting.load(Ordering::SeqCst) == 0;
        let seat = self.seat()?;
        if let Err(error) = seat.connection.execute("RELEASE member").await {
            seat.give_up().await;
            return Err(error.into());
        }
        seat.phase = Phase::Open;
        if nobody_waits {
            return seat.commit_group().await;
        }
        let (told, tells) = oneshot::channel();
        seat.group.push(told);
        if seat.group.len() == 1 {
            queue_closer(&self.writer);
        }
        self.seat = None;
        match tells.await {
            Ok(true) => Ok(()),
            Ok(false) | Err(_) => Err(Error::CommitFailed),
        }
    }

    pub(crate) async fn rollback(mut self) -> Result<(), Error> {
        uncut(async move {
            self.seat()?.settle().await;
            Ok(())
        })
        .await
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        let Some(seat) = self.seat.take() else { return };
        // Whoever comes next undoes what was begun; a closer makes sure that somebody does come.
        if seat.phase == Phase::Seated {
            drop(seat);
            queue_closer(&self.writer);
        }
    }
}

/// Commits for the group when its turn comes.
fn queue_closer(writer: &Arc<Mutex<Seat>>) {
    let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
    let writer = Arc::clone(writer);
    runtime.spawn(async move {
        let mut seat = writer.lock_owned().await;
        seat.settle().await;
        // Its members hear how it went, and the log of the program.
        let _ = seat.commit_group().await;
    });
}

/// Runs to the end also where the caller goes away half-way.
async fn uncut<T: Send + 'static>(
    work: impl Future<Output = Result<T, Error>> + Send + 'static,
) -> Result<T, Error> {
    let Ok(runtime) = tokio::runtime::Handle::try_current() else { return work.await };
    // Ends by itself after a few statements: nothing to track.
    match runtime.spawn(work).await {
        Ok(done) => done,
        Err(_) => Err(Error::CommitFailed),
    }
}

/// Opens the writing connection.
pub(crate) async fn connect(url: &str) -> Result<AnyConnection, Error> {
    let mut connection = AnyConnection::connect(url).await?;
    connection.execute(crate::db::SQLITE_PRAGMAS).await?;
    Ok(connection)
}
