//! Whom to believe: a checkpoint counts when its log signed it and enough known witnesses
//! cosigned it. Unknown signatures are ignored, a bad one by a known key refuses the whole note.

use crate::Error;
use crate::checkpoint::{Checkpoint, SignedCheckpoint};
use crate::key::{KeyKind, VerifyKey};
use crate::note::Signature;

/// Known witnesses in a policy.
pub const MAX_WITNESSES: usize = 64;

/// One log's keys, the witnesses we know, and how many of these must have cosigned.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    log: Vec<VerifyKey>,
    witnesses: Vec<VerifyKey>,
    quorum: usize,
}

/// A checkpoint that met a policy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verified {
    /// What the log said.
    pub checkpoint: Checkpoint,
    /// Names of the known witnesses that cosigned, with their times in seconds since 1970.
    pub witnesses: Vec<(String, u64)>,
}

impl Policy {
    /// Trusts `log` keys, any of which may sign (rotation); their common name is the log's
    /// origin. No witness is needed until [`with_witnesses`](Self::with_witnesses).
    ///
    /// # Errors
    /// `Policy` for no key, keys of different names, or a cosigner's key.
    pub fn new(log: Vec<VerifyKey>) -> Result<Self, Error> {
        let bad = |why| Err(Error::Policy { why });
        let Some(first) = log.first() else { return bad("no log key") };
        if log.iter().any(|k| k.name() != first.name()) {
            return bad("log keys have different names");
        }
        if log.iter().any(|k| k.kind() != KeyKind::Ed25519) {
            return bad("a log key is a cosigner's");
        }
        if has_twins(&log) {
            return bad("a log key is listed twice");
        }
        Ok(Self { log, witnesses: Vec::new(), quorum: 0 })
    }

    /// Also needs cosignatures by `quorum` different ones of `witnesses`.
    ///
    /// # Errors
    /// `Policy` when the quorum is above the number of witnesses (or that above 64), a key is no
    /// cosigner's, is listed twice under whatever names, or is the log's own.
    pub fn with_witnesses(self, witnesses: Vec<VerifyKey>, quorum: usize) -> Result<Self, Error> {
        let bad = |why| Err(Error::Policy { why });
        if quorum > witnesses.len() {
            return bad("the quorum is larger than the number of witnesses");
        }
        if witnesses.len() > MAX_WITNESSES {
            return bad("too many witnesses");
        }
        if witnesses.iter().any(|k| k.kind() != KeyKind::Cosigner) {
            return bad("a witness key is not a cosigner's");
        }
        let logs = self.log.iter().map(VerifyKey::public);
        if has_twins(&witnesses) || witnesses.iter().any(|w| logs.clone().any(|l| l == w.public()))
        {
            return bad("one key would count twice");
        }
        Ok(Self { witnesses, quorum, ..self })
    }

    /// How many witnesses must have cosigned.
    #[must_use]
    pub const fn quorum(&self) -> usize {
        self.quorum
    }

    /// The log that this policy is about.
    #[must_use]
    pub fn origin(&self) -> &str {
        self.log.first().map_or("", VerifyKey::name)
    }

    /// Takes a witness's answer into a checkpoint: only valid cosignatures by known witnesses that
    /// have not cosigned yet, since one bad line would spoil the whole note. Returns how many.
    ///
    /// # Errors
    /// `Malformed` for an answer that is not signature lines, or a note that is full.
    pub fn collect(&self, signed: &mut SignedCheckpoint, answer: &[u8]) -> Result<usize, Error> {
        let text = std::str::from_utf8(answer);
        let text = text.map_err(|_| Error::malformed("signature lines", "not UTF-8"))?;
        let body = signed.claimed().to_string();
        let mut taken = 0;
        for line in Signature::parse_lines(text)? {
            let Some(key) = self.witnesses.iter().find(|key| line.claims(key)) else { continue };
            let signed_already = signed.note().signatures().iter().any(|s| s.claims(key));
            if !signed_already && key.verify(&body, line.bytes()).is_ok() {
                signed.add(line)?;
                taken += 1;
            }
        }
        Ok(taken)
    }

    /// Checks a checkpoint's origin and signatures.
    ///
    /// # Errors
    /// `Origin` for another log; `Signature` for a bad signature by a known key; `Unsigned` without
    /// the log's; `Quorum` with too few witnesses.
    pub fn verify(&self, signed: &SignedCheckpoint) -> Result<Verified, Error> {
        let checkpoint = signed.claimed();
        if checkpoint.origin() != self.origin() {
            return Err(Error::Origin);
        }
        let unsigned = || Error::Unsigned { name: self.origin().to_owned() };
        let keys: Vec<_> = self.log.iter().chain(&self.witnesses).collect();
        let signers = match signed.note().open(&keys) {
            Ok((_, signers)) => signers,
            Err(Error::Unsigned { .. }) => return Err(unsigned()),
            Err(other) => return Err(other),
        };
        if !signers.iter().any(|s| s.key.kind() == KeyKind::Ed25519) {
            return Err(unsigned());
        }
        let witnesses: Vec<_> =
            signers.iter().filter_map(|s| Some((s.key.name().to_owned(), s.time_s?))).collect();
        if witnesses.len() < self.quorum {
            return Err(Error::Quorum { got: witnesses.len(), need: self.quorum });
        }
        Ok(Verified { checkpoint: checkpoint.clone(), witnesses })
    }
}

/// The same public key twice, whatever the names.
fn has_twins(keys: &[VerifyKey]) -> bool {
    let mut publics: Vec<_> = keys.iter().map(VerifyKey::public).collect();
    publics.sort_unstable();
    publics.windows(2).any(|pair| pair.first() == pair.last())
}
