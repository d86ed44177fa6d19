//! The one error of this crate. Every parser and verifier faces bytes from outside, so each
//! variant says what was refused and why, never the refused bytes themselves.

/// Why something was refused. Nothing here is retryable but `Read` and `Signer`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Bytes that are not the format they claim to be.
    #[error("malformed {what}: {why}")]
    Malformed {
        /// The format, such as `checkpoint`.
        what: &'static str,
        /// The rule that was broken.
        why: &'static str,
    },
    /// A leaf number that the tree does not have.
    #[error("leaf {index} is outside a tree of {size} leaves")]
    Index {
        /// Zero-based leaf number.
        index: u64,
        /// Leaves in the tree.
        size: u64,
    },
    /// Two tree sizes between which no consistency can be shown.
    #[error("no consistency can be shown from size {old} to size {new}")]
    Sizes {
        /// Size of the older tree.
        old: u64,
        /// Size of the newer tree.
        new: u64,
    },
    /// A proof with too many or too few hashes.
    #[error("the proof has {got} hashes and must have {want}")]
    ProofLength {
        /// Hashes found.
        got: usize,
        /// Hashes that this proof must have.
        want: usize,
    },
    /// A well-formed proof of something else.
    #[error("the proof leads to another root")]
    Root,
    /// A trusted key's signature that does not verify.
    #[error("the signature by {name} does not verify")]
    Signature {
        /// Key name.
        name: String,
    },
    /// A signature that policy needs and the note lacks.
    #[error("not signed by {name}")]
    Unsigned {
        /// Key name.
        name: String,
    },
    /// Too few known witnesses cosigned.
    #[error("{got} known witnesses cosigned, {need} are needed")]
    Quorum {
        /// Valid cosignatures by different known witnesses.
        got: usize,
        /// Cosignatures that policy asks for.
        need: usize,
    },
    /// A checkpoint of another log.
    #[error("the checkpoint belongs to another log")]
    Origin,
    /// A policy that could never be met, or that counts one key twice.
    #[error("policy: {why}")]
    Policy {
        /// The rule that was broken.
        why: &'static str,
    },
    /// A tile or file that is not there.
    #[error("{path} is missing")]
    Missing {
        /// Path as in tlog-tiles.
        path: String,
    },
    /// A tile or file that could not be read.
    #[error("{path} cannot be read: {cause}")]
    Read {
        /// Path as in tlog-tiles.
        path: String,
        /// What the reader said.
        cause: String,
    },
    /// A tile that is too short, ragged, or disagrees with the frontier.
    #[error("{path} is wrong: {why}")]
    Tile {
        /// Path as in tlog-tiles.
        path: String,
        /// The rule that was broken.
        why: &'static str,
    },
    /// The holder of the key refused or failed to sign.
    #[error("signer: {cause}")]
    Signer {
        /// What the key holder said.
        cause: String,
    },
}

impl Error {
    pub(crate) const fn malformed(what: &'static str, why: &'static str) -> Self {
        Self::Malformed { what, why }
    }
}
