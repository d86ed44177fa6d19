//! The next step of a sign-in: pages for browsers, on whatever site it began, and the same for the
//! shop's apps.

use askama::Template;
use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use http::StatusCode;
use kernel::{Ctx, Secret};
use serde::{Deserialize, Serialize};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use web::{
    App, Caller, Device, Form, HalfWay, Json, LocalPath, Page, Problem, Query, SetCookie, Shape,
    Visit, Wrong, html, html_with, next_or, see_other,
};

use super::{Choices, Method, Pending, ProveFirst, ProveSecond, StepUp};
use crate::cookies::{Inside, device_cookie, pending_cookie, sign_in_cookies};
use crate::error::Error;
use crate::factor::{Code, FactorId};
use crate::refresh::http::TokensView;
use crate::room::Identity;
use crate::session::{Client, Entered, Opened, Renewed, client_of};
use crate::totp::{TotpKey, qr_path};

const SECOND: &str = "/auth/second";
const STEP_UP: &str = "/auth/step-up";
const ENROL: &str = "/auth/second/enrol";

pub(crate) fn pages() -> OpenApiRouter<Identity> {
    OpenApiRouter::new()
        .routes(routes!(second_page, second_form))
        .routes(routes!(enrol_page, enrol_form))
        .routes(routes!(enrolled_form))
}

pub(crate) fn routes() -> OpenApiRouter<Identity> {
    OpenApiRouter::new()
        .routes(routes!(second_json))
        .routes(routes!(step_up_page, step_up_form))
        .routes(routes!(step_up_json))
}

/// Sends a browser on to the next step.
///
/// # Errors
/// A broken problem where the cookie's name cannot be used.
pub fn half_way(
    (app, ctx): (&App, &Ctx),
    pending: &Pending,
    next: &str,
) -> Result<Response, Problem> {
    let step = if pending.methods.is_empty() { ENROL } else { SECOND };
    Ok((pending_cookie(app, ctx, pending)?, see_other(&with_next(step, next))).into_response())
}

/// A page of ours that keeps where the person wanted to go.
fn with_next(page: &str, next: &str) -> String {
    let next = next.parse::<LocalPath>().ok();
    next.map_or_else(|| page.to_owned(), |next| next.as_next_of(page))
}

/// What a person is asked to do for a method, and the offer to do so instead.
struct Asked {
    method: Method,
    told: &'static str,
    label: &'static str,
    offer: &'static str,
    mode: &'static str,
}

const fn asked(method: Method) -> Asked {
    match method {
        Method::Password | Method::TrustedDevice | Method::Totp => Asked {
            method: Method::Totp,
            told: "Enter the six digits that your authenticator app shows for this shop.",
            label: "Code",
            offer: "Use your authenticator app",
            mode: "numeric",
        },
        Method::BackupCode => Asked {
            method,
            told: "Enter one of the backup codes that you kept. It works once.",
            label: "Backup code",
            offer: "Use a backup code",
            mode: "text",
        },
    }
}

#[derive(Template)]
#[template(path = "second.html")]
struct SecondPage {
    page: Page,
    /// Where the form goes.
    action: &'static str,
    wrong: Wrong,
    next: String,
    asked: Asked,
    others: Vec<Asked>,
    /// The offer to trust the device; none where it may not be.
    offer: Option<String>,
    remember: bool,
}

/// A step that nothing can be shown for: the sign-in is over.
#[derive(Template)]
#[template(path = "second_over.html")]
struct OverPage {
    page: Page,
    wrong: Wrong,
    sign_in: &'static str,
}

#[derive(Template)]
#[template(path = "second_enrol.html")]
struct EnrolPage {
    page: Page,
    wrong: Wrong,
    next: String,
    /// None before a key was made.
    shown: Option<KeyShown>,
}

/// A key as it is shown.
pub(crate) struct KeyShown {
    pub factor: FactorId,
    /// In groups of four, to be typed.
    pub key: String,
    pub path: String,
    pub width: usize,
}

impl KeyShown {
    pub(crate) fn of(key: &TotpKey) -> Result<Self, Error> {
        let (path, width) = qr_path(&key.uri)?;
        let letters: Vec<char> = key.key.expose().chars().collect();
        let groups: Vec<String> = letters.chunks(4).map(|group| group.iter().collect()).collect();
        Ok(Self { factor: key.factor, key: groups.join(" "), path, width })
    }
}

#[derive(Template)]
#[template(path = "backup_codes.html")]
pub(crate) struct CodesPage {
    pub page: Page,
    pub codes: Vec<String>,
    pub next: String,
}

#[derive(Deserialize)]
struct SecondQuery {
    #[serde(default)]
    next: String,
    #[serde(default)]
    method: Option<Method>,
}

#[derive(Deserialize)]
struct EnrolQuery {
    #[serde(default)]
    next: String,
    #[serde(default)]
    factor: Option<FactorId>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SecondFields {
    method: Method,
    code: Secret<String>,
    #[serde(default)]
    next: String,
    /// `yes` where the device is to be trusted.
    #[serde(default)]
    remember: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct EnrolFields {
    #[serde(default)]
    next: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct EnrolledFields {
    factor: FactorId,
    code: Secret<String>,
    #[serde(default)]
    next: String,
}

/// A sign-in of an app that is half-way.
#[derive(Serialize, utoipa::ToSchema)]
pub(crate) struct PendingView {
    /// What goes on with it, at `/v1/sign-in/second`. A secret.
    pending: String,
    /// By what. None: the account must get a second factor first, in a browser.
    methods: Vec<Method>,
    /// Seconds until it is over.
    expires_in: u64,
}

impl PendingView {
    pub(crate) fn of(ctx: &Ctx, pending: &Pending) -> Self {
        Self {
            pending: pending.secret.expose().clone(),
            methods: pending.methods.clone(),
            expires_in: pending.ends_at.since(ctx.now).as_secs(),
        }
    }
}

/// A second factor of an app's sign-in.
#[derive(Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
struct SecondBody {
    /// The `pending` of the sign-in.
    #[schema(value_type = String)]
    pending: Secret<String>,
    /// One of its `methods`.
    method: Method,
    /// The code.
    #[schema(value_type = String)]
    code: Secret<String>,
    /// The `device` of the last answer on this device.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    device: Option<Secret<String>>,
    /// Whether the device is to be trusted: its next sign-ins show the `trust` of the answer instead.
    #[serde(default)]
    remember: bool,
}

/// The secret of the sign-in, with what signs in on this site.
fn begun(app: &App, half_way: HalfWay) -> Result<(Secret<String>, Client), Error> {
    let secret = half_way.0.ok_or(Error::SignInOver)?;
    Ok((secret, client_of(app.site.session_cookie)))
}

fn over(app: &App, page: Page, error: Error) -> Result<Response, Problem> {
    let (status, wrong) = Wrong::shown(error)?;
    let page = page.titled("Sign in again", Shape::Narrow);
    html_with(status, &OverPage { page, wrong, sign_in: app.site.sign_in })
}

fn second(page: Page, choices: &Choices, chosen: Option<Method>, next: String) -> SecondPage {
    let methods = choices.methods.as_slice();
    let first = methods.first().copied().unwrap_or(Method::Totp);
    let method = chosen.filter(|method| methods.contains(method)).unwrap_or(first);
    let others = methods.iter().filter(|other| **other != method);
    SecondPage {
        page: page.titled("One more step", Shape::Narrow),
        action: SECOND,
        wrong: Wrong::default(),
        next,
        asked: asked(method),
        others: others.map(|other| asked(*other)).collect(),
        offer: choices.remember.map(|life| {
            format!("Do not ask on this device for {} days", life.as_secs().div_ceil(86_400))
        }),
        remember: false,
    }
}

/// The page that asks for a second factor.
#[utoipa::path(
    get, path = "/auth/second", operation_id = "identity.second_page", tag = "identity",
    params(
        ("next" = Option<String>, Query, description = "A path of this site to go on to"),
        ("method" = Option<Method>, Query, description = "By which of the account's methods")),
    responses((status = 200, description = "The page"), (status = 401, description = "Over")),
    extensions(("x-effect" = json!("none")), ("x-access" = json!("public")))
)]
async fn second_page(
    State(room): State<Identity>,
    app: App,
    Visit(ctx): Visit,
    half_way: HalfWay,
    page: Page,
    Query(query): Query<SecondQuery>,
) -> Result<Response, Problem> {
    let looked = match begun(&app, half_way) {
        Ok((secret, client)) => room.look_at_pending(&ctx, &secret, client).await,
        Err(error) => Err(error),
    };
    match looked {
        Ok(choices) if choices.methods.is_empty() => Ok(see_other(&with_next(ENROL, &query.next))),
        Ok(choices) => html(&second(page, &choices, query.method, query.next)),
        Err(error) => over(&app, page, error),
    }
}

/// Proves a second factor by the page's form.
#[utoipa::path(
    post, path = "/auth/second", operation_id = "identity.second_form", tag = "identity",
    responses(
        (status = 303, description = "On, with the cookie"),
        (status = 401, description = "The sign-in is over"),
        (status = 422, description = "The page again: the code is wrong")),
    extensions(("x-effect" = json!("fact")), ("x-access" = json!("public")))
)]
async fn second_form(
    State(room): State<Identity>,
    app: App,
    Visit(ctx): Visit,
    half_way: HalfWay,
    Device { known: device, .. }: Device,
    page: Page,
    Form(fields): Form<SecondFields>,
) -> Result<Response, Problem> {
    let SecondFields { method, code, next, remember } = fields;
    let remember = remember == "yes";
    let (secret, client) = match begun(&app, half_way) {
        Ok(begun) => begun,
        Err(error) => return over(&app, page, error),
    };
    let again = secret.clone();
    let command = ProveSecond { secret, client, method, code, device, remember };
    match room.prove_second(&ctx, command).await {
        Ok(opened) => {
            let home = app.site.home;
            let on = see_other(&next_or(&next, home, home));
            Ok((inside(&room, &app, (&ctx, &opened)).await?, on).into_response())
        }
        Err(error @ Error::SignInOver) => over(&app, page, error),
        Err(error) => {
            let (status, wrong) = Wrong::shown(error)?;
            let choices = room.look_at_pending(&ctx, &again, client).await?;
            let shown = second(page, &choices, Some(method), next);
            html_with(status, &SecondPage { wrong, remember, ..shown })
        }
    }
}

/// The cookies of a browser whose sign-in is whole.
async fn inside(
    room: &Identity,
    app: &App,
    (ctx, opened): (&Ctx, &Opened),
) -> Result<(Inside, (SetCookie, SetCookie)), Problem> {
    let session = sign_in_cookies(app, ctx, opened)?;
    let known = device_cookie(app, &room.device_token(ctx, opened.account).await?)?;
    Ok((session, (known, SetCookie::removed(app.site.pending_cookie)?)))
}

fn enrol(page: Page, next: String, shown: Option<KeyShown>) -> EnrolPage {
    let page = page.titled("Add a second factor", Shape::Narrow);
    EnrolPage { page, wrong: Wrong::default(), next, shown }
}

/// The page on which an account gets the second factor that it must have.
#[utoipa::path(
    get, path = "/auth/second/enrol", operation_id = "identity.enrol_page", tag = "identity",
    params(
        ("next" = Option<String>, Query, description = "A path of this site to go on to"),
        ("factor" = Option<String>, Query, description = "The app that was begun")),
    responses((status = 200, description = "The page"), (status = 401, description = "Over")),
    extensions(("x-effect" = json!("none")), ("x-access" = json!("public")))
)]
async fn enrol_page(
    State(room): State<Identity>,
    app: App,
    Visit(ctx): Visit,
    half_way: HalfWay,
    page: Page,
    Query(query): Query<EnrolQuery>,
) -> Result<Response, Problem> {
    let looked = async {
        let (secret, client) = begun(&app, half_way)?;
        let Some(factor) = query.factor else {
            return room.enrolling(&ctx, &secret, client).await.map(|_| None);
        };
        let key = room.enrolled_pending(&ctx, (&secret, client), factor).await?;
        KeyShown::of(&key).map(Some)
    };
    match looked.await {
        Ok(shown) => html(&enrol(page, query.next, shown)),
        Err(error) => over(&app, page, error),
    }
}

/// Makes the key of an authenticator app.
#[utoipa::path(
    post, path = "/auth/second/enrol", operation_id = "identity.enrol_form", tag = "identity",
    responses((status = 303, description = "On to the key"), (status = 401, description = "Over")),
    extensions(("x-effect" = json!("fact")), ("x-access" = json!("public")))
)]
async fn enrol_form(
    State(room): State<Identity>,
    app: App,
    Visit(ctx): Visit,
    half_way: HalfWay,
    page: Page,
    Form(fields): Form<EnrolFields>,
) -> Result<Response, Problem> {
    let made = match begun(&app, half_way) {
        Ok((secret, client)) => room.enrol_pending(&ctx, &secret, client).await,
        Err(error) => Err(error),
    };
    match made {
        Ok(key) => {
            let page = with_next(ENROL, &fields.next);
            let sign = if page.contains('?') { '&' } else { '?' };
            Ok(see_other(&format!("{page}{sign}factor={}", key.factor)))
        }
        Err(error) => over(&app, page, error),
    }
}

/// Proves the first code of the app: the sign-in is whole, and backup codes are shown once.
#[utoipa::path(
    post, path = "/auth/second/enrolled", operation_id = "identity.enrolled_form",
    tag = "identity",
    responses(
        (status = 200, description = "The backup codes, with the cookie"),
        (status = 401, description = "The sign-in is over"),
        (status = 422, description = "The page again: the code is wrong")),
    extensions(("x-effect" = json!("fact")), ("x-access" = json!("public")))
)]
async fn enrolled_form(
    State(room): State<Identity>,
    app: App,
    Visit(ctx): Visit,
    half_way: HalfWay,
    page: Page,
    Form(fields): Form<EnrolledFields>,
) -> Result<Response, Problem> {
    let EnrolledFields { factor, code, next } = fields;
    let (secret, client) = match begun(&app, half_way) {
        Ok(begun) => begun,
        Err(error) => return over(&app, page, error),
    };
    let command = ProveFirst { secret: secret.clone(), client, factor, code };
    match room.prove_first(&ctx, command).await {
        Ok((opened, codes)) => {
            let home = app.site.home;
            let page = codes_page(page, codes, next_or(&next, home, home));
            Ok((inside(&room, &app, (&ctx, &opened)).await?, html(&page)?).into_response())
        }
        Err(error @ Error::CodeWrong) => {
            let (status, wrong) = Wrong::shown(error)?;
            let key = room.enrolled_pending(&ctx, (&secret, client), factor).await?;
            let shown = Some(KeyShown::of(&key)?);
            html_with(status, &EnrolPage { wrong, ..enrol(page, next, shown) })
        }
        Err(error) => over(&app, page, error),
    }
}

/// Backup codes, to be shown once.
pub(crate) fn codes_page(page: Page, codes: Vec<Secret<String>>, next: String) -> CodesPage {
    let page = page.titled("Keep these codes", Shape::Narrow);
    CodesPage { page, codes: codes.iter().map(|code| code.expose().clone()).collect(), next }
}

/// Goes on with a sign-in of the shop's app by a second factor.
#[utoipa::path(
    post, path = "/v1/sign-in/second", operation_id = "identity.second", tag = "identity",
    request_body = SecondBody,
    responses(
        (status = 200, description = "The tokens", body = TokensView),
        (status = 401, description = "The sign-in is over", body = web::Document),
        (status = 422, description = "The code is wrong", body = web::Document),
        (status = 429, description = "Too often", body = web::Document),
    ),
    extensions(("x-effect" = json!("fact")), ("x-access" = json!("public")))
)]
async fn second_json(
    State(room): State<Identity>,
    Visit(ctx): Visit,
    Json(body): Json<SecondBody>,
) -> Result<Json<TokensView>, Problem> {
    let SecondBody { pending, method, code, device, remember } = body;
    let client = Client::App;
    let command = ProveSecond { secret: pending, client, method, code, device, remember };
    let tokens = room.prove_second_app(&ctx, command).await?;
    let device = room.device_token(&ctx, tokens.account).await?;
    Ok(Json(TokensView::of(&ctx, &tokens).with_device(&device)))
}

fn step_up(page: Page, methods: Vec<Method>, chosen: Option<Method>, next: String) -> SecondPage {
    let shown = second(page, &Choices { methods, remember: None }, chosen, next);
    let page = shown.page.titled("Prove that it is you", Shape::Narrow);
    SecondPage { page, action: STEP_UP, ..shown }
}

/// The page that asks for a second factor inside a session, before what wants one.
#[utoipa::path(
    get, path = "/auth/step-up", operation_id = "identity.step_up_page", tag = "identity",
    params(
        ("next" = Option<String>, Query, description = "A path of this site to go on to"),
        ("method" = Option<Method>, Query, description = "By which of the account's methods")),
    responses(
        (status = 200, description = "The page"),
        (status = 303, description = "On to add a second factor, where there is none")),
    extensions(("x-effect" = json!("none")), ("x-access" = json!("session")))
)]
async fn step_up_page(
    State(room): State<Identity>,
    caller: Caller,
    page: Page,
    Query(query): Query<SecondQuery>,
) -> Result<Response, Problem> {
    let methods = room.own_methods(caller.account).await?;
    if methods.is_empty() {
        return Ok(see_other("/auth/account/factors?notice=needed"));
    }
    html(&step_up(page, methods, query.method, query.next))
}

/// Proves a second factor inside a session.
#[utoipa::path(
    post, path = "/auth/step-up", operation_id = "identity.step_up_form", tag = "identity",
    responses(
        (status = 303, description = "On, with the cookie of the session's successor"),
        (status = 422, description = "The page again: the code is wrong")),
    extensions(("x-effect" = json!("fact")), ("x-access" = json!("session")))
)]
async fn step_up_form(
    State(room): State<Identity>,
    app: App,
    caller: Caller,
    page: Page,
    Form(fields): Form<SecondFields>,
) -> Result<Response, Problem> {
    let SecondFields { method, code, next, .. } = fields;
    let (account, session) = (caller.account, caller.session);
    let command = StepUp { account, session, code: Code { method, code } };
    match room.step_up(&caller.ctx, command).await {
        Ok(renewed) => {
            let cookies = sign_in_cookies(&app, &caller.ctx, &renewed.opened)?;
            let home = app.site.home;
            Ok((cookies, see_other(&next_or(&next, home, home))).into_response())
        }
        Err(error) => {
            let (status, wrong) = Wrong::shown(error)?;
            let methods = room.own_methods(account).await?;
            let shown = step_up(page, methods, Some(method), next);
            html_with(status, &SecondPage { wrong, ..shown })
        }
    }
}

/// A second factor, inside a session.
#[derive(Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
struct StepUpBody {
    /// What it is a code of.
    method: Method,
    /// The code.
    #[schema(value_type = String)]
    code: Secret<String>,
}

/// Proves a second factor inside a session of the shop's app: its successor's tokens say so (RFC 9470).
#[utoipa::path(
    post, path = "/v1/sessions/step-up", operation_id = "identity.step_up", tag = "identity",
    request_body = StepUpBody,
    responses(
        (status = 200, description = "The new tokens of an app", body = TokensView),
        (status = 204, description = "A browser's new cookie"),
        (status = 422, description = "The code is wrong", body = web::Document),
        (status = 429, description = "Too often", body = web::Document),
    ),
    extensions(("x-effect" = json!("fact")), ("x-access" = json!("session")))
)]
async fn step_up_json(
    State(room): State<Identity>,
    app: App,
    caller: Caller,
    Json(body): Json<StepUpBody>,
) -> Result<Response, Problem> {
    let (account, session) = (caller.account, caller.session);
    let code = Code { method: body.method, code: body.code };
    let renewed = room.step_up(&caller.ctx, StepUp { account, session, code }).await?;
    successor(&room, &app, (&caller.ctx, renewed)).await
}

/// The answer to a program whose session goes on as its successor.
pub(crate) async fn successor(
    room: &Identity,
    app: &App,
    (ctx, renewed): (&Ctx, Renewed),
) -> Result<Response, Problem> {
    let Renewed { opened, refresh, .. } = renewed;
    if refresh.is_some() {
        let tokens = room.tokens_of(ctx, Entered { opened, refresh }).await?;
        return Ok(Json::<_>(TokensView::of(ctx, &tokens)).into_response());
    }
    let cookies = sign_in_cookies(app, ctx, &opened)?;
    Ok((cookies, StatusCode::NO_CONTENT).into_response())
}
