//! The tests of this crate, in one binary: what a caller sees of problems, headers, forms, pages.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test stops where it stands")]

mod api;
mod assets;
mod forms;
mod headers;
mod look;
mod problems;
mod shop;
mod sign_in;
mod stack;
mod streams;
