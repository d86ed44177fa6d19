//! See `fuzz_targets::log::checkpoint`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    fuzz_targets::log::checkpoint(bytes);
});
