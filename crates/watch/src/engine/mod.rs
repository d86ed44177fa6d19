//! The rule engine: pure policy over decoded events, no IO, no clock, no allocation for an event
//! that changes nothing but counts.
//!
//! Each rule keeps a window for each key (a client, an account) that it has seen. Keys are keyed
//! digests, so nobody outside can choose two that collide, and the maps need no second hash. The
//! keys of one rule never push out those of another: a flood of clients cannot make the house
//! forget a slow attack on an account.

mod codec;
mod window;

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

use kernel::{EventId, Timestamp};

use crate::config::Tuned;
use crate::rule::{Key, Measure, Rule, Signal, Trigger};
use window::{Amounts, Shape, Window};

/// A keyed digest of an address, a network or an account, cut to 128 bits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Mark(pub [u8; 16]);

impl Mark {
    /// The mark of two things together.
    #[must_use]
    pub fn pair(self, other: Self) -> Self {
        let mut both = [0; 16];
        for (to, from) in both.iter_mut().zip(self.0.iter().take(8).chain(other.0.iter().take(8))) {
            *to = *from;
        }
        Self(both)
    }

    /// The first 64 bits: enough to tell a few hundred things of one window apart.
    fn thing(self) -> u64 {
        let [a, b, c, d, e, f, g, h, ..] = self.0;
        u64::from_le_bytes([a, b, c, d, e, f, g, h])
    }

    /// Whether this is the pair of something with `other`.
    fn is_pair_with(self, other: Self) -> bool {
        self.0.iter().skip(8).eq(other.0.iter().take(8))
    }
}

/// Takes the digest's own bits: marks are uniform, and nobody without the key can choose them.
#[derive(Default)]
struct MarkHasher(u64);

impl Hasher for MarkHasher {
    fn write(&mut self, bytes: &[u8]) {
        if let Some((first, _)) = bytes.split_first_chunk::<8>() {
            self.0 ^= u64::from_le_bytes(*first);
        }
        if let Some((_, last)) = bytes.split_last_chunk::<8>() {
            self.0 = self.0.rotate_left(32) ^ u64::from_le_bytes(*last);
        }
    }

    fn write_usize(&mut self, _: usize) {
        // the length, always the same
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

type Windows = HashMap<Mark, Window, BuildHasherDefault<MarkHasher>>;

/// An event as the rules see it.
#[derive(Clone, Copy, Debug)]
pub struct Seen {
    /// Its id, for the evidence.
    pub id: EventId,
    /// When it happened. Never later than now: the caller sees to that.
    pub at: Timestamp,
    /// What it means.
    pub signal: Signal,
    /// How many it stands for.
    pub weight: u32,
    /// The client, where it is known.
    pub client: Option<Mark>,
    /// The client's neighbourhood.
    pub neighbours: Option<Mark>,
    /// The account, or the e-mail address that has none.
    pub account: Option<Mark>,
}

/// A rule that has had enough.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fired {
    /// The rule's place among the tuned ones.
    pub rule: usize,
    /// What it is about: one attack is one key.
    pub key: Mark,
    /// When.
    pub at: Timestamp,
    /// What was measured: events, accounts or clients.
    pub amount: u32,
    /// Bad events within the window.
    pub bad: u32,
    /// Good events within the window.
    pub good: u32,
    /// The last events that led to it, oldest first.
    pub trail: Vec<EventId>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Role {
    Bad,
    Good,
}

/// One rule at work.
#[derive(Debug)]
struct Watched {
    rule: Rule,
    shape: Shape,
    windows: Windows,
    changed: Vec<Mark>,
}

/// The engine.
#[derive(Debug)]
pub struct Engine {
    watched: Vec<Watched>,
    by_signal: Vec<Vec<(usize, Role)>>,
    keys_max: usize,
    cuts: Vec<(usize, Timestamp)>,
}

impl Engine {
    /// An engine that has seen nothing.
    #[must_use]
    pub fn new(rules: &[Tuned], keys_max: u32) -> Self {
        let roles = |signal: &Signal| {
            let role = |(index, tuned): (usize, &Tuned)| {
                let bad = tuned.rule.bad.contains(signal).then_some((index, Role::Bad));
                bad.or(tuned.rule.good.contains(signal).then_some((index, Role::Good)))
            };
            rules.iter().enumerate().filter_map(role).collect()
        };
        let watch = |tuned: &Tuned| Watched {
            rule: tuned.rule,
            shape: Shape::of(&tuned.rule),
            windows: Windows::default(),
            changed: Vec::new(),
        };
        Self {
            watched: rules.iter().map(watch).collect(),
            by_signal: Signal::ALL.iter().map(roles).collect(),
            keys_max: usize::try_from(keys_max).unwrap_or(usize::MAX),
            cuts: Vec::new(),
        }
    }

    /// Takes one event, and adds to `fired` what has had enough.
    pub fn see(&mut self, seen: &Seen, fired: &mut Vec<Fired>) {
        let Some(roles) = self.by_signal.get(seen.signal as usize) else { return };
        for &(index, role) in roles {
            let Some(watched) = self.watched.get_mut(index) else { continue };
            if let Some(found) = watched.see(seen, role, index) {
                fired.push(found);
            }
            if watched.windows.len() > self.keys_max {
                self.cuts.push((index, watched.evict()));
            }
        }
    }

    /// Windows that changed since the last call, as `(rule, key)`.
    pub fn take_changed(&mut self) -> Vec<(usize, Mark)> {
        let mut all = Vec::new();
        for (index, watched) in self.watched.iter_mut().enumerate() {
            for key in watched.changed.drain(..) {
                if let Some(window) = watched.windows.get_mut(&key) {
                    window.changed = false;
                    all.push((index, key));
                }
            }
        }
        all
    }

    /// Evictions since the last call: of this rule, all keys last seen up to this moment.
    pub fn take_cuts(&mut self) -> Vec<(usize, Timestamp)> {
        std::mem::take(&mut self.cuts)
    }

    /// A window's bytes and the moment of its last event. None where it holds nothing bad: most
    /// clients never fail, and to write each of their successes would cost more than it tells.
    #[must_use]
    pub fn write(&self, rule: usize, key: Mark) -> Option<(Vec<u8>, Timestamp)> {
        let watched = self.watched.get(rule)?;
        let window = watched.windows.get(&key).filter(|window| !window.is_innocent())?;
        Some((codec::write(window, watched.rule.window_s), window.last_at))
    }

    /// Puts a window back. False where the bytes are of another window size or none of ours.
    pub fn read(&mut self, rule: usize, key: Mark, bytes: &[u8]) -> bool {
        let keys_max = self.keys_max;
        let Some(watched) = self.watched.get_mut(rule) else { return false };
        match codec::read(bytes, watched.rule.window_s) {
            Some(window) if watched.windows.len() < keys_max => {
                watched.windows.insert(key, window);
                true
            }
            Some(_) | None => false,
        }
    }

    /// Forgets windows whose time is over at `now`.
    pub fn expire(&mut self, now: Timestamp) {
        for watched in &mut self.watched {
            let horizon = now.minus(watched.rule.memory());
            watched.windows.retain(|_, window| window.last_at >= horizon);
        }
    }

    /// Forgets what is known of one account, where it is the key.
    pub fn forget(&mut self, account: Mark) {
        for watched in &mut self.watched {
            match watched.rule.key {
                Key::Account => {
                    watched.windows.remove(&account);
                }
                Key::Pair => watched.windows.retain(|key, _| !key.is_pair_with(account)),
                Key::Client | Key::Neighbours | Key::House => {}
            }
        }
    }

    /// Keys that are remembered now, over all rules.
    #[must_use]
    pub fn keys(&self) -> usize {
        self.watched.iter().map(|watched| watched.windows.len()).sum()
    }
}

impl Rule {
    /// How long a window matters after its last event.
    #[must_use]
    pub(crate) fn memory(&self) -> std::time::Duration {
        std::time::Duration::from_secs(u64::from(self.window_s.max(self.answer_ttl_s)))
    }

    fn key_of(&self, seen: &Seen) -> Option<Mark> {
        match self.key {
            Key::Client => seen.client,
            Key::Neighbours => seen.neighbours,
            Key::Account => seen.account,
            Key::Pair => Some(seen.client?.pair(seen.account?)),
            Key::House => Some(Mark::default()),
        }
    }

    fn thing_of(&self, seen: &Seen) -> Option<u64> {
        match self.measure {
            Measure::Events => None,
            Measure::Accounts => seen.account.map(Mark::thing),
            Measure::Clients => seen.client.map(Mark::thing),
        }
    }

    fn amount(&self, amounts: &Amounts) -> (u32, u32) {
        match self.measure {
            Measure::Events => (amounts.bad, amounts.good),
            Measure::Accounts | Measure::Clients => (amounts.bad_things, amounts.good_things),
        }
    }

    /// Whether so much is too much.
    fn is_too_much(&self, amounts: &Amounts) -> bool {
        let (bad, good) = self.amount(amounts);
        if bad < self.threshold {
            return false;
        }
        let (bad, good) = (u64::from(bad), u64::from(good));
        let beyond_excuse = self.excuse_max > 0 && bad >= u64::from(self.excuse_max);
        beyond_excuse || bad * 100 >= (bad + good) * u64::from(self.share_percent)
    }
}

impl Watched {
    fn see(&mut self, seen: &Seen, role: Role, index: usize) -> Option<Fired> {
        let key = self.rule.key_of(seen)?;
        let thing = self.rule.thing_of(seen);
        let window = match role {
            Role::Good if self.rule.share_percent == 0 => self.windows.get_mut(&key)?,
            Role::Good | Role::Bad => self.windows.entry(key).or_default(),
        };
        window.last_at = window.last_at.max(seen.at);
        if !window.changed {
            window.changed = true;
            self.changed.push(key);
        }
        let bucket = self.shape.bucket(seen.at);
        window.advance(bucket);
        if !window.covers(bucket) {
            return None;
        }
        let fires = match (self.rule.trigger, role) {
            (Trigger::Bad, Role::Bad) | (Trigger::Good, Role::Good) => true,
            (Trigger::Bad, Role::Good) | (Trigger::Good, Role::Bad) => false,
        };
        // A good event that completes an attack is judged by what came before it.
        let before = (fires && role == Role::Good).then(|| window.amounts());
        match role {
            Role::Bad => window.add_bad(self.shape, bucket, seen.weight, thing),
            Role::Good => window.add_good(self.shape, bucket, seen.weight, thing),
        }
        if role == Role::Bad {
            window.note(seen.id);
        }
        // Most events end here, before anything is summed up.
        if !fires || window.is_short_of(&self.rule) {
            return None;
        }
        let amounts = before.unwrap_or_else(|| window.amounts());
        // Each account that a client gets into is an attack of its own.
        let of_thing = if role == Role::Good { thing } else { None };
        if !self.rule.is_too_much(&amounts) || !window.may_fire(self.shape, seen.at, of_thing) {
            return None;
        }
        if role == Role::Good {
            window.note(seen.id);
        }
        let key = match seen.account {
            Some(account) if of_thing.is_some() => key.pair(account),
            Some(_) | None => key,
        };
        let (amount, _) = self.rule.amount(&amounts);
        let Amounts { bad, good, .. } = amounts;
        Some(Fired {
            rule: index,
            key,
            at: seen.at,
            amount,
            bad,
            good,
            trail: window.trail.clone(),
        })
    }

    /// Makes room: forgets the eighth of the keys that was not seen for longest. Gives the moment
    /// up to which keys were forgotten.
    fn evict(&mut self) -> Timestamp {
        let mut moments: Vec<Timestamp> =
            self.windows.values().map(|window| window.last_at).collect();
        let eighth = moments.len() / 8;
        let (_, cut, _) = moments.select_nth_unstable(eighth);
        let cut = *cut;
        self.windows.retain(|_, window| window.last_at > cut);
        cut
    }
}

#[cfg(test)]
mod tests;
