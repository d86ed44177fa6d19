//! What travels between nodes, and how it is sealed: who carries it can neither read, make nor change
//! it, nor bring one message twice, nor one of another installation.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};
use thiserror::Error;
use vault::{Vault, WireKey};
use web::feed::{Message, PublisherId};

use crate::redis::TEXT_BYTES_MAX;

/// The largest message: what is larger stays unsaid, and is read from the database.
pub(super) const MESSAGE_BYTES_MAX: usize = TEXT_BYTES_MAX;
/// What every message begins with.
const MAGIC: &[u8; 4] = b"sdn1";
const HEADER_BYTES: usize = 20;
/// What the keys are derived for.
const CONTEXT: &str = "nodes.feed";

/// What one node says to the others.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Said {
    /// A change of the feed, with its number.
    Delta(Message),
    /// A sign of life.
    Beat(Beat),
    /// Something was committed or sequenced: look at the database now.
    Look,
    /// I serve no more.
    Bye,
}

/// A sign of life. What a node committed before it sent this is numbered up to `number`; whoever
/// finds a beat of its own in `echoes` knows that this was sent after that.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Beat {
    /// The sender's name.
    pub node: String,
    /// Which of its beats this is.
    pub count: u64,
    /// The number of its last change.
    pub number: u64,
    /// The last beat that it heard of each other.
    pub echoes: HashMap<PublisherId, u64>,
}

/// Why a message is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Error)]
pub(super) enum Refused {
    /// Larger than any of ours.
    #[error("oversized")]
    Oversized,
    /// Not of our form.
    #[error("malformed")]
    Malformed,
    /// Not sealed by a node of this installation.
    #[error("forged")]
    Forged,
    /// Older than what its sender said last.
    #[error("repeated")]
    Repeated,
    /// More senders than an installation has nodes.
    #[error("crowded")]
    Crowded,
}

/// The keys of all senders, derived as they come.
#[derive(Debug)]
pub(super) struct Keys {
    vault: Vault,
    installation: String,
}

/// A message's outside.
#[derive(Clone, Copy, Debug)]
pub(super) struct Header {
    pub sender: PublisherId,
    pub sequence: u64,
}

impl Header {
    fn bytes(self) -> [u8; HEADER_BYTES] {
        let mut bytes = [0; HEADER_BYTES];
        let parts = MAGIC.iter().copied();
        let parts = parts.chain(self.sender.0.to_be_bytes()).chain(self.sequence.to_be_bytes());
        for (to, from) in bytes.iter_mut().zip(parts) {
            *to = from;
        }
        bytes
    }

    /// The header of a message, and what it covers.
    pub(super) fn read(bytes: &[u8]) -> Result<(Self, &[u8]), Refused> {
        if bytes.len() > MESSAGE_BYTES_MAX {
            return Err(Refused::Oversized);
        }
        let (magic, rest) = bytes.split_first_chunk::<4>().ok_or(Refused::Malformed)?;
        let (sender, rest) = rest.split_first_chunk::<8>().ok_or(Refused::Malformed)?;
        let (sequence, sealed) = rest.split_first_chunk::<8>().ok_or(Refused::Malformed)?;
        if magic != MAGIC {
            return Err(Refused::Malformed);
        }
        let sender = PublisherId(u64::from_be_bytes(*sender));
        Ok((Self { sender, sequence: u64::from_be_bytes(*sequence) }, sealed))
    }
}

impl Keys {
    pub(super) const fn new(vault: Vault, installation: String) -> Self {
        Self { vault, installation }
    }

    /// The key of a sender.
    pub(super) fn of(&self, sender: PublisherId) -> Result<WireKey, vault::Error> {
        let sender = sender.0.to_be_bytes();
        self.vault.wire_key(CONTEXT, &[self.installation.as_bytes(), &sender].concat())
    }

    fn bound(&self, header: Header) -> Vec<u8> {
        [self.installation.as_bytes(), &header.bytes()].concat()
    }

    pub(super) fn seal(
        &self,
        key: &WireKey,
        header: Header,
        said: &Said,
    ) -> anyhow::Result<Vec<u8>> {
        let text = serde_json::to_vec(said)?;
        let sealed = key.seal(header.sequence, &self.bound(header), &text)?;
        Ok([&header.bytes()[..], &sealed].concat())
    }

    pub(super) fn open(
        &self,
        key: &WireKey,
        header: Header,
        sealed: &[u8],
    ) -> Result<Said, Refused> {
        let text = key.open(header.sequence, &self.bound(header), sealed);
        let text = text.map_err(|_| Refused::Forged)?;
        serde_json::from_slice(&text).map_err(|_| Refused::Malformed)
    }
}
