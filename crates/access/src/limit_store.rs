//! How the store does in which all nodes count limits together, for those who look at the console.

use std::sync::{Mutex, PoisonError};

/// How the store does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Standing {
    /// Whether it answered the last question.
    pub answers: bool,
    /// How many nodes counted together at last.
    pub nodes: u32,
}

/// Whoever asks the store notes here how it does.
#[derive(Debug, Default)]
pub struct LimitStore(Mutex<Standing>);

impl LimitStore {
    /// It answered; where it said so, so many nodes count.
    pub fn answered(&self, nodes: Option<u32>) {
        let mut standing = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let nodes = nodes.unwrap_or(standing.nodes);
        *standing = Standing { answers: true, nodes };
    }

    /// It did not.
    pub fn fell_silent(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).answers = false;
    }

    pub(crate) fn standing(&self) -> Standing {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
