//! A file of any length sealed by a passphrase (V12): argon2id gives a key of the file's own, chunks
//! of 64 KiB are sealed by it one after the other. A chunk's nonce is its number and whether it is
//! the last, so none can be dropped, doubled or moved, and the end cannot be cut off unseen.

use std::io::{self, Read, Write};

use kernel::{Entropy, Secret};

use crate::aead::{Cipher, NONCE_LEN, TAG_LEN};
use crate::error::Error;
use crate::root::{Cost, PASSPHRASE_LEAST};

/// What a sealed file begins with.
const MAGIC: &[u8; 20] = b"stagedoor-sealed-1\r\n";
const SALT_LEN: usize = 16;
/// Magic, cost, salt.
const HEADER_LEN: usize = 20 + 12 + SALT_LEN;
const CHUNK: usize = 64 * 1024;
/// The number of the chunk that only tells whether the passphrase is right.
const PROBE: u64 = u64::MAX;

/// The cipher of one file.
struct Chunks {
    cipher: Cipher,
    header: [u8; HEADER_LEN],
    next: u64,
}

impl Chunks {
    fn nonce(number: u64, is_last: bool) -> [u8; NONCE_LEN] {
        let [a, b, c, d, e, f, g, h] = number.to_be_bytes();
        [a, b, c, d, e, f, g, h, 0, 0, 0, u8::from(is_last)]
    }

    fn seal(&mut self, is_last: bool, text: &mut Vec<u8>) -> Result<(), Error> {
        let tag = self.cipher.seal(Self::nonce(self.next, is_last), &self.header, text)?;
        text.extend_from_slice(&tag);
        self.next += 1;
        Ok(())
    }

    fn open(&mut self, is_last: bool, sealed: &[u8]) -> Result<Vec<u8>, Error> {
        let plain = self.cipher.open(Self::nonce(self.next, is_last), &self.header, sealed)?;
        self.next += 1;
        Ok(plain)
    }
}

fn header(cost: Cost, salt: &[u8; SALT_LEN]) -> [u8; HEADER_LEN] {
    let mut header = [0; HEADER_LEN];
    let parts = MAGIC
        .iter()
        .copied()
        .chain(cost.memory_kib.to_be_bytes())
        .chain(cost.passes.to_be_bytes())
        .chain(cost.lanes.to_be_bytes())
        .chain(*salt);
    for (to, from) in header.iter_mut().zip(parts) {
        *to = from;
    }
    header
}

/// Writes a sealed file. What was written counts only after [`SealedWriter::end`].
pub struct SealedWriter<W> {
    to: W,
    chunks: Chunks,
    plain: Vec<u8>,
}

impl<W> std::fmt::Debug for SealedWriter<W> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SealedWriter(..)")
    }
}

impl<W: Write> SealedWriter<W> {
    /// Begins a file. Takes some 100 ms of a core.
    ///
    /// # Errors
    /// [`Error::WeakPassphrase`]; [`Error::Store`] where it cannot be written.
    pub fn begin(
        mut to: W,
        passphrase: &Secret<String>,
        entropy: &dyn Entropy,
    ) -> Result<Self, Error> {
        if passphrase.expose().chars().count() < PASSPHRASE_LEAST {
            return Err(Error::WeakPassphrase { least: PASSPHRASE_LEAST });
        }
        let mut salt = [0; SALT_LEN];
        entropy.fill(&mut salt);
        let header = header(Cost::USUAL, &salt);
        let cipher = Cost::USUAL.stretch(&salt, passphrase)?;
        let probe = cipher.seal(Chunks::nonce(PROBE, true), &header, &mut [])?;
        let written = to.write_all(&header).and_then(|()| to.write_all(&probe));
        written.map_err(store::Error::from)?;
        let chunks = Chunks { cipher, header, next: 0 };
        Ok(Self { to, chunks, plain: Vec::with_capacity(CHUNK + TAG_LEN) })
    }

    /// Seals what is left and the end, and gives back what it was written to.
    ///
    /// # Errors
    /// [`Error::Store`] where it cannot be written.
    pub fn end(mut self) -> Result<W, Error> {
        self.write_chunk(true).map_err(store::Error::from)?;
        Ok(self.to)
    }

    fn write_chunk(&mut self, is_last: bool) -> io::Result<()> {
        self.chunks.seal(is_last, &mut self.plain).map_err(io::Error::other)?;
        self.to.write_all(&self.plain)?;
        self.plain.clear();
        Ok(())
    }
}

impl<W: Write> Write for SealedWriter<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        // A full chunk waits until more comes: it may be the last.
        if self.plain.len() == CHUNK && !bytes.is_empty() {
            self.write_chunk(false)?;
        }
        let taken = bytes.len().min(CHUNK - self.plain.len());
        self.plain.extend_from_slice(bytes.get(..taken).unwrap_or_default());
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.to.flush()
    }
}

/// Reads a sealed file. What it gave counts only once it came to its end.
pub struct SealedReader<R> {
    from: R,
    chunks: Chunks,
    /// The sealed chunk that comes next; empty after the last.
    ahead: Vec<u8>,
    plain: io::Cursor<Vec<u8>>,
}

impl<R> std::fmt::Debug for SealedReader<R> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SealedReader(..)")
    }
}

impl<R: Read> SealedReader<R> {
    /// Opens a file. Takes some 100 ms of a core.
    ///
    /// # Errors
    /// [`Error::PassphraseRefused`]; [`Error::Forged`] where it is no sealed file;
    /// [`Error::Store`] where it cannot be read.
    pub fn open(mut from: R, passphrase: &Secret<String>) -> Result<Self, Error> {
        let mut head = [0; HEADER_LEN];
        let mut probe = [0; TAG_LEN];
        let read = from.read_exact(&mut head).and_then(|()| from.read_exact(&mut probe));
        read.map_err(|error| match error.kind() {
            io::ErrorKind::UnexpectedEof => Error::Forged,
            _ => store::Error::from(error).into(),
        })?;
        let (cost, salt) = read_header(&head).ok_or(Error::Forged)?;
        let cipher = cost.stretch(&salt, passphrase)?;
        let opened = cipher.open(Chunks::nonce(PROBE, true), &head, &probe);
        opened.map_err(|_| Error::PassphraseRefused)?;
        let ahead = read_chunk(&mut from).map_err(store::Error::from)?;
        if ahead.is_empty() {
            return Err(Error::Forged);
        }
        let chunks = Chunks { cipher, header: head, next: 0 };
        Ok(Self { from, chunks, ahead, plain: io::Cursor::default() })
    }

    fn next_chunk(&mut self) -> io::Result<()> {
        let after = read_chunk(&mut self.from)?;
        let sealed = std::mem::replace(&mut self.ahead, after);
        let plain = self.chunks.open(self.ahead.is_empty(), &sealed).map_err(|_| {
            let why = "the file was altered, or its end is missing";
            io::Error::new(io::ErrorKind::InvalidData, why)
        })?;
        self.plain = io::Cursor::new(plain);
        Ok(())
    }
}

fn read_header(header: &[u8; HEADER_LEN]) -> Option<(Cost, [u8; SALT_LEN])> {
    let (magic, rest) = header.split_first_chunk::<20>()?;
    let (memory_kib, rest) = rest.split_first_chunk::<4>()?;
    let (passes, rest) = rest.split_first_chunk::<4>()?;
    let (lanes, rest) = rest.split_first_chunk::<4>()?;
    let cost = Cost {
        memory_kib: u32::from_be_bytes(*memory_kib),
        passes: u32::from_be_bytes(*passes),
        lanes: u32::from_be_bytes(*lanes),
    };
    let fits = magic == MAGIC && !cost.is_too_much();
    fits.then_some((cost, rest.try_into().ok()?))
}

fn read_chunk(from: &mut impl Read) -> io::Result<Vec<u8>> {
    let mut sealed = Vec::with_capacity(CHUNK + TAG_LEN);
    from.take((CHUNK + TAG_LEN) as u64).read_to_end(&mut sealed)?;
    Ok(sealed)
}

impl<R: Read> Read for SealedReader<R> {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        loop {
            let read = self.plain.read(bytes)?;
            if read > 0 || bytes.is_empty() || self.ahead.is_empty() {
                return Ok(read);
            }
            self.next_chunk()?;
        }
    }
}

#[cfg(test)]
mod tests {
    use kernel::SystemEntropy;

    use super::*;

    fn passphrase() -> Secret<String> {
        Secret::new("a lamp in the wings".to_owned())
    }

    fn sealed(plain: &[u8]) -> Vec<u8> {
        let mut writer = SealedWriter::begin(Vec::new(), &passphrase(), &SystemEntropy).unwrap();
        writer.write_all(plain).unwrap();
        writer.end().unwrap()
    }

    fn opened(sealed: &[u8]) -> Option<Vec<u8>> {
        let mut plain = Vec::new();
        let mut reader = SealedReader::open(sealed, &passphrase()).ok()?;
        reader.read_to_end(&mut plain).ok()?;
        Some(plain)
    }

    // V12
    #[test]
    fn what_was_sealed_opens_at_every_length() {
        for length in [0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 2 * CHUNK, 2 * CHUNK + 7] {
            let plain: Vec<u8> = (0..length).map(|at| u8::try_from(at % 251).unwrap()).collect();
            let file = sealed(&plain);
            assert_eq!(opened(&file).as_deref(), Some(plain.as_slice()), "{length}");
            assert!(length < 32 || !file.windows(32).any(|part| part == &plain[..32]));
        }
    }

    // V12
    #[test]
    fn cut_altered_or_moved_it_is_refused() {
        let file = sealed(&vec![7; 2 * CHUNK + 100]);
        let body = HEADER_LEN + TAG_LEN;
        for cut in [0, 10, body, body + 5, body + CHUNK + TAG_LEN, file.len() - 1] {
            assert!(opened(&file[..cut]).is_none(), "cut at {cut}");
        }
        for at in [3, 25, 40, body - 1, body, body + CHUNK + 30, file.len() - 1] {
            let mut altered = file.clone();
            altered[at] ^= 1;
            assert!(opened(&altered).is_none(), "altered at {at}");
        }
        let chunk = body..body + CHUNK + TAG_LEN;
        let mut twice = file.clone();
        twice.extend_from_within(chunk.clone());
        assert!(opened(&twice).is_none());
        let without = [&file[..chunk.start], &file[chunk.end..]].concat();
        assert!(opened(&without).is_none());
    }

    #[test]
    fn a_wrong_passphrase_is_told_apart_and_a_short_one_refused() {
        let file = sealed(b"text");
        let wrong = Secret::new("another lamp in the wings".to_owned());
        let refused = SealedReader::open(file.as_slice(), &wrong).unwrap_err();
        assert!(matches!(refused, Error::PassphraseRefused), "{refused}");
        let short = Secret::new("short".to_owned());
        let refused = SealedWriter::begin(Vec::new(), &short, &SystemEntropy).unwrap_err();
        assert!(matches!(refused, Error::WeakPassphrase { .. }), "{refused}");
    }
}
