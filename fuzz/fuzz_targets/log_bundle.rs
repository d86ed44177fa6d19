//! See `fuzz_targets::log::bundle`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    fuzz_targets::log::bundle(bytes);
});
