//! `breach`: passwords that leaked, as a file of filters that is asked without a network.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use identity::{Breached, Built, ListForm, build_breached};

use crate::cli::BreachCommand;
use crate::config::read_secret;
use crate::out;

/// Runs a `breach` command.
pub(crate) fn run(command: BreachCommand) -> anyhow::Result<()> {
    match command {
        BreachCommand::Build { lists, hashes, file } => build(&lists, &hashes, &file),
        BreachCommand::Check { file, password_file } => check(&file, password_file.as_deref()),
    }
}

fn build(lists: &[PathBuf], hashes: &[PathBuf], file: &Path) -> anyhow::Result<()> {
    anyhow::ensure!(
        !lists.is_empty() || !hashes.is_empty(),
        "nothing to build from: name lists by --list or --hashes"
    );
    let plain = lists.iter().map(|list| (list.as_path(), ListForm::Plain));
    let hashed = hashes.iter().map(|list| (list.as_path(), ListForm::Hashes));
    let all: Vec<(&Path, ListForm)> = plain.chain(hashed).collect();
    let mut told = |lines: u64| out::progress(format!("{} million lines read", lines >> 20));
    let built = build_breached(&all, file, &mut told);
    out::progress_done();
    let named: Vec<String> = all.iter().map(|(list, _)| list.display().to_string()).collect();
    let Built { entries, bytes } =
        built.with_context(|| format!("{} from {}", file.display(), named.join(", ")))?;
    out::say(format!(
        "{entries} passwords in {bytes} bytes: name {} as identity.password.breached_file",
        file.display()
    ));
    out::json(&serde_json::json!({ "entries": entries, "bytes": bytes }));
    Ok(())
}

fn check(file: &Path, password_file: Option<&Path>) -> anyhow::Result<()> {
    let shown = || file.display().to_string();
    let leaks = Breached::open(file).with_context(shown)?;
    leaks.check().with_context(shown)?;
    let entries = leaks.entries();
    out::say(format!("{entries} passwords, undamaged"));
    let password = password_file.map(read_secret).transpose()?;
    let found = password.map(|password| leaks.contains(password.expose())).transpose()?;
    match found {
        Some(true) => out::say("That password cannot be chosen: it is in the list."),
        Some(false) => out::say("That password is not in the list."),
        None => {}
    }
    out::json(&serde_json::json!({ "entries": entries, "found": found }));
    Ok(())
}
