//! How the edge asks core, from another process: HTTP/1.1 over the line, with one field that says
//! what is asked. The door removes that field from whatever comes from outside, and core believes
//! it from the line only.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::{IntoResponse as _, Response};
use http::header::{CONNECTION, TRANSFER_ENCODING};
use http::uri::PathAndQuery;
use http::{HeaderName, HeaderValue, StatusCode, Uri, Version};
use http_body_util::{BodyExt as _, Limited};
use hyper_util::client::legacy::Client;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use thiserror::Error;
use tokio::sync::Semaphore;
use web::feed::{Counter, Minted, Minter, Observed, Take, Taken};
use web::{BoxFuture, ClientFacts};

use super::line::Dialer;
use crate::door::Behind;
use crate::gauges::Told;

/// Says what is asked; `X-Stagedoor-…` never passes the door from outside.
pub(super) const CALL: HeaderName = HeaderName::from_static("x-stagedoor-call");
/// Calls under way at once, answers that stream among them.
pub(super) const CALLS_MAX: usize = 2_000;
/// Connections that wait for the next call.
const IDLE_MAX: usize = 64;
const IDLE: Duration = Duration::from_secs(30);
/// Until core must have begun to answer; longer than its handlers may take.
const ANSWER: Duration = Duration::from_secs(35);
/// The same, where it has only to look something up.
const LOOK_UP: Duration = Duration::from_secs(5);
/// An answer to the edge itself.
const ANSWER_MAX_BYTES: usize = 64 * 1024;

/// What the edge asks.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Call {
    /// To answer a request to one of our own paths.
    Own { door: Door, facts: ClientFacts },
    /// To make the page of a refusal.
    Page { door: Door, shown: Shown },
    /// To tell the feed, for as long as both live.
    Feed,
    /// To take what was seen.
    Observed,
    /// To make a session's next token.
    Mint,
    /// To show how the doors stand.
    Gauges,
    /// To count limits together with other nodes.
    Count,
}

/// Which door a request came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Door {
    Shop,
    Console,
}

/// A refusal on its way to its page.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Shown {
    status: u16,
    code: String,
    detail: String,
    request: kernel::RequestId,
}

impl From<edge::Shown> for Shown {
    fn from(shown: edge::Shown) -> Self {
        let edge::Shown { status, code, detail, request } = shown;
        Self { status: status.as_u16(), code: code.into_owned(), detail, request }
    }
}

impl From<Shown> for edge::Shown {
    fn from(shown: Shown) -> Self {
        let Shown { status, code, detail, request } = shown;
        let status = StatusCode::from_u16(status).unwrap_or(StatusCode::BAD_REQUEST);
        Self { status, code: code.into(), detail, request }
    }
}

/// What is asked to make a token.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Mint {
    pub cookie: String,
    pub facts: ClientFacts,
}

/// Why core did not answer.
#[derive(Debug, Error)]
pub(super) enum Fault {
    /// Too many calls are under way.
    #[error("too many calls are under way")]
    Full,
    /// Core did not begin to answer in time.
    #[error("core did not answer in time")]
    Late,
    /// The call or its answer broke off.
    #[error("the call broke off: {0}")]
    Broken(#[from] hyper_util::client::legacy::Error),
    /// Core says that this was no call.
    #[error("core answered {0}")]
    Refused(StatusCode),
    /// What core answered is not what was asked for.
    #[error("the answer is not what was asked for")]
    Strange,
}

/// Core, as the edge's process knows it.
#[derive(Clone, Debug)]
pub(super) struct Core {
    client: Client<Dialer, Body>,
    calls: Arc<Semaphore>,
}

impl Core {
    /// Core at the end of this dialer's line.
    pub(super) fn new(dialer: Dialer) -> Self {
        let mut builder = Client::builder(TokioExecutor::new());
        builder.pool_timer(TokioTimer::new());
        builder.pool_idle_timeout(IDLE).pool_max_idle_per_host(IDLE_MAX);
        Self { client: builder.build(dialer), calls: Arc::new(Semaphore::new(CALLS_MAX)) }
    }

    /// What answers behind a door.
    pub(super) fn behind(&self, door: Door) -> Behind {
        let state = (self.clone(), door);
        let core = Router::new().fallback(own).with_state(state.clone());
        Behind { core, pages: Router::new().fallback(page).with_state(state) }
    }

    /// The feed, line by line.
    pub(super) async fn feed(&self) -> Result<Body, Fault> {
        let asked = self.call(&Call::Feed, Request::new(Body::empty()), LOOK_UP).await?;
        if asked.status() == StatusCode::OK {
            Ok(asked.into_body())
        } else {
            Err(Fault::Refused(asked.status()))
        }
    }

    /// Tells what was seen.
    pub(super) async fn observed(&self, observed: &Observed) -> Result<(), Fault> {
        self.ask(&Call::Observed, observed).await
    }

    /// Tells how the doors stand.
    pub(super) async fn gauges(&self, told: &Told) -> Result<kernel::Timestamp, Fault> {
        self.ask(&Call::Gauges, told).await
    }

    async fn ask<T: DeserializeOwned>(
        &self,
        call: &Call,
        told: &impl Serialize,
    ) -> Result<T, Fault> {
        let told = serde_json::to_vec(told).map_err(|_| Fault::Strange)?;
        let mut request = Request::new(Body::from(told));
        *request.method_mut() = http::Method::POST;
        let answer = self.call(call, request, LOOK_UP).await?;
        if answer.status() != StatusCode::OK {
            return Err(Fault::Refused(answer.status()));
        }
        let body = Limited::new(answer.into_body(), ANSWER_MAX_BYTES).collect();
        let body = tokio::time::timeout(LOOK_UP, body).await.map_err(|_| Fault::Late)?;
        let body = body.map_err(|_| Fault::Strange)?.to_bytes();
        serde_json::from_slice(&body).map_err(|_| Fault::Strange)
    }

    async fn call(
        &self,
        call: &Call,
        mut request: Request,
        patience: Duration,
    ) -> Result<Response, Fault> {
        let held = Arc::clone(&self.calls).try_acquire_owned().map_err(|_| Fault::Full)?;
        let told = serde_json::to_vec(call).map_err(|_| Fault::Strange)?;
        let told = HeaderValue::from_bytes(&told).map_err(|_| Fault::Strange)?;
        request.headers_mut().insert(CALL, told);
        *request.version_mut() = Version::HTTP_11;
        *request.uri_mut() = at_core(request.uri()).ok_or(Fault::Strange)?;
        let answer = tokio::time::timeout(patience, self.client.request(request));
        let mut answer = answer.await.map_err(|_| Fault::Late)??;
        for name in [CONNECTION, TRANSFER_ENCODING] {
            answer.headers_mut().remove(name);
        }
        // The call lasts as long as its answer.
        Ok(answer.map(|body| {
            Body::new(body.map_frame(move |frame| {
                let _held = &held;
                frame
            }))
        }))
    }
}

fn at_core(uri: &Uri) -> Option<Uri> {
    let target = uri.path_and_query().map_or("/", PathAndQuery::as_str);
    Uri::builder().scheme("http").authority("core").path_and_query(target).build().ok()
}

async fn own(State((core, door)): State<(Core, Door)>, mut request: Request) -> Response {
    let Some(facts) = request.extensions_mut().remove::<ClientFacts>() else { return gone() };
    let answer = core.call(&Call::Own { door, facts }, request, ANSWER).await;
    answer.unwrap_or_else(|fault| {
        tracing::debug!(%fault, "core did not answer");
        gone()
    })
}

async fn page(State((core, door)): State<(Core, Door)>, mut request: Request) -> Response {
    let Some(shown) = request.extensions_mut().remove::<edge::Shown>() else { return gone() };
    let shown = shown.into();
    core.call(&Call::Page { door, shown }, request, LOOK_UP).await.unwrap_or_else(|_| gone())
}

fn gone() -> Response {
    let mut answer = StatusCode::SERVICE_UNAVAILABLE.into_response();
    answer.extensions_mut().insert(edge::CoreGone);
    answer
}

impl Minter for Core {
    fn mint<'a>(
        &'a self,
        session_cookie: &'a str,
        facts: &'a ClientFacts,
    ) -> BoxFuture<'a, Option<Minted>> {
        Box::pin(async move {
            let mint = Mint { cookie: session_cookie.to_owned(), facts: facts.clone() };
            match self.ask(&Call::Mint, &mint).await {
                Ok(minted) => minted,
                Err(fault) => {
                    tracing::warn!(%fault, "no session token was minted");
                    None
                }
            }
        })
    }
}

impl Counter for Core {
    fn take<'a>(&'a self, takes: &'a [Take]) -> BoxFuture<'a, Option<Taken>> {
        Box::pin(async move {
            self.ask(&Call::Count, &takes).await.unwrap_or_else(|fault| {
                tracing::debug!(%fault, "limits were not counted");
                None
            })
        })
    }
}
