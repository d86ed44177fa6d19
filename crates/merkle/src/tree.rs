//! Growing a tree tile by tile, and reading any hash of it back out of tiles. Before new leaves
//! stand on an old tile, that tile must agree with the frontier: a changed store is found here.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

use crate::tile::{check_size, read_hashes};
use crate::{CompactRange, Error, Hash, Resource, Tile, TileId, TileReader, node_hash};

/// What a batch of leaves makes of a tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Growth {
    /// The new right edge: size and root.
    pub range: CompactRange,
    /// Every tile that is new or wider than before, as it stands after the batch.
    pub tiles: Vec<Tile>,
}

/// Adds `leaves` (hashes, in order) to the tree whose right edge is `range`. Reads at most one
/// partial tile per level ([`TileId::edge`]) and hashes each node once.
///
/// # Errors
/// `Missing` or `Read` from the reader; `Tile` when an old partial tile disagrees with `range`;
/// `Malformed` when the size would pass 2^63-1.
pub fn grow(
    range: &CompactRange,
    leaves: &[Hash],
    tiles: &impl TileReader,
) -> Result<Growth, Error> {
    let old = range.size();
    let new = old.saturating_add(leaves.len() as u64);
    check_size(new)?;
    let mut out = Vec::new();
    let mut fresh = leaves.to_vec();
    // edge nodes level by level, smallest subtrees first; each level's own list is largest first
    let mut edges = Vec::new();
    for level in 0..8_u8 {
        if fresh.is_empty() {
            edges.push(range.level_nodes(level).to_vec());
            continue;
        }
        let count = old >> (8 * u32::from(level));
        let mut hashes = old_edge(range, level, tiles)?;
        hashes.append(&mut fresh);
        let mut edge = Vec::new();
        for (chunk, index) in hashes.chunks(256).zip(count / 256..) {
            let width = u16::try_from(chunk.len()).unwrap_or(u16::MAX);
            let id = TileId::new(level, index, width)?;
            let bytes = chunk.iter().flat_map(|hash| *hash.as_bytes()).collect();
            out.push(Tile { id, bytes });
            let nodes = perfect_nodes(chunk);
            if id.is_partial() {
                edge = nodes;
            } else {
                fresh.extend(nodes);
            }
        }
        edges.push(edge);
    }
    let nodes = edges.into_iter().rev().flatten().collect();
    Ok(Growth { range: CompactRange::from_parts(new, nodes)?, tiles: out })
}

/// The hashes of the partial tile at `level`, checked against the frontier.
fn old_edge(range: &CompactRange, level: u8, tiles: &impl TileReader) -> Result<Vec<Hash>, Error> {
    let count = range.size() >> (8 * u32::from(level));
    let Some(id) = TileId::in_tree(level, count / 256, range.size()) else {
        return Ok(Vec::new());
    };
    let hashes = read_hashes(tiles, id)?;
    if perfect_nodes(&hashes) != range.level_nodes(level) {
        let path = Resource::Tile(id).path();
        return Err(Error::Tile { path, why: "it does not hash to the frontier" });
    }
    Ok(hashes)
}

/// Roots of the perfect subtrees over `hashes`, largest first.
fn perfect_nodes(hashes: &[Hash]) -> Vec<Hash> {
    hashes.iter().copied().collect::<CompactRange>().nodes().to_vec()
}

/// The root of the tree of the first `size` leaves, from tiles of that or a larger tree.
///
/// # Errors
/// From the reader; `Tile` for a short tile; `Malformed` for a size above 2^63-1.
pub fn root_at(tiles: &impl TileReader, size: u64) -> Result<Hash, Error> {
    check_size(size)?;
    if size == 0 {
        return Ok(Hash::EMPTY_ROOT);
    }
    span_root(&TiledTree::new(tiles, size), 0, size)
}

/// The tiles that a calculation touches, without reading any: for callers that must fetch first.
pub(crate) fn span_tiles(size: u64, spans: &[(u64, u64)]) -> Vec<TileId> {
    let mut out: Vec<_> = spans
        .iter()
        .flat_map(|(low, high)| perfect_spans(*low, *high))
        .filter_map(|(height, index)| tile_of(height, index, size))
        .map(|(id, _)| id)
        .collect();
    out.sort_unstable();
    out.dedup();
    out
}

/// Anything that knows the root of a perfect subtree.
pub(crate) trait Nodes {
    /// The root over leaves `[index << height, (index + 1) << height)`, all within the tree.
    fn node(&self, height: u32, index: u64) -> Result<Hash, Error>;
}

/// MTH(D[low:high]) where `low` is aligned, as every range of RFC 6962 section 2.1 is.
pub(crate) fn span_root(nodes: &impl Nodes, low: u64, high: u64) -> Result<Hash, Error> {
    let mut root = None;
    for (height, index) in perfect_spans(low, high).into_iter().rev() {
        let left = nodes.node(height, index)?;
        root = Some(match root {
            None => left,
            Some(right) => node_hash(&left, &right),
        });
    }
    Ok(root.unwrap_or(Hash::EMPTY_ROOT))
}

/// The perfect subtrees of `[low, high)`, largest first, as (height, index).
fn perfect_spans(low: u64, high: u64) -> Vec<(u32, u64)> {
    let mut out = Vec::new();
    let mut low = low;
    while low < high {
        let height = (high - low).ilog2();
        out.push((height, low >> height));
        low += 1 << height;
    }
    out
}

/// The tile that holds a subtree's hashes, and where in it they start.
fn tile_of(height: u32, index: u64, size: u64) -> Option<(TileId, usize)> {
    let level = u8::try_from(height / 8).ok()?;
    let first = index.checked_shl(height % 8)?;
    let id = TileId::in_tree(level, first / 256, size)?;
    Some((id, usize::try_from(first % 256).ok()?))
}

/// A tree read from tiles; each tile is read once while the calculation lasts.
pub(crate) struct TiledTree<'a, R> {
    tiles: &'a R,
    size: u64,
    read: RefCell<BTreeMap<TileId, Rc<[Hash]>>>,
}

impl<'a, R: TileReader> TiledTree<'a, R> {
    pub(crate) const fn new(tiles: &'a R, size: u64) -> Self {
        Self { tiles, size, read: RefCell::new(BTreeMap::new()) }
    }

    fn hashes(&self, id: TileId) -> Result<Rc<[Hash]>, Error> {
        if let Some(hashes) = self.read.borrow().get(&id) {
            return Ok(Rc::clone(hashes));
        }
        let hashes: Rc<[Hash]> = read_hashes(self.tiles, id)?.into();
        self.read.borrow_mut().insert(id, Rc::clone(&hashes));
        Ok(hashes)
    }
}

impl<R: TileReader> Nodes for TiledTree<'_, R> {
    fn node(&self, height: u32, index: u64) -> Result<Hash, Error> {
        let outside = Error::Index { index, size: self.size };
        let (id, first) = tile_of(height, index, self.size).ok_or(outside)?;
        let hashes = self.hashes(id)?;
        let count = 1_usize << (height % 8);
        let span = hashes.get(first..first + count);
        let wrong = || Error::Tile { path: Resource::Tile(id).path(), why: "too few hashes" };
        perfect_root(span.ok_or_else(wrong)?).ok_or_else(wrong)
    }
}

/// A tree of leaf hashes in memory.
pub(crate) struct LeafTree<'a>(pub(crate) &'a [Hash]);

impl Nodes for LeafTree<'_> {
    fn node(&self, height: u32, index: u64) -> Result<Hash, Error> {
        let outside = || Error::Index { index, size: self.0.len() as u64 };
        let span = 1_usize.checked_shl(height).ok_or_else(outside)?;
        let first = usize::try_from(index).ok().and_then(|i| i.checked_mul(span));
        let leaves = first.and_then(|f| self.0.get(f..f.checked_add(span)?));
        leaves.and_then(perfect_root).ok_or_else(outside)
    }
}

/// The root over a power of two of hashes.
fn perfect_root(hashes: &[Hash]) -> Option<Hash> {
    let mut row = hashes.to_vec();
    while row.len() > 1 {
        let (pairs, odd) = row.as_chunks::<2>();
        if !odd.is_empty() {
            return None;
        }
        row = pairs.iter().map(|[left, right]| node_hash(left, right)).collect();
    }
    row.first().copied()
}
