//! `serve` as separate processes: the whole way of a request, an end of a session that closes a
//! stream, the console's live list, kill -9 of either process under load, silence of core, a
//! shutdown that lets requests finish.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use serde_json::json;

use crate::program::{PASSWORD, Serving, Shop, answer};

const PATIENCE: Duration = Duration::from_secs(30);

/// The shop's own application: tells back what head it was sent; `/slow` takes its time, and
/// `/checkout/events` never ends.
fn upstream() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for socket in listener.incoming().map_while(Result::ok) {
            std::thread::spawn(move || exchange(socket));
        }
    });
    format!("http://{address}")
}

fn exchange(mut socket: TcpStream) {
    let mut reader = BufReader::new(socket.try_clone().unwrap());
    loop {
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            if reader.read_line(&mut head).unwrap_or(0) == 0 {
                return;
            }
        }
        if head.starts_with("GET /checkout/events") {
            let answer = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n";
            let mut sent = socket.write_all(answer.as_bytes());
            while sent.is_ok() {
                sent = socket.write_all(b"data: still here\n\n");
                std::thread::sleep(Duration::from_millis(50));
            }
            return;
        }
        if head.starts_with("GET /slow") {
            std::thread::sleep(Duration::from_secs(2));
        }
        let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{head}", head.len());
        if socket.write_all(answer.as_bytes()).is_err() {
            return;
        }
    }
}

fn open() -> (Shop, Serving) {
    let shop = Shop::init();
    shop.edit("http://127.0.0.1:9", &upstream());
    answer(shop.path(), &["config", "apply"]);
    shop.lift_limits();
    shop.customer("ada@x.example");
    shop.separate();
    let serving = shop.serve();
    (shop, serving)
}

fn until(what: &str, mut is_so: impl FnMut() -> bool) -> Duration {
    let began = Instant::now();
    while !is_so() {
        assert!(began.elapsed() < PATIENCE, "{what}");
        std::thread::sleep(Duration::from_millis(20));
    }
    began.elapsed()
}

/// Signs in once more, and ends all sessions but that one.
fn end_others(shop: &Shop, serving: &Serving) {
    let tokens = serving.sign_in(shop, "ada@x.example");
    let bearer = format!("authorization: Bearer {}", tokens["access_token"].as_str().unwrap());
    let ended = serving.curl(shop, &["-X", "DELETE", "-H", &bearer], "/v1/sessions");
    assert_eq!(ended, (200, "{\"ended\":1}".to_owned()));
}

fn signal(name: &str, process: u32) {
    let sent = Command::new("kill").args([name, &process.to_string()]).status().unwrap();
    assert!(sent.success());
}

#[test]
fn a_request_passes_and_the_end_of_its_session_ends_all() {
    let (shop, serving) = open();
    let tokens = serving.sign_in(&shop, "ada@x.example");
    let bearer = format!("authorization: Bearer {}", tokens["access_token"].as_str().unwrap());
    let forged = ["-H", &bearer, "-H", "x-stagedoor-call: {}", "-H", "x-stagedoor-account: usr_me"];
    let (status, head) = serving.curl(&shop, &forged, "/checkout");
    assert_eq!(status, 200, "{head}");
    let head = head.to_ascii_lowercase();
    for name in ["x-stagedoor-account: usr_", "x-stagedoor-session: ses_", "x-stagedoor-signature"]
    {
        assert!(head.contains(name), "{name} in {head}");
    }
    assert!(!head.contains("usr_me") && !head.contains("x-stagedoor-call"), "{head}");
    // A stream is open when the session ends.
    let port = serving.door.rsplit_once(':').unwrap().1;
    let mut stream = Command::new("curl")
        .args(["-sSN", "--cacert"])
        .arg(shop.path().join("var/self-signed.crt"))
        .args(["-H", &bearer, &format!("https://localhost:{port}/checkout/events")])
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut events = BufReader::new(stream.stdout.take().unwrap());
    let mut line = String::new();
    events.read_line(&mut line).unwrap();
    assert_eq!(line, "data: still here\n");
    end_others(&shop, &serving);
    let took = until("the token is refused", || {
        serving.curl(&shop, &["-H", &bearer], "/checkout").0 == 401
    });
    events.read_to_string(&mut line).unwrap();
    stream.wait().unwrap();
    eprintln!("refused {} ms after the answer, and the stream is closed", took.as_millis());
    assert_eq!(serving.stop(), Some(0));
    shop.verified();
}

#[test]
fn the_pages_of_core_come_through_and_what_the_edge_saw_goes_back() {
    let (shop, serving) = open();
    let html = ["-H", "accept: text/html"];
    let (status, page) = serving.curl(&shop, &html, "/auth/sign-in");
    assert!(status == 200 && page.contains("Sign in"), "{page}");
    let (status, page) = serving.curl(&shop, &["-H", "accept: text/html", "-X", "POST"], "/auth/x");
    assert!(status == 404 && page.contains("/assets/stagedoor."), "{page}");
    let (status, problem) = serving.post(&shop, &[], ("/v1/sign-in", &json!({ "email": 1 })));
    assert_eq!((status, &problem["status"]), (422, &422.into()), "{problem}");
    // A long body arrives whole, and it is core that judges it.
    let long = json!({ "email": "ada@x.example", "password": "x".repeat(700_000) });
    std::fs::write(shop.path().join("long"), long.to_string()).unwrap();
    let file = format!("@{}", shop.path().join("long").display());
    let long = ["-H", "content-type: application/json", "--data-binary", &file];
    for _ in 0..20 {
        let (status, words) = serving.curl(&shop, &long, "/v1/sign-in");
        assert!([413, 422].contains(&status) && words.contains("\"code\""), "{status} {words}");
    }
    // What is not well-formed is refused at the edge, counted, and told to core.
    for _ in 0..3 {
        serving.curl(&shop, &["-H", "x y: z", "--http1.1"], "/");
    }
    let operator = Operator::sign_in(&shop, &serving);
    until("the edge's counts are in the log", || {
        let (_, page) = operator.get("/console/events?kind=access.request_refused");
        page.contains("/console/events/evt_")
    });
    assert_eq!(serving.stop(), Some(0));
    shop.verified();
}

/// One of the staff at the console.
struct Operator<'a> {
    shop: &'a Shop,
    serving: &'a Serving,
}

impl<'a> Operator<'a> {
    fn sign_in(shop: &'a Shop, serving: &'a Serving) -> Self {
        let operator = Self { shop, serving };
        let (_, page) = operator.get("/console/sign-in");
        let (_, rest) = page.split_once("name=\"csrf\" value=\"").unwrap();
        let csrf = format!("csrf={}", rest.split_once('"').unwrap().0);
        let password = std::fs::read_to_string(shop.path().join("operator.pw")).unwrap();
        let password = format!("password={password}");
        let port = serving.console.rsplit_once(':').unwrap().1;
        let origin = format!("origin: https://localhost:{port}");
        let email = "email=ops@shop.example";
        let form =
            ["-H", &origin, "-d", &csrf, "-d", email, "-d", &password, "-d", "next=/console"];
        let (status, page) = operator.send(&form, "/console/sign-in");
        assert_eq!(status, 303, "{page}");
        operator
    }

    fn get(&self, path: &str) -> (u16, String) {
        self.send(&[], path)
    }

    fn jar(&self) -> String {
        self.shop.path().join("jar").display().to_string()
    }

    fn send(&self, args: &[&str], path: &str) -> (u16, String) {
        let jar = self.jar();
        let all = [&["-b", &jar, "-c", &jar, "-H", "accept: text/html"], args].concat();
        self.serving.curl_console(self.shop, &all, path)
    }
}

#[test]
fn the_consoles_list_is_fed_live() {
    let (shop, serving) = open();
    let operator = Operator::sign_in(&shop, &serving);
    let port = serving.console.rsplit_once(':').unwrap().1;
    let mut stream = Command::new("curl")
        .args(["-sSN", "--max-time", "30", "-b", &operator.jar(), "--cacert"])
        .arg(shop.path().join("var/self-signed.crt"))
        .arg(format!("https://localhost:{port}/console/events/stream"))
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let events = BufReader::new(stream.stdout.take().unwrap());
    let (told, tell) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        for line in events.lines().map_while(Result::ok) {
            let _ = told.send(line);
        }
    });
    // It is told of what comes after it was opened.
    std::thread::sleep(Duration::from_millis(500));
    serving.sign_in(&shop, "ada@x.example");
    let seen = std::iter::from_fn(|| tell.recv_timeout(PATIENCE).ok());
    let seen = seen.take(50).find(|line| line.contains("identity.login_succeeded"));
    stream.kill().unwrap();
    stream.wait().unwrap();
    assert!(seen.is_some(), "no event came");
    assert_eq!(serving.stop(), Some(0));
}

/// Ends the load, also where a test fails.
struct Over<'a>(&'a AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Requests all the while; how many were answered, and how many were not.
fn load(shop: &Shop, serving: &Serving, path: &str, over: &AtomicBool) -> (u32, u32) {
    let (mut answered, mut lost) = (0, 0);
    while !over.load(Ordering::Relaxed) {
        match serving.try_curl(shop, &[], path) {
            Ok((200, _)) => answered += 1,
            Ok(_) | Err(_) => lost += 1,
        }
    }
    (answered, lost)
}

#[test]
fn either_process_comes_back_after_kill_9_under_load() {
    let (shop, serving) = open();
    let tokens = serving.sign_in(&shop, "ada@x.example");
    let bearer = format!("authorization: Bearer {}", tokens["access_token"].as_str().unwrap());
    end_others(&shop, &serving);
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let shops = scope.spawn(|| load(&shop, &serving, "/", &over));
        let own = scope.spawn(|| load(&shop, &serving, "/auth/sign-in", &over));
        let ends = Over(&over);
        for kind in ["core", "edge", "core"] {
            kill_and_wait(&shop, &serving, kind);
            // What had ended before has ended still.
            let (status, _) = serving.curl(&shop, &["-H", &bearer], "/checkout");
            assert!([401, 503].contains(&status), "{status} after kill -9 of {kind}");
        }
        drop(ends);
        let (shops, own) = (shops.join().unwrap(), own.join().unwrap());
        eprintln!("answered and lost: {shops:?} by the shop, {own:?} by core");
        // Only what was under way in the process that was killed is lost.
        assert!(shops.0 > 2 && shops.1 <= 2, "{shops:?}");
        assert!(own.0 > 2 && own.1 <= 4, "{own:?}");
    });
    let sign_in = json!({ "email": "ada@x.example", "password": PASSWORD });
    assert_eq!(serving.post(&shop, &[], ("/v1/sign-in", &sign_in)).0, 200);
    assert_eq!(serving.stop(), Some(0));
    shop.verified();
}

fn kill_and_wait(shop: &Shop, serving: &Serving, kind: &str) {
    let before = serving.process(kind).unwrap();
    signal("-KILL", before);
    let is_answered =
        |path| serving.try_curl(shop, &[], path).is_ok_and(|(status, _)| status == 200);
    until("it is started again", || serving.process(kind).is_some_and(|now| now != before));
    let shops = until("the shop answers", || is_answered("/"));
    let own = until("core answers", || is_answered("/auth/sign-in"));
    eprintln!("{kind} is back: the shop after {shops:?}, our own paths after {own:?} more");
}

#[test]
fn silence_of_core_closes_what_is_sensitive_and_nothing_else() {
    let (shop, serving) = open();
    let tokens = serving.sign_in(&shop, "ada@x.example");
    let bearer = format!("authorization: Bearer {}", tokens["access_token"].as_str().unwrap());
    let ask = |path: &str| serving.curl(&shop, &["-H", &bearer], path).0;
    assert_eq!(ask("/checkout"), 200);
    let core = serving.process("core").unwrap();
    signal("-STOP", core);
    until("the sensitive route closes", || ask("/checkout") == 503);
    assert_eq!(ask("/"), 200, "the shop goes on");
    signal("-CONT", core);
    until("the sensitive route opens", || ask("/checkout") == 200);
    assert_eq!(serving.stop(), Some(0));
}

#[test]
fn a_shutdown_lets_requests_finish_and_leaves_nothing_behind() {
    let (shop, serving) = open();
    let processes = ["edge", "core"].map(|kind| serving.process(kind).unwrap());
    std::thread::scope(|scope| {
        let slow = scope.spawn(|| serving.try_curl(&shop, &[], "/slow"));
        std::thread::sleep(Duration::from_millis(700));
        signal("-TERM", serving.id());
        assert_eq!(slow.join().unwrap().unwrap().0, 200);
    });
    assert_eq!(serving.wait(), Some(0));
    for process in processes {
        assert!(!std::path::Path::new(&format!("/proc/{process}")).exists(), "{process} lives on");
    }
}

#[test]
fn the_processes_end_with_a_supervisor_that_is_killed() {
    let (_shop, serving) = open();
    let processes = ["edge", "core"].map(|kind| serving.process(kind).unwrap());
    serving.kill();
    for process in processes {
        let folder = format!("/proc/{process}");
        until("they end", || !std::path::Path::new(&folder).exists());
    }
}

#[test]
fn the_keyholder_comes_back_too() {
    if !crate::program::gives_files("a keyholder as a user of its own") {
        return;
    }
    let shop = Shop::init();
    shop.customer("ada@x.example");
    shop.with_keyholder();
    let serving = shop.serve();
    serving.sign_in(&shop, "ada@x.example");
    let before = serving.process("keyholder").unwrap();
    signal("-KILL", before);
    until("it is started again", || serving.process("keyholder").is_some_and(|now| now != before));
    let sign_in = json!({ "email": "ada@x.example", "password": PASSWORD });
    until("core asks it", || {
        serving.try_post(&shop, &[], ("/v1/sign-in", &sign_in)).is_some_and(|it| it.0 == 200)
    });
    shop.verified();
    assert_eq!(serving.stop(), Some(0));
    let log = shop.log();
    assert!(!log.contains("did not end in time"), "{log}");
}

#[test]
fn doctor_says_who_runs_as_whom() {
    let shop = Shop::init();
    shop.separate();
    let told = crate::program::run(shop.path(), &["doctor"]);
    let words = crate::program::words(&told);
    assert!(words.contains("separate processes") && words.contains("edge as "), "{words}");
}

#[test]
fn a_core_that_cannot_start_ends_the_start() {
    let shop = Shop::init();
    shop.separate();
    std::fs::remove_file(shop.path().join("var/keys/root.key")).unwrap();
    let told = crate::program::run(shop.path(), &["serve"]);
    let words = crate::program::words(&told);
    assert_eq!(told.status.code(), Some(1), "{words}");
    assert!(words.contains("core: error: ") && words.contains("core did not open"), "{words}");
}
