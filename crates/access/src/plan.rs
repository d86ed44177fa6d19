//! What an apply would change, in words: pure, so that `config plan` and `config apply` say the
//! same.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::edge_config::EdgeConfig;
use crate::error::Error;

/// The longest line of a diff, bytes.
const LINE_BYTES: usize = 400;
/// The longest diff that an event carries, bytes.
const DIFF_BYTES: usize = 40_000;

/// One sort of section.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Section {
    Own,
    Upstream,
    Limit,
    Route,
}

impl Section {
    const ALL: [Self; 4] = [Self::Own, Self::Upstream, Self::Limit, Self::Route];

    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Own => "own",
            Self::Upstream => "upstream",
            Self::Limit => "limit",
            Self::Route => "route",
        }
    }

    pub(crate) fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|section| section.as_str() == text)
    }
}

/// The sections of a configuration by sort and name.
pub(crate) type Sections = BTreeMap<(Section, String), Map<String, Value>>;

/// Takes a configuration apart.
pub(crate) fn sections(config: &EdgeConfig) -> Result<Sections, Error> {
    let mut all = Sections::new();
    let mut add = |section, name: &str, body: Result<Value, serde_json::Error>| {
        let Ok(Value::Object(body)) = body else {
            return Err(Error::Broken("a section of the configuration cannot be written"));
        };
        all.insert((section, name.to_owned()), body);
        Ok(())
    };
    if !config.own.limits.is_empty() {
        add(Section::Own, "", serde_json::to_value(&config.own))?;
    }
    for upstream in &config.upstream {
        add(Section::Upstream, &upstream.name, serde_json::to_value(upstream))?;
    }
    for limit in &config.limit {
        add(Section::Limit, &limit.name, serde_json::to_value(limit))?;
    }
    for route in &config.route {
        add(Section::Route, &route.name, serde_json::to_value(route))?;
    }
    Ok(all)
}

/// Puts a configuration together. A body that this program cannot read is a fault: it was written
/// by a newer one.
pub(crate) fn assemble(
    rows: impl IntoIterator<Item = (Section, String)>,
) -> Result<EdgeConfig, Error> {
    fn read<T: DeserializeOwned>(body: &str) -> Result<T, Error> {
        serde_json::from_str(body).map_err(|_| {
            Error::Broken("a stored section of the edge's configuration is of a newer program")
        })
    }
    let mut config = EdgeConfig::default();
    for (section, body) in rows {
        match section {
            Section::Own => config.own = read(&body)?,
            Section::Upstream => config.upstream.push(read(&body)?),
            Section::Limit => config.limit.push(read(&body)?),
            Section::Route => config.route.push(read(&body)?),
        }
    }
    Ok(config)
}

/// One section that changes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    /// Which section: `route "checkout"`.
    pub what: String,
    /// What of it, in words.
    pub how: String,
}

/// What an apply changes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Diff {
    /// Sections that come.
    pub added: Vec<Change>,
    /// Sections that become others.
    pub changed: Vec<Change>,
    /// Sections that go.
    pub removed: Vec<Change>,
}

impl Diff {
    /// Whether nothing changes.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.added.is_empty() && self.changed.is_empty() && self.removed.is_empty()
    }

    /// Rows that an apply writes: one for each section that comes or goes, two where one changes.
    pub(crate) const fn rows(&self) -> usize {
        self.added.len() + self.removed.len() + 2 * self.changed.len()
    }

    /// One line for each section, each at most 400 bytes.
    #[must_use]
    pub fn lines(&self) -> Vec<String> {
        let line = |sign: &str, change: &Change| {
            let mut line = format!("{sign} {}", change.what);
            if !change.how.is_empty() {
                line.push_str(": ");
                line.push_str(&change.how);
            }
            let end = line.floor_char_boundary(LINE_BYTES);
            line.truncate(end);
            line
        };
        let added = self.added.iter().map(|change| line("adds", change));
        let changed = self.changed.iter().map(|change| line("changes", change));
        let removed = self.removed.iter().map(|change| line("removes", change));
        added.chain(changed).chain(removed).collect()
    }

    /// The lines as far as an event can carry them, and how many more there are.
    pub(crate) fn told(&self) -> Vec<String> {
        let lines = self.lines();
        let mut room = DIFF_BYTES;
        let mut told = Vec::new();
        for line in &lines {
            let Some(left) = room.checked_sub(line.len() + 4) else { break };
            room = left;
            told.push(line.clone());
        }
        if told.len() < lines.len() {
            told.push(format!("and {} more", lines.len() - told.len()));
        }
        told
    }
}

impl fmt::Display for Diff {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_empty() {
            return f.write_str("nothing changes");
        }
        f.write_str(&self.lines().join("\n"))
    }
}

/// What has to change so that `wanted` is in force instead of `current`. The order of sections in
/// the file does not matter.
///
/// # Errors
/// [`Error::Config`] where `wanted` cannot be in force.
pub fn plan(current: &EdgeConfig, wanted: &EdgeConfig) -> Result<Diff, Error> {
    let problems = wanted.problems();
    if !problems.is_empty() {
        return Err(Error::Config(problems));
    }
    compare(&sections(current)?, &sections(wanted)?)
}

pub(crate) fn compare(current: &Sections, wanted: &Sections) -> Result<Diff, Error> {
    let mut diff = Diff::default();
    for (key, body) in wanted {
        match current.get(key) {
            None => diff.added.push(Change { what: title(key), how: describe(body) }),
            Some(before) if before != body => {
                diff.changed.push(Change { what: title(key), how: differences(before, body) });
            }
            Some(_) => {}
        }
    }
    for key in current.keys().filter(|key| !wanted.contains_key(*key)) {
        diff.removed.push(Change { what: title(key), how: String::new() });
    }
    Ok(diff)
}

fn title((section, name): &(Section, String)) -> String {
    if name.is_empty() {
        return section.as_str().to_owned();
    }
    format!("{} \"{name}\"", section.as_str())
}

/// What a new section says, without what is empty.
fn describe(body: &Map<String, Value>) -> String {
    let said = body.iter().filter(|(name, value)| {
        let empty = match value {
            Value::Null | Value::Bool(false) => true,
            Value::Array(list) => list.is_empty(),
            Value::Bool(true) | Value::Number(_) | Value::String(_) | Value::Object(_) => false,
        };
        !empty && *name != "name"
    });
    said.map(|(name, value)| format!("{name} {}", show(value))).collect::<Vec<_>>().join(", ")
}

fn differences(before: &Map<String, Value>, after: &Map<String, Value>) -> String {
    let missing = Value::Null;
    let names: std::collections::BTreeSet<&String> = before.keys().chain(after.keys()).collect();
    let mut parts = Vec::new();
    for name in names {
        let from = before.get(name).unwrap_or(&missing);
        let to = after.get(name).unwrap_or(&missing);
        if from != to {
            parts.push(format!("{name} from {} to {}", show(from), show(to)));
        }
    }
    parts.join(", ")
}

fn show(value: &Value) -> String {
    match value {
        Value::Null => "none".to_owned(),
        Value::Bool(true) => "yes".to_owned(),
        Value::Bool(false) => "no".to_owned(),
        Value::Number(number) => number.to_string(),
        Value::String(text) => text.clone(),
        Value::Array(list) if list.is_empty() => "none".to_owned(),
        Value::Array(list) => list.iter().map(show).collect::<Vec<_>>().join(" and "),
        Value::Object(_) => value.to_string(),
    }
}
