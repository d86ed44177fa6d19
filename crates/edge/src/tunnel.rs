//! WebSockets: the upgrade is passed on, and then bytes both ways until one side ends, both are
//! silent for too long, or the session ends; then the client is told so in a last frame.

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use http::header::{CONNECTION, UPGRADE};
use http::{HeaderValue, Request, Response, StatusCode};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _, ReadBuf};
use tokio::time::{Instant, Sleep, sleep, timeout};
use tokio_util::sync::CancellationToken;
use web::feed::Protocol;

use crate::body::{AnswerBody, RequestBody};
use crate::exchange::{Answer, ConnectionFacts, Exchange};
use crate::long_lived::Place;
use crate::proxy::{incoming, outgoing, place, unanswered};
use crate::refused::Refused;
use crate::routes::Entry;
use crate::upstream::{FromUpstream, Permit, SendFault, Source};
use crate::websocket::{Close, Frames};

/// How long the last words to a client may take.
const FAREWELL: Duration = Duration::from_millis(500);

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
    let mut request = match outgoing(&mut exchange, &entry.upstream, Protocol::Http1) {
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
            return exchange.refuse(unanswered(fault));
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
    let pair = Pair {
        client: upgrade,
        upstream: other,
        idle,
        _held: (permit, connection),
        place,
        closing: exchange.edge.closing.clone(),
    };
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
    let io = TokioIo::new(entry.upstream.connect(Protocol::Http1).await?);
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
    /// The edge stops.
    closing: CancellationToken,
}

impl Pair {
    async fn run(self) {
        let Self { client, upstream, idle, _held, place, closing } = self;
        let both = timeout(Duration::from_secs(10), async { tokio::try_join!(client, upstream) });
        let both = tokio::select! {
            both = both => both,
            () = place.closed.cancelled() => return,
        };
        let Ok(Ok((client, upstream))) = both else { return };
        let ended = place.closed.cancelled();
        let Some(mut client) = join(client, upstream, idle, ended).await else { return };
        let why = if closing.is_cancelled() { Close::GoingAway } else { Close::Policy };
        let last = async {
            client.write_all(&why.frame()).await?;
            client.shutdown().await
        };
        let _ = timeout(FAREWELL, last).await;
    }
}

/// Copies both ways until an end, an error, or silence; or until it must end: then the client is
/// given back, between two frames, so that it can be told why.
async fn join(
    client: Upgraded,
    upstream: Upgraded,
    idle: Duration,
    ended: impl Future<Output = ()>,
) -> Option<Heard> {
    let heard = Arc::new(Notes { at_ms: AtomicU64::new(0), start: Instant::now() });
    let mut client = Heard::new(client, Arc::clone(&heard));
    let mut upstream = Heard::new(upstream, Arc::clone(&heard));
    let boundary = Arc::clone(&client.between);
    {
        let mut copying = pin!(tokio::io::copy_bidirectional(&mut client, &mut upstream));
        let mut silence = pin!(heard.silence(idle));
        let mut ended = pin!(ended);
        let mut patience: Option<Pin<Box<Sleep>>> = None;
        let told = poll_fn(|cx| {
            if let Poll::Ready(copied) = copying.as_mut().poll(cx) {
                if let Err(error) = copied {
                    tracing::debug!(%error, "a WebSocket broke off");
                }
                return Poll::Ready(false);
            }
            if silence.as_mut().poll(cx).is_ready() {
                tracing::debug!("a WebSocket was silent for too long");
                return Poll::Ready(false);
            }
            if patience.is_none() {
                ready!(ended.as_mut().poll(cx));
            }
            if boundary.load(Ordering::Relaxed) {
                return Poll::Ready(true);
            }
            // The frame under way is let through, or the client would not understand the next.
            let patience = patience.get_or_insert_with(|| Box::pin(sleep(FAREWELL)));
            patience.as_mut().poll(cx).map(|()| false)
        });
        if !told.await {
            return None;
        }
    }
    Some(client)
}

/// When something was last read from either end.
struct Notes {
    at_ms: AtomicU64,
    start: Instant,
}

impl Notes {
    async fn silence(&self, idle: Duration) {
        loop {
            let last = self.start + Duration::from_millis(self.at_ms.load(Ordering::Relaxed));
            let by = last + idle;
            if Instant::now() >= by {
                return;
            }
            tokio::time::sleep_until(by).await;
        }
    }
}

/// An end that notes when something was last read from it, and whether what was written to it ends
/// with a whole frame.
struct Heard {
    io: TokioIo<Upgraded>,
    heard: Arc<Notes>,
    frames: Frames,
    between: Arc<AtomicBool>,
}

impl Heard {
    fn new(io: Upgraded, heard: Arc<Notes>) -> Self {
        let between = Arc::new(AtomicBool::new(true));
        Self { io: TokioIo::new(io), heard, frames: Frames::default(), between }
    }
}

impl AsyncRead for Heard {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        to: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        let read = Pin::new(&mut self.io).poll_read(cx, to);
        if read.is_ready() {
            let since = self.heard.start.elapsed().as_millis();
            let since = u64::try_from(since).unwrap_or(u64::MAX);
            self.heard.at_ms.store(since, Ordering::Relaxed);
        }
        read
    }
}

impl AsyncWrite for Heard {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        let this = self.get_mut();
        let written = Pin::new(&mut this.io).poll_write(cx, bytes);
        if let Poll::Ready(Ok(count)) = written {
            this.frames.pass(bytes.get(..count).unwrap_or_default());
            this.between.store(this.frames.is_between(), Ordering::Relaxed);
        }
        written
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}
