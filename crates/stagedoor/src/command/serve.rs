//! `serve`: opens the door and the console, runs until it is told to stop, ends in order. In one
//! process here; in separate ones by `processes`.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use edge::{Listen, Running};
use observe::traces::Spans;
use tokio::sync::Notify;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, Layer as _};
use web::feed::{Counter, Observations, Sharing};

use crate::certificates::Shown;
use crate::config::{Config, Loaded, LogConfig, LogFormat};
use crate::door::{self, Asks, Behind, DoorSettings, Shared};
use crate::gauges::{CONSOLE, Doors, Observing, SHOP, TraceSettings};
use crate::house::{House, Nature};
use crate::nodes::Nodes;
use crate::tasks::Tasks;
use crate::{out, processes, refused};

/// Serves until SIGTERM or Ctrl-C.
pub(crate) async fn run(loaded: Loaded, migrate: bool) -> anyhow::Result<()> {
    let traced = TraceSettings::read(&loaded)?;
    if loaded.config.processes.separate {
        start_log(&loaded.config.log, None)?;
        return processes::supervise(loaded, migrate).await;
    }
    let nature = Nature::default();
    let opened = traced.map(|traced| traced.open(Arc::clone(&nature.clock)));
    let (spans, exporter) = opened.transpose()?.unzip();
    start_log(&loaded.config.log, spans)?;
    if migrate {
        super::migrate::run(&loaded, false).await?;
    }
    let house = Arc::new(House::open_with(loaded, nature).await?);
    let one = if house.config.keyholder.socket.is_some() {
        "edge and core run in one process: who takes over the door's process has what core has"
    } else {
        "edge, core and keyholder run in one process: who takes over the door's process has its keys"
    };
    for promise in std::iter::once(one).chain(promises_off(&house.config)) {
        tracing::warn!("promise off: {promise}");
    }
    let served = Served::start(Arc::clone(&house)).await?;
    if let Some(exporter) = exporter {
        served.tasks.export(&house, exporter);
    }
    let observe = served.observing.local_addr();
    announce(&house.config, served.door.local_addr(), served.console.local_addr(), observe);
    let stop = told_to_stop()?;
    tokio::select! {
        () = stop => {}
        () = renew_at_hangup(&served.renewal) => {}
        lost = served.nodes.lost() => return Err(lost),
    }
    out::progress("closing: requests under way are finished first");
    out::progress_done();
    served.stop().await
}

/// Says where the doors are.
pub(crate) fn announce(
    config: &Config,
    door: SocketAddr,
    console: SocketAddr,
    observe: Option<SocketAddr>,
) {
    let name = &config.shop.name;
    out::say(format!("{name} is open at https://{door} · console at https://{console}/console"));
    let observe = observe.map(|address| address.to_string());
    let (door, console) = (door.to_string(), console.to_string());
    out::json(&serde_json::json!({ "door": door, "console": console, "observe": observe }));
}

/// What an installation does not promise, however many processes it has (docs/modes.md).
pub(crate) fn promises_off(config: &Config) -> Vec<&'static str> {
    let is_apart = config.keyholder.socket.is_some();
    let mut off = Vec::new();
    if config.witness.is_empty() {
        off.push(
            "no outside witness signs the log: add a [[witness]], or keep `stagedoor audit \
             checkpoint` elsewhere",
        );
    }
    if !is_apart && config.root.kind == crate::config::RootKind::KeyFile {
        off.push("the root key stands in a file in the clear");
    }
    if config.shows_mails_to_the_world() {
        off.push(
            "whoever reaches the door reads all mails at /auth/dev/outbox and owns every account",
        );
    }
    if !is_apart && config.data.keys_dir.is_none() {
        off.push("keys and data lie in one folder: whoever copies it has both");
    }
    let strict = |limit: &access::LimitConfig| limit.share == Sharing::Strict;
    if config.redis.is_none() && config.limit.iter().any(strict) {
        off.push("limits marked strict count on each node alone: there is no [redis]");
    }
    off
}

/// Everything that runs.
pub(crate) struct Served {
    pub door: Running,
    pub console: Running,
    nodes: Arc<Nodes>,
    tasks: Tasks,
    observing: Observing,
    house: Arc<House>,
    /// Told to look at the certificate files.
    renewal: Arc<Notify>,
}

impl Served {
    /// Loads the feed, starts the tasks, then listens.
    pub(crate) async fn start(house: Arc<House>) -> anyhow::Result<Self> {
        let Core { nodes, tasks, observations } = start_core(&house).await?;
        let (config, base) = (&house.config, house.base.as_path());
        let settings = DoorSettings::read(config, base)?;
        let shown = certificates(config, base)?;
        let shared = Shared {
            certificates: shown.certificates.clone(),
            clock: Arc::clone(&house.clock),
            entropy: Arc::clone(&house.entropy),
            observations,
        };
        let behind = (behind_shop(&house)?, house.hub.clone(), asks(&house));
        let door = door::open_shop(&settings, Listen::At(config.listen.public), &shared, behind);
        let door = door.await?;
        let (listen, behind) = (Listen::At(config.listen.console), behind_console(&house)?);
        let console = door::open_console(&settings, listen, &shared, behind).await?;
        // The door holds sensitive routes closed until it has heard that the source answers.
        house.publisher.beat();
        let renewal = Arc::new(Notify::new());
        tasks.renew(shown, Arc::clone(&renewal));
        let doors = Doors::Here(vec![(SHOP, door.watcher()), (CONSOLE, console.watcher())]);
        let listen = house.config.observe.listen.map(Listen::At);
        let observing = Observing::start(&house, doors, listen).await?;
        Ok(Self { door, console, nodes, tasks, observing, house, renewal })
    }

    /// Lets what is under way finish, stops the tasks, closes the databases.
    pub(crate) async fn stop(self) -> anyhow::Result<()> {
        let deadline = Duration::from_millis(self.house.config.listen.drain_ms);
        self.observing.drain();
        tokio::time::sleep(Duration::from_millis(self.house.config.observe.drain_notice_ms)).await;
        tokio::join!(self.door.drain(deadline), self.console.drain(Duration::from_secs(1)));
        self.tasks.stop().await;
        self.observing.stop().await;
        self.house.close().await
    }
}

/// What runs beside the requests.
pub(crate) struct Core {
    pub nodes: Arc<Nodes>,
    pub tasks: Tasks,
    pub observations: Arc<Observations>,
}

/// Makes this program the node, loads the feed and starts what runs beside the requests.
pub(crate) async fn start_core(house: &Arc<House>) -> anyhow::Result<Core> {
    anyhow::ensure!(
        house.node.take()?,
        "another program serves as node {} from the folder {}: stop it first",
        house.config.data.node,
        house.base.join(&house.config.data.dir).display()
    );
    let nodes = Nodes::claim(house).await?;
    house.tell_key_changes().await?;
    house.load_feed().await?;
    let observations = Arc::new(Observations::new(house.config.bounds.observations_max));
    let tasks = Tasks::start(house, &nodes, &observations)?;
    nodes.joined().await;
    Ok(Core { nodes, tasks, observations })
}

/// Whom the shop's door asks.
pub(crate) fn asks(house: &House) -> Asks {
    let counter = house.counter.as_ref();
    Asks {
        minter: Arc::new(house.identity.clone()),
        counter: counter.map(|counter| Arc::clone(counter) as Arc<dyn Counter>),
    }
}

/// What answers behind the shop's door.
pub(crate) fn behind_shop(house: &House) -> anyhow::Result<Behind> {
    let core = web::serve_stack(house.door_routes()?.router, house.shop_app());
    Ok(Behind { core, pages: refused::pages(house.shop_app()) })
}

/// What answers behind the console's door.
pub(crate) fn behind_console(house: &House) -> anyhow::Result<Behind> {
    let app = house.console_app(&format!("https://{}", shown(house.config.listen.console)));
    let core = web::serve_stack(house.console_routes()?.router, app.clone());
    Ok(Behind { core, pages: refused::pages(app) })
}

/// How a browser writes the address: a listener on every address is reached as localhost.
fn shown(address: SocketAddr) -> String {
    if address.ip().is_unspecified() || address.ip().is_loopback() {
        return format!("localhost:{}", address.port());
    }
    address.to_string()
}

/// The configured certificates, or a self-signed one that is made once.
pub(crate) fn certificates(config: &Config, base: &Path) -> anyhow::Result<Shown> {
    let dir = base.join(&config.data.dir);
    let made = (dir.join("self-signed.crt"), dir.join("self-signed.key"));
    if config.tls.cert_file.is_none() && !made.1.exists() {
        let host = config.shop.public_url.trim_start_matches("https://");
        let host = host.rsplit_once(':').map_or(host, |(host, _)| host);
        let names = vec![host.to_owned(), "localhost".to_owned(), "127.0.0.1".to_owned()];
        let pair = rcgen::generate_simple_self_signed(names)?;
        // Neither is written through a link that somebody with fewer rights has left there.
        if made.0.exists() {
            std::fs::remove_file(&made.0)?;
        }
        super::init::write_private(&made.0, pair.cert.pem().as_bytes())?;
        super::init::write_private(&made.1, pair.signing_key.serialize_pem().as_bytes())?;
    }
    Shown::load(config, base, made)
}

/// Writes the program's own log to standard error; spans go to `spans` alone.
pub(crate) fn start_log(config: &LogConfig, spans: Option<Spans>) -> anyhow::Result<()> {
    let filter = EnvFilter::try_new(&config.level)
        .with_context(|| format!("log.level: `{}` is no level and no filter", config.level))?;
    let filter = filter.add_directive(format!("{}=off", edge::TRACED).parse()?);
    let log = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
    let log = log.with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr()));
    let log = match config.format {
        LogFormat::Text => log.with_target(false).with_filter(filter).boxed(),
        LogFormat::Json => log.json().with_filter(filter).boxed(),
    };
    let spans = spans.map(|spans| spans.with_filter(observe::traces::filter()));
    let started = tracing_subscriber::registry().with(log).with(spans).try_init();
    started.map_err(|error| anyhow::anyhow!("the log could not be started: {error}"))
}

/// What waits for SIGTERM or Ctrl-C: from this call on the signals are heard, and end nothing by
/// themselves.
pub(crate) fn told_to_stop() -> anyhow::Result<impl Future<Output = ()>> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    })
}

/// Looks at the certificate files at each SIGHUP; for ever.
pub(crate) async fn renew_at_hangup(renewal: &Notify) {
    use tokio::signal::unix::{SignalKind, signal};
    let Ok(mut hangup) = signal(SignalKind::hangup()) else { return std::future::pending().await };
    loop {
        hangup.recv().await;
        renewal.notify_one();
    }
}
