//! Access: the control plane of the edge, and the door of the shop's own backend.
//!
//! **Way in.** [`Access::open`] gives the room. [`Access::plan`], [`Access::apply`] and
//! [`Access::roll_back`] put routes, limits and upstreams in force; [`Access::block`] and
//! [`Access::unblock`] turn clients away and let them in; [`Responses`] does so where `watch` asks;
//! [`Observer`] folds what the edge saw; [`Access::add_service`] gives the shop's services their
//! keys, and [`Services`] checks them; [`Access::take_facts`] takes what happened in the shop. A
//! cold edge starts from [`Access::feed_part`], and each node asks [`Access::follow`] each second what
//! others changed; [`Access::tend`] is called each minute.
//!
//! **Nouns.** *section*: one upstream, limit or route of the configuration. *revision*: one change
//! of them. *block*: a network that is refused for a while. *observation*: what the edge counted.
//! *service*: a program of the shop, with a key. *fact*: something that happened in the shop.
//! *kind*: what sort of fact.
//!
//! **Promises.**
//! - **A1** what is in force was checked whole; a mistake names its key in the file and the mend,
//!   and changes nothing;
//! - **A2** each change of what is in force is told with its difference and its author, and any
//!   earlier revision can be put in force again;
//! - **A3** of two applies at once one wins, and the edges end with the later revision;
//! - **A4** routes and blocks are published after their commit, at once, also where the client hung
//!   up, the changes of one thing in their order; a cold edge loads the same;
//! - **A5** this host, its trusted proxies and the listed networks are never blocked, by whomever
//!   it is asked, and an operator's own address not by that operator; a refusal is told;
//! - **A6** a flood at the edge makes larger counts, not more transactions: one event for a client
//!   and rule in a minute, so many events in a minute, and what was left out is said;
//! - **A7** a service's key stands here as a digest only, is shown once, is refused at once when
//!   revoked (and its use told), and is only good for its mode and scopes;
//! - **A8** a fact is taken once, whoever sends it how often at once; the answer to a repetition is
//!   the first answer, and other contents under the same id are a conflict; all of a batch or none;
//! - **A9** a fact holds only what its kind declares; ids, accounts and texts are sealed under the
//!   key of the customer; no fact takes the name of an event of the house.
//!
//! **Tables.** `access_revision`, `access_config`, `access_block`, `access_seen`, `access_service`,
//! `access_service_use`, `access_fact`.
//!
//! **Events.** `access.config_applied`, `access.client_blocked`, `access.client_unblocked`,
//! `access.blocks_expired`, `access.response_applied`, `access.limit_exceeded`,
//! `access.request_refused`, `access.flood_observed`, `access.service_added`,
//! `access.service_revoked`, `access.revoked_key_used`, and every kind of the [`Catalogue`].
//!
//! **Threats.** A flood that would drown the log or the database; a rule that is led to block the
//! shop's own proxy or office; a stolen dump (keys are digests, networks are sealed); a fact sent
//! twice, or by a stolen key of a test installation; a shop's backend that is broken and tells
//! facts of the future, of strangers, or in the house's name. *Not* covered: a stolen live key
//! tells false facts until it is revoked; blocks of an IPv4 address hit all who share it.

mod applied;
mod block;
mod config;
mod edge_config;
mod error;
mod events;
mod facts;
mod follow;
mod http;
mod limit_store;
mod moment;
mod obey;
mod plan;
mod room;
mod seen;
mod service;
mod tables;

pub use applied::{Applied, Revision};
pub use block::{Block, BlockEntry, BlockId, Blocked};
pub use config::{AccessConfig, BlockConfig, FactsConfig, SeenConfig};
pub use edge_config::{EdgeConfig, LimitConfig, OwnConfig, RouteConfig, UpstreamConfig, Who};
pub use error::{ConfigProblem, Error};
pub use events::{
    BlockSource, BlocksExpired, ClientBlocked, ClientUnblocked, ConfigApplied, FloodObserved,
    LimitExceeded, Obeyed, RequestRefused, ResponseApplied, RevokedKeyUsed, ServiceAdded,
    ServiceRevoked,
};
pub use facts::{AboutWhom, Batch, Catalogue, Fact, FieldSpec, FieldType, Fields, KindSpec, Taken};
pub use follow::{Followed, News};
pub use http::{FACTS_SCOPE, operator_routes, routes, shop_routes};
pub use limit_store::{LimitStore, Standing};
pub use plan::{Change, Diff, plan};
pub use room::{Access, Customers, FeedPart, Parts};
pub use seen::{Folded, Observer};
pub use service::{AddedService, Mode, NewService, ServiceEntry, Services};

/// What the room brings into the house; the shop's kinds of event are in the [`Catalogue`].
pub const ROOM: spine::Room = spine::Room {
    name: "access",
    number: 4,
    tables: tables::TABLES,
    events: events::EVENTS,
    migrations: &[spine::Migration {
        version: 40_001,
        name: "access/0001_access",
        text: include_str!("../migrations/0001_access.sql"),
    }],
    statements: &[
        applied::STATEMENTS,
        block::STATEMENTS,
        facts::STATEMENTS,
        follow::STATEMENTS,
        seen::STATEMENTS,
        service::STATEMENTS,
    ],
    consumers: &[<Access as spine::Obeys>::NAME],
    obeys: <Access as spine::Obeys>::ACTIONS,
};
