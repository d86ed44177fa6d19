//! Time as a value (K1): microseconds since the Unix epoch, UTC, and the clock that is handed in.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// A moment: microseconds since 1970-01-01T00:00:00Z. Good until the year 294,000.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Timestamp(i64);

impl Timestamp {
    /// The moment `micros` microseconds after the epoch.
    #[must_use]
    pub const fn from_micros(micros: i64) -> Self {
        Self(micros)
    }

    /// The moment `seconds` seconds after the epoch, saturating.
    #[must_use]
    pub const fn from_seconds(seconds: i64) -> Self {
        Self(seconds.saturating_mul(1_000_000))
    }

    /// Microseconds since the epoch.
    #[must_use]
    pub const fn micros(self) -> i64 {
        self.0
    }

    /// Whole milliseconds since the epoch, rounded down.
    #[must_use]
    pub const fn millis(self) -> i64 {
        self.0.div_euclid(1_000)
    }

    /// Whole seconds since the epoch, rounded down (a JWT's NumericDate, RFC 7519 section 2).
    #[must_use]
    pub const fn seconds(self) -> i64 {
        self.0.div_euclid(1_000_000)
    }

    /// Whole days since the epoch, UTC, rounded down.
    #[must_use]
    pub const fn day(self) -> i64 {
        self.0.div_euclid(86_400_000_000)
    }

    /// This moment plus a span, saturating at the end of time.
    #[must_use]
    pub fn plus(self, span: Duration) -> Self {
        Self(self.0.saturating_add(i64::try_from(span.as_micros()).unwrap_or(i64::MAX)))
    }

    /// This moment minus a span, saturating at the beginning of time.
    #[must_use]
    pub fn minus(self, span: Duration) -> Self {
        Self(self.0.saturating_sub(i64::try_from(span.as_micros()).unwrap_or(i64::MAX)))
    }

    /// The span from `earlier` to this moment; zero where `earlier` is later (a clock set back).
    #[must_use]
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_micros(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0))
    }
}

/// RFC 3339 in UTC with microseconds, as in `2026-11-24T02:25:40.000000Z`.
impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (year, month, day) = civil(self.day());
        let in_day = self.0.rem_euclid(86_400_000_000);
        let (seconds, micros) = (in_day / 1_000_000, in_day % 1_000_000);
        let (hour, minute, second) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
        write!(f, "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{micros:06}Z")
    }
}

/// The proleptic Gregorian date of a day number (days since 1970-01-01).
fn civil(day: i64) -> (i64, i64, i64) {
    // Eras of 400 years that begin on 1 March, so that the leap day is the last of its year.
    let shifted = day + 719_468;
    let era = shifted.div_euclid(146_097);
    let of_era = shifted.rem_euclid(146_097);
    let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    (year, month, day)
}

/// Where the time comes from. One is made in the binary; tests hand in one that they can move.
pub trait Clock: Send + Sync + fmt::Debug {
    /// The present moment.
    fn now(&self) -> Timestamp;

    /// Somebody whose clock is better was asked: this one is ahead by so many microseconds, negative
    /// where it is behind. What a clock makes of it is its own affair; true where it has moved, so that
    /// the difference is another now.
    fn compared(&self, _ahead_us: i64) -> bool {
        false
    }

    /// How far the host's clock has jumped, where that is not believed: microseconds, negative where it
    /// was set back.
    fn held_jump_us(&self) -> Option<i64> {
        None
    }
}

/// An answer that took longer says nothing about the clock of whoever gave it.
const ANSWER_MAX: Duration = Duration::from_secs(2);

/// How far our clock is ahead of another's, in microseconds, negative where behind: we asked, it said its time, and its answer
/// came. None where that took too long to mean anything, or our clock was set back meanwhile.
#[must_use]
pub fn ahead_us(asked: Timestamp, theirs: Timestamp, answered: Timestamp) -> Option<i64> {
    if answered < asked || answered.since(asked) > ANSWER_MAX {
        return None;
    }
    let middle = asked.0 / 2 + answered.0 / 2;
    Some(middle.saturating_sub(theirs.0))
}

/// The machine's clock.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        #[expect(clippy::disallowed_methods, reason = "the one place that reads the clock")]
        let now = std::time::SystemTime::now();
        let since = now.duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        Timestamp(i64::try_from(since.as_micros()).unwrap_or(i64::MAX))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn shows_rfc_3339() {
        let cases = [
            (0, "1970-01-01T00:00:00.000000Z"),
            (951_782_400, "2000-02-29T00:00:00.000000Z"),
            (1_795_487_140, "2026-11-24T02:25:40.000000Z"),
            (4_107_542_400, "2100-03-01T00:00:00.000000Z"),
            (-1, "1969-12-31T23:59:59.000000Z"),
        ];
        for (seconds, text) in cases {
            assert_eq!(Timestamp::from_seconds(seconds).to_string(), text);
        }
    }

    #[test]
    fn an_answer_that_took_too_long_compares_nothing() {
        let at = Timestamp::from_seconds;
        assert_eq!(ahead_us(at(100), at(90), at(102)), Some(11_000_000));
        assert_eq!(ahead_us(at(100), at(200), at(100)), Some(-100_000_000));
        assert_eq!(ahead_us(at(100), at(90), at(103)), None);
        assert_eq!(ahead_us(at(100), at(90), at(99)), None);
    }

    proptest! {
        #[test]
        fn a_later_day_sorts_later_as_text(a in 0i64..200_000_000_000, b in 0i64..200_000_000_000) {
            let (a, b) = (Timestamp::from_seconds(a), Timestamp::from_seconds(b));
            prop_assert_eq!(a.cmp(&b), a.to_string().cmp(&b.to_string()));
        }

        #[test]
        fn since_undoes_plus(at in any::<i32>(), span_us in any::<u32>()) {
            let at = Timestamp::from_micros(i64::from(at));
            let span = Duration::from_micros(u64::from(span_us));
            prop_assert_eq!(at.plus(span).since(at), span);
        }
    }
}
