//! See `fuzz_targets::forms::next`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    fuzz_targets::forms::next(bytes);
});
