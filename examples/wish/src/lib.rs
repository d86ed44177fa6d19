//! Wishes: what a customer wants to be reminded of when its show begins.
//!
//! **What it guards.** What somebody wishes for is personal: it stands sealed under that person's
//! key, in the table and in the log.
//!
//! **Promises.**
//! - **W1** a wish is seen and dropped by its owner only; for others there is none.
//! - **W2** a wish is dropped once: of eight that try at once, one does it and is told.
//! - **W3** an account that makes wishes like a program is asked to step up, once an hour.
//! - **W4** of an erased person this room keeps no row.
//!
//! **Threats.** Somebody else's session; a dump of the database; a program that fills the table.

mod erasure;
mod error;
mod events;
mod flood;
mod http;
mod room;
mod tables;
mod wish;

pub use erasure::Erasure;
pub use error::Error;
pub use events::EVENTS;
pub use flood::Flood;
pub use http::routes;
pub use room::Wishes;
pub use tables::TABLES;
pub use wish::{Make, Wish, WishId};

/// The room's migrations.
pub const MIGRATIONS: &[spine::Migration] = &[spine::Migration {
    version: 90_001,
    name: "wish/0001_wishes",
    text: include_str!("../migrations/0001_wishes.sql"),
}];

/// Every statement of the room.
#[must_use]
pub fn statements() -> Vec<spine::Statement> {
    [wish::STATEMENTS, flood::STATEMENTS].concat()
}
