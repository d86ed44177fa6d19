//! See `fuzz_targets::ids::currency`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    fuzz_targets::ids::currency(bytes);
});
