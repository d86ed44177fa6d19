//! The room over HTTP: a page with its form, and the same for programs.

use askama::Template;
use axum::extract::State;
use axum::response::{IntoResponse as _, Redirect, Response};
use http::StatusCode;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use web::{Caller, Form, Json, Page, Path, Problem, Shape, Wrong, html, html_with};

use crate::room::Wishes;
use crate::wish::{Make, Wish, WishId};

/// The room's routes.
pub fn routes(room: Wishes) -> OpenApiRouter {
    OpenApiRouter::new()
        .routes(routes!(page, add))
        .routes(routes!(list, make))
        .routes(routes!(drop_wish))
        .with_state(room)
}

#[derive(Template)]
#[template(path = "wishes.html")]
struct WishesPage {
    page: Page,
    wishes: Vec<Wish>,
    wrong: Wrong,
    // Named unlike the parameters of the page's macros, which would hide it.
    typed_text: String,
}

impl WishesPage {
    async fn of(room: &Wishes, caller: &Caller, page: Page) -> Result<Self, Problem> {
        let wishes = room.of(caller.account, [0; 16]).await?;
        let page = page.titled("Each wish of yours", Shape::Narrow);
        Ok(Self { page, wishes, wrong: Wrong::default(), typed_text: String::new() })
    }
}

/// A wish as it is sent.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct NewWish {
    /// What for, 1 to 200 bytes.
    text: String,
}

/// The id of a new wish.
#[derive(Debug, Serialize, ToSchema)]
struct MadeWish {
    /// Its id.
    id: WishId,
}

/// The page with each wish of one's own.
#[utoipa::path(get, path = "/auth/wishes", operation_id = "wishes.page",
    responses((status = 200, description = "The page", content_type = "text/html")),
    extensions(("x-effect" = json!("none")), ("x-access" = json!("session"))))]
async fn page(State(room): State<Wishes>, caller: Caller, page: Page) -> Result<Response, Problem> {
    html(&WishesPage::of(&room, &caller, page).await?)
}

/// Makes a wish from the page's form.
#[utoipa::path(post, path = "/auth/wishes", operation_id = "wishes.add",
    responses((status = 303, description = "Back to the page"),
        (status = 422, description = "The page again, with what was typed")),
    extensions(("x-effect" = json!("fact")), ("x-access" = json!("session"))))]
async fn add(
    State(room): State<Wishes>,
    caller: Caller,
    page: Page,
    Form(form): Form<NewWish>,
) -> Result<Response, Problem> {
    let command = Make { account: caller.account, text: form.text.clone() };
    let Err(error) = room.make(&caller.ctx, command).await else {
        return Ok(Redirect::to("/auth/wishes").into_response());
    };
    let (status, wrong) = Wrong::shown(error)?;
    let again = WishesPage::of(&room, &caller, page).await?;
    html_with(status, &WishesPage { wrong, typed_text: form.text, ..again })
}

/// Each wish of one's own.
#[utoipa::path(get, path = "/v1/wishes", operation_id = "wishes.list",
    responses((status = 200, description = "The wishes", body = [Wish])),
    extensions(("x-effect" = json!("none")), ("x-access" = json!("session"))))]
async fn list(State(room): State<Wishes>, caller: Caller) -> Result<Json<Vec<Wish>>, Problem> {
    Ok(Json(room.of(caller.account, [0; 16]).await?))
}

/// Makes a wish.
#[utoipa::path(post, path = "/v1/wishes", operation_id = "wishes.make", request_body = NewWish,
    responses((status = 201, description = "Made", body = MadeWish)),
    extensions(("x-effect" = json!("fact")), ("x-access" = json!("session"))))]
async fn make(
    State(room): State<Wishes>,
    caller: Caller,
    Json(wish): Json<NewWish>,
) -> Result<Response, Problem> {
    let command = Make { account: caller.account, text: wish.text };
    let id = room.make(&caller.ctx, command).await?;
    Ok((StatusCode::CREATED, Json::<_>(MadeWish { id })).into_response())
}

/// Drops a wish.
#[utoipa::path(delete, path = "/v1/wishes/{id}", operation_id = "wishes.drop",
    params(("id" = String, Path, description = "The wish")),
    responses((status = 204, description = "Dropped")),
    extensions(("x-effect" = json!("fact")), ("x-access" = json!("session"))))]
async fn drop_wish(
    State(room): State<Wishes>,
    caller: Caller,
    Path(id): Path<WishId>,
) -> Result<StatusCode, Problem> {
    room.drop_wish(&caller.ctx, caller.account, id).await?;
    Ok(StatusCode::NO_CONTENT)
}
