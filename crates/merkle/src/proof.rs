//! Inclusion and consistency proofs (RFC 6962 section 2.1, RFC 9162 sections 2.1.3 and 2.1.4):
//! made from tiles or leaf hashes, checked against nothing but roots. A proof of the wrong length
//! is refused before any hashing, so a proof cannot be padded, cut or reused elsewhere.

use crate::tile::check_size;
use crate::tree::{LeafTree, Nodes, TiledTree, span_root, span_tiles};
use crate::{Error, Hash, TileId, TileReader, node_hash};

/// Hashes in the longest proof.
pub const MAX_PROOF: usize = 63;

/// Proves that leaf `index` is in the tree of `size` leaves: from the leaf's sibling upwards.
///
/// # Errors
/// `Index` for a leaf outside the tree; errors of the tiles.
pub fn prove_inclusion(tiles: &impl TileReader, index: u64, size: u64) -> Result<Vec<Hash>, Error> {
    let spans = inclusion_spans(index, size)?;
    span_roots(&TiledTree::new(tiles, size), &spans)
}

/// Proves that the tree of `old` leaves is a prefix of the tree of `new` leaves. Empty when
/// `old` is 0 or equals `new`.
///
/// # Errors
/// `Sizes` when `old` > `new`; errors of the tiles.
pub fn prove_consistency(tiles: &impl TileReader, old: u64, new: u64) -> Result<Vec<Hash>, Error> {
    let spans = consistency_spans(old, new)?;
    span_roots(&TiledTree::new(tiles, new), &spans)
}

/// The tiles that [`prove_inclusion`] will read.
///
/// # Errors
/// `Index` for a leaf outside the tree.
pub fn inclusion_tiles(index: u64, size: u64) -> Result<Vec<TileId>, Error> {
    Ok(span_tiles(size, &inclusion_spans(index, size)?))
}

/// The tiles that [`prove_consistency`] will read.
///
/// # Errors
/// `Sizes` when `old` > `new`.
pub fn consistency_tiles(old: u64, new: u64) -> Result<Vec<TileId>, Error> {
    Ok(span_tiles(new, &consistency_spans(old, new)?))
}

/// As [`prove_inclusion`], from all leaf hashes: for small trees and tests.
///
/// # Errors
/// `Index` for a leaf outside the tree.
pub fn prove_inclusion_in(leaves: &[Hash], index: u64) -> Result<Vec<Hash>, Error> {
    span_roots(&LeafTree(leaves), &inclusion_spans(index, leaves.len() as u64)?)
}

/// As [`prove_consistency`], from all leaf hashes of the newer tree: for small trees and tests.
///
/// # Errors
/// `Sizes` when `old` is larger than the tree.
pub fn prove_consistency_in(leaves: &[Hash], old: u64) -> Result<Vec<Hash>, Error> {
    span_roots(&LeafTree(leaves), &consistency_spans(old, leaves.len() as u64)?)
}

/// Checks that `leaf` (a leaf hash) is number `index` of the tree of `size` leaves with `root`.
///
/// # Errors
/// `Index`, `ProofLength`, or `Root` when the proof leads elsewhere.
pub fn verify_inclusion(
    leaf: &Hash,
    index: u64,
    size: u64,
    proof: &[Hash],
    root: &Hash,
) -> Result<(), Error> {
    if index >= size {
        return Err(Error::Index { index, size });
    }
    let want = inclusion_len(index, size);
    if proof.len() != want {
        return Err(Error::ProofLength { got: proof.len(), want });
    }
    let (mut at, mut last) = (index, size - 1);
    let mut hash = *leaf;
    for sibling in proof {
        if at & 1 == 1 || at == last {
            hash = node_hash(sibling, &hash);
            // a right edge without a sibling rises unhashed
            let rise = if at == 0 { 0 } else { at.trailing_zeros() };
            (at, last) = (at >> rise, last >> rise);
        } else {
            hash = node_hash(&hash, sibling);
        }
        (at, last) = (at >> 1, last >> 1);
    }
    if last == 0 && hash == *root { Ok(()) } else { Err(Error::Root) }
}

/// Checks that the tree (`old`, `old_root`) is a prefix of the tree (`new`, `new_root`).
///
/// # Errors
/// `Sizes` when `old` is 0 (the empty tree proves nothing, see [`witness`](crate::witness) for
/// the first contact) or above `new`; `ProofLength`; `Root`.
pub fn verify_consistency(
    old: u64,
    new: u64,
    proof: &[Hash],
    old_root: &Hash,
    new_root: &Hash,
) -> Result<(), Error> {
    if old == 0 || old > new {
        return Err(Error::Sizes { old, new });
    }
    let want = consistency_len(old, new);
    if proof.len() != want {
        return Err(Error::ProofLength { got: proof.len(), want });
    }
    if old == new {
        return if old_root == new_root { Ok(()) } else { Err(Error::Root) };
    }
    let shift = (old - 1).trailing_ones();
    let (mut at, mut last) = ((old - 1).unbounded_shr(shift), (new - 1).unbounded_shr(shift));
    let mut rest = proof.iter();
    // the old tree is one perfect subtree: its root starts the walk and is not sent
    let first = if old.is_power_of_two() { Some(old_root) } else { rest.next() };
    let Some(first) = first else { return Err(Error::ProofLength { got: 0, want }) };
    let (mut of_old, mut of_new) = (*first, *first);
    for sibling in rest {
        if at & 1 == 1 || at == last {
            of_old = node_hash(sibling, &of_old);
            of_new = node_hash(sibling, &of_new);
            let rise = if at == 0 { 0 } else { at.trailing_zeros() };
            (at, last) = (at >> rise, last >> rise);
        } else {
            of_new = node_hash(&of_new, sibling);
        }
        (at, last) = (at >> 1, last >> 1);
    }
    let same = last == 0 && of_old == *old_root && of_new == *new_root;
    if same { Ok(()) } else { Err(Error::Root) }
}

/// Length of an inclusion proof: one hash per level until leaf and last leaf share their path,
/// then one per left sibling.
const fn inclusion_len(index: u64, size: u64) -> usize {
    let apart = 64 - (index ^ (size - 1)).leading_zeros();
    let left = index.unbounded_shr(apart).count_ones();
    (apart + left) as usize
}

/// Length of a consistency proof, for 0 < old ≤ new: an inclusion proof of the old tree's last
/// leaf, less its steps inside the old tree's last perfect subtree, plus that subtree's root
/// unless it is the whole old tree.
const fn consistency_len(old: u64, new: u64) -> usize {
    if old == new {
        return 0;
    }
    let inside = old.trailing_zeros() as usize;
    inclusion_len(old - 1, new) - inside + !old.is_power_of_two() as usize
}

/// PATH(m, D[n]) of RFC 6962 section 2.1.1 as leaf ranges.
fn inclusion_spans(index: u64, size: u64) -> Result<Vec<(u64, u64)>, Error> {
    check_size(size)?;
    if index >= size {
        return Err(Error::Index { index, size });
    }
    let (mut low, mut high) = (0, size);
    let mut out = Vec::new();
    while high - low > 1 {
        let middle = low + split(high - low);
        if index < middle {
            out.push((middle, high));
            high = middle;
        } else {
            out.push((low, middle));
            low = middle;
        }
    }
    out.reverse();
    Ok(out)
}

/// SUBPROOF(m, D[n], b) of RFC 6962 section 2.1.2 as leaf ranges.
fn consistency_spans(old: u64, new: u64) -> Result<Vec<(u64, u64)>, Error> {
    check_size(new)?;
    if old > new {
        return Err(Error::Sizes { old, new });
    }
    if old == 0 || old == new {
        return Ok(Vec::new());
    }
    let (mut low, mut high) = (0, new);
    let mut out = Vec::new();
    while old != high {
        let middle = low + split(high - low);
        if old <= middle {
            out.push((middle, high));
            high = middle;
        } else {
            out.push((low, middle));
            low = middle;
        }
    }
    // the verifier knows the old root already when the walk never left the left edge
    if low > 0 {
        out.push((low, high));
    }
    out.reverse();
    Ok(out)
}

/// The largest power of two below `count`, for count > 1.
const fn split(count: u64) -> u64 {
    1 << (count - 1).ilog2()
}

fn span_roots(nodes: &impl Nodes, spans: &[(u64, u64)]) -> Result<Vec<Hash>, Error> {
    spans.iter().map(|(low, high)| span_root(nodes, *low, *high)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_are_those_of_the_spans() {
        for new in 1..300 {
            for old in 1..=new {
                assert_eq!(consistency_len(old, new), consistency_spans(old, new).unwrap().len());
                let spans = inclusion_spans(old - 1, new).unwrap();
                assert_eq!(inclusion_len(old - 1, new), spans.len());
            }
        }
        assert!(inclusion_len(0, u64::MAX) <= 64 && inclusion_len(u64::MAX - 1, u64::MAX) <= 64);
        assert!(inclusion_spans(5, crate::MAX_SIZE).unwrap().len() <= MAX_PROOF);
    }
}
