//! How this room says no.

use kernel::{FieldProblem, Kind, Refusal};
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
        Self::Invalid(FieldProblem { field, detail: detail.into() })
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
    fn kind(&self) -> Kind {
        match self {
            Self::Config(_) => Kind::Broken,
            Self::Invalid(_) => Kind::Invalid,
            Self::NotFound => Kind::NotFound,
            Self::Closed | Self::Already(_) => Kind::Conflict,
            Self::Spine(error) => error.kind(),
        }
    }

    fn code(&self) -> &'static str {
        match self {
            Self::Config(_) => "watch.config",
            Self::Invalid(_) => "watch.invalid",
            Self::NotFound => "watch.not_found",
            Self::Closed => "watch.closed",
            Self::Already(_) => "watch.already",
            Self::Spine(error) => error.code(),
        }
    }

    fn detail(&self) -> String {
        match self {
            Self::Config(what) => format!("The configuration is refused: {what}."),
            Self::Invalid(_) => "A field needs another value.".to_owned(),
            Self::NotFound => "There is no such alert.".to_owned(),
            Self::Closed => "This alert is closed already.".to_owned(),
            Self::Already(what) => format!("Automatic answers are {what} already."),
            Self::Spine(error) => error.detail(),
        }
    }

    fn fields(&self) -> Vec<FieldProblem> {
        match self {
            Self::Invalid(problem) => vec![problem.clone()],
            Self::Config(_) | Self::NotFound | Self::Closed | Self::Already(_) | Self::Spine(_) => {
                Vec::new()
            }
        }
    }
}

impl spine::FromSpine for Error {
    fn spine(&self) -> Option<&spine::Error> {
        match self {
            Self::Spine(error) => Some(error),
            Self::Config(_)
            | Self::Invalid(_)
            | Self::NotFound
            | Self::Closed
            | Self::Already(_) => None,
        }
    }
}
