//! Pages as a person sees them: starts `stagedoor demo --json`, takes the addresses from what it
//! prints, and has headless Chromium photograph each page, light, dark and narrow. The pictures
//! stay in `screenshots/` to be looked at; the check itself only finds pages that do not render.

use std::io::{BufRead as _, BufReader, Read};
use std::path::Path;
use std::process::{Child, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use serde_json::Value;

use crate::generated::binary;
use crate::house::{House, which};
use crate::say;

/// Pages that need no sign-in: name of the picture, listener of the demo, path. Pages behind a
/// sign-in, and those whose streams never end, are photographed by the browser tests of the binary.
const PAGES: &[(&str, &str, &str)] = &[
    ("shop", "door", "/"),
    ("sign-up", "door", "/auth/sign-up"),
    ("sign-in", "door", "/auth/sign-in"),
    ("forgot", "door", "/auth/forgot"),
    ("not-found", "door", "/auth/no-such-page"),
    ("console", "console", "/console"),
];
/// How a page is looked at: suffix, window, more flags.
const LOOKS: &[(&str, &str, &[&str])] = &[
    ("light", "1280,900", &[]),
    ("dark", "1280,900", &["--force-dark-mode"]),
    ("narrow", "500,900", &[]),
];
/// The demo must have printed its addresses by then.
const START_LIMIT: Duration = Duration::from_secs(60);
/// The longest that one picture may take, s.
const PICTURE_LIMIT_S: &str = "60";
/// A picture of nothing compresses to less, bytes.
const SMALLEST_BYTES: u64 = 6_000;

/// The step.
///
/// # Errors
/// Where the demo does not start, or a page gives no picture.
pub(crate) fn check(house: &House) -> Result<String> {
    let Some(chromium) = which("chromium").or_else(|| which("chromium-browser")) else {
        house.leave_out("pages in a browser: chromium is missing".to_owned());
        return Ok("no browser".to_owned());
    };
    let folder = house.root.join("screenshots");
    std::fs::create_dir_all(&folder)?;
    let demo = Demo::start(house)?;
    let mut taken = 0;
    for (name, listener, path) in PAGES {
        let listener = demo.told.get(*listener).and_then(Value::as_str);
        let address = listener.with_context(|| format!("the demo told {}", demo.told))?;
        for (look, window, more) in LOOKS {
            let picture = folder.join(format!("{name}-{look}.png"));
            let url = format!("{}{path}", address.trim_end_matches('/'));
            photograph(house, &chromium, &url, &picture, window, more)?;
            taken += 1;
        }
    }
    Ok(format!("{taken} pictures in {}", folder.display()))
}

fn photograph(
    house: &House,
    chromium: &Path,
    url: &str,
    picture: &Path,
    window: &str,
    more: &[&str],
) -> Result<()> {
    let profile = house.target.join("chromium");
    // an old profile would bring its cookies and cache along
    let _ = std::fs::remove_dir_all(&profile);
    let _ = std::fs::remove_file(picture);
    let flags = [
        format!("--user-data-dir={}", profile.display()),
        format!("--screenshot={}", picture.display()),
        format!("--window-size={window}"),
    ];
    // a page that never comes to rest must not hold the checks up for ever
    let mut command = house.command("timeout", &[PICTURE_LIMIT_S]);
    command.arg(chromium).args(FLAGS).args(flags).args(more).arg(url);
    let output = command.output().context("chromium")?;
    let size = std::fs::metadata(picture).map_or(0, |file| file.len());
    if size < SMALLEST_BYTES {
        let errors = String::from_utf8_lossy(&output.stderr).into_owned();
        bail!("{url} gives no picture ({size} bytes)\n{}", errors.trim_end());
    }
    say::line(format!("{url} -> {}", picture.display()));
    Ok(())
}

/// Headless, quiet on the network, and trusting the demo's self-signed certificate.
const FLAGS: &[&str] = &[
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--hide-scrollbars",
    "--ignore-certificate-errors",
    "--virtual-time-budget=5000",
];

/// A running demo, ended when this is dropped.
struct Demo {
    child: Child,
    /// Its addresses: `door` and `console`.
    told: Value,
}

impl Demo {
    fn start(house: &House) -> Result<Self> {
        // free ports: somebody may be looking at a demo already
        let args = ["--json", "demo", "--listen", "127.0.0.1:0", "--console", "127.0.0.1:0"];
        let mut command = house.command(binary(house)?, &args);
        command.stdout(Stdio::piped()).stderr(Stdio::inherit());
        let mut child = command.spawn().context("stagedoor demo")?;
        let output = child.stdout.take().context("the demo has no output")?;
        // made before it is waited for, so that it is ended on every way out
        let mut demo = Self { child, told: Value::Null };
        demo.told = document(&lines(output))?;
        Ok(demo)
    }
}

impl Drop for Demo {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Lines as they come, read on another thread so that waiting for one can have an end.
fn lines(output: impl Read + Send + 'static) -> Receiver<String> {
    let (sender, receiver) = channel();
    std::thread::spawn(move || {
        for line in BufReader::new(output).lines().map_while(Result::ok) {
            // read on where nobody listens any more, so that the demo never blocks
            let _ = sender.send(line);
        }
    });
    receiver
}

/// Reads lines until they are one JSON document.
fn document(lines: &Receiver<String>) -> Result<Value> {
    let mut text = String::new();
    loop {
        match lines.recv_timeout(START_LIMIT) {
            Ok(line) => {
                text.push_str(&line);
                text.push('\n');
                if let Ok(value) = serde_json::from_str(&text) {
                    return Ok(value);
                }
            }
            Err(RecvTimeoutError::Timeout) => bail!("the demo said nothing for a minute:\n{text}"),
            Err(RecvTimeoutError::Disconnected) => bail!("the demo ended by itself:\n{text}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_document_is_read_over_several_lines() {
        let text = "{\n  \"door\": \"https://localhost:8443\"\n}\nmore\n";
        let told = document(&lines(text.as_bytes())).unwrap();
        assert_eq!(told["door"], "https://localhost:8443");
    }

    #[test]
    fn a_demo_that_ends_is_an_error_with_its_words() {
        let error = document(&lines("no certificate\n".as_bytes())).unwrap_err();
        assert!(error.to_string().contains("no certificate"));
    }
}
