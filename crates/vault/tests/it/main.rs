//! The vault's use cases, each on SQLite and on PostgreSQL; V1 … V11 are the promises of lib.rs.
//! `cfg(test)` on each module tells clippy that its helpers are tests too.

#[cfg(test)]
mod crash;
#[cfg(test)]
mod dump;
#[cfg(test)]
mod epoch;
#[cfg(test)]
mod keyholder;
#[cfg(test)]
mod places;
#[cfg(test)]
mod races;
#[cfg(test)]
mod roots;
#[cfg(test)]
mod rotation;
#[cfg(test)]
mod subjects;
#[cfg(test)]
mod tokens;
#[cfg(test)]
mod world;
