//! Rules: what each finds and did lately, whether it acts or only tells, and the one off switch.

use std::time::Duration;

use askama::Template;
use axum::extract::State;
use axum::response::Response;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use watch::{Key, Measure, Rule, Tally, Trigger, Tuned};
use web::{Admin, Form, Operator, Page, Problem, Query, Staff, Support, html, see_other};

use crate::alert::severity_tone;
use crate::confirm::{Act, Reason};
use crate::desk::Desk;
use crate::notice::{NoticeQuery, notice};
use crate::room::Console;
use crate::told;

const HOURS: u32 = 24;
const DAY_S: u64 = 86_400;

pub(crate) fn routes() -> OpenApiRouter<Console> {
    OpenApiRouter::new()
        .routes(routes!(list))
        .routes(routes!(ask_stop, stop))
        .routes(routes!(ask_resume, resume))
}

/// A rule in the list.
struct Row {
    name: &'static str,
    title: String,
    words: &'static str,
    attack: &'static str,
    severity: &'static str,
    severity_tone: &'static str,
    numbers: String,
    answers: String,
    mode: &'static str,
    mode_tone: &'static str,
    mode_until: Option<String>,
    fired: String,
    asked: String,
    would: String,
    withheld: String,
}

fn numbers(rule: &Rule) -> String {
    let things = match rule.measure {
        Measure::Events => "times",
        Measure::Accounts => "accounts",
        Measure::Clients => "clients",
    };
    let key = match rule.key {
        Key::Client => "of one client",
        Key::Neighbours => "of one neighbourhood",
        Key::Account => "of one account",
        Key::Pair => "of one account from one client",
        Key::House => "in the whole house",
    };
    let mut text = match (rule.threshold, rule.measure) {
        (1, Measure::Events) => format!("once {key}"),
        (many, _) => {
            let window = told::span(rule.window_s.into());
            format!("{} {things} in {window} {key}", told::grouped(many))
        }
    };
    if rule.share_percent > 0 {
        text.push_str(&format!(", {} % bad", rule.share_percent));
    }
    if rule.trigger == Trigger::Good {
        text.push_str(", then one gets in");
    }
    text
}

fn answers(rule: &Rule) -> String {
    if rule.answers.is_empty() {
        return "tells a person".to_owned();
    }
    let all: Vec<&str> = rule.answers.iter().map(|action| action.words()).collect();
    format!("{}, at most {} an hour", all.join(" and "), rule.budget_per_hour)
}

impl Row {
    fn of(tuned: &Tuned, tally: Tally, (dry, until): (bool, Option<String>)) -> Self {
        let rule = &tuned.rule;
        let (mode, mode_tone) = match (rule.answers.is_empty(), dry) {
            (true, _) => ("alerts", "plain"),
            (false, true) => ("dry run", "note"),
            (false, false) => ("acts", "good"),
        };
        Self {
            name: rule.name,
            title: rule.name.replace('_', " "),
            words: rule.words,
            attack: rule.attack,
            severity: rule.severity.as_str(),
            severity_tone: severity_tone(rule.severity),
            numbers: numbers(rule),
            answers: answers(rule),
            mode,
            mode_tone,
            mode_until: until.filter(|_| mode == "dry run"),
            fired: told::grouped(tally.fired),
            asked: told::grouped(tally.asked),
            would: told::grouped(tally.dry),
            withheld: told::grouped(tally.withheld),
        }
    }
}

#[derive(Template)]
#[template(path = "rules.html")]
struct RulesPage {
    page: Page,
    desk: Desk,
    notice: Option<&'static str>,
    stopped: bool,
    since: Option<String>,
    dry_run_days: u32,
    rows: Vec<Row>,
}

/// The rules, what each did in the last day, and the off switch
#[utoipa::path(get, path = "/console/rules", operation_id = "console.list_rules",
    tag = "console", responses((status = 200, description = "The page")),
    extensions(("x-effect" = json!("none")), ("x-access" = json!("operator:staff"))))]
async fn list(
    State(console): State<Console>,
    Operator(caller, _): Operator<Staff>,
    page: Page,
    Query(query): Query<NoticeQuery>,
) -> Result<Response, Problem> {
    let (desk, watch, now) = (Desk::of(&caller), console.watch(), caller.ctx.now);
    let tallies = watch.tallies(now, HOURS).await?;
    let since = watch.known_since().await?;
    let switch = watch.switch().await?;
    let days = watch.config().dry_run_days;
    let row = |tuned: &Tuned| {
        let known = since.get(tuned.rule.name).copied().unwrap_or(now);
        let until = known.plus(Duration::from_secs(u64::from(days) * DAY_S));
        let dry = tuned.dry_run.unwrap_or(now < until);
        let ends = tuned.dry_run.is_none().then(|| told::clock(until));
        let tally = tallies.get(tuned.rule.name).copied().unwrap_or_default();
        Row::of(tuned, tally, (dry, ends))
    };
    html(&RulesPage {
        page: desk.page(page, "Rules"),
        desk,
        notice: notice(query.notice.as_deref()),
        stopped: switch.stopped,
        since: switch.changed_at.map(told::clock),
        dry_run_days: days,
        rows: watch.rules().iter().map(row).collect(),
    })
}

fn stop_act() -> Act {
    Act {
        title: "Stop all automatic answers",
        text: "Rules go on to count and to alert, but no rule blocks, ends or asks for anything \
               until answers go on. What was answered before stands until it ends.",
        target: "every rule".to_owned(),
        action: "/console/rules/stop".to_owned(),
        button: "Stop them",
        back: "/console/rules".to_owned(),
    }
}

fn resume_act() -> Act {
    Act {
        title: "Let automatic answers go on",
        text: "Rules act again within their budgets.",
        target: "every rule".to_owned(),
        action: "/console/rules/resume".to_owned(),
        button: "Let them go on",
        back: "/console/rules".to_owned(),
    }
}

/// The question before automatic answers are stopped
#[utoipa::path(get, path = "/console/rules/stop", operation_id = "console.ask_stop_answers",
    tag = "console", responses((status = 200, description = "The page")),
    extensions(("x-effect" = json!("none")), ("x-access" = json!("operator:support"))))]
async fn ask_stop(Operator(caller, _): Operator<Support>, page: Page) -> Result<Response, Problem> {
    stop_act().ask(page, Desk::of(&caller))
}

/// Stop all automatic answers
#[utoipa::path(post, path = "/console/rules/stop", operation_id = "console.stop_answers",
    tag = "console",
    responses((status = 303, description = "Back to the rules"),
        (status = 409, description = "The page again: they are stopped already"),
        (status = 422, description = "The page again: a reason is needed")),
    extensions(("x-effect" = json!("fact")), ("x-access" = json!("operator:support"))))]
async fn stop(
    State(console): State<Console>,
    Operator(caller, _): Operator<Support>,
    page: Page,
    Form(form): Form<Reason>,
) -> Result<Response, Problem> {
    let act = async |reason: &str| {
        console.watch().stop_all_answers(&caller.ctx, reason).await?;
        Ok(see_other("/console/rules?notice=stopped"))
    };
    stop_act().carry_out((page, Desk::of(&caller)), &form, act).await
}

/// The question before automatic answers go on
#[utoipa::path(get, path = "/console/rules/resume", operation_id = "console.ask_resume_answers",
    tag = "console", responses((status = 200, description = "The page")),
    extensions(("x-effect" = json!("none")), ("x-access" = json!("operator:admin"))))]
async fn ask_resume(Operator(caller, _): Operator<Admin>, page: Page) -> Result<Response, Problem> {
    resume_act().ask(page, Desk::of(&caller))
}

/// Let automatic answers go on
#[utoipa::path(post, path = "/console/rules/resume", operation_id = "console.resume_answers",
    tag = "console",
    responses((status = 303, description = "Back to the rules"),
        (status = 409, description = "The page again: they are not stopped"),
        (status = 422, description = "The page again: a reason is needed")),
    extensions(("x-effect" = json!("fact")), ("x-access" = json!("operator:admin"))))]
async fn resume(
    State(console): State<Console>,
    Operator(caller, _): Operator<Admin>,
    page: Page,
    Form(form): Form<Reason>,
) -> Result<Response, Problem> {
    let act = async |reason: &str| {
        console.watch().resume(&caller.ctx, reason).await?;
        Ok(see_other("/console/rules?notice=resumed"))
    };
    resume_act().carry_out((page, Desk::of(&caller)), &form, act).await
}
