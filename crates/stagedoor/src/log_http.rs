//! The log over HTTP: the signed checkpoint, the key, and the tiles (C2SP tlog-tiles), for anybody.
//! Nothing personal is in them: entries hold hashes and pseudonyms.

use axum::extract::{Path, State};
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::response::{IntoResponse, Response};
use merkle::Resource;
use spine::Spine;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use web::Problem;

/// The routes.
pub(crate) fn routes(spine: Spine) -> OpenApiRouter {
    OpenApiRouter::new()
        .routes(routes!(checkpoint))
        .routes(routes!(key))
        .routes(routes!(tile))
        .with_state(spine)
}

/// The latest signed checkpoint.
#[utoipa::path(
    get, path = "/v1/log/checkpoint", operation_id = "log.checkpoint", tag = "log",
    responses((status = 200, description = "A signed note", content_type = "text/plain")),
    extensions(("x-effect" = json!("none")), ("x-access" = json!("public")))
)]
async fn checkpoint(State(spine): State<Spine>) -> Result<Response, Problem> {
    let checkpoint = spine.checkpoint().await?.ok_or_else(Problem::not_found)?;
    Ok(([(CONTENT_TYPE, "text/plain; charset=utf-8")], checkpoint.to_string()).into_response())
}

/// The log's public key, as C2SP writes it (vkey).
#[utoipa::path(
    get, path = "/v1/log/key", operation_id = "log.key", tag = "log",
    responses((status = 200, description = "The verifier key", content_type = "text/plain")),
    extensions(("x-effect" = json!("none")), ("x-access" = json!("public")))
)]
async fn key(State(spine): State<Spine>) -> Result<Response, Problem> {
    let key = spine.verifier_key().await?;
    Ok(([(CONTENT_TYPE, "text/plain; charset=utf-8")], format!("{key}\n")).into_response())
}

/// A tile of hashes, or a bundle of entries: `tile/0/000`, `tile/entries/000.p/17`.
#[utoipa::path(
    get, path = "/v1/log/tile/{*path}", operation_id = "log.tile", tag = "log",
    params(("path" = String, Path, description = "Level and index, as tlog-tiles writes them")),
    responses(
        (status = 200, description = "The bytes", content_type = "application/octet-stream"),
        (status = 404, description = "Not there (yet)", body = web::Document),
    ),
    extensions(("x-effect" = json!("none")), ("x-access" = json!("public")))
)]
async fn tile(State(spine): State<Spine>, Path(path): Path<String>) -> Result<Response, Problem> {
    let resource = Resource::parse(&format!("tile/{path}"));
    let resource = resource.map_err(|_| Problem::not_found())?;
    let bytes = spine.resource(&resource).await?.ok_or_else(Problem::not_found)?;
    let full = matches!(resource, Resource::Tile(id) | Resource::Entries(id) if !id.is_partial());
    let cache = if full { "public, max-age=31536000, immutable" } else { "no-store" };
    Ok(([(CONTENT_TYPE, "application/octet-stream"), (CACHE_CONTROL, cache)], bytes)
        .into_response())
}
