//! Hard weather over three nodes, by a seed: nodes are killed and paused, their wires to PostgreSQL
//! and Redis cut or hushed, Redis loses its memory, their disks fill up, clocks are set and jump by an
//! hour, while shops tell facts, customers refresh at whichever node, and people leave. Afterwards a checker looks: nothing that was answered is lost or
//! there twice, nobody honest was logged out and no session is forked, who left is out on every node,
//! and the log continues every checkpoint that any node ever showed.
//!
//! `STAGEDOOR_TEST_SEED` and `STAGEDOOR_TEST_STORMS` choose another or a longer weather.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use kernel::Entropy as _;
use serde_json::{Value, json};
use testkit::SeededEntropy;

use crate::full_disk::Disk;
use crate::nodes::{Node, Nodes, leaves};
use crate::program::{PASSWORD, Shop, answer};

const SEED: u64 = 7;
/// Storms of one run in the short form.
const STORMS: u64 = 10;
/// How long one storm lasts.
const STORM_MS: std::ops::Range<u64> = 300..1_500;
/// How far a clock is set, s: so little is followed.
const CLOCK_OFF_S: i64 = 9;
/// How far a clock jumps, s.
const CLOCK_JUMP_S: i64 = 3_600;
/// The disk that a node remembers on what it has signed.
const DISK_KIB: u32 = 256;
/// How long all may take to be well again.
const PATIENCE: Duration = Duration::from_secs(60);

/// What happens to a node, or to all.
#[derive(Clone, Copy, Debug)]
enum Storm {
    Killed,
    Paused,
    DatabaseCut,
    DatabaseHushed,
    RedisCut,
    RedisHushed,
    /// Redis is killed and comes back empty.
    RedisForgets,
    /// Nobody reaches the database.
    DatabaseGone,
    /// A node's both wires.
    Alone,
    /// A clock that is set by little.
    ClockSet,
    /// One that jumps, both ways.
    ClockAhead,
    ClockBack,
    /// A disk without room.
    DiskFull,
}

const STORMS_ALL: [Storm; 13] = [
    Storm::Killed,
    Storm::Paused,
    Storm::DatabaseCut,
    Storm::DatabaseHushed,
    Storm::RedisCut,
    Storm::RedisHushed,
    Storm::RedisForgets,
    Storm::DatabaseGone,
    Storm::Alone,
    Storm::ClockSet,
    Storm::ClockAhead,
    Storm::ClockBack,
    Storm::DiskFull,
];

impl Storm {
    fn begin(self, nodes: &Nodes, node: &Node, disk: Option<&Disk>) {
        match self {
            Self::Killed => node.kill(),
            Self::Paused => node.pause(),
            Self::DatabaseCut => node.postgres.lose(),
            Self::DatabaseHushed => node.postgres.hush(),
            Self::RedisCut => node.redis.lose(),
            Self::RedisHushed => node.redis.hush(),
            Self::RedisForgets => nodes.redis.restart(),
            Self::DatabaseGone => nodes.nodes.iter().for_each(|node| node.postgres.lose()),
            Self::ClockSet => node.set_clock(CLOCK_OFF_S),
            Self::ClockAhead => node.set_clock(CLOCK_JUMP_S),
            Self::ClockBack => node.set_clock(-CLOCK_JUMP_S),
            Self::DiskFull => disk.into_iter().for_each(Disk::fill),
            Self::Alone => {
                node.postgres.hush();
                node.redis.hush();
            }
        }
    }

    fn end(self, nodes: &Nodes, node: &Node, disk: Option<&Disk>) {
        node.resume();
        node.set_clock(0);
        if matches!(self, Self::DiskFull) {
            disk.into_iter().for_each(Disk::clear);
        }
        for node in &nodes.nodes {
            node.postgres.mend();
            node.redis.mend();
        }
        node.start();
    }
}

/// A number below the end of the range, by the seed.
fn drawn(entropy: &SeededEntropy, range: std::ops::Range<u64>) -> u64 {
    let mut bytes = [0; 8];
    entropy.fill(&mut bytes);
    range.start + u64::from_le_bytes(bytes) % (range.end - range.start)
}

fn told<T: std::str::FromStr>(name: &str, usual: T) -> T {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(usual)
}

/// Whoever does something over and over, each time at another node.
struct Walker {
    entropy: SeededEntropy,
}

impl Walker {
    fn at<'a>(&self, nodes: &'a Nodes) -> &'a Node {
        let count = nodes.nodes.len() as u64;
        &nodes.nodes[usize::try_from(drawn(&self.entropy, 0..count)).unwrap()]
    }
}

/// One client under the weather.
trait Client: Send {
    /// One request at some node; whatever is not answered is asked again later.
    fn act(&mut self, nodes: &Nodes);

    /// How many facts it was told are taken.
    fn facts(&self) -> usize {
        0
    }

    /// In fair weather: what this client was told holds.
    fn check(&mut self, nodes: &Nodes);
}

/// The shop, which tells facts and remembers the event of each.
struct Teller {
    walker: Walker,
    name: &'static str,
    service: String,
    events: Vec<String>,
}

impl Teller {
    fn tell(&self, node: &Node, number: usize) -> Option<String> {
        let id = format!("{}-{number}", self.name);
        let (status, answer) =
            node.ask(|serving, shop| serving.try_tell(shop, &self.service, &id))?;
        assert!([200, 503].contains(&status), "{status} {answer}");
        answer["facts"][0]["event"].as_str().map(str::to_owned)
    }
}

impl Client for Teller {
    fn act(&mut self, nodes: &Nodes) {
        let number = self.events.len();
        if let Some(event) = self.tell(self.walker.at(nodes), number) {
            self.events.push(event);
        }
    }

    fn facts(&self) -> usize {
        self.events.len()
    }

    fn check(&mut self, nodes: &Nodes) {
        eprintln!("{} told {} facts", self.name, self.events.len());
        assert!(!self.events.is_empty());
        for (number, event) in self.events.iter().enumerate() {
            let again = self.tell(&nodes.nodes[number % 3], number).expect("fair weather");
            assert_eq!(again, *event, "{}-{number} was lost", self.name);
        }
        let different: BTreeSet<&String> = self.events.iter().collect();
        assert_eq!(different.len(), self.events.len());
    }
}

/// An honest app: it refreshes at any node, and where it got no answer asks again, elsewhere.
struct App {
    walker: Walker,
    email: &'static str,
    token: Option<String>,
    refreshed: usize,
}

impl App {
    fn refresh(&self, node: &Node, token: &str) -> Option<String> {
        let body = json!({ "refresh_token": token });
        let (status, answer) = node.post(&[], ("/v1/tokens/refresh", &body))?;
        assert!([200, 503].contains(&status), "{} was logged out: {answer}", self.email);
        answer["refresh_token"].as_str().map(str::to_owned)
    }
}

impl Client for App {
    fn act(&mut self, nodes: &Nodes) {
        let node = self.walker.at(nodes);
        let Some(token) = &self.token else {
            let body = json!({ "email": self.email, "password": PASSWORD });
            let answer = node.post(&[], ("/v1/sign-in", &body));
            self.token =
                answer.and_then(|(_, answer)| answer["refresh_token"].as_str().map(str::to_owned));
            return;
        };
        if let Some(successor) = self.refresh(node, token) {
            assert_ne!(successor, *token);
            self.token = Some(successor);
            self.refreshed += 1;
        }
    }

    fn check(&mut self, nodes: &Nodes) {
        eprintln!("{} refreshed {} times", self.email, self.refreshed);
        let token = self.token.clone().expect("it signed in");
        // one token at all nodes at once: one successor
        let successors: BTreeSet<String> = std::thread::scope(|scope| {
            let asking = nodes.nodes.iter().map(|node| scope.spawn(|| self.refresh(node, &token)));
            let asking: Vec<_> = asking.collect();
            asking.into_iter().map(|one| one.join().unwrap().expect("fair weather")).collect()
        });
        assert_eq!(successors.len(), 1, "forked: {successors:?}");
    }
}

/// People who sign in at one node and out at another.
struct Leavers {
    walker: Walker,
    email: &'static str,
    /// What whoever is in holds: access and refresh token.
    inside: Option<(String, String)>,
    outside: Vec<String>,
}

impl Leavers {
    fn enter(&mut self, node: &Node) -> Option<()> {
        let body = json!({ "email": self.email, "password": PASSWORD });
        let (_, tokens) = node.post(&[], ("/v1/sign-in", &body))?;
        let token = |name: &str| tokens[name].as_str().map(str::to_owned);
        self.inside = token("access_token").zip(token("refresh_token"));
        Some(())
    }
}

impl Client for Leavers {
    fn act(&mut self, nodes: &Nodes) {
        let node = self.walker.at(nodes);
        let Some((access, refresh)) = self.inside.clone() else {
            self.enter(node);
            return;
        };
        let body = json!({ "refresh_token": refresh });
        let Some((status, answer)) = node.post(&[], ("/v1/tokens/revoke", &body)) else { return };
        assert!([200, 204, 503].contains(&status), "{status} {answer}");
        if status != 503 {
            self.outside.push(access);
            self.inside = None;
        }
    }

    fn check(&mut self, nodes: &Nodes) {
        eprintln!("{} left {} times", self.email, self.outside.len());
        assert!(!self.outside.is_empty());
        let outside = self.outside.clone();
        self.enter(&nodes.nodes[0]).expect("fair weather");
        let (inside, _) = self.inside.as_ref().expect("fair weather");
        for node in &nodes.nodes {
            // an upstream that is a closed port
            assert_eq!(node.status(inside, "/checkout"), Some(502));
            for token in &outside {
                assert_eq!(node.status(token, "/checkout"), Some(401), "who left is in again");
            }
        }
    }
}

/// Looks at the public checkpoint of each node, and keeps each that it sees.
#[derive(Default)]
struct Watcher {
    seen: BTreeMap<u64, BTreeSet<String>>,
}

impl Client for Watcher {
    fn act(&mut self, nodes: &Nodes) {
        for node in &nodes.nodes {
            let got =
                node.ask(|serving, shop| serving.try_curl(shop, &[], "/v1/log/checkpoint").ok());
            let Some((200, note)) = got else { continue };
            let size = note.lines().nth(1).unwrap().parse().unwrap();
            self.seen.entry(size).or_default().insert(note);
        }
        std::thread::sleep(Duration::from_millis(100));
    }

    fn check(&mut self, nodes: &Nodes) {
        eprintln!("{} checkpoints were seen", self.seen.len());
        let notes: Vec<&String> = self.seen.values().flatten().collect();
        let mut args = vec!["audit".to_owned(), "verify".to_owned()];
        for (number, note) in notes.iter().enumerate() {
            let file = nodes.home.path().join(format!("seen-{number}"));
            std::fs::write(&file, note).unwrap();
            args.extend(["--checkpoint".to_owned(), file.display().to_string()]);
        }
        let args: Vec<&str> = args.iter().map(String::as_str).collect();
        let verified = answer(nodes.home.path(), &args);
        assert_eq!(verified["holds"], true, "{verified}");
    }
}

/// Until every node takes a fact; how many were told.
fn fair(nodes: &Nodes, service: &str, when: &str) -> usize {
    let began = Instant::now();
    for (number, node) in nodes.nodes.iter().enumerate() {
        let id = format!("{when}-{number}");
        while node
            .ask(|serving, shop| serving.try_tell(shop, service, &id))
            .is_none_or(|(status, _)| status != 200)
        {
            assert!(began.elapsed() < PATIENCE, "node {} does not recover", number + 1);
            std::thread::sleep(Duration::from_millis(50));
        }
    }
    nodes.nodes.len()
}

fn edit(shop: &Shop) {
    // whoever got no answer may ask again late on a busy machine
    shop.edit("[identity.mail]", "[identity.token]\ngrace_s = 300\n\n[identity.mail]");
    shop.edit("publish_every_s = 10", "publish_every_s = 1");
    shop.lift_limits();
}

const PEOPLE: [&str; 3] = ["ada@x.example", "bo@x.example", "cy@x.example"];

fn clients(seed: u64, service: &str) -> Vec<Box<dyn Client>> {
    let walker = |number: u64| Walker { entropy: SeededEntropy::new(seed * 100 + number) };
    let teller = |number, name| Teller {
        walker: walker(number),
        name,
        service: service.to_owned(),
        events: Vec::new(),
    };
    let app = |number, email| App { walker: walker(number), email, token: None, refreshed: 0 };
    vec![
        Box::new(teller(1, "one")),
        Box::new(teller(2, "two")),
        Box::new(app(3, PEOPLE[0])),
        Box::new(app(4, PEOPLE[1])),
        Box::new(Leavers {
            walker: walker(5),
            email: PEOPLE[2],
            inside: None,
            outside: Vec::new(),
        }),
        Box::new(Watcher::default()),
    ]
}

fn weather(seed: u64, storms: u64, url: &str) {
    let entropy = SeededEntropy::new(seed);
    let mut nodes = Nodes::three(url, edit);
    nodes.nodes.iter_mut().for_each(Node::with_clock);
    let small = |node: &Node| Disk::under(&node.shop.path().join("var/node"), DISK_KIB);
    let disks: Vec<Option<Disk>> = nodes.nodes.iter().map(small).collect();
    PEOPLE.iter().for_each(|email| nodes.home.customer(email));
    let service = nodes.home.service();
    nodes.nodes.iter().for_each(Node::start);
    let mut told = fair(&nodes, &service, "before");
    let mut clients = clients(seed, &service);
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for client in &mut clients {
            let (nodes, over) = (&nodes, &over);
            scope.spawn(move || {
                while !over.load(Ordering::SeqCst) {
                    client.act(nodes);
                }
            });
        }
        for number in 0..storms {
            let storm =
                STORMS_ALL[usize::try_from(drawn(&entropy, 0..STORMS_ALL.len() as u64)).unwrap()];
            let at = usize::try_from(drawn(&entropy, 0..3)).unwrap();
            let span = Duration::from_millis(drawn(&entropy, STORM_MS));
            eprintln!("seed {seed}, storm {number}: {storm:?} at node {} for {span:?}", at + 1);
            storm.begin(&nodes, &nodes.nodes[at], disks[at].as_ref());
            std::thread::sleep(span);
            storm.end(&nodes, &nodes.nodes[at], disks[at].as_ref());
            std::thread::sleep(span / 2);
        }
        told += fair(&nodes, &service, "after");
        over.store(true, Ordering::SeqCst);
    });
    for client in &mut clients {
        // what was under way when the weather ended
        client.act(&nodes);
        client.check(&nodes);
        told += client.facts();
    }
    for node in &nodes.nodes {
        assert_eq!(node.stop(), Some(0));
        assert!(!node.shop.log().contains("panicked"), "{}", node.shop.log());
    }
    let verified: Value = answer(nodes.home.path(), &["audit", "verify"]);
    assert_eq!(verified["holds"], true, "{verified}");
    assert_eq!(verified["pending"], 0, "{verified}");
    assert_eq!(leaves(url, "order.paid"), told, "a fact was lost, or taken twice");
}

#[test]
fn what_was_answered_holds_in_any_weather() {
    let (seed, storms) = (told("STAGEDOOR_TEST_SEED", SEED), told("STAGEDOOR_TEST_STORMS", STORMS));
    testkit::with_postgres(|url| weather(seed, storms, url));
}
