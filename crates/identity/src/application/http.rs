//! Applications as API for operators; their pages are the console's.

use axum::extract::State;
use http::StatusCode;
use kernel::AccountId;
use serde::Deserialize;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use web::{Json, Operator, Path, Problem, Support};

use super::{ApplicationView, Decide};
use crate::room::Identity;

/// Applications of one answer.
const ROWS: i64 = 200;
/// The longest reason, bytes.
const REASON_BYTES: usize = 500;

pub(crate) fn routes() -> OpenApiRouter<Identity> {
    OpenApiRouter::new().routes(routes!(waiting)).routes(routes!(decide))
}

/// A decision.
#[derive(Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
struct DecideBody {
    /// Whether the account becomes what it applied to be.
    approve: bool,
    /// Why: 1 to 500 letters.
    reason: String,
}

/// The applications that wait for a decision, at most 200.
#[utoipa::path(
    get, path = "/v1/applications", operation_id = "identity.applications", tag = "identity",
    responses((status = 200, description = "The applications", body = Vec<ApplicationView>)),
    extensions(("x-effect" = json!("none")), ("x-access" = json!("operator:support")))
)]
async fn waiting(
    State(room): State<Identity>,
    _: Operator<Support>,
) -> Result<Json<Vec<ApplicationView>>, Problem> {
    Ok(Json(room.applications(None, ROWS).await?))
}

/// Decides on an application; with an approval the account's sessions end.
#[utoipa::path(
    post, path = "/v1/applications/{account}/decide", operation_id = "identity.decide",
    tag = "identity", request_body = DecideBody,
    params(("account" = String, Path, description = "The account")),
    responses(
        (status = 204, description = "Decided"),
        (status = 404, description = "There is no such account", body = web::Document),
        (status = 409, description = "Nothing waits for a decision", body = web::Document),
        (status = 422, description = "A reason is needed", body = web::Document),
    ),
    extensions(("x-effect" = json!("fact")), ("x-access" = json!("operator:support")))
)]
async fn decide(
    State(room): State<Identity>,
    Operator(caller, _): Operator<Support>,
    Path(account): Path<AccountId>,
    Json(body): Json<DecideBody>,
) -> Result<StatusCode, Problem> {
    let reason = body.reason.trim().to_owned();
    if reason.is_empty() || reason.len() > REASON_BYTES {
        let detail = "Say why, in 1 to 500 letters.".to_owned();
        return Err(crate::Error::field(kernel::FieldProblem::new("reason", detail)).into());
    }
    room.decide(&caller.ctx, Decide { account, approve: body.approve, reason }).await?;
    Ok(StatusCode::NO_CONTENT)
}
