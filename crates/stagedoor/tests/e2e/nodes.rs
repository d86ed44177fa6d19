//! Three nodes of one house on one machine: each a process with a folder of its own, behind wires of
//! its own to one PostgreSQL and one Redis, which a test can cut.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::RwLock;

use serde_json::Value;
use tempfile::TempDir;
use testkit::Proxy;

use crate::program::{Serving, Shop, preloaded, stagedoor};

/// A Redis of one test's own, so that it can be killed.
pub(crate) struct Redis {
    port: u16,
    child: RwLock<Child>,
}

impl Redis {
    pub(crate) fn start() -> Self {
        let free = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let port = free.local_addr().expect("its address").port();
        drop(free);
        Self { port, child: RwLock::new(Self::run(port)) }
    }

    fn run(port: u16) -> Child {
        Command::new("redis-server")
            .args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--save", ""])
            .args(["--appendonly", "no", "--dir", "/tmp"])
            .stdout(Stdio::null())
            .spawn()
            .expect("redis-server is installed")
    }

    pub(crate) fn place(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// kill -9, and a new one without what the old one knew.
    pub(crate) fn restart(&self) {
        let mut child = self.child.write().expect("no test panicked");
        child.kill().expect("killed");
        child.wait().expect("gone");
        *child = Self::run(self.port);
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        if let Ok(child) = self.child.get_mut() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// One node.
pub(crate) struct Node {
    pub shop: Shop,
    pub postgres: Proxy,
    pub redis: Proxy,
    /// Moves its clock, where a test does.
    clock: Option<PathBuf>,
    serving: RwLock<Option<Serving>>,
}

impl Node {
    /// Puts another wire to PostgreSQL in the place of its own.
    pub(crate) fn rewire(&mut self, postgres: Proxy) {
        let (from, to) = (self.postgres.address().to_string(), postgres.address().to_string());
        self.shop.edit(&from, &to);
        self.postgres = postgres;
    }

    /// From its next start on, its clock can be moved.
    pub(crate) fn with_clock(&mut self) {
        self.clock = Some(preloaded(self.shop.path(), "clock"));
        self.set_clock(0);
    }

    /// Puts its clock off by so many seconds.
    pub(crate) fn set_clock(&self, off_s: i64) {
        std::fs::write(self.shop.path().join("clock"), off_s.to_string()).expect("the file");
    }

    /// Starts it; one that runs already is left as it is.
    pub(crate) fn start(&self) {
        let mut serving = self.serving.write().expect("no test panicked");
        let gone = serving.as_mut().is_none_or(Serving::is_gone);
        if gone {
            let mut command = stagedoor(self.shop.path());
            if let Some(library) = &self.clock {
                let told = self.shop.path().join("clock");
                command.env("LD_PRELOAD", library).env("STAGEDOOR_TEST_CLOCK", told);
            }
            *serving = Some(self.shop.serve_by(command));
        }
    }

    /// Starts another program in its place.
    pub(crate) fn start_as(&self, program: &Path) {
        let mut command = Command::new(program);
        command.current_dir(self.shop.path()).stdin(Stdio::null());
        let serving = self.shop.serve_by(command);
        *self.serving.write().expect("no test panicked") = Some(serving);
    }

    fn signal(&self, signal: &str) {
        let id = self.serving.read().expect("no test panicked").as_ref().map(Serving::id);
        if let Some(id) = id {
            // It may have died by itself.
            let _ = Command::new("kill").args([signal, &id.to_string()]).status();
        }
    }

    /// kill -9, in the midst of its requests.
    pub(crate) fn kill(&self) {
        self.signal("-KILL");
        drop(self.serving.write().expect("no test panicked").take());
    }

    /// SIGTERM: it finishes what is under way. The exit code.
    pub(crate) fn stop(&self) -> Option<i32> {
        self.serving.write().expect("no test panicked").take()?.stop()
    }

    pub(crate) fn pause(&self) {
        self.signal("-STOP");
    }

    pub(crate) fn resume(&self) {
        self.signal("-CONT");
    }

    /// The process, where it runs.
    pub(crate) fn id(&self) -> Option<u32> {
        self.serving.read().expect("no test panicked").as_ref().map(Serving::id)
    }

    /// Runs `ask` where the node runs; none where it does not.
    pub(crate) fn ask<T>(&self, ask: impl FnOnce(&Serving, &Shop) -> Option<T>) -> Option<T> {
        let serving = self.serving.read().expect("no test panicked");
        ask(serving.as_ref()?, &self.shop)
    }

    /// A document sent; none where no answer came.
    pub(crate) fn post(&self, headers: &[&str], what: (&str, &Value)) -> Option<(u16, Value)> {
        self.ask(|serving, shop| serving.try_post(shop, headers, what))
    }

    /// The status of a page for a bearer; none where no answer came.
    pub(crate) fn status(&self, bearer: &str, path: &str) -> Option<u16> {
        let bearer = format!("authorization: Bearer {bearer}");
        let args = ["-H", &bearer];
        self.ask(|serving, shop| serving.try_curl(shop, &args, path).ok()).map(|(status, _)| status)
    }
}

/// The house.
pub(crate) struct Nodes {
    /// Where it was made: holds the keys, and runs commands past all wires.
    pub home: Shop,
    pub nodes: Vec<Node>,
    pub redis: Redis,
}

impl Nodes {
    /// Three nodes on this empty database, not started yet; `edit` changes the configuration of all.
    pub(crate) fn three(url: &str, edit: impl FnOnce(&Shop)) -> Self {
        let place = url.split(['@', '/']).nth(3).expect("scheme://user@host:port/name").to_owned();
        let redis = Redis::start();
        let home = Shop::init_with(&["--database", url]);
        let var = home.path().join("var");
        // one set of keys for all
        let keys = format!("keys_dir = \"{}\"\n", var.join("keys").display());
        home.edit("[data]\n", &format!("[data]\nanswer_max_ms = 1000\nnode = \"node-1\"\n{keys}"));
        home.edit("file = \"var/", &format!("file = \"{}/", var.display()));
        edit(&home);
        let text = std::fs::read_to_string(home.config()).expect("the file");
        let nodes = (1..=3).map(|number| {
            let (postgres, to_redis) = (Proxy::before(&place), Proxy::before(&redis.place()));
            let shop = Shop { dir: TempDir::new().expect("a folder") };
            let text = text
                .replace("node-1", &format!("node-{number}"))
                .replace(url, &postgres.instead_of(url))
                + &format!("\n[redis]\nurl = \"redis://{}\"\n", to_redis.address());
            std::fs::write(shop.config(), text).expect("the file");
            Node { shop, postgres, redis: to_redis, clock: None, serving: RwLock::default() }
        });
        let nodes: Vec<Node> = nodes.collect();
        Self { home, nodes, redis }
    }
}

/// How many events of this kind have a leaf.
pub(crate) fn leaves(url: &str, kind: &str) -> usize {
    let count = format!("SELECT COUNT(*) FROM spine_leaf WHERE kind = '{kind}'");
    let counted = Command::new("psql").args([url, "-tAc", &count]).output().expect("psql runs");
    String::from_utf8_lossy(&counted.stdout).trim().parse().expect("a number")
}
