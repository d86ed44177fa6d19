//! See `fuzz_targets::door::stream`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    fuzz_targets::door::stream(bytes);
});
