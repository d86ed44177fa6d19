//! Accounts: found by address or id, and shown as far as the role sees (C2). What is done to them
//! stands in `deed`.

mod deed;

use askama::Template;
use axum::extract::State;
use axum::response::Response;
use identity::{AccountKind, AccountState, AccountView, Factors, ListAccounts, SessionView};
use kernel::{AccountId, Timestamp};
use serde::Deserialize;
use spine::About;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use web::{
    Admin, Caller, Form, Operator, Page, Path, Problem, Query, Support, Wrong, html, html_with,
    see_other, wrong_field,
};

use self::deed::may_act;
use crate::confirm::{Act, Reason};
use crate::desk::Desk;
use crate::event::{self, Line};
use crate::events::{PersonalDataRevealed, Revealed};
use crate::notice::{NoticeQuery, notice};
use crate::room::Console;
use crate::sight::Sight;
use crate::told;

const ROWS: i64 = 50;
const RECENT: i64 = 20;

pub(crate) fn routes() -> OpenApiRouter<Console> {
    OpenApiRouter::new()
        .routes(routes!(list))
        .routes(routes!(search))
        .routes(routes!(show))
        .routes(routes!(ask_reveal, reveal))
        .merge(deed::routes())
}

/// An account in a list.
struct Row {
    href: String,
    id: String,
    email: String,
    name: String,
    kind: &'static str,
    state: &'static str,
    tone: &'static str,
    roles: String,
    since: String,
}

const GONE: &str = "erased";

fn state_tone(state: AccountState) -> &'static str {
    match state {
        AccountState::Active => "good",
        AccountState::Unverified => "note",
        AccountState::Locked => "warn",
        AccountState::Erased => "plain",
    }
}

fn seen(sight: Sight, text: Option<&String>) -> String {
    text.and_then(|text| sight.text(text)).unwrap_or_else(|| GONE.to_owned())
}

fn roles(view: &AccountView) -> String {
    view.roles.iter().map(|role| role.as_str()).collect::<Vec<_>>().join(", ")
}

impl Row {
    fn of(view: &AccountView, sight: Sight) -> Self {
        Self {
            href: format!("/console/accounts/{}", view.id),
            id: view.id.to_string(),
            email: seen(sight, view.email.as_ref()),
            name: seen(sight, view.name.as_ref()),
            kind: view.kind.as_str(),
            state: view.state.as_str(),
            tone: state_tone(view.state),
            roles: roles(view),
            since: told::clock(view.created_at),
        }
    }
}

#[derive(Template)]
#[template(path = "accounts.html")]
struct AccountsPage {
    page: Page,
    desk: Desk,
    wrong: Wrong,
    kind: &'static str,
    rows: Vec<Row>,
    next: Option<String>,
}

#[derive(Deserialize)]
struct ListQuery {
    #[serde(default)]
    kind: String,
    #[serde(default)]
    after: Option<String>,
}

async fn list_page(
    console: &Console,
    (page, desk): (Page, Desk),
    query: &ListQuery,
) -> Result<AccountsPage, Problem> {
    let kind = match query.kind.as_str() {
        "" => None,
        word => Some(
            AccountKind::parse(word).ok_or_else(|| wrong_field("kind", "is no kind of account"))?,
        ),
    };
    let after = query.after.as_deref().map(str::parse).transpose();
    let after = after.map_err(|_| wrong_field("after", "is no account"))?;
    let found = console.identity().list_accounts(ListAccounts { kind, after, rows: ROWS }).await?;
    let word = kind.map_or("", AccountKind::as_str);
    let full = i64::try_from(found.len()) == Ok(ROWS);
    let last = found.last().filter(|_| full);
    let sight = desk.sight;
    Ok(AccountsPage {
        page: desk.page(page, "Accounts"),
        desk,
        wrong: Wrong::default(),
        kind: word,
        next: last.map(|view| format!("/console/accounts?kind={word}&after={}", view.id)),
        rows: found.iter().map(|view| Row::of(view, sight)).collect(),
    })
}

/// Accounts in the order of their opening, and the search
#[utoipa::path(get, path = "/console/accounts", operation_id = "console.list_accounts",
    tag = "console",
    params(("kind" = Option<String>, Query, description = "Only this kind"),
        ("after" = Option<String>, Query, description = "After this account")),
    responses((status = 200, description = "The page")),
    extensions(("x-effect" = json!("none")), ("x-access" = json!("operator:support"))))]
async fn list(
    State(console): State<Console>,
    Operator(caller, _): Operator<Support>,
    page: Page,
    Query(query): Query<ListQuery>,
) -> Result<Response, Problem> {
    html(&list_page(&console, (page, Desk::of(&caller)), &query).await?)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Search {
    who: String,
}

/// Find an account by its whole address or its id
///
/// By POST, so that addresses stand in no log and no history.
#[utoipa::path(post, path = "/console/accounts/search", operation_id = "console.find_account",
    tag = "console",
    responses((status = 303, description = "On to the account"),
        (status = 422, description = "The page again: nobody is found")),
    extensions(("x-effect" = json!("none")), ("x-access" = json!("operator:support"))))]
async fn search(
    State(console): State<Console>,
    Operator(caller, _): Operator<Support>,
    page: Page,
    Form(form): Form<Search>,
) -> Result<Response, Problem> {
    let who = form.who.trim();
    let found = match who.parse::<AccountId>() {
        Ok(id) => match console.identity().account(id).await {
            Ok(view) => Some(view),
            Err(identity::Error::NotFound) => None,
            Err(error) => return Err(error.into()),
        },
        Err(_) => match console.identity().find_account(who).await {
            Ok(found) => found,
            Err(identity::Error::Invalid(_)) => None,
            Err(error) => return Err(error.into()),
        },
    };
    if let Some(view) = found {
        return Ok(see_other(&format!("/console/accounts/{}", view.id)));
    }
    let nobody = "Nobody has this address or id. Type the whole address, or an id that begins \
                  with usr_.";
    let (status, wrong) = Wrong::shown(wrong_field("who", nobody))?;
    let query = ListQuery { kind: String::new(), after: None };
    let shown = list_page(&console, (page, Desk::of(&caller)), &query).await?;
    html_with(status, &AccountsPage { wrong, ..shown })
}

/// A live session.
struct Place {
    client: &'static str,
    place: String,
    agent: String,
    since: String,
    used: String,
    end: String,
}

impl Place {
    fn of(account: AccountId, view: &SessionView, (sight, now): (Sight, Timestamp)) -> Self {
        let unknown = || "unknown".to_owned();
        let address = view.address.as_deref();
        Self {
            client: match view.client {
                identity::Client::Browser => "browser",
                identity::Client::App => "app",
                identity::Client::Console => "console",
            },
            place: address.and_then(|address| sight.text(address)).unwrap_or_else(unknown),
            agent: view.agent.as_deref().and_then(|a| sight.agent(a)).unwrap_or_else(unknown),
            since: told::clock(view.created_at),
            used: told::ago(now, view.used_at),
            end: format!("/console/accounts/{account}/sessions/{}/end", view.id),
        }
    }
}

#[derive(Template)]
#[template(path = "account_page.html")]
struct AccountPage {
    page: Page,
    desk: Desk,
    notice: Option<&'static str>,
    row: Row,
    /// Whether this operator may act on it.
    may_act: bool,
    may_reveal: bool,
    revealed: bool,
    active: bool,
    locked: bool,
    erased: bool,
    /// Its second factors, each with when it was added.
    factors: Vec<(String, String)>,
    codes_left: u32,
    sessions: Vec<Place>,
    lines: Vec<Line>,
}

async fn account_page(
    console: &Console,
    (page, caller): (Page, &Caller),
    view: &AccountView,
    (sight, notice): (Sight, Option<&'static str>),
) -> Result<Response, Problem> {
    let (ctx, desk) = (&caller.ctx, Desk::of(caller));
    let sessions = console.identity().sessions(ctx, view.id, None).await?;
    let Factors { factors, backup_codes_left } = console.identity().factors(view.id).await?;
    let asked = event::Asked { account: Some(view.id), ..event::Asked::default() };
    let events = asked.page(console, None, RECENT).await?;
    let erased = view.state == AccountState::Erased;
    let place = |session: &SessionView| Place::of(view.id, session, (sight, ctx.now));
    html(&AccountPage {
        page: desk.page(page, "Account"),
        notice,
        row: Row::of(view, sight),
        may_act: may_act(&desk, view).is_ok(),
        may_reveal: desk.admin && !erased && sight != Sight::Whole,
        revealed: sight == Sight::Whole,
        active: view.state == AccountState::Active,
        locked: view.state == AccountState::Locked,
        erased,
        factors: factors
            .iter()
            .map(|factor| (factor.name.clone(), told::clock(factor.added_at)))
            .collect(),
        codes_left: backup_codes_left,
        sessions: sessions.iter().map(place).collect(),
        lines: events.iter().map(|event| Line::of(console, event, ctx.now)).collect(),
        desk,
    })
}

/// One account: its state, its sessions, what happened to it
#[utoipa::path(get, path = "/console/accounts/{id}", operation_id = "console.show_account",
    tag = "console",
    params(("id" = String, Path, description = "The account"),
        ("notice" = Option<String>, Query, description = "What was done")),
    responses((status = 200, description = "The page"), (status = 404)),
    extensions(("x-effect" = json!("none")), ("x-access" = json!("operator:support"))))]
async fn show(
    State(console): State<Console>,
    Operator(caller, _): Operator<Support>,
    page: Page,
    Path(id): Path<AccountId>,
    Query(query): Query<NoticeQuery>,
) -> Result<Response, Problem> {
    let view = console.identity().account(id).await?;
    let how = (Sight::of(&caller.roles), notice(query.notice.as_deref()));
    account_page(&console, (page, &caller), &view, how).await
}

fn reveal_act(id: AccountId) -> Act {
    Act {
        title: "Show personal data",
        text: "Name, address and places of this account are shown to you in the clear, once. That \
               you looked, and why, is an event that nobody can take back.",
        target: id.to_string(),
        action: format!("/console/accounts/{id}/reveal"),
        button: "Show it",
        back: format!("/console/accounts/{id}"),
    }
}

/// The question before an account's personal data is shown
#[utoipa::path(get, path = "/console/accounts/{id}/reveal",
    operation_id = "console.ask_reveal_account", tag = "console",
    params(("id" = String, Path, description = "The account")),
    responses((status = 200, description = "The page")),
    extensions(("x-effect" = json!("none")), ("x-access" = json!("operator:admin"))))]
async fn ask_reveal(
    Operator(caller, _): Operator<Admin>,
    page: Page,
    Path(id): Path<AccountId>,
) -> Result<Response, Problem> {
    reveal_act(id).ask(page, Desk::of(&caller))
}

/// Show an account's personal data in the clear, and tell that it was shown
#[utoipa::path(post, path = "/console/accounts/{id}/reveal",
    operation_id = "console.reveal_account", tag = "console",
    params(("id" = String, Path, description = "The account")),
    responses((status = 200, description = "The account's page with whole values"),
        (status = 404), (status = 422, description = "The page again: a reason is needed")),
    extensions(("x-effect" = json!("fact")), ("x-access" = json!("operator:admin"))))]
async fn reveal(
    State(console): State<Console>,
    Operator(caller, _): Operator<Admin>,
    page: Page,
    Path(id): Path<AccountId>,
    Form(form): Form<Reason>,
) -> Result<Response, Problem> {
    let asked = (page.clone(), Desk::of(&caller));
    let act = async |reason: &str| {
        let view = console.identity().account(id).await?;
        if view.state == AccountState::Erased {
            return account_page(&console, (page, &caller), &view, (Sight::Masked, None)).await;
        }
        let look = PersonalDataRevealed {
            what: Revealed::Account,
            kind: view.kind.as_str().to_owned(),
            event: None,
            reason: reason.to_owned(),
        };
        event::tell(&console, &caller.ctx, About::account(id, 0), look).await?;
        account_page(&console, (page, &caller), &view, (Sight::Whole, None)).await
    };
    reveal_act(id).carry_out(asked, &form, act).await
}
