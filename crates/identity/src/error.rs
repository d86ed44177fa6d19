//! How this room says no. Each refusal has a kind, a stable code and words that are safe to log: no
//! address, no name, no secret, and never whether an account exists.

use kernel::{FieldProblem, Kind, Refusal};
use spine::SealError;
use thiserror::Error as ThisError;

/// Why this room refuses, or fails.
#[derive(Debug, ThisError)]
pub enum Error {
    /// Fields of the request are wrong.
    #[error("{} fields are wrong", .0.len())]
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
    /// Staff only.
    #[error("the account is not one of the staff")]
    NotStaff,
    /// There is no live session.
    #[error("no live session")]
    SessionEnded,
    /// The session is live, but the password must be asked for again.
    #[error("the password must be asked for again")]
    Confirm,
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
    fn kind(&self) -> Kind {
        match self {
            Self::Invalid(_) | Self::LinkSpent | Self::PasswordWrong { .. } => Kind::Invalid,
            Self::SignInRefused
            | Self::SessionEnded
            | Self::RefreshRefused
            | Self::RefreshReused => Kind::Unauthenticated,
            Self::NotStaff | Self::Confirm => Kind::Forbidden,
            Self::NotFound => Kind::NotFound,
            Self::Taken | Self::State(_) => Kind::Conflict,
            Self::Limited { retry_after_s } | Self::Busy { retry_after_s } => {
                Kind::Limited { retry_after_s: *retry_after_s }
            }
            Self::Seal(SealError::Unavailable) => Kind::Unavailable,
            Self::Seal(SealError::Erased) => Kind::NotFound,
            Self::Seal(SealError::Unresolved | SealError::Forged)
            | Self::Config(_)
            | Self::Broken(_) => Kind::Broken,
            Self::Vault(error) => error.kind(),
            Self::Spine(error) => error.kind(),
        }
    }

    fn code(&self) -> &'static str {
        match self {
            Self::Invalid(_) => "identity.invalid",
            Self::SignInRefused => "identity.sign_in_refused",
            Self::PasswordWrong { .. } => "identity.password_wrong",
            Self::NotStaff => "identity.not_staff",
            Self::SessionEnded => "identity.session_ended",
            Self::Confirm => "identity.confirm_password",
            Self::LinkSpent => "identity.link_spent",
            Self::RefreshRefused => "identity.refresh_refused",
            Self::RefreshReused => "identity.refresh_reused",
            Self::NotFound => "identity.not_found",
            Self::Taken => "identity.taken",
            Self::State(_) => "identity.state",
            Self::Limited { .. } => "identity.limited",
            Self::Busy { .. } => "identity.busy",
            Self::Config(_) => "identity.config",
            Self::Seal(_) => "identity.sealed",
            Self::Vault(error) => error.code(),
            Self::Spine(error) => error.code(),
            Self::Broken(_) => "identity.broken",
        }
    }

    fn detail(&self) -> String {
        match self {
            Self::Invalid(_) => "Some fields need another value.".to_owned(),
            Self::SignInRefused => "The e-mail address or the password is wrong. If you signed up \
                                    just now, first open the link in our mail."
                .to_owned(),
            Self::PasswordWrong { .. } => "That is not your present password.".to_owned(),
            Self::NotStaff => "This door is for staff.".to_owned(),
            Self::SessionEnded => "You are signed out. Sign in again.".to_owned(),
            Self::Confirm => "Enter your password once more to do this.".to_owned(),
            Self::LinkSpent => {
                "This link was used already, or is too old. Ask for a new one.".to_owned()
            }
            Self::RefreshRefused => "The refresh token is not valid. Sign in again.".to_owned(),
            Self::RefreshReused => "The refresh token was used before, so this sign-in has been \
                                    ended. Sign in again."
                .to_owned(),
            Self::NotFound => "There is no such thing here.".to_owned(),
            Self::Taken => "An account with this e-mail address exists.".to_owned(),
            Self::State(state) => format!("The account is {state}."),
            Self::Limited { retry_after_s } => {
                format!("Too many attempts. Try again in {retry_after_s} seconds.")
            }
            Self::Busy { retry_after_s } => {
                format!("Too many people are signing in. Try again in {retry_after_s} seconds.")
            }
            Self::Config(what) => format!("The configuration is refused: {what}."),
            Self::Seal(error) => error.to_string(),
            Self::Vault(error) => error.detail(),
            Self::Spine(error) => error.detail(),
            Self::Broken(what) => (*what).to_owned(),
        }
    }

    fn fields(&self) -> Vec<FieldProblem> {
        match self {
            Self::Invalid(fields) => fields.clone(),
            Self::PasswordWrong { field } => vec![FieldProblem {
                field,
                detail: "That is not your present password.".to_owned(),
            }],
            Self::SignInRefused
            | Self::NotStaff
            | Self::SessionEnded
            | Self::Confirm
            | Self::LinkSpent
            | Self::RefreshRefused
            | Self::RefreshReused
            | Self::NotFound
            | Self::Taken
            | Self::State(_)
            | Self::Limited { .. }
            | Self::Busy { .. }
            | Self::Config(_)
            | Self::Seal(_)
            | Self::Vault(_)
            | Self::Spine(_)
            | Self::Broken(_) => Vec::new(),
        }
    }
}

impl spine::FromSpine for Error {
    fn spine(&self) -> Option<&spine::Error> {
        match self {
            Self::Spine(error) => Some(error),
            Self::Invalid(_)
            | Self::SignInRefused
            | Self::PasswordWrong { .. }
            | Self::NotStaff
            | Self::SessionEnded
            | Self::Confirm
            | Self::LinkSpent
            | Self::RefreshRefused
            | Self::RefreshReused
            | Self::NotFound
            | Self::Taken
            | Self::State(_)
            | Self::Limited { .. }
            | Self::Busy { .. }
            | Self::Config(_)
            | Self::Seal(_)
            | Self::Vault(_)
            | Self::Broken(_) => None,
        }
    }
}
