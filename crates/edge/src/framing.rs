//! Finds the heads in a stream of HTTP/1 bytes, so that each can be judged and kept before hyper
//! sees it. A pure state machine over whatever bytes are there: it never looks behind what it
//! has judged, and everything it passes on has one meaning only.

use crate::head::{self, Flaw, Framing, Head, HeadBounds};
use crate::token::is_token_byte;

/// What to do with the bytes at the front.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// More bytes are needed.
    More,
    /// So many bytes are one clean head.
    Head(usize, Head),
    /// So many bytes are body: pass them on.
    Pass(usize),
    /// So many bytes mean nothing: drop them.
    Skip(usize),
    /// A WebSocket was asked for: nothing is passed until it is known whether it is opened.
    Hold,
    /// Refused; nothing behind this point is HTTP.
    Flaw(Flaw),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Before a head; so many bytes of it are known to hold no end, and whether an empty line
    /// before it was already dropped.
    Head { scanned: usize, skipped: bool },
    /// Inside a body of known length.
    Fixed(u64),
    /// Before a chunk's size.
    Size,
    /// Inside a chunk, with its CRLF still to come.
    Chunk(u64),
    /// Before the CRLF that ends a chunk.
    ChunkEnd,
    /// In the trailer section, with its lines and bytes so far.
    Trailer { lines: usize, bytes: usize },
    /// After a head that asks for a WebSocket.
    Held,
    /// Bytes of another protocol.
    Tunnel,
    /// After a flaw.
    Dead,
}

/// The longest chunk-size line: 16 hex digits and a short extension, which is passed and ignored.
const SIZE_LINE_MAX_BYTES: usize = 256;

/// Where in the stream we are.
#[derive(Debug)]
pub struct Framer {
    state: State,
    bounds: HeadBounds,
}

impl Framer {
    /// At the start of a connection.
    #[must_use]
    pub const fn new(bounds: HeadBounds) -> Self {
        Self { state: State::Head { scanned: 0, skipped: false }, bounds }
    }

    /// Whether the next byte begins a head: an idle connection, or one that has begun to speak.
    #[must_use]
    pub const fn in_head(&self) -> bool {
        matches!(self.state, State::Head { .. })
    }

    /// Whether the next byte belongs to a body.
    #[must_use]
    pub const fn in_body(&self) -> bool {
        match self.state {
            State::Fixed(_)
            | State::Size
            | State::Chunk(_)
            | State::ChunkEnd
            | State::Trailer { .. } => true,
            State::Head { .. } | State::Held | State::Tunnel | State::Dead => false,
        }
    }

    /// The WebSocket is opened: what follows is no HTTP.
    pub const fn open_tunnel(&mut self) {
        self.state = State::Tunnel;
    }

    /// The WebSocket is refused: the next head may follow.
    pub const fn release(&mut self) {
        self.state = State::Head { scanned: 0, skipped: false };
    }

    /// Judges the bytes at the front. The caller must consume what [`Step`] names before it asks
    /// again, and may call again with more bytes after [`Step::More`].
    pub fn step(&mut self, bytes: &[u8]) -> Step {
        let step = match self.state {
            State::Head { scanned, skipped } => self.head(bytes, scanned, skipped),
            State::Fixed(left) => self.fixed(bytes, left),
            State::Size => self.size(bytes),
            State::Chunk(left) => self.chunk(bytes, left),
            State::ChunkEnd => self.chunk_end(bytes),
            State::Trailer { lines, bytes: so_far } => self.trailer(bytes, lines, so_far),
            State::Held => Step::Hold,
            State::Tunnel if bytes.is_empty() => Step::More,
            State::Tunnel => Step::Pass(bytes.len()),
            State::Dead if bytes.is_empty() => Step::More,
            State::Dead => Step::Skip(bytes.len()),
        };
        if matches!(step, Step::Flaw(_)) {
            self.state = State::Dead;
        }
        step
    }

    const fn next_head(&mut self) {
        self.state = State::Head { scanned: 0, skipped: false };
    }

    fn head(&mut self, bytes: &[u8], scanned: usize, skipped: bool) -> Step {
        if scanned == 0 && !skipped && bytes.first() == Some(&b'\r') {
            // RFC 9112 section 2.2: one empty line before a request line is forgiven.
            return match bytes.get(1) {
                None => Step::More,
                Some(b'\n') => {
                    self.state = State::Head { scanned: 0, skipped: true };
                    Step::Skip(2)
                }
                Some(_) => Step::Flaw(Flaw::BareLineBreak),
            };
        }
        // Another protocol is told at its first byte, not when its time is over.
        if bytes.first().is_some_and(|first| !is_token_byte(*first)) {
            return Step::Flaw(Flaw::RequestLine);
        }
        match head_end(bytes, scanned) {
            Ok(Some(end)) => self.judge(bytes.get(..end).unwrap_or_default()),
            Ok(None) if bytes.len() >= self.bounds.head_max_bytes => Step::Flaw(Flaw::HeadTooLong),
            Ok(None) => {
                // The last three bytes may be the beginning of the end.
                self.state = State::Head { scanned: bytes.len().saturating_sub(3), skipped };
                Step::More
            }
            Err(flaw) => Step::Flaw(flaw),
        }
    }

    fn judge(&mut self, bytes: &[u8]) -> Step {
        let head = match head::check(bytes, &self.bounds) {
            Ok(head) => head,
            Err(flaw) => return Step::Flaw(flaw),
        };
        self.state = match head.framing {
            Framing::None if head.websocket => State::Held,
            Framing::None => State::Head { scanned: 0, skipped: false },
            Framing::Length(length) => State::Fixed(length),
            Framing::Chunked => State::Size,
        };
        Step::Head(bytes.len(), head)
    }

    fn fixed(&mut self, bytes: &[u8], left: u64) -> Step {
        let take = take(bytes, left);
        if take == 0 {
            return Step::More;
        }
        let left = left.saturating_sub(u64::try_from(take).unwrap_or(u64::MAX));
        if left == 0 {
            self.next_head();
        } else {
            self.state = State::Fixed(left);
        }
        Step::Pass(take)
    }

    fn size(&mut self, bytes: &[u8]) -> Step {
        let line = match line(bytes, SIZE_LINE_MAX_BYTES) {
            Ok(Some(line)) => line,
            Ok(None) => return Step::More,
            Err(()) => return Step::Flaw(Flaw::Chunk),
        };
        let Some(size) = chunk_size(line) else { return Step::Flaw(Flaw::Chunk) };
        self.state =
            if size == 0 { State::Trailer { lines: 0, bytes: 0 } } else { State::Chunk(size) };
        Step::Pass(line.len().saturating_add(2))
    }

    fn chunk(&mut self, bytes: &[u8], left: u64) -> Step {
        let take = take(bytes, left);
        if take == 0 {
            return Step::More;
        }
        let left = left.saturating_sub(u64::try_from(take).unwrap_or(u64::MAX));
        self.state = if left == 0 { State::ChunkEnd } else { State::Chunk(left) };
        Step::Pass(take)
    }

    fn chunk_end(&mut self, bytes: &[u8]) -> Step {
        match bytes {
            [] | [b'\r'] => Step::More,
            [b'\r', b'\n', ..] => {
                self.state = State::Size;
                Step::Pass(2)
            }
            _ => Step::Flaw(Flaw::Chunk),
        }
    }

    fn trailer(&mut self, bytes: &[u8], lines: usize, so_far: usize) -> Step {
        let room = self.bounds.head_max_bytes.saturating_sub(so_far);
        let line = match line(bytes, room) {
            Ok(Some(line)) => line,
            Ok(None) => return Step::More,
            Err(()) => return Step::Flaw(Flaw::Trailer),
        };
        let whole = line.len().saturating_add(2);
        if line.is_empty() {
            self.next_head();
            return Step::Pass(whole);
        }
        let lines = lines.saturating_add(1);
        let good = lines <= self.bounds.fields_max
            && head::field_line(line).is_ok_and(|(name, _)| may_be_trailer(name));
        if !good {
            return Step::Flaw(Flaw::Trailer);
        }
        self.state = State::Trailer { lines, bytes: so_far.saturating_add(whole) };
        Step::Pass(whole)
    }
}

fn take(bytes: &[u8], left: u64) -> usize {
    usize::try_from(left).unwrap_or(usize::MAX).min(bytes.len())
}

/// The end of a head: behind its first empty line. A bare line break is told at once, so that a
/// client that ends lines in LF is not left waiting.
fn head_end(bytes: &[u8], scanned: usize) -> Result<Option<usize>, Flaw> {
    let mut from = scanned;
    while let Some(found) = memchr::memchr(b'\n', bytes.get(from..).unwrap_or_default()) {
        let at = from.saturating_add(found);
        let before = bytes.get(..at).unwrap_or_default();
        if !before.ends_with(b"\r") {
            return Err(Flaw::BareLineBreak);
        }
        if before.ends_with(b"\r\n\r") {
            return Ok(Some(at.saturating_add(1)));
        }
        from = at.saturating_add(1);
    }
    Ok(None)
}

/// The first line without its CRLF; none where it has not ended; an error where it is too long
/// or ends in another way.
fn line(bytes: &[u8], max: usize) -> Result<Option<&[u8]>, ()> {
    match memchr::memchr2(b'\r', b'\n', bytes) {
        Some(at) if at > max => Err(()),
        Some(at) => {
            let (line, rest) = bytes.split_at_checked(at).ok_or(())?;
            match rest {
                [b'\r'] => Ok(None),
                [b'\r', b'\n', ..] => Ok(Some(line)),
                _ => Err(()),
            }
        }
        None if bytes.len() > max => Err(()),
        None => Ok(None),
    }
}

/// A chunk's size: 1 to 15 hex digits, then nothing or an extension without control bytes.
fn chunk_size(line: &[u8]) -> Option<u64> {
    let end = line.iter().position(|byte| !byte.is_ascii_hexdigit()).unwrap_or(line.len());
    let (digits, extension) = line.split_at_checked(end)?;
    if digits.is_empty() || digits.len() > 15 {
        return None;
    }
    let extension_good = extension.is_empty()
        || (extension.starts_with(b";")
            && extension.iter().all(|byte| byte.is_ascii_graphic() || *byte == b' '));
    if !extension_good {
        return None;
    }
    u64::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()
}

/// Fields that may not come after the body (RFC 9110 section 6.5.1), and ours.
pub(crate) fn may_be_trailer(name: &[u8]) -> bool {
    const NEVER: [&[u8]; 16] = [
        b"authorization",
        b"connection",
        b"content-encoding",
        b"content-length",
        b"content-range",
        b"content-type",
        b"cookie",
        b"expect",
        b"forwarded",
        b"host",
        b"set-cookie",
        b"te",
        b"trailer",
        b"transfer-encoding",
        b"upgrade",
        b"via",
    ];
    let lower = name.to_ascii_lowercase();
    !NEVER.contains(&lower.as_slice())
        && !lower.starts_with(b"x-stagedoor-")
        && !lower.starts_with(b"x-forwarded-")
        && !lower.contains(&b'_')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const BOUNDS: HeadBounds =
        HeadBounds { head_max_bytes: 2_000, target_max_bytes: 100, fields_max: 20 };

    /// Runs a stream through in pieces: the heads found, the bytes passed, the flaw.
    fn run(stream: &[u8], piece: usize) -> (Vec<Vec<u8>>, Vec<u8>, Option<Flaw>) {
        let mut framer = Framer::new(BOUNDS);
        let (mut heads, mut body, mut held) = (Vec::new(), Vec::new(), Vec::new());
        for piece in stream.chunks(piece.max(1)) {
            held.extend_from_slice(piece);
            loop {
                match framer.step(&held) {
                    Step::More | Step::Hold => break,
                    Step::Head(n, _) => heads.push(held.drain(..n).collect()),
                    Step::Pass(n) => body.extend(held.drain(..n)),
                    Step::Skip(n) => drop(held.drain(..n)),
                    Step::Flaw(flaw) => return (heads, body, Some(flaw)),
                }
            }
        }
        (heads, body, None)
    }

    const STREAM: &[u8] = b"\r\nGET /1 HTTP/1.1\r\nHost: a\r\n\r\n\
        POST /2 HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nGET /\
        POST /3 HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n\
        4;x=y\r\nGET \r\nA\r\n0123456789\r\n0\r\nX-Sum: 1\r\n\r\n\
        GET /4 HTTP/1.1\r\nHost: a\r\n\r\n";

    // E1
    #[test]
    fn heads_are_found_behind_every_kind_of_body() {
        for piece in 1..=STREAM.len() {
            let (heads, body, flaw) = run(STREAM, piece);
            assert_eq!(flaw, None);
            assert_eq!(heads.len(), 4, "in pieces of {piece}");
            assert!(body.starts_with(b"GET /4;x=y\r\nGET \r\n"));
        }
    }

    // E1
    #[test]
    fn chunks_have_one_reading() {
        let start = "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
        let wrong = [
            "0x5\r\nhello\r\n0\r\n\r\n",
            "5 \r\nhello\r\n0\r\n\r\n",
            " 5\r\nhello\r\n0\r\n\r\n",
            "5\nhello\r\n0\r\n\r\n",
            "5\r\nhelloX\r\n0\r\n\r\n",
            "5\r\nhello\n0\r\n\r\n",
            "-5\r\nhello\r\n0\r\n\r\n",
            "\r\nhello",
            "5;a\nb\r\nhello\r\n0\r\n\r\n",
            "ffffffffffffffff1\r\nhello",
            "0\r\nContent-Length: 5\r\n\r\n",
            "0\r\nX-Stagedoor-Account: usr\r\n\r\n",
            "0\r\n folded\r\n\r\n",
            "0\r\nno colon\r\n\r\n",
        ];
        for body in wrong {
            let (heads, _, flaw) = run(format!("{start}{body}").as_bytes(), 7);
            assert!(flaw.is_some() && heads.len() == 1, "{body:?}");
        }
    }

    proptest! {
        #[test]
        fn never_panics_and_never_invents(
            bytes in proptest::collection::vec(any::<u8>(), 0..600), piece in 1usize..50,
        ) {
            let (heads, body, _) = run(&bytes, piece);
            prop_assert!(heads.iter().map(Vec::len).sum::<usize>() + body.len() <= bytes.len());
        }

        #[test]
        fn pieces_do_not_matter(
            at in 0usize..200, byte in any::<u8>(), a in 1usize..99, b in 1usize..99,
        ) {
            let mut stream = STREAM.to_vec();
            let at = at % stream.len();
            stream[at] = byte;
            prop_assert_eq!(run(&stream, a), run(&stream, b));
        }
    }
}
