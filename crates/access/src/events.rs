//! What this room tells the log. Plain fields are counts, rules and words; addresses, names and
//! what was configured stand in the sealed part. Of IPv6, an address is its /64.

use std::net::IpAddr;

use kernel::{EventId, KeyId, Timestamp};
use serde::{Deserialize, Serialize};
use spine::ActionKind;
use utoipa::ToSchema;

/// Who asked for a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum BlockSource {
    /// One of the staff.
    Operator,
    /// A rule of `watch`.
    Rule,
}

impl BlockSource {
    /// The word, as stored.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Operator => "operator",
            Self::Rule => "rule",
        }
    }

    pub(crate) fn parse(text: &str) -> Option<Self> {
        [Self::Operator, Self::Rule].into_iter().find(|source| source.as_str() == text)
    }
}

/// What this room did when it was asked for a response.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Obeyed {
    /// The client is blocked.
    Blocked,
    /// It was blocked already; the block now ends at the later of both moments.
    Extended,
    /// The client may come in again.
    Unblocked,
    /// Not done: the address is the host's own, a trusted proxy's, or on the list of those that
    /// are never blocked.
    Protected,
    /// There was nothing to do: no address was named, its end had passed, or no block stood.
    Nothing,
}

spine::events! {
    room = "access";
    /// Another configuration of the edge is in force.
    ConfigApplied = "config_applied" {
        plain { revision: i64, added: u64, changed: u64, removed: u64 }
        sealed { diff: Vec<String> } retain_days = 2555, ocsf = 3004
    }
    /// A client's network is refused from now on; `extended` where a block stood already.
    ClientBlocked = "client_blocked" {
        plain { rule: String, source: BlockSource, extended: bool, lasts_s: u64 }
        sealed { net: String, reason: String, until: Timestamp } retain_days = 365, ocsf = 2004
    }
    /// A client's network may come in again, before its block's end.
    ClientUnblocked = "client_unblocked" {
        plain { } sealed { net: String } retain_days = 365, ocsf = 2004
    }
    /// Blocks whose time is over ended; old ones were deleted.
    BlocksExpired = "blocks_expired" {
        plain { expired: u64, deleted: u64 } sealed { } retain_days = 90, ocsf = 2004
    }
    /// A response that was asked for was obeyed, or not: `done` says which.
    ResponseApplied = "response_applied" {
        plain { action: ActionKind, done: Obeyed, rule: String }
        sealed { request: EventId, address: Option<IpAddr>, until: Option<Timestamp> }
        retain_days = 730, ocsf = 2004
    }
    /// A client met a limit; told once in a minute for each client and limit.
    LimitExceeded = "limit_exceeded" {
        plain { rule: String, count: u64 } sealed { address: IpAddr, minute: i64 }
        retain_days = 90, ocsf = 4002
    }
    /// The edge refused requests of a client; told once in a minute for each client and rule.
    RequestRefused = "request_refused" {
        plain { rule: String, count: u64 } sealed { address: IpAddr, minute: i64 }
        retain_days = 90, ocsf = 4002
    }
    /// More was seen in a minute than is told one by one; what was left out so far.
    FloodObserved = "flood_observed" {
        plain { left_out: u64, dropped: u64 } sealed { } retain_days = 365, ocsf = 4002
    }
    /// A service of the shop got a key.
    ServiceAdded = "service_added" {
        plain { scopes: Vec<String> } sealed { name: String, service: KeyId }
        retain_days = 2555, ocsf = 3004
    }
    /// A revoked key was used: somebody still has it. Told once in a minute for each key.
    RevokedKeyUsed = "revoked_key_used" {
        plain { } sealed { name: String, service: KeyId, address: Option<IpAddr> }
        retain_days = 365, ocsf = 3002
    }
    /// A service's key was revoked.
    ServiceRevoked = "service_revoked" {
        plain { } sealed { name: String, service: KeyId } retain_days = 2555, ocsf = 3004
    }
}
