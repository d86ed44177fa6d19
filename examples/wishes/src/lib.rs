//! Each wish: what a customer wants to be reminded of when its show begins.
//!
//! **What it guards.** The text of a wish is personal: it stands sealed under that person's
//! key, in the table and in the log.
//!
//! **Promises.**
//! - **W1** a wish is seen and dropped by its owner only; for others there is none.
//! - **W2** a wish is dropped once: of eight that try at once, one does it and is told.
//! - **W3** an account that makes one wish after the other, like a program, is asked to step up, once an hour.
//! - **W4** of an erased person this room keeps no row.
//! - **W5** a wish is kept for 30 days after it was dropped, a count for two.
//!
//! **Threats.** Somebody else's session; a dump of the database; a program that fills the table.

mod error;
mod events;
mod flood;
mod http;
mod room;
mod tables;
mod wish;

pub use error::Error;
pub use flood::Flood;
pub use http::routes;
pub use room::Wishes;
pub use wish::{Make, Wish, WishId};

/// What the room brings into the house.
pub const ROOM: spine::Room = spine::Room {
    name: "wishes",
    number: 90,
    tables: tables::TABLES,
    events: events::EVENTS,
    migrations: &[spine::Migration {
        version: 900_001,
        name: "wishes/0001_wishes",
        text: include_str!("../migrations/0001_wishes.sql"),
    }],
    statements: &[wish::STATEMENTS, flood::STATEMENTS],
    consumers: &[Flood::NAME],
    obeys: &[],
};
