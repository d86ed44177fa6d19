//! The data plane: the one door of the shop. It parses hostile bytes, holds no database and no
//! key but its TLS keys, public token keys and the header key of each upstream. What it must know
//! comes by the feed ([`web::feed`]); what it sees goes back as counts.
//!
//! Promises, each quoted by its tests:
//! - **E1** a request that two readers could cut in two ways is refused before anyone reads it;
//! - **E2** what a route guards cannot be reached by writing its path in another way;
//! - **E3** the client's address comes from the socket, or from a trusted proxy and no other;
//! - **E4** every wait, size and count has a bound: a slow or greedy client costs only itself;
//! - **E5** a session that ended is refused, and its open streams close, without waiting for its
//!   token to expire; silence of the feed closes what is sensitive;
//! - **E6** an upstream can tell the edge's word from anybody else's ([`identity`]);
//! - **E7** nothing is gathered: bodies stream, and a request is never sent twice where that could
//!   matter;
//! - **E8** a new route table, certificate or shutdown drops no request that is under way.
//!
//! What it does not promise: it does not look into bodies, and a WebSocket's messages pass unseen.

mod awaited;
mod body;
mod bounds;
mod config;
mod connection;
mod connections;
mod deadline;
mod error;
mod exchange;
mod fields;
pub mod forward_auth;
pub mod forwarded;
pub mod frames;
pub mod framing;
pub mod head;
pub mod hello;
mod http2;
pub mod identity;
mod limited;
pub mod limits;
mod listener;
mod long_lived;
mod meters;
pub mod path;
mod proxy;
pub mod proxy_protocol;
mod recorder;
mod refused;
mod routes;
pub mod session;
mod socket;
mod stack;
mod state;
mod step;
mod tls;
mod token;
mod trace;
mod tunnel;
mod upstream;
mod uptake;
pub mod websocket;
mod wire;

pub use awaited::POSITION;
pub use bounds::Bounds;
pub use config::{Config, ForwardAuth, Listen, Tls};
pub use error::{Error, Problem};
pub use listener::{Edge, Running, Watcher};
pub use meters::{Report, RouteReport};
pub use proxy::{CoreGone, RawHead};
pub use refused::Shown;
pub use session::Issuer;
pub use tls::Certificates;
pub use trace::{TARGET as TRACED, continued};
pub use wire::UpstreamTls;
