//! Blocked clients: the list, a new block, and letting somebody in again. `access` decides who can
//! never be blocked; here people ask.

use std::time::Duration;

use access::{Block, BlockEntry, BlockId, BlockSource};
use askama::Template;
use axum::extract::State;
use axum::response::Response;
use kernel::Timestamp;
use serde::Deserialize;
use spine::About;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use watch::AlertId;
use web::feed::Net;
use web::{
    Form, Operator, Page, Path, Problem, Query, Support, Wrong, html, html_with, see_other,
    wrong_field,
};

use crate::confirm::{Act, Reason};
use crate::desk::Desk;
use crate::notice::notice;
use crate::room::Console;
use crate::told;

const ROWS: usize = 50;
/// The longest block that a person may ask for.
const MINUTES_MAX: u64 = 30 * 24 * 60;

pub(crate) fn routes() -> OpenApiRouter<Console> {
    OpenApiRouter::new().routes(routes!(list, block)).routes(routes!(ask_unblock, unblock))
}

/// A block in the list.
struct Row {
    net: String,
    reason: String,
    rule: String,
    by_rule: bool,
    state: String,
    active: bool,
    since: String,
    until: String,
    left: Option<String>,
    unblock: String,
}

impl Row {
    fn of(entry: &BlockEntry, now: Timestamp) -> Self {
        let gone = || "erased".to_owned();
        let active = entry.state == "active" && entry.until_at > now;
        let left = active.then(|| told::span(entry.until_at.since(now).as_secs()));
        Self {
            net: entry.net.map_or_else(gone, |net| net.to_string()),
            reason: entry.reason.clone().unwrap_or_else(gone),
            rule: entry.rule.replace('_', " "),
            by_rule: matches!(entry.source, BlockSource::Rule),
            state: if active { "active".to_owned() } else { ended(&entry.state) },
            active,
            since: told::clock(entry.created_at),
            until: told::clock(entry.ended_at.unwrap_or(entry.until_at)),
            left,
            unblock: format!("/console/clients/{}/unblock", entry.id),
        }
    }
}

/// A block whose time is over reads so before the sweep has been there.
fn ended(state: &str) -> String {
    if state == "active" { "expired".to_owned() } else { state.to_owned() }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct BlockForm {
    net: String,
    minutes: String,
    reason: String,
}

impl Default for BlockForm {
    fn default() -> Self {
        Self { net: String::new(), minutes: "60".to_owned(), reason: String::new() }
    }
}

#[derive(Template)]
#[template(path = "clients.html")]
struct ClientsPage {
    page: Page,
    desk: Desk,
    notice: Option<&'static str>,
    wrong: Wrong,
    form: BlockForm,
    ended: bool,
    rows: Vec<Row>,
    next: Option<String>,
}

#[derive(Default, Deserialize)]
struct ListQuery {
    /// Ended ones too.
    #[serde(default)]
    ended: Option<u8>,
    #[serde(default)]
    after: Option<String>,
    /// The alert whose client the form is filled with.
    #[serde(default)]
    alert: Option<String>,
    #[serde(default)]
    notice: Option<String>,
}

async fn list_page(
    console: &Console,
    (page, desk): (Page, Desk),
    query: &ListQuery,
    now: Timestamp,
) -> Result<ClientsPage, Problem> {
    let ended = query.ended == Some(1);
    let after: Option<BlockId> = query
        .after
        .as_deref()
        .map(str::parse)
        .transpose()
        .map_err(|_| wrong_field("after", "is no block"))?;
    let limit = i64::try_from(ROWS).unwrap_or(0) + 1;
    let blocks = console.access().blocks(after, !ended, limit).await;
    let mut blocks = blocks?;
    let more = blocks.len() > ROWS;
    blocks.truncate(ROWS);
    let last = blocks.last().filter(|_| more);
    let flag = if ended { "&ended=1" } else { "" };
    Ok(ClientsPage {
        page: desk.page(page, "Blocked clients"),
        desk,
        notice: notice(query.notice.as_deref()),
        wrong: Wrong::default(),
        form: BlockForm::default(),
        ended,
        next: last.map(|block| format!("/console/clients?after={}{flag}", block.id)),
        rows: blocks.iter().map(|entry| Row::of(entry, now)).collect(),
    })
}

/// Blocked clients, newest first, and the form to block one
#[utoipa::path(get, path = "/console/clients", operation_id = "console.list_clients",
    tag = "console",
    params(("ended" = Option<u8>, Query, description = "1: ended blocks too"),
        ("after" = Option<String>, Query, description = "Older than this block"),
        ("alert" = Option<String>, Query, description = "Fill the form with its client")),
    responses((status = 200, description = "The page")),
    extensions(("x-effect" = json!("none")), ("x-access" = json!("operator:support"))))]
async fn list(
    State(console): State<Console>,
    Operator(caller, _): Operator<Support>,
    page: Page,
    Query(query): Query<ListQuery>,
) -> Result<Response, Problem> {
    let desk = Desk::of(&caller);
    let mut shown = list_page(&console, (page, desk), &query, caller.ctx.now).await?;
    if let Some(alert) = &query.alert {
        let alert: AlertId = alert.parse().map_err(|_| wrong_field("alert", "is no alert"))?;
        let why = console.watch().why(alert).await?;
        if let Some(address) = why.details.and_then(|details| details.address) {
            shown.form.net = Net::of_client(address).to_string();
            shown.form.reason = format!("alert of the rule {}", why.alert.rule.replace('_', " "));
        }
    }
    html(&shown)
}

/// What the form asks for.
fn read(form: &BlockForm, now: Timestamp) -> Result<Block, Problem> {
    let wrong = |_| wrong_field("net", "Write an address or a network: 192.0.2.7, 2001:db8::/64.");
    let net: Net = form.net.trim().parse().map_err(wrong)?;
    let minutes = form.minutes.trim().parse::<u64>().ok();
    let minutes = minutes.filter(|minutes| (1..=MINUTES_MAX).contains(minutes));
    let minutes = minutes.ok_or_else(|| wrong_field("minutes", "Say how long: 1 to 43200."))?;
    let reason = Reason { reason: form.reason.clone() };
    Ok(Block {
        net,
        until: Some(now.plus(Duration::from_secs(minutes * 60))),
        reason: reason.given()?.to_owned(),
        rule: "operator".to_owned(),
        source: BlockSource::Operator,
    })
}

/// Block a client
#[utoipa::path(post, path = "/console/clients", operation_id = "console.block_client",
    tag = "console",
    responses((status = 303, description = "Back to the list"),
        (status = 400, description = "The page again: this network is never blocked"),
        (status = 422, description = "The page again: fields are wrong")),
    extensions(("x-effect" = json!("fact")), ("x-access" = json!("operator:support"))))]
async fn block(
    State(console): State<Console>,
    Operator(caller, _): Operator<Support>,
    page: Page,
    Form(form): Form<BlockForm>,
) -> Result<Response, Problem> {
    let done = match read(&form, caller.ctx.now) {
        Ok(block) => console.access().block(&caller.ctx, &block).await.map_err(Problem::from),
        Err(problem) => Err(problem),
    };
    match done {
        Ok(_) => Ok(see_other("/console/clients?notice=blocked")),
        Err(problem) => {
            let (status, wrong) = Wrong::shown(problem)?;
            let desk = Desk::of(&caller);
            let query = ListQuery::default();
            let shown = list_page(&console, (page, desk), &query, caller.ctx.now).await?;
            html_with(status, &ClientsPage { wrong, form, ..shown })
        }
    }
}

fn unblock_act(id: BlockId) -> Act {
    Act {
        title: "Let this client in again",
        text: "The block ends at once. A rule may block the client again.",
        target: id.to_string(),
        action: format!("/console/clients/{id}/unblock"),
        button: "Let in again",
        back: "/console/clients".to_owned(),
    }
}

/// The question before a client is let in again
#[utoipa::path(get, path = "/console/clients/{id}/unblock",
    operation_id = "console.ask_unblock_client", tag = "console",
    params(("id" = String, Path, description = "The block")),
    responses((status = 200, description = "The page")),
    extensions(("x-effect" = json!("none")), ("x-access" = json!("operator:support"))))]
async fn ask_unblock(
    Operator(caller, _): Operator<Support>,
    page: Page,
    Path(id): Path<BlockId>,
) -> Result<Response, Problem> {
    unblock_act(id).ask(page, Desk::of(&caller))
}

/// Let a blocked client in again
#[utoipa::path(post, path = "/console/clients/{id}/unblock",
    operation_id = "console.unblock_client", tag = "console",
    params(("id" = String, Path, description = "The block")),
    responses((status = 303, description = "Back to the list"),
        (status = 404, description = "There is no such block, or it has ended"),
        (status = 422, description = "The page again: a reason is needed")),
    extensions(("x-effect" = json!("fact")), ("x-access" = json!("operator:support"))))]
async fn unblock(
    State(console): State<Console>,
    Operator(caller, _): Operator<Support>,
    page: Page,
    Path(id): Path<BlockId>,
    Form(form): Form<Reason>,
) -> Result<Response, Problem> {
    let act = async |reason: &str| {
        // The reason first: no act without one, whatever happens in between.
        let about = About::house("block", *id.as_bytes(), 0);
        console.give_reason(&caller.ctx, about, ("unblock client", reason)).await?;
        let done = console.access().unblock_by_id(&caller.ctx, id).await;
        done?;
        Ok(see_other("/console/clients?notice=unblocked"))
    };
    unblock_act(id).carry_out((page, Desk::of(&caller)), &form, act).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_form_is_read_or_the_field_is_named() {
        let form = |net: &str, minutes: &str, reason: &str| BlockForm {
            net: net.to_owned(),
            minutes: minutes.to_owned(),
            reason: reason.to_owned(),
        };
        let now = Timestamp::from_seconds(100);
        let block = read(&form(" 192.0.2.7 ", "5", "sprays"), now).unwrap();
        assert_eq!(block.until, Some(Timestamp::from_seconds(400)));
        for (net, minutes, reason, field) in [
            ("192.0.2.300", "5", "x", "net"),
            ("192.0.2.7", "0", "x", "minutes"),
            ("192.0.2.7", "99999999999999999999", "x", "minutes"),
            ("192.0.2.7", "5", " ", "reason"),
        ] {
            let problem = read(&form(net, minutes, reason), now).unwrap_err();
            assert!(problem.field(field).is_some(), "{field}");
        }
    }
}
