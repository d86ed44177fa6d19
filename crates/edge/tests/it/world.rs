//! An edge between a client and an upstream that notes what it saw, with a clock to move.

use std::collections::HashMap;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use edge::identity::HeaderKey;
use edge::{Bounds, Certificates, Config, Edge, Issuer, Running, Tls, UpstreamTls};
use futures_util::future::BoxFuture;
use futures_util::{SinkExt as _, StreamExt as _};
use http::{HeaderMap, Request, Response};
use http_body_util::{BodyExt as _, Either, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use kernel::{AccountId, Clock, SessionId, SystemEntropy, Timestamp};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use web::ClientFacts;
use web::feed::{
    Counter, Hub, Jwk, Jwks, Minted, Minter, Observations, Publisher, PublisherId, RouteTable,
    Snapshot,
};

pub(crate) const HEADER_KEY: [u8; 32] = [9; 32];
pub(crate) const START_S: i64 = 1_800_000_000;
/// Nothing on this machine takes longer.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);

/// More than all buffers on the way hold.
pub(crate) const LARGE_BYTES: usize = 24 << 20;

/// A clock that only moves when it is told to.
#[derive(Debug)]
pub(crate) struct TestClock(AtomicI64);

impl TestClock {
    pub(crate) fn forward(&self, seconds: i64) {
        self.0.fetch_add(seconds * 1_000_000, Ordering::SeqCst);
    }
}

impl Clock for TestClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_micros(self.0.load(Ordering::SeqCst))
    }
}

/// One request as an upstream saw it, whole.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    pub(crate) target: String,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Seen {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }
}

pub(crate) type Log = Arc<Mutex<Vec<Seen>>>;

/// Mints whatever it holds.
pub(crate) struct TestMinter {
    pub(crate) token: Mutex<Option<String>>,
    pub(crate) asked: AtomicI64,
}

impl Minter for TestMinter {
    fn mint<'a>(&'a self, _: &'a str, _: &'a ClientFacts) -> BoxFuture<'a, Option<Minted>> {
        Box::pin(async move {
            self.asked.fetch_add(1, Ordering::SeqCst);
            tokio::task::yield_now().await;
            let token = self.token.lock().unwrap().clone()?;
            Some(Minted { token, expires: Timestamp::from_seconds(START_S + 300) })
        })
    }
}

pub(crate) struct World {
    pub(crate) edge: Option<Running>,
    pub(crate) at: SocketAddr,
    pub(crate) clock: Arc<TestClock>,
    pub(crate) hub: Hub,
    pub(crate) publisher: Publisher,
    pub(crate) log: Log,
    pub(crate) observations: Arc<Observations>,
    pub(crate) minter: Arc<TestMinter>,
    pub(crate) signer: Ed25519KeyPair,
    pub(crate) certificates: Certificates,
    pub(crate) authority: rustls::pki_types::CertificateDer<'static>,
    tasks: Vec<JoinHandle<()>>,
}

impl Drop for World {
    fn drop(&mut self) {
        for task in &self.tasks {
            task.abort();
        }
    }
}

/// What a test changes about the edge before it starts.
#[derive(Default)]
pub(crate) struct Wish {
    pub(crate) bounds: Bounds,
    pub(crate) tls: bool,
    pub(crate) trusted: Vec<&'static str>,
    pub(crate) forward_auth: Option<edge::ForwardAuth>,
    pub(crate) routes: Option<serde_json::Value>,
    pub(crate) proxy_protocol: Vec<&'static str>,
    pub(crate) upstream_tls: HashMap<String, UpstreamTls>,
    pub(crate) pages: Option<axum::Router>,
    pub(crate) counter: Option<Arc<dyn Counter>>,
}

#[expect(clippy::disallowed_methods, reason = "tests abort their own tasks")]
pub(crate) fn spawn(task: impl Future<Output = ()> + Send + 'static) -> JoinHandle<()> {
    tokio::spawn(task)
}

impl World {
    pub(crate) async fn new() -> Self {
        Self::with(Wish::default()).await
    }

    pub(crate) async fn with(wish: Wish) -> Self {
        let log = Log::default();
        let (http, http_task) = http_upstream(Arc::clone(&log)).await;
        let (sockets, sockets_task) = socket_upstream().await;
        let signer = Ed25519KeyPair::from_seed_unchecked(&[5; 32]).unwrap();
        let x = URL_SAFE_NO_PAD.encode(signer.public_key().as_ref());
        let jwk = Jwk { kty: "OKP".into(), crv: "Ed25519".into(), kid: "k1".into(), x };
        let table = wish.routes.clone().unwrap_or_else(|| routes(http, sockets));
        let clock = Arc::new(TestClock(AtomicI64::new(START_S * 1_000_000)));
        let snapshot = Snapshot::new(Arc::new(compile(table)), Arc::new(Jwks { keys: vec![jwk] }));
        let hub = Hub::new(clock.clone(), snapshot);
        let publisher = hub.publisher(PublisherId(1));
        let observations = Arc::new(Observations::new(1_000));
        let minter = Arc::new(TestMinter { token: Mutex::default(), asked: AtomicI64::new(0) });
        let made = rcgen::generate_simple_self_signed(vec!["shop.example".to_owned()]).unwrap();
        let key = made.signing_key.serialize_pem();
        let certificates =
            Certificates::from_pem(&[(made.cert.pem().as_bytes(), key.as_bytes())]).unwrap();
        let edge = Edge::start(Config {
            listen: edge::Listen::At("127.0.0.1:0".parse().unwrap()),
            tls: wish.tls.then(|| Tls { certificates: certificates.clone(), tls12: false }),
            trusted_proxies: wish.trusted.iter().map(|net| net.parse().unwrap()).collect(),
            proxy_protocol: wish.proxy_protocol.iter().map(|net| net.parse().unwrap()).collect(),
            upstream_tls: wish.upstream_tls,
            bounds: wish.bounds,
            issuer: Issuer { issuer: "https://shop.example".into(), audience: "shop".into() },
            header_keys: HashMap::from([("shop".to_owned(), HEADER_KEY.to_vec().into())]),
            forward_auth: wish.forward_auth,
            sign_in_path: "/auth/sign-in".into(),
            traced_ppm: 0,
            clock: clock.clone(),
            entropy: Arc::new(SystemEntropy),
            hub: hub.clone(),
            observations: Arc::clone(&observations),
            minter: Some(minter.clone()),
            counter: wish.counter,
            core: core(),
            pages: wish.pages,
        })
        .await
        .unwrap();
        Self {
            at: edge.local_addr(),
            edge: Some(edge),
            clock,
            hub,
            publisher,
            log,
            observations,
            minter,
            signer,
            certificates,
            authority: made.cert.der().clone(),
            tasks: vec![http_task, sockets_task],
        }
    }

    /// Tells the feed lives, and waits until the edge has heard it.
    pub(crate) async fn beat(&self) {
        self.publisher.beat();
        self.until(|world| !world.edge.as_ref().unwrap().is_stale()).await;
    }

    /// Publishes, and waits until the edge has it.
    pub(crate) async fn publish(&self, delta: web::feed::Delta) {
        let position = self.publisher.publish(delta);
        self.until(|world| world.edge.as_ref().unwrap().has(position)).await;
    }

    /// Lets other tasks run until something holds.
    pub(crate) async fn until(&self, holds: impl Fn(&Self) -> bool) {
        let waited = tokio::time::timeout(PATIENCE, async {
            while !holds(self) {
                tokio::task::yield_now().await;
            }
        });
        waited.await.expect("it holds at last");
    }

    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.log.lock().unwrap().clone()
    }

    pub(crate) fn session(&self) -> (AccountId, SessionId) {
        let now = self.clock.now();
        (AccountId::generate(now, &SystemEntropy), SessionId::generate(now, &SystemEntropy))
    }

    /// A token of a session, good for five minutes.
    pub(crate) fn token(
        &self,
        (account, session): (AccountId, SessionId),
        kind: &str,
        roles: &[&str],
    ) -> String {
        self.proved_token((account, session), (kind, roles), ("aal1", 0))
    }

    /// The same, of a session of this assurance that was proved so many seconds ago.
    pub(crate) fn proved_token(
        &self,
        (account, session): (AccountId, SessionId),
        (kind, roles): (&str, &[&str]),
        (acr, ago_s): (&str, i64),
    ) -> String {
        let now = self.clock.now().seconds();
        let claims = serde_json::json!({
            "iss": "https://shop.example", "aud": "shop", "iat": now, "exp": now + 300,
            "sub": account, "sid": session, "kind": kind, "roles": roles,
            "amr": ["pwd"], "acr": acr, "auth_time": now - ago_s,
        });
        let header = URL_SAFE_NO_PAD.encode(r#"{"alg":"EdDSA","typ":"at+jwt","kid":"k1"}"#);
        let signed = format!("{header}.{}", URL_SAFE_NO_PAD.encode(claims.to_string()));
        let signature = URL_SAFE_NO_PAD.encode(self.signer.sign(signed.as_bytes()));
        format!("{signed}.{signature}")
    }

    /// A connection to the edge.
    pub(crate) async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.at).await.unwrap()
    }

    /// Sends bytes on a fresh connection and reads until the edge closes it.
    pub(crate) async fn raw(&self, bytes: &[u8]) -> String {
        let mut stream = self.connect().await;
        // A refusal may come before the last byte is taken.
        let _ = stream.write_all(bytes).await;
        read_to_end(&mut stream).await
    }

    /// A request with `Connection: close`.
    pub(crate) async fn get(&self, path: &str, headers: &str) -> String {
        self.ask("GET", path, headers, "").await
    }

    pub(crate) async fn ask(&self, method: &str, path: &str, headers: &str, body: &str) -> String {
        let length = if body.is_empty() {
            String::new()
        } else {
            format!("Content-Length: {}\r\n", body.len())
        };
        let text = format!(
            "{method} {path} HTTP/1.1\r\nHost: shop.example\r\nConnection: close\r\n{headers}{length}\r\n{body}"
        );
        self.raw(text.as_bytes()).await
    }

    /// How often a rule was observed.
    pub(crate) fn observed(&self, rule: &str) -> u64 {
        let taken = self.observations.take();
        taken.seen.iter().filter(|seen| seen.rule == rule).map(|seen| seen.count).sum()
    }
}

pub(crate) async fn read_to_end(stream: &mut (impl tokio::io::AsyncRead + Unpin)) -> String {
    let mut answer = Vec::new();
    let read = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut answer)).await;
    let answer = String::from_utf8_lossy(&answer).into_owned();
    // A reset after the answer is an end too.
    assert!(read.is_ok(), "the connection is still open after {answer:?}");
    answer
}

/// Reads until `mark` has come.
pub(crate) async fn read_until(
    stream: &mut (impl tokio::io::AsyncRead + Unpin),
    mark: &str,
) -> String {
    let mut answer = Vec::new();
    let read = tokio::time::timeout(PATIENCE, async {
        while !String::from_utf8_lossy(&answer).contains(mark) {
            if stream.read_buf(&mut answer).await.unwrap() == 0 {
                break;
            }
        }
    });
    read.await.expect("the mark comes");
    let text = String::from_utf8_lossy(&answer).into_owned();
    assert!(text.contains(mark), "{mark:?} in {text:?}");
    text
}

/// The status of the first answer in a text.
pub(crate) fn status(answer: &str) -> u16 {
    answer.get(9..12).and_then(|digits| digits.parse().ok()).unwrap_or(0)
}

pub(crate) fn header_key() -> HeaderKey {
    HeaderKey::new(&HEADER_KEY).unwrap()
}

pub(crate) fn compile(table: serde_json::Value) -> RouteTable {
    let table: RouteTable = serde_json::from_value(table).unwrap();
    assert_eq!(table.problems(), []);
    table
}

pub(crate) fn routes(http: SocketAddr, sockets: SocketAddr) -> serde_json::Value {
    serde_json::json!({
        "upstreams": [
            {"name": "shop", "address": format!("http://{http}"), "header_key": "shop"},
            {"name": "sockets", "address": format!("http://{sockets}"), "header_key": "shop"},
            {"name": "small", "address": format!("http://{http}"), "in_flight_max": 1},
            {"name": "gone", "address": "http://127.0.0.1:1"},
        ],
        "routes": [
            {"name": "all", "path": {"prefix": "/"}, "upstream": "shop", "access": "open",
             "body_max_bytes": 100_000,
             "timeouts": {"first_byte_ms": 20_000, "body_idle_ms": 500}},
            {"name": "orders", "path": {"prefix": "/orders"}, "upstream": "shop", "access": "session"},
            {"name": "staff", "path": {"prefix": "/staff"}, "upstream": "shop",
             "access": {"only": {"kinds": ["staff"], "roles": ["admin"]}}},
            {"name": "payout", "path": {"prefix": "/payout"}, "upstream": "shop",
             "access": "session", "second_factor": true, "proved_within_s": 600},
            {"name": "address", "path": {"prefix": "/address"}, "upstream": "shop",
             "access": "session", "proved_within_s": 600},
            {"name": "checkout", "path": {"prefix": "/checkout"}, "upstream": "shop",
             "access": "session", "sensitive": true},
            {"name": "login", "path": {"exact": "/login"}, "upstream": "shop", "access": "open",
             "limits": [{"name": "login", "per": "client", "requests": 2, "window_s": 60}]},
            {"name": "votes", "path": {"exact": "/votes"}, "upstream": "shop", "access": "session",
             "limits": [{"name": "votes", "per": "session", "requests": 1, "window_s": 60}]},
            {"name": "ws", "path": {"prefix": "/ws"}, "upstream": "sockets", "access": "session",
             "websocket": true, "timeouts": {"websocket_idle_ms": 60_000}},
            {"name": "ws-quiet", "path": {"prefix": "/ws/quiet"}, "upstream": "sockets",
             "access": "open", "websocket": true, "timeouts": {"websocket_idle_ms": 300}},
            {"name": "slow", "path": {"prefix": "/slow"}, "upstream": "shop", "access": "open",
             "timeouts": {"first_byte_ms": 200}},
            {"name": "one", "path": {"prefix": "/one"}, "upstream": "small", "access": "open"},
            {"name": "gone", "path": {"prefix": "/gone"}, "upstream": "gone", "access": "open"},
        ],
    })
}

fn core() -> axum::Router {
    let whoami = |request: Request<axum::body::Body>| async move {
        let facts = request.extensions().get::<ClientFacts>().cloned().unwrap();
        let raw = request.extensions().get::<edge::RawHead>().cloned().unwrap();
        let forged = request.headers().contains_key("x-stagedoor-account");
        let ja4 = facts.fingerprint.unwrap_or_default();
        format!("core {} {} {ja4} {forged} {}", facts.address, facts.https, raw.0.len())
    };
    axum::Router::new().route("/auth/whoami", axum::routing::any(whoami))
}

type Reply = Either<Full<Bytes>, axum::body::Body>;

/// Answers, and notes each request whose body came whole.
async fn http_upstream(log: Log) -> (SocketAddr, JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let at = listener.local_addr().unwrap();
    let task = spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let log = Arc::clone(&log);
            let service = service_fn(move |request| serve(request, Arc::clone(&log)));
            spawn(async move {
                let io = TokioIo::new(stream);
                let _ =
                    hyper::server::conn::http1::Builder::new().serve_connection(io, service).await;
            });
        }
    });
    (at, task)
}

async fn serve(request: Request<Incoming>, log: Log) -> Result<Response<Reply>, Infallible> {
    let (head, body) = request.into_parts();
    let target = head.uri.to_string();
    if target.starts_with("/stream") {
        let body = axum::body::Body::new(body);
        return Ok(Response::new(Either::Right(body)));
    }
    let Ok(body) = body.collect().await else {
        return Ok(Response::builder().status(400).body(Either::Left(Full::default())).unwrap());
    };
    let trailers = body.trailers().cloned();
    let body = body.to_bytes();
    let seen = Seen { target: target.clone(), headers: head.headers, body: body.clone() };
    log.lock().unwrap().push(seen);
    if target.starts_with("/slow") || target.starts_with("/one") {
        std::future::pending::<()>().await;
    }
    if target.starts_with("/events") || target.starts_with("/orders/events") {
        let first = futures_util::stream::iter([Ok::<_, Infallible>("data: first\n\n")]);
        let stream = first.chain(futures_util::stream::pending());
        return Ok(Response::builder()
            .header("content-type", "text/event-stream")
            .body(Either::Right(axum::body::Body::from_stream(stream)))
            .unwrap());
    }
    if target.starts_with("/large") {
        return Ok(Response::new(Either::Left(Full::new(Bytes::from(vec![b'x'; LARGE_BYTES])))));
    }
    if target.starts_with("/firehose") {
        let event = Bytes::from(format!("data: {}\n\n", "x".repeat(60_000)));
        let stream = futures_util::stream::repeat_with(move || Ok::<_, Infallible>(event.clone()));
        return Ok(Response::builder()
            .header("content-type", "text/event-stream")
            .body(Either::Right(axum::body::Body::from_stream(stream)))
            .unwrap());
    }
    let mut answer = Response::builder()
        .header("x-upstream", "yes")
        .header("x-stagedoor-account", "forged by the upstream")
        .header("set-cookie", "__Host-stagedoor=stolen; Secure; Path=/")
        .header("set-cookie", "cart=1")
        .header("connection", "x-hop")
        .header("x-hop", "1");
    if let Some(trailers) = trailers {
        answer = answer.header("x-trailers", trailers.len());
    }
    let body = if target.starts_with("/echo") { body } else { Bytes::from_static(b"hello") };
    Ok(answer.body(Either::Left(Full::new(body))).unwrap())
}

/// Echoes WebSocket messages.
async fn socket_upstream() -> (SocketAddr, JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let at = listener.local_addr().unwrap();
    let task = spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            spawn(async move {
                let Ok(mut socket) = tokio_tungstenite::accept_async(stream).await else { return };
                while let Some(Ok(message)) = socket.next().await {
                    if message.is_close() || socket.send(message).await.is_err() {
                        return;
                    }
                }
            });
        }
    });
    (at, task)
}
