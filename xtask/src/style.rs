//! Floors of style that neither rustfmt nor clippy knows: heads of files, sizes, words that have
//! no place in a finished tree, and dependencies that nothing uses. Each is cheap to hold and dear
//! to win back.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use toml::Table;

use crate::graph::Graph;
use crate::house::House;
use crate::say;

/// Above this a source file is refused; bytes.
const LARGEST_BYTES: usize = 60_000;
/// Above this it is warned of; bytes.
const LARGE_BYTES: usize = 40_000;
/// Folders that hold no sources of ours.
const PASSED_BY: &[&str] = &["target", ".git", "node_modules", "screenshots", "corpus", "var"];
/// Files read for words; others are pictures and data.
const TEXTS: &[&str] =
    &["rs", "toml", "md", "sql", "html", "css", "js", "ts", "json", "sh", "yml", "yaml", "txt", ""];

/// The step.
///
/// # Errors
/// Names each file and line.
pub(crate) fn check(house: &House) -> Result<String> {
    let mut wrong = Vec::new();
    let files = files(&house.root)?;
    for path in &files {
        let Ok(text) = std::fs::read_to_string(path) else { continue };
        let shown = path.strip_prefix(&house.root).unwrap_or(path).display().to_string();
        wrong.extend(words(&text).into_iter().map(|flaw| format!("{shown}{flaw}")));
        if shown.ends_with(".rs") {
            wrong.extend(source(&text).into_iter().map(|flaw| format!("{shown}{flaw}")));
            if (LARGE_BYTES..=LARGEST_BYTES).contains(&text.len()) {
                say::warning(format!("{shown} has {} kB: split it soon", text.len() / 1_000));
            }
        }
        if shown.ends_with("Cargo.toml") {
            wrong.extend(manifest(&text)?.into_iter().map(|flaw| format!("{shown}: {flaw}")));
        }
    }
    for text in &wrong {
        say::line(format!("error: {text}"));
    }
    if !wrong.is_empty() {
        bail!("{} flaws of style", wrong.len());
    }
    Ok(format!("{} files", files.len()))
}

/// The step: each crate's dependencies are used by its sources.
///
/// # Errors
/// Names each that is not.
pub(crate) fn unused(house: &House) -> Result<String> {
    let graph = Graph::read(house)?;
    let mut wrong = 0;
    for package in graph.own() {
        let folder = package.manifest_path.parent().context("a manifest without a folder")?;
        let mut text = String::new();
        for path in files(folder.as_std_path())? {
            if path.extension().is_some_and(|extension| extension == "rs") {
                text.push_str(&std::fs::read_to_string(path)?);
            }
        }
        for dependency in &package.dependencies {
            let name = dependency.rename.as_ref().unwrap_or(&dependency.name).replace('-', "_");
            if !has_word(&text, &name) {
                let package = &package.name;
                say::line(format!("error: `{package}` names `{name}` and never uses it"));
                wrong += 1;
            }
        }
    }
    if wrong > 0 {
        bail!("{wrong} unused dependencies: remove their lines");
    }
    Ok(format!("{} crates", graph.own().len()))
}

/// Every file of ours below a folder, in order.
pub(crate) fn files(root: &Path) -> Result<Vec<PathBuf>> {
    let mut waiting = vec![root.to_path_buf()];
    let mut found = Vec::new();
    while let Some(folder) = waiting.pop() {
        for entry in std::fs::read_dir(&folder)? {
            let path = entry?.path();
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            if path.is_dir() {
                // a folder of its own workspace is taken; build output and data are not
                if !PASSED_BY.contains(&name.as_str()) && !path.is_symlink() {
                    waiting.push(path);
                }
            } else if name != "Cargo.lock" && is_text(&path) {
                found.push(path);
            }
        }
    }
    found.sort();
    Ok(found)
}

fn is_text(path: &Path) -> bool {
    let extension = path.extension().unwrap_or_default().to_string_lossy().into_owned();
    TEXTS.contains(&extension.as_str())
}

/// Words that no text of the house may hold, by line.
fn words(text: &str) -> Vec<String> {
    // put together here, so that this file may be read by its own check
    let unfinished = [concat!("TO", "DO"), concat!("FIX", "ME")];
    let places = [
        concat!("/ho", "me/"),
        concat!("/Us", "ers/"),
        concat!("/ro", "ot/"),
        concat!("/wo", "rk/"),
    ];
    let mut flaws = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let at = number + 1;
        if let Some(word) = unfinished.iter().find(|word| has_word(line, word)) {
            flaws.push(format!(":{at}: `{word}`: finish it, or file it"));
        }
        if let Some(place) = places.iter().find(|place| is_place(line, place)) {
            flaws.push(format!(":{at}: `{place}…` is a place on somebody's machine"));
        }
    }
    flaws
}

/// Whether a line names a machine's folder, rather than a URL's path with the same word.
fn is_place(line: &str, place: &str) -> bool {
    line.match_indices(place).any(|(at, _)| {
        let before = line.get(..at).and_then(|text| text.chars().next_back());
        before.is_none_or(|letter| matches!(letter, ' ' | '"' | '\'' | '=' | '(' | '`' | ':'))
    })
}

fn has_word(text: &str, word: &str) -> bool {
    let is_letter = |letter: char| letter.is_alphanumeric() || letter == '_';
    text.match_indices(word).any(|(at, _)| {
        let before = text.get(..at).and_then(|text| text.chars().next_back());
        let after = text.get(at + word.len()..).and_then(|text| text.chars().next());
        !before.is_some_and(is_letter) && !after.is_some_and(is_letter)
    })
}

/// Flaws of a Rust source.
fn source(text: &str) -> Vec<String> {
    let mut flaws = Vec::new();
    if !text.starts_with("//! ") {
        flaws.push(":1: opens without `//!`: say what it guards and why".to_owned());
    }
    if text.len() > LARGEST_BYTES {
        flaws.push(format!(": {} kB, more than 60: split it", text.len() / 1_000));
    }
    for (number, line) in text.lines().enumerate() {
        let code = line.split("//").next().unwrap_or_default();
        // a macro cannot expect a lint that only some of its uses meet: it says so by this name
        if code.contains("clippy::allow_attributes,") && code.contains("reason = ") {
            continue;
        }
        if code.contains(concat!("[al", "low(")) || code.contains(concat!(", al", "low(clippy")) {
            let at = number + 1;
            flaws.push(format!(":{at}: use `#[expect(.., reason = \"..\")]`"));
        }
    }
    flaws
}

/// Flaws of a manifest: every crate takes the workspace's lints, and those forbid unsafe code.
fn manifest(text: &str) -> Result<Vec<String>> {
    let table: Table = text.parse()?;
    let at = |path: &[&str]| {
        let mut value = table.get(*path.first()?)?;
        for key in path.iter().skip(1) {
            value = value.get(key)?;
        }
        Some(value.clone())
    };
    let mut flaws = Vec::new();
    let is_forbidden = |path: &[&str]| at(path).is_some_and(|v| v.as_str() == Some("forbid"));
    if at(&["workspace", "lints"]).is_some() {
        if !is_forbidden(&["workspace", "lints", "rust", "unsafe_code"]) {
            flaws.push("the workspace's lints do not forbid unsafe_code".to_owned());
        }
    } else if at(&["package", "metadata", "cargo-fuzz"]).is_none()
        && at(&["package"]).is_some()
        && at(&["lints", "workspace"]).and_then(|v| v.as_bool()) != Some(true)
        && !is_forbidden(&["lints", "rust", "unsafe_code"])
    {
        flaws.push("add `[lints] workspace = true`".to_owned());
    }
    Ok(flaws)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unfinished_words_and_machine_places_are_found_by_line() {
        let text = format!("fine\n// {}: later\nlet p = \"{}me/x\";", concat!("TO", "DO"), "/ho");
        let flaws = words(&text);
        assert_eq!(flaws.len(), 2, "{flaws:?}");
        assert!(flaws[0].starts_with(":2:") && flaws[1].starts_with(":3:"));
        let fine = format!("a MASTODON, and https://shop.example{}me/shoes", "/ho");
        assert_eq!(words(&fine), [""; 0]);
    }

    #[test]
    fn a_source_opens_with_its_head_and_expects_instead() {
        assert_eq!(source("//! Guards x.\nfn allow(x: u8) { limiter.allow(x) }"), [""; 0]);
        assert_eq!(source("fn main() {}").len(), 1);
        let silenced = format!("//! Head.\n#[al{}(dead_code)]\nfn f() {{}}", "low");
        assert_eq!(source(&silenced).len(), 1);
        assert_eq!(source(&format!("//! {}", "x".repeat(LARGEST_BYTES))).len(), 1);
    }

    #[test]
    fn every_crate_takes_the_lints() {
        let fine = "[package]\nname = \"a\"\n[lints]\nworkspace = true";
        assert_eq!(manifest(fine).unwrap(), [""; 0]);
        assert_eq!(manifest("[package]\nname = \"a\"").unwrap().len(), 1);
        let fuzzed = "[package]\nname = \"a\"\n[package.metadata]\ncargo-fuzz = true";
        assert_eq!(manifest(fuzzed).unwrap(), [""; 0]);
        let lax = "[workspace]\nmembers = []\n[workspace.lints.rust]\nunsafe_code = \"deny\"";
        assert_eq!(manifest(lax).unwrap().len(), 1);
    }

    #[test]
    fn words_are_whole_words() {
        assert!(has_word("use serde::Serialize;", "serde"));
        assert!(!has_word("use serde_json::Value;", "serde"));
    }
}
