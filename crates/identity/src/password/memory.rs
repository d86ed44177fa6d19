//! The memory that hashes work in: 19 MiB each, handed on while somebody waits, given back to the
//! system when nobody does.
//!
//! An allocator's heaps grow with every thread that ever hashed and hardly shrink; a piece that is
//! larger than what glibc keeps in its heaps (32 MiB) is mapped for itself and is gone when freed.
//! So more is asked for than is used: what is never touched costs nothing.

use std::sync::{Mutex, PoisonError};

use argon2::Block;

/// Blocks of 1 KiB from which on a piece is mapped for itself.
const MAPPED_BLOCKS: usize = 33 * 1_024;

/// Pieces that wait for the next hash; at most as many as there are workers.
#[derive(Default)]
pub(super) struct Memory {
    spare: Mutex<Vec<Vec<Block>>>,
}

impl Memory {
    /// A piece of so many blocks; what stands in it is of no account to argon2.
    pub(super) fn take(&self, blocks: usize) -> Vec<Block> {
        let spare = self.spare.lock().unwrap_or_else(PoisonError::into_inner).pop();
        if let Some(piece) = spare.filter(|piece| piece.len() == blocks) {
            return piece;
        }
        let mut piece = Vec::with_capacity(blocks.max(MAPPED_BLOCKS));
        piece.resize(blocks, Block::new());
        piece
    }

    /// Gives a piece back: it is kept while others wait, and everything goes with the last.
    pub(super) fn give(&self, piece: Vec<Block>, others: u32, workers: u32) {
        let mut spare = self.spare.lock().unwrap_or_else(PoisonError::into_inner);
        if others >= workers {
            spare.push(piece);
        } else if others == 0 {
            spare.clear();
        }
    }

    /// Pieces that are kept.
    #[cfg(test)]
    pub(super) fn kept(&self) -> usize {
        self.spare.lock().unwrap_or_else(PoisonError::into_inner).len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_are_handed_on_and_go_with_the_last() {
        let memory = Memory::default();
        let first = memory.take(64);
        memory.give(first, 5, 2);
        assert_eq!(memory.kept(), 1);
        assert_eq!(memory.take(64).len(), 64);
        assert_eq!(memory.kept(), 0);
        let (one, other) = (memory.take(64), memory.take(64));
        memory.give(one, 2, 2);
        memory.give(other, 0, 2);
        assert_eq!(memory.kept(), 0);
        // other costs, another size
        memory.give(vec![Block::new(); 64], 2, 2);
        assert_eq!(memory.take(128).len(), 128);
    }
}
