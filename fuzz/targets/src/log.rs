//! The audit log's formats come from other nodes, witnesses and downloaded exports: each has one
//! spelling (M4 of `merkle`), and no bytes make their readers panic or allocate without limit (M8).

use merkle::note::Note;
use merkle::tile::{encode_bundle, parse_bundle};
use merkle::witness::AddCheckpoint;
use merkle::{
    Hash, Resource, SignedCheckpoint, TlogProof, VerifyKey, verify_consistency, verify_inclusion,
};

/// A signed checkpoint in shape; its signature is nobody's.
pub const NOTE_SEEDS: &[&[u8]] = &[
    "shop.example/log\n3\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n\n\u{2014} shop.example/log \
     Az3grlgtzPICa5OS8npVmf1Myq/5IZniMp+ZJurmRDeOoRDe4URYN7u5/Zhcyv2q1gGzGku9nTo+zyWE+xeMcTOAYQ8=\n"
        .as_bytes(),
];
/// A verifier key in shape.
pub const KEY_SEEDS: &[&[u8]] =
    &[b"example.com/foo+889d3235+ARERERERERERERERERERERERERERERERERERERERERER"];
/// Resources of a log.
pub const PATH_SEEDS: &[&[u8]] =
    &[b"tile/0/x001/x234/067", b"tile/entries/x001/000.p/3", b"checkpoint", b"tile/7/000.p/255"];
/// A width and a bundle of two entries.
pub const BUNDLE_SEEDS: &[&[u8]] = &[b"\x02\x00\x01a\x00\x02bc"];
/// A proof file in shape.
pub const PROOF_FILE_SEEDS: &[&[u8]] =
    &["c2sp.org/tlog-proof@v1\nindex 1\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n\n\
     shop.example/log\n2\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n\n\u{2014} \
     shop.example/log Az3grlgtzPICa5OS8npVmf1Myq/5IZniMp+ZJurmRDeOoRDe4URYN7u5/Zhcyv2q1gGzGku9nTo\
     +zyWE+xeMcTOAYQ8=\n"
        .as_bytes()];
/// Two numbers and hashes.
pub const PROOF_SEEDS: &[&[u8]] = &[&[1; 16 + 32 * 4]];
/// A witness's request in shape.
pub const REQUEST_SEEDS: &[&[u8]] =
    &["old 1\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n\nshop.example/log\n2\n\
     CsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n\n\u{2014} shop.example/log \
     Az3grlgtzPICa5OS8npVmf1Myq/5IZniMp+ZJurmRDeOoRDe4URYN7u5/Zhcyv2q1gGzGku9nTo+zyWE+xeMcTOAYQ8=\n"
        .as_bytes()];

/// A signed note.
pub fn note(bytes: &[u8]) -> bool {
    let Ok(note) = Note::parse(bytes) else { return false };
    assert_eq!(note.to_string().as_bytes(), bytes);
    true
}

/// A signed checkpoint.
pub fn checkpoint(bytes: &[u8]) -> bool {
    let Ok(signed) = SignedCheckpoint::parse(bytes) else { return false };
    assert_eq!(signed.to_string().as_bytes(), bytes);
    true
}

/// A verifier key.
pub fn key(bytes: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(bytes) else { return false };
    let Ok(key) = VerifyKey::parse(text) else { return false };
    assert_eq!(key.to_string(), text);
    true
}

/// A resource's path.
pub fn path(bytes: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(bytes) else { return false };
    let Ok(resource) = Resource::parse(text) else { return false };
    assert_eq!(resource.path(), text);
    true
}

/// An entry bundle: the first byte is the width that its path would name.
pub fn bundle(bytes: &[u8]) -> bool {
    let Some((width, bytes)) = bytes.split_first() else { return false };
    let Ok(entries) = parse_bundle(bytes, u16::from(*width)) else { return false };
    assert_eq!(entries.len(), usize::from(*width));
    if !entries.is_empty() {
        assert_eq!(encode_bundle(&entries).as_deref(), Ok(bytes));
    }
    true
}

/// A `tlog-proof` file.
pub fn proof_file(bytes: &[u8]) -> bool {
    let Ok(proof) = TlogProof::parse(bytes) else { return false };
    assert_eq!(proof.to_string().as_bytes(), bytes);
    true
}

/// Proofs with hostile indexes, sizes and lengths: two numbers of eight bytes, then hashes.
pub fn proof(bytes: &[u8]) -> bool {
    let Some((first, rest)) = bytes.split_first_chunk::<8>() else { return false };
    let Some((second, rest)) = rest.split_first_chunk::<8>() else { return false };
    let (first, second) = (u64::from_be_bytes(*first), u64::from_be_bytes(*second));
    let (hashes, _) = rest.as_chunks::<32>();
    let hashes: Vec<Hash> = hashes.iter().copied().map(Hash::new).collect();
    let (Some(old), Some(new)) = (hashes.first(), hashes.last()) else { return false };
    let path = hashes.get(1..).unwrap_or_default();
    // refused or not: what is asked is that both come to an end without a panic
    let _ = verify_inclusion(old, first, second, path, new);
    let _ = verify_consistency(first, second, path, old, new);
    true
}

/// A request to a witness.
pub fn witness_request(bytes: &[u8]) -> bool {
    let Ok(request) = AddCheckpoint::parse(bytes) else { return false };
    assert_eq!(request.to_string().as_bytes(), bytes);
    true
}
