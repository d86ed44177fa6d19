//! Observe: what operators see of the house, and what is told to systems outside it.
//!
//! **What it guards.** That trouble is seen before it is felt: a disk that fills, a clock that is
//! wrong, a sink that nobody reads; and that a SIEM hears of everything that the log tells.
//!
//! **Way in.** [`Observe::open`] once a node; [`Observe::run_sinks`] and [`Observe::look`] beside the
//! requests; [`traces`] for spans; [`Observe::replay`] where an operator wants events sent again.
//!
//! **Nouns.** A *sink* is a place outside that hears of every event as OCSF ([`ocsf`]); a *span* is a
//! piece of one request's time ([`traces`]); a *sample* is what was seen of the disk at a moment.
//!
//! # Promises
//! - **O1** a sink hears of each event at least once, in the order of the leaves, through restarts
//!   (syslog, which has no acknowledgement, of each event that its connection did not lose);
//! - **O2** a sink that is dead or slow holds up no other, no request and no transaction, and its lag
//!   is shown;
//! - **O3** nobody's name, address or e-mail leaves the house unless a sink is told so by name
//!   (`include_personal`): pseudonyms stand in their place, the same ones each time;
//! - **O4** spans hold nothing of a person, their queue is bounded, and what did not fit is counted;
//! - **O5** memory is bounded: batches, queues, samples.
//!
//! # Tables
//! `observe_sample` (upkeep).
//!
//! # Events
//! `observe.sink_replayed`.
//!
//! # Threats
//! Covered: a collector that is down, slow, or lies about its state; a restart in the middle of a
//! batch; somebody who reads what a SIEM keeps. *Not* covered: what a SIEM keeps of a person who is
//! erased here, where it was told by `include_personal`; syslog has no acknowledgement (RFC 6587), so
//! what a receiver took and lost is lost there, and of UDP also what the network lost.

mod clock;
mod config;
mod disk;
mod error;
mod events;
pub mod ocsf;
mod outbound;
mod room;
mod sink;
mod tables;
pub mod traces;

pub use clock::{ClockState, MAX_OFFSET, WARN_OFFSET};
pub use config::{ObserveConfig, SiemConfig, SiemFormat, SiemTo, TracesConfig, Transport};
pub use disk::{Disk, Forecast, Sample, space};
pub use error::Error;
pub use events::*;
pub use outbound::Outbound;
pub use room::{Observe, Parts};
pub use sink::SinkState;

/// What the room brings into the house.
pub const ROOM: spine::Room = spine::Room {
    name: "observe",
    number: 14,
    tables: tables::TABLES,
    events: EVENTS,
    migrations: &[spine::Migration {
        version: 140_001,
        name: "observe/0001_samples",
        text: include_str!("../migrations/0001_samples.sql"),
    }],
    statements: &[disk::STATEMENTS],
    consumers: &[],
    obeys: &[],
};
