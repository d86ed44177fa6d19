//! Runs the binary: commands to their end, `serve` until it is stopped or killed.

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use serde_json::{Value, json};
use tempfile::TempDir;

/// Whom the processes run as, where a test runs as root: nobody that the host knows.
pub(crate) const EDGE_USER: u32 = 61_001;
pub(crate) const CORE_USER: u32 = 61_002;
pub(crate) const KEYHOLDER_USER: u32 = 61_003;

/// How every house here is made, but for what a test is about.
pub(crate) const INIT: [&str; 9] = [
    "init",
    "--name",
    "Shop",
    "--url",
    "https://localhost",
    "--upstream",
    "http://127.0.0.1:9",
    "--operator",
    "ops@shop.example",
];

/// The password of every customer here.
pub(crate) const PASSWORD: &str = "four words make one door";

pub(crate) fn stagedoor(dir: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_stagedoor"));
    command.current_dir(dir).stdin(Stdio::null());
    command
}

pub(crate) fn run(dir: &Path, args: &[&str]) -> Output {
    stagedoor(dir).args(args).output().expect("the binary runs")
}

/// Runs with `--json` and reads the answer; panics where it fails.
pub(crate) fn answer(dir: &Path, args: &[&str]) -> Value {
    answer_of(stagedoor(dir), args)
}

/// The same, of a program that is started in a way of the test's.
pub(crate) fn answer_of(mut command: Command, args: &[&str]) -> Value {
    let output = command.arg("--json").args(args).output().expect("the binary runs");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{args:?}: {text} {}", words(&output));
    serde_json::from_str(text.lines().last().unwrap_or("null")).expect("one JSON document")
}

/// Panics where it is not refused with these words.
pub(crate) fn refused(dir: &Path, args: &[&str], why: &str) {
    refused_of(stagedoor(dir), args, why);
}

pub(crate) fn refused_of(mut command: Command, args: &[&str], why: &str) {
    let output = command.args(args).output().expect("the binary runs");
    assert!(!output.status.success(), "{args:?} was not refused: {}", words(&output));
    assert!(words(&output).contains(why), "{args:?}: {}", words(&output));
}

pub(crate) fn words(output: &Output) -> String {
    format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    )
}

pub(crate) fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// Whether a test may give files to other users; in CI it must.
pub(crate) fn gives_files(what: &str) -> bool {
    if is_root() {
        return true;
    }
    assert!(std::env::var_os("CI").is_none(), "CI has users of its own: run it as root");
    eprintln!("LEFT OUT: {what}: only root gives files to other users");
    false
}

/// A library to be preloaded into the program, of `tests/peer/NAME.c`, made in a folder.
pub(crate) fn preloaded(dir: &Path, name: &str) -> PathBuf {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/peer/{name}.c"));
    let library = dir.join(format!("{name}.so"));
    let mut compiler = Command::new("cc");
    compiler.args(["-shared", "-fPIC", "-o"]).arg(&library).arg(source);
    assert!(compiler.status().expect("a C compiler").success());
    library
}

/// A house made by `init` in a folder of its own, listening on free ports.
pub(crate) struct Shop {
    pub dir: TempDir,
}

impl Shop {
    pub(crate) fn init() -> Self {
        Self::init_with(&[])
    }

    pub(crate) fn init_with(more: &[&str]) -> Self {
        let shop = Self::in_one_process(more);
        // What these tests say holds over separate processes too: run them again with this set.
        if std::env::var_os("STAGEDOOR_SEPARATE").is_some() {
            shop.separate();
        }
        shop
    }

    /// For tests that kill the one process at a certain step.
    pub(crate) fn in_one_process(more: &[&str]) -> Self {
        let dir = TempDir::new().expect("a folder");
        let made = answer(dir.path(), &[&INIT[..], more].concat());
        let operator = made["password"].as_str().expect("a password").to_owned();
        assert!(operator.len() >= 16);
        std::fs::write(dir.path().join("operator.pw"), operator).expect("the file");
        let shop = Self { dir };
        shop.on_free_ports();
        shop
    }

    /// Both doors on whichever ports are free.
    pub(crate) fn on_free_ports(&self) {
        self.edit("0.0.0.0:8443", "127.0.0.1:0");
        self.edit("127.0.0.1:8444", "127.0.0.1:0");
    }

    /// The edge and core as processes of their own; as root, each with a user of its own.
    pub(crate) fn separate(&self) {
        let mut text = std::fs::read_to_string(self.config()).expect("the file");
        if text.contains("\n[processes]") {
            return;
        }
        text.push_str("\n[processes]\nseparate = true\n");
        if !is_root() {
            return std::fs::write(self.config(), text).expect("the file");
        }
        text.push_str(&format!("edge_user = \"{EDGE_USER}\"\ncore_user = \"{CORE_USER}\"\n"));
        std::fs::write(self.config(), text).expect("the file");
        let core = format!("{CORE_USER}:{CORE_USER}");
        for (program, args) in [
            // Commands run as core's user, and write beside the configuration what they are asked to.
            ("chmod", vec!["771", "."]),
            ("chgrp", vec![core.split_once(':').expect("a group").1, "."]),
            ("chown", vec!["-R", &core, "var"]),
            ("chgrp", vec![core.split_once(':').expect("a group").1, "stagedoor.toml"]),
            ("chmod", vec!["640", "stagedoor.toml"]),
        ] {
            let done = Command::new(program).args(args).current_dir(self.path()).status();
            assert!(done.expect("it runs").success(), "{program}");
        }
    }

    /// The keyholder as a process of its own besides, which takes the root key along.
    pub(crate) fn with_keyholder(&self) {
        self.separate();
        let section = "\n[processes]\nseparate = true\n";
        self.edit(section, &format!("{section}keyholder_user = \"{KEYHOLDER_USER}\"\n"));
        let text = std::fs::read_to_string(self.config()).expect("the file");
        let section = "\n[keyholder]\nsocket = \"run/socket\"\ndir = \"kh\"\n";
        std::fs::write(self.config(), text + section).expect("the file");
        let owner = format!("{KEYHOLDER_USER}:{KEYHOLDER_USER}");
        for args in [
            vec!["mkdir", "-m", "700", "kh"],
            vec!["mv", "var/keys/root.key", "var/keys/keyholder", "kh"],
            vec!["chown", "-R", &owner, "kh"],
        ] {
            let done = Command::new(args[0]).args(&args[1..]).current_dir(self.path()).status();
            assert!(done.expect("it runs").success(), "{args:?}");
        }
    }

    pub(crate) fn path(&self) -> &Path {
        self.dir.path()
    }

    pub(crate) fn config(&self) -> PathBuf {
        self.path().join("stagedoor.toml")
    }

    /// Replaces a text in the configuration file.
    pub(crate) fn edit(&self, from: &str, to: &str) {
        let text = std::fs::read_to_string(self.config()).expect("the file");
        assert!(text.contains(from), "no `{from}` in the file");
        std::fs::write(self.config(), text.replace(from, to)).expect("the file");
    }

    /// A customer with a password; its address.
    pub(crate) fn customer(&self, email: &str) {
        std::fs::write(self.path().join("pw"), PASSWORD).expect("the file");
        answer(self.path(), &["user", "add", email, "--password-file", "pw"]);
    }

    /// A header with the key of a service that tells facts.
    pub(crate) fn service(&self) -> String {
        let key = answer(self.path(), &["service", "add", "backend"])["key"].clone();
        format!("authorization: Bearer {}", key.as_str().expect("a key"))
    }

    /// Many requests of one client are no attack in this test.
    pub(crate) fn lift_limits(&self) {
        self.edit("requests = 600", "requests = 100000");
        self.edit("requests = 60\n", "requests = 100000\n");
        let budgets = "[identity.attempts]\nclient = { burst = 100000, refill_s = 1 }\n\
                       open = { burst = 100000, refill_s = 1 }\n\
                       account = { burst = 100000, refill_s = 1 }\n\n[identity.mail]";
        self.edit("[identity.mail]", budgets);
        answer(self.path(), &["config", "apply"]);
    }

    /// What the program wrote into its own log, in all its runs.
    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.path().join("serve.log")).unwrap_or_default()
    }

    /// Verifies the whole log after the program has ended; how many events it has, those included
    /// that wait for their leaf.
    pub(crate) fn verified(&self) -> u64 {
        let verified = answer(self.path(), &["audit", "verify"]);
        assert_eq!(verified["holds"], true, "{verified}");
        assert!(!self.log().contains("panicked"), "{}", self.log());
        let count = |key: &str| verified[key].as_u64().expect("a number");
        count("leaves") + count("pending")
    }

    pub(crate) fn serve(&self) -> Serving {
        self.serve_by(stagedoor(self.path()))
    }

    pub(crate) fn serve_by(&self, mut command: Command) -> Serving {
        let mut options = std::fs::File::options();
        let log = options.create(true).append(true).open(self.path().join("serve.log"));
        let mut child = command
            .args(["--json", "serve"])
            .stdout(Stdio::piped())
            .stderr(log.expect("a log"))
            .spawn()
            .expect("the binary runs");
        let mut line = String::new();
        let stdout = child.stdout.take().expect("its output");
        BufReader::new(stdout).read_line(&mut line).expect("a line");
        let said: Value = serde_json::from_str(&line).expect("where it listens");
        let at = |door: &str| said[door].as_str().unwrap_or_default().to_owned();
        Serving { child, door: at("door"), console: at("console"), observe: at("observe") }
    }
}

/// A running program.
pub(crate) struct Serving {
    child: Child,
    pub door: String,
    pub console: String,
    /// Where operators look; empty where that is not configured.
    pub observe: String,
}

impl Serving {
    /// kill -9.
    pub(crate) fn kill(mut self) {
        self.child.kill().expect("killed");
        self.child.wait().expect("gone");
    }

    /// SIGTERM, and the exit code.
    pub(crate) fn stop(mut self) -> Option<i32> {
        let id = self.child.id().to_string();
        let sent = Command::new("kill").args(["-TERM", &id]).status().expect("kill runs");
        assert!(sent.success());
        self.child.wait().expect("gone").code()
    }

    /// Whether it has ended by itself.
    pub(crate) fn is_gone(&mut self) -> bool {
        self.child.try_wait().expect("its state").is_some()
    }

    /// The exit code of one that was told to stop.
    pub(crate) fn wait(mut self) -> Option<i32> {
        self.child.wait().expect("gone").code()
    }

    /// SIGTERM; it goes on until it has ended.
    pub(crate) fn terminate(&self) {
        let sent = Command::new("kill").args(["-TERM", &self.id().to_string()]).status();
        assert!(sent.expect("kill runs").success());
    }

    /// Asks the operators' listener; 0 where it does not answer.
    pub(crate) fn look(&self, args: &[&str], path: &str) -> (u16, String) {
        let output = Command::new("curl")
            .args(["-sS", "--max-time", "20", "-w", "\n%{http_code}"])
            .args(args)
            .arg(format!("http://{}{path}", self.observe))
            .output()
            .expect("curl runs");
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let (body, status) = text.rsplit_once('\n').unwrap_or(("", "0"));
        (status.parse().unwrap_or(0), body.to_owned())
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// The process of this kind below the supervisor.
    pub(crate) fn process(&self, kind: &str) -> Option<u32> {
        let parent = format!("PPid:\t{}\n", self.id());
        std::fs::read_dir("/proc").expect("/proc").flatten().find_map(|entry| {
            let status = std::fs::read_to_string(entry.path().join("status")).ok()?;
            let args = std::fs::read_to_string(entry.path().join("cmdline")).ok()?;
            let is_it = status.contains(&parent) && args.ends_with(&format!("process\0{kind}\0"));
            is_it.then(|| entry.file_name().to_str()?.parse().ok())?
        })
    }

    /// The same program at its console.
    pub(crate) fn curl_console(&self, shop: &Shop, args: &[&str], path: &str) -> (u16, String) {
        self.curl_at(&self.console, shop, args, path).unwrap_or_else(|why| panic!("{path}: {why}"))
    }

    /// A document sent; the answer's status and document (null where it is none).
    pub(crate) fn post(&self, shop: &Shop, headers: &[&str], what: (&str, &Value)) -> (u16, Value) {
        self.try_post(shop, headers, what).expect("an answer")
    }

    /// The same, where the program may die meanwhile: none then.
    pub(crate) fn try_post(
        &self,
        shop: &Shop,
        headers: &[&str],
        (path, body): (&str, &Value),
    ) -> Option<(u16, Value)> {
        let body = body.to_string();
        let mut args = vec!["-X", "POST", "-H", "content-type: application/json", "-d", &body];
        args.extend(headers.iter().flat_map(|header| ["-H", *header]));
        let (status, words) = self.try_curl(shop, &args, path).ok()?;
        let answer: Value = serde_json::from_str(&words).unwrap_or(Value::Null);
        // The edge's word that core did not answer is no answer.
        (answer["code"] != "edge.core_gone").then_some((status, answer))
    }

    /// Signs a customer in.
    pub(crate) fn sign_in(&self, shop: &Shop, email: &str) -> Value {
        let body = json!({ "email": email, "password": PASSWORD });
        let (status, tokens) = self.post(shop, &[], ("/v1/sign-in", &body));
        assert_eq!(status, 200, "{tokens}");
        tokens
    }

    /// Tells that an order was paid; the status of the answer.
    pub(crate) fn tell(&self, shop: &Shop, service: &str, id: &str) -> (u16, Value) {
        self.try_tell(shop, service, id).expect("an answer")
    }

    pub(crate) fn try_tell(&self, shop: &Shop, service: &str, id: &str) -> Option<(u16, Value)> {
        let fields = json!({ "order": id, "amount_minor": 100, "currency": "EUR" });
        let fact = json!({ "id": id, "kind": "order.paid", "customer": "c-1", "fields": fields });
        self.try_post(shop, &[service], ("/v1/facts", &json!({ "facts": [fact] })))
    }

    /// One request over TLS by curl, which believes the self-signed certificate of `shop`.
    pub(crate) fn curl(&self, shop: &Shop, args: &[&str], path: &str) -> (u16, String) {
        self.try_curl(shop, args, path).unwrap_or_else(|why| panic!("{path}: {why}"))
    }

    pub(crate) fn try_curl(
        &self,
        shop: &Shop,
        args: &[&str],
        path: &str,
    ) -> Result<(u16, String), String> {
        self.curl_at(&self.door, shop, args, path)
    }

    fn curl_at(
        &self,
        listener: &str,
        shop: &Shop,
        args: &[&str],
        path: &str,
    ) -> Result<(u16, String), String> {
        let port = listener.rsplit_once(':').expect("a port").1;
        let certificate = shop.path().join("var/self-signed.crt");
        let output = Command::new("curl")
            .args(["-sS", "--max-time", "20", "-w", "\n%{http_code}", "--cacert"])
            .arg(certificate)
            .args(args)
            .arg(format!("https://localhost:{port}{path}"))
            .output()
            .expect("curl runs");
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let (body, status) = text.rsplit_once('\n').unwrap_or(("", "0"));
        if status == "000" {
            return Err(String::from_utf8_lossy(&output.stderr).into_owned());
        }
        Ok((status.parse().expect("a status"), body.to_owned()))
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
