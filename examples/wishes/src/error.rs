//! How this room says no. The words are safe to log: never the text of a wish.

use kernel::{FieldProblem, Kind, Refusal, Refused};

/// Why this room refuses, or fails.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The text of a wish is empty or too long.
    #[error("the text of the wish")]
    Text,
    /// No such wish, or none of this account.
    #[error("no such wish")]
    NotFound,
    /// A sealed text is no text.
    #[error("a sealed text is no text")]
    Broken,
    /// The vault fails.
    #[error("the vault fails")]
    Vault(#[from] vault::Error),
    /// The database or the log fails.
    #[error("the spine fails")]
    Spine(#[from] spine::Error),
}

impl From<spine::SealError> for Error {
    fn from(error: spine::SealError) -> Self {
        Self::Spine(error.into())
    }
}

impl From<spine::StoreError> for Error {
    fn from(error: spine::StoreError) -> Self {
        Self::Spine(error.into())
    }
}

impl Refusal for Error {
    fn refused(&self) -> Refused {
        match self {
            Self::Text => Refused::new(Kind::Invalid, "wishes.text", "Some fields are wrong.")
                .with_fields([FieldProblem::new("text", "1 to 200 bytes are wanted")]),
            Self::NotFound => {
                Refused::new(Kind::NotFound, "wishes.not_found", "There is no such wish.")
            }
            Self::Broken => Refused::new(Kind::Broken, "wishes.broken", self.to_string()),
            Self::Vault(error) => error.refused(),
            Self::Spine(error) => error.refused(),
        }
    }
}
