//! Refreshing and giving back tokens, for the shop's apps (shapes as in RFC 6749 section 5.1).

use axum::extract::State;
use http::StatusCode;
use kernel::{Ctx, Secret, SessionId};
use serde::{Deserialize, Serialize};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use web::{Json, Problem, Visit};

use super::AppTokens;
use crate::room::Identity;

pub(crate) fn routes() -> OpenApiRouter<Identity> {
    OpenApiRouter::new().routes(routes!(refresh_json)).routes(routes!(revoke_json))
}

/// What an app keeps.
#[derive(Serialize, utoipa::ToSchema)]
pub(crate) struct TokensView {
    /// The signed token, for `Authorization: Bearer`.
    access_token: String,
    /// Always `Bearer`.
    token_type: &'static str,
    /// Seconds until the signed token ends.
    expires_in: u64,
    /// The refresh token, for once: keep the newest, forget the one that was shown.
    refresh_token: String,
    /// The session that both belong to.
    session: SessionId,
    /// After a sign-in: keep it, and send it with the next sign-in on this device.
    #[serde(skip_serializing_if = "Option::is_none")]
    device: Option<String>,
    /// After a sign-in on a trusted device: keep it in place of the last one, and send it with the
    /// next sign-in on this device.
    #[serde(skip_serializing_if = "Option::is_none")]
    trust: Option<String>,
}

impl TokensView {
    /// With the token by which the account knows the device.
    pub(crate) fn with_device(self, token: &Secret<String>) -> Self {
        Self { device: Some(token.expose().clone()), ..self }
    }

    pub(crate) fn of(ctx: &Ctx, tokens: &AppTokens) -> Self {
        Self {
            access_token: tokens.access.token.clone(),
            token_type: "Bearer",
            expires_in: tokens.access.expires.since(ctx.now).as_secs(),
            refresh_token: tokens.refresh.expose().clone(),
            session: tokens.session,
            device: None,
            trust: tokens.trust.as_ref().map(|trust| trust.secret.expose().clone()),
        }
    }
}

/// A refresh token.
#[derive(Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
struct RefreshBody {
    /// The token.
    #[schema(value_type = String)]
    refresh_token: Secret<String>,
}

/// Trades a refresh token for its successor. Clients that race get the same successor for ten
/// seconds; after that, a token that was used before ends its sign-in.
#[utoipa::path(
    post, path = "/v1/tokens/refresh", operation_id = "identity.refresh", tag = "identity",
    request_body = RefreshBody,
    responses(
        (status = 200, description = "The new tokens", body = TokensView),
        (status = 401, description = "Refused: sign in again", body = web::Document),
    ),
    extensions(("x-effect" = json!("fact")), ("x-access" = json!("public")))
)]
async fn refresh_json(
    State(room): State<Identity>,
    Visit(ctx): Visit,
    Json(body): Json<RefreshBody>,
) -> Result<Json<TokensView>, Problem> {
    let tokens = room.refresh(&ctx, &body.refresh_token).await?;
    Ok(Json(TokensView::of(&ctx, &tokens)))
}

/// Gives a refresh token back: its sign-in ends (RFC 7009). Unknown tokens are no error.
#[utoipa::path(
    post, path = "/v1/tokens/revoke", operation_id = "identity.revoke", tag = "identity",
    request_body = RefreshBody,
    responses((status = 204, description = "It is good no more")),
    extensions(("x-effect" = json!("fact")), ("x-access" = json!("public")))
)]
async fn revoke_json(
    State(room): State<Identity>,
    Visit(ctx): Visit,
    Json(body): Json<RefreshBody>,
) -> Result<StatusCode, Problem> {
    room.revoke(&ctx, &body.refresh_token).await?;
    Ok(StatusCode::NO_CONTENT)
}
