//! The reference of the configuration file: the defaults as TOML, each key under its doc line.
//! What has no default stands as a comment that can be taken in: `#key = …`.

use std::collections::BTreeSet;

use serde_json::Value;

const COLUMNS: usize = 100;

/// Puts the doc line of the schema above each key and section of `text`, and adds, as comments,
/// the keys and tables that `text` leaves out.
pub(crate) fn annotate(text: &str, schema: &Value) -> String {
    let mut page = Page { schema, text: String::new(), told: BTreeSet::new(), tables: Vec::new() };
    let mut section = String::new();
    for line in text.lines().filter(|line| !line.is_empty()) {
        let header = line.strip_prefix('[').and_then(|line| line.strip_suffix(']'));
        let key = line.split_once(" = ").filter(|_| !line.starts_with(' '));
        if let Some(path) = header {
            page.unset(&section);
            path.clone_into(&mut section);
            if !page.section(path) {
                continue;
            }
        } else if let Some((key, _)) = key
            && !page.key(&join(&section, key))
        {
            continue;
        }
        page.line(line);
    }
    page.unset(&section);
    for (path, table) in std::mem::take(&mut page.tables) {
        page.table(&path, table);
    }
    page.text
}

struct Page<'a> {
    schema: &'a Value,
    text: String,
    /// Keys and sections that stand in the text.
    told: BTreeSet<String>,
    /// Tables that the text leaves out.
    tables: Vec<(String, &'a Value)>,
}

impl<'a> Page<'a> {
    fn line(&mut self, line: &str) {
        self.text.push_str(line);
        self.text.push('\n');
    }

    fn doc(&mut self, schema: &Value) {
        let words = schema.get("description").and_then(Value::as_str).unwrap_or_default();
        let mut line = String::from("#");
        for word in words.split_whitespace() {
            if line.chars().count() + 1 + word.chars().count() > COLUMNS {
                self.line(&line);
                line.truncate(1);
            }
            line.push(' ');
            line.push_str(word);
        }
        if line.len() > 1 {
            self.line(&line);
        }
    }

    /// A section, and those above it that have no keys of their own and thus no line. Whether its
    /// line stays: an empty map's entries come further on.
    fn section(&mut self, path: &str) -> bool {
        if at(self.schema, path).and_then(Table::of).is_some() {
            return false;
        }
        let mut above = String::new();
        for part in path.split('.') {
            above = join(&above, part);
            if self.told.insert(above.clone())
                && let Some(schema) = at(self.schema, &above)
            {
                self.text.push('\n');
                self.doc(schema);
            }
        }
        true
    }

    /// Whether the key's line stays: an empty list of tables would forbid its `[[…]]`.
    fn key(&mut self, path: &str) -> bool {
        let Some(schema) = at(self.schema, path) else { return true };
        if Table::of(schema).is_some() {
            return false;
        }
        self.told.insert(path.to_owned());
        self.doc(schema);
        true
    }

    /// The keys of a section that the text leaves out.
    fn unset(&mut self, section: &str) {
        let keys = at(self.schema, section).and_then(keys_of);
        for (name, schema) in keys.into_iter().flatten() {
            let path = join(section, name);
            // A section of its own comes further on.
            if keys_of(schema).is_some() || self.told.contains(&path) {
                continue;
            }
            if Table::of(schema).is_some() {
                self.tables.push((path, schema));
            } else {
                self.comment(name, schema);
            }
        }
    }

    fn comment(&mut self, name: &str, schema: &Value) {
        self.doc(schema);
        self.line(&format!("#{name} = …"));
    }

    fn table(&mut self, path: &str, schema: &'a Value) {
        let Some(table) = Table::of(schema) else { return };
        // utoipa puts the doc line of a table that may be missing inside.
        let (header, inner, said) = match table {
            Table::One(inner) => (format!("#[{path}]"), inner, inner),
            Table::List(inner) => (format!("#[[{path}]]"), inner, schema),
            Table::Map(inner) => (format!("#[{path}.…]"), inner, schema),
        };
        self.text.push('\n');
        self.doc(said);
        self.line(&header);
        let wanted = inner.get("required").and_then(Value::as_array);
        let is_wanted = |name: &str| wanted.is_some_and(|all| all.iter().any(|one| one == name));
        let mut keys: Vec<_> = keys_of(inner).into_iter().flatten().collect();
        keys.sort_by_key(|(name, _)| !is_wanted(name));
        for (name, schema) in keys.iter().filter(|(_, schema)| Table::of(schema).is_none()) {
            self.comment(name, schema);
        }
        for (name, schema) in keys {
            self.table(&join(path, name), schema);
        }
    }
}

/// A key that holds tables which the defaults leave out, with what each of them holds.
enum Table<'a> {
    One(&'a Value),
    List(&'a Value),
    Map(&'a Value),
}

impl<'a> Table<'a> {
    fn of(schema: &'a Value) -> Option<Self> {
        let has_keys = |inner: &&Value| keys_of(inner).is_some();
        let list = schema.get("items").filter(has_keys).map(Self::List);
        let map = || schema.get("additionalProperties").filter(has_keys).map(Self::Map);
        let one = || schema.get("oneOf")?.as_array()?.iter().find(has_keys).map(Self::One);
        list.or_else(map).or_else(one)
    }
}

fn keys_of(schema: &Value) -> Option<&serde_json::Map<String, Value>> {
    schema.get("properties")?.as_object()
}

/// The schema of the key or section at a path of the file.
fn at<'a>(schema: &'a Value, path: &str) -> Option<&'a Value> {
    let mut parts = path.split('.').filter(|part| !part.is_empty());
    parts.try_fold(schema, |schema, part| keys_of(schema)?.get(part))
}

fn join(path: &str, name: &str) -> String {
    if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Config, schema};

    fn reference() -> (String, String) {
        let defaults = toml::to_string_pretty(&Config::default()).unwrap();
        let reference = annotate(&defaults, &schema().unwrap());
        (defaults, reference)
    }

    #[test]
    fn it_reads_back_as_the_defaults() {
        let (defaults, reference) = reference();
        let read: Config = toml::from_str(&reference).unwrap();
        assert_eq!(toml::to_string_pretty(&read).unwrap(), defaults);
    }

    #[test]
    fn each_key_stands_under_its_line() {
        let (_, reference) = reference();
        let lines: Vec<&str> = reference.lines().collect();
        for pair in lines.windows(2) {
            let key = pair[1].trim_start_matches('#');
            let is_key = pair[1].contains(" = ") && !pair[1].starts_with(['#', ' ']);
            let is_unset = pair[1].starts_with('#') && !pair[1].starts_with("# ");
            if is_key || (is_unset && key.contains(" = ")) {
                assert!(pair[0].starts_with("# "), "{pair:?}");
            }
        }
        for line in &lines {
            assert!(line.chars().count() <= COLUMNS, "{line}");
        }
        for stands in [
            "# What people call it. Default `Shop`.\nname = \"Shop\"\n",
            "# Its key, PEM.\n#key_file = …\n",
            "\n#[[route]]\n",
            "\n#[[tls.more]]\n",
            "\n#[[access.facts.kind.field]]\n",
            "\n#[watch.rules.…]\n",
            "\n#[forward_auth]\n",
            "# Attempt budgets.\n",
        ] {
            assert!(reference.contains(stands), "{stands}");
        }
    }

    /// A key may be taken in by filling its `…`: no key of the schema lacks its line.
    #[test]
    fn no_key_is_left_out() {
        fn names(schema: &Value, found: &mut Vec<String>) {
            for (name, inner) in keys_of(schema).into_iter().flatten() {
                let inside = Table::of(inner).map(|table| match table {
                    Table::One(inner) | Table::List(inner) | Table::Map(inner) => inner,
                });
                if inside.is_none() && keys_of(inner).is_none() {
                    found.push(name.clone());
                }
                names(inside.unwrap_or(inner), found);
            }
        }
        let (_, reference) = reference();
        let mut wanted = Vec::new();
        names(&schema().unwrap(), &mut wanted);
        let mut found: Vec<&str> = reference
            .lines()
            .filter(|line| !line.starts_with("# "))
            .filter_map(|line| line.trim_start_matches('#').split_once(" = "))
            .map(|(name, _)| name)
            .collect();
        wanted.sort();
        found.sort_unstable();
        assert_eq!(found, wanted);
    }
}
