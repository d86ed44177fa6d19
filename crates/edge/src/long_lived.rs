//! WebSockets and event streams that are open, so that they close when their session ends or
//! their client is blocked. What is short is checked at its start and needs no place here.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

use kernel::{AccountId, SessionId, Timestamp};
use tokio_util::sync::CancellationToken;
use web::feed::{Net, began_ms};

/// Whose stream it is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Owner {
    /// Session and account, where somebody is signed in.
    pub(crate) session: Option<(SessionId, AccountId)>,
    /// The client.
    pub(crate) client: IpAddr,
}

#[derive(Debug, Default)]
struct Open {
    next: u64,
    streams: HashMap<u64, (Owner, CancellationToken)>,
}

/// All open streams of the edge.
#[derive(Debug)]
pub(crate) struct LongLived {
    open: Arc<Mutex<Open>>,
    max: usize,
}

/// A stream's place; dropping it frees the place.
#[derive(Debug)]
pub(crate) struct Place {
    open: Arc<Mutex<Open>>,
    number: u64,
    /// Cancelled when the stream must close.
    pub(crate) closed: CancellationToken,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.open.lock().unwrap_or_else(PoisonError::into_inner).streams.remove(&self.number);
    }
}

impl LongLived {
    /// Room for `max` streams.
    pub(crate) fn new(max: usize) -> Self {
        Self { open: Arc::default(), max }
    }

    /// Takes a place; none where all are taken.
    pub(crate) fn enter(&self, owner: Owner) -> Option<Place> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if open.streams.len() >= self.max {
            return None;
        }
        let number = open.next;
        open.next = open.next.wrapping_add(1);
        let closed = CancellationToken::new();
        open.streams.insert(number, (owner, closed.clone()));
        Some(Place { open: Arc::clone(&self.open), number, closed })
    }

    /// Closes one session's streams.
    pub(crate) fn close_session(&self, session: SessionId) {
        self.close(|owner| owner.session.is_some_and(|(id, _)| id == session));
    }

    /// Closes the streams of an account's sessions that began at or before a moment.
    pub(crate) fn close_account(&self, account: AccountId, before: Timestamp) {
        self.close(|owner| {
            owner
                .session
                .is_some_and(|(session, id)| id == account && began_ms(session) <= before.millis())
        });
    }

    /// Closes the streams of a network.
    pub(crate) fn close_net(&self, net: Net) {
        self.close(|owner| net.contains(owner.client));
    }

    /// Closes all that `which` names.
    pub(crate) fn close(&self, which: impl Fn(&Owner) -> bool) {
        let open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        for (owner, closed) in open.streams.values() {
            if which(owner) {
                closed.cancel();
            }
        }
    }

    /// How many are open.
    pub(crate) fn len(&self) -> usize {
        self.open.lock().unwrap_or_else(PoisonError::into_inner).streams.len()
    }
}
