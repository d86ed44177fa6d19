//! The spine's promises (P1–P8), on SQLite and PostgreSQL, with a real vault.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    reason = "a test that cannot go on must stop where it stands, and ends what it spawned"
)]

mod consuming;
mod drill;
mod dying;
mod erasing;
mod following;
mod nodes;
mod obeying;
mod poisoning;
mod proving;
mod sequencing;
mod tampering;
mod telling;
mod thing;
mod upgrading;
