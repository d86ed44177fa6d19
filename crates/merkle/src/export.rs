//! Checks a whole exported log without trusting anything in it but the keys: every entry is
//! hashed, every tile and the root recomputed, in one pass that holds one bundle and eight tiles.
//! The first thing that does not fit is named by its leaf.

use std::borrow::Cow;

use crate::checkpoint::{Checkpoint, SignedCheckpoint};
use crate::note::MAX_NOTE_BYTES;
use crate::policy::{Policy, Verified};
use crate::tile::{MAX_BUNDLE_BYTES, MAX_TILE_BYTES, parse_bundle, read_hashes};
use crate::{CompactRange, Error, Hash, Resource, TileId, TileReader, leaf_hash};

/// A folder, archive or site that holds the static tree.
pub trait ExportDir {
    /// The file at `path` (as [`Resource::path`] writes it), none if there is no such file. More
    /// than `max_bytes` must be an error, not read.
    ///
    /// # Errors
    /// What went wrong, in words.
    fn read(&self, path: &str, max_bytes: usize) -> Result<Option<Vec<u8>>, String>;
}

/// What the checker may expect of an export.
#[derive(Debug, Clone, Default)]
pub struct ExportRules {
    /// Checkpoints seen before, outside: the export must be the same log, grown. Without one, a
    /// log rewritten and signed anew by its key's thief passes.
    pub known: Vec<Checkpoint>,
    /// Entry bundles that end at or before this leaf may be missing (tlog-tiles pruning); their
    /// leaf hashes are then taken from the tiles.
    pub minimum_index: u64,
    /// An entry of no bytes stands for a deleted body, whose leaf hash is taken from the tile.
    /// Only for logs that never write an empty entry.
    pub empty_is_erased: bool,
}

/// What was checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExportReport {
    /// The export's checkpoint and its witnesses.
    pub verified: Verified,
    /// Entries whose bodies were hashed.
    pub entries: u64,
    /// Leaves of which only the hash is left (pruned or erased).
    pub hash_only: u64,
    /// Known checkpoints that the log grew out of.
    pub known: usize,
}

/// The first thing that does not fit.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ExportFault {
    /// The checkpoint is missing, malformed or not signed as policy asks.
    #[error("checkpoint: {0}")]
    Checkpoint(#[source] Error),
    /// A tile or bundle is missing, unreadable or malformed.
    #[error("from leaf {leaf}: {error}")]
    File {
        /// First leaf that the file covers.
        leaf: u64,
        /// What is wrong.
        #[source]
        error: Error,
    },
    /// An entry does not hash to its leaf.
    #[error("entry {leaf} does not hash to its leaf")]
    Entry {
        /// The leaf.
        leaf: u64,
    },
    /// A tile's hash is not that of the tile below.
    #[error("{path} differs from the leaves below, from leaf {leaf}")]
    Tile {
        /// The tile.
        path: String,
        /// First leaf below the wrong hash.
        leaf: u64,
    },
    /// The entries do not make the root that was signed.
    #[error("the {size} leaves do not make the signed root")]
    Root {
        /// Leaves in the log.
        size: u64,
    },
    /// A checkpoint seen before belongs to another log.
    #[error("a known checkpoint belongs to another log")]
    OtherLog,
    /// The log is shorter than a checkpoint seen before: its tail was cut.
    #[error("the log has {size} leaves and had {known} before")]
    Shorter {
        /// Leaves now.
        size: u64,
        /// Leaves then.
        known: u64,
    },
    /// The log's first leaves do not make a root seen before: history was rewritten.
    #[error("the first {known} leaves do not make the root seen before")]
    Rewritten {
        /// Size of the checkpoint seen before; the first difference lies below.
        known: u64,
    },
}

/// Checks an export; `progress` is told the number of leaves done after each bundle.
///
/// # Errors
/// The first [`ExportFault`], in leaf order.
pub fn verify_export(
    dir: &impl ExportDir,
    policy: &Policy,
    rules: &ExportRules,
    progress: &mut dyn FnMut(u64),
) -> Result<ExportReport, ExportFault> {
    let verified = read_checkpoint(dir, policy).map_err(ExportFault::Checkpoint)?;
    let size = verified.checkpoint.size();
    let mut known = known_roots(rules, &verified.checkpoint)?.into_iter().peekable();
    let mut walk = Walk { dir, size, range: CompactRange::new(), above: Vec::new() };
    let mut report = ExportReport { verified, entries: 0, hash_only: 0, known: rules.known.len() };
    for index in 0..size.div_ceil(256) {
        let Some(id) = TileId::in_tree(0, index, size) else { break };
        let hashes = walk.leaves(id, rules, &mut report)?;
        for leaf in hashes {
            check_known(&mut known, &walk.range)?;
            walk.range.append(leaf);
            walk.rise(leaf)?;
        }
        progress(walk.range.size());
    }
    check_known(&mut known, &walk.range)?;
    walk.finish()?;
    if walk.range.root() != report.verified.checkpoint.root() {
        return Err(ExportFault::Root { size });
    }
    Ok(report)
}

fn read_checkpoint(dir: &impl ExportDir, policy: &Policy) -> Result<Verified, Error> {
    let bytes = read(dir, Resource::Checkpoint, MAX_NOTE_BYTES)?;
    let missing = || Error::Missing { path: Resource::Checkpoint.path() };
    policy.verify(&SignedCheckpoint::parse(&bytes.ok_or_else(missing)?)?)
}

/// Sizes and roots to meet on the way, in order.
fn known_roots(rules: &ExportRules, now: &Checkpoint) -> Result<Vec<(u64, Hash)>, ExportFault> {
    let mut known = Vec::new();
    for checkpoint in &rules.known {
        if checkpoint.origin() != now.origin() {
            return Err(ExportFault::OtherLog);
        }
        if checkpoint.size() > now.size() {
            return Err(ExportFault::Shorter { size: now.size(), known: checkpoint.size() });
        }
        known.push((checkpoint.size(), checkpoint.root()));
    }
    known.sort_unstable();
    Ok(known)
}

fn check_known(
    known: &mut std::iter::Peekable<std::vec::IntoIter<(u64, Hash)>>,
    range: &CompactRange,
) -> Result<(), ExportFault> {
    while let Some((size, root)) = known.next_if(|(size, _)| *size == range.size()) {
        if range.root() != root {
            return Err(ExportFault::Rewritten { known: size });
        }
    }
    Ok(())
}

/// One pass over the leaves. `above[l]` gathers the tile of level l + 1 that is being filled.
struct Walk<'a, D> {
    dir: &'a D,
    size: u64,
    range: CompactRange,
    above: Vec<Gather>,
}

/// A tile in the making: the subtree now growing under it, and the hashes done.
#[derive(Default)]
struct Gather {
    below: CompactRange,
    index: u64,
    hashes: Vec<Hash>,
}

impl<D: ExportDir> Walk<'_, D> {
    /// The leaf hashes under one level 0 tile, each compared with its entry.
    fn leaves(
        &self,
        id: TileId,
        rules: &ExportRules,
        report: &mut ExportReport,
    ) -> Result<Vec<Hash>, ExportFault> {
        let first = id.first_leaf(0);
        let file = |error| ExportFault::File { leaf: first, error };
        let hashes = self.tile(id)?;
        let may_miss = first.saturating_add(256) <= rules.minimum_index;
        let bundle = read_either(self.dir, id, Resource::Entries, MAX_BUNDLE_BYTES);
        let (bundle, width) = match bundle.map_err(file)? {
            Some(found) => found,
            None if may_miss => {
                report.hash_only += hashes.len() as u64;
                return Ok(hashes);
            }
            None => return Err(file(Error::Missing { path: Resource::Entries(id).path() })),
        };
        let entries = parse_bundle(&bundle, width).map_err(file)?;
        for ((entry, hash), leaf) in entries.into_iter().zip(&hashes).zip(first..) {
            if entry.is_empty() && rules.empty_is_erased {
                report.hash_only += 1;
            } else if leaf_hash(entry) == *hash {
                report.entries += 1;
            } else {
                return Err(ExportFault::Entry { leaf });
            }
        }
        Ok(hashes)
    }

    /// Carries a hash into the tile above its full tile, and further up as tiles fill.
    fn rise(&mut self, leaf: Hash) -> Result<(), ExportFault> {
        let mut hash = leaf;
        for level in 0..8_u8 {
            let depth = usize::from(level);
            if self.above.len() == depth {
                self.above.push(Gather::default());
            }
            let Some(gather) = self.above.get_mut(depth) else { break };
            gather.below.append(hash);
            if gather.below.size() < 256 {
                break;
            }
            hash = std::mem::take(&mut gather.below).root();
            gather.hashes.push(hash);
            if gather.hashes.len() == 256 {
                let (index, hashes) = (gather.index, std::mem::take(&mut gather.hashes));
                gather.index += 1;
                self.compare(level + 1, index, &hashes)?;
            }
        }
        Ok(())
    }

    /// Compares the partial tiles that are left at the end.
    fn finish(&mut self) -> Result<(), ExportFault> {
        let above = std::mem::take(&mut self.above);
        for (gather, level) in above.iter().zip(1..8_u8) {
            if !gather.hashes.is_empty() {
                self.compare(level, gather.index, &gather.hashes)?;
            }
        }
        Ok(())
    }

    fn compare(&self, level: u8, index: u64, hashes: &[Hash]) -> Result<(), ExportFault> {
        let Some(id) = TileId::in_tree(level, index, self.size) else {
            return Err(ExportFault::Root { size: self.size });
        };
        let found = self.tile(id)?;
        let wrong = found.iter().zip(hashes).zip(0_u16..).find(|((found, want), _)| found != want);
        match wrong {
            None => Ok(()),
            Some((_, offset)) => Err(ExportFault::Tile {
                path: Resource::Tile(id).path(),
                leaf: id.first_leaf(offset),
            }),
        }
    }

    fn tile(&self, id: TileId) -> Result<Vec<Hash>, ExportFault> {
        read_hashes(&ExportTiles(self.dir), id)
            .map_err(|error| ExportFault::File { leaf: id.first_leaf(0), error })
    }
}

/// The tiles of an export, for proofs out of it.
#[derive(Debug, Clone, Copy)]
pub struct ExportTiles<'a, D>(pub &'a D);

impl<D: ExportDir> TileReader for ExportTiles<'_, D> {
    fn tile(&self, id: TileId) -> Result<Cow<'_, [u8]>, Error> {
        let found = read_either(self.0, id, Resource::Tile, MAX_TILE_BYTES)?;
        let (bytes, _) = found.ok_or_else(|| Error::Missing { path: Resource::Tile(id).path() })?;
        Ok(Cow::Owned(bytes))
    }
}

/// The file of a tile or bundle, or the full one if the partial one was dropped; with its width.
fn read_either(
    dir: &impl ExportDir,
    id: TileId,
    kind: fn(TileId) -> Resource,
    max_bytes: usize,
) -> Result<Option<(Vec<u8>, u16)>, Error> {
    if let Some(bytes) = read(dir, kind(id), max_bytes)? {
        return Ok(Some((bytes, id.width())));
    }
    if !id.is_partial() {
        return Ok(None);
    }
    let full = read(dir, kind(id.full()), max_bytes)?;
    Ok(full.map(|bytes| (bytes, id.full().width())))
}

fn read(
    dir: &impl ExportDir,
    resource: Resource,
    max_bytes: usize,
) -> Result<Option<Vec<u8>>, Error> {
    let path = resource.path();
    match dir.read(&path, max_bytes) {
        Ok(Some(bytes)) if bytes.len() > max_bytes => {
            Err(Error::Read { path, cause: "too long".to_owned() })
        }
        Ok(found) => Ok(found),
        Err(cause) => Err(Error::Read { path, cause }),
    }
}
