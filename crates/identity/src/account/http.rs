//! The account's own page, with everything on it that its owner may do; and the same as API.

use askama::Template;
use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use http::StatusCode;
use kernel::{Secret, SessionId, Timestamp};
use serde::Deserialize;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use web::{
    App, Caller, Form, Json, Nothing, Page, Problem, Query, Shape, Wrong, html, html_with, next_or,
    see_other,
};

use super::{AccountView, EraseAccount, Rename};
use crate::application::ApplicationState;
use crate::cookies::{sign_in_cookies, sign_out_cookies};
use crate::error::Error;
use crate::gate::http::successor;
use crate::password::{ChangePassword, ConfirmPassword};
use crate::refresh::http::TokensView;
use crate::room::Identity;
use crate::session::{EndReason, SessionView};

pub(crate) fn routes() -> OpenApiRouter<Identity> {
    OpenApiRouter::new()
        .routes(routes!(account_page))
        .routes(routes!(name_form))
        .routes(routes!(password_form))
        .routes(routes!(end_session_form))
        .routes(routes!(end_others_form))
        .routes(routes!(end_all_form))
        .routes(routes!(delete_form))
        .routes(routes!(confirm_page, confirm_form))
        .routes(routes!(account_json, delete_json))
        .routes(routes!(password_json))
}

/// Which form of the page came back.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Section {
    Name,
    Password,
    Delete,
}

#[derive(Template)]
#[template(path = "account.html")]
struct AccountPage {
    page: Page,
    notice: Option<&'static str>,
    account: AccountView,
    /// What it applied to be, in words, while nobody decided.
    applied: Option<String>,
    devices: Vec<Device>,
    // Named unlike the parameters of the page's macros, which would hide them.
    wrong_name: Wrong,
    wrong_password: Wrong,
    wrong_delete: Wrong,
}

/// One session as the page shows it.
struct Device {
    session: SessionId,
    agent: String,
    address: String,
    since: String,
    used: String,
    current: bool,
}

impl Device {
    fn of(view: SessionView) -> Self {
        let unknown = |text: Option<String>, what: &str| text.unwrap_or_else(|| what.to_owned());
        Self {
            session: view.id,
            agent: unknown(view.agent, "Unknown device"),
            address: unknown(view.address, "an unknown address"),
            since: minute(view.created_at),
            used: minute(view.used_at),
            current: view.current,
        }
    }
}

/// A moment to the minute, UTC: `2026-11-24 02:25`.
fn minute(at: Timestamp) -> String {
    let text = at.to_string();
    text.get(..16).unwrap_or(&text).replace('T', " ")
}

#[derive(Template)]
#[template(path = "confirm.html")]
struct ConfirmPage {
    page: Page,
    wrong: Wrong,
    next: String,
}

#[derive(Deserialize)]
struct AccountQuery {
    #[serde(default)]
    notice: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NameFields {
    name: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PasswordFields {
    old: Secret<String>,
    password: Secret<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SessionFields {
    session: SessionId,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ConfirmFields {
    password: Secret<String>,
    #[serde(default)]
    next: String,
}

#[derive(Deserialize)]
struct ConfirmQuery {
    #[serde(default)]
    next: String,
}

/// The present password, for an act that asks for it.
#[derive(Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
struct PasswordBody {
    /// The present password.
    #[schema(value_type = String, format = Password)]
    password: Secret<String>,
}

/// Another password.
#[derive(Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
struct ChangeBody {
    /// The present password.
    #[schema(value_type = String, format = Password)]
    old: Secret<String>,
    /// The new one: 10 to 128 characters.
    #[schema(value_type = String, format = Password)]
    password: Secret<String>,
}

fn notice(code: Option<&str>) -> Option<&'static str> {
    match code? {
        "name" => Some("Your name is changed."),
        "password" => Some("Your password is changed; your other devices are signed out."),
        "ended" => Some("Signed out there."),
        "others" => Some("Your other devices are signed out."),
        _ => None,
    }
}

async fn account(room: &Identity, caller: &Caller, page: Page) -> Result<AccountPage, Problem> {
    let account = room.account(caller.account).await?;
    let asked = room.application(caller.account).await?;
    let waiting = asked.filter(|asked| asked.state == ApplicationState::Open);
    let sessions = room.sessions(&caller.ctx, caller.account, Some(caller.session)).await?;
    Ok(AccountPage {
        page: page.titled("Your account", Shape::Medium),
        notice: None,
        applied: waiting.map(|asked| asked.kind.to_string()),
        account,
        devices: sessions.into_iter().map(Device::of).collect(),
        wrong_name: Wrong::default(),
        wrong_password: Wrong::default(),
        wrong_delete: Wrong::default(),
    })
}

/// The page again, with what is wrong beside the form that was sent.
async fn again(
    (room, caller, page): (&Identity, &Caller, Page),
    section: Section,
    error: Error,
) -> Result<Response, Problem> {
    let (status, wrong) = Wrong::shown(error)?;
    let mut shown = account(room, caller, page).await?;
    match section {
        Section::Name => shown.wrong_name = wrong,
        Section::Password => shown.wrong_password = wrong,
        Section::Delete => shown.wrong_delete = wrong,
    }
    html_with(status, &shown)
}

/// The account's page: name, password, devices, deletion.
#[utoipa::path(
    get, path = "/auth/account", operation_id = "identity.account_page", tag = "identity",
    responses((status = 200, description = "The page")),
    extensions(("x-effect" = json!("none")), ("x-access" = json!("session")))
)]
async fn account_page(
    State(room): State<Identity>,
    caller: Caller,
    page: Page,
    Query(query): Query<AccountQuery>,
) -> Result<Response, Problem> {
    let notice = notice(query.notice.as_deref());
    html(&AccountPage { notice, ..account(&room, &caller, page).await? })
}

/// Gives the account another name.
#[utoipa::path(
    post, path = "/auth/account/name", operation_id = "identity.rename", tag = "identity",
    responses((status = 303, description = "Back to the page")),
    extensions(("x-effect" = json!("fact")), ("x-access" = json!("session")))
)]
async fn name_form(
    State(room): State<Identity>,
    caller: Caller,
    page: Page,
    Form(fields): Form<NameFields>,
) -> Result<Response, Problem> {
    let command = Rename { account: caller.account, name: fields.name };
    match room.rename(&caller.ctx, command).await {
        Ok(()) => Ok(see_other("/auth/account?notice=name")),
        Err(error) => again((&room, &caller, page), Section::Name, error).await,
    }
}

/// Puts a new password in the place of the old one; the other devices are signed out.
#[utoipa::path(
    post, path = "/auth/account/password", operation_id = "identity.change_password_form",
    tag = "identity", responses((status = 303, description = "Back to the page")),
    extensions(("x-effect" = json!("fact")), ("x-access" = json!("session")))
)]
async fn password_form(
    State(room): State<Identity>,
    app: App,
    caller: Caller,
    page: Page,
    Form(fields): Form<PasswordFields>,
) -> Result<Response, Problem> {
    let command = ChangePassword {
        account: caller.account,
        session: caller.session,
        old: fields.old,
        new: fields.password,
    };
    match room.change_password(&caller.ctx, command).await {
        Ok(renewed) => {
            let cookies = sign_in_cookies(&app, &caller.ctx, &renewed.opened)?;
            Ok((cookies, see_other("/auth/account?notice=password")).into_response())
        }
        Err(error) => again((&room, &caller, page), Section::Password, error).await,
    }
}

/// Ends one session of the account.
#[utoipa::path(
    post, path = "/auth/account/sessions/end", operation_id = "identity.end_session_form",
    tag = "identity", responses((status = 303, description = "Back to the page")),
    extensions(("x-effect" = json!("fact")), ("x-access" = json!("session")))
)]
async fn end_session_form(
    State(room): State<Identity>,
    caller: Caller,
    Form(fields): Form<SessionFields>,
) -> Result<Response, Problem> {
    let of = (caller.account, fields.session);
    room.end_session(&caller.ctx, of, EndReason::EndedByOwner).await?;
    Ok(see_other("/auth/account?notice=ended"))
}

/// Ends every other session of the account.
#[utoipa::path(
    post, path = "/auth/account/sessions/end-others", operation_id = "identity.end_others_form",
    tag = "identity", responses((status = 303, description = "Back to the page")),
    extensions(("x-effect" = json!("fact")), ("x-access" = json!("session")))
)]
async fn end_others_form(
    State(room): State<Identity>,
    caller: Caller,
    Form(_): Form<Nothing>,
) -> Result<Response, Problem> {
    let keep = Some(caller.session);
    room.end_sessions(&caller.ctx, caller.account, keep, EndReason::EndedByOwner).await?;
    Ok(see_other("/auth/account?notice=others"))
}

/// Ends every session of the account, also this one.
#[utoipa::path(
    post, path = "/auth/account/sessions/end-all", operation_id = "identity.end_all_form",
    tag = "identity", responses((status = 303, description = "On to the sign-in")),
    extensions(("x-effect" = json!("fact")), ("x-access" = json!("session")))
)]
async fn end_all_form(
    State(room): State<Identity>,
    app: App,
    caller: Caller,
    Form(_): Form<Nothing>,
) -> Result<Response, Problem> {
    room.end_sessions(&caller.ctx, caller.account, None, EndReason::EndedByOwner).await?;
    let cookies = sign_out_cookies(&app)?;
    Ok((cookies.0, cookies.1, see_other("/auth/sign-in?notice=signed-out")).into_response())
}

/// Deletes the account and everything that is known of the person.
#[utoipa::path(
    post, path = "/auth/account/delete", operation_id = "identity.delete_account_form",
    tag = "identity", responses((status = 303, description = "On to the sign-in")),
    extensions(("x-effect" = json!("fact")), ("x-access" = json!("session")))
)]
async fn delete_form(
    State(room): State<Identity>,
    app: App,
    caller: Caller,
    page: Page,
    Form(fields): Form<PasswordBody>,
) -> Result<Response, Problem> {
    let command = EraseAccount {
        account: caller.account,
        session: caller.session,
        password: fields.password,
    };
    match room.erase_own(&caller.ctx, command).await {
        Ok(()) => {
            let cookies = sign_out_cookies(&app)?;
            let on = see_other("/auth/sign-in?notice=deleted");
            Ok((cookies.0, cookies.1, on).into_response())
        }
        Err(error) => again((&room, &caller, page), Section::Delete, error).await,
    }
}

fn confirm(page: Page, next: &str) -> ConfirmPage {
    let page = page.titled("Enter your password", Shape::Narrow);
    ConfirmPage { page, wrong: Wrong::default(), next: next_or(next, "/", "/auth/account") }
}

/// The page that asks for the password once more.
#[utoipa::path(
    get, path = "/auth/confirm", operation_id = "identity.confirm_page", tag = "identity",
    params(("next" = Option<String>, Query, description = "A path of this site to go on to")),
    responses((status = 200, description = "The page")),
    extensions(("x-effect" = json!("none")), ("x-access" = json!("session")))
)]
async fn confirm_page(
    _caller: Caller,
    page: Page,
    Query(query): Query<ConfirmQuery>,
) -> Result<Response, Problem> {
    html(&confirm(page, &query.next))
}

/// Proves the password once more.
#[utoipa::path(
    post, path = "/auth/confirm", operation_id = "identity.confirm_password", tag = "identity",
    responses((status = 303, description = "On to where the person wanted to go")),
    extensions(("x-effect" = json!("fact")), ("x-access" = json!("session")))
)]
async fn confirm_form(
    State(room): State<Identity>,
    app: App,
    caller: Caller,
    page: Page,
    Form(fields): Form<ConfirmFields>,
) -> Result<Response, Problem> {
    let command = ConfirmPassword {
        account: caller.account,
        session: caller.session,
        password: fields.password,
    };
    match room.confirm_password(&caller.ctx, command).await {
        Ok(renewed) => {
            let cookies = sign_in_cookies(&app, &caller.ctx, &renewed.opened)?;
            let on = see_other(&next_or(&fields.next, "/", "/auth/account"));
            Ok((cookies, on).into_response())
        }
        Err(error) => {
            let (status, wrong) = Wrong::shown(error)?;
            html_with(status, &ConfirmPage { wrong, ..confirm(page, &fields.next) })
        }
    }
}

/// The caller's account.
#[utoipa::path(
    get, path = "/v1/account", operation_id = "identity.account", tag = "identity",
    responses((status = 200, description = "The account", body = AccountView)),
    extensions(("x-effect" = json!("none")), ("x-access" = json!("session")))
)]
async fn account_json(
    State(room): State<Identity>,
    caller: Caller,
) -> Result<Json<AccountView>, Problem> {
    Ok(Json(room.account(caller.account).await?))
}

/// Deletes the caller's account and everything that is known of the person.
#[utoipa::path(
    delete, path = "/v1/account", operation_id = "identity.delete_account", tag = "identity",
    request_body = PasswordBody,
    responses(
        (status = 204, description = "Deleted"),
        (status = 422, description = "The password is wrong", body = web::Document),
    ),
    extensions(("x-effect" = json!("fact")), ("x-access" = json!("session")))
)]
async fn delete_json(
    State(room): State<Identity>,
    caller: Caller,
    Json(body): Json<PasswordBody>,
) -> Result<StatusCode, Problem> {
    let command =
        EraseAccount { account: caller.account, session: caller.session, password: body.password };
    room.erase_own(&caller.ctx, command).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Puts a new password in the place of the old one; every session ends, and this one goes on as its
/// successor: an app gets new tokens, a browser a new cookie.
#[utoipa::path(
    put, path = "/v1/account/password", operation_id = "identity.change_password",
    tag = "identity", request_body = ChangeBody,
    responses(
        (status = 200, description = "Changed; an app's new tokens", body = TokensView),
        (status = 204, description = "Changed; a browser's new cookie"),
        (status = 422, description = "A password is wrong or not taken", body = web::Document),
    ),
    extensions(("x-effect" = json!("fact")), ("x-access" = json!("session")))
)]
async fn password_json(
    State(room): State<Identity>,
    app: App,
    caller: Caller,
    Json(body): Json<ChangeBody>,
) -> Result<Response, Problem> {
    let command = ChangePassword {
        account: caller.account,
        session: caller.session,
        old: body.old,
        new: body.password,
    };
    let renewed = room.change_password(&caller.ctx, command).await?;
    successor(&room, &app, (&caller.ctx, renewed)).await
}
