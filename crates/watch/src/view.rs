//! What the operators' API shows of rules, alerts and answers: ids and moments as text, sealed
//! parts only where their keys still live.

use serde::Serialize;
use spine::Recorded;
use utoipa::ToSchema;

use crate::alert::{Alert, AlertState, Verdict, Why};
use crate::answer::{Answer, AnswerState};
use crate::rule::{Key, Measure, Severity, Trigger};

/// A rule, its numbers, and what it did in the last 24 hours.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct RuleView {
    pub(crate) name: &'static str,
    pub(crate) words: &'static str,
    /// Technique of MITRE ATT&CK.
    pub(crate) attack: &'static str,
    pub(crate) severity: Severity,
    pub(crate) key: Key,
    pub(crate) measure: Measure,
    pub(crate) trigger: Trigger,
    pub(crate) threshold: u32,
    pub(crate) window_s: u32,
    pub(crate) share_percent: u32,
    /// What it asks for; empty for an alert only.
    pub(crate) answers: Vec<&'static str>,
    pub(crate) budget_per_hour: u32,
    pub(crate) answer_ttl_s: u32,
    /// Whether it only tells what it would ask for.
    pub(crate) dry_run: bool,
    /// When dry run ends by itself (RFC 3339).
    pub(crate) dry_run_until: Option<String>,
    pub(crate) fired: i64,
    pub(crate) asked: i64,
    pub(crate) would_have_asked: i64,
    pub(crate) withheld: i64,
}

/// An alert, as far as it stands in the clear.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct AlertView {
    pub(crate) id: String,
    pub(crate) rule: String,
    pub(crate) severity: Severity,
    pub(crate) state: AlertState,
    pub(crate) verdict: Option<Verdict>,
    /// The account that it is about.
    pub(crate) account: Option<String>,
    /// How often its rule fired.
    pub(crate) times: i64,
    /// What was measured the last time.
    pub(crate) amount: i64,
    pub(crate) first_at: String,
    pub(crate) last_at: String,
}

impl From<Alert> for AlertView {
    fn from(alert: Alert) -> Self {
        let account = match alert.subject {
            spine::Subject::Account(id) => Some(id.to_string()),
            spine::Subject::Day(_) | spine::Subject::House => None,
        };
        Self {
            id: alert.id.to_string(),
            rule: alert.rule,
            severity: alert.severity,
            state: alert.state,
            verdict: alert.verdict,
            account,
            times: alert.times,
            amount: alert.amount,
            first_at: alert.first_at.to_string(),
            last_at: alert.last_at.to_string(),
        }
    }
}

/// An event that led to an alert.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct EvidenceView {
    pub(crate) id: String,
    pub(crate) kind: String,
    pub(crate) at: String,
    pub(crate) account: Option<String>,
    pub(crate) address: Option<String>,
    pub(crate) agent: Option<String>,
    /// Whether its sealed part can still be read.
    pub(crate) readable: bool,
}

impl From<Recorded> for EvidenceView {
    fn from(event: Recorded) -> Self {
        let origin = event.origin();
        Self {
            id: event.id.to_string(),
            at: event.at.to_string(),
            account: event.account().map(|account| account.to_string()),
            address: origin.address.map(|address| address.to_string()),
            agent: origin.agent,
            readable: matches!(event.sealed, spine::Opened::Whole(_)),
            kind: event.kind,
        }
    }
}

/// An answer.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct AnswerView {
    pub(crate) id: String,
    pub(crate) alert: Option<String>,
    /// The rule that asked, or `person`.
    pub(crate) rule: String,
    pub(crate) action: String,
    pub(crate) state: AnswerState,
    pub(crate) account: Option<String>,
    pub(crate) session: Option<String>,
    pub(crate) address: Option<String>,
    pub(crate) asked_at: String,
    /// When it ends by itself.
    pub(crate) until: Option<String>,
}

impl From<Answer> for AnswerView {
    fn from(answer: Answer) -> Self {
        Self {
            id: answer.id.to_string(),
            alert: answer.alert.map(|id| id.to_string()),
            rule: answer.rule,
            action: answer.action,
            state: answer.state,
            account: answer.account.map(|id| id.to_string()),
            session: answer.session.map(|id| id.to_string()),
            address: answer.address.map(|address| address.to_string()),
            asked_at: answer.asked_at.to_string(),
            until: answer.until.map(|until| until.to_string()),
        }
    }
}

/// Why an alert was raised.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct WhyView {
    pub(crate) alert: AlertView,
    /// What its rule finds, in words.
    pub(crate) words: Option<&'static str>,
    /// The client of the last event; none where the key of the details is gone.
    pub(crate) address: Option<String>,
    pub(crate) bad: Option<u32>,
    pub(crate) good: Option<u32>,
    pub(crate) threshold: Option<u32>,
    pub(crate) window_s: Option<u32>,
    pub(crate) events: Vec<EvidenceView>,
    pub(crate) answers: Vec<AnswerView>,
}

impl From<Why> for WhyView {
    fn from(why: Why) -> Self {
        let rule = crate::rules::RULES.iter().find(|rule| rule.name == why.alert.rule);
        let details = why.details.as_ref();
        Self {
            words: rule.map(|rule| rule.words),
            address: details.and_then(|d| d.address).map(|address| address.to_string()),
            bad: details.map(|d| d.bad),
            good: details.map(|d| d.good),
            threshold: details.map(|d| d.threshold),
            window_s: details.map(|d| d.window_s),
            events: why.events.into_iter().map(EvidenceView::from).collect(),
            answers: why.answers.into_iter().map(AnswerView::from).collect(),
            alert: why.alert.into(),
        }
    }
}
