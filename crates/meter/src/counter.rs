//! What is counted. Relaxed atomics: each number is right by itself, and no two are read together.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// A number that only grows.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// One more.
    pub fn inc(&self) {
        self.add(1);
    }

    /// So many more.
    pub fn add(&self, many: u64) {
        self.0.fetch_add(many, Ordering::Relaxed);
    }

    /// How many so far.
    #[must_use]
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// The upper bounds of a [`Histogram`]'s buckets, seconds; one more bucket takes the rest.
pub const BOUNDS_S: [f64; 14] =
    [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];

/// How long something took, by buckets.
#[derive(Debug, Default)]
pub struct Histogram {
    buckets: [AtomicU64; BOUNDS_S.len() + 1],
    sum_us: AtomicU64,
}

impl Histogram {
    /// Something took so long.
    pub fn observe(&self, span: Duration) {
        let seconds = span.as_secs_f64();
        let place = BOUNDS_S.partition_point(|bound| *bound < seconds);
        if let Some(bucket) = self.buckets.get(place) {
            bucket.fetch_add(1, Ordering::Relaxed);
        }
        let micros = u64::try_from(span.as_micros()).unwrap_or(u64::MAX);
        self.sum_us.fetch_add(micros, Ordering::Relaxed);
    }

    /// What it holds now.
    #[must_use]
    pub fn read(&self) -> Buckets {
        let mut so_far = 0;
        let grown = |bucket: &AtomicU64| {
            so_far += bucket.load(Ordering::Relaxed);
            so_far
        };
        let cumulated = self.buckets.iter().map(grown).collect();
        let sum = Duration::from_micros(self.sum_us.load(Ordering::Relaxed));
        Buckets { cumulated, sum_s: sum.as_secs_f64() }
    }
}

/// What a [`Histogram`] held at a moment; it travels between processes.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Buckets {
    /// How many were as fast as each bound or faster; the last is all of them.
    pub cumulated: Vec<u64>,
    /// How long all of them took together, seconds.
    pub sum_s: f64,
}

/// Values by a name that is known only at run time, such as a kind of event or a limit: at most so
/// many names, the rest together under [`Named::OTHER`]. Whoever counts often keeps what
/// [`Named::of`] gave it.
#[derive(Debug)]
pub struct Named<T> {
    most: usize,
    known: RwLock<BTreeMap<String, Arc<T>>>,
}

impl<T: Default> Named<T> {
    /// What comes after the last name that is kept.
    pub const OTHER: &'static str = "(other)";

    /// At most so many names.
    #[must_use]
    pub fn at_most(most: usize) -> Self {
        Self { most, known: RwLock::default() }
    }

    /// The value of a name, made where it is new.
    pub fn of(&self, name: &str) -> Arc<T> {
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(value) = known.get(name) {
            return Arc::clone(value);
        }
        drop(known);
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        let is_new = !known.contains_key(name);
        let name = if is_new && known.len() >= self.most { Self::OTHER } else { name };
        Arc::clone(known.entry(name.to_owned()).or_default())
    }

    /// All of them, in order of name.
    #[must_use]
    pub fn all(&self) -> Vec<(String, Arc<T>)> {
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        known.iter().map(|(name, value)| (name.clone(), Arc::clone(value))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_span_stands_in_the_first_bucket_that_holds_it() {
        let histogram = Histogram::default();
        for micros in [500, 501, 1_000, 10_000_000, 10_000_001] {
            histogram.observe(Duration::from_micros(micros));
        }
        let Buckets { cumulated, sum_s } = histogram.read();
        assert_eq!(cumulated[..3], [1, 3, 3]);
        assert_eq!(cumulated[13..], [4, 5]);
        assert!((sum_s - 20.002_002).abs() < 1e-9);
    }

    #[test]
    fn names_are_bounded() {
        let named = Named::<Counter>::at_most(2);
        for name in ["a", "b", "c", "d", "a"] {
            named.of(name).inc();
        }
        let all: Vec<(String, u64)> =
            named.all().into_iter().map(|(name, count)| (name, count.get())).collect();
        let expected = [("(other)", 2), ("a", 2), ("b", 1)];
        assert_eq!(all, expected.map(|(name, count)| (name.to_owned(), count)));
    }
}
