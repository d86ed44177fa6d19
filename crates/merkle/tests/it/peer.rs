//! M1: 10,000 random trees, and a proof of each kind from each, against pymerkle 7 (an
//! implementation by other hands, in another language; a test peer only, see tests/peer).

use std::io::Write as _;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use merkle::{
    CompactRange, Hash, leaf_hash, prove_consistency_in, prove_inclusion_in, verify_consistency,
};

use crate::support::{Dice, missing};

const TREES: usize = 10_000;

struct Case {
    index: usize,
    old: usize,
    entries: Vec<Vec<u8>>,
}

fn cases() -> Vec<Case> {
    let mut dice = Dice::new(20_260_724);
    (0..TREES)
        .map(|n| {
            // mostly small, where the odd shapes are; every hundredth large
            let size = if n % 100 == 99 { dice.below(1_500) } else { dice.below(48) };
            let entries = (0..size)
                .map(|_| {
                    let length = dice.below(24);
                    dice.bytes(length)
                })
                .collect();
            let index = if size == 0 { 0 } else { dice.below(size) };
            let old = if size == 0 { 0 } else { 1 + dice.below(size) };
            Case { index, old, entries }
        })
        .collect()
}

fn question(case: &Case) -> String {
    let mut line = format!("{} {}", case.index, case.old);
    for entry in &case.entries {
        let hex: String = entry.iter().map(|b| format!("{b:02x}")).collect();
        line.push(' ');
        line.push_str(if hex.is_empty() { "-" } else { &hex });
    }
    line.push('\n');
    line
}

fn hashes(text: &str) -> Vec<Hash> {
    text.split(',').filter(|t| *t != "-").map(|t| Hash::from_hex(t).unwrap()).collect()
}

fn peer(questions: String) -> Option<String> {
    let there = Command::new("python3")
        .args(["-c", "import pymerkle; assert pymerkle.__version__.startswith('7.')"])
        .stderr(Stdio::null())
        .status();
    if !there.is_ok_and(|status| status.success()) {
        missing("python3 with pymerkle 7 (python3 -m pip install 'pymerkle>=7,<8')");
        return None;
    }
    let script = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/peer/pymerkle_roots.py");
    let mut python = Command::new("python3")
        .arg(script)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = python.stdin.take().unwrap();
    let writer = std::thread::spawn(move || stdin.write_all(questions.as_bytes()));
    let output = python.wait_with_output().unwrap();
    writer.join().unwrap().unwrap();
    assert!(output.status.success());
    Some(String::from_utf8(output.stdout).unwrap())
}

#[test]
fn ten_thousand_trees_equal_pymerkle() {
    let cases = cases();
    let Some(answers) = peer(cases.iter().map(question).collect()) else { return };
    let mut compared = 0;
    for (case, answer) in cases.iter().zip(answers.lines()) {
        let leaves: Vec<_> = case.entries.iter().map(|e| leaf_hash(e)).collect();
        let range: CompactRange = leaves.iter().copied().collect();
        let words: Vec<_> = answer.split(' ').collect();
        let [root, old_root, inclusion] = words[..] else { panic!("{answer}") };
        assert_eq!(range.root().to_hex(), root);
        compared += 1;
        if leaves.is_empty() {
            continue;
        }
        assert_eq!(prove_inclusion_in(&leaves, case.index as u64).unwrap(), hashes(inclusion));
        // between two roots of the peer's own (it writes consistency proofs in another form)
        let proof = prove_consistency_in(&leaves, case.old as u64).unwrap();
        let (old, new) = (case.old as u64, leaves.len() as u64);
        let roots = (Hash::from_hex(old_root).unwrap(), Hash::from_hex(root).unwrap());
        assert_eq!(verify_consistency(old, new, &proof, &roots.0, &roots.1), Ok(()));
    }
    assert_eq!(compared, TREES);
    eprintln!("{compared} trees equal pymerkle's");
}
