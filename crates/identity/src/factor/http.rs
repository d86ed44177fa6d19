//! The second factors of an account: its own page, and the same as API.

use askama::Template;
use axum::extract::State;
use axum::response::Response;
use http::StatusCode;
use kernel::{Secret, Timestamp};
use serde::{Deserialize, Serialize};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use web::{
    Caller, Form, Json, LocalPath, Page, Path, Problem, Query, Shape, Wrong, html, html_with,
    see_other,
};

use super::{Code, FactorId, Factors, RemoveFactor};
use crate::backup_code::NewBackupCodes;
use crate::error::Error;
use crate::gate::Method;
use crate::gate::http::{KeyShown, codes_page};
use crate::room::Identity;
use crate::totp::{ConfirmTotp, TotpKey};
use crate::trust::{TrustEnd, TrustId, TrustView};

const FACTORS: &str = "/auth/account/factors";

pub(crate) fn routes() -> OpenApiRouter<Identity> {
    OpenApiRouter::new()
        .routes(routes!(factors_page))
        .routes(routes!(totp_page, totp_form))
        .routes(routes!(confirm_totp_form))
        .routes(routes!(remove_form))
        .routes(routes!(backup_codes_form))
        .routes(routes!(end_trust_form))
        .routes(routes!(factors_json))
        .routes(routes!(totp_json))
        .routes(routes!(confirm_totp_json))
        .routes(routes!(remove_json))
        .routes(routes!(backup_codes_json))
        .routes(routes!(trusted_json))
        .routes(routes!(end_trust_json))
}

/// Which form of the page came back.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Section {
    Add,
    Remove(FactorId),
    BackupCodes,
}

#[derive(Template)]
#[template(path = "factors.html")]
struct FactorsPage {
    page: Page,
    notice: Option<&'static str>,
    factors: Vec<Shown>,
    codes_left: u32,
    trusted: Vec<TrustShown>,
    methods: [(&'static str, &'static str); 2],
    wrong_add: Wrong,
    wrong_codes: Wrong,
}

/// One factor as the page shows it.
struct Shown {
    id: FactorId,
    name: String,
    added: String,
    used: String,
    wrong: Wrong,
}

/// One trusted device as the page shows it.
struct TrustShown {
    id: TrustId,
    agent: String,
    since: String,
    used: String,
    ends: String,
}

#[derive(Template)]
#[template(path = "totp.html")]
struct TotpPage {
    page: Page,
    wrong: Wrong,
    shown: KeyShown,
}

#[derive(Deserialize)]
struct FactorsQuery {
    #[serde(default)]
    notice: Option<String>,
}

#[derive(Deserialize)]
struct TotpQuery {
    factor: FactorId,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct AddFields {
    name: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ConfirmFields {
    factor: FactorId,
    code: Secret<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TrustFields {
    device: TrustId,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RemoveFields {
    factor: FactorId,
    method: Method,
    code: Secret<String>,
}

/// A code of a second factor.
#[derive(Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
struct CodeBody {
    /// What it is a code of.
    method: Method,
    /// The code.
    #[schema(value_type = String)]
    code: Secret<String>,
}

impl CodeBody {
    fn code(self) -> Code {
        Code { method: self.method, code: self.code }
    }
}

/// What an authenticator app is to be called.
#[derive(Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
struct AddBody {
    /// The name: 1 to 80 characters.
    name: String,
}

/// A key to be taken into an authenticator app. Shown while it is not confirmed, and never again.
#[derive(Serialize, utoipa::ToSchema)]
struct KeyView {
    /// The factor that it becomes with its first code.
    factor: FactorId,
    /// To be typed: base32 (RFC 4648).
    key: String,
    /// To be scanned: `otpauth://totp/…`.
    uri: String,
}

/// The first code of a key.
#[derive(Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
struct ConfirmBody {
    /// The code.
    #[schema(value_type = String)]
    code: Secret<String>,
}

/// Backup codes, shown once.
#[derive(Serialize, utoipa::ToSchema)]
struct CodesView {
    /// The codes; none where the account has some already.
    backup_codes: Vec<String>,
}

impl CodesView {
    fn of(codes: &[Secret<String>]) -> Self {
        Self { backup_codes: codes.iter().map(|code| code.expose().clone()).collect() }
    }
}

fn notice(code: Option<&str>) -> Option<&'static str> {
    match code? {
        "added" => Some("Your authenticator app is added; your other devices are signed out."),
        "needed" => Some("What you wanted to do asks for a second factor: add one first."),
        "trust" => Some("That device is asked for a second factor again."),
        "removed" => Some("It is taken away; your other devices are signed out."),
        _ => None,
    }
}

/// A moment to the minute, UTC.
fn minute(at: Timestamp) -> String {
    let text = at.to_string();
    text.get(..16).unwrap_or(&text).replace('T', " ")
}

/// Where a browser proves the password again before it changes a factor.
fn prove_first() -> Result<Response, Problem> {
    let next: LocalPath = FACTORS.parse().map_err(|_| Error::Broken("a path of ours is none"))?;
    Ok(see_other(&next.as_next_of("/auth/confirm")))
}

fn must_be_fresh(caller: &Caller) -> Result<(), Problem> {
    if caller.fresh { Ok(()) } else { Err(Problem::password_needed()) }
}

async fn factors(room: &Identity, caller: &Caller, page: Page) -> Result<FactorsPage, Problem> {
    let Factors { factors, backup_codes_left } = room.factors(caller.account).await?;
    let trusted = room.trusted_devices(&caller.ctx, caller.account).await?;
    let trusted = trusted.into_iter().map(|device| TrustShown {
        id: device.id,
        agent: device.agent,
        since: minute(device.since),
        used: minute(device.used_at),
        ends: minute(device.ends_at),
    });
    let shown = factors.into_iter().map(|factor| Shown {
        id: factor.id,
        name: factor.name,
        added: minute(factor.added_at),
        used: factor.used_at.map(minute).unwrap_or_default(),
        wrong: Wrong::default(),
    });
    Ok(FactorsPage {
        page: page.titled("Second factors", Shape::Medium),
        notice: None,
        factors: shown.collect(),
        codes_left: backup_codes_left,
        trusted: trusted.collect(),
        methods: [
            (Method::Totp.as_str(), "Authenticator app"),
            (Method::BackupCode.as_str(), "Backup code"),
        ],
        wrong_add: Wrong::default(),
        wrong_codes: Wrong::default(),
    })
}

/// The page again, with what is wrong beside the form that was sent.
async fn again(
    (room, caller, page): (&Identity, &Caller, Page),
    section: Section,
    error: Error,
) -> Result<Response, Problem> {
    let (status, wrong) = Wrong::shown(error)?;
    let mut shown = factors(room, caller, page).await?;
    match section {
        Section::Add => shown.wrong_add = wrong,
        Section::BackupCodes => shown.wrong_codes = wrong,
        Section::Remove(id) => {
            if let Some(factor) = shown.factors.iter_mut().find(|factor| factor.id == id) {
                factor.wrong = wrong;
            }
        }
    }
    html_with(status, &shown)
}

/// The account's second factors.
#[utoipa::path(
    get, path = "/auth/account/factors", operation_id = "identity.factors_page", tag = "identity",
    responses((status = 200, description = "The page")),
    extensions(("x-effect" = json!("none")), ("x-access" = json!("session")))
)]
async fn factors_page(
    State(room): State<Identity>,
    caller: Caller,
    page: Page,
    Query(query): Query<FactorsQuery>,
) -> Result<Response, Problem> {
    let notice = notice(query.notice.as_deref());
    html(&FactorsPage { notice, ..factors(&room, &caller, page).await? })
}

/// Makes the key of an authenticator app.
#[utoipa::path(
    post, path = "/auth/account/factors/totp", operation_id = "identity.begin_totp_form",
    tag = "identity", responses((status = 303, description = "On to the key")),
    extensions(("x-effect" = json!("fact")), ("x-access" = json!("session")))
)]
async fn totp_form(
    State(room): State<Identity>,
    caller: Caller,
    page: Page,
    Form(fields): Form<AddFields>,
) -> Result<Response, Problem> {
    if !caller.fresh {
        return prove_first();
    }
    match room.begin_totp(&caller.ctx, caller.account, &fields.name).await {
        Ok(key) => Ok(see_other(&format!("{FACTORS}/totp?factor={}", key.factor))),
        Err(error) => again((&room, &caller, page), Section::Add, error).await,
    }
}

fn totp(page: Page, key: &TotpKey) -> Result<TotpPage, Error> {
    let page = page.titled("Add an authenticator app", Shape::Narrow);
    Ok(TotpPage { page, wrong: Wrong::default(), shown: KeyShown::of(key)? })
}

/// The page that shows the key of an app that was begun.
#[utoipa::path(
    get, path = "/auth/account/factors/totp", operation_id = "identity.totp_page",
    tag = "identity", params(("factor" = String, Query, description = "The app that was begun")),
    responses((status = 200, description = "The page")),
    extensions(("x-effect" = json!("none")), ("x-access" = json!("session")))
)]
async fn totp_page(
    State(room): State<Identity>,
    caller: Caller,
    page: Page,
    Query(query): Query<TotpQuery>,
) -> Result<Response, Problem> {
    if !caller.fresh {
        return prove_first();
    }
    html(&totp(page, &room.begun_totp(caller.account, query.factor).await?)?)
}

/// Proves the first code of an app: from now on signing in asks for one.
#[utoipa::path(
    post, path = "/auth/account/factors/totp/confirm", operation_id = "identity.confirm_totp_form",
    tag = "identity",
    responses(
        (status = 200, description = "The backup codes, shown once"),
        (status = 303, description = "Back to the factors, where it has codes already")),
    extensions(("x-effect" = json!("fact")), ("x-access" = json!("session")))
)]
async fn confirm_totp_form(
    State(room): State<Identity>,
    caller: Caller,
    page: Page,
    Form(fields): Form<ConfirmFields>,
) -> Result<Response, Problem> {
    if !caller.fresh {
        return prove_first();
    }
    let ConfirmFields { factor, code } = fields;
    let command = ConfirmTotp { account: caller.account, session: caller.session, factor, code };
    match room.confirm_totp(&caller.ctx, command).await {
        Ok(codes) if codes.is_empty() => Ok(see_other(&format!("{FACTORS}?notice=added"))),
        Ok(codes) => html(&codes_page(page, codes, format!("{FACTORS}?notice=added"))),
        Err(error) => {
            let (status, wrong) = Wrong::shown(error)?;
            let key = room.begun_totp(caller.account, factor).await?;
            html_with(status, &TotpPage { wrong, ..totp(page, &key)? })
        }
    }
}

/// Takes a factor away.
#[utoipa::path(
    post, path = "/auth/account/factors/remove", operation_id = "identity.remove_factor_form",
    tag = "identity", responses((status = 303, description = "Back to the page")),
    extensions(("x-effect" = json!("fact")), ("x-access" = json!("session")))
)]
async fn remove_form(
    State(room): State<Identity>,
    caller: Caller,
    page: Page,
    Form(fields): Form<RemoveFields>,
) -> Result<Response, Problem> {
    if !caller.fresh {
        return prove_first();
    }
    let RemoveFields { factor, method, code } = fields;
    let (account, session) = (caller.account, caller.session);
    let command = RemoveFactor { account, session, factor, code: Code { method, code } };
    match room.remove_factor(&caller.ctx, command).await {
        Ok(()) => Ok(see_other(&format!("{FACTORS}?notice=removed"))),
        Err(error) => again((&room, &caller, page), Section::Remove(factor), error).await,
    }
}

/// Makes new backup codes; the old ones are good no more.
#[utoipa::path(
    post, path = "/auth/account/backup-codes", operation_id = "identity.new_backup_codes_form",
    tag = "identity", responses((status = 200, description = "The codes, shown once")),
    extensions(("x-effect" = json!("fact")), ("x-access" = json!("session")))
)]
async fn backup_codes_form(
    State(room): State<Identity>,
    caller: Caller,
    page: Page,
    Form(fields): Form<CodeBody>,
) -> Result<Response, Problem> {
    if !caller.fresh {
        return prove_first();
    }
    let (account, session) = (caller.account, caller.session);
    let command = NewBackupCodes { account, session, code: fields.code() };
    match room.new_backup_codes(&caller.ctx, command).await {
        Ok(codes) => html(&codes_page(page, codes, FACTORS.to_owned())),
        Err(error) => again((&room, &caller, page), Section::BackupCodes, error).await,
    }
}

/// Asks a trusted device for a second factor again.
#[utoipa::path(
    post, path = "/auth/account/trusted-devices/end", operation_id = "identity.end_trust_form",
    tag = "identity", responses((status = 303, description = "Back to the page")),
    extensions(("x-effect" = json!("fact")), ("x-access" = json!("session")))
)]
async fn end_trust_form(
    State(room): State<Identity>,
    caller: Caller,
    Form(fields): Form<TrustFields>,
) -> Result<Response, Problem> {
    let of = (caller.account, fields.device);
    room.end_trust(&caller.ctx, of, TrustEnd::Revoked).await?;
    Ok(see_other(&format!("{FACTORS}?notice=trust")))
}

/// The devices on which the caller is not asked for a second factor, newest first.
#[utoipa::path(
    get, path = "/v1/account/trusted-devices", operation_id = "identity.trusted_devices",
    tag = "identity",
    responses((status = 200, description = "The devices", body = Vec<TrustView>)),
    extensions(("x-effect" = json!("none")), ("x-access" = json!("session")))
)]
async fn trusted_json(
    State(room): State<Identity>,
    caller: Caller,
) -> Result<Json<Vec<TrustView>>, Problem> {
    Ok(Json(room.trusted_devices(&caller.ctx, caller.account).await?))
}

/// Asks a trusted device of the caller for a second factor again.
#[utoipa::path(
    delete, path = "/v1/account/trusted-devices/{device}", operation_id = "identity.end_trust",
    tag = "identity", params(("device" = String, Path, description = "The device")),
    responses(
        (status = 204, description = "It is asked again"),
        (status = 404, description = "The caller trusts no such device", body = web::Document),
    ),
    extensions(("x-effect" = json!("fact")), ("x-access" = json!("session")))
)]
async fn end_trust_json(
    State(room): State<Identity>,
    caller: Caller,
    Path(device): Path<TrustId>,
) -> Result<StatusCode, Problem> {
    room.end_trust(&caller.ctx, (caller.account, device), TrustEnd::Revoked).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// The caller's second factors.
#[utoipa::path(
    get, path = "/v1/account/factors", operation_id = "identity.factors", tag = "identity",
    responses((status = 200, description = "The factors", body = Factors)),
    extensions(("x-effect" = json!("none")), ("x-access" = json!("session")))
)]
async fn factors_json(
    State(room): State<Identity>,
    caller: Caller,
) -> Result<Json<Factors>, Problem> {
    Ok(Json(room.factors(caller.account).await?))
}

/// Makes the key of an authenticator app; it counts when its first code was proved.
#[utoipa::path(
    post, path = "/v1/account/factors/totp", operation_id = "identity.begin_totp",
    tag = "identity", request_body = AddBody,
    responses(
        (status = 200, description = "The key", body = KeyView),
        (status = 403, description = "The password must be proved again", body = web::Document),
        (status = 409, description = "The account has five already", body = web::Document),
    ),
    extensions(("x-effect" = json!("fact")), ("x-access" = json!("session")))
)]
async fn totp_json(
    State(room): State<Identity>,
    caller: Caller,
    Json(body): Json<AddBody>,
) -> Result<Json<KeyView>, Problem> {
    must_be_fresh(&caller)?;
    let TotpKey { factor, key, uri } =
        room.begin_totp(&caller.ctx, caller.account, &body.name).await?;
    Ok(Json(KeyView { factor, key: key.expose().clone(), uri: uri.expose().clone() }))
}

/// Proves the first code of an app: the account has it from now on, and its other sessions end.
#[utoipa::path(
    post, path = "/v1/account/factors/{factor}/confirm", operation_id = "identity.confirm_totp",
    tag = "identity", request_body = ConfirmBody,
    params(("factor" = String, Path, description = "The factor that was begun")),
    responses(
        (status = 200, description = "Added; the backup codes of a first factor", body = CodesView),
        (status = 404, description = "Nothing was begun", body = web::Document),
        (status = 422, description = "The code is wrong", body = web::Document),
    ),
    extensions(("x-effect" = json!("fact")), ("x-access" = json!("session")))
)]
async fn confirm_totp_json(
    State(room): State<Identity>,
    caller: Caller,
    Path(factor): Path<FactorId>,
    Json(body): Json<ConfirmBody>,
) -> Result<Json<CodesView>, Problem> {
    must_be_fresh(&caller)?;
    let (account, session) = (caller.account, caller.session);
    let command = ConfirmTotp { account, session, factor, code: body.code };
    Ok(Json(CodesView::of(&room.confirm_totp(&caller.ctx, command).await?)))
}

/// Takes a factor away; the other sessions end.
#[utoipa::path(
    delete, path = "/v1/account/factors/{factor}", operation_id = "identity.remove_factor",
    tag = "identity", request_body = CodeBody,
    params(("factor" = String, Path, description = "The factor")),
    responses(
        (status = 204, description = "Taken away"),
        (status = 409, description = "It is the last, and one is needed", body = web::Document),
        (status = 422, description = "The code is wrong", body = web::Document),
    ),
    extensions(("x-effect" = json!("fact")), ("x-access" = json!("session")))
)]
async fn remove_json(
    State(room): State<Identity>,
    caller: Caller,
    Path(factor): Path<FactorId>,
    Json(body): Json<CodeBody>,
) -> Result<StatusCode, Problem> {
    must_be_fresh(&caller)?;
    let (account, session) = (caller.account, caller.session);
    let command = RemoveFactor { account, session, factor, code: body.code() };
    room.remove_factor(&caller.ctx, command).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Makes new backup codes; the old ones are good no more, and the other sessions end.
#[utoipa::path(
    post, path = "/v1/account/backup-codes", operation_id = "identity.new_backup_codes",
    tag = "identity", request_body = CodeBody,
    responses(
        (status = 200, description = "The codes, shown once", body = CodesView),
        (status = 409, description = "The account has no second factor", body = web::Document),
        (status = 422, description = "The code is wrong", body = web::Document),
    ),
    extensions(("x-effect" = json!("fact")), ("x-access" = json!("session")))
)]
async fn backup_codes_json(
    State(room): State<Identity>,
    caller: Caller,
    Json(body): Json<CodeBody>,
) -> Result<Json<CodesView>, Problem> {
    must_be_fresh(&caller)?;
    let (account, session) = (caller.account, caller.session);
    let command = NewBackupCodes { account, session, code: body.code() };
    Ok(Json(CodesView::of(&room.new_backup_codes(&caller.ctx, command).await?)))
}
