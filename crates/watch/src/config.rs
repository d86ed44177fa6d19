//! What an operator may set for this room. Units are the last part of a key's name. Defaults are
//! careful: a rule that was never seen at work here only tells what it would have done.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use web::feed::Net;

use crate::error::Error;
use crate::rule::{Measure, Rule};
use crate::rules::RULES;

/// `[watch]`.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct WatchConfig {
    /// Days for which a rule that is new to this installation is in dry run. Default 7; 0 lets new
    /// rules act at once.
    pub dry_run_days: u32,
    /// Networks whose clients are never blocked by a rule: your own proxies, offices, monitors.
    /// Default: this host.
    pub allow: Vec<Net>,
    /// Keys (clients, accounts) that one rule remembers; the oldest go first. Default 20000.
    #[schema(minimum = 16, maximum = 1_000_000)]
    pub keys_max: u32,
    /// Seconds within which an alert of the same rule about the same thing is the same alert.
    /// Default 86400.
    #[schema(minimum = 60)]
    pub group_s: u32,
    /// New alerts of one rule within an hour; over it, one more says that there are more.
    /// Default 60.
    pub alerts_per_hour: u32,
    /// Overrides by rule: `[watch.rules.stuffing_client]`.
    pub rules: BTreeMap<String, RuleConfig>,
}

impl Default for WatchConfig {
    fn default() -> Self {
        let this_host = ["127.0.0.0/8", "::1/128"];
        Self {
            dry_run_days: 7,
            allow: this_host.iter().filter_map(|text| text.parse().ok()).collect(),
            keys_max: 20_000,
            group_s: 86_400,
            alerts_per_hour: 60,
            rules: BTreeMap::new(),
        }
    }
}

impl WatchConfig {
    /// For a demonstration on one host: rules act at once, and local clients may be blocked.
    #[must_use]
    pub fn demo() -> Self {
        Self { dry_run_days: 0, allow: Vec::new(), ..Self::default() }
    }
}

/// What an operator may change of a built-in rule.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RuleConfig {
    /// Whether it runs. Default true.
    pub enabled: Option<bool>,
    /// Whether it only tells what it would ask for. Default: for its first `dry_run_days`.
    pub dry_run: Option<bool>,
    /// How many within the window are too many, 1 to 1000000 (of accounts or clients: to 500).
    #[schema(minimum = 1, maximum = 1_000_000)]
    pub threshold: Option<u32>,
    /// The window, s, 12 to 604800.
    #[schema(minimum = 12, maximum = 604_800)]
    pub window_s: Option<u32>,
    /// Answers within one hour; 0 for alerts only.
    pub budget_per_hour: Option<u32>,
    /// The life of an answer, s, 60 to 2592000.
    #[schema(minimum = 60, maximum = 2_592_000)]
    pub answer_ttl_s: Option<u32>,
}

/// A rule with what the operator set.
#[derive(Clone, Debug)]
pub struct Tuned {
    /// The built-in rule, with its numbers replaced.
    pub rule: Rule,
    /// Whether it is in dry run; none: for its first days.
    pub dry_run: Option<bool>,
}

/// Distinct things that a window may have to hold.
pub(crate) const THRESHOLD_THINGS_MAX: u32 = 500;
const THRESHOLD_MAX: u32 = 1_000_000;

/// The built-in rules as the operator wants them, without those that are switched off.
///
/// # Errors
/// [`Error::Config`] with the key that is wrong.
pub fn tune(config: &WatchConfig) -> Result<Vec<Tuned>, Error> {
    if let Some(name) = config.rules.keys().find(|name| RULES.iter().all(|r| r.name != **name)) {
        let known: Vec<&str> = RULES.iter().map(|rule| rule.name).collect();
        let known = known.join(", ");
        return Err(Error::Config(format!("watch.rules.{name} is no rule; the rules are {known}")));
    }
    let bounds =
        [("keys_max", config.keys_max, 16, 1_000_000), ("group_s", config.group_s, 60, u32::MAX)];
    for (key, value, least, most) in bounds {
        in_bounds(format!("watch.{key}"), value, (least, most))?;
    }
    let default = RuleConfig::default();
    let tuned = RULES.iter().filter_map(|rule| {
        let set = config.rules.get(rule.name).unwrap_or(&default);
        set.enabled.unwrap_or(true).then(|| tune_one(rule, set))
    });
    tuned.collect()
}

fn tune_one(rule: &Rule, set: &RuleConfig) -> Result<Tuned, Error> {
    let most = match rule.measure {
        Measure::Events => THRESHOLD_MAX,
        Measure::Accounts | Measure::Clients => THRESHOLD_THINGS_MAX,
    };
    let key = |key: &str| format!("watch.rules.{}.{key}", rule.name);
    let threshold = set.threshold.unwrap_or(rule.threshold);
    in_bounds(key("threshold"), threshold, (1, most))?;
    let window_s = set.window_s.unwrap_or(rule.window_s);
    in_bounds(key("window_s"), window_s, (12, 604_800))?;
    let answer_ttl_s = set.answer_ttl_s.unwrap_or(rule.answer_ttl_s);
    in_bounds(key("answer_ttl_s"), answer_ttl_s, (60, 2_592_000))?;
    let budget_per_hour = set.budget_per_hour.unwrap_or(rule.budget_per_hour);
    // Beyond excuse means something only above the threshold.
    let excuse_max = if rule.excuse_max == 0 { 0 } else { rule.excuse_max.max(threshold) };
    let rule = Rule { threshold, window_s, answer_ttl_s, budget_per_hour, excuse_max, ..*rule };
    Ok(Tuned { rule, dry_run: set.dry_run })
}

fn in_bounds(key: String, value: u32, (least, most): (u32, u32)) -> Result<(), Error> {
    if (least..=most).contains(&value) {
        return Ok(());
    }
    Err(Error::Config(format!("{key} is {value}; it must be {least} to {most}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Vec<Tuned>, String> {
        let config: WatchConfig = toml::from_str(text).map_err(|error| error.to_string())?;
        tune(&config).map_err(|error| error.to_string())
    }

    #[test]
    fn overrides_replace_the_numbers_and_nothing_else() {
        let text = "[rules.stuffing_client]\nthreshold = 7\nwindow_s = 60\ndry_run = false\n\
                    [rules.sign_up_flood]\nenabled = false\n";
        let rules = read(text).unwrap();
        assert_eq!(rules.len(), RULES.len() - 1);
        let stuffing = rules.iter().find(|r| r.rule.name == "stuffing_client").unwrap();
        assert_eq!((stuffing.rule.threshold, stuffing.rule.window_s), (7, 60));
        assert_eq!(stuffing.rule.answer_ttl_s, 900);
        assert_eq!(stuffing.dry_run, Some(false));
    }

    #[test]
    fn unknown_and_wild_keys_are_refused() {
        let cases = [
            ("dry_run_dayz = 1", "dry_run_dayz"),
            ("allow = [\"10.0.0/8\"]", "10.0.0/8"),
            ("[rules.stuffing]\nenabled = false", "watch.rules.stuffing is no rule"),
            ("[rules.stuffing_client]\nthresh = 3", "thresh"),
            ("[rules.stuffing_client]\nthreshold = 0", "watch.rules.stuffing_client.threshold"),
            ("[rules.stuffing_client]\nthreshold = 501", "1 to 500"),
            ("[rules.stuffing_client]\nwindow_s = 5", "12 to 604800"),
            ("keys_max = 1", "watch.keys_max"),
        ];
        for (text, found) in cases {
            let error = read(text).unwrap_err();
            assert!(error.contains(found), "{text}: {error}");
        }
    }
}
