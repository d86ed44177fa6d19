//! Drives a router in memory as a browser or a program would: a cookie jar, forms with the token
//! of the page they stand on, JSON. For the tests of every room; not in the program.
#![expect(
    clippy::expect_used,
    clippy::panic,
    reason = "a test that cannot go on must stop where it stands"
)]

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::response::Response;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, COOKIE, LOCATION, ORIGIN, SET_COOKIE};
use http::{HeaderMap, Method, StatusCode};
use http_body_util::BodyExt as _;
use kernel::{AccountId, Actor, Clock, Ctx, Entropy, Secret, SessionId, Timestamp};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tower::ServiceExt as _;

use crate::{App, BoxFuture, Caller, Callers, ClientFacts, Csrf, Problem, Service, Site};

/// The site of [`app`].
pub const ORIGIN_URL: &str = "https://shop.test";
const MAX_BODY_BYTES: usize = 8 * 1024 * 1024;

/// A clock that stands still until it is moved.
#[derive(Debug)]
pub struct StillClock(AtomicI64);

impl StillClock {
    /// A clock at this moment.
    #[must_use]
    pub fn at(moment: Timestamp) -> Arc<Self> {
        Arc::new(Self(AtomicI64::new(moment.micros())))
    }

    /// Moves it on.
    pub fn advance(&self, span: Duration) {
        self.0.store(self.now().plus(span).micros(), Ordering::SeqCst);
    }
}

impl Clock for StillClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_micros(self.0.load(Ordering::SeqCst))
    }
}

/// Bytes that look random and are the same in each run (SplitMix64 over a counter).
#[derive(Debug, Default)]
pub struct Seed(AtomicU64);

impl Entropy for Seed {
    fn fill(&self, buffer: &mut [u8]) {
        for chunk in buffer.chunks_mut(8) {
            let step = self.0.fetch_add(1, Ordering::SeqCst).wrapping_add(1);
            let mut mixed = step.wrapping_mul(0x9e37_79b9_7f4a_7c15);
            mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            mixed ^= mixed >> 31;
            for (to, from) in chunk.iter_mut().zip(mixed.to_le_bytes()) {
                *to = from;
            }
        }
    }
}

/// Knows nobody.
#[derive(Clone, Copy, Debug, Default)]
pub struct Nobody;

impl Callers for Nobody {
    fn session<'a>(
        &'a self,
        _: &'a http::request::Parts,
        _: &'a Ctx,
    ) -> BoxFuture<'a, Result<Option<Caller>, Problem>> {
        Box::pin(async { Ok(None) })
    }

    fn service<'a>(
        &'a self,
        _: &'a str,
        _: &'a Ctx,
    ) -> BoxFuture<'a, Result<Option<Service>, Problem>> {
        Box::pin(async { Ok(None) })
    }
}

/// Knows one person, who sends every request and proved it just now; no services.
#[derive(Clone, Debug)]
pub struct SignedIn {
    /// The account.
    pub account: AccountId,
    /// The session.
    pub session: SessionId,
    /// The account's kind: `customer`, `influencer`, `wholesaler`, `staff`.
    pub kind: &'static str,
    /// The roles of staff.
    pub roles: Vec<String>,
}

impl SignedIn {
    /// A customer in a session of its own.
    #[must_use]
    pub fn customer(account: AccountId) -> Self {
        let session = SessionId::from_bytes(*account.as_bytes());
        Self { account, session, kind: "customer", roles: Vec::new() }
    }

    /// Staff with this role (`admin`, `support`, `auditor`).
    #[must_use]
    pub fn staff(account: AccountId, role: &str) -> Self {
        Self { kind: "staff", roles: vec![role.to_owned()], ..Self::customer(account) }
    }
}

impl Callers for SignedIn {
    fn session<'a>(
        &'a self,
        _: &'a http::request::Parts,
        visit: &'a Ctx,
    ) -> BoxFuture<'a, Result<Option<Caller>, Problem>> {
        let actor = Actor::Account { id: self.account, session: Some(self.session) };
        let caller = Caller {
            ctx: visit.acted_by(actor),
            account: self.account,
            session: self.session,
            kind: self.kind.to_owned(),
            roles: self.roles.clone(),
            auth_time: visit.now,
            fresh: true,
        };
        Box::pin(async { Ok(Some(caller)) })
    }

    fn service<'a>(
        &'a self,
        _: &'a str,
        _: &'a Ctx,
    ) -> BoxFuture<'a, Result<Option<Service>, Problem>> {
        Box::pin(async { Ok(None) })
    }
}

/// An app of the site [`ORIGIN_URL`] at 2026-11-24T02:25:40Z, the same in each run.
#[must_use]
pub fn app(callers: Arc<dyn Callers>) -> App {
    let clock = StillClock::at(Timestamp::from_seconds(1_795_487_140));
    app_with(callers, clock, Arc::new(Seed::default()))
}

/// The same with the time and randomness of a test's world, so that a request comes later when
/// the test moves its clock.
#[must_use]
pub fn app_with(
    callers: Arc<dyn Callers>,
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
) -> App {
    App::new(
        clock,
        entropy,
        callers,
        Csrf::new(&Secret::new([7; 32])),
        Site::shop("Test shop", ORIGIN_URL),
    )
}

/// What a request was answered with.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The status.
    pub status: StatusCode,
    /// The headers.
    pub headers: HeaderMap,
    /// The body, as text where it is text.
    pub body: String,
}

impl Answer {
    /// The body as JSON.
    ///
    /// # Panics
    /// Where it is not.
    #[must_use]
    pub fn json<T: DeserializeOwned>(&self) -> T {
        serde_json::from_str(&self.body)
            .unwrap_or_else(|error| panic!("{error} in the answer {self:?}"))
    }

    /// A header as text; empty where it is missing.
    #[must_use]
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }

    /// Where it leads.
    #[must_use]
    pub fn location(&self) -> &str {
        self.header(LOCATION.as_str())
    }

    /// The problem's code; empty where it is none.
    #[must_use]
    pub fn code(&self) -> String {
        let document: serde_json::Value = serde_json::from_str(&self.body).unwrap_or_default();
        document.get("code").and_then(|code| code.as_str()).unwrap_or_default().to_owned()
    }

    /// The same, after a check of its status.
    ///
    /// # Panics
    /// Where the status is another.
    #[must_use]
    #[track_caller]
    pub fn expect(self, status: StatusCode) -> Self {
        assert_eq!(self.status, status, "{self:?}");
        self
    }

    /// The token of the first form of the page.
    #[must_use]
    pub fn csrf(&self) -> Option<String> {
        let (_, rest) = self.body.split_once("name=\"csrf\" value=\"")?;
        rest.split_once('"').map(|(token, _)| token.to_owned())
    }
}

/// A browser, or a program, of one client.
#[derive(Clone, Debug)]
pub struct Client {
    router: Router,
    /// Who it is; tests change the address to be someone else.
    pub facts: ClientFacts,
    /// Its cookies.
    pub cookies: BTreeMap<String, String>,
    /// The site whose pages it sends from.
    pub origin: String,
    /// A bearer key that it sends along.
    pub bearer: Option<String>,
    csrf: Option<String>,
}

impl Client {
    /// A client at 192.0.2.1 over TLS, without cookies, of a router that
    /// [`crate::serve_stack`] made.
    #[must_use]
    pub fn new(router: Router) -> Self {
        Self {
            router,
            facts: ClientFacts {
                address: IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1)),
                agent: Some("test client".to_owned()),
                fingerprint: None,
                https: true,
            },
            cookies: BTreeMap::new(),
            origin: ORIGIN_URL.to_owned(),
            bearer: None,
            csrf: None,
        }
    }

    /// Another client of the same router, without cookies.
    #[must_use]
    pub fn another(&self) -> Self {
        let mut other = Self::new(self.router.clone());
        other.facts = self.facts.clone();
        other.origin.clone_from(&self.origin);
        other
    }

    /// Reads a page as a browser; its form token is kept for the next form.
    pub async fn get(&mut self, path: &str) -> Answer {
        let request = Request::get(path).header(ACCEPT, "text/html,*/*;q=0.8");
        let answer = self.send(request.body(Body::empty()).expect("a request")).await;
        if let Some(token) = answer.csrf() {
            self.csrf = Some(token);
        }
        answer
    }

    /// Reads a document as a program.
    pub async fn get_json(&mut self, path: &str) -> Answer {
        let request = Request::get(path).header(ACCEPT, "application/json");
        self.send(request.body(Body::empty()).expect("a request")).await
    }

    /// Sends the form of a page that it reads first, with its token.
    pub async fn submit(&mut self, page: &str, path: &str, fields: &[(&str, &str)]) -> Answer {
        let _page = self.get(page).await;
        self.post_form(path, fields).await
    }

    /// Sends a form with the token of the last page read, as the browser would from that page.
    pub async fn post_form(&mut self, path: &str, fields: &[(&str, &str)]) -> Answer {
        let mut form = form_urlencoded::Serializer::new(String::new());
        if let Some(token) = &self.csrf {
            form.append_pair("csrf", token);
        }
        form.extend_pairs(fields);
        let request = Request::post(path)
            .header(ACCEPT, "text/html,*/*;q=0.8")
            .header(ORIGIN, &self.origin)
            .header(CONTENT_TYPE, "application/x-www-form-urlencoded");
        self.send(request.body(Body::from(form.finish())).expect("a request")).await
    }

    /// Sends a JSON document as a script of our own page, or as a program with its key.
    pub async fn post_json<T: Serialize + ?Sized>(&mut self, path: &str, body: &T) -> Answer {
        self.json(Method::POST, path, body).await
    }

    /// Sends a JSON document with another method.
    pub async fn json<T: Serialize + ?Sized>(
        &mut self,
        method: Method,
        path: &str,
        body: &T,
    ) -> Answer {
        let body = serde_json::to_vec(body).expect("a document");
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header(ACCEPT, "application/json")
            .header(ORIGIN, &self.origin)
            .header(CONTENT_TYPE, "application/json");
        self.send(request.body(Body::from(body)).expect("a request")).await
    }

    /// Goes where an answer leads.
    pub async fn follow(&mut self, answer: &Answer) -> Answer {
        self.get(answer.location()).await
    }

    /// Sends a request as it is, with the client's facts, cookies and key, and reads the answer
    /// to its end; for a stream without an end there is [`Client::open`].
    pub async fn send(&mut self, request: Request) -> Answer {
        let (parts, body) = self.open(request).await.into_parts();
        let limited = http_body_util::Limited::new(body, MAX_BODY_BYTES);
        let bytes = limited.collect().await.expect("a body that ends").to_bytes();
        let body = String::from_utf8_lossy(&bytes).into_owned();
        Answer { status: parts.status, headers: parts.headers, body }
    }

    /// Sends a request like [`Client::send`] and leaves the answer's body to be read.
    pub async fn open(&mut self, mut request: Request) -> Response {
        request.extensions_mut().insert(self.facts.clone());
        if !self.cookies.is_empty() && !request.headers().contains_key(COOKIE) {
            let pairs: Vec<_> = self.cookies.iter().map(|(k, v)| format!("{k}={v}")).collect();
            let list = pairs.join("; ").parse().expect("cookies");
            request.headers_mut().insert(COOKIE, list);
        }
        if let Some(bearer) = &self.bearer {
            let value = format!("Bearer {bearer}").parse().expect("a key");
            request.headers_mut().insert(AUTHORIZATION, value);
        }
        let response = self.router.clone().oneshot(request).await.expect("infallible");
        self.keep_cookies(response.headers());
        response
    }

    fn keep_cookies(&mut self, headers: &HeaderMap) {
        for header in headers.get_all(SET_COOKIE) {
            let text = header.to_str().expect("a cookie is text");
            let mut parts = text.split(';').map(str::trim);
            let Some((name, value)) = parts.next().and_then(|pair| pair.split_once('=')) else {
                continue;
            };
            if parts.any(|part| part == "Max-Age=0") {
                self.cookies.remove(name);
            } else {
                self.cookies.insert(name.to_owned(), value.to_owned());
            }
        }
    }
}
