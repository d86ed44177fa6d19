//! What the source of truth says, folded into a hub that other nodes and this one publish to as well.
//!
//! Whoever reads it notes first which positions were heard, then reads, then folds: everything up to
//! those positions is in what was read, because a publisher commits before it speaks. Revocations
//! are a union. Blocks become what was read, but for networks of which somebody spoke meanwhile: what
//! was said of those stands until the next reading. Routes go by their revision.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, PoisonError};

use kernel::Timestamp;

use super::{
    BLOCKED_MAX, Block, Delta, Hub, Net, Publisher, PublisherId, RouteTable, Sent, Shared, Snapshot,
};

/// What was read.
#[derive(Debug, Default)]
pub struct Truth {
    /// Sessions that ended: all that are not older than what was folded in before.
    pub revocations: Vec<Delta>,
    /// Every block that stands; none where they were not read.
    pub blocks: Option<Vec<Delta>>,
    /// The routes in force; none where they were not read.
    pub routes: Option<Arc<RouteTable>>,
    /// Up to where other publishers were heard before the reading began.
    pub heard: HashMap<PublisherId, u64>,
}

/// Networks of which somebody spoke while the source of truth was read.
#[derive(Debug, Default)]
pub(super) struct Touched {
    readings: usize,
    nets: HashSet<Net>,
}

/// A reading of the source of truth: begun before the first question to it.
#[derive(Debug)]
pub struct Reading {
    shared: Arc<Shared>,
}

impl Drop for Reading {
    fn drop(&mut self) {
        let mut touched = self.shared.touched();
        touched.readings = touched.readings.saturating_sub(1);
        if touched.readings == 0 {
            touched.nets.clear();
        }
    }
}

impl Shared {
    fn touched(&self) -> std::sync::MutexGuard<'_, Touched> {
        self.touched.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Folds one change in, and remembers what it is about while somebody reads.
    pub(super) fn apply(&self, state: &mut Snapshot, delta: &Delta, now: Timestamp) {
        if let Delta::ClientBlocked { net, .. } | Delta::ClientUnblocked { net } = delta {
            let mut touched = self.touched();
            if touched.readings > 0 && touched.nets.len() < BLOCKED_MAX {
                touched.nets.insert(*net);
            }
        }
        state.apply(delta, now);
    }
}

impl Hub {
    /// Begins a reading of the source of truth.
    #[must_use]
    pub fn reading(&self) -> Reading {
        let _state = self.shared.lock();
        self.shared.touched().readings += 1;
        Reading { shared: Arc::clone(&self.shared) }
    }
}

impl Publisher {
    /// Folds in what was read, as changes of this publisher's. False where somebody spoke meanwhile
    /// of a block that was read otherwise: read again.
    pub fn fold(&self, reading: Reading, truth: Truth) -> bool {
        let now = self.shared.clock.now();
        let mut state = self.shared.lock();
        let mut settled = true;
        for delta in truth.revocations {
            if state.revocations.lacks(&delta) {
                self.publish_in(&mut state, delta, now);
            }
        }
        if let Some(blocks) = truth.blocks {
            let differing = differing(&state, blocks, now);
            let touched = self.shared.touched();
            let (spoken, differing): (Vec<_>, Vec<_>) =
                differing.into_iter().partition(|(net, _)| touched.nets.contains(net));
            drop(touched);
            settled = spoken.is_empty();
            for (_, delta) in differing {
                self.publish_in(&mut state, delta, now);
            }
        }
        if let Some(routes) = truth.routes.filter(|read| read.revision > state.routes.revision) {
            self.publish_in(&mut state, Delta::Routes(routes), now);
        }
        let mut moved = false;
        for (publisher, number) in truth.heard {
            let known = state.positions.entry(publisher).or_insert(0);
            moved |= *known < number;
            *known = number.max(*known);
        }
        if moved {
            // Subscriptions have not seen what lies between.
            let _ = self.shared.sender.send(Sent::Anew);
        }
        drop(state);
        drop(reading);
        settled
    }
}

/// What has to change for the blocks to be those that were read.
fn differing(state: &Snapshot, read: Vec<Delta>, now: Timestamp) -> Vec<(Net, Delta)> {
    let mut standing = HashSet::with_capacity(read.len());
    let mut differing = Vec::new();
    for delta in read {
        let Delta::ClientBlocked { net, until, ref reason } = delta else { continue };
        let block = Block { until, reason: reason.clone() };
        standing.insert(net);
        if state.blocks.nets.get(&net) != Some(&block) {
            differing.push((net, delta));
        }
    }
    let lifted =
        state.blocks.iter().filter(|(net, block)| block.until > now && !standing.contains(net));
    let lifted = lifted.map(|(net, _)| (*net, Delta::ClientUnblocked { net: *net }));
    differing.extend(lifted);
    differing
}
