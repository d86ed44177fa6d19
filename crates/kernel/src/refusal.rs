//! How every room says no: a kind for the transport, a stable code for programs, words for people.

use std::borrow::Cow;

/// What sort of refusal it is; `web` maps each to one HTTP status.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The request itself is wrong (400, 422).
    Invalid,
    /// It is not known who asks (401).
    Unauthenticated,
    /// It is known who asks, and they may not (403).
    Forbidden,
    /// There is no such thing, or none that the caller may know of (404).
    NotFound,
    /// The thing is not in the state that the request needs (409).
    Conflict,
    /// Too much, too fast (429).
    Limited {
        /// Seconds until another try may succeed.
        retry_after_s: u32,
    },
    /// A part that is needed does not answer (503).
    Unavailable,
    /// Our own fault: logged with its chain, told with the request id only (500).
    Broken,
}

/// One wrong field of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldProblem {
    /// The field as the caller wrote it; a path where it is deeper (`items[0].price_minor`).
    pub field: Cow<'static, str>,
    /// What is wrong and how to mend it; log-safe.
    pub detail: String,
}

impl FieldProblem {
    /// A wrong field.
    #[must_use]
    pub fn new(field: impl Into<Cow<'static, str>>, detail: impl Into<String>) -> Self {
        Self { field: field.into(), detail: detail.into() }
    }
}

/// What a refusal says: the one thing that each error of a room must know about itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// What sort it is.
    pub kind: Kind,
    /// A stable name for programs, `room.what` (`identity.session_expired`).
    pub code: &'static str,
    /// What is wrong, where, and how to mend it, for a person. Must be safe to log: no secret, no
    /// personal data. Of [`Kind::Broken`] it is not told.
    pub detail: String,
    /// The fields that are wrong, where the request was a form or a document.
    pub fields: Vec<FieldProblem>,
}

impl Refused {
    /// A refusal without fields.
    #[must_use]
    pub fn new(kind: Kind, code: &'static str, detail: impl Into<String>) -> Self {
        Self { kind, code, detail: detail.into(), fields: Vec::new() }
    }

    /// The same, with these fields as the wrong ones.
    #[must_use]
    pub fn with_fields(mut self, fields: impl IntoIterator<Item = FieldProblem>) -> Self {
        self.fields.extend(fields);
        self
    }
}

/// An error that a caller is told of.
pub trait Refusal: std::error::Error + Send + Sync + 'static {
    /// What it says.
    fn refused(&self) -> Refused;

    /// What sort it is.
    fn kind(&self) -> Kind {
        self.refused().kind
    }

    /// Its stable name.
    fn code(&self) -> &'static str {
        self.refused().code
    }
}
