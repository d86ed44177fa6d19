//! One request on its way through the stack.

use std::net::IpAddr;
use std::sync::{Arc, LazyLock, Mutex, PoisonError};

use http::header::{CACHE_CONTROL, CONNECTION, COOKIE, SET_COOKIE, USER_AGENT};
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Response};
use kernel::{RequestId, Timestamp};
use web::ClientFacts;
use web::feed::Position;

use crate::body::{AnswerBody, Fate, RequestBody};
use crate::connections::Place;
use crate::fields::Fields;
use crate::limits::Rule;
use crate::limits::{Told, Verdict};
use crate::meters::Route;
use crate::recorder::{Ledger, Record};
use crate::refused::Refused;
use crate::routes::{Entry, Found};
use crate::session::Session;
use crate::state::Inner;
use crate::trace::Trace;

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
    /// The position of the feed that the caller must see.
    pub(crate) must_see: Option<Position>,
    /// Whether one of our cookies came.
    pub(crate) our_cookies: bool,
    /// A person waits for a page; kept for when the fields have gone to the upstream.
    pub(crate) page: bool,
    /// Where the request is traced.
    pub(crate) trace: Option<Arc<Trace>>,
}

impl Exchange {
    /// The route, where an upstream's was found.
    pub(crate) fn entry(&self) -> Option<&Arc<Entry>> {
        match &self.found {
            Found::Route(entry) => Some(entry),
            Found::Own | Found::OtherMethod | Found::Nothing => None,
        }
    }

    /// What counts it.
    pub(crate) fn metered(&self) -> Route {
        let meters = &self.edge.meters;
        match &self.found {
            Found::Route(entry) => entry.metered.clone(),
            Found::Own => meters.own().clone(),
            Found::OtherMethod | Found::Nothing => meters.none().clone(),
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

    /// Whether a person waits for a page; a program is told in JSON.
    pub(crate) fn wants_page(&self) -> bool {
        let header = |name: &str| self.head.headers.get(name).map(HeaderValue::as_bytes);
        let html = header("accept").is_some_and(|accept| contains(accept, b"text/html"));
        html && header("sec-fetch-dest").is_none_or(|dest| dest == b"document")
    }

    /// Whether a person looks at a page, and can be sent to another.
    pub(crate) fn is_navigation(&self) -> bool {
        self.head.method.is_safe() && self.wants_page()
    }

    /// Counts something that was seen.
    pub(crate) fn observe(&self, code: &'static str) {
        self.edge.observe(self.client, code, self.now);
    }

    /// Ends the exchange with a refusal.
    pub(crate) fn refuse(self: Box<Self>, refused: Refused) -> Answer {
        let request = RequestId::generate(self.now, self.edge.entropy.as_ref());
        tracing::debug!(%request, code = refused.code(), "refused");
        self.edge.meters.refused(refused.code());
        let close = refused.closes();
        let mut answer = refused.answer(request, self.page || self.wants_page());
        answer.extensions_mut().insert(self.metered());
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
