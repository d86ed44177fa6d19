//! A proof as a person can follow it (C5): from the entry's bytes to the signed root, step by step.
//!
//! The steps are only drawn; what decides is the Merkle crate's own check of the same proof.

use merkle::{Hash, Policy, VerifyKey, leaf_hash, node_hash};
use spine::{Entry, EventProof};

use crate::told;

/// One joining on the way up.
#[derive(Clone, Debug)]
pub(crate) struct Step {
    /// The neighbour's hash.
    pub(crate) neighbour: String,
    /// Whether the neighbour stands on the left.
    pub(crate) left: bool,
    /// What both make.
    pub(crate) result: String,
}

/// A checked proof, drawn.
#[derive(Clone, Debug)]
pub(crate) struct Drawn {
    /// Whether the proof holds, and why not where it does not.
    pub(crate) fault: Option<String>,
    /// Bytes of the entry.
    pub(crate) entry_bytes: String,
    /// The leaf's hash.
    pub(crate) leaf: String,
    /// The leaf's number.
    pub(crate) index: String,
    /// Leaves of the tree.
    pub(crate) size: String,
    /// The way up.
    pub(crate) steps: Vec<Step>,
    /// The root that the checkpoint names.
    pub(crate) root: String,
    /// The log's name.
    pub(crate) origin: String,
    /// Who signed the checkpoint.
    pub(crate) signers: Vec<String>,
    /// The checkpoint as it stands.
    pub(crate) checkpoint: String,
    /// Rows that the entry attests, as `table, version n`.
    pub(crate) rows: Vec<String>,
    /// The verifier key.
    pub(crate) key: String,
}

impl Drawn {
    /// Checks the proof and draws it.
    pub(crate) fn of(proof: &EventProof, key: &VerifyKey) -> Self {
        let tlog = &proof.proof;
        let claimed = tlog.checkpoint.claimed();
        let policy = Policy::new(vec![key.clone()]);
        let checked = policy.and_then(|policy| tlog.verify(&proof.entry, &policy));
        let leaf = leaf_hash(&proof.entry);
        let steps = steps(leaf, (tlog.index, claimed.size()), &tlog.proof);
        let signers = tlog.checkpoint.note().signatures().iter();
        let rows = Entry::from_bytes(&proof.entry).map(|entry| entry.rows).unwrap_or_default();
        let row = |row: &spine::RowMark| match row.digest {
            Some(_) => format!("a row of {}, version {}", row.table, row.version),
            None => format!("a row of {}, deleted after version {}", row.table, row.version),
        };
        Self {
            fault: checked.err().map(|error| error.to_string()),
            entry_bytes: told::grouped(i64::try_from(proof.entry.len()).unwrap_or(0)),
            leaf: leaf.to_base64(),
            index: told::grouped(tlog.index),
            size: told::grouped(claimed.size()),
            steps,
            root: claimed.root().to_base64(),
            origin: claimed.origin().to_owned(),
            signers: signers.map(|s| format!("{} ({})", s.name(), s.key_id())).collect(),
            checkpoint: tlog.checkpoint.to_string(),
            rows: rows.iter().map(row).collect(),
            key: key.to_string(),
        }
    }
}

/// The way from a leaf to the root, as RFC 9162 section 2.1.3.2 walks it.
fn steps(leaf: Hash, (index, size): (u64, u64), proof: &[Hash]) -> Vec<Step> {
    let (mut at, mut last) = (index, size.saturating_sub(1));
    let mut hash = leaf;
    let mut steps = Vec::with_capacity(proof.len());
    for sibling in proof {
        let left = at & 1 == 1 || at == last;
        hash = if left { node_hash(sibling, &hash) } else { node_hash(&hash, sibling) };
        if left {
            // A right edge without a neighbour rises as it is.
            let rise = if at == 0 { 0 } else { at.trailing_zeros() };
            (at, last) = (at >> rise, last >> rise);
        }
        (at, last) = (at >> 1, last >> 1);
        steps.push(Step { neighbour: sibling.to_base64(), left, result: hash.to_base64() });
    }
    steps
}

#[cfg(test)]
mod tests {
    use merkle::{CompactRange, prove_inclusion_in};

    use super::*;

    // C5
    #[test]
    fn every_drawn_way_ends_at_the_root() {
        let leaves: Vec<Hash> = (0..70_u8).map(|n| leaf_hash(&[n])).collect();
        for size in 1..=leaves.len() {
            let tree = &leaves[..size];
            let root = tree.iter().copied().collect::<CompactRange>().root().to_base64();
            for (index, leaf) in tree.iter().enumerate() {
                let proof = prove_inclusion_in(tree, index as u64).unwrap();
                let steps = steps(*leaf, (index as u64, size as u64), &proof);
                let end = steps.last().map_or_else(|| leaf.to_base64(), |s| s.result.clone());
                assert_eq!(end, root, "{index} of {size}");
            }
        }
    }
}
