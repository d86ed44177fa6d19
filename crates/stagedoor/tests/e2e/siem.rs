//! Events as OCSF outside the house: in a file, to a real rsyslog, to a collector that refuses at
//! first; each event fits the published schema, nothing is missed through restarts, and nobody's name
//! goes out.

use std::collections::BTreeSet;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use serde_json::{Value, json};

use crate::observing::{free_port, has, until};
use crate::program::{Serving, Shop, answer, run};

const EMAIL: &str = "ada@x.example";

/// What there is to tell: sign-ins that succeed and fail, an end, facts of the shop, an operator's.
fn busy(shop: &Shop, serving: &Serving) {
    serving.sign_in(shop, EMAIL);
    let wrong = json!({ "email": EMAIL, "password": "not this one, no" });
    assert_eq!(serving.post(shop, &[], ("/v1/sign-in", &wrong)).0, 401);
    let new = json!({ "email": "new@x.example", "name": "Nova" });
    assert_eq!(serving.post(shop, &[], ("/v1/sign-up", &new)).0, 202);
    let service = shop.service();
    assert_eq!(serving.tell(shop, &service, "o-1").0, 200);
    answer(shop.path(), &["user", "lock", EMAIL, "--reason", "she rang"]);
    answer(shop.path(), &["user", "unlock", EMAIL]);
    answer(shop.path(), &["key", "rotate", "epoch"]);
}

fn shop_with(sink: &str) -> Shop {
    let shop = Shop::init();
    shop.edit(
        "[shop]",
        &format!("[[siem]]\n{sink}\n\n[observe]\nlisten = \"127.0.0.1:0\"\n\n[shop]"),
    );
    shop.customer(EMAIL);
    shop
}

fn lines(path: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
}

fn leaf(event: &Value) -> i64 {
    event["metadata"]["sequence"].as_i64().unwrap()
}

/// Leaves in the log.
fn size(serving: &Serving) -> i64 {
    metric(serving, "stagedoor_log_leaves")
}

fn metric(serving: &Serving, name: &str) -> i64 {
    let (_, page) = serving.look(&[], "/metrics");
    let line = page.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    line.and_then(|number| number.parse().ok()).unwrap_or(-1)
}

/// Waits until every leaf is heard of by all sinks.
fn until_heard(serving: &Serving) {
    std::thread::sleep(Duration::from_millis(2_500));
    until("a sink lags", || {
        let (_, page) = serving.look(&[], "/metrics");
        let lags: Vec<&str> =
            page.lines().filter(|line| line.starts_with("stagedoor_siem_lag_leaves")).collect();
        (!lags.is_empty() && lags.iter().all(|line| line.ends_with(" 0"))).then_some(())
    });
}

/// Whether each fits the schema of its class, as a program that we did not write reads it.
fn fit(events: &[Value]) -> Option<Value> {
    let there = ["-c", "import ocsf_json_schema, jsonschema"];
    if !has("python3", &there, "events held against the OCSF schema") {
        return None;
    }
    let script = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/peer/ocsf_check.py");
    let mut child = Command::new("python3")
        .arg(script)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let text: String = events.iter().map(|event| format!("{event}\n")).collect();
    let mut stdin = child.stdin.take().unwrap();
    let writing = std::thread::spawn(move || stdin.write_all(text.as_bytes()));
    let output = child.wait_with_output().unwrap();
    writing.join().unwrap().unwrap();
    let faults = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{faults}");
    Some(serde_json::from_slice(&output.stdout).unwrap())
}

#[test]
fn every_event_stands_in_the_file_as_the_schema_says_and_nobody_is_named() {
    let shop = shop_with("name = \"file\"\nto = \"file\"\nfile = \"out/siem.jsonl\"");
    let path = shop.path().join("out/siem.jsonl");
    let serving = shop.serve();
    busy(&shop, &serving);
    until_heard(&serving);
    let told = size(&serving);
    let events = lines(&path);
    let leaves: Vec<i64> = events.iter().map(leaf).collect();
    assert_eq!(leaves, (0..told).collect::<Vec<_>>(), "each once, in order");
    let text = std::fs::read_to_string(&path).unwrap();
    for personal in [EMAIL, "new@x.example", "127.0.0.1", "usr_", "she rang", "ses_", "Nova"] {
        assert!(!text.contains(personal), "{personal} went out");
    }
    // the same person is the same pseudonym, as the one signed in and as the one locked
    let uid = |code: &str| {
        let event = events.iter().find(|event| event["metadata"]["event_code"] == code);
        event.unwrap_or_else(|| panic!("no {code}"))["user"]["uid"].clone()
    };
    assert_eq!(uid("identity.login_succeeded"), uid("identity.account_locked"));
    if let Some(fits) = fit(&events) {
        assert_eq!(fits["events"], told);
        for class in [3001, 3002, 3004, 6003] {
            assert!(fits["classes"].as_array().unwrap().contains(&json!(class)), "{fits}");
        }
    }
    // through a kill and a restart nothing is missed
    serving.kill();
    let serving = shop.serve();
    serving.sign_in(&shop, "new@x.example".replace("new@x.example", EMAIL).as_str());
    until_heard(&serving);
    let heard: BTreeSet<i64> = lines(&path).iter().map(leaf).collect();
    assert_eq!(heard, (0..size(&serving)).collect::<BTreeSet<_>>());
    // an operator has some of them sent again
    let from = heard.len() as i64 - 3;
    let from = from.to_string();
    let before = lines(&path).len();
    let dry = answer(shop.path(), &["siem", "replay", "file", "--from", &from, "--dry-run"]);
    assert_eq!((&dry["events"], &dry["dry_run"]), (&json!(3), &json!(true)));
    let done = answer(shop.path(), &["siem", "replay", "file", "--from", &from]);
    assert_eq!(done["events"], 3);
    until("it is not sent again", || (lines(&path).len() >= before + 4).then_some(()));
    let last = lines(&path).pop().unwrap();
    assert_eq!(last["metadata"]["event_code"], "observe.sink_replayed");
    assert!(!run(shop.path(), &["siem", "replay", "file", "--from", "999999"]).status.success());
    assert!(!run(shop.path(), &["siem", "replay", "nobody", "--from", "0"]).status.success());
    assert_eq!(serving.stop(), Some(0));
}

#[test]
fn a_sink_that_may_name_people_does_so() {
    let sink = "name = \"named\"\nto = \"file\"\nfile = \"siem.jsonl\"\ninclude_personal = true\n\
                kinds = [\"identity.\"]";
    let shop = shop_with(sink);
    let serving = shop.serve();
    busy(&shop, &serving);
    until_heard(&serving);
    let events = lines(&shop.path().join("siem.jsonl"));
    let is_identitys =
        |event: &Value| event["metadata"]["event_code"].as_str().unwrap().starts_with("identity.");
    assert!(!events.is_empty() && events.iter().all(is_identitys));
    let failed = events.iter().find(|event| event["status_id"] == 2).expect("a refused sign-in");
    assert_eq!(failed["user"]["email_addr"], EMAIL);
    assert_eq!(failed["src_endpoint"]["ip"], "127.0.0.1");
    fit(&events);
    assert_eq!(serving.stop(), Some(0));
}

/// A real rsyslog that writes what it hears as JSON lines.
struct Rsyslog {
    child: Child,
    dir: PathBuf,
}

impl Rsyslog {
    fn start(dir: &Path, input: &str) -> Self {
        let out = dir.join("rsyslog.out");
        let config = format!(
            "global(workDirectory=\"{0}\" maxMessageSize=\"256k\")\n{input}\n\
             template(name=\"raw\" type=\"string\" string=\"%pri%|%app-name%|%msgid%|%hostname%|\
             %timestamp:::date-rfc3339%|%msg%\\n\")\n\
             action(type=\"omfile\" file=\"{1}\" template=\"raw\" flushOnTXEnd=\"on\")\n",
            dir.display(),
            out.display()
        );
        std::fs::write(dir.join("rsyslog.conf"), config).unwrap();
        let log = std::fs::File::create(dir.join("rsyslog.log")).unwrap();
        let child = Command::new("rsyslogd")
            .args(["-n", "-f"])
            .arg(dir.join("rsyslog.conf"))
            .arg("-i")
            .arg(dir.join("rsyslog.pid"))
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap();
        Self { child, dir: dir.to_owned() }
    }

    /// Priority, name of the program, kind, and the event of each message.
    fn heard(&self) -> Vec<(String, String, String, Value)> {
        let text = std::fs::read_to_string(self.dir.join("rsyslog.out")).unwrap_or_default();
        text.lines()
            .map(|line| {
                let parts: Vec<&str> = line.splitn(6, '|').collect();
                let event = serde_json::from_str(parts[5].trim()).unwrap_or_else(|_| {
                    panic!(
                        "{line}: {}",
                        std::fs::read_to_string(self.dir.join("rsyslog.log")).unwrap()
                    )
                });
                (parts[0].to_owned(), parts[1].to_owned(), parts[2].to_owned(), event)
            })
            .collect()
    }

    /// In order, and so that what is on its way is still read.
    fn stop(mut self) {
        let id = self.child.id().to_string();
        assert!(Command::new("kill").args(["-TERM", &id]).status().unwrap().success());
        self.child.wait().unwrap();
    }
}

impl Drop for Rsyslog {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn has_rsyslog() -> bool {
    has("rsyslogd", &["-v"], "syslog to a real rsyslog")
}

#[test]
fn a_real_rsyslog_hears_every_event_over_tcp_also_after_it_was_away() {
    if !has_rsyslog() {
        return;
    }
    let port = free_port();
    let sink = format!("name = \"tcp\"\nto = \"syslog\"\naddress = \"127.0.0.1:{port}\"");
    let shop = shop_with(&sink);
    let input = format!(
        "module(load=\"imtcp\")\ninput(type=\"imtcp\" port=\"{port}\" address=\"127.0.0.1\")"
    );
    let dir = tempfile::TempDir::new().unwrap();
    let serving = shop.serve();
    // nobody listens yet: the house goes on, and the lag is shown
    busy(&shop, &serving);
    let failures = || metric(&serving, "stagedoor_siem_failures_total{sink=\"tcp\"}");
    until("no failure is shown", || (failures() > 0).then_some(()));
    assert!(metric(&serving, "stagedoor_siem_lag_leaves{sink=\"tcp\"}") > 0);
    let rsyslog = Rsyslog::start(dir.path(), &input);
    until_heard(&serving);
    let told = size(&serving);
    let heard = until("it hears nothing", || {
        let heard = rsyslog.heard();
        (heard.len() as i64 >= told).then_some(heard)
    });
    let (priority, program, kind, event) = &heard[0];
    assert_eq!(program, "stagedoor");
    assert_eq!(*kind, event["metadata"]["event_code"].as_str().unwrap()[..kind.len()]);
    // facility 13, and severities that are not all one
    let priorities: BTreeSet<u32> =
        heard.iter().map(|(priority, ..)| priority.parse().unwrap()).collect();
    assert!(priorities.iter().all(|priority| priority / 8 == 13), "{priority}");
    assert!(priorities.len() > 1);
    // it restarts: what is told meanwhile is told when it is back
    rsyslog.stop();
    let service = shop.service();
    for number in 0..20 {
        assert_eq!(serving.tell(&shop, &service, &format!("away-{number}")).0, 200);
    }
    let rsyslog = Rsyslog::start(dir.path(), &input);
    until_heard(&serving);
    let told = size(&serving);
    until("leaves are missing", || {
        let leaves: BTreeSet<i64> = rsyslog.heard().iter().map(|heard| leaf(&heard.3)).collect();
        (leaves == (0..told).collect()).then_some(())
    });
    let events: Vec<Value> = rsyslog.heard().into_iter().map(|heard| heard.3).collect();
    fit(&events);
    assert_eq!(serving.stop(), Some(0));
}

#[test]
fn a_real_rsyslog_hears_over_tls_and_udp() {
    if !has_rsyslog() {
        return;
    }
    let dir = tempfile::TempDir::new().unwrap();
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let (certificate, key) = (dir.path().join("log.crt"), dir.path().join("log.key"));
    std::fs::write(&certificate, made.cert.pem()).unwrap();
    std::fs::write(&key, made.signing_key.serialize_pem()).unwrap();
    let (tls, udp) = (free_port(), free_port());
    let input = format!(
        "global(defaultNetstreamDriverCAFile=\"{0}\" defaultNetstreamDriverCertFile=\"{0}\" \
         defaultNetstreamDriverKeyFile=\"{1}\")\n\
         module(load=\"imtcp\" streamDriver.name=\"gtls\" streamDriver.mode=\"1\" \
         streamDriver.authMode=\"anon\")\n\
         input(type=\"imtcp\" port=\"{tls}\" address=\"127.0.0.1\")\n\
         module(load=\"imudp\")\ninput(type=\"imudp\" port=\"{udp}\" address=\"127.0.0.1\")",
        certificate.display(),
        key.display()
    );
    let rsyslog = Rsyslog::start(dir.path(), &input);
    let sinks = format!(
        "name = \"tls\"\nto = \"syslog\"\ntransport = \"tls\"\naddress = \"localhost:{tls}\"\n\
         ca_file = \"{}\"\n\n[[siem]]\nname = \"udp\"\nto = \"syslog\"\ntransport = \"udp\"\n\
         address = \"127.0.0.1:{udp}\"",
        certificate.display()
    );
    until("rsyslog does not listen", || {
        std::net::TcpStream::connect(("127.0.0.1", tls)).ok().map(drop)
    });
    let shop = shop_with(&sinks);
    let serving = shop.serve();
    busy(&shop, &serving);
    until_heard(&serving);
    let told = size(&serving);
    let heard = until("it does not hear both", || {
        let leaves: Vec<i64> = rsyslog.heard().iter().map(|heard| leaf(&heard.3)).collect();
        let twice = |leaf| leaves.iter().filter(|one| **one == leaf).count() >= 2;
        (0..told).all(twice).then_some(leaves.len())
    });
    assert!(heard as i64 >= told * 2);
    rsyslog.stop();
    assert_eq!(serving.stop(), Some(0));
}

#[test]
fn a_collector_that_refuses_at_first_hears_every_event_by_post() {
    if !has("python3", &["--version"], "a collector over HTTP") {
        return;
    }
    let script = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/peer/collector.py");
    let mut child =
        Command::new("python3").arg(script).arg("2").stdout(Stdio::piped()).spawn().unwrap();
    let mut output = BufReader::new(child.stdout.take().unwrap()).lines();
    let first = output.next().unwrap().unwrap();
    let port = first.strip_prefix("listening ").unwrap().to_owned();
    let (sender, batches) = channel();
    std::thread::spawn(move || {
        for line in output.map_while(Result::ok) {
            let _ = sender.send(serde_json::from_str::<Value>(&line).unwrap());
        }
    });
    let shop = shop_with(&format!(
        "name = \"hec\"\nto = \"http\"\nformat = \"hec\"\nbatch_max = 5\ntoken_file = \"hec.token\"\n\
         url = \"http://127.0.0.1:{port}/services/collector/event\""
    ));
    std::fs::write(shop.path().join("hec.token"), "Splunk 1234\n").unwrap();
    let serving = shop.serve();
    busy(&shop, &serving);
    until_heard(&serving);
    let (mut taken, mut refused) = (Vec::new(), 0);
    drain(&batches, |batch| {
        assert_eq!(batch["token"], "Splunk 1234");
        assert_eq!(batch["path"], "/services/collector/event");
        let lines = batch["lines"].as_array().unwrap();
        assert!((1..=5).contains(&lines.len()), "{}", lines.len());
        if batch["taken"] == false {
            refused += 1;
            return;
        }
        for line in lines {
            let wrapped: Value = serde_json::from_str(line.as_str().unwrap()).unwrap();
            assert_eq!(wrapped["sourcetype"], "ocsf:json");
            let seconds: f64 = wrapped["time"].as_str().unwrap().parse().unwrap();
            let millis = wrapped["event"]["time"].as_f64().unwrap();
            assert!((seconds * 1_000.0 - millis).abs() < 1.0);
            taken.push(leaf(&wrapped["event"]));
        }
    });
    assert_eq!(refused, 2);
    assert_eq!(taken, (0..size(&serving)).collect::<Vec<_>>(), "each once, in order");
    assert_eq!(serving.stop(), Some(0));
    let _ = child.kill();
    let _ = child.wait();
}

fn drain(batches: &Receiver<Value>, mut with: impl FnMut(Value)) {
    while let Ok(batch) = batches.recv_timeout(Duration::from_millis(500)) {
        with(batch);
    }
}
