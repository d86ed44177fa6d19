//! Every size, count and time that the edge allows, in one place, with units and defaults.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::error::{Error, Problem};

/// Bounds of the listener and its connections. A route has its own besides.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Bounds {
    /// Connections at once.
    pub connections_max: usize,
    /// Connections at once of one client (an IPv4 address or an IPv6 /64).
    pub client_connections_max: usize,
    /// The TLS handshake with its ClientHello, in milliseconds.
    #[schema(minimum = 100, maximum = 60_000)]
    pub handshake_ms: u64,
    /// The ClientHello, in bytes.
    #[schema(minimum = 512, maximum = 65_536)]
    pub hello_max_bytes: usize,
    /// From the first byte of a head to its last, in milliseconds.
    #[schema(minimum = 100, maximum = 120_000)]
    pub head_ms: u64,
    /// A request head, in bytes; also the header list of HTTP/2.
    #[schema(minimum = 1_024, maximum = 1_048_576)]
    pub head_max_bytes: usize,
    /// The request target, in bytes.
    #[schema(minimum = 64, maximum = 65_536)]
    pub target_max_bytes: usize,
    /// Field lines of a head.
    #[schema(minimum = 4, maximum = 100)]
    pub fields_max: usize,
    /// Between two requests on one connection, in milliseconds.
    #[schema(minimum = 100, maximum = 3_600_000)]
    pub idle_ms: u64,
    /// The window in which a client that something waits for must take `write_min_bytes`, in
    /// milliseconds.
    #[schema(minimum = 100, maximum = 3_600_000)]
    pub write_idle_ms: u64,
    /// What it must take in each such window, in bytes.
    #[schema(minimum = 1, maximum = 16_384)]
    pub write_min_bytes: u64,
    /// What a request body must bring in each `body_idle_ms` of its route, in bytes.
    pub body_min_bytes: u64,
    /// Bodies to our own paths, in bytes.
    pub own_body_max_bytes: u64,
    /// Requests at once on one HTTP/2 connection.
    #[schema(minimum = 1, maximum = 10_000)]
    pub streams_max: u32,
    /// Streams that an HTTP/2 client may reset before we have taken them up.
    pub resets_max: usize,
    /// Frames without content (PING, SETTINGS, RST_STREAM and so on) that an HTTP/2 client may send
    /// at once; a tenth of them more each second, and one for each KiB that it is sent.
    #[schema(minimum = 100, maximum = 1_000_000)]
    pub control_frames_max: u32,
    /// WebSockets and event streams open at once.
    pub long_lived_max: usize,
    /// Different keys of the limits that are remembered.
    pub limit_keys_max: usize,
    /// How long a request waits for the store in which several nodes count limits, in milliseconds;
    /// then this node counts alone for a second.
    #[schema(minimum = 1, maximum = 5_000)]
    pub limit_wait_ms: u64,
    /// Verified session tokens that are remembered.
    pub tokens_max: usize,
    /// Session tokens being minted anew at once.
    pub mints_max: usize,
    /// Different observations held for the control plane.
    pub observations_max: usize,
}

impl Default for Bounds {
    fn default() -> Self {
        Self {
            connections_max: 10_000,
            client_connections_max: 256,
            handshake_ms: 5_000,
            hello_max_bytes: 16 * 1024,
            head_ms: 10_000,
            head_max_bytes: 32 * 1024,
            target_max_bytes: 8 * 1024,
            fields_max: 96,
            idle_ms: 60_000,
            write_idle_ms: 120_000,
            write_min_bytes: 4_096,
            body_min_bytes: 1_024,
            own_body_max_bytes: 1024 * 1024,
            streams_max: 100,
            resets_max: 20,
            control_frames_max: 1_000,
            long_lived_max: 10_000,
            limit_keys_max: 200_000,
            limit_wait_ms: 50,
            tokens_max: 50_000,
            mints_max: 1_024,
            observations_max: 10_000,
        }
    }
}

impl Bounds {
    /// Those of a trusted proxy's HTTP/2 connection, which carries many clients: what one of them may
    /// do, each may.
    pub(crate) fn of_proxy(self) -> Self {
        let clients = usize::try_from(self.streams_max).unwrap_or(usize::MAX);
        Self {
            control_frames_max: self.control_frames_max.saturating_mul(self.streams_max),
            resets_max: self.resets_max.saturating_mul(clients),
            ..self
        }
    }

    /// Checks each bound against what makes sense.
    ///
    /// # Errors
    /// [`Error::Config`] that names the key and the range.
    pub fn check(&self) -> Result<(), Error> {
        let counts: [(&'static str, u64, u64, u64); 12] = [
            ("handshake_ms", self.handshake_ms, 100, 60_000),
            ("head_ms", self.head_ms, 100, 120_000),
            ("idle_ms", self.idle_ms, 100, 3_600_000),
            ("limit_wait_ms", self.limit_wait_ms, 1, 5_000),
            ("write_idle_ms", self.write_idle_ms, 100, 3_600_000),
            // A stalled HTTP/2 stream is seen in steps of 16 KiB.
            ("write_min_bytes", self.write_min_bytes, 1, 16_384),
            ("control_frames_max", u64::from(self.control_frames_max), 100, 1_000_000),
            ("streams_max", u64::from(self.streams_max), 1, 10_000),
            ("head_max_bytes", wide(self.head_max_bytes), 1_024, 1 << 20),
            ("target_max_bytes", wide(self.target_max_bytes), 64, 1 << 16),
            // hyper itself reads at most 100 field lines.
            ("fields_max", wide(self.fields_max), 4, 100),
            ("hello_max_bytes", wide(self.hello_max_bytes), 512, 1 << 16),
        ];
        for (name, value, low, high) in counts {
            if !(low..=high).contains(&value) {
                let detail = format!("must be {low} to {high}, is {value}");
                return Err(Error::Config(Problem { key: format!("edge.bounds.{name}"), detail }));
            }
        }
        Ok(())
    }
}

fn wide(value: usize) -> u64 {
    u64::try_from(value).unwrap_or(u64::MAX)
}
