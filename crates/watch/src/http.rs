//! The operators' API of this room: rules and what they did, alerts and why, answers, the switch.
#![expect(unused_qualifications, reason = "written by utoipa's params(..)")]

use axum::extract::State;
use kernel::{AccountId, SessionId};
use serde::{Deserialize, Serialize};
use spine::ActionKind;
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use web::{Admin, Auditor, Cursor, Json, Listing, Operator, Path, Problem, Query, Staff, Support};

use crate::alert::{AlertId, AlertState, Verdict};
use crate::answer::{AnswerId, AnswerState, Ask, BY_A_PERSON, TTL_MAX_S};
use crate::error::Error;
use crate::replay::WouldFire;
use crate::room::Watch;
use crate::view::{AlertView, AnswerView, RuleView, WhyView};

/// The routes of this room, for the operators' listener.
pub fn routes(watch: Watch) -> OpenApiRouter {
    all().with_state(watch)
}

/// The same, for their document only: nothing needs to be open, and nothing answers.
#[must_use]
pub fn describe() -> OpenApiRouter {
    OpenApiRouter::with_openapi(all().into_openapi())
}

fn all() -> OpenApiRouter<Watch> {
    OpenApiRouter::new()
        .routes(routes!(list_rules))
        .routes(routes!(list_alerts))
        .routes(routes!(show_alert))
        .routes(routes!(acknowledge_alert))
        .routes(routes!(close_alert))
        .routes(routes!(list_answers, ask_answer))
        .routes(routes!(show_switch))
        .routes(routes!(stop_answers))
        .routes(routes!(resume_answers))
        .routes(routes!(replay_history))
}

const DEFAULT_ROWS: i64 = 50;
const REPLAY_HOURS_MAX: u32 = 24 * 31;

fn rows_of<T>(limit: Option<i64>, field: &'static str, read: T) -> Result<(i64, T), Problem> {
    let limit = limit.unwrap_or(DEFAULT_ROWS);
    if !(1..=kernel::Limits::PAGE_ROWS).contains(&limit) {
        return Err(Error::field(field, "must be 1 to 200").into());
    }
    Ok((limit, read))
}

fn parse<T: std::str::FromStr>(field: &'static str, text: &str) -> Result<T, Problem> {
    text.parse().map_err(|_| Error::field(field, "is no such id").into())
}

fn key_of(text: &str) -> Cursor {
    Cursor::after(text.as_bytes())
}

/// The rules at work, with what each did in the last 24 hours.
#[utoipa::path(get, path = "/v1/watch/rules", operation_id = "watch.list_rules", tag = "watch",
    responses((status = 200, body = Vec<RuleView>)),
    extensions(("x-effect" = json!("none")), ("x-access" = json!("operator:staff"))))]
async fn list_rules(
    State(watch): State<Watch>,
    Operator(caller, _): Operator<Staff>,
) -> Result<Json<Vec<RuleView>>, Problem> {
    let now = caller.ctx.now;
    let tallies = watch.tallies(now, 24).await?;
    let since = watch.known_since().await?;
    let days = u64::from(watch.config().dry_run_days);
    let view = |tuned: &crate::Tuned| {
        let rule = &tuned.rule;
        let known = since.get(rule.name).copied().unwrap_or(now);
        let until = known.plus(std::time::Duration::from_secs(days * 86_400));
        let dry_run = tuned.dry_run.unwrap_or(now < until);
        let tally = tallies.get(rule.name).copied().unwrap_or_default();
        RuleView {
            name: rule.name,
            words: rule.words,
            attack: rule.attack,
            severity: rule.severity,
            key: rule.key,
            measure: rule.measure,
            trigger: rule.trigger,
            threshold: rule.threshold,
            window_s: rule.window_s,
            share_percent: rule.share_percent,
            answers: rule.answers.iter().map(|action| action.as_str()).collect(),
            budget_per_hour: rule.budget_per_hour,
            answer_ttl_s: rule.answer_ttl_s,
            dry_run,
            dry_run_until: (dry_run && tuned.dry_run.is_none()).then(|| until.to_string()),
            fired: tally.fired,
            asked: tally.asked,
            would_have_asked: tally.dry,
            withheld: tally.withheld,
        }
    };
    Ok(Json(watch.rules().iter().map(view).collect()))
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct AlertQuery {
    /// Only alerts that stand so.
    state: Option<AlertState>,
    /// Only alerts older than this one.
    before: Option<String>,
    /// Rows at most, 1 to 200; 50 where not said.
    limit: Option<i64>,
}

/// Alerts, newest first. `next` is the `before` of the next page.
#[utoipa::path(get, path = "/v1/watch/alerts", operation_id = "watch.list_alerts", tag = "watch",
    params(AlertQuery), responses((status = 200, body = Listing<AlertView>)),
    extensions(("x-effect" = json!("none")), ("x-access" = json!("operator:staff"))))]
async fn list_alerts(
    State(watch): State<Watch>,
    _: Operator<Staff>,
    Query(query): Query<AlertQuery>,
) -> Result<Json<Listing<AlertView>>, Problem> {
    let before = query.before.as_deref().map(|text| parse("before", text)).transpose()?;
    let (limit, before) = rows_of(query.limit, "limit", before)?;
    let alerts = watch.alerts(query.state, before, limit + 1).await?;
    let views = alerts.into_iter().map(AlertView::from).collect();
    Ok(Json(cut(views, limit, |view: &AlertView| view.id.clone())))
}

/// A page whose next one begins after the id of its last row.
fn cut<T>(rows: Vec<T>, limit: i64, id: fn(&T) -> String) -> Listing<T> {
    let last = usize::try_from(limit - 1).unwrap_or(0);
    let next = rows.get(last).map(id);
    let mut listing = Listing::cut(rows, limit, |row| key_of(&id(row)));
    listing.next = listing.next.and(next);
    listing
}

/// Why an alert was raised: its details, the events that led to it, and what followed.
#[utoipa::path(get, path = "/v1/watch/alerts/{id}", operation_id = "watch.show_alert",
    tag = "watch", params(("id" = String, Path)),
    responses((status = 200, body = WhyView), (status = 404)),
    extensions(("x-effect" = json!("none")), ("x-access" = json!("operator:admin"))))]
async fn show_alert(
    State(watch): State<Watch>,
    _: Operator<Admin>,
    Path(id): Path<AlertId>,
) -> Result<Json<WhyView>, Problem> {
    Ok(Json(watch.why(id).await?.into()))
}

#[derive(Debug, Serialize, ToSchema)]
struct Done {
    /// Always true: what was asked for is so now.
    done: bool,
}

const DONE: Json<Done> = Json(Done { done: true });

/// Says that somebody takes care of an alert.
#[utoipa::path(post, path = "/v1/watch/alerts/{id}/acknowledge",
    operation_id = "watch.acknowledge_alert", tag = "watch",
    params(("id" = String, Path)),
    responses((status = 200, body = Done), (status = 404), (status = 409)),
    extensions(("x-effect" = json!("fact")), ("x-access" = json!("operator:support"))))]
async fn acknowledge_alert(
    State(watch): State<Watch>,
    Operator(caller, _): Operator<Support>,
    Path(id): Path<AlertId>,
    Json(_): Json<Empty>,
) -> Result<Json<Done>, Problem> {
    watch.acknowledge(&caller.ctx, id).await?;
    Ok(DONE)
}

/// Nothing: `{}`.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct Empty {}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct CloseAlert {
    /// What it was found to be.
    verdict: Verdict,
}

/// Closes an alert with what it was found to be.
#[utoipa::path(post, path = "/v1/watch/alerts/{id}/close", operation_id = "watch.close_alert",
    tag = "watch", params(("id" = String, Path)), request_body = CloseAlert,
    responses((status = 200, body = Done), (status = 404), (status = 409)),
    extensions(("x-effect" = json!("fact")), ("x-access" = json!("operator:support"))))]
async fn close_alert(
    State(watch): State<Watch>,
    Operator(caller, _): Operator<Support>,
    Path(id): Path<AlertId>,
    Json(body): Json<CloseAlert>,
) -> Result<Json<Done>, Problem> {
    watch.close(&caller.ctx, id, body.verdict).await?;
    Ok(DONE)
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct AnswerQuery {
    /// Only answers of which this became; `dry_run` for what would have been done.
    state: Option<AnswerState>,
    /// Only answers older than this one.
    before: Option<String>,
    /// Rows at most, 1 to 200; 50 where not said.
    limit: Option<i64>,
}

/// Answers, newest first: asked for, withheld, and, of rules in dry run, what would have been done.
#[utoipa::path(get, path = "/v1/watch/answers", operation_id = "watch.list_answers", tag = "watch",
    params(AnswerQuery), responses((status = 200, body = Listing<AnswerView>)),
    extensions(("x-effect" = json!("none")), ("x-access" = json!("operator:admin"))))]
async fn list_answers(
    State(watch): State<Watch>,
    _: Operator<Admin>,
    Query(query): Query<AnswerQuery>,
) -> Result<Json<Listing<AnswerView>>, Problem> {
    let before: Option<AnswerId> =
        query.before.as_deref().map(|text| parse("before", text)).transpose()?;
    let (limit, before) = rows_of(query.limit, "limit", before)?;
    let answers = watch.answers(query.state, before, limit + 1).await?;
    let views = answers.into_iter().map(AnswerView::from).collect();
    Ok(Json(cut(views, limit, |view: &AnswerView| view.id.clone())))
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct AskBody {
    /// What shall be done: `end_sessions`, `block_client` or another answer that a room obeys.
    #[schema(value_type = String)]
    action: ActionKind,
    /// To this account (`usr_…`).
    account: Option<String>,
    /// To this session of the account (`ses_…`).
    session: Option<String>,
    /// To this client.
    address: Option<String>,
    /// For how long, s, to 7776000; needed to block.
    ttl_s: Option<u32>,
    /// Why. It stands in the log: no names.
    reason: String,
}

#[derive(Debug, Serialize, ToSchema)]
struct Asked {
    /// The answer's id.
    id: String,
    /// `person`.
    rule: &'static str,
}

/// Asks for an answer, by the same door as the rules; without their budget, switch and allow list.
#[utoipa::path(post, path = "/v1/watch/answers", operation_id = "watch.ask", tag = "watch",
    request_body = AskBody, responses((status = 200, body = Asked), (status = 422)),
    extensions(("x-effect" = json!("fact")), ("x-access" = json!("operator:admin"))))]
async fn ask_answer(
    State(watch): State<Watch>,
    Operator(caller, _): Operator<Admin>,
    Json(body): Json<AskBody>,
) -> Result<Json<Asked>, Problem> {
    let action = body.action;
    let account: Option<AccountId> =
        body.account.as_deref().map(|text| parse("account", text)).transpose()?;
    let session: Option<SessionId> =
        body.session.as_deref().map(|text| parse("session", text)).transpose()?;
    let address = body.address.as_deref().map(|text| {
        let wrong = |_| Error::field("address", "is no IP address");
        text.parse().map_err(wrong)
    });
    let address = address.transpose()?;
    let span = |ttl_s: u32| std::time::Duration::from_secs(u64::from(ttl_s.min(TTL_MAX_S)));
    let until = body.ttl_s.map(|ttl_s| caller.ctx.now.plus(span(ttl_s)));
    let ask = Ask { action, account, session, address, until, reason: body.reason };
    let id = watch.ask(&caller.ctx, ask).await?;
    Ok(Json(Asked { id: id.to_string(), rule: BY_A_PERSON }))
}

#[derive(Debug, Serialize, ToSchema)]
struct SwitchView {
    /// Whether automatic answers are stopped.
    stopped: bool,
    /// Since when it stands so; none where it was never turned.
    changed_at: Option<String>,
}

/// How the off switch stands.
#[utoipa::path(get, path = "/v1/watch/switch", operation_id = "watch.show_switch", tag = "watch",
    responses((status = 200, body = SwitchView)),
    extensions(("x-effect" = json!("none")), ("x-access" = json!("operator:staff"))))]
async fn show_switch(
    State(watch): State<Watch>,
    _: Operator<Staff>,
) -> Result<Json<SwitchView>, Problem> {
    let switch = watch.switch().await?;
    let changed_at = switch.changed_at.map(|at| at.to_string());
    Ok(Json(SwitchView { stopped: switch.stopped, changed_at }))
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct TurnBody {
    /// Why.
    reason: String,
}

/// Stops all automatic answers, of every rule, at once.
#[utoipa::path(post, path = "/v1/watch/switch/stop", operation_id = "watch.stop_all_answers",
    tag = "watch", request_body = TurnBody,
    responses((status = 200, body = Done), (status = 409)),
    extensions(("x-effect" = json!("fact")), ("x-access" = json!("operator:support"))))]
async fn stop_answers(
    State(watch): State<Watch>,
    Operator(caller, _): Operator<Support>,
    Json(body): Json<TurnBody>,
) -> Result<Json<Done>, Problem> {
    watch.stop_all_answers(&caller.ctx, &body.reason).await?;
    Ok(DONE)
}

/// Lets automatic answers go on.
#[utoipa::path(post, path = "/v1/watch/switch/resume", operation_id = "watch.resume_answers",
    tag = "watch", request_body = TurnBody,
    responses((status = 200, body = Done), (status = 409)),
    extensions(("x-effect" = json!("fact")), ("x-access" = json!("operator:admin"))))]
async fn resume_answers(
    State(watch): State<Watch>,
    Operator(caller, _): Operator<Admin>,
    Json(body): Json<TurnBody>,
) -> Result<Json<Done>, Problem> {
    watch.resume(&caller.ctx, &body.reason).await?;
    Ok(DONE)
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct ReplayQuery {
    /// How many hours back, 1 to 744.
    hours: u32,
}

/// What a rule would have done.
#[derive(Debug, Serialize, ToSchema)]
struct WouldFireView {
    rule: &'static str,
    fired: u64,
    within_budget: u64,
    /// Different things that it would have fired about.
    keys: usize,
    /// When it would first have fired.
    first_at: Option<String>,
}

impl From<WouldFire> for WouldFireView {
    fn from(rule: WouldFire) -> Self {
        Self {
            rule: rule.rule,
            fired: rule.fired,
            within_budget: rule.within_budget,
            keys: rule.keys,
            first_at: rule.first.first().map(|fired| fired.at.to_string()),
        }
    }
}

/// What a replay found.
#[derive(Debug, Serialize, ToSchema)]
struct ReplayView {
    /// Events that the rules took.
    events: usize,
    /// Whether there were more than a replay takes: then the oldest are missing.
    cut: bool,
    rules: Vec<WouldFireView>,
}

/// Runs the last hours of the log against the rules as they are set, without acting.
#[utoipa::path(get, path = "/v1/watch/replay", operation_id = "watch.replay", tag = "watch",
    params(ReplayQuery), responses((status = 200, body = ReplayView)),
    extensions(("x-effect" = json!("none")), ("x-access" = json!("operator:auditor"))))]
async fn replay_history(
    State(watch): State<Watch>,
    Operator(caller, _): Operator<Auditor>,
    Query(query): Query<ReplayQuery>,
) -> Result<Json<ReplayView>, Problem> {
    if !(1..=REPLAY_HOURS_MAX).contains(&query.hours) {
        return Err(Error::field("hours", "must be 1 to 744").into());
    }
    let now = caller.ctx.now;
    let from = now.minus(std::time::Duration::from_secs(u64::from(query.hours) * 3_600));
    let found = watch.replay(watch.config(), from, now).await?;
    let rules = found.rules.into_iter().map(WouldFireView::from).collect();
    Ok(Json(ReplayView { events: found.events, cut: found.cut, rules }))
}
