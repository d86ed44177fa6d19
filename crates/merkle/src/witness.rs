//! What a witness decides (C2SP tlog-witness, add-checkpoint), without its storage and transport:
//! it remembers one (size, root) per log and cosigns only trees that grew out of it.

use std::fmt;

use crate::checkpoint::{Checkpoint, SignedCheckpoint, parse_decimal};
use crate::cosign::cosign;
use crate::hash::sha256;
use crate::key::NoteSigner;
use crate::note::{MAX_NOTE_BYTES, Signature};
use crate::policy::Policy;
use crate::proof::{MAX_PROOF, verify_consistency};
use crate::{Error, Hash};

/// The name of a log in a witness's paths and files: SHA-256 of its origin, in hex.
#[must_use]
pub fn log_id(origin: &str) -> String {
    sha256(origin.as_bytes()).to_hex()
}

/// Reads the body of a 409: the size that the witness cosigned last.
#[must_use]
pub fn parse_known_size(body: &[u8]) -> Option<u64> {
    std::str::from_utf8(body).ok()?.strip_suffix('\n').and_then(parse_decimal)
}

/// Bytes in the largest add-checkpoint body.
pub const MAX_REQUEST_BYTES: usize = MAX_NOTE_BYTES + 4_096;

/// The last tree of a log that a witness cosigned.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WitnessState {
    /// The log.
    pub origin: String,
    /// Leaves in the last cosigned tree; 0 before the first.
    pub size: u64,
    /// Its root.
    pub root: Hash,
}

impl WitnessState {
    /// Before the first checkpoint of a log.
    #[must_use]
    pub fn first(origin: &str) -> Self {
        Self { origin: origin.to_owned(), size: 0, root: Hash::EMPTY_ROOT }
    }

    /// Decides about a request. `policy` is about one log: find it by
    /// [`claimed`](SignedCheckpoint::claimed) origin, and answer [`Refusal::UnknownLog`] if there
    /// is none.
    ///
    /// # Errors
    /// A [`Refusal`] with the status to answer.
    pub fn judge(&self, policy: &Policy, request: &AddCheckpoint) -> Result<Accepted, Refusal> {
        let claimed = request.checkpoint.claimed();
        if claimed.origin() != self.origin || policy.origin() != self.origin {
            return Err(Refusal::UnknownLog);
        }
        let verified = policy.verify(&request.checkpoint).map_err(Refusal::Untrusted)?;
        let (old, checkpoint) = (request.old_size, verified.checkpoint);
        if old > checkpoint.size() {
            return Err(Refusal::Malformed(Error::Sizes { old, new: checkpoint.size() }));
        }
        if old != self.size {
            return Err(Refusal::Conflict { known_size: self.size });
        }
        self.check_growth(&request.proof, &checkpoint).map_err(Refusal::Inconsistent)?;
        Ok(Accepted { checkpoint })
    }

    fn check_growth(&self, proof: &[Hash], new: &Checkpoint) -> Result<(), Error> {
        if new.size() == 0 && new.root() != Hash::EMPTY_ROOT {
            return Err(Error::Root);
        }
        if self.size > 0 {
            return verify_consistency(self.size, new.size(), proof, &self.root, &new.root());
        }
        // every tree grows out of the empty one, which needs no proof
        if !proof.is_empty() {
            return Err(Error::ProofLength { got: proof.len(), want: 0 });
        }
        Ok(())
    }
}

/// A checkpoint that may be cosigned once it is remembered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Accepted {
    checkpoint: Checkpoint,
}

impl Accepted {
    /// What to remember, before anything is answered, in one step with a check that the old state
    /// is still the one that judged: otherwise two requests could roll the witness back.
    #[must_use]
    pub fn next_state(&self) -> WitnessState {
        WitnessState {
            origin: self.checkpoint.origin().to_owned(),
            size: self.checkpoint.size(),
            root: self.checkpoint.root(),
        }
    }

    /// The answer, after [`next_state`](Self::next_state) was stored: one signature line.
    ///
    /// # Errors
    /// As [`cosign`](fn@cosign).
    pub fn cosign(&self, witness: &dyn NoteSigner, time_s: u64) -> Result<Signature, Error> {
        cosign(&self.checkpoint, witness, time_s)
    }
}

/// Why a witness does not cosign.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// 400: not an add-checkpoint request, or the old size is above the new one.
    #[error("{0}")]
    Malformed(#[source] Error),
    /// 404: no such origin.
    #[error("unknown log")]
    UnknownLog,
    /// 403: no good signature by the log, or a bad one.
    #[error("{0}")]
    Untrusted(#[source] Error),
    /// 409: the client's old size is not the witness's.
    #[error("the last cosigned size is {known_size}")]
    Conflict {
        /// Size of the last cosigned tree: the body of the answer.
        known_size: u64,
    },
    /// 422: the tree did not grow out of the last one. Keep the request: it is evidence.
    #[error("{0}")]
    Inconsistent(#[source] Error),
}

impl Refusal {
    /// HTTP status of the answer.
    #[must_use]
    pub const fn status(&self) -> u16 {
        match self {
            Self::Malformed(_) => 400,
            Self::UnknownLog => 404,
            Self::Untrusted(_) => 403,
            Self::Conflict { .. } => 409,
            Self::Inconsistent(_) => 422,
        }
    }

    /// Body of a 409, whose content type is `text/x.tlog.size`.
    #[must_use]
    pub fn known_size_body(&self) -> Option<String> {
        match self {
            Self::Conflict { known_size } => Some(format!("{known_size}\n")),
            Self::Malformed(_) | Self::UnknownLog | Self::Untrusted(_) | Self::Inconsistent(_) => {
                None
            }
        }
    }
}

/// An add-checkpoint request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AddCheckpoint {
    /// Size that the client thinks the witness cosigned last.
    pub old_size: u64,
    /// Consistency proof from there.
    pub proof: Vec<Hash>,
    /// The new checkpoint.
    pub checkpoint: SignedCheckpoint,
}

impl AddCheckpoint {
    /// Reads a request body.
    ///
    /// # Errors
    /// [`Refusal::Malformed`] for any other form.
    pub fn parse(body: &[u8]) -> Result<Self, Refusal> {
        Self::read(body).map_err(Refusal::Malformed)
    }

    fn read(body: &[u8]) -> Result<Self, Error> {
        let bad = |why| Error::malformed("add-checkpoint", why);
        if body.len() > MAX_REQUEST_BYTES {
            return Err(bad("too long"));
        }
        let text = std::str::from_utf8(body).map_err(|_| bad("not UTF-8"))?;
        let (head, note) = text.split_once("\n\n").ok_or(bad("no blank line"))?;
        let mut lines = head.split('\n');
        let old = lines.next().and_then(|line| line.strip_prefix("old "));
        let old_size = old.and_then(parse_decimal).ok_or(bad("no old size line"))?;
        let mut proof = Vec::new();
        for line in lines {
            if proof.len() >= MAX_PROOF {
                return Err(bad("more than 63 hashes"));
            }
            proof.push(Hash::from_base64(line)?);
        }
        Ok(Self { old_size, proof, checkpoint: SignedCheckpoint::parse(note.as_bytes())? })
    }
}

/// The request body.
impl fmt::Display for AddCheckpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "old {}", self.old_size)?;
        self.proof.iter().try_for_each(|hash| writeln!(f, "{hash}"))?;
        write!(f, "\n{}", self.checkpoint)
    }
}
