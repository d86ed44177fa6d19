//! The spine's promises (P1–P7), on SQLite and PostgreSQL, with a real vault.

mod consuming;
mod drill;
mod dying;
mod poisoning;
mod proving;
mod sequencing;
mod tampering;
mod telling;
mod thing;
