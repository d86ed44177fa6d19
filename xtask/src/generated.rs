//! Files that the binary writes about itself and that are checked in: configuration schema and
//! reference, OpenAPI, event catalogue. A check makes them anew and compares; `cargo xtask bless`
//! writes them, so that a change of what the house promises shows in its diff.

use std::path::{Path, PathBuf};

use anyhow::{Result, bail};

use crate::house::House;
use crate::say;

/// A checked-in file, and the words after `stagedoor` that print it.
struct Generated {
    file: &'static str,
    args: &'static [&'static str],
}

const GENERATED: &[Generated] = &[
    Generated { file: "docs/config.schema.json", args: &["config", "schema"] },
    Generated { file: "docs/stagedoor.toml", args: &["docs", "config"] },
    Generated { file: "docs/openapi.json", args: &["docs", "openapi"] },
    Generated { file: "docs/events.md", args: &["docs", "events"] },
    Generated { file: "docs/metrics.md", args: &["docs", "metrics"] },
];

/// The step: each file is what the binary prints.
///
/// # Errors
/// Names each file that is not, with the first line that differs.
pub(crate) fn check(house: &House) -> Result<String> {
    let binary = binary(house)?;
    let mut stale = 0;
    for generated in GENERATED {
        let printed = print(house, &binary, generated)?;
        let path = house.root.join(generated.file);
        let checked_in = std::fs::read_to_string(&path).unwrap_or_default();
        if let Some(difference) = difference(&checked_in, &printed) {
            say::line(format!("error: {}: {difference}", generated.file));
            stale += 1;
        }
    }
    if stale > 0 {
        bail!("{stale} generated files are stale: look at them after `cargo xtask bless`");
    }
    Ok(format!("{} files", GENERATED.len()))
}

/// The command `bless`: writes the files. Snapshots of tests are not touched: they are accepted by
/// running their test with `INSTA_UPDATE=always`.
///
/// # Errors
/// Where the binary does not build, or does not print one.
pub(crate) fn bless(house: &House) -> Result<String> {
    let binary = built(house, &["--package", "stagedoor"])?;
    for generated in GENERATED {
        let printed = print(house, &binary, generated)?;
        let path = house.root.join(generated.file);
        std::fs::write(&path, printed)?;
        say::line(format!("wrote {}", generated.file));
    }
    Ok(format!(
        "{} files; not the snapshots of tests: INSTA_UPDATE=always cargo nextest run -p CRATE",
        GENERATED.len()
    ))
}

fn print(house: &House, binary: &Path, generated: &Generated) -> Result<String> {
    let printed = house.output(house.command(binary, generated.args))?;
    if printed.trim().is_empty() {
        bail!("`stagedoor {}` prints nothing", generated.args.join(" "));
    }
    Ok(printed)
}

/// The binary of the `dev` profile, built where it is stale. Built with everything else, as the
/// step before did: alone, its dependencies could have other features and be compiled once more.
///
/// # Errors
/// Where it does not build.
pub(crate) fn binary(house: &House) -> Result<PathBuf> {
    built(house, &["--workspace", "--all-targets"])
}

fn built(house: &House, what: &[&str]) -> Result<PathBuf> {
    let mut args = [&["build", "--quiet"], what].concat();
    if house.ci {
        args.push("--locked");
    }
    house.output(house.cargo(&args))?;
    Ok(house.target.join("debug").join("stagedoor"))
}

fn difference(checked_in: &str, printed: &str) -> Option<String> {
    if checked_in == printed {
        return None;
    }
    let mut lines = checked_in.lines().zip(printed.lines()).enumerate();
    Some(lines.find(|(_, (old, new))| old != new).map_or_else(
        || format!("{} lines, now {}", checked_in.lines().count(), printed.lines().count()),
        |(at, (old, new))| format!("line {}: `{old}` is now `{new}`", at + 1),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_difference_is_named() {
        assert_eq!(difference("a\nb\n", "a\nb\n"), None);
        assert_eq!(difference("a\nb\n", "a\nc\n").unwrap(), "line 2: `b` is now `c`");
        assert_eq!(difference("a\n", "a\nb\n").unwrap(), "1 lines, now 2");
        assert_eq!(difference("", "a\n").unwrap(), "0 lines, now 1");
    }
}
