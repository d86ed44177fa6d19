//! M4, M5: notes, keys, checkpoints, cosignatures and policy.

use merkle::cosign::cosign;
use merkle::key::{KeyId, KeyKind, SeedSigner};
use merkle::note::{MAX_SIGNATURES, Note, Signature};
use merkle::{Checkpoint, Error, Hash, NoteSigner, Policy, SignedCheckpoint, VerifyKey, leaf_hash};

use crate::support::{ORIGIN, log_key, log_policy, signed, witness_key};

fn policy(witnesses: u8, quorum: usize) -> Policy {
    let keys = (0..witnesses).map(|n| witness_key(n).verifier().clone()).collect();
    log_policy().with_witnesses(keys, quorum).unwrap()
}

#[test]
fn log_and_k_witnesses() {
    let mut checkpoint = signed(7, leaf_hash(b"root"));
    let two_of_three = policy(3, 2);
    let need = |got| Err(Error::Quorum { got, need: 2 });
    assert_eq!(two_of_three.verify(&checkpoint), need(0));
    checkpoint.cosign(&witness_key(0), 1_700_000_000).unwrap();
    assert_eq!(two_of_three.verify(&checkpoint), need(1));
    // the same witness again, and one that nobody knows, do not count
    checkpoint.cosign(&witness_key(0), 1_700_000_009).unwrap();
    checkpoint.cosign(&witness_key(9), 1_700_000_000).unwrap();
    assert_eq!(two_of_three.verify(&checkpoint), need(1));
    checkpoint.cosign(&witness_key(2), 1_700_000_001).unwrap();
    let checkpoint = SignedCheckpoint::parse(checkpoint.to_string().as_bytes()).unwrap();
    let verified = two_of_three.verify(&checkpoint).unwrap();
    assert_eq!(verified.checkpoint.size(), 7);
    assert_eq!(
        verified.witnesses,
        [
            ("witness0.example".to_owned(), 1_700_000_000),
            ("witness2.example".to_owned(), 1_700_000_001)
        ]
    );
}

#[test]
fn a_bad_signature_by_a_known_key_refuses_the_note() {
    let mut checkpoint = signed(7, leaf_hash(b"root"));
    let other = signed(8, leaf_hash(b"root"));
    let line = cosign(other.claimed(), &witness_key(0), 5).unwrap();
    checkpoint.add(line).unwrap();
    // unknown to this policy: ignored
    assert!(log_policy().verify(&checkpoint).is_ok());
    let known = policy(1, 0).verify(&checkpoint);
    assert_eq!(known, Err(Error::Signature { name: "witness0.example".to_owned() }));
}

#[test]
fn the_log_must_sign_itself() {
    let checkpoint = Checkpoint::new(ORIGIN, 3, leaf_hash(b"r")).unwrap();
    let foreign = SeedSigner::new(ORIGIN, KeyKind::Ed25519, &[77; 32]).unwrap();
    let unsigned = Err(Error::Unsigned { name: ORIGIN.to_owned() });
    let mut by_foreign = checkpoint.sign(&foreign).unwrap();
    assert_eq!(log_policy().verify(&by_foreign), unsigned);
    by_foreign.cosign(&witness_key(0), 9).unwrap();
    assert_eq!(policy(1, 1).verify(&by_foreign), unsigned);
    // a key id that collides with the log's leads only to a failed check
    let claimed = foreign.sign(checkpoint.to_string().as_bytes()).unwrap();
    let forged = Signature::new(ORIGIN, log_key().key_id(), claimed.to_vec()).unwrap();
    by_foreign.add(forged).unwrap();
    let refused = log_policy().verify(&by_foreign);
    assert_eq!(refused, Err(Error::Signature { name: ORIGIN.to_owned() }));
    let elsewhere = Checkpoint::new("other.example", 3, leaf_hash(b"r")).unwrap();
    assert!(elsewhere.sign(&log_key()).is_err());
    let other_key = SeedSigner::new("other.example", KeyKind::Ed25519, &[1; 32]).unwrap();
    let elsewhere = elsewhere.sign(&other_key).unwrap();
    assert_eq!(log_policy().verify(&elsewhere), Err(Error::Origin));
}

#[test]
fn policies_that_could_fool_are_refused() {
    let log = log_key().verifier().clone();
    let vkey = |name: &str, kind, seed| {
        SeedSigner::new(name, kind, &[seed; 32]).unwrap().verifier().clone()
    };
    assert!(Policy::new(vec![]).is_err());
    assert!(Policy::new(vec![log.clone(), log.clone()]).is_err());
    assert!(Policy::new(vec![log.clone(), vkey("b", KeyKind::Ed25519, 2)]).is_err());
    assert!(Policy::new(vec![vkey("b", KeyKind::Cosigner, 2)]).is_err());
    let base = || log_policy();
    let w = |seed| vkey("w", KeyKind::Cosigner, seed);
    assert!(base().with_witnesses(vec![w(2), w(3)], 3).is_err());
    // one key under two names, the log's own key, a key that signs plain notes
    assert!(base().with_witnesses(vec![w(2), vkey("v", KeyKind::Cosigner, 2)], 1).is_err());
    assert!(base().with_witnesses(vec![w(1)], 1).is_err());
    assert!(base().with_witnesses(vec![vkey("w", KeyKind::Ed25519, 5)], 1).is_err());
    assert!(base().with_witnesses((2..70).map(w).collect(), 1).is_err());
    assert!(base().with_witnesses(vec![w(2), w(3)], 2).is_ok());
    // rotation: either key of the log will do
    let both = Policy::new(vec![vkey(ORIGIN, KeyKind::Ed25519, 8), log]).unwrap();
    assert!(both.verify(&signed(1, leaf_hash(b"x"))).is_ok());
}

#[test]
fn any_changed_byte_of_a_checkpoint_is_refused() {
    let mut checkpoint = signed(1_234, leaf_hash(b"root"));
    checkpoint.cosign(&witness_key(0), 1_700_000_000).unwrap();
    let policy = policy(1, 1);
    let bytes = checkpoint.to_string().into_bytes();
    assert!(policy.verify(&SignedCheckpoint::parse(&bytes).unwrap()).is_ok());
    let accepts = |bytes: &[u8]| {
        SignedCheckpoint::parse(bytes).is_ok_and(|parsed| policy.verify(&parsed).is_ok())
    };
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
fn malformed_notes() {
    let good = signed(3, leaf_hash(b"r")).to_string();
    let line = good.lines().last().unwrap();
    for bad in [
        String::new(),
        "\n".to_owned(),
        "\n\n".to_owned(),
        "text\n\n".to_owned(),
        format!("text\n{line}\n"),
        format!("text\n\n{line}"),
        format!("text\n\n{line}\n\n"),
        format!("text\n\n{line}\n\n{}\n", "no signature"),
        format!("te\txt\n\n{line}\n"),
        format!("text\r\n\r\n{line}\n"),
        format!("text\n\n{}\n", line.replace('\u{2014}', "-")),
        format!("text\n\n{}\n", line.replace("shop.example", "shop example")),
        format!("text\n\n{}\n", line.replace("shop.example", "shop+example")),
        format!("text\n\n{}\n", line.trim_end_matches('=')),
        "text\n\n\u{2014} name AAAA\n".to_owned(),
        "text\n\n\u{2014} name AAAAAA==\n".to_owned(),
        "text\n\n\u{2014}  AAAAAAA=\n".to_owned(),
        format!("text\n\n{}", format!("{line}\n").repeat(MAX_SIGNATURES + 1)),
        format!("{}\n\n{line}\n", "x".repeat(300_000)),
    ] {
        assert!(Note::parse(bad.as_bytes()).is_err(), "{bad:?}");
    }
    let full = format!("text\n\n{}", format!("{line}\n").repeat(MAX_SIGNATURES));
    assert!(Note::parse(full.as_bytes()).is_ok());
    assert!(Note::parse(b"te\xffxt\n\n\xe2\x80\x94 n AAAAAAA=\n").is_err());
    assert!(Note::sign("no newline", &[&log_key()]).is_err());
    assert!(Note::sign("text\n", &[]).is_err());
    assert!(Signature::new("n", KeyId::new([0; 4]), vec![]).is_err());
}

#[test]
fn malformed_checkpoints() {
    let root = leaf_hash(b"r").to_base64();
    for bad in [
        String::new(),
        "\n".to_owned(),
        format!("\n3\n{root}\n"),
        "o\n3\n".to_owned(),
        format!("o\n3\n{root}"),
        format!("o\n03\n{root}\n"),
        format!("o\n+3\n{root}\n"),
        format!("o\n-3\n{root}\n"),
        format!("o\n\n{root}\n"),
        format!("o\n3 \n{root}\n"),
        format!("o\n0x3\n{root}\n"),
        format!("o\n9223372036854775808\n{root}\n"),
        format!("o\n18446744073709551616\n{root}\n"),
        format!("o\n3\n{}\n", root.trim_end_matches('=')),
        format!("o\n3\n{root}\n\n"),
        format!("o\n3\n{root}\next\n\nmore\n"),
        format!("{}\n3\n{root}\n", "o".repeat(256)),
    ] {
        assert!(Checkpoint::parse(&bad).is_err(), "{bad:?}");
    }
    for good in [
        format!("o\n0\n{}\n", Hash::EMPTY_ROOT),
        format!("an origin with spaces\n9223372036854775807\n{root}\n"),
        format!("o\n3\n{root}\nextension\n"),
    ] {
        assert_eq!(Checkpoint::parse(&good).unwrap().to_string(), good);
    }
    assert!(Checkpoint::new("a\nb", 1, leaf_hash(b"")).is_err());
}

#[test]
fn cosignatures_bind_time_and_text() {
    let checkpoint = signed(3, leaf_hash(b"r"));
    let witness = witness_key(0);
    assert!(cosign(checkpoint.claimed(), &witness, 0).is_err());
    assert!(cosign(checkpoint.claimed(), &witness, u64::MAX).is_err());
    let line = cosign(checkpoint.claimed(), &witness, 1_700_000_000).unwrap();
    for at in 0..72 {
        let mut bytes = line.bytes().to_vec();
        bytes[at] ^= 1;
        let mut forged = checkpoint.clone();
        forged.add(Signature::new(line.name(), line.key_id(), bytes).unwrap()).unwrap();
        assert!(policy(1, 1).verify(&forged).is_err());
    }
    // a cosignature is no plain signature, and the other way round
    let plain = SeedSigner::new("witness0.example", KeyKind::Ed25519, &[100; 32]).unwrap();
    let note = Note::sign("text\n", &[&plain]).unwrap();
    assert!(note.open(&[witness.verifier()]).is_err());
    let stripped = Signature::new(plain.name(), plain.key_id(), line.bytes()[8..].to_vec());
    let mut note = checkpoint.note().clone();
    note.add(stripped.unwrap()).unwrap();
    assert!(note.open(&[plain.verifier()]).is_err());
}

#[test]
fn the_latest_time_is_the_end_of_63_bits() {
    let witness = witness_key(0);
    let with_time = |time_s: u64| {
        let mut checkpoint = signed(3, leaf_hash(b"r"));
        let message = format!("cosignature/v1\ntime {time_s}\n{}", checkpoint.claimed());
        let signature = witness.sign(message.as_bytes()).unwrap();
        let bytes = [&time_s.to_be_bytes()[..], &signature].concat();
        checkpoint.add(Signature::new(witness.name(), witness.key_id(), bytes).unwrap()).unwrap();
        policy(1, 1).verify(&checkpoint)
    };
    assert!(with_time(i64::MAX as u64).is_ok());
    assert!(with_time(1 << 63).is_err());
    assert!(with_time(u64::MAX).is_err());
}

#[test]
fn a_key_holder_may_refuse() {
    struct Away;
    impl NoteSigner for Away {
        fn name(&self) -> &str {
            ORIGIN
        }
        fn key_id(&self) -> KeyId {
            KeyId::new([0; 4])
        }
        fn sign(&self, _: &[u8]) -> Result<[u8; 64], Error> {
            Err(Error::Signer { cause: "away".to_owned() })
        }
    }
    let checkpoint = Checkpoint::new(ORIGIN, 3, leaf_hash(b"r")).unwrap();
    assert!(matches!(checkpoint.sign(&Away), Err(Error::Signer { .. })));
    assert!(matches!(cosign(&checkpoint, &Away, 1), Err(Error::Signer { .. })));
}

#[test]
fn malformed_vkeys() {
    let good = log_key().verifier().to_string();
    for bad in [
        "".to_owned(),
        "a".to_owned(),
        "a+b".to_owned(),
        "a+b+c".to_owned(),
        good.to_uppercase(),
        format!("{good}="),
        format!(" {good}"),
        good[..good.len() - 1].to_owned(),
        format!("PRIVATE+KEY+{good}"),
    ] {
        assert!(VerifyKey::parse(&bad).is_err(), "{bad:?}");
    }
    assert!(SeedSigner::parse(&good).is_err());
}

#[test]
fn a_witness_answer_cannot_spoil_a_checkpoint() {
    let mut checkpoint = signed(3, leaf_hash(b"r"));
    let line = |n, size| {
        let tree = signed(size, leaf_hash(b"r"));
        format!("{}\n", cosign(tree.claimed(), &witness_key(n), 7).unwrap())
    };
    // good, stale (a known key over another tree), unknown, and the same witness again
    let answer = [line(0, 3), line(1, 2), line(9, 3), line(0, 3)].concat();
    let policy = policy(2, 1);
    assert_eq!(policy.collect(&mut checkpoint, answer.as_bytes()), Ok(1));
    assert_eq!(policy.collect(&mut checkpoint, answer.as_bytes()), Ok(0));
    assert_eq!(checkpoint.note().signatures().len(), 2);
    assert_eq!(policy.verify(&checkpoint).unwrap().witnesses.len(), 1);
    for bad in ["", "\n", "x\n", answer.trim_end(), &answer.repeat(17)] {
        assert!(policy.collect(&mut checkpoint, bad.as_bytes()).is_err());
    }
    assert!(policy.collect(&mut checkpoint, b"\xff\n").is_err());
}
