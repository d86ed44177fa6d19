//! What the edge reads before any library does: heads, bodies' framing, ClientHellos, paths, lists of
//! proxies. Where a library reads the same bytes afterwards, both must see the same.

use std::net::{IpAddr, Ipv4Addr};

use edge::framing::{Framer, Step};
use edge::head::{self, HeadBounds};
use edge::{forwarded, frames, hello, path, proxy_protocol, websocket};
use web::feed::Net;

/// Heads that are taken.
pub const HEAD_SEEDS: &[&[u8]] = &[
    b"GET /live/7?x=1 HTTP/1.1\r\nHost: shop.example\r\nAccept: */*\r\n\r\n",
    b"POST /cart HTTP/1.1\r\nHost: shop.example:8443\r\nContent-Length: 4\r\n\r\n",
    b"POST /cart HTTP/1.1\r\nHost: [::1]\r\nTransfer-Encoding: chunked\r\n\r\n",
];
/// Streams of requests that are taken.
pub const STREAM_SEEDS: &[&[u8]] = &[
    b"POST /cart HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nabcdGET / HTTP/1.1\r\nHost: a\r\n\r\n",
    b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nabcd\r\n0\r\n\r\n",
];
/// A ClientHello in its record.
pub const HELLO_SEEDS: &[&[u8]] =
    &[b"\x16\x03\x01\x00n\x01\x00\x00j\x03\x03\x00\x01\x02\x03\x04\x05\x06\x07\x08\x09\x0a\
      \x0b\x0c\x0d\x0e\x0f\x10\x11\x12\x13\x14\x15\x16\x17\x18\x19\x1a\x1b\x1c\x1d\x1e\x1f\
      \x00\x00\x04\x13\x01\x13\x02\x01\x00\x00=\x00\x00\x00\x10\x00\x0e\x00\x00\x0bexample\
      .com\x00\x0d\x00\x06\x00\x04\x04\x03\x08\x04\x00\x10\x00\x0e\x00\x0c\x02h2\x08http/1\
      .1\x00+\x00\x05\x04\x03\x04\x03\x03\x0a\x0a\x00\x00"];
/// Paths that are taken.
pub const PATH_SEEDS: &[&[u8]] = &[b"/", b"/live/7", b"/caf%C3%A9/x;v=1", b"/a/"];
/// Values of `X-Forwarded-For`.
pub const FORWARDED_SEEDS: &[&[u8]] =
    &[b"192.0.2.7, 10.0.0.2", b"[2001:db8::1]:443, 10.0.0.2", b"\"192.0.2.7:80\""];
/// Headers of a load balancer, in both versions.
pub const PROXY_PROTOCOL_SEEDS: &[&[u8]] = &[
    b"PROXY TCP4 203.0.113.9 10.0.0.1 56324 443\r\nGET / HTTP/1.1\r\n",
    b"PROXY UNKNOWN\r\n",
    b"\r\n\r\n\x00\r\nQUIT\n\x21\x11\x00\x0c\xcb\x00\x71\x09\x0a\x00\x00\x01\xdc\x04\x01\xbb",
];
/// A client's first HTTP/2 frames.
pub const FRAMES_SEEDS: &[&[u8]] = &[
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x06\x04\x00\x00\x00\x00\x00\x00\x04\x00\x00\xff\xff",
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x04\x03\x00\x00\x00\x00\x01\x00\x00\x00\x08",
];
/// Frames of a WebSocket.
pub const WEBSOCKET_SEEDS: &[&[u8]] =
    &[b"\x81\x05hello\x88\x02\x03\xe9", b"\x82\x83abcdxyz\x81\x7e\x00\x02hi"];

const BOUNDS: HeadBounds =
    HeadBounds { head_max_bytes: 16_384, target_max_bytes: 8_192, fields_max: 100 };

/// One head: what is taken here, the HTTP library takes too, and to the same byte.
pub fn one_head(bytes: &[u8]) -> bool {
    if head::check(bytes, &BOUNDS).is_err() {
        return false;
    }
    let mut fields = [httparse::EMPTY_HEADER; 100];
    let parsed = httparse::Request::new(&mut fields).parse(bytes);
    assert_eq!(parsed, Ok(httparse::Status::Complete(bytes.len())));
    true
}

/// A stream of requests: every step names bytes that are there, and the stream comes to an end.
pub fn stream(bytes: &[u8]) -> bool {
    let mut framer = Framer::new(BOUNDS);
    let mut rest = bytes;
    let mut heads = 0;
    loop {
        let taken = match framer.step(rest) {
            Step::Head(taken, _) => {
                heads += 1;
                taken
            }
            Step::Pass(taken) | Step::Skip(taken) => taken,
            Step::More | Step::Hold | Step::Flaw(_) => return heads > 0,
        };
        assert!(taken > 0, "a step that takes nothing goes on for ever");
        rest = rest.split_at(taken).1;
    }
}

/// A ClientHello: a part of it is never read as another one.
pub fn client_hello(bytes: &[u8]) -> bool {
    let hello::Progress::Done(hello) = hello::read(bytes, 16_384) else { return false };
    assert_eq!(hello.ja4().len(), 36);
    let (part, _) = bytes.split_at(bytes.len() / 2);
    if let hello::Progress::Done(sooner) = hello::read(part, 16_384) {
        assert_eq!(sooner, hello);
    }
    true
}

/// A path: what is matched has no segment that means another place.
pub fn decoded_path(bytes: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(bytes) else { return false };
    let Ok(decoded) = path::decoded(text) else { return false };
    assert!(decoded.starts_with('/'));
    assert!(!decoded.split('/').any(|segment| segment == ".." || segment == "."));
    assert!(!decoded.contains(['\\', '\0', ';']) && !decoded.contains("//"));
    true
}

/// The list of proxies: a peer that is not trusted is believed nothing.
pub fn proxies(bytes: &[u8]) -> bool {
    let peer = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 1));
    let stranger = IpAddr::V4(Ipv4Addr::new(198, 51, 100, 1));
    let trusted = [Net::new(peer, 8)];
    assert_eq!(forwarded::client(stranger, [bytes].into_iter(), &trusted), stranger);
    forwarded::client(peer, [bytes].into_iter(), &trusted) != peer
}

/// A load balancer's header: what comes behind it does not change it, and it stays in its bounds.
pub fn balancer(bytes: &[u8]) -> bool {
    let read = proxy_protocol::read(bytes);
    let proxy_protocol::Progress::Done(length, _) = read else { return false };
    assert!((15..=16 + 2_048).contains(&length) && length <= bytes.len());
    assert_eq!(proxy_protocol::read(bytes.split_at(length).0), read);
    true
}

/// HTTP/2 frames: wherever they are cut, the same are counted.
pub fn http2_frames(bytes: &[u8]) -> bool {
    let whole = frames::Frames::default().count(bytes);
    let (first, second) = bytes.split_at(bytes.len() / 2);
    let mut cut = frames::Frames::default();
    assert_eq!(cut.count(first) + cut.count(second), whole);
    whole > 0
}

/// A WebSocket's frames: wherever they are cut, they end at the same place.
pub fn websocket_frames(bytes: &[u8]) -> bool {
    let mut whole = websocket::Frames::default();
    whole.pass(bytes);
    let (first, second) = bytes.split_at(bytes.len() / 2);
    let mut cut = websocket::Frames::default();
    cut.pass(first);
    cut.pass(second);
    assert_eq!(cut.is_between(), whole.is_between());
    whole.is_between() && !bytes.is_empty()
}
