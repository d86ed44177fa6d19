//! M4, M8: whatever bytes come, no parser panics, and what it takes it writes back unchanged.

use merkle::key::SeedSigner;
use merkle::note::{Note, Signature};
use merkle::tile::{encode_bundle, parse_bundle};
use merkle::witness::AddCheckpoint;
use merkle::{
    Checkpoint, CompactRange, Hash, Resource, SignedCheckpoint, TlogProof, VerifyKey, leaf_hash,
};
use proptest::prelude::*;

use crate::support::{log_key, signed, witness_key};

/// Feeds every parser; each must refuse, or give back the very same bytes.
fn feed(bytes: &[u8]) {
    if let Ok(range) = CompactRange::from_bytes(bytes) {
        assert_eq!(range.to_bytes(), bytes);
        let _ = range.root();
    }
    for width in [0, 1, 2, 256, 257] {
        if let Ok(entries) = parse_bundle(bytes, width) {
            assert!(width == 0 || encode_bundle(&entries).unwrap() == bytes);
        }
    }
    same(bytes, Note::parse(bytes).ok());
    same(bytes, SignedCheckpoint::parse(bytes).ok());
    same(bytes, TlogProof::parse(bytes).ok());
    same(bytes, AddCheckpoint::parse(bytes).ok());
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    same(bytes, Checkpoint::parse(text).ok());
    same(bytes, Signature::parse(text).ok());
    if let Ok(lines) = Signature::parse_lines(text) {
        let again: String = lines.iter().map(|line| format!("{line}\n")).collect();
        assert_eq!(again, text);
    }
    same(bytes, VerifyKey::parse(text).ok());
    same(bytes, Hash::from_base64(text).ok());
    same(bytes, Hash::from_hex(text).ok().map(|h| h.to_hex()));
    same(bytes, Resource::parse(text).ok().map(|r| r.path()));
    let _ = SeedSigner::parse(text);
}

fn same<T: ToString>(bytes: &[u8], parsed: Option<T>) {
    if let Some(parsed) = parsed {
        assert_eq!(parsed.to_string().as_bytes(), bytes);
    }
}

fn samples() -> Vec<Vec<u8>> {
    let mut checkpoint = signed(9, leaf_hash(b"r"));
    checkpoint.cosign(&witness_key(0), 1).unwrap();
    let proof = vec![leaf_hash(b"a"), leaf_hash(b"b")];
    let file = TlogProof {
        extra: Some(vec![1, 2]),
        index: 3,
        proof: proof.clone(),
        checkpoint: checkpoint.clone(),
    };
    let add = AddCheckpoint { old_size: 4, proof, checkpoint: checkpoint.clone() };
    let texts = [
        checkpoint.to_string(),
        checkpoint.claimed().to_string(),
        checkpoint.note().signatures()[0].to_string(),
        file.to_string(),
        add.to_string(),
        log_key().verifier().to_string(),
        leaf_hash(b"").to_hex(),
        leaf_hash(b"").to_base64(),
        "tile/0/x001/x234/067.p/8".to_owned(),
        "tile/entries/999".to_owned(),
    ];
    let mut out: Vec<_> = texts.into_iter().map(String::into_bytes).collect();
    out.push([leaf_hash(b""); 1].into_iter().collect::<CompactRange>().to_bytes());
    out.push(encode_bundle(&[b"one".as_slice(), b""]).unwrap());
    out
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1_000, ..ProptestConfig::default() })]

    #[test]
    fn arbitrary_bytes(bytes in prop::collection::vec(any::<u8>(), 0..600)) {
        feed(&bytes);
    }

    #[test]
    fn arbitrary_text(text in "[ -~\n\u{2014}\u{a0}]{0,200}") {
        feed(text.as_bytes());
    }

    #[test]
    fn spoilt_samples(
        which in any::<prop::sample::Index>(), other in any::<prop::sample::Index>(),
        at in any::<prop::sample::Index>(), insert in prop::collection::vec(any::<u8>(), 0..6),
        drop in 0_usize..5,
    ) {
        let samples = samples();
        let sample = which.get(&samples);
        feed(sample);
        let at = at.index(sample.len());
        let rest = &sample[(at + drop).min(sample.len())..];
        feed(&[&sample[..at], &insert, rest].concat());
        feed(&[&sample[..at], other.get(&samples).as_slice()].concat());
    }
}

#[test]
fn numbers_at_the_edge_of_64_bits() {
    let (a, b) = (leaf_hash(b"a"), leaf_hash(b"b"));
    for size in [u64::MAX, u64::MAX - 1, 1 << 63, (1 << 63) - 1] {
        for index in [0, 1, size - 1, size / 2, size, u64::MAX] {
            for length in [0, 1, 62, 63, 64, 65] {
                let proof = vec![a; length];
                assert!(merkle::verify_inclusion(&a, index, size, &proof, &b).is_err());
                assert!(merkle::verify_consistency(index, size, &proof, &a, &b).is_err());
            }
        }
    }
    let map = merkle::TileMap::new();
    assert!(merkle::root_at(&map, u64::MAX).is_err());
    assert!(merkle::prove_inclusion(&map, 0, u64::MAX).is_err());
    assert!(merkle::prove_consistency(&map, 1, u64::MAX).is_err());
    assert!(merkle::inclusion_tiles(0, (1 << 63) - 1).unwrap().len() < 1_000);
    assert!(merkle::consistency_tiles(1, u64::MAX).is_err());
    for level in 0..=255 {
        for index in [0, 1, u64::MAX >> 8, u64::MAX] {
            if let Ok(id) = merkle::TileId::new(level, index, 256) {
                let _ = id.first_leaf(255);
                assert_eq!(Resource::parse(&Resource::Tile(id).path()), Ok(Resource::Tile(id)));
            }
            let _ = merkle::TileId::in_tree(level, index, u64::MAX);
        }
    }
}
