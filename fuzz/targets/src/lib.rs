//! Every parser that bytes from outside reach, as a plain function of those bytes: no panic, no
//! endless loop, and what parses is written back the same. `cargo fuzz` drives them with coverage
//! (nightly); the smoke test here drives them on every toolchain with seeds and bounded mutations.

pub mod door;
pub mod forms;
pub mod ids;
pub mod log;

/// A parser under fuzzing.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// Its name: the file in `fuzz/fuzz_targets`.
    pub name: &'static str,
    /// The function's path in this crate, as that file must call it.
    pub path: &'static str,
    /// Feeds it these bytes and says whether it took them; panics where a promise breaks.
    pub run: fn(&[u8]) -> bool,
    /// Inputs that it takes, from which mutations start.
    pub seeds: &'static [&'static [u8]],
}

macro_rules! targets {
    ($($name:literal = $module:ident::$function:ident from $seeds:ident;)+) => {
        /// All of them; `fuzz/fuzz_targets` has one file each, which a test holds.
        pub const TARGETS: &[Target] = &[$(Target {
            name: $name,
            path: concat!(stringify!($module), "::", stringify!($function)),
            run: $module::$function,
            seeds: $module::$seeds,
        }),+];
    };
}

targets! {
    "door_head" = door::one_head from HEAD_SEEDS;
    "door_stream" = door::stream from STREAM_SEEDS;
    "door_hello" = door::client_hello from HELLO_SEEDS;
    "door_path" = door::decoded_path from PATH_SEEDS;
    "door_proxies" = door::proxies from FORWARDED_SEEDS;
    "door_balancer" = door::balancer from PROXY_PROTOCOL_SEEDS;
    "door_frames" = door::http2_frames from FRAMES_SEEDS;
    "door_websocket" = door::websocket_frames from WEBSOCKET_SEEDS;
    "form_email" = forms::email from EMAIL_SEEDS;
    "form_next" = forms::next from NEXT_SEEDS;
    "form_net" = forms::net from NET_SEEDS;
    "form_cookies" = forms::cookies from COOKIE_SEEDS;
    "id_text" = ids::text from TEXT_SEEDS;
    "currency" = ids::currency from CURRENCY_SEEDS;
    "log_note" = log::note from NOTE_SEEDS;
    "log_checkpoint" = log::checkpoint from NOTE_SEEDS;
    "log_key" = log::key from KEY_SEEDS;
    "log_path" = log::path from PATH_SEEDS;
    "log_bundle" = log::bundle from BUNDLE_SEEDS;
    "log_proof_file" = log::proof_file from PROOF_FILE_SEEDS;
    "log_proof" = log::proof from PROOF_SEEDS;
    "log_witness_request" = log::witness_request from REQUEST_SEEDS;
}
