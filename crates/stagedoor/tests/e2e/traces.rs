//! Traces as a receiver reads them by OpenTelemetry's own schema: a request, the upstream's part and
//! the transactions within are one trace; a trusted proxy's trace is continued, a stranger's is not;
//! nothing of a person goes out.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};

use crate::observing::{has, observed, until};
use crate::program::Shop;

struct Collector {
    child: Child,
    port: String,
    spans: Arc<Mutex<Vec<Value>>>,
}

impl Collector {
    fn start() -> Option<Self> {
        let there = ["-c", "import opentelemetry.proto.collector.trace.v1.trace_service_pb2"];
        if !has("python3", &there, "traces by OpenTelemetry's schema") {
            return None;
        }
        let script = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/peer/otlp_receiver.py");
        let mut child = Command::new("python3").arg(script).stdout(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let first = lines.next().unwrap().unwrap();
        let port = first.strip_prefix("listening ").unwrap().to_owned();
        let spans = Arc::new(Mutex::new(Vec::new()));
        let heard = Arc::clone(&spans);
        std::thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                heard.lock().unwrap().push(serde_json::from_str(&line).unwrap());
            }
        });
        Some(Self { child, port, spans })
    }

    /// Waits for a span, and gives its whole trace.
    fn trace(&self, what: &str, is_wanted: impl Fn(&Value) -> bool) -> Vec<Value> {
        let id = until(what, || {
            let spans = self.spans.lock().unwrap();
            spans.iter().find(|span| is_wanted(span)).map(|span| span["trace"].clone())
        });
        std::thread::sleep(std::time::Duration::from_millis(1_500));
        let spans = self.spans.lock().unwrap();
        spans.iter().filter(|span| span["trace"] == id).cloned().collect()
    }
}

impl Drop for Collector {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// An upstream that answers anything, and tells the `traceparent` that it got.
fn upstream() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            std::thread::spawn(move || {
                let mut head = Vec::new();
                let mut byte = [0];
                while !head.ends_with(b"\r\n\r\n") && stream.read(&mut byte).unwrap_or(0) == 1 {
                    head.push(byte[0]);
                }
                let text = String::from_utf8_lossy(&head).to_lowercase();
                let told = text.lines().find_map(|line| line.strip_prefix("traceparent: "));
                let body = told.unwrap_or("none").to_owned();
                let length = body.len();
                let _ = write!(
                    stream,
                    "HTTP/1.1 200 OK\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}"
                );
            });
        }
    });
    format!("http://{address}")
}

fn traced(collector: &Collector, more: &str) -> Shop {
    let port = &collector.port;
    let shop = observed(&format!(
        "[observe.traces]\nendpoint = \"http://127.0.0.1:{port}/v1/traces\"\nsample = 1.0\n{more}"
    ));
    shop.edit("http://127.0.0.1:9", &upstream());
    answer(&shop);
    shop
}

fn answer(shop: &Shop) {
    crate::program::answer(shop.path(), &["config", "apply"]);
}

#[test]
fn a_request_is_one_trace_from_the_door_to_the_database() {
    one_trace(|_| ());
}

#[test]
fn a_request_is_one_trace_over_separate_processes() {
    one_trace(Shop::separate);
}

fn one_trace(settle: impl FnOnce(&Shop)) {
    let Some(collector) = Collector::start() else { return };
    let shop = traced(&collector, "");
    settle(&shop);
    shop.customer("ada@x.example");
    let serving = shop.serve();
    let strangers = "traceparent: 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    let (status, told) =
        serving.curl(&shop, &["-H", strangers], "/item?email=ada@x.example&secret=1");
    assert_eq!(status, 200);
    let trace = collector.trace("no span of the upstream", |span| span["name"] == "upstream");
    let [upstream, request] = &trace[..] else { panic!("{trace:?}") };
    assert_eq!((&upstream["kind"], &request["kind"]), (&json!(3), &json!(2)));
    assert_eq!(upstream["parent"], request["span"]);
    assert_eq!(request["parent"], "");
    assert_eq!(request["attributes"]["http.request.method"], "GET");
    assert_eq!(request["attributes"]["http.response.status_code"], 200);
    assert_eq!(request["resource"]["service.name"], "stagedoor");
    assert_eq!(request["path"], "/v1/traces");
    assert!(request["took_ns"].as_i64().unwrap() >= upstream["took_ns"].as_i64().unwrap());
    // the upstream was told our span, and not the stranger's
    let expected = format!(
        "00-{}-{}-01",
        upstream["trace"].as_str().unwrap(),
        upstream["span"].as_str().unwrap()
    );
    assert_eq!(told, expected);
    assert_ne!(upstream["trace"], "4bf92f3577b34da6a3ce929d0e0e4736");
    serving.sign_in(&shop, "ada@x.example");
    let trace = collector.trace("no transaction", |span| span["name"] == "transaction");
    let request = trace.iter().find(|span| span["kind"] == 2).expect("its request");
    assert_eq!(request["name"], "POST (own)");
    let within = trace.iter().filter(|span| span["parent"] == request["span"]);
    assert!(within.count() >= 1, "{trace:?}");
    let all = json!(*collector.spans.lock().unwrap()).to_string();
    for personal in ["ada@", "127.0.0.1", "secret", "usr_", "ses_", "item"] {
        assert!(!all.contains(personal), "{personal} went out: {all}");
    }
    let (_, page) = serving.look(&[], "/metrics");
    assert!(page.contains("stagedoor_spans_total{outcome=\"dropped\"} 0\n"), "{page}");
    assert_eq!(serving.stop(), Some(0));
}

#[test]
fn a_trusted_proxys_trace_is_continued_as_it_decided() {
    let Some(collector) = Collector::start() else { return };
    let shop = traced(&collector, "\n[proxies]\ntrusted = [\"127.0.0.1/32\"]\n");
    let serving = shop.serve();
    let parent = |flags: &str| {
        format!("traceparent: 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-{flags}")
    };
    let (_, told) = serving.curl(&shop, &["-H", &parent("00")], "/");
    assert!(told.ends_with("-00f067aa0ba902b7-00"), "passed on as it came: {told}");
    let (_, told) = serving.curl(&shop, &["-H", &parent("01")], "/");
    assert!(told.starts_with("00-4bf92f3577b34da6a3ce929d0e0e4736-"), "{told}");
    let trace = collector.trace("it is not continued", |span| span["kind"] == 2);
    let request = trace.iter().find(|span| span["kind"] == 2).unwrap();
    assert_eq!(request["trace"], "4bf92f3577b34da6a3ce929d0e0e4736");
    assert_eq!(request["parent"], "00f067aa0ba902b7");
    assert_eq!(trace.iter().filter(|span| span["kind"] == 2).count(), 1, "one was not sampled");
    assert_eq!(serving.stop(), Some(0));
}

#[test]
fn a_collector_that_is_away_holds_up_nothing_and_is_counted() {
    let shop =
        observed("[observe.traces]\nendpoint = \"http://127.0.0.1:9/v1/traces\"\nsample = 1.0");
    let serving = shop.serve();
    for _ in 0..5 {
        assert_eq!(serving.curl(&shop, &[], "/auth/sign-in").0, 200);
    }
    until("nothing is counted", || {
        let (_, page) = serving.look(&[], "/metrics");
        let dropped = page.lines().find_map(|line| {
            line.strip_prefix("stagedoor_spans_total{outcome=\"dropped\"} ")?.parse::<u64>().ok()
        });
        dropped.filter(|many| *many >= 5)
    });
    assert_eq!(serving.stop(), Some(0));
}
