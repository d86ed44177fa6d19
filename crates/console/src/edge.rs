//! What is in force at the edge: routes, limits and upstreams, and who changed them when. Changes
//! are made by `stagedoor config apply`, so that they are planned and told with their difference.

use access::{EdgeConfig, LimitConfig, Revision, RouteConfig, Standing, UpstreamConfig, Who};
use askama::Template;
use axum::extract::State;
use axum::response::Response;
use serde::Serialize;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use web::feed::{Sharing, WithoutStore};
use web::{Operator, Page, Problem, Staff, html};

use crate::desk::Desk;
use crate::room::Console;
use crate::told;

const REVISIONS: i64 = 20;

pub(crate) fn routes() -> OpenApiRouter<Console> {
    OpenApiRouter::new().routes(routes!(show))
}

struct RouteRow {
    name: String,
    requests: String,
    who: String,
    open: bool,
    sensitive: bool,
    websocket: bool,
    limits: String,
    upstream: String,
}

/// The word of a value that has one.
fn word<T: Serialize>(value: &T) -> String {
    match serde_json::to_value(value) {
        Ok(serde_json::Value::String(word)) => word.replace('_', " "),
        Ok(_) | Err(_) => "unknown".to_owned(),
    }
}

impl RouteRow {
    fn of(route: &RouteConfig) -> Self {
        let path = match (&route.path, &route.prefix) {
            (Some(path), _) => path.clone(),
            (None, Some(prefix)) => format!("{}/…", prefix.trim_end_matches('/')),
            (None, None) => "nothing".to_owned(),
        };
        let methods =
            if route.methods.is_empty() { "any".to_owned() } else { route.methods.join(" ") };
        let hosts = route.hosts.join(" ");
        let narrowed: Vec<&str> =
            route.kinds.iter().chain(&route.roles).map(String::as_str).collect();
        let mut who = match route.access {
            Who::Open => "everybody".to_owned(),
            Who::Session if narrowed.is_empty() => "signed in".to_owned(),
            Who::Session => narrowed.join(", "),
        };
        if route.second_factor {
            who.push_str(", by a second factor");
        }
        if let Some(within_s) = route.proved_within_s {
            who.push_str(&format!(", proved within {}", told::span(within_s.into())));
        }
        Self {
            name: route.name.clone(),
            requests: format!("{methods} {hosts}{path}"),
            who,
            open: route.access == Who::Open,
            sensitive: route.sensitive,
            websocket: route.websocket,
            limits: route.limits.join(", "),
            upstream: route.upstream.clone(),
        }
    }
}

struct LimitRow {
    name: String,
    text: String,
}

impl LimitRow {
    fn of(limit: &LimitConfig) -> Self {
        let burst = match limit.burst {
            0 => String::new(),
            burst => format!(", {} at once", told::grouped(burst)),
        };
        let (many, window) = (told::grouped(limit.requests), told::span(limit.window_s.into()));
        let share = match (limit.share, limit.without_store) {
            (Sharing::Node, _) => ", on each node",
            (Sharing::Leased, WithoutStore::Local) => ", leased",
            (Sharing::Leased, WithoutStore::Refuse) => ", leased, refused without Redis",
            (Sharing::Strict, WithoutStore::Local) => ", strict",
            (Sharing::Strict, WithoutStore::Refuse) => ", strict, refused without Redis",
        };
        Self {
            name: limit.name.clone(),
            text: format!("{many} in {window} per {}{burst}{share}", word(&limit.per)),
        }
    }
}

/// Who counts the limits.
fn counted_by(store: Option<Standing>) -> String {
    match store {
        None => "There is no Redis: each node counts alone.".to_owned(),
        Some(Standing { answers: false, .. }) => {
            "Redis does not answer: each node lets its part pass.".to_owned()
        }
        Some(Standing { nodes: 0 | 1, .. }) => "Redis answers: one node counts.".to_owned(),
        Some(Standing { nodes, .. }) => format!("Redis answers: {nodes} nodes count together."),
    }
}

struct UpstreamRow {
    name: String,
    address: String,
    protocol: String,
    signs: bool,
    in_flight: String,
}

impl UpstreamRow {
    fn of(upstream: &UpstreamConfig) -> Self {
        Self {
            name: upstream.name.clone(),
            address: upstream.address.clone(),
            protocol: word(&upstream.protocol),
            signs: upstream.header_key.is_some(),
            in_flight: told::grouped(upstream.in_flight_max),
        }
    }
}

struct RevisionRow {
    number: i64,
    by: String,
    changes: String,
    at: String,
}

impl RevisionRow {
    fn of(revision: &Revision, sees: bool) -> Self {
        let by = match revision.author {
            None => "the command line".to_owned(),
            Some(author) if sees => author.to_string(),
            Some(_) => "an operator".to_owned(),
        };
        let Revision { added, changed, removed, .. } = revision;
        Self {
            number: revision.number,
            by,
            changes: format!("{added} added, {changed} changed, {removed} removed"),
            at: told::clock(revision.applied_at),
        }
    }
}

#[derive(Template)]
#[template(path = "routes.html")]
struct RoutesPage {
    page: Page,
    desk: Desk,
    revision: i64,
    own_limits: String,
    routes: Vec<RouteRow>,
    limits: Vec<LimitRow>,
    counted_by: String,
    upstreams: Vec<UpstreamRow>,
    revisions: Vec<RevisionRow>,
}

/// The routes, limits and upstreams in force
#[utoipa::path(get, path = "/console/routes", operation_id = "console.routes", tag = "console",
    responses((status = 200, description = "The page")),
    extensions(("x-effect" = json!("none")), ("x-access" = json!("operator:staff"))))]
async fn show(
    State(console): State<Console>,
    Operator(caller, _): Operator<Staff>,
    page: Page,
) -> Result<Response, Problem> {
    let desk = Desk::of(&caller);
    let in_force = console.access().in_force().await?;
    let (revision, EdgeConfig { own, upstream, limit, route }) = in_force;
    let revisions = console.access().revisions(None, REVISIONS).await;
    let revisions = revisions?;
    html(&RoutesPage {
        page: desk.page(page, "Routes"),
        revision,
        own_limits: own.limits.join(", "),
        routes: route.iter().map(RouteRow::of).collect(),
        limits: limit.iter().map(LimitRow::of).collect(),
        counted_by: counted_by(console.access().limit_store()),
        upstreams: upstream.iter().map(UpstreamRow::of).collect(),
        revisions: revisions.iter().map(|r| RevisionRow::of(r, desk.sees())).collect(),
        desk,
    })
}
