//! Obeying: how a room does what a rule or a person asked of it, once, in the transaction that moves
//! its cursor. What is the same for every room stands here: which requests are its own, what is a dry
//! run, whose keys are needed, and which failures are tried again.

use std::net::IpAddr;

use kernel::{AccountId, EventId, Kind, Refusal, SessionId, Timestamp};

use crate::{ActionKind, BoxFuture, Consumer, Error, Event as _, Recorded, ResponseRequested, Tx};

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

    /// Does it, and emits what it did, also where that was nothing. The keys of the account, of the
    /// day and of the house are there. A refusal ([`Kind`] but `Unavailable` and `Broken`) is noted
    /// in the program's log and passed over; other failures are tried again, with the whole
    /// transaction.
    fn obey<'a>(
        &'a self,
        tx: &'a mut Tx,
        asked: &'a Asked,
    ) -> BoxFuture<'a, Result<(), Self::Error>>;
}

/// The consumer of a room that obeys.
#[derive(Clone, Debug)]
pub struct Obedience<R>(pub R);

impl<R: Obeys> Obedience<R> {
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

    fn handle<'a>(
        &'a self,
        tx: &'a mut Tx,
        events: &'a [Recorded],
    ) -> BoxFuture<'a, Result<(), Error>> {
        Box::pin(async move {
            for asked in events.iter().filter_map(Self::asked) {
                match self.0.obey(tx, &asked).await {
                    Ok(()) => {}
                    Err(error) if matches!(error.kind(), Kind::Unavailable | Kind::Broken) => {
                        return Err(Error::of_room(error));
                    }
                    Err(error) => {
                        tracing::error!(%error, rule = asked.rule, "an answer was not obeyed");
                    }
                }
            }
            Ok(())
        })
    }
}
