//! One SQL text on two databases: SQLite on one machine, PostgreSQL when the shop outgrows it.
//!
//! Only `spine` (and `vault`, for its own key database) may use this crate; rooms see its types
//! through `spine`. Promises:
//! - **S1** a statement is a constant: SQL built at run time does not compile (but for `grant` and
//!   `copy`, which build their own of names that they have checked);
//! - **S2** a transaction is all or nothing, also when its future is dropped half-way;
//! - **S3** on SQLite there is one writer with a fair queue; writers that wait share one commit
//!   (group commit), each in its own savepoint, and none is told "done" before the disk is;
//! - **S4** readers cannot write: their connections refuse to, on both databases;
//! - **S5** an error tells apart what a caller can act on: a broken uniqueness, a database that is
//!   busy (try again), one that does not answer, and a fault of ours;
//! - **S6** no wait for a server is endless: a statement, a commit, a connection's turn and its sign
//!   of life have bounds, and a connection that went silent is not used again;
//! - **S7** whole tables are copied of one moment, with bounded memory, into an empty database or an
//!   archive, and read back: all of it or nothing;
//! - **S8** a program does not touch a database whose schema it does not fit, or that is held.
//!
//! What works on both databases, and so is all that a statement may use: `$n` placeholders,
//! `BYTEA`, `BIGINT`, `SMALLINT`, `TEXT`, `DOUBLE PRECISION`, `RETURNING`, `ON CONFLICT`, row
//! values, partial indexes, window functions. Not: booleans, JSON operators, `FOR UPDATE`, arrays.

pub mod copy;
mod db;
mod error;
mod grant;
mod lent;
mod migrate;
mod pools;
mod row;
mod statement;
mod transaction;
mod value;
mod writer;

pub use db::{Backend, Db, Options, Reader};
pub use error::Error;
pub use grant::{Grants, Need, Needs, Power, Role, needs, power};
pub use migrate::{Applied, Migration, Standing, held, hold, migrate, pending, release, standing};
pub use pools::Pool;
pub use row::{FromRow, Row};
pub use statement::{Fact, ReadOnly, Sql, Statement, StatementKind, Upkeep, repeat, repeat_len};
pub use transaction::Transaction;
pub use value::Value;
