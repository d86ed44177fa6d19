//! E4: a slow or greedy client costs only itself.

use std::time::Duration;

use edge::Bounds;
use tokio::io::AsyncWriteExt as _;

use crate::world::{Wish, World, read_to_end, read_until, status};

fn short() -> Wish {
    let bounds = Bounds { head_ms: 300, idle_ms: 300, handshake_ms: 300, ..Bounds::default() };
    Wish { bounds, ..Wish::default() }
}

#[tokio::test]
async fn a_head_that_never_ends_is_cut_off() {
    let world = World::with(short()).await;
    let mut stream = world.connect().await;
    stream.write_all(b"GET / HTTP/1.1\r\nHost: shop").await.unwrap();
    assert_eq!(read_to_end(&mut stream).await, "");
    let mut silent = world.connect().await;
    assert_eq!(read_to_end(&mut silent).await, "");
    assert!(world.seen().is_empty());
}

#[tokio::test]
async fn an_idle_connection_ends_but_not_one_that_waits_for_its_answer() {
    let world = World::with(short()).await;
    let mut stream = world.connect().await;
    stream.write_all(b"GET / HTTP/1.1\r\nHost: shop.example\r\n\r\n").await.unwrap();
    read_until(&mut stream, "hello").await;
    assert_eq!(read_to_end(&mut stream).await, "");
    // An event stream is silent for longer than that, and stays.
    let mut events = world.connect().await;
    events.write_all(b"GET /events HTTP/1.1\r\nHost: shop.example\r\n\r\n").await.unwrap();
    read_until(&mut events, "data: first").await;
    let more = tokio::time::timeout(Duration::from_millis(700), read_to_end(&mut events)).await;
    assert!(more.is_err(), "closed: {more:?}");
}

#[tokio::test]
async fn a_body_that_never_comes_is_given_up() {
    let world = World::new().await;
    let mut stream = world.connect().await;
    let head = "POST /echo HTTP/1.1\r\nHost: shop.example\r\nContent-Length: 50\r\n\r\nsome";
    stream.write_all(head.as_bytes()).await.unwrap();
    let answer = read_to_end(&mut stream).await;
    assert_eq!(status(&answer), 408, "{answer}");
    assert!(world.seen().is_empty());
}

/// Drops of one byte keep no body alive: each pause of the route must bring enough.
#[tokio::test]
async fn a_body_in_drops_is_given_up() {
    let world = World::new().await;
    let mut stream = world.connect().await;
    let head = "POST /echo HTTP/1.1\r\nHost: shop.example\r\nContent-Length: 5000\r\n\r\n";
    stream.write_all(head.as_bytes()).await.unwrap();
    let (mut reading, mut writing) = stream.into_split();
    let dripping = crate::world::spawn(async move {
        let mut each = tokio::time::interval(Duration::from_millis(100));
        while writing.write_all(b"x").await.is_ok() {
            each.tick().await;
        }
    });
    let answer = read_to_end(&mut reading).await;
    assert_eq!(status(&answer), 408, "{answer}");
    dripping.abort();
}

#[tokio::test]
async fn one_client_has_so_many_connections_and_no_more() {
    let bounds = Bounds { client_connections_max: 3, ..Bounds::default() };
    let world = World::with(Wish { bounds, ..Wish::default() }).await;
    let mut held = Vec::new();
    for _ in 0..3 {
        let mut stream = world.connect().await;
        stream.write_all(b"GET / HTTP/1.1\r\nHost: shop.example\r\n\r\n").await.unwrap();
        read_until(&mut stream, "hello").await;
        held.push(stream);
    }
    let mut fourth = world.connect().await;
    assert_eq!(read_to_end(&mut fourth).await, "");
    assert_eq!(world.observed("edge.too_many_connections"), 1);
    held.pop();
    world.until(|world| world.edge.as_ref().unwrap().open().0 == 2).await;
    assert_eq!(status(&world.get("/", "").await), 200);
}

#[tokio::test]
async fn streams_open_at_once_are_counted() {
    let bounds = Bounds { long_lived_max: 1, ..Bounds::default() };
    let world = World::with(Wish { bounds, ..Wish::default() }).await;
    let mut first = world.connect().await;
    first.write_all(b"GET /events HTTP/1.1\r\nHost: shop.example\r\n\r\n").await.unwrap();
    read_until(&mut first, "data: first").await;
    assert_eq!(status(&world.get("/events", "").await), 503);
    drop(first);
    world.until(|world| world.edge.as_ref().unwrap().open().1 == 0).await;
    let mut again = world.connect().await;
    again.write_all(b"GET /events HTTP/1.1\r\nHost: shop.example\r\n\r\n").await.unwrap();
    read_until(&mut again, "data: first").await;
}
