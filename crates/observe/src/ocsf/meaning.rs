//! What each kind of event is in the words of its class: the activity, how grave it is, and whether
//! it is a failure. A kind that has no line here is `Other` (99) of its class.

use serde_json::{Map, Value};

/// Whether what was tried came about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Status {
    Success,
    Failure,
}

/// What a kind of event is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Meaning {
    pub(super) activity: u32,
    pub(super) severity: u8,
    pub(super) status: Status,
    state: u8,
}

const OTHER: u32 = 99;
const INFORMATIONAL: u8 = 1;
const LOW: u8 = 2;
const MEDIUM: u8 = 3;
const HIGH: u8 = 4;
const CRITICAL: u8 = 5;

/// Kind, activity, severity, and whether it failed.
const MEANINGS: &[(&str, u32, u8, bool)] = &[
    // 3001 account change: 1 create, 2 enable, 3 password change, 4 password reset, 6 delete, 9 lock,
    // 10 factor enabled, 11 factor disabled, 12 unlock
    ("identity.signed_up", 1, INFORMATIONAL, false),
    ("identity.account_opened", 1, LOW, false),
    ("identity.email_verified", 2, INFORMATIONAL, false),
    ("identity.password_changed", 3, LOW, false),
    ("identity.reset_requested", 4, INFORMATIONAL, false),
    ("identity.reset_link_made", 4, LOW, false),
    ("identity.account_erased", 6, LOW, false),
    ("identity.account_locked", 9, MEDIUM, false),
    ("identity.account_unlocked", 12, LOW, false),
    ("identity.factor_added", 10, LOW, false),
    ("identity.factor_removed", 11, MEDIUM, false),
    ("identity.factors_reset", 11, MEDIUM, false),
    // 3002 authentication: 1 logon, 2 logoff, 5 renewal of a ticket
    ("identity.login_succeeded", 1, INFORMATIONAL, false),
    ("identity.login_failed", 1, LOW, true),
    ("identity.second_factor_refused", 1, MEDIUM, true),
    ("identity.backup_code_used", OTHER, LOW, false),
    ("identity.session_ended", 2, INFORMATIONAL, false),
    ("identity.sessions_ended", 2, INFORMATIONAL, false),
    ("identity.refreshed", 5, INFORMATIONAL, false),
    ("identity.refresh_reused", 5, HIGH, true),
    ("identity.password_refused", OTHER, LOW, true),
    ("identity.step_up_asked", OTHER, LOW, false),
    ("access.revoked_key_used", 1, HIGH, true),
    // 3004 entity management: 1 create, 3 update, 4 delete, 12 suspend, 13 resume
    ("access.config_applied", 3, LOW, false),
    ("access.service_added", 1, LOW, false),
    ("access.service_revoked", 4, LOW, false),
    ("observe.sink_replayed", 3, LOW, false),
    ("spine.bodies_retired", 4, INFORMATIONAL, false),
    ("spine.rows_erased", 4, INFORMATIONAL, false),
    ("spine.rows_retired", 4, INFORMATIONAL, false),
    ("spine.subject_cut", 3, INFORMATIONAL, false),
    ("spine.log_key_changed", 3, MEDIUM, false),
    ("spine.log_reopened", OTHER, HIGH, false),
    ("watch.answers_stopped", 12, MEDIUM, false),
    ("watch.answers_resumed", 13, LOW, false),
    ("watch.old_retired", 4, INFORMATIONAL, false),
    // 3005 user access: 1 assign, 2 revoke
    ("identity.roles_changed", 1, MEDIUM, false),
    ("identity.application_decided", 1, LOW, false),
    // 2003, 2004 findings: 1 create, 2 update, 3 close
    ("console.log_verified", 1, INFORMATIONAL, false),
    ("access.client_blocked", 1, MEDIUM, false),
    ("access.client_unblocked", 3, INFORMATIONAL, false),
    ("access.blocks_expired", 3, INFORMATIONAL, false),
    ("spine.forged_events_found", 1, CRITICAL, false),
    ("spine.unreadable_events_passed", 1, HIGH, false),
    ("watch.alert_raised", 1, MEDIUM, false),
    ("watch.alert_repeated", 2, MEDIUM, false),
    ("watch.alert_acknowledged", 2, INFORMATIONAL, false),
    ("watch.alert_closed", 3, INFORMATIONAL, false),
    // 4002 HTTP activity
    ("access.limit_exceeded", OTHER, LOW, true),
    ("access.request_refused", OTHER, LOW, true),
    ("access.flood_observed", OTHER, MEDIUM, true),
    ("watch.limits_hit", OTHER, LOW, true),
    // 6003 API activity: 1 create, 3 update
    ("vault.key_rotated", 3, LOW, false),
    ("vault.epoch_rotated", 3, LOW, false),
    ("vault.keys_opened", 2, INFORMATIONAL, false),
    // 6005 datastore activity: 1 read
    ("console.personal_data_revealed", 1, LOW, false),
];

impl Meaning {
    pub(super) fn of(class: u32, kind: &str, plain: &Map<String, Value>) -> Self {
        let known = MEANINGS.iter().find(|(name, ..)| *name == kind);
        let (mut activity, mut severity, failed) = match known {
            Some((_, activity, severity, failed)) => (*activity, *severity, *failed),
            // A fact of the shop's own, told through the API: it was created.
            None if class == 6_003 => (1, INFORMATIONAL, false),
            None => (OTHER, INFORMATIONAL, false),
        };
        let says = |name: &str| plain.get(name).and_then(Value::as_bool);
        severity = match plain.get("severity").and_then(Value::as_str) {
            Some("low") => LOW,
            Some("medium") => MEDIUM,
            Some("high") => HIGH,
            Some("critical") => CRITICAL,
            Some(_) | None => severity,
        };
        if says("holds") == Some(false) {
            severity = CRITICAL;
        }
        // An application that is refused gives nothing.
        if class == 3_005 && says("approved") == Some(false) {
            activity = 2;
        }
        let state = match (activity, kind) {
            (_, "watch.alert_acknowledged") => 2,
            (3, _) => 4,
            (_, _) => 1,
        };
        let status = if failed { Status::Failure } else { Status::Success };
        Self { activity, severity, status, state }
    }

    /// Where a finding stands: 1 new, 2 in progress, 4 resolved.
    pub(super) const fn finding_state(&self) -> u8 {
        self.state
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn meaning(class: u32, kind: &str, plain: &Value) -> Meaning {
        Meaning::of(class, kind, plain.as_object().unwrap())
    }

    #[test]
    fn what_an_event_says_of_itself_counts() {
        let alert = meaning(2_004, "watch.alert_raised", &json!({ "severity": "high" }));
        assert_eq!((alert.activity, alert.severity, alert.state), (1, HIGH, 1));
        let torn = meaning(2_003, "console.log_verified", &json!({ "holds": false }));
        assert_eq!(torn.severity, CRITICAL);
        let refused = meaning(3_005, "identity.application_decided", &json!({ "approved": false }));
        assert_eq!(refused.activity, 2);
        let closed = meaning(2_004, "watch.alert_closed", &json!({}));
        assert_eq!(closed.finding_state(), 4);
    }

    #[test]
    fn a_kind_that_nobody_named_is_other_or_the_shops_fact() {
        assert_eq!(meaning(3_001, "identity.applied", &json!({})).activity, OTHER);
        assert_eq!(meaning(6_003, "order.paid", &json!({})).activity, 1);
    }

    #[test]
    fn no_kind_stands_twice() {
        let mut kinds: Vec<&str> = MEANINGS.iter().map(|(kind, ..)| *kind).collect();
        kinds.sort_unstable();
        kinds.dedup();
        assert_eq!(kinds.len(), MEANINGS.len());
    }
}
