//! TLS to upstreams: one that cannot prove its name is told nothing.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use edge::UpstreamTls;
use http::{Request, Response};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::RootCertStore;
use rustls::pki_types::PrivateKeyDer;
use rustls::server::WebPkiClientVerifier;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;

use crate::world::{Wish, World, spawn, status};

/// An authority that nobody else knows.
struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pem: String,
    der: rustls::pki_types::CertificateDer<'static>,
}

impl Authority {
    fn new() -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let certificate = params.self_signed(&key).unwrap();
        let (pem, der) = (certificate.pem(), certificate.der().clone());
        Self { issuer: Issuer::new(params, key), pem, der }
    }

    /// A certificate for a name and its key, expired or not.
    fn certify(&self, name: &str, expired: bool) -> (rcgen::Certificate, KeyPair) {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        if expired {
            params.not_before = rcgen::date_time_ymd(2020, 1, 1);
            params.not_after = rcgen::date_time_ymd(2021, 1, 1);
        }
        (params.signed_by(&key, &self.issuer).unwrap(), key)
    }

    fn roots(&self) -> Arc<RootCertStore> {
        let mut roots = RootCertStore::empty();
        roots.add(self.der.clone()).unwrap();
        Arc::new(roots)
    }
}

/// How an upstream behaves.
struct Kind<'a> {
    authority: &'a Authority,
    name: &'a str,
    expired: bool,
    asks_who: bool,
    alpn: &'static [u8],
}

/// What an upstream saw.
#[derive(Default)]
struct Noted {
    connections: AtomicUsize,
    requests: AtomicUsize,
    names: Mutex<Vec<Option<String>>>,
}

async fn upstream(kind: Kind<'_>) -> (SocketAddr, Arc<Noted>, JoinHandle<()>) {
    let (certificate, key) = kind.authority.certify(kind.name, kind.expired);
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = rustls::ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])
        .unwrap();
    let builder = if kind.asks_who {
        let roots = kind.authority.roots();
        let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider);
        builder.with_client_cert_verifier(verifier.build().unwrap())
    } else {
        builder.with_no_client_auth()
    };
    let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
    let mut config = builder.with_single_cert(vec![certificate.der().clone()], key).unwrap();
    config.alpn_protocols = vec![kind.alpn.to_vec()];
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let at = listener.local_addr().unwrap();
    let noted = Arc::new(Noted::default());
    let shared = Arc::clone(&noted);
    let task = spawn(async move {
        loop {
            let (socket, _) = listener.accept().await.unwrap();
            let (acceptor, noted) = (acceptor.clone(), Arc::clone(&shared));
            spawn(async move {
                noted.connections.fetch_add(1, Ordering::SeqCst);
                let Ok(stream) = acceptor.accept(socket).await else { return };
                let name = stream.get_ref().1.server_name().map(str::to_owned);
                noted.names.lock().unwrap().push(name);
                let h2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
                let service = service_fn(move |request: Request<Incoming>| {
                    noted.requests.fetch_add(1, Ordering::SeqCst);
                    let text = format!("{:?} {}", request.version(), request.uri());
                    async move { Ok::<_, Infallible>(Response::new(axum::body::Body::from(text))) }
                });
                let io = TokioIo::new(stream);
                let _ = if h2 {
                    let builder = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
                    builder.serve_connection(io, service).await
                } else {
                    let builder = hyper::server::conn::http1::Builder::new();
                    builder.serve_connection(io, service).await
                };
            });
        }
    });
    (at, noted, task)
}

/// An edge whose every request goes to one upstream.
async fn before(upstream: serde_json::Value, tls: Option<UpstreamTls>) -> World {
    let table = serde_json::json!({
        "upstreams": [upstream],
        "routes": [{"name": "all", "path": {"prefix": "/"}, "upstream": "u", "access": "open"}],
    });
    let upstream_tls = tls.map(|tls| ("inside".to_owned(), tls)).into_iter().collect();
    World::with(Wish { routes: Some(table), upstream_tls, ..Wish::default() }).await
}

const fn sound(authority: &Authority) -> Kind<'_> {
    Kind { authority, name: "shop.internal", expired: false, asks_who: false, alpn: b"http/1.1" }
}

fn asked(at: SocketAddr) -> serde_json::Value {
    serde_json::json!({"name": "u", "address": format!("https://{at}"), "tls": "inside",
                       "server_name": "shop.internal"})
}

fn trusting(authority: &Authority) -> UpstreamTls {
    UpstreamTls::new(Some(authority.pem.as_bytes()), None).unwrap()
}

#[tokio::test]
async fn an_upstream_proves_its_name_and_its_connection_is_kept() {
    let authority = Authority::new();
    let (at, noted, task) = upstream(sound(&authority)).await;
    let world = before(asked(at), Some(trusting(&authority))).await;
    for _ in 0..3 {
        let answer = world.ask("POST", "/a?b=c", "", "body").await;
        assert!(answer.ends_with("HTTP/1.1 /a?b=c"), "{answer}");
    }
    assert_eq!(noted.connections.load(Ordering::SeqCst), 1);
    assert_eq!(*noted.names.lock().unwrap(), [Some("shop.internal".to_owned())]);
    task.abort();
}

#[tokio::test]
async fn one_that_cannot_prove_it_is_told_nothing() {
    let (known, strange) = (Authority::new(), Authority::new());
    let cases = [
        ("another authority", Kind { authority: &strange, ..sound(&known) }),
        ("another name", Kind { name: "other.internal", ..sound(&known) }),
        ("expired", Kind { expired: true, ..sound(&known) }),
    ];
    for (why, kind) in cases {
        let (at, noted, task) = upstream(kind).await;
        let world = before(asked(at), Some(trusting(&known))).await;
        let answer = world.ask("POST", "/", "", "secret").await;
        assert_eq!(status(&answer), 502, "{why}: {answer}");
        assert!(answer.contains("edge.upstream_unproved"), "{why}: {answer}");
        assert_eq!(noted.requests.load(Ordering::SeqCst), 0, "{why}");
        task.abort();
    }
    // The public authorities do not know it either, nor does a server without TLS prove anything.
    let (at, _, task) = upstream(sound(&known)).await;
    let public = serde_json::json!({"name": "u", "address": format!("https://{at}"),
                                    "server_name": "shop.internal"});
    let answer = before(public, None).await.get("/", "").await;
    assert!(answer.contains("edge.upstream_unproved"), "{answer}");
    task.abort();
    let plain = World::new().await;
    let answer = before(asked(plain.at), Some(trusting(&known))).await.get("/", "").await;
    assert!(answer.contains("edge.upstream_unproved"), "{answer}");
    assert!(plain.seen().is_empty());
}

#[tokio::test]
async fn an_upstream_that_asks_who_we_are_is_told() {
    let authority = Authority::new();
    let (at, noted, task) = upstream(Kind { asks_who: true, ..sound(&authority) }).await;
    let unknown = before(asked(at), Some(trusting(&authority))).await;
    assert_eq!(status(&unknown.get("/", "").await), 502);
    assert_eq!(noted.requests.load(Ordering::SeqCst), 0);
    let (certificate, key) = authority.certify("door.internal", false);
    let (chain, key) = (certificate.pem(), key.serialize_pem());
    let identity = Some((chain.as_bytes(), key.as_bytes()));
    let tls = UpstreamTls::new(Some(authority.pem.as_bytes()), identity).unwrap();
    let answer = before(asked(at), Some(tls)).await.get("/", "").await;
    assert_eq!(status(&answer), 200, "{answer}");
    task.abort();
}

#[tokio::test]
async fn http2_is_agreed_on_or_refused() {
    let authority = Authority::new();
    for (alpn, wanted) in [(b"h2".as_slice(), 200), (b"http/1.1", 502)] {
        let (at, noted, task) = upstream(Kind { alpn, ..sound(&authority) }).await;
        let mut table = asked(at);
        table["protocol"] = "http2".into();
        let world = before(table, Some(trusting(&authority))).await;
        for _ in 0..2 {
            let answer = world.get("/a", "").await;
            assert_eq!(status(&answer), wanted, "{answer}");
            if wanted == 200 {
                assert!(answer.ends_with("HTTP/2.0 https://shop.example/a"), "{answer}");
                assert_eq!(noted.connections.load(Ordering::SeqCst), 1);
            }
        }
        task.abort();
    }
}

#[tokio::test]
async fn an_upstream_that_this_edge_cannot_speak_to_is_left_out() {
    let authority = Authority::new();
    let (at, _, task) = upstream(sound(&authority)).await;
    let world = before(asked(at), None).await;
    assert_eq!(status(&world.get("/", "").await), 404);
    task.abort();
    assert!(UpstreamTls::new(Some(b"rubbish"), None).is_err());
    assert!(UpstreamTls::new(None, Some((b"rubbish", b"rubbish"))).is_err());
}
