//! The frames of a WebSocket (RFC 6455 section 5.2) as they pass: where one ends, so that a last one
//! of ours can follow; what they say is not looked at.

/// Why we end a WebSocket (section 7.4.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Close {
    /// This edge stops; another try may find the next one.
    GoingAway,
    /// The session ended, or the client is blocked.
    Policy,
}

impl Close {
    /// A close frame of a server, with its code.
    #[must_use]
    pub const fn frame(self) -> [u8; 4] {
        let [high, low] = match self {
            Self::GoingAway => 1001u16.to_be_bytes(),
            Self::Policy => 1008u16.to_be_bytes(),
        };
        [0x88, 2, high, low]
    }
}

/// The longest head of a frame: two bytes, a length of eight, a mask of four.
const HEAD_MAX_BYTES: usize = 14;

/// Follows one direction of a WebSocket.
#[derive(Clone, Debug, Default)]
pub struct Frames {
    head: [u8; HEAD_MAX_BYTES],
    held: usize,
    /// Bytes of the frame under way that are still to come.
    left: u64,
}

impl Frames {
    /// Follows the next bytes, cut anywhere.
    pub fn pass(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let passed = usize::try_from(self.left).unwrap_or(usize::MAX).min(bytes.len());
            self.left = self.left.saturating_sub(u64::try_from(passed).unwrap_or(u64::MAX));
            bytes = bytes.get(passed..).unwrap_or_default();
            let Some((byte, rest)) = bytes.split_first() else { return };
            if let Some(to) = self.head.get_mut(self.held) {
                *to = *byte;
            }
            self.held = self.held.saturating_add(1);
            bytes = rest;
            self.begin();
        }
    }

    /// Whether what has passed ends with a whole frame.
    #[must_use]
    pub const fn is_between(&self) -> bool {
        self.held == 0 && self.left == 0
    }

    /// Takes the head once it is whole.
    fn begin(&mut self) {
        let [_, second, lengths @ ..] = &self.head;
        let masked = if second & 0x80 == 0 { 0 } else { 4 };
        let size: usize = match second & 0x7f {
            126 => 2,
            127 => 8,
            _ => 0,
        };
        if self.held < 2 || self.held < size.saturating_add(masked).saturating_add(2) {
            return;
        }
        let long = lengths.iter().take(size);
        let length = long.fold(0u64, |length, byte| length << 8 | u64::from(*byte));
        self.left = if size == 0 { u64::from(second & 0x7f) } else { length };
        self.held = 0;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn frame(masked: bool, length: usize) -> Vec<u8> {
        let mask = if masked { 0x80 } else { 0 };
        let mut bytes = vec![0x82];
        match u8::try_from(length) {
            Ok(short @ 0..=125) => bytes.push(mask | short),
            _ => match u16::try_from(length) {
                Ok(middle) => {
                    bytes.push(mask | 126);
                    bytes.extend(middle.to_be_bytes());
                }
                Err(_) => {
                    bytes.push(mask | 127);
                    bytes.extend(u64::try_from(length).unwrap().to_be_bytes());
                }
            },
        }
        bytes.extend(vec![0xff; if masked { 4 } else { 0 } + length]);
        bytes
    }

    #[test]
    fn the_end_of_each_frame_is_known() {
        for masked in [false, true] {
            for length in [0, 1, 125, 126, 65_535, 65_536] {
                let (mut frames, bytes) = (Frames::default(), frame(masked, length));
                let (last, first) = bytes.split_last().unwrap();
                for piece in first.chunks(7) {
                    frames.pass(piece);
                    assert!(!frames.is_between(), "{length}");
                }
                frames.pass(&[*last]);
                assert!(frames.is_between(), "{length}");
            }
        }
    }

    #[test]
    fn a_last_frame_says_why() {
        assert_eq!(Close::Policy.frame(), [0x88, 2, 0x03, 0xf0]);
        assert_eq!(Close::GoingAway.frame(), [0x88, 2, 0x03, 0xe9]);
    }

    proptest! {
        #[test]
        fn pieces_do_not_matter(
            lengths in proptest::collection::vec(0usize..400, 0..8), piece in 1usize..99,
        ) {
            let stream: Vec<u8> = lengths.iter().flat_map(|length| frame(false, *length)).collect();
            let mut frames = Frames::default();
            stream.chunks(piece).for_each(|bytes| frames.pass(bytes));
            prop_assert!(frames.is_between());
        }

        #[test]
        fn never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            Frames::default().pass(&bytes);
        }
    }
}
