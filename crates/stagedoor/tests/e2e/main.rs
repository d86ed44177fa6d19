//! The real binary, end to end: the story, the commands, kill -9 and restart, wrong input, witnesses.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stderr,
    reason = "a test that cannot go on must stop where it stands"
)]

mod beside;
mod browser;
mod commands;
mod dead_database;
mod door;
mod killed;
mod program;
mod story;
mod witness;
mod wrong_input;
