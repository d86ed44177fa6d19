//! Unwrapped subject keys, so that sealing and opening need not wait. Bounded: the least lately
//! used go first. Dropped keys are wiped (aws-lc wipes a key schedule when it frees it).

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use kernel::{KeyId, Timestamp};
use meter::Counter;
use spine::Subject;

use crate::aead::Cipher;

/// A subject's key, ready to use.
pub(crate) struct SubjectKey {
    pub(crate) id: KeyId,
    pub(crate) cipher: Cipher,
    /// Seals by this process since the key was fetched.
    pub(crate) seals: AtomicU64,
}

/// What is known of a subject.
#[derive(Clone)]
pub(crate) enum Held {
    Key(Arc<SubjectKey>),
    Erased,
    /// There is no row: never made, or lost. Looked for again by each resolve.
    Missing,
}

struct Entry {
    held: Held,
    fetched_at: Timestamp,
    /// The cache's tick when it was last used.
    used_at: AtomicU64,
}

#[derive(Default)]
struct Inner {
    entries: HashMap<Subject, Entry>,
    /// Raised by each removal: what was read before it may no longer be put in.
    generation: u64,
}

/// The cache.
pub(crate) struct Cache {
    inner: RwLock<Inner>,
    /// Counts uses: their order, whatever the clock does.
    ticks: AtomicU64,
    keys_max: usize,
    /// Subjects that were asked for and held, and those that had to be read.
    hits: Counter,
    misses: Counter,
    /// How old an entry may be before it is read again; twice that, and it is not used.
    recheck: Duration,
}

impl Cache {
    pub(crate) fn new(keys_max: usize, recheck: Duration) -> Self {
        Self {
            inner: RwLock::default(),
            ticks: AtomicU64::new(0),
            keys_max: keys_max.max(1),
            hits: Counter::default(),
            misses: Counter::default(),
            recheck,
        }
    }

    /// The most keys that it holds.
    pub(crate) const fn keys_max(&self) -> usize {
        self.keys_max
    }

    /// How many subjects that were asked for it held, and how many had to be read.
    pub(crate) fn meters(&self) -> (u64, u64) {
        (self.hits.get(), self.misses.get())
    }

    /// How many it holds.
    pub(crate) fn len(&self) -> usize {
        self.inner.read().unwrap_or_else(PoisonError::into_inner).entries.len()
    }

    /// What is known of a subject, unless that is too old to act on.
    pub(crate) fn find(&self, subject: Subject, now: Timestamp) -> Option<Held> {
        let inner = self.inner.read().unwrap_or_else(PoisonError::into_inner);
        let entry = inner.entries.get(&subject)?;
        if age(entry, now) > self.recheck.saturating_mul(2) {
            return None;
        }
        entry.used_at.store(self.tick(), Ordering::Relaxed);
        Some(entry.held.clone())
    }

    /// The key of a subject that was fetched before, however long ago: where its row still stands
    /// and names it, it need not be opened again.
    pub(crate) fn known(&self, subject: Subject, key: KeyId) -> Option<Held> {
        let inner = self.inner.read().unwrap_or_else(PoisonError::into_inner);
        match &inner.entries.get(&subject)?.held {
            held @ Held::Key(known) if known.id == key => Some(held.clone()),
            Held::Key(_) | Held::Erased | Held::Missing => None,
        }
    }

    /// Those of `subjects` that must be read (again), each once; and the generation to put them in
    /// with.
    pub(crate) fn missing(&self, subjects: &[Subject], now: Timestamp) -> (Vec<Subject>, u64) {
        let inner = self.inner.read().unwrap_or_else(PoisonError::into_inner);
        let stale = |subject: &Subject| match inner.entries.get(subject) {
            Some(Entry { held: Held::Missing, .. }) | None => true,
            Some(entry) if age(entry, now) <= self.recheck => {
                entry.used_at.store(self.tick(), Ordering::Relaxed);
                false
            }
            Some(_) => true,
        };
        let mut missing: Vec<Subject> = subjects.iter().copied().filter(stale).collect();
        let count = |many: usize| u64::try_from(many).unwrap_or(u64::MAX);
        self.hits.add(count(subjects.len().saturating_sub(missing.len())));
        self.misses.add(count(missing.len()));
        missing.sort_unstable();
        missing.dedup();
        (missing, inner.generation)
    }

    /// Puts in what was read at `generation`. False, and nothing put in, where something was
    /// removed since: it may be what was read.
    pub(crate) fn put(&self, found: Vec<(Subject, Held)>, generation: u64, now: Timestamp) -> bool {
        let mut inner = self.inner.write().unwrap_or_else(PoisonError::into_inner);
        if inner.generation != generation {
            return false;
        }
        for (subject, held) in found {
            self.make_room(&mut inner.entries);
            let used_at = AtomicU64::new(self.tick());
            inner.entries.insert(subject, Entry { held, fetched_at: now, used_at });
        }
        true
    }

    /// Forgets a subject, so that it is read again.
    pub(crate) fn remove(&self, subject: Subject) {
        let mut inner = self.inner.write().unwrap_or_else(PoisonError::into_inner);
        inner.generation += 1;
        inner.entries.remove(&subject);
    }

    /// Forgets the days before `day`.
    pub(crate) fn remove_days(&self, before: i64) {
        let mut inner = self.inner.write().unwrap_or_else(PoisonError::into_inner);
        inner.generation += 1;
        inner.entries.retain(|subject, _| !matches!(subject, Subject::Day(day) if *day < before));
    }

    fn tick(&self) -> u64 {
        self.ticks.fetch_add(1, Ordering::Relaxed)
    }

    /// Drops the sixteenth that was used the longest ago, where it is full.
    fn make_room(&self, entries: &mut HashMap<Subject, Entry>) {
        if entries.len() < self.keys_max {
            return;
        }
        let mut by_use: Vec<(u64, Subject)> = entries
            .iter()
            .map(|(subject, entry)| (entry.used_at.load(Ordering::Relaxed), *subject))
            .collect();
        let leaving = (self.keys_max / 16).max(1).min(by_use.len());
        if leaving < by_use.len() {
            by_use.select_nth_unstable(leaving);
        }
        for (_, subject) in by_use.into_iter().take(leaving) {
            entries.remove(&subject);
        }
    }
}

/// The age of an entry, either way: a clock that was set back must not make a key immortal.
fn age(entry: &Entry, now: Timestamp) -> Duration {
    Duration::from_micros(entry.fetched_at.micros().abs_diff(now.micros()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const RECHECK: Duration = Duration::from_secs(10);

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_seconds(seconds)
    }

    // V7
    #[test]
    fn never_holds_more_than_its_bound_and_keeps_what_is_used() {
        let cache = Cache::new(32, RECHECK);
        for day in 0..1000 {
            assert!(cache.put(vec![(Subject::Day(day), Held::Erased)], 0, at(day / 100)));
            let _ = cache.find(Subject::Day(0), at(day / 100));
            assert!(cache.len() <= 32);
        }
        assert!(cache.find(Subject::Day(999), at(10)).is_some());
        assert!(cache.find(Subject::Day(1), at(10)).is_none());
    }

    // V5
    #[test]
    fn what_was_read_before_a_removal_is_not_put_in() {
        let cache = Cache::new(32, RECHECK);
        let (missing, generation) = cache.missing(&[Subject::Day(1), Subject::Day(1)], at(0));
        assert_eq!(missing, [Subject::Day(1)]);
        cache.remove(Subject::Day(1));
        assert!(!cache.put(vec![(Subject::Day(1), Held::Erased)], generation, at(0)));
        assert_eq!(cache.len(), 0);
    }

    // V5
    #[test]
    fn an_old_entry_is_read_again_then_not_used() {
        let cache = Cache::new(32, RECHECK);
        assert!(cache.put(vec![(Subject::Day(1), Held::Erased)], 0, at(100)));
        let missing = |now| cache.missing(&[Subject::Day(1)], at(now)).0.len();
        assert_eq!((missing(110), missing(111), missing(80)), (0, 1, 1));
        assert!(cache.find(Subject::Day(1), at(120)).is_some());
        assert!(cache.find(Subject::Day(1), at(121)).is_none());
    }
}
