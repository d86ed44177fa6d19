//! Checkpoints (C2SP tlog-checkpoint): origin, size and root of a log at one moment, signed as a
//! note. A signed checkpoint is believed only through a [`Policy`](crate::Policy).

use std::fmt;

use crate::cosign::cosign;
use crate::key::NoteSigner;
use crate::note::{Note, Signature};
use crate::tile::check_size;
use crate::{Error, Hash};

/// Bytes in the longest origin.
pub const MAX_ORIGIN_BYTES: usize = 255;

/// What a log says about itself. Its text is the note's body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checkpoint {
    origin: String,
    size: u64,
    root: Hash,
    extensions: Vec<String>,
}

impl Checkpoint {
    /// Describes a tree. Extension lines are never written, only read: nobody could audit them.
    ///
    /// # Errors
    /// `Malformed` for an empty or long origin, control characters in it, or a size above 2^63-1.
    pub fn new(origin: &str, size: u64, root: Hash) -> Result<Self, Error> {
        check_size(size)?;
        if origin.is_empty() || origin.len() > MAX_ORIGIN_BYTES {
            return Err(Error::malformed("checkpoint", "the origin is not 1 to 255 bytes"));
        }
        if origin.chars().any(char::is_control) {
            return Err(Error::malformed("checkpoint", "control characters in the origin"));
        }
        Ok(Self { origin: origin.to_owned(), size, root, extensions: Vec::new() })
    }

    /// Reads a note's text.
    ///
    /// # Errors
    /// `Malformed` unless it is origin, decimal size, base64 root, and non-empty extension lines,
    /// each ended by a newline.
    pub fn parse(text: &str) -> Result<Self, Error> {
        let bad = |why| Error::malformed("checkpoint", why);
        let body = text.strip_suffix('\n').ok_or(bad("the last line does not end"))?;
        let mut lines = body.split('\n');
        let origin = lines.next().ok_or(bad("no origin"))?;
        let size = parse_decimal(lines.next().ok_or(bad("no size"))?)
            .ok_or(bad("the size is not a plain decimal number"))?;
        let root = Hash::from_base64(lines.next().ok_or(bad("no root"))?)?;
        let mut checkpoint = Self::new(origin, size, root)?;
        for line in lines {
            if line.is_empty() {
                return Err(bad("an extension line is empty"));
            }
            checkpoint.extensions.push(line.to_owned());
        }
        Ok(checkpoint)
    }

    /// The log's name.
    #[must_use]
    pub fn origin(&self) -> &str {
        &self.origin
    }

    /// Leaves in the tree, 0 … 2^63-1.
    #[must_use]
    pub const fn size(&self) -> u64 {
        self.size
    }

    /// The tree's root.
    #[must_use]
    pub const fn root(&self) -> Hash {
        self.root
    }

    /// Extension lines: opaque, and vouched for by nobody but the log.
    #[must_use]
    pub fn extensions(&self) -> &[String] {
        &self.extensions
    }

    /// Signs with the log's key. The signer must already know that this tree grew out of the last
    /// one it signed (tlog-checkpoint: never sign two inconsistent trees).
    ///
    /// # Errors
    /// `Malformed` when the key's name is not the origin; `Signer` from the key holder.
    pub fn sign(&self, log: &dyn NoteSigner) -> Result<SignedCheckpoint, Error> {
        if log.name() != self.origin {
            return Err(Error::malformed("checkpoint", "the log's key has another name"));
        }
        let note = Note::sign(&self.to_string(), &[log])?;
        Ok(SignedCheckpoint { note, checkpoint: self.clone() })
    }
}

/// The note's text.
impl fmt::Display for Checkpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}\n{}\n{}", self.origin, self.size, self.root)?;
        self.extensions.iter().try_for_each(|line| writeln!(f, "{line}"))
    }
}

/// A checkpoint in its note, with signatures that nobody has checked yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignedCheckpoint {
    note: Note,
    checkpoint: Checkpoint,
}

impl SignedCheckpoint {
    /// Reads a signed checkpoint, such as the file `checkpoint` of a static tree.
    ///
    /// # Errors
    /// `Malformed` for a bad note or a bad checkpoint in it.
    pub fn parse(bytes: &[u8]) -> Result<Self, Error> {
        let note = Note::parse(bytes)?;
        let checkpoint = Checkpoint::parse(note.unverified_text())?;
        Ok(Self { note, checkpoint })
    }

    /// What the note claims; true only once [`Policy::verify`](crate::Policy::verify) said so.
    #[must_use]
    pub const fn claimed(&self) -> &Checkpoint {
        &self.checkpoint
    }

    /// The note with its signature lines.
    #[must_use]
    pub const fn note(&self) -> &Note {
        &self.note
    }

    /// Adds a signature line unchecked; for a witness's answer take
    /// [`Policy::collect`](crate::Policy::collect).
    ///
    /// # Errors
    /// `Malformed` when there are 64 already.
    pub fn add(&mut self, signature: Signature) -> Result<(), Error> {
        self.note.add(signature)
    }

    /// Makes a cosignature of `time_s` (seconds since 1970) and adds it.
    ///
    /// # Errors
    /// As [`cosign`](fn@cosign).
    pub fn cosign(&mut self, witness: &dyn NoteSigner, time_s: u64) -> Result<(), Error> {
        let signature = cosign(&self.checkpoint, witness, time_s)?;
        self.add(signature)
    }
}

/// The note as written.
impl fmt::Display for SignedCheckpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.note.fmt(f)
    }
}

/// Plain decimal: digits only, no leading zero, at most 2^64-1.
pub(crate) fn parse_decimal(text: &str) -> Option<u64> {
    let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    let leading = text.len() > 1 && text.starts_with('0');
    if !digits || leading {
        return None;
    }
    text.parse().ok()
}
