//! The edge from outside: real sockets on 127.0.0.1, an upstream that counts, a feed to push.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::too_many_lines,
    reason = "tests fail by panicking, and a table of cases is long"
)]

mod forward_auth;
mod http2;
mod hygiene;
mod pages;
mod pressure;
mod proxy_protocol;
mod proxying;
mod running;
mod sessions;
mod slow_readers;
mod sockets;
mod tls;
mod upstream_tls;
mod world;
