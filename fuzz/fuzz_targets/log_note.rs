//! See `fuzz_targets::log::note`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    fuzz_targets::log::note(bytes);
});
