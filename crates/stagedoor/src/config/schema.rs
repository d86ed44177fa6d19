//! The JSON Schema of the configuration file: types and words from the Rust types, values from
//! their defaults. It holds no references: the same type has another default and another doc line
//! under each key that it stands under.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};
use utoipa::{PartialSchema as _, ToSchema as _};

use super::Config;

type Named = BTreeMap<String, Value>;

/// The schema.
pub(crate) fn schema() -> anyhow::Result<Value> {
    let mut found = Vec::new();
    Config::schemas(&mut found);
    let mut named = Named::new();
    for (name, schema) in found {
        named.insert(format!("#/components/schemas/{name}"), serde_json::to_value(schema)?);
    }
    let mut schema = serde_json::to_value(Config::schema())?;
    inline(&mut schema, &named);
    put_defaults(&mut schema, &serde_json::to_value(Config::default())?);
    if let Value::Object(fields) = &mut schema {
        fields.insert("$schema".to_owned(), json!("https://json-schema.org/draft/2020-12/schema"));
        fields.insert("title".to_owned(), json!("stagedoor.toml"));
    }
    Ok(schema)
}

fn inline(schema: &mut Value, named: &Named) {
    match schema {
        Value::Object(fields) => {
            resolve(fields, named);
            // utoipa's own, whole tables and nulls; ours stand under each key.
            if fields.get("default").is_some_and(Value::is_null)
                || fields.get("properties").is_some_and(Value::is_object)
            {
                fields.remove("default");
            }
            // OpenAPI's widths of integers, wrong for ours without a sign. A key may be called so.
            if fields.get("format").is_some_and(Value::is_string) {
                fields.remove("format");
            }
            fields.values_mut().for_each(|value| inline(value, named));
        }
        Value::Array(items) => items.iter_mut().for_each(|item| inline(item, named)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// Puts the named type in the place of its reference; what the key says of itself stands.
fn resolve(fields: &mut Map<String, Value>, named: &Named) {
    let found = fields.get("$ref").and_then(Value::as_str).and_then(|name| named.get(name));
    let Some(Value::Object(found)) = found else { return };
    fields.remove("$ref");
    for (name, value) in found {
        fields.entry(name.clone()).or_insert_with(|| value.clone());
    }
}

fn put_defaults(schema: &mut Value, default: &Value) {
    let Value::Object(fields) = schema else { return };
    match (fields.get_mut("properties"), default) {
        (Some(Value::Object(keys)), Value::Object(values)) => {
            for (name, value) in values {
                if let Some(key) = keys.get_mut(name) {
                    put_defaults(key, value);
                }
            }
        }
        (_, Value::Null) => {}
        (_, value) => {
            fields.insert("default".to_owned(), value.clone());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every key with its path, through tables, lists and maps.
    fn walk(path: &str, schema: &Value, see: &mut impl FnMut(&str, &Value)) {
        for (name, key) in schema["properties"].as_object().into_iter().flatten() {
            let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
            see(&path, key);
            walk(&path, key, see);
        }
        let one_of = schema["oneOf"].as_array().into_iter().flatten();
        for inner in one_of.chain([&schema["items"], &schema["additionalProperties"]]) {
            if inner.is_object() {
                walk(path, inner, see);
            }
        }
    }

    fn undescribed(schema: &Value) -> Vec<String> {
        let mut found = Vec::new();
        walk("", schema, &mut |path, key| {
            let inside = key["oneOf"].as_array().into_iter().flatten();
            let mut said = inside.chain([key]).filter_map(|key| key["description"].as_str());
            if said.all(|words| words.trim().is_empty()) {
                found.push(path.to_owned());
            }
        });
        found
    }

    /// What of `value` the schema refuses: the words of it that the file needs.
    fn refusals(path: &str, schema: &Value, value: &Value, found: &mut Vec<String>) {
        if let Some(any) = schema["oneOf"].as_array() {
            let is_right = |schema: &Value| {
                let mut found = Vec::new();
                refusals(path, schema, value, &mut found);
                found.is_empty()
            };
            if !any.iter().any(is_right) {
                found.push(format!("{path}: is none of these"));
            }
            return;
        }
        let types = match &schema["type"] {
            Value::Array(types) => types.iter().filter_map(Value::as_str).collect(),
            one => one.as_str().into_iter().collect::<Vec<_>>(),
        };
        let is = match value {
            Value::Null => "null",
            Value::Bool(_) => "boolean",
            Value::Number(number) if number.is_f64() => "number",
            Value::Number(_) => "integer",
            Value::String(_) => "string",
            Value::Array(_) => "array",
            Value::Object(_) => "object",
        };
        if !types.is_empty() && !types.contains(&is) {
            found.push(format!("{path}: is {is}"));
        }
        if schema["enum"].as_array().is_some_and(|words| !words.contains(value)) {
            found.push(format!("{path}: is no word"));
        }
        if value.as_i64() < schema["minimum"].as_i64().filter(|_| value.is_i64()) {
            found.push(format!("{path}: is too little"));
        }
        if schema["maximum"].as_i64().is_some_and(|most| value.as_i64() > Some(most)) {
            found.push(format!("{path}: is too much"));
        }
        for item in value.as_array().into_iter().flatten() {
            refusals(path, &schema["items"], item, found);
        }
        for name in schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str) {
            if value.is_object() && value.get(name).is_none() {
                found.push(format!("{path}.{name}: is missing"));
            }
        }
        for (name, inner) in value.as_object().into_iter().flatten() {
            let path = format!("{path}.{name}");
            match (schema["properties"].get(name), &schema["additionalProperties"]) {
                (Some(schema), _) => refusals(&path, schema, inner, found),
                (None, schema @ Value::Object(_)) => refusals(&path, schema, inner, found),
                (None, _) => found.push(format!("{path}: is unknown")),
            }
        }
    }

    fn refused(toml: &str) -> Vec<String> {
        let mut found = Vec::new();
        refusals("", &schema().unwrap(), &toml::from_str(toml).unwrap(), &mut found);
        found
    }

    #[test]
    fn every_key_is_described() {
        let mut schema = schema().unwrap();
        let mut count = 0;
        walk("", &schema, &mut |_, _| count += 1);
        assert!(count > 150, "{count} keys");
        assert_eq!(undescribed(&schema), Vec::<String>::new());
        schema["properties"]["route"]["items"]["properties"]["name"]["description"] = json!("");
        assert_eq!(undescribed(&schema), ["route.name"]);
    }

    #[test]
    fn each_default_stands_under_its_own_key() {
        let schema = schema().unwrap();
        let session = &schema["properties"]["identity"]["properties"]["session"]["properties"];
        assert_eq!(session["customer"]["properties"]["idle_s"]["default"], 1_209_600);
        assert_eq!(session["staff"]["properties"]["idle_s"]["default"], 1_800);
        let said = |kind: &str| session[kind]["description"].as_str().unwrap().to_owned();
        assert!(said("customer").starts_with("Customers"));
        assert!(said("staff").starts_with("Staff"));
        assert!(!schema.to_string().contains("$ref"));
    }

    #[test]
    fn nothing_unknown_is_let_through() {
        fn open(path: &str, schema: &Value, found: &mut Vec<String>) {
            if schema["properties"].is_object() && schema["additionalProperties"] != false {
                found.push(path.to_owned());
            }
        }
        let schema = schema().unwrap();
        let mut found = Vec::new();
        open("", &schema, &mut found);
        walk("", &schema, &mut |path, key| {
            open(path, key, &mut found);
            open(path, &key["items"], &mut found);
            open(path, &key["additionalProperties"], &mut found);
            for one in key["oneOf"].as_array().into_iter().flatten() {
                open(path, one, &mut found);
            }
        });
        assert_eq!(found, Vec::<String>::new());
    }

    #[test]
    fn it_takes_what_the_program_takes() {
        assert_eq!(refused(include_str!("../../../../docs/stagedoor.toml")), Vec::<String>::new());
        let right = "[[route]]\nname = \"a\"\nprefix = \"/\"\nupstream = \"b\"\naccess = \"open\"\n\
                     [watch.rules.stuffing_client]\nthreshold = 3\n\
                     [forward_auth]\npath = \"/a\"\nproxies = [\"192.0.2.0/24\"]";
        assert_eq!(refused(right), Vec::<String>::new());
        for (wrong, why) in [
            ("mod = \"live\"", ".mod: is unknown"),
            ("mode = \"lively\"", ".mode: is no word"),
            ("mode = 1", ".mode: is integer"),
            ("[watch.rules.stuffing_client]\nthresh = 3", ".watch.rules.stuffing_client.thresh"),
            ("[[header_key]]\nid = \"a\"", ".header_key.file: is missing"),
            ("[[route]]\nnaem = 1", ".route.naem: is unknown"),
            ("[bounds]\nhead_ms = 99", ".bounds.head_ms: is too little"),
            ("[forward_auth]\nroad = 1", ".forward_auth: is none of these"),
        ] {
            let found = refused(wrong);
            assert!(found.iter().any(|found| found.starts_with(why)), "{wrong}: {found:?}");
        }
    }

    /// A config with one number replaced; none where serde itself refuses it.
    fn with_number(path: &str, number: i64) -> Option<Config> {
        let mut value = serde_json::to_value(Config::default()).unwrap();
        *value.pointer_mut(&format!("/{}", path.replace('.', "/"))).unwrap() = json!(number);
        serde_json::from_value(value).ok()
    }

    #[test]
    fn ranges_are_those_that_are_checked() {
        let defaults = serde_json::to_value(Config::default()).unwrap();
        let mut seen = 0;
        walk("", &schema().unwrap(), &mut |path, key| {
            if defaults.pointer(&format!("/{}", path.replace('.', "/"))).is_none() {
                return;
            }
            let is_wrong =
                |number| with_number(path, number).is_none_or(|read| !read.problems().is_empty());
            if let Some(least) = key["minimum"].as_i64() {
                seen += 1;
                assert!(is_wrong(least - 1), "{path} below {least}");
            }
            if let Some(most) = key["maximum"].as_i64() {
                seen += 1;
                assert!(is_wrong(most + 1), "{path} above {most}");
                // The default block may not outlast the longest one, which stands in the way.
                assert!(path.ends_with("default_s") || !is_wrong(most), "{path} at {most}");
            }
        });
        assert!(seen > 60, "{seen} ends");
    }
}
