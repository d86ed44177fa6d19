//! See `fuzz_targets::forms::net`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    fuzz_targets::forms::net(bytes);
});
