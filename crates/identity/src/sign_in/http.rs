//! Signing in and out: pages for browsers, tokens for the shop's apps.

use askama::Template;
use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use http::StatusCode;
use kernel::{Ctx, Secret};
use serde::Deserialize;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use web::{
    App, Caller, Device, Form, Json, Nothing, Page, Problem, Query, Shape, Visit, Wrong, html,
    html_with, next_or, see_other,
};

use super::SignIn;
use crate::cookies::{device_cookie, sign_in_cookies, sign_out_cookies};
use crate::error::Error;
use crate::gate::Admission;
use crate::gate::http::{PendingView, half_way};
use crate::refresh::http::TokensView;
use crate::room::Identity;
use crate::session::{Client, EndReason, Opened};

pub(crate) fn routes() -> OpenApiRouter<Identity> {
    OpenApiRouter::new()
        .routes(routes!(sign_in_page, sign_in_form))
        .routes(routes!(sign_out_form))
        .routes(routes!(sign_in_json))
}

#[derive(Template)]
#[template(path = "sign_in.html")]
struct SignInPage {
    page: Page,
    wrong: Wrong,
    notice: Option<&'static str>,
    next: String,
    email: String,
}

/// Where to go afterwards, and what to say first.
#[derive(Deserialize)]
struct SignInQuery {
    #[serde(default)]
    next: Option<String>,
    #[serde(default)]
    notice: Option<String>,
}

/// The fields of the sign-in form.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SignInFields {
    email: String,
    password: Secret<String>,
    #[serde(default)]
    next: String,
}

/// A sign-in of an app.
#[derive(Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
struct SignInBody {
    /// The address.
    email: String,
    /// The password.
    #[schema(value_type = String, format = Password)]
    password: Secret<String>,
    /// The `device` of the last answer on this device: with it, guesses of strangers at the account
    /// do not keep its owner out here.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    device: Option<Secret<String>>,
    /// The `trust` of the last answer on this device, where it gave one: no second factor is asked for.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    trust: Option<Secret<String>>,
}

fn notice(code: Option<&str>) -> Option<&'static str> {
    match code? {
        "verified" => Some("Your address is confirmed. You can sign in now."),
        "reset" => Some("Your password is changed and every device is signed out. Sign in again."),
        "signed-out" => Some("You are signed out."),
        "deleted" => Some("Your account is deleted."),
        _ => None,
    }
}

fn sign_in(page: Page, next: &str) -> SignInPage {
    SignInPage {
        page: page.titled("Sign in", Shape::Narrow),
        wrong: Wrong::default(),
        notice: None,
        next: next_or(next, "/", ""),
        email: String::new(),
    }
}

/// The page to sign in.
#[utoipa::path(
    get, path = "/auth/sign-in", operation_id = "identity.sign_in_page", tag = "identity",
    params(("next" = Option<String>, Query, description = "A path of this site to go on to")),
    responses((status = 200, description = "The page")),
    extensions(("x-effect" = json!("none")), ("x-access" = json!("public")))
)]
async fn sign_in_page(page: Page, Query(query): Query<SignInQuery>) -> Result<Response, Problem> {
    let notice = notice(query.notice.as_deref());
    html(&SignInPage { notice, ..sign_in(page, query.next.as_deref().unwrap_or_default()) })
}

/// Signs in by the page's form.
#[utoipa::path(
    post, path = "/auth/sign-in", operation_id = "identity.sign_in_form", tag = "identity",
    responses(
        (status = 303, description = "On to where the visitor wanted to go, with the cookie"),
        (status = 401, description = "The page again"),
    ),
    extensions(("x-effect" = json!("fact")), ("x-access" = json!("public")))
)]
async fn sign_in_form(
    State(room): State<Identity>,
    app: App,
    Visit(ctx): Visit,
    Device { known: device, trust }: Device,
    before: Option<Caller>,
    page: Page,
    Form(fields): Form<SignInFields>,
) -> Result<Response, Problem> {
    let SignInFields { email, password, next } = fields;
    let typed = email.clone();
    let command = SignIn { email, password, client: Client::Browser, device, trust };
    match room.sign_in(&ctx, command).await {
        Ok(admission) => {
            // The browser leaves the session it was in: its secret is overwritten below.
            if let Some(before) = before {
                leave(&room, &before).await?;
            }
            match admission {
                Admission::Inside(opened) => inside(&room, &app, (&ctx, &opened), &next).await,
                Admission::Pending(pending) => half_way((&app, &ctx), &pending, &next),
            }
        }
        Err(error) => {
            let (status, wrong) = Wrong::shown(error)?;
            html_with(status, &SignInPage { wrong, email: typed, ..sign_in(page, &next) })
        }
    }
}

/// Puts a browser into its session, and on to where the person wanted to go.
async fn inside(
    room: &Identity,
    app: &App,
    (ctx, opened): (&Ctx, &Opened),
    next: &str,
) -> Result<Response, Problem> {
    let cookies = sign_in_cookies(app, ctx, opened)?;
    let known = device_cookie(app, &room.device_token(ctx, opened.account).await?)?;
    Ok((cookies, known, see_other(&next_or(next, "/", "/"))).into_response())
}

/// Ends the session of the caller; that it has ended already is fine.
async fn leave(room: &Identity, caller: &Caller) -> Result<(), Error> {
    let of = (caller.account, caller.session);
    match room.end_session(&caller.ctx, of, EndReason::SignedOut).await {
        Ok(()) | Err(Error::NotFound) => Ok(()),
        Err(error) => Err(error),
    }
}

/// Signs out.
#[utoipa::path(
    post, path = "/auth/sign-out", operation_id = "identity.sign_out", tag = "identity",
    responses((status = 303, description = "On to the sign-in, without the cookie")),
    extensions(("x-effect" = json!("fact")), ("x-access" = json!("session")))
)]
async fn sign_out_form(
    State(room): State<Identity>,
    app: App,
    caller: Caller,
    Form(_): Form<Nothing>,
) -> Result<Response, Problem> {
    leave(&room, &caller).await?;
    let cookies = sign_out_cookies(&app)?;
    Ok((cookies.0, cookies.1, see_other("/auth/sign-in?notice=signed-out")).into_response())
}

/// Signs in with the shop's app: a short signed token and a refresh token.
#[utoipa::path(
    post, path = "/v1/sign-in", operation_id = "identity.sign_in", tag = "identity",
    request_body = SignInBody,
    responses(
        (status = 200, description = "The tokens", body = TokensView),
        (status = 202, description = "Half-way: a second factor is asked for", body = PendingView),
        (status = 401, description = "Refused, whatever the cause", body = web::Document),
        (status = 429, description = "Too often", body = web::Document),
    ),
    extensions(("x-effect" = json!("fact")), ("x-access" = json!("public")))
)]
async fn sign_in_json(
    State(room): State<Identity>,
    Visit(ctx): Visit,
    Json(body): Json<SignInBody>,
) -> Result<Response, Problem> {
    let SignInBody { email, password, device, trust } = body;
    let command = SignIn { email, password, client: Client::App, device, trust };
    match room.sign_in_app(&ctx, command).await? {
        Admission::Inside(tokens) => {
            let device = room.device_token(&ctx, tokens.account).await?;
            let tokens = TokensView::of(&ctx, &tokens).with_device(&device);
            Ok(Json::<_>(tokens).into_response())
        }
        Admission::Pending(pending) => {
            let pending = Json::<_>(PendingView::of(&ctx, &pending));
            Ok((StatusCode::ACCEPTED, pending).into_response())
        }
    }
}
