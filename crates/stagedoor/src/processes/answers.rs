//! How core answers the edge: each connection that the line brings is served as HTTP/1.1, and what
//! is asked stands in one field of each request ([`Call`]).

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::Body;
use axum::response::{IntoResponse as _, Response};
use bytes::Bytes;
use futures_util::{StreamExt as _, stream};
use http::header::CONTENT_TYPE;
use http::{HeaderValue, Request, StatusCode};
use http_body_util::{BodyExt as _, Limited};
use hyper::body::{Frame, Incoming, SizeHint};
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use kernel::Clock;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::net::UnixStream;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::ServiceExt as _;
use tracing::Instrument as _;
use web::feed::{Hub, Observations, Observed, Subscription, Take, Taken, Update};

use super::calls::{CALL, CALLS_MAX, Call, Door, Mint};
use super::line::Acceptor;
use crate::door::{Asks, Behind};
use crate::gauges::{Doors, Told};

/// What the edge may say in one call besides a client's own body: the counts of many clients.
const TOLD_MAX_BYTES: usize = 16 * 1024 * 1024;
/// How long it may take to say it.
const TOLD: Duration = Duration::from_secs(5);
/// The head of a call: a client's head, and the call itself.
const HEAD_MAX_BYTES: usize = 256 * 1024;
/// Longer than the edge keeps a connection without a call: it is the edge that closes one.
const HEAD: Duration = Duration::from_secs(60);
/// How long calls under way may take when core stops.
const CLOSING: Duration = Duration::from_secs(5);

/// What core answers with.
pub(super) struct Answers {
    pub shop: Behind,
    pub console: Behind,
    pub hub: Hub,
    pub asks: Asks,
    pub observations: Arc<Observations>,
    pub doors: Doors,
    pub clock: Arc<dyn Clock>,
}

/// The answering of all lines.
pub(super) struct Answering {
    answers: Arc<Answers>,
    connections: Arc<Semaphore>,
    tracker: TaskTracker,
    stop: CancellationToken,
}

impl Answering {
    /// Nothing is answered yet.
    pub(super) fn new(answers: Answers) -> Self {
        Self {
            answers: Arc::new(answers),
            connections: Arc::new(Semaphore::new(CALLS_MAX)),
            tracker: TaskTracker::new(),
            stop: CancellationToken::new(),
        }
    }

    /// Answers what comes over this line, until its other end is gone.
    pub(super) fn serve(&self, line: Acceptor) {
        let (answers, stop) = (Arc::clone(&self.answers), self.stop.clone());
        let (connections, tracker) = (Arc::clone(&self.connections), self.tracker.clone());
        self.tracker.spawn(async move {
            loop {
                let accepted = tokio::select! {
                    () = stop.cancelled() => return,
                    accepted = line.accept() => accepted,
                };
                let connection = match accepted {
                    Ok(Some(connection)) => connection,
                    Ok(None) => return,
                    Err(error) => {
                        tracing::warn!(%error, "a connection could not be taken");
                        tokio::time::sleep(Duration::from_millis(20)).await;
                        continue;
                    }
                };
                let Ok(held) = Arc::clone(&connections).acquire_owned().await else { return };
                let served = serve(Arc::clone(&answers), connection, stop.clone());
                tracker.spawn(async move {
                    served.await;
                    drop(held);
                });
            }
        });
    }

    /// Lets the calls under way finish, in bounded time.
    pub(super) async fn stop(self) {
        self.stop.cancel();
        self.tracker.close();
        if tokio::time::timeout(CLOSING, self.tracker.wait()).await.is_err() {
            tracing::warn!("calls of the edge were cut off");
        }
    }
}

async fn serve(answers: Arc<Answers>, connection: UnixStream, stop: CancellationToken) {
    let over = stop.clone();
    let service = service_fn(move |request| {
        let (answers, stop) = (Arc::clone(&answers), over.clone());
        async move { Ok::<_, Infallible>(answers.answer(request, stop).await) }
    });
    let mut builder = hyper::server::conn::http1::Builder::new();
    builder.timer(TokioTimer::new()).max_buf_size(HEAD_MAX_BYTES).auto_date_header(false);
    builder.header_read_timeout(HEAD).keep_alive(true);
    let connection = builder.serve_connection(TokioIo::new(connection), service);
    let mut connection = std::pin::pin!(connection);
    let served = tokio::select! {
        served = connection.as_mut() => served,
        () = stop.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = served {
        tracing::debug!(%error, "a call broke off");
    }
}

impl Answers {
    async fn answer(&self, mut request: Request<Incoming>, stop: CancellationToken) -> Response {
        let call = request.headers_mut().remove(CALL);
        let call = call.and_then(|call| serde_json::from_slice::<Call>(call.as_bytes()).ok());
        match call {
            None => StatusCode::BAD_REQUEST.into_response(),
            Some(Call::Own { door, facts }) => {
                request.extensions_mut().insert(facts);
                let span = edge::continued(request.headers());
                pass(self.behind(door).core.clone(), request).instrument(span).await
            }
            Some(Call::Page { door, shown }) => {
                let shown = edge::Shown::from(shown);
                request.extensions_mut().insert(shown.request);
                request.extensions_mut().insert(shown);
                pass(self.behind(door).pages.clone(), request).await
            }
            Some(Call::Feed) => feed(self.hub.subscribe(), stop),
            Some(Call::Observed) => match told::<Observed>(request).await {
                Some(observed) => {
                    self.observations.add(observed);
                    document(&())
                }
                None => StatusCode::BAD_REQUEST.into_response(),
            },
            Some(Call::Gauges) => match told::<Told>(request).await {
                Some(told) => {
                    let now = self.clock.now();
                    self.doors.hear(told, now);
                    document(&now)
                }
                None => StatusCode::BAD_REQUEST.into_response(),
            },
            Some(Call::Mint) => match told::<Mint>(request).await {
                Some(Mint { cookie, facts }) => {
                    document(&self.asks.minter.mint(&cookie, &facts).await)
                }
                None => StatusCode::BAD_REQUEST.into_response(),
            },
            Some(Call::Count) => match (told::<Vec<Take>>(request).await, &self.asks.counter) {
                (Some(takes), Some(counter)) => document(&counter.take(&takes).await),
                (Some(_), None) => document(&None::<Taken>),
                (None, _) => StatusCode::BAD_REQUEST.into_response(),
            },
        }
    }

    const fn behind(&self, door: Door) -> &Behind {
        match door {
            Door::Shop => &self.shop,
            Door::Console => &self.console,
        }
    }
}

async fn pass(router: axum::Router, request: Request<Incoming>) -> Response {
    let (head, body) = request.into_parts();
    let body = Rest(Arc::new(Mutex::new(body)));
    let request = Request::from_parts(head, Body::new(body.clone()));
    let Ok(answer) = router.oneshot(request).await;
    body.drain().await;
    answer
}

/// A client's body, read to its end even where its handler did not care for it: the edge, which is
/// still sending it, would take a closed connection for the end of core and lose the answer.
#[derive(Clone)]
struct Rest(Arc<Mutex<Incoming>>);

impl Rest {
    /// Reads what is left, within bounds, where nobody else does any more.
    async fn drain(self) {
        let Some(rest) = Arc::into_inner(self.0) else { return };
        let mut rest = rest.into_inner().unwrap_or_else(PoisonError::into_inner);
        let mut read = 0_usize;
        let reading = async {
            while let Some(Ok(frame)) = rest.frame().await {
                read = read.saturating_add(frame.data_ref().map_or(0, Bytes::len));
                if read > TOLD_MAX_BYTES {
                    return;
                }
            }
        };
        // A body that comes more slowly is cut off with its connection.
        let _ = tokio::time::timeout(TOLD, reading).await;
    }

    fn with<T>(&self, ask: impl FnOnce(Pin<&mut Incoming>) -> T) -> T {
        ask(Pin::new(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner)))
    }
}

impl hyper::body::Body for Rest {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        self.with(|body| body.poll_frame(cx))
    }

    fn is_end_stream(&self) -> bool {
        self.with(|body| body.is_end_stream())
    }

    fn size_hint(&self) -> SizeHint {
        self.with(|body| body.size_hint())
    }
}

/// The document in a call's body.
async fn told<T: DeserializeOwned>(request: Request<Incoming>) -> Option<T> {
    let body = Limited::new(request.into_body(), TOLD_MAX_BYTES).collect();
    let body = tokio::time::timeout(TOLD, body).await.ok()?.ok()?.to_bytes();
    serde_json::from_slice(&body).ok()
}

fn document(told: &impl Serialize) -> Response {
    let json = HeaderValue::from_static("application/json");
    match serde_json::to_vec(told) {
        Ok(text) => ([(CONTENT_TYPE, json)], text).into_response(),
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

/// Each update as a line of JSON. A reader that is too slow for the feed gets a snapshot instead.
fn feed(subscription: Subscription, stop: CancellationToken) -> Response {
    let updates = stream::unfold(subscription, |mut subscription| async move {
        let update = subscription.next().await?;
        Some((line(&update), subscription))
    });
    Body::from_stream(updates.take_until(stop.cancelled_owned())).into_response()
}

fn line(update: &Update) -> Result<Bytes, serde_json::Error> {
    let mut line = serde_json::to_vec(update)?;
    line.push(b'\n');
    Ok(line.into())
}
