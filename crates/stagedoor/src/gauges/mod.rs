//! The operators' own listener: whether the process lives, whether it may take traffic, and its
//! numbers. Plain HTTP behind the same hygiene and bounds as every other door.

mod doors;
mod families;
mod health;
mod metrics;
mod process;
mod sample;
mod traced;

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use axum::Router;
use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use edge::{Bounds, Edge, Issuer, Listen, Running};
use http::header::{AUTHORIZATION, CONTENT_TYPE, WWW_AUTHENTICATE};
use http::{HeaderMap, StatusCode};
use kernel::{Secret, Timestamp};
use subtle::ConstantTimeEq as _;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use web::feed::{Hub, Observations, RouteTable, Snapshot};

use crate::config::read_secret;
use crate::house::House;

pub(crate) use doors::{CONSOLE, Doors, SHOP, TELL, Told};
pub(crate) use families::CATALOGUE;
use sample::{Sample, Sampler};
pub(crate) use traced::TraceSettings;

/// Scrapers and balancers that are connected at once.
const CONNECTIONS_MAX: usize = 64;

/// What the listener shows.
pub(crate) struct Observed {
    house: Arc<House>,
    doors: Doors,
    sampler: Sampler,
    draining: AtomicBool,
    started_at: Timestamp,
    token: Option<Secret<String>>,
}

/// The operators' view of a running house.
pub(crate) struct Observing {
    observed: Arc<Observed>,
    door: Option<Running>,
    tracker: TaskTracker,
    stop: CancellationToken,
}

impl Observing {
    /// Begins to look, and listens where there is a place for it.
    pub(crate) async fn start(
        house: &Arc<House>,
        doors: Doors,
        listen: Option<Listen>,
    ) -> anyhow::Result<Self> {
        let config = &house.config.observe;
        let token = config.token_file.as_ref();
        let token = token.map(|file| read_secret(&house.base.join(file))).transpose()?;
        let observed = Arc::new(Observed {
            house: Arc::clone(house),
            doors,
            sampler: Sampler::default(),
            draining: AtomicBool::new(false),
            started_at: house.clock.now(),
            token,
        });
        let (tracker, stop) = (TaskTracker::new(), CancellationToken::new());
        observed.sampler.take(house).await;
        let (looking, over) = (Arc::clone(&observed), stop.clone());
        tracker.spawn(async move { looking.sampler.run(&looking.house, over).await });
        let door = match listen {
            Some(listen) => Some(open(&observed, listen).await?),
            None => None,
        };
        Ok(Self { observed, door, tracker, stop })
    }

    /// Where it listens.
    pub(crate) fn local_addr(&self) -> Option<SocketAddr> {
        self.door.as_ref().map(Running::local_addr)
    }

    /// From now on `/readyz` says no.
    pub(crate) fn drain(&self) {
        self.observed.draining.store(true, Ordering::Release);
    }

    /// Ends last, so that it can be seen how the rest ends.
    pub(crate) async fn stop(self) {
        self.stop.cancel();
        self.tracker.close();
        if let Some(door) = self.door {
            door.drain(std::time::Duration::from_millis(500)).await;
        }
        let patience = std::time::Duration::from_secs(2);
        if tokio::time::timeout(patience, self.tracker.wait()).await.is_err() {
            tracing::warn!("the sampler did not stop in time");
        }
    }
}

async fn open(observed: &Arc<Observed>, listen: Listen) -> anyhow::Result<Running> {
    let house = &observed.house;
    let core = Router::new()
        .route("/healthz", get(healthz))
        .route("/readyz", get(readyz))
        .route("/metrics", get(metrics))
        .with_state(Arc::clone(observed));
    let own_prefixes = ["/healthz", "/readyz", "/metrics"].map(str::to_owned).to_vec();
    let table = RouteTable { own_prefixes, ..RouteTable::default() };
    let bounds = Bounds {
        connections_max: CONNECTIONS_MAX,
        client_connections_max: CONNECTIONS_MAX,
        ..Bounds::default()
    };
    let snapshot = Snapshot::new(Arc::new(table), Arc::default());
    let config = edge::Config {
        listen,
        tls: None,
        trusted_proxies: Vec::new(),
        proxy_protocol: Vec::new(),
        upstream_tls: HashMap::new(),
        bounds,
        issuer: Issuer { issuer: String::new(), audience: String::new() },
        header_keys: HashMap::new(),
        forward_auth: None,
        traced_ppm: 0,
        sign_in_path: "/healthz".to_owned(),
        clock: Arc::clone(&house.clock),
        entropy: Arc::clone(&house.entropy),
        hub: Hub::new(Arc::clone(&house.clock), snapshot),
        observations: Arc::new(Observations::new(bounds.observations_max)),
        minter: None,
        counter: None,
        core,
        pages: None,
    };
    Ok(Edge::start(config).await?)
}

/// The process answers: that is all it says.
async fn healthz(State(observed): State<Arc<Observed>>) -> Response {
    let up_s = observed.house.clock.now().since(observed.started_at).as_secs();
    health::alive(Some(up_s))
}

async fn readyz(State(observed): State<Arc<Observed>>) -> Response {
    health::answer(&observed.checks())
}

async fn metrics(State(observed): State<Arc<Observed>>, headers: HeaderMap) -> Response {
    if !observed.admits(&headers) {
        let head = [(WWW_AUTHENTICATE, "Bearer")];
        return (StatusCode::UNAUTHORIZED, head, "the token of observe.token_file\n")
            .into_response();
    }
    ([(CONTENT_TYPE, meter::Page::CONTENT_TYPE)], observed.page()).into_response()
}

impl Observed {
    fn admits(&self, headers: &HeaderMap) -> bool {
        let Some(token) = &self.token else { return true };
        let sent = headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok());
        let sent = sent.and_then(|value| value.strip_prefix("Bearer ")).unwrap_or_default();
        bool::from(sent.as_bytes().ct_eq(token.expose().as_bytes()))
    }

    fn sample(&self) -> Arc<Sample> {
        self.sampler.last()
    }
}

/// `/healthz` at the shop's door, which leads there only where `own.healthz` says so.
pub(crate) fn door_routes() -> OpenApiRouter {
    OpenApiRouter::new().routes(routes!(door_healthz))
}

/// Whether this program runs.
#[utoipa::path(
    get, path = "/healthz", operation_id = "observe.healthz", tag = "observe",
    responses((status = 200, description = "It does")),
    extensions(("x-effect" = json!("none")), ("x-access" = json!("public")))
)]
async fn door_healthz() -> Response {
    health::alive(None)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    async fn observed() -> (Observed, tempfile::TempDir) {
        let (house, dir) = crate::demo::throw_away().await.unwrap();
        let house = Arc::new(house);
        let sampler = Sampler::default();
        sampler.take(&house).await;
        let started_at = house.clock.now();
        let token = None;
        let draining = AtomicBool::new(false);
        let doors = Doors::Here(Vec::new());
        (Observed { house, doors, sampler, draining, started_at, token }, dir)
    }

    #[tokio::test]
    async fn the_page_has_each_family_of_the_catalogue_once() {
        let (observed, _dir) = observed().await;
        let page = observed.page();
        let shown: Vec<&str> = page
            .lines()
            .filter_map(|line| line.strip_prefix("# TYPE "))
            .map(|line| line.split_once(' ').unwrap().0)
            .collect();
        let declared: Vec<&str> = CATALOGUE.iter().map(|family| family.name).collect();
        let unique: BTreeSet<&str> = shown.iter().copied().collect();
        assert_eq!(unique.len(), shown.len(), "a family begins twice");
        assert_eq!(unique, declared.iter().copied().collect());
    }

    #[tokio::test]
    async fn a_token_is_asked_for_where_there_is_one() {
        let (mut observed, _dir) = observed().await;
        let admits = |observed: &Observed, sent: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(AUTHORIZATION, sent.parse().unwrap());
            observed.admits(&headers)
        };
        assert!(observed.admits(&HeaderMap::new()));
        observed.token = Some(Secret::new("a long token".to_owned()));
        assert!(!observed.admits(&HeaderMap::new()));
        assert!(admits(&observed, "Bearer a long token"));
        for wrong in ["Bearer a long toke", "a long token", "Basic a long token", "Bearer "] {
            assert!(!admits(&observed, wrong), "{wrong}");
        }
    }
}
