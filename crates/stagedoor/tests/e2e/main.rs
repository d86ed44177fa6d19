//! The real binary, end to end: the story, the commands, kill -9 and restart, wrong input, witnesses,
//! and foul weather: a database that dies, a disk that is full, a mail server with moods, storms of
//! kill -9, broken bytes at the socket, hard weather over three nodes.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stderr,
    clippy::disallowed_methods,
    reason = "a test that cannot go on must stop where it stands, and a real program takes real time"
)]

mod beside;
mod broken_socket;
mod browser;
mod commands;
mod dead_database;
mod death;
mod door;
mod drill;
mod full_disk;
mod hard_weather;
mod keep;
mod keyholder;
mod killed;
mod mail_server;
mod nodes;
mod observing;
mod packaged;
mod processes;
mod program;
mod refresh_killed;
mod roles;
mod rolling;
mod sequencer_killed;
mod shared_limits;
mod siem;
mod storm;
mod story;
mod together;
mod traces;
mod witness;
mod wrong_input;
