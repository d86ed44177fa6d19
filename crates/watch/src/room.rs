//! The room itself: what its verbs work with, in one value that is cheap to clone.

use std::fmt;
use std::sync::Arc;

use spine::{Consumer, Sealer, Spine};
use tokio::sync::Mutex;
use vault::Vault;

use crate::config::{Tuned, WatchConfig, tune};
use crate::error::Error;
use crate::state::Live;

/// The room. Clones share everything; each node of an installation has one.
#[derive(Clone)]
pub struct Watch {
    inner: Arc<Inner>,
}

struct Inner {
    spine: Spine,
    vault: Vault,
    config: WatchConfig,
    rules: Vec<Tuned>,
    live: Mutex<Live>,
}

impl fmt::Debug for Watch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watch").field("rules", &self.inner.rules.len()).finish_non_exhaustive()
    }
}

impl Watch {
    /// Opens the room. Reads nothing yet: windows are loaded with the first batch of events.
    ///
    /// # Errors
    /// [`Error::Config`] with the key that is wrong.
    pub fn open(spine: Spine, vault: Vault, config: WatchConfig) -> Result<Self, Error> {
        let rules = tune(&config)?;
        let live = Mutex::new(Live::new(&rules, config.keys_max));
        Ok(Self { inner: Arc::new(Inner { spine, vault, config, rules, live }) })
    }

    /// What follows the log for this room.
    #[must_use]
    pub fn consumers(&self) -> Vec<Box<dyn Consumer>> {
        vec![Box::new(self.clone())]
    }

    /// What the operator set.
    #[must_use]
    pub fn config(&self) -> &WatchConfig {
        &self.inner.config
    }

    /// The rules at work, with the operator's numbers.
    #[must_use]
    pub fn rules(&self) -> &[Tuned] {
        &self.inner.rules
    }

    pub(crate) fn spine(&self) -> &Spine {
        &self.inner.spine
    }

    pub(crate) fn vault(&self) -> &Vault {
        &self.inner.vault
    }

    pub(crate) fn sealer(&self) -> &dyn Sealer {
        self.inner.spine.sealer().as_ref()
    }

    pub(crate) fn live(&self) -> &Mutex<Live> {
        &self.inner.live
    }
}
