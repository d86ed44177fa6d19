//! The open connections: how many, of whom, and a way to end each, gently or at once.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use futures_util::task::AtomicWaker;
use web::feed::Net;

const GOING_ON: u8 = 0;
const DRAINING: u8 = 1;
const KILLED: u8 = 2;

/// What a connection is told to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Order {
    /// Finish what is under way, take nothing new.
    Drain,
    /// End at once.
    Kill,
}

/// How one connection is told.
#[derive(Debug, Default)]
pub(crate) struct Signal {
    state: AtomicU8,
    waker: AtomicWaker,
}

impl Signal {
    fn send(&self, state: u8) {
        self.state.fetch_max(state, Ordering::AcqRel);
        self.waker.wake();
    }

    /// Ready with an order that is stronger than `last`.
    pub(crate) fn poll(&self, cx: &mut Context<'_>, last: Option<Order>) -> Poll<Order> {
        self.waker.register(cx.waker());
        match (self.state.load(Ordering::Acquire), last) {
            (KILLED, _) => Poll::Ready(Order::Kill),
            (DRAINING, None) => Poll::Ready(Order::Drain),
            (_, _) => Poll::Pending,
        }
    }
}

#[derive(Debug, Default)]
struct Open {
    next: u64,
    of_client: HashMap<Net, usize>,
    all: HashMap<u64, (IpAddr, Arc<Signal>)>,
    state: u8,
}

/// All open connections of a listener.
#[derive(Debug)]
pub(crate) struct Connections {
    open: Arc<Mutex<Open>>,
    max: usize,
    client_max: usize,
}

/// A connection's place; dropping it frees the place.
#[derive(Debug)]
pub(crate) struct Place {
    open: Arc<Mutex<Open>>,
    number: u64,
    peer: IpAddr,
    pub(crate) signal: Arc<Signal>,
}

fn lock(open: &Mutex<Open>) -> MutexGuard<'_, Open> {
    open.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut open = lock(&self.open);
        open.all.remove(&self.number);
        let net = Net::of_client(self.peer);
        if let Some(count) = open.of_client.get_mut(&net) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                open.of_client.remove(&net);
            }
        }
    }
}

impl Connections {
    pub(crate) fn new(max: usize, client_max: usize) -> Self {
        Self { open: Arc::default(), max, client_max }
    }

    /// Takes a place for a peer; none where it, or all together, have too many. A trusted proxy
    /// is counted only among all.
    pub(crate) fn enter(&self, peer: IpAddr, trusted: bool) -> Option<Place> {
        let mut open = lock(&self.open);
        let net = Net::of_client(peer);
        let of_client = open.of_client.get(&net).copied().unwrap_or(0);
        if open.all.len() >= self.max || (!trusted && of_client >= self.client_max) {
            return None;
        }
        open.of_client.insert(net, of_client.saturating_add(1));
        let number = open.next;
        open.next = open.next.wrapping_add(1);
        let signal = Arc::new(Signal::default());
        if open.state > GOING_ON {
            signal.send(open.state);
        }
        open.all.insert(number, (peer, Arc::clone(&signal)));
        Some(Place { open: Arc::clone(&self.open), number, peer, signal })
    }

    /// Asks every connection to finish.
    pub(crate) fn drain(&self) {
        self.tell(DRAINING);
    }

    /// Ends every connection.
    pub(crate) fn kill(&self) {
        self.tell(KILLED);
    }

    fn tell(&self, state: u8) {
        let mut open = lock(&self.open);
        open.state = open.state.max(state);
        for (_, signal) in open.all.values() {
            signal.send(state);
        }
    }

    /// Ends the connections of a network.
    pub(crate) fn kill_net(&self, net: Net) {
        for (peer, signal) in lock(&self.open).all.values() {
            if net.contains(*peer) {
                signal.send(KILLED);
            }
        }
    }

    /// How many are open.
    pub(crate) fn len(&self) -> usize {
        lock(&self.open).all.len()
    }
}
