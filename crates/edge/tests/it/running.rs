//! E8: changes and the end of the edge drop nothing that is under way.

use std::time::Duration;

use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use web::feed::Delta;

use crate::world::{World, compile, read_to_end, read_until, spawn, status};

#[tokio::test]
async fn draining_finishes_what_is_under_way() {
    let mut world = World::new().await;
    let mut idle = world.connect().await;
    idle.write_all(b"GET / HTTP/1.1\r\nHost: shop.example\r\n\r\n").await.unwrap();
    read_until(&mut idle, "hello").await;
    let mut busy = world.connect().await;
    let head = "POST /stream HTTP/1.1\r\nHost: shop.example\r\nContent-Length: 10\r\n\r\nfirst";
    busy.write_all(head.as_bytes()).await.unwrap();
    read_until(&mut busy, "first").await;
    let edge = world.edge.take().unwrap();
    let at = edge.local_addr();
    let drained = spawn(edge.drain(Duration::from_secs(8)));
    // The idle connection is closed at once, and no new one is taken.
    assert_eq!(read_to_end(&mut idle).await, "");
    assert!(!drained.is_finished());
    busy.write_all(b"again").await.unwrap();
    assert!(read_to_end(&mut busy).await.contains("again"));
    drained.await.unwrap();
    assert!(TcpStream::connect(at).await.is_err());
}

#[tokio::test]
async fn draining_ends_what_does_not_finish() {
    let mut world = World::new().await;
    let mut events = world.connect().await;
    events.write_all(b"GET /events HTTP/1.1\r\nHost: shop.example\r\n\r\n").await.unwrap();
    read_until(&mut events, "data: first").await;
    world.edge.take().unwrap().drain(Duration::from_millis(100)).await;
    read_to_end(&mut events).await;
}

#[tokio::test]
async fn a_new_table_is_in_force_for_the_next_request_of_an_open_connection() {
    let world = World::new().await;
    let mut stream = world.connect().await;
    let ask = b"GET /new HTTP/1.1\r\nHost: shop.example\r\n\r\n";
    stream.write_all(ask).await.unwrap();
    read_until(&mut stream, "hello").await;
    let before = world.hub.snapshot().routes;
    let mut table = (*before).clone();
    table.routes.retain(|route| route.name == "orders");
    world.publish(Delta::Routes(table.into())).await;
    stream.write_all(ask).await.unwrap();
    assert_eq!(status(&read_until(&mut stream, "edge.no_route").await), 404);
    // A table with problems is not put in force: the last good one stays.
    let mut wrong = (*before).clone();
    wrong.routes[0].upstream = "nowhere".to_owned();
    world.publish(Delta::Routes(wrong.into())).await;
    assert_eq!(status(&world.get("/new", "").await), 404);
    world.publish(Delta::Routes(before)).await;
    assert_eq!(status(&world.get("/new", "").await), 200);
}

#[tokio::test]
async fn a_wrong_configuration_is_refused_by_key() {
    use kernel::Refusal as _;
    let bounds = edge::Bounds { head_ms: 1, ..edge::Bounds::default() };
    let error = bounds.check().unwrap_err();
    assert_eq!(error.code(), "edge.config");
    assert!(
        error.refused().detail.contains("edge.bounds.head_ms: must be 100 to 120000"),
        "{error}"
    );
    assert!(serde_json::from_str::<edge::Bounds>(r#"{"haed_ms":1}"#).is_err());
    let table = serde_json::json!({"upstreams": [], "routes": []});
    compile(table);
}
