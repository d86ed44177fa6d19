//! E7: what passes, passes as it is and at once; what fails says so.

use futures_util::{SinkExt as _, StreamExt as _};
use kernel::Timestamp;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio_tungstenite::tungstenite::{self, Message, client::IntoClientRequest as _};
use web::feed::Delta;

use crate::world::{World, compile, read_until, spawn, status};

#[tokio::test]
async fn bodies_stream_both_ways_before_they_end() {
    let world = World::new().await;
    let mut stream = world.connect().await;
    let head = "POST /stream HTTP/1.1\r\nHost: shop.example\r\nTransfer-Encoding: chunked\r\n\r\n";
    stream.write_all(head.as_bytes()).await.unwrap();
    for word in ["first", "again", "third"] {
        stream.write_all(format!("5\r\n{word}\r\n").as_bytes()).await.unwrap();
        read_until(&mut stream, word).await;
    }
    stream.write_all(b"0\r\n\r\n").await.unwrap();
    read_until(&mut stream, "0\r\n\r\n").await;
    // The connection goes on.
    stream.write_all(b"GET / HTTP/1.1\r\nHost: shop.example\r\n\r\n").await.unwrap();
    read_until(&mut stream, "hello").await;
}

#[tokio::test]
async fn a_large_body_passes_whole() {
    let world = World::new().await;
    let body = "0123456789".repeat(9_999);
    let answer = world.ask("POST", "/echo", "", &body).await;
    assert_eq!(status(&answer), 200);
    assert!(answer.ends_with(&body));
    assert_eq!(world.seen()[0].body.len(), body.len());
}

#[tokio::test]
async fn hop_by_hop_fields_end_here() {
    let world = World::new().await;
    let fields = "Keep-Alive: 5\r\nProxy-Connection: x\r\nTE: trailers\r\nX-Hop: 1\r\nProxy-Authorization: b\r\n";
    let text =
        format!("GET / HTTP/1.1\r\nHost: shop.example\r\n{fields}Connection: close, X-Hop\r\n\r\n");
    let answer = world.raw(text.as_bytes()).await;
    assert!(!answer.contains("x-hop"), "{answer}");
    assert!(
        answer.contains("x-upstream: yes") && answer.contains("via: 1.1 stagedoor-"),
        "{answer}"
    );
    let seen = &world.seen()[0];
    for gone in
        ["keep-alive", "proxy-connection", "te", "x-hop", "connection", "proxy-authorization"]
    {
        assert_eq!(seen.header(gone), None, "{gone}");
    }
    assert_eq!(seen.header("host"), Some("shop.example"));
    assert_eq!(seen.header("x-forwarded-proto"), Some("http"));
    assert_eq!(seen.header("x-forwarded-host"), Some("shop.example"));
    let via = seen.header("via").unwrap().to_owned();
    let loops = world.get("/", &format!("Via: 1.1 a, {via}\r\n")).await;
    assert_eq!(status(&loops), 508, "{loops}");
}

#[tokio::test]
async fn an_awaited_100_comes_before_the_body() {
    let world = World::new().await;
    let mut stream = world.connect().await;
    let head = "POST /echo HTTP/1.1\r\nHost: shop.example\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n";
    stream.write_all(head.as_bytes()).await.unwrap();
    read_until(&mut stream, "HTTP/1.1 100 Continue\r\n\r\n").await;
    stream.write_all(b"world").await.unwrap();
    assert_eq!(status(&read_until(&mut stream, "world").await), 200);
    assert_eq!(world.seen()[0].header("expect"), None);
}

#[tokio::test]
async fn an_upstream_that_fails_is_told_apart() {
    let world = World::new().await;
    let gone = world.get("/gone", "").await;
    assert_eq!(status(&gone), 502, "{gone}");
    let late = world.get("/slow", "").await;
    assert_eq!(status(&late), 504, "{late}");
    let mut first = world.connect().await;
    first.write_all(b"GET /one HTTP/1.1\r\nHost: shop.example\r\n\r\n").await.unwrap();
    world.until(|world| world.seen().iter().any(|seen| seen.target == "/one")).await;
    let full = world.get("/one", "").await;
    assert_eq!(status(&full), 503, "{full}");
    // A client that goes away gives its place back.
    drop(first);
    let (mut tries, mut byte) = (0, [0; 9]);
    while tries < 100 && world.seen().iter().filter(|seen| seen.target == "/one").count() < 2 {
        let mut stream = world.connect().await;
        stream.write_all(b"GET /one HTTP/1.1\r\nHost: shop.example\r\n\r\n").await.unwrap();
        let seen =
            tokio::time::timeout(std::time::Duration::from_millis(50), stream.read(&mut byte));
        let _ = seen.await;
        tries += 1;
    }
    assert!(tries < 100);
}

#[tokio::test]
async fn a_body_without_a_length_is_counted() {
    let world = World::new().await;
    let chunk = format!("4000\r\n{}\r\n", "x".repeat(0x4000));
    let mut text =
        "POST /echo HTTP/1.1\r\nHost: shop.example\r\nTransfer-Encoding: chunked\r\n\r\n"
            .to_owned();
    text.push_str(&chunk.repeat(7));
    text.push_str("0\r\n\r\n");
    let answer = world.raw(text.as_bytes()).await;
    assert_eq!(status(&answer), 413, "{answer}");
    assert!(world.seen().is_empty());
}

/// An upstream that closes each kept connection just when the next request arrives.
#[tokio::test]
async fn a_stale_connection_costs_nothing_where_asking_twice_is_safe() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let at = listener.local_addr().unwrap();
    let answering = spawn(async move {
        for _ in 0..8 {
            let (mut stream, _) = listener.accept().await.unwrap();
            read_until(&mut stream, "\r\n\r\n").await;
            stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await.unwrap();
            // Reads the next request's first byte, and closes.
            let _ = stream.read(&mut [0; 1]).await;
        }
    });
    let table = serde_json::json!({
        "upstreams": [{"name": "u", "address": format!("http://{at}")}],
        "routes": [{"name": "all", "path": {"prefix": "/"}, "upstream": "u", "access": "open"}],
    });
    let wish = crate::world::Wish { routes: Some(table), ..Default::default() };
    let world = World::with(wish).await;
    assert_eq!(status(&world.get("/", "").await), 200);
    assert_eq!(status(&world.get("/", "").await), 200, "a GET is asked again");
    // A POST may have been done: it is not.
    assert_eq!(status(&world.ask("POST", "/", "", "x").await), 502);
    answering.abort();
}

/// Reads one request on a kept connection and closes it without an answer: the second asking must
/// carry a signature of its own, because the upstream may have kept the first nonce.
#[tokio::test]
async fn what_is_asked_again_is_signed_anew() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let at = listener.local_addr().unwrap();
    let heads = std::sync::Arc::new(std::sync::Mutex::new(Vec::new()));
    let noted = std::sync::Arc::clone(&heads);
    let answering = spawn(async move {
        for _ in 0..2 {
            let (mut stream, _) = listener.accept().await.unwrap();
            for answered in [true, false] {
                let head = read_until(&mut stream, "\r\n\r\n").await;
                noted.lock().unwrap().push(head);
                if answered {
                    let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
                    stream.write_all(answer).await.unwrap();
                }
            }
        }
    });
    let table = serde_json::json!({
        "upstreams": [{"name": "u", "address": format!("http://{at}"), "header_key": "shop"}],
        "routes": [{"name": "all", "path": {"prefix": "/"}, "upstream": "u", "access": "session"}],
    });
    let wish = crate::world::Wish { routes: Some(table), ..Default::default() };
    let world = World::with(wish).await;
    let token = world.token(world.session(), "customer", &[]);
    let cookie = format!("Cookie: __Host-stagedoor_token={token}\r\n");
    assert_eq!(status(&world.get("/a?b=c", &cookie).await), 200);
    assert_eq!(status(&world.get("/a?b=c", &cookie).await), 200, "asked again");
    let heads = heads.lock().unwrap().clone();
    let mut nonces = std::collections::HashSet::new();
    for head in &heads {
        let fields = head.lines().skip(1).filter_map(|line| line.split_once(": "));
        let headers = fields
            .map(|(name, value)| {
                let name: http::HeaderName = name.parse().unwrap();
                (name, value.parse().unwrap())
            })
            .collect();
        let now = Timestamp::from_seconds(crate::world::START_S);
        let told =
            edge::identity::verify(&crate::world::header_key(), "GET", "/a?b=c", &headers, now);
        nonces.insert(told.unwrap().unwrap().nonce);
    }
    assert_eq!((heads.len(), nonces.len()), (3, 3), "{heads:?}");
    answering.abort();
}

async fn socket(
    world: &World,
    path: &str,
    cookie: &str,
    origin: Option<&str>,
) -> Result<tokio_tungstenite::WebSocketStream<tokio::net::TcpStream>, tungstenite::Error> {
    let mut request = format!("ws://shop.example{path}").into_client_request().unwrap();
    request.headers_mut().insert("cookie", cookie.parse().unwrap());
    if let Some(origin) = origin {
        request.headers_mut().insert("origin", origin.parse().unwrap());
    }
    let stream = world.connect().await;
    tokio_tungstenite::client_async(request, stream).await.map(|(socket, _)| socket)
}

fn refused(result: Result<impl Sized, tungstenite::Error>) -> u16 {
    match result {
        Err(tungstenite::Error::Http(response)) => response.status().as_u16(),
        Err(other) => panic!("{other}"),
        Ok(_) => 101,
    }
}

// E5, E8
#[tokio::test]
async fn a_websocket_lives_until_its_session_ends() {
    let world = World::new().await;
    let (account, session) = world.session();
    let cookie =
        format!("__Host-stagedoor_token={}", world.token((account, session), "customer", &[]));
    assert_eq!(refused(socket(&world, "/ws", "a=b", None).await), 401);
    assert_eq!(refused(socket(&world, "/orders", &cookie, None).await), 403);
    assert_eq!(refused(socket(&world, "/ws", &cookie, Some("http://evil.example")).await), 403);
    let mut open = socket(&world, "/ws", &cookie, Some("http://shop.example")).await.unwrap();
    open.send(Message::text("hi")).await.unwrap();
    assert_eq!(open.next().await.unwrap().unwrap(), Message::text("hi"));
    // Another table does not touch it.
    let mut table = (*world.hub.snapshot().routes).clone();
    table.routes.retain(|route| route.name != "ws");
    world.publish(Delta::Routes(table.into())).await;
    open.send(Message::text("still")).await.unwrap();
    assert_eq!(open.next().await.unwrap().unwrap(), Message::text("still"));
    let until = Timestamp::from_seconds(crate::world::START_S + 300);
    world.publish(Delta::SessionEnded { session, until }).await;
    assert!(open.next().await.unwrap().unwrap().is_close());
    world.until(|world| world.edge.as_ref().unwrap().open() == (0, 0)).await;
}

// E8
#[tokio::test]
async fn a_hundred_websockets_outlive_new_tables() {
    let world = World::new().await;
    let token = world.token(world.session(), "customer", &[]);
    let cookie = format!("__Host-stagedoor_token={token}");
    let mut open = Vec::new();
    for _ in 0..100 {
        open.push(socket(&world, "/ws", &cookie, None).await.unwrap());
    }
    for round in 0..5 {
        let mut table = (*world.hub.snapshot().routes).clone();
        table.routes.rotate_left(1);
        table.upstreams[0].in_flight_max = 100 + round;
        world.publish(Delta::Routes(table.into())).await;
        for socket in &mut open {
            socket.send(Message::text("on")).await.unwrap();
            assert_eq!(socket.next().await.unwrap().unwrap(), Message::text("on"));
        }
        assert_eq!(status(&world.get("/", "").await), 200);
    }
}

// E4
#[tokio::test]
async fn a_silent_websocket_ends() {
    let world = World::new().await;
    let mut open = socket(&world, "/ws/quiet", "a=b", None).await.unwrap();
    assert!(!matches!(open.next().await, Some(Ok(_))), "it closes");
}

#[tokio::test]
async fn a_refused_websocket_leaves_the_connection_usable() {
    let world = World::new().await;
    let mut stream = world.connect().await;
    let ask = "GET /ws HTTP/1.1\r\nHost: shop.example\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n";
    stream.write_all(ask.as_bytes()).await.unwrap();
    // Sent before the answer: held until it is known what it is.
    stream.write_all(b"GET /after HTTP/1.1\r\nHost: shop.example\r\n\r\n").await.unwrap();
    let answers = read_until(&mut stream, "hello").await;
    assert_eq!(status(&answers), 401, "{answers}");
    assert_eq!(world.seen().len(), 1);
}

#[tokio::test]
async fn an_http2_upstream_is_spoken_to() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let at = listener.local_addr().unwrap();
    let server = spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        let service = hyper::service::service_fn(
            |request: http::Request<hyper::body::Incoming>| async move {
                let text = format!("{:?} {}", request.version(), request.uri());
                Ok::<_, std::convert::Infallible>(http::Response::new(axum::body::Body::from(text)))
            },
        );
        let io = hyper_util::rt::TokioIo::new(stream);
        let _ = hyper::server::conn::http2::Builder::new(hyper_util::rt::TokioExecutor::new())
            .serve_connection(io, service)
            .await;
    });
    let world = World::new().await;
    let table = serde_json::json!({
        "upstreams": [{"name": "u", "address": format!("http://{at}"), "protocol": "http2"}],
        "routes": [{"name": "all", "path": {"prefix": "/"}, "upstream": "u", "access": "open"}],
    });
    world.publish(Delta::Routes(compile(table).into())).await;
    for _ in 0..3 {
        let answer = world.ask("POST", "/a?b=c", "", "body").await;
        assert!(answer.ends_with("HTTP/2.0 http://shop.example/a?b=c"), "{answer}");
    }
    server.abort();
}
