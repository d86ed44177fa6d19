//! See `fuzz_targets::door::websocket_frames`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    fuzz_targets::door::websocket_frames(bytes);
});
