//! The room's promises (A1–A9), on SQLite and PostgreSQL, with a real vault and a real log.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that cannot go on must stop where it stands"
)]

mod blocks;
mod config;
mod doors;
mod facts;
mod follow;
mod place;
mod seen;
mod services;
