//! A bounded map from keys that nobody outside can choose, in shards so that workers seldom meet.
//!
//! A full shard first forgets the keys that are at rest, which loses nothing, and then the one of a
//! few that is nearest to it.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::{Mutex, PoisonError};

/// Shards: enough that two workers seldom meet.
pub(super) const SHARDS: usize = 64;
/// Keys that are compared where one must go.
pub(super) const SAMPLE: usize = 8;

/// A value that says nothing any more after a while.
pub(super) trait Rests: Default {
    /// When it is as if it had never been.
    fn rests_at_us(&self) -> i64;
}

/// A TAT by itself.
impl Rests for i64 {
    fn rests_at_us(&self) -> i64 {
        *self
    }
}

type Shard<V> = Mutex<HashMap<u128, V, Pass>>;

/// Values by key.
#[derive(Debug)]
pub(super) struct Keys<V> {
    shards: Vec<Shard<V>>,
    shard_max: usize,
    seeds: (RandomState, RandomState),
}

impl<V: Rests> Keys<V> {
    /// Room for about `keys_max` keys.
    pub(super) fn new(keys_max: usize) -> Self {
        Self {
            shards: (0..SHARDS).map(|_| Mutex::default()).collect(),
            shard_max: (keys_max / SHARDS).max(SAMPLE),
            seeds: (RandomState::new(), RandomState::new()),
        }
    }

    /// The key of `who` under a rule.
    pub(super) fn key(&self, rule: u64, who: &[u8; 16]) -> u128 {
        // Two keyed hashes of 64 bits: nobody can choose a key that falls on another's.
        let key = (rule, who);
        let (high, low) = (self.seeds.0.hash_one(key), self.seeds.1.hash_one(key));
        u128::from(high) << 64 | u128::from(low)
    }

    /// Works with the value of a key, a new one where there is none yet.
    pub(super) fn with<T>(&self, key: u128, now_us: i64, work: impl FnOnce(&mut V) -> T) -> T {
        let at = usize::try_from((key & u128::from(u64::MAX)) >> 58).unwrap_or(0);
        let Some(shard) = self.shards.get(at) else { return work(&mut V::default()) };
        let mut shard = shard.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(value) = shard.get_mut(&key) {
            return work(value);
        }
        if shard.len() >= self.shard_max {
            make_room(&mut shard, now_us);
        }
        work(shard.entry(key).or_default())
    }

    /// How many are remembered.
    pub(super) fn len(&self) -> usize {
        let lens =
            self.shards.iter().map(|s| s.lock().unwrap_or_else(PoisonError::into_inner).len());
        lens.sum()
    }
}

fn make_room<V: Rests>(shard: &mut HashMap<u128, V, Pass>, now_us: i64) {
    let before = shard.len();
    shard.retain(|_, value| value.rests_at_us() > now_us);
    if shard.len() < before {
        return;
    }
    let sample = shard.iter().take(SAMPLE);
    let nearest = sample.min_by_key(|(_, value)| value.rests_at_us()).map(|(key, _)| *key);
    if let Some(key) = nearest {
        shard.remove(&key);
    }
}

/// Keys are hashes already.
#[derive(Clone, Copy, Debug, Default)]
struct Pass;

impl BuildHasher for Pass {
    type Hasher = PassHasher;

    fn build_hasher(&self) -> PassHasher {
        PassHasher(0)
    }
}

#[derive(Debug)]
struct PassHasher(u64);

impl std::hash::Hasher for PassHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(*byte);
        }
    }

    fn write_u128(&mut self, value: u128) {
        self.0 = (value >> 64) as u64;
    }
}
