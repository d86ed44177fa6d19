//! Three nodes of the real binary on one PostgreSQL and one Redis, each behind cutting proxies of its
//! own: they are one, whichever way is cut, and what is sensitive closes only where both are.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::nodes::{Node, Nodes};
use crate::program::{PASSWORD, Shop, answer, preloaded, run, stagedoor, words};

/// Longer than anything here takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(30);

/// Where the nodes speak to each other.
const CHANNEL: &str = "stagedoor:feed";
const EMAIL: &str = "ada@x.example";

/// An installation of three nodes.
struct Installation {
    inner: Nodes,
}

impl Drop for Installation {
    fn drop(&mut self) {
        if std::thread::panicking() {
            for node in &self.inner.nodes {
                let log = node.shop.log();
                let told = log.lines().filter(|line| !line.contains("INFO"));
                eprintln!("{}", told.collect::<Vec<_>>().join("\n"));
            }
        }
    }
}

impl Installation {
    fn start(url: &str) -> Self {
        let installation = Self::new(url);
        installation.inner.nodes.iter().for_each(Node::start);
        installation.until_one(3);
        installation
    }

    fn new(url: &str) -> Self {
        let inner = Nodes::three(url, edit);
        for node in &inner.nodes {
            node.shop
                .edit("console = \"127.0.0.1:0", &format!("console = \"127.0.0.1:{}", free_port()));
        }
        Self { inner }
    }

    fn node(&self, number: usize) -> &Node {
        &self.inner.nodes[number]
    }

    /// One request to a node.
    fn curl(&self, number: usize, args: &[&str], path: &str) -> (u16, String) {
        let asked = self.node(number).ask(|serving, shop| Some(serving.curl(shop, args, path)));
        asked.expect("it serves")
    }

    /// What `node list` says, asked past all proxies.
    fn list(&self) -> Value {
        answer(self.inner.home.path(), &["node", "list"])
    }

    fn row(&self, number: usize) -> Value {
        let name = format!("node-{}", number + 1);
        let list = self.list();
        let rows = list["nodes"].as_array().unwrap();
        rows.iter().find(|row| row["node"] == *name).cloned().unwrap_or(Value::Null)
    }

    /// Until each running node hears each other without a gap.
    fn until_one(&self, running: usize) {
        until("the nodes are one", || {
            let list = self.list();
            let rows = list["nodes"].as_array().unwrap().clone();
            let whole = |row: &&Value| {
                let report = &row["report"];
                let peers = report["peers"].as_array().map(Vec::as_slice).unwrap_or_default();
                let good = |peer: &&Value| peer["gap"] == false && peer["lag_ms"].is_u64();
                report["redis"] == "up" && peers.iter().filter(good).count() + 1 == running
            };
            rows.iter().filter(whole).count() == running
        });
    }

    fn sign_in(&self, number: usize) -> Value {
        let tokens = self.node(number).ask(|serving, shop| Some(serving.sign_in(shop, EMAIL)));
        tokens.expect("it serves")
    }

    fn status(&self, number: usize, headers: &[&str], path: &str) -> u16 {
        let args: Vec<&str> = headers.iter().flat_map(|header| ["-H", *header]).collect();
        self.curl(number, &args, path).0
    }

    /// How long until a node answers a bearer with this status.
    fn until_status(&self, number: usize, bearer: &str, path: &str, wanted: u16) -> Duration {
        let began = Instant::now();
        until(&format!("node {number} answers {wanted} at {path}"), || {
            self.status(number, &[bearer], path) == wanted
        });
        began.elapsed()
    }

    /// Ends all sessions but a new one at a node, by its API.
    fn end(&self, number: usize) {
        let keeper = bearer(&self.sign_in(number));
        let status = self.curl(number, &["-X", "DELETE", "-H", &keeper], "/v1/sessions");
        assert_eq!(status.0, 200, "{status:?}");
    }

    /// Says something on the nodes' channel, as whoever can write to Redis.
    fn inject(&self, message: &[u8]) {
        let mut socket = TcpStream::connect(self.inner.redis.place()).unwrap();
        let head = format!(
            "*3\r\n$7\r\nPUBLISH\r\n${}\r\n{}\r\n${}\r\n",
            CHANNEL.len(),
            CHANNEL,
            message.len()
        );
        socket.write_all(&[head.as_bytes(), message, b"\r\n"].concat()).unwrap();
        let mut line = String::new();
        BufReader::new(socket).read_line(&mut line).unwrap();
        assert_eq!(line.trim(), ":3", "all three listen");
    }

    /// The next message on the channel.
    fn record(&self) -> Vec<u8> {
        let mut socket = TcpStream::connect(self.inner.redis.place()).unwrap();
        let line = format!("SUBSCRIBE {}\r\n", CHANNEL);
        socket.write_all(line.as_bytes()).unwrap();
        let mut reader = BufReader::new(socket);
        // *3 subscribe channel :1, *3 message channel
        let mut lines = Vec::new();
        while lines.len() < 11 {
            let mut line = String::new();
            reader.read_line(&mut line).unwrap();
            lines.push(line);
        }
        let mut line = String::new();
        reader.read_line(&mut line).unwrap();
        let length = line.trim().trim_start_matches('$').parse().unwrap();
        let mut message = vec![0; length];
        std::io::Read::read_exact(&mut reader, &mut message).unwrap();
        message
    }

    fn stop(self) {
        for node in &self.inner.nodes {
            node.postgres.mend();
            node.redis.mend();
        }
        for node in &self.inner.nodes {
            assert!(node.stop().is_none_or(|code| code == 0));
        }
        assert!(self.list()["nodes"].as_array().unwrap().is_empty(), "who leaves takes its row");
        self.inner.home.verified();
    }
}

/// Some routes, no limits, and somebody to sign in.
fn edit(shop: &Shop) {
    shop.edit(
        "# paths that need a session; ",
        "[[route]]\nname = \"orders\"\nprefix = \"/orders\"\nupstream = \"shop\"\n\n\
         [[route]]\nname = \"prices\"\nprefix = \"/prices\"\nupstream = \"shop\"\n\
         access = \"open\"\nstale_max_s = 2\n\n# ",
    );
    shop.lift_limits();
    shop.edit("[listen]", "[proxies]\ntrusted = [\"127.0.0.1\"]\n\n[listen]");
    shop.customer(EMAIL);
    let operator = ["user", "add", "root@x.example", "--kind", "staff", "--role", "admin"];
    answer(shop.path(), &[&operator[..], &["--password-file", "pw"]].concat());
}

pub(crate) fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let began = Instant::now();
    while !holds() {
        assert!(began.elapsed() < PATIENCE, "not within {PATIENCE:?}: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn bearer(tokens: &Value) -> String {
    format!("authorization: Bearer {}", tokens["access_token"].as_str().unwrap())
}

fn with_three(test: impl FnOnce(Installation)) {
    testkit::with_postgres(|url| test(Installation::start(url)));
}

/// An operator at the console of a node, by a jar of cookies.
struct Operator {
    origin: String,
    jar: PathBuf,
    authority: PathBuf,
}

impl Operator {
    fn sign_in(installation: &Installation, number: usize) -> Self {
        let text = std::fs::read_to_string(installation.node(number).shop.config()).unwrap();
        let line = text.lines().find(|line| line.starts_with("console = ")).unwrap();
        let port = line.trim_end_matches('"').rsplit_once(':').unwrap().1.to_owned();
        let shop = installation.node(number).shop.path();
        let (jar, authority) = (shop.join("jar"), shop.join("var/self-signed.crt"));
        let origin = format!("https://localhost:{port}");
        let operator = Self { origin, jar, authority };
        let page = operator.curl(&["-H", "accept: text/html"], "/console/sign-in");
        let token = page.split("name=\"csrf\" value=\"").nth(1).unwrap_or_else(|| panic!("{page}"));
        let token = format!("csrf={}", token.split('"').next().unwrap());
        let (email, password) = ("email=root@x.example", format!("password={PASSWORD}"));
        let fields = ["--data-urlencode", &token, "--data-urlencode", email];
        operator
            .curl(&[&fields[..], &["--data-urlencode", &password]].concat(), "/console/sign-in");
        operator
    }

    fn curl(&self, args: &[&str], path: &str) -> String {
        let output = Command::new("curl")
            .args(["-sS", "--max-time", "20", "--cacert"])
            .arg(&self.authority)
            .arg("-b")
            .arg(&self.jar)
            .arg("-c")
            .arg(&self.jar)
            .args(["-H", &format!("origin: {}", self.origin)])
            .args(args)
            .arg(format!("{}{path}", self.origin))
            .output()
            .unwrap();
        words(&output)
    }

    fn block(&self, net: &str) -> String {
        let body = json!({ "net": net, "reason": "spray", "for_s": 600 }).to_string();
        let args = ["-X", "POST", "-H", "content-type: application/json", "-d", &body];
        let said = self.curl(&args, "/v1/access/blocks");
        let said: Value = serde_json::from_str(&said).unwrap_or_else(|_| panic!("{said}"));
        said["id"].as_str().unwrap_or_else(|| panic!("{said}")).to_owned()
    }
}

#[test]
fn what_one_node_commits_holds_at_all() {
    with_three(|nodes| {
        let phone = bearer(&nodes.sign_in(0));
        for number in 0..3 {
            assert_eq!(nodes.status(number, &[&phone], "/orders"), 502, "let through");
        }
        nodes.end(0);
        for number in [1, 2, 0] {
            let took = nodes.until_status(number, &phone, "/orders", 401);
            assert!(took < Duration::from_secs(2), "node {number}: {took:?}");
        }
        // who carries the position is not answered by what was true before
        let phone = bearer(&nodes.sign_in(0));
        let path = format!("/v1/sessions/{}", session_of(&nodes, &phone));
        let (_, said) = nodes.curl(0, &["-i", "-X", "DELETE", "-H", &phone], &path);
        let position = said.lines().find(|line| line.starts_with("x-stagedoor-position: "));
        let position = position.unwrap_or_else(|| panic!("{said}")).trim();
        assert_eq!(nodes.status(1, &[&phone, position], "/orders"), 401);
        // a block, and its end
        let client = "x-forwarded-for: 203.0.113.9";
        let status = |number| nodes.status(number, &[client], "/");
        assert_eq!((status(1), status(2)), (502, 502));
        let operator = Operator::sign_in(&nodes, 0);
        let id = operator.block("203.0.113.9");
        until("blocked everywhere", || (status(1), status(2)) == (403, 403));
        operator.curl(&["-X", "DELETE"], &format!("/v1/access/blocks/{id}"));
        until("let in everywhere", || (status(1), status(2)) == (502, 502));
        // routes, applied by a command that no node hears
        assert_eq!(nodes.status(2, &[], "/news"), 502);
        nodes.inner.home.edit(
            "[[route]]\nname = \"orders\"",
            "[[route]]\nname = \"news\"\nprefix = \"/news\"\nupstream = \"shop\"\n\n\
             [[route]]\nname = \"orders\"",
        );
        answer(nodes.inner.home.path(), &["config", "apply"]);
        for number in 0..3 {
            nodes.until_status(number, "x-none: 1", "/news", 401);
        }
        // and a session ended by a command
        let phone = bearer(&nodes.sign_in(2));
        answer(nodes.inner.home.path(), &["user", "end-sessions", EMAIL]);
        for number in 0..3 {
            nodes.until_status(number, &phone, "/orders", 401);
        }
        nodes.stop();
    });
}

#[test]
fn without_redis_the_database_tells_and_without_the_database_redis_does() {
    with_three(|nodes| {
        // the third hears nothing
        nodes.node(2).redis.lose();
        until("it says so", || nodes.row(2)["report"]["redis"] == "down");
        let phone = bearer(&nodes.sign_in(0));
        assert_eq!(nodes.status(2, &[&phone], "/checkout"), 502, "the database is enough");
        nodes.end(0);
        let took = nodes.until_status(2, &phone, "/orders", 401);
        assert!(took < Duration::from_secs(4), "{took:?}");
        nodes.node(2).redis.mend();
        nodes.until_one(3);
        // now it cannot ask the database; what the others commit it hears
        let phone = bearer(&nodes.sign_in(0));
        let lasting = bearer(&nodes.sign_in(0));
        let session = session_of(&nodes, &phone);
        nodes.node(2).postgres.hush();
        std::thread::sleep(Duration::from_secs(7));
        assert_eq!(nodes.status(2, &[&phone], "/checkout"), 502, "the others vouch");
        let path = format!("/v1/sessions/{session}");
        let status = nodes.curl(0, &["-X", "DELETE", "-H", &lasting], &path);
        assert_eq!(status.0, 204, "{status:?}");
        let took = nodes.until_status(2, &phone, "/orders", 401);
        assert!(took < Duration::from_secs(2), "{took:?}");
        nodes.node(2).postgres.mend();
        nodes.stop();
    });
}

/// The id of the session that a bearer has.
fn session_of(nodes: &Installation, wanted: &str) -> String {
    let (status, page) = nodes.curl(0, &["-H", wanted], "/v1/sessions");
    assert_eq!(status, 200, "{page}");
    let theirs: Value = serde_json::from_str(&page).unwrap();
    let rows = theirs.as_array().unwrap();
    let own = rows.iter().find(|row| row["current"] == true);
    own.unwrap_or_else(|| panic!("{theirs}"))["id"].as_str().unwrap().to_owned()
}

#[test]
fn cut_from_both_what_is_sensitive_closes_and_opens_again() {
    with_three(|nodes| {
        let phone = bearer(&nodes.sign_in(0));
        assert_eq!(nodes.status(2, &[&phone], "/checkout"), 502);
        let ended = bearer(&nodes.sign_in(0));
        nodes.node(2).redis.lose();
        nodes.node(2).postgres.lose();
        let began = Instant::now();
        nodes.until_status(2, &phone, "/checkout", 503);
        let took = began.elapsed();
        assert!(took < Duration::from_secs(7), "{took:?}");
        assert!(took > Duration::from_secs(2), "too early: {took:?}");
        assert_eq!(nodes.status(2, &[&phone], "/orders"), 502, "the others go on");
        assert_eq!(nodes.status(1, &[&phone], "/checkout"), 502, "so do the other nodes");
        // what ends meanwhile is known as soon as one way is open again
        let keeper = bearer(&nodes.sign_in(0));
        let all = nodes.curl(0, &["-X", "DELETE", "-H", &keeper], "/v1/sessions");
        assert_eq!(all.0, 200);
        assert_eq!(nodes.status(2, &[&ended], "/orders"), 502, "it cannot know");
        nodes.node(2).postgres.mend();
        nodes.node(2).redis.mend();
        let took = nodes.until_status(2, &ended, "/orders", 401);
        assert!(took < Duration::from_secs(6), "{took:?}");
        nodes.until_status(2, &keeper, "/checkout", 502);
        nodes.stop();
    });
}

#[test]
fn what_a_stranger_says_on_redis_is_refused_and_counted() {
    with_three(|nodes| {
        let phone = bearer(&nodes.sign_in(0));
        let genuine = nodes.record();
        nodes.inject(b"nonsense");
        nodes.inject(&genuine);
        let mut forged = genuine.clone();
        *forged.last_mut().unwrap() ^= 1;
        nodes.inject(&forged);
        nodes.inject(&vec![b'x'; 400_000]);
        let refused = |number: usize| nodes.row(number)["report"]["refused"].clone();
        until("it is counted", || (0..3).all(|number| refused(number)["forged"].is_u64()));
        let (all, repeated) = (refused(1), (0..3).filter(|n| refused(*n)["repeated"] == 1).count());
        assert_eq!((all["malformed"].as_u64(), repeated), (Some(2), 2), "{all}");
        for number in 0..3 {
            assert_eq!(nodes.status(number, &[&phone], "/checkout"), 502);
        }
        nodes.until_one(3);
        nodes.stop();
    });
}

#[test]
fn a_leader_that_dies_or_sleeps_is_succeeded_and_forks_nothing() {
    with_three(|nodes| {
        let leader = |nodes: &Installation| {
            (0..3).find(|number| {
                nodes.row(*number)["leads"] == true && nodes.row(*number)["lives"] == true
            })
        };
        until("somebody leads", || leader(&nodes).is_some());
        let first = leader(&nodes).unwrap();
        nodes.node(first).kill();
        let other = (first + 1) % 3;
        let began = Instant::now();
        nodes.sign_in(other);
        until("another leads", || {
            let row = leader(&nodes);
            row.is_some_and(|row| row != first) && nodes.list()["pending"] == 0
        });
        eprintln!("took over after {:?}", began.elapsed());
        // back at once under its name: its folder is its own
        nodes.node(first).start();
        nodes.until_one(3);
        // the leader sleeps, is succeeded, and wakes
        let second = leader(&nodes).unwrap();
        nodes.node(second).pause();
        let other = (second + 1) % 3;
        nodes.sign_in(other);
        until("another leads", || {
            let row = leader(&nodes);
            row.is_some_and(|row| row != second) && nodes.list()["pending"] == 0
        });
        nodes.node(second).resume();
        for number in 0..3 {
            nodes.sign_in(number);
        }
        until("all is sequenced", || nodes.list()["pending"] == 0);
        nodes.until_one(3);
        // Who led before and leads no more remembers what others signed since, too.
        let remembered = |number: usize| {
            std::fs::read(nodes.node(number).shop.path().join("var/node/last-tree")).unwrap()
        };
        until("all remember one tree", || (1..3).all(|number| remembered(number) == remembered(0)));
        nodes.stop();
    });
}

#[test]
fn one_refresh_token_shown_to_three_nodes_has_one_successor() {
    with_three(|nodes| {
        let mut token = nodes.sign_in(0)["refresh_token"].as_str().unwrap().to_owned();
        for _ in 0..20 {
            let shown = json!({ "refresh_token": token });
            let answers: Vec<(u16, Value)> = std::thread::scope(|scope| {
                let ask = |number: usize| {
                    let (nodes, shown) = (&nodes, &shown);
                    scope.spawn(move || {
                        let what = ("/v1/tokens/refresh", shown);
                        nodes.node(number).post(&[], what).expect("an answer")
                    })
                };
                let asked: Vec<_> = (0..3).map(ask).collect();
                asked.into_iter().map(|asked| asked.join().unwrap()).collect()
            });
            let next = answers[0].1["refresh_token"].clone();
            for (status, answer) in &answers {
                assert_eq!((*status, &answer["refresh_token"]), (200, &next), "{answers:?}");
            }
            token = next.as_str().unwrap().to_owned();
        }
        nodes.stop();
    });
}

#[test]
fn a_name_is_one_nodes_and_doctor_compares() {
    with_three(|nodes| {
        // another folder, the same name
        let text = std::fs::read_to_string(nodes.node(1).shop.config()).unwrap();
        let elsewhere = tempfile::TempDir::new().unwrap();
        std::fs::write(elsewhere.path().join("stagedoor.toml"), &text).unwrap();
        let output = run(elsewhere.path(), &["serve"]);
        assert!(!output.status.success());
        assert!(words(&output).contains("another data.node"), "{}", words(&output));
        let finding = || {
            let mut command = stagedoor(nodes.node(1).shop.path());
            let output = command.args(["--json", "doctor"]).output().unwrap();
            let text = String::from_utf8_lossy(&output.stdout).into_owned();
            let all: Value = serde_json::from_str(text.lines().last().unwrap()).unwrap();
            let all = all["findings"].as_array().unwrap().clone();
            all.into_iter().find(|one| one["what"] == "nodes").unwrap_or(Value::Null)
        };
        let same = finding();
        assert_eq!(same["state"], "✓", "{same}");
        nodes.node(1).shop.edit("name = \"Shop\"", "name = \"Another\"");
        let other = finding();
        assert!(other["mend"].as_str().unwrap().contains("configuration"), "{other}");
        nodes.stop();
    });
}

#[test]
fn a_wrong_clock_does_not_start_and_one_that_jumps_changes_nothing() {
    testkit::with_postgres(|url| {
        let nodes = Installation::new(url);
        nodes.node(0).start();
        nodes.node(1).start();
        let shop = &nodes.node(2).shop;
        let (library, clock) = (preloaded(shop.path(), "clock"), shop.path().join("clock"));
        let command = || {
            let mut command = stagedoor(shop.path());
            command.env("LD_PRELOAD", &library).env("STAGEDOOR_TEST_CLOCK", &clock);
            command
        };
        let set = |off: i64| std::fs::write(&clock, off.to_string()).unwrap();
        set(3_600);
        let output = command().arg("serve").output().unwrap();
        assert!(!output.status.success());
        assert!(words(&output).contains("off the database server"), "{}", words(&output));
        set(0);
        let third = shop.serve_by(command());
        nodes.until_one(3);
        let prices = || third.curl(shop, &[], "/prices").0;
        let refresh = |token: &Value| {
            let body = json!({ "refresh_token": token["refresh_token"] });
            third.post(shop, &[], ("/v1/tokens/refresh", &body))
        };
        assert_eq!(prices(), 502, "let through");
        // The host's clock jumps: this node's time goes on, and nobody is taken for a thief.
        let mut token = third.sign_in(shop, EMAIL);
        for off in [3_600, -3_600] {
            set(off);
            for _ in 0..20 {
                let (status, next) = refresh(&token);
                assert_eq!(status, 200, "{next}");
                token = next;
                assert_eq!(third.curl(shop, &["-H", &bearer(&token)], "/checkout").0, 502);
                assert_eq!(prices(), 502, "let through");
            }
            assert!(shop.log().contains("clock jumped"), "{}", shop.log());
            set(0);
        }
        // One that wanders away is followed, until it is too far off: it changes nothing then.
        for step in 1..=5 {
            set(9 * step);
            prices();
            std::thread::sleep(Duration::from_millis(300));
        }
        until("closed", || prices() == 503);
        until("it changes nothing", || {
            let (status, told) = refresh(&token);
            (status, &told["code"]) == (503, &"web.wrong_clock".into())
        });
        assert_eq!(nodes.status(0, &[], "/prices"), 502, "the others go on");
        nodes.sign_in(0);
        nodes.sign_in(1);
        until("all is sequenced", || nodes.list()["pending"] == 0);
        // Set right, by a jump that the database's clock speaks for.
        set(0);
        until("open again", || prices() == 502);
        until("it changes again", || refresh(&token).0 == 200);
        assert_eq!(third.stop(), Some(0));
        nodes.stop();
    });
}
