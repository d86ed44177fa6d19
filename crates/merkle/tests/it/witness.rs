//! M6: each answer of tlog-witness, and that a witness never goes back or forks.

use merkle::key::{KeyKind, SeedSigner};
use merkle::witness::{AddCheckpoint, Refusal, WitnessState};
use merkle::{Checkpoint, Error, Hash, Policy, SignedCheckpoint, leaf_hash, prove_consistency_in};

use crate::support::{Dice, ORIGIN, log_key, log_policy, mth, numbered, signed, witness_key};

fn request(old: u64, proof: Vec<Hash>, checkpoint: SignedCheckpoint) -> AddCheckpoint {
    let request = AddCheckpoint { old_size: old, proof, checkpoint };
    let read = AddCheckpoint::parse(request.to_string().as_bytes()).unwrap();
    assert_eq!(read, request);
    read
}

fn growth(old: usize, leaves: &[Hash]) -> AddCheckpoint {
    let proof = prove_consistency_in(leaves, old as u64).unwrap();
    request(old as u64, proof, signed(leaves.len() as u64, mth(leaves)))
}

fn state(leaves: &[Hash]) -> WitnessState {
    WitnessState { origin: ORIGIN.to_owned(), size: leaves.len() as u64, root: mth(leaves) }
}

fn status(state: &WitnessState, request: &AddCheckpoint) -> u16 {
    match state.judge(&log_policy(), request) {
        Ok(_) => 200,
        Err(refusal) => refusal.status(),
    }
}

#[test]
fn an_honest_log_is_followed() {
    let leaves = numbered(200);
    let witness = witness_key(0);
    let policy = log_policy().with_witnesses(vec![witness.verifier().clone()], 1).unwrap();
    let mut state = WitnessState::first(ORIGIN);
    let mut old = 0;
    for new in [0, 1, 1, 2, 70, 128, 128, 199, 200] {
        let add = growth(old, &leaves[..new]);
        let accepted = state.judge(&log_policy(), &add).unwrap();
        state = accepted.next_state();
        assert_eq!(state, self::state(&leaves[..new]));
        let line = accepted.cosign(&witness, 1_700_000_000).unwrap();
        let mut checkpoint = add.checkpoint.clone();
        checkpoint.add(line).unwrap();
        assert!(policy.verify(&checkpoint).is_ok());
        old = new;
    }
}

#[test]
fn each_refusal_has_its_status() {
    let leaves = numbered(40);
    let at_20 = state(&leaves[..20]);
    // 404
    let key = SeedSigner::new("other.example", KeyKind::Ed25519, &[1; 32]).unwrap();
    let other = Checkpoint::new("other.example", 30, mth(&leaves[..30])).unwrap();
    let other = other.sign(&key).unwrap();
    assert_eq!(status(&at_20, &request(20, vec![], other)), 404);
    // 403: signed by nobody known; a known key's signature over something else
    let foreign = SeedSigner::new(ORIGIN, KeyKind::Ed25519, &[66; 32]).unwrap();
    let good = growth(20, &leaves[..30]);
    let unsigned = good.checkpoint.claimed().sign(&foreign).unwrap();
    assert_eq!(status(&at_20, &request(20, good.proof.clone(), unsigned.clone())), 403);
    let mut forged = unsigned;
    let elsewhere = signed(29, leaf_hash(b"y"));
    forged.add(elsewhere.note().signatures()[0].clone()).unwrap();
    assert_eq!(status(&at_20, &request(20, good.proof.clone(), forged)), 403);
    // 400: old above new
    assert_eq!(status(&at_20, &request(31, vec![], good.checkpoint.clone())), 400);
    // 409 with the size it knows
    let behind = at_20.judge(&log_policy(), &growth(10, &leaves[..30])).unwrap_err();
    assert_eq!((behind.status(), behind.known_size_body()), (409, Some("20\n".to_owned())));
    assert_eq!(behind, Refusal::Conflict { known_size: 20 });
    let unknown = WitnessState::first(ORIGIN).judge(&log_policy(), &good).unwrap_err();
    assert_eq!(unknown.known_size_body(), Some("0\n".to_owned()));
    // a log that lost its tail asks from its own smaller size: 409 as well
    assert_eq!(status(&at_20, &growth(10, &leaves[..15])), 409);
    // 422: another history, a wrong proof, a proof where none belongs, another root at one size
    let rewritten = [&numbered(5)[..4], &[leaf_hash(b"changed")], &leaves[5..30]].concat();
    assert_eq!(status(&at_20, &growth(20, &rewritten)), 422);
    let mut cut = good.proof.clone();
    cut.pop();
    assert_eq!(status(&at_20, &request(20, cut, good.checkpoint.clone())), 422);
    let padded = [&good.proof[..], &[leaf_hash(b"z")]].concat();
    assert_eq!(status(&at_20, &request(20, padded, good.checkpoint.clone())), 422);
    let first = WitnessState::first(ORIGIN);
    assert_eq!(status(&first, &request(0, vec![leaf_hash(b"z")], good.checkpoint)), 422);
    assert_eq!(status(&at_20, &request(20, vec![], signed(20, leaf_hash(b"fork")))), 422);
    let padded = request(20, vec![leaf_hash(b"z")], signed(20, mth(&leaves[..20])));
    assert_eq!(status(&at_20, &padded), 422);
    assert_eq!(status(&first, &request(0, vec![], signed(0, leaf_hash(b"not empty")))), 422);
    assert_eq!(status(&first, &request(0, vec![], signed(0, Hash::EMPTY_ROOT))), 200);
}

#[test]
fn random_requests_never_fork_a_witness() {
    let honest = numbered(64);
    let mut forked = honest.clone();
    forked[20] = leaf_hash(b"fork");
    let mut dice = Dice::new(5);
    let mut state = WitnessState::first(ORIGIN);
    let (mut accepted, mut refused) = (0, 0);
    for _ in 0..3_000 {
        let tree = if dice.below(2) == 0 { &honest } else { &forked };
        let new = dice.below(65);
        let old = if dice.below(3) == 0 {
            dice.below(new + 1)
        } else {
            usize::try_from(state.size).unwrap().min(new)
        };
        match state.judge(&log_policy(), &growth(old, &tree[..new])) {
            Err(_) => refused += 1,
            Ok(next) => {
                let next = next.next_state();
                assert!(next.size >= state.size);
                let size = usize::try_from(state.size).unwrap();
                assert_eq!(mth(&tree[..size]), state.root);
                state = next;
                accepted += 1;
            }
        }
        if state.size == 64 {
            state = WitnessState::first(ORIGIN);
        }
    }
    assert!(accepted > 50 && refused > 500, "{accepted} {refused}");
}

#[test]
fn malformed_requests() {
    let good = growth(3, &numbered(9)).to_string();
    let hash = leaf_hash(b"x").to_base64();
    for bad in [
        String::new(),
        good.replacen("old 3", "old 03", 1),
        good.replacen("old 3", "old", 1),
        good.replacen("old 3", "Old 3", 1),
        good.replacen("old 3", "old 3 ", 1),
        good.replacen("old 3\n", "", 1),
        good.replacen("old 3\n", "old 3\nnothash\n", 1),
        good.replacen("old 3\n", &format!("old 3\n{}", format!("{hash}\n").repeat(63)), 1),
        good.replacen("\n\n", "\n", 1),
        good.replacen("\n\n", "\n\n\n", 1),
        good.trim_end().to_owned(),
        "a".repeat(400_000),
    ] {
        let refusal = AddCheckpoint::parse(bad.as_bytes()).unwrap_err();
        assert_eq!(refusal.status(), 400, "{bad:?}");
        assert!(matches!(refusal, Refusal::Malformed(Error::Malformed { .. })));
    }
}

#[test]
fn a_policy_of_another_log_judges_nothing() {
    let key = SeedSigner::new("other.example", KeyKind::Ed25519, &[1; 32]).unwrap();
    let policy = Policy::new(vec![key.verifier().clone()]).unwrap();
    let add = growth(0, &numbered(3));
    assert_eq!(WitnessState::first(ORIGIN).judge(&policy, &add), Err(Refusal::UnknownLog));
    assert!(log_key().verifier().name() == ORIGIN);
}
