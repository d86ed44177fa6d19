//! M1, M2, M5: published vectors. Probes of transparency-dev/merkle (read from the data folder),
//! the eight-leaf tree of the Certificate Transparency tests, the examples of the C2SP texts, and
//! a key and note of Go's note package.

use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use merkle::key::{KeyKind, SeedSigner};
use merkle::note::Note;
use merkle::witness::AddCheckpoint;
use merkle::{
    CompactRange, Hash, NoteSigner as _, SignedCheckpoint, VerifyKey, leaf_hash,
    prove_inclusion_in, verify_consistency, verify_inclusion,
};
use serde_json::Value;

use crate::support::data;

fn probes(dir: &Path, out: &mut Vec<(String, Value)>) {
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            probes(&path, out);
        } else if path.extension().is_some_and(|e| e == "json") {
            let text = std::fs::read_to_string(&path).unwrap();
            out.push((path.display().to_string(), serde_json::from_str(&text).unwrap()));
        }
    }
}

fn bytes(value: &Value) -> Vec<u8> {
    STANDARD.decode(value.as_str().unwrap()).unwrap()
}

/// Roots in consistency probes may be words instead of hashes ("don't care"), even in a good one. A
/// word becomes a hash of its own, which keeps equal words equal and all others different.
fn hash_or_word(value: &Value) -> Hash {
    let bytes = bytes(value);
    Hash::from_slice(&bytes).unwrap_or_else(|_| leaf_hash(&bytes))
}

/// A proof whose elements are not hashes cannot even be written down here: refused.
fn proof(value: &Value) -> Option<Vec<Hash>> {
    let Value::Array(items) = value else { return Some(vec![]) };
    items.iter().map(|item| Hash::from_slice(&bytes(item)).ok()).collect()
}

#[test]
fn inclusion_probes() {
    let Some(dir) = data("merkle/testdata/inclusion") else { return };
    let mut all = vec![];
    probes(&dir, &mut all);
    let mut good = 0;
    for (name, probe) in &all {
        let leaf = Hash::from_slice(&bytes(&probe["leafHash"]));
        let root = Hash::from_slice(&bytes(&probe["root"]));
        let result = proof(&probe["proof"]).is_some_and(|proof| {
            let (Ok(leaf), Ok(root)) = (leaf, root) else { return false };
            let index = probe["leafIdx"].as_u64().unwrap();
            let size = probe["treeSize"].as_u64().unwrap();
            verify_inclusion(&leaf, index, size, &proof, &root).is_ok()
        });
        assert_eq!(result, !probe["wantErr"].as_bool().unwrap(), "{name}");
        good += usize::from(result);
    }
    assert_eq!(all.len(), 98);
    eprintln!("inclusion probes: {} of which {good} good", all.len());
}

#[test]
fn consistency_probes() {
    let Some(dir) = data("merkle/testdata/consistency") else { return };
    let mut all = vec![];
    probes(&dir, &mut all);
    let mut good = 0;
    for (name, probe) in &all {
        let result = proof(&probe["proof"]).is_some_and(|proof| {
            let (old, new) = (hash_or_word(&probe["root1"]), hash_or_word(&probe["root2"]));
            let size1 = probe["size1"].as_u64().unwrap();
            let size2 = probe["size2"].as_u64().unwrap();
            verify_consistency(size1, size2, &proof, &old, &new).is_ok()
        });
        assert_eq!(result, !probe["wantErr"].as_bool().unwrap(), "{name}");
        good += usize::from(result);
    }
    assert_eq!(all.len(), 98);
    eprintln!("consistency probes: {} of which {good} good", all.len());
}

#[test]
fn eight_leaves_of_certificate_transparency() {
    let leaves: [&[u8]; 8] = [
        b"",
        b"\x00",
        b"\x10",
        b"\x20\x21",
        b"\x30\x31",
        b"\x40\x41\x42\x43",
        b"\x50\x51\x52\x53\x54\x55\x56\x57",
        b"\x60\x61\x62\x63\x64\x65\x66\x67\x68\x69\x6a\x6b\x6c\x6d\x6e\x6f",
    ];
    let roots = [
        "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
        "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
        "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
        "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
        "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
        "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
        "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
        "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
        "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
    ];
    let mut range = CompactRange::new();
    assert_eq!(range.root().to_hex(), roots[0]);
    for (leaf, root) in leaves.iter().zip(&roots[1..]) {
        range.append(leaf_hash(leaf));
        assert_eq!(range.root().to_hex(), *root);
    }
    let hashes = leaves.map(leaf_hash);
    let proof = prove_inclusion_in(&hashes, 5).unwrap();
    let text: Vec<_> = proof.iter().map(Hash::to_hex).collect();
    assert_eq!(
        text,
        [
            "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
            "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
            "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
        ]
    );
}

const EXAMPLE_KEY: &str = "example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k";
const EXAMPLE_NOTE: &str = "This is an example message.

— example.com/foo \
Uw2QOkn8srV1yJGh2VYRlL1Tnagv1YEq6TfXppzi2ONncAlTgK7Ztg1ERYNZXsYjOBH3mFXmRKuwHjG1Yu72IneyaQM=
";

#[test]
fn note_and_key_of_the_specification() {
    let key = VerifyKey::parse(EXAMPLE_KEY).unwrap();
    assert_eq!((key.name(), key.kind()), ("example.com/foo", KeyKind::Ed25519));
    assert_eq!(key.to_string(), EXAMPLE_KEY);
    let note = Note::parse(EXAMPLE_NOTE.as_bytes()).unwrap();
    assert_eq!(note.to_string(), EXAMPLE_NOTE);
    let (text, by) = note.open(&[&key]).unwrap();
    assert_eq!((text, by.len()), ("This is an example message.\n", 1));
    let changed = EXAMPLE_NOTE.replace("message", "massage");
    assert!(Note::parse(changed.as_bytes()).unwrap().open(&[&key]).is_err());
}

#[test]
fn a_text_with_blank_lines_ends_at_the_last_one() {
    let poem = "Ognuno sta solo sul cuor della terra
trafitto da un raggio di sole:

ed è subito sera.

— quasimodo.example/salvatore \
NnugSzTjtVAewIS+Z/iJhUPeFDkO/5QQ2i5ddnGITLlC+EhfLW9oJKONrMouFSQU0xMcXxj99ihAQwaqP3ZekRwNtIc=
";
    let note = Note::parse(poem.as_bytes()).unwrap();
    assert!(note.unverified_text().ends_with("sole:\n\ned è subito sera.\n"));
    assert_eq!(note.signatures().len(), 1);
    assert_eq!(note.to_string(), poem);
}

#[test]
fn key_and_note_of_go() {
    let secret = "PRIVATE+KEY+PeterNeumann+c74f20a3+AYEKFALVFGyNhPJEMzD1QIDr+Y7hfZx09iUvxdXHKDFz";
    let public = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW";
    let text = "If you think cryptography is the answer to your problem,\n\
                then you don't know what your problem is.\n";
    let line = "— PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKv\
                qfqdngotpRZb6KE6RyyBwJnAM=\n";
    let signer = SeedSigner::parse(secret).unwrap();
    assert_eq!(signer.verifier().to_string(), public);
    assert_eq!(signer.key_id().to_string(), "c74f20a3");
    let note = Note::sign(text, &[&signer]).unwrap();
    assert_eq!(note.to_string(), format!("{text}\n{line}"));
}

#[test]
fn checkpoint_cosignature_and_request_of_the_specifications() {
    let sofa = "example.com/behind-the-sofa
20852163
CsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=

— example.com/behind-the-sofa \
Az3grlgtzPICa5OS8npVmf1Myq/5IZniMp+ZJurmRDeOoRDe4URYN7u5/Zhcyv2q1gGzGku9nTo+zyWE+xeMcTOAYQ8=
— witness.example.com/w1 \
jWbPPwAAAABkGFDLEZMHwSRaJNiIDoe9DYn/zXcrtPHeolMI5OWXEhZCB9dlrDJsX3b2oyin1nPZqhf5nNo0xUe+mbIUBkBIfZ+qnA==
";
    let signed = SignedCheckpoint::parse(sofa.as_bytes()).unwrap();
    assert_eq!(signed.claimed().origin(), "example.com/behind-the-sofa");
    assert_eq!(signed.claimed().size(), 20_852_163);
    assert_eq!(signed.to_string(), sofa);
    let cosignature = &signed.note().signatures()[1];
    assert_eq!(cosignature.bytes().len(), 72);
    assert_eq!(cosignature.bytes()[..8], 1_679_315_147_u64.to_be_bytes());

    let request = format!(
        "old 20852014
PlRNCrwHpqhGrupue0L7gxbjbMiKA9temvuZZDDpkaw=
jrJZDmY8Y7SyJE0MWLpLozkIVMSMZcD5kvuKxPC3swk=
5+pKlUdi2LeF/BcMHBn+Ku6yhPGNCswZZD1X/6QgPd8=
/6WVhPs2CwSsb5rYBH5cjHV/wSmA79abXAwhXw3Kj/0=

{sofa}"
    );
    let parsed = AddCheckpoint::parse(request.as_bytes()).unwrap();
    assert_eq!((parsed.old_size, parsed.proof.len()), (20_852_014, 4));
    assert_eq!(parsed.to_string(), request);
}
