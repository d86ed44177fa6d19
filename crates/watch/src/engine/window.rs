//! One key's sliding window: counts in a ring of twelve buckets, and the different things of a
//! window with the bucket in which each was last seen.
//!
//! A window of W seconds covers between 11/12 W and W: the present bucket and the eleven before it.
//! An event that comes late is counted where it belongs, or not at all once its bucket has passed.

use kernel::{EventId, Timestamp};

use crate::rule::{Measure, Rule};

/// Buckets of a window.
pub(crate) const BUCKETS: u32 = 12;
const RING: usize = 12;
/// Events that are kept as evidence.
pub(crate) const TRAIL_MAX: usize = 20;

/// The numbers of a rule that its windows need.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shape {
    width_us: i64,
    quiet_us: i64,
    things_max: usize,
}

impl Shape {
    pub(crate) fn of(rule: &Rule) -> Self {
        let width_us = (i64::from(rule.window_s) * 1_000_000 / i64::from(BUCKETS)).max(1_000_000);
        let most = rule.threshold.max(rule.excuse_max).saturating_mul(4).clamp(64, 2_048);
        let things_max = match rule.measure {
            Measure::Events => 0,
            Measure::Accounts | Measure::Clients => usize::try_from(most).unwrap_or(64),
        };
        let quiet_us = i64::from(rule.answer_ttl_s) * 1_000_000;
        Self { width_us, quiet_us, things_max }
    }

    /// The bucket of a moment: never 0, which stands for none.
    pub(crate) fn bucket(&self, at: Timestamp) -> u32 {
        u32::try_from(at.micros().div_euclid(self.width_us)).unwrap_or(0).max(1)
    }
}

/// A thing of a window, and when it was last seen with which meaning.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) thing: u64,
    /// The last bucket in which it was bad and not good since; 0 for none.
    pub(super) bad: u32,
    /// The last bucket in which it was good; 0 for none.
    pub(super) good: u32,
    /// The bucket in which it made its rule fire; 0 for none.
    pub(super) fired: u32,
}

impl Entry {
    fn newest(&self) -> u32 {
        self.bad.max(self.good).max(self.fired)
    }
}

/// What stands in a window.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Amounts {
    pub(crate) bad: u32,
    pub(crate) good: u32,
    pub(crate) bad_things: u32,
    pub(crate) good_things: u32,
}

/// One key's window.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Window {
    /// The newest bucket.
    pub(super) head: u32,
    pub(super) bad: [u32; RING],
    pub(super) good: [u32; RING],
    pub(super) things: Vec<Entry>,
    pub(super) trail: Vec<EventId>,
    /// Until when the key was answered.
    pub(super) quiet_until: Timestamp,
    pub(super) last_at: Timestamp,
    /// Whether it waits to be written. Not part of what is written.
    pub(super) changed: bool,
}

const fn slot(bucket: u32) -> usize {
    (bucket % BUCKETS) as usize
}

impl Window {
    /// Whether the bucket is one of the window's twelve. What is not has passed: it is not counted.
    pub(super) const fn covers(&self, bucket: u32) -> bool {
        bucket <= self.head && bucket.saturating_add(BUCKETS) > self.head && bucket > 0
    }

    /// Moves on to `bucket`, and forgets what has passed. A bucket that has passed changes nothing.
    pub(super) fn advance(&mut self, bucket: u32) {
        if bucket <= self.head {
            return;
        }
        let steps = (bucket - self.head).min(BUCKETS);
        for step in 0..steps {
            let slot = slot(bucket - step);
            for ring in [&mut self.bad, &mut self.good] {
                if let Some(count) = ring.get_mut(slot) {
                    *count = 0;
                }
            }
        }
        self.head = bucket;
        if !self.things.is_empty() {
            let oldest = bucket.saturating_sub(BUCKETS - 1);
            self.things.retain(|entry| entry.newest() >= oldest);
        }
        if steps == BUCKETS {
            self.trail.clear();
        }
    }

    pub(super) fn add_bad(&mut self, shape: Shape, bucket: u32, weight: u32, thing: Option<u64>) {
        add(&mut self.bad, bucket, weight);
        if let Some(entry) = self.entry(shape, thing) {
            entry.bad = entry.bad.max(bucket);
        }
    }

    pub(super) fn add_good(&mut self, shape: Shape, bucket: u32, weight: u32, thing: Option<u64>) {
        add(&mut self.good, bucket, weight);
        if let Some(entry) = self.entry(shape, thing) {
            entry.good = entry.good.max(bucket);
            entry.bad = 0;
        }
    }

    /// The entry of a thing, made where there is none. In a full window the one that was not seen
    /// for longest goes, whatever it meant: so the shares stay what they were.
    fn entry(&mut self, shape: Shape, thing: Option<u64>) -> Option<&mut Entry> {
        let thing = thing?;
        if let Some(at) = self.things.iter().position(|entry| entry.thing == thing) {
            return self.things.get_mut(at);
        }
        if self.things.len() >= shape.things_max {
            let oldest = self.things.iter().enumerate().min_by_key(|(_, entry)| entry.newest());
            let (at, _) = oldest?;
            self.things.swap_remove(at);
        }
        self.things.push(Entry { thing, bad: 0, good: 0, fired: 0 });
        self.things.last_mut()
    }

    /// Whether there cannot be as many things as the rule wants, by how many are remembered at all.
    pub(super) fn is_short_of(&self, rule: &Rule) -> bool {
        let wanted = usize::try_from(rule.threshold).unwrap_or(usize::MAX);
        match rule.measure {
            Measure::Events => false,
            Measure::Accounts | Measure::Clients => self.things.len() < wanted,
        }
    }

    /// Whether nothing bad is remembered, nor that something was answered.
    pub(super) fn is_innocent(&self) -> bool {
        self.bad.iter().all(|count| *count == 0)
            && self.quiet_until <= self.last_at
            && self.things.iter().all(|entry| entry.bad == 0 && entry.fired == 0)
    }

    pub(super) fn amounts(&self) -> Amounts {
        let sum =
            |ring: &[u32; RING]| ring.iter().fold(0_u32, |sum, count| sum.saturating_add(*count));
        let count = |which: fn(&Entry) -> u32| {
            let live = self.things.iter().filter(|entry| self.covers(which(entry))).count();
            u32::try_from(live).unwrap_or(u32::MAX)
        };
        Amounts {
            bad: sum(&self.bad),
            good: sum(&self.good),
            bad_things: count(|entry| entry.bad),
            good_things: count(|entry| entry.good),
        }
    }

    /// Keeps an event as evidence; the oldest goes.
    pub(super) fn note(&mut self, id: EventId) {
        if self.trail.len() >= TRAIL_MAX {
            self.trail.remove(0);
        }
        self.trail.push(id);
    }

    /// Whether the key may be answered now; it is quiet from then on. With a thing, each thing is
    /// answered once in a window.
    pub(super) fn may_fire(&mut self, shape: Shape, at: Timestamp, thing: Option<u64>) -> bool {
        let head = self.head;
        if let Some(thing) = thing {
            let Some(entry) = self.things.iter_mut().find(|entry| entry.thing == thing) else {
                return false;
            };
            let fired = entry.fired > 0 && entry.fired.saturating_add(BUCKETS) > head;
            entry.fired = if fired { entry.fired } else { head };
            return !fired;
        }
        if at < self.quiet_until {
            return false;
        }
        self.quiet_until = Timestamp::from_micros(at.micros().saturating_add(shape.quiet_us));
        true
    }
}

fn add(ring: &mut [u32; RING], bucket: u32, weight: u32) {
    if let Some(count) = ring.get_mut(slot(bucket)) {
        *count = count.saturating_add(weight);
    }
}
