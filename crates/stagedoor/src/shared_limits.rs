//! Limits that several doors count together: real listeners, a real Redis, clients that ask as fast
//! as they can, and a Redis that dies, hangs, forgets and comes back. Each door's clock is another.
#![expect(clippy::disallowed_methods, reason = "a real server takes real time")]

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use edge::{Bounds, Edge, Issuer, Listen, Running};
use kernel::{Clock, SystemClock, SystemEntropy, Timestamp};
use testkit::{Redis, World};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::task::TaskTracker;
use web::feed::{Counter, Hub, Observations, RouteTable, Snapshot};

use crate::counter::RedisCounter;
use crate::redis::{Connection, Reply, Server};

/// Longer than a refusal is remembered, and than anything else takes.
const PATIENCE: Duration = Duration::from_secs(20);

/// A clock that is wrong by some hours.
#[derive(Debug)]
struct Wrong(i64);

impl Clock for Wrong {
    fn now(&self) -> Timestamp {
        Timestamp::from_micros(SystemClock.now().micros() + self.0 * 3_600_000_000)
    }
}

struct Doors {
    redis: Redis,
    doors: Vec<Running>,
    tasks: TaskTracker,
}

impl Doors {
    /// Doors that share a Redis; none where no Redis is installed. `limits` are those of the route
    /// of the same name.
    async fn open(world: &World, count: usize, limits: serde_json::Value) -> Option<Self> {
        Self::patient(world, (count, Bounds::default()), limits).await
    }

    /// The same, with bounds of their own: a busy machine is no dead store.
    async fn patient(
        world: &World,
        (count, bounds): (usize, Bounds),
        limits: serde_json::Value,
    ) -> Option<Self> {
        let redis = Redis::start()?;
        let tasks = TaskTracker::new();
        let upstream = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("http://{}", upstream.local_addr().unwrap());
        let shop = axum::Router::new().fallback(|| async { "ok" });
        tasks.spawn(async move { axum::serve(upstream, shop).await.unwrap() });
        let routes: Vec<serde_json::Value> = limits
            .as_object()
            .unwrap()
            .iter()
            .map(|(name, limits)| {
                serde_json::json!({
                    "name": name, "path": {"prefix": format!("/{name}")}, "upstream": "shop",
                    "access": "open", "limits": limits,
                })
            })
            .collect();
        let upstreams = [serde_json::json!({"name": "shop", "address": address})];
        let table = serde_json::json!({"upstreams": upstreams, "routes": routes});
        let table: RouteTable = serde_json::from_value(table).unwrap();
        assert_eq!(table.problems(), []);
        let table = Arc::new(table);
        let mut doors = Vec::new();
        for number in 0..count {
            doors.push(door((world, &redis), number, &table, bounds).await);
        }
        Some(Self { redis, doors, tasks })
    }

    fn at(&self, door: usize) -> SocketAddr {
        self.doors[door].local_addr()
    }

    /// One request; its status and the whole answer.
    async fn get(&self, door: usize, path: &str) -> (u16, String) {
        Client::new(self.at(door)).await.get(path).await
    }

    /// Asks until the status comes; fails where it does not.
    async fn until(&self, door: usize, path: &str, wanted: u16) {
        let began = Instant::now();
        while self.get(door, path).await.0 != wanted {
            assert!(began.elapsed() < PATIENCE, "no {wanted} of {path}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// One command to Redis.
    async fn redis(&self, words: &[&str]) -> Reply {
        say(&mut self.connection().await, words).await
    }

    async fn connection(&self) -> Connection {
        Server::parse(&self.redis.url(), None).unwrap().connect().await.unwrap()
    }

    /// Redis's own time, in microseconds.
    async fn time(&self) -> i64 {
        let Reply::Parts(parts) = self.redis(&["TIME"]).await else { panic!("no time") };
        let number = |part: &Reply| text(part).parse::<i64>().unwrap();
        number(&parts[0]) * 1_000_000 + number(&parts[1])
    }

    /// Asks at each door, as fast as its pause lets, for a while; how many passed, and the span in
    /// which they did by Redis's time: at least and at most.
    async fn hammer(&self, path: &'static str, pauses: &[u64], span: Duration) -> (i64, i64, i64) {
        let stop = Arc::new(AtomicBool::new(false));
        let before = self.time().await;
        let mut tasks = Vec::new();
        for (door, pause_ms) in pauses.iter().enumerate() {
            let (address, stop, pause_ms) = (self.at(door), Arc::clone(&stop), *pause_ms);
            tasks.push(self.tasks.spawn(async move {
                let mut client = Client::new(address).await;
                let mut passed = 0;
                while !stop.load(Ordering::Relaxed) {
                    passed += i64::from(client.get(path).await.0 == 200);
                    if pause_ms > 0 {
                        tokio::time::sleep(Duration::from_millis(pause_ms)).await;
                    }
                }
                passed
            }));
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
        let begun = self.time().await;
        tokio::time::sleep(span).await;
        let stopping = self.time().await;
        stop.store(true, Ordering::Relaxed);
        let mut passed = 0;
        for task in tasks {
            passed += task.await.unwrap();
        }
        let after = self.time().await;
        (passed, stopping - begun, after - before)
    }
}

async fn door(
    (world, redis): (&World, &Redis),
    number: usize,
    table: &Arc<RouteTable>,
    bounds: Bounds,
) -> Running {
    let server = Server::parse(&redis.url(), None).unwrap();
    let (prefix, node) = ("test".to_owned(), format!("node-{number}"));
    let counter: Arc<dyn Counter> =
        Arc::new(RedisCounter::new(server, world.vault.clone(), prefix, node));
    let clock: Arc<dyn Clock> = Arc::new(Wrong(i64::try_from(number).unwrap() - 1));
    let hub = Hub::new(Arc::clone(&clock), Snapshot::new(Arc::clone(table), Arc::default()));
    Edge::start(edge::Config {
        listen: Listen::At("127.0.0.1:0".parse().unwrap()),
        tls: None,
        trusted_proxies: Vec::new(),
        proxy_protocol: Vec::new(),
        upstream_tls: HashMap::new(),
        bounds,
        issuer: Issuer { issuer: "https://shop.example".into(), audience: "shop".into() },
        header_keys: HashMap::new(),
        forward_auth: None,
        traced_ppm: 0,
        sign_in_path: "/auth/sign-in".into(),
        clock,
        entropy: Arc::new(SystemEntropy),
        hub,
        observations: Arc::new(Observations::new(1_000)),
        minter: None,
        counter: Some(counter),
        core: axum::Router::new(),
        pages: None,
    })
    .await
    .unwrap()
}

/// A connection that is kept.
struct Client {
    stream: TcpStream,
    read: Vec<u8>,
}

impl Client {
    async fn new(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).await.unwrap();
        stream.set_nodelay(true).unwrap();
        Self { stream, read: Vec::new() }
    }

    async fn get(&mut self, path: &str) -> (u16, String) {
        let request = format!("GET {path} HTTP/1.1\r\nHost: shop.example\r\n\r\n");
        self.stream.write_all(request.as_bytes()).await.unwrap();
        self.read.clear();
        loop {
            assert!(self.stream.read_buf(&mut self.read).await.unwrap() > 0, "no answer");
            let text = String::from_utf8_lossy(&self.read).into_owned();
            let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
            let lower = head.to_ascii_lowercase();
            let length = lower.split_once("content-length: ").and_then(|(_, rest)| {
                rest.split("\r\n").next().unwrap_or_default().trim().parse::<usize>().ok()
            });
            if body.len() >= length.unwrap_or(0) {
                return (head[9..12].parse().unwrap(), text);
            }
        }
    }
}

fn run(test: impl AsyncFnOnce(&World)) {
    World::run_sqlite(&[], test);
}

#[test]
fn strict_is_exact_over_four_doors() {
    run(async |world| {
        let limit = serde_json::json!([{
            "name": "sale", "per": "client", "requests": 200, "window_s": 1, "burst": 50,
            "share": "strict",
        }]);
        let limits = serde_json::json!({ "sale": limit });
        let bounds = Bounds { limit_wait_ms: 5_000, ..Bounds::default() };
        let Some(doors) = Doors::patient(world, (4, bounds), limits).await else { return };
        let span = Duration::from_millis(1_500);
        let (passed, least, most) = doors.hammer("/sale", &[0, 0, 0, 0], span).await;
        assert!(passed <= 50 + most / 5_000, "{passed} in {most} µs: more than the limit");
        assert!(passed >= 50 + least / 5_000, "{passed} in {least} µs: fewer than the limit");
        // Who it was cannot be read out of Redis, and is forgotten with the limit's own time.
        let Reply::Parts(keys) = doors.redis(&["KEYS", "{test}:limit:*"]).await else { panic!() };
        let [key] = keys.as_slice() else { panic!("{keys:?}") };
        assert_eq!(text(key).len(), "{test}:limit:".len() + 32, "{key:?}");
        let Reply::Int(ttl) = doors.redis(&["PTTL", &text(key)]).await else { panic!() };
        assert!((1..=251).contains(&ttl), "{ttl} ms");
        assert_eq!(doors.redis(&["ZCARD", "{test}:nodes"]).await, Reply::Int(4));
    });
}

#[test]
fn leased_is_within_a_hundredth_over_four_doors() {
    run(async |world| {
        let limit = serde_json::json!([{
            "name": "sale", "per": "route", "requests": 4_000, "window_s": 10, "burst": 800,
        }]);
        let limits = serde_json::json!({ "sale": limit });
        let bounds = Bounds { limit_wait_ms: 5_000, ..Bounds::default() };
        let Some(doors) = Doors::patient(world, (4, bounds), limits).await else { return };
        let span = Duration::from_secs(3);
        let (passed, least, most) = doors.hammer("/sale", &[0, 0, 5, 60], span).await;
        let (least, most) = (800 + least / 2_500, 800 + most / 2_500);
        assert!(passed * 100 <= most * 101, "{passed} of {most}");
        assert!(passed * 100 >= least * 99, "{passed} of {least}");
    });
}

#[test]
fn one_question_counts_all_limits_of_a_request_or_none() {
    run(async |world| {
        let limits = serde_json::json!({ "two": [
            {"name": "wide", "per": "client", "requests": 100, "window_s": 60, "share": "strict"},
            {"name": "tight", "per": "client", "requests": 2, "window_s": 60, "share": "strict"},
        ]});
        let Some(doors) = Doors::open(world, 2, limits).await else { return };
        for door in 0..2 {
            assert_eq!(doors.get(door, "/two").await.0, 200);
        }
        let (status, answer) = doors.get(0, "/two").await;
        assert_eq!(status, 429, "{answer}");
        assert!(answer.contains("\"violated-policies\":[\"tight\"]"), "{answer}");
        assert!(answer.contains("ratelimit: \"wide\";r=98;"), "{answer}");
        assert!(answer.contains("retry-after: 30\r\n"), "{answer}");
    });
}

/// A limit that is closed without the store, and one that is not.
fn both() -> serde_json::Value {
    serde_json::json!({
        "login": [{
            "name": "login", "per": "client", "requests": 1_000, "window_s": 60,
            "share": "strict", "without_store": "refuse",
        }],
        "browse": [{"name": "browse", "per": "client", "requests": 8, "window_s": 3_600}],
    })
}

#[test]
fn a_dead_store_leaves_each_door_its_part() {
    run(async |world| {
        let Some(mut doors) = Doors::open(world, 2, both()).await else { return };
        // Until each door has heard that they are two.
        tokio::time::sleep(Duration::from_millis(2_500)).await;
        assert_eq!(doors.get(0, "/login").await.0, 200);
        doors.redis.kill();
        doors.until(0, "/login", 503).await;
        let (_, answer) = doors.get(0, "/login").await;
        assert!(answer.contains("edge.limit_unknown"), "{answer}");
        for door in 0..2 {
            doors.until(door, "/login", 503).await;
            let mut passed = 0;
            let began = Instant::now();
            for _ in 0..20 {
                passed += u32::from(doors.get(door, "/browse").await.0 == 200);
            }
            assert_eq!(passed, 4, "half of 8");
            assert!(began.elapsed() < Duration::from_secs(2), "a dead store costs nothing");
        }
        doors.redis.restart();
        for door in 0..2 {
            doors.until(door, "/login", 200).await;
        }
    });
}

#[test]
fn a_store_that_hangs_is_not_waited_for() {
    run(async |world| {
        let Some(doors) = Doors::open(world, 1, both()).await else { return };
        let mut client = Client::new(doors.at(0)).await;
        assert_eq!(client.get("/login").await.0, 200);
        doors.redis.pause();
        let began = Instant::now();
        assert_eq!(client.get("/login").await.0, 503);
        assert!(began.elapsed() < Duration::from_millis(500), "{:?}", began.elapsed());
        // Ten more, one after the other: nobody else waits.
        let began = Instant::now();
        for _ in 0..10 {
            assert_eq!(client.get("/login").await.0, 503);
        }
        assert!(began.elapsed() < Duration::from_millis(500), "{:?}", began.elapsed());
        assert_eq!(client.get("/browse").await.0, 200);
        doors.redis.resume();
        doors.until(0, "/login", 200).await;
    });
}

#[test]
fn a_store_that_forgot_its_script_or_everything_goes_on() {
    run(async |world| {
        let limits = serde_json::json!({ "few": [
            {"name": "few", "per": "client", "requests": 3, "window_s": 3_600, "share": "strict"},
        ]});
        let Some(doors) = Doors::open(world, 2, limits).await else { return };
        assert_eq!(doors.get(0, "/few").await.0, 200);
        assert_eq!(doors.redis(&["SCRIPT", "FLUSH"]).await, Reply::Word("OK".to_owned()));
        assert_eq!(doors.get(1, "/few").await.0, 200);
        assert_eq!(doors.get(0, "/few").await.0, 200);
        assert_eq!(doors.get(1, "/few").await.0, 429);
        // A refusal is remembered, so that a flood of them costs the store nothing.
        let calls = scripts(&doors).await;
        for _ in 0..50 {
            assert_eq!(doors.get(1, "/few").await.0, 429);
        }
        assert!(scripts(&doors).await - calls < 10, "a flood reaches the store");
        assert_eq!(doors.redis(&["FLUSHALL"]).await, Reply::Word("OK".to_owned()));
        // But not for ever: the store may have been lost.
        doors.until(1, "/few", 200).await;
    });
}

/// How many scripts have run.
async fn scripts(doors: &Doors) -> i64 {
    let told = text(&doors.redis(&["INFO", "commandstats"]).await);
    let line = told.lines().find(|line| line.starts_with("cmdstat_evalsha:calls=")).unwrap();
    let calls = line.trim_start_matches("cmdstat_evalsha:calls=");
    calls.split(',').next().unwrap().parse().unwrap()
}

async fn say(connection: &mut Connection, words: &[&str]) -> Reply {
    let words: Vec<&[u8]> = words.iter().map(|word| word.as_bytes()).collect();
    connection.send(&words).await.unwrap();
    connection.next().await.unwrap()
}

fn text(reply: &Reply) -> String {
    match reply {
        Reply::Text(text) => String::from_utf8(text.clone()).unwrap(),
        other => panic!("{other:?}"),
    }
}

/// What one strict limit adds to a request: the measurement of docs/performance.md.
#[test]
#[ignore = "a measurement, for a calm machine"]
fn what_a_strict_limit_adds() {
    run(async |world| {
        let limit = |share: &str| {
            serde_json::json!([{
                "name": share, "per": "client", "requests": 1_000_000, "window_s": 1, "share": share,
            }])
        };
        let limits = serde_json::json!({
            "node": limit("node"), "leased": limit("leased"), "strict": limit("strict"),
        });
        let Some(doors) = Doors::open(world, 1, limits).await else { return };
        let mut client = Client::new(doors.at(0)).await;
        for path in ["/node", "/leased", "/strict", "/node", "/leased", "/strict"] {
            let mut took = Vec::new();
            for _ in 0..5_000 {
                let began = Instant::now();
                assert_eq!(client.get(path).await.0, 200);
                took.push(began.elapsed());
            }
            took.sort_unstable();
            println!("{path}: p50 {:?}, p99 {:?}", took[2_500], took[4_950]);
        }
    });
}
