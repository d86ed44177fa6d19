//! What the command line says: lines for people, JSON for scripts. Answers go to standard output,
//! progress and errors to standard error.

use std::io::{IsTerminal as _, Write as _};
use std::sync::atomic::{AtomicBool, Ordering};

use kernel::Refusal;

static JSON: AtomicBool = AtomicBool::new(false);
static QUIET: AtomicBool = AtomicBool::new(false);

/// Sets how to speak; once, at the start.
pub(crate) fn set(json: bool, quiet: bool) {
    JSON.store(json, Ordering::Relaxed);
    QUIET.store(quiet, Ordering::Relaxed);
}

/// Whether a script listens.
pub(crate) fn is_json() -> bool {
    JSON.load(Ordering::Relaxed)
}

/// Says a line; not where a script listens.
pub(crate) fn say(line: impl AsRef<str>) {
    if !is_json() {
        print(line.as_ref());
    }
}

/// Gives a script its answer.
pub(crate) fn json(value: &serde_json::Value) {
    if is_json() {
        print(&value.to_string());
    }
}

/// Prints text as it is, for either: documents, tokens.
pub(crate) fn print(text: &str) {
    // A reader that went away (`| head`) is no error of ours.
    let _ = writeln!(std::io::stdout().lock(), "{}", text.trim_end_matches('\n'));
}

/// Says how far long work is; on a terminal the line is overwritten.
pub(crate) fn progress(line: impl AsRef<str>) {
    if is_json() || QUIET.load(Ordering::Relaxed) {
        return;
    }
    let mut out = std::io::stderr().lock();
    let _ = if out.is_terminal() {
        write!(out, "\r\x1b[2K{}", line.as_ref()).and_then(|()| out.flush())
    } else {
        writeln!(out, "{}", line.as_ref())
    };
}

/// Ends a line of progress.
pub(crate) fn progress_done() {
    let mut out = std::io::stderr().lock();
    if !is_json() && !QUIET.load(Ordering::Relaxed) && out.is_terminal() {
        let _ = write!(out, "\r\x1b[2K");
        let _ = out.flush();
    }
}

/// Says why a command failed, with what led to it.
pub(crate) fn failed(error: &anyhow::Error) {
    let mut chain: Vec<String> = error.chain().map(ToString::to_string).collect();
    if let Some(refusal) = refusal(error) {
        let refused = refusal.refused();
        let fields = refused.fields.into_iter();
        chain.push(refused.detail);
        chain.extend(fields.map(|wrong| format!("{}: {}", wrong.field, wrong.detail)));
    }
    // An error that only passes another on says the same.
    chain.dedup();
    if is_json() {
        print(
            &serde_json::json!({ "error": chain.first(), "because": chain.get(1..) }).to_string(),
        );
        return;
    }
    let mut out = std::io::stderr().lock();
    let _ = writeln!(out, "error: {}", chain.first().map_or("", String::as_str));
    for because in chain.iter().skip(1) {
        let _ = writeln!(out, "  because: {because}");
    }
}

/// The refusal of a room in an error: it has the words for a person.
fn refusal(error: &anyhow::Error) -> Option<&dyn Refusal> {
    if let Some(refusal) = error.downcast_ref::<identity::Error>() {
        return Some(refusal);
    }
    if let Some(refusal) = error.downcast_ref::<access::Error>() {
        return Some(refusal);
    }
    error.downcast_ref::<vault::Error>().map(|refusal| refusal as &dyn Refusal)
}

/// A table with a head, columns as wide as their longest cell.
pub(crate) fn table(head: &[&str], rows: &[Vec<String>]) {
    let mut widths: Vec<usize> = head.iter().map(|cell| cell.chars().count()).collect();
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let line = |cells: &mut dyn Iterator<Item = &str>| {
        let cells: Vec<String> =
            cells.zip(&widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
        cells.join("  ").trim_end().to_owned()
    };
    say(line(&mut head.iter().copied()));
    say(widths.iter().map(|width| "─".repeat(*width)).collect::<Vec<_>>().join("  "));
    for row in rows {
        say(line(&mut row.iter().map(String::as_str)));
    }
}
