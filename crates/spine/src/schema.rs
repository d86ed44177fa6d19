//! The spine's own tables, and the check that the live schema is the declared one.

use std::collections::BTreeSet;

use store::{Db, Migration, Statement, StatementKind};

use crate::{Error, Table, TableKind};

crate::tables! {
    /// An event without a leaf number yet.
    spine_outbox: log {
        subject = "", purpose = "the log", retain = "until sequenced", erase = keep("sealed"),
        columns { id: Id, at: Time, kind: Plain, actor_kind: Plain, subject: Plain,
            aggregate: Plain, aggregate_id: Plain, version: Plain, entry: Plain, body: Sealed,
            leaf: Plain, mac: Plain }
    }
    /// A leaf of the log.
    spine_leaf: log {
        subject = "", purpose = "the log", retain = "entry for ever, body by its kind",
        erase = keep("the sealed part dies with the person's key, the hashes prove the rest"),
        columns { idx: Plain, id: Id, at: Time, kind: Plain, actor_kind: Plain, subject: Plain,
            aggregate: Plain, aggregate_id: Plain, version: Plain, entry: Plain, body: Sealed,
            leaf: Plain, mac: Plain }
    }
    /// A tile of the tree.
    spine_tile: log {
        subject = "", purpose = "proofs", retain = "for ever", erase = keep("hashes only"),
        columns { level: Plain, idx: Plain, width: Plain, bytes: Plain }
    }
    /// The tree's head and the sequencer's lease.
    spine_head: upkeep {
        subject = "", purpose = "sequencing", retain = "for ever", erase = keep("hashes only"),
        columns { id: Plain, origin: Plain, size: Plain, frontier: Plain, epoch: Plain, holder: Plain,
            lease_until: Time, note: Plain, note_size: Plain, note_at: Time }
    }
    /// A signed checkpoint.
    spine_checkpoint: log {
        subject = "", purpose = "proofs of consistency", retain = "for ever",
        erase = keep("hashes only"),
        columns { size: Plain, at: Time, note: Plain }
    }
    /// The last checkpoint that a node found consistent.
    spine_cosignature: upkeep {
        subject = "", purpose = "no leader forks the log", retain = "for ever",
        erase = keep("hashes only"),
        columns { node: Plain, size: Plain, at: Time, note: Plain, key: Plain, mac: Plain }
    }
    /// The checkpoint that strangers are shown.
    spine_published: log {
        subject = "", purpose = "checks from outside", retain = "for ever",
        erase = keep("hashes only"),
        columns { id: Plain, origin: Plain, size: Plain, at: Time, note: Plain }
    }
    /// A node that serves, by its own word.
    spine_node: upkeep {
        subject = "", purpose = "nodes know of each other", retain = "a day after its last word",
        erase = keep("no person's"),
        columns { node: Plain, place: Plain, run: Plain, program: Plain, schema_version: Plain,
            config: Plain, started_at: Time, seen_at: Time, report: Plain }
    }
    /// How far a consumer has read.
    spine_cursor: upkeep {
        subject = "", purpose = "each event is consumed once", retain = "for ever",
        erase = keep("no person's"),
        columns { name: Plain, idx: Plain }
    }
}

/// The spine's own migrations.
pub(crate) const MIGRATIONS: &[Migration] = &[
    Migration {
        version: 10_001,
        name: "spine/0001_log",
        text: include_str!("../migrations/0001_log.sql"),
    },
    Migration {
        version: 10_002,
        name: "spine/0002_published",
        text: include_str!("../migrations/0002_published.sql"),
    },
    Migration {
        version: 10_003,
        name: "spine/0003_node",
        text: include_str!("../migrations/0003_node.sql"),
    },
];

/// Compares the declared tables with the live schema, and the statements with the declarations.
///
/// # Errors
/// [`Error::Schema`] with every difference, one a line.
pub async fn check_schema(
    db: &Db,
    tables: &[Table],
    statements: &[Statement],
) -> Result<(), Error> {
    check_schema_under(db, tables, statements, Newer::Unknown).await
}

/// Whether columns that nobody declared may be there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Newer {
    /// No: one that is neither digested nor erased is a fault.
    Unknown,
    /// Yes: a newer program made them, and said that this one runs on what it made.
    Tolerated,
}

/// [`check_schema`], where a newer program may have been at the schema.
///
/// # Errors
/// [`Error::Schema`] with every difference, one a line.
pub async fn check_schema_under(
    db: &Db,
    tables: &[Table],
    statements: &[Statement],
    newer: Newer,
) -> Result<(), Error> {
    let mut faults = compare_columns(&db.columns().await?, tables, newer);
    faults.extend(tables.iter().filter_map(misdeclared));
    let derived: Vec<Statement> = tables.iter().flat_map(Table::derived).collect();
    let statements = [statements, &derived].concat();
    faults.extend(statements.iter().filter_map(|statement| misplaced(statement, tables)));
    for (name, error) in db.misfits(&statements).await? {
        faults.push(format!("{name}: {}", with_source(&error)));
    }
    if faults.is_empty() { Ok(()) } else { Err(Error::Schema(faults.join("\n"))) }
}

fn with_source(error: &store::Error) -> String {
    let source = std::error::Error::source(error).map(|source| format!(": {source}"));
    format!("{error}{}", source.unwrap_or_default())
}

/// Columns that are declared and missing, or there and undeclared.
fn compare_columns(live: &[(String, String)], tables: &[Table], newer: Newer) -> Vec<String> {
    let live: BTreeSet<(&str, &str)> = live
        .iter()
        .map(|(table, column)| (table.as_str(), column.as_str()))
        .filter(|(table, _)| !table.starts_with("sqlite_") && *table != "store_migration")
        .collect();
    let declared: BTreeSet<(&str, &str)> = tables
        .iter()
        .flat_map(|table| table.columns.iter().map(|column| (table.name, column.name)))
        .collect();
    let undeclared = live.difference(&declared).filter(|_| newer == Newer::Unknown);
    let missing = declared.difference(&live);
    undeclared
        .map(|(table, column)| format!("{table}.{column} is in the database and not declared"))
        .chain(
            missing.map(|(table, column)| {
                format!("{table}.{column} is declared and not in the database")
            }),
        )
        .collect()
}

fn misdeclared(table: &Table) -> Option<String> {
    if table.kind != TableKind::Fact {
        return None;
    }
    let has = |kind| table.columns.iter().any(|column| column.kind == kind);
    let complete = has(crate::DataKind::Id) && has(crate::DataKind::Version);
    (!complete).then(|| format!("{}: a fact table needs an Id and a Version", table.name))
}

/// What is wrong with a statement's claim about its table.
fn misplaced(statement: &Statement, tables: &[Table]) -> Option<String> {
    let fault = |what: &str| Some(format!("{}: {what}", statement.name));
    let verb = statement.text.split_whitespace().next().unwrap_or_default().to_uppercase();
    let changed = changed_table(statement.text);
    if statement.kind == StatementKind::Read {
        let reads = changed.is_none() && (verb == "SELECT" || verb == "WITH");
        return if reads { None } else { fault("a read statement must only read") };
    }
    if changed != Some(statement.table) {
        return fault("it does not change the table that it names");
    }
    let Some(table) = tables.iter().find(|table| table.name == statement.table) else {
        return fault("its table is not declared");
    };
    match (statement.kind, table.kind) {
        (StatementKind::Fact, TableKind::Fact) => {
            let returning = statement.text.rsplit_once("RETURNING").map(|(_, tail)| tail.trim());
            let id_first = returning.is_some_and(|tail| tail == "id" || tail.starts_with("id,"));
            if id_first { None } else { fault("a fact statement must return id first") }
        }
        (StatementKind::Upkeep, TableKind::Upkeep | TableKind::Log) => None,
        (StatementKind::Fact, TableKind::Upkeep | TableKind::Log)
        | (StatementKind::Upkeep, TableKind::Fact) => fault("its table is of the other kind"),
        (StatementKind::Read, _) => None,
    }
}

/// The table that the statement inserts into, updates or deletes from.
fn changed_table(text: &str) -> Option<&str> {
    let mut words = text.split_whitespace().peekable();
    while let Some(word) = words.next() {
        let next = match word {
            "INSERT" | "DELETE" => words.nth(1),
            // `DO UPDATE SET` belongs to an INSERT that was found before it
            "UPDATE" => words.next(),
            _ => continue,
        };
        return next.map(|table| table.trim_end_matches('('));
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_changed_table() {
        let cases = [
            ("SELECT a FROM t", None),
            ("INSERT INTO t (a) VALUES ($1) ON CONFLICT (a) DO UPDATE SET a = 1", Some("t")),
            ("UPDATE t SET a = 1 WHERE b = $1 RETURNING id", Some("t")),
            ("DELETE FROM t WHERE a = $1", Some("t")),
            ("WITH x AS (SELECT 1) INSERT INTO t SELECT * FROM x", Some("t")),
        ];
        for (text, table) in cases {
            assert_eq!(changed_table(text), table, "{text}");
        }
    }

    #[test]
    fn a_column_nobody_declared_is_a_fault() {
        let live = vec![("spine_cursor".to_owned(), "surprise".to_owned())];
        let faults = compare_columns(&live, TABLES, Newer::Unknown);
        assert!(faults.iter().any(|fault| fault.contains("spine_cursor.surprise")));
        assert!(faults.iter().any(|fault| fault.contains("spine_cursor.idx")));
        // a newer program's column may be there, but none of ours may be gone
        let faults = compare_columns(&live, TABLES, Newer::Tolerated);
        assert!(!faults.iter().any(|fault| fault.contains("spine_cursor.surprise")));
        assert!(faults.iter().any(|fault| fault.contains("spine_cursor.idx")));
    }
}
