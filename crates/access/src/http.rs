//! The doors of this room: facts for the shop's backend, and blocks, services and the edge's
//! configuration for operators. Handlers translate; the verbs decide.

use std::time::Duration;

use axum::extract::{FromRequestParts, State};
use http::StatusCode;
use http::request::Parts;
use kernel::KeyId;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use web::feed::Net;
use web::{
    Admin, Cursor, Document, Json, Listing, Operator, Paging, PagingParams, Path, Problem, Query,
    Service, Support,
};

use crate::applied::Revision;
use crate::block::{Block, BlockEntry, BlockId};
use crate::events::BlockSource;
use crate::facts::{Batch, KindSpec, Taken};
use crate::room::Access;
use crate::service::{NewService, ServiceEntry};

/// The scope of a key that tells facts.
pub const FACTS_SCOPE: &str = "facts";
/// The largest batch of facts, bytes.
const FACTS_BYTES: usize = 1024 * 1024;

/// The routes of this room.
#[must_use]
pub fn routes(room: Access) -> OpenApiRouter {
    shop_routes(room.clone()).merge(operator_routes(room))
}

/// The routes for the shop's own backend: they stand at the public door.
#[must_use]
pub fn shop_routes(room: Access) -> OpenApiRouter {
    OpenApiRouter::new().routes(routes!(take_facts)).routes(routes!(list_kinds)).with_state(room)
}

/// The routes for operators: they stand behind the console's door, where a session of the shop's
/// own sign-in, or a token that the shop's app carries, counts for nothing.
#[must_use]
pub fn operator_routes(room: Access) -> OpenApiRouter {
    OpenApiRouter::new()
        .routes(routes!(list_blocks, add_block))
        .routes(routes!(remove_block))
        .routes(routes!(list_services, add_service))
        .routes(routes!(revoke_service))
        .routes(routes!(show_config))
        .with_state(room)
}

/// A service whose key has the scope: it is asked for before the body is read.
struct Shop(Service);

impl<S: Send + Sync> FromRequestParts<S> for Shop {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let service = Service::from_request_parts(parts, state).await?;
        service.require(FACTS_SCOPE)?;
        Ok(Self(service))
    }
}

/// Facts that were taken.
#[derive(Debug, Serialize, ToSchema)]
struct TakenFacts {
    /// In the order of the batch.
    facts: Vec<Taken>,
}

/// Take facts of the shop
///
/// All of a batch are taken, or none. A fact whose id was taken before is not taken again: the same
/// contents get the same answer, other contents a conflict.
#[utoipa::path(post, path = "/v1/facts", operation_id = "access.take_facts", tag = "facts",
    request_body = Batch,
    responses(
        (status = 200, description = "All are taken, now or before.", body = TakenFacts),
        (status = 401, description = "The key is missing, unknown or revoked.", body = Document),
        (status = 403, description = "The key lacks the scope.", body = Document),
        (status = 409, description = "An id was used before for another fact.", body = Document),
        (status = 413, description = "More than 1 MB.", body = Document),
        (status = 422, description = "Fields are wrong; each is named.", body = Document)),
    security(("service" = [])),
    extensions(("x-effect" = json!("fact")), ("x-access" = json!("service:facts"))))]
async fn take_facts(
    State(room): State<Access>,
    Shop(service): Shop,
    Json(batch): Json<Batch, FACTS_BYTES>,
) -> Result<Json<TakenFacts>, Problem> {
    let facts = room.take_facts(&service.ctx, &batch).await?;
    Ok(Json(TakenFacts { facts }))
}

/// Kinds of fact.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = FactKinds)]
struct Kinds {
    /// In order of name.
    kinds: Vec<KindSpec>,
}

/// List the kinds of fact that the shop may tell
#[utoipa::path(get, path = "/v1/facts/kinds", operation_id = "access.list_kinds", tag = "facts",
    responses(
        (status = 200, description = "Every kind with its fields.", body = Kinds),
        (status = 401, description = "The key is missing, unknown or revoked.", body = Document),
        (status = 403, description = "The key lacks the scope.", body = Document)),
    security(("service" = [])),
    extensions(("x-effect" = json!("none")), ("x-access" = json!("service:facts"))))]
async fn list_kinds(State(room): State<Access>, _: Shop) -> Result<Json<Kinds>, Problem> {
    Ok(Json(Kinds { kinds: room.kinds().iter().cloned().collect() }))
}

/// Which blocks are listed.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
struct BlockFilter {
    /// Ended ones too. Default false.
    #[serde(default)]
    ended: bool,
}

/// List blocked clients
#[utoipa::path(get, path = "/v1/access/blocks", operation_id = "access.list_blocks",
    tag = "access", params(PagingParams, BlockFilter),
    responses(
        (status = 200, description = "Blocks, newest first.", body = Listing<BlockEntry>),
        (status = 401, description = "No operator is signed in.", body = Document),
        (status = 403, description = "The role is another.", body = Document)),
    security(("session" = [])),
    extensions(("x-effect" = json!("none")), ("x-access" = json!("operator:support"))))]
async fn list_blocks(
    State(room): State<Access>,
    _: Operator<Support>,
    paging: Paging,
    Query(filter): Query<BlockFilter>,
) -> Result<Json<Listing<BlockEntry>>, Problem> {
    let before = paging.after_id()?.map(BlockId::from_bytes);
    let blocks = room.blocks(before, !filter.ended, paging.limit + 1).await;
    let blocks = blocks?;
    let key = |block: &BlockEntry| Cursor::after(block.id.as_bytes());
    Ok(Json(Listing::cut(blocks, paging.limit, key)))
}

/// A client to be blocked.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct NewBlock {
    /// An address or a network, as `192.0.2.7` or `2001:db8::/64`.
    #[schema(value_type = String)]
    net: Net,
    /// For how long, s; the configured default where left out, at most the configured longest.
    #[serde(default)]
    for_s: Option<u32>,
    /// Why, for other operators; at most 500 bytes.
    reason: String,
}

/// A client that is blocked.
#[derive(Debug, Serialize, ToSchema)]
struct AddedBlock {
    /// The block.
    id: BlockId,
    /// Its end, in microseconds since 1970.
    until: i64,
    /// Whether a block of the same network stood already.
    extended: bool,
}

/// Block a client
#[utoipa::path(post, path = "/v1/access/blocks", operation_id = "access.add_block",
    tag = "access", request_body = NewBlock,
    responses(
        (status = 201, description = "The client is blocked.", body = AddedBlock),
        (status = 400, description = "The network is never blocked.", body = Document),
        (status = 401, description = "No operator is signed in.", body = Document),
        (status = 403, description = "The role is another.", body = Document),
        (status = 422, description = "Fields are wrong; each is named.", body = Document)),
    security(("session" = [])),
    extensions(("x-effect" = json!("fact")), ("x-access" = json!("operator:support"))))]
async fn add_block(
    State(room): State<Access>,
    Operator(caller, _): Operator<Support>,
    Json(new): Json<NewBlock>,
) -> Result<(StatusCode, Json<AddedBlock>), Problem> {
    let block = Block {
        net: new.net,
        until: new.for_s.map(|s| caller.ctx.now.plus(Duration::from_secs(s.into()))),
        reason: new.reason,
        rule: "operator".to_owned(),
        source: BlockSource::Operator,
    };
    let blocked = room.block(&caller.ctx, &block).await?;
    let (id, until) = (blocked.id, blocked.until.micros());
    Ok((StatusCode::CREATED, Json(AddedBlock { id, until, extended: blocked.extended })))
}

/// Let a blocked client in again
#[utoipa::path(delete, path = "/v1/access/blocks/{id}", operation_id = "access.remove_block",
    tag = "access", params(("id" = String, Path, description = "The block.")),
    responses(
        (status = 204, description = "The client may come in again."),
        (status = 401, description = "No operator is signed in.", body = Document),
        (status = 403, description = "The role is another.", body = Document),
        (status = 404, description = "There is no such block, or it has ended.", body = Document)),
    security(("session" = [])),
    extensions(("x-effect" = json!("fact")), ("x-access" = json!("operator:support"))))]
async fn remove_block(
    State(room): State<Access>,
    Operator(caller, _): Operator<Support>,
    Path(id): Path<BlockId>,
) -> Result<StatusCode, Problem> {
    room.unblock_by_id(&caller.ctx, id).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// List the shop's services
#[utoipa::path(get, path = "/v1/access/services", operation_id = "access.list_services",
    tag = "access", params(PagingParams),
    responses(
        (status = 200, description = "Services, newest first.", body = Listing<ServiceEntry>),
        (status = 401, description = "No operator is signed in.", body = Document),
        (status = 403, description = "The role is another.", body = Document)),
    security(("session" = [])),
    extensions(("x-effect" = json!("none")), ("x-access" = json!("operator:support"))))]
async fn list_services(
    State(room): State<Access>,
    _: Operator<Support>,
    paging: Paging,
) -> Result<Json<Listing<ServiceEntry>>, Problem> {
    let before = paging.after_id()?.map(KeyId::from_bytes);
    let services = room.services(before, paging.limit + 1).await?;
    let key = |service: &ServiceEntry| Cursor::after(service.id.as_bytes());
    Ok(Json(Listing::cut(services, paging.limit, key)))
}

/// A service to be added.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct ServiceRequest {
    /// What the shop calls it.
    name: String,
    /// What its key may do.
    scopes: Vec<String>,
}

/// A service with its key.
#[derive(Serialize, ToSchema)]
struct ServiceAnswer {
    /// The service.
    id: KeyId,
    /// The key: it is never shown again.
    key: String,
}

/// Give a service of the shop a key
#[utoipa::path(post, path = "/v1/access/services", operation_id = "access.add_service",
    tag = "access", request_body = ServiceRequest,
    responses(
        (status = 201, description = "The key, shown this once.", body = ServiceAnswer),
        (status = 401, description = "No operator is signed in.", body = Document),
        (status = 403, description = "The role is another.", body = Document),
        (status = 409, description = "There are as many as there may be.", body = Document),
        (status = 422, description = "Fields are wrong; each is named.", body = Document)),
    security(("session" = [])),
    extensions(("x-effect" = json!("fact")), ("x-access" = json!("operator:admin"))))]
async fn add_service(
    State(room): State<Access>,
    Operator(caller, _): Operator<Admin>,
    Json(new): Json<ServiceRequest>,
) -> Result<(StatusCode, Json<ServiceAnswer>), Problem> {
    let new = NewService { name: new.name, scopes: new.scopes };
    let added = room.add_service(&caller.ctx, &new).await?;
    let answer = ServiceAnswer { id: added.id, key: added.key.expose().clone() };
    Ok((StatusCode::CREATED, Json(answer)))
}

/// Revoke a service's key
#[utoipa::path(delete, path = "/v1/access/services/{id}", operation_id = "access.revoke_service",
    tag = "access", params(("id" = String, Path, description = "The service.")),
    responses(
        (status = 204, description = "The key is refused from now on."),
        (status = 401, description = "No operator is signed in.", body = Document),
        (status = 403, description = "The role is another.", body = Document),
        (status = 404, description = "There is none, or it was revoked before.", body = Document)),
    security(("session" = [])),
    extensions(("x-effect" = json!("fact")), ("x-access" = json!("operator:admin"))))]
async fn revoke_service(
    State(room): State<Access>,
    Operator(caller, _): Operator<Admin>,
    Path(id): Path<KeyId>,
) -> Result<StatusCode, Problem> {
    room.revoke_service(&caller.ctx, id).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// The edge's configuration.
#[derive(Debug, Serialize, ToSchema)]
struct ConfigInForce {
    /// The revision in force; 0 before the first.
    revision: i64,
    /// `own`, `upstream`, `limit` and `route`, as the configuration file has them.
    #[schema(value_type = Object)]
    config: crate::edge_config::EdgeConfig,
    /// The latest changes, newest first, 20 at most.
    revisions: Vec<Revision>,
}

/// Show the edge's configuration
#[utoipa::path(get, path = "/v1/access/config", operation_id = "access.show_config",
    tag = "access",
    responses(
        (status = 200, description = "What is in force.", body = ConfigInForce),
        (status = 401, description = "No operator is signed in.", body = Document),
        (status = 403, description = "The role is another.", body = Document)),
    security(("session" = [])),
    extensions(("x-effect" = json!("none")), ("x-access" = json!("operator:support"))))]
async fn show_config(
    State(room): State<Access>,
    _: Operator<Support>,
) -> Result<Json<ConfigInForce>, Problem> {
    let (revision, config) = room.in_force().await?;
    let revisions = room.revisions(None, 20).await?;
    Ok(Json(ConfigInForce { revision, config, revisions }))
}
