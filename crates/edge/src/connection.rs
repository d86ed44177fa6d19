//! One connection: whose it is, TLS, the version of HTTP, and its end.

use std::future::poll_fn;
use std::net::IpAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};
use tokio_rustls::TlsAcceptor;

use crate::connections::{Order, Place, Signal};
use crate::deadline::Deadline;
use crate::exchange::ConnectionFacts;
use crate::frames::PREFACE;
use crate::http2::{Guarded, Streams};
use crate::listener::answer;
use crate::proxy_protocol;
use crate::recorder::{Ledger, Record, Recorder};
use crate::socket::{Counted, Socket};
use crate::state::Inner;
use crate::tls;

/// A connection that a proxy passes on, saying first whose it is. Until then, `place` holds its
/// place among all.
pub(crate) async fn introduced(
    edge: Arc<Inner>,
    mut socket: TcpStream,
    peer: IpAddr,
    place: Place,
    acceptor: Option<TlsAcceptor>,
) {
    let span = Duration::from_millis(edge.bounds.handshake_ms);
    let header = timeout(span, proxy_protocol::header(&mut socket)).await;
    let Ok(Ok((client, behind))) = header else {
        edge.turn_away(peer, "edge.proxy_protocol");
        return;
    };
    drop(place);
    if let Some(connection) = Connection::admit(&edge, client.unwrap_or(peer), acceptor.is_some()) {
        connection.run(socket, behind, acceptor).await;
    }
}

/// One connection before its first request.
pub(crate) struct Connection {
    edge: Arc<Inner>,
    facts: ConnectionFacts,
}

impl Connection {
    /// A client's connection, unless it has too many or is blocked.
    pub(crate) fn admit(edge: &Arc<Inner>, peer: IpAddr, tls: bool) -> Option<Self> {
        let now = edge.clock.now();
        let trusted = edge.trusts(peer);
        let Some(place) = edge.connections.enter(peer, trusted) else {
            edge.turn_away(peer, "edge.too_many_connections");
            return None;
        };
        if !trusted && edge.blocks.load().of(peer, now).is_some() {
            edge.turn_away(peer, "edge.blocked");
            return None;
        }
        edge.meters.taken.inc();
        let facts = ConnectionFacts::new(peer, trusted, tls, place);
        Some(Self { edge: Arc::clone(edge), facts })
    }

    /// `first` has been read from the socket already.
    pub(crate) async fn run(
        mut self,
        mut socket: TcpStream,
        first: Vec<u8>,
        acceptor: Option<TlsAcceptor>,
    ) {
        let Some(acceptor) = acceptor else { return self.plain(socket, first).await };
        let handshake = async {
            let hello_max = self.edge.bounds.hello_max_bytes;
            let (first, ja4) = tls::first_words(&mut socket, first, hello_max).await?;
            if first.first().is_some_and(u8::is_ascii_uppercase) {
                // A TLS record never begins so, and a method always does.
                socket.write_all(tls::NOT_PLAIN).await?;
                return Err(std::io::ErrorKind::InvalidData.into());
            }
            let stream = acceptor.accept(Socket::new(first, socket)).await?;
            Ok::<_, std::io::Error>((stream, ja4))
        };
        let span = Duration::from_millis(self.edge.bounds.handshake_ms);
        let (stream, ja4) = match timeout(span, handshake).await {
            Ok(Ok(done)) => done,
            Ok(Err(_)) | Err(_) => {
                self.edge.turn_away(self.facts.peer, "edge.tls");
                return;
            }
        };
        self.facts.fingerprint = ja4;
        if stream.get_ref().1.alpn_protocol() == Some(b"h2") {
            self.http2(stream).await;
        } else {
            self.http1(stream).await;
        }
    }

    /// Without TLS, a trusted proxy may speak HTTP/2 by prior knowledge (RFC 9113 section 3.3): its
    /// first words say so.
    async fn plain(self, mut socket: TcpStream, first: Vec<u8>) {
        if !self.facts.trusted {
            return self.http1(Socket::new(first.into(), socket)).await;
        }
        let span = Duration::from_millis(self.edge.bounds.head_ms);
        let signal = Arc::clone(&self.facts.place.signal);
        let opening = tokio::select! {
            opening = timeout(span, opening(&mut socket, first)) => opening,
            // Nothing is under way yet.
            _ = poll_fn(|cx| signal.poll(cx, None)) => return,
        };
        match opening {
            Ok(Ok((first, true))) => self.http2(Socket::new(first.into(), socket)).await,
            Ok(Ok((first, false))) => self.http1(Socket::new(first.into(), socket)).await,
            Ok(Err(_)) | Err(_) => {}
        }
    }

    async fn http1(self, socket: impl Counted) {
        let ledger = Arc::new(Ledger::default());
        let recorder = Recorder::new(socket, &self.edge.bounds, Arc::clone(&ledger));
        let facts = Arc::new(self.facts);
        let edge = self.edge;
        let signal = Arc::clone(&facts.place.signal);
        let service = service_fn(|request| {
            let record = ledger.take().unwrap_or_else(Record::unseen);
            answer(Arc::clone(&edge), Arc::clone(&facts), Arc::clone(&ledger), record, request)
        });
        let connection = http1::Builder::new()
            .header_read_timeout(None)
            .serve_connection(recorder, service)
            .with_upgrades();
        let mut connection = pin!(connection);
        drive(connection.as_mut(), &signal, None, |c| c.graceful_shutdown()).await;
    }

    async fn http2(self, socket: impl Counted) {
        let ledger = Arc::new(Ledger::default());
        let facts = Arc::new(self.facts);
        let edge = self.edge;
        let signal = Arc::clone(&facts.place.signal);
        let idle =
            Idle { ledger: Arc::clone(&ledger), span: Duration::from_millis(edge.bounds.idle_ms) };
        let bounds = if facts.trusted { edge.bounds.of_proxy() } else { edge.bounds };
        let streams = Streams::new(edge.tasks.clone(), &bounds);
        let socket = Guarded::new(socket, &bounds, Arc::clone(&ledger));
        let service = service_fn(|request| {
            let (edge, facts) = (Arc::clone(&edge), Arc::clone(&facts));
            answer(edge, facts, Arc::clone(&ledger), Record::unseen(), request)
        });
        let list_max = u32::try_from(bounds.head_max_bytes).unwrap_or(u32::MAX);
        let connection = http2::Builder::new(streams)
            .timer(TokioTimer::new())
            .max_concurrent_streams(bounds.streams_max)
            .max_pending_accept_reset_streams(bounds.resets_max)
            .max_local_error_reset_streams(bounds.resets_max.saturating_mul(4))
            .max_header_list_size(list_max)
            .max_send_buf_size(256 * 1024)
            .keep_alive_interval(Duration::from_secs(20))
            .keep_alive_timeout(Duration::from_secs(20))
            .serve_connection(TokioIo::new(socket), service);
        let mut connection = pin!(connection);
        drive(connection.as_mut(), &signal, Some(idle), |c| c.graceful_shutdown()).await;
        if ledger.is_flooded() {
            edge.turn_away(facts.peer, "edge.http2_flood");
        }
    }
}

/// Reads until it is known whether HTTP/2 is spoken: the first byte says so of almost all others.
async fn opening(socket: &mut TcpStream, mut words: Vec<u8>) -> std::io::Result<(Vec<u8>, bool)> {
    loop {
        let told = words.len().min(PREFACE.len());
        if words.get(..told) != PREFACE.get(..told) {
            return Ok((words, false));
        }
        if told == PREFACE.len() {
            return Ok((words, true));
        }
        words.reserve(2_048);
        if socket.read_buf(&mut words).await? == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
    }
}

/// When a connection without requests ends (HTTP/1 looks after this itself).
struct Idle {
    ledger: Arc<Ledger>,
    span: Duration,
}

/// Runs a connection to its end, or to the end that it is ordered to.
async fn drive<C>(
    mut connection: Pin<&mut C>,
    signal: &Signal,
    idle: Option<Idle>,
    finish: impl Fn(Pin<&mut C>),
) where
    C: Future<Output = Result<(), hyper::Error>>,
{
    let mut last = None;
    let mut idle_by: Option<Instant> = None;
    let mut timer = Deadline::new(Instant::now() + Duration::from_secs(60));
    poll_fn(|cx| {
        loop {
            match signal.poll(cx, last) {
                Poll::Ready(Order::Kill) => return Poll::Ready(()),
                Poll::Ready(Order::Drain) => {
                    last = Some(Order::Drain);
                    finish(connection.as_mut());
                }
                Poll::Pending => break,
            }
        }
        if let Poll::Ready(ended) = connection.as_mut().poll(cx) {
            if let Err(error) = ended {
                tracing::trace!(%error, "a connection ended");
            }
            return Poll::Ready(());
        }
        let Some(idle) = &idle else { return Poll::Pending };
        if !idle.ledger.is_idle() {
            idle_by = None;
            return Poll::Pending;
        }
        let by = *idle_by.get_or_insert_with(|| Instant::now() + idle.span);
        if timer.poll(cx, by).is_pending() {
            return Poll::Pending;
        }
        if last.is_some() {
            return Poll::Ready(());
        }
        last = Some(Order::Drain);
        idle_by = None;
        finish(connection.as_mut());
        cx.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}
