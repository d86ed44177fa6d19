//! Limits by GCRA: one number per key, the theoretical arrival time (TAT), says all there is.
//!
//! [`Ledger`] counts what this node counts alone. What nodes count together goes over the
//! [`Desk`], which asks the shared store and keeps what a node has taken ahead as a [`Lease`].

use http::HeaderValue;
use web::feed::{Limit, Sharing, WithoutStore};

mod desk;
mod keys;
mod lease;
mod ledger;

pub use desk::{Desk, Line, Said};
pub use lease::{Asked, Lease, Spare, Step, Terms};
pub use ledger::Ledger;

/// The longest burst, so that every sum stays exact in a shared store that counts in doubles: about
/// 31 years.
const TOLERANCE_MAX_US: i64 = 1_000_000_000_000_000;

/// The numbers of one limit. Times in microseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gcra {
    /// One request's share of the window, times its cost.
    increment_us: i64,
    /// How far the TAT may run ahead.
    tolerance_us: i64,
    /// One request of cost 1.
    emission_us: i64,
}

impl Gcra {
    /// The numbers of a limit.
    #[must_use]
    pub fn new(limit: &Limit) -> Self {
        let window_us = i64::from(limit.window_s).saturating_mul(1_000_000);
        let emission_us = (window_us / i64::from(limit.requests.max(1))).max(1);
        let tolerance_us = emission_us.saturating_mul(i64::from(burst(limit)));
        Self {
            increment_us: emission_us.saturating_mul(i64::from(limit.cost)),
            tolerance_us: tolerance_us.min(TOLERANCE_MAX_US),
            emission_us,
        }
    }

    /// What GCRA says at `now_us` of a key whose TAT is `tat_us`: the new TAT, and the verdict.
    #[must_use]
    pub fn decide(&self, tat_us: i64, now_us: i64) -> (i64, Verdict) {
        // A clock that was set back must not hold a client up for as long.
        let most = now_us.saturating_add(self.tolerance_us);
        let base = tat_us.min(most).max(now_us);
        let next = base.saturating_add(self.increment_us);
        let ahead = next.saturating_sub(now_us);
        let allowed = ahead <= self.tolerance_us;
        let tat = if allowed { next } else { base };
        let used = tat.saturating_sub(now_us);
        let left = self.tolerance_us.saturating_sub(used).max(0) / self.emission_us;
        let wait_us = if allowed { 0 } else { ahead.saturating_sub(self.tolerance_us) };
        (tat, Verdict { allowed, left, reset_us: used, wait_us })
    }

    /// One node's part where so many count and none hears of the others.
    #[must_use]
    fn part(self, nodes: u32) -> Self {
        let times = |span: i64| span.saturating_mul(i64::from(nodes.max(1)));
        Self {
            // A burst smaller than the nodes are many lets each of them pass one.
            increment_us: times(self.increment_us).min(self.tolerance_us),
            tolerance_us: self.tolerance_us,
            emission_us: times(self.emission_us).min(self.tolerance_us),
        }
    }
}

/// How many may come at once.
fn burst(limit: &Limit) -> u32 {
    if limit.burst == 0 { limit.requests } else { limit.burst }
}

/// One limit, ready to count.
#[derive(Clone, Debug)]
pub struct Rule {
    /// The limit as configured.
    pub limit: Limit,
    /// Its numbers.
    pub gcra: Gcra,
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
        let policy = format!("\"{}\";q={};w={}", limit.name, burst(&limit), limit.window_s);
        let observed = format!("limit.{}", limit.name).into();
        Self { gcra: Gcra::new(&limit), number, policy, observed, limit }
    }

    /// Whether all nodes count it together, where there is a store to do so.
    pub(crate) fn is_shared(&self) -> bool {
        self.limit.share != Sharing::Node
    }

    /// Whether requests are refused while the store does not answer.
    pub(crate) fn refuses_without_store(&self) -> bool {
        self.limit.without_store == WithoutStore::Refuse
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

    pub(super) fn limit(requests: u32, window_s: u32, burst: u32) -> Limit {
        Limit {
            name: "l".to_owned(),
            per: Per::Client,
            requests,
            window_s,
            burst,
            cost: 1,
            share: Sharing::Leased,
            without_store: WithoutStore::Local,
        }
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

    #[test]
    fn a_clock_that_is_set_back_holds_nobody_up() {
        let gcra = Gcra::new(&limit(600, 60, 0));
        let (hour, minute) = (3_600_000_000, 60_000_000);
        let mut tat = 0;
        for _ in 0..600 {
            tat = gcra.decide(tat, hour).0;
        }
        // The hour was wrong, and is put right: the same as after a burst, and no more.
        let (tat, verdict) = gcra.decide(tat, 0);
        assert!(!verdict.allowed && verdict.wait_us <= 200_000, "{verdict:?}");
        assert!(gcra.decide(tat, minute).1.allowed);
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
                let (next, verdict) = rule.gcra.decide(tat, now);
                tat = next;
                passed += i64::from(verdict.allowed);
                prop_assert!(passed <= i64::from(burst) + (now - begin) / 1_000_000);
                prop_assert!(verdict.left <= i64::from(burst));
            }
        }
    }
}
