//! The two doors, the shop's and the console's: what they are told, and how they are opened. The
//! same in the program's own process and in a process that has nothing else.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::sync::Arc;

use axum::Router;
use edge::{Bounds, Certificates, Edge, Issuer, Listen, Running, Tls};
use kernel::{Clock, Entropy, Secret};
use serde::{Deserialize, Serialize};
use web::feed::{Counter, Hub, Minter, Net, Observations, RouteTable, Snapshot};

use crate::certificates::{self, UpstreamText};
use crate::config::{Config, read_secret};
use crate::handed::Handed;

/// Connections at once at the console.
const CONSOLE_CONNECTIONS: usize = 256;
/// What the console answers itself; nothing leads on from there.
const CONSOLE_PREFIXES: [&str; 3] = ["/console", "/assets", "/v1"];

/// All that a door must know besides the feed. No key in it opens anything of core's.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct DoorSettings {
    plain: bool,
    tls12: bool,
    trusted: Vec<Net>,
    proxy_protocol: Vec<Net>,
    pub bounds: Bounds,
    issuer: String,
    audience: String,
    header_keys: BTreeMap<String, Handed>,
    upstream_tls: BTreeMap<String, UpstreamText>,
    forward_auth: Option<ForwardAuth>,
    traced_ppm: u32,
    /// Whether core has a store in which several nodes count limits together.
    pub counts_together: bool,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct ForwardAuth {
    path: String,
    proxies: Vec<Net>,
    secret: Option<Handed>,
}

impl DoorSettings {
    /// Reads the files that the configuration names for the doors.
    pub(crate) fn read(config: &Config, base: &Path) -> anyhow::Result<Self> {
        let mut header_keys = BTreeMap::new();
        for key in &config.header_key {
            header_keys.insert(key.id.clone(), Handed(read_secret(&base.join(&key.file))?));
        }
        let forward_auth = config.forward_auth.as_ref().map(|forward| {
            let secret = forward.secret_file.as_ref();
            let secret =
                secret.map(|file| read_secret(&base.join(file)).map(Handed)).transpose()?;
            let (path, proxies) = (forward.path.clone(), forward.proxies.clone());
            Ok::<_, anyhow::Error>(ForwardAuth { path, proxies, secret })
        });
        Ok(Self {
            plain: config.listen.plain,
            tls12: config.tls.tls12,
            trusted: config.proxies.trusted.clone(),
            proxy_protocol: config.proxies.proxy_protocol.clone(),
            bounds: config.bounds,
            issuer: config.shop.public_url.trim_end_matches('/').to_owned(),
            audience: config.identity.token.audience.clone(),
            header_keys,
            upstream_tls: certificates::upstream_texts(config, base)?,
            forward_auth: forward_auth.transpose()?,
            traced_ppm: config.observe.traces.sampled_ppm(),
            counts_together: !config.redis.is_none(),
        })
    }

    fn issuer(&self) -> Issuer {
        Issuer { issuer: self.issuer.clone(), audience: self.audience.clone() }
    }
}

/// What both doors share.
pub(crate) struct Shared {
    pub certificates: Certificates,
    pub clock: Arc<dyn Clock>,
    pub entropy: Arc<dyn Entropy>,
    pub observations: Arc<Observations>,
}

/// What answers our own paths behind a door, and what makes the pages of refusals.
#[derive(Clone)]
pub(crate) struct Behind {
    pub core: Router,
    pub pages: Router,
}

/// Whom the shop's door asks.
pub(crate) struct Asks {
    pub minter: Arc<dyn Minter>,
    pub counter: Option<Arc<dyn Counter>>,
}

/// Opens the shop's door.
pub(crate) async fn open_shop(
    settings: &DoorSettings,
    listen: Listen,
    shared: &Shared,
    (behind, hub, asks): (Behind, Hub, Asks),
) -> anyhow::Result<Running> {
    let secret = |secret: &Handed| Secret::new(secret.expose().as_bytes().to_vec());
    let certificates = shared.certificates.clone();
    let keys = settings.header_keys.iter();
    let edge = edge::Config {
        listen,
        tls: (!settings.plain).then_some(Tls { certificates, tls12: settings.tls12 }),
        trusted_proxies: settings.trusted.clone(),
        proxy_protocol: settings.proxy_protocol.clone(),
        upstream_tls: certificates::upstream_tls(&settings.upstream_tls)?,
        bounds: settings.bounds,
        issuer: settings.issuer(),
        header_keys: keys.map(|(id, key)| (id.clone(), secret(key))).collect(),
        forward_auth: settings.forward_auth.as_ref().map(|forward| edge::ForwardAuth {
            path: forward.path.clone(),
            proxies: forward.proxies.clone(),
            secret: forward.secret.as_ref().map(secret),
        }),
        traced_ppm: settings.traced_ppm,
        sign_in_path: "/auth/sign-in".to_owned(),
        clock: Arc::clone(&shared.clock),
        entropy: Arc::clone(&shared.entropy),
        hub,
        observations: Arc::clone(&shared.observations),
        minter: Some(asks.minter),
        counter: asks.counter,
        core: behind.core,
        pages: Some(behind.pages),
    };
    Ok(Edge::start(edge).await?)
}

/// Opens the console's: the same hygiene, bounds and TLS, but nothing there leads to the shop.
pub(crate) async fn open_console(
    settings: &DoorSettings,
    listen: Listen,
    shared: &Shared,
    behind: Behind,
) -> anyhow::Result<Running> {
    let own = CONSOLE_PREFIXES.map(str::to_owned).to_vec();
    let table = RouteTable { own_prefixes: own, ..RouteTable::default() };
    let snapshot = Snapshot::new(Arc::new(table), Arc::default());
    let edge = edge::Config {
        listen,
        tls: Some(Tls { certificates: shared.certificates.clone(), tls12: false }),
        trusted_proxies: Vec::new(),
        proxy_protocol: Vec::new(),
        upstream_tls: HashMap::new(),
        bounds: Bounds { connections_max: CONSOLE_CONNECTIONS, ..settings.bounds },
        issuer: settings.issuer(),
        header_keys: HashMap::new(),
        forward_auth: None,
        traced_ppm: 0,
        sign_in_path: "/console/sign-in".to_owned(),
        clock: Arc::clone(&shared.clock),
        entropy: Arc::clone(&shared.entropy),
        hub: Hub::new(Arc::clone(&shared.clock), snapshot),
        observations: Arc::clone(&shared.observations),
        minter: None,
        counter: None,
        core: behind.core,
        pages: Some(behind.pages),
    };
    Ok(Edge::start(edge).await?)
}
