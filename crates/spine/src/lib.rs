//! The spine: every security-relevant fact is an event, written with the change that it tells of.
//!
//! **Way in.** [`Spine::begin`] gives a [`Tx`]; facts change through it only, and it must tell what
//! it changed. [`Spine::upkeep`] gives an [`Upkeep`] for cursors, leases and counters. Rooms read
//! through [`Spine::read`], follow the log as a [`Consumer`], and ask each other for answers by
//! [`ResponseRequested`].
//!
//! **Promises.**
//! - **P1** facts and the event that tells of them are committed together or not at all; a `Tx` that
//!   changed facts and told nothing is rolled back.
//! - **P2** every committed event gets exactly one leaf, in a log without gaps.
//! - **P3** at any time one sequencer writes; one that was replaced can write no more.
//! - **P4** a checkpoint is signed only over a tree that continues the last one that this node saw,
//!   which it remembers outside the database.
//! - **P5** the log proves which rows changed: a fact row that was altered past the spine, put back
//!   from an old backup, deleted or swapped is found by [`verify`](Verification).
//! - **P6** destroying a person's key makes the person's parts of the log unreadable; every hash and
//!   proof still holds.
//! - **P7** a consumer sees each event once, in the transaction of its own writes.
//! - **P8** of an erased person no row stays in a table that is declared `erase = delete`, and no
//!   row stays longer than its table's `delete_after` says.
//!
//! **Tables.** `spine_outbox`, `spine_leaf`, `spine_tile`, `spine_head`, `spine_checkpoint`,
//! `spine_cosignature`, `spine_published`, `spine_node`, `spine_cursor`.
//!
//! **Threats.** Someone with write access to the database who alters, deletes, swaps or replays
//! rows, or re-hashes the whole log; a crash at any write; two leaders; a client that hangs up.
//! *Not* covered: upkeep tables; events after the last checkpoint that left the house; the root
//! user of a host who owns every node and every witness.

extern crate self as spine;

mod consumer;
mod entry;
mod erasure;
mod error;
mod event;
mod events;
mod keys;
mod leaf;
mod log;
mod moment;
mod node;
mod nodes;
mod obey;
mod published;
mod reopen;
mod response;
mod retire;
mod room;
mod schema;
mod sealer;
mod sequencer;
mod spine_parts;
mod standing;
mod table;
mod tx;
mod verify;
mod word;

pub use consumer::{Consumer, run_consumer};
pub use entry::{Entry, RowMark};
pub use erasure::{ACCOUNT_ERASED, Erasure};
pub use error::Error;
pub use event::{About, Event, EventSpec, Opened, Recorded};
pub use events::{
    BodiesRetired, ForgedEventsFound, KeyChanged, LogReopened, RowsErased, RowsRetired, SubjectCut,
    UnreadableEventsPassed,
};
pub use log::{EventFilter, EventProof};
pub use moment::Moment;
pub use nodes::{NodeClaim, NodeEntry, Queues, SILENT_AFTER};
pub use obey::{Asked, Obedience, Obeys};
pub use reopen::{first_origin, log_origin};
pub use response::{ActionKind, Meets, ResponseRequested};
pub use room::{Room, Rooms};
pub use schema::{Newer, check_schema, check_schema_under};
pub use sealer::{BoxFuture, CheckpointSigner, Place, SealError, Sealer, Subject};
pub use sequencer::run_sequencer;
pub use spine_parts::{Parts, Read, Spine};
pub use standing::{Meters, Standing};
pub use store::copy;
pub use store::{
    Db, FromRow, Migration, Row, Sql, Statement, StatementKind, Value, args, multi_row, sql,
};
pub use store::{Error as StoreError, Fact, ReadOnly, Upkeep as UpkeepSort};
pub use table::{Column, DataKind, Erase, Table, TableKind};
pub use tx::{Committed, Tx, Upkeep};
pub use verify::{Fault, Verification};
pub use word::{Word, word_of};

/// What the spine itself brings: [`Rooms::new`] puts it before all others. An alert is obeyed by
/// being told.
pub const ROOM: Room = Room {
    name: "spine",
    number: 1,
    tables: schema::TABLES,
    events: &[
        ForgedEventsFound::SPEC,
        LogReopened::SPEC,
        BodiesRetired::SPEC,
        RowsErased::SPEC,
        RowsRetired::SPEC,
        SubjectCut::SPEC,
        KeyChanged::SPEC,
        UnreadableEventsPassed::SPEC,
        ResponseRequested::SPEC,
    ],
    migrations: schema::MIGRATIONS,
    statements: &[
        tx::STATEMENTS,
        sequencer::STATEMENTS,
        log::STATEMENTS,
        moment::STATEMENTS,
        consumer::STATEMENTS,
        node::STATEMENTS,
        nodes::STATEMENTS,
        published::STATEMENTS,
        reopen::STATEMENTS,
        retire::STATEMENTS,
        standing::STATEMENTS,
        verify::STATEMENTS,
    ],
    consumers: &[Erasure::NAME],
    obeys: &[ActionKind::Alert],
};

#[doc(hidden)]
pub mod private {
    //! What the macros need from their callers' crates.
    pub use crate::tx::{back_off, is_busy};
    pub use serde::{self, Deserialize, Serialize};
    /// Tries at a transaction.
    pub const TX_TRIES: u32 = kernel::Limits::TX_TRIES;
}
