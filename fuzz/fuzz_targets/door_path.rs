//! See `fuzz_targets::door::decoded_path`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    fuzz_targets::door::decoded_path(bytes);
});
