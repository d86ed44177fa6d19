//! One request on its way through the stack, and the ways in which it can be refused.

use std::borrow::Cow;
use std::net::IpAddr;
use std::sync::{Arc, LazyLock, Mutex, PoisonError};

use http::header::{
    CACHE_CONTROL, CONNECTION, CONTENT_SECURITY_POLICY, CONTENT_TYPE, COOKIE, LOCATION,
    RETRY_AFTER, SET_COOKIE, USER_AGENT, WWW_AUTHENTICATE, X_CONTENT_TYPE_OPTIONS,
};
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode};
use kernel::{RequestId, Timestamp};
use serde::Serialize;
use web::ClientFacts;

use crate::body::{AnswerBody, Fate, RequestBody};
use crate::connections::Place;
use crate::fields::Fields;
use crate::head::Flaw;
use crate::limits::Rule;
use crate::limits::{Told, Verdict};
use crate::recorder::{Ledger, Record};
use crate::routes::{Entry, Found};
use crate::session::Session;
use crate::state::Inner;

/// The cookie with the session's secret.
pub(crate) const SESSION_COOKIE: &str = "__Host-stagedoor";
/// The cookie with the short session token.
pub(crate) const TOKEN_COOKIE: &str = "__Host-stagedoor_token";

const RATE_LIMIT: HeaderName = HeaderName::from_static("ratelimit");
const RATE_LIMIT_POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");

/// An answer.
pub(crate) type Answer = Response<AnswerBody>;

/// What is known of a connection once, for all its requests.
#[derive(Debug)]
pub(crate) struct ConnectionFacts {
    /// The other end of the socket.
    pub(crate) peer: IpAddr,
    /// The other end as a header value.
    pub(crate) peer_text: HeaderValue,
    /// Whether the peer is a trusted proxy.
    pub(crate) trusted: bool,
    /// Whether the socket is under TLS.
    pub(crate) tls: bool,
    /// JA4 of the ClientHello.
    pub(crate) fingerprint: Option<String>,
    /// The last Host and the `Forwarded` value made for it.
    forwarded: Mutex<Option<(HeaderValue, HeaderValue)>>,
    /// The connection's place in the count.
    pub(crate) place: Place,
}

impl ConnectionFacts {
    pub(crate) fn new(peer: IpAddr, trusted: bool, tls: bool, place: Place) -> Self {
        let peer_text = HeaderValue::from_str(&peer.to_string())
            .unwrap_or_else(|_| HeaderValue::from_static("unknown"));
        Self {
            peer,
            peer_text,
            trusted,
            tls,
            fingerprint: None,
            forwarded: Mutex::default(),
            place,
        }
    }

    /// The `Forwarded` value (RFC 7239) of a request for `host`, made once per host.
    pub(crate) fn forwarded(&self, host: &HeaderValue) -> Option<HeaderValue> {
        let mut last = self.forwarded.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((for_host, value)) = last.as_ref()
            && for_host == host
        {
            return Some(value.clone());
        }
        let value = forwarded(self.peer, self.tls, host)?;
        *last = Some((host.clone(), value.clone()));
        Some(value)
    }
}

/// `for=192.0.2.1;proto=https;host="shop.example"`.
pub(crate) fn forwarded(client: IpAddr, https: bool, host: &HeaderValue) -> Option<HeaderValue> {
    let proto = if https { "https" } else { "http" };
    let host = host.to_str().ok()?;
    let text = match client {
        IpAddr::V4(v4) => format!("for={v4};proto={proto};host=\"{host}\""),
        IpAddr::V6(v6) => format!("for=\"[{v6}]\";proto={proto};host=\"{host}\""),
    };
    HeaderValue::from_str(&text).ok()
}

/// A WebSocket that was asked for; refused when dropped, so that the connection goes on.
#[derive(Debug)]
pub(crate) struct Asked(Option<Arc<Ledger>>);

impl Asked {
    pub(crate) const fn new(ledger: Arc<Ledger>) -> Self {
        Self(Some(ledger))
    }

    /// It is opened.
    pub(crate) fn open(mut self) {
        if let Some(ledger) = self.0.take() {
            ledger.decide(true);
        }
    }
}

impl Drop for Asked {
    fn drop(&mut self) {
        if let Some(ledger) = self.0.take() {
            ledger.decide(false);
        }
    }
}

/// What the answer must carry, whoever makes it.
#[derive(Debug, Default)]
pub(crate) struct Notes {
    told: Told,
    policy: Option<HeaderValue>,
    cookie: Option<HeaderValue>,
}

impl Notes {
    pub(crate) fn limit(&mut self, rule: &Rule, verdict: Verdict) {
        self.told.add(rule, verdict);
    }

    pub(crate) fn policy(&mut self, policy: Option<&HeaderValue>) {
        self.policy = policy.cloned();
    }

    pub(crate) fn cookie(&mut self, cookie: Option<HeaderValue>) {
        self.cookie = cookie;
    }

    /// Puts everything on the answer.
    pub(crate) fn apply(self, headers: &mut HeaderMap) {
        if let Some(value) = self.told.value() {
            headers.insert(RATE_LIMIT, value);
        }
        if let Some(policy) = self.policy {
            headers.insert(RATE_LIMIT_POLICY, policy);
        }
        if let Some(cookie) = self.cookie {
            headers.append(SET_COOKIE, cookie);
            headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        }
    }
}

/// One request and what is known of it so far.
pub(crate) struct Exchange {
    pub(crate) edge: Arc<Inner>,
    pub(crate) connection: Arc<ConnectionFacts>,
    pub(crate) head: Parts,
    pub(crate) body: RequestBody,
    pub(crate) fate: Option<Fate>,
    pub(crate) record: Record,
    /// Which fields came.
    pub(crate) fields: Fields,
    pub(crate) asked: Option<Asked>,
    pub(crate) upgrade: Option<hyper::upgrade::OnUpgrade>,
    pub(crate) now: Timestamp,
    /// The client, behind trusted proxies.
    pub(crate) client: IpAddr,
    pub(crate) https: bool,
    pub(crate) found: Found,
    pub(crate) session: Option<Arc<Session>>,
    /// Why nobody is known, where somebody claimed to be.
    pub(crate) claim_fault: Option<&'static str>,
    pub(crate) notes: Notes,
    /// Whether one of our cookies came.
    pub(crate) our_cookies: bool,
    /// A person waits for a page; kept for when the fields have gone to the upstream.
    pub(crate) page: bool,
}

impl Exchange {
    /// The route, where an upstream's was found.
    pub(crate) fn entry(&self) -> Option<&Arc<Entry>> {
        match &self.found {
            Found::Route(entry) => Some(entry),
            Found::Own | Found::OtherMethod | Found::Nothing => None,
        }
    }

    /// The value of a cookie.
    pub(crate) fn cookie(&self, name: &str) -> Option<&str> {
        cookie(&self.head.headers, name)
    }

    /// The client's facts, for core and identity.
    pub(crate) fn facts(&self) -> ClientFacts {
        let agent = self.head.headers.get(USER_AGENT).and_then(|value| value.to_str().ok());
        ClientFacts {
            address: self.client,
            agent: agent.map(str::to_owned),
            fingerprint: self.connection.fingerprint.clone(),
            https: self.https,
        }
    }

    /// Whether a person looks at a page, and can be sent to another.
    pub(crate) fn is_navigation(&self) -> bool {
        let header = |name: &str| self.head.headers.get(name).map(HeaderValue::as_bytes);
        let html = header("accept").is_some_and(|accept| contains(accept, b"text/html"));
        let document = header("sec-fetch-dest").is_none_or(|dest| dest == b"document");
        self.head.method.is_safe() && html && document
    }

    /// Counts something that was seen.
    pub(crate) fn observe(&self, code: &'static str) {
        self.edge.observe(self.client, code, self.now);
    }

    /// Ends the exchange with a refusal.
    pub(crate) fn refuse(self: Box<Self>, refused: Refused) -> Answer {
        let request = RequestId::generate(self.now, self.edge.entropy.as_ref());
        tracing::debug!(%request, code = refused.code, status = refused.status, "refused");
        let close = refused.close;
        let mut answer = refused.answer(&request.to_string());
        if self.page || self.is_navigation() {
            refused.as_page(&mut answer, &request.to_string());
        }
        self.notes.apply(answer.headers_mut());
        if close && self.head.version < http::Version::HTTP_2 {
            answer.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
        }
        answer
    }
}

/// The value of a cookie in `Cookie` fields; the first of that name.
pub(crate) fn cookie<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers
        .get_all(COOKIE)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|line| line.split(';'))
        .find_map(|pair| pair.trim_ascii_start().strip_prefix(name)?.strip_prefix('='))
}

/// Whether one of our cookies is there.
pub(crate) fn has_our_cookies(headers: &HeaderMap) -> bool {
    static OURS: LazyLock<memchr::memmem::Finder<'static>> =
        LazyLock::new(|| memchr::memmem::Finder::new(SESSION_COOKIE));
    headers.get_all(COOKIE).iter().any(|value| OURS.find(value.as_bytes()).is_some())
}

pub(crate) fn contains(bytes: &[u8], part: &[u8]) -> bool {
    memchr::memmem::find(bytes, part).is_some()
}

/// Why a request goes no further.
#[derive(Clone, Debug)]
pub(crate) struct Refused {
    status: u16,
    code: &'static str,
    detail: Cow<'static, str>,
    retry_after_s: Option<u32>,
    location: Option<String>,
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
            violated: None,
            close: false,
        }
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

    /// The stable code.
    pub(crate) const fn code(&self) -> &'static str {
        self.code
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

    fn answer(&self, request: &str) -> Answer {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::BAD_REQUEST);
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
            headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        if let Some(location) = &self.location
            && let Ok(location) = HeaderValue::from_str(location)
        {
            headers.insert(LOCATION, location);
        }
        answer
    }
}
