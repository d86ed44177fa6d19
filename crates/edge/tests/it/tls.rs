//! TLS as clients speak it, and as they break it.

use std::sync::Arc;

use edge::Bounds;
use http::Request;
use http_body_util::{BodyExt as _, Empty};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::world::{PATIENCE, Wish, World, read_to_end, spawn, status};

async fn world() -> World {
    let bounds = Bounds { handshake_ms: 1_000, ..Bounds::default() };
    World::with(Wish { tls: true, bounds, ..Wish::default() }).await
}

pub(crate) fn client(world: &World, alpn: &[&[u8]], old: bool) -> TlsConnector {
    let mut roots = RootCertStore::empty();
    roots.add(world.authority.clone()).unwrap();
    let mut provider = rustls::crypto::aws_lc_rs::default_provider();
    // As browsers do.
    provider.kx_groups.insert(0, rustls::crypto::aws_lc_rs::kx_group::X25519MLKEM768);
    let provider = Arc::new(provider);
    let version = if old { &rustls::version::TLS12 } else { &rustls::version::TLS13 };
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[version])
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = alpn.iter().map(|name| name.to_vec()).collect();
    TlsConnector::from(Arc::new(config))
}

pub(crate) async fn connect(
    world: &World,
    alpn: &[&[u8]],
) -> std::io::Result<TlsStream<TcpStream>> {
    let name = ServerName::try_from("shop.example").unwrap();
    client(world, alpn, false).connect(name, world.connect().await).await
}

#[tokio::test]
async fn the_fingerprint_reaches_core_and_keys_are_hybrid() {
    let world = world().await;
    let mut stream = connect(&world, &[b"http/1.1"]).await.unwrap();
    let group = stream.get_ref().1.negotiated_key_exchange_group().unwrap().name();
    assert_eq!(group, rustls::NamedGroup::X25519MLKEM768);
    let ask = "GET /auth/whoami HTTP/1.1\r\nHost: shop.example\r\nConnection: close\r\n\r\n";
    stream.write_all(ask.as_bytes()).await.unwrap();
    let answer = read_to_end(&mut stream).await;
    assert!(answer.contains("core 127.0.0.1 true t13d"), "{answer}");
    let ja4 = answer.split("true ").nth(1).unwrap();
    assert_eq!(&ja4[8..11], "h1_", "{ja4}");
}

#[tokio::test]
async fn old_and_broken_tls_is_refused_and_others_go_on() {
    let world = world().await;
    let name = ServerName::try_from("shop.example").unwrap();
    let old = client(&world, &[], true).connect(name, world.connect().await).await;
    assert!(old.is_err(), "TLS 1.2 is not spoken");
    let huge = [22, 3, 1, 0x40, 0, 1, 0xff, 0xff, 0xff];
    for bytes in [
        b"GET / HTTP/1.1\r\nHost: shop.example\r\n\r\n".as_slice(),
        &[0x16, 3, 1, 0, 0],
        &[0x16, 3, 1, 0, 4, 1, 0, 0, 0],
        &huge,
        &[0xff; 100],
        &[],
    ] {
        let mut stream = world.connect().await;
        stream.write_all(bytes).await.unwrap();
        let answer = read_to_end(&mut stream).await;
        assert!(!answer.contains("HTTP/1.1 200"), "{answer}");
        let plain = bytes.starts_with(b"GET");
        assert_eq!(answer.ends_with("use https:// in the address.\n"), plain, "{answer}");
    }
    assert!(world.observed("edge.tls") >= 6);
    assert!(connect(&world, &[]).await.is_ok());
}

/// A socket that sends in pieces of a few bytes, and cuts the first record in two.
#[tokio::test]
async fn a_hello_in_pieces_is_understood() {
    let world = world().await;
    let (near, far) = tokio::io::duplex(64 * 1024);
    let socket = world.connect().await;
    socket.set_nodelay(true).unwrap();
    let (mut from_edge, mut to_edge) = socket.into_split();
    let (mut from_client, mut to_client) = tokio::io::split(far);
    let out = spawn(async move {
        let mut record = vec![0; 5];
        from_client.read_exact(&mut record).await.unwrap();
        let length = usize::from(u16::from_be_bytes([record[3], record[4]]));
        let mut body = vec![0; length];
        from_client.read_exact(&mut body).await.unwrap();
        for fragment in body.chunks(100) {
            let mut bytes = vec![22, 3, 1, 0, u8::try_from(fragment.len()).unwrap()];
            bytes.extend(fragment);
            for piece in bytes.chunks(7) {
                to_edge.write_all(piece).await.unwrap();
                tokio::task::yield_now().await;
            }
        }
        let _ = tokio::io::copy(&mut from_client, &mut to_edge).await;
    });
    let back = spawn(async move {
        let _ = tokio::io::copy(&mut from_edge, &mut to_client).await;
    });
    let name = ServerName::try_from("shop.example").unwrap();
    let mut stream = client(&world, &[b"http/1.1"], false).connect(name, near).await.unwrap();
    let ask = "GET /auth/whoami HTTP/1.1\r\nHost: shop.example\r\nConnection: close\r\n\r\n";
    stream.write_all(ask.as_bytes()).await.unwrap();
    let answer = read_to_end(&mut stream).await;
    assert!(answer.contains("true t13d"), "{answer}");
    out.abort();
    back.abort();
}

#[tokio::test]
async fn http2_passes_the_same_stack() {
    let world = world().await;
    let stream = connect(&world, &[b"h2"]).await.unwrap();
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
            .await
            .unwrap();
    let task = spawn(async move {
        let _ = connection.await;
    });
    let token = world.token(world.session(), "customer", &[]);
    let cookie = format!("__Host-stagedoor_token={token}");
    for (path, cookie, wanted) in [
        ("/", "", 200),
        ("/orders", "", 401),
        ("/orders", cookie.as_str(), 200),
        ("/a/..%2fb", "", 400),
        ("/login", "", 200),
        ("/login", "", 200),
        ("/login", "", 429),
        ("/auth/whoami", "", 200),
    ] {
        let request = Request::get(format!("https://shop.example{path}"))
            .header("cookie", cookie)
            .header("x-stagedoor-kind", "staff")
            .body(Empty::<bytes::Bytes>::new())
            .unwrap();
        let answer = sender.send_request(request).await.unwrap();
        assert_eq!(answer.status(), wanted, "{path}");
        answer.into_body().collect().await.unwrap();
    }
    let seen = world.seen();
    assert_eq!(seen[0].header("host"), Some("shop.example"));
    assert_eq!(seen[0].header("x-forwarded-proto"), Some("https"));
    assert_eq!(seen[0].header("x-stagedoor-kind"), None);
    assert_eq!(seen[1].header("x-stagedoor-kind"), Some("customer"));
    // What one version of HTTP says must not be unsaid by another.
    let request = Request::get("https://shop.example/")
        .header("host", "other.example")
        .body(Empty::<bytes::Bytes>::new())
        .unwrap();
    assert_eq!(sender.send_request(request).await.unwrap().status(), 400);
    task.abort();
}

// E8
#[tokio::test]
async fn a_certificate_is_replaced_while_connections_go_on() {
    let world = world().await;
    let mut old = connect(&world, &[]).await.unwrap();
    let made = rcgen::generate_simple_self_signed(vec!["shop.example".to_owned()]).unwrap();
    let key = made.signing_key.serialize_pem();
    assert!(world.certificates.replace(&[(b"rubbish", key.as_bytes())]).is_err());
    assert!(connect(&world, &[]).await.is_ok());
    world.certificates.replace(&[(made.cert.pem().as_bytes(), key.as_bytes())]).unwrap();
    assert!(connect(&world, &[]).await.is_err(), "another certificate answers");
    let ask = "GET / HTTP/1.1\r\nHost: shop.example\r\nConnection: close\r\n\r\n";
    old.write_all(ask.as_bytes()).await.unwrap();
    let answer = tokio::time::timeout(PATIENCE, read_to_end(&mut old)).await.unwrap();
    assert_eq!(status(&answer), 200);
}

/// The certificate that a client is shown.
async fn shown(world: &World, asked: &str) -> Vec<u8> {
    let name = ServerName::try_from(asked.to_owned()).unwrap();
    let mut config = ClientConfig::builder_with_provider(Arc::new(
        rustls::crypto::aws_lc_rs::default_provider(),
    ))
    .with_protocol_versions(&[&rustls::version::TLS13])
    .unwrap()
    .dangerous()
    .with_custom_certificate_verifier(Arc::new(Anything))
    .with_no_client_auth();
    config.resumption = rustls::client::Resumption::disabled();
    let connector = TlsConnector::from(Arc::new(config));
    let stream = connector.connect(name, world.connect().await).await.unwrap();
    stream.get_ref().1.peer_certificates().unwrap().first().unwrap().to_vec()
}

/// Looks at what is shown, whatever it is.
#[derive(Debug)]
struct Anything;

impl rustls::client::danger::ServerCertVerifier for Anything {
    fn verify_server_cert(
        &self,
        _: &rustls::pki_types::CertificateDer<'_>,
        _: &[rustls::pki_types::CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: rustls::pki_types::UnixTime,
    ) -> Result<rustls::client::danger::ServerCertVerified, rustls::Error> {
        Ok(rustls::client::danger::ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &rustls::pki_types::CertificateDer<'_>,
        _: &rustls::DigitallySignedStruct,
    ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
        Ok(rustls::client::danger::HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &rustls::pki_types::CertificateDer<'_>,
        _: &rustls::DigitallySignedStruct,
    ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
        Ok(rustls::client::danger::HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<rustls::SignatureScheme> {
        vec![rustls::SignatureScheme::ECDSA_NISTP256_SHA256, rustls::SignatureScheme::ED25519]
    }
}

#[tokio::test]
async fn a_client_is_shown_the_certificate_of_the_name_that_it_asks_for() {
    let world = world().await;
    let made =
        [vec!["shop.example"], vec!["live.example", "*.cdn.example"], vec!["*.other.example"]].map(
            |names| {
                let names: Vec<String> = names.into_iter().map(str::to_owned).collect();
                rcgen::generate_simple_self_signed(names).unwrap()
            },
        );
    let texts = made.each_ref().map(|one| (one.cert.pem(), one.signing_key.serialize_pem()));
    let pairs = texts.each_ref().map(|(chain, key)| (chain.as_bytes(), key.as_bytes()));
    world.certificates.replace(&pairs).unwrap();
    for (asked, which) in [
        ("shop.example", 0),
        ("live.example", 1),
        ("a.cdn.example", 1),
        ("a.b.cdn.example", 0),
        ("a.other.example", 2),
        ("elsewhere.test", 0),
        ("127.0.0.1", 0),
    ] {
        assert_eq!(shown(&world, asked).await, made[which].cert.der().to_vec(), "{asked}");
    }
    assert!(world.certificates.replace(&[]).is_err());
    let strange = [(texts[0].0.as_bytes(), texts[1].1.as_bytes())];
    assert!(world.certificates.replace(&strange).is_err(), "a key of another certificate");
    assert_eq!(shown(&world, "live.example").await, made[1].cert.der().to_vec());
}
