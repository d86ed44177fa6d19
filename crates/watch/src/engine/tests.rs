//! The engine against a naive reading of the same rules, and the cases that people argue about.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::window::BUCKETS;
use super::*;
use crate::config::{Tuned, WatchConfig, tune};
use crate::rules::RULES;

const START_S: i64 = 1_795_478_400;

fn mark(kind: u8, number: u16) -> Mark {
    let mut bytes = [kind; 16];
    let spread = u64::from(number).wrapping_mul(0x9e37_79b9_7f4a_7c15).to_be_bytes();
    bytes[..8].copy_from_slice(&spread);
    Mark(bytes)
}

fn event(number: usize) -> EventId {
    EventId::from_bytes(u128::try_from(number).unwrap().to_be_bytes())
}

fn seen(number: usize, at_us: i64, signal: Signal, client: u16, account: u16) -> Seen {
    Seen {
        id: event(number),
        at: Timestamp::from_micros(START_S * 1_000_000 + at_us),
        signal,
        weight: 1,
        client: Some(mark(1, client)),
        neighbours: Some(mark(2, client / 4)),
        account: Some(mark(3, account)),
    }
}

fn only(name: &str) -> Vec<Tuned> {
    let all = tune(&WatchConfig::default()).unwrap();
    all.into_iter().filter(|tuned| tuned.rule.name == name).collect()
}

fn run(engine: &mut Engine, events: &[Seen]) -> Vec<Fired> {
    let mut fired = Vec::new();
    for event in events {
        engine.see(event, &mut fired);
    }
    fired
}

/// An event that was kept.
struct Kept {
    bucket: u32,
    seen: Seen,
    role: Role,
    /// A good event of the same thing came after it.
    cleared: bool,
}

/// All events kept, everything counted anew for each: slow and plain.
#[derive(Default)]
struct Naive {
    kept: Vec<Kept>,
    head: u32,
    quiet_until: Timestamp,
    fired: BTreeMap<u64, u32>,
}

impl Naive {
    fn see(&mut self, rule: &Rule, seen: &Seen, role: Role) -> bool {
        if role == Role::Good && rule.share_percent == 0 && self.head == 0 {
            return false;
        }
        let bucket = Shape::of(rule).bucket(seen.at);
        self.head = self.head.max(bucket);
        if bucket + BUCKETS <= self.head {
            return false;
        }
        let before = self.is_too_much(rule);
        let thing = rule.thing_of(seen);
        if role == Role::Good && thing.is_some() {
            for kept in &mut self.kept {
                kept.cleared |= rule.thing_of(&kept.seen) == thing;
            }
        }
        self.kept.push(Kept { bucket, seen: *seen, role, cleared: false });
        let fires = (rule.trigger == Trigger::Good) == (role == Role::Good);
        let met = if role == Role::Good { before } else { self.is_too_much(rule) };
        fires && met && self.may_fire(rule, seen, role)
    }

    fn may_fire(&mut self, rule: &Rule, seen: &Seen, role: Role) -> bool {
        if let (Role::Good, Some(thing)) = (role, rule.thing_of(seen)) {
            let fired = self.fired.get(&thing).is_some_and(|at| at + BUCKETS > self.head);
            if !fired {
                self.fired.insert(thing, self.head);
            }
            return !fired;
        }
        if seen.at < self.quiet_until {
            return false;
        }
        let ttl = std::time::Duration::from_secs(u64::from(rule.answer_ttl_s));
        self.quiet_until = seen.at.plus(ttl);
        true
    }

    fn is_too_much(&self, rule: &Rule) -> bool {
        let live = self.kept.iter().filter(|kept| kept.bucket + BUCKETS > self.head);
        let (mut bad, mut good) = (0_u32, 0_u32);
        let (mut bad_things, mut good_things) = (BTreeSet::new(), BTreeSet::new());
        for kept in live {
            let thing = rule.thing_of(&kept.seen);
            match kept.role {
                Role::Bad => {
                    bad += kept.seen.weight;
                    bad_things.extend(thing.filter(|_| !kept.cleared));
                }
                Role::Good => {
                    good += kept.seen.weight;
                    good_things.extend(thing);
                }
            }
        }
        rule.is_too_much(&Amounts {
            bad,
            good,
            bad_things: u32::try_from(bad_things.len()).unwrap(),
            good_things: u32::try_from(good_things.len()).unwrap(),
        })
    }
}

/// A step of time, a signal, a client, an account, how late the event comes.
type Step = (u32, u8, u16, u16, u32);

fn histories() -> impl Strategy<Value = Vec<Step>> {
    prop::collection::vec((0u32..40_000_000, 0u8..9, 0u16..3, 0u16..40, 0u32..30_000_000), 1..250)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    // A1
    #[test]
    fn fires_as_the_naive_reading_does(
        history in histories(),
        which in 0usize..14,
        threshold in 1u32..9,
    ) {
        let mut tuned = tune(&WatchConfig::default()).unwrap();
        let mut one = vec![tuned.swap_remove(which)];
        one[0].rule.threshold = threshold;
        one[0].rule.window_s = one[0].rule.window_s.min(600);
        one[0].rule.excuse_max = if one[0].rule.excuse_max == 0 { 0 } else { 12 };
        let rule = one[0].rule;
        let mut engine = Engine::new(&one, 1_000);
        let mut naive: BTreeMap<Mark, Naive> = BTreeMap::new();
        let mut at = 1_000_000_000;
        for (number, (step, signal, client, account, late)) in history.into_iter().enumerate() {
            at += i64::from(step);
            let late = if late > 25_000_000 { i64::from(late) * 4 } else { 0 };
            let signal = Signal::ALL[usize::from(signal)];
            let seen = seen(number, at - late, signal, client, account);
            let mut fired = Vec::new();
            engine.see(&seen, &mut fired);
            let role = if rule.bad.contains(&signal) { Role::Bad }
                else if rule.good.contains(&signal) { Role::Good } else { continue };
            let key = rule.key_of(&seen).unwrap();
            let expected = naive.entry(key).or_default().see(&rule, &seen, role);
            prop_assert_eq!(!fired.is_empty(), expected, "event {} of {}", number, rule.name);
        }
    }

    // A2
    #[test]
    fn a_restart_anywhere_changes_nothing(history in histories(), cut in 0usize..250) {
        let tuned = tune(&WatchConfig::default()).unwrap();
        let mut at = 0;
        let event = |(number, (step, signal, client, account, _)): (usize, Step)| {
            at += i64::from(step);
            seen(number, at, Signal::ALL[usize::from(signal)], client, account % 9)
        };
        let events: Vec<Seen> = history.into_iter().enumerate().map(event).collect();
        let cut = cut.min(events.len());
        let mut whole = Engine::new(&tuned, 1_000);
        let expected = run(&mut whole, &events);
        let mut first = Engine::new(&tuned, 1_000);
        let mut fired = run(&mut first, &events[..cut]);
        let mut second = Engine::new(&tuned, 1_000);
        for (rule, key) in first.take_changed() {
            let bytes = codec::write(&first.watched[rule].windows[&key], tuned[rule].rule.window_s);
            prop_assert!(second.read(rule, key, &bytes));
        }
        fired.extend(run(&mut second, &events[cut..]));
        prop_assert_eq!(fired, expected);
    }

    #[test]
    fn other_bytes_are_refused_or_canonical(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        if let Some(window) = codec::read(&bytes, 600) {
            prop_assert_eq!(codec::write(&window, 600), bytes);
        }
    }
}

// A2
#[test]
fn a_client_that_never_failed_is_not_written() {
    let mut engine = Engine::new(&only("stuffing_client"), 1_000);
    run(&mut engine, &[seen(0, 0, Signal::SignedIn, 1, 1), seen(1, 0, Signal::SignInFailed, 2, 2)]);
    assert_eq!(engine.take_changed().len(), 2);
    assert_eq!(engine.write(0, mark(1, 1)), None);
    assert!(engine.write(0, mark(1, 2)).is_some());
}

// A4
#[test]
fn memory_is_bounded_and_the_oldest_go_first() {
    let tuned = tune(&WatchConfig::default()).unwrap();
    let mut engine = Engine::new(&tuned, 100);
    let mut fired = Vec::new();
    for number in 0..5_000_u16 {
        let at = i64::from(number) * 1_000;
        engine.see(&seen(number.into(), at, Signal::SignInFailed, number, number), &mut fired);
    }
    assert!(engine.keys() <= 100 * tuned.len());
    assert!(!engine.take_cuts().is_empty());
    let newest = mark(1, 4_999);
    assert!(engine.watched[0].windows.contains_key(&newest));
    assert!(!engine.watched[0].windows.contains_key(&mark(1, 0)));
}

// A4
#[test]
fn a_flood_of_clients_does_not_hide_a_slow_attack_on_an_account() {
    let mut engine = Engine::new(&only("slow_account"), 50);
    let mut all = Engine::new(&tune(&WatchConfig::default()).unwrap(), 50);
    let mut fired = Vec::new();
    let mut number = 0;
    for hour in 0..15_u16 {
        let at = i64::from(hour) * 3_600_000_000;
        for flood in 0..500_u16 {
            number += 1;
            // failures of known clients on one unknown address each hour
            all.see(&seen(number, at, Signal::SignedUp, 1_000 + flood, 1), &mut fired);
        }
        number += 1;
        let one = seen(number, at + 1, Signal::SignInFailed, hour, 7);
        engine.see(&one, &mut fired);
        all.see(&one, &mut fired);
    }
    let slow = |fired: &Fired| fired.key == mark(3, 7);
    assert!(fired.iter().filter(|fired| slow(fired)).count() >= 2);
}

#[test]
fn an_honest_office_behind_one_address_does_not_fire() {
    let mut engine = Engine::new(&tune(&WatchConfig::default()).unwrap(), 1_000);
    let mut events = Vec::new();
    for person in 0..30_u16 {
        let at = i64::from(person) * 10_000_000;
        // every fifth mistypes first, every tenth gives up
        if person % 5 == 0 {
            events.push(seen(events.len(), at, Signal::SignInFailed, 1, person));
        }
        if person % 10 != 0 {
            events.push(seen(events.len(), at + 1, Signal::SignedIn, 1, person));
        }
    }
    assert_eq!(run(&mut engine, &events), Vec::new());
}

#[test]
fn own_accounts_do_not_buy_an_excuse() {
    let mut engine = Engine::new(&only("stuffing_client"), 1_000);
    let mut events = Vec::new();
    for turn in 0..101_u16 {
        let at = i64::from(turn) * 1_000_000;
        events.push(seen(events.len(), at, Signal::SignInFailed, 1, turn));
        events.push(seen(events.len(), at, Signal::SignedIn, 1, 1_000 + turn));
    }
    let fired = run(&mut engine, &events);
    assert_eq!(fired.len(), 1);
    assert_eq!(fired[0].amount, 100);
}

#[test]
fn each_account_that_a_spraying_client_gets_into_is_found() {
    let mut engine = Engine::new(&only("takeover_spray"), 1_000);
    let mut events: Vec<Seen> =
        (0..20).map(|n| seen(n, 0, Signal::SignInFailed, 1, u16::try_from(n).unwrap())).collect();
    for (number, account) in [(20, 50), (21, 51), (22, 50)] {
        events.push(seen(number, 1_000, Signal::SignedIn, 1, account));
    }
    let fired = run(&mut engine, &events);
    let keys: Vec<Mark> = fired.iter().map(|fired| fired.key).collect();
    assert_eq!(keys, [mark(1, 1).pair(mark(3, 50)), mark(1, 1).pair(mark(3, 51))]);
    assert_eq!(fired[0].trail.last(), Some(&event(20)));
}

#[test]
fn what_is_known_of_an_account_is_forgotten_with_it() {
    let mut engine = Engine::new(&tune(&WatchConfig::default()).unwrap(), 1_000);
    let events: Vec<Seen> = (0..10).map(|n| seen(n, 0, Signal::SignInFailed, 1, 9)).collect();
    run(&mut engine, &events);
    let before = engine.keys();
    engine.forget(mark(3, 9));
    // slow_account, guessing_account, takeover_guess
    assert_eq!(engine.keys(), before - 3);
    assert_eq!(RULES.len(), 16);
}
