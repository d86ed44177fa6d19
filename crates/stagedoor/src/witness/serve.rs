//! A witness for another's log (C2SP tlog-witness): it cosigns a checkpoint only where the log's
//! key signed it and it grew out of the last one that this witness accepted, which is on the disk
//! before the signature is made. Forks and rollbacks are refused, and kept as evidence.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use axum::Router;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, Path, State};
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use edge::{Bounds, Certificates, Edge, Issuer, Running, Tls};
use kernel::{Clock, Entropy};
use merkle::witness::{AddCheckpoint, MAX_REQUEST_BYTES, Refusal};
use tokio::sync::Semaphore;
use web::feed::{Hub, Limit, Observations, Per, RouteTable, Sharing, Snapshot, WithoutStore};

use super::{ADD_CHECKPOINT, Folder};

/// Requests that are judged at once; each holds a thread while the disk writes.
const AT_ONCE: usize = 8;
/// Requests of one client in a minute: a log asks at most once in a second.
const CLIENT_REQUESTS: u32 = 240;

/// How a witness is opened.
pub(crate) struct Opening {
    pub folder: Folder,
    pub listen: SocketAddr,
    /// None: plain HTTP. What passes is public, and signed.
    pub certificates: Option<Certificates>,
    pub clock: Arc<dyn Clock>,
    pub entropy: Arc<dyn Entropy>,
}

struct Witness {
    /// One judgement at a time: what is compared is what is replaced.
    folder: Mutex<Folder>,
    clock: Arc<dyn Clock>,
    turns: Semaphore,
}

/// Opens it behind the same door as everything else: bounded heads, bodies, times and connections.
pub(crate) async fn serve(opening: Opening) -> anyhow::Result<Running> {
    let Opening { folder, listen, certificates, clock, entropy } = opening;
    folder.take()?;
    folder.logs()?;
    let turns = Semaphore::new(AT_ONCE);
    let witness =
        Arc::new(Witness { folder: Mutex::new(folder), clock: Arc::clone(&clock), turns });
    let core = Router::new()
        .route(ADD_CHECKPOINT, post(add_checkpoint))
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/{log}/checkpoint", get(last_checkpoint))
        .layer(DefaultBodyLimit::max(MAX_REQUEST_BYTES))
        .with_state(witness);
    let limit = Limit {
        name: "client".to_owned(),
        per: Per::Client,
        requests: CLIENT_REQUESTS,
        window_s: 60,
        burst: 0,
        cost: 1,
        share: Sharing::Node,
        without_store: WithoutStore::Local,
    };
    let table = RouteTable {
        own_prefixes: vec!["/".to_owned()],
        own_limits: vec![limit],
        ..RouteTable::default()
    };
    let bounds = Bounds {
        connections_max: 256,
        client_connections_max: 16,
        own_body_max_bytes: MAX_REQUEST_BYTES as u64,
        ..Bounds::default()
    };
    let config = edge::Config {
        listen: edge::Listen::At(listen),
        tls: certificates.map(|certificates| Tls { certificates, tls12: false }),
        trusted_proxies: Vec::new(),
        proxy_protocol: Vec::new(),
        bounds,
        issuer: Issuer { issuer: String::new(), audience: String::new() },
        header_keys: std::collections::HashMap::new(),
        upstream_tls: std::collections::HashMap::new(),
        forward_auth: None,
        sign_in_path: "/".to_owned(),
        traced_ppm: 0,
        hub: Hub::new(Arc::clone(&clock), Snapshot::new(Arc::new(table), Arc::default())),
        clock,
        entropy,
        observations: Arc::new(Observations::new(bounds.observations_max)),
        minter: None,
        counter: None,
        core,
        pages: None,
    };
    Ok(Edge::start(config).await?)
}

async fn add_checkpoint(State(witness): State<Arc<Witness>>, body: Bytes) -> Response {
    let Ok(_turn) = witness.turns.try_acquire() else {
        return (StatusCode::SERVICE_UNAVAILABLE, "busy\n").into_response();
    };
    let judge = Arc::clone(&witness);
    // in one go, on a thread of its own: a client that hangs up cannot cut it in two
    let judged = tokio::task::spawn_blocking(move || judge.judge(&body)).await;
    match judged.map_err(anyhow::Error::from) {
        Ok(Ok(Ok(line))) => line.into_response(),
        Ok(Ok(Err(refusal))) => refused(&refusal),
        Ok(Err(error)) | Err(error) => {
            tracing::error!(error = %format!("{error:#}"), "nothing was cosigned");
            (StatusCode::SERVICE_UNAVAILABLE, "the witness cannot judge now\n").into_response()
        }
    }
}

fn refused(refusal: &Refusal) -> Response {
    let status = StatusCode::from_u16(refusal.status()).unwrap_or(StatusCode::BAD_REQUEST);
    match refusal.known_size_body() {
        Some(body) => (status, [(CONTENT_TYPE, "text/x.tlog.size")], body).into_response(),
        None => (status, format!("{refusal}\n")).into_response(),
    }
}

impl Witness {
    /// Judges a request, remembers what was accepted, and only then signs.
    fn judge(&self, body: &[u8]) -> anyhow::Result<Result<String, Refusal>> {
        let request = match AddCheckpoint::parse(body) {
            Ok(request) => request,
            Err(refusal) => return Ok(Err(refusal)),
        };
        let folder = self.folder.lock().unwrap_or_else(PoisonError::into_inner);
        let claimed = request.checkpoint.claimed();
        let origin = claimed.origin();
        let Some(policy) = folder.policy(origin)? else { return Ok(Err(Refusal::UnknownLog)) };
        let last = folder.last(origin)?;
        let accepted = match Folder::state(last.as_ref(), origin).judge(&policy, &request) {
            Ok(accepted) => accepted,
            Err(refusal) => {
                if matches!(refusal, Refusal::Inconsistent(_)) {
                    tracing::error!(
                        log = origin,
                        size = claimed.size(),
                        "A LOG SHOWS TWO HISTORIES"
                    );
                    folder.keep_evidence(origin, claimed.size(), body)?;
                }
                return Ok(Err(refusal));
            }
        };
        let time_s = u64::try_from(self.clock.now().seconds()).unwrap_or(0);
        // "the largest tree at this time" would be untrue of a time that was signed for before
        let before = last.as_ref().map_or(Ok(0), |last| folder.cosigned_at(last))?;
        anyhow::ensure!(time_s >= before, "the clock was set back behind the last signature");
        folder.remember(&request.checkpoint)?;
        let line = accepted.cosign(&folder.key, time_s)?;
        // Now with the signature, for those who compare. Without it nothing is lost.
        let mut signed = request.checkpoint.clone();
        let shown = signed.add(line.clone()).map_err(anyhow::Error::from);
        if let Err(error) = shown.and_then(|()| folder.remember(&signed)) {
            tracing::warn!(error = %format!("{error:#}"), "the signature was not kept");
        }
        Ok(Ok(format!("{line}\n")))
    }
}

/// The last checkpoint that was cosigned of a log, by SHA-256 of its origin in hex.
async fn last_checkpoint(State(witness): State<Arc<Witness>>, Path(log): Path<String>) -> Response {
    let read = tokio::task::spawn_blocking(move || {
        witness.folder.lock().unwrap_or_else(PoisonError::into_inner).last_by_id(&log)
    });
    match read.await.map_err(anyhow::Error::from) {
        Ok(Ok(Some(last))) => last.to_string().into_response(),
        Ok(Ok(None)) => StatusCode::NOT_FOUND.into_response(),
        Ok(Err(error)) | Err(error) => {
            tracing::error!(error = %format!("{error:#}"), "the last checkpoint cannot be read");
            StatusCode::SERVICE_UNAVAILABLE.into_response()
        }
    }
}
