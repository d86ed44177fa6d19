//! How this room says no. Each refusal has a kind, a stable code and words that are safe to log:
//! what the shop sent is never repeated, but for names that the configuration gave.

use std::borrow::Cow;

use kernel::{FieldProblem, Kind, Refusal, Refused};
use spine::SealError;
use thiserror::Error as ThisError;

/// One key of the configuration file that is wrong.
#[derive(Clone, Debug, PartialEq, Eq, ThisError)]
#[error("{key}: {detail}")]
pub struct ConfigProblem {
    /// The key as the file has it: `[[route]] "checkout": upstream`.
    pub key: String,
    /// What is wrong and how to mend it.
    pub detail: String,
}

/// Why this room refuses, or fails.
#[derive(Debug, ThisError)]
pub enum Error {
    /// Fields of the request are wrong.
    #[error("fields that are wrong: {}", .0.len())]
    Fields(Vec<FieldProblem>),
    /// Keys of the configuration are wrong.
    #[error("{} keys of the configuration are wrong", .0.len())]
    Config(Vec<ConfigProblem>),
    /// The network must never be blocked.
    #[error("the network overlaps {0}, which is never blocked")]
    Protected(&'static str),
    /// The operator would be locked out.
    #[error("the network holds the address that asks")]
    OwnAddress,
    /// No such block, service or revision, or it has ended already.
    #[error("not found")]
    NotFound,
    /// A fact's id was used before for another fact.
    #[error("{} facts reuse an id", .0.len())]
    FactConflict(Vec<FieldProblem>),
    /// Another configuration was applied since the plan was made.
    #[error("revision {in_force} is in force")]
    ConfigChanged {
        /// The revision in force.
        in_force: i64,
    },
    /// There are as many live services as there may be.
    #[error("at most {0} services may have a live key")]
    TooManyServices(i64),
    /// Others changed the same things again and again.
    #[error("others changed the same things at the same time")]
    Raced,
    /// The vault fails.
    #[error("the vault fails")]
    Vault(#[from] vault::Error),
    /// The database or the log fails.
    #[error("the spine fails")]
    Spine(#[from] spine::Error),
    /// Our own fault.
    #[error("{0}")]
    Broken(&'static str),
}

impl Error {
    /// One wrong field.
    pub(crate) fn field(field: impl Into<Cow<'static, str>>, detail: impl Into<String>) -> Self {
        Self::Fields(vec![FieldProblem::new(field, detail)])
    }
}

impl From<SealError> for Error {
    fn from(error: SealError) -> Self {
        Self::Spine(error.into())
    }
}

impl Refusal for Error {
    fn refused(&self) -> Refused {
        use Kind::{Conflict, Invalid, NotFound, Unavailable};
        match self {
            Self::Fields(fields) => {
                let detail = "Some fields need another value. Nothing was done.";
                Refused::new(Invalid, "access.invalid", detail).with_fields(fields.iter().cloned())
            }
            Self::Config(problems) => {
                let lines: Vec<String> = problems.iter().map(ToString::to_string).collect();
                let detail = format!("The configuration is refused:\n{}", lines.join("\n"));
                let field =
                    |wrong: &ConfigProblem| FieldProblem::new(wrong.key.clone(), &*wrong.detail);
                Refused::new(Invalid, "access.config_refused", detail)
                    .with_fields(problems.iter().map(field))
            }
            Self::Protected(what) => Refused::new(
                Invalid,
                "access.protected",
                format!(
                    "This network overlaps {what}, which is never blocked. Block a smaller network."
                ),
            ),
            Self::OwnAddress => Refused::new(
                Invalid,
                "access.own_address",
                "This network holds your own address: you would lock yourself out.",
            ),
            Self::NotFound => Refused::new(
                NotFound,
                "access.not_found",
                "There is no such thing here, or it has ended.",
            ),
            Self::FactConflict(fields) => Refused::new(
                Conflict,
                "access.fact_conflict",
                "An id was used before for a fact with other contents. Nothing was taken. Give \
                 each fact an id of its own.",
            )
            .with_fields(fields.iter().cloned()),
            Self::ConfigChanged { in_force } => Refused::new(
                Conflict,
                "access.config_changed",
                format!("Revision {in_force} is in force since this plan was made. Plan again."),
            ),
            Self::TooManyServices(most) => Refused::new(
                Conflict,
                "access.too_many_services",
                format!("At most {most} services may have a live key. Revoke one first."),
            ),
            Self::Raced => Refused::new(
                Unavailable,
                "access.raced",
                "Others changed the same things at the same time. Try again in a moment.",
            ),
            Self::Broken(what) => Refused::new(Kind::Broken, "access.broken", *what),
            Self::Vault(error) => error.refused(),
            Self::Spine(error) => error.refused(),
        }
    }
}
