//! How this room says no.

use kernel::{FieldProblem, Kind, Refusal, Refused};
use thiserror::Error as ThisError;

/// Why this room refuses, or fails.
#[derive(Debug, ThisError)]
pub enum Error {
    /// The configuration is wrong.
    #[error("configuration: {0}")]
    Config(String),
    /// A field of the request is wrong.
    #[error("{} is wrong", .0.field)]
    Invalid(FieldProblem),
    /// There is no such alert.
    #[error("no such alert")]
    NotFound,
    /// The alert is closed already.
    #[error("the alert is closed")]
    Closed,
    /// Automatic answers are stopped already, or not stopped.
    #[error("automatic answers are {0} already")]
    Already(&'static str),
    /// The database or the log fails.
    #[error("the spine fails")]
    Spine(#[from] spine::Error),
}

impl Error {
    pub(crate) fn field(field: &'static str, detail: impl Into<String>) -> Self {
        Self::Invalid(FieldProblem::new(field, detail))
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
            Self::Config(_) => Refused::new(Kind::Broken, "watch.config", self.to_string()),
            Self::Invalid(field) => {
                Refused::new(Kind::Invalid, "watch.invalid", "A field needs another value.")
                    .with_fields([field.clone()])
            }
            Self::NotFound => {
                Refused::new(Kind::NotFound, "watch.not_found", "There is no such alert.")
            }
            Self::Closed => {
                Refused::new(Kind::Conflict, "watch.closed", "This alert is closed already.")
            }
            Self::Already(what) => {
                let detail = format!("Automatic answers are {what} already.");
                Refused::new(Kind::Conflict, "watch.already", detail)
            }
            Self::Spine(error) => error.refused(),
        }
    }
}
