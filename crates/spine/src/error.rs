//! What can go wrong on the spine.

use kernel::{Kind, Refusal};
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
    /// Whether the whole transaction may be tried again with hope.
    #[must_use]
    pub const fn is_busy(&self) -> bool {
        matches!(self, Self::Store(error) if error.is_busy())
    }
}

impl Refusal for Error {
    fn kind(&self) -> Kind {
        match self {
            Self::Store(store::Error::Unique) => Kind::Conflict,
            Self::Store(
                store::Error::Busy(_)
                | store::Error::Unavailable { .. }
                | store::Error::CommitFailed,
            )
            | Self::Seal(SealError::Unavailable)
            | Self::NotLeader => Kind::Unavailable,
            Self::NoSuchEvent | Self::Seal(SealError::Erased) => Kind::NotFound,
            Self::TooMuch { .. } => Kind::Invalid,
            Self::Store(
                store::Error::Broken(_)
                | store::Error::Column { .. }
                | store::Error::Rows { .. }
                | store::Error::Migration(_),
            )
            | Self::Seal(SealError::Unresolved | SealError::Forged)
            | Self::Tree(_)
            | Self::Body(_)
            | Self::Untold { .. }
            | Self::Undeclared { .. }
            | Self::Fork(_)
            | Self::Schema(_)
            | Self::File { .. } => Kind::Broken,
        }
    }

    fn code(&self) -> &'static str {
        match self.kind() {
            Kind::Conflict => "spine.conflict",
            Kind::Unavailable => "spine.unavailable",
            Kind::NotFound => "spine.not_found",
            Kind::Invalid => "spine.too_much",
            Kind::Broken | Kind::Unauthenticated | Kind::Forbidden | Kind::Limited { .. } => {
                "spine.broken"
            }
        }
    }

    fn detail(&self) -> String {
        match self {
            Self::Store(store::Error::Unique) => "It exists already.".to_owned(),
            Self::TooMuch { .. } | Self::NoSuchEvent => {
                let mut text = self.to_string();
                text.push('.');
                text
            }
            _ if self.kind() == Kind::Unavailable => {
                "The store does not answer; try again in a moment.".to_owned()
            }
            _ => "Something broke on our side.".to_owned(),
        }
    }
}
