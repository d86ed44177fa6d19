//! The time of a program that serves: this host's clock, but for its jumps. Whoever sets a host's clock
//! by an hour would otherwise make every token of the last hour old or every ended one young, before
//! anybody can look.
//!
//! The time since the host was started does not jump. Where the two part by more than [`JUMP`], the old
//! time goes on until somebody with a better clock says which is right (the database's server, or core
//! to the edge), or the jump has stood for [`BELIEVED`] with nobody there to ask.

use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use kernel::{Clock, SystemClock, Timestamp};
use rustix::time::{ClockId, clock_gettime};

/// The least that is a jump. What is less is followed: the host's clock is being set right.
const JUMP: Duration = Duration::from_secs(10);
/// How long a jump must stand where nobody can be asked.
const BELIEVED: Duration = Duration::from_secs(60);
/// How far the difference may wander until it is written down.
const NOTED_US: i64 = 50_000;
/// No jump is held.
const NEVER: i64 = i64::MIN;

/// A clock that a jump of the host's does not move at once.
#[derive(Debug)]
pub(crate) struct SteadyClock {
    /// The host's time at its start, as it is believed, µs.
    start: AtomicI64,
    /// Since when another is told, µs since the host's start.
    jumped: AtomicI64,
}

/// What both clocks said at one moment, µs.
#[derive(Clone, Copy)]
struct Read {
    told: i64,
    run: i64,
}

impl Read {
    fn now() -> Self {
        let run = clock_gettime(ClockId::Boottime);
        let run = run.tv_sec.saturating_mul(1_000_000).saturating_add(run.tv_nsec / 1_000);
        Self { told: SystemClock.now().micros(), run }
    }

    const fn start(self) -> i64 {
        self.told.saturating_sub(self.run)
    }
}

impl Default for SteadyClock {
    fn default() -> Self {
        Self::from(Read::now())
    }
}

impl From<Read> for SteadyClock {
    fn from(read: Read) -> Self {
        Self { start: AtomicI64::new(read.start()), jumped: AtomicI64::new(NEVER) }
    }
}

impl SteadyClock {
    fn at(&self, read: Read) -> Timestamp {
        let start = self.start.load(Ordering::Relaxed);
        let jump = read.start().saturating_sub(start);
        if jump.unsigned_abs() < micros(JUMP) {
            if jump.abs() >= NOTED_US {
                self.start.store(read.start(), Ordering::Relaxed);
            }
            if self.jumped.load(Ordering::Relaxed) != NEVER {
                self.jumped.store(NEVER, Ordering::Relaxed);
            }
            return Timestamp::from_micros(read.told);
        }
        let first =
            self.jumped.compare_exchange(NEVER, read.run, Ordering::Relaxed, Ordering::Relaxed);
        match first {
            Ok(_) => {
                tracing::warn!(
                    jump_s = jump / 1_000_000,
                    "this host's clock jumped: the old time goes on"
                );
            }
            Err(since) if read.run.abs_diff(since) >= micros(BELIEVED) => {
                return self.believe(read);
            }
            Err(_) => {}
        }
        Timestamp::from_micros(start.saturating_add(read.run))
    }

    fn believe(&self, read: Read) -> Timestamp {
        tracing::warn!("this host's clock jumped, and is believed");
        self.start.store(read.start(), Ordering::Relaxed);
        self.jumped.store(NEVER, Ordering::Relaxed);
        Timestamp::from_micros(read.told)
    }

    fn compared_at(&self, read: Read, ahead_us: i64) -> bool {
        let Some(jump) = self.held_at(read) else { return false };
        // The host's own time is ahead by as much more as it jumped.
        if ahead_us.saturating_add(jump).unsigned_abs() < ahead_us.unsigned_abs() {
            self.believe(read);
            return true;
        }
        self.jumped.store(read.run, Ordering::Relaxed);
        false
    }

    fn held_at(&self, read: Read) -> Option<i64> {
        if self.jumped.load(Ordering::Relaxed) == NEVER {
            return None;
        }
        Some(read.start().saturating_sub(self.start.load(Ordering::Relaxed)))
    }
}

impl Clock for SteadyClock {
    fn now(&self) -> Timestamp {
        self.at(Read::now())
    }

    fn compared(&self, ahead_us: i64) -> bool {
        self.compared_at(Read::now(), ahead_us)
    }

    fn held_jump_us(&self) -> Option<i64> {
        self.held_at(Read::now())
    }
}

fn micros(span: Duration) -> u64 {
    u64::try_from(span.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: i64 = 1_000_000;
    /// When the host was started.
    const START: i64 = 1_795_478_400 * S;

    /// After so many seconds, with a host's clock that is off by as many.
    fn read(run_s: i64, off_s: i64) -> Read {
        Read { told: START + (run_s + off_s) * S, run: run_s * S }
    }

    fn steady() -> SteadyClock {
        SteadyClock::from(read(0, 0))
    }

    /// How far the clock is off at this moment, s.
    fn off(clock: &SteadyClock, run_s: i64, off_s: i64) -> i64 {
        (clock.at(read(run_s, off_s)).micros() - START) / S - run_s
    }

    #[test]
    fn what_is_set_right_by_little_is_followed() {
        let clock = steady();
        for (run, told) in [(1, 0), (2, 3), (3, 9), (4, 18), (5, 12), (6, 3), (7, -6)] {
            assert_eq!(off(&clock, run, told), told);
            assert_eq!(clock.held_at(read(run, told)), None);
        }
    }

    #[test]
    fn a_jump_is_not_believed_before_it_has_stood() {
        for jump in [3_600, -3_600, 11, -11] {
            let clock = steady();
            assert_eq!(off(&clock, 1, jump), 0);
            assert_eq!(off(&clock, 60, jump), 0);
            assert_eq!(clock.held_at(read(60, jump)), Some(jump * S));
            assert_eq!(off(&clock, 61, jump), jump);
            assert_eq!(clock.held_at(read(61, jump)), None);
        }
    }

    #[test]
    fn a_jump_that_is_taken_back_is_forgotten() {
        let clock = steady();
        assert_eq!(off(&clock, 1, 3_600), 0);
        assert_eq!(off(&clock, 50, 0), 0);
        assert_eq!(off(&clock, 70, 3_600), 0, "it stands for the first time");
        assert_eq!(off(&clock, 129, 3_600), 0);
    }

    #[test]
    fn a_better_clock_decides_at_once_and_for_as_long_as_it_is_asked() {
        let clock = steady();
        for run in 1..600 {
            assert_eq!(off(&clock, run, -3_600), 0);
            // Ours fits the database's, but for the way there.
            assert!(!clock.compared_at(read(run, -3_600), 40_000));
        }
        let clock = steady();
        assert_eq!(off(&clock, 1, 7_200), 0);
        // Ours is two hours behind the database's: the host slept, and knows better now.
        assert!(clock.compared_at(read(1, 7_200), -7_200 * S));
        assert_eq!(off(&clock, 2, 7_200), 7_200);
        // Without a jump nothing is decided: a host that is wrong all the time is refused elsewhere.
        assert!(!clock.compared_at(read(3, 7_200), 40 * S));
        assert_eq!(off(&clock, 4, 7_200), 7_200);
    }
}
