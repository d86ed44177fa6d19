//! E4: what a client asked for, it must take, at a pace; what has nothing to say may be silent.

use std::time::Duration;

use edge::Bounds;
use futures_util::SinkExt as _;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};
use tokio_tungstenite::tungstenite::{Message, client::IntoClientRequest as _};

use crate::world::{LARGE_BYTES, PATIENCE, Wish, World, read_until, spawn};

async fn world() -> World {
    patient(500).await
}

async fn patient(write_idle_ms: u64) -> World {
    let bounds = Bounds { write_idle_ms, write_min_bytes: 16_384, ..Bounds::default() };
    World::with(Wish { bounds, ..Wish::default() }).await
}

/// A client whose kernel holds little for it.
async fn narrow(world: &World) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4_096).unwrap();
    socket.connect(world.at).await.unwrap()
}

async fn ask(world: &World, path: &str) -> TcpStream {
    let mut stream = narrow(world).await;
    let text = format!("GET {path} HTTP/1.1\r\nHost: shop.example\r\n\r\n");
    stream.write_all(text.as_bytes()).await.unwrap();
    stream
}

/// Lets real time pass until all connections are closed.
async fn closed(world: &World) {
    let waited = tokio::time::timeout(PATIENCE, async {
        while world.edge.as_ref().unwrap().open() != (0, 0) {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    });
    waited.await.expect("it is closed at last");
}

#[tokio::test]
async fn a_client_that_reads_nothing_is_cut_off() {
    let world = world().await;
    let _held = ask(&world, "/large").await;
    world.until(|world| world.edge.as_ref().unwrap().open().0 == 1).await;
    closed(&world).await;
}

#[tokio::test]
async fn a_client_that_reads_in_drops_is_cut_off() {
    let world = world().await;
    let mut stream = ask(&world, "/large").await;
    let dripping = spawn(async move {
        let mut each = tokio::time::interval(Duration::from_millis(50));
        while stream.read(&mut [0; 512]).await.is_ok_and(|count| count > 0) {
            each.tick().await;
        }
    });
    world.until(|world| world.edge.as_ref().unwrap().open().0 == 1).await;
    closed(&world).await;
    // What was not taken is dropped, and the client told so by a reset.
    tokio::time::timeout(PATIENCE, dripping).await.expect("its reading ends").unwrap();
}

#[tokio::test]
async fn a_client_that_reads_slowly_but_steadily_gets_everything() {
    let world = world().await;
    let mut stream = world.connect().await;
    stream.write_all(b"GET /large HTTP/1.1\r\nHost: shop.example\r\n\r\n").await.unwrap();
    let (mut got, mut buffer) = (0, vec![0; 256 * 1024]);
    while got < LARGE_BYTES {
        let count = stream.read(&mut buffer).await.unwrap();
        assert!(count > 0, "closed after {got}");
        got += count;
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// A socket as most clients have it: the kernels on both sides hold megabytes, and give way in leaps.
#[tokio::test]
async fn a_steady_reader_over_a_wide_socket_is_not_cut_off() {
    let world = patient(2_000).await;
    let mut stream = world.connect().await;
    stream.write_all(b"GET /large HTTP/1.1\r\nHost: shop.example\r\n\r\n").await.unwrap();
    let mut each = tokio::time::interval(Duration::from_millis(50));
    for _ in 0..160 {
        each.tick().await;
        stream.read_exact(&mut [0; 16 * 1024]).await.expect("it is not cut off");
    }
}

#[tokio::test]
async fn an_event_stream_may_be_silent_but_what_it_says_must_be_taken() {
    let world = world().await;
    let mut quiet = ask(&world, "/events").await;
    read_until(&mut quiet, "data: first").await;
    let _deaf = ask(&world, "/firehose").await;
    world.until(|world| world.edge.as_ref().unwrap().open().1 == 2).await;
    let waited = tokio::time::timeout(PATIENCE, async {
        while world.edge.as_ref().unwrap().open() != (1, 1) {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    });
    waited.await.expect("the deaf one is closed at last");
    assert!(tokio::time::timeout(Duration::from_secs(1), quiet.read(&mut [0; 9])).await.is_err());
}

#[tokio::test]
async fn a_websocket_whose_messages_are_not_taken_is_cut_off() {
    let world = world().await;
    let token = world.token(world.session(), "customer", &[]);
    let mut request = "ws://shop.example/ws".into_client_request().unwrap();
    let cookie = format!("__Host-stagedoor_token={token}");
    request.headers_mut().insert("cookie", cookie.parse().unwrap());
    let stream = narrow(&world).await;
    let (mut socket, _) = tokio_tungstenite::client_async(request, stream).await.unwrap();
    let sending = spawn(async move {
        // Each comes back, and is not read.
        while socket.send(Message::binary(vec![7; 1 << 20])).await.is_ok() {}
    });
    world.until(|world| world.edge.as_ref().unwrap().open().1 == 1).await;
    closed(&world).await;
    sending.abort();
}
