//! Runs the binary: commands to their end, `serve` until it is stopped or killed.

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use serde_json::Value;
use tempfile::TempDir;

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
    let output = run(dir, &[&["--json"], args].concat());
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{args:?}: {text} {}", words(&output));
    serde_json::from_str(text.lines().last().unwrap_or("null")).expect("one JSON document")
}

pub(crate) fn words(output: &Output) -> String {
    format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    )
}

/// A house made by `init` in a folder of its own, listening on free ports.
pub(crate) struct Shop {
    pub dir: TempDir,
}

impl Shop {
    pub(crate) fn init() -> Self {
        let dir = TempDir::new().expect("a folder");
        let made = answer(
            dir.path(),
            &[
                "init",
                "--name",
                "Shop",
                "--url",
                "https://localhost",
                "--upstream",
                "http://127.0.0.1:9",
                "--operator",
                "ops@shop.example",
            ],
        );
        assert!(made["password"].as_str().expect("a password").len() >= 16);
        let shop = Self { dir };
        shop.edit("0.0.0.0:8443", "127.0.0.1:0");
        shop.edit("127.0.0.1:8444", "127.0.0.1:0");
        shop
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

    pub(crate) fn serve(&self) -> Serving {
        self.serve_to(Stdio::null())
    }

    /// Serves, and writes the program's own log into a file.
    pub(crate) fn serve_logging(&self, log: &Path) -> Serving {
        self.serve_to(std::fs::File::create(log).expect("a file").into())
    }

    fn serve_to(&self, log: Stdio) -> Serving {
        let mut child = stagedoor(self.path())
            .args(["--json", "serve"])
            .stdout(Stdio::piped())
            .stderr(log)
            .spawn()
            .expect("the binary runs");
        let mut line = String::new();
        let stdout = child.stdout.take().expect("its output");
        BufReader::new(stdout).read_line(&mut line).expect("a line");
        let said: Value = serde_json::from_str(&line).expect("where it listens");
        let door = said["door"].as_str().expect("an address").to_owned();
        Serving { child, door }
    }
}

/// A running program.
pub(crate) struct Serving {
    child: Child,
    pub door: String,
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

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// One request over TLS by curl, which believes the self-signed certificate of `shop`.
    pub(crate) fn curl(&self, shop: &Shop, args: &[&str], path: &str) -> (u16, String) {
        let port = self.door.rsplit_once(':').expect("a port").1;
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
        assert_ne!(status, "000", "{}", String::from_utf8_lossy(&output.stderr));
        (status.parse().expect("a status"), body.to_owned())
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
