//! See `fuzz_targets::door::one_head`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    fuzz_targets::door::one_head(bytes);
});
