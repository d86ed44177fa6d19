//! Tuples as bytes: each part behind its length, so that no two tuples give the same bytes. Every
//! additional data and every MAC input of the vault is one of these.

/// The parts, each behind its length (4 bytes, big-endian), behind the number of parts (1 byte).
///
/// Parts are the vault's own short fields and values that callers have already limited; one of
/// more than `u32::MAX` bytes cannot be told from its truncation, and none comes near.
pub(crate) fn frame(parts: &[&[u8]]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(1 + parts.iter().map(|part| 4 + part.len()).sum::<usize>());
    bytes.push(u8::try_from(parts.len()).unwrap_or(u8::MAX));
    for part in parts {
        bytes.extend_from_slice(&u32::try_from(part.len()).unwrap_or(u32::MAX).to_be_bytes());
        bytes.extend_from_slice(part);
    }
    bytes
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn framed(parts: &[Vec<u8>]) -> Vec<u8> {
        frame(&parts.iter().map(Vec::as_slice).collect::<Vec<_>>())
    }

    proptest! {
        #[test]
        fn two_tuples_never_give_the_same_bytes(
            a in prop::collection::vec(prop::collection::vec(0u8..3, 0..4), 0..4),
            b in prop::collection::vec(prop::collection::vec(0u8..3, 0..4), 0..4),
        ) {
            prop_assert_eq!(a == b, framed(&a) == framed(&b));
        }
    }

    #[test]
    fn moving_a_border_changes_the_bytes() {
        assert_ne!(frame(&[b"ab", b"c"]), frame(&[b"a", b"bc"]));
        assert_ne!(frame(&[b"abc"]), frame(&[b"abc", b""]));
    }
}
