//! The built-in rules. The table in the crate's head says what each number means to honest people
//! behind one address.

use spine::ActionKind::{BlockClient, EndSession, EndSessions, StepUp};

use crate::rule::{Key, Measure, Rule, Severity, Signal, Trigger};

const MINUTE_S: u32 = 60;
const HOUR_S: u32 = 3_600;
const DAY_S: u32 = 86_400;

/// A rule that counts bad events by client and only alerts: what the others differ from.
const BASE: Rule = Rule {
    name: "",
    words: "",
    attack: "",
    severity: Severity::Medium,
    bad: &[],
    good: &[],
    key: Key::Client,
    measure: Measure::Events,
    trigger: Trigger::Bad,
    threshold: 1,
    window_s: HOUR_S,
    share_percent: 0,
    excuse_max: 0,
    answers: &[],
    budget_per_hour: 60,
    answer_ttl_s: HOUR_S,
};

/// Every built-in rule.
pub const RULES: &[Rule] = &[
    STUFFING_CLIENT,
    GUESSING_CLIENT,
    SPRAYING_NEIGHBOURS,
    SLOW_ACCOUNT,
    GUESSING_ACCOUNT,
    TAKEOVER_SPRAY,
    TAKEOVER_GUESS,
    REFRESH_REUSED,
    REFRESH_REUSED_WIDE,
    SIGN_UP_FLOOD,
    RESET_FLOOD,
    OPERATOR_FAILURES,
    FORGED_EVENTS,
    LIMIT_FLOOD,
    KEYS_DRAINED,
    SECOND_FACTOR_GUESSED,
];

const STUFFING_CLIENT: Rule = Rule {
    name: "stuffing_client",
    words: "One client fails to sign in to many accounts: stolen or sprayed passwords are tried.",
    attack: "T1110.004",
    severity: Severity::High,
    bad: &[Signal::SignInFailed],
    good: &[Signal::SignedIn],
    measure: Measure::Accounts,
    threshold: 10,
    window_s: 10 * MINUTE_S,
    share_percent: 70,
    excuse_max: 100,
    answers: &[BlockClient],
    budget_per_hour: 60,
    answer_ttl_s: 15 * MINUTE_S,
    ..BASE
};

const GUESSING_CLIENT: Rule = Rule {
    name: "guessing_client",
    words: "One client fails to sign in again and again, whatever the account.",
    attack: "T1110.001",
    severity: Severity::Medium,
    bad: &[Signal::SignInFailed],
    good: &[Signal::SignedIn],
    threshold: 50,
    window_s: 10 * MINUTE_S,
    share_percent: 80,
    excuse_max: 500,
    answers: &[BlockClient],
    budget_per_hour: 60,
    answer_ttl_s: 15 * MINUTE_S,
    ..BASE
};

const SPRAYING_NEIGHBOURS: Rule = Rule {
    name: "spraying_neighbours",
    words: "The addresses of one small network together fail to sign in to many accounts.",
    attack: "T1110.003",
    severity: Severity::High,
    bad: &[Signal::SignInFailed],
    good: &[Signal::SignedIn],
    key: Key::Neighbours,
    measure: Measure::Accounts,
    threshold: 40,
    window_s: HOUR_S,
    share_percent: 80,
    ..BASE
};

const SLOW_ACCOUNT: Rule = Rule {
    name: "slow_account",
    words: "Many clients fail to sign in to one account, each a few times: a slow, spread attack.",
    attack: "T1110.003",
    severity: Severity::Medium,
    bad: &[Signal::SignInFailed],
    key: Key::Account,
    measure: Measure::Clients,
    threshold: 15,
    window_s: DAY_S,
    answers: &[StepUp],
    budget_per_hour: 200,
    answer_ttl_s: 12 * HOUR_S,
    ..BASE
};

const GUESSING_ACCOUNT: Rule = Rule {
    name: "guessing_account",
    words: "The password of one account is guessed at, from wherever.",
    attack: "T1110.001",
    severity: Severity::Medium,
    bad: &[Signal::SignInFailed],
    key: Key::Account,
    threshold: 30,
    window_s: HOUR_S,
    answers: &[StepUp],
    budget_per_hour: 200,
    answer_ttl_s: 6 * HOUR_S,
    ..BASE
};

const TAKEOVER_SPRAY: Rule = Rule {
    name: "takeover_spray",
    words: "A client that failed on many accounts gets into one, which is likely taken over.",
    attack: "T1078",
    severity: Severity::Critical,
    bad: &[Signal::SignInFailed],
    good: &[Signal::SignedIn],
    measure: Measure::Accounts,
    trigger: Trigger::Good,
    threshold: 5,
    window_s: HOUR_S,
    share_percent: 70,
    excuse_max: 100,
    answers: &[EndSessions, StepUp],
    budget_per_hour: 100,
    answer_ttl_s: HOUR_S,
    ..BASE
};

const TAKEOVER_GUESS: Rule = Rule {
    name: "takeover_guess",
    words: "After many wrong passwords a client gets into an account: a guess may have been right.",
    attack: "T1110.001",
    severity: Severity::High,
    bad: &[Signal::SignInFailed],
    good: &[Signal::SignedIn],
    key: Key::Pair,
    trigger: Trigger::Good,
    threshold: 12,
    window_s: HOUR_S,
    answers: &[EndSessions, StepUp],
    budget_per_hour: 100,
    answer_ttl_s: HOUR_S,
    ..BASE
};

const REFRESH_REUSED: Rule = Rule {
    name: "refresh_reused",
    words: "A refresh token was used twice: it was stolen, or an app is broken.",
    attack: "T1550.001",
    severity: Severity::High,
    bad: &[Signal::RefreshReused],
    key: Key::Account,
    answers: &[EndSession],
    budget_per_hour: 500,
    answer_ttl_s: 5 * MINUTE_S,
    ..BASE
};

const REFRESH_REUSED_WIDE: Rule = Rule {
    name: "refresh_reused_wide",
    words: "Refresh tokens of many accounts are used twice: an app is broken, or tokens leaked.",
    attack: "T1528",
    severity: Severity::Critical,
    bad: &[Signal::RefreshReused],
    key: Key::House,
    measure: Measure::Accounts,
    threshold: 10,
    ..BASE
};

const SIGN_UP_FLOOD: Rule = Rule {
    name: "sign_up_flood",
    words: "One client opens many accounts.",
    attack: "T1136.003",
    severity: Severity::Medium,
    bad: &[Signal::SignedUp],
    threshold: 40,
    ..BASE
};

const RESET_FLOOD: Rule = Rule {
    name: "reset_flood",
    words: "One client asks for password resets of many accounts.",
    attack: "T1667",
    severity: Severity::Medium,
    bad: &[Signal::ResetAsked],
    measure: Measure::Accounts,
    threshold: 20,
    ..BASE
};

const OPERATOR_FAILURES: Rule = Rule {
    name: "operator_failures",
    words: "Sign-ins at the operators' console fail.",
    attack: "T1110",
    severity: Severity::High,
    bad: &[Signal::OperatorFailed],
    good: &[Signal::OperatorSignedIn],
    threshold: 5,
    window_s: 15 * MINUTE_S,
    ..BASE
};

const FORGED_EVENTS: Rule = Rule {
    name: "forged_events",
    words: "Someone wrote to the database past the program.",
    attack: "T1565.001",
    severity: Severity::Critical,
    bad: &[Signal::Forged],
    key: Key::House,
    ..BASE
};

const LIMIT_FLOOD: Rule = Rule {
    name: "limit_flood",
    words: "One client runs into the limits of the edge thousands of times.",
    attack: "T1499.002",
    severity: Severity::Medium,
    bad: &[Signal::LimitHit],
    threshold: 5_000,
    window_s: 5 * MINUTE_S,
    answers: &[BlockClient],
    budget_per_hour: 120,
    answer_ttl_s: 15 * MINUTE_S,
    ..BASE
};

const KEYS_DRAINED: Rule = Rule {
    name: "keys_drained",
    words: "Persons' keys are opened at the pace of somebody who empties the vault.",
    attack: "T1555",
    severity: Severity::Critical,
    bad: &[Signal::KeysOpened],
    key: Key::House,
    threshold: 30_000,
    window_s: 15 * MINUTE_S,
    ..BASE
};

const SECOND_FACTOR_GUESSED: Rule = Rule {
    name: "second_factor_guessed",
    words: "Somebody who knows the password guesses at the second factor.",
    attack: "T1111",
    severity: Severity::High,
    bad: &[Signal::CodeFailed],
    key: Key::Account,
    threshold: 5,
    ..BASE
};

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn names_differ_and_every_rule_says_what_it_is() {
        let names: BTreeSet<_> = RULES.iter().map(|rule| rule.name).collect();
        assert_eq!(names.len(), RULES.len());
        for rule in RULES {
            assert!(!rule.words.is_empty() && rule.attack.starts_with('T'), "{}", rule.name);
            assert!(!rule.bad.is_empty() && rule.threshold > 0 && rule.window_s >= 12);
            assert!(rule.trigger == Trigger::Bad || !rule.good.is_empty(), "{}", rule.name);
            assert!(rule.bad.iter().all(|signal| !rule.good.contains(signal)), "{}", rule.name);
        }
    }

    // A3: nothing that these rules ask for locks an owner out
    #[test]
    fn no_rule_by_account_does_more_than_ask_for_a_proof_unless_somebody_got_in() {
        for rule in RULES.iter().filter(|rule| rule.key == Key::Account) {
            assert!(rule.answers.iter().all(|answer| matches!(answer, StepUp | EndSession)));
        }
        for rule in RULES.iter().filter(|rule| rule.answers.contains(&EndSessions)) {
            assert_eq!(rule.trigger, Trigger::Good, "{}", rule.name);
        }
    }
}
