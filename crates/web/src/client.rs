//! What is known of the client before any of its words are believed. The listener that took the
//! connection sets it; nothing that the client sends can.

use std::net::IpAddr;

use kernel::{Limits, Origin};
use serde::{Deserialize, Serialize};

/// The facts of one client connection, set by the edge or the console's listener as a request
/// extension.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClientFacts {
    /// The client's address, behind trusted proxies.
    pub address: IpAddr,
    /// What the client calls itself (User-Agent).
    pub agent: Option<String>,
    /// The TLS fingerprint (JA4), where the ClientHello was seen.
    pub fingerprint: Option<String>,
    /// Whether the client came over TLS.
    pub https: bool,
}

impl ClientFacts {
    /// The origin of an act by this client; the agent is cut to [`Limits::AGENT_BYTES`].
    #[must_use]
    pub fn origin(&self) -> Origin {
        let agent = self.agent.as_deref().map(|agent| {
            let end = agent.floor_char_boundary(Limits::AGENT_BYTES);
            agent.get(..end).unwrap_or_default().to_owned()
        });
        Origin { address: Some(self.address), agent, fingerprint: self.fingerprint.clone() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // W5
    #[test]
    fn a_long_agent_is_cut_between_letters() {
        let facts = ClientFacts {
            address: IpAddr::from([127, 0, 0, 1]),
            agent: Some("é".repeat(200)),
            fingerprint: None,
            https: true,
        };
        assert_eq!(facts.origin().agent.unwrap().len(), Limits::AGENT_BYTES);
    }
}
