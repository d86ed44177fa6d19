//! See `fuzz_targets::door::http2_frames`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    fuzz_targets::door::http2_frames(bytes);
});
