//! Limits by GCRA: one number per key, the theoretical arrival time (TAT), says all there is.
//!
//! Bounded: a full shard first forgets the keys that are back at rest, which loses nothing, and
//! then the one of a few that is nearest to it.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::{Mutex, PoisonError};

use http::HeaderValue;
use web::feed::Limit;

/// Shards: enough that two workers seldom meet.
const SHARDS: usize = 64;
/// Keys that are compared where one must go.
const SAMPLE: usize = 8;

/// One limit, in the numbers that GCRA works with. Times in microseconds.
#[derive(Clone, Debug)]
pub struct Rule {
    /// The limit as configured.
    pub limit: Limit,
    /// One request's share of the window, times its cost.
    increment_us: i64,
    /// How far the TAT may run ahead.
    tolerance_us: i64,
    /// One request of cost 1.
    emission_us: i64,
    /// The number under which the rule's keys are kept; the same name is the same number.
    pub(crate) number: u64,
    /// `"name";q=100;w=60` for RateLimit-Policy.
    pub policy: String,
    /// `limit.name`, for observations.
    pub observed: std::sync::Arc<str>,
}

impl Rule {
    /// The rule of a limit.
    #[must_use]
    pub fn new(limit: Limit, number: u64) -> Self {
        let window_us = i64::from(limit.window_s).saturating_mul(1_000_000);
        let emission_us = (window_us / i64::from(limit.requests.max(1))).max(1);
        let burst = if limit.burst == 0 { limit.requests } else { limit.burst };
        let policy = format!("\"{}\";q={burst};w={}", limit.name, limit.window_s);
        let observed = format!("limit.{}", limit.name).into();
        Self {
            increment_us: emission_us.saturating_mul(i64::from(limit.cost)),
            tolerance_us: emission_us.saturating_mul(i64::from(burst)),
            emission_us,
            number,
            policy,
            observed,
            limit,
        }
    }

    /// What GCRA says at `now_us` of a key whose TAT is `tat_us`: the new TAT, and the verdict.
    #[must_use]
    pub fn decide(&self, tat_us: i64, now_us: i64) -> (i64, Verdict) {
        let base = tat_us.max(now_us);
        let next = base.saturating_add(self.increment_us);
        let ahead = next.saturating_sub(now_us);
        let allowed = ahead <= self.tolerance_us;
        let tat = if allowed { next } else { base };
        let used = tat.saturating_sub(now_us);
        let left = self.tolerance_us.saturating_sub(used).max(0) / self.emission_us;
        let wait_us = if allowed { 0 } else { ahead.saturating_sub(self.tolerance_us) };
        (tat, Verdict { allowed, left, reset_us: used, wait_us })
    }
}

/// What a limit says to one request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// Whether it may pass.
    pub allowed: bool,
    /// How many more of cost 1 may pass now.
    pub left: i64,
    /// Until the whole quota is there again, in microseconds.
    pub reset_us: i64,
    /// Until this request would pass, in microseconds; 0 where it does.
    pub wait_us: i64,
}

impl Verdict {
    /// Whole seconds to wait, rounded up, at least 1.
    #[must_use]
    pub fn retry_after_s(&self) -> u32 {
        u32::try_from(self.wait_us.saturating_add(999_999) / 1_000_000).unwrap_or(u32::MAX).max(1)
    }
}

type Shard = Mutex<HashMap<u128, i64, Pass>>;

/// The TATs of all keys.
#[derive(Debug)]
pub struct Ledger {
    shards: Vec<Shard>,
    shard_max: usize,
    seeds: (RandomState, RandomState),
    numbers: Mutex<HashMap<String, u64>>,
}

impl Ledger {
    /// Room for about `keys_max` keys.
    #[must_use]
    pub fn new(keys_max: usize) -> Self {
        Self {
            shards: (0..SHARDS).map(|_| Mutex::default()).collect(),
            shard_max: (keys_max / SHARDS).max(SAMPLE),
            seeds: (RandomState::new(), RandomState::new()),
            numbers: Mutex::default(),
        }
    }

    /// The rule of a limit; counts survive a change of the route table, by the limit's name.
    #[must_use]
    pub fn rule(&self, limit: &Limit) -> Rule {
        let mut numbers = self.numbers.lock().unwrap_or_else(PoisonError::into_inner);
        let next = u64::try_from(numbers.len()).unwrap_or(u64::MAX);
        let number = *numbers.entry(limit.name.clone()).or_insert(next);
        Rule::new(limit.clone(), number)
    }

    /// Counts one request of `who` under a rule.
    pub fn count(&self, rule: &Rule, who: &[u8; 16], now_us: i64) -> Verdict {
        // Two keyed hashes of 64 bits: nobody can choose a key that falls on another's.
        let key = (rule.number, who);
        let (high, low) = (self.seeds.0.hash_one(key), self.seeds.1.hash_one(key));
        let key = u128::from(high) << 64 | u128::from(low);
        let shard = usize::try_from(low >> 58).unwrap_or(0);
        let Some(shard) = self.shards.get(shard) else { return rule.decide(0, now_us).1 };
        let mut shard = shard.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(tat) = shard.get_mut(&key) {
            let (next, verdict) = rule.decide(*tat, now_us);
            *tat = next;
            return verdict;
        }
        if shard.len() >= self.shard_max {
            make_room(&mut shard, now_us);
        }
        let (tat, verdict) = rule.decide(0, now_us);
        shard.insert(key, tat);
        verdict
    }

    /// How many keys are remembered.
    #[must_use]
    pub fn len(&self) -> usize {
        let lens =
            self.shards.iter().map(|s| s.lock().unwrap_or_else(PoisonError::into_inner).len());
        lens.sum()
    }

    /// Whether none is.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

fn make_room(shard: &mut HashMap<u128, i64, Pass>, now_us: i64) {
    let before = shard.len();
    shard.retain(|_, tat| *tat > now_us);
    if shard.len() < before {
        return;
    }
    let nearest = shard.iter().take(SAMPLE).min_by_key(|(_, tat)| **tat).map(|(key, _)| *key);
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

/// What the answer says of the limits that counted the request
/// (draft-ietf-httpapi-ratelimit-headers-11).
#[derive(Clone, Debug, Default)]
pub struct Told {
    line: Vec<u8>,
}

impl Told {
    /// Adds one limit: `"name";r=50;t=30`.
    pub fn add(&mut self, rule: &Rule, verdict: Verdict) {
        if self.line.is_empty() {
            self.line.reserve(48);
        } else {
            self.line.extend_from_slice(b", ");
        }
        self.line.push(b'"');
        self.line.extend_from_slice(rule.limit.name.as_bytes());
        self.line.extend_from_slice(b"\";r=");
        push_decimal(&mut self.line, verdict.left);
        self.line.extend_from_slice(b";t=");
        push_decimal(&mut self.line, verdict.reset_us.saturating_add(999_999) / 1_000_000);
    }

    /// The value of `RateLimit`; none where nothing counted.
    #[must_use]
    pub fn value(self) -> Option<HeaderValue> {
        if self.line.is_empty() {
            return None;
        }
        HeaderValue::from_maybe_shared(bytes::Bytes::from(self.line)).ok()
    }
}

/// Writes a number in decimal; negative ones as 0.
pub(crate) fn push_decimal(line: &mut Vec<u8>, value: i64) {
    let mut digits = [0u8; 20];
    let mut left = u64::try_from(value).unwrap_or(0);
    let mut count = 0usize;
    for digit in digits.iter_mut().rev() {
        *digit = b'0' + u8::try_from(left % 10).unwrap_or(0);
        left /= 10;
        count = count.saturating_add(1);
        if left == 0 {
            break;
        }
    }
    line.extend_from_slice(digits.get(20usize.saturating_sub(count)..).unwrap_or_default());
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use web::feed::Per;

    use super::*;

    fn limit(requests: u32, window_s: u32, burst: u32) -> Limit {
        Limit { name: "l".to_owned(), per: Per::Client, requests, window_s, burst, cost: 1 }
    }

    #[test]
    fn a_burst_then_the_rate() {
        let ledger = Ledger::new(1_000);
        let rule = ledger.rule(&limit(60, 60, 3));
        let count = |now_s: i64| ledger.count(&rule, &[1; 16], now_s * 1_000_000);
        assert_eq!((0..3).map(|_| count(100).left).collect::<Vec<_>>(), [2, 1, 0]);
        let refused = count(100);
        assert!(!refused.allowed);
        assert_eq!(refused.retry_after_s(), 1);
        assert!(count(101).allowed);
        assert!(!count(101).allowed);
        assert_eq!(count(200).left, 2);
    }

    #[test]
    fn a_full_ledger_forgets_who_is_at_rest() {
        let ledger = Ledger::new(SHARDS * SAMPLE);
        let rule = ledger.rule(&limit(1, 1, 1));
        for number in 0..20_000u128 {
            ledger.count(&rule, &number.to_be_bytes(), i64::try_from(number).unwrap());
        }
        assert!(ledger.len() <= SHARDS * SAMPLE);
    }

    #[test]
    fn the_headers_say_what_is_left() {
        let rule = Rule::new(limit(100, 60, 0), 0);
        assert_eq!(rule.policy, "\"l\";q=100;w=60");
        let mut told = Told::default();
        told.add(&rule, Verdict { allowed: true, left: 50, reset_us: 29_500_000, wait_us: 0 });
        told.add(&rule, Verdict { allowed: true, left: 0, reset_us: 0, wait_us: 0 });
        assert_eq!(told.value().unwrap(), "\"l\";r=50;t=30, \"l\";r=0;t=0");
    }

    proptest! {
        // Never more than burst + rate × time, whatever the arrivals.
        #[test]
        fn never_more_than_the_limit(
            gaps in proptest::collection::vec(0i64..3_000_000, 1..200), burst in 1u32..20,
        ) {
            let rule = Rule::new(limit(10, 10, burst), 0);
            let (mut tat, mut now, mut passed) = (0, 1_000_000_000, 0i64);
            let begin = now;
            for gap in gaps {
                now += gap;
                let (next, verdict) = rule.decide(tat, now);
                tat = next;
                passed += i64::from(verdict.allowed);
                prop_assert!(passed <= i64::from(burst) + (now - begin) / 1_000_000);
                prop_assert!(verdict.left <= i64::from(burst));
            }
        }
    }
}
