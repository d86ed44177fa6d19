//! M2, M4, M5: the tlog-proof file, made and checked, and refused after any change.

use merkle::{Error, Policy, TlogProof, leaf_hash, prove_inclusion};

use crate::support::{log_policy, signed, tiles, witness_key};

const SIZE: u64 = 300;

fn entry(index: u64) -> Vec<u8> {
    format!("entry {index}").into_bytes()
}

fn policy() -> Policy {
    log_policy().with_witnesses(vec![witness_key(0).verifier().clone()], 1).unwrap()
}

fn proof_of(index: u64) -> TlogProof {
    let leaves: Vec<_> = (0..SIZE).map(|i| leaf_hash(&entry(i))).collect();
    let (range, map) = tiles(&leaves);
    let mut checkpoint = signed(SIZE, range.root());
    checkpoint.cosign(&witness_key(0), 1_700_000_000).unwrap();
    let proof = prove_inclusion(&map, index, SIZE).unwrap();
    TlogProof { extra: None, index, proof, checkpoint }
}

#[test]
fn made_written_read_and_checked() {
    for index in [0, 1, 255, 256, 299] {
        let proof = proof_of(index);
        let text = proof.to_string();
        assert!(text.starts_with(&format!("c2sp.org/tlog-proof@v1\nindex {index}\n")));
        let read = TlogProof::parse(text.as_bytes()).unwrap();
        assert_eq!(read, proof);
        let verified = read.verify(&entry(index), &policy()).unwrap();
        assert_eq!(verified.witnesses.len(), 1);
        assert_eq!(read.verify(&entry(index + 1), &policy()), Err(Error::Root));
        assert!(read.verify_leaf(&leaf_hash(&entry(index)), &log_policy()).is_ok());
    }
}

#[test]
fn extra_is_carried_and_not_believed() {
    for extra in [vec![], vec![1, 2, 3], vec![9; 65_536]] {
        let proof = TlogProof { extra: Some(extra), ..proof_of(5) };
        let read = TlogProof::parse(proof.to_string().as_bytes()).unwrap();
        assert_eq!(read, proof);
        assert!(read.verify(&entry(5), &policy()).is_ok());
    }
    let large = TlogProof { extra: Some(vec![9; 65_537]), ..proof_of(5) };
    assert!(TlogProof::parse(large.to_string().as_bytes()).is_err());
}

#[test]
fn any_changed_byte_is_refused() {
    let policy = policy();
    let bytes = proof_of(70).to_string().into_bytes();
    let entry = entry(70);
    let accepts = |bytes: &[u8]| {
        TlogProof::parse(bytes).is_ok_and(|proof| proof.verify(&entry, &policy).is_ok())
    };
    assert!(accepts(&bytes));
    for at in 0..bytes.len() {
        for bit in 0..8 {
            let mut changed = bytes.clone();
            changed[at] ^= 1 << bit;
            assert!(!accepts(&changed), "byte {at} bit {bit}");
        }
        assert!(!accepts(&[&bytes[..at], &bytes[at + 1..]].concat()), "without byte {at}");
        assert!(!accepts(&bytes[..at]), "cut at {at}");
    }
}

#[test]
fn malformed_files() {
    let good = proof_of(5).to_string();
    let (head, note) = good.split_once("\n\n").unwrap();
    let hash = leaf_hash(b"x").to_base64();
    for bad in [
        good.replace("@v1", "@v2"),
        good.replace("index 5", "index 05"),
        good.replace("index 5", "index +5"),
        good.replace("index 5", "index"),
        good.replace("index 5\n", ""),
        good.replace("index 5", "extra AA\nindex 5"),
        good.replace("index 5", "extra AAA=\nextra AAA=\nindex 5"),
        good.replace("index 5", "index 5\nextra AAA="),
        good.replace("index 5", "index 5\nindex 5"),
        good.replace('\n', "\r\n"),
        format!("{head}\n{note}"),
        format!("{head}\n\n\n{note}"),
        format!("{head}\n{}\n{note}", format!("{hash}\n").repeat(64)),
        format!("{good}\n"),
        format!(" {good}"),
    ] {
        assert!(TlogProof::parse(bad.as_bytes()).is_err(), "{bad:?}");
    }
    assert!(TlogProof::parse(&vec![b'a'; 1_000_000]).is_err());
}
