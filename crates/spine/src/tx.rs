//! The transaction that tells: facts change here only, and an event goes with them or nothing does.

use std::collections::BTreeSet;

use kernel::{Ctx, EventId, Limits};
use serde_json::{Map, Value as Json};
use store::{Fact, FromRow, ReadOnly, Row, Sql, Transaction, Value, args};

use crate::entry::{Entry, RowMark, body, frame, sha256};
use crate::event::{About, Draft, Event};
use crate::spine_parts::exactly_one;
use crate::{DataKind, Error, Place, Sealer, Spine, Subject, Table, TableKind};

/// The longest kind: with the marks of 512 rows an entry still fits a bundle's 16-bit length.
const KIND_BYTES: usize = 128;

/// The place that an event's sealed part stands in.
pub(crate) const fn body_place(id: [u8; 16]) -> Place<'static> {
    Place { table: "spine_leaf", column: "body", row: id }
}

/// A transaction that may change facts. Dropped without [`Tx::commit`], nothing of it remains.
pub struct Tx {
    spine: Spine,
    inner: Transaction,
    ctx: Ctx,
    touched: BTreeSet<(&'static str, [u8; 16])>,
    told: Vec<Told>,
    hooks: Vec<Box<dyn FnOnce() + Send>>,
    /// As long as the transaction, where the request is traced.
    _span: tracing::Span,
}

impl std::fmt::Debug for Tx {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tx")
            .field("touched", &self.touched.len())
            .field("told", &self.told.len())
            .finish_non_exhaustive()
    }
}

/// An event whose parts are sealed, before its entry is known.
struct Told {
    entry: Entry,
    subject: Subject,
    aggregate_id: [u8; 16],
    body: Vec<u8>,
}

/// What a commit did.
#[derive(Clone, Debug, Default)]
pub struct Committed {
    /// The events, in the order of their telling.
    pub events: Vec<EventId>,
}

impl Tx {
    pub(crate) fn new(spine: Spine, inner: Transaction, ctx: Ctx) -> Self {
        let (touched, told, hooks) = (BTreeSet::new(), Vec::new(), Vec::new());
        let span = tracing::info_span!(target: "stagedoor::trace", "transaction");
        Self { spine, inner, ctx, touched, told, hooks, _span: span }
    }

    /// The circumstances of this transaction.
    #[must_use]
    pub const fn ctx(&self) -> &Ctx {
        &self.ctx
    }

    /// Runs a fact statement and returns its rows; no row means that its guard refused.
    ///
    /// # Errors
    /// [`Error::Store`]; [`Error::Undeclared`] where the table is no declared fact table.
    pub async fn change(&mut self, sql: &Sql<Fact>, args: Vec<Value>) -> Result<Vec<Row>, Error> {
        let table = self.spine.0.tables.get(sql.table()).map(|table| (table.name, table.kind));
        let Some((table, TableKind::Fact)) = table else {
            return Err(Error::Undeclared { table: sql.table() });
        };
        let rows = self.inner.rows(sql.text(), args).await?;
        for row in &rows {
            self.touched.insert((table, row.id16("id")?));
        }
        Ok(rows)
    }

    /// Runs a fact statement that changes one row, or none where its guard refuses.
    ///
    /// # Errors
    /// As [`Tx::change`]; [`store::Error::Rows`] where it changed more than one.
    pub async fn change_one(
        &mut self,
        sql: &Sql<Fact>,
        args: Vec<Value>,
    ) -> Result<Option<Row>, Error> {
        let mut rows = self.change(sql, args).await?;
        match rows.len() {
            0 | 1 => Ok(rows.pop()),
            found => Err(store::Error::Rows { found }.into()),
        }
    }

    /// Runs an upkeep statement and returns how many rows it touched.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub async fn upkeep(
        &mut self,
        sql: &Sql<store::Upkeep>,
        args: Vec<Value>,
    ) -> Result<u64, Error> {
        Ok(self.inner.run(sql.text(), args).await?)
    }

    /// Runs an upkeep statement and returns its rows.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub async fn upkeep_rows(
        &mut self,
        sql: &Sql<store::Upkeep>,
        args: Vec<Value>,
    ) -> Result<Vec<Row>, Error> {
        Ok(self.inner.rows(sql.text(), args).await?)
    }

    /// Reads the rows themselves.
    pub(crate) async fn rows(
        &mut self,
        sql: &Sql<ReadOnly>,
        args: Vec<Value>,
    ) -> Result<Vec<Row>, Error> {
        Ok(self.inner.rows(sql.text(), args).await?)
    }

    /// Reads rows as `T`.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub async fn all<T: FromRow>(
        &mut self,
        sql: &Sql<ReadOnly>,
        args: Vec<Value>,
    ) -> Result<Vec<T>, Error> {
        Ok(self.inner.all(sql.text(), args).await?)
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

    /// Tells an event.
    ///
    /// # Errors
    /// [`Error::Seal`] where the subject's key was not resolved or was destroyed;
    /// [`Error::TooMuch`] over 512 events, 60,000 bytes of body or 128 bytes of kind.
    pub fn emit<E: Event>(&mut self, about: About, event: E) -> Result<EventId, Error> {
        let draft = Draft::of(about, &event)?;
        self.tell(draft)
    }

    /// Tells an event of the shop's own, whose kind is no constant of ours.
    ///
    /// # Errors
    /// As [`Tx::emit`].
    pub fn emit_foreign(
        &mut self,
        about: About,
        kind: String,
        plain: Map<String, Json>,
        sealed: Map<String, Json>,
    ) -> Result<EventId, Error> {
        self.tell(Draft { kind: kind.into(), about, plain, sealed })
    }

    fn tell(&mut self, mut draft: Draft) -> Result<EventId, Error> {
        if self.told.len() >= Limits::EVENTS_PER_TX {
            let limit = Limits::EVENTS_PER_TX;
            return Err(Error::TooMuch { what: "the number of events", limit });
        }
        if draft.kind.len() > KIND_BYTES {
            return Err(Error::TooMuch { what: "an event's kind in bytes", limit: KIND_BYTES });
        }
        draft.sign_off(self.ctx.actor.name(), &self.ctx.origin);
        let id = EventId::generate(self.ctx.now, self.ctx.entropy());
        let sealer = &self.spine.0.sealer;
        let plain = serde_json::to_vec(&draft.plain)?;
        let sealed = serde_json::to_vec(&draft.sealed)?;
        let place = body_place(*id.as_bytes());
        let sealed = sealer.seal(draft.about.subject, place, &sealed, self.ctx.entropy())?;
        if plain.len() + sealed.len() > Limits::EVENT_BODY_BYTES {
            let limit = Limits::EVENT_BODY_BYTES;
            return Err(Error::TooMuch { what: "an event's body in bytes", limit });
        }
        let about = draft.about;
        self.told.push(Told {
            entry: Entry {
                id: *id.as_bytes(),
                at: self.ctx.now.micros(),
                kind: draft.kind.into_owned(),
                actor_kind: self.ctx.actor.kind().to_owned(),
                subject: sealer.pseudonym(&about.subject.to_bytes()),
                aggregate: about.aggregate.to_owned(),
                aggregate_id: sealer.pseudonym(&about.aggregate_id),
                version: about.version,
                rows: Vec::new(),
                plain: sha256(&plain),
                sealed: sha256(&sealed),
            },
            subject: about.subject,
            aggregate_id: about.aggregate_id,
            body: body(&plain, &sealed),
        });
        Ok(id)
    }

    /// Calls `hook` once the transaction is committed, in the committing task: a client that hangs
    /// up does not cancel it. It must not block.
    pub fn after_commit(&mut self, hook: impl FnOnce() + Send + 'static) {
        self.hooks.push(Box::new(hook));
    }

    /// Makes it so: rows, events and cursors together. Goes on to its end also where the caller's
    /// future is dropped.
    ///
    /// # Errors
    /// [`Error::Untold`] where facts changed and nothing was told (a panic under debug
    /// assertions); [`Error::Store`]. Nothing of the transaction remains then.
    pub async fn commit(self) -> Result<Committed, Error> {
        let finish = self.spine.0.tasks.clone().spawn(self.finish());
        match finish.await {
            Ok(done) => done,
            Err(stopped) => match stopped.try_into_panic() {
                Ok(panic) => std::panic::resume_unwind(panic),
                Err(_) => Err(store::Error::CommitFailed.into()),
            },
        }
    }

    async fn finish(mut self) -> Result<Committed, Error> {
        if let (Some((table, _)), true) = (self.touched.first(), self.told.is_empty()) {
            let error = Error::Untold { table };
            debug_assert!(false, "{error}");
            return Err(error);
        }
        let marks = self.marks().await?;
        if let Some(first) = self.told.first_mut() {
            first.entry.rows = marks;
        }
        let events =
            self.told.iter().map(|told| EventId::from_bytes(told.entry.id)).collect::<Vec<_>>();
        let kinds: Vec<String> = self.told.iter().map(|told| told.entry.kind.clone()).collect();
        let told = std::mem::take(&mut self.told);
        write_outbox(&mut self.inner, self.spine.0.sealer.as_ref(), told).await?;
        self.inner.commit().await?;
        self.spine.0.meters.committed(&kinds);
        if !events.is_empty() {
            self.spine.0.pending.notify_one();
            self.spine.0.committed.send_modify(|count| *count = count.wrapping_add(1));
        }
        for hook in self.hooks {
            hook();
        }
        Ok(Committed { events })
    }

    /// The digests of all touched rows as they stand at the end of the transaction.
    async fn marks(&mut self) -> Result<Vec<RowMark>, Error> {
        if self.touched.len() > Limits::EVENTS_PER_TX {
            let limit = Limits::EVENTS_PER_TX;
            return Err(Error::TooMuch { what: "the number of changed rows", limit });
        }
        let mut marks = Vec::with_capacity(self.touched.len());
        for (name, id) in std::mem::take(&mut self.touched) {
            let Some(table) = self.spine.0.tables.get(name) else {
                return Err(Error::Undeclared { table: name });
            };
            let row = self.inner.rows(table.digest_sql, args![id]).await?.pop();
            let (version, digest) = match &row {
                // A deleted row never comes back: its ids are random.
                None => (i64::MAX, None),
                Some(row) => {
                    let (version, digest) = digest_row(table, row)?;
                    (version, Some(digest))
                }
            };
            let row = self.spine.0.sealer.pseudonym(&id);
            marks.push(RowMark { table: name.to_owned(), row, version, digest });
        }
        Ok(marks)
    }

    /// Undoes it now, rather than when dropped.
    ///
    /// # Errors
    /// [`Error::Store`]; nothing remains then either.
    pub async fn rollback(self) -> Result<(), Error> {
        Ok(self.inner.rollback().await?)
    }
}

/// A row's version and the digest of all its declared columns.
pub(crate) fn digest_row(table: &Table, row: &Row) -> Result<(i64, [u8; 32]), Error> {
    let mut bytes = Vec::with_capacity(512);
    let mut version = 0;
    frame(&mut bytes, table.name.as_bytes());
    for column in table.columns {
        let value = row.value(column.name)?;
        if column.added && value == Value::NoBytes {
            continue;
        }
        frame(&mut bytes, column.name.as_bytes());
        if let (DataKind::Version, Value::Int(number)) = (column.kind, &value) {
            version = *number;
        }
        let (tag, value) = match value {
            Value::NoInt | Value::NoText | Value::NoBytes => (0, Vec::new()),
            Value::Int(int) => (1, int.to_be_bytes().to_vec()),
            Value::Text(text) => (2, text.into_bytes()),
            Value::Bytes(value) => (3, value),
            Value::Real(real) => (4, real.to_be_bytes().to_vec()),
        };
        bytes.push(tag);
        frame(&mut bytes, &value);
    }
    Ok((version, sha256(&bytes)))
}

const OUTBOX: &str = "INSERT INTO spine_outbox (id, at, kind, actor_kind, subject, aggregate, \
     aggregate_id, version, entry, body, leaf, mac) VALUES ";
const OUTBOX_1: &str = store::multi_row!(OUTBOX, 12, 1, "");
const OUTBOX_8: &str = store::multi_row!(OUTBOX, 12, 8, "");
// Not more rows: SQLite finds the name of each value by walking all names before it.
const OUTBOX_32: &str = store::multi_row!(OUTBOX, 12, 32, "");

/// The statements of this file, for the test that prepares them all.
pub(crate) const STATEMENTS: &[store::Statement] = &[
    outbox_statement("OUTBOX_1", OUTBOX_1),
    outbox_statement("OUTBOX_8", OUTBOX_8),
    outbox_statement("OUTBOX_32", OUTBOX_32),
];

const fn outbox_statement(name: &'static str, text: &'static str) -> store::Statement {
    Sql::<store::Upkeep>::new(text, "spine_outbox").statement(name)
}

async fn write_outbox(
    inner: &mut Transaction,
    sealer: &dyn Sealer,
    told: Vec<Told>,
) -> Result<(), Error> {
    let mut told = told.into_iter();
    loop {
        let (rows, text) = match told.len() {
            0 => return Ok(()),
            1..8 => (1, OUTBOX_1),
            8..32 => (8, OUTBOX_8),
            _ => (32, OUTBOX_32),
        };
        let args = told.by_ref().take(rows).flat_map(|told| outbox_row(sealer, told)).collect();
        inner.run(text, args).await?;
    }
}

fn outbox_row(sealer: &dyn Sealer, told: Told) -> Vec<Value> {
    let entry = told.entry.to_bytes();
    let leaf = *merkle::leaf_hash(&entry).as_bytes();
    let mac = crate::leaf::mark(sealer, &leaf);
    args![
        told.entry.id,
        told.entry.at,
        told.entry.kind,
        told.entry.actor_kind,
        told.subject.to_bytes(),
        told.entry.aggregate,
        told.aggregate_id,
        told.entry.version,
        entry,
        told.body,
        leaf,
        mac
    ]
}

/// A transaction that changes upkeep only, and tells nothing.
#[derive(Debug)]
pub struct Upkeep(Transaction);

impl Upkeep {
    pub(crate) const fn new(inner: Transaction) -> Self {
        Self(inner)
    }

    /// Runs an upkeep statement and returns how many rows it touched.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub async fn run(&mut self, sql: &Sql<store::Upkeep>, args: Vec<Value>) -> Result<u64, Error> {
        Ok(self.0.run(sql.text(), args).await?)
    }

    /// Runs an upkeep statement and returns its rows.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub async fn rows(
        &mut self,
        sql: &Sql<store::Upkeep>,
        args: Vec<Value>,
    ) -> Result<Vec<Row>, Error> {
        Ok(self.0.rows(sql.text(), args).await?)
    }

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

    /// Makes it so.
    ///
    /// # Errors
    /// [`Error::Store`]; nothing of the transaction remains then.
    pub async fn commit(self) -> Result<(), Error> {
        Ok(self.0.commit().await?)
    }
}

/// Whether the whole transaction may be tried again with hope: somewhere in the chain of what
/// caused the failure, the database was busy.
#[doc(hidden)]
#[must_use]
pub fn is_busy(error: &(dyn std::error::Error + 'static)) -> bool {
    std::iter::successors(Some(error), |error| error.source()).any(|error| {
        error.downcast_ref::<Error>().is_some_and(Error::is_busy)
            || error.downcast_ref::<store::Error>().is_some_and(store::Error::is_busy)
    })
}

/// Waits before another try: a random part of 4 ms, doubled with each try.
#[doc(hidden)]
pub async fn back_off(ctx: &Ctx, tries: u32) {
    let [random] = ctx.random::<1>();
    let longest_us = 4_000_u64 << tries.min(6);
    let wait_us = longest_us * u64::from(random) / 256;
    tokio::time::sleep(std::time::Duration::from_micros(wait_us)).await;
}

/// Begins a transaction, runs a block on it, commits; all again, a bounded number of times, where
/// the database was busy. The block must have no effect outside the transaction, and ends in
/// `Ok::<_, Error>(value)`.
#[macro_export]
macro_rules! transact {
    ($spine:expr, $ctx:expr, $tx:ident => $body:block) => {{
        let mut tries = 0_u32;
        loop {
            let outcome = async {
                let mut $tx = $spine.begin($ctx).await?;
                let value = match $body {
                    Ok(value) => value,
                    Err(error) => return Err(error),
                };
                $tx.commit().await?;
                Ok(value)
            }
            .await;
            tries += 1;
            match outcome {
                Err(error)
                    if tries < $crate::private::TX_TRIES && $crate::private::is_busy(&error) =>
                {
                    $crate::private::back_off($ctx, tries).await;
                }
                outcome => break outcome,
            }
        }
    }};
}
