//! What operators see: health and readiness through a start, an outage and an end; and the numbers, as
//! a real Prometheus reads them.

use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::program::{Serving, Shop};

const PATIENCE: Duration = Duration::from_secs(40);

pub(crate) fn until<T>(what: &str, mut found: impl FnMut() -> Option<T>) -> T {
    let began = Instant::now();
    loop {
        if let Some(found) = found() {
            return found;
        }
        assert!(began.elapsed() < PATIENCE, "{what}");
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// Whether a program that a test needs is there; in CI it must be.
pub(crate) fn has(program: &str, args: &[&str], without: &str) -> bool {
    let found = Command::new(program).args(args).output();
    if found.is_ok_and(|output| output.status.success()) {
        return true;
    }
    assert!(std::env::var_os("CI").is_none(), "{program} is missing: `cargo xtask setup`");
    eprintln!("LEFT OUT: {without}: {program} is missing: `cargo xtask setup`");
    false
}

pub(crate) fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// A shop whose operators look, with these lines more in their section.
pub(crate) fn observed(more: &str) -> Shop {
    let shop = Shop::init();
    shop.edit("[shop]", &format!("[observe]\nlisten = \"127.0.0.1:0\"\n{more}\n\n[shop]"));
    shop
}

#[test]
fn health_and_readiness_tell_a_running_program_from_one_that_ends() {
    let shop = observed("drain_notice_ms = 3000\ntoken_file = \"scrape.token\"");
    std::fs::write(shop.path().join("scrape.token"), "a long token\n").unwrap();
    let serving = shop.serve();
    let (status, alive) = serving.look(&[], "/healthz");
    assert_eq!((status, alive.contains("\"status\":\"alive\"")), (200, true), "{alive}");
    let (status, ready) = serving.look(&[], "/readyz");
    assert_eq!(status, 200, "{ready}");
    assert_eq!(serving.look(&[], "/metrics").0, 401);
    let bearer = ["-H", "authorization: Bearer a long token"];
    let (status, page) = serving.look(&bearer, "/metrics");
    assert_eq!(status, 200);
    assert!(page.contains("stagedoor_ready 1\n"), "{page}");
    assert_eq!(serving.look(&bearer, "/v1/log/checkpoint").0, 404, "no other path is answered");
    // nothing of it stands at the shop's door
    for path in ["/healthz", "/readyz", "/metrics"] {
        assert_ne!(serving.curl(&shop, &[], path).0, 200, "{path}");
    }
    serving.terminate();
    let problem = until("it stays ready", || {
        let (status, text) = serving.look(&[], "/readyz");
        (status == 503).then(|| serde_json::from_str::<Value>(&text).unwrap())
    });
    assert_eq!(problem["code"], "observe.not_ready");
    assert_eq!(problem["failing"][0]["check"], "running");
    assert_eq!(serving.look(&[], "/healthz").0, 200, "it lives while it ends");
    assert_eq!(serving.curl(&shop, &[], "/auth/sign-in").0, 200, "the door is still open");
    assert_eq!(serving.stop(), Some(0));
}

#[test]
fn the_doors_healthz_is_there_where_it_is_configured() {
    let shop = Shop::init();
    shop.edit("[own]", "[own]\nhealthz = true");
    crate::program::answer(shop.path(), &["config", "apply"]);
    let serving = shop.serve();
    assert_eq!(serving.curl(&shop, &[], "/healthz"), (200, "{\"status\":\"alive\"}\n".to_owned()));
    assert_eq!(serving.observe, "");
    assert_eq!(serving.stop(), Some(0));
}

#[test]
fn a_full_disk_is_not_ready() {
    let shop = observed("disk_free_min_bytes = 9000000000000000");
    let serving = shop.serve();
    let (status, text) = serving.look(&[], "/readyz");
    let problem: Value = serde_json::from_str(&text).unwrap();
    assert_eq!((status, &problem["failing"][0]["check"]), (503, &json!("disk")), "{text}");
    assert_eq!(serving.stop(), Some(0));
}

#[test]
fn separate_processes_are_seen_as_one() {
    let shop = observed("drain_notice_ms = 2000");
    let sink = "[[siem]]\nname = \"file\"\nto = \"file\"\nfile = \"out/siem.jsonl\"";
    shop.edit("[shop]", &format!("{sink}\n\n[processes]\nseparate = true\n\n[shop]"));
    shop.customer("ada@x.example");
    let serving = shop.serve();
    until("it is not ready", || (serving.look(&[], "/readyz").0 == 200).then_some(()));
    serving.sign_in(&shop, "ada@x.example");
    assert_eq!(serving.curl(&shop, &[], "/").0, 502, "nobody listens behind it");
    for line in [
        "stagedoor_sign_ins_total{outcome=\"succeeded\"} 1",
        "stagedoor_refusals_total{door=\"shop\",code=\"edge.upstream_gone\"} 1",
        "stagedoor_database_up 1",
        "stagedoor_siem_lag_leaves{sink=\"file\"} 0",
    ] {
        until(line, || serving.look(&[], "/metrics").1.contains(line).then_some(()));
    }
    let (_, page) = serving.look(&[], "/metrics");
    for process in ["core", "edge"] {
        let line = format!("process_resident_memory_bytes{{process=\"{process}\"}} ");
        assert!(page.contains(&line), "{line} in {page}");
    }
    let told = std::fs::read_to_string(shop.path().join("out/siem.jsonl")).unwrap();
    assert!(told.contains("identity.login_succeeded"));
    serving.terminate();
    until("it stays ready", || {
        let (status, text) = serving.look(&[], "/readyz");
        (status == 503 && text.contains("\"running\"")).then_some(())
    });
    assert_eq!(serving.curl(&shop, &[], "/auth/sign-in").0, 200, "the door is still open");
    assert_eq!(serving.stop(), Some(0));
}

/// A real Prometheus that scrapes one program each second.
struct Prometheus {
    child: Child,
    port: u16,
}

impl Prometheus {
    fn start(dir: &Path, target: &str) -> Self {
        let port = free_port();
        let rules = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/examples");
        let rules = rules.join("prometheus-rules.yml");
        let config = format!(
            "global:\n  scrape_interval: 1s\nrule_files: [\"{}\"]\nscrape_configs:\n  \
             - job_name: stagedoor\n    authorization: {{ credentials_file: scrape.token }}\n    \
             static_configs: [{{ targets: [\"{target}\"] }}]\n",
            rules.display()
        );
        std::fs::write(dir.join("prometheus.yml"), config).unwrap();
        let log = std::fs::File::create(dir.join("prometheus.log")).unwrap();
        let child = Command::new("prometheus")
            .current_dir(dir)
            .arg("--config.file=prometheus.yml")
            .arg("--storage.tsdb.path=prometheus-data")
            .arg(format!("--web.listen-address=127.0.0.1:{port}"))
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap();
        Self { child, port }
    }

    fn get(&self, path: &str, query: &[(&str, &str)]) -> Option<Value> {
        let mut curl = Command::new("curl");
        curl.args(["-sS", "-G", "--max-time", "10"]);
        for (name, value) in query {
            curl.arg("--data-urlencode").arg(format!("{name}={value}"));
        }
        let output = curl.arg(format!("http://127.0.0.1:{}{path}", self.port)).output().unwrap();
        serde_json::from_slice(&output.stdout).ok()
    }

    /// The number that a query comes to; none where it has no sample yet.
    fn number(&self, query: &str) -> Option<f64> {
        let answer = self.get("/api/v1/query", &[("query", query)])?;
        answer["data"]["result"][0]["value"][1].as_str()?.parse().ok()
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn checked_by_promtool(serving: &Serving, dir: &Path) {
    let bearer = ["-H", "authorization: Bearer a long token"];
    let (status, page) = serving.look(&bearer, "/metrics");
    assert_eq!(status, 200);
    std::fs::write(dir.join("page"), page).unwrap();
    let page = std::fs::File::open(dir.join("page")).unwrap();
    let checked = Command::new("promtool").args(["check", "metrics"]).stdin(page).output().unwrap();
    let words = crate::program::words(&checked);
    assert!(checked.status.success() && words.is_empty(), "{words}");
}

#[test]
fn a_prometheus_reads_the_numbers_and_they_move() {
    if !has("prometheus", &["--version"], "metrics as Prometheus reads them") {
        return;
    }
    let shop = observed("token_file = \"scrape.token\"");
    std::fs::write(shop.path().join("scrape.token"), "a long token\n").unwrap();
    shop.customer("ada@x.example");
    let serving = shop.serve();
    let prometheus = Prometheus::start(shop.path(), &serving.observe);
    until("it is not scraped", || prometheus.number("up").filter(|up| *up > 0.0));
    for (query, least) in [
        ("stagedoor_ready", 1.0),
        ("stagedoor_log_leader", 1.0),
        ("stagedoor_log_leaves", 1.0),
        ("stagedoor_database_up", 1.0),
        ("stagedoor_disk_free_bytes", 1.0),
        ("process_resident_memory_bytes", 1e6),
        ("stagedoor_build_info{database=\"sqlite\"}", 1.0),
    ] {
        let number = until(query, || prometheus.number(query));
        assert!(number >= least, "{query} is {number}");
    }
    let asked = "sum(stagedoor_requests_total{door=\"shop\"})";
    let succeeded = "stagedoor_sign_ins_total{outcome=\"succeeded\"}";
    let gone = "stagedoor_refusals_total{door=\"shop\",code=\"edge.upstream_gone\"}";
    let before = [asked, succeeded, gone].map(|query| prometheus.number(query).unwrap_or(0.0));
    for _ in 0..3 {
        serving.sign_in(&shop, "ada@x.example");
        assert_eq!(serving.curl(&shop, &[], "/").0, 502, "nobody listens behind it");
    }
    for (query, before, more) in
        [(asked, before[0], 6.0), (succeeded, before[1], 3.0), (gone, before[2], 3.0)]
    {
        until(query, || prometheus.number(query).filter(|now| *now >= before + more));
    }
    until("no duration is seen", || {
        let query = "histogram_quantile(0.5, \
                     sum by (le) (rate(stagedoor_request_duration_seconds_bucket[1m])))";
        prometheus.number(query).filter(|seconds| *seconds > 0.0 && *seconds < 10.0)
    });
    let rules = prometheus.get("/api/v1/rules", &[]).unwrap();
    let rules = rules["data"]["groups"][0]["rules"].as_array().unwrap().clone();
    assert!(rules.len() >= 12 && rules.iter().all(|rule| rule["health"] != "err"), "{rules:?}");
    checked_by_promtool(&serving, shop.path());
    drop(prometheus);
    assert_eq!(serving.stop(), Some(0));
}

#[test]
fn the_example_rules_hold_their_own_tests() {
    if !has("promtool", &["--version"], "the example alert rules") {
        return;
    }
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/examples");
    for (what, file) in [("check", "prometheus-rules.yml"), ("test", "prometheus-rules.test.yml")] {
        let args = [what, "rules", file];
        let checked = Command::new("promtool").current_dir(&folder).args(args).output().unwrap();
        assert!(checked.status.success(), "{}", crate::program::words(&checked));
    }
}
