//! How the doors stand: in this process they are asked, in another they tell.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use edge::{Report, Watcher};
use kernel::{Clock, Timestamp};
use serde::{Deserialize, Serialize};

use super::process::Process;

/// The shop's door, as a label's value.
pub(crate) const SHOP: &str = "shop";
/// The console's.
pub(crate) const CONSOLE: &str = "console";

/// How often a process of its own tells.
pub(crate) const TELL: Duration = Duration::from_secs(2);
/// After how long without a word its doors count as gone.
const GONE: Duration = Duration::from_secs(7);

/// What the doors' own process tells.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Told {
    doors: BTreeMap<String, Report>,
    process: Process,
    /// Spans that it sent, and that it dropped.
    spans: (u64, u64),
}

impl Told {
    /// What these doors of this process tell.
    pub(crate) fn by(doors: &[(&str, Watcher)], spans: (u64, u64)) -> Self {
        let reports = doors.iter().map(|(name, door)| ((*name).to_owned(), door.report()));
        Self { doors: reports.collect(), process: Process::read(), spans }
    }
}

/// The doors.
#[derive(Clone, Debug)]
pub(crate) enum Doors {
    /// In this process.
    Here(Vec<(&'static str, Watcher)>),
    /// In another, which told this at that moment.
    There(Arc<Mutex<Option<(Timestamp, Told)>>>),
}

impl Doors {
    /// Doors in another process, which has told nothing yet.
    pub(crate) fn there() -> Self {
        Self::There(Arc::default())
    }

    /// Takes what the other process tells.
    pub(crate) fn hear(&self, told: Told, now: Timestamp) {
        if let Self::There(last) = self {
            *last.lock().unwrap_or_else(PoisonError::into_inner) = Some((now, told));
        }
    }

    /// How they stand; nothing of a process that has been silent for too long.
    pub(super) fn reports(&self, clock: &dyn Clock) -> Vec<(String, Report)> {
        match self {
            Self::Here(doors) => {
                doors.iter().map(|(name, door)| ((*name).to_owned(), door.report())).collect()
            }
            Self::There(_) => {
                self.told(clock).map(|told| told.doors.into_iter().collect()).unwrap_or_default()
            }
        }
    }

    /// What the system says of each process, by name.
    pub(super) fn processes(&self, clock: &dyn Clock) -> Vec<(&'static str, Process)> {
        match self {
            Self::Here(_) => vec![("whole", Process::read())],
            Self::There(_) => {
                let edge = self.told(clock).map(|told| ("edge", told.process));
                std::iter::once(("core", Process::read())).chain(edge).collect()
            }
        }
    }

    /// Spans that another process sent, and that it dropped.
    pub(super) fn spans(&self, clock: &dyn Clock) -> (u64, u64) {
        self.told(clock).map_or((0, 0), |told| told.spans)
    }

    fn told(&self, clock: &dyn Clock) -> Option<Told> {
        let Self::There(last) = self else { return None };
        let last = last.lock().unwrap_or_else(PoisonError::into_inner);
        let (at, told) = last.as_ref()?;
        (clock.now().since(*at) < GONE).then(|| told.clone())
    }
}

#[cfg(test)]
mod tests {
    use kernel::SystemClock;

    use super::*;

    #[test]
    fn a_process_that_is_silent_for_too_long_has_no_doors() {
        let doors = Doors::there();
        assert!(doors.reports(&SystemClock).is_empty());
        let told =
            || Told { doors: [(SHOP.to_owned(), Report::default())].into(), ..Told::default() };
        doors.hear(told(), SystemClock.now());
        assert_eq!(doors.reports(&SystemClock).len(), 1);
        assert_eq!(doors.processes(&SystemClock).len(), 2);
        doors.hear(told(), SystemClock.now().minus(GONE));
        assert!(doors.reports(&SystemClock).is_empty());
        assert_eq!(doors.processes(&SystemClock).len(), 1);
    }
}
