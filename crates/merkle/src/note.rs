//! Signed notes (C2SP signed-note): text that counts only after a trusted key's signature over it
//! was checked. An unopened note gives its text away only under a name that says so.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::Error;
use crate::key::{KeyId, NoteSigner, VerifyKey, check_name};

/// Bytes in the largest note read: 64 of the largest (post-quantum) signatures fit.
pub const MAX_NOTE_BYTES: usize = 262_144;
/// Signature lines in a note; the specification asks for at least 16.
pub const MAX_SIGNATURES: usize = 64;

const DASH: &str = "\u{2014} ";

/// One signature line: `— name base64(key id || signature)`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signature {
    name: String,
    key_id: KeyId,
    bytes: Vec<u8>,
}

impl Signature {
    /// Makes a signature line out of its parts.
    ///
    /// # Errors
    /// `Malformed` for a bad key name or an empty signature.
    pub fn new(name: &str, key_id: KeyId, bytes: Vec<u8>) -> Result<Self, Error> {
        check_name(name)?;
        if bytes.is_empty() {
            return Err(Error::malformed("signature line", "no signature bytes"));
        }
        Ok(Self { name: name.to_owned(), key_id, bytes })
    }

    /// Reads one line without its newline.
    ///
    /// # Errors
    /// `Malformed` for anything but dash, name and canonical base64 of more than 4 bytes.
    pub fn parse(line: &str) -> Result<Self, Error> {
        let bad = |why| Error::malformed("signature line", why);
        let rest = line.strip_prefix(DASH).ok_or(bad("no em dash and space"))?;
        let (name, text) = rest.split_once(' ').ok_or(bad("no key name"))?;
        let bytes = STANDARD.decode(text).map_err(|_| bad("not canonical base64"))?;
        let (id, bytes) = bytes.split_first_chunk::<4>().ok_or(bad("no key id"))?;
        Self::new(name, KeyId::new(*id), bytes.to_vec())
    }

    /// Reads 1 … 64 lines, each with its newline: a note's tail, or a witness's answer.
    ///
    /// # Errors
    /// `Malformed` for none, too many, a bad one, or a last line without end.
    pub fn parse_lines(text: &str) -> Result<Vec<Self>, Error> {
        let bad = |why| Error::malformed("signature lines", why);
        if text.len() > MAX_NOTE_BYTES {
            return Err(bad("too long"));
        }
        let lines = text.strip_suffix('\n').ok_or(bad("the last line does not end"))?;
        let mut out = Vec::new();
        for line in lines.split('\n') {
            if out.len() >= MAX_SIGNATURES {
                return Err(bad("more than 64"));
            }
            out.push(Self::parse(line)?);
        }
        Ok(out)
    }

    /// Key name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Key id.
    #[must_use]
    pub const fn key_id(&self) -> KeyId {
        self.key_id
    }

    /// Whether the line says that `key` made it.
    pub(crate) fn claims(&self, key: &VerifyKey) -> bool {
        key.name() == self.name && key.id() == self.key_id
    }

    /// The signature after the key id: 64 bytes for Ed25519, 72 for a cosignature.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}

/// The line without newline.
impl fmt::Display for Signature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut bytes = self.key_id.as_bytes().to_vec();
        bytes.extend_from_slice(&self.bytes);
        write!(f, "{DASH}{} {}", self.name, STANDARD.encode(bytes))
    }
}

/// A well-formed note whose signatures nobody has checked yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Note {
    text: String,
    signatures: Vec<Signature>,
}

/// A signature of a note that was checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Signed<'k> {
    /// The key that signed.
    pub key: &'k VerifyKey,
    /// Seconds since 1970 that a cosigner vouched for; none for a plain signature.
    pub time_s: Option<u64>,
}

impl Note {
    /// Signs `text` with each signer in turn.
    ///
    /// # Errors
    /// `Malformed` for text that is no note text or no signer at all; `Signer` from the key holder.
    pub fn sign(text: &str, signers: &[&dyn NoteSigner]) -> Result<Self, Error> {
        check_text(text)?;
        if signers.is_empty() {
            return Err(Error::malformed("note", "no signatures"));
        }
        let mut note = Self { text: text.to_owned(), signatures: Vec::new() };
        for signer in signers {
            let bytes = signer.sign(text.as_bytes())?;
            note.add(Signature::new(signer.name(), signer.key_id(), bytes.to_vec())?)?;
        }
        Ok(note)
    }

    /// Reads a note.
    ///
    /// # Errors
    /// `Malformed`: too long, not UTF-8, control characters, no blank line, no or too many
    /// signature lines, or a bad one.
    pub fn parse(bytes: &[u8]) -> Result<Self, Error> {
        let bad = |why| Error::malformed("note", why);
        if bytes.len() > MAX_NOTE_BYTES {
            return Err(bad("too long"));
        }
        let all = std::str::from_utf8(bytes).map_err(|_| bad("not UTF-8"))?;
        let blank = all.rfind("\n\n").ok_or(bad("no blank line"))?;
        let (text, lines) = all.split_at_checked(blank + 1).ok_or(bad("no blank line"))?;
        check_text(text)?;
        let lines = lines.strip_prefix('\n').ok_or(bad("no blank line"))?;
        Ok(Self { text: text.to_owned(), signatures: Signature::parse_lines(lines)? })
    }

    /// Adds a signature line.
    ///
    /// # Errors
    /// `Malformed` when the note has 64 already.
    pub fn add(&mut self, signature: Signature) -> Result<(), Error> {
        if self.signatures.len() >= MAX_SIGNATURES {
            return Err(Error::malformed("note", "too many signatures"));
        }
        self.signatures.push(signature);
        Ok(())
    }

    /// The signature lines, unchecked.
    #[must_use]
    pub fn signatures(&self) -> &[Signature] {
        &self.signatures
    }

    /// The text, which means nothing before [`open`](Self::open) returned well.
    #[must_use]
    pub fn unverified_text(&self) -> &str {
        &self.text
    }

    /// Checks every signature by one of `trusted`, ignores those by others, and returns the text
    /// with the keys that signed it, each once.
    ///
    /// # Errors
    /// `Signature` when any signature by a trusted key fails; `Unsigned` when there is none.
    pub fn open<'k>(&self, trusted: &[&'k VerifyKey]) -> Result<(&str, Vec<Signed<'k>>), Error> {
        let mut by: Vec<Signed<'k>> = Vec::new();
        for signature in &self.signatures {
            let known = trusted.iter().find(|key| signature.claims(key));
            let Some(&key) = known else { continue };
            let time_s = key.verify(&self.text, &signature.bytes)?;
            if !by.iter().any(|s| s.key == key) {
                by.push(Signed { key, time_s });
            }
        }
        if by.is_empty() {
            return Err(Error::Unsigned { name: "any trusted key".to_owned() });
        }
        Ok((&self.text, by))
    }
}

/// The note as written: text, blank line, signature lines.
impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.text)?;
        self.signatures.iter().try_for_each(|signature| writeln!(f, "{signature}"))
    }
}

fn check_text(text: &str) -> Result<(), Error> {
    let bad = |why| Err(Error::malformed("note", why));
    if !text.ends_with('\n') {
        return bad("the text does not end in a newline");
    }
    if text.len() > MAX_NOTE_BYTES / 2 {
        return bad("the text is too long");
    }
    if text.bytes().any(|b| b < 0x20 && b != b'\n') {
        return bad("control characters");
    }
    Ok(())
}
