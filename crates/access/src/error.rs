//! How this room says no. Each refusal has a kind, a stable code and words that are safe to log:
//! what the shop sent is never repeated, but for names that the configuration gave.

use kernel::{Kind, Refusal};
use spine::SealError;
use thiserror::Error as ThisError;
use web::{FieldError, Problem};

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
    #[error("{} fields are wrong", .0.len())]
    Fields(Vec<FieldError>),
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
    FactConflict(Vec<FieldError>),
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
    pub(crate) fn field(field: impl Into<String>, detail: impl Into<String>) -> Self {
        Self::Fields(vec![FieldError { field: field.into(), detail: detail.into() }])
    }

    /// The refusal as HTTP tells it, with the fields by their paths.
    #[must_use]
    pub fn into_problem(self) -> Problem {
        let errors = match &self {
            Self::Fields(errors) | Self::FactConflict(errors) => errors.clone(),
            Self::Config(problems) => problems
                .iter()
                .map(|problem| FieldError {
                    field: problem.key.clone(),
                    detail: problem.detail.clone(),
                })
                .collect(),
            Self::Protected(_)
            | Self::OwnAddress
            | Self::NotFound
            | Self::ConfigChanged { .. }
            | Self::TooManyServices(_)
            | Self::Raced
            | Self::Vault(_)
            | Self::Spine(_)
            | Self::Broken(_) => Vec::new(),
        };
        Problem::from(self).with_errors(errors)
    }

    /// The failure inside a consumer, which tries again.
    pub(crate) fn into_spine(self) -> spine::Error {
        match self {
            Self::Spine(error) => error,
            Self::Vault(error) => SealError::from(error).into(),
            Self::Fields(_)
            | Self::Config(_)
            | Self::Protected(_)
            | Self::OwnAddress
            | Self::NotFound
            | Self::FactConflict(_)
            | Self::ConfigChanged { .. }
            | Self::TooManyServices(_)
            | Self::Raced
            | Self::Broken(_) => spine::Error::NotLeader,
        }
    }
}

impl From<SealError> for Error {
    fn from(error: SealError) -> Self {
        Self::Spine(error.into())
    }
}

impl Refusal for Error {
    fn kind(&self) -> Kind {
        match self {
            Self::Fields(_) | Self::Config(_) | Self::Protected(_) | Self::OwnAddress => {
                Kind::Invalid
            }
            Self::NotFound => Kind::NotFound,
            Self::FactConflict(_) | Self::ConfigChanged { .. } | Self::TooManyServices(_) => {
                Kind::Conflict
            }
            Self::Raced => Kind::Unavailable,
            Self::Vault(error) => error.kind(),
            Self::Spine(error) => error.kind(),
            Self::Broken(_) => Kind::Broken,
        }
    }

    fn code(&self) -> &'static str {
        match self {
            Self::Fields(_) => "access.invalid",
            Self::Config(_) => "access.config_refused",
            Self::Protected(_) => "access.protected",
            Self::OwnAddress => "access.own_address",
            Self::NotFound => "access.not_found",
            Self::FactConflict(_) => "access.fact_conflict",
            Self::ConfigChanged { .. } => "access.config_changed",
            Self::TooManyServices(_) => "access.too_many_services",
            Self::Raced => "access.raced",
            Self::Vault(error) => error.code(),
            Self::Spine(error) => error.code(),
            Self::Broken(_) => "access.broken",
        }
    }

    fn detail(&self) -> String {
        match self {
            Self::Fields(_) => "Some fields need another value. Nothing was done.".to_owned(),
            Self::Config(problems) => {
                let lines: Vec<String> = problems.iter().map(ToString::to_string).collect();
                format!("The configuration is refused:\n{}", lines.join("\n"))
            }
            Self::Protected(what) => format!(
                "This network overlaps {what}, which is never blocked. Block a smaller network."
            ),
            Self::OwnAddress => {
                "This network holds your own address: you would lock yourself out.".to_owned()
            }
            Self::NotFound => "There is no such thing here, or it has ended.".to_owned(),
            Self::FactConflict(_) => "An id was used before for a fact with other contents. \
                                      Nothing was taken. Give each fact an id of its own."
                .to_owned(),
            Self::ConfigChanged { in_force } => {
                format!("Revision {in_force} is in force since this plan was made. Plan again.")
            }
            Self::TooManyServices(most) => {
                format!("At most {most} services may have a live key. Revoke one first.")
            }
            Self::Raced => {
                "Others changed the same things at the same time. Try again in a moment.".to_owned()
            }
            Self::Vault(error) => error.detail(),
            Self::Spine(error) => error.detail(),
            Self::Broken(what) => (*what).to_owned(),
        }
    }
}

impl spine::FromSpine for Error {
    fn spine(&self) -> Option<&spine::Error> {
        match self {
            Self::Spine(error) => Some(error),
            Self::Fields(_)
            | Self::Config(_)
            | Self::Protected(_)
            | Self::OwnAddress
            | Self::NotFound
            | Self::FactConflict(_)
            | Self::ConfigChanged { .. }
            | Self::TooManyServices(_)
            | Self::Raced
            | Self::Vault(_)
            | Self::Broken(_) => None,
        }
    }
}
