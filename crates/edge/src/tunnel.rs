//! WebSockets: the upgrade is passed on, and then bytes both ways until one side ends, both are
//! silent for too long, or the session ends.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use http::header::{CONNECTION, UPGRADE};
use http::{HeaderValue, Request, Response, StatusCode};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, timeout};

use crate::body::{AnswerBody, RequestBody};
use crate::exchange::{Answer, ConnectionFacts, Exchange, Refused};
use crate::long_lived::Place;
use crate::proxy::{incoming, outgoing, place};
use crate::routes::Entry;
use crate::upstream::{FromUpstream, Permit, SendFault, Source};

/// Asks the upstream for the WebSocket, and joins the two where it agrees.
pub(crate) async fn open(mut exchange: Box<Exchange>, entry: Arc<Entry>) -> Answer {
    let (Some(permit), Some(upgrade)) = (entry.upstream.enter(), exchange.upgrade.take()) else {
        let refused = Refused::new(503, "edge.upstream_full", "Too many requests are under way.");
        return exchange.refuse(refused.retry_after(1));
    };
    let place = match place(&exchange) {
        Ok(place) => place,
        Err(refused) => return exchange.refuse(refused),
    };
    let mut request = match outgoing(&mut exchange, &entry.upstream) {
        Ok(request) => request,
        Err(refused) => return exchange.refuse(refused),
    };
    request.headers_mut().insert(CONNECTION, HeaderValue::from_static("upgrade"));
    request.headers_mut().insert(UPGRADE, HeaderValue::from_static("websocket"));
    let first_byte = Duration::from_millis(entry.route.timeouts.first_byte_ms);
    let asked = timeout(first_byte, ask(&exchange, &entry, request)).await;
    let mut response = match asked.unwrap_or(Err(SendFault::Late)) {
        Ok(response) => response,
        Err(fault) => {
            tracing::warn!(upstream = %entry.upstream.config.name, ?fault, "no WebSocket");
            let refused = match fault {
                SendFault::Late => Refused::new(504, "edge.upstream_late", "No answer in time."),
                SendFault::Gone | SendFault::Body => {
                    Refused::new(502, "edge.upstream_gone", "The shop cannot be reached.")
                }
            };
            return exchange.refuse(refused);
        }
    };
    if response.status() != StatusCode::SWITCHING_PROTOCOLS {
        let wrap = |body| {
            AnswerBody::upstream(FromUpstream::new(
                Source::Shared(body),
                permit,
                Some(first_byte),
                None,
            ))
        };
        return incoming(exchange, response.map(wrap), None);
    }
    let other = hyper::upgrade::on(&mut response);
    let idle = Duration::from_millis(entry.route.timeouts.websocket_idle_ms);
    let connection = Arc::clone(&exchange.connection);
    let pair = Pair { client: upgrade, upstream: other, idle, _held: (permit, connection), place };
    exchange.edge.tasks.spawn(pair.run());
    if let Some(asked) = exchange.asked.take() {
        asked.open();
    }
    incoming(exchange, response.map(|_| AnswerBody::nothing()), None)
}

async fn ask(
    exchange: &Exchange,
    entry: &Entry,
    request: Request<RequestBody>,
) -> Result<Response<Incoming>, SendFault> {
    let io = TokioIo::new(entry.upstream.connect().await?);
    let (mut sender, connection) = http1::handshake(io).await.map_err(|_| SendFault::Gone)?;
    exchange.edge.background.spawn(async move {
        if let Err(error) = connection.with_upgrades().await {
            tracing::debug!(%error, "a WebSocket's connection to an upstream ended");
        }
    });
    sender.send_request(request).await.map_err(|_| SendFault::Gone)
}

/// Two ends that are about to be joined.
struct Pair {
    client: OnUpgrade,
    upstream: OnUpgrade,
    idle: Duration,
    /// Places among the upstream's requests and the listener's connections.
    _held: (Permit, Arc<ConnectionFacts>),
    place: Place,
}

impl Pair {
    async fn run(self) {
        let Self { client, upstream, idle, _held, place } = self;
        let joined = async {
            let both =
                timeout(Duration::from_secs(10), async { tokio::try_join!(client, upstream) });
            let Ok(Ok((client, upstream))) = both.await else { return };
            join(client, upstream, idle).await;
        };
        tokio::select! {
            () = joined => {}
            () = place.closed.cancelled() => {}
        }
    }
}

/// Copies both ways until an end, an error, or silence.
async fn join(client: Upgraded, upstream: Upgraded, idle: Duration) {
    let start = Instant::now();
    let heard = AtomicU64::new(0);
    let mut client = Heard { io: TokioIo::new(client), heard: &heard, start };
    let mut upstream = Heard { io: TokioIo::new(upstream), heard: &heard, start };
    let silence = async {
        loop {
            let last = start + Duration::from_millis(heard.load(Ordering::Relaxed));
            let by = last + idle;
            if Instant::now() >= by {
                return;
            }
            tokio::time::sleep_until(by).await;
        }
    };
    tokio::select! {
        copied = tokio::io::copy_bidirectional(&mut client, &mut upstream) => {
            if let Err(error) = copied {
                tracing::debug!(%error, "a WebSocket broke off");
            }
        }
        () = silence => tracing::debug!("a WebSocket was silent for too long"),
    }
}

/// An end that notes when something was last read from it.
struct Heard<'a> {
    io: TokioIo<Upgraded>,
    heard: &'a AtomicU64,
    start: Instant,
}

impl AsyncRead for Heard<'_> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        to: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        let read = Pin::new(&mut self.io).poll_read(cx, to);
        if read.is_ready() {
            let since = u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX);
            self.heard.store(since, Ordering::Relaxed);
        }
        read
    }
}

impl AsyncWrite for Heard<'_> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}
