//! The rows that the log attests, folded by version: what each fact row must be now.

use std::collections::{BTreeMap, BTreeSet};

use crate::entry::RowMark;

/// A table's number and a row's pseudonym.
pub(super) type Key = (usize, [u8; 16]);

/// A version and the digest that the row had; none once deleted.
pub(super) type State = (i64, Option<[u8; 32]>);

struct Mark {
    state: State,
    /// A row of the table was found for it.
    met: bool,
}

/// What a row that did not fit may be, once we look again.
pub(super) struct Watch {
    /// The state that was attested before the row is read again: it may not be older.
    floor: i64,
    /// That state, and all that are attested after.
    states: BTreeSet<State>,
}

impl Watch {
    /// Whether the row as it was read again is one that the log tells of.
    pub(super) fn allows(&self, found: Option<(i64, [u8; 32])>) -> bool {
        match found {
            Some((version, digest)) => {
                version >= self.floor && self.states.contains(&(version, Some(digest)))
            }
            None => self.states.iter().any(|(_, digest)| digest.is_none()),
        }
    }
}

/// The attested rows. About 100 bytes each.
#[derive(Default)]
pub(super) struct Marks {
    tables: Vec<String>,
    marks: BTreeMap<Key, Mark>,
    watched: BTreeMap<Key, Watch>,
}

impl Marks {
    /// The table's number.
    pub(super) fn table(&mut self, name: &str) -> usize {
        self.tables.iter().position(|table| table == name).unwrap_or_else(|| {
            self.tables.push(name.to_owned());
            self.tables.len() - 1
        })
    }

    /// The table of this number.
    pub(super) fn name(&self, table: usize) -> &str {
        self.tables.get(table).map_or("", String::as_str)
    }

    pub(super) fn attest(&mut self, rows: Vec<RowMark>) {
        for row in rows {
            let key = (self.table(&row.table), row.row);
            let state = (row.version, row.digest);
            if let Some(watch) = self.watched.get_mut(&key) {
                watch.states.insert(state);
            }
            let mark = self.marks.entry(key).or_insert(Mark { state, met: false });
            // Leaf order is not commit order: the version decides.
            if state.0 >= mark.state.0 {
                mark.state = state;
            }
        }
    }

    /// Meets a row of a table: whether it is as it was attested last.
    pub(super) fn meet(&mut self, key: Key, version: i64, digest: [u8; 32]) -> bool {
        let Some(mark) = self.marks.get_mut(&key) else { return false };
        mark.met = true;
        mark.state == (version, Some(digest))
    }

    /// Rows that are attested, and were not met.
    pub(super) fn unmet(&self) -> Vec<Key> {
        let unmet = self.marks.iter().filter(|(_, mark)| !mark.met && mark.state.1.is_some());
        unmet.map(|(key, _)| *key).collect()
    }

    pub(super) fn is_attested(&self, key: &Key) -> bool {
        self.marks.contains_key(key)
    }

    /// Begins to keep all that is attested of these rows.
    pub(super) fn watch<'a>(&mut self, keys: impl Iterator<Item = &'a Key>) {
        self.watched = keys
            .map(|key| {
                let state = self.marks.get(key).map(|mark| mark.state);
                let floor = state.map_or(i64::MIN, |state| state.0);
                (*key, Watch { floor, states: state.into_iter().collect() })
            })
            .collect();
    }

    pub(super) fn watched(&self, key: &Key) -> Option<&Watch> {
        self.watched.get(key)
    }
}
