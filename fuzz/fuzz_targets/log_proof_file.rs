//! See `fuzz_targets::log::proof_file`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    fuzz_targets::log::proof_file(bytes);
});
