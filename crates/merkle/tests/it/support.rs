//! An oracle written straight from the definitions of RFC 6962 section 2.1, a small random
//! source, keys and an export in memory.

use std::collections::BTreeMap;
use std::path::PathBuf;

use merkle::export::ExportDir;
use merkle::key::{KeyKind, SeedSigner};
use merkle::tile::encode_bundle;
use merkle::{
    Checkpoint, CompactRange, Hash, Policy, Resource, SignedCheckpoint, TileId, TileMap, grow,
    leaf_hash, node_hash,
};

pub(crate) const ORIGIN: &str = "shop.example/log";

/// MTH of RFC 6962 section 2.1, by its recursive definition.
pub(crate) fn mth(leaves: &[Hash]) -> Hash {
    match leaves {
        [] => Hash::EMPTY_ROOT,
        [one] => *one,
        _ => {
            let (left, right) = leaves.split_at(largest_power_below(leaves.len()));
            node_hash(&mth(left), &mth(right))
        }
    }
}

/// PATH of RFC 6962 section 2.1.1.
pub(crate) fn path(m: usize, leaves: &[Hash]) -> Vec<Hash> {
    if leaves.len() == 1 {
        return vec![];
    }
    let k = largest_power_below(leaves.len());
    let (left, right) = leaves.split_at(k);
    let (mut path, sibling) =
        if m < k { (path(m, left), mth(right)) } else { (path(m - k, right), mth(left)) };
    path.push(sibling);
    path
}

/// PROOF of RFC 6962 section 2.1.2, for 0 < m ≤ n.
pub(crate) fn consistency(m: usize, leaves: &[Hash]) -> Vec<Hash> {
    subproof(m, leaves, true)
}

fn subproof(m: usize, leaves: &[Hash], whole: bool) -> Vec<Hash> {
    if m == leaves.len() {
        return if whole { vec![] } else { vec![mth(leaves)] };
    }
    let k = largest_power_below(leaves.len());
    let (left, right) = leaves.split_at(k);
    let (mut proof, sibling) = if m <= k {
        (subproof(m, left, whole), mth(right))
    } else {
        (subproof(m - k, right, false), mth(left))
    };
    proof.push(sibling);
    proof
}

fn largest_power_below(n: usize) -> usize {
    n.next_power_of_two() / 2
}

/// xorshift64*: repeatable, and good enough to pick test cases.
pub(crate) struct Dice(u64);

impl Dice {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed | 1)
    }

    pub(crate) fn roll(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 8
    }

    pub(crate) fn below(&mut self, n: usize) -> usize {
        usize::try_from(self.roll()).unwrap() % n
    }

    pub(crate) fn bytes(&mut self, n: usize) -> Vec<u8> {
        (0..n).map(|_| self.roll().to_le_bytes()[0]).collect()
    }
}

pub(crate) fn numbered(n: usize) -> Vec<Hash> {
    (0..n as u64).map(|i| leaf_hash(&i.to_be_bytes())).collect()
}

pub(crate) fn log_key() -> SeedSigner {
    SeedSigner::new(ORIGIN, KeyKind::Ed25519, &[1; 32]).unwrap()
}

pub(crate) fn witness_key(n: u8) -> SeedSigner {
    SeedSigner::new(&format!("witness{n}.example"), KeyKind::Cosigner, &[100 + n; 32]).unwrap()
}

pub(crate) fn log_policy() -> Policy {
    Policy::new(vec![log_key().verifier().clone()]).unwrap()
}

pub(crate) fn signed(size: u64, root: Hash) -> SignedCheckpoint {
    Checkpoint::new(ORIGIN, size, root).unwrap().sign(&log_key()).unwrap()
}

/// All tiles of a tree, grown in one step.
pub(crate) fn tiles(leaves: &[Hash]) -> (CompactRange, TileMap) {
    let growth = grow(&CompactRange::new(), leaves, &TileMap::new()).unwrap();
    let mut map = TileMap::new();
    map.extend(growth.tiles);
    (growth.range, map)
}

/// A static tree in memory: path to bytes.
#[derive(Clone)]
pub(crate) struct Files(pub(crate) BTreeMap<String, Vec<u8>>);

impl Files {
    pub(crate) fn of(entries: &[Vec<u8>]) -> Self {
        let leaves: Vec<_> = entries.iter().map(|e| leaf_hash(e)).collect();
        let growth = grow(&CompactRange::new(), &leaves, &TileMap::new()).unwrap();
        let mut files = BTreeMap::new();
        for tile in growth.tiles {
            files.insert(Resource::Tile(tile.id).path(), tile.bytes);
        }
        let size = entries.len() as u64;
        for (chunk, index) in entries.chunks(256).zip(0..) {
            let id = TileId::in_tree(0, index, size).unwrap();
            files.insert(Resource::Entries(id).path(), encode_bundle(chunk).unwrap());
        }
        let note = signed(size, growth.range.root()).to_string();
        files.insert("checkpoint".to_owned(), note.into_bytes());
        Self(files)
    }
}

impl ExportDir for Files {
    fn read(&self, path: &str, max_bytes: usize) -> Result<Option<Vec<u8>>, String> {
        match self.0.get(path) {
            Some(bytes) if bytes.len() > max_bytes => Err("too long".to_owned()),
            found => Ok(found.cloned()),
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "tests are told by the environment where data is")]
fn env(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

/// Whether a missing tool or data set must fail the test.
pub(crate) fn in_ci() -> bool {
    env("CI").is_some_and(|value| !value.is_empty() && value != "false")
}

/// The folder of test data `name`, or a loud word about its absence.
pub(crate) fn data(name: &str) -> Option<PathBuf> {
    let root = env("STAGEDOOR_DATA")
        .map(PathBuf::from)
        .unwrap_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data"));
    let dir = root.join(name);
    if dir.is_dir() {
        return Some(dir);
    }
    missing(&format!("test data {name} (looked in {}; set STAGEDOOR_DATA)", root.display()));
    None
}

pub(crate) fn missing(what: &str) {
    eprintln!("NOT TESTED: {what} is missing");
    assert!(!in_ci(), "CI must have {what}");
}
