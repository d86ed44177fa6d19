//! What an operator may set for this room. Units are the last part of a key's name. Changes apply
//! at restart, but for the edge's own tables ([`crate::EdgeConfig`]), which apply live.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use web::feed::Net;

use crate::error::ConfigProblem;
use crate::facts::KindSpec;

/// `[access]`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct AccessConfig {
    /// Blocks of clients.
    pub block: BlockConfig,
    /// Facts of the shop.
    pub facts: FactsConfig,
    /// What the edge saw.
    pub seen: SeenConfig,
}

const DAY_S: u64 = 86_400;

/// `[access.block]`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct BlockConfig {
    /// Networks that are never blocked, as `198.51.100.0/24`: offices, monitors, payment
    /// providers. Loopback and the trusted proxies are never blocked either. Default none.
    pub never: Vec<Net>,
    /// How long a block lasts where nobody says, s. Default 3600.
    #[schema(minimum = 1, maximum = 2_592_000)]
    pub default_s: u64,
    /// The longest block, s; what asks for more gets this. Default 604800 (7 days), at most
    /// 2592000 (30 days), so that the key of its day still stands.
    #[schema(minimum = 1, maximum = 2_592_000)]
    pub longest_s: u64,
}

impl Default for BlockConfig {
    fn default() -> Self {
        Self { never: Vec::new(), default_s: 3_600, longest_s: 7 * DAY_S }
    }
}

impl BlockConfig {
    /// The longest block.
    #[must_use]
    pub fn longest(&self) -> Duration {
        Duration::from_secs(self.longest_s.clamp(1, 30 * DAY_S))
    }

    /// How long a block lasts where nobody says.
    #[must_use]
    pub fn default_span(&self) -> Duration {
        Duration::from_secs(self.default_s.max(1)).min(self.longest())
    }
}

/// `[access.facts]`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct FactsConfig {
    /// How long a fact's id is remembered, h: within it the same fact is answered alike and not
    /// taken again. Default 72; 24 to 720.
    #[schema(minimum = 24, maximum = 720)]
    pub replay_h: u64,
    /// How far a fact's time may lie ahead of ours, s. Default 300.
    #[schema(maximum = 86_400)]
    pub ahead_max_s: u64,
    /// How far a fact's time may lie behind ours, h. Default 720 (30 days).
    #[schema(minimum = 1, maximum = 8_784)]
    pub behind_max_h: u64,
    /// Kinds of your own, beside the built-in ones.
    pub kind: Vec<KindSpec>,
}

impl Default for FactsConfig {
    fn default() -> Self {
        Self { replay_h: 72, ahead_max_s: 300, behind_max_h: 720, kind: Vec::new() }
    }
}

impl FactsConfig {
    /// How long a fact's id is remembered.
    #[must_use]
    pub fn replay(&self) -> Duration {
        Duration::from_secs(self.replay_h.clamp(24, 720) * 3_600)
    }

    /// How far a fact's time may lie ahead.
    #[must_use]
    pub const fn ahead_max(&self) -> Duration {
        Duration::from_secs(self.ahead_max_s)
    }

    /// How far a fact's time may lie behind.
    #[must_use]
    pub const fn behind_max(&self) -> Duration {
        Duration::from_secs(self.behind_max_h.saturating_mul(3_600))
    }
}

/// `[access.seen]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct SeenConfig {
    /// Clients and rules that are counted one by one in a minute; more are counted together.
    /// Default 5000, at most 50000.
    #[schema(maximum = 50_000)]
    pub clients_per_minute_max: usize,
    /// Events in a minute about what clients met; more are told together. Default 600, at most
    /// 5000.
    #[schema(maximum = 5_000)]
    pub events_per_minute_max: usize,
}

impl Default for SeenConfig {
    fn default() -> Self {
        Self { clients_per_minute_max: 5_000, events_per_minute_max: 600 }
    }
}

impl SeenConfig {
    /// Clients and rules counted one by one in a minute.
    #[must_use]
    pub fn clients_max(&self) -> usize {
        self.clients_per_minute_max.min(50_000)
    }

    /// Events in a minute.
    #[must_use]
    pub fn events_max(&self) -> usize {
        self.events_per_minute_max.min(5_000)
    }
}

impl AccessConfig {
    /// Everything that is wrong; empty where the room can be opened with it.
    #[must_use]
    pub fn problems(&self) -> Vec<ConfigProblem> {
        let mut problems = Vec::new();
        let mut say = |key: &str, detail: &str| {
            problems.push(ConfigProblem { key: key.to_owned(), detail: detail.to_owned() });
        };
        if !(1..=30 * DAY_S).contains(&self.block.longest_s) {
            say("access.block.longest_s", "must be 1 to 2592000");
        }
        if !(1..=self.block.longest_s).contains(&self.block.default_s) {
            say("access.block.default_s", "must be 1 to `longest_s`");
        }
        if self.block.never.len() > 1_000 {
            say("access.block.never", "at most 1000 networks");
        }
        if !(24..=720).contains(&self.facts.replay_h) {
            say("access.facts.replay_h", "must be 24 to 720");
        }
        if self.facts.ahead_max_s > DAY_S {
            say("access.facts.ahead_max_s", "must be 0 to 86400");
        }
        if !(1..=8_784).contains(&self.facts.behind_max_h) {
            say("access.facts.behind_max_h", "must be 1 to 8784");
        }
        if self.seen.clients_per_minute_max > 50_000 {
            say("access.seen.clients_per_minute_max", "must be 0 to 50000");
        }
        if self.seen.events_per_minute_max > 5_000 {
            say("access.seen.events_per_minute_max", "must be 0 to 5000");
        }
        problems
    }
}
