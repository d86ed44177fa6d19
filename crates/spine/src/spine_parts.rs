//! The spine itself: what every room is handed, to begin transactions and to read.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicI64;

use kernel::{Clock, Ctx, Entropy};
use store::{Db, FromRow, ReadOnly, Reader, Row, Sql, Value};
use tokio::sync::{Notify, watch};
use tokio_util::task::TaskTracker;

use crate::standing::Meters;
use crate::{CheckpointSigner, Error, Sealer, Table, Tx, Upkeep};

/// What a spine is made of.
pub struct Parts {
    /// The database of facts.
    pub db: Db,
    /// The clock.
    pub clock: Arc<dyn Clock>,
    /// The source of randomness.
    pub entropy: Arc<dyn Entropy>,
    /// The vault.
    pub sealer: Arc<dyn Sealer>,
    /// The key that signs checkpoints.
    pub signer: Arc<dyn CheckpointSigner>,
    /// Every room's tables.
    pub tables: Vec<Table>,
    /// Where this node keeps what it saw last, outside the database.
    pub node_dir: PathBuf,
    /// This node's name: unique among the nodes of an installation.
    pub node: String,
}

pub(crate) struct Inner {
    pub db: Db,
    pub clock: Arc<dyn Clock>,
    pub entropy: Arc<dyn Entropy>,
    pub sealer: Arc<dyn Sealer>,
    pub signer: Arc<dyn CheckpointSigner>,
    pub tables: BTreeMap<&'static str, Table>,
    pub node_dir: PathBuf,
    pub node: String,
    /// Rung when a transaction with events was committed.
    pub pending: Notify,
    /// Counts what this process committed that has events.
    pub committed: watch::Sender<u64>,
    /// The size of the log, as this process knows it.
    pub size: watch::Sender<u64>,
    pub tasks: TaskTracker,
    pub meters: Meters,
    /// Our clock ahead of the database server's, µs, as last compared.
    pub ahead_us: AtomicI64,
}

/// The spine. Cheap to clone.
#[derive(Clone)]
pub struct Spine(pub(crate) Arc<Inner>);

impl std::fmt::Debug for Spine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Spine").field("node", &self.0.node).finish_non_exhaustive()
    }
}

impl Spine {
    /// Puts the parts together. Touches nothing yet.
    #[must_use]
    pub fn new(parts: Parts) -> Self {
        let tables = parts.tables.into_iter().map(|table| (table.name, table)).collect();
        Self(Arc::new(Inner {
            db: parts.db,
            clock: parts.clock,
            entropy: parts.entropy,
            sealer: parts.sealer,
            signer: parts.signer,
            tables,
            node_dir: parts.node_dir,
            node: parts.node,
            pending: Notify::new(),
            committed: watch::Sender::new(0),
            size: watch::Sender::new(0),
            tasks: TaskTracker::new(),
            meters: Meters::default(),
            ahead_us: AtomicI64::new(0),
        }))
    }

    /// Begins a transaction that may change facts, and must tell what it changed.
    ///
    /// # Errors
    /// [`Error::Store`] where the database is busy or does not answer.
    pub async fn begin(&self, ctx: &Ctx) -> Result<Tx, Error> {
        Ok(Tx::new(self.clone(), self.0.db.begin().await?, ctx.clone()))
    }

    /// Begins a transaction that changes upkeep only.
    ///
    /// # Errors
    /// [`Error::Store`] where the database is busy or does not answer.
    pub async fn upkeep(&self) -> Result<Upkeep, Error> {
        Ok(Upkeep::new(self.0.db.begin().await?))
    }

    /// A connection to read with.
    ///
    /// # Errors
    /// [`Error::Store`] where the database does not answer.
    pub async fn read(&self) -> Result<Read, Error> {
        Ok(Read(self.0.db.read().await?))
    }

    /// Circumstances of something that the program itself does.
    #[must_use]
    pub fn system_ctx(&self, part: &'static str) -> Ctx {
        Ctx::new(kernel::Actor::System(part), self.0.clock.now(), Arc::clone(&self.0.entropy))
    }

    /// Tells the size of the log each time it grew.
    #[must_use]
    pub fn grown(&self) -> watch::Receiver<u64> {
        self.0.size.subscribe()
    }

    /// Changes each time this process committed events: a hint for the node that sequences them.
    #[must_use]
    pub fn committed(&self) -> watch::Receiver<u64> {
        self.0.committed.subscribe()
    }

    /// Looks at outbox and log now, because another node committed or sequenced. A hint that is
    /// lost costs a moment: both are looked at without one too.
    pub fn wake(&self) {
        self.0.pending.notify_one();
    }

    /// This node's name.
    #[must_use]
    pub fn node(&self) -> &str {
        &self.0.node
    }

    /// The clock.
    #[must_use]
    pub fn clock(&self) -> &Arc<dyn Clock> {
        &self.0.clock
    }

    /// The vault, as the spine sees it.
    #[must_use]
    pub fn sealer(&self) -> &Arc<dyn Sealer> {
        &self.0.sealer
    }

    /// The database, for `doctor` and migrations.
    #[must_use]
    pub fn db(&self) -> &Db {
        &self.0.db
    }

    /// Every declared table.
    pub fn tables(&self) -> impl Iterator<Item = &Table> {
        self.0.tables.values()
    }

    /// Waits until what was being committed is committed, then closes the database.
    pub async fn close(&self) {
        self.0.tasks.close();
        self.0.tasks.wait().await;
        self.0.db.close().await;
    }
}

/// A connection that reads.
#[derive(Debug)]
pub struct Read(Reader);

impl Read {
    /// Reads rows as `T`.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub async fn all<T: FromRow>(
        &mut self,
        sql: &Sql<ReadOnly>,
        args: Vec<Value>,
    ) -> Result<Vec<T>, Error> {
        Ok(self.0.all(sql.text(), args).await?)
    }

    /// Reads the rows themselves.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub async fn rows(&mut self, sql: &Sql<ReadOnly>, args: Vec<Value>) -> Result<Vec<Row>, Error> {
        Ok(self.0.rows(sql.text(), args).await?)
    }

    /// Reads the first row as `T`, or none.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub async fn maybe<T: FromRow>(
        &mut self,
        sql: &Sql<ReadOnly>,
        args: Vec<Value>,
    ) -> Result<Option<T>, Error> {
        Ok(self.all(sql, args).await?.into_iter().next())
    }

    /// Reads exactly one row as `T`.
    ///
    /// # Errors
    /// [`Error::Store`], also where there is none or more than one.
    pub async fn one<T: FromRow>(
        &mut self,
        sql: &Sql<ReadOnly>,
        args: Vec<Value>,
    ) -> Result<T, Error> {
        exactly_one(self.all(sql, args).await?)
    }
}

/// The only element.
pub(crate) fn exactly_one<T>(mut rows: Vec<T>) -> Result<T, Error> {
    let found = rows.len();
    match rows.pop() {
        Some(row) if found == 1 => Ok(row),
        _ => Err(store::Error::Rows { found }.into()),
    }
}
