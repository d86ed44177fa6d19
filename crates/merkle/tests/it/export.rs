//! M7: the offline check of an exported log, and the tamper drill on it.

use merkle::export::{ExportFault, ExportReport, ExportRules, ExportTiles, verify_export};
use merkle::tile::encode_bundle;
use merkle::{
    Checkpoint, Error, Policy, Resource, TileId, leaf_hash, prove_inclusion, verify_inclusion,
};

use crate::support::{Dice, Files, log_policy, mth, numbered, signed, witness_key};

fn entries(n: usize) -> Vec<Vec<u8>> {
    (0..n).map(|i| format!("{{\"event\":{i}}}").into_bytes()).collect()
}

fn check(files: &Files, rules: &ExportRules) -> Result<ExportReport, ExportFault> {
    verify_export(files, &log_policy(), rules, &mut |_| {})
}

fn plain(files: &Files) -> Result<ExportReport, ExportFault> {
    check(files, &ExportRules::default())
}

fn known(entries: &[Vec<u8>]) -> Checkpoint {
    let leaves: Vec<_> = entries.iter().map(|e| leaf_hash(e)).collect();
    signed(leaves.len() as u64, mth(&leaves)).claimed().clone()
}

#[test]
fn logs_of_every_shape_pass() {
    for size in [0, 1, 2, 255, 256, 257, 511, 512, 700, 66_000] {
        let entries = entries(size);
        let files = Files::of(&entries);
        let mut seen = vec![];
        let rules =
            ExportRules { known: vec![known(&entries[..size / 2])], ..ExportRules::default() };
        let report = verify_export(&files, &log_policy(), &rules, &mut |n| seen.push(n)).unwrap();
        assert_eq!((report.entries, report.hash_only), (size as u64, 0));
        assert_eq!(report.verified.checkpoint.size(), size as u64);
        assert_eq!(seen.len(), size.div_ceil(256));
        assert!(seen.is_sorted());
    }
}

#[test]
fn a_thousand_changes_are_all_found() {
    let entries = entries(700);
    let files = Files::of(&entries);
    let names: Vec<_> = files.0.keys().cloned().collect();
    let mut dice = Dice::new(42);
    for n in 0..1_000 {
        let mut changed = files.clone();
        let name = &names[dice.below(names.len())];
        let bytes = changed.0.get_mut(name).unwrap();
        let at = dice.below(bytes.len());
        match n % 5 {
            0 => bytes[at] ^= 1 << dice.below(8),
            1 => bytes.truncate(at),
            2 => bytes.push(0),
            3 => {
                bytes.remove(at);
            }
            _ => {
                changed.0.remove(name);
            }
        }
        assert!(plain(&changed).is_err(), "change {n} in {name}");
    }
}

#[test]
fn the_first_changed_leaf_is_named() {
    let entries = entries(66_000);
    let files = Files::of(&entries);
    for leaf in [0_usize, 300, 65_999] {
        let mut changed = entries.clone();
        changed[leaf].push(b'!');
        // the bundle alone
        let first = leaf / 256 * 256;
        let id = TileId::in_tree(0, (leaf / 256) as u64, 66_000).unwrap();
        let mut broken = files.clone();
        let bundle = encode_bundle(&changed[first..(first + 256).min(66_000)]).unwrap();
        broken.0.insert(Resource::Entries(id).path(), bundle.clone());
        assert_eq!(plain(&broken), Err(ExportFault::Entry { leaf: leaf as u64 }));
        // and its tile too: the level above, or the root where the tile is partial
        let mut tile = files.0[&Resource::Tile(id).path()].clone();
        let at = (leaf - first) * 32;
        tile[at..at + 32].copy_from_slice(leaf_hash(&changed[leaf]).as_bytes());
        broken.0.insert(Resource::Tile(id).path(), tile);
        match plain(&broken).unwrap_err() {
            ExportFault::Tile { leaf: named, .. } => assert_eq!(named, first as u64),
            ExportFault::Root { size } => assert!(id.is_partial() && size == 66_000),
            other => panic!("{other}"),
        }
    }
    let mut broken = files.clone();
    broken.0.get_mut("tile/2/000.p/1").unwrap()[0] ^= 1;
    assert!(
        matches!(plain(&broken), Err(ExportFault::Tile { leaf: 0, path }) if path == "tile/2/000.p/1")
    );
    let mut broken = files;
    broken.0.get_mut("tile/1/001.p/1").unwrap()[0] ^= 1;
    let fault = plain(&broken).unwrap_err();
    assert_eq!(fault, ExportFault::Tile { path: "tile/1/001.p/1".to_owned(), leaf: 65_536 });
}

#[test]
fn a_log_rewritten_with_its_own_key_is_found_by_an_outside_checkpoint() {
    let honest = entries(600);
    let outside = known(&honest[..500]);
    let rules = ExportRules { known: vec![outside], ..ExportRules::default() };
    assert_eq!(check(&Files::of(&honest), &rules).unwrap().known, 1);
    let mut dice = Dice::new(9);
    for _ in 0..50 {
        let mut changed = honest.clone();
        let at = dice.below(500);
        match dice.below(4) {
            0 => changed[at].push(b'!'),
            1 => changed.swap(at, (at + 1) % 500),
            2 => {
                changed.remove(at);
            }
            _ => changed.insert(at, b"new".to_vec()),
        }
        // every hash, tile and signature is made anew
        let files = Files::of(&changed);
        assert!(plain(&files).is_ok());
        assert_eq!(check(&files, &rules), Err(ExportFault::Rewritten { known: 500 }));
    }
    let cut = check(&Files::of(&honest[..499]), &rules);
    assert_eq!(cut, Err(ExportFault::Shorter { size: 499, known: 500 }));
    // rewritten at the very size that was seen
    let mut changed = honest[..500].to_vec();
    changed[0].push(b'!');
    let same_size = check(&Files::of(&changed), &rules);
    assert_eq!(same_size, Err(ExportFault::Rewritten { known: 500 }));
    assert!(check(&Files::of(&honest[..500]), &rules).is_ok());
    let foreign = Checkpoint::new("other.example", 3, leaf_hash(b"")).unwrap();
    let rules = ExportRules { known: vec![foreign], ..ExportRules::default() };
    assert_eq!(check(&Files::of(&honest), &rules), Err(ExportFault::OtherLog));
    let empty = Checkpoint::new("shop.example/log", 0, leaf_hash(b"")).unwrap();
    let rules = ExportRules { known: vec![empty], ..ExportRules::default() };
    assert_eq!(check(&Files::of(&honest), &rules), Err(ExportFault::Rewritten { known: 0 }));
}

#[test]
fn signatures_are_asked_for() {
    let files = Files::of(&entries(10));
    let one = vec![witness_key(0).verifier().clone()];
    let strict: Policy = log_policy().with_witnesses(one, 1).unwrap();
    let result = verify_export(&files, &strict, &ExportRules::default(), &mut |_| {});
    let fault = ExportFault::Checkpoint(Error::Quorum { got: 0, need: 1 });
    assert_eq!(result, Err(fault));
    // signed well, but over another tree
    let mut other = files.clone();
    let note = signed(10, leaf_hash(b"another")).to_string();
    other.0.insert("checkpoint".to_owned(), note.into_bytes());
    assert_eq!(plain(&other), Err(ExportFault::Root { size: 10 }));
}

#[test]
fn pruned_and_erased_entries() {
    let entries = entries(700);
    let mut files = Files::of(&entries);
    files.0.remove("tile/entries/000");
    assert!(matches!(plain(&files), Err(ExportFault::File { leaf: 0, .. })));
    let rules = |minimum_index| ExportRules { minimum_index, ..ExportRules::default() };
    assert!(check(&files, &rules(255)).is_err());
    assert_eq!(check(&files, &rules(256)).unwrap().hash_only, 256);

    let mut erased = entries.clone();
    erased[600].clear();
    let bundle = encode_bundle(&erased[512..700]).unwrap();
    let mut files = Files::of(&entries);
    files.0.insert("tile/entries/002.p/188".to_owned(), bundle);
    assert_eq!(plain(&files), Err(ExportFault::Entry { leaf: 600 }));
    let rules = ExportRules { empty_is_erased: true, ..ExportRules::default() };
    let report = check(&files, &rules).unwrap();
    assert_eq!((report.entries, report.hash_only), (699, 1));
}

#[test]
fn full_tiles_stand_in_for_dropped_partial_ones() {
    let all = entries(512);
    let full = Files::of(&all);
    let mut files = Files::of(&all[..300]);
    files.0.remove("tile/0/001.p/44");
    files.0.remove("tile/entries/001.p/44");
    assert!(plain(&files).is_err());
    for path in ["tile/0/001", "tile/entries/001"] {
        files.0.insert(path.to_owned(), full.0[path].clone());
    }
    assert_eq!(plain(&files).unwrap().entries, 300);
}

#[test]
fn proofs_come_out_of_an_export() {
    let files = Files::of(&entries(700));
    let tiles = ExportTiles(&files);
    let root = plain(&files).unwrap().verified.checkpoint.root();
    for (index, entry) in entries(700).iter().enumerate().step_by(37) {
        let i = index as u64;
        let proof = prove_inclusion(&tiles, i, 700).unwrap();
        assert_eq!(verify_inclusion(&leaf_hash(entry), i, 700, &proof, &root), Ok(()));
    }
    assert_ne!(mth(&numbered(700)), root);
}

#[test]
fn readers_that_fail_are_reported() {
    struct Broken(Files);
    impl merkle::export::ExportDir for Broken {
        fn read(&self, path: &str, max_bytes: usize) -> Result<Option<Vec<u8>>, String> {
            if path == "tile/entries/001" {
                return Err("disk".to_owned());
            }
            self.0.read(path, max_bytes)
        }
    }
    let broken = Broken(Files::of(&entries(512)));
    let result = verify_export(&broken, &log_policy(), &ExportRules::default(), &mut |_| {});
    let error = Error::Read { path: "tile/entries/001".to_owned(), cause: "disk".to_owned() };
    assert_eq!(result, Err(ExportFault::File { leaf: 256, error }));
}
