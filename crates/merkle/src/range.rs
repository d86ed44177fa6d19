//! The right edge of a tree: at most 64 hashes from which the next root follows. The sequencer
//! keeps it in one row, so that appending never reads the tree.

use crate::{Error, Hash, node_hash};

/// The largest tree this crate reads or signs: sizes must fit a signed 64-bit column.
pub const MAX_SIZE: u64 = i64::MAX as u64;

/// The roots of the perfect subtrees that make up `[0, size)`, largest first: one for each set bit
/// of `size` (RFC 9162 section 2.1.2).
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct CompactRange {
    size: u64,
    nodes: Vec<Hash>,
}

impl CompactRange {
    /// The tree without leaves.
    #[must_use]
    pub const fn new() -> Self {
        Self { size: 0, nodes: Vec::new() }
    }

    /// Rebuilds a range from its parts.
    ///
    /// # Errors
    /// `Malformed` when the number of nodes is not the number of set bits, or size > 2^63-1.
    pub fn from_parts(size: u64, nodes: Vec<Hash>) -> Result<Self, Error> {
        if size > MAX_SIZE {
            return Err(Error::malformed("compact range", "size is above 2^63-1"));
        }
        if u32::try_from(nodes.len()) != Ok(size.count_ones()) {
            return Err(Error::malformed("compact range", "wrong number of nodes"));
        }
        Ok(Self { size, nodes })
    }

    /// Leaves in the tree.
    #[must_use]
    pub const fn size(&self) -> u64 {
        self.size
    }

    /// Subtree roots, largest subtree first.
    #[must_use]
    pub fn nodes(&self) -> &[Hash] {
        &self.nodes
    }

    /// Adds one leaf hash. Amortised one node hash.
    pub fn append(&mut self, leaf: Hash) {
        let mut hash = leaf;
        for _ in 0..self.size.trailing_ones() {
            let Some(left) = self.nodes.pop() else { break };
            hash = node_hash(&left, &hash);
        }
        self.nodes.push(hash);
        self.size += 1;
    }

    /// The Merkle tree hash (RFC 6962 section 2.1).
    #[must_use]
    pub fn root(&self) -> Hash {
        let mut nodes = self.nodes.iter().rev();
        let Some(last) = nodes.next() else { return Hash::EMPTY_ROOT };
        nodes.fold(*last, |right, left| node_hash(left, &right))
    }

    /// Size as 8 big-endian bytes, then the nodes: 8 + 32 × (set bits), at most 2,024 bytes.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out = self.size.to_be_bytes().to_vec();
        for node in &self.nodes {
            out.extend_from_slice(node.as_bytes());
        }
        out
    }

    /// Reads what [`to_bytes`](Self::to_bytes) wrote.
    ///
    /// # Errors
    /// `Malformed` for any other length or a size above 2^63-1.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, Error> {
        let Some((size, rest)) = bytes.split_first_chunk::<8>() else {
            return Err(Error::malformed("compact range", "shorter than 8 bytes"));
        };
        let (hashes, ragged) = rest.as_chunks::<32>();
        if !ragged.is_empty() {
            return Err(Error::malformed("compact range", "ragged"));
        }
        Self::from_parts(u64::from_be_bytes(*size), hashes.iter().copied().map(Hash::new).collect())
    }

    /// The nodes that stand for the partial tile at `level`: those of bits 8·level … 8·level+7.
    pub(crate) fn level_nodes(&self, level: u8) -> &[Hash] {
        let shift = u32::from(level) * 8;
        let above = self.size.checked_shr(shift + 8).unwrap_or(0).count_ones();
        let within = (self.size.checked_shr(shift).unwrap_or(0) & 0xff).count_ones();
        self.nodes.get(above as usize..(above + within) as usize).unwrap_or_default()
    }
}

impl Extend<Hash> for CompactRange {
    fn extend<T: IntoIterator<Item = Hash>>(&mut self, leaves: T) {
        for leaf in leaves {
            self.append(leaf);
        }
    }
}

impl FromIterator<Hash> for CompactRange {
    fn from_iter<T: IntoIterator<Item = Hash>>(leaves: T) -> Self {
        let mut range = Self::new();
        range.extend(leaves);
        range
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::leaf_hash;

    #[test]
    fn bytes_round_trip_and_refuse_anything_else() {
        let mut range = CompactRange::new();
        for i in 0_u32..300 {
            let bytes = range.to_bytes();
            assert_eq!(CompactRange::from_bytes(&bytes), Ok(range.clone()));
            assert!(CompactRange::from_bytes(&[&bytes[..], &[0]].concat()).is_err());
            assert!(CompactRange::from_bytes(&[&bytes[..], &[0; 32]].concat()).is_err());
            assert!(CompactRange::from_bytes(&bytes[..bytes.len() - 1]).is_err());
            range.append(leaf_hash(&i.to_be_bytes()));
        }
        assert_eq!(CompactRange::new().root(), Hash::EMPTY_ROOT);
        let huge = u64::MAX.to_be_bytes();
        assert!(CompactRange::from_bytes(&[&huge[..], &[0; 64 * 32]].concat()).is_err());
    }
}
