//! See `fuzz_targets::log::witness_request`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    fuzz_targets::log::witness_request(bytes);
});
