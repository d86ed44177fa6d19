//! See `fuzz_targets::door::proxies`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    fuzz_targets::door::proxies(bytes);
});
