//! What one node knows and holds of one key that all nodes count together: pure, time is a value.
//!
//! Tokens that a node takes ahead are counted by the store at once, so that all nodes together never
//! spend more than the limit. Tokens that lie unused while the limit grows again would let a second
//! burst pass beside it; so a lease shrinks as fast as the limit grows. Only `slack` tokens stay: 1 %
//! of the burst, divided by the nodes. In any stretch of time no more pass than the limit and that
//! 1 %.

use super::keys::Rests;
use super::{Gcra, Rule, Verdict};

/// How long a refusal of the store is remembered: it might have lost its memory.
const REMEMBER_US: i64 = 10_000_000;
/// After so long a question is no longer waited for.
const ASKED_US: i64 = 1_000_000;
/// A lease that was not used for so long goes back.
const IDLE_US: i64 = 50_000;
/// How late a token that is given back may come to the store: it is worth nothing once its time is
/// over.
const BACK_US: i64 = 100_000;
/// The slack is divided by so many nodes at least: others may come.
const NODES_MIN: u32 = 4;
/// The most that one node takes ahead, as a part of the burst.
const LEASES: i64 = 8;

/// The numbers that a lease works with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Terms {
    /// The limit's.
    pub gcra: Gcra,
    /// What one request costs.
    pub cost: u32,
    /// Tokens that do not shrink; none where each request is asked for.
    pub slack: u32,
    /// The most tokens that are taken ahead; none where each request is asked for.
    pub most: u32,
}

impl Terms {
    /// The terms of a limit that so many nodes count.
    #[must_use]
    pub fn new(rule: &Rule, nodes: u32) -> Self {
        let (gcra, cost) = (rule.gcra, rule.limit.cost);
        if rule.limit.share != web::feed::Sharing::Leased {
            return Self { gcra, cost, slack: 0, most: 0 };
        }
        let burst = gcra.tolerance_us / gcra.emission_us;
        let nodes = i64::from(nodes.max(NODES_MIN));
        let slack = small(burst / 100 / nodes);
        Self { gcra, cost, slack, most: small(burst / LEASES).max(slack) }
    }

    fn span_us(&self, tokens: u32) -> i64 {
        self.gcra.emission_us.saturating_mul(i64::from(tokens))
    }
}

fn small(tokens: i64) -> u32 {
    u32::try_from(tokens.max(0)).unwrap_or(u32::MAX)
}

/// What to do with one request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// This is the verdict.
    Say(Verdict),
    /// This is the verdict; and so many tokens are to be asked for meanwhile.
    Refill(Verdict, u32),
    /// The store has to be asked.
    Ask {
        /// At most so many tokens; the request's own among them.
        most: u32,
        /// Whether they fill the lease.
        fills: bool,
    },
}

/// A question to the store, as far as the lease is concerned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Asked {
    /// When it left.
    pub sent_us: i64,
    /// At most so many tokens.
    pub most: u32,
    /// A request waits for its own tokens out of them.
    pub waits: bool,
    /// The rest is for the lease.
    pub fills: bool,
}

/// What may go back to the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Spare {
    /// So many tokens.
    Back(u32),
    /// It is in use: look again later.
    Later,
    /// Nothing.
    Nothing,
}

/// One key. Times in microseconds of this node's own, which begin anywhere.
#[derive(Clone, Copy, Debug, Default)]
pub struct Lease {
    /// The TAT, as the store said last, or as this node counts while it says nothing.
    tat_us: i64,
    /// When the store was asked for that.
    heard_us: Option<i64>,
    /// What is held.
    tokens: u32,
    /// What is held beyond the slack has shrunk to nothing then.
    cover_us: i64,
    /// How many are wanted.
    target: u32,
    /// The last filling.
    filled: u32,
    filled_us: i64,
    /// When a filling was asked for that has not come yet.
    asked_us: Option<i64>,
    /// The last use.
    used_us: i64,
    /// Whether somebody will look at what may go back.
    pub(super) watched: bool,
}

impl Rests for Lease {
    fn rests_at_us(&self) -> i64 {
        self.tat_us.max(self.cover_us)
    }
}

impl Lease {
    /// What is still good of what is held.
    fn valid(&self, terms: &Terms, now_us: i64) -> u32 {
        let covered = self.cover_us.saturating_sub(now_us).max(0) / terms.gcra.emission_us;
        self.tokens.min(small(covered).max(terms.slack))
    }

    /// Decides one request, as far as this node can.
    pub fn take(&mut self, terms: &Terms, now_us: i64) -> Step {
        self.tokens = self.valid(terms, now_us);
        if let Some(left) = self.tokens.checked_sub(terms.cost) {
            self.tokens = left;
            self.used_us = now_us;
            let verdict = self.passed(terms, now_us);
            let low = self.target > 1 && left.saturating_mul(2) <= self.target;
            if low && !self.is_asking(now_us) && self.refusal(terms, now_us).is_none() {
                return Step::Refill(verdict, self.ask(terms, now_us).max(1));
            }
            return Step::Say(verdict);
        }
        if let Some(refusal) = self.refusal(terms, now_us) {
            return Step::Say(refusal);
        }
        if terms.most == 0 || self.is_asking(now_us) {
            return Step::Ask { most: terms.cost, fills: false };
        }
        Step::Ask { most: self.ask(terms, now_us).max(terms.cost), fills: true }
    }

    /// Takes in what the store answered; the verdict is for the request that waited, if one did.
    pub fn granted(&mut self, terms: &Terms, asked: Asked, tokens: u32, ahead_us: i64) -> Verdict {
        let Asked { sent_us, most, waits, fills } = asked;
        self.tat_us = sent_us.saturating_add(ahead_us.clamp(0, terms.gcra.tolerance_us));
        self.heard_us = Some(sent_us);
        if fills {
            self.asked_us = None;
            (self.filled, self.filled_us) = (tokens, sent_us);
            if tokens < most {
                self.target = (self.target / 2).max(terms.slack).max(1);
            }
        }
        let passes = waits && tokens >= terms.cost;
        let kept = if passes { tokens.saturating_sub(terms.cost) } else { tokens };
        // What has shrunk away does not come back with what is new.
        self.tokens = self.valid(terms, sent_us).saturating_add(kept);
        self.cover_us = self.cover_us.max(sent_us).saturating_add(terms.span_us(kept));
        let verdict = self.passed(terms, sent_us);
        if passes {
            self.used_us = sent_us;
            return verdict;
        }
        // No wait where another limit, asked for together with this one, refuses.
        let wait_us = terms.gcra.decide(self.tat_us, sent_us).1.wait_us;
        Verdict { allowed: false, wait_us, ..verdict }
    }

    /// Counts a request without the store: this node's part of the limit.
    pub fn alone(&mut self, terms: &Terms, nodes: u32, now_us: i64) -> Verdict {
        let latest = now_us.saturating_add(terms.gcra.tolerance_us);
        let (tat_us, verdict) = terms.gcra.part(nodes).decide(self.tat_us.min(latest), now_us);
        self.tat_us = tat_us;
        self.heard_us = None;
        verdict
    }

    /// Takes out what is not needed, to be given back.
    pub fn spare(&mut self, terms: &Terms, now_us: i64) -> Spare {
        self.tokens = self.valid(terms, now_us);
        let good_us = self.cover_us.saturating_sub(now_us).saturating_sub(BACK_US);
        let back = self.tokens.min(small(good_us / terms.gcra.emission_us));
        if back == 0 || self.tokens <= terms.slack {
            return Spare::Nothing;
        }
        if now_us.saturating_sub(self.used_us) < IDLE_US {
            return Spare::Later;
        }
        self.tokens = self.tokens.saturating_sub(back);
        self.cover_us = self.cover_us.saturating_sub(terms.span_us(back));
        Spare::Back(back)
    }

    /// Whether something may go back later on.
    pub(super) fn may_spare(&self, terms: &Terms, now_us: i64) -> bool {
        let good_us = self.cover_us.saturating_sub(now_us).saturating_sub(2 * BACK_US);
        self.tokens > terms.slack && good_us >= terms.gcra.emission_us
    }

    fn is_asking(&self, now_us: i64) -> bool {
        self.asked_us.is_some_and(|asked| now_us.saturating_sub(asked) < ASKED_US)
    }

    /// The refusal that the store's last word amounts to, where it does.
    fn refusal(&self, terms: &Terms, now_us: i64) -> Option<Verdict> {
        let heard = self.heard_us?;
        if now_us.saturating_sub(heard) > REMEMBER_US {
            return None;
        }
        let (_, verdict) = terms.gcra.decide(self.tat_us, now_us);
        (!verdict.allowed).then_some(verdict)
    }

    /// How many more are wanted: twice as many where the last were used twice as fast as the limit
    /// grows, half as many where not.
    fn ask(&mut self, terms: &Terms, now_us: i64) -> u32 {
        let used = terms.span_us(self.filled.saturating_sub(self.tokens));
        let fast = now_us.saturating_sub(self.filled_us).saturating_mul(2) <= used;
        let target = if fast { self.target.saturating_mul(2) } else { self.target / 2 };
        let least = terms.slack.max(1);
        self.target = target.clamp(least, terms.most.max(least));
        self.asked_us = Some(now_us);
        self.target.saturating_sub(self.tokens)
    }

    fn passed(&self, terms: &Terms, now_us: i64) -> Verdict {
        let Gcra { tolerance_us, emission_us, .. } = terms.gcra;
        let reset_us = self.tat_us.saturating_sub(now_us).max(0);
        let left = tolerance_us.saturating_sub(reset_us).max(0) / emission_us;
        let left = left.saturating_add(i64::from(self.tokens));
        Verdict { allowed: true, left, reset_us, wait_us: 0 }
    }
}

#[cfg(test)]
mod tests;
