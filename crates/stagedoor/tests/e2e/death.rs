//! Death on the way to PostgreSQL: a program is killed just before the n-th message of a transaction,
//! to the server or back, counted from the statement that a test names.

use std::collections::BTreeMap;
use std::process::Command;
use std::sync::{Arc, Mutex};

use testkit::{Proxy, Way};

/// Who dies, and when.
#[derive(Default)]
struct Armed {
    process: u32,
    step: Option<usize>,
    /// The connection whose transaction it is.
    connection: Option<u64>,
    /// Under which name each connection has prepared the statement: it is sent whole but once.
    prepared: BTreeMap<u64, Vec<u8>>,
}

/// A wire to PostgreSQL that kills.
#[derive(Clone, Default)]
pub(crate) struct Death(Arc<Mutex<Armed>>);

impl Death {
    /// The wire to `host:port`; the transaction that counts is the one with this statement.
    pub(crate) fn on(&self, place: &str, statement: &'static [u8]) -> Proxy {
        let armed = Arc::clone(&self.0);
        let look = move |connection, way, message: &[u8]| {
            armed.lock().unwrap().look(statement, (connection, way), message)
        };
        Proxy::watching(place, Box::new(look))
    }

    /// Kills this process at the step, once.
    pub(crate) fn arm(&self, process: u32, step: usize) {
        let mut armed = self.0.lock().unwrap();
        (armed.process, armed.step, armed.connection) = (process, Some(step), None);
    }

    /// Kills nobody.
    pub(crate) fn disarm(&self) {
        self.0.lock().unwrap().step = None;
    }
}

fn position(message: &[u8], part: &[u8]) -> Option<usize> {
    message.windows(part.len()).position(|window| window == part)
}

impl Armed {
    /// False where this message is the last thing that the program did not live to see.
    fn look(&mut self, statement: &[u8], (connection, way): (u64, Way), message: &[u8]) -> bool {
        if way == Way::ToServer && self.carries(statement, connection, message) {
            self.connection = Some(connection);
        }
        let Some(step) = self.step else { return true };
        if self.connection != Some(connection) {
            return true;
        }
        if step > 0 {
            self.step = Some(step - 1);
            return true;
        }
        let kill = Command::new("kill").args(["-9", &self.process.to_string()]).status();
        assert!(kill.unwrap().success());
        *self = Self::default();
        false
    }

    /// Whether a message holds the statement itself (Parse), or the name it was prepared under (Bind).
    fn carries(&mut self, statement: &[u8], connection: u64, message: &[u8]) -> bool {
        if let Some(at) = position(message, statement) {
            let before = &message[..at.saturating_sub(1)];
            let start =
                before.iter().rposition(|byte| !byte.is_ascii_graphic()).map_or(0, |at| at + 1);
            let name = [&[0], &before[start..], &[0]].concat();
            self.prepared.insert(connection, name);
            return true;
        }
        self.prepared.get(&connection).is_some_and(|name| position(message, name).is_some())
    }
}
