//! What a program may do in PostgreSQL, made from the statements that it has: a role may what they
//! need, table by table and column by column, and nothing else.
//!
//! The one place where SQL is built at run time (S1): GRANT takes no placeholders. Every name in it
//! is a table of a statement, a column that one sets, or was checked letter by letter.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use crate::{Backend, Db, Error, FromRow, Row, Statement};

/// What is needed of one table.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Need {
    /// Rows are read.
    pub select: bool,
    /// Rows are added.
    pub insert: bool,
    /// These columns are changed.
    pub update: BTreeSet<String>,
    /// Rows are deleted.
    pub delete: bool,
}

/// What is needed, by table.
pub type Needs = BTreeMap<String, Need>;

/// What these statements need of these tables. Every table is read: the log's check reads all.
#[must_use]
pub fn needs(tables: &[&str], statements: &[Statement]) -> Needs {
    let reads = |table: &&str| ((*table).to_owned(), Need { select: true, ..Need::default() });
    let mut needs: Needs = tables.iter().map(reads).collect();
    // Which steps the database has is read by every program that starts.
    needs.extend([reads(&"store_migration")]);
    for statement in statements {
        let Some(need) = needs.get_mut(statement.table) else { continue };
        let words = words(statement.text);
        need.insert |= words.first() == Some(&"INSERT");
        need.delete |= words.first() == Some(&"DELETE");
        need.update.extend(columns_set(&words));
    }
    needs
}

/// The words and signs of a statement, without its texts.
fn words(text: &str) -> Vec<&str> {
    let mut words = Vec::new();
    for (number, code) in text.split('\'').enumerate() {
        // Between two quotes is a text; a doubled quote makes an empty piece, and changes nothing.
        if number % 2 == 1 {
            continue;
        }
        let mut rest = code;
        while let Some(first) = rest.chars().next() {
            let is_word = |c: char| c.is_alphanumeric() || c == '_' || c == '.' || c == '$';
            let end = if is_word(first) {
                rest.find(|c| !is_word(c)).unwrap_or(rest.len())
            } else {
                first.len_utf8()
            };
            let (word, after) = rest.split_at(end);
            if !first.is_whitespace() {
                words.push(word);
            }
            rest = after;
        }
    }
    words
}

/// The columns that a statement sets: `UPDATE t SET a = …, b = …`, or behind `DO UPDATE SET`.
fn columns_set(words: &[&str]) -> BTreeSet<String> {
    let mut columns = BTreeSet::new();
    let Some(start) = words.iter().position(|word| *word == "SET") else { return columns };
    let (mut depth, mut before) = (0u32, "SET");
    let behind = words.iter().skip(start + 1);
    for word in behind {
        match *word {
            "(" => depth += 1,
            ")" => depth = depth.saturating_sub(1),
            "WHERE" | "FROM" | "RETURNING" if depth == 0 => break,
            column if depth == 0 && (before == "," || before == "SET") => {
                columns.insert(column.to_owned());
            }
            _ => {}
        }
        before = word;
    }
    columns
}

/// A role's name: what PostgreSQL takes without quotes, and nothing else.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Role(String);

impl std::str::FromStr for Role {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self, Error> {
        if is_plain(name) { Ok(Self(name.to_owned())) } else { Err(odd_name(name)) }
    }
}

impl std::fmt::Display for Role {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

/// Longest name of a role, table or database in PostgreSQL, bytes.
const NAME_MAX: usize = 63;

fn is_plain(name: &str) -> bool {
    let begins = name.starts_with(|c: char| c.is_ascii_lowercase() || c == '_');
    let rest = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
    begins && name.len() <= NAME_MAX && name.chars().all(rest)
}

fn odd_name(name: &str) -> Error {
    Error::Migration(format!(
        "the name `{}` is not of small letters, digits and _: rename it",
        name.escape_debug()
    ))
}

/// Who may what in one database.
#[derive(Clone, Debug)]
pub struct Grants {
    /// The database's name.
    database: String,
    /// Roles, and what each may; nothing: it may not even connect.
    roles: Vec<(Role, Needs)>,
}

impl Grants {
    /// Grants in the database of this name.
    ///
    /// # Errors
    /// [`Error::Migration`] where the name is not plain.
    pub fn new(database: &str) -> Result<Self, Error> {
        if !is_plain(database) {
            return Err(odd_name(database));
        }
        Ok(Self { database: database.to_owned(), roles: Vec::new() })
    }

    /// A role that may this.
    #[must_use]
    pub fn with(mut self, role: Role, needs: Needs) -> Self {
        self.roles.push((role, needs));
        self
    }

    /// A statement a line. First everything is taken from everybody, so that what is no longer needed
    /// goes; in one transaction nobody notices.
    #[must_use]
    pub fn lines(&self) -> Vec<String> {
        let database = &self.database;
        let everybody = ["PUBLIC".to_owned()].into_iter();
        let everybody = everybody.chain(self.roles.iter().map(|(role, _)| role.to_string()));
        let mut lines = Vec::new();
        for who in everybody {
            lines.push(format!("REVOKE ALL ON ALL TABLES IN SCHEMA public FROM {who}"));
            lines.push(format!("REVOKE ALL ON SCHEMA public FROM {who}"));
            lines.push(format!("REVOKE ALL ON DATABASE {database} FROM {who}"));
        }
        for (role, needs) in self.roles.iter().filter(|(_, needs)| !needs.is_empty()) {
            lines.push(format!("GRANT CONNECT ON DATABASE {database} TO {role}"));
            lines.push(format!("GRANT USAGE ON SCHEMA public TO {role}"));
            for (table, need) in needs {
                lines.push(format!("GRANT {} ON {table} TO {role}", need.verbs()));
            }
        }
        lines
    }

    /// Applies them, as the database's owner: all or none.
    ///
    /// # Errors
    /// [`Error`], as the database says: a role that is not there, a user who is not the owner.
    pub async fn apply(&self, db: &Db) -> Result<(), Error> {
        let mut tx = db.begin().await?;
        tx.administer(self.lines().join(";\n")).await?;
        tx.commit().await
    }
}

impl Need {
    fn verbs(&self) -> String {
        let mut verbs = Vec::new();
        for (verb, needed) in
            [("SELECT", self.select), ("INSERT", self.insert), ("DELETE", self.delete)]
        {
            if needed {
                verbs.push(verb.to_owned());
            }
        }
        if !self.update.is_empty() {
            let mut update = String::from("UPDATE (");
            for (number, column) in self.update.iter().enumerate() {
                let _ = write!(update, "{}{column}", if number > 0 { ", " } else { "" });
            }
            verbs.push(update + ")");
        }
        verbs.join(", ")
    }
}

/// Who a program is to PostgreSQL.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Power {
    /// The role that it is connected as.
    pub role: String,
    /// A superuser: no GRANT binds it.
    pub is_superuser: bool,
    /// The tables are its own: it can change what they are.
    pub is_owner: bool,
}

impl FromRow for Power {
    fn from_row(row: &Row) -> Result<Self, Error> {
        Ok(Self {
            role: row.text("role")?,
            is_superuser: row.int("is_superuser")? != 0,
            is_owner: row.int("is_owner")? != 0,
        })
    }
}

const POWER: &str = "SELECT CAST(r.rolname AS TEXT) AS role, \
     CAST(CASE WHEN r.rolsuper THEN 1 ELSE 0 END AS BIGINT) AS is_superuser, \
     CAST(CASE WHEN EXISTS (SELECT 1 FROM pg_tables t WHERE t.schemaname = current_schema() \
     AND pg_has_role(r.oid, t.tableowner, 'USAGE')) THEN 1 ELSE 0 END AS BIGINT) AS is_owner \
     FROM pg_roles r WHERE r.rolname = current_user";

/// Who this program is to the database; none on SQLite, which knows no roles.
///
/// # Errors
/// [`Error`], as the database says.
pub async fn power(db: &Db) -> Result<Option<Power>, Error> {
    match db.backend() {
        Backend::Sqlite => Ok(None),
        Backend::Postgres => Ok(db.read().await?.all(POWER, Vec::new()).await?.into_iter().next()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::StatementKind;

    fn need(texts: &[&'static str]) -> Need {
        let statement = |text: &&'static str| Statement {
            name: "S",
            text,
            table: "t",
            kind: StatementKind::Upkeep,
        };
        let statements: Vec<Statement> = texts.iter().map(statement).collect();
        needs(&["t"], &statements).remove("t").unwrap()
    }

    #[test]
    fn what_each_verb_needs() {
        assert_eq!(need(&[]).verbs(), "SELECT");
        assert_eq!(
            need(&["DELETE FROM t WHERE a = 'UPDATE t SET b = 1'"]).verbs(),
            "SELECT, DELETE"
        );
        let insert = "INSERT INTO t (a, b) VALUES ($1, 'SET x') ON CONFLICT (a) DO NOTHING";
        assert_eq!(need(&[insert]).verbs(), "SELECT, INSERT");
        let either = "INSERT INTO t (a, b) VALUES ($1, $2) ON CONFLICT (a) DO UPDATE \
             SET b = excluded.b, c = t.c + 1 WHERE t.d < 3";
        assert_eq!(need(&[either]).verbs(), "SELECT, INSERT, UPDATE (b, c)");
        let update = "UPDATE t SET a = CASE WHEN x = $1 THEN 'it''s, WHERE' ELSE f(1, b) END, \
             c = (SELECT d FROM u WHERE e = 1), version = version + 1 \
             FROM (VALUES (1)) AS v WHERE f = $2 RETURNING g, h";
        assert_eq!(need(&[update]).verbs(), "SELECT, UPDATE (a, c, version)");
        assert_eq!(need(&[update, insert]).verbs(), "SELECT, INSERT, UPDATE (a, c, version)");
    }

    #[test]
    fn a_name_is_plain_or_refused() {
        for name in ["stagedoor_core", "_x9"] {
            assert_eq!(name.parse::<Role>().unwrap().to_string(), name);
        }
        let long = "a".repeat(64);
        for name in ["", "9a", "Core", "a b", "a;DROP TABLE t", "a\"b", "a'b", "é", &long] {
            assert!(name.parse::<Role>().is_err(), "{name}");
            assert!(Grants::new(name).is_err(), "{name}");
        }
    }
}
