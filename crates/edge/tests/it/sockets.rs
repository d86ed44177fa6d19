//! E5, E8: a WebSocket that we end is told why.

use std::time::Duration;

use futures_util::{SinkExt as _, StreamExt as _};
use kernel::{SessionId, Timestamp};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::{Message, client::IntoClientRequest as _};
use web::feed::Delta;

use crate::world::{PATIENCE, Wish, World, read_until, spawn};

async fn open(world: &World) -> (SessionId, WebSocketStream<TcpStream>) {
    let (account, session) = world.session();
    let token = world.token((account, session), "customer", &[]);
    let mut request = "ws://shop.example/ws".into_client_request().unwrap();
    let cookie = format!("__Host-stagedoor_token={token}");
    request.headers_mut().insert("cookie", cookie.parse().unwrap());
    let stream = world.connect().await;
    (session, tokio_tungstenite::client_async(request, stream).await.unwrap().0)
}

fn ended(session: SessionId) -> Delta {
    Delta::SessionEnded { session, until: Timestamp::from_seconds(crate::world::START_S + 300) }
}

async fn next(socket: &mut WebSocketStream<TcpStream>) -> Option<Message> {
    let next = tokio::time::timeout(PATIENCE, socket.next()).await;
    next.expect("something comes").and_then(Result::ok)
}

/// The code of the close frame that comes next.
async fn code(socket: &mut WebSocketStream<TcpStream>) -> Option<u16> {
    match next(socket).await {
        Some(Message::Close(Some(close))) => Some(close.code.into()),
        _ => None,
    }
}

#[tokio::test]
async fn an_ended_session_closes_with_a_policy_code() {
    let world = World::new().await;
    let (session, mut socket) = open(&world).await;
    socket.send(Message::text("hi")).await.unwrap();
    assert_eq!(next(&mut socket).await, Some(Message::text("hi")));
    world.publish(ended(session)).await;
    assert_eq!(code(&mut socket).await, Some(1008));
    world.until(|world| world.edge.as_ref().unwrap().open() == (0, 0)).await;
}

#[tokio::test]
async fn an_edge_that_stops_says_that_it_goes_away() {
    let mut world = World::new().await;
    let (_, mut socket) = open(&world).await;
    let draining = spawn(world.edge.take().unwrap().drain(Duration::from_millis(100)));
    assert_eq!(code(&mut socket).await, Some(1001));
    draining.await.unwrap();
}

/// An upstream that sends half a frame, and the rest when the session has ended; or never.
async fn halves(rest: bool) -> (World, SessionId, WebSocketStream<TcpStream>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let at = listener.local_addr().unwrap();
    let (sending, mut told) = tokio::sync::mpsc::channel::<()>(1);
    spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let head = read_until(&mut stream, "\r\n\r\n").await;
        let key = head.lines().find_map(|line| line.strip_prefix("sec-websocket-key: ")).unwrap();
        let accept = tokio_tungstenite::tungstenite::handshake::derive_accept_key(key.as_bytes());
        let answer = format!(
            "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Accept: {accept}\r\n\r\n"
        );
        stream.write_all(answer.as_bytes()).await.unwrap();
        stream.write_all(b"\x81\x06hal").await.unwrap();
        told.recv().await;
        if rest {
            // After the end of the session, as far as anybody can tell.
            tokio::time::sleep(Duration::from_millis(100)).await;
            stream.write_all(b"ves\x81\x04over").await.unwrap();
        }
        let _ = stream.read(&mut [0; 99]).await;
    });
    let table = serde_json::json!({
        "upstreams": [{"name": "u", "address": format!("http://{at}")}],
        "routes": [{"name": "ws", "path": {"prefix": "/ws"}, "upstream": "u", "access": "session",
                    "websocket": true}],
    });
    let world = World::with(Wish { routes: Some(table), ..Wish::default() }).await;
    let (session, socket) = open(&world).await;
    // The first half is on its way through.
    tokio::time::sleep(Duration::from_millis(100)).await;
    world.publish(ended(session)).await;
    sending.send(()).await.unwrap();
    (world, session, socket)
}

#[tokio::test]
async fn a_frame_under_way_is_let_through_first() {
    let (world, _, mut socket) = halves(true).await;
    assert_eq!(next(&mut socket).await, Some(Message::text("halves")));
    // What came with its end may pass too, but nothing is cut.
    let mut last = next(&mut socket).await;
    if last == Some(Message::text("over")) {
        last = next(&mut socket).await;
    }
    let code = match last {
        Some(Message::Close(Some(close))) => u16::from(close.code),
        other => panic!("{other:?}"),
    };
    assert_eq!(code, 1008);
    drop(world);
}

#[tokio::test]
async fn a_frame_that_never_ends_is_not_waited_for() {
    let (world, _, mut socket) = halves(false).await;
    assert_eq!(code(&mut socket).await, None, "it closes without a word in the middle of another");
    world.until(|world| world.edge.as_ref().unwrap().open() == (0, 0)).await;
}
