//! All tests of the crate that need no inside view, in one binary. Numbers M1 … M8 are the
//! promises of lib.rs. `cfg(test)` on each module tells clippy that its helpers are tests too.

#[cfg(test)]
mod export;
#[cfg(test)]
mod hostile;
#[cfg(test)]
mod notes;
#[cfg(test)]
mod peer;
#[cfg(test)]
mod proof_file;
#[cfg(test)]
mod support;
#[cfg(test)]
mod trees;
#[cfg(test)]
mod vectors;
#[cfg(test)]
mod witness;
