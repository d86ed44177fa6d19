//! Applications: who wants to sell or to supply, and the operator's yes or no (C3).

use askama::Template;
use axum::extract::State;
use axum::response::Response;
use identity::{ApplicationView, Decide};
use kernel::{AccountId, Timestamp};
use serde::Deserialize;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use web::{Form, Operator, Page, Path, Problem, Query, Support, html, see_other, wrong_field};

use crate::confirm::{Act, Reason};
use crate::desk::Desk;
use crate::notice::notice;
use crate::room::Console;
use crate::told;

const ROWS: usize = 50;

pub(crate) fn routes() -> OpenApiRouter<Console> {
    OpenApiRouter::new().routes(routes!(list)).routes(routes!(ask, decide))
}

/// An application in the list.
struct Row {
    account: String,
    href: String,
    kind: &'static str,
    since: String,
    ago: String,
    decide: String,
}

impl Row {
    fn of(view: &ApplicationView, now: Timestamp) -> Self {
        let account = view.account;
        Self {
            account: account.to_string(),
            href: format!("/console/accounts/{account}"),
            kind: view.kind.as_str(),
            since: told::clock(view.asked_at),
            ago: told::ago(now, view.asked_at),
            decide: format!("/console/applications/{account}"),
        }
    }
}

#[derive(Template)]
#[template(path = "applications.html")]
struct ApplicationsPage {
    page: Page,
    desk: Desk,
    notice: Option<&'static str>,
    rows: Vec<Row>,
    next: Option<String>,
}

#[derive(Deserialize)]
struct ListQuery {
    #[serde(default)]
    after: Option<String>,
    #[serde(default)]
    notice: Option<String>,
}

/// Applications that wait for a decision
#[utoipa::path(get, path = "/console/applications", operation_id = "console.list_applications",
    tag = "console",
    params(("after" = Option<String>, Query, description = "After this account")),
    responses((status = 200, description = "The page")),
    extensions(("x-effect" = json!("none")), ("x-access" = json!("operator:support"))))]
async fn list(
    State(console): State<Console>,
    Operator(caller, _): Operator<Support>,
    page: Page,
    Query(query): Query<ListQuery>,
) -> Result<Response, Problem> {
    let after = query.after.as_deref().map(str::parse).transpose();
    let after = after.map_err(|_| wrong_field("after", "is no account"))?;
    let limit = i64::try_from(ROWS).unwrap_or(0) + 1;
    let mut found = console.identity().applications(after, limit).await?;
    let more = found.len() > ROWS;
    found.truncate(ROWS);
    let last = found.last().filter(|_| more);
    let desk = Desk::of(&caller);
    html(&ApplicationsPage {
        page: desk.page(page, "Applications"),
        desk,
        notice: notice(query.notice.as_deref()),
        next: last.map(|view| format!("/console/applications?after={}", view.account)),
        rows: found.iter().map(|view| Row::of(view, caller.ctx.now)).collect(),
    })
}

/// What an operator says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Answer {
    Approve,
    Decline,
}

impl Answer {
    fn act(self, id: AccountId) -> Act {
        let (word, title, text, button) = match self {
            Self::Approve => (
                "approve",
                "Approve the application",
                "The account becomes what it applied to be, with every door of the shop that is \
                 open to that kind. Its sessions end; its owner signs in anew.",
                "Approve it",
            ),
            Self::Decline => (
                "decline",
                "Decline the application",
                "The account stays a customer's.",
                "Decline it",
            ),
        };
        Act {
            title,
            text,
            target: id.to_string(),
            action: format!("/console/applications/{id}/{word}"),
            button,
            back: "/console/applications".to_owned(),
        }
    }
}

/// The question before an application is decided
#[utoipa::path(get, path = "/console/applications/{id}/{answer}",
    operation_id = "console.ask_decide_application", tag = "console",
    params(("id" = String, Path, description = "The account"),
        ("answer" = String, Path, description = "approve or decline")),
    responses((status = 200, description = "The page")),
    extensions(("x-effect" = json!("none")), ("x-access" = json!("operator:support"))))]
async fn ask(
    Operator(caller, _): Operator<Support>,
    page: Page,
    Path((id, answer)): Path<(AccountId, Answer)>,
) -> Result<Response, Problem> {
    answer.act(id).ask(page, Desk::of(&caller))
}

/// Decide on an application
#[utoipa::path(post, path = "/console/applications/{id}/{answer}",
    operation_id = "console.decide_application", tag = "console",
    params(("id" = String, Path, description = "The account"),
        ("answer" = String, Path, description = "approve or decline")),
    responses((status = 303, description = "Back to the applications"), (status = 404),
        (status = 409, description = "The page again: nothing waits for a decision"),
        (status = 422, description = "The page again: a reason is needed")),
    extensions(("x-effect" = json!("fact")), ("x-access" = json!("operator:support"))))]
async fn decide(
    State(console): State<Console>,
    Operator(caller, _): Operator<Support>,
    page: Page,
    Path((id, answer)): Path<(AccountId, Answer)>,
    Form(form): Form<Reason>,
) -> Result<Response, Problem> {
    let act = async |reason: &str| {
        let (approve, reason) = (answer == Answer::Approve, reason.to_owned());
        console.identity().decide(&caller.ctx, Decide { account: id, approve, reason }).await?;
        let notice = if approve { "approved" } else { "declined" };
        Ok(see_other(&format!("/console/applications?notice={notice}")))
    };
    answer.act(id).carry_out((page, Desk::of(&caller)), &form, act).await
}
