//! How every room says no: a kind for the transport, a stable code for programs, words for people.

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
    /// The field's name as the caller wrote it.
    pub field: &'static str,
    /// What is wrong and how to mend it; log-safe.
    pub detail: String,
}

/// An error that a caller is told of.
pub trait Refusal: std::error::Error + Send + Sync + 'static {
    /// What sort it is.
    fn kind(&self) -> Kind;

    /// A stable name for programs, `room.what` (`identity.session_expired`).
    fn code(&self) -> &'static str;

    /// What is wrong, where, and how to mend it, for a person. Must be safe to log: no secret, no
    /// personal data.
    fn detail(&self) -> String;

    /// The fields that are wrong, where the request was a form or a document.
    fn fields(&self) -> Vec<FieldProblem> {
        Vec::new()
    }
}
