//! A rolling update: three nodes are brought to the next program one after another, under load, the
//! schema first. The next program has a table and events that this one does not know; meanwhile both
//! run side by side. No request fails but at the node that is being replaced, and afterwards nothing
//! is lost, and nobody logged out.

use std::path::PathBuf;
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::nodes::{Node, Nodes, leaves};
use crate::program::{PASSWORD, words};

/// Names the next program: `cargo xtask e2e` builds it.
const NEXT: &str = "STAGEDOOR_TEST_NEXT";
/// Nobody is being replaced.
const NONE: usize = usize::MAX;
/// How long both programs run side by side at each step, at least.
const BESIDE: Duration = Duration::from_secs(1);
const PATIENCE: Duration = Duration::from_secs(60);

struct Load<'a> {
    nodes: &'a Nodes,
    service: String,
    /// The node that is being replaced.
    away: AtomicUsize,
    over: AtomicBool,
}

impl Load<'_> {
    /// An answer of a node that is not being replaced; none where it was replaced meanwhile.
    fn at(&self, turn: usize, ask: impl Fn(&Node) -> Option<(u16, Value)>) -> Option<(u16, Value)> {
        let number = turn % self.nodes.nodes.len();
        if self.away.load(Ordering::SeqCst) == number {
            return None;
        }
        let answer = ask(&self.nodes.nodes[number]);
        let is_away = self.away.load(Ordering::SeqCst) == number;
        assert!(answer.is_some() || is_away, "node {} did not answer", number + 1);
        let (status, body) = answer?;
        assert!(status < 500 || is_away, "node {}: {status} {body}", number + 1);
        (status < 500).then_some((status, body))
    }

    fn goes_on(&self) -> bool {
        !self.over.load(Ordering::SeqCst)
    }

    /// Tells facts, each until it is taken; how many.
    fn tell(&self, name: &str) -> usize {
        let (mut told, mut turn) = (0, 0);
        while self.goes_on() {
            turn += 1;
            let id = format!("{name}-{told}");
            let taken = self.at(turn, |node| {
                node.ask(|serving, shop| serving.try_tell(shop, &self.service, &id))
            });
            let Some((status, answer)) = taken else { continue };
            assert_eq!(status, 200, "{answer}");
            told += 1;
        }
        // What was under way at a node that went away may be taken: asked once more.
        let id = format!("{name}-{told}");
        let node = &self.nodes.nodes[0];
        let again = node.ask(|serving, shop| serving.try_tell(shop, &self.service, &id));
        assert_eq!(again.unwrap().0, 200);
        told + 1
    }

    /// Refreshes one session at whichever node; how often.
    fn refresh(&self, email: &str) -> usize {
        let (mut token, mut turn) = (None::<String>, 0);
        while self.goes_on() {
            turn += 1;
            let (path, body) = match &token {
                None => ("/v1/sign-in", json!({ "email": email, "password": PASSWORD })),
                Some(token) => ("/v1/tokens/refresh", json!({ "refresh_token": token })),
            };
            let answer = self.at(turn, |node| node.post(&[], (path, &body)));
            let Some((status, answer)) = answer else { continue };
            assert_eq!(status, 200, "{email} was logged out: {answer}");
            token = answer["refresh_token"].as_str().map(str::to_owned);
        }
        turn
    }
}

fn until_fair(node: &Node, service: &str, id: &str) {
    let began = Instant::now();
    while node.ask(|serving, shop| serving.try_tell(shop, service, id)).is_none_or(|a| a.0 != 200) {
        assert!(began.elapsed() < PATIENCE, "the next program does not serve");
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// The next program; none where a person did not build it.
fn next() -> Option<PathBuf> {
    let told = std::env::var_os(NEXT).map(PathBuf::from);
    if told.is_none() {
        assert!(std::env::var_os("CI").is_none(), "{NEXT} names no program");
        eprintln!(
            "LEFT OUT: a rolling update: {NEXT} names no program; `cargo xtask e2e` builds it"
        );
    }
    told
}

fn roll(url: &str, next: &PathBuf) {
    let nodes = Nodes::three(url, |shop| {
        shop.edit("[identity.mail]", "[identity.token]\ngrace_s = 300\n\n[identity.mail]");
        shop.lift_limits();
    });
    let people = ["ada@x.example", "bo@x.example"];
    people.iter().for_each(|email| nodes.home.customer(email));
    let service = nodes.home.service();
    for (number, node) in nodes.nodes.iter().enumerate() {
        node.start();
        until_fair(node, &service, &format!("before-{number}"));
    }
    let migrated = Command::new(next).arg("migrate").current_dir(nodes.home.path()).output();
    let migrated = migrated.expect("the next program runs");
    assert!(migrated.status.success(), "{}", words(&migrated));
    assert!(words(&migrated).contains("next/0001_mark"), "{}", words(&migrated));
    let load = Load {
        nodes: &nodes,
        service: service.clone(),
        away: AtomicUsize::new(NONE),
        over: AtomicBool::new(false),
    };
    let (told, refreshed) = std::thread::scope(|scope| {
        let telling = ["one", "two"].map(|name| scope.spawn(|| load.tell(name)));
        let refreshing = people.map(|email| scope.spawn(|| load.refresh(email)));
        for (number, node) in nodes.nodes.iter().enumerate() {
            load.away.store(number, Ordering::SeqCst);
            assert_eq!(node.stop(), Some(0), "node {} did not end in order", number + 1);
            node.start_as(next);
            until_fair(node, &service, &format!("after-{number}"));
            load.away.store(NONE, Ordering::SeqCst);
            std::thread::sleep(BESIDE);
            if number == 1 {
                // Back again: the program before runs on the newer schema.
                load.away.store(number, Ordering::SeqCst);
                assert_eq!(node.stop(), Some(0));
                node.start();
                until_fair(node, &service, "back");
                load.away.store(NONE, Ordering::SeqCst);
                std::thread::sleep(BESIDE);
            }
        }
        load.over.store(true, Ordering::SeqCst);
        let told: usize = telling.map(|one| one.join().unwrap()).into_iter().sum();
        (told, refreshing.map(|one| one.join().unwrap()))
    });
    eprintln!("{told} facts, {refreshed:?} refreshes");
    nodes.nodes.iter().for_each(|node| assert_eq!(node.stop(), Some(0)));
    let mut verify = Command::new(next);
    verify.args(["--json", "audit", "verify"]).current_dir(nodes.home.path());
    let verified = verify.output().expect("it runs");
    let said: Value = serde_json::from_slice(&verified.stdout).unwrap_or(Value::Null);
    assert_eq!((&said["holds"], &said["pending"]), (&json!(true), &json!(0)), "{said}");
    assert_eq!(leaves(url, "order.paid"), told + 7, "a fact was lost, or taken twice");
    assert!(leaves(url, "next.marked") >= 3, "the next program did not run");
    for node in &nodes.nodes {
        assert!(!node.shop.log().contains("panicked"), "{}", node.shop.log());
    }
}

#[test]
fn nodes_are_updated_one_after_another_under_load() {
    let Some(next) = next() else { return };
    testkit::with_postgres(|url| roll(url, &next));
}
