//! How this room says no. The words are safe to log: never what somebody wishes for.

use kernel::{FieldProblem, Kind, Refusal};
use spine::{FromSpine, SealError};

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
    /// A key cannot be had, or a sealed value was altered.
    #[error("the vault refuses")]
    Seal(#[from] SealError),
    /// The vault fails in another way.
    #[error("the vault fails")]
    Vault(#[from] vault::Error),
    /// The database or the log fails.
    #[error("the spine fails")]
    Spine(#[from] spine::Error),
}

impl FromSpine for Error {
    fn spine(&self) -> Option<&spine::Error> {
        match self {
            Self::Spine(error) => Some(error),
            Self::Text | Self::NotFound | Self::Broken | Self::Seal(_) | Self::Vault(_) => None,
        }
    }
}

impl Refusal for Error {
    fn kind(&self) -> Kind {
        match self {
            Self::Text => Kind::Invalid,
            Self::NotFound | Self::Seal(SealError::Erased) => Kind::NotFound,
            Self::Seal(SealError::Unavailable) => Kind::Unavailable,
            Self::Seal(SealError::Unresolved | SealError::Forged) | Self::Broken => Kind::Broken,
            Self::Vault(error) => error.kind(),
            Self::Spine(error) => error.kind(),
        }
    }

    fn code(&self) -> &'static str {
        match self {
            Self::Text => "wish.text",
            Self::NotFound => "wish.not_found",
            Self::Broken => "wish.broken",
            Self::Seal(_) => "wish.sealed",
            Self::Vault(error) => error.code(),
            Self::Spine(error) => error.code(),
        }
    }

    fn detail(&self) -> String {
        match self {
            Self::Text => "Some fields are wrong.".to_owned(),
            Self::NotFound => "There is no such wish.".to_owned(),
            Self::Broken | Self::Seal(_) => "The wish cannot be read.".to_owned(),
            Self::Vault(error) => error.detail(),
            Self::Spine(error) => error.detail(),
        }
    }

    fn fields(&self) -> Vec<FieldProblem> {
        match self {
            Self::Text => {
                vec![FieldProblem { field: "text", detail: "1 to 200 bytes are wanted".to_owned() }]
            }
            Self::NotFound | Self::Broken | Self::Seal(_) | Self::Vault(_) | Self::Spine(_) => {
                Vec::new()
            }
        }
    }
}
