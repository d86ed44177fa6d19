//! The demonstration: a throw-away house with a small live-shopping shop behind its door, accounts
//! of every kind, and either a table of addresses to try, or the story (`--script`).

pub(crate) mod client;
mod people;
mod script;
mod shop;

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use access::{LimitConfig, NewService, OwnConfig, RouteConfig, UpstreamConfig, Who};
use anyhow::Context as _;
use edge::identity::{HeaderKey, verify};
use identity::MailRoad;
use kernel::{Clock as _, Secret, SystemClock};
use tempfile::TempDir;
use tokio::sync::mpsc;
use vault::Vault;
use watch::WatchConfig;
use web::feed::{Per, Protocol};

use crate::cli::Demo;
use crate::command::init::{random_text, write_private};
use crate::command::serve::{Served, start_log, told_to_stop};
use crate::config::{Config, HeaderKeyConfig, Loaded, LogConfig, Mode};
use crate::house::{House, Nature};
use crate::out;
use crate::rooms::rooms;
use people::Person;
use shop::PaidOrder;

/// The upstream is told who asks by headers that this key signs.
const HEADER_KEY: &str = "shop";

/// Runs the demo.
pub(crate) async fn run(demo: Demo) -> anyhow::Result<ExitCode> {
    let level = if demo.script { "error" } else { "warn" };
    start_log(&LogConfig { level: level.to_owned(), ..LogConfig::default() }, None)?;
    let stage = Stage::build(&demo).await?;
    let outcome = if demo.script { script::play(&stage).await } else { stage.stay().await };
    stage.strike().await?;
    Ok(if outcome? { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Everything that the demo runs.
pub(crate) struct Stage {
    pub served: Served,
    pub house: Arc<House>,
    pub people: Vec<Person>,
    dir: TempDir,
}

impl Stage {
    async fn build(demo: &Demo) -> anyhow::Result<Self> {
        let dir = tempfile::Builder::new().prefix("stagedoor-demo-").tempdir()?;
        let secret = random_text(43);
        let (shop_address, orders) = open_shop(&secret).await?;
        write_private(&dir.path().join("header.key"), secret.expose().as_bytes())?;
        let door = free(demo.listen).await?;
        let console = free(demo.console).await?;
        let config = demo_config(door, console, &shop_address, demo.database.clone());
        let house = Arc::new(make_house(config, dir.path().to_owned(), Nature::default()).await?);
        let people = people::settle(&house).await?;
        let service =
            NewService { name: "shop backend".to_owned(), scopes: vec!["facts".to_owned()] };
        let service = house.access.add_service(&house.operator_ctx(), &service).await?;
        let served = Served::start(Arc::clone(&house)).await?;
        script::tell_orders(&served, &house, service.key, orders)?;
        Ok(Self { served, house, people, dir })
    }

    /// Stays open until it is told to stop.
    async fn stay(&self) -> anyhow::Result<bool> {
        let stop = told_to_stop()?;
        self.invite();
        stop.await;
        Ok(true)
    }

    /// The table of addresses and passwords.
    fn invite(&self) {
        let door = format!("https://localhost:{}", self.served.door.local_addr().port());
        let console = format!("https://localhost:{}", self.served.console.local_addr().port());
        out::say("");
        out::say("  The house is open. Its certificate is self-signed: your browser will ask.");
        out::say("");
        let places = [
            ("the shop", format!("{door}/")),
            ("a live room", format!("{door}/live/friday-premiere")),
            ("checkout (needs a session)", format!("{door}/checkout?product=spotlight-lamp")),
            ("sellers only", format!("{door}/seller")),
            ("your account", format!("{door}/auth/account")),
            ("mails that would be sent", format!("{door}/auth/dev/outbox")),
            ("the signed log", format!("{door}/v1/log/checkpoint")),
            ("the console", format!("{console}/console")),
        ];
        let rows: Vec<Vec<String>> =
            places.iter().map(|(what, url)| vec![(*what).to_owned(), url.clone()]).collect();
        out::table(&["place", "address"], &rows);
        out::say("");
        let rows: Vec<Vec<String>> = self
            .people
            .iter()
            .map(|person| {
                vec![
                    person.kind.to_owned(),
                    person.email.to_owned(),
                    person.password.expose().clone(),
                ]
            })
            .collect();
        out::table(&["account", "e-mail", "password"], &rows);
        out::say("");
        out::say(format!(
            "  Data: {} (gone when this ends). Ctrl-C ends it.",
            self.dir.path().display()
        ));
        let certificate = self.house.base.join(&self.house.config.data.dir).join("self-signed.crt");
        out::json(&serde_json::json!({
            "door": door, "console": console, "ca": certificate, "people": rows,
        }));
    }

    async fn strike(self) -> anyhow::Result<()> {
        let Self { served, house, people: _, dir } = self;
        drop(house);
        served.stop().await?;
        dir.close().context("the demo's folder could not be removed")
    }
}

/// The wanted address, or a free port where it is taken.
async fn free(wanted: std::net::SocketAddr) -> anyhow::Result<std::net::SocketAddr> {
    let listener = match tokio::net::TcpListener::bind(wanted).await {
        Ok(listener) => listener,
        Err(_) => tokio::net::TcpListener::bind((wanted.ip(), 0)).await?,
    };
    Ok(listener.local_addr()?)
}

/// Starts the shop on a free port of this host.
async fn open_shop(secret: &Secret<String>) -> anyhow::Result<(String, mpsc::Receiver<PaidOrder>)> {
    let key = HeaderKey::new(secret.expose().as_bytes()).context("a header key")?;
    let recognise: shop::Recognise = Arc::new(move |parts| {
        let target = parts.uri.path_and_query().map_or("/", |target| target.as_str());
        let now = SystemClock.now();
        let verified = verify(&key, parts.method.as_str(), target, &parts.headers, now);
        let verified = verified.ok()??;
        Some(shop::Visitor { account: verified.account, kind: verified.kind })
    });
    let (router, orders) = shop::shop(recognise);
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await?;
    let address = format!("http://{}", listener.local_addr()?);
    #[expect(clippy::disallowed_methods, reason = "the demo's shop ends with the program")]
    tokio::spawn(async move {
        if let Err(error) = axum::serve(listener, router).await {
            tracing::error!(%error, "the demo's shop fell over");
        }
    });
    Ok((address, orders))
}

pub(crate) fn demo_config(
    door: std::net::SocketAddr,
    console: std::net::SocketAddr,
    shop: &str,
    database: Option<String>,
) -> Config {
    let mut config = Config { mode: Mode::Test, ..Config::default() };
    config.shop.name = "Ovation".to_owned();
    config.shop.public_url = format!("https://localhost:{}", door.port());
    config.listen.public = door;
    config.listen.console = console;
    config.listen.drain_ms = 1_000;
    config.data.database_url = database;
    config.identity.mail.to = MailRoad::Outbox;
    config.audit.publish_every_s = 1;
    config.watch = WatchConfig::demo();
    // The story's actors come through a proxy of their own, so that each has an address.
    config.proxies.trusted = script::PROXY.parse().into_iter().collect();
    config.header_key =
        vec![HeaderKeyConfig { id: HEADER_KEY.to_owned(), file: PathBuf::from("header.key") }];
    config.upstream = vec![upstream(shop)];
    config.limit = vec![limit("everything", 3_000), limit("sign-in", 600)];
    config.own = OwnConfig { limits: vec!["sign-in".to_owned()], ..OwnConfig::default() };
    config.route = vec![
        RouteConfig { access: Who::Open, ..route("shop", "/") },
        RouteConfig { sensitive: true, ..route("checkout", "/checkout") },
        route("orders", "/orders"),
        RouteConfig {
            kinds: vec!["influencer".to_owned(), "wholesaler".to_owned()],
            ..route("sellers", "/seller")
        },
    ];
    config
}

fn upstream(address: &str) -> UpstreamConfig {
    UpstreamConfig {
        name: "shop".to_owned(),
        address: address.to_owned(),
        tls: None,
        server_name: None,
        protocol: Protocol::default(),
        in_flight_max: 1_024,
        idle_max: 64,
        idle_ms: 30_000,
        connect_ms: 2_000,
        header_key: Some(HEADER_KEY.to_owned()),
        keep_host: true,
    }
}

fn limit(name: &str, requests: u32) -> LimitConfig {
    LimitConfig {
        name: name.to_owned(),
        per: Per::Client,
        requests,
        window_s: 60,
        burst: 0,
        cost: 1,
        share: web::feed::Sharing::Leased,
        without_store: web::feed::WithoutStore::Local,
    }
}

fn route(name: &str, prefix: &str) -> RouteConfig {
    RouteConfig {
        name: name.to_owned(),
        hosts: Vec::new(),
        path: None,
        prefix: Some(prefix.to_owned()),
        methods: Vec::new(),
        upstream: "shop".to_owned(),
        access: Who::Session,
        kinds: Vec::new(),
        roles: Vec::new(),
        second_factor: false,
        proved_within_s: None,
        sensitive: false,
        stale_max_s: None,
        limits: vec!["everything".to_owned()],
        body_max_bytes: 1024 * 1024,
        body_idle_ms: 10_000,
        first_byte_ms: 10_000,
        total_ms: 0,
        response_idle_ms: 120_000,
        websocket_idle_ms: 120_000,
        websocket: false,
    }
}

/// A new house in a folder, with its routes in force.
pub(crate) async fn make_house(
    config: Config,
    base: PathBuf,
    nature: Nature,
) -> anyhow::Result<House> {
    let loaded = Loaded { config, base };
    loaded.make_places()?;
    let vault = Vault::init(loaded.vault_config(&nature)?).await?;
    let db = loaded.open_database().await?;
    store::migrate(&db, &rooms()?.migrations(), nature.clock.now()).await?;
    let house = House::furnish(loaded, db, vault, nature).await?;
    house.access.apply(&house.operator_ctx(), &house.config.edge_config(), None).await?;
    Ok(house)
}

/// A house in a folder that is gone with the returned value.
pub(crate) async fn throw_away() -> anyhow::Result<(House, TempDir)> {
    let dir = tempfile::Builder::new().prefix("stagedoor-").tempdir()?;
    let nowhere = std::net::SocketAddr::from(([127, 0, 0, 1], 8443));
    let mut config = demo_config(nowhere, nowhere, "http://127.0.0.1:3000", None);
    config.header_key.clear();
    for upstream in &mut config.upstream {
        upstream.header_key = None;
    }
    let house = make_house(config, dir.path().to_owned(), Nature::default()).await?;
    Ok((house, dir))
}
