//! The use cases of this room, each on SQLite and on PostgreSQL.

mod crash;
mod house;
mod operator;
mod pages;
mod password;
mod recovery;
mod refresh;
mod session;
mod sign_in;
mod sign_up;
mod whole;
