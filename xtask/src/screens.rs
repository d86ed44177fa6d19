//! Pages as a person sees them: starts `stagedoor demo`, takes the addresses from the table that
//! it prints, and has headless Chromium photograph each page, light, dark and narrow. The pictures
//! stay in `screenshots/` to be looked at; the check itself only finds pages that do not render.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Read};
use std::path::Path;
use std::process::{Child, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};

use crate::generated::binary;
use crate::house::{House, which};
use crate::say;

/// Pages that need no sign-in: name of the picture, which address of the demo's table, path.
/// Pages behind a sign-in are photographed by the browser tests of the binary.
const PAGES: &[(&str, &str, &str)] = &[
    ("shop", "shop", "/"),
    ("sign-up", "shop", "/auth/sign-up"),
    ("sign-in", "shop", "/auth/sign-in"),
    ("forgot", "shop", "/auth/forgot"),
    ("not-found", "shop", "/auth/no-such-page"),
    ("console-sign-in", "console", "/console/"),
];
/// How a page is looked at: suffix, window, more flags.
const LOOKS: &[(&str, &str, &[&str])] = &[
    ("light", "1280,900", &[]),
    ("dark", "1280,900", &["--force-dark-mode"]),
    ("narrow", "500,900", &[]),
];
/// The demo must have printed its addresses by then.
const START_LIMIT: Duration = Duration::from_secs(60);
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
    for (name, address, path) in PAGES {
        let address = demo.addresses.get(*address).with_context(|| {
            format!("the demo's table names no `{address}`: {:?}", demo.addresses.keys())
        })?;
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
    let mut command = house.command(chromium, FLAGS);
    command.args(flags).args(more).arg(url);
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
    addresses: BTreeMap<String, String>,
}

impl Demo {
    fn start(house: &House) -> Result<Self> {
        // free ports: somebody may be looking at a demo already
        let args = ["demo", "--listen", "127.0.0.1:0", "--console", "127.0.0.1:0"];
        let mut command = house.command(binary(house)?, &args);
        command.stdout(Stdio::piped()).stderr(Stdio::inherit());
        let mut child = command.spawn().context("stagedoor demo")?;
        let output = child.stdout.take().context("the demo has no output")?;
        let mut demo = Self { child, addresses: BTreeMap::new() };
        demo.addresses = addresses(&lines(output))?;
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

/// Reads the demo's table up to the line that says how to end it.
fn addresses(lines: &Receiver<String>) -> Result<BTreeMap<String, String>> {
    let mut found = BTreeMap::new();
    loop {
        match lines.recv_timeout(START_LIMIT) {
            Ok(line) => {
                if let Some((name, url)) = address(&line) {
                    found.entry(name).or_insert(url);
                }
                if line.contains("Ctrl-C") {
                    return Ok(found);
                }
            }
            Err(RecvTimeoutError::Timeout) => bail!("the demo said nothing for a minute"),
            Err(RecvTimeoutError::Disconnected) => bail!("the demo ended by itself"),
        }
    }
}

/// `shop   https://127.0.0.1:8443/  …` as (`shop`, its URL).
fn address(line: &str) -> Option<(String, String)> {
    let mut words = line.split_whitespace();
    let name = words.next()?.trim_end_matches(':').to_lowercase();
    let url = words.find(|word| word.starts_with("https://") || word.starts_with("http://"))?;
    Some((name, url.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_read_up_to_its_last_line() {
        let table = "Stagedoor demo\n  Shop     https://127.0.0.1:8443/  a shop\n  \
                     Console: http://127.0.0.1:8444/console/\nCtrl-C ends it.\nshop http://x/\n";
        let found = addresses(&lines(table.as_bytes())).unwrap();
        assert_eq!(found["shop"], "https://127.0.0.1:8443/");
        assert_eq!(found["console"], "http://127.0.0.1:8444/console/");
    }

    #[test]
    fn a_demo_that_ends_is_an_error() {
        assert!(addresses(&lines("no table\n".as_bytes())).is_err());
    }
}
