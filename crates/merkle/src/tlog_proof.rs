//! A proof to keep (C2SP tlog-proof): index, inclusion proof and signed checkpoint in one text
//! file, checked years later without the log, against keys the holder already trusts.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::checkpoint::{SignedCheckpoint, parse_decimal};
use crate::note::MAX_NOTE_BYTES;
use crate::policy::{Policy, Verified};
use crate::proof::{MAX_PROOF, verify_inclusion};
use crate::{Error, Hash, leaf_hash};

const HEADER: &str = "c2sp.org/tlog-proof@v1";
/// Bytes of extra in the largest proof.
pub const MAX_EXTRA_BYTES: usize = 65_536;
const MAX_PROOF_FILE: usize = MAX_NOTE_BYTES + 2 * MAX_EXTRA_BYTES;

/// A tlog-proof file. Its claim holds only after [`verify`](Self::verify).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlogProof {
    /// Opaque bytes for the application; no signature covers them.
    pub extra: Option<Vec<u8>>,
    /// Zero-based leaf number.
    pub index: u64,
    /// The inclusion proof, from the leaf's sibling upwards.
    pub proof: Vec<Hash>,
    /// The tree that the proof leads to.
    pub checkpoint: SignedCheckpoint,
}

impl TlogProof {
    /// Reads a proof file.
    ///
    /// # Errors
    /// `Malformed` for any other form, more than 63 hashes, or more than 64 KiB of extra.
    pub fn parse(bytes: &[u8]) -> Result<Self, Error> {
        let bad = |why| Error::malformed("tlog-proof", why);
        if bytes.len() > MAX_PROOF_FILE {
            return Err(bad("too long"));
        }
        let text = std::str::from_utf8(bytes).map_err(|_| bad("not UTF-8"))?;
        let (head, note) = text.split_once("\n\n").ok_or(bad("no blank line"))?;
        let mut lines = head.split('\n').peekable();
        if lines.next() != Some(HEADER) {
            return Err(bad("not a c2sp.org/tlog-proof@v1"));
        }
        let extra = match lines.peek().and_then(|line| line.strip_prefix("extra ")) {
            None => None,
            Some(text) => {
                lines.next();
                let extra = STANDARD.decode(text);
                Some(extra.map_err(|_| bad("the extra line is not canonical base64"))?)
            }
        };
        if extra.as_ref().is_some_and(|e| e.len() > MAX_EXTRA_BYTES) {
            return Err(bad("the extra line is too long"));
        }
        let index = lines.next().and_then(|line| line.strip_prefix("index "));
        let index = index.and_then(parse_decimal).ok_or(bad("no index line"))?;
        let mut proof = Vec::new();
        for line in lines {
            if proof.len() >= MAX_PROOF {
                return Err(bad("more than 63 hashes"));
            }
            proof.push(Hash::from_base64(line)?);
        }
        Ok(Self { extra, index, proof, checkpoint: SignedCheckpoint::parse(note.as_bytes())? })
    }

    /// Checks that `entry` is in the log that `policy` trusts, at the place the proof says.
    ///
    /// # Errors
    /// Those of [`Policy::verify`] and [`verify_inclusion`].
    pub fn verify(&self, entry: &[u8], policy: &Policy) -> Result<Verified, Error> {
        self.verify_leaf(&leaf_hash(entry), policy)
    }

    /// As [`verify`](Self::verify), for an entry of which only the leaf hash is known.
    ///
    /// # Errors
    /// As [`verify`](Self::verify).
    pub fn verify_leaf(&self, leaf: &Hash, policy: &Policy) -> Result<Verified, Error> {
        let verified = policy.verify(&self.checkpoint)?;
        let tree = &verified.checkpoint;
        verify_inclusion(leaf, self.index, tree.size(), &self.proof, &tree.root())?;
        Ok(verified)
    }
}

/// The file.
impl fmt::Display for TlogProof {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{HEADER}")?;
        if let Some(extra) = &self.extra {
            writeln!(f, "extra {}", STANDARD.encode(extra))?;
        }
        writeln!(f, "index {}", self.index)?;
        self.proof.iter().try_for_each(|hash| writeln!(f, "{hash}"))?;
        write!(f, "\n{}", self.checkpoint)
    }
}
