//! Where this node counts together with the others: decides out of leases where it can, and asks the
//! store where it must, the questions of many requests in one.
//!
//! Nobody waits long: a question that is not answered in time makes all others count alone until the
//! store answers the question that is asked each second.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;
use web::feed::{Counter, Take, Taken};

use super::keys::Keys;
use super::lease::{Asked, Lease, Spare, Step, Terms};
use super::{Rule, Verdict};
use crate::bounds::Bounds;

/// How much longer than a request the desk waits: an answer that is late still tells something.
const LATE_MAX: Duration = Duration::from_secs(1);
/// How often the store is told that this node counts, and looked at.
const BEAT: Duration = Duration::from_secs(1);
/// How often leases are looked at that may go back.
const SWEEP: Duration = Duration::from_millis(100);
/// Orders that may wait; more count alone.
const ORDERS_WAITING: usize = 4_096;
/// Orders that share one question.
const ORDERS_AT_ONCE: usize = 32;
/// Leases that are looked at; more just shrink.
const WATCHED_MAX: usize = 10_000;
/// Leases that go back in one question.
const BACK_AT_ONCE: usize = 128;

/// What the desk says to one request.
#[derive(Debug)]
pub enum Said {
    /// This.
    Verdict(Verdict),
    /// The store must be asked this.
    Ask(Line),
    /// Nothing: the store does not answer, and without it nothing passes.
    Nothing,
}

/// One line of an order.
#[derive(Debug)]
pub struct Line {
    take: Take,
    key: u128,
    terms: Terms,
    waits: bool,
    fills: bool,
}

impl Line {
    /// Whether it asks for one request only.
    pub(crate) const fn is_strict(&self) -> bool {
        self.terms.most == 0
    }

    /// It is granted only together with the one before it.
    pub(crate) const fn join(&mut self) {
        self.take.joined = true;
    }
}

/// What is asked for one request, or for none.
#[derive(Debug)]
struct Order {
    lines: Vec<Line>,
    done: Option<oneshot::Sender<Vec<Verdict>>>,
}

/// A lease that may go back.
#[derive(Debug)]
struct Watched {
    due_us: i64,
    key: u128,
    terms: Terms,
    take: Take,
}

/// The desk.
#[expect(missing_debug_implementations, reason = "who counts has none")]
pub struct Desk {
    counter: Arc<dyn Counter>,
    leases: Keys<Lease>,
    orders: mpsc::Sender<Order>,
    waiting: Mutex<Option<mpsc::Receiver<Order>>>,
    watched: Mutex<VecDeque<Watched>>,
    /// The store did not answer.
    silent: AtomicBool,
    nodes: AtomicU32,
    /// How long a request waits for the store.
    wait: Duration,
    /// This node's own time begins here: no clock that somebody sets has a say.
    began: Instant,
}

impl Desk {
    /// A desk at which nobody has asked yet.
    #[must_use]
    pub fn new(counter: Arc<dyn Counter>, bounds: &Bounds) -> Self {
        let (orders, waiting) = mpsc::channel(ORDERS_WAITING);
        Self {
            counter,
            leases: Keys::new(bounds.limit_keys_max),
            orders,
            waiting: Mutex::new(Some(waiting)),
            watched: Mutex::default(),
            silent: AtomicBool::new(false),
            nodes: AtomicU32::new(1),
            wait: Duration::from_millis(bounds.limit_wait_ms),
            began: Instant::now(),
        }
    }

    fn now_us(&self) -> i64 {
        i64::try_from(self.began.elapsed().as_micros()).unwrap_or(i64::MAX)
    }

    fn nodes(&self) -> u32 {
        self.nodes.load(Ordering::Relaxed)
    }

    /// Counts one request of `who`, as far as that needs no waiting.
    #[must_use]
    pub fn count(&self, rule: &Rule, who: &[u8; 16]) -> Said {
        let now_us = self.now_us();
        let terms = Terms::new(rule, self.nodes());
        let key = self.leases.key(rule.number, who);
        let silent = self.silent.load(Ordering::Relaxed);
        let line = |most, waits, fills| {
            let least = if waits { terms.cost } else { 1 };
            Line { take: take(rule, who, (least, most)), key, terms, waits, fills }
        };
        match self.leases.with(key, now_us, |lease| lease.take(&terms, now_us)) {
            Step::Say(verdict) => Said::Verdict(verdict),
            Step::Refill(verdict, most) => {
                if !silent {
                    let lines = vec![line(most, false, true)];
                    // Where there is no room, the next request asks again.
                    let _ = self.orders.try_send(Order { lines, done: None });
                }
                Said::Verdict(verdict)
            }
            Step::Ask { .. } if silent => self.alone(rule, who),
            Step::Ask { most, fills } => Said::Ask(line(most, true, fills)),
        }
    }

    /// Counts one request of `who` while the store does not answer.
    pub(crate) fn alone(&self, rule: &Rule, who: &[u8; 16]) -> Said {
        if rule.refuses_without_store() {
            return Said::Nothing;
        }
        let (now_us, nodes) = (self.now_us(), self.nodes());
        let terms = Terms::new(rule, nodes);
        let key = self.leases.key(rule.number, who);
        let alone = |lease: &mut Lease| lease.alone(&terms, nodes, now_us);
        Said::Verdict(self.leases.with(key, now_us, alone))
    }

    /// Asks the store, for one request; the verdicts in the order of the lines. None where it does
    /// not answer in time.
    pub async fn ask(&self, lines: Vec<Line>) -> Option<Vec<Verdict>> {
        let (done, verdicts) = oneshot::channel();
        self.orders.try_send(Order { lines, done: Some(done) }).ok()?;
        let answer = timeout(self.wait, verdicts).await;
        if answer.is_err() {
            self.fall_silent();
        }
        answer.ok()?.ok()
    }

    fn fall_silent(&self) {
        if !self.silent.swap(true, Ordering::Relaxed) {
            tracing::warn!("the shared store of limits does not answer: this node counts alone");
        }
    }

    /// Asks for what waits, until the edge stops.
    pub async fn serve(self: Arc<Self>, stop: CancellationToken) {
        let waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(mut waiting) = waiting else { return };
        let mut orders = Vec::with_capacity(ORDERS_AT_ONCE);
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                _ = waiting.recv_many(&mut orders, ORDERS_AT_ONCE) => {}
            }
            // Who went away needs no tokens.
            orders.retain(|order: &Order| order.done.as_ref().is_none_or(|done| !done.is_closed()));
            let takes: Vec<Take> = orders
                .iter_mut()
                .flat_map(|order| &mut order.lines)
                .map(|line| line.take.clone())
                .collect();
            if takes.is_empty() {
                continue;
            }
            let sent_us = self.now_us();
            match timeout(self.wait.saturating_add(LATE_MAX), self.counter.take(&takes)).await {
                Ok(Some(taken)) if taken.grants.len() == takes.len() => {
                    self.settle(&mut orders, &taken, sent_us);
                }
                Ok(_) | Err(_) => self.fall_silent(),
            }
            // Who waits for an order that is dropped hears that there is no answer.
            orders.clear();
        }
    }

    fn settle(&self, orders: &mut Vec<Order>, taken: &Taken, sent_us: i64) {
        let mut grants = taken.grants.iter();
        for order in orders.drain(..) {
            let mut verdicts = Vec::with_capacity(order.lines.len());
            for line in order.lines {
                let Some(grant) = grants.next() else { return };
                let Line { take, key, terms, waits, fills } = line;
                let asked = Asked { sent_us, most: take.most, waits, fills };
                let (verdict, watch) = self.leases.with(key, sent_us, |lease| {
                    let verdict = lease.granted(&terms, asked, grant.tokens, grant.ahead_us);
                    let watch = !lease.watched && lease.may_spare(&terms, sent_us);
                    lease.watched |= watch;
                    (verdict, watch)
                });
                if watch {
                    self.watch(Watched { due_us: sent_us, key, terms, take }, sent_us);
                }
                verdicts.push(verdict);
            }
            if let Some(done) = order.done {
                let _ = done.send(verdicts);
            }
        }
    }

    fn watch(&self, mut watched: Watched, now_us: i64) {
        let sweep_us = i64::try_from(SWEEP.as_micros()).unwrap_or(i64::MAX);
        watched.due_us = now_us.saturating_add(sweep_us);
        let mut all = self.watched.lock().unwrap_or_else(PoisonError::into_inner);
        if all.len() < WATCHED_MAX {
            all.push_back(watched);
        }
    }

    /// Gives back what lies unused, and hears whether the store answers, until the edge stops.
    pub async fn tend(self: Arc<Self>, stop: CancellationToken) {
        let mut sweep = tokio::time::interval(SWEEP);
        let mut beat = tokio::time::interval(BEAT);
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                _ = sweep.tick() => self.give_back(),
                _ = beat.tick() => self.beat().await,
            }
        }
    }

    async fn beat(&self) {
        let Ok(Some(taken)) = timeout(LATE_MAX, self.counter.take(&[])).await else {
            return self.fall_silent();
        };
        self.nodes.store(taken.nodes.unwrap_or(1).max(1), Ordering::Relaxed);
        if self.silent.swap(false, Ordering::Relaxed) {
            tracing::info!("the shared store of limits answers");
        }
    }

    fn give_back(&self) {
        if self.silent.load(Ordering::Relaxed) {
            return;
        }
        let now_us = self.now_us();
        let mut lines = Vec::new();
        for _ in 0..BACK_AT_ONCE {
            let mut all = self.watched.lock().unwrap_or_else(PoisonError::into_inner);
            let due = all.pop_front_if(|first| first.due_us <= now_us);
            drop(all);
            let Some(watched) = due else { break };
            let Watched { key, terms, .. } = watched;
            let spare = self.leases.with(key, now_us, |lease| {
                let spare = lease.spare(&terms, now_us);
                lease.watched = spare == Spare::Later;
                spare
            });
            match spare {
                Spare::Later => self.watch(watched, now_us),
                Spare::Back(back) => {
                    let take = Take { least: 0, most: 0, back, ..watched.take };
                    lines.push(Line { take, key, terms, waits: false, fills: false });
                }
                Spare::Nothing => {}
            }
        }
        if !lines.is_empty() {
            let _ = self.orders.try_send(Order { lines, done: None });
        }
    }
}

fn take(rule: &Rule, who: &[u8; 16], (least, most): (u32, u32)) -> Take {
    Take {
        limit: rule.limit.name.clone(),
        who: *who,
        emission_us: rule.gcra.emission_us,
        tolerance_us: rule.gcra.tolerance_us,
        least,
        most,
        back: 0,
        joined: false,
    }
}
