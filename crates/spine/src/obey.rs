//! Obeying: how a room does what a rule or a person asked of it, once, in the transaction that moves
//! its cursor. What is the same for every room stands here: which requests are its own, what is a dry
//! run, whose keys are needed, and which failures are tried again.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};

use kernel::{AccountId, EventId, Kind, Refusal, SessionId, Timestamp};

use crate::{
    ActionKind, BoxFuture, Consumer, Error, Event as _, Recorded, ResponseRequested, Spine, Tx,
};

/// What is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asked {
    /// The event that asked.
    pub request: EventId,
    /// What shall be done.
    pub action: ActionKind,
    /// Which rule asks, or `operator`.
    pub rule: String,
    /// Why, in words.
    pub reason: String,
    /// Whom it is about.
    pub account: Option<AccountId>,
    /// Which session.
    pub session: Option<SessionId>,
    /// Which client.
    pub address: Option<IpAddr>,
    /// Until when.
    pub until: Option<Timestamp>,
}

/// A room that obeys.
pub trait Obeys: Send + Sync {
    /// How the room says no.
    type Error: Refusal;

    /// The name of its cursor.
    const NAME: &'static str;

    /// The answers that it owns; it is asked for no others.
    const ACTIONS: &'static [ActionKind];

    /// Called before the transaction begins: the place for what may wait, such as the keys of
    /// persons that the requests do not name. Those of the accounts asked about, of the day and of
    /// the house are resolved already. It refuses nothing: what fails here is tried again.
    fn prepare<'a>(&'a self, _asked: &'a [Asked]) -> BoxFuture<'a, Result<(), Self::Error>> {
        Box::pin(std::future::ready(Ok(())))
    }

    /// Does it, and emits what it did, also where that was nothing. A failure undoes the whole
    /// transaction, which is tried again; after a refusal ([`Kind`] but `Unavailable` and `Broken`)
    /// it is tried without this request, which is noted in the program's log and passed over.
    fn obey<'a>(
        &'a self,
        tx: &'a mut Tx,
        asked: &'a Asked,
    ) -> BoxFuture<'a, Result<(), Self::Error>>;
}

/// The consumer of a room that obeys.
#[derive(Debug)]
pub struct Obedience<R> {
    room: R,
    /// Requests that the room refused, until they are passed over.
    refused: Mutex<BTreeSet<EventId>>,
}

impl<R: Obeys> Obedience<R> {
    /// The consumer of this room.
    #[must_use]
    pub const fn new(room: R) -> Self {
        Self { room, refused: Mutex::new(BTreeSet::new()) }
    }

    fn refused(&self) -> MutexGuard<'_, BTreeSet<EventId>> {
        // A set that a panic interrupted is still a set.
        self.refused.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What the event asks of this room; none where it is a dry run, another room's, or about
    /// somebody who was erased meanwhile.
    fn asked(event: &Recorded) -> Option<Asked> {
        let request = event.parse::<ResponseRequested>()?;
        let ours = !request.dry_run && R::ACTIONS.contains(&request.action);
        ours.then_some(Asked {
            request: event.id,
            action: request.action,
            rule: request.rule,
            reason: request.reason,
            account: request.account,
            session: request.session,
            address: request.address,
            until: request.until,
        })
    }
}

impl<R: Obeys> Consumer for Obedience<R> {
    fn name(&self) -> &'static str {
        R::NAME
    }

    fn kinds(&self) -> &'static [&'static str] {
        &[ResponseRequested::SPEC.kind]
    }

    fn prepare<'a>(
        &'a self,
        spine: &'a Spine,
        events: &'a [Recorded],
    ) -> BoxFuture<'a, Result<(), Error>> {
        Box::pin(async move {
            spine.resolve_for(events).await?;
            let asked: Vec<Asked> = events.iter().filter_map(Self::asked).collect();
            self.room.prepare(&asked).await.map_err(Error::of_room)
        })
    }

    fn handle<'a>(
        &'a self,
        tx: &'a mut Tx,
        events: &'a [Recorded],
    ) -> BoxFuture<'a, Result<(), Error>> {
        Box::pin(async move {
            for asked in events.iter().filter_map(Self::asked) {
                if self.refused().remove(&asked.request) {
                    continue;
                }
                let Err(error) = self.room.obey(tx, &asked).await else { continue };
                if !matches!(error.kind(), Kind::Unavailable | Kind::Broken) {
                    tracing::error!(%error, rule = asked.rule, "an answer was not obeyed");
                    // What it changed before it refused must not stay: all again, without it.
                    self.refused().insert(asked.request);
                }
                return Err(Error::of_room(error));
            }
            Ok(())
        })
    }
}
