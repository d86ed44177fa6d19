//! How many persons' keys may be opened: a bucket that fills with time. Pure.

use kernel::Timestamp;

/// How many persons' keys may be opened over the socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Opens {
    /// Each second, on the mean.
    pub per_s: u32,
    /// At once, after a rest.
    pub burst: u32,
}

impl Default for Opens {
    /// For a shop with 100,000 accounts: a core that starts fills its cache at once, and to empty
    /// the vault takes a quarter of an hour.
    fn default() -> Self {
        Self { per_s: 100, burst: 6_000 }
    }
}

const MICROS: i64 = 1_000_000;

/// The bucket, in millionths of an open.
#[derive(Debug)]
pub(crate) struct Bucket {
    opens: Opens,
    level: i64,
    at: Timestamp,
}

impl Bucket {
    pub(crate) fn new(opens: Opens, now: Timestamp) -> Self {
        Self { opens, level: i64::from(opens.burst) * MICROS, at: now }
    }

    /// Takes `count` opens, all or none; else the seconds until there are as many.
    pub(crate) fn take(&mut self, count: usize, now: Timestamp) -> Result<(), u32> {
        let full = i64::from(self.opens.burst) * MICROS;
        // A clock that was set back gives nothing.
        let passed = now.micros().saturating_sub(self.at.micros()).max(0);
        self.at = now;
        let more = passed.saturating_mul(i64::from(self.opens.per_s));
        self.level = self.level.saturating_add(more).min(full);
        let wanted = i64::try_from(count).unwrap_or(i64::MAX).saturating_mul(MICROS);
        if wanted <= self.level {
            self.level -= wanted;
            return Ok(());
        }
        let each_s = i64::from(self.opens.per_s.max(1)) * MICROS;
        let wait_s = (wanted - self.level).div_euclid(each_s) + 1;
        Err(u32::try_from(wait_s).unwrap_or(u32::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_seconds(seconds)
    }

    #[test]
    fn a_burst_then_so_many_a_second() {
        let mut bucket = Bucket::new(Opens { per_s: 10, burst: 100 }, at(0));
        assert_eq!(bucket.take(100, at(0)), Ok(()));
        assert_eq!(bucket.take(1, at(0)), Err(1));
        assert_eq!(bucket.take(25, at(0)), Err(3));
        assert_eq!(bucket.take(10, at(1)), Ok(()));
        assert_eq!(bucket.take(1, at(1)), Err(1));
        // a rest fills it, and no more than that
        assert_eq!(bucket.take(100, at(1_000)), Ok(()));
        assert_eq!(bucket.take(1, at(1_000)), Err(1));
        // a clock that was set back gives nothing
        assert_eq!(bucket.take(1, at(0)), Err(1));
        assert_eq!(bucket.take(1, at(1)), Ok(()));
    }

    #[test]
    fn a_shop_is_not_emptied_in_a_minute() {
        let opens = Opens::default();
        let mut bucket = Bucket::new(opens, at(0));
        let mut opened = 0;
        for tenth in 0..600 {
            let now = Timestamp::from_micros(tenth * 100_000);
            while bucket.take(1, now).is_ok() {
                opened += 1;
            }
        }
        assert!((11_000..=12_000).contains(&opened), "{opened}");
    }
}
