//! `serve`: opens the door and the console, runs until it is told to stop, ends in order.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use edge::{Bounds, Certificates, Edge, Issuer, Running, Tls};
use kernel::Secret;
use tokio::sync::Notify;
use tracing_subscriber::EnvFilter;
use web::feed::{Hub, Observations, RouteTable, Snapshot};

use crate::certificates::Shown;
use crate::config::{Loaded, LogConfig, LogFormat, read_secret};
use crate::house::House;
use crate::tasks::Tasks;
use crate::{certificates, out, refused};

/// Serves until SIGTERM or Ctrl-C.
pub(crate) async fn run(loaded: Loaded, migrate: bool) -> anyhow::Result<()> {
    start_log(&loaded.config.log)?;
    if migrate {
        super::migrate::run(&loaded, false).await?;
    }
    let house = Arc::new(House::open(loaded).await?);
    for promise in promises_off(&house) {
        tracing::warn!("promise off: {promise}");
    }
    let served = Served::start(Arc::clone(&house)).await?;
    out::say(format!(
        "{} is open at https://{} · console at https://{}/console",
        house.config.shop.name,
        served.door.local_addr(),
        served.console.local_addr()
    ));
    out::json(&serde_json::json!({
        "door": served.door.local_addr().to_string(),
        "console": served.console.local_addr().to_string(),
    }));
    tokio::select! {
        () = told_to_stop() => {}
        () = renew_at_hangup(&served.renewal) => {}
    }
    out::progress("closing: requests under way are finished first");
    out::progress_done();
    served.stop().await
}

/// What an installation of one process does not promise (docs/modes.md).
fn promises_off(house: &House) -> Vec<&'static str> {
    let mut off = vec![
        "edge, core and keyholder run in one process: who takes over the door's process has its keys",
    ];
    if house.config.witness.is_empty() {
        off.push(
            "no outside witness signs the log: add a [[witness]], or keep `stagedoor audit \
             checkpoint` elsewhere",
        );
    }
    if house.config.root.kind == crate::config::RootKind::KeyFile {
        off.push("the root key stands in a file in the clear");
    }
    if house.config.shows_mails_to_the_world() {
        off.push(
            "whoever reaches the door reads all mails at /auth/dev/outbox and owns every account",
        );
    }
    if house.config.data.keys_dir.is_none() {
        off.push("keys and data lie in one folder: whoever copies it has both");
    }
    off
}

/// Everything that runs.
pub(crate) struct Served {
    pub door: Running,
    pub console: Running,
    tasks: Tasks,
    house: Arc<House>,
    /// Told to look at the certificate files.
    renewal: Arc<Notify>,
}

impl Served {
    /// Loads the feed, starts the tasks, then listens.
    pub(crate) async fn start(house: Arc<House>) -> anyhow::Result<Self> {
        anyhow::ensure!(
            house.node.take()?,
            "another program serves as node {} from the folder {}: stop it first",
            house.config.data.node,
            house.base.join(&house.config.data.dir).display()
        );
        house.tell_key_changes().await?;
        house.load_feed().await?;
        let observations = Arc::new(Observations::new(house.config.bounds.observations_max));
        let tasks = Tasks::start(&house, &observations)?;
        let shown = certificates(&house)?;
        let certificates = shown.certificates.clone();
        let door = start_door(&house, certificates.clone(), Arc::clone(&observations)).await?;
        let console = start_console(&house, certificates, observations).await?;
        // The door holds sensitive routes closed until it has heard that the source answers.
        house.publisher.beat();
        let renewal = Arc::new(Notify::new());
        tasks.renew(shown, Arc::clone(&renewal));
        Ok(Self { door, console, tasks, house, renewal })
    }

    /// Lets what is under way finish, stops the tasks, closes the databases.
    pub(crate) async fn stop(self) -> anyhow::Result<()> {
        let deadline = Duration::from_millis(self.house.config.listen.drain_ms);
        tokio::join!(self.door.drain(deadline), self.console.drain(Duration::from_secs(1)));
        self.tasks.stop().await;
        self.house.close().await
    }
}

async fn start_door(
    house: &Arc<House>,
    certificates: Certificates,
    observations: Arc<Observations>,
) -> anyhow::Result<Running> {
    let config = &house.config;
    let assembled = house.door_routes()?;
    let core = web::serve_stack(assembled.router, house.shop_app());
    let tls12 = config.tls.tls12;
    let tls = (!config.listen.plain).then_some(Tls { certificates, tls12 });
    let forward_auth = config.forward_auth.as_ref().map(|forward| {
        let secret = forward.secret_file.as_ref();
        let secret = secret.map(|file| read_secret(&house.base.join(file))).transpose()?;
        Ok::<_, anyhow::Error>(edge::ForwardAuth {
            path: forward.path.clone(),
            proxies: forward.proxies.clone(),
            secret: secret.map(|secret| Secret::new(secret.expose().as_bytes().to_vec())),
        })
    });
    let edge = edge::Config {
        listen: config.listen.public,
        tls,
        trusted_proxies: config.proxies.trusted.clone(),
        proxy_protocol: config.proxies.proxy_protocol.clone(),
        upstream_tls: certificates::upstream_tls(config, &house.base)?,
        bounds: config.bounds,
        issuer: issuer(house),
        header_keys: header_keys(house)?,
        forward_auth: forward_auth.transpose()?,
        sign_in_path: "/auth/sign-in".to_owned(),
        clock: Arc::clone(&house.clock),
        entropy: Arc::clone(&house.entropy),
        hub: house.hub.clone(),
        observations,
        minter: Some(Arc::new(house.identity.clone())),
        core,
        pages: Some(refused::pages(house.shop_app())),
    };
    Ok(Edge::start(edge).await?)
}

/// The console stands behind a door of its own: the same hygiene, bounds and TLS, but nothing
/// there leads to the shop.
async fn start_console(
    house: &Arc<House>,
    certificates: Certificates,
    observations: Arc<Observations>,
) -> anyhow::Result<Running> {
    let config = &house.config;
    let address = config.listen.console;
    let app = house.console_app(&format!("https://{}", shown(address)));
    let pages = Some(refused::pages(app.clone()));
    let core = web::serve_stack(house.console_routes()?.router, app);
    let own = ["/console", "/assets", "/v1"].map(str::to_owned).to_vec();
    let table = RouteTable { own_prefixes: own, ..RouteTable::default() };
    let snapshot = Snapshot::new(Arc::new(table), Arc::default());
    let edge = edge::Config {
        listen: address,
        tls: Some(Tls { certificates, tls12: false }),
        trusted_proxies: Vec::new(),
        proxy_protocol: Vec::new(),
        upstream_tls: HashMap::new(),
        bounds: Bounds { connections_max: 256, ..config.bounds },
        issuer: issuer(house),
        header_keys: HashMap::new(),
        forward_auth: None,
        sign_in_path: "/console/sign-in".to_owned(),
        clock: Arc::clone(&house.clock),
        entropy: Arc::clone(&house.entropy),
        hub: Hub::new(Arc::clone(&house.clock), snapshot),
        observations,
        minter: None,
        core,
        pages,
    };
    Ok(Edge::start(edge).await?)
}

/// How a browser writes the address: a listener on every address is reached as localhost.
fn shown(address: SocketAddr) -> String {
    if address.ip().is_unspecified() || address.ip().is_loopback() {
        return format!("localhost:{}", address.port());
    }
    address.to_string()
}

fn issuer(house: &House) -> Issuer {
    Issuer {
        issuer: house.config.shop.public_url.trim_end_matches('/').to_owned(),
        audience: house.config.identity.token.audience.clone(),
    }
}

fn header_keys(house: &House) -> anyhow::Result<HashMap<String, Secret<Vec<u8>>>> {
    let mut keys = HashMap::new();
    for key in &house.config.header_key {
        let secret = read_secret(&house.base.join(&key.file))?;
        keys.insert(key.id.clone(), Secret::new(secret.expose().as_bytes().to_vec()));
    }
    Ok(keys)
}

/// The configured certificates, or a self-signed one that is made once.
fn certificates(house: &House) -> anyhow::Result<Shown> {
    let (config, base) = (&house.config, house.base.as_path());
    let dir = base.join(&config.data.dir);
    let made = (dir.join("self-signed.crt"), dir.join("self-signed.key"));
    if config.tls.cert_file.is_none() && !made.1.exists() {
        let host = config.shop.public_url.trim_start_matches("https://");
        let host = host.rsplit_once(':').map_or(host, |(host, _)| host);
        let names = vec![host.to_owned(), "localhost".to_owned(), "127.0.0.1".to_owned()];
        let pair = rcgen::generate_simple_self_signed(names)?;
        std::fs::write(&made.0, pair.cert.pem())?;
        super::init::write_private(&made.1, pair.signing_key.serialize_pem().as_bytes())?;
    }
    Shown::load(config, base, made)
}

/// Writes the program's own log to standard error.
pub(crate) fn start_log(config: &LogConfig) -> anyhow::Result<()> {
    let filter = EnvFilter::try_new(&config.level)
        .with_context(|| format!("log.level: `{}` is no level and no filter", config.level))?;
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    let log = log.with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr()));
    let started = match config.format {
        LogFormat::Text => log.with_target(false).try_init(),
        LogFormat::Json => log.json().try_init(),
    };
    started.map_err(|error| anyhow::anyhow!("the log could not be started: {error}"))
}

/// Waits for SIGTERM or Ctrl-C.
pub(crate) async fn told_to_stop() {
    use tokio::signal::unix::{SignalKind, signal};
    let Ok(mut terminate) = signal(SignalKind::terminate()) else {
        // Without a handler the signal ends the program by itself.
        return std::future::pending().await;
    };
    tokio::select! {
        _ = terminate.recv() => {}
        _ = tokio::signal::ctrl_c() => {}
    }
}

/// Looks at the certificate files at each SIGHUP; for ever.
async fn renew_at_hangup(renewal: &Notify) {
    use tokio::signal::unix::{SignalKind, signal};
    let Ok(mut hangup) = signal(SignalKind::hangup()) else { return std::future::pending().await };
    loop {
        hangup.recv().await;
        renewal.notify_one();
    }
}
