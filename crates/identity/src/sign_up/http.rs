//! Signing up and verifying an address, as pages and as API.

use askama::Template;
use axum::extract::State;
use axum::response::Response;
use http::StatusCode;
use kernel::Secret;
use serde::{Deserialize, Serialize};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use web::{Form, Json, Page, Problem, Query, Shape, Visit, Wrong, html, html_with, see_other};

use super::{SignUp, VerifyEmail};
use crate::account::AccountKind;
use crate::error::Error;
use crate::room::Identity;

pub(crate) fn routes() -> OpenApiRouter<Identity> {
    OpenApiRouter::new()
        .routes(routes!(sign_up_page, sign_up_form))
        .routes(routes!(check_mail_page))
        .routes(routes!(verify_page, verify_form))
        .routes(routes!(sign_up_json))
        .routes(routes!(verify_json))
}

#[derive(Template)]
#[template(path = "sign_up.html")]
struct SignUpPage {
    page: Page,
    wrong: Wrong,
    kinds: Vec<(&'static str, &'static str)>,
    /// Whether some of them are applied for.
    by_approval: bool,
    // Named unlike the parameters of the page's macros, which would hide them.
    typed_kind: String,
    typed_email: String,
    typed_name: String,
}

#[derive(Template)]
#[template(path = "check_mail.html")]
struct CheckMailPage {
    page: Page,
}

#[derive(Template)]
#[template(path = "verify.html")]
struct VerifyPage {
    page: Page,
    wrong: Wrong,
    token: String,
}

/// The fields of the sign-up form.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SignUpFields {
    kind: AccountKind,
    email: String,
    name: String,
}

/// A sign-up. The password is chosen behind the link that is mailed.
#[derive(Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
struct SignUpBody {
    /// The kind of account; customer where it is left out. A kind that the shop must approve first
    /// is applied for: the account is a customer's until then.
    #[serde(default = "customer")]
    kind: AccountKind,
    /// The address.
    email: String,
    /// The name.
    name: String,
}

const fn customer() -> AccountKind {
    AccountKind::Customer
}

/// A password for a mailed link.
#[derive(Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct LinkBody {
    /// The link's `token`.
    #[schema(value_type = String)]
    pub token: Secret<String>,
    /// The password: 10 to 128 characters.
    #[schema(value_type = String, format = Password)]
    pub password: Secret<String>,
}

/// The address of a mailed link; other parameters (of a mail program) are ignored.
#[derive(Deserialize)]
pub(crate) struct LinkQuery {
    #[serde(default)]
    pub token: String,
}

/// What was asked for is on its way; the mailbox says the rest.
#[derive(Serialize, utoipa::ToSchema)]
pub(crate) struct Accepted {
    /// What to do next, for a person.
    detail: &'static str,
}

impl Accepted {
    pub(crate) fn mailed() -> (StatusCode, Json<Self>) {
        (
            StatusCode::ACCEPTED,
            Json(Self { detail: "If the address can be used, a mail is on its way." }),
        )
    }
}

/// What a kind is called where one chooses.
const fn label(kind: AccountKind) -> &'static str {
    match kind {
        AccountKind::Customer => "I want to buy",
        AccountKind::Influencer => "I want to show and sell",
        AccountKind::Wholesaler => "I supply goods",
        AccountKind::Staff => "I work here",
    }
}

fn sign_up(room: &Identity, page: Page) -> SignUpPage {
    let config = room.config();
    let taken = |kind: &&AccountKind| !config.sign_up_kinds.contains(kind);
    let applied: Vec<&AccountKind> = config.apply_kinds.iter().filter(taken).collect();
    let kinds = config.sign_up_kinds.iter().chain(applied.iter().copied());
    SignUpPage {
        page: page.titled("Sign up", Shape::Narrow),
        wrong: Wrong::default(),
        by_approval: !applied.is_empty(),
        kinds: kinds.map(|kind| (kind.as_str(), label(*kind))).collect(),
        typed_kind: AccountKind::Customer.as_str().to_owned(),
        typed_email: String::new(),
        typed_name: String::new(),
    }
}

/// The page to sign up.
#[utoipa::path(
    get, path = "/auth/sign-up", operation_id = "identity.sign_up_page", tag = "identity",
    responses((status = 200, description = "The page")),
    extensions(("x-effect" = json!("none")), ("x-access" = json!("public")))
)]
async fn sign_up_page(State(room): State<Identity>, page: Page) -> Result<Response, Problem> {
    html(&sign_up(&room, page))
}

/// Signs up by the page's form.
#[utoipa::path(
    post, path = "/auth/sign-up", operation_id = "identity.sign_up_form", tag = "identity",
    responses((status = 303, description = "On to the page that says what to do")),
    extensions(("x-effect" = json!("fact")), ("x-access" = json!("public")))
)]
async fn sign_up_form(
    State(room): State<Identity>,
    Visit(ctx): Visit,
    page: Page,
    Form(fields): Form<SignUpFields>,
) -> Result<Response, Problem> {
    let SignUpFields { kind, email, name } = fields;
    let (typed_email, typed_name) = (email.clone(), name.clone());
    match room.sign_up(&ctx, SignUp { kind, email, name }).await {
        Ok(()) => Ok(see_other("/auth/check-mail")),
        Err(error) => {
            let (status, wrong) = Wrong::shown(error)?;
            let shown = SignUpPage {
                wrong,
                typed_kind: kind.as_str().to_owned(),
                typed_email,
                typed_name,
                ..sign_up(&room, page)
            };
            html_with(status, &shown)
        }
    }
}

/// The page that says: look into your mailbox. The same for every address.
#[utoipa::path(
    get, path = "/auth/check-mail", operation_id = "identity.check_mail_page", tag = "identity",
    responses((status = 200, description = "The page")),
    extensions(("x-effect" = json!("none")), ("x-access" = json!("public")))
)]
async fn check_mail_page(page: Page) -> Result<Response, Problem> {
    html(&CheckMailPage { page: page.titled("Look into your mailbox", Shape::Narrow) })
}

fn verify(page: Page, token: String) -> VerifyPage {
    VerifyPage {
        page: page.titled("Choose your password", Shape::Narrow),
        wrong: Wrong::default(),
        token,
    }
}

/// The page behind a mailed link. It changes nothing by itself: mail programs look at links too.
#[utoipa::path(
    get, path = "/auth/verify", operation_id = "identity.verify_page", tag = "identity",
    params(("token" = String, Query, description = "The link's secret")),
    responses((status = 200, description = "The page"), (status = 400, description = "Too old")),
    extensions(("x-effect" = json!("none")), ("x-access" = json!("public")))
)]
async fn verify_page(
    State(room): State<Identity>,
    Visit(ctx): Visit,
    page: Page,
    Query(link): Query<LinkQuery>,
) -> Result<Response, Problem> {
    match room.look_at_verify(&ctx, &Secret::new(link.token.clone())).await {
        Ok(()) => html(&verify(page, link.token)),
        Err(error) => {
            let (status, wrong) = Wrong::shown(error)?;
            html_with(status, &VerifyPage { wrong, ..verify(page, String::new()) })
        }
    }
}

/// Verifies an address by the page's form, with the password that is typed in it.
#[utoipa::path(
    post, path = "/auth/verify", operation_id = "identity.verify_form", tag = "identity",
    responses((status = 303, description = "On to the sign-in")),
    extensions(("x-effect" = json!("fact")), ("x-access" = json!("public")))
)]
async fn verify_form(
    State(room): State<Identity>,
    Visit(ctx): Visit,
    page: Page,
    Form(body): Form<LinkBody>,
) -> Result<Response, Problem> {
    let LinkBody { token, password } = body;
    let again = token.expose().clone();
    match room.verify_email(&ctx, VerifyEmail { secret: token, password }).await {
        Ok(_) => Ok(see_other("/auth/sign-in?notice=verified")),
        Err(error) => {
            let token = kept(&error, again);
            let (status, wrong) = Wrong::shown(error)?;
            html_with(status, &VerifyPage { wrong, ..verify(page, token) })
        }
    }
}

/// The link's secret as the page keeps it: one that is spent asks for no password any more.
pub(crate) fn kept(error: &Error, token: String) -> String {
    if matches!(error, Error::LinkSpent) { String::new() } else { token }
}

/// Signs up. The answer is the same whether or not the address has an account.
#[utoipa::path(
    post, path = "/v1/sign-up", operation_id = "identity.sign_up", tag = "identity",
    request_body = SignUpBody,
    responses(
        (status = 202, description = "A mail is on its way", body = Accepted),
        (status = 422, description = "Some fields are wrong", body = web::Document),
        (status = 429, description = "Too often", body = web::Document),
    ),
    extensions(("x-effect" = json!("fact")), ("x-access" = json!("public")))
)]
async fn sign_up_json(
    State(room): State<Identity>,
    Visit(ctx): Visit,
    Json(body): Json<SignUpBody>,
) -> Result<(StatusCode, Json<Accepted>), Problem> {
    let SignUpBody { kind, email, name } = body;
    room.sign_up(&ctx, SignUp { kind, email, name }).await?;
    Ok(Accepted::mailed())
}

/// Verifies an address by the secret of a mailed link, with the password of the account.
#[utoipa::path(
    post, path = "/v1/verify-email", operation_id = "identity.verify_email", tag = "identity",
    request_body = LinkBody,
    responses(
        (status = 204, description = "Verified"),
        (status = 400, description = "The link is used or too old", body = web::Document),
        (status = 422, description = "The password is not taken", body = web::Document),
    ),
    extensions(("x-effect" = json!("fact")), ("x-access" = json!("public")))
)]
async fn verify_json(
    State(room): State<Identity>,
    Visit(ctx): Visit,
    Json(body): Json<LinkBody>,
) -> Result<StatusCode, Problem> {
    let LinkBody { token, password } = body;
    room.verify_email(&ctx, VerifyEmail { secret: token, password }).await?;
    Ok(StatusCode::NO_CONTENT)
}
