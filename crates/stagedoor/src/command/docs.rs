//! `docs`: documents that are made from the program, so that they cannot be wrong.

use std::fmt::Write as _;

use spine::EventSpec;

use crate::cli::DocsCommand;
use crate::config::{Config, annotate, schema};
use crate::gauges::CATALOGUE;
use crate::rooms::rooms;
use crate::{demo, out};

/// Runs a `docs` command.
pub(crate) async fn run(command: &DocsCommand) -> anyhow::Result<()> {
    match command {
        DocsCommand::Events => out::print(&events(rooms()?.events())),
        DocsCommand::Openapi => out::print(&openapi().await?),
        DocsCommand::Config => out::print(&reference()?),
        DocsCommand::Metrics => out::print(&metrics()),
    }
    Ok(())
}

/// Every key of the configuration, with its doc line and its default.
fn reference() -> anyhow::Result<String> {
    Ok(annotate(&toml::to_string_pretty(&Config::default())?, &schema()?))
}

/// The event catalogue as a page.
fn events(mut specs: Vec<EventSpec>) -> String {
    let mut page = String::from(
        "# Events\n\nMade by `stagedoor docs events`. What stands under *sealed* is readable only \
         with the person's key, and dies with it. After the days, the body is deleted; its hashes \
         stay.\n\n| kind | what happened | in the clear | sealed | days | OCSF |\n\
         |---|---|---|---|---|---|\n",
    );
    specs.sort_by_key(|spec| spec.kind);
    for spec in specs {
        // Writing to a string cannot fail.
        let _ = writeln!(
            page,
            "| `{}` | {} | {} | {} | {} | {} |",
            spec.kind,
            spec.about.trim(),
            spec.plain.join(", "),
            spec.sealed.join(", "),
            spec.retain_days,
            spec.ocsf
        );
    }
    page
}

/// The catalogue of metrics as a page.
fn metrics() -> String {
    let mut page = String::from(
        "# Metrics\n\nMade by `stagedoor docs metrics`. They are read at `/metrics` of \
         `observe.listen`: see [See it run](guides/see-it-run.md).\n\n\
         | metric | type | labels | what it says |\n|---|---|---|---|\n",
    );
    for family in CATALOGUE {
        // Writing to a string cannot fail.
        let _ = writeln!(
            page,
            "| `{}` | {} | {} | {} |",
            family.name,
            family.kind.name(),
            family.labels.join(", "),
            family.help
        );
    }
    page
}

/// The API document of the public listener, from a throw-away house: its routes are the served ones.
async fn openapi() -> anyhow::Result<String> {
    let (house, dir) = demo::throw_away().await?;
    let document = house.door_routes()?.document;
    house.close().await?;
    drop(dir);
    Ok(web::api::text(&document))
}
