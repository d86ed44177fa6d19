//! History, run against rules: what would have fired. Nothing is answered, told or kept.
//!
//! So a rule can be tried on a shop's own past before it may act, by the console and the command
//! line. Budgets are counted as they would have been spent.

use std::collections::BTreeMap;

use kernel::Timestamp;
use spine::{EventFilter, Recorded, Spine};
use vault::Vault;

use crate::config::{Tuned, WatchConfig, tune};
use crate::engine::{Engine, Fired, Seen};
use crate::error::Error;
use crate::room::Watch;
use crate::seen::decode;
use crate::tally::hour_of;

/// Events that one replay takes at most.
pub const EVENTS_MAX: usize = 200_000;
/// Firings that a report lists for each rule.
const LISTED_MAX: usize = 100;
const PAGE: i64 = 200;
/// How far leaf order and time may differ.
const SLACK: std::time::Duration = std::time::Duration::from_secs(120);
const ROOMS: [&str; 3] = ["identity.", "spine.", "watch."];

/// What one rule would have done.
#[derive(Clone, Debug)]
pub struct WouldFire {
    /// Its name.
    pub rule: &'static str,
    /// How often it would have fired.
    pub fired: u64,
    /// Of those, how often within its budget.
    pub within_budget: u64,
    /// Different things that it would have fired about.
    pub keys: usize,
    /// The first hundred.
    pub first: Vec<Fired>,
}

/// What a replay found.
#[derive(Clone, Debug)]
pub struct Replayed {
    /// Events that the rules took.
    pub events: usize,
    /// Whether there were more events than a replay takes: then the oldest are missing.
    pub cut: bool,
    /// Each rule, in their order.
    pub rules: Vec<WouldFire>,
}

/// Runs the events of `from..to` against the rules of a configuration.
///
/// # Errors
/// [`Error::Config`] where the configuration is wrong; as the database says.
pub async fn replay(
    (spine, vault): (&Spine, &Vault),
    config: &WatchConfig,
    from: Timestamp,
    to: Timestamp,
) -> Result<Replayed, Error> {
    let rules = tune(config)?;
    let mut history = Vec::new();
    let mut cut = false;
    for room in ROOMS {
        cut |= read_back((spine, vault), room, (from, to), &mut history).await?;
    }
    history.sort_by_key(|(index, _)| *index);
    let events: Vec<Seen> = history.into_iter().map(|(_, seen)| seen).collect();
    let rules = run(&rules, config.keys_max, &events);
    Ok(Replayed { events: events.len(), cut, rules })
}

impl Watch {
    /// Runs this house's events of `from..to` against the rules of a configuration: the one at
    /// work, or one that is to be tried.
    ///
    /// # Errors
    /// [`Error::Config`] where the configuration is wrong; as the database says.
    pub async fn replay(
        &self,
        config: &WatchConfig,
        from: Timestamp,
        to: Timestamp,
    ) -> Result<Replayed, Error> {
        replay((self.spine(), self.vault()), config, from, to).await
    }
}

/// Runs decoded events against rules.
#[must_use]
pub fn run(rules: &[Tuned], keys_max: u32, events: &[Seen]) -> Vec<WouldFire> {
    let mut engine = Engine::new(rules, keys_max);
    let mut fired = Vec::new();
    for event in events {
        engine.see(event, &mut fired);
    }
    let report = |(index, tuned): (usize, &Tuned)| {
        let mine: Vec<&Fired> = fired.iter().filter(|fired| fired.rule == index).collect();
        let mut hours: BTreeMap<i64, u64> = BTreeMap::new();
        for fired in &mine {
            *hours.entry(hour_of(fired.at)).or_default() += 1;
        }
        let budget = u64::from(tuned.rule.budget_per_hour);
        let mut keys: Vec<_> = mine.iter().map(|fired| fired.key).collect();
        keys.sort_unstable();
        keys.dedup();
        WouldFire {
            rule: tuned.rule.name,
            fired: u64::try_from(mine.len()).unwrap_or(u64::MAX),
            within_budget: hours.values().map(|used| (*used).min(budget)).sum(),
            keys: keys.len(),
            first: mine.into_iter().take(LISTED_MAX).cloned().collect(),
        }
    };
    rules.iter().enumerate().map(report).collect()
}

/// Reads one room's events of the span, newest first. True where there were too many.
async fn read_back(
    (spine, vault): (&Spine, &Vault),
    room: &str,
    (from, to): (Timestamp, Timestamp),
    history: &mut Vec<(i64, Seen)>,
) -> Result<bool, Error> {
    let mut before = Some(first_after(spine, to.plus(SLACK)).await?);
    loop {
        let kind = Some(room.to_owned());
        let filter = EventFilter { kind, before, limit: PAGE, ..EventFilter::default() };
        let page: Vec<Recorded> = spine.events(&filter).await?;
        for event in &page {
            if event.at >= from && event.at < to {
                history.extend(decode(vault, event, to).map(|(seen, _)| (event.index, seen)));
            }
        }
        let Some(last) = page.last() else { return Ok(false) };
        if last.at < from.minus(SLACK) {
            return Ok(false);
        }
        if history.len() >= EVENTS_MAX {
            return Ok(true);
        }
        before = Some(last.index);
    }
}

/// A leaf number above which all events are later than `at`, found by halving.
async fn first_after(spine: &Spine, at: Timestamp) -> Result<i64, Error> {
    let newest = EventFilter { limit: 1, ..EventFilter::default() };
    let newest = spine.events(&newest).await?.first().map_or(0, |event| event.index + 1);
    let (mut low, mut high) = (0, newest);
    while low < high {
        let middle = low + (high - low) / 2;
        let filter = EventFilter { before: Some(middle + 1), limit: 1, ..EventFilter::default() };
        let is_later = spine.events(&filter).await?.first().is_some_and(|event| event.at >= at);
        if is_later { high = middle } else { low = middle + 1 }
    }
    Ok(high)
}
