//! E3: a load balancer says whose a connection is; nobody else may.

use edge::Bounds;
use tokio::io::AsyncWriteExt as _;

use crate::world::{Wish, World, read_to_end, read_until, status};

const ASK: &str = "GET /auth/whoami HTTP/1.1\r\nHost: shop.example\r\nConnection: close\r\n\r\n";

async fn world(tls: bool) -> World {
    let bounds = Bounds { handshake_ms: 400, client_connections_max: 2, ..Bounds::default() };
    let proxy_protocol = vec!["127.0.0.0/8"];
    World::with(Wish { bounds, tls, proxy_protocol, ..Wish::default() }).await
}

fn v2(command: u8, client: [u8; 4]) -> Vec<u8> {
    let mut header = b"\r\n\r\n\0\r\nQUIT\n".to_vec();
    header.extend([command, 0x11, 0, 12]);
    header.extend(client);
    header.extend([127, 0, 0, 1, 0x80, 0, 1, 187]);
    header
}

#[tokio::test]
async fn a_listed_proxy_says_whose_the_connection_is() {
    let world = world(false).await;
    for (header, client) in [
        (b"PROXY TCP4 203.0.113.9 127.0.0.1 50000 443\r\n".to_vec(), "203.0.113.9"),
        (b"PROXY TCP6 2001:db8::9 ::1 50000 443\r\n".to_vec(), "2001:db8::9"),
        (b"PROXY TCP6 ::ffff:203.0.113.9 ::1 50000 443\r\n".to_vec(), "203.0.113.9"),
        (b"PROXY UNKNOWN\r\n".to_vec(), "127.0.0.1"),
        (v2(0x21, [203, 0, 113, 7]), "203.0.113.7"),
        (v2(0x20, [203, 0, 113, 7]), "127.0.0.1"),
    ] {
        let answer = world.raw(&[header.as_slice(), ASK.as_bytes()].concat()).await;
        assert!(answer.contains(&format!("core {client} ")), "{client}: {answer}");
    }
    // In pieces too, and the shop is told the same.
    let mut stream = world.connect().await;
    for byte in b"PROXY TCP4 203.0.113.9 127.0.0.1 50000 443\r\n" {
        stream.write_all(&[*byte]).await.unwrap();
        tokio::task::yield_now().await;
    }
    stream.write_all(b"GET / HTTP/1.1\r\nHost: shop.example\r\n\r\n").await.unwrap();
    read_until(&mut stream, "hello").await;
    assert_eq!(world.seen()[0].header("x-forwarded-for"), Some("203.0.113.9"));
}

#[tokio::test]
async fn a_listed_proxy_that_says_nothing_or_nonsense_is_cut_off() {
    let world = world(false).await;
    for bytes in [
        ASK.as_bytes(),
        b"PROXY TCP4 203.0.113.9 127.0.0.1 50000 443\nGET / HTTP/1.1\r\n\r\n",
        b"PROXY TCP4 203.0.113.9",
        b"\r\n\r\n\0\r\nQUIT\n\x21\x11\xff\xff",
        b"",
    ] {
        let answer = world.raw(bytes).await;
        assert_eq!(answer, "", "{bytes:?}");
    }
    assert_eq!(world.observed("edge.proxy_protocol"), 5);
    assert_eq!(world.edge.as_ref().unwrap().open().0, 0);
}

#[tokio::test]
async fn nobody_else_is_believed() {
    let world = World::new().await;
    let header = b"PROXY TCP4 203.0.113.9 127.0.0.1 50000 443\r\n";
    let answer = world.raw(&[header.as_slice(), ASK.as_bytes()].concat()).await;
    assert_eq!(status(&answer), 400, "{answer}");
    let answer = world.raw(&[v2(0x21, [203, 0, 113, 7]), ASK.into()].concat()).await;
    assert_eq!(status(&answer), 400, "{answer}");
    assert!(world.seen().is_empty());
    let secure = World::with(Wish { tls: true, ..Wish::default() }).await;
    let answer = secure.raw(&[header.as_slice(), ASK.as_bytes()].concat()).await;
    assert!(!answer.contains("200"), "{answer}");
}

#[tokio::test]
async fn connections_are_counted_and_blocked_by_the_client_behind() {
    let world = world(false).await;
    let header = b"PROXY TCP4 203.0.113.9 127.0.0.1 50000 443\r\n";
    let mut held = Vec::new();
    for _ in 0..2 {
        let mut stream = world.connect().await;
        stream.write_all(header).await.unwrap();
        stream.write_all(b"GET / HTTP/1.1\r\nHost: shop.example\r\n\r\n").await.unwrap();
        read_until(&mut stream, "hello").await;
        held.push(stream);
    }
    assert_eq!(world.raw(header).await, "");
    assert_eq!(world.observed("edge.too_many_connections"), 1);
    let other = b"PROXY TCP4 198.51.100.7 127.0.0.1 50000 443\r\n";
    let net = "203.0.113.0/24".parse().unwrap();
    let until = kernel::Timestamp::from_seconds(crate::world::START_S + 60);
    let block = web::feed::Delta::ClientBlocked { net, until, reason: "spray".to_owned() };
    world.publish(block).await;
    for stream in &mut held {
        read_to_end(stream).await;
    }
    assert_eq!(world.raw(header).await, "");
    assert_eq!(world.observed("edge.blocked"), 1);
    let answer = world.raw(&[other.as_slice(), ASK.as_bytes()].concat()).await;
    assert!(answer.contains("core 198.51.100.7 "), "{answer}");
}

#[tokio::test]
async fn tls_comes_behind_the_header() {
    let world = world(true).await;
    let name = rustls::pki_types::ServerName::try_from("shop.example").unwrap();
    let mut socket = world.connect().await;
    socket.write_all(&v2(0x21, [203, 0, 113, 7])).await.unwrap();
    let connector = crate::tls::client(&world, &[b"http/1.1"], false);
    let mut stream = connector.connect(name, socket).await.unwrap();
    stream.write_all(ASK.as_bytes()).await.unwrap();
    let answer = read_to_end(&mut stream).await;
    assert!(answer.contains("core 203.0.113.7 true t13d"), "{answer}");
}
