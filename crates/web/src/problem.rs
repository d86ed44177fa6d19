//! How a refusal is told over HTTP (W1): RFC 9457, or its page where a browser asks. Rooms return
//! `Problem` from handlers; the stack fills in the request id and chooses the form.

use std::error::Error;
use std::sync::Arc;

use axum::response::{IntoResponse, Response};
use http::header::{CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderValue, StatusCode};
use kernel::{Kind, Refusal, Refused};
use serde::Serialize;
use utoipa::ToSchema;

use crate::texts;

/// The media type of problem documents (RFC 9457 section 3).
pub(crate) const PROBLEM_JSON: &str = "application/problem+json";

/// One wrong field of a request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct FieldError {
    /// The field, as a path (`items[0].price_minor`).
    pub field: String,
    /// What is wrong and how to mend it.
    pub detail: String,
}

/// The document that a caller reads (RFC 9457).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = Problem)]
pub struct Document {
    /// `urn:stagedoor:problem:` and the code.
    #[serde(rename = "type")]
    pub kind: String,
    /// What sort of problem it is, for a person.
    pub title: String,
    /// The HTTP status.
    pub status: u16,
    /// A stable name for programs, `room.what`.
    pub code: String,
    /// What is wrong here and how to mend it, for a person.
    pub detail: String,
    /// The wrong fields.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub errors: Vec<FieldError>,
    /// Names this request in the logs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
}

#[derive(Clone, Debug)]
struct Inner {
    status: StatusCode,
    code: &'static str,
    detail: String,
    errors: Vec<FieldError>,
    retry_after_s: Option<u32>,
    sign_in: Option<String>,
    cause: Option<Arc<dyn Error + Send + Sync>>,
}

/// A refusal on its way out. Every refusal of every room becomes one.
#[derive(Clone, Debug)]
pub struct Problem(Box<Inner>);

/// The one table from a kind of refusal to an HTTP status (RFC 9110 section 15).
const fn status_of(kind: Kind, has_fields: bool) -> StatusCode {
    match kind {
        Kind::Invalid if has_fields => StatusCode::UNPROCESSABLE_ENTITY,
        Kind::Invalid => StatusCode::BAD_REQUEST,
        Kind::Unauthenticated => StatusCode::UNAUTHORIZED,
        Kind::Forbidden => StatusCode::FORBIDDEN,
        Kind::NotFound => StatusCode::NOT_FOUND,
        Kind::Conflict => StatusCode::CONFLICT,
        Kind::Limited { .. } => StatusCode::TOO_MANY_REQUESTS,
        Kind::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
        Kind::Broken => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

impl<R: Refusal> From<R> for Problem {
    fn from(refusal: R) -> Self {
        let Refused { kind, code, detail, fields } = refusal.refused();
        let errors = fields.into_iter();
        let errors = errors
            .map(|wrong| FieldError { field: wrong.field.into_owned(), detail: wrong.detail })
            .collect();
        let mut problem = Self::new(kind, code, detail).with_errors(errors);
        // What is our own fault or a neighbour's is logged with its chain.
        if matches!(kind, Kind::Broken | Kind::Unavailable) {
            problem.0.cause = Some(Arc::new(refusal));
        }
        problem
    }
}

impl Problem {
    /// A problem of this kind. `detail` must be safe to log; for [`Kind::Broken`] it is not told.
    #[must_use]
    pub fn new(kind: Kind, code: &'static str, detail: impl Into<String>) -> Self {
        let mut problem = Self::with_status(status_of(kind, false), code, detail);
        if let Kind::Limited { retry_after_s } = kind {
            problem.0.retry_after_s = Some(retry_after_s);
        }
        if matches!(kind, Kind::Broken) {
            problem.0.detail = texts::BROKEN.to_owned();
        }
        problem
    }

    /// A problem of HTTP itself, which no [`Kind`] stands for (405, 413, 415 ...).
    pub(crate) fn with_status(
        status: StatusCode,
        code: &'static str,
        detail: impl Into<String>,
    ) -> Self {
        Self(Box::new(Inner {
            status,
            code,
            detail: detail.into(),
            errors: Vec::new(),
            retry_after_s: None,
            sign_in: None,
            cause: None,
        }))
    }

    /// A fault of our own with what caused it: the log sees the chain, the caller the request id.
    #[must_use]
    pub fn broken(
        code: &'static str,
        cause: impl Into<Box<dyn Error + Send + Sync + 'static>>,
    ) -> Self {
        let mut problem = Self::new(Kind::Broken, code, "");
        problem.0.cause = Some(Arc::from(cause.into()));
        problem
    }

    /// There is no such thing, or none that the caller may know of.
    #[must_use]
    pub fn not_found() -> Self {
        Self::new(Kind::NotFound, "web.not_found", texts::NOT_FOUND)
    }

    /// It is not known who asks.
    #[must_use]
    pub fn unauthenticated() -> Self {
        Self::new(Kind::Unauthenticated, "web.unauthenticated", texts::UNAUTHENTICATED)
    }

    /// It is known who asks, and they may not.
    #[must_use]
    pub fn forbidden() -> Self {
        Self::new(Kind::Forbidden, "web.forbidden", texts::FORBIDDEN)
    }

    /// It is known who asks, and that they may, but not that it is they who sit there now.
    #[must_use]
    pub fn password_needed() -> Self {
        Self::new(Kind::Forbidden, "web.password_needed", texts::PASSWORD_NEEDED)
    }

    /// The request as a whole is fine to read, but these fields are wrong.
    #[must_use]
    pub fn invalid_fields(errors: Vec<FieldError>) -> Self {
        Self::new(Kind::Invalid, "web.invalid_fields", texts::INVALID_FIELDS).with_errors(errors)
    }

    pub(crate) fn not_wired() -> Self {
        Self::broken("web.not_wired", "the router is not behind web::serve_stack")
    }

    /// The same problem with the wrong fields; an invalid request becomes 422.
    #[must_use]
    pub fn with_errors(mut self, errors: Vec<FieldError>) -> Self {
        if self.0.status == StatusCode::BAD_REQUEST {
            self.0.status = status_of(Kind::Invalid, !errors.is_empty());
        }
        self.0.errors = errors;
        self
    }

    /// Where a browser is sent instead of being shown a 401.
    pub(crate) fn sign_in_at(mut self, path: String) -> Self {
        self.0.sign_in = Some(path);
        self
    }

    /// The HTTP status.
    #[must_use]
    pub const fn status(&self) -> StatusCode {
        self.0.status
    }

    /// The stable name for programs.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        self.0.code
    }

    /// What is wrong and how to mend it.
    #[must_use]
    pub fn detail(&self) -> &str {
        &self.0.detail
    }

    /// The wrong fields.
    #[must_use]
    pub fn errors(&self) -> &[FieldError] {
        &self.0.errors
    }

    /// What is wrong with one field; for pages that show a form again.
    #[must_use]
    pub fn field(&self, name: &str) -> Option<&str> {
        self.0.errors.iter().find(|error| error.field == name).map(|error| error.detail.as_str())
    }

    /// What caused it, for the log.
    pub(crate) fn cause(&self) -> Option<&(dyn Error + Send + Sync)> {
        self.0.cause.as_deref()
    }

    pub(crate) fn sign_in(&self) -> Option<&str> {
        self.0.sign_in.as_deref()
    }

    /// The document, for this request.
    #[must_use]
    pub fn document(&self, request_id: Option<String>) -> Document {
        Document {
            kind: format!("urn:stagedoor:problem:{}", self.0.code),
            title: texts::title(self.0.status).to_owned(),
            status: self.0.status.as_u16(),
            code: self.0.code.to_owned(),
            detail: self.0.detail.clone(),
            errors: self.0.errors.clone(),
            request_id,
        }
    }

    /// The document as an answer.
    pub(crate) fn to_json(&self, request_id: Option<String>) -> Response {
        let body = serde_json::to_vec(&self.document(request_id)).unwrap_or_default();
        let mut response = (self.0.status, body).into_response();
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(PROBLEM_JSON));
        self.add_headers(&mut response);
        response
    }

    /// The headers that a status asks for: RFC 9110 sections 10.2.3 and 11.6.1.
    pub(crate) fn add_headers(&self, response: &mut Response) {
        if let Some(retry_after_s) = self.0.retry_after_s {
            response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(retry_after_s));
        }
        if self.0.status == StatusCode::UNAUTHORIZED {
            let challenge = HeaderValue::from_static("Bearer realm=\"stagedoor\"");
            response.headers_mut().insert(WWW_AUTHENTICATE, challenge);
        }
    }
}

/// The document without a request id; the stack, which finds the problem in the extensions,
/// makes the final answer.
impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut response = self.to_json(None);
        response.extensions_mut().insert(self);
        response
    }
}
