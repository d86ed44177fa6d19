//! Coming in and going out: staff only, with a cookie of the console's own (C1).

use askama::Template;
use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use identity::{Admission, Client, EndReason, SignIn, device_cookie, half_way, sign_in_cookies};
use kernel::Secret;
use serde::Deserialize;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use web::{
    App, Caller, Device, Form, Nothing, Page, Problem, Query, SetCookie, Shape, Visit, Wrong, html,
    html_with, next_or, see_other,
};

use crate::notice::notice;
use crate::room::Console;
use crate::told;

pub(crate) fn routes() -> OpenApiRouter<Console> {
    OpenApiRouter::new().routes(routes!(sign_in_page, sign_in_form)).routes(routes!(sign_out))
}

#[derive(Template)]
#[template(path = "console_sign_in.html")]
struct SignInPage {
    page: Page,
    wrong: Wrong,
    notice: Option<&'static str>,
    next: String,
    email: String,
    /// How long a session lives without use.
    idle: String,
}

#[derive(Deserialize)]
struct SignInQuery {
    #[serde(default)]
    next: String,
    #[serde(default)]
    notice: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SignInFields {
    email: String,
    password: Secret<String>,
    #[serde(default)]
    next: String,
}

fn blank(console: &Console, page: Page, next: &str) -> SignInPage {
    let idle_s = console.identity().config().session.staff.idle_s;
    SignInPage {
        page: page.titled("Operators", Shape::Narrow),
        wrong: Wrong::default(),
        notice: None,
        next: next_or(next, "/console", ""),
        email: String::new(),
        idle: told::span(idle_s),
    }
}

/// The operators' sign-in
#[utoipa::path(get, path = "/console/sign-in", operation_id = "console.sign_in_page",
    tag = "console",
    params(("next" = Option<String>, Query, description = "A page of the console to go on to")),
    responses((status = 200, description = "The page")),
    extensions(("x-effect" = json!("none")), ("x-access" = json!("public"))))]
async fn sign_in_page(
    State(console): State<Console>,
    page: Page,
    Query(query): Query<SignInQuery>,
) -> Result<Response, Problem> {
    let notice = notice(query.notice.as_deref());
    html(&SignInPage { notice, ..blank(&console, page, &query.next) })
}

/// Sign in one of the staff
#[utoipa::path(post, path = "/console/sign-in", operation_id = "console.sign_in", tag = "console",
    responses(
        (status = 303, description = "On to the console, with the cookie"),
        (status = 401, description = "The page again, whatever the cause")),
    extensions(("x-effect" = json!("fact")), ("x-access" = json!("public"))))]
async fn sign_in_form(
    State(console): State<Console>,
    app: App,
    Visit(ctx): Visit,
    Device { known: device, trust }: Device,
    before: Option<Caller>,
    page: Page,
    Form(fields): Form<SignInFields>,
) -> Result<Response, Problem> {
    let SignInFields { email, password, next } = fields;
    let typed = email.clone();
    let command = SignIn { email, password, client: Client::Console, device, trust };
    match console.identity().sign_in(&ctx, command).await {
        Ok(admission) => {
            // The secret of the session before is overwritten: it must not live on unseen.
            if let Some(before) = before {
                leave(&console, &before).await?;
            }
            let opened = match admission {
                Admission::Inside(opened) => opened,
                Admission::Pending(pending) => return half_way((&app, &ctx), &pending, &next),
            };
            let cookies = sign_in_cookies(&app, &ctx, &opened)?;
            let token = console.identity().device_token(&ctx, opened.account).await?;
            let known = device_cookie(&app, &token)?;
            Ok((cookies, known, see_other(&next_or(&next, "/console", "/console"))).into_response())
        }
        Err(error) => {
            let (status, wrong) = Wrong::shown(error)?;
            html_with(status, &SignInPage { wrong, email: typed, ..blank(&console, page, &next) })
        }
    }
}

/// Ends the session of the caller; that it has ended already is fine.
async fn leave(console: &Console, caller: &Caller) -> Result<(), Problem> {
    let of = (caller.account, caller.session);
    match console.identity().end_session(&caller.ctx, of, EndReason::SignedOut).await {
        Ok(()) | Err(identity::Error::NotFound) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// Sign out: what any session may, however old its proof
#[utoipa::path(post, path = "/console/sign-out", operation_id = "console.sign_out",
    tag = "console", responses((status = 303, description = "On to the sign-in")),
    extensions(("x-effect" = json!("fact")), ("x-access" = json!("session"))))]
async fn sign_out(
    State(console): State<Console>,
    app: App,
    caller: Caller,
    Form(_): Form<Nothing>,
) -> Result<Response, Problem> {
    leave(&console, &caller).await?;
    let cookie = SetCookie::removed(app.site.session_cookie)?;
    Ok((cookie, see_other("/console/sign-in?notice=signed-out")).into_response())
}
