//! The house: every room opened on one spine and one vault, and joined where one needs another.
//!
//! Rooms do not know each other. Where one must ask another before the fact, it owns a small trait
//! and the join stands here; after the fact they meet on the spine.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use access::{Access, Services};
use anyhow::Context as _;
use identity::{Identity, Outbox, SessionCallers};
use kernel::{AccountId, Actor, Clock, Ctx, Entropy, Secret, SystemEntropy};
use observe::Observe;
use spine::{Newer, Spine};
use store::{Db, Options};
use vault::Vault;
use watch::Watch;
use web::feed::{Delta, Hub, Jwks, Publisher, PublisherId, Snapshot, Truth};
use web::{App, BoxFuture, Caller, Callers, Csrf, Problem, Proven, Service, Site};

use crate::config::{Config, Loaded, Mode};
use crate::counter::RedisCounter;
use crate::node::Node;
use crate::rooms::rooms;
use crate::steady_clock::SteadyClock;

/// The opened house.
pub(crate) struct House {
    pub config: Config,
    /// The name that the log was begun under.
    pub log_name: String,
    pub base: PathBuf,
    pub clock: Arc<dyn Clock>,
    pub entropy: Arc<dyn Entropy>,
    pub vault: Vault,
    pub spine: Spine,
    pub hub: Hub,
    pub publisher: Publisher,
    /// Puts on this process's feed what the database told: of no concern to other nodes.
    pub follower: Publisher,
    pub identity: Identity,
    pub access: Access,
    pub watch: Watch,
    pub observe: Observe,
    pub outbox: Outbox,
    /// What counts limits over all nodes, where something does.
    pub counter: Option<Arc<RedisCounter>>,
    pub node: Node,
    /// Whether this machine's clock is too far off the database server's to be believed.
    pub clock_is_off: Arc<AtomicBool>,
}

/// Time and randomness: the machine's, but in a simulation.
#[derive(Clone)]
pub(crate) struct Nature {
    pub clock: Arc<dyn Clock>,
    pub entropy: Arc<dyn Entropy>,
}

impl Default for Nature {
    fn default() -> Self {
        Self { clock: Arc::<SteadyClock>::default(), entropy: Arc::new(SystemEntropy) }
    }
}

/// Where the house's files are.
pub(crate) struct Places {
    pub data: PathBuf,
    pub keys: PathBuf,
}

impl Loaded {
    /// Where the house's files are.
    pub(crate) fn places(&self) -> Places {
        let data = self.base.join(&self.config.data.dir);
        let keys = self.config.data.keys_dir.as_ref();
        let keys = keys.map_or_else(|| data.join("keys"), |dir| self.base.join(dir));
        Places { data, keys }
    }

    /// Makes the folders where there are none; the keys' is its owner's only.
    pub(crate) fn make_places(&self) -> anyhow::Result<()> {
        use std::os::unix::fs::DirBuilderExt as _;
        let places = self.places();
        let mut builder = std::fs::DirBuilder::new();
        builder.recursive(true).mode(0o700);
        for dir in [&places.data, &places.keys] {
            builder.create(dir).with_context(|| format!("{} cannot be made", dir.display()))?;
        }
        Ok(())
    }

    /// Where the database of facts is.
    pub(crate) fn database_url(&self) -> String {
        let url = self.config.data.database_url.clone();
        url.unwrap_or_else(|| sqlite_url(&self.places().data.join("data.db")))
    }

    /// Where the database of keys is.
    pub(crate) fn keys_database_url(&self) -> String {
        let url = self.config.data.keys_database_url.clone();
        url.unwrap_or_else(|| sqlite_url(&self.places().keys.join("keys.db")))
    }

    /// The database of facts.
    pub(crate) async fn open_database(&self) -> anyhow::Result<Db> {
        let url = self.database_url();
        let connections = self.config.data.connections.clamp(2, 200);
        let shown = without_password(&url);
        let answer_timeout = Duration::from_millis(self.config.data.answer_max_ms);
        let mut options = Options { connections, answer_timeout, ..Options::new(url) };
        options.acquire_timeout = options.acquire_timeout.min(answer_timeout);
        Db::open(&options).await.with_context(|| format!("the database {shown} cannot be opened"))
    }
}

/// The address of a SQLite database.
fn sqlite_url(file: &Path) -> String {
    format!("sqlite://{}", file.display())
}

/// A database's address without what may be a password.
pub(crate) fn without_password(url: &str) -> String {
    match (url.split_once("://"), url.rsplit_once('@')) {
        (Some((scheme, _)), Some((_, place))) => format!("{scheme}://…@{place}"),
        _ => url.to_owned(),
    }
}

impl House {
    /// Opens the house on a database that has this program's schema.
    pub(crate) async fn open(loaded: Loaded) -> anyhow::Result<Self> {
        Self::open_with(loaded, Nature::default()).await
    }

    /// The same, with a clock that somebody else in this process goes by too.
    pub(crate) async fn open_with(loaded: Loaded, nature: Nature) -> anyhow::Result<Self> {
        let db = loaded.open_database().await?;
        let rooms = rooms()?;
        let standing = store::standing(&db, &rooms.migrations()).await?;
        if let Some(first) = standing.missing.first() {
            anyhow::bail!(
                "the database lacks {} steps of this program's schema, from {} on: run \
                 `stagedoor migrate`",
                standing.missing.len(),
                first.name
            );
        }
        // A column that nobody declared would be neither digested nor erased. A newer program may
        // have added some, where it says that this one runs on what it made.
        let newer = if standing.newer.is_empty() { Newer::Unknown } else { Newer::Tolerated };
        spine::check_schema_under(&db, &rooms.tables(), &[], newer)
            .await
            .context("the schema is not the declared one")?;
        let config = loaded.vault_config(&nature)?;
        let vault = Vault::open(config).await.context("the vault cannot be opened")?;
        Self::furnish(loaded, db, vault, nature).await
    }

    /// Opens the rooms. The vault must have been opened with the same nature: one clock is compared
    /// with the database's, and both judge by it.
    pub(crate) async fn furnish(
        loaded: Loaded,
        db: Db,
        vault: Vault,
        nature: Nature,
    ) -> anyhow::Result<Self> {
        let data = loaded.places().data;
        let node_dir = data.join("node");
        std::fs::create_dir_all(&node_dir)
            .with_context(|| format!("{} cannot be made", node_dir.display()))?;
        let node = Node::new(&node_dir);
        let Loaded { config, base } = loaded;
        let origin = spine::log_origin(&db).await?.unwrap_or_else(|| config.log_name());
        let log_name = spine::first_origin(&origin).to_owned();
        let spine = lay_spine(db, &vault, (&config, &log_name), &nature, node_dir)?;
        let Nature { clock, entropy } = nature;
        let hub = Hub::new(Arc::clone(&clock), Snapshot::default());
        let mut number = [0; 8];
        entropy.fill(&mut number);
        let number = u64::from_be_bytes(number);
        let publisher = hub.publisher(PublisherId(number));
        let follower = hub.publisher(PublisherId(number.wrapping_add(1)));
        let identity = Identity::open(identity::Parts {
            spine: spine.clone(),
            vault: vault.clone(),
            publisher: publisher.clone(),
            clock: Arc::clone(&clock),
            entropy: Arc::clone(&entropy),
            site: Arc::new(Site::shop(&config.shop.name, &config.shop.public_url)),
            config: config.identity.clone(),
            breached: open_breached(&config, &base)?,
        })?;
        let counter = config.redis.server(&base)?.map(|server| {
            let (prefix, node) = (config.redis.prefix.clone(), config.data.node.clone());
            Arc::new(RedisCounter::new(server, vault.clone(), prefix, node))
        });
        let access = Access::open(access::Parts {
            spine: spine.clone(),
            vault: vault.clone(),
            publisher: publisher.clone(),
            config: config.access.clone(),
            proxies: config.proxies.trusted.clone(),
            scopes: vec![access::FACTS_SCOPE],
            mode: match config.mode {
                Mode::Live => access::Mode::Live,
                Mode::Test => access::Mode::Test,
            },
            customers: Some(Arc::new(ShopReferences(identity.clone()))),
            limit_store: counter.as_ref().map(|counter| Arc::clone(counter.store())),
        })?;
        let watch = Watch::open(spine.clone(), vault.clone(), config.watch.clone())?;
        let observe = open_observe(&config, &spine, origin, (base.clone(), data))?;
        Ok(Self {
            config,
            log_name,
            base,
            clock,
            entropy,
            vault,
            spine,
            hub,
            publisher,
            follower,
            identity,
            access,
            watch,
            observe,
            outbox: Outbox::default(),
            counter,
            node,
            clock_is_off: Arc::default(),
        })
    }

    /// Tells the feed what a cold edge must know: routes, keys, ended sessions, blocked clients.
    pub(crate) async fn load_feed(&self) -> anyhow::Result<()> {
        self.publish_keys()?;
        let reading = self.hub.reading();
        let part = self.access.feed_part().await?;
        let ended = self.identity.revocations(self.clock.now()).await?;
        let (blocks, routes) = (Some(part.blocks), Some(part.routes));
        self.follower
            .fold(reading, Truth { revocations: ended, blocks, routes, ..Truth::default() });
        self.publisher.beat();
        Ok(())
    }

    /// Tells the feed the public keys of session tokens, where they changed.
    pub(crate) fn publish_keys(&self) -> anyhow::Result<()> {
        let keys: Jwks = serde_json::from_value(self.identity.jwks()?)?;
        if *self.hub.snapshot().keys != keys {
            self.follower.publish(Delta::SigningKeys(Arc::new(keys)));
        }
        Ok(())
    }

    /// What the routes behind the shop's door need.
    pub(crate) fn shop_app(&self) -> App {
        let callers = HouseCallers {
            sessions: SessionCallers(self.identity.clone()),
            services: Services::new(self.access.clone()),
        };
        let shop = &self.config.shop;
        self.app(Site::shop(&shop.name, &shop.public_url), Arc::new(callers))
    }

    /// What the console's routes need: staff sessions of its own sign-in, and nothing else counts.
    pub(crate) fn console_app(&self, public_url: &str) -> App {
        let callers = console::OperatorCallers(self.identity.clone());
        self.app(Site::console(&self.config.shop.name, public_url), Arc::new(callers))
    }

    fn app(&self, site: Site, callers: Arc<dyn Callers>) -> App {
        let key = Secret::new(self.vault.blind("web.csrf", b"form tokens"));
        App::new(Arc::clone(&self.clock), Arc::clone(&self.entropy), callers, Csrf::new(&key), site)
    }

    /// Lets the log tell of every key that signed it and of the one that followed.
    pub(crate) async fn tell_key_changes(&self) -> anyhow::Result<()> {
        let notaries = self.vault.notaries(&self.log_name)?;
        let signers: Vec<&dyn spine::CheckpointSigner> =
            notaries.iter().map(|notary| notary as &dyn spine::CheckpointSigner).collect();
        Ok(self.spine.tell_key_changes(&signers).await?)
    }

    /// Circumstances of a command on this host.
    pub(crate) fn operator_ctx(&self) -> Ctx {
        let actor = Actor::Operator { id: None };
        Ctx::new(actor, self.clock.now(), Arc::clone(&self.entropy))
    }

    /// Gives committed events their leaves, unless a running program does so already, then closes.
    pub(crate) async fn close(&self) -> anyhow::Result<()> {
        if self.node.take()? {
            self.tell_key_changes().await?;
            self.spine.sequence().await?;
            self.publish_first().await?;
        }
        self.spine.close().await;
        self.vault.close().await;
        Ok(())
    }
}

/// The spine of this node.
fn lay_spine(
    db: Db,
    vault: &Vault,
    (config, log_name): (&Config, &str),
    nature: &Nature,
    node_dir: PathBuf,
) -> anyhow::Result<Spine> {
    Ok(Spine::new(spine::Parts {
        db,
        clock: Arc::clone(&nature.clock),
        entropy: Arc::clone(&nature.entropy),
        sealer: Arc::new(vault.clone()),
        signer: Arc::new(vault.notary(log_name)?),
        tables: rooms()?.tables(),
        node_dir,
        node: config.data.node.clone(),
    }))
}

impl House {
    /// Shows strangers a first checkpoint where they have none. With witnesses they wait for those.
    async fn publish_first(&self) -> anyhow::Result<()> {
        if !self.config.witness.is_empty() || self.spine.published().await?.is_some() {
            return Ok(());
        }
        let Some(first) = self.spine.checkpoint().await? else { return Ok(()) };
        Ok(self.spine.publish(&first).await?)
    }
}

/// The list of passwords that nobody may choose, where there is one.
fn open_breached(config: &Config, base: &Path) -> anyhow::Result<Option<identity::Breached>> {
    let Some(file) = &config.identity.password.breached_file else { return Ok(None) };
    let file = base.join(file);
    let opened = identity::Breached::open(&file).with_context(|| {
        format!("identity.password.breached_file: {} cannot be used", file.display())
    });
    opened.map(Some)
}

/// What operators see, of a house with its files in these folders: the configuration's, the data's.
fn open_observe(
    config: &Config,
    spine: &Spine,
    origin: String,
    (base, data): (PathBuf, PathBuf),
) -> anyhow::Result<Observe> {
    Ok(Observe::open(observe::Parts {
        spine: spine.clone(),
        config: config.observe.clone(),
        siem: config.siem.clone(),
        catalogue: rooms()?.events(),
        origin,
        version: env!("CARGO_PKG_VERSION"),
        base,
        data,
    })?)
}

/// The shop's own references of customers are the accounts' external names.
struct ShopReferences(Identity);

impl access::Customers for ShopReferences {
    fn find<'a>(
        &'a self,
        reference: &'a str,
        _: &'a Ctx,
    ) -> spine::BoxFuture<'a, Result<Option<AccountId>, spine::Error>> {
        Box::pin(async move {
            match self.0.find_external(reference).await {
                Ok(found) => Ok(found.map(|account| account.id)),
                Err(identity::Error::Spine(error)) => Err(error),
                Err(error) => {
                    tracing::error!(%error, "a customer could not be looked up");
                    Err(spine::SealError::Unavailable.into())
                }
            }
        })
    }
}

/// Who a request comes from: sessions are identity's, service keys access's.
struct HouseCallers {
    sessions: SessionCallers,
    services: Services,
}

impl Callers for HouseCallers {
    fn session<'a>(
        &'a self,
        parts: &'a http::request::Parts,
        visit: &'a Ctx,
    ) -> BoxFuture<'a, Result<Option<Caller>, Problem>> {
        self.sessions.session(parts, visit)
    }

    fn service<'a>(
        &'a self,
        token: &'a str,
        visit: &'a Ctx,
    ) -> BoxFuture<'a, Result<Option<Service>, Problem>> {
        self.services.service(token, visit)
    }

    fn prove<'a>(
        &'a self,
        caller: &'a Caller,
        password: &'a Secret<String>,
    ) -> BoxFuture<'a, Result<Proven, Problem>> {
        self.sessions.prove(caller, password)
    }
}

#[cfg(test)]
mod tests {
    use testkit::TestClock;

    use super::*;
    use crate::demo::throw_away;

    #[tokio::test(flavor = "multi_thread")]
    async fn the_vault_goes_by_the_clock_of_the_house() {
        let (house, dir) = throw_away().await.unwrap();
        let (config, base) = (house.config.clone(), dir.path().to_owned());
        house.close().await.unwrap();
        let clock = Arc::new(TestClock::default());
        let nature = Nature { clock: Arc::clone(&clock) as _, ..Nature::default() };
        let house = House::open_with(Loaded { config, base }, nature).await.unwrap();
        clock.set(kernel::Timestamp::from_seconds(2_000_000_000));
        house.vault.rotate(vault::Purpose::Mac).await.unwrap();
        let newest = house.vault.list().unwrap().into_iter().map(|key| key.created_at).max();
        assert_eq!(newest, Some(house.clock.now()));
        house.close().await.unwrap();
    }
}
