//! The smoke run: every target meets its seeds and some thousands of mutations of them, the same
//! on each machine, so that a reader that panics is found before anyone runs the long fuzzing.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test stops at the first surprise"
)]

use std::panic::catch_unwind;

use fuzz_targets::{TARGETS, Target};

/// Mutations of each target.
const MUTATIONS: u64 = 20_000;
/// The longest input, bytes.
const LONGEST: usize = 4_096;
/// Bytes that formats care about.
const DELIMITERS: &[u8] = b"\n\r\t +-_./:=@,;\"'{}[]%\0\xff0919azAZ";

/// A small generator (xorshift64*): a failing number names its input for ever.
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D)
    }

    fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.next() % u64::try_from(bound.max(1)).unwrap()).unwrap()
    }
}

fn mutated(seeds: &[&[u8]], numbers: &mut Numbers) -> Vec<u8> {
    let mut bytes = seeds[numbers.below(seeds.len())].to_vec();
    for _ in 0..=numbers.below(4) {
        let at = numbers.below(bytes.len() + 1);
        match numbers.below(7) {
            0 if at < bytes.len() => bytes[at] ^= 1 << numbers.below(8),
            1 if at < bytes.len() => bytes[at] = DELIMITERS[numbers.below(DELIMITERS.len())],
            2 if at < bytes.len() => {
                bytes.remove(at);
            }
            3 => bytes.insert(at, DELIMITERS[numbers.below(DELIMITERS.len())]),
            4 => bytes.truncate(at),
            5 => {
                let part = bytes[at..(at + numbers.below(64)).min(bytes.len())].to_vec();
                let to = numbers.below(bytes.len() + 1);
                bytes.splice(to..to, part);
            }
            _ => {
                let other = seeds[numbers.below(seeds.len())];
                let from = numbers.below(other.len() + 1);
                bytes.truncate(at);
                bytes.extend_from_slice(&other[from..]);
            }
        }
        bytes.truncate(LONGEST);
    }
    bytes
}

fn meet(target: &Target, bytes: &[u8]) -> bool {
    catch_unwind(|| (target.run)(bytes))
        .unwrap_or_else(|_| panic!("{} fails on {}", target.name, bytes.escape_ascii()))
}

fn smoke(target: &Target) {
    meet(target, b"");
    for seed in target.seeds {
        // mutations of what is refused at once would find little
        assert!(meet(target, seed), "{} refuses its seed {}", target.name, seed.escape_ascii());
    }
    let mut numbers = Numbers(0x5EED);
    for _ in 0..MUTATIONS {
        meet(target, &mutated(target.seeds, &mut numbers));
    }
}

#[test]
fn every_target_holds_for_its_seeds_and_mutations() {
    assert!(!TARGETS.is_empty());
    for target in TARGETS {
        smoke(target);
    }
}

#[test]
fn every_target_has_its_file_for_cargo_fuzz() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../fuzz_targets");
    let manifest = concat!(env!("CARGO_MANIFEST_DIR"), "/../Cargo.toml");
    let manifest = std::fs::read_to_string(manifest).unwrap();
    for target in TARGETS {
        let name = target.name;
        assert!(manifest.contains(&format!("name = \"{name}\"")), "{name} in fuzz/Cargo.toml");
        let file = std::fs::read_to_string(format!("{folder}/{name}.rs")).unwrap();
        let call = format!("fuzz_targets::{}(bytes);", target.path);
        assert!(file.contains("fuzz_target!") && file.contains(&call), "{name}: {call}");
    }
}

#[test]
fn a_panic_is_reported_with_its_input() {
    let target = Target {
        name: "broken",
        path: "",
        run: |bytes| {
            assert!(bytes.is_empty());
            true
        },
        seeds: &[b"x"],
    };
    let told = catch_unwind(|| smoke(&target)).unwrap_err();
    assert_eq!(told.downcast_ref::<String>().unwrap(), "broken fails on x");
}
