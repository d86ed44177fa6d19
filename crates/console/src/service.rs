//! Keys of the shop's own services: listed, added (the key is shown once), revoked.

use access::{NewService, ServiceEntry};
use askama::Template;
use axum::extract::State;
use axum::response::Response;
use http::StatusCode;
use kernel::{KeyId, Timestamp};
use serde::Deserialize;
use spine::About;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use web::{
    Admin, Form, Operator, Page, Path, Problem, Query, Support, Wrong, html, html_with, see_other,
    wrong_field,
};

use crate::confirm::{Act, Reason};
use crate::desk::Desk;
use crate::notice::notice;
use crate::room::Console;
use crate::told;

const ROWS: usize = 50;

pub(crate) fn routes() -> OpenApiRouter<Console> {
    OpenApiRouter::new().routes(routes!(list, add)).routes(routes!(ask_revoke, revoke))
}

struct Row {
    name: String,
    id: String,
    mode: String,
    scopes: String,
    since: String,
    used: String,
    revoked: Option<String>,
    revoke: String,
}

impl Row {
    fn of(entry: &ServiceEntry, now: Timestamp) -> Self {
        Self {
            name: entry.name.clone(),
            id: entry.id.to_string(),
            mode: entry.mode.clone(),
            scopes: entry.scopes.join(", "),
            since: told::clock(entry.created_at),
            used: entry.used_at.map_or_else(|| "never".to_owned(), |at| told::ago(now, at)),
            revoked: entry.revoked_at.map(told::clock),
            revoke: format!("/console/keys/{}/revoke", entry.id),
        }
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct AddForm {
    #[serde(default)]
    name: String,
    /// Words with blanks between.
    #[serde(default)]
    scopes: String,
}

#[derive(Template)]
#[template(path = "keys.html")]
struct KeysPage {
    page: Page,
    desk: Desk,
    notice: Option<&'static str>,
    wrong: Wrong,
    form: AddForm,
    /// A key that was just made; shown this once.
    fresh: Option<String>,
    rows: Vec<Row>,
    next: Option<String>,
}

#[derive(Default, Deserialize)]
struct ListQuery {
    #[serde(default)]
    after: Option<String>,
    #[serde(default)]
    notice: Option<String>,
}

async fn keys_page(
    console: &Console,
    (page, desk): (Page, Desk),
    query: &ListQuery,
    now: Timestamp,
) -> Result<KeysPage, Problem> {
    let after: Option<KeyId> = query
        .after
        .as_deref()
        .map(str::parse)
        .transpose()
        .map_err(|_| wrong_field("after", "is no key"))?;
    let limit = i64::try_from(ROWS).unwrap_or(0) + 1;
    let services = console.access().services(after, limit).await;
    let mut services = services?;
    let more = services.len() > ROWS;
    services.truncate(ROWS);
    let last = services.last().filter(|_| more);
    Ok(KeysPage {
        page: desk.page(page, "Service keys"),
        desk,
        notice: notice(query.notice.as_deref()),
        wrong: Wrong::default(),
        form: AddForm { name: String::new(), scopes: "facts".to_owned() },
        fresh: None,
        next: last.map(|entry| format!("/console/keys?after={}", entry.id)),
        rows: services.iter().map(|entry| Row::of(entry, now)).collect(),
    })
}

/// The shop's services and their keys
#[utoipa::path(get, path = "/console/keys", operation_id = "console.list_keys", tag = "console",
    params(("after" = Option<String>, Query, description = "Older than this key")),
    responses((status = 200, description = "The page")),
    extensions(("x-effect" = json!("none")), ("x-access" = json!("operator:support"))))]
async fn list(
    State(console): State<Console>,
    Operator(caller, _): Operator<Support>,
    page: Page,
    Query(query): Query<ListQuery>,
) -> Result<Response, Problem> {
    html(&keys_page(&console, (page, Desk::of(&caller)), &query, caller.ctx.now).await?)
}

/// Give a service of the shop a key
#[utoipa::path(post, path = "/console/keys", operation_id = "console.add_key", tag = "console",
    responses((status = 201, description = "The page with the key, shown this once"),
        (status = 409, description = "The page again: there are as many as there may be"),
        (status = 422, description = "The page again: fields are wrong")),
    extensions(("x-effect" = json!("fact")), ("x-access" = json!("operator:admin"))))]
async fn add(
    State(console): State<Console>,
    Operator(caller, _): Operator<Admin>,
    page: Page,
    Form(form): Form<AddForm>,
) -> Result<Response, Problem> {
    let scopes = form.scopes.split([' ', ',']).filter(|scope| !scope.is_empty());
    let new = NewService {
        name: form.name.trim().to_owned(),
        scopes: scopes.map(str::to_owned).collect(),
    };
    let added = console.access().add_service(&caller.ctx, &new).await;
    let (desk, query) = (Desk::of(&caller), ListQuery::default());
    match added.map_err(Problem::from) {
        Ok(added) => {
            let shown = keys_page(&console, (page, desk), &query, caller.ctx.now).await?;
            let fresh = Some(added.key.expose().clone());
            html_with(StatusCode::CREATED, &KeysPage { fresh, ..shown })
        }
        Err(problem) => {
            let (status, wrong) = Wrong::shown(problem)?;
            let shown = keys_page(&console, (page, desk), &query, caller.ctx.now).await?;
            html_with(status, &KeysPage { wrong, form, ..shown })
        }
    }
}

fn revoke_act(id: KeyId) -> Act {
    Act {
        title: "Revoke this key",
        text: "The service is refused from now on. A revoked key cannot be given back.",
        target: id.to_string(),
        action: format!("/console/keys/{id}/revoke"),
        button: "Revoke it",
        back: "/console/keys".to_owned(),
    }
}

/// The question before a key is revoked
#[utoipa::path(get, path = "/console/keys/{id}/revoke", operation_id = "console.ask_revoke_key",
    tag = "console", params(("id" = String, Path, description = "The key")),
    responses((status = 200, description = "The page")),
    extensions(("x-effect" = json!("none")), ("x-access" = json!("operator:admin"))))]
async fn ask_revoke(
    Operator(caller, _): Operator<Admin>,
    page: Page,
    Path(id): Path<KeyId>,
) -> Result<Response, Problem> {
    revoke_act(id).ask(page, Desk::of(&caller))
}

/// Revoke a service's key
#[utoipa::path(post, path = "/console/keys/{id}/revoke", operation_id = "console.revoke_key",
    tag = "console", params(("id" = String, Path, description = "The key")),
    responses((status = 303, description = "Back to the keys"), (status = 404),
        (status = 422, description = "The page again: a reason is needed")),
    extensions(("x-effect" = json!("fact")), ("x-access" = json!("operator:admin"))))]
async fn revoke(
    State(console): State<Console>,
    Operator(caller, _): Operator<Admin>,
    page: Page,
    Path(id): Path<KeyId>,
    Form(form): Form<Reason>,
) -> Result<Response, Problem> {
    let act = async |reason: &str| {
        // The reason first: no act without one, whatever happens in between.
        let about = About::house("service", *id.as_bytes(), 0);
        console.give_reason(&caller.ctx, about, ("revoke key", reason)).await?;
        let revoked = console.access().revoke_service(&caller.ctx, id).await;
        revoked?;
        Ok(see_other("/console/keys?notice=revoked"))
    };
    revoke_act(id).carry_out((page, Desk::of(&caller)), &form, act).await
}
