//! How full the disk is, and when it will be: the straight line through what was seen in the last
//! days. A line is a simple thing: it knows nothing of tomorrow's sale. It is there to warn in time.

use std::collections::VecDeque;
use std::path::Path;
use std::time::Duration;

use kernel::Timestamp;
use spine::{FromRow, Row, Spine, StoreError, args};

use crate::error::Error;

spine::sql! {
    read SEEN =
        "SELECT at, free_bytes, total_bytes, database_bytes FROM observe_sample \
         WHERE node = $1 AND at >= $2 ORDER BY at DESC LIMIT $3";
    upkeep KEEP in observe_sample =
        "INSERT INTO observe_sample (node, at, free_bytes, total_bytes, database_bytes) \
         VALUES ($1, $2, $3, $4, $5) ON CONFLICT (node, at) DO NOTHING";
    upkeep FORGET in observe_sample = "DELETE FROM observe_sample WHERE at < $1";
}

/// How often a sample is kept.
pub(crate) const KEEP_EVERY: Duration = Duration::from_secs(600);
/// How long samples are kept.
const KEEP_FOR: Duration = Duration::from_secs(14 * 86_400);
/// How far back the line looks.
const LOOK_BACK: Duration = Duration::from_secs(7 * 86_400);
/// The shortest time that a line is drawn through.
const LEAST: Duration = Duration::from_secs(3_600);
/// A week of samples.
const SAMPLES_MAX: usize = 1_008;

/// What was seen of the disk at a moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sample {
    /// When.
    pub at: Timestamp,
    /// Bytes that the program may still write.
    pub free_bytes: i64,
    /// The size of the file system.
    pub total_bytes: i64,
    /// What the database takes, wherever it lies.
    pub database_bytes: i64,
}

impl FromRow for Sample {
    fn from_row(row: &Row) -> Result<Self, StoreError> {
        Ok(Self {
            at: row.time("at")?,
            free_bytes: row.int("free_bytes")?,
            total_bytes: row.int("total_bytes")?,
            database_bytes: row.int("database_bytes")?,
        })
    }
}

/// What the line says.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Forecast {
    /// How much less is free each day; negative where more and more is.
    pub used_per_day_bytes: f64,
    /// Days until nothing is free; none where that is more than ten years away, or never.
    pub full_in_days: Option<f64>,
}

/// The disk under the data folder.
#[derive(Clone, Debug, Default)]
pub struct Disk {
    samples: VecDeque<Sample>,
}

/// Free and all bytes of the file system that a folder lies on.
///
/// # Errors
/// As the system says.
pub fn space(folder: &Path) -> std::io::Result<(i64, i64)> {
    let found = rustix::fs::statvfs(folder)?;
    let bytes = |blocks: u64| i64::try_from(blocks.saturating_mul(found.f_frsize));
    // What is kept back for the root user is not ours to write.
    let (free, total) = (bytes(found.f_bavail), bytes(found.f_blocks));
    Ok((free.unwrap_or(i64::MAX), total.unwrap_or(i64::MAX)))
}

impl Disk {
    /// Adds what was seen; the newest sample stands in for that of the last ten minutes, so that
    /// memory is bounded.
    pub fn add(&mut self, sample: Sample) {
        let before = self.samples.iter().rev().nth(1);
        let replaces = before.is_some_and(|before| sample.at.since(before.at) < KEEP_EVERY);
        if replaces {
            self.samples.pop_back();
        }
        self.samples.push_back(sample);
        let horizon = sample.at.minus(LOOK_BACK);
        while self.samples.len() > SAMPLES_MAX
            || self.samples.front().is_some_and(|first| first.at < horizon)
        {
            self.samples.pop_front();
        }
    }

    /// What was seen last.
    #[must_use]
    pub fn last(&self) -> Option<Sample> {
        self.samples.back().copied()
    }

    /// What was seen, oldest first.
    pub fn samples(&self) -> impl Iterator<Item = &Sample> {
        self.samples.iter()
    }

    /// When it will be full, by the least squares of free bytes over time; none before an hour of
    /// samples.
    #[must_use]
    pub fn forecast(&self) -> Option<Forecast> {
        let (first, last) = (self.samples.front()?, self.samples.back()?);
        if last.at.since(first.at) < LEAST {
            return None;
        }
        let days = |at: Timestamp| at.since(first.at).as_secs_f64() / 86_400.0;
        let points: Vec<(f64, f64)> =
            self.samples.iter().map(|seen| (days(seen.at), real(seen.free_bytes))).collect();
        let many = real(i64::try_from(points.len()).unwrap_or(i64::MAX));
        let mean = |which: fn(&(f64, f64)) -> f64| points.iter().map(which).sum::<f64>() / many;
        let (mean_day, mean_free) = (mean(|point| point.0), mean(|point| point.1));
        let spread: f64 = points.iter().map(|(day, _)| (day - mean_day).powi(2)).sum();
        if spread <= 0.0 {
            return None;
        }
        let together: f64 =
            points.iter().map(|(day, free)| (day - mean_day) * (free - mean_free)).sum();
        let used_per_day_bytes = -together / spread;
        let full_in_days = (used_per_day_bytes > 0.0)
            .then(|| real(last.free_bytes).max(0.0) / used_per_day_bytes)
            .filter(|days| *days < 3_650.0);
        Some(Forecast { used_per_day_bytes, full_in_days })
    }

    /// What an operator should know of it now, in words; none where all is well.
    #[must_use]
    pub fn warning(&self) -> Option<String> {
        let last = self.last()?;
        let percent = real(last.free_bytes) * 100.0 / real(last.total_bytes.max(1));
        if percent < 10.0 {
            return Some(format!(
                "{percent:.1} % of the disk is free: make room, or move the data"
            ));
        }
        let days = self.forecast()?.full_in_days?;
        (days < 7.0).then(|| format!("as it fills now, the disk is full in {days:.1} days"))
    }

    /// The samples of the last days, as this node kept them.
    ///
    /// # Errors
    /// [`Error::Spine`].
    pub(crate) async fn load(spine: &Spine, node: &str, now: Timestamp) -> Result<Self, Error> {
        let most = i64::try_from(SAMPLES_MAX).unwrap_or(i64::MAX);
        let mut read = spine.read().await?;
        let seen: Vec<Sample> = read.all(&SEEN, args![node, now.minus(LOOK_BACK), most]).await?;
        Ok(Self { samples: seen.into_iter().rev().collect() })
    }
}

/// Keeps a sample, and forgets old ones of any node.
pub(crate) async fn keep(spine: &Spine, node: &str, sample: &Sample) -> Result<(), Error> {
    let Sample { at, free_bytes, total_bytes, database_bytes } = *sample;
    let mut upkeep = spine.upkeep().await?;
    upkeep.run(&KEEP, args![node, at, free_bytes, total_bytes, database_bytes]).await?;
    upkeep.run(&FORGET, args![at.minus(KEEP_FOR)]).await?;
    Ok(upkeep.commit().await?)
}

/// A count as a number with a point: exact up to 2^53.
#[expect(clippy::cast_precision_loss, reason = "a forecast is not exact anyway")]
const fn real(number: i64) -> f64 {
    number as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    const GIB: i64 = 1 << 30;

    /// A disk of 100 GiB that loses so many GiB a day, seen for so many hours.
    fn filling(free: i64, per_day: f64, hours: i64) -> Disk {
        let mut disk = Disk::default();
        for ten_minutes in 0..=hours * 6 {
            #[expect(clippy::cast_possible_truncation, reason = "a test's numbers are small")]
            let lost = (per_day * real(GIB) * real(ten_minutes) / 144.0) as i64;
            disk.add(Sample {
                at: Timestamp::from_seconds(ten_minutes * 600),
                free_bytes: free * GIB - lost,
                total_bytes: 100 * GIB,
                database_bytes: 0,
            });
        }
        disk
    }

    #[test]
    fn a_line_says_when_it_is_full() {
        let disk = filling(50, 10.0, 24);
        let forecast = disk.forecast().unwrap();
        assert!((forecast.used_per_day_bytes / real(GIB) - 10.0).abs() < 0.001, "{forecast:?}");
        assert!((forecast.full_in_days.unwrap() - 4.0).abs() < 0.01, "{forecast:?}");
        assert!(disk.warning().unwrap().contains("full in 4.0 days"));
    }

    #[test]
    fn a_calm_disk_warns_of_nothing_and_a_full_one_of_itself() {
        assert_eq!(filling(50, 0.5, 24).warning(), None);
        assert_eq!(filling(50, -3.0, 24).forecast().unwrap().full_in_days, None);
        assert!(filling(9, 0.0, 24).warning().unwrap().starts_with("9.0 %"));
    }

    #[test]
    fn nothing_is_foretold_from_minutes() {
        assert_eq!(filling(50, 10.0, 0).forecast(), None);
    }

    // O5
    #[test]
    fn samples_are_bounded() {
        let mut disk = filling(50, 1.0, 24 * 30);
        assert!(disk.samples().count() <= SAMPLES_MAX);
        let last = disk.last().unwrap();
        for second in 1..5_000 {
            disk.add(Sample { at: last.at.plus(Duration::from_secs(second)), ..last });
        }
        assert!(disk.samples().count() <= SAMPLES_MAX);
    }
}
