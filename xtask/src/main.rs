//! The checks of the house: `cargo xtask check` runs them all, `cargo xtask STEP…` some of them.
//! One command does all the set-up, says what it had to leave out, and in CI leaves out nothing.
//! `cargo xtask bless` writes the generated files that are checked in.

mod books;
mod floors;
mod generated;
mod graph;
mod house;
mod package;
mod room;
mod say;
mod sbom;
mod screens;
mod sdk;
mod services;
mod setup;
mod steps;
mod style;

use std::process::ExitCode;

use anyhow::{Context as _, Result};

use crate::house::House;
use crate::steps::{STEPS, Step};

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    match act(&words) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            say::line(format!("error: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

fn act(words: &[String]) -> Result<()> {
    let first = words.first().map(String::as_str);
    if matches!(first, None | Some("help" | "-h" | "--help")) {
        help();
        return Ok(());
    }
    let house = House::find()?;
    match first {
        Some("check") => steps::run(&house, &STEPS.iter().collect::<Vec<_>>()),
        Some("bless") => {
            say::line(generated::bless(&house)?);
            Ok(())
        }
        Some("licences") => {
            say::line(package::licences(&house)?);
            Ok(())
        }
        Some("ship") => {
            say::line(package::ship(&house)?);
            Ok(())
        }
        Some("room") => {
            say::line(room::make(&house, words.get(1..).unwrap_or_default())?);
            Ok(())
        }
        _ => steps::run(&house, &chosen(words)?),
    }
}

fn chosen(words: &[String]) -> Result<Vec<&'static Step>> {
    words
        .iter()
        .map(|word| {
            let step = STEPS.iter().find(|step| step.name == word);
            step.with_context(|| format!("no step `{word}`: see `cargo xtask help`"))
        })
        .collect()
}

fn help() {
    say::line("cargo xtask check     all steps, in this order");
    say::line("cargo xtask STEP...   some steps:");
    for step in STEPS {
        say::line(format!("    {:<11} {}", step.name, step.what));
    }
    say::line("cargo xtask room NAME NOUN ID   begin a new room: docs/ADDING-A-ROOM.md");
    say::line("cargo xtask ship      the program as it is shipped, as a Debian package");
    say::line("cargo xtask licences  the licences of all that is built in");
    say::line("cargo xtask bless     write the generated files that are checked in");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_are_chosen_by_name_and_others_are_refused() {
        let words = ["style".to_owned(), "floors".to_owned()];
        let names: Vec<_> = chosen(&words).unwrap().iter().map(|step| step.name).collect();
        assert_eq!(names, ["style", "floors"]);
        assert!(chosen(&["flors".to_owned()]).is_err());
    }
}
