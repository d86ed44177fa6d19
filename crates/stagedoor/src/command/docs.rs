//! `docs`: documents that are made from the program, so that they cannot be wrong.

use std::fmt::Write as _;

use anyhow::Context as _;
use serde_json::{Value, json};
use spine::EventSpec;

use crate::cli::DocsCommand;
use crate::config::Config;
use crate::rooms::rooms;
use crate::{demo, out};

/// Runs a `docs` command.
pub(crate) async fn run(command: &DocsCommand) -> anyhow::Result<()> {
    match command {
        DocsCommand::Events => out::print(&events(rooms()?.events())),
        DocsCommand::Openapi => out::print(&openapi().await?),
        DocsCommand::Config => out::print(&toml::to_string_pretty(&Config::default())?),
    }
    Ok(())
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

/// The API document of the public listener, from a throw-away house: its routes are the served ones.
async fn openapi() -> anyhow::Result<String> {
    let (house, dir) = demo::throw_away().await?;
    let document = house.door_routes()?.document;
    house.close().await?;
    drop(dir);
    Ok(web::api::text(&document))
}

/// The JSON Schema of the file: types from the defaults, unknown keys refused.
pub(crate) fn config_schema() -> anyhow::Result<Value> {
    let defaults = serde_json::to_value(Config::default()).context("the defaults")?;
    let mut schema = schema_of(&defaults);
    if let Value::Object(fields) = &mut schema {
        fields.insert("$schema".to_owned(), json!("https://json-schema.org/draft/2020-12/schema"));
        fields.insert("title".to_owned(), json!("stagedoor.toml"));
    }
    Ok(schema)
}

fn schema_of(value: &Value) -> Value {
    match value {
        Value::Object(fields) => {
            let properties: serde_json::Map<String, Value> =
                fields.iter().map(|(name, value)| (name.clone(), schema_of(value))).collect();
            json!({ "type": "object", "properties": properties, "additionalProperties": false })
        }
        Value::Array(_) => json!({ "type": "array", "default": value }),
        Value::String(_) => json!({ "type": "string", "default": value }),
        Value::Bool(_) => json!({ "type": "boolean", "default": value }),
        Value::Number(number) if number.is_f64() => json!({ "type": "number", "default": value }),
        Value::Number(_) => json!({ "type": "integer", "minimum": 0, "default": value }),
        Value::Null => json!({}),
    }
}
