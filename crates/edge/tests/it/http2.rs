//! E4 over HTTP/2, in raw frames: each way to make a server work for nothing ends.

use std::time::Duration;

use edge::Bounds;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, ReadHalf, WriteHalf};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

use crate::world::{PATIENCE, Wish, World, spawn};

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const WINDOW_UPDATE: u8 = 8;
const CONTINUATION: u8 = 9;

const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;

/// `:status: 431` in Huffman code.
const STATUS_431: [u8; 3] = [0x69, 0x90, 0xff];

type Reading = ReadHalf<TlsStream<TcpStream>>;
type Writing = WriteHalf<TlsStream<TcpStream>>;

#[derive(Debug)]
struct Frame {
    kind: u8,
    stream: u32,
    content: Vec<u8>,
}

fn frame(kind: u8, flags: u8, stream: u32, content: &[u8]) -> Vec<u8> {
    let length = u32::try_from(content.len()).unwrap().to_be_bytes();
    let mut bytes = vec![length[1], length[2], length[3], kind, flags];
    bytes.extend(stream.to_be_bytes());
    bytes.extend(content);
    bytes
}

/// A literal field without indexing (RFC 7541 section 6.2.2), its name by index or not.
fn field(name: Result<u8, &str>, value: &str) -> Vec<u8> {
    let text = |text: &str| {
        let length = text.len();
        let mut bytes = Vec::new();
        if length < 127 {
            bytes.push(u8::try_from(length).unwrap());
        } else {
            bytes.push(127);
            let mut left = length - 127;
            while left >= 128 {
                bytes.push(u8::try_from(left % 128).unwrap() | 128);
                left /= 128;
            }
            bytes.push(u8::try_from(left).unwrap());
        }
        bytes.extend(text.as_bytes());
        bytes
    };
    match name {
        Ok(index) => [vec![index], text(value)].concat(),
        Err(name) => [vec![0], text(name), text(value)].concat(),
    }
}

/// The fields of `GET path`.
fn get(path: &str) -> Vec<u8> {
    [vec![0x82, 0x87], field(Ok(4), path), field(Ok(1), "shop.example")].concat()
}

fn ask(stream: u32, path: &str) -> Vec<u8> {
    frame(HEADERS, END_HEADERS | END_STREAM, stream, &get(path))
}

async fn world(bounds: Bounds) -> World {
    World::with(Wish { tls: true, bounds, ..Wish::default() }).await
}

/// Opens a connection whose streams have so large a window.
async fn open(world: &World, window: u32) -> (Reading, Writing) {
    let stream = crate::tls::connect(world, &[b"h2"]).await.unwrap();
    let (reading, mut writing) = tokio::io::split(stream);
    let setting = [vec![0, 4], window.to_be_bytes().to_vec()].concat();
    let preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
    let first = [preface, frame(SETTINGS, 0, 0, &setting), frame(SETTINGS, 1, 0, &[])].concat();
    writing.write_all(&first).await.unwrap();
    (reading, writing)
}

/// The next frame; none at the connection's end.
async fn next(reading: &mut Reading) -> Option<Frame> {
    let mut head = [0; 9];
    reading.read_exact(&mut head).await.ok()?;
    let [a, b, c, kind, _, stream @ ..] = head;
    let mut content = vec![0; usize::from(a) << 16 | usize::from(b) << 8 | usize::from(c)];
    reading.read_exact(&mut content).await.ok()?;
    Some(Frame { kind, stream: u32::from_be_bytes(stream), content })
}

/// Reads until a frame that is looked for.
async fn until(reading: &mut Reading, wanted: impl Fn(&Frame) -> bool) -> Frame {
    let found = async {
        loop {
            let frame = next(reading).await.expect("the connection goes on");
            if wanted(&frame) {
                return frame;
            }
        }
    };
    tokio::time::timeout(PATIENCE, found).await.expect("it comes")
}

/// Sends the same for ever, in batches, beside reading: how many were written before the end.
async fn flood(world: &World, mut make: impl FnMut(u32) -> Vec<u8>) -> u32 {
    let (mut reading, mut writing) = open(world, 65_535).await;
    let dropping = spawn(async move { while next(&mut reading).await.is_some() {} });
    let flooding = async {
        let mut sent = 0;
        loop {
            let batch: Vec<u8> = (sent..sent + 20).flat_map(&mut make).collect();
            if writing.write_all(&batch).await.is_err() || dropping.is_finished() {
                return sent;
            }
            sent += 20;
            tokio::task::yield_now().await;
        }
    };
    let sent = tokio::time::timeout(PATIENCE, flooding).await.expect("the connection ends");
    world.until(|world| world.edge.as_ref().unwrap().open().0 == 0).await;
    sent
}

// CVE-2023-44487
#[tokio::test]
async fn requests_that_are_reset_at_once_end_the_connection() {
    let world = world(Bounds::default()).await;
    flood(&world, |number| {
        let stream = number * 2 + 1;
        [ask(stream, "/slow"), frame(RST_STREAM, 0, stream, &[0, 0, 0, 8])].concat()
    })
    .await;
    // Few of them cost the shop anything, and others are served.
    assert!(world.seen().len() <= 400, "{} requests", world.seen().len());
    let (mut reading, mut writing) = open(&world, 65_535).await;
    writing.write_all(&ask(1, "/")).await.unwrap();
    until(&mut reading, |frame| frame.kind == DATA && frame.content == b"hello").await;
}

/// Each reset comes after the request has been taken up: the library counts only those before.
#[tokio::test]
async fn requests_that_are_reset_a_little_later_end_the_connection_too() {
    let bounds = Bounds { control_frames_max: 100, ..Bounds::default() };
    let world = world(bounds).await;
    let (mut reading, mut writing) = open(&world, 65_535).await;
    let mut sent = 0u32;
    let flooding = async {
        loop {
            let stream = sent * 2 + 1;
            let seen = world.seen().len();
            if writing.write_all(&ask(stream, "/slow")).await.is_err() {
                return;
            }
            while world.seen().len() == seen {
                if tokio::time::timeout(Duration::from_millis(1), next(&mut reading))
                    .await
                    .is_ok_and(|frame| frame.is_none_or(|frame| frame.kind == GOAWAY))
                {
                    return;
                }
            }
            let reset = frame(RST_STREAM, 0, stream, &[0, 0, 0, 8]);
            if writing.write_all(&reset).await.is_err() {
                return;
            }
            sent += 1;
        }
    };
    tokio::time::timeout(PATIENCE, flooding).await.expect("the connection ends");
    // 100 at once, and 10 more in each second.
    assert!((90..=250).contains(&sent), "{sent} resets");
    assert_eq!(world.observed("edge.http2_flood"), 1);
}

// CVE-2024-27316
#[tokio::test]
async fn fields_that_never_end_end_the_connection() {
    let world = world(Bounds::default()).await;
    let sent = flood(&world, |number| match number {
        0 => frame(HEADERS, END_STREAM, 1, &get("/")),
        _ => frame(CONTINUATION, 0, 1, &field(Err("x-flood"), &"x".repeat(1_000))),
    })
    .await;
    assert!(sent <= 1_000, "{sent} frames of 1 kB were written");
    let empty = flood(&world, |number| match number {
        0 => frame(HEADERS, END_STREAM, 1, &get("/")),
        _ => frame(CONTINUATION, 0, 1, &[]),
    })
    .await;
    assert!(empty <= 20_000, "{empty} empty frames were written");
    assert!(world.seen().is_empty());
}

// CVE-2019-9512, CVE-2019-9515, CVE-2019-9518
#[tokio::test]
async fn frames_that_say_nothing_end_the_connection() {
    type Make = fn(u32) -> Vec<u8>;
    let floods: [(&str, Make); 5] = [
        ("ping", |_| frame(PING, 0, 0, &[7; 8])),
        ("settings", |_| frame(SETTINGS, 0, 0, &[])),
        ("priority", |number| frame(2, 0, number * 2 + 1, &[0, 0, 0, 0, 16])),
        ("window", |_| frame(WINDOW_UPDATE, 0, 0, &[0, 0, 0, 1])),
        ("unknown", |_| frame(0xfa, 0, 0, &[7; 8])),
    ];
    let world = world(Bounds { control_frames_max: 400, ..Bounds::default() }).await;
    for (name, make) in floods {
        flood(&world, make).await;
        assert_eq!(world.observed("edge.http2_flood"), 1, "{name}");
    }
    flood(&world, |number| match number {
        0 => frame(HEADERS, END_HEADERS, 1, &get("/echo")),
        _ => frame(DATA, 0, 1, &[]),
    })
    .await;
    assert_eq!(world.observed("edge.http2_flood"), 1, "empty data");
}

#[tokio::test]
async fn too_many_fields_are_refused_and_the_connection_goes_on() {
    let world = world(Bounds::default()).await;
    let (mut reading, mut writing) = open(&world, 65_535).await;
    let many: Vec<u8> = (0..97).flat_map(|at| field(Err(&format!("x-{at}")), "1")).collect();
    let many = frame(HEADERS, END_HEADERS | END_STREAM, 1, &[get("/"), many].concat());
    writing.write_all(&many).await.unwrap();
    let answer = until(&mut reading, |frame| frame.kind == HEADERS && frame.stream == 1).await;
    assert!(answer.content.windows(3).any(|part| part == STATUS_431), "{answer:?}");
    let problem = until(&mut reading, |frame| frame.kind == DATA && frame.stream == 1).await;
    let problem = String::from_utf8_lossy(&problem.content).into_owned();
    assert!(problem.contains("hygiene.too_many_fields"), "{problem}");
    // 40 kB in three frames, where 32 KiB are allowed. Another connection, because the first has
    // learnt to write the status in one byte.
    let (mut reading, mut writing) = open(&world, 65_535).await;
    let field = field(Err("x-long"), &"x".repeat(13_000));
    let first = frame(HEADERS, END_STREAM, 3, &[get("/"), field.clone()].concat());
    let middle = frame(CONTINUATION, 0, 3, &field);
    let last = frame(CONTINUATION, END_HEADERS, 3, &field);
    writing.write_all(&[first, middle, last].concat()).await.unwrap();
    let answer = until(&mut reading, |frame| frame.stream == 3).await;
    assert!(answer.content.windows(3).any(|part| part == STATUS_431), "{answer:?}");
    writing.write_all(&ask(5, "/")).await.unwrap();
    until(&mut reading, |frame| frame.stream == 5 && frame.content == b"hello").await;
    assert_eq!(world.seen().len(), 1);
}

#[tokio::test]
async fn so_many_streams_at_once_and_no_more() {
    let world = world(Bounds { streams_max: 5, ..Bounds::default() }).await;
    let (mut reading, mut writing) = open(&world, 65_535).await;
    let asked: Vec<u8> = (0..20).flat_map(|at| ask(at * 2 + 1, "/one")).collect();
    writing.write_all(&asked).await.unwrap();
    let refused = until(&mut reading, |frame| frame.kind == RST_STREAM).await;
    assert_eq!(refused.content, [0, 0, 0, 7], "REFUSED_STREAM");
}

/// Two streams of an upstream that has two places, with no window; the world is the last.
async fn stalled() -> (Reading, Writing, [World; 2]) {
    let bounds = Bounds { write_idle_ms: 500, ..Bounds::default() };
    let large = World::new().await;
    let table = serde_json::json!({
        "upstreams": [{"name": "u", "address": format!("http://{}", large.at), "in_flight_max": 2}],
        "routes": [{"name": "all", "path": {"prefix": "/"}, "upstream": "u", "access": "open"}],
    });
    let wish = Wish { tls: true, bounds, routes: Some(table), ..Wish::default() };
    let world = World::with(wish).await;
    let (mut reading, mut writing) = open(&world, 0).await;
    writing.write_all(&[ask(1, "/large"), ask(3, "/large")].concat()).await.unwrap();
    for _ in 0..2 {
        until(&mut reading, |frame| frame.kind == HEADERS).await;
    }
    (reading, writing, [large, world])
}

#[tokio::test]
async fn a_stream_whose_window_stays_shut_is_reset_and_its_siblings_go_on() {
    let (mut reading, mut writing, _worlds) = stalled().await;
    for _ in 0..2 {
        until(&mut reading, |frame| frame.kind == RST_STREAM).await;
    }
    // Its place at the upstream is free again.
    let open = frame(WINDOW_UPDATE, 0, 5, &[0, 0, 0x10, 0]);
    writing.write_all(&[ask(5, "/"), open].concat()).await.unwrap();
    until(&mut reading, |frame| frame.stream == 5 && frame.content == b"hello").await;
}

#[tokio::test]
async fn a_stream_whose_window_opens_by_single_bytes_is_reset() {
    let (mut reading, mut writing, _worlds) = stalled().await;
    let dripping = spawn(async move {
        let mut each = tokio::time::interval(Duration::from_millis(20));
        loop {
            each.tick().await;
            let drops = [1, 3].map(|stream| frame(WINDOW_UPDATE, 0, stream, &[0, 0, 0, 1]));
            if writing.write_all(&drops.concat()).await.is_err() {
                return;
            }
        }
    });
    for _ in 0..2 {
        until(&mut reading, |frame| frame.kind == RST_STREAM).await;
    }
    dripping.abort();
}

#[tokio::test]
async fn a_connection_that_reads_nothing_but_keeps_talking_ends() {
    let bounds = Bounds { write_idle_ms: 500, ..Bounds::default() };
    let world = world(bounds).await;
    let (_deaf, mut writing) = open(&world, 0x7fff_ffff).await;
    let wide = frame(WINDOW_UPDATE, 0, 0, &[0x7f, 0, 0, 0]);
    writing.write_all(&[wide, ask(1, "/large"), ask(3, "/large")].concat()).await.unwrap();
    let talking = spawn(async move {
        let mut each = tokio::time::interval(Duration::from_millis(50));
        while writing.write_all(&frame(PING, 0, 0, &[7; 8])).await.is_ok() {
            each.tick().await;
        }
    });
    let waited = tokio::time::timeout(PATIENCE, async {
        while !talking.is_finished() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    });
    waited.await.expect("it is closed at last");
    world.until(|world| world.edge.as_ref().unwrap().open().0 == 0).await;
}

/// An answer that came before the body is read to its end: a reset behind it makes old clients take
/// the answer for broken.
#[tokio::test]
async fn a_body_that_nobody_reads_costs_the_client_nothing() {
    let world = world(Bounds::default()).await;
    let (mut reading, mut writing) = open(&world, 65_535).await;
    let post = |stream, path| {
        let fields = [vec![0x83, 0x87], field(Ok(4), path), field(Ok(1), "shop.example")].concat();
        frame(HEADERS, END_HEADERS, stream, &fields)
    };
    // refused without a session
    for stream in [1, 3, 5] {
        writing.write_all(&post(stream, "/orders")).await.unwrap();
        until(&mut reading, |frame| frame.kind == DATA && frame.stream == stream).await;
        for last in [0, END_STREAM] {
            writing.write_all(&frame(DATA, last, stream, &[7; 1000])).await.unwrap();
        }
        writing.write_all(&frame(PING, 0, 0, &[7; 8])).await.unwrap();
        until(&mut reading, |frame| {
            assert_ne!(frame.kind, RST_STREAM, "{frame:?}");
            frame.kind == PING
        })
        .await;
    }
    // One that does not end is cut off, by time or by length: no error, by its code.
    writing.write_all(&post(7, "/orders")).await.unwrap();
    let cut = until(&mut reading, |frame| frame.kind == RST_STREAM).await;
    assert_eq!((cut.stream, cut.content), (7, vec![0; 4]));
    assert!(world.seen().is_empty());
}

/// A download that is read, however many updates of its window that takes.
#[tokio::test]
async fn a_large_answer_arrives_whole() {
    let world = world(Bounds { control_frames_max: 100, ..Bounds::default() }).await;
    let (mut reading, mut writing) = open(&world, 65_535).await;
    writing.write_all(&ask(1, "/large")).await.unwrap();
    let mut got = 0;
    while got < crate::world::LARGE_BYTES {
        let piece = until(&mut reading, |frame| frame.kind == DATA).await;
        got += piece.content.len();
        let more = u32::try_from(piece.content.len()).unwrap().to_be_bytes();
        let updates = [0, 1].map(|stream| frame(WINDOW_UPDATE, 0, stream, &more));
        writing.write_all(&updates.concat()).await.unwrap();
    }
}

#[tokio::test]
async fn without_tls_a_trusted_proxy_speaks_it_by_prior_knowledge() {
    let world = World::with(Wish { trusted: vec!["127.0.0.0/8"], ..Wish::default() }).await;
    let preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
    let told = field(Err("x-forwarded-for"), "203.0.113.9");
    let asked = frame(HEADERS, END_HEADERS | END_STREAM, 1, &[get("/"), told].concat());
    let words = [preface.clone(), frame(SETTINGS, 0, 0, &[]), asked].concat();
    for piece in [1, 24, words.len()] {
        let mut stream = world.connect().await;
        for bytes in words.chunks(piece) {
            stream.write_all(bytes).await.unwrap();
            tokio::task::yield_now().await;
        }
        let mut answer = Vec::new();
        let read = async {
            while !answer.windows(5).any(|part| part == b"hello") {
                assert!(stream.read_buf(&mut answer).await.unwrap() > 0, "{answer:?}");
            }
        };
        tokio::time::timeout(PATIENCE, read).await.expect("the answer comes");
    }
    let seen = world.seen();
    assert_eq!(seen.len(), 3);
    assert_eq!(seen[0].header("x-forwarded-for"), Some("203.0.113.9, 127.0.0.1"));
    let stranger = World::new().await.raw(&preface).await;
    assert_eq!(crate::world::status(&stranger), 505, "{stranger}");
    // Words that only begin like it are judged as HTTP/1.
    let answer = world.raw(b"PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n").await;
    assert_eq!(crate::world::status(&answer), 505, "{answer}");
    // A connection that has said nothing does not hold the end up.
    let mut world = world;
    let _silent = world.connect().await;
    world.until(|world| world.edge.as_ref().unwrap().open().0 > 0).await;
    let drained = world.edge.take().unwrap().drain(PATIENCE * 3);
    tokio::time::timeout(PATIENCE, drained).await.expect("it ends at once");
}
