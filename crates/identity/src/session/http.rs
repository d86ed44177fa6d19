//! Sessions as API, and the public keys of session tokens.

use axum::extract::State;
use http::StatusCode;
use kernel::SessionId;
use serde::Serialize;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use web::{Caller, Json, Path, Problem};

use super::{EndReason, SessionView};
use crate::room::Identity;

pub(crate) fn routes() -> OpenApiRouter<Identity> {
    OpenApiRouter::new()
        .routes(routes!(sessions_json, end_others_json))
        .routes(routes!(end_session_json))
        .routes(routes!(jwks_json))
}

/// How many sessions ended.
#[derive(Serialize, utoipa::ToSchema)]
struct Ended {
    /// The number.
    ended: u64,
}

/// The caller's sessions, newest first.
#[utoipa::path(
    get, path = "/v1/sessions", operation_id = "identity.sessions", tag = "identity",
    responses((status = 200, description = "The sessions", body = Vec<SessionView>)),
    extensions(("x-effect" = json!("none")), ("x-access" = json!("session")))
)]
async fn sessions_json(
    State(room): State<Identity>,
    caller: Caller,
) -> Result<Json<Vec<SessionView>>, Problem> {
    let current = Some(caller.session);
    Ok(Json(room.sessions(&caller.ctx, caller.account, current).await?))
}

/// Ends every other session of the caller.
#[utoipa::path(
    delete, path = "/v1/sessions", operation_id = "identity.end_other_sessions",
    tag = "identity", responses((status = 200, description = "Ended", body = Ended)),
    extensions(("x-effect" = json!("fact")), ("x-access" = json!("session")))
)]
async fn end_others_json(
    State(room): State<Identity>,
    caller: Caller,
) -> Result<Json<Ended>, Problem> {
    let (account, keep) = (caller.account, Some(caller.session));
    let ended = room.end_sessions(&caller.ctx, account, keep, EndReason::EndedByOwner).await?;
    Ok(Json(Ended { ended }))
}

/// Ends one session of the caller: this one, or another.
#[utoipa::path(
    delete, path = "/v1/sessions/{session}", operation_id = "identity.end_session",
    tag = "identity", params(("session" = String, Path, description = "The session")),
    responses(
        (status = 204, description = "Ended"),
        (status = 404, description = "The caller has no such session", body = web::Document),
    ),
    extensions(("x-effect" = json!("fact")), ("x-access" = json!("session")))
)]
async fn end_session_json(
    State(room): State<Identity>,
    caller: Caller,
    Path(session): Path<SessionId>,
) -> Result<StatusCode, Problem> {
    let own = session == caller.session;
    let reason = if own { EndReason::SignedOut } else { EndReason::EndedByOwner };
    room.end_session(&caller.ctx, (caller.account, session), reason).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// The public keys that session tokens are verified with (RFC 7517).
#[utoipa::path(
    get, path = "/.well-known/jwks.json", operation_id = "identity.jwks", tag = "identity",
    responses((status = 200, description = "The keys")),
    extensions(("x-effect" = json!("none")), ("x-access" = json!("public")))
)]
async fn jwks_json(State(room): State<Identity>) -> Result<Json<serde_json::Value>, Problem> {
    Ok(Json(room.jwks()?))
}
