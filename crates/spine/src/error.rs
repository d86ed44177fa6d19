//! What can go wrong on the spine.

use kernel::{Kind, Refusal, Refused};
use thiserror::Error;

use crate::SealError;

/// A failure of the spine.
#[derive(Debug, Error)]
pub enum Error {
    /// The database.
    #[error(transparent)]
    Store(#[from] store::Error),
    /// The vault.
    #[error(transparent)]
    Seal(#[from] SealError),
    /// The tree.
    #[error(transparent)]
    Tree(#[from] merkle::Error),
    /// A body that is no JSON: a fault of ours.
    #[error("an event's body cannot be written or read")]
    Body(#[from] serde_json::Error),
    /// A transaction changed facts and told nothing.
    #[error("a transaction changed {table} and told nothing")]
    Untold {
        /// The table.
        table: &'static str,
    },
    /// A statement changed a table that is not declared as it says.
    #[error("{table} is not declared as a fact table")]
    Undeclared {
        /// The table.
        table: &'static str,
    },
    /// More than a transaction or an event may hold.
    #[error("{what} is over its limit of {limit}")]
    TooMuch {
        /// What.
        what: &'static str,
        /// The limit.
        limit: usize,
    },
    /// Another node leads the sequencer.
    #[error("another node leads the sequencer")]
    NotLeader,
    /// The log is not a continuation of what this node saw before.
    #[error("the log is not a continuation of what this node saw: {0}")]
    Fork(String),
    /// There is no such event.
    #[error("there is no such event")]
    NoSuchEvent,
    /// A room failed in a consumer.
    #[error("a room failed")]
    Room {
        /// What the room says.
        refused: Box<Refused>,
        /// Its error.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The schema and the declarations do not fit.
    #[error("{0}")]
    Schema(String),
    /// The node's own files cannot be written or read.
    #[error("{path} cannot be used")]
    File {
        /// The file.
        path: String,
        /// Why.
        #[source]
        source: std::io::Error,
    },
}

impl Error {
    /// The failure of a room inside a consumer, which is tried again.
    #[must_use]
    pub fn of_room(error: impl Refusal) -> Self {
        Self::Room { refused: Box::new(error.refused()), source: Box::new(error) }
    }

    /// Whether the whole transaction may be tried again with hope.
    #[must_use]
    pub const fn is_busy(&self) -> bool {
        matches!(self, Self::Store(error) if error.is_busy())
    }
}

impl Refusal for Error {
    fn refused(&self) -> Refused {
        let (kind, code) = match self {
            Self::Store(error) => return of_store(error),
            Self::Seal(error) => return error.refused(),
            Self::Room { refused, .. } => return refused.as_ref().clone(),
            Self::NotLeader => return unavailable(),
            Self::NoSuchEvent => (Kind::NotFound, "spine.not_found"),
            Self::TooMuch { .. } => (Kind::Invalid, "spine.too_much"),
            Self::Tree(_)
            | Self::Body(_)
            | Self::Untold { .. }
            | Self::Undeclared { .. }
            | Self::Fork(_)
            | Self::Schema(_)
            | Self::File { .. } => (Kind::Broken, "spine.broken"),
        };
        Refused::new(kind, code, format!("{self}."))
    }
}

fn of_store(error: &store::Error) -> Refused {
    match error {
        store::Error::Unique => {
            Refused::new(Kind::Conflict, "spine.conflict", "It exists already.")
        }
        store::Error::Busy(_) | store::Error::Unavailable { .. } | store::Error::CommitFailed => {
            unavailable()
        }
        store::Error::Broken(_)
        | store::Error::Column { .. }
        | store::Error::Rows { .. }
        | store::Error::Migration(_)
        | store::Error::Copy(_)
        | store::Error::File(_) => Refused::new(Kind::Broken, "spine.broken", error.to_string()),
    }
}

fn unavailable() -> Refused {
    let detail = "The store does not answer; try again in a moment.";
    Refused::new(Kind::Unavailable, "spine.unavailable", detail)
}

impl Refusal for SealError {
    fn refused(&self) -> Refused {
        let (kind, code) = match self {
            Self::Erased => (Kind::NotFound, "spine.erased"),
            Self::Unavailable => (Kind::Unavailable, "spine.unavailable"),
            Self::Unresolved | Self::Missing | Self::Forged => (Kind::Broken, "spine.broken"),
        };
        Refused::new(kind, code, format!("{self}."))
    }
}
