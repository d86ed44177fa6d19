//! The edge from outside: real sockets on 127.0.0.1, an upstream that counts, a feed to push.

mod forward_auth;
mod hygiene;
mod pressure;
mod proxying;
mod running;
mod sessions;
mod tls;
mod world;
