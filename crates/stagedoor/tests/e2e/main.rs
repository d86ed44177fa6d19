//! The real binary, end to end: the story, the commands, kill -9 and restart, wrong input.

mod beside;
mod browser;
mod commands;
mod killed;
mod program;
mod story;
mod wrong_input;
