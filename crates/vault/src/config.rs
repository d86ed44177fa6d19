//! What the vault is opened with: where its keyholder and database are, and its few numbers.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use kernel::{Clock, Entropy, TenantId};

use crate::root::Root;
use crate::steps::{Drill, NoDrill};

/// The tenant of an installation that has one.
pub const FIRST_TENANT: TenantId =
    TenantId::from_bytes([0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]);

/// Where a keyholder has its keys.
#[derive(Clone, Debug)]
pub struct Home {
    /// The keyholder folder: epoch keys, each wrapped by the root. Never inside a backup that is
    /// kept longer than an epoch.
    pub folder: PathBuf,
    /// The root key.
    pub root: Root,
}

/// Where the keyholder is.
#[derive(Clone, Debug)]
pub enum Where {
    /// In this process, which opens the root key itself: for demos and installations of one process.
    Here(Home),
    /// In a process of its own ([`crate::serve`]): this one never has root, epoch or tenant keys.
    Socket {
        /// Its socket.
        path: PathBuf,
        /// How long to wait for it at the start, for it may be starting too.
        wait: Duration,
    },
}

/// What the vault is opened with.
#[derive(Clone)]
pub struct Config {
    /// Where the keyholder is.
    pub keyholder: Where,
    /// The key database's URL (`sqlite:///path` or `postgres://`), its own, not the data's.
    pub database_url: String,
    /// Whose keys these are.
    pub tenant: TenantId,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Randomness for keys, and for nonces of wraps.
    pub entropy: Arc<dyn Entropy>,
    /// The numbers.
    pub tuning: Tuning,
}

/// The vault's numbers.
#[derive(Clone, Debug)]
pub struct Tuning {
    /// The most subject keys in memory; a resolve may ask for half of that at once.
    pub cache_keys: usize,
    /// How long a subject's key is used before the database is asked again whether it stands.
    /// Within twice this, no process uses the key of a subject that another process shredded.
    pub recheck: Duration,
    /// How long a new version is known before it is used, so that every process and every edge
    /// has it by then. At least twice the time between two calls of [`crate::Vault::tend`].
    pub lead: Duration,
    /// How long an old signing key stays published after its last use: the longest life of a
    /// token and some minutes.
    pub overlap: Duration,
    /// The most subject keys that one transaction of an epoch rotation wraps anew.
    pub rewrap_keys: u32,
    /// Stops the work between two steps; for drills.
    #[doc(hidden)]
    pub drill: Arc<dyn Drill>,
}

impl Default for Tuning {
    fn default() -> Self {
        Self {
            cache_keys: 16_384,
            recheck: Duration::from_secs(30),
            lead: Duration::from_secs(120),
            overlap: Duration::from_secs(900),
            rewrap_keys: 512,
            drill: Arc::new(NoDrill),
        }
    }
}

impl Config {
    /// A configuration with the usual numbers for the one tenant.
    #[must_use]
    pub fn new(
        keyholder: Where,
        database_url: String,
        clock: Arc<dyn Clock>,
        entropy: Arc<dyn Entropy>,
    ) -> Self {
        let tuning = Tuning::default();
        Self { keyholder, database_url, tenant: FIRST_TENANT, clock, entropy, tuning }
    }
}

/// Without the URL: it may carry a password.
impl fmt::Debug for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Config")
            .field("keyholder", &self.keyholder)
            .field("tenant", &self.tenant)
            .field("tuning", &self.tuning)
            .finish_non_exhaustive()
    }
}
