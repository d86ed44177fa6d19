//! Alerts: what the rules found, with the events that led to it, for a person to judge.

use askama::Template;
use axum::extract::State;
use axum::response::Response;
use kernel::{Kind, Timestamp};
use serde::Deserialize;
use spine::{Recorded, Subject};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use watch::{Alert, AlertId, AlertState, Answer, AnswerState, Severity, Verdict, Why};
use web::{
    Form, Nothing, Operator, Page, Path, Problem, Query, Staff, Support, Wrong, html, html_with,
    see_other, wrong_field,
};

use crate::desk::Desk;
use crate::event::Line;
use crate::notice::{NoticeQuery, notice};
use crate::room::Console;
use crate::sight::Sight;
use crate::told;

const ROWS: usize = 50;

pub(crate) fn routes() -> OpenApiRouter<Console> {
    OpenApiRouter::new()
        .routes(routes!(list))
        .routes(routes!(show))
        .routes(routes!(acknowledge))
        .routes(routes!(close))
}

/// An alert in a list. Nothing in it is personal.
#[derive(Clone, Debug)]
pub(crate) struct AlertLine {
    pub(crate) href: String,
    pub(crate) rule: String,
    pub(crate) anchor: String,
    pub(crate) words: &'static str,
    pub(crate) severity: &'static str,
    pub(crate) severity_tone: &'static str,
    pub(crate) state: &'static str,
    pub(crate) state_tone: &'static str,
    pub(crate) verdict: Option<String>,
    pub(crate) times: String,
    pub(crate) first: String,
    pub(crate) last: String,
    pub(crate) last_machine: String,
    pub(crate) ago: String,
}

impl AlertLine {
    pub(crate) fn of(alert: &Alert, now: Timestamp) -> Self {
        let rule = watch::RULES.iter().find(|rule| rule.name == alert.rule);
        Self {
            href: format!("/console/alerts/{}", alert.id),
            rule: alert.rule.replace('_', " "),
            words: rule.map_or("", |rule| rule.words),
            severity: alert.severity.as_str(),
            severity_tone: severity_tone(alert.severity),
            state: alert.state.as_str(),
            state_tone: match alert.state {
                AlertState::Open => "bad",
                AlertState::Acknowledged => "note",
                AlertState::Closed => "plain",
            },
            verdict: alert.verdict.map(|verdict| verdict.as_str().replace('_', " ")),
            times: told::grouped(alert.times),
            anchor: alert.rule.clone(),
            first: told::clock(alert.first_at),
            last: told::clock(alert.last_at),
            last_machine: told::machine(alert.last_at),
            ago: told::ago(now, alert.last_at),
        }
    }
}

/// The colour of a severity.
pub(crate) fn severity_tone(severity: Severity) -> &'static str {
    match severity {
        Severity::Low => "plain",
        Severity::Medium => "note",
        Severity::High => "warn",
        Severity::Critical => "bad",
    }
}

#[derive(Template)]
#[template(path = "alerts.html")]
struct AlertsPage {
    page: Page,
    desk: Desk,
    state: &'static str,
    alerts: Vec<AlertLine>,
    next: Option<String>,
}

#[derive(Deserialize)]
struct ListQuery {
    #[serde(default)]
    state: Option<String>,
    #[serde(default)]
    before: Option<String>,
}

/// Alerts, newest first
#[utoipa::path(get, path = "/console/alerts", operation_id = "console.list_alerts",
    tag = "console",
    params(("state" = Option<String>, Query, description = "open, acknowledged, closed or all"),
        ("before" = Option<String>, Query, description = "Older than this alert")),
    responses((status = 200, description = "The page")),
    extensions(("x-effect" = json!("none")), ("x-access" = json!("operator:staff"))))]
async fn list(
    State(console): State<Console>,
    Operator(caller, _): Operator<Staff>,
    page: Page,
    Query(query): Query<ListQuery>,
) -> Result<Response, Problem> {
    let desk = Desk::of(&caller);
    let state = match query.state.as_deref() {
        None | Some("all" | "") => None,
        Some(word) => {
            let known = AlertState::parse(word);
            Some(known.ok_or_else(|| wrong_field("state", "is no state of an alert"))?)
        }
    };
    let before = query.before.as_deref().map(str::parse).transpose();
    let before = before.map_err(|_| wrong_field("before", "is no alert"))?;
    let limit = i64::try_from(ROWS).unwrap_or(0) + 1;
    let mut alerts = console.watch().alerts(state, before, limit).await?;
    let more = alerts.len() > ROWS;
    alerts.truncate(ROWS);
    let word = state.map_or("all", AlertState::as_str);
    let last = alerts.last().filter(|_| more);
    let now = caller.ctx.now;
    html(&AlertsPage {
        page: desk.page(page, "Alerts"),
        desk,
        state: word,
        next: last.map(|alert| format!("/console/alerts?state={word}&before={}", alert.id)),
        alerts: alerts.iter().map(|alert| AlertLine::of(alert, now)).collect(),
    })
}

/// An answer that followed.
struct Followed {
    action: String,
    state: String,
    tone: &'static str,
    at: String,
    until: Option<String>,
    /// To whom, as far as it is seen.
    target: String,
}

impl Followed {
    fn of(answer: &Answer, sight: Sight) -> Self {
        let address = answer.address.map(|address| address.to_string());
        let account = answer.account.map(|account| account.to_string());
        let target = account.or(address).and_then(|target| sight.text(&target));
        Self {
            action: answer.action.replace('_', " "),
            state: answer.state.as_str().replace('_', " "),
            tone: match answer.state {
                AnswerState::Asked => "good",
                AnswerState::DryRun => "note",
                AnswerState::OverBudget | AnswerState::Stopped => "warn",
                AnswerState::Allowed => "plain",
            },
            at: told::clock(answer.asked_at),
            until: answer.until.map(told::clock),
            target: target.unwrap_or_else(|| "hidden".to_owned()),
        }
    }
}

/// What was measured.
struct Measured {
    bad: String,
    good: String,
    threshold: String,
    window: String,
}

#[derive(Template)]
#[template(path = "alert_page.html")]
struct AlertPage {
    page: Page,
    desk: Desk,
    notice: Option<&'static str>,
    wrong: Wrong,
    id: String,
    line: AlertLine,
    attack: &'static str,
    account: Option<String>,
    /// None where there is none; hidden or masked otherwise.
    client: Option<String>,
    can_block: bool,
    open: bool,
    standing: bool,
    /// Whether its key is gone.
    erased: bool,
    measured: Option<Measured>,
    lines: Vec<Line>,
    answers: Vec<Followed>,
}

impl AlertPage {
    fn of(console: &Console, (page, desk): (Page, Desk), why: &Why, now: Timestamp) -> Self {
        let alert = &why.alert;
        let rule = watch::RULES.iter().find(|rule| rule.name == alert.rule);
        let address = why.details.as_ref().and_then(|details| details.address);
        let account = match alert.subject {
            Subject::Account(account) => Some(account.to_string()).filter(|_| desk.sees()),
            Subject::Day(_) | Subject::House => None,
        };
        let client = address.map(|address| {
            desk.sight.text(&address.to_string()).unwrap_or_else(|| "hidden".to_owned())
        });
        let line = |event: &Recorded| Line::of(console, event, now);
        Self {
            page: desk.page(page, "Alert"),
            notice: None,
            wrong: Wrong::default(),
            id: alert.id.to_string(),
            line: AlertLine::of(alert, now),
            attack: rule.map_or("", |rule| rule.attack),
            account,
            client,
            can_block: desk.support && address.is_some(),
            open: alert.state == AlertState::Open,
            standing: alert.state != AlertState::Closed,
            erased: why.details.is_none(),
            measured: why.details.as_ref().map(|details| Measured {
                bad: told::grouped(details.bad),
                good: told::grouped(details.good),
                threshold: told::grouped(details.threshold),
                window: told::span(details.window_s.into()),
            }),
            lines: why.events.iter().map(line).collect(),
            answers: why.answers.iter().map(|a| Followed::of(a, desk.sight)).collect(),
            desk,
        }
    }
}

/// One alert: what was measured, the events that led to it, and what followed
#[utoipa::path(get, path = "/console/alerts/{id}", operation_id = "console.show_alert",
    tag = "console", params(("id" = String, Path, description = "The alert")),
    responses((status = 200, description = "The page"), (status = 404)),
    extensions(("x-effect" = json!("none")), ("x-access" = json!("operator:staff"))))]
async fn show(
    State(console): State<Console>,
    Operator(caller, _): Operator<Staff>,
    page: Page,
    Path(id): Path<AlertId>,
    Query(query): Query<NoticeQuery>,
) -> Result<Response, Problem> {
    let why = console.watch().why(id).await?;
    let shown = AlertPage::of(&console, (page, Desk::of(&caller)), &why, caller.ctx.now);
    html(&AlertPage { notice: notice(query.notice.as_deref()), ..shown })
}

/// Take care of an alert
#[utoipa::path(post, path = "/console/alerts/{id}/acknowledge",
    operation_id = "console.acknowledge_alert", tag = "console",
    params(("id" = String, Path, description = "The alert")),
    responses((status = 303, description = "Back to the alert"), (status = 404), (status = 409)),
    extensions(("x-effect" = json!("fact")), ("x-access" = json!("operator:support"))))]
async fn acknowledge(
    State(console): State<Console>,
    Operator(caller, _): Operator<Support>,
    Path(id): Path<AlertId>,
    Form(_): Form<Nothing>,
) -> Result<Response, Problem> {
    console.watch().acknowledge(&caller.ctx, id).await?;
    Ok(see_other(&format!("/console/alerts/{id}?notice=acknowledged")))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CloseForm {
    #[serde(default)]
    verdict: String,
}

/// Close an alert with what it was found to be
#[utoipa::path(post, path = "/console/alerts/{id}/close", operation_id = "console.close_alert",
    tag = "console", params(("id" = String, Path, description = "The alert")),
    responses((status = 303, description = "Back to the alert"), (status = 404),
        (status = 409, description = "The page again: it is closed already"),
        (status = 422, description = "The page again: a verdict is needed")),
    extensions(("x-effect" = json!("fact")), ("x-access" = json!("operator:support"))))]
async fn close(
    State(console): State<Console>,
    Operator(caller, _): Operator<Support>,
    page: Page,
    Path(id): Path<AlertId>,
    Form(form): Form<CloseForm>,
) -> Result<Response, Problem> {
    let done = match Verdict::parse(&form.verdict) {
        Some(verdict) => {
            let closed = console.watch().close(&caller.ctx, id, verdict).await;
            closed.map_err(Problem::from)
        }
        None => Err(Problem::new(Kind::Invalid, "console.verdict", "Say what it was first.")),
    };
    match done {
        Ok(()) => Ok(see_other(&format!("/console/alerts/{id}?notice=closed"))),
        Err(problem) => {
            let (status, wrong) = Wrong::shown(problem)?;
            let why = console.watch().why(id).await?;
            let shown = AlertPage::of(&console, (page, Desk::of(&caller)), &why, caller.ctx.now);
            html_with(status, &AlertPage { wrong, ..shown })
        }
    }
}
