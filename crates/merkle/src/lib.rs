//! The tamper-evident log, as mathematics: trees, tiles, checkpoints, proofs, witnesses.
//!
//! **What it guards.** Once a checkpoint has left the house, nobody can change, remove, reorder or
//! insert an event below it without being found out by whoever holds that checkpoint: not the
//! operator, not the database's superuser. This crate does the hashing, writing and checking.
//! It has no IO, no clock, no keys and no async: the spine stores what it returns, the vault
//! signs, and anybody may run the checks alone.
//!
//! **Promises**, quoted in the tests by number:
//! - M1  Hashes, roots and proofs are those of RFC 6962 and RFC 9162, bit for bit.
//! - M2  A proof is accepted only at its exact length, for its exact index and sizes.
//! - M3  Growing a tree from its frontier gives the same tiles and root as hashing it anew; an old
//!   tile that disagrees with the frontier is refused, never built upon.
//! - M4  Each format (path, bundle, vkey, note, checkpoint, proof file, request) has one spelling:
//!   what parses is written back byte for byte.
//! - M5  A text is believed only after a trusted key's signature over it verified; a bad signature
//!   by a trusted key refuses the whole note; one key never counts twice.
//! - M6  A witness cosigns only a tree that grew out of the last one it cosigned, and the
//!   signature can be asked for only after the state to remember was named.
//! - M7  The export check finds every changed entry, tile, root and tail, names the first leaf
//!   concerned, and holds one bundle and at most eight tiles in memory.
//! - M8  No bytes from outside make it panic, loop or allocate beyond the stated limits.
//!
//! **Threats.** Rewritten history with all hashes recomputed (found by an outside checkpoint or a
//! witness, never by the log alone); a cut tail (likewise); a split view (found when witnesses or
//! holders compare); forged, padded or replayed proofs; a node posing as a leaf; two spellings of
//! one note; a colliding key id; a pruned or partly erased export. *Not* covered: leaves that were
//! never under a checkpoint that left the house, a thief of the log's key before any witness saw
//! the tree, and the truth of what an entry says.
//!
//! **Sources.** RFC 6962 section 2, RFC 9162 section 2.1; C2SP: signed-note, tlog-checkpoint,
//! tlog-tiles, tlog-cosignature, tlog-witness, tlog-proof (c2sp.org, as of July 2026).
//!
//! ```
//! use merkle::{CompactRange, leaf_hash, prove_inclusion_in, verify_inclusion};
//!
//! let leaves: Vec<_> = [b"order.paid", b"order.ship"].iter().map(|e| leaf_hash(*e)).collect();
//! let root = leaves.iter().copied().collect::<CompactRange>().root();
//! let proof = prove_inclusion_in(&leaves, 1)?;
//! verify_inclusion(&leaf_hash(b"order.ship"), 1, 2, &proof, &root)?;
//! # Ok::<(), merkle::Error>(())
//! ```

mod checkpoint;
pub mod cosign;
mod error;
pub mod export;
mod hash;
pub mod key;
pub mod key_change;
pub mod note;
mod policy;
mod proof;
mod range;
pub mod tile;
mod tlog_proof;
mod tree;
pub mod witness;

pub use checkpoint::{Checkpoint, MAX_ORIGIN_BYTES, SignedCheckpoint};
pub use error::Error;
pub use hash::{Hash, leaf_hash, node_hash};
pub use key::{NoteSigner, VerifyKey};
pub use policy::{MAX_WITNESSES, Policy, Verified};
pub use proof::{
    MAX_PROOF, consistency_tiles, inclusion_tiles, prove_consistency, prove_consistency_in,
    prove_inclusion, prove_inclusion_in, verify_consistency, verify_inclusion,
};
pub use range::{CompactRange, MAX_SIZE};
pub use tile::{Resource, Tile, TileId, TileMap, TileReader};
pub use tlog_proof::{MAX_EXTRA_BYTES, TlogProof};
pub use tree::{Growth, grow, root_at};
