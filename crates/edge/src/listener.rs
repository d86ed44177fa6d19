//! Takes connections, speaks TLS, and gives each request to the stack.

use std::convert::Infallible;
use std::future::poll_fn;
use std::net::{IpAddr, SocketAddr};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use http::{Request, Response};
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::AsyncReadExt as _;
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{Instant, timeout};
use tokio_rustls::TlsAcceptor;
use tower::Service as _;

use crate::body::{AnswerBody, RequestBody};
use crate::config::Config;
use crate::connections::{Order, Place, Signal};
use crate::deadline::Deadline;
use crate::error::Error;
use crate::exchange::{Asked, ConnectionFacts, Exchange};
use crate::fields::Fields;
use crate::forward_auth;
use crate::frames::PREFACE;
use crate::http2::{Guarded, Streams};
use crate::identity::HeaderKey;
use crate::proxy::pass_on;
use crate::proxy_protocol;
use crate::recorder::{Ledger, Record, Recorder};
use crate::refused::{Refused, Shown, dress};
use crate::routes::{Credentials, Found};
use crate::socket::{Counted, Socket};
use crate::stack::stack;
use crate::state::{Inner, Parts};
use crate::tls;
use crate::wire::UpstreamTls;

/// The data plane.
#[derive(Debug)]
pub struct Edge;

impl Edge {
    /// Loads the feed's snapshot, then listens: no request is answered from an empty table.
    ///
    /// # Errors
    /// [`Error`] where the configuration is wrong or the address is taken.
    pub async fn start(config: Config) -> Result<Running, Error> {
        config.check()?;
        let acceptor = config.tls.as_ref().map(tls::server).transpose()?.map(TlsAcceptor::from);
        let address = config.listen;
        let listen = |source| Error::Listen { address, source };
        let listener = TcpListener::bind(address).await.map_err(listen)?;
        let local = listener.local_addr().map_err(listen)?;
        let mut feed = config.hub.subscribe();
        let keys = config.header_keys.iter();
        let header_keys =
            keys.filter_map(|(id, key)| Some((id.clone(), HeaderKey::new(key.expose())?)));
        let inner = Arc::new(Inner::new(Parts {
            credentials: Credentials {
                header_keys: header_keys.collect(),
                tls: config.upstream_tls,
                public_tls: UpstreamTls::new(None, None)?,
            },
            proxy_protocol: config.proxy_protocol,
            bounds: config.bounds,
            trusted: config.trusted_proxies,
            sign_in_path: config.sign_in_path,
            issuer: config.issuer,
            forward_auth: config.forward_auth,
            clock: config.clock,
            entropy: config.entropy,
            minter: config.minter,
            core: config.core,
            pages: config.pages,
            observations: config.observations,
        }));
        if let Some(first) = feed.next().await {
            inner.take(first);
        }
        inner.background.spawn(Arc::clone(&inner).follow(feed));
        inner.background.spawn(Arc::clone(&inner).sweep());
        inner.background.spawn(accept(Arc::clone(&inner), listener, acceptor));
        Ok(Running { local, inner })
    }
}

/// An edge that listens. Dropping it ends it at once.
pub struct Running {
    local: SocketAddr,
    inner: Arc<Inner>,
}

impl std::fmt::Debug for Running {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Running").field("local", &self.local).finish_non_exhaustive()
    }
}

impl Running {
    /// Where it listens.
    #[must_use]
    pub const fn local_addr(&self) -> SocketAddr {
        self.local
    }

    /// Whether the feed has been silent for too long.
    #[must_use]
    pub fn is_stale(&self) -> bool {
        self.inner.is_stale(self.inner.clock.now())
    }

    /// Whether a position of the feed is in force here.
    #[must_use]
    pub fn has(&self, position: web::feed::Position) -> bool {
        self.inner.has(position)
    }

    /// Open connections, and long-lived streams among them and besides.
    #[must_use]
    pub fn open(&self) -> (usize, usize) {
        (self.inner.connections.len(), self.inner.long_lived.len())
    }

    /// Stops taking connections, lets what is under way finish, and ends what has not finished
    /// after `deadline`.
    pub async fn drain(self, deadline: Duration) {
        let inner = &self.inner;
        inner.closing.cancel();
        inner.connections.drain();
        inner.tasks.close();
        if timeout(deadline, inner.tasks.wait()).await.is_err() {
            inner.long_lived.close(|_| true);
            inner.connections.kill();
            let _ = timeout(Duration::from_secs(1), inner.tasks.wait()).await;
        }
        inner.stop.cancel();
        inner.background.close();
        let _ = timeout(Duration::from_secs(1), inner.background.wait()).await;
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.inner.closing.cancel();
        self.inner.long_lived.close(|_| true);
        self.inner.connections.kill();
        self.inner.stop.cancel();
    }
}

async fn accept(edge: Arc<Inner>, listener: TcpListener, acceptor: Option<TlsAcceptor>) {
    loop {
        let taken = tokio::select! {
            () = edge.closing.cancelled() => return,
            taken = listener.accept() => taken,
        };
        let (socket, peer) = match taken {
            Ok(taken) => taken,
            Err(error) => {
                // Out of file descriptors: some will be given back.
                tracing::warn!(%error, "a connection could not be taken");
                tokio::time::sleep(Duration::from_millis(20)).await;
                continue;
            }
        };
        let peer = peer.ip().to_canonical();
        let _ = socket.set_nodelay(true);
        let acceptor = acceptor.clone();
        if edge.proxy_protocol.iter().any(|net| net.contains(peer)) {
            let Some(place) = edge.connections.enter(peer, true) else {
                edge.observe(peer, "edge.too_many_connections", edge.clock.now());
                continue;
            };
            edge.tasks.spawn(introduced(Arc::clone(&edge), socket, peer, place, acceptor));
        } else if let Some(connection) = Connection::admit(&edge, peer, acceptor.is_some()) {
            edge.tasks.spawn(connection.run(socket, Vec::new(), acceptor));
        }
    }
}

/// A connection that a proxy passes on, saying first whose it is. Until then, `place` holds its
/// place among all.
async fn introduced(
    edge: Arc<Inner>,
    mut socket: TcpStream,
    peer: IpAddr,
    place: Place,
    acceptor: Option<TlsAcceptor>,
) {
    let span = Duration::from_millis(edge.bounds.handshake_ms);
    let header = timeout(span, proxy_protocol::header(&mut socket)).await;
    let Ok(Ok((client, behind))) = header else {
        edge.observe(peer, "edge.proxy_protocol", edge.clock.now());
        return;
    };
    drop(place);
    if let Some(connection) = Connection::admit(&edge, client.unwrap_or(peer), acceptor.is_some()) {
        connection.run(socket, behind, acceptor).await;
    }
}

/// One connection before its first request.
struct Connection {
    edge: Arc<Inner>,
    facts: ConnectionFacts,
}

impl Connection {
    /// A client's connection, unless it has too many or is blocked.
    fn admit(edge: &Arc<Inner>, peer: IpAddr, tls: bool) -> Option<Self> {
        let now = edge.clock.now();
        let trusted = edge.trusts(peer);
        let Some(place) = edge.connections.enter(peer, trusted) else {
            edge.observe(peer, "edge.too_many_connections", now);
            return None;
        };
        if !trusted && edge.blocks.load().of(peer, now).is_some() {
            edge.observe(peer, "edge.blocked", now);
            return None;
        }
        let facts = ConnectionFacts::new(peer, trusted, tls, place);
        Some(Self { edge: Arc::clone(edge), facts })
    }

    /// `first` has been read from the socket already.
    async fn run(mut self, mut socket: TcpStream, first: Vec<u8>, acceptor: Option<TlsAcceptor>) {
        let Some(acceptor) = acceptor else { return self.plain(socket, first).await };
        let handshake = async {
            let hello_max = self.edge.bounds.hello_max_bytes;
            let (first, ja4) = tls::first_words(&mut socket, first, hello_max).await?;
            let stream = acceptor.accept(Socket::new(first, socket)).await?;
            Ok::<_, std::io::Error>((stream, ja4))
        };
        let span = Duration::from_millis(self.edge.bounds.handshake_ms);
        let (stream, ja4) = match timeout(span, handshake).await {
            Ok(Ok(done)) => done,
            Ok(Err(_)) | Err(_) => {
                self.edge.observe(self.facts.peer, "edge.tls", self.edge.clock.now());
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
        let bounds = edge.bounds;
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
            edge.observe(facts.peer, "edge.http2_flood", edge.clock.now());
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

/// One request, from hyper to its answer.
async fn answer(
    edge: Arc<Inner>,
    facts: Arc<ConnectionFacts>,
    ledger: Arc<Ledger>,
    record: Record,
    mut request: Request<Incoming>,
) -> Result<Response<AnswerBody>, Infallible> {
    let busy = ledger.begin();
    let websocket = record.websocket;
    let upgrade = websocket.then(|| hyper::upgrade::on(&mut request));
    let asked = websocket.then(|| Asked::new(ledger));
    let (mut head, body) = request.into_parts();
    head.extensions.clear();
    let (body, fate) = RequestBody::new(body);
    let exchange = Box::new(Exchange {
        now: edge.clock.now(),
        client: facts.peer,
        https: facts.tls,
        edge,
        connection: facts,
        head,
        body,
        fate,
        record,
        fields: Fields::default(),
        asked,
        upgrade,
        found: Found::Nothing,
        session: None,
        claim_fault: None,
        notes: crate::exchange::Notes::default(),
        our_cookies: false,
        page: false,
    });
    let multiplexed = exchange.head.version >= http::Version::HTTP_2;
    let edge = Arc::clone(&exchange.edge);
    let mut answer = through(exchange).await;
    if let Some(pages) = &edge.pages
        && answer.extensions().get::<Shown>().is_some()
    {
        answer = Box::pin(dress(pages, answer)).await;
    }
    answer.body_mut().keep_busy(busy);
    if multiplexed {
        answer.body_mut().cut();
    }
    Ok(answer)
}

async fn through(exchange: Box<Exchange>) -> Response<AnswerBody> {
    let asking = exchange.edge.forward_auth.as_ref().is_some_and(|config| {
        exchange.record.flaw.is_none() && exchange.head.uri.path() == config.path
    });
    if asking {
        return Box::pin(asked(exchange)).await;
    }
    let Ok(decision) = stack().call(exchange).await;
    match decision {
        Ok(exchange) => pass_on(exchange).await,
        Err(answer) => *answer,
    }
}

/// Another proxy asks about a request.
async fn asked(mut exchange: Box<Exchange>) -> Response<AnswerBody> {
    let edge = Arc::clone(&exchange.edge);
    let Some(config) = &edge.forward_auth else {
        return exchange.refuse(Refused::new(404, "edge.no_route", "There is nothing here."));
    };
    let dialect = match forward_auth::question(&mut exchange, config) {
        Ok(dialect) => dialect,
        Err(refused) => {
            exchange.observe(refused.code());
            return exchange.refuse(refused);
        }
    };
    let Ok(decision) = stack().call(exchange).await;
    let answer = match decision {
        Ok(exchange) => forward_auth::tell(exchange),
        Err(answer) => *answer,
    };
    forward_auth::in_dialect(answer, dialect)
}
