//! The documentation holds together: every page stands in the summary, every relative link meets
//! a file, every dependency has its row. Where `mdbook` is installed, the book is built as well.

use std::collections::BTreeSet;
use std::path::{Component, Path, PathBuf};

use anyhow::{Context as _, Result, bail};

use crate::graph::Graph;
use crate::house::House;
use crate::setup::program;
use crate::{say, style};

/// The step.
///
/// # Errors
/// Names each link without a target, each page outside the summary, each missing row.
pub(crate) fn check(house: &House) -> Result<String> {
    let pages: Vec<PathBuf> = style::files(&house.root)?
        .into_iter()
        .filter(|path| path.extension().is_some_and(|extension| extension == "md"))
        .collect();
    let mut wrong = Vec::new();
    let mut links = 0;
    for page in &pages {
        let folder = page.parent().unwrap_or(&house.root);
        for link in relative_links(&std::fs::read_to_string(page)?) {
            links += 1;
            if !folder.join(&link).exists() {
                wrong.push(format!("{}: `{link}` meets no file", shown(house, page)));
            }
        }
    }
    wrong.extend(outside_summary(house, &pages)?);
    wrong.extend(without_row(house)?);
    for text in &wrong {
        say::line(format!("error: {text}"));
    }
    if !wrong.is_empty() {
        bail!("{} flaws in the documentation", wrong.len());
    }
    let mdbook = program(house, "mdbook");
    if let Some(mdbook) = &mdbook {
        let book = house.target.join("book").display().to_string();
        house.run(house.command(mdbook, &["build", "docs", "--dest-dir", &book]))?;
    }
    let built = mdbook.map_or("links only, mdbook is not installed", |_| "built by mdbook");
    Ok(format!("{} pages, {links} links, {built}", pages.len()))
}

fn shown(house: &House, path: &Path) -> String {
    path.strip_prefix(&house.root).unwrap_or(path).display().to_string()
}

/// Pages of the book that its summary does not name.
fn outside_summary(house: &House, pages: &[PathBuf]) -> Result<Vec<String>> {
    let book = house.root.join("docs");
    let summary = std::fs::read_to_string(book.join("SUMMARY.md")).context("docs/SUMMARY.md")?;
    let named: BTreeSet<PathBuf> =
        relative_links(&summary).iter().map(|link| normal(&book.join(link))).collect();
    Ok(pages
        .iter()
        .filter(|page| page.starts_with(&book) && !page.ends_with("SUMMARY.md"))
        .filter(|page| !named.contains(&normal(page)))
        .map(|page| format!("{} does not stand in SUMMARY.md", shown(house, page)))
        .collect())
}

/// Crates from outside that we name and that `docs/dependencies.md` gives no reason for.
fn without_row(house: &House) -> Result<Vec<String>> {
    let path = house.root.join("docs").join("dependencies.md");
    let table = std::fs::read_to_string(path).context("docs/dependencies.md")?;
    let rows: BTreeSet<String> = table.lines().filter_map(row).collect();
    let graph = Graph::read(house)?;
    let ours = graph.members();
    let named: BTreeSet<String> =
        graph.direct().into_iter().map(|edge| edge.to).filter(|to| !ours.contains(to)).collect();
    Ok(named
        .difference(&rows)
        .map(|name| format!("docs/dependencies.md has no row for `{name}`"))
        .collect())
}

/// The crate of a row `| name | why | licence |`.
fn row(line: &str) -> Option<String> {
    let cell = line.strip_prefix('|')?.split('|').next()?.trim().trim_matches('`');
    (!cell.is_empty() && !cell.starts_with('-') && cell != "crate").then(|| cell.to_owned())
}

/// The targets of `[text](target)` outside code, without anchors, that are files of ours.
fn relative_links(text: &str) -> Vec<String> {
    let mut links = Vec::new();
    let mut in_code = false;
    for line in text.lines() {
        if line.trim_start().starts_with("```") {
            in_code = !in_code;
        }
        if in_code {
            continue;
        }
        for part in line.split("](").skip(1) {
            let target = part.split(')').next().unwrap_or_default();
            let target = target.split('#').next().unwrap_or_default();
            if !target.is_empty() && !target.contains("://") && !target.starts_with("mailto:") {
                links.push(target.to_owned());
            }
        }
    }
    links
}

/// The path without `.` and `..`.
fn normal(path: &Path) -> PathBuf {
    let mut plain = PathBuf::new();
    for part in path.components() {
        match part {
            Component::ParentDir => {
                plain.pop();
            }
            Component::CurDir => {}
            Component::Prefix(_) | Component::RootDir | Component::Normal(_) => plain.push(part),
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_to_files_are_found_and_others_are_not() {
        let text = "[a](a.md#b) [c](https://example.org/) [d](#here) ![e](e.png)\n\
                    ```\n[f](f.md)\n```\n[g](../g.md)";
        assert_eq!(relative_links(text), ["a.md", "e.png", "../g.md"]);
    }

    #[test]
    fn rows_name_crates() {
        assert_eq!(row("| `serde` | why | MIT |").as_deref(), Some("serde"));
        assert_eq!(row("| crate | why | licence |"), None);
        assert_eq!(row("|---|---|---|"), None);
    }

    #[test]
    fn paths_are_compared_without_detours() {
        assert_eq!(normal(Path::new("a/b/../c/./d.md")), Path::new("a/c/d.md"));
    }
}
