//! All use cases of the room, in one binary. Numbers W1 … W5 are the promises of lib.rs.
//! `cfg(test)` on each module tells clippy that its helpers are tests too.

#[cfg(test)]
mod erasure;
#[cfg(test)]
mod flood;
#[cfg(test)]
mod http;
#[cfg(test)]
mod keeping;
