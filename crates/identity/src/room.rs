//! The room itself: what its verbs work with, in one value that is cheap to clone.
//!
//! Verbs are methods, `room.verb(&ctx, command)`, each in its noun's file. A verb parses, reads,
//! fetches keys and hashes before its transaction begins; inside, it only decides and writes.

use std::sync::Arc;

use kernel::{Clock, Entropy, Secret};
use spine::{Consumer, Obedience, Sealer, Spine};
use tokio::sync::Notify;
use vault::Vault;
use web::Site;
use web::feed::Publisher;

use crate::config::IdentityConfig;
use crate::error::Error;
use crate::password::{Breached, Hasher};

/// What the program hands over when it opens the room.
pub struct Parts {
    /// Facts, events, reads.
    pub spine: Spine,
    /// Keys.
    pub vault: Vault,
    /// Where ended sessions are published at once.
    pub publisher: Publisher,
    /// The clock, for work that no request asked for.
    pub clock: Arc<dyn Clock>,
    /// Randomness, for the same.
    pub entropy: Arc<dyn Entropy>,
    /// The shop's names; links in mails lead to its public address.
    pub site: Arc<Site>,
    /// What the operator set.
    pub config: IdentityConfig,
    /// Passwords that leaked somewhere, and are not taken; none where there is no list.
    pub breached: Option<Breached>,
}

/// The room. Clones share everything.
#[derive(Clone)]
pub struct Identity {
    inner: Arc<Inner>,
}

struct Inner {
    parts: Parts,
    sealer: Arc<dyn Sealer>,
    hasher: Hasher,
    mail_waits: Notify,
}

impl std::fmt::Debug for Identity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Identity")
    }
}

impl Identity {
    /// Opens the room.
    ///
    /// # Errors
    /// [`Error::Config`] where the configuration asks for what is not safe.
    pub fn open(parts: Parts) -> Result<Self, Error> {
        // Under the index key, which is never rotated: a pepper must stay what it is.
        let pepper = Secret::new(parts.vault.blind("identity.pepper", b"argon2id"));
        let hasher = Hasher::new(&parts.config.password, pepper, Arc::clone(&parts.clock))?;
        let sealer: Arc<dyn Sealer> = Arc::new(parts.vault.clone());
        let mail_waits = Notify::new();
        Ok(Self { inner: Arc::new(Inner { parts, sealer, hasher, mail_waits }) })
    }

    /// What the operator set.
    #[must_use]
    pub fn config(&self) -> &IdentityConfig {
        &self.inner.parts.config
    }

    pub(crate) fn breached(&self) -> Option<&Breached> {
        self.inner.parts.breached.as_ref()
    }

    /// The hashing pool, for its metrics.
    #[must_use]
    pub fn hasher(&self) -> &Hasher {
        &self.inner.hasher
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

    pub(crate) fn sealer(&self) -> &dyn Sealer {
        self.inner.sealer.as_ref()
    }

    pub(crate) fn publisher(&self) -> &Publisher {
        &self.inner.parts.publisher
    }

    pub(crate) fn site(&self) -> &Site {
        &self.inner.parts.site
    }

    /// The present moment, for work that goes on longer than a request.
    pub(crate) fn now(&self) -> kernel::Timestamp {
        self.inner.parts.clock.now()
    }

    /// Circumstances of work that no request asked for.
    pub(crate) fn own_ctx(&self) -> kernel::Ctx {
        let parts = &self.inner.parts;
        let now = parts.clock.now();
        kernel::Ctx::new(kernel::Actor::System("identity"), now, Arc::clone(&parts.entropy))
    }

    /// Rung when a mail was queued, so that it need not wait for the next look.
    pub(crate) fn mail_waits(&self) -> &Notify {
        &self.inner.mail_waits
    }
}
