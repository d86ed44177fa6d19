//! Takes connections, and gives each of their requests to the stack.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use http::{Request, Response};
use hyper::body::Incoming;
use tokio::net::TcpListener;
use tokio::time::{Instant, timeout};
use tokio_rustls::TlsAcceptor;
use tower::Service as _;

use crate::body::{AnswerBody, RequestBody};
use crate::config::{Config, Listen};
use crate::connection::{Connection, introduced};
use crate::error::Error;
use crate::exchange::{Asked, ConnectionFacts, Exchange};
use crate::fields::Fields;
use crate::forward_auth;
use crate::identity::HeaderKey;
use crate::meters::{Report, Route};
use crate::proxy::pass_on;
use crate::recorder::{Ledger, Record};
use crate::refused::{Refused, Shown, dress};
use crate::routes::{Credentials, Found};
use crate::stack::stack;
use crate::state::{Inner, Parts};
use crate::tls;
use crate::trace::Trace;
use crate::wire::UpstreamTls;

/// What the kernel holds of a connection beyond what is on its way. With megabytes there, an honest
/// reader of some kB/s seems to read nothing for minutes, and then much at once.
const UNSENT_BYTES: u32 = 128 * 1024;

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
        let (listener, local) = listen(config.listen).await?;
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
            traced_ppm: config.traced_ppm,
            issuer: config.issuer,
            forward_auth: config.forward_auth,
            clock: config.clock,
            entropy: config.entropy,
            minter: config.minter,
            counter: config.counter,
            core: config.core,
            pages: config.pages,
            observations: config.observations,
        }));
        if let Some(first) = feed.next().await {
            inner.take(first);
        }
        inner.background.spawn(Arc::clone(&inner).follow(feed));
        inner.background.spawn(Arc::clone(&inner).sweep());
        if let Some(desk) = &inner.desk {
            inner.background.spawn(Arc::clone(desk).serve(inner.stop.clone()));
            inner.background.spawn(Arc::clone(desk).tend(inner.stop.clone()));
        }
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

    /// Looks at it from outside.
    #[must_use]
    pub fn watcher(&self) -> Watcher {
        Watcher(Arc::clone(&self.inner))
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

/// Looks at an edge from outside, also while it ends.
#[derive(Clone)]
pub struct Watcher(Arc<Inner>);

impl std::fmt::Debug for Watcher {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Watcher")
    }
}

impl Watcher {
    /// What the edge counted, and how it stands.
    #[must_use]
    pub fn report(&self) -> Report {
        let (edge, mut report) = (&self.0, self.0.meters.report());
        report.connections.1 = edge.connections.len();
        report.streams = edge.long_lived.len();
        let silence = edge.silence(edge.clock.now());
        report.silence_us =
            silence.map(|silence| u64::try_from(silence.as_micros()).unwrap_or(u64::MAX));
        report
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

async fn listen(wanted: Listen) -> Result<(TcpListener, SocketAddr), Error> {
    let (listener, address) = match wanted {
        Listen::At(address) => (TcpListener::bind(address).await, address),
        Listen::On(listener) => {
            let address = listener.local_addr();
            let ready =
                listener.set_nonblocking(true).and_then(|()| TcpListener::from_std(listener));
            (ready, address.unwrap_or_else(|_| SocketAddr::from(([0, 0, 0, 0], 0))))
        }
    };
    let failed = |source| Error::Listen { address, source };
    let listener = listener.map_err(failed)?;
    let local = listener.local_addr().map_err(failed)?;
    Ok((listener, local))
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
        let _ = socket2::SockRef::from(&socket).set_tcp_notsent_lowat(UNSENT_BYTES);
        let acceptor = acceptor.clone();
        if edge.proxy_protocol.iter().any(|net| net.contains(peer)) {
            let Some(place) = edge.connections.enter(peer, true) else {
                edge.turn_away(peer, "edge.too_many_connections");
                continue;
            };
            edge.tasks.spawn(introduced(Arc::clone(&edge), socket, peer, place, acceptor));
        } else if let Some(connection) = Connection::admit(&edge, peer, acceptor.is_some()) {
            edge.tasks.spawn(connection.run(socket, Vec::new(), acceptor));
        }
    }
}

/// One request, from hyper to its answer.
pub(crate) async fn answer(
    edge: Arc<Inner>,
    facts: Arc<ConnectionFacts>,
    ledger: Arc<Ledger>,
    record: Record,
    mut request: Request<Incoming>,
) -> Result<Response<AnswerBody>, Infallible> {
    let began = Instant::now();
    let busy = ledger.begin();
    let websocket = record.websocket;
    let upgrade = websocket.then(|| hyper::upgrade::on(&mut request));
    let asked = websocket.then(|| Asked::new(ledger));
    let (mut head, body) = request.into_parts();
    head.extensions.clear();
    let (body, fate) = RequestBody::new(body, head.headers.contains_key(http::header::EXPECT));
    let trace = Trace::begin(edge.traced_ppm, edge.entropy.as_ref(), facts.trusted, &head);
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
        must_see: None,
        our_cookies: false,
        page: false,
        trace: trace.clone(),
    });
    let multiplexed = exchange.head.version >= http::Version::HTTP_2;
    let edge = Arc::clone(&exchange.edge);
    let (mut answer, route) = through(exchange).await;
    route.meters.answered(answer.status(), began.elapsed());
    if let Some(trace) = trace {
        trace.end(&route.name, answer.status().as_u16());
    }
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

/// The answer, and what counts it.
async fn through(exchange: Box<Exchange>) -> (Response<AnswerBody>, Route) {
    let asking = exchange.edge.forward_auth.as_ref().is_some_and(|config| {
        exchange.record.flaw.is_none() && exchange.head.uri.path() == config.path
    });
    if asking {
        let own = exchange.edge.meters.own().clone();
        return (Box::pin(asked(exchange)).await, own);
    }
    let edge = Arc::clone(&exchange.edge);
    let Ok(decision) = stack().call(exchange).await;
    match decision {
        Ok(exchange) => {
            let route = exchange.metered();
            (pass_on(exchange).await, route)
        }
        Err(mut answer) => {
            let route = answer.extensions_mut().remove::<Route>();
            (*answer, route.unwrap_or_else(|| edge.meters.none().clone()))
        }
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
