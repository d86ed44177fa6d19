//! Outside witnesses, as processes that speak HTTP: ours and one by other hands. What they cosign is
//! shown, proved and exported; a fork and an old backup are refused.
#![expect(
    clippy::disallowed_methods,
    reason = "real processes are waited for, and how long they took is measured"
)]

use std::io::{BufRead as _, BufReader};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use merkle::tile::parse_bundle;
use serde_json::Value;

use crate::program::{Serving, Shop, answer, run, stagedoor, words};

/// A process that is ended with the test.
struct Ended(Child);

impl Drop for Ended {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A witness of ours, beside a shop's folder.
struct Witness {
    dir: PathBuf,
    key: String,
}

impl Witness {
    fn init(shop: &Shop, name: &str) -> Self {
        let dir = shop.path().join(name);
        let folder = dir.to_str().unwrap().to_owned();
        let args = ["witness", "init", "--name", &format!("{name}.example"), "--dir", &folder];
        let key = answer(shop.path(), &args)["key"].as_str().unwrap().to_owned();
        Self { dir, key }
    }

    fn watch(&self, log: &str) {
        let folder = self.dir.to_str().unwrap();
        answer(&self.dir, &["witness", "add-log", log, "--dir", folder]);
    }

    /// Serves, and says where.
    fn serve(&self) -> (Ended, String) {
        let mut child = stagedoor(&self.dir)
            .args(["--json", "witness", "serve", "--listen", "127.0.0.1:0", "--dir"])
            .arg(&self.dir)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let said: Value = serde_json::from_str(&line).unwrap();
        (Ended(child), format!("http://{}", said["listen"].as_str().unwrap()))
    }

    /// What it cosigned last of its only log.
    fn size(&self) -> u64 {
        let listed = answer(&self.dir, &["witness", "list", "--dir", self.dir.to_str().unwrap()]);
        listed["logs"][0]["size"].as_u64().unwrap_or(0)
    }
}

fn log_key(shop: &Shop) -> String {
    answer(shop.path(), &["audit", "checkpoint"])["key"].as_str().unwrap().to_owned()
}

/// Asks these witnesses from the next start on.
fn configure(shop: &Shop, witnesses: &[(&str, &str)]) {
    shop.edit("publish_every_s = 10", "publish_every_s = 1");
    let mut text = std::fs::read_to_string(shop.config()).unwrap();
    for (key, url) in witnesses {
        text.push_str(&format!("\n[[witness]]\nkey = \"{key}\"\nurl = \"{url}\"\n"));
    }
    std::fs::write(shop.config(), text).unwrap();
}

/// The public checkpoint and its size; nothing and 0 before the first.
fn shown(serving: &Serving, shop: &Shop) -> (String, u64) {
    let (status, note) = serving.curl(shop, &[], "/v1/log/checkpoint");
    if status != 200 {
        return (String::new(), 0);
    }
    let size = note.lines().nth(1).unwrap().parse().unwrap();
    (note, size)
}

/// Looks until the public checkpoint covers `size` leaves and this witness has cosigned it.
fn covers(serving: &Serving, shop: &Shop, size: u64, witness: &str) -> String {
    let began = Instant::now();
    while began.elapsed() < Duration::from_secs(30) {
        let (note, now) = shown(serving, shop);
        if now >= size && has_line(&note, witness) {
            return note;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    panic!("no checkpoint of {size} leaves by {witness} is shown");
}

fn leaves(shop: &Shop) -> u64 {
    let note =
        answer(shop.path(), &["audit", "checkpoint"])["checkpoint"].as_str().map(str::to_owned);
    note.unwrap().lines().nth(1).unwrap().parse().unwrap()
}

fn has_line(note: &str, name: &str) -> bool {
    note.lines().any(|line| line.starts_with(&format!("— {name} ")))
}

/// The text of the first event's id, out of an export.
fn first_event(export: &Path, size: u64) -> String {
    let bundle = std::fs::read(export.join(format!("tile/entries/000.p/{size}"))).unwrap();
    let entries = parse_bundle(&bundle, u16::try_from(size).unwrap()).unwrap();
    let id = spine::Entry::from_bytes(entries[0]).unwrap().id;
    kernel::EventId::from_bytes(id).to_string()
}

fn copy(from: &Path, to: &Path) {
    let copied = Command::new("cp").arg("-a").args([from, to]).status().unwrap();
    assert!(copied.success());
}

#[test]
fn what_a_witness_cosigned_is_shown_proved_and_exported() {
    let shop = Shop::init();
    let (one, other) = (Witness::init(&shop, "one"), Witness::init(&shop, "other"));
    one.watch(&log_key(&shop));
    let (_one, url) = one.serve();
    // the other one is not there: one of two is enough where the file says so
    configure(&shop, &[(&one.key, &url), (&other.key, "http://127.0.0.1:9")]);
    shop.edit("publish_every_s = 1", "publish_every_s = 1\nwitness_quorum = 1");
    let serving = shop.serve();
    let note = covers(&serving, &shop, 1, "one.example");
    assert!(!has_line(&note, "other.example"), "{note}");
    // from the commit of an event to a cosigned checkpoint that covers it
    let mut took = Vec::new();
    for number in 0..8 {
        let size = leaves(&shop);
        answer(shop.path(), &["service", "add", &format!("service-{number}")]);
        let began = Instant::now();
        covers(&serving, &shop, size + 1, "one.example");
        took.push(began.elapsed());
    }
    took.sort();
    eprintln!("commit to cosigned checkpoint, once a second: {took:?}");
    assert_eq!(serving.stop(), Some(0));
    assert_eq!(one.size(), leaves(&shop));
    // live
    let live = answer(shop.path(), &["audit", "verify", "--witness", &one.key]);
    assert_eq!(live["holds"], true, "{live}");
    assert_eq!(
        (&live["cosigned"], &live["covered_by_outside_checkpoint"]),
        (&live["leaves"], &live["leaves"])
    );
    let asked = run(shop.path(), &["audit", "verify", "--witness", &other.key]);
    assert_eq!(asked.status.code(), Some(2), "{}", words(&asked));
    // offline: export and proof
    let (export, key) = (shop.path().join("out"), log_key(&shop));
    answer(shop.path(), &["audit", "export", export.to_str().unwrap()]);
    let event = first_event(&export, one.size());
    answer(shop.path(), &["audit", "prove", &event, "--dir", export.to_str().unwrap()]);
    let (proof, entry) = (format!("out/{event}.tlog-proof"), format!("out/{event}.entry"));
    for what in [&["--export", "out"][..], &["--proof", &proof, "--entry", &entry]] {
        let offline = [&["audit", "verify", "--key", &key], what].concat();
        let by_one = run(shop.path(), &[&offline[..], &["--witness", &one.key]].concat());
        assert!(by_one.status.success(), "{}", words(&by_one));
        assert!(words(&by_one).contains("Cosigned by one.example"), "{}", words(&by_one));
        let both = ["--witness", &one.key, "--witness", &other.key];
        let by_both = run(shop.path(), &[&offline[..], &both].concat());
        assert_eq!(by_both.status.code(), Some(2), "{}", words(&by_both));
        let one_of_two = [&both[..], &["--quorum", "1"]].concat();
        assert!(run(shop.path(), &[&offline[..], &one_of_two].concat()).status.success());
    }
    let doctor = run(shop.path(), &["doctor"]);
    assert!(words(&doctor).contains("✓ log is witnessed"), "{}", words(&doctor));
}

#[test]
fn a_fork_and_an_old_backup_are_refused_and_never_shown() {
    let shop = Shop::init();
    let witness = Witness::init(&shop, "w");
    witness.watch(&log_key(&shop));
    let (running, url) = witness.serve();
    configure(&shop, &[(&witness.key, &url)]);
    let serving = shop.serve();
    covers(&serving, &shop, 1, "w.example");
    assert_eq!(serving.stop(), Some(0));
    // all that the shop has, its memory of the log too
    copy(&shop.path().join("var"), &shop.path().join("backup"));
    let serving = shop.serve();
    let known = leaves(&shop);
    for name in ["a", "b", "c"] {
        answer(shop.path(), &["service", "add", name]);
    }
    covers(&serving, &shop, known + 3, "w.example");
    assert_eq!(serving.stop(), Some(0));
    let (cosigned, before) = (witness.size(), known);
    assert!(cosigned >= known + 3);
    std::fs::remove_dir_all(shop.path().join("var")).unwrap();
    std::fs::rename(shop.path().join("backup"), shop.path().join("var")).unwrap();
    // the witness remembers over its own restart too
    drop(running);
    let (_running, moved) = witness.serve();
    shop.edit(&url, &moved);
    let serving = shop.serve();
    let said = |what: &str| {
        let began = Instant::now();
        while !shop.log().contains(what) {
            assert!(began.elapsed() < Duration::from_secs(30), "the program never says: {what}");
            std::thread::sleep(Duration::from_millis(50));
        }
    };
    // behind what the witness has seen
    said("A WITNESS REFUSES THIS LOG");
    said("an old backup was put back");
    // then longer than it, with another history
    for name in ["other-1", "other-2", "other-3", "other-4", "other-5"] {
        answer(shop.path(), &["service", "add", name]);
    }
    // what it still waits for gets its leaf before it ends
    assert_eq!(serving.stop(), Some(0));
    assert!(leaves(&shop) > cosigned);
    let serving = shop.serve();
    said("did not grow out of what it cosigned");
    let (note, size) = shown(&serving, &shop);
    assert!(size <= before, "{note}");
    assert_eq!(witness.size(), cosigned, "it stays with the history that it saw");
    assert_eq!(std::fs::read_dir(witness.dir.join("evidence")).unwrap().count(), 1);
    assert_eq!(serving.stop(), Some(0));
}

/// A Python that has the peer.
fn python() -> Option<&'static str> {
    let there = |python: &&str| {
        let mut asked = Command::new(python);
        asked.args(["-c", "import aics_witness"]).stderr(Stdio::null());
        asked.status().is_ok_and(|status| status.success())
    };
    let found = ["python3", "python3.12", "python3.13"].into_iter().find(there);
    if found.is_none() {
        let ci = std::env::var("CI").is_ok();
        eprintln!("NOT TESTED: aics-witness is missing (tests/peer/README.md)");
        assert!(!ci, "CI must have aics-witness");
    }
    found
}

fn ask(python: &str, args: &[&str]) -> String {
    let output = Command::new(python).args(args).output().unwrap();
    assert!(output.status.success(), "{args:?}: {}", words(&output));
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

#[test]
fn a_witness_by_other_hands_cosigns_our_log() {
    let Some(python) = python() else { return };
    let shop = Shop::init();
    let config = shop.path().join("peer.json");
    let config = config.to_str().unwrap();
    let module = ["-m", "aics_witness"];
    let init = ["init", "--config", config, "--name", "peer.example/w1"];
    let key = ask(python, &[&module[..], &init].concat());
    let key = key.lines().last().unwrap();
    let log = log_key(&shop);
    let origin = log.split('+').next().unwrap();
    let add = ["add-log", "--config", config, "--origin", origin, "--vkey", &log];
    ask(python, &[&module[..], &add].concat());
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    let peer = Command::new(python)
        .args([&module[..], &["serve", "--config", config, "--listen", &free]].concat())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let _peer = Ended(peer);
    configure(&shop, &[(key, &format!("http://{free}"))]);
    let serving = shop.serve();
    covers(&serving, &shop, 1, "peer.example/w1");
    let size = leaves(&shop);
    answer(shop.path(), &["service", "add", "backend"]);
    // it grew: this time with a consistency proof
    let note = covers(&serving, &shop, size + 1, "peer.example/w1");
    assert_eq!(serving.stop(), Some(0));
    // and the peer's own verifier takes log, cosignature and quorum
    let file = shop.path().join("note");
    std::fs::write(&file, note).unwrap();
    let verify = ["-m", "aics_tlog", "verify-checkpoint", "--note", file.to_str().unwrap()];
    let trust = ["--log-key", &log, "--witness-key", key, "--quorum", "1", "--max-age", "600"];
    ask(python, &[&verify[..], &trust].concat());
    let status = ask(python, &[&module[..], &["status", "--json", "--config", config]].concat());
    assert!(status.contains(&format!("\"size\": {}", leaves(&shop))), "{status}");
}

#[test]
fn our_witness_serves_a_log_by_other_hands() {
    let Some(python) = python() else { return };
    let shop = Shop::init();
    let witness = Witness::init(&shop, "ours");
    let script = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/peer/feed_witness.py");
    let (script, seed) = (script.to_str().unwrap(), "07".repeat(32));
    let feed = |url: &str| ask(python, &[script, url, &witness.key, &seed, "feed"]);
    let (running, url) = witness.serve();
    // unknown before it is added, which needs no restart
    assert!(feed(&url).starts_with("404 "), "{}", feed(&url));
    witness.watch(&ask(python, &[script, &url, &witness.key, &seed, "vkey"]));
    let told = "cosigned cosigned cosigned behind 422 422 cosigned";
    assert_eq!(feed(&url), told);
    assert_eq!(witness.size(), 9);
    drop(running);
    // after a restart it knows all of it: from 3 and 7 leaves it cannot be led back
    let (_running, url) = witness.serve();
    assert_eq!(feed(&url), "behind behind behind behind 422 behind cosigned");
    let last = Command::new("curl")
        .args(["-sS", &format!("{url}/{}/checkpoint", merkle::witness::log_id("peer.example/log"))])
        .output()
        .unwrap();
    let last = String::from_utf8(last.stdout).unwrap();
    assert!(has_line(&last, "ours.example") && last.lines().nth(1) == Some("9"), "{last}");
}
