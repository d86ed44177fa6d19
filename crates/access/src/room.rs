//! The room itself: what its verbs work with, in one value that is cheap to clone.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use kernel::{AccountId, Ctx};
use spine::{BoxFuture, Consumer, Obedience, Spine};
use vault::Vault;
use web::feed::{Delta, Net, Publisher, RouteTable};

use crate::applied::revised;
use crate::config::AccessConfig;
use crate::error::Error;
use crate::facts::Catalogue;
use crate::limit_store::{LimitStore, Standing};
use crate::service::{Mode, Touched};

/// Finds the account behind the shop's own reference of a customer. `identity` implements it.
pub trait Customers: Send + Sync {
    /// The account; none where no account has this reference.
    ///
    /// # Errors
    /// The failure where accounts cannot be looked up.
    fn find<'a>(
        &'a self,
        reference: &'a str,
        ctx: &'a Ctx,
    ) -> BoxFuture<'a, Result<Option<AccountId>, spine::Error>>;
}

/// What the program hands over when it opens the room.
pub struct Parts {
    /// Facts, events, reads.
    pub spine: Spine,
    /// Keys.
    pub vault: Vault,
    /// Where routes and blocks are published at once.
    pub publisher: Publisher,
    /// What the operator set.
    pub config: AccessConfig,
    /// The proxies whose word about a client's address is taken: never blocked.
    pub proxies: Vec<Net>,
    /// What a service's key may be good for: every scope that an operation of this program asks.
    pub scopes: Vec<&'static str>,
    /// Whether this installation is the live one: the other sort of key is refused.
    pub mode: Mode,
    /// Who knows the shop's references of customers; without it they are unknown persons.
    pub customers: Option<Arc<dyn Customers>>,
    /// How the store of shared limits does; none: each node counts alone.
    pub limit_store: Option<Arc<LimitStore>>,
}

/// The room. Clones share everything.
#[derive(Clone)]
pub struct Access {
    inner: Arc<Inner>,
}

/// The latest change of a block that this node published, by network: its id and version.
pub(crate) type LatestBlocks = Mutex<HashMap<Net, ([u8; 16], i64)>>;

struct Inner {
    parts: Parts,
    catalogue: Catalogue,
    latest_blocks: LatestBlocks,
    used: Touched,
}

impl std::fmt::Debug for Access {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Access")
    }
}

/// What a cold edge needs from this room before it serves.
#[derive(Clone, Debug)]
pub struct FeedPart {
    /// The route table in force.
    pub routes: Arc<RouteTable>,
    /// The blocks that stand, to be applied to the snapshot.
    pub blocks: Vec<Delta>,
}

impl Access {
    /// Opens the room.
    ///
    /// # Errors
    /// [`Error::Config`] with everything that is wrong with the configuration.
    pub fn open(parts: Parts) -> Result<Self, Error> {
        let mut problems = parts.config.problems();
        let catalogue = Catalogue::new(&parts.config.facts.kind, &mut problems);
        if !problems.is_empty() {
            return Err(Error::Config(problems));
        }
        let inner =
            Inner { parts, catalogue, latest_blocks: Mutex::default(), used: Touched::default() };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// What the operator set.
    #[must_use]
    pub fn config(&self) -> &AccessConfig {
        &self.inner.parts.config
    }

    /// The kinds of fact that the shop may tell, for the event catalogue and for retention.
    #[must_use]
    pub fn kinds(&self) -> &Catalogue {
        &self.inner.catalogue
    }

    /// How the store does where limits are counted over all nodes; none where there is none.
    #[must_use]
    pub fn limit_store(&self) -> Option<Standing> {
        self.inner.parts.limit_store.as_ref().map(|store| store.standing())
    }

    /// What this room puts into a cold edge's snapshot. Load it before the room's verbs are open.
    ///
    /// # Errors
    /// [`Error`] where the store or the vault does not answer.
    pub async fn feed_part(&self) -> Result<FeedPart, Error> {
        let (revision, config) = self.in_force().await?;
        let routes = revised(config.table()?, revision);
        Ok(FeedPart { routes, blocks: self.standing_blocks().await? })
    }

    /// What has to be done now and then: to be called each minute or so. Ends blocks whose time is
    /// over, and forgets what was kept long enough.
    ///
    /// # Errors
    /// [`Error`] where the store does not answer; what was done stays done.
    pub async fn tend(&self) -> Result<(), Error> {
        let ctx = self.own_ctx();
        self.expire_blocks(&ctx).await?;
        self.forget_facts(ctx.now).await?;
        self.forget_seen(ctx.now).await
    }

    /// What follows the log for this room.
    #[must_use]
    pub fn consumers(&self) -> Vec<Box<dyn Consumer>> {
        vec![Box::new(Obedience::new(self.clone()))]
    }

    pub(crate) fn spine(&self) -> &Spine {
        &self.inner.parts.spine
    }

    pub(crate) fn vault(&self) -> &Vault {
        &self.inner.parts.vault
    }

    pub(crate) fn publisher(&self) -> &Publisher {
        &self.inner.parts.publisher
    }

    pub(crate) fn parts(&self) -> &Parts {
        &self.inner.parts
    }

    pub(crate) fn latest_blocks(&self) -> &LatestBlocks {
        &self.inner.latest_blocks
    }

    pub(crate) fn used(&self) -> &Touched {
        &self.inner.used
    }

    /// Circumstances of work that no request asked for.
    pub(crate) fn own_ctx(&self) -> Ctx {
        self.spine().system_ctx("access")
    }
}
