//! See `fuzz_targets::door::client_hello`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    fuzz_targets::door::client_hello(bytes);
});
