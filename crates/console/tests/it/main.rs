//! The console's promises (C1–C7), on SQLite and PostgreSQL, with real rooms and a real log.

mod acts;
mod audit;
mod doors;
mod events;
mod house;
