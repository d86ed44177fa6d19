//! The frames of HTTP/2 (RFC 9113 section 4.1) as they come, counted by what they carry. A library
//! that answers each PING and each reset in good faith does work for nothing: so frames without
//! content are paid for, from a purse that fills with time and with what the client is sent.

use tokio::time::Instant;

/// The client's first words before any frame (section 3.4).
pub(crate) const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// Length, type, flags and stream of a frame.
const HEAD_BYTES: usize = 9;
/// What pays for one frame besides time.
const SENT_PER_FRAME_BYTES: u64 = 1_024;

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const END_STREAM: u8 = 1;

/// Finds the frames in a client's bytes, cut anywhere.
#[derive(Clone, Debug)]
pub struct Frames {
    /// Bytes that begin no frame: of the preface, then of a frame's content.
    skip: usize,
    head: [u8; HEAD_BYTES],
    held: usize,
}

impl Default for Frames {
    fn default() -> Self {
        Self { skip: PREFACE.len(), head: [0; HEAD_BYTES], held: 0 }
    }
}

impl Frames {
    /// How many frames without content begin in the next bytes.
    pub fn count(&mut self, mut bytes: &[u8]) -> u32 {
        let mut empty = 0u32;
        while !bytes.is_empty() {
            let skipped = self.skip.min(bytes.len());
            self.skip = self.skip.saturating_sub(skipped);
            bytes = bytes.get(skipped..).unwrap_or_default();
            let wanted = self.head.get_mut(self.held..).unwrap_or_default();
            let taken = wanted.len().min(bytes.len());
            for (to, from) in wanted.iter_mut().zip(bytes) {
                *to = *from;
            }
            self.held = self.held.saturating_add(taken);
            bytes = bytes.get(taken..).unwrap_or_default();
            if self.held == HEAD_BYTES {
                empty = empty.saturating_add(u32::from(self.begin()));
            }
        }
        empty
    }

    /// Takes a whole head; whether its frame carries nothing.
    fn begin(&mut self) -> bool {
        let [a, b, c, kind, flags, ..] = self.head;
        self.held = 0;
        self.skip = usize::from(a) << 16 | usize::from(b) << 8 | usize::from(c);
        match kind {
            // One that ends its stream says something.
            DATA => self.skip == 0 && flags & END_STREAM == 0,
            // A request, which is limited as such.
            HEADERS => false,
            _ => true,
        }
    }
}

/// What frames without content are paid from.
#[derive(Clone, Copy, Debug)]
pub struct Purse {
    max: u32,
    left: u32,
    since: Instant,
    sent: u64,
}

impl Purse {
    /// A full one.
    #[must_use]
    pub fn new(max: u32, now: Instant) -> Self {
        Self { max, left: max, since: now, sent: 0 }
    }

    /// Pays for frames, after adding a tenth of the whole for each second, and one for each KiB of
    /// the `sent` bytes; false where there is not enough.
    pub fn pay(&mut self, frames: u32, sent: u64, now: Instant) -> bool {
        if frames > self.left {
            self.fill(sent, now);
        }
        let enough = frames <= self.left;
        self.left = self.left.saturating_sub(frames);
        enough
    }

    fn fill(&mut self, sent: u64, now: Instant) {
        let spent_ms = now.saturating_duration_since(self.since).as_millis();
        let spent_ms = u64::try_from(spent_ms).unwrap_or(u64::MAX);
        let by_time = spent_ms.saturating_mul(u64::from(self.max)) / 10_000;
        let by_sent = sent.saturating_sub(self.sent) / SENT_PER_FRAME_BYTES;
        let added = u32::try_from(by_time.saturating_add(by_sent)).unwrap_or(u32::MAX);
        if by_time > 0 {
            self.since = now;
        }
        if by_sent > 0 {
            self.sent = sent;
        }
        self.left = self.left.saturating_add(added).min(self.max);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;

    fn frame(kind: u8, flags: u8, length: u8) -> Vec<u8> {
        let mut bytes = vec![0, 0, length, kind, flags, 0, 0, 0, 1];
        bytes.extend(vec![7; usize::from(length)]);
        bytes
    }

    fn stream() -> Vec<u8> {
        let mut bytes = PREFACE.to_vec();
        for (kind, flags, length) in [
            (4, 0, 6),
            (1, 4, 30),
            (0, 0, 9),
            (0, 0, 0),
            (0, 1, 0),
            (6, 0, 8),
            (3, 0, 4),
            (9, 0, 0),
        ] {
            bytes.extend(frame(kind, flags, length));
        }
        bytes
    }

    // E4
    #[test]
    fn frames_without_content_are_counted_wherever_they_are_cut() {
        for piece in 1..=stream().len() {
            let mut frames = Frames::default();
            let count: u32 = stream().chunks(piece).map(|bytes| frames.count(bytes)).sum();
            assert_eq!(count, 5, "in pieces of {piece}");
        }
    }

    // E4
    #[test]
    fn a_purse_fills_with_time_and_with_what_is_sent() {
        let start = Instant::now();
        let mut purse = Purse::new(100, start);
        assert!(purse.pay(100, 0, start) && !purse.pay(1, 0, start));
        let second = start + Duration::from_secs(1);
        assert!(purse.pay(10, 0, second) && !purse.pay(1, 0, second));
        assert!(purse.pay(5, 5 * 1_024, second) && !purse.pay(1, 5 * 1_024, second));
        let late = start + Duration::from_secs(1_000);
        assert!(purse.pay(100, 1 << 40, late) && !purse.pay(1, 1 << 40, late));
    }

    proptest! {
        #[test]
        fn never_panics_and_never_invents(bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
            let count = Frames::default().count(&bytes);
            prop_assert!(usize::try_from(count).unwrap() <= bytes.len() / HEAD_BYTES);
        }

        #[test]
        fn pieces_do_not_matter(at in 0usize..200, byte in any::<u8>(), piece in 1usize..99) {
            let mut stream = stream();
            let at = at % stream.len();
            stream[at] = byte;
            let mut frames = Frames::default();
            let count: u32 = stream.chunks(piece).map(|bytes| frames.count(bytes)).sum();
            prop_assert_eq!(count, Frames::default().count(&stream));
        }
    }
}
