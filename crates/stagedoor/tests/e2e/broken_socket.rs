//! Broken input at the public socket of the real binary: nonsense before TLS, requests that can be
//! read in two ways, HTTP/2 that is none, clients that dawdle and thousands that only connect. Each
//! is refused or closed in bounded time; honest requests go on meanwhile, none that was refused
//! reaches the shop, memory stays bounded and nothing panics.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use tokio::net::TcpSocket;

use crate::program::{Serving, Shop};

/// Of the handshake, a head and a body in the configuration here.
const PATIENCE_MS: u64 = 3_000;
/// No connection may outlive the patience by more than a busy machine explains.
const BOUND: Duration = Duration::from_secs(10);
/// The most memory that the program may ever have held, in KiB.
const MEMORY_MAX_KIB: u64 = 160 * 1024;
/// The address of honest clients; the others come from elsewhere.
const HONEST: &str = "127.0.0.2";

type Tls = StreamOwned<ClientConnection, TcpStream>;

/// A shop's application that keeps every byte it ever saw.
fn upstream() -> (u16, Arc<Mutex<Vec<u8>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let (port, seen) = (listener.local_addr().unwrap().port(), Arc::new(Mutex::new(Vec::new())));
    let all = Arc::clone(&seen);
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let (mut stream, seen) = (stream.unwrap(), Arc::clone(&seen));
            std::thread::spawn(move || {
                let (mut buffer, mut answered) = ([0; 4096], false);
                while let Ok(count @ 1..) = stream.read(&mut buffer) {
                    seen.lock().unwrap().extend(&buffer[..count]);
                    if !answered && buffer[..count].windows(4).any(|part| part == b"\r\n\r\n") {
                        answered = true;
                        let answer = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\
                                      Connection: close\r\n\r\nok";
                        let _ = stream.write_all(answer.as_bytes());
                        let _ = stream.shutdown(Shutdown::Write);
                    }
                }
            });
        }
    });
    (port, all)
}

/// A shop with its program and its application, at which broken clients knock.
struct House {
    shop: Shop,
    serving: Serving,
    seen: Arc<Mutex<Vec<u8>>>,
    tls: Arc<ClientConfig>,
}

impl House {
    fn open() -> Self {
        let (port, seen) = upstream();
        let shop = Shop::init();
        shop.edit("http://127.0.0.1:9", &format!("http://127.0.0.1:{port}"));
        let bounds = format!(
            "[bounds]\nhandshake_ms = {PATIENCE_MS}\nhead_ms = {PATIENCE_MS}\n\
             idle_ms = {PATIENCE_MS}\n\n[identity.mail]"
        );
        shop.edit("[identity.mail]", &bounds);
        let route = format!("access = \"open\"\nbody_idle_ms = {PATIENCE_MS}");
        shop.edit("access = \"open\"", &route);
        shop.lift_limits();
        let serving = shop.serve();
        let mut roots = RootCertStore::empty();
        let certificate = shop.path().join("var/self-signed.crt");
        roots.add(CertificateDer::from_pem_file(certificate).unwrap()).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        Self { shop, serving, seen, tls: Arc::new(config) }
    }

    fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(&self.serving.door).unwrap();
        stream.set_read_timeout(Some(BOUND)).unwrap();
        stream.set_write_timeout(Some(BOUND)).unwrap();
        stream
    }

    fn secure(&self, alpn: &[&str]) -> Tls {
        let mut config = ClientConfig::clone(&self.tls);
        config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
        let name = ServerName::try_from("localhost").unwrap();
        let connection = ClientConnection::new(Arc::new(config), name).unwrap();
        StreamOwned::new(connection, self.connect())
    }

    /// Does something while an honest client asks on; then all must hold.
    fn endures(self, act: impl FnOnce(&Self)) {
        let over = AtomicBool::new(false);
        let honest = std::thread::scope(|scope| {
            let asking = scope.spawn(|| {
                let mut asked = 0;
                while !over.load(Ordering::Relaxed) || asked == 0 {
                    let began = Instant::now();
                    let (status, words) =
                        self.serving.curl(&self.shop, &["--interface", HONEST], "/honest");
                    assert_eq!((status, &*words), (200, "ok"));
                    assert!(began.elapsed() < BOUND, "{:?}", began.elapsed());
                    asked += 1;
                }
                asked
            });
            let ended = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| act(&self)));
            over.store(true, Ordering::Relaxed);
            let asked = asking.join();
            ended.unwrap_or_else(|why| std::panic::resume_unwind(why));
            asked.unwrap()
        });
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.serving.id()));
        let status = status.unwrap();
        let most = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
        let most: u64 = most.trim().trim_end_matches(" kB").parse().unwrap();
        eprintln!("{honest} honest requests; {} MiB at most", most / 1024);
        assert!(most < MEMORY_MAX_KIB, "{most} KiB");
        assert_eq!(self.serving.stop(), Some(0));
        let seen = String::from_utf8_lossy(&self.seen.lock().unwrap()).into_owned();
        let heads = seen.matches(" HTTP/1.1\r\n").count();
        assert_eq!(heads, honest, "something else reached the shop: {seen}");
        assert!(!seen.contains("smuggled"), "{seen}");
        self.shop.verified();
    }
}

/// Whatever comes until the end, which must come in time; a reset is an end too.
fn rest(name: &str, stream: &mut impl std::io::Read) -> Vec<u8> {
    let (began, mut all, mut buffer) = (Instant::now(), Vec::new(), [0; 4096]);
    loop {
        match stream.read(&mut buffer) {
            Ok(0) => return all,
            Ok(count) => all.extend(&buffer[..count]),
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                panic!("{name}: still open after {:?}", began.elapsed())
            }
            Err(_) => return all,
        }
        assert!(began.elapsed() < BOUND, "{name}: talks for ever");
    }
}

/// A hello of an old client, which knows no extensions.
fn hello(version: [u8; 2]) -> Vec<u8> {
    let mut hello = vec![version[0], version[1]];
    hello.extend([7; 32]);
    // no session, two ciphers, no compression
    hello.extend([0, 0, 4, 0, 0x2f, 0, 0x35, 1, 0]);
    let length = u8::try_from(hello.len()).unwrap();
    [&[0x16, version[0], version[1], 0, length + 4, 1, 0, 0, length], &hello[..]].concat()
}

#[test]
fn nonsense_before_tls() {
    let plain = b"GET /smuggled HTTP/1.1\r\nHost: localhost\r\n\r\n";
    let record = |kind: u8, length: u16, body: &[u8]| {
        [&[kind, 3, 3], &length.to_be_bytes()[..], body].concat()
    };
    let cases: Vec<(&str, Vec<u8>)> = vec![
        ("nothing", Vec::new()),
        ("one byte", vec![0x16]),
        ("a record without its body", record(0x16, 512, &[])),
        ("half a hello", hello([3, 3])[..20].to_vec()),
        ("an empty record", record(0x16, 0, &[])),
        ("many empty records", record(0x16, 0, &[]).repeat(10_000)),
        ("a record of 64 KiB", record(0x16, 0xffff, &[1; 0xffff])),
        ("a hello of 16 MiB", record(0x16, 4, &[1, 0xff, 0xff, 0xff])),
        ("a hello that never ends", record(0x16, 1, &[1]).repeat(40_000)),
        ("an alert first", record(0x15, 2, &[2, 40])),
        ("data first", record(0x17, 64, &[7; 64])),
        ("a change of ciphers first", record(0x14, 1, &[1])),
        ("an unknown record", record(0x63, 64, &[7; 64])),
        ("SSL 2", [&[0x80, 0x2e, 1, 0, 2, 0, 0x15][..], &[7; 60]].concat()),
        ("garbage", (0..8192_u32).map(|byte| (byte * 167 % 251) as u8).collect()),
        ("zeros", vec![0; 100_000]),
        ("plain HTTP", plain.to_vec()),
        ("a PROXY header", [b"PROXY TCP4 127.0.0.2 127.0.0.1 1 2\r\n", &plain[..]].concat()),
    ];
    House::open().endures(|house| {
        std::thread::scope(|scope| {
            for (name, bytes) in &cases {
                for half_closed in [false, true] {
                    scope.spawn(move || {
                        let mut stream = house.connect();
                        // it may be closed before all is sent
                        let _ = stream.write_all(bytes);
                        if half_closed {
                            let _ = stream.shutdown(Shutdown::Write);
                        }
                        let answer = rest(name, &mut stream);
                        assert!(!answer.starts_with(b"HTTP/1.1 2"), "{name}");
                    });
                }
            }
        });
        for version in [[3, 0], [3, 1], [3, 2], [3, 3]] {
            let mut stream = house.connect();
            stream.write_all(&hello(version)).unwrap();
            let answer = rest("an old hello", &mut stream);
            // an alert, fatal
            assert_eq!((answer[0], answer[5]), (0x15, 2), "{version:?}: {answer:?}");
        }
    });
}

const SMUGGLED: &str = "GET /smuggled HTTP/1.1\r\nHost: localhost\r\n\r\n";

/// Requests that can be read in two ways, or are too large, and the one right answer to each.
fn twisted() -> Vec<(&'static str, String, u16)> {
    let post = |fields: &str, body: &str| {
        format!("POST /smuggled HTTP/1.1\r\nHost: localhost\r\n{fields}\r\n{body}")
    };
    let chunks = format!("0\r\n\r\n{SMUGGLED}");
    let te = "Transfer-Encoding: chunked\r\n";
    vec![
        ("CL.TE", post(&format!("Content-Length: 60\r\n{te}"), &chunks), 400),
        ("TE.CL", post(&format!("{te}Content-Length: 4\r\n"), &chunks), 400),
        ("TE.TE", post(&format!("{te}Transfer-Encoding: x\r\n"), &chunks), 501),
        ("CL twice", post("Content-Length: 0\r\nContent-Length: 44\r\n", SMUGGLED), 400),
        ("CL list", post("Content-Length: 0, 44\r\n", SMUGGLED), 400),
        ("CL plus", post("Content-Length: +0\r\n", SMUGGLED), 400),
        ("obs-fold", post("X: a\r\n Content-Length: 44\r\n", SMUGGLED), 400),
        ("bare LF", post("X: a\nContent-Length: 44\r\n", SMUGGLED), 400),
        ("bare CR", post("X: a\rContent-Length: 44\r\n", SMUGGLED), 400),
        ("NUL", post("X: a\0b\r\n", ""), 400),
        ("space before colon", post("Content-Length : 44\r\n", SMUGGLED), 400),
        ("no host", format!("GET /smuggled HTTP/1.1\r\n\r\n{SMUGGLED}"), 400),
        ("two hosts", post("Host: other\r\n", ""), 400),
        ("HTTP/0.9", "GET /smuggled\r\n\r\n".to_owned(), 400),
        ("a huge target", format!("GET /{} HTTP/1.1\r\n\r\n", "s".repeat(20_000)), 414),
        ("a huge field", post(&format!("X: {}\r\n", "x".repeat(1 << 20)), ""), 431),
        ("many fields", post(&"X: y\r\n".repeat(1_000), ""), 431),
        ("a huge body", post("Content-Length: 99999999999\r\n", ""), 413),
    ]
}

#[test]
fn requests_that_can_be_read_in_two_ways() {
    House::open().endures(|house| {
        for (name, bytes, expected) in twisted() {
            let mut tls = house.secure(&["http/1.1"]);
            let _ = tls.write_all(bytes.as_bytes());
            let answer = String::from_utf8_lossy(&rest(name, &mut tls)).into_owned();
            assert!(answer.starts_with(&format!("HTTP/1.1 {expected} ")), "{name}: {answer}");
            assert_eq!(answer.matches("HTTP/1.1 ").count(), 1, "{name}: {answer}");
        }
        let preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
        let frame = |length: u32, kind: u8, body: &[u8]| {
            [preface, &length.to_be_bytes()[1..], &[kind, 0, 0, 0, 0, 0], body].concat()
        };
        for (name, bytes) in [
            ("no preface", SMUGGLED.repeat(4).into_bytes()),
            ("half a preface", preface[..10].to_vec()),
            ("a preface and zeros", [&preface[..], &[0; 4096]].concat()),
            ("a frame of 16 MiB", frame(0xff_ffff, 4, &[7; 4096])),
            ("fields on stream 0", frame(64, 1, &[0xff; 64])),
            ("a continuation of nothing", frame(64, 9, &[0xff; 64])),
        ] {
            let mut tls = house.secure(&["h2"]);
            let _ = tls.write_all(&bytes);
            rest(name, &mut tls);
        }
    });
}

/// Connections to the door from many addresses, so that no client has more than it may.
async fn crowd(door: &str, count: usize) -> Vec<tokio::net::TcpStream> {
    let mut crowd = Vec::new();
    for number in 0..count {
        let socket = TcpSocket::new_v4().unwrap();
        let place = format!("127.0.1.{}:0", 1 + number / 200);
        socket.bind(place.parse().unwrap()).unwrap();
        crowd.push(socket.connect(door.parse().unwrap()).await.unwrap());
    }
    crowd
}

#[test]
fn thousands_that_only_connect_and_some_that_dawdle() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    House::open().endures(|house| {
        let mut left = runtime.block_on(crowd(&house.serving.door, 3_000));
        // the head never ends; the body never comes; both drip
        let dawdlers = ["GET /smuggled HTTP/1.1\r\nHost: localhost\r\nX: ".to_owned()]
            .into_iter()
            .chain(["POST /v1/sign-in HTTP/1.1\r\nHost: localhost\r\n\
                     Content-Type: application/json\r\nContent-Length: 1000\r\n\r\n{"
                .to_owned()]);
        let mut dawdling: Vec<Tls> = dawdlers
            .flat_map(|head| std::iter::repeat_n(head, 50))
            .map(|head| {
                let mut tls = house.secure(&["http/1.1"]);
                tls.write_all(head.as_bytes()).unwrap();
                tls
            })
            .collect();
        let began = Instant::now();
        while began.elapsed() < BOUND / 2 {
            for tls in &mut dawdling {
                let _ = tls.write_all(b"a");
            }
            std::thread::sleep(Duration::from_millis(200));
        }
        for tls in &mut dawdling {
            rest("a dawdler", tls);
        }
        for stream in left.drain(..) {
            let mut stream = stream.into_std().unwrap();
            stream.set_nonblocking(false).unwrap();
            stream.set_read_timeout(Some(BOUND)).unwrap();
            assert!(rest("a connection that says nothing", &mut stream).is_empty());
        }
    });
}
