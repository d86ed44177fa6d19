//! The pages in a real browser: forms filled in, live lists fed, nothing refused by the pages' own
//! policy, pictures kept in `screenshots/` to be looked at.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use base64::Engine as _;
use futures_util::{SinkExt as _, StreamExt as _};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream};

use crate::program::stagedoor;

const PATIENCE: Duration = Duration::from_secs(30);

/// A headless Chromium with one page, driven by its DevTools protocol.
struct Browser {
    child: Child,
    socket: WebSocketStream<MaybeTlsStream<TcpStream>>,
    session: String,
    number: u64,
    /// What pages complained of: refused scripts, errors.
    complaints: Vec<String>,
    _profile: TempDir,
}

impl Drop for Browser {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn chromium() -> Option<&'static str> {
    let places = ["/usr/bin/chromium", "/usr/bin/chromium-browser", "/usr/bin/google-chrome"];
    let found = places.into_iter().find(|place| Path::new(place).exists());
    #[expect(clippy::disallowed_methods, reason = "tests are told where they run")]
    let is_ci = std::env::var("CI").is_ok();
    assert!(found.is_some() || !is_ci, "no Chromium, and in CI nothing is left out");
    if found.is_none() {
        eprintln!("LEFT OUT: no Chromium");
    }
    found
}

impl Browser {
    async fn open(program: &str) -> Self {
        let profile = TempDir::new().unwrap();
        let mut child = Command::new(program)
            .args([
                "--headless=new",
                "--no-sandbox",
                "--disable-gpu",
                "--disable-quic",
                "--no-first-run",
                "--disable-background-networking",
                "--disable-sync",
                "--disable-component-update",
                "--ignore-certificate-errors",
                "--hide-scrollbars",
                "--window-size=1280,1000",
                "--remote-debugging-port=0",
                "about:blank",
            ])
            .arg(format!("--user-data-dir={}", profile.path().display()))
            .stderr(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let stderr = BufReader::new(child.stderr.take().unwrap());
        let mut lines = stderr.lines().map_while(Result::ok);
        let url = lines
            .find_map(|line| Some(line.split_once("listening on ")?.1.to_owned()))
            .expect("Chromium says where it listens");
        // It goes on talking; somebody must listen, or it blocks.
        std::thread::spawn(move || lines.for_each(drop));
        let (socket, _) = tokio_tungstenite::connect_async(url.trim()).await.unwrap();
        let (session, complaints) = (String::new(), Vec::new());
        let mut browser = Self { child, socket, session, number: 0, complaints, _profile: profile };
        let target = browser.call("Target.createTarget", json!({ "url": "about:blank" })).await;
        let attach = json!({ "targetId": target["targetId"], "flatten": true });
        let attached = browser.call("Target.attachToTarget", attach).await;
        browser.session = attached["sessionId"].as_str().unwrap().to_owned();
        for domain in ["Page", "Runtime", "Log"] {
            browser.call(&format!("{domain}.enable"), json!({})).await;
        }
        browser
    }

    async fn call(&mut self, method: &str, params: Value) -> Value {
        self.number += 1;
        let number = self.number;
        let mut message = json!({ "id": number, "method": method, "params": params });
        if !self.session.is_empty() {
            message["sessionId"] = json!(self.session);
        }
        self.socket.send(Message::text(message.to_string())).await.unwrap();
        loop {
            let answer = self.next().await;
            if answer["id"] == number {
                assert!(answer["error"].is_null(), "{method}: {}", answer["error"]);
                return answer["result"].clone();
            }
        }
    }

    async fn next(&mut self) -> Value {
        loop {
            let message = tokio::time::timeout(PATIENCE, self.socket.next()).await;
            let message = message.expect("the browser answers").unwrap().unwrap();
            let Ok(text) = message.to_text() else { continue };
            let Ok(value) = serde_json::from_str::<Value>(text) else { continue };
            self.note(&value);
            return value;
        }
    }

    /// Remembers what a page complains of.
    fn note(&mut self, value: &Value) {
        let params = &value["params"];
        let complaint = match value["method"].as_str() {
            Some("Log.entryAdded") => {
                let entry = &params["entry"];
                let is_policy = entry["source"] == "security";
                let is_error = entry["level"] == "error" && entry["source"] != "network";
                (is_policy || is_error).then(|| entry["text"].to_string())
            }
            Some("Runtime.exceptionThrown") => Some(params["exceptionDetails"].to_string()),
            _ => None,
        };
        self.complaints.extend(complaint);
    }

    async fn go(&mut self, url: &str) {
        self.call("Page.navigate", json!({ "url": url })).await;
        self.until("document.readyState === 'complete' && location.href !== 'about:blank'").await;
    }

    async fn evaluate(&mut self, script: &str) -> Value {
        let params = json!({ "expression": script, "returnByValue": true, "awaitPromise": true });
        self.call("Runtime.evaluate", params).await["result"]["value"].clone()
    }

    /// Looks until a script says true.
    async fn until(&mut self, script: &str) {
        for _ in 0..600 {
            if self.evaluate(script).await == true {
                return;
            }
            self.evaluate("new Promise(done => setTimeout(done, 50))").await;
        }
        let page = self.evaluate("location.href + ' ' + document.body.innerText").await;
        panic!("never true: {script} on {page}");
    }

    /// Fills a form of the page in and sends it, then waits for the next page.
    async fn submit(&mut self, action: &str, fields: &[(&str, &str)]) {
        let fields: BTreeMap<&str, &str> = fields.iter().copied().collect();
        let script = format!(
            "(() => {{ const form = document.querySelector(`form[action='{action}']`); \
             for (const [name, value] of Object.entries({})) form.elements[name].value = value; \
             window.stays = true; form.requestSubmit(); return true; }})()",
            json!(fields)
        );
        assert_eq!(self.evaluate(&script).await, true, "{action}");
        self.until("window.stays === undefined && document.readyState === 'complete'").await;
    }

    /// Takes a picture, light and dark, and checks what every page must have.
    async fn picture(&mut self, name: &str) {
        let folder = screenshots();
        std::fs::create_dir_all(&folder).unwrap();
        for look in ["light", "dark"] {
            let features = json!([{ "name": "prefers-color-scheme", "value": look }]);
            self.call("Emulation.setEmulatedMedia", json!({ "features": features })).await;
            let shot = self.call("Page.captureScreenshot", json!({ "format": "png" })).await;
            let data = shot["data"].as_str().unwrap();
            let bytes = base64::engine::general_purpose::STANDARD.decode(data).unwrap();
            assert!(bytes.len() > 5_000, "{name}: an empty picture");
            std::fs::write(folder.join(format!("{name}-{look}.png")), bytes).unwrap();
        }
        let faults = self.evaluate(FAULTS).await;
        assert_eq!(faults, json!([]), "{name}");
    }
}

/// What any page must have (WCAG 2.2: 1.1.1, 1.3.1, 2.4.2, 3.1.1, 4.1.2).
const FAULTS: &str = r#"(() => {
    const faults = [];
    if (!document.documentElement.lang) faults.push("no language");
    if (!document.title) faults.push("no title");
    if (document.querySelectorAll("h1").length !== 1) faults.push("not one h1");
    for (const field of document.querySelectorAll("input:not([type=hidden]), select, textarea"))
        if (!field.labels?.length && !field.ariaLabel) faults.push(`no label: ${field.name}`);
    for (const picture of document.querySelectorAll("img:not([alt])"))
        faults.push(`no alt: ${picture.src}`);
    for (const button of document.querySelectorAll("button, a[href]"))
        if (!button.textContent.trim() && !button.ariaLabel && !button.querySelector("img[alt]"))
            faults.push(`no name: ${button.outerHTML}`);
    return faults;
})()"#;

fn screenshots() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../screenshots")
}

/// A running demo.
struct Demo {
    child: Child,
    told: Value,
    _dir: TempDir,
}

impl Drop for Demo {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Demo {
    fn start() -> Self {
        let dir = TempDir::new().unwrap();
        let mut child = stagedoor(dir.path())
            .args(["--json", "demo", "--listen", "127.0.0.1:0", "--console", "127.0.0.1:0"])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        Self { child, told: serde_json::from_str(&line).unwrap(), _dir: dir }
    }

    fn at(&self, listener: &str, path: &str) -> String {
        format!("{}{path}", self.told[listener].as_str().unwrap())
    }

    /// Address and password of one of the demo's people.
    fn person(&self, kind: &str) -> (String, String) {
        let people = self.told["people"].as_array().unwrap();
        let person = people.iter().find(|person| person[0] == kind).unwrap();
        (person[1].as_str().unwrap().to_owned(), person[2].as_str().unwrap().to_owned())
    }
}

#[test]
fn customers_and_operators_find_their_way() {
    let Some(program) = chromium() else { return };
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let demo = Demo::start();
        let mut browser = Browser::open(program).await;
        shop(&demo, &mut browser).await;
        second_factor(&demo, &mut browser).await;
        console(&demo, &mut browser).await;
        assert_eq!(browser.complaints, Vec::<String>::new());
    });
}

async fn shop(demo: &Demo, browser: &mut Browser) {
    browser.go(&demo.at("door", "/")).await;
    browser.picture("shop-home").await;
    browser.go(&demo.at("door", "/auth/sign-up")).await;
    browser.picture("sign-up").await;
    // the door sends her to sign in, and back to where she wanted to go
    browser.go(&demo.at("door", "/checkout?product=spotlight-lamp")).await;
    browser.until("location.pathname === '/auth/sign-in'").await;
    browser.picture("sign-in").await;
    let (email, password) = demo.person("customer");
    browser.submit("/auth/sign-in", &[("email", &email), ("password", "not this one, no")]).await;
    browser.picture("sign-in-refused").await;
    browser.submit("/auth/sign-in", &[("email", &email), ("password", &password)]).await;
    browser.until("location.pathname === '/checkout'").await;
    browser.until("document.body.innerText.includes('usr_')").await;
    browser.picture("shop-checkout").await;
    browser.submit("/checkout", &[]).await;
    browser.until("document.body.innerText.includes('Spotlight Lamp')").await;
    // the live room's chat streams through the door
    browser.go(&demo.at("door", "/live/friday-premiere")).await;
    browser.until("document.querySelectorAll('#chat li').length > 2").await;
    browser.picture("shop-live").await;
    browser.go(&demo.at("door", "/auth/account")).await;
    browser.picture("account").await;
    browser.go(&demo.at("door", "/auth/dev/outbox")).await;
    browser.picture("outbox").await;
    browser.go(&demo.at("door", "/auth/no-such-page")).await;
    browser.picture("not-found").await;
}

/// The code of a key now, by oath-toolkit.
fn oathtool(key: &str) -> Option<String> {
    let made = Command::new("oathtool").args(["--totp", "--base32", key]).output();
    let Ok(made) = made else {
        #[expect(clippy::disallowed_methods, reason = "tests are told where they run")]
        let is_ci = std::env::var("CI").is_ok();
        assert!(!is_ci, "no oathtool, and in CI nothing is left out");
        eprintln!("LEFT OUT: no oathtool");
        return None;
    };
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    Some(String::from_utf8(made.stdout).unwrap().trim().to_owned())
}

async fn second_factor(demo: &Demo, browser: &mut Browser) {
    let (email, password) = demo.person("influencer");
    let fields = [("email", email.as_str()), ("password", password.as_str())];
    browser.go(&demo.at("door", "/auth/sign-in?next=/auth/account/factors")).await;
    browser.submit("/auth/sign-in", &fields).await;
    browser.until("location.pathname === '/auth/account/factors'").await;
    browser.picture("factors-none").await;
    browser.submit("/auth/account/factors/totp", &[("name", "My phone")]).await;
    browser.until("location.pathname === '/auth/account/factors/totp'").await;
    browser.picture("totp").await;
    let key = browser.evaluate("document.querySelector('.key').textContent").await;
    let key = key.as_str().unwrap().replace(' ', "");
    let Some(code) = oathtool(&key) else { return };
    browser.submit("/auth/account/factors/totp/confirm", &[("code", &code)]).await;
    browser.until("document.querySelectorAll('.codes li').length === 10").await;
    browser.until("!document.querySelector('[data-print]').hidden").await;
    browser.picture("backup-codes").await;
    let paper = browser.evaluate("document.querySelector('.codes code').textContent").await;
    let paper = paper.as_str().unwrap().to_owned();
    browser.go(&demo.at("door", "/auth/account/factors")).await;
    browser.picture("factors").await;
    browser.submit("/auth/sign-out", &[]).await;
    // The password alone leads to the next step, and a code that was used leads nowhere.
    browser.go(&demo.at("door", "/auth/sign-in?next=/auth/account")).await;
    browser.submit("/auth/sign-in", &fields).await;
    browser.until("location.pathname === '/auth/second'").await;
    browser.picture("second").await;
    browser.submit("/auth/second", &[("code", &code)]).await;
    browser.until("document.body.innerText.includes('was used before')").await;
    browser.picture("second-refused").await;
    browser.go(&demo.at("door", "/auth/account")).await;
    browser.until("location.pathname === '/auth/sign-in'").await;
    browser.go(&demo.at("door", "/auth/second?method=backup_code&next=/auth/account")).await;
    browser.submit("/auth/second", &[("code", &paper)]).await;
    browser.until("location.pathname === '/auth/account'").await;
    browser.submit("/auth/sign-out", &[]).await;
}

async fn console(demo: &Demo, browser: &mut Browser) {
    browser.go(&demo.at("console", "/console")).await;
    browser.until("location.pathname === '/console/sign-in'").await;
    browser.picture("console-sign-in").await;
    let (email, password) = demo.person("operator (admin)");
    browser.submit("/console/sign-in", &[("email", &email), ("password", &password)]).await;
    for (name, path) in [
        ("console-overview", "/console"),
        ("console-events", "/console/events"),
        ("console-accounts", "/console/accounts"),
        ("console-clients", "/console/clients"),
        ("console-alerts", "/console/alerts"),
        ("console-rules", "/console/rules"),
        ("console-audit", "/console/audit"),
        ("console-keys", "/console/keys"),
        ("console-routes", "/console/routes"),
        ("console-nodes", "/console/nodes"),
    ] {
        browser.go(&demo.at("console", path)).await;
        browser.until(&format!("location.pathname.startsWith('{path}')")).await;
        browser.picture(name).await;
    }
    browser.go(&demo.at("console", "/console/events?kind=order.paid")).await;
    browser.evaluate("document.querySelector('a[href*=\"/console/events/evt_\"]').click()").await;
    browser.until("/events\\/evt_/.test(location.pathname)").await;
    browser.picture("console-event").await;
}
