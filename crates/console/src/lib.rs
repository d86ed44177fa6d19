//! The console: pages for the people who run a shop's door, on a listener of their own.
//!
//! **What it guards.** The eyes and hands of operators: what each role may see of persons, and that
//! nobody does anything here without a trace.
//!
//! **Way in.** [`Console::open`] puts the rooms together; [`routes`] are its pages under
//! `/console`; [`OperatorCallers`] says who a request of this listener comes from.
//!
//! **Nouns.** A *desk* is what the page of one operator may show and offer; a *sight* is how much
//! of a person a role sees; a *line* is an event in a list; a *confirmation* is the page before an
//! act.
//!
//! **Promises.**
//! - **C1** only staff who signed in at the console itself come in; a session of the shop's own
//!   sign-in opens nothing here;
//! - **C2** an auditor sees no personal data, support sees it masked, an administrator sees a whole
//!   value only by asking for it, and each asking is an event with its reason;
//! - **C3** every act asks for a reason on a page of its own and is told with it; support does not
//!   act on staff, and nobody locks themselves or the last administrator out;
//! - **C4** a person and a rule use the same door: ending sessions and asking for a proof are
//!   requests on the log, which the owner room obeys;
//! - **C5** what is said of the log is proved on the page, and can be checked without this program;
//!   what the proof does not cover stands beside it;
//! - **C6** every page works without scripts; live lists end when the session does;
//! - **C7** lists, streams and checks are bounded;
//! - **C8** who does anything here proved the password within the last minutes; nothing that was
//!   typed is lost where it is asked for again;
//! - **C9** the sign-in tells nobody which addresses have accounts, nor whose they are.
//!
//! **Tables.** None. **Events**: [`EVENTS`].
//!
//! **Threats.** A curious operator; a stolen console cookie (it reads for at most 30 minutes
//! without use, and does nothing without the password); another site's forms; markup in what attackers send; a check that never ends.
//! *Not* covered: an administrator who photographs the screen.

mod account;
mod alert;
mod application;
mod audit;
mod callers;
mod client;
mod confirm;
mod desk;
mod edge;
mod event;
mod events;
mod nodes;
mod notice;
mod overview;
mod pulse;
mod room;
mod rule;
mod service;
mod sight;
mod sign_in;
mod told;

pub use callers::OperatorCallers;
pub use events::{LogVerified, PersonalDataRevealed, ReasonGiven, Revealed};
pub use room::{Console, Parts};

use events::EVENTS;
use utoipa_axum::router::OpenApiRouter;

/// The console's routes, for its own listener.
#[must_use]
pub fn routes(console: Console) -> OpenApiRouter {
    OpenApiRouter::new()
        .merge(sign_in::routes())
        .merge(overview::routes())
        .merge(event::routes())
        .merge(account::routes())
        .merge(application::routes())
        .merge(client::routes())
        .merge(alert::routes())
        .merge(rule::routes())
        .merge(audit::routes())
        .merge(edge::routes())
        .merge(service::routes())
        .merge(nodes::routes())
        .with_state(console)
}

/// What the console brings into the house: events, and statements that only read.
pub const ROOM: spine::Room = spine::Room {
    name: "console",
    number: 8,
    tables: &[],
    events: EVENTS,
    migrations: &[],
    statements: &[pulse::STATEMENTS],
    consumers: &[],
    obeys: &[],
};
