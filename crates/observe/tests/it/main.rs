//! The room's promises (O1, O2), on SQLite and PostgreSQL, with a real log.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test that cannot go on must stop where it stands"
)]

mod sinks;
