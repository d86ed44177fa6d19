//! How this room says no. Each refusal has a kind, a stable code and words that are safe to log: no
//! address, no name, no secret, and never whether an account exists.

use kernel::{FieldProblem, Kind, Refusal, Refused};
use spine::SealError;
use thiserror::Error as ThisError;

/// Why this room refuses, or fails.
#[derive(Debug, ThisError)]
pub enum Error {
    /// Fields of the request are wrong.
    #[error("fields that are wrong: {}", .0.len())]
    Invalid(Vec<FieldProblem>),
    /// No verified, active account has this address and this password. One answer for all causes.
    #[error("sign-in refused")]
    SignInRefused,
    /// The old password, asked for again inside a session, is wrong.
    #[error("the password is wrong")]
    PasswordWrong {
        /// The field that it was typed in.
        field: &'static str,
    },
    /// There is no live session.
    #[error("no live session")]
    SessionEnded,
    /// The link of a mail was used, is too old, or never was one.
    #[error("the link is used or too old")]
    LinkSpent,
    /// The refresh token is none, or its sign-in has ended.
    #[error("the refresh token is refused")]
    RefreshRefused,
    /// The refresh token was used before: its sign-in has been ended.
    #[error("the refresh token was used before")]
    RefreshReused,
    /// No such account, session or mail, or none that the caller may know of.
    #[error("not found")]
    NotFound,
    /// An account with this address exists (told to operators only).
    #[error("the address has an account")]
    Taken,
    /// The account is not in the state that the act needs (told to operators only).
    #[error("the account is {0}")]
    State(&'static str),
    /// A budget of attempts is spent.
    #[error("too many attempts")]
    Limited {
        /// Seconds until another try may succeed.
        retry_after_s: u32,
    },
    /// The hashing pool has more to do than it can.
    #[error("too many sign-ins at once")]
    Busy {
        /// Seconds until the queue should be shorter.
        retry_after_s: u32,
    },
    /// The configuration asks for what is not safe.
    #[error("configuration: {0}")]
    Config(&'static str),
    /// A key cannot be had, or a sealed value was altered.
    #[error("the vault refuses")]
    Seal(#[from] SealError),
    /// The vault fails in another way.
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
    pub(crate) fn field(problem: FieldProblem) -> Self {
        Self::Invalid(vec![problem])
    }
}

impl From<FieldProblem> for Error {
    fn from(problem: FieldProblem) -> Self {
        Self::field(problem)
    }
}

impl Refusal for Error {
    fn refused(&self) -> Refused {
        use Kind::{Conflict, Invalid, Limited, NotFound, Unauthenticated};
        match self {
            Self::Invalid(fields) => {
                Refused::new(Invalid, "identity.invalid", "Some fields need another value.")
                    .with_fields(fields.iter().cloned())
            }
            Self::SignInRefused => Refused::new(
                Unauthenticated,
                "identity.sign_in_refused",
                "The e-mail address or the password is wrong. If you signed up just now, first \
                 open the link in our mail.",
            ),
            Self::PasswordWrong { field } => {
                let detail = "That is not your present password.";
                Refused::new(Invalid, "identity.password_wrong", detail)
                    .with_fields([FieldProblem::new(*field, detail)])
            }
            Self::SessionEnded => Refused::new(
                Unauthenticated,
                "identity.session_ended",
                "You are signed out. Sign in again.",
            ),
            Self::LinkSpent => Refused::new(
                Invalid,
                "identity.link_spent",
                "This link was used already, or is too old. Ask for a new one.",
            ),
            Self::RefreshRefused => Refused::new(
                Unauthenticated,
                "identity.refresh_refused",
                "The refresh token is not valid. Sign in again.",
            ),
            Self::RefreshReused => Refused::new(
                Unauthenticated,
                "identity.refresh_reused",
                "The refresh token was used before, so this sign-in has been ended. Sign in again.",
            ),
            Self::NotFound => {
                Refused::new(NotFound, "identity.not_found", "There is no such thing here.")
            }
            Self::Taken => Refused::new(
                Conflict,
                "identity.taken",
                "An account with this e-mail address exists.",
            ),
            Self::State(state) => {
                Refused::new(Conflict, "identity.state", format!("The account is {state}."))
            }
            Self::Limited { retry_after_s } => Refused::new(
                Limited { retry_after_s: *retry_after_s },
                "identity.limited",
                format!("Too many attempts. Try again in {retry_after_s} seconds."),
            ),
            Self::Busy { retry_after_s } => Refused::new(
                Limited { retry_after_s: *retry_after_s },
                "identity.busy",
                format!("Too many people are signing in. Try again in {retry_after_s} seconds."),
            ),
            Self::Config(_) | Self::Broken(_) => {
                Refused::new(Kind::Broken, "identity.broken", self.to_string())
            }
            Self::Seal(error) => error.refused(),
            Self::Vault(error) => error.refused(),
            Self::Spine(error) => error.refused(),
        }
    }
}
