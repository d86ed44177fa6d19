//! The tree as static files: 256-wide tiles, their paths, and entry bundles (C2SP tlog-tiles).
//! Paths come from outside (requests, folders), so each resource has exactly one spelling.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt::Write as _;

use crate::{Error, Hash, MAX_SIZE};

/// Hashes in a full tile.
pub const TILE_WIDTH: u16 = 256;
/// Bytes in a full tile.
pub const MAX_TILE_BYTES: usize = 8_192;
/// Bytes in the largest entry: its length is a uint16.
pub const MAX_ENTRY_BYTES: usize = 65_535;
/// Bytes in the largest bundle: 256 entries with their lengths.
pub const MAX_BUNDLE_BYTES: usize = 256 * (2 + MAX_ENTRY_BYTES);

const WIDE: u64 = 256;
// 8 levels of 8 cover heights 0..=63, all that a 64-bit size can have
const TOP_LEVEL: u8 = 7;

/// Which tile: level, number within the level, and how many hashes wide.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TileId {
    level: u8,
    index: u64,
    width: u16,
}

impl TileId {
    /// Names a tile.
    ///
    /// # Errors
    /// `Malformed` unless level is 0 … 7, width 1 … 256, and the tile lies below 2^64 leaves.
    pub fn new(level: u8, index: u64, width: u16) -> Result<Self, Error> {
        let bad = |why| Err(Error::malformed("tile", why));
        if level > TOP_LEVEL {
            return bad("level is above 7");
        }
        if width == 0 || width > TILE_WIDTH {
            return bad("width is not 1 to 256");
        }
        // the tile spans 2^(8·level+8) leaves
        if index > u64::MAX >> (8 * u32::from(level)) >> 8 {
            return bad("index lies beyond 2^64 leaves");
        }
        Ok(Self { level, index, width })
    }

    /// The tile `index` of `level` as it stands in a tree of `size` leaves; none if it has no hash.
    #[must_use]
    pub fn in_tree(level: u8, index: u64, size: u64) -> Option<Self> {
        if level > TOP_LEVEL {
            return None;
        }
        let first = index.checked_mul(WIDE)?;
        let width = (size >> (8 * u32::from(level))).checked_sub(first)?.min(WIDE);
        Self::new(level, index, u16::try_from(width).ok()?).ok()
    }

    /// Level, 0 … 7: 0 holds leaf hashes.
    #[must_use]
    pub const fn level(&self) -> u8 {
        self.level
    }

    /// Zero-based number within the level.
    #[must_use]
    pub const fn index(&self) -> u64 {
        self.index
    }

    /// Hashes, 1 … 256.
    #[must_use]
    pub const fn width(&self) -> u16 {
        self.width
    }

    /// Whether the tile has fewer than 256 hashes.
    #[must_use]
    pub const fn is_partial(&self) -> bool {
        self.width < TILE_WIDTH
    }

    /// The same tile when full: where the hashes are if the partial tile was dropped.
    #[must_use]
    pub const fn full(self) -> Self {
        Self { width: TILE_WIDTH, ..self }
    }

    /// Whether a tree of `size` leaves has all of its hashes.
    #[must_use]
    pub fn is_within(self, size: u64) -> bool {
        Self::in_tree(self.level, self.index, size).is_some_and(|whole| whole.width >= self.width)
    }

    /// The first leaf below the tile's hash number `offset`, 0 … 255.
    #[must_use]
    pub fn first_leaf(&self, offset: u16) -> u64 {
        // `new` keeps index · 256 below 2^64 >> 8·level
        let hash = (self.index * WIDE).saturating_add(u64::from(offset));
        hash.wrapping_shl(8 * u32::from(self.level))
    }

    /// Every tile of a tree of `size` leaves, level by level, full and partial.
    pub fn all(size: u64) -> impl Iterator<Item = Self> {
        (0..=TOP_LEVEL).flat_map(move |level| {
            let count = (size >> (8 * u32::from(level))).div_ceil(WIDE);
            (0..count).filter_map(move |index| Self::in_tree(level, index, size))
        })
    }

    /// The partial tiles at the right edge of a tree: what [`grow`](crate::grow) reads. ≤ 8.
    #[must_use]
    pub fn edge(size: u64) -> Vec<Self> {
        let last = |level: u8| (size >> (8 * u32::from(level))) / WIDE;
        (0..=TOP_LEVEL).filter_map(|level| Self::in_tree(level, last(level), size)).collect()
    }
}

/// A file of the static tree, by its path below the prefix.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Resource {
    /// `checkpoint`
    Checkpoint,
    /// `tile/<L>/<N>[.p/<W>]`
    Tile(TileId),
    /// `tile/entries/<N>[.p/<W>]`; the id's level is 0.
    Entries(TileId),
}

impl Resource {
    /// The path, such as `tile/0/x001/x234/067.p/8`.
    #[must_use]
    pub fn path(&self) -> String {
        match self {
            Self::Checkpoint => "checkpoint".to_owned(),
            Self::Tile(id) => tile_path(&id.level.to_string(), *id),
            Self::Entries(id) => tile_path("entries", *id),
        }
    }

    /// Reads a path; there is one spelling for each resource.
    ///
    /// # Errors
    /// `Malformed` for any other spelling, level > 7, or an index beyond 2^64 leaves.
    pub fn parse(path: &str) -> Result<Self, Error> {
        if path == "checkpoint" {
            return Ok(Self::Checkpoint);
        }
        let bad = |why| Error::malformed("tile path", why);
        // the longest true path is `tile/entries/` + 6 groups of 5 + `.p/255`
        if path.len() > 64 {
            return Err(bad("too long"));
        }
        let rest = path.strip_prefix("tile/").ok_or(bad("no tile/ prefix"))?;
        let (kind, rest) = rest.split_once('/').ok_or(bad("no tile number"))?;
        let (number, width) = match rest.split_once(".p/") {
            None => (rest, TILE_WIDTH),
            Some((number, width)) => {
                (number, width.parse().map_err(|_| bad("width is not a number"))?)
            }
        };
        let mut index = 0_u64;
        for group in number.split('/') {
            let digits = group.strip_prefix('x').unwrap_or(group);
            let value: u64 = digits.parse().map_err(|_| bad("index is not a number"))?;
            index = index
                .checked_mul(1_000)
                .and_then(|i| i.checked_add(value))
                .ok_or(bad("index is too large"))?;
        }
        let resource = if kind == "entries" {
            Self::Entries(TileId::new(0, index, width)?)
        } else {
            let level = kind.parse().map_err(|_| bad("level is not a number"))?;
            Self::Tile(TileId::new(level, index, width)?)
        };
        if resource.path() != path {
            return Err(bad("not the one spelling"));
        }
        Ok(resource)
    }
}

fn tile_path(kind: &str, id: TileId) -> String {
    let mut groups = vec![format!("{:03}", id.index % 1_000)];
    let mut left = id.index / 1_000;
    while left > 0 {
        groups.push(format!("x{:03}", left % 1_000));
        left /= 1_000;
    }
    groups.reverse();
    let mut path = format!("tile/{kind}/{}", groups.join("/"));
    if id.is_partial() {
        // writing to a String cannot fail
        let _ = write!(path, ".p/{}", id.width);
    }
    path
}

/// A tile and its bytes: `width` × 32.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tile {
    /// Which tile.
    pub id: TileId,
    /// The hashes, concatenated.
    pub bytes: Vec<u8>,
}

/// Where tiles are read from: a table, a folder, a map filled beforehand by an async caller.
pub trait TileReader {
    /// The bytes of the tile: at least `id.width()` hashes. More are taken as later growth of the
    /// same tile and left unread, so a row that holds the widest tile serves all its past.
    ///
    /// # Errors
    /// `Missing` or `Read`, with the tile's path.
    fn tile(&self, id: TileId) -> Result<Cow<'_, [u8]>, Error>;
}

impl<R: TileReader + ?Sized> TileReader for &R {
    fn tile(&self, id: TileId) -> Result<Cow<'_, [u8]>, Error> {
        (**self).tile(id)
    }
}

/// Tiles in memory by (level, index), each as wide as it has grown.
#[derive(Debug, Clone, Default)]
pub struct TileMap(BTreeMap<(u8, u64), Vec<u8>>);

impl TileMap {
    /// An empty map.
    #[must_use]
    pub const fn new() -> Self {
        Self(BTreeMap::new())
    }

    /// Puts the bytes of a tile, in place of a narrower one.
    pub fn insert(&mut self, level: u8, index: u64, bytes: Vec<u8>) {
        self.0.insert((level, index), bytes);
    }
}

impl Extend<Tile> for TileMap {
    fn extend<T: IntoIterator<Item = Tile>>(&mut self, tiles: T) {
        for tile in tiles {
            self.insert(tile.id.level, tile.id.index, tile.bytes);
        }
    }
}

impl TileReader for TileMap {
    fn tile(&self, id: TileId) -> Result<Cow<'_, [u8]>, Error> {
        let bytes = self.0.get(&(id.level, id.index));
        bytes
            .map(|b| Cow::Borrowed(b.as_slice()))
            .ok_or_else(|| Error::Missing { path: Resource::Tile(id).path() })
    }
}

/// Reads a tile and cuts it to its width, or says what is wrong with it.
pub(crate) fn read_hashes(tiles: &impl TileReader, id: TileId) -> Result<Vec<Hash>, Error> {
    let bytes = tiles.tile(id)?;
    let wrong = |why| Error::Tile { path: Resource::Tile(id).path(), why };
    if bytes.len() > MAX_TILE_BYTES {
        return Err(wrong("longer than 8,192 bytes"));
    }
    let (hashes, ragged) = bytes.as_chunks::<32>();
    if !ragged.is_empty() {
        return Err(wrong("not a whole number of hashes"));
    }
    let hashes = hashes.get(..usize::from(id.width)).ok_or(wrong("too few hashes"))?;
    Ok(hashes.iter().copied().map(Hash::new).collect())
}

/// Frames entries as a bundle: each with its length as big-endian uint16.
///
/// # Errors
/// `Malformed` for none, more than 256, or an entry longer than 65,535 bytes.
pub fn encode_bundle<E: AsRef<[u8]>>(entries: &[E]) -> Result<Vec<u8>, Error> {
    if entries.is_empty() || entries.len() > usize::from(TILE_WIDTH) {
        return Err(Error::malformed("entry bundle", "not 1 to 256 entries"));
    }
    let mut out = Vec::with_capacity(entries.iter().map(|e| 2 + e.as_ref().len()).sum());
    for entry in entries {
        let entry = entry.as_ref();
        let length = u16::try_from(entry.len())
            .map_err(|_| Error::malformed("entry bundle", "an entry is above 65,535 bytes"))?;
        out.extend_from_slice(&length.to_be_bytes());
        out.extend_from_slice(entry);
    }
    Ok(out)
}

/// Splits a bundle that must hold exactly `width` entries.
///
/// # Errors
/// `Malformed` when it is cut, has another number of entries, or a tail.
pub fn parse_bundle(bytes: &[u8], width: u16) -> Result<Vec<&[u8]>, Error> {
    let bad = |why| Error::malformed("entry bundle", why);
    let mut entries = Vec::with_capacity(usize::from(width.min(TILE_WIDTH)));
    let mut rest = bytes;
    while !rest.is_empty() {
        if entries.len() == usize::from(width) {
            return Err(bad("more entries than the width says"));
        }
        let (length, tail) = rest.split_first_chunk::<2>().ok_or(bad("cut in a length"))?;
        let length = usize::from(u16::from_be_bytes(*length));
        let (entry, tail) = tail.split_at_checked(length).ok_or(bad("cut in an entry"))?;
        entries.push(entry);
        rest = tail;
    }
    if entries.len() != usize::from(width) || width > TILE_WIDTH {
        return Err(bad("fewer entries than the width says"));
    }
    Ok(entries)
}

/// Refuses sizes that no column and no checkpoint of this crate can hold.
pub(crate) const fn check_size(size: u64) -> Result<(), Error> {
    if size > MAX_SIZE {
        return Err(Error::malformed("tree size", "above 2^63-1"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_as_tlog_tiles_writes_them() {
        let id = |level, index, width| TileId::new(level, index, width).unwrap();
        for (resource, path) in [
            (Resource::Tile(id(0, 1_234_067, 256)), "tile/0/x001/x234/067"),
            (Resource::Tile(id(0, 0, 1)), "tile/0/000.p/1"),
            (Resource::Tile(id(7, 0, 255)), "tile/7/000.p/255"),
            (Resource::Entries(id(0, 999, 256)), "tile/entries/999"),
            (Resource::Entries(id(0, 1_000, 3)), "tile/entries/x001/000.p/3"),
            (Resource::Checkpoint, "checkpoint"),
        ] {
            assert_eq!(resource.path(), path);
            assert_eq!(Resource::parse(path), Ok(resource));
        }
        for path in [
            "",
            "tile",
            "tile/",
            "tile/0",
            "tile/0/",
            "tile/0/1",
            "tile/0/0001",
            "tile/00/001",
            "tile/8/000",
            "tile/0/x000/001",
            "tile/0/001/002",
            "tile/0/x001",
            "tile/0/000.p/0",
            "tile/0/000.p/256",
            "tile/0/000.p/01",
            "tile/0/000.p/",
            "tile/0/+01",
            "tile/-1/000",
            "tile/entries/../000",
            "/tile/0/000",
            "tile/0/000/",
            "tile/7/001",
            "Checkpoint",
            "tile/0/x999/x999/x999/x999/x999/x999/x999/999",
            "tile/0/000.p/3.p/3",
        ] {
            assert!(Resource::parse(path).is_err(), "{path}");
        }
    }

    #[test]
    fn a_tree_of_70_000_has_the_tiles_of_the_specification() {
        let tiles: Vec<_> = TileId::all(70_000).collect();
        let count =
            |level, width| tiles.iter().filter(|t| t.level == level && t.width == width).count();
        assert_eq!(count(0, 256), 273);
        assert_eq!(count(0, 112), 1);
        assert_eq!((count(1, 256), count(1, 17)), (1, 1));
        assert_eq!(count(2, 1), 1);
        assert_eq!(tiles.len(), 277);
        let of_256: Vec<_> = TileId::all(256).map(|t| Resource::Tile(t).path()).collect();
        assert_eq!(of_256, ["tile/0/000", "tile/1/000.p/1"]);
        assert_eq!(TileId::edge(70_000).len(), 3);
        assert_eq!(TileId::edge(256).len(), 1);
        assert_eq!(TileId::all(0).count(), 0);
    }

    #[test]
    fn bundles_round_trip_and_refuse_cuts_and_tails() {
        let entries = [b"a".to_vec(), vec![], vec![7; MAX_ENTRY_BYTES]];
        let bytes = encode_bundle(&entries).unwrap();
        assert_eq!(parse_bundle(&bytes, 3).unwrap(), entries);
        assert!(parse_bundle(&bytes, 2).is_err());
        assert!(parse_bundle(&bytes, 4).is_err());
        assert!(parse_bundle(&bytes[..bytes.len() - 1], 3).is_err());
        assert!(parse_bundle(&[&bytes[..], &[0]].concat(), 3).is_err());
        assert!(encode_bundle(&[vec![0; MAX_ENTRY_BYTES + 1]]).is_err());
        assert!(encode_bundle::<Vec<u8>>(&[]).is_err());
        assert!(encode_bundle(&vec![b""; 257]).is_err());
    }
}
