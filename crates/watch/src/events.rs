//! What this room tells the log. That an answer is asked for is the spine's own
//! `watch.response_requested`, because every room must understand it.

use spine::ActionKind;

use crate::alert::Verdict;
use crate::answer::Withheld;
use crate::rule::Severity;

spine::events! {
    room = "watch";
    /// A rule has had enough of something.
    AlertRaised = "alert_raised" {
        plain { rule: String, severity: Severity, amount: u32 }
        sealed { alert: String, evidence: Vec<kernel::EventId> }
        retain_days = 730, ocsf = 2004
    }
    /// A rule has had enough of the same thing again.
    AlertRepeated = "alert_repeated" {
        plain { rule: String, severity: Severity, amount: u32, times: i64 }
        sealed { alert: String, evidence: Vec<kernel::EventId> }
        retain_days = 730, ocsf = 2004
    }
    /// Somebody took care of an alert.
    AlertAcknowledged = "alert_acknowledged" {
        plain { rule: String } sealed { alert: String } retain_days = 730, ocsf = 2004
    }
    /// Somebody closed an alert.
    AlertClosed = "alert_closed" {
        plain { rule: String, verdict: Verdict } sealed { alert: String }
        retain_days = 730, ocsf = 2004
    }
    /// A rule would have asked for an answer, and was kept from it.
    AnswerWithheld = "answer_withheld" {
        plain { rule: String, action: ActionKind, why: Withheld } sealed { }
        retain_days = 365, ocsf = 2004
    }
    /// All automatic answers were stopped.
    AnswersStopped = "answers_stopped" {
        plain { } sealed { reason: String } retain_days = 2555, ocsf = 3004
    }
    /// Automatic answers go on.
    AnswersResumed = "answers_resumed" {
        plain { } sealed { reason: String } retain_days = 2555, ocsf = 3004
    }
    /// One client ran into the limits of the edge many times.
    LimitsHit = "limits_hit" {
        plain { limit: String, count: u32 } sealed { client: String }
        retain_days = 30, ocsf = 4002
    }
    /// What alerts and answers said about erased persons was blanked.
    PersonsBlanked = "persons_blanked" {
        plain { persons: i64, alerts: i64, answers: i64 } sealed { } retain_days = 2555, ocsf = 3001
    }
    /// Alerts and answers whose time is over were deleted.
    OldRetired = "old_retired" {
        plain { alerts: u64, answers: u64 } sealed { } retain_days = 365, ocsf = 3004
    }
}
