//! Every parser that bytes from outside reach, as a plain function of those bytes: no panic, no
//! endless loop, and what parses is written back the same. `cargo fuzz` drives them with coverage
//! (nightly); the smoke test here drives them on every toolchain with seeds and bounded mutations.

pub mod ids;
pub mod log;

/// A parser under fuzzing.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// Its name: the file in `fuzz/fuzz_targets`.
    pub name: &'static str,
    /// Feeds it these bytes and says whether it took them; panics where a promise breaks.
    pub run: fn(&[u8]) -> bool,
    /// Inputs that it takes, from which mutations start.
    pub seeds: &'static [&'static [u8]],
}

/// All of them; `fuzz/fuzz_targets` has one file each, which a test holds.
pub const TARGETS: &[Target] = &[
    Target { name: "id_text", run: ids::text, seeds: ids::TEXT_SEEDS },
    Target { name: "currency", run: ids::currency, seeds: ids::CURRENCY_SEEDS },
    Target { name: "log_note", run: log::note, seeds: log::NOTE_SEEDS },
    Target { name: "log_checkpoint", run: log::checkpoint, seeds: log::NOTE_SEEDS },
    Target { name: "log_key", run: log::key, seeds: log::KEY_SEEDS },
    Target { name: "log_path", run: log::path, seeds: log::PATH_SEEDS },
    Target { name: "log_bundle", run: log::bundle, seeds: log::BUNDLE_SEEDS },
    Target { name: "log_proof_file", run: log::proof_file, seeds: log::PROOF_FILE_SEEDS },
    Target { name: "log_proof", run: log::proof, seeds: log::PROOF_SEEDS },
    Target { name: "log_witness_request", run: log::witness_request, seeds: log::REQUEST_SEEDS },
];
