//! M1, M2, M3: hashing, proofs and tiles against an oracle written from the RFC's definitions.

use merkle::{
    CompactRange, Error, Hash, Resource, TileId, TileMap, TileReader as _, consistency_tiles, grow,
    inclusion_tiles, leaf_hash, node_hash, prove_consistency, prove_consistency_in,
    prove_inclusion, prove_inclusion_in, root_at, verify_consistency, verify_inclusion,
};
use proptest::prelude::*;

use crate::support::{Dice, consistency, mth, numbered, path, tiles};

#[test]
fn every_inclusion_proof_up_to_70_leaves() {
    let leaves = numbered(70);
    for size in 1..=70 {
        let tree = &leaves[..size];
        let (root, n) = (mth(tree), size as u64);
        for index in 0..size {
            let i = index as u64;
            let proof = prove_inclusion_in(tree, i).unwrap();
            assert_eq!(proof, path(index, tree));
            assert_eq!(verify_inclusion(&tree[index], i, n, &proof, &root), Ok(()));
            for other in (0..n).filter(|o| *o != i) {
                assert!(verify_inclusion(&tree[index], other, n, &proof, &root).is_err());
            }
            assert!(verify_inclusion(&tree[index], i + n, n, &proof, &root).is_err());
            assert!(verify_inclusion(&leaves[(index + 1) % 70], i, n, &proof, &root).is_err());
        }
    }
    assert!(verify_inclusion(&leaves[0], 0, 0, &[], &leaves[0]).is_err());
    assert!(prove_inclusion_in(&leaves, 70).is_err());
    assert!(prove_inclusion_in(&[], 0).is_err());
}

#[test]
fn every_consistency_proof_up_to_70_leaves() {
    let leaves = numbered(70);
    let roots: Vec<_> = (0..=70).map(|n| mth(&leaves[..n])).collect();
    for new in 1..=70_usize {
        for old in 1..=new {
            let proof = prove_consistency_in(&leaves[..new], old as u64).unwrap();
            assert_eq!(proof, consistency(old, &leaves[..new]));
            let check = |o: usize, n: usize, proof: &[Hash]| {
                verify_consistency(o as u64, n as u64, proof, &roots[o], &roots[n])
            };
            assert_eq!(check(old, new, &proof), Ok(()), "{old} {new}");
            for other in 0..=70 {
                assert!(other == old || check(other, new, &proof).is_err() || old == new);
                assert!(other == new || check(old, other, &proof).is_err() || old == new);
            }
            assert!(old == new || check(new, old, &proof).is_err());
            let swapped =
                verify_consistency(old as u64, new as u64, &proof, &roots[new], &roots[old]);
            assert!(old == new || swapped.is_err());
        }
        assert_eq!(prove_consistency_in(&leaves[..new], 0), Ok(vec![]));
        let empty = verify_consistency(0, new as u64, &[], &roots[0], &roots[new]);
        assert_eq!(empty, Err(Error::Sizes { old: 0, new: new as u64 }));
    }
    assert!(prove_consistency_in(&leaves, 71).is_err());
    assert!(verify_consistency(0, 0, &[], &roots[0], &roots[0]).is_err());
}

#[test]
fn any_change_to_a_proof_is_refused() {
    let leaves = numbered(300);
    let mut dice = Dice::new(11);
    for _ in 0..500 {
        let new = 2 + dice.below(299);
        let old = 1 + dice.below(new - 1);
        let tree = &leaves[..new];
        let (new_root, old_root) = (mth(tree), mth(&tree[..old]));
        let index = dice.below(new);
        let inclusion = path(index, tree);
        let growth = consistency(old, tree);
        let included = |p: &[Hash]| {
            verify_inclusion(&tree[index], index as u64, new as u64, p, &new_root).is_ok()
        };
        let grown = |p: &[Hash]| {
            verify_consistency(old as u64, new as u64, p, &old_root, &new_root).is_ok()
        };
        assert!(included(&inclusion) && grown(&growth));
        for mutant in mutants(&inclusion, &mut dice) {
            assert!(!included(&mutant));
        }
        for mutant in mutants(&growth, &mut dice) {
            assert!(!grown(&mutant));
        }
    }
}

#[test]
fn a_root_made_for_a_padded_proof_is_refused() {
    let (leaves, stray) = (numbered(13), leaf_hash(b"stray"));
    let root = mth(&leaves);
    for index in 0..13 {
        let padded = [path(index, &leaves), vec![stray]].concat();
        for above in [node_hash(&stray, &root), node_hash(&root, &stray)] {
            let result = verify_inclusion(&leaves[index], index as u64, 13, &padded, &above);
            let want = padded.len() - 1;
            assert_eq!(result, Err(Error::ProofLength { got: want + 1, want }));
        }
    }
    for old in 1..13 {
        let padded = [consistency(old, &leaves), vec![stray]].concat();
        let roots = (node_hash(&stray, &mth(&leaves[..old])), node_hash(&stray, &root));
        let result = verify_consistency(old as u64, 13, &padded, &roots.0, &roots.1);
        let want = padded.len() - 1;
        assert_eq!(result, Err(Error::ProofLength { got: want + 1, want }));
    }
}

fn mutants(proof: &[Hash], dice: &mut Dice) -> Vec<Vec<Hash>> {
    let stray = leaf_hash(b"stray");
    let mut out = vec![[proof, &[stray]].concat(), [&[stray], proof].concat()];
    if !proof.is_empty() {
        out.push(proof[1..].to_vec());
        out.push(proof[..proof.len() - 1].to_vec());
        let mut flipped = proof.to_vec();
        let at = dice.below(proof.len());
        let mut bytes = *flipped[at].as_bytes();
        bytes[dice.below(32)] ^= 1 << dice.below(8);
        flipped[at] = Hash::new(bytes);
        out.push(flipped);
    }
    if proof.len() > 1 {
        let mut swapped = proof.to_vec();
        swapped.swap(0, proof.len() - 1);
        out.push(swapped);
    }
    out
}

proptest! {
    #[test]
    fn roots_equal_the_definition(entries in prop::collection::vec(
        prop::collection::vec(any::<u8>(), 0..40), 0..400))
    {
        let leaves: Vec<_> = entries.iter().map(|e| leaf_hash(e)).collect();
        let range: CompactRange = leaves.iter().copied().collect();
        prop_assert_eq!(range.root(), mth(&leaves));
        prop_assert_eq!(range.nodes().len(), range.size().count_ones() as usize);
        let (grown, map) = tiles(&leaves);
        prop_assert_eq!(&grown, &range);
        prop_assert_eq!(root_at(&map, range.size()), Ok(range.root()));
    }

    #[test]
    fn proofs_from_tiles_equal_the_definition(
        size in 1_usize..1_500, a in any::<prop::sample::Index>(), b in any::<prop::sample::Index>()
    ) {
        let leaves = numbered(size);
        let (_, map) = tiles(&leaves);
        // of this tree and of an older one, out of the same tiles
        let then = 1 + a.index(size);
        let index = b.index(then);
        let (i, t, n) = (index as u64, then as u64, size as u64);
        prop_assert_eq!(prove_inclusion(&map, i, t), Ok(path(index, &leaves[..then])));
        prop_assert_eq!(prove_consistency(&map, t, n), Ok(consistency(then, &leaves)));
        prop_assert_eq!(root_at(&map, t), Ok(mth(&leaves[..then])));
    }

    #[test]
    fn growth_in_batches_equals_growth_at_once(batches in prop::collection::vec(0_usize..700, 1..6))
    {
        let leaves = numbered(batches.iter().sum());
        let (mut range, mut map, mut at) = (CompactRange::new(), TileMap::new(), 0);
        for batch in batches {
            let growth = grow(&range, &leaves[at..at + batch], &map).unwrap();
            at += batch;
            for tile in &growth.tiles {
                prop_assert_eq!(tile.bytes.len(), usize::from(tile.id.width()) * 32);
            }
            map.extend(growth.tiles);
            range = CompactRange::from_bytes(&growth.range.to_bytes()).unwrap();
            prop_assert_eq!(range.root(), mth(&leaves[..at]));
        }
        let (once, all) = tiles(&leaves);
        prop_assert_eq!(&once, &range);
        for id in TileId::all(range.size()) {
            prop_assert_eq!(map.tile(id), all.tile(id));
        }
    }
}

#[test]
fn tiles_of_three_levels_equal_direct_hashing() {
    let leaves = numbered(66_000);
    let (mut range, mut map) = (CompactRange::new(), TileMap::new());
    let mut dice = Dice::new(3);
    let mut rest = &leaves[..];
    while !rest.is_empty() {
        let (batch, tail) = rest.split_at(rest.len().min(1 + dice.below(9_000)));
        let growth = grow(&range, batch, &map).unwrap();
        map.extend(growth.tiles);
        range = growth.range;
        rest = tail;
    }
    let mut levels = vec![leaves.clone()];
    while levels.last().unwrap().len() >= 256 {
        let below = levels.last().unwrap();
        levels.push(below.chunks_exact(256).map(mth).collect());
    }
    assert_eq!(levels.len(), 3);
    let mut seen = 0;
    for id in TileId::all(66_000) {
        let first = usize::try_from(id.index()).unwrap() * 256;
        let hashes = &levels[usize::from(id.level())][first..first + usize::from(id.width())];
        let bytes: Vec<u8> = hashes.iter().flat_map(|h| *h.as_bytes()).collect();
        assert_eq!(map.tile(id).unwrap(), bytes);
        seen += 1;
    }
    assert_eq!(seen, 258 + 2 + 1);
    assert_eq!(range.root(), mth(&leaves));
    for _ in 0..50 {
        let size = 1 + dice.below(66_000);
        let index = dice.below(size);
        let (i, n) = (index as u64, size as u64);
        let proof = prove_inclusion(&map, i, n).unwrap();
        let root = root_at(&map, n).unwrap();
        assert_eq!(verify_inclusion(&leaves[index], i, n, &proof, &root), Ok(()));
        let growth = prove_consistency(&map, n, 66_000).unwrap();
        assert_eq!(verify_consistency(n, 66_000, &growth, &root, &range.root()), Ok(()));
    }
}

#[test]
fn the_tiles_named_beforehand_are_enough() {
    let leaves = numbered(1_000);
    let (_, all) = tiles(&leaves);
    let only = |ids: Vec<TileId>| {
        let mut map = TileMap::new();
        for id in ids {
            map.insert(id.level(), id.index(), all.tile(id).unwrap().into_owned());
        }
        map
    };
    for (index, size) in [(0, 1_000), (999, 1_000), (300, 513), (255, 256), (0, 1)] {
        let map = only(inclusion_tiles(index, size).unwrap());
        assert_eq!(prove_inclusion(&map, index, size), prove_inclusion(&all, index, size));
    }
    for (old, new) in [(1, 1_000), (999, 1_000), (256, 512), (300, 777), (0, 9), (9, 9)] {
        let map = only(consistency_tiles(old, new).unwrap());
        assert_eq!(prove_consistency(&map, old, new), prove_consistency(&all, old, new));
    }
    let (range, _) = tiles(&leaves[..700]);
    let more = grow(&range, &leaves[700..], &only(TileId::edge(700))).unwrap();
    assert_eq!(more.range.root(), mth(&leaves));
}

#[test]
fn nothing_grows_on_a_changed_tile() {
    let leaves = numbered(600);
    let (range, map) = tiles(&leaves);
    for id in TileId::edge(600) {
        for at in 0..usize::from(id.width()) {
            let mut bytes = map.tile(id).unwrap().into_owned();
            bytes[at * 32 + 5] ^= 1;
            let mut changed = map.clone();
            changed.insert(id.level(), id.index(), bytes);
            // level 1 is read only when a batch reaches it
            let result = grow(&range, &numbered(256), &changed);
            assert!(matches!(result, Err(Error::Tile { path, .. })
                if path == Resource::Tile(id).path()));
        }
    }
    let missing = grow(&range, &leaves, &TileMap::new());
    assert!(matches!(missing, Err(Error::Missing { .. })));
    let mut short = map.clone();
    short.insert(0, 2, vec![0; 32 * 87]);
    assert!(matches!(grow(&range, &leaves, &short), Err(Error::Tile { .. })));
    short.insert(0, 2, vec![0; 32 * 88 + 1]);
    assert!(matches!(grow(&range, &leaves, &short), Err(Error::Tile { .. })));
    // right hashes, and more than a tile can have
    let mut long = map.tile(TileId::in_tree(0, 2, 600).unwrap()).unwrap().into_owned();
    long.resize(32 * 257, 0);
    short.insert(0, 2, long);
    assert!(matches!(grow(&range, &leaves, &short), Err(Error::Tile { .. })));
}
