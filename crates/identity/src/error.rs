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
    /// The code of a second factor is wrong, was used, or is of another time. One answer for all.
    #[error("the code is refused")]
    CodeWrong,
    /// The sign-in is not half-way: it is whole, too old, or never was.
    #[error("the sign-in is over")]
    SignInOver,
    /// Accounts of this kind must have a second factor, and this is the only one.
    #[error("the last second factor")]
    LastFactor,
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

/// A code, and what is said to whoever asked.
type Words = (&'static str, &'static str);

const SIGN_IN_REFUSED: Words = (
    "identity.sign_in_refused",
    "The e-mail address or the password is wrong. If you signed up just now, first open the link in \
     our mail.",
);
const CODE_WRONG: Words =
    ("identity.code_wrong", "That code is not right, or was used before. Try the next one.");
const SIGN_IN_OVER: Words =
    ("identity.sign_in_over", "This sign-in took too long, or is over. Sign in again.");
const LAST_FACTOR: Words = (
    "identity.last_factor",
    "Accounts of this kind must have a second factor: add another one first.",
);
const SESSION_ENDED: Words = ("identity.session_ended", "You are signed out. Sign in again.");
const LINK_SPENT: Words =
    ("identity.link_spent", "This link was used already, or is too old. Ask for a new one.");
const REFRESH_REFUSED: Words =
    ("identity.refresh_refused", "The refresh token is not valid. Sign in again.");
const REFRESH_REUSED: Words = (
    "identity.refresh_reused",
    "The refresh token was used before, so this sign-in has been ended. Sign in again.",
);
const NOT_FOUND: Words = ("identity.not_found", "There is no such thing here.");
const TAKEN: Words = ("identity.taken", "An account with this e-mail address exists.");

fn told(kind: Kind, (code, detail): Words) -> Refused {
    Refused::new(kind, code, detail)
}

impl Refusal for Error {
    fn refused(&self) -> Refused {
        use Kind::{Conflict, Invalid, Limited, NotFound, Unauthenticated};
        match self {
            Self::Invalid(fields) => {
                Refused::new(Invalid, "identity.invalid", "Some fields need another value.")
                    .with_fields(fields.iter().cloned())
            }
            Self::SignInRefused => told(Unauthenticated, SIGN_IN_REFUSED),
            Self::PasswordWrong { field } => {
                let detail = "That is not your present password.";
                Refused::new(Invalid, "identity.password_wrong", detail)
                    .with_fields([FieldProblem::new(*field, detail)])
            }
            Self::CodeWrong => {
                told(Invalid, CODE_WRONG).with_fields([FieldProblem::new("code", CODE_WRONG.1)])
            }
            Self::SignInOver => told(Unauthenticated, SIGN_IN_OVER),
            Self::LastFactor => told(Conflict, LAST_FACTOR),
            Self::SessionEnded => told(Unauthenticated, SESSION_ENDED),
            Self::LinkSpent => told(Invalid, LINK_SPENT),
            Self::RefreshRefused => told(Unauthenticated, REFRESH_REFUSED),
            Self::RefreshReused => told(Unauthenticated, REFRESH_REUSED),
            Self::NotFound => told(NotFound, NOT_FOUND),
            Self::Taken => told(Conflict, TAKEN),
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
