//! How this room says no.

use kernel::{Kind, Refusal, Refused};
use thiserror::Error as ThisError;

/// Why this room refuses, or fails.
#[derive(Debug, ThisError)]
pub enum Error {
    /// The configuration is wrong.
    #[error("{key}: {detail}")]
    Config {
        /// The key of the file.
        key: String,
        /// What is wrong, and how to mend it.
        detail: String,
    },
    /// No sink has this name.
    #[error("no [[siem]] has the name `{0}`")]
    NoSuchSink(String),
    /// The log is not so long.
    #[error("the log has {size} leaves, so there is no leaf {leaf}")]
    NoSuchLeaf {
        /// The wanted leaf.
        leaf: i64,
        /// How long the log is.
        size: i64,
    },
    /// The other side does not answer as it should.
    #[error("{0}")]
    Away(String),
    /// A file cannot be written.
    #[error("{path} cannot be written")]
    File {
        /// The file.
        path: String,
        /// Why.
        source: std::io::Error,
    },
    /// The database or the log fails.
    #[error("the spine fails")]
    Spine(#[from] spine::Error),
}

impl Error {
    pub(crate) fn config(key: impl Into<String>, detail: impl Into<String>) -> Self {
        Self::Config { key: key.into(), detail: detail.into() }
    }

    pub(crate) fn away(why: impl std::fmt::Display) -> Self {
        Self::Away(why.to_string())
    }
}

impl From<spine::StoreError> for Error {
    fn from(error: spine::StoreError) -> Self {
        Self::Spine(error.into())
    }
}

impl From<spine::SealError> for Error {
    fn from(error: spine::SealError) -> Self {
        Self::Spine(error.into())
    }
}

impl Refusal for Error {
    fn refused(&self) -> Refused {
        match self {
            Self::Config { .. } => Refused::new(Kind::Broken, "observe.config", self.to_string()),
            Self::NoSuchSink(_) => {
                Refused::new(Kind::NotFound, "observe.no_such_sink", self.to_string())
            }
            Self::NoSuchLeaf { .. } => {
                Refused::new(Kind::NotFound, "observe.no_such_leaf", self.to_string())
            }
            Self::Away(_) => {
                Refused::new(Kind::Unavailable, "observe.away", "The other side does not answer.")
            }
            Self::File { .. } => {
                Refused::new(Kind::Unavailable, "observe.file", "A file cannot be written.")
            }
            Self::Spine(error) => error.refused(),
        }
    }
}
