//! What this node counts alone.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use web::feed::Limit;

use super::keys::Keys;
use super::{Rule, Verdict};

/// The TATs of all keys.
#[derive(Debug)]
pub struct Ledger {
    tats: Keys<i64>,
    numbers: Mutex<HashMap<String, u64>>,
}

impl Ledger {
    /// Room for about `keys_max` keys.
    #[must_use]
    pub fn new(keys_max: usize) -> Self {
        Self { tats: Keys::new(keys_max), numbers: Mutex::default() }
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
        let key = self.tats.key(rule.number, who);
        self.tats.with(key, now_us, |tat| {
            let (next, verdict) = rule.gcra.decide(*tat, now_us);
            *tat = next;
            verdict
        })
    }

    /// How many keys are remembered.
    #[must_use]
    pub fn len(&self) -> usize {
        self.tats.len()
    }

    /// Whether none is.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

#[cfg(test)]
mod tests {
    use super::super::keys::{SAMPLE, SHARDS};
    use super::super::tests::limit;
    use super::*;

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
}
