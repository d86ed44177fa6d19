//! Watch's use cases on both databases. Identity's events are told here as identity tells them:
//! rooms do not know each other, they meet in the log.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test that cannot go on must stop where it stands"
)]

mod account;
mod alerts;
mod answers;
mod client;
mod http;
mod memory;
mod scene;
