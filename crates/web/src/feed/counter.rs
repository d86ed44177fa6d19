//! The way from the edge to what counts limits over all nodes. The edge asks for tokens, several
//! keys in one question; access answers out of the shared store. No time of day is told in either
//! direction, only spans: nobody's clock matters but the store's.

use futures_util::future::BoxFuture;
use serde::{Deserialize, Serialize};

/// Counts limits over all nodes; access implements it. Who drops the future has asked all the same.
pub trait Counter: Send + Sync {
    /// Takes from each key what can be had, in this order; none where the store does not answer.
    /// Without takes: says that this node counts, and how many do.
    fn take<'a>(&'a self, takes: &'a [Take]) -> BoxFuture<'a, Option<Taken>>;
}

/// Asks for tokens of one key under one limit, or gives some back. One token is a request of cost
/// 1.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Take {
    /// The limit's name.
    pub limit: String,
    /// Whose requests: 16 bytes that only have meaning at the edge.
    pub who: [u8; 16],
    /// In how many microseconds one token grows.
    pub emission_us: i64,
    /// In how many microseconds all of them have grown again.
    pub tolerance_us: i64,
    /// Where there are not even so many, none is given.
    pub least: u32,
    /// At most so many.
    pub most: u32,
    /// So many of those that were taken before come back unused.
    pub back: u32,
    /// Granted only together with the one before it.
    pub joined: bool,
}

/// The answer to one [`Take`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Grant {
    /// So many were given.
    pub tokens: u32,
    /// In how many microseconds the key is at rest, after this.
    pub ahead_us: i64,
}

/// The answers, in the order of the questions.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Taken {
    /// One for each [`Take`].
    pub grants: Vec<Grant>,
    /// How many nodes count together; told where nothing was asked for.
    pub nodes: Option<u32>,
}
