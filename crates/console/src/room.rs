//! The console's own value: the rooms that its pages show and act through, cheap to clone.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use access::Access;
use identity::Identity;
use kernel::{AccountId, Ctx, SessionId};
use observe::Observe;
use spine::{About, EventSpec, Spine, Subject, transact};
use tokio::sync::{Mutex, Semaphore};
use watch::Watch;

use crate::audit::LastCheck;
use crate::events::ReasonGiven;

/// What the program hands over when it opens the console.
pub struct Parts {
    /// The log.
    pub spine: Spine,
    /// Accounts and sessions.
    pub identity: Identity,
    /// Rules, alerts, answers.
    pub watch: Watch,
    /// Blocks, keys, routes.
    pub access: Access,
    /// Disk, clock and sinks of this node.
    pub observe: Observe,
    /// Every room's events, for words; the shop's own kinds come from `access`.
    pub catalogue: Vec<EventSpec>,
}

/// The console. Clones share everything.
#[derive(Clone)]
pub struct Console {
    inner: Arc<Inner>,
}

struct Inner {
    spine: Spine,
    identity: Identity,
    watch: Watch,
    access: Access,
    observe: Observe,
    catalogue: BTreeMap<&'static str, EventSpec>,
    /// One check of the log at a time.
    checking: Semaphore,
    last_check: Mutex<Option<LastCheck>>,
}

impl std::fmt::Debug for Console {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Console")
    }
}

/// How long a page waits for the owner room to obey before it says that it was asked.
const OBEY_WAIT: Duration = Duration::from_secs(2);
const OBEY_LOOK: Duration = Duration::from_millis(100);

impl Console {
    /// Puts the rooms together.
    #[must_use]
    pub fn open(parts: Parts) -> Self {
        let Parts { spine, identity, watch, access, observe, catalogue } = parts;
        let own = crate::EVENTS.iter().copied();
        let catalogue = catalogue.into_iter().chain(own).map(|spec| (spec.kind, spec)).collect();
        let (checking, last_check) = (Semaphore::new(1), Mutex::new(None));
        Self {
            inner: Arc::new(Inner {
                spine,
                identity,
                watch,
                access,
                observe,
                catalogue,
                checking,
                last_check,
            }),
        }
    }

    pub(crate) fn spine(&self) -> &Spine {
        &self.inner.spine
    }

    pub(crate) fn identity(&self) -> &Identity {
        &self.inner.identity
    }

    pub(crate) fn watch(&self) -> &Watch {
        &self.inner.watch
    }

    pub(crate) fn access(&self) -> &Access {
        &self.inner.access
    }

    pub(crate) fn observe(&self) -> &Observe {
        &self.inner.observe
    }

    pub(crate) fn checking(&self) -> &Semaphore {
        &self.inner.checking
    }

    pub(crate) fn last_check(&self) -> &Mutex<Option<LastCheck>> {
        &self.inner.last_check
    }

    /// The catalogue, in order of kind.
    pub(crate) fn catalogue(&self) -> impl Iterator<Item = &EventSpec> {
        self.inner.catalogue.values()
    }

    pub(crate) fn spec(&self, kind: &str) -> Option<&EventSpec> {
        self.inner.catalogue.get(kind)
    }

    /// What happened, in words; the kind itself where nobody declared words.
    pub(crate) fn words_of(&self, kind: &str) -> String {
        let declared = self.spec(kind).map(|spec| one_line(spec.about));
        let shop = || self.access().kinds().find(kind).map(|kind| kind.says.clone());
        declared.or_else(shop).unwrap_or_else(|| kind.to_owned())
    }

    /// What happened, as short as a line of a list wants it: the first part of the words.
    pub(crate) fn headline(&self, kind: &str) -> String {
        let words = self.words_of(kind);
        match words.split_once([';', ':']) {
            Some((first, _)) => format!("{first}."),
            None => words,
        }
    }

    /// Tells why an operator does what another room's event will tell without a reason (C3).
    pub(crate) async fn give_reason(
        &self,
        ctx: &Ctx,
        about: About,
        (act, reason): (&str, &str),
    ) -> Result<(), spine::Error> {
        let subjects = [about.subject, Subject::House];
        self.spine().sealer().resolve(&subjects).await?;
        transact!(self.spine(), ctx, tx => {
            tx.emit(about, ReasonGiven { act: act.to_owned(), reason: reason.to_owned() })?;
            Ok::<_, spine::Error>(())
        })
    }

    /// Whether a session of an account lives; any of them where none is named.
    pub(crate) async fn lives(
        &self,
        ctx: &Ctx,
        account: AccountId,
        session: Option<SessionId>,
    ) -> Result<bool, identity::Error> {
        let live = self.identity().sessions(ctx, account, None).await?;
        Ok(live.iter().any(|view| session.is_none_or(|session| view.id == session)))
    }

    /// Waits until what was asked for has ended, looking each time that the log grows; false where
    /// it took longer than two seconds.
    pub(crate) async fn ended(
        &self,
        ctx: &Ctx,
        account: AccountId,
        session: Option<SessionId>,
    ) -> Result<bool, identity::Error> {
        let mut grown = self.spine().grown();
        let look = async {
            while self.lives(ctx, account, session).await? {
                tokio::select! {
                    _ = grown.changed() => {}
                    () = tokio::time::sleep(OBEY_LOOK) => {}
                }
            }
            Ok(true)
        };
        tokio::time::timeout(OBEY_WAIT, look).await.unwrap_or(Ok(false))
    }
}

/// A doc comment as one line of text.
fn one_line(text: &str) -> String {
    text.replace('`', "").split_whitespace().collect::<Vec<_>>().join(" ")
}
