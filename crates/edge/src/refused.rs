//! Why a request goes no further, as a program reads it and as a person sees it.

use std::borrow::Cow;

use http::header::{
    ACCEPT, CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, LOCATION, RETRY_AFTER,
    SET_COOKIE, WWW_AUTHENTICATE, X_CONTENT_TYPE_OPTIONS,
};
use http::{HeaderValue, Request, Response, StatusCode};
use kernel::RequestId;
use serde::Serialize;
use tower::ServiceExt as _;

use crate::body::AnswerBody;
use crate::exchange::Answer;
use crate::head::Flaw;
use crate::limits::{Rule, Verdict};

/// A refusal that a person is to see, in the extensions of the request for its page.
#[derive(Clone, Debug)]
pub struct Shown {
    /// The HTTP status.
    pub status: StatusCode,
    /// The stable code.
    pub code: Cow<'static, str>,
    /// What is wrong, for a person; no word of it comes from the request.
    pub detail: String,
    /// Names the request in the logs.
    pub request: RequestId,
}

impl Shown {
    fn new(refused: &Refused, request: RequestId) -> Self {
        Self {
            status: refused.status(),
            code: Cow::Borrowed(refused.code),
            detail: refused.detail.to_string(),
            request,
        }
    }
}

/// Puts the house's own page in place of the plain one, where there is one.
pub(crate) async fn dress(pages: &axum::Router, mut answer: Answer) -> Answer {
    let Some(shown) = answer.extensions_mut().remove::<Shown>() else { return answer };
    let mut request = Request::new(axum::body::Body::empty());
    request.headers_mut().insert(ACCEPT, HeaderValue::from_static("text/html"));
    request.extensions_mut().insert(shown.request);
    request.extensions_mut().insert(shown);
    let Ok(page) = pages.clone().oneshot(request).await;
    let (head, body) = page.into_parts();
    let html = head.headers.get(CONTENT_TYPE).map(HeaderValue::as_bytes);
    if !html.is_some_and(|kind| kind.starts_with(b"text/html")) {
        return answer;
    }
    for (name, value) in &head.headers {
        if *name != SET_COOKIE && !matches!(*name, CACHE_CONTROL | RETRY_AFTER) {
            answer.headers_mut().insert(name, value.clone());
        }
    }
    *answer.body_mut() = AnswerBody::core(body);
    answer
}

/// Why a request goes no further.
#[derive(Clone, Debug)]
pub(crate) struct Refused {
    status: u16,
    code: &'static str,
    detail: Cow<'static, str>,
    retry_after_s: Option<u32>,
    location: Option<String>,
    /// What a program is told of how to prove more (RFC 9470).
    challenge: Option<Box<str>>,
    violated: Option<String>,
    close: bool,
}

#[derive(Serialize)]
struct Document<'a> {
    #[serde(rename = "type")]
    kind: &'a str,
    title: &'a str,
    status: u16,
    code: &'a str,
    detail: &'a str,
    #[serde(rename = "violated-policies", skip_serializing_if = "Option::is_none")]
    violated: Option<[&'a str; 1]>,
    request_id: &'a str,
}

impl Refused {
    /// A refusal with a stable code and words that are safe to show.
    pub(crate) fn new(
        status: u16,
        code: &'static str,
        detail: impl Into<Cow<'static, str>>,
    ) -> Self {
        Self {
            status,
            code,
            detail: detail.into(),
            retry_after_s: None,
            location: None,
            challenge: None,
            violated: None,
            close: false,
        }
    }

    /// With what the session lacks (RFC 9470 section 3).
    pub(crate) fn challenge(self, challenge: String) -> Self {
        Self { challenge: Some(challenge.into()), ..self }
    }

    /// A page navigation is sent elsewhere.
    pub(crate) fn see_other(code: &'static str, location: String) -> Self {
        Self { location: Some(location), ..Self::new(303, code, "Sign in first.") }
    }

    /// A limit was met.
    pub(crate) fn limited(rule: &Rule, verdict: Verdict) -> Self {
        let wait_s = verdict.retry_after_s();
        let detail = format!("Too many requests; try again in {wait_s} s.");
        Self {
            retry_after_s: Some(wait_s),
            violated: Some(rule.limit.name.clone()),
            ..Self::new(429, "edge.limited", detail)
        }
    }

    /// The request is not one that can be passed on.
    pub(crate) fn flaw(flaw: Flaw) -> Self {
        let detail = "The request is not well-formed HTTP, or can be read in two ways.";
        Self { close: true, ..Self::new(flaw.status(), flaw.code(), detail) }
    }

    /// The same, and the connection ends with it.
    pub(crate) fn closing(mut self) -> Self {
        self.close = true;
        self
    }

    /// Try again in so many seconds.
    pub(crate) fn retry_after(mut self, seconds: u32) -> Self {
        self.retry_after_s = Some(seconds);
        self
    }

    /// Whether the connection ends with it.
    pub(crate) const fn closes(&self) -> bool {
        self.close
    }

    fn status(&self) -> StatusCode {
        StatusCode::from_u16(self.status).unwrap_or(StatusCode::BAD_REQUEST)
    }

    /// The stable code.
    pub(crate) const fn code(&self) -> &'static str {
        self.code
    }

    /// As a document for a program, or as a page for a person.
    pub(crate) fn answer(&self, request: RequestId, page: bool) -> Answer {
        let mut answer = self.document(&request.to_string());
        if page {
            self.as_page(&mut answer, &request.to_string());
            answer.extensions_mut().insert(Shown::new(self, request));
        }
        answer
    }

    /// The same for a person: a page without style or script, which needs nothing of ours.
    fn as_page(&self, answer: &mut Answer, request: &str) {
        let title = answer.status().canonical_reason().unwrap_or("Refused");
        // Every word is ours: nothing of the request stands in it.
        let page = format!(
            "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\">\
             <meta name=\"viewport\" content=\"width=device-width\">\
             <title>{title}</title></head><body><main><h1>{title}</h1><p>{}</p>\
             <p>Request <code>{request}</code></p></main></body></html>",
            self.detail
        );
        *answer.body_mut() = AnswerBody::whole(page);
        let headers = answer.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8"));
        headers.insert(
            CONTENT_SECURITY_POLICY,
            HeaderValue::from_static("default-src 'none'; frame-ancestors 'none'"),
        );
        headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    }

    fn document(&self, request: &str) -> Answer {
        let status = self.status();
        let kind = if self.violated.is_some() {
            "https://iana.org/assignments/http-problem-types#quota-exceeded".to_owned()
        } else {
            format!("urn:stagedoor:problem:{}", self.code)
        };
        let document = Document {
            kind: &kind,
            title: status.canonical_reason().unwrap_or("Refused"),
            status: self.status,
            code: self.code,
            detail: &self.detail,
            violated: self.violated.as_deref().map(|name| [name]),
            request_id: request,
        };
        let text = serde_json::to_vec(&document).unwrap_or_default();
        let mut answer = Response::new(AnswerBody::whole(text));
        *answer.status_mut() = status;
        let headers = answer.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if let Some(seconds) = self.retry_after_s {
            headers.insert(RETRY_AFTER, HeaderValue::from(seconds));
        }
        if self.status == 401 {
            let challenge = self.challenge.as_deref().unwrap_or("Bearer");
            if let Ok(challenge) = HeaderValue::from_str(challenge) {
                headers.insert(WWW_AUTHENTICATE, challenge);
            }
        }
        if let Some(location) = &self.location
            && let Ok(location) = HeaderValue::from_str(location)
        {
            headers.insert(LOCATION, location);
        }
        answer
    }
}
