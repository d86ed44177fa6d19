//! Why the edge does not start, or does not take a new configuration.

use kernel::{Kind, Refusal, Refused};
use thiserror::Error;

/// A wrong key of the configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The key.
    pub key: String,
    /// What is wrong and how to mend it.
    pub detail: String,
}

/// What went wrong.
#[derive(Debug, Error)]
pub enum Error {
    /// A configuration key is wrong.
    #[error("{}: {}", .0.key, .0.detail)]
    Config(Problem),
    /// The address cannot be listened on.
    #[error("{address} cannot be listened on: {source}")]
    Listen {
        /// The address.
        address: std::net::SocketAddr,
        /// Why.
        source: std::io::Error,
    },
    /// The certificate or its key cannot be used.
    #[error("the TLS certificate cannot be used: {0}")]
    Certificate(String),
    /// TLS cannot be set up.
    #[error("TLS cannot be set up: {0}")]
    Tls(#[from] rustls::Error),
}

impl Refusal for Error {
    fn refused(&self) -> Refused {
        let (kind, code) = match self {
            Self::Config(_) => (Kind::Invalid, "edge.config"),
            Self::Certificate(_) => (Kind::Invalid, "edge.certificate"),
            Self::Listen { .. } => (Kind::Unavailable, "edge.listen"),
            Self::Tls(_) => (Kind::Broken, "edge.tls"),
        };
        Refused::new(kind, code, self.to_string())
    }
}
