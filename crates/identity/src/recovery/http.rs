//! A forgotten password, as pages and as API.

use askama::Template;
use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use http::StatusCode;
use kernel::Secret;
use serde::Deserialize;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use web::{App, Form, Json, Page, Problem, Query, Shape, Visit, Wrong, html, html_with, see_other};

use super::{ForgotPassword, ResetPassword};
use crate::cookies::device_cookie;
use crate::room::Identity;
use crate::sign_up::http::{Accepted, LinkBody, LinkQuery, kept};

pub(crate) fn routes() -> OpenApiRouter<Identity> {
    OpenApiRouter::new()
        .routes(routes!(forgot_page, forgot_form))
        .routes(routes!(reset_page, reset_form))
        .routes(routes!(forgot_json))
        .routes(routes!(reset_json))
}

#[derive(Template)]
#[template(path = "forgot.html")]
struct ForgotPage {
    page: Page,
    wrong: Wrong,
    email: String,
}

#[derive(Template)]
#[template(path = "reset.html")]
struct ResetPage {
    page: Page,
    wrong: Wrong,
    /// The link's secret; empty where the link is good no more.
    token: String,
}

/// An address whose password was forgotten.
#[derive(Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
struct ForgotBody {
    /// The address.
    email: String,
}

fn forgot(page: Page) -> ForgotPage {
    let page = page.titled("Forgot your password?", Shape::Narrow);
    ForgotPage { page, wrong: Wrong::default(), email: String::new() }
}

fn reset(page: Page, token: String) -> ResetPage {
    let page = page.titled("Choose a new password", Shape::Narrow);
    ResetPage { page, wrong: Wrong::default(), token }
}

/// The page to ask for a link.
#[utoipa::path(
    get, path = "/auth/forgot", operation_id = "identity.forgot_page", tag = "identity",
    responses((status = 200, description = "The page")),
    extensions(("x-effect" = json!("none")), ("x-access" = json!("public")))
)]
async fn forgot_page(page: Page) -> Result<Response, Problem> {
    html(&forgot(page))
}

/// Asks for a link by the page's form.
#[utoipa::path(
    post, path = "/auth/forgot", operation_id = "identity.forgot_form", tag = "identity",
    responses((status = 303, description = "On to the page that says what to do")),
    extensions(("x-effect" = json!("fact")), ("x-access" = json!("public")))
)]
async fn forgot_form(
    State(room): State<Identity>,
    Visit(ctx): Visit,
    page: Page,
    Form(body): Form<ForgotBody>,
) -> Result<Response, Problem> {
    let email = body.email.clone();
    match room.forgot_password(&ctx, ForgotPassword { email: body.email }).await {
        Ok(()) => Ok(see_other("/auth/check-mail")),
        Err(error) => {
            let (status, wrong) = Wrong::shown(error)?;
            html_with(status, &ForgotPage { wrong, email, ..forgot(page) })
        }
    }
}

/// The page behind a mailed link.
#[utoipa::path(
    get, path = "/auth/reset", operation_id = "identity.reset_page", tag = "identity",
    params(("token" = String, Query, description = "The link's secret")),
    responses((status = 200, description = "The page"), (status = 400, description = "Too old")),
    extensions(("x-effect" = json!("none")), ("x-access" = json!("public")))
)]
async fn reset_page(
    State(room): State<Identity>,
    Visit(ctx): Visit,
    page: Page,
    Query(link): Query<LinkQuery>,
) -> Result<Response, Problem> {
    match room.look_at_reset(&ctx, &Secret::new(link.token.clone())).await {
        Ok(()) => html(&reset(page, link.token)),
        Err(error) => {
            let (status, wrong) = Wrong::shown(error)?;
            html_with(status, &ResetPage { wrong, ..reset(page, String::new()) })
        }
    }
}

/// Sets the new password by the page's form.
#[utoipa::path(
    post, path = "/auth/reset", operation_id = "identity.reset_form", tag = "identity",
    responses((status = 303, description = "On to the sign-in")),
    extensions(("x-effect" = json!("fact")), ("x-access" = json!("public")))
)]
async fn reset_form(
    State(room): State<Identity>,
    app: App,
    Visit(ctx): Visit,
    page: Page,
    Form(body): Form<LinkBody>,
) -> Result<Response, Problem> {
    let LinkBody { token, password } = body;
    let again = token.expose().clone();
    match room.reset_password(&ctx, ResetPassword { secret: token, password }).await {
        Ok(id) => {
            let on = see_other("/auth/sign-in?notice=reset");
            // Whoever reads the mailbox is no stranger, whatever strangers guess meanwhile.
            let known = device_cookie(&app, &room.device_token(&ctx, id).await?)?;
            Ok((known, on).into_response())
        }
        Err(error) => {
            let token = kept(&error, again);
            let (status, wrong) = Wrong::shown(error)?;
            html_with(status, &ResetPage { wrong, ..reset(page, token) })
        }
    }
}

/// Asks for a link. The answer is the same whether or not the address has an account.
#[utoipa::path(
    post, path = "/v1/forgot-password", operation_id = "identity.forgot_password",
    tag = "identity", request_body = ForgotBody,
    responses(
        (status = 202, description = "A mail is on its way, if so", body = Accepted),
        (status = 429, description = "Too often", body = web::Document),
    ),
    extensions(("x-effect" = json!("fact")), ("x-access" = json!("public")))
)]
async fn forgot_json(
    State(room): State<Identity>,
    Visit(ctx): Visit,
    Json(body): Json<ForgotBody>,
) -> Result<(StatusCode, Json<Accepted>), Problem> {
    room.forgot_password(&ctx, ForgotPassword { email: body.email }).await?;
    Ok(Accepted::mailed())
}

/// Sets a new password by the secret of a mailed link; every session of the account ends.
#[utoipa::path(
    post, path = "/v1/reset-password", operation_id = "identity.reset_password", tag = "identity",
    request_body = LinkBody,
    responses(
        (status = 204, description = "Changed"),
        (status = 400, description = "The link is used or too old", body = web::Document),
        (status = 422, description = "The password is not taken", body = web::Document),
    ),
    extensions(("x-effect" = json!("fact")), ("x-access" = json!("public")))
)]
async fn reset_json(
    State(room): State<Identity>,
    Visit(ctx): Visit,
    Json(body): Json<LinkBody>,
) -> Result<StatusCode, Problem> {
    let LinkBody { token, password } = body;
    room.reset_password(&ctx, ResetPassword { secret: token, password }).await?;
    Ok(StatusCode::NO_CONTENT)
}
