//! The use cases of this room, each on SQLite and on PostgreSQL.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that cannot go on must stop where it stands"
)]

mod application;
mod crash;
mod house;
mod operator;
mod pages;
mod password;
mod recovery;
mod refresh;
mod second_factor;
mod session;
mod sign_in;
mod sign_up;
mod whole;
