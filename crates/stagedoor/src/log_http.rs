//! The log over HTTP (C2SP tlog-tiles): the signed checkpoint, the key and the tiles of hashes for
//! anybody, who can prove with them that the log only grew; the entries for auditors, at the console.
//!
//! Entries hold hashes and pseudonyms only, and still tell too much to strangers: which kind of
//! event followed a request says whether an address has an account, and a pseudonym, once known,
//! shows all that a person does.

use axum::extract::{Path, State};
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::response::{IntoResponse, Response};
use merkle::Resource;
use spine::Spine;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use web::{Auditor, Operator, Problem};

/// The routes of the public door.
pub(crate) fn routes(spine: Spine) -> OpenApiRouter {
    OpenApiRouter::new()
        .routes(routes!(checkpoint))
        .routes(routes!(key))
        .routes(routes!(tile))
        .with_state(spine)
}

/// The routes of the console: the entries.
pub(crate) fn operator_routes(spine: Spine) -> OpenApiRouter {
    OpenApiRouter::new().routes(routes!(entries)).with_state(spine)
}

/// The checkpoint that was published last, with the signatures of the log's witnesses. It follows the
/// log at a pace of its own (`audit.publish_every_s`).
#[utoipa::path(
    get, path = "/v1/log/checkpoint", operation_id = "log.checkpoint", tag = "log",
    responses((status = 200, description = "A signed note", content_type = "text/plain")),
    extensions(("x-effect" = json!("none")), ("x-access" = json!("public")))
)]
async fn checkpoint(State(spine): State<Spine>) -> Result<Response, Problem> {
    let checkpoint = spine.published().await?.ok_or_else(Problem::not_found)?;
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

/// A tile of hashes: `tile/0/000`, `tile/1/000.p/17`.
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
    match Resource::parse(&format!("tile/{path}")) {
        Ok(resource @ Resource::Tile(id)) => {
            // A tile that is not published yet would tell how busy the house is right now.
            let shown = spine.published().await?.ok_or_else(Problem::not_found)?;
            if !id.is_within(shown.claimed().size()) {
                return Err(Problem::not_found());
            }
            bytes(&spine, &resource, !id.is_partial()).await
        }
        Ok(Resource::Entries(_) | Resource::Checkpoint) | Err(_) => Err(Problem::not_found()),
    }
}

/// A bundle of entries: `tile/entries/000`, `tile/entries/000.p/17`.
#[utoipa::path(
    get, path = "/v1/log/tile/entries/{*path}", operation_id = "log.entries", tag = "log",
    params(("path" = String, Path, description = "The index, as tlog-tiles writes it")),
    responses(
        (status = 200, description = "The bytes", content_type = "application/octet-stream"),
        (status = 404, description = "Not there (yet)", body = web::Document),
    ),
    extensions(("x-effect" = json!("none")), ("x-access" = json!("operator:auditor")))
)]
async fn entries(
    State(spine): State<Spine>,
    _: Operator<Auditor>,
    Path(path): Path<String>,
) -> Result<Response, Problem> {
    match Resource::parse(&format!("tile/entries/{path}")) {
        // Never kept by a cache on the way: it would hand them to whoever asks next.
        Ok(resource @ Resource::Entries(_)) => bytes(&spine, &resource, false).await,
        Ok(Resource::Tile(_) | Resource::Checkpoint) | Err(_) => Err(Problem::not_found()),
    }
}

async fn bytes(spine: &Spine, resource: &Resource, lasting: bool) -> Result<Response, Problem> {
    let bytes = spine.resource(resource).await?.ok_or_else(Problem::not_found)?;
    let cache = if lasting { "public, max-age=31536000, immutable" } else { "no-store" };
    Ok(([(CONTENT_TYPE, "application/octet-stream"), (CACHE_CONTROL, cache)], bytes)
        .into_response())
}
