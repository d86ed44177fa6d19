//! The small grammar that HTTP fields share (RFC 9110 section 5.6): tokens, white space, lists.

/// Which bytes a token may hold (RFC 9110 section 5.6.2), by value.
const TOKEN: [bool; 256] = {
    let mut table = [false; 256];
    let mut byte = 0usize;
    while byte < 256 {
        #[expect(clippy::cast_possible_truncation, reason = "the loop ends at 255")]
        let letter = byte as u8;
        #[expect(clippy::indexing_slicing, reason = "evaluated while compiling, within bounds")]
        {
            table[byte] = letter.is_ascii_alphanumeric()
                || matches!(
                    letter,
                    b'!' | b'#'
                        | b'$'
                        | b'%'
                        | b'&'
                        | b'\''
                        | b'*'
                        | b'+'
                        | b'-'
                        | b'.'
                        | b'^'
                        | b'_'
                        | b'`'
                        | b'|'
                        | b'~'
                );
        }
        byte += 1;
    }
    table
};

/// Whether a byte may stand in a token.
#[must_use]
pub(crate) fn is_token_byte(byte: u8) -> bool {
    TOKEN.get(usize::from(byte)).copied().unwrap_or(false)
}

/// Whether all bytes may stand in a token; true of nothing.
#[must_use]
pub(crate) fn is_token(bytes: &[u8]) -> bool {
    bytes.iter().all(|byte| is_token_byte(*byte))
}

/// The bytes without spaces and tabs around them.
#[must_use]
pub(crate) fn trim_ows(mut bytes: &[u8]) -> &[u8] {
    while let [b' ' | b'\t', rest @ ..] = bytes {
        bytes = rest;
    }
    while let [rest @ .., b' ' | b'\t'] = bytes {
        bytes = rest;
    }
    bytes
}

/// The members of a comma-separated list, trimmed, without the empty ones.
pub(crate) fn members(value: &[u8]) -> impl DoubleEndedIterator<Item = &[u8]> {
    value.split(|byte| *byte == b',').map(trim_ows).filter(|item| !item.is_empty())
}
