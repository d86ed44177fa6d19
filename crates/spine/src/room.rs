//! Rooms, as the house sees them: one value for each, and one list of all. What a room forgot to
//! bring, or two rooms both claim, is found before the program starts.

use std::collections::BTreeSet;

use store::{Migration, Statement};

use crate::{ActionKind, Erase, Error, EventSpec, Table};

/// What a room brings into the house.
#[derive(Clone, Copy, Debug)]
pub struct Room {
    /// Its name: what its tables, events, consumers and codes begin with.
    pub name: &'static str,
    /// Its number: a migration's version is this times 10,000 plus the migration's own.
    pub number: i64,
    /// Its tables.
    pub tables: &'static [Table],
    /// Its kinds of event.
    pub events: &'static [EventSpec],
    /// Its migrations.
    pub migrations: &'static [Migration],
    /// Its statements, file by file.
    pub statements: &'static [&'static [Statement]],
    /// The names of its consumers: all of them run, or the program does not start.
    pub consumers: &'static [&'static str],
    /// The answers that it obeys.
    pub obeys: &'static [ActionKind],
}

/// Migrations that a room may have.
const MIGRATIONS_MAX: i64 = 10_000;

/// Every room of a house.
#[derive(Clone, Debug)]
pub struct Rooms(Vec<Room>);

impl Rooms {
    /// The spine's own and these.
    ///
    /// # Errors
    /// [`Error::Schema`] with each fault, one a line: a name, number, table, kind, version or
    /// consumer that two claim, or that does not begin with its room's name or number; an erasure
    /// that is left to a consumer that the room does not have.
    pub fn new(rooms: &[Room]) -> Result<Self, Error> {
        let all: Vec<Room> = std::iter::once(&crate::ROOM).chain(rooms).copied().collect();
        let mut faults = Vec::new();
        let mut taken = BTreeSet::new();
        let mut claim = |what: &str, name: String, room: &Room, faults: &mut Vec<String>| {
            if !taken.insert(format!("{what} {name}")) {
                faults.push(format!("room {}: the {what} {name} is taken already", room.name));
            }
        };
        for room in &all {
            claim("name", room.name.to_owned(), room, &mut faults);
            claim("number", room.number.to_string(), room, &mut faults);
            for table in room.tables {
                claim("table", table.name.to_owned(), room, &mut faults);
            }
            for event in room.events {
                claim("event", event.kind.to_owned(), room, &mut faults);
            }
            for migration in room.migrations {
                claim("migration", migration.version.to_string(), room, &mut faults);
            }
            for consumer in room.consumers {
                claim("consumer", (*consumer).to_owned(), room, &mut faults);
            }
            faults.extend(room.faults());
        }
        if faults.is_empty() { Ok(Self(all)) } else { Err(Error::Schema(faults.join("\n"))) }
    }

    /// Every table.
    #[must_use]
    pub fn tables(&self) -> Vec<Table> {
        self.0.iter().flat_map(|room| room.tables).copied().collect()
    }

    /// Every kind of event.
    #[must_use]
    pub fn events(&self) -> Vec<EventSpec> {
        self.0.iter().flat_map(|room| room.events).copied().collect()
    }

    /// Every migration.
    #[must_use]
    pub fn migrations(&self) -> Vec<Migration> {
        self.0.iter().flat_map(|room| room.migrations).cloned().collect()
    }

    /// Every statement.
    #[must_use]
    pub fn statements(&self) -> Vec<Statement> {
        self.0.iter().flat_map(|room| room.statements).copied().flatten().cloned().collect()
    }

    /// What a program with these rooms needs of each table.
    #[must_use]
    pub fn needs(&self) -> store::Needs {
        let tables = self.tables();
        let mut statements = self.statements();
        statements.extend(tables.iter().flat_map(Table::derived));
        let names: Vec<&str> = tables.iter().map(|table| table.name).collect();
        store::needs(&names, &statements)
    }

    /// Holds the consumers that shall run against those that the rooms declare.
    ///
    /// # Errors
    /// [`Error::Schema`] where one is declared and would not run, or runs undeclared.
    pub fn check_consumers(&self, running: &[&'static str]) -> Result<(), Error> {
        let declared: BTreeSet<&str> =
            self.0.iter().flat_map(|room| room.consumers).copied().collect();
        let running: BTreeSet<&str> = running.iter().copied().collect();
        let idle = declared.difference(&running);
        let idle = idle.map(|name| format!("the consumer {name} is declared and does not run"));
        let stray = running.difference(&declared);
        let stray = stray.map(|name| format!("the consumer {name} runs and no room declares it"));
        let faults: Vec<String> = idle.chain(stray).collect();
        if faults.is_empty() { Ok(()) } else { Err(Error::Schema(faults.join("\n"))) }
    }

    /// The answers that no room obeys.
    #[must_use]
    pub fn unobeyed(&self) -> Vec<ActionKind> {
        let obeyed = |action: &ActionKind| self.0.iter().any(|room| room.obeys.contains(action));
        ActionKind::ALL.iter().copied().filter(|action| !obeyed(action)).collect()
    }
}

impl Room {
    /// What does not fit its own name and number.
    fn faults(&self) -> Vec<String> {
        let Self { name, number, .. } = self;
        let mut faults = Vec::new();
        let mut fault = |what: String| faults.push(format!("room {name}: {what}"));
        for table in self.tables {
            if !table.name.starts_with(&format!("{name}_")) {
                fault(format!("the table {} does not begin with {name}_", table.name));
            }
            if let Erase::DeleteIn(who) | Erase::BlankIn(who) = table.erase
                && who != *name
                && !self.consumers.contains(&who)
            {
                fault(format!("{} is erased in {who}, which is no consumer here", table.name));
            }
            if table.erase == Erase::Delete && table.subjects.is_empty() {
                fault(format!("{} is nobody's: say `keep` and why", table.name));
            }
        }
        // The spine also owns the door that every rule asks by, which bears the name of the rules.
        for event in self.events.iter().filter(|_| *name != crate::ROOM.name) {
            if !event.kind.starts_with(&format!("{name}.")) {
                fault(format!("the event {} does not begin with {name}.", event.kind));
            }
        }
        let versions = number * MIGRATIONS_MAX + 1..(number + 1) * MIGRATIONS_MAX;
        for migration in self.migrations {
            if !versions.contains(&migration.version) {
                let Migration { name, version, .. } = migration;
                fault(format!("the migration {name} has the version {version} of another room"));
            }
        }
        for consumer in self.consumers {
            if consumer != name && !consumer.starts_with(&format!("{name}.")) {
                fault(format!("the consumer {consumer} does not begin with {name}."));
            }
        }
        faults
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EMPTY: Room = Room {
        name: "demo",
        number: 7,
        tables: &[],
        events: &[],
        migrations: &[],
        statements: &[],
        consumers: &[],
        obeys: &[],
    };

    fn faults_of(rooms: &[Room]) -> String {
        Rooms::new(rooms).unwrap_err().to_string()
    }

    #[test]
    fn what_two_rooms_claim_is_a_fault() {
        let twin = Room { name: "twin", ..EMPTY };
        assert_eq!(faults_of(&[EMPTY, twin]), "room twin: the number 7 is taken already");
        let again = Room { number: 8, ..EMPTY };
        assert_eq!(faults_of(&[EMPTY, again]), "room demo: the name demo is taken already");
    }

    #[test]
    fn what_bears_another_name_is_a_fault() {
        let migrations: &[Migration] =
            &[Migration { version: 80_001, name: "demo/0001_things", text: "" }];
        let room = Room { migrations, consumers: &["other.rule"], ..EMPTY };
        let faults = faults_of(&[room]);
        assert!(faults.contains("the version 80001 of another room"), "{faults}");
        assert!(faults.contains("other.rule does not begin with demo."), "{faults}");
    }

    #[test]
    fn a_consumer_that_does_not_run_is_a_fault() {
        let rooms = Rooms::new(&[Room { consumers: &["demo.rule"], ..EMPTY }]).unwrap();
        let own = crate::ROOM.consumers;
        let idle = rooms.check_consumers(own).unwrap_err().to_string();
        assert_eq!(idle, "the consumer demo.rule is declared and does not run");
        assert!(rooms.check_consumers(&[own, &["demo.rule"]].concat()).is_ok());
        let stray = rooms.check_consumers(&[own, &["demo.rule", "x"]].concat()).unwrap_err();
        assert_eq!(stray.to_string(), "the consumer x runs and no room declares it");
    }
}
