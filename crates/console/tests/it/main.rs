//! The console's promises (C1–C7), on SQLite and PostgreSQL, with real rooms and a real log.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that cannot go on must stop where it stands"
)]

mod acts;
mod audit;
mod doors;
mod events;
mod house;
mod nodes;
mod proof;
