//! A client's first words in TLS, read before rustls reads them: the ClientHello
//! (RFC 8446 section 4.1.2) and its fingerprint, JA4. Pure functions over hostile bytes.
//!
//! JA4 is FoxIO's TLS client fingerprint (the JA4 part of JA4+, under the BSD licence).

use std::fmt::Write as _;

use aws_lc_rs::digest::{SHA256, digest};

/// How far the reading of a ClientHello got.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Progress {
    /// More bytes are needed.
    More,
    /// The whole message is there.
    Done(Hello),
    /// This is no TLS ClientHello.
    Wrong,
}

/// What JA4 needs of a ClientHello, without GREASE values (RFC 8701).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Hello {
    /// `legacy_version`.
    pub version: u16,
    /// Versions of `supported_versions`.
    pub versions: Vec<u16>,
    /// Cipher suites in their order.
    pub ciphers: Vec<u16>,
    /// Extensions in their order.
    pub extensions: Vec<u16>,
    /// Signature algorithms in their order.
    pub signatures: Vec<u16>,
    /// The first protocol of ALPN.
    pub alpn: Option<Vec<u8>>,
}

/// Reads the first message out of TLS records (RFC 8446 section 5.1), which may be cut anywhere.
/// `max_bytes` bounds the message.
#[must_use]
pub fn read(bytes: &[u8], max_bytes: usize) -> Progress {
    let mut message = Vec::new();
    let mut input = Input(bytes);
    loop {
        if let Some(length) = message_length(&message) {
            if length > max_bytes || message.first() != Some(&1) {
                return Progress::Wrong;
            }
            if let Some(body) = message.get(4..length.saturating_add(4)) {
                return parse(body).map_or(Progress::Wrong, Progress::Done);
            }
        }
        let Some(kind) = input.u8() else { return Progress::More };
        if kind != 22 {
            return Progress::Wrong;
        }
        let Some(version) = input.u16() else { return Progress::More };
        if version >> 8 != 3 {
            return Progress::Wrong;
        }
        let Some(length) = input.u16() else { return Progress::More };
        // An empty handshake record is forbidden; more than 2^14 bytes are too.
        if length == 0 || length > 1 << 14 {
            return Progress::Wrong;
        }
        let Some(fragment) = input.take(usize::from(length)) else { return Progress::More };
        message.extend_from_slice(fragment);
    }
}

/// The length of the message's body, once its four-byte header is there.
fn message_length(message: &[u8]) -> Option<usize> {
    match message {
        [_, a, b, c, ..] => Some(usize::from(*a) << 16 | usize::from(*b) << 8 | usize::from(*c)),
        _ => None,
    }
}

/// The body of a ClientHello; none where a length inside it is wrong.
#[must_use]
pub fn parse(body: &[u8]) -> Option<Hello> {
    let mut input = Input(body);
    let mut hello = Hello { version: input.u16()?, ..Hello::default() };
    input.take(32)?;
    let session = usize::from(input.u8()?);
    input.take(session)?;
    hello.ciphers = input.list_u16()?;
    let compression = usize::from(input.u8()?);
    input.take(compression)?;
    if input.0.is_empty() {
        return Some(hello);
    }
    let length = usize::from(input.u16()?);
    let mut extensions = Input(input.take(length)?);
    if !input.0.is_empty() {
        return None;
    }
    while !extensions.0.is_empty() {
        let kind = extensions.u16()?;
        let length = usize::from(extensions.u16()?);
        let value = Input(extensions.take(length)?);
        if !is_grease(kind) {
            hello.extensions.push(kind);
        }
        hello.extension(kind, value)?;
    }
    Some(hello)
}

impl Hello {
    fn extension(&mut self, kind: u16, mut value: Input<'_>) -> Option<()> {
        match kind {
            0x000d => self.signatures = value.list_u16()?,
            0x0010 => {
                let length = usize::from(value.u16()?);
                let mut names = Input(value.take(length)?);
                let first = usize::from(names.u8()?);
                self.alpn = Some(names.take(first)?.to_vec());
            }
            0x002b => {
                let length = usize::from(value.u8()?);
                let mut versions = Input(value.take(length)?);
                while !versions.0.is_empty() {
                    let version = versions.u16()?;
                    if !is_grease(version) {
                        self.versions.push(version);
                    }
                }
            }
            _ => {}
        }
        Some(())
    }

    /// The fingerprint, as in `t13d1516h2_8daaf6152771_e5627efa2ab1`: 36 characters.
    #[must_use]
    pub fn ja4(&self) -> String {
        let version = self.versions.iter().copied().max().unwrap_or(self.version);
        let name = if self.extensions.contains(&0) { 'd' } else { 'i' };
        let (ciphers, extensions) = (self.ciphers.len().min(99), self.extensions.len().min(99));
        let (first, last) = self.alpn_ends();
        let mut text = String::with_capacity(36);
        let version = version_name(version);
        let _ = write!(text, "t{version}{name}{ciphers:02}{extensions:02}{first}{last}_");
        let mut sorted = self.ciphers.clone();
        sorted.sort_unstable();
        text.push_str(&short_hash(&hex_list(&sorted)));
        text.push('_');
        let mut sorted: Vec<u16> =
            self.extensions.iter().copied().filter(|kind| !matches!(kind, 0 | 0x10)).collect();
        sorted.sort_unstable();
        let mut listed = hex_list(&sorted);
        if !listed.is_empty() && !self.signatures.is_empty() {
            listed.push('_');
            listed.push_str(&hex_list(&self.signatures));
        }
        text.push_str(&short_hash(&listed));
        text
    }

    fn alpn_ends(&self) -> (char, char) {
        let alpn = self.alpn.as_deref().unwrap_or_default();
        let (Some(first), Some(last)) = (alpn.first(), alpn.last()) else { return ('0', '0') };
        if first.is_ascii_alphanumeric() && last.is_ascii_alphanumeric() {
            return (char::from(*first), char::from(*last));
        }
        let digit = |nibble: u8| char::from_digit(u32::from(nibble & 15), 16).unwrap_or('0');
        (digit(first >> 4), digit(*last))
    }
}

const fn version_name(version: u16) -> &'static str {
    match version {
        0x0304 => "13",
        0x0303 => "12",
        0x0302 => "11",
        0x0301 => "10",
        0x0300 => "s3",
        0x0002 => "s2",
        _ => "00",
    }
}

fn hex_list(values: &[u16]) -> String {
    let mut text = String::with_capacity(values.len().saturating_mul(5));
    for (at, value) in values.iter().enumerate() {
        if at > 0 {
            text.push(',');
        }
        let _ = write!(text, "{value:04x}");
    }
    text
}

/// The first 12 hex digits of SHA-256; zeros for nothing.
fn short_hash(text: &str) -> String {
    if text.is_empty() {
        return "0".repeat(12);
    }
    digest(&SHA256, text.as_bytes()).as_ref().iter().take(6).fold(
        String::with_capacity(12),
        |mut hex, byte| {
            let _ = write!(hex, "{byte:02x}");
            hex
        },
    )
}

/// Values that clients send to keep servers tolerant (RFC 8701): 0x0a0a, 0x1a1a … 0xfafa.
const fn is_grease(value: u16) -> bool {
    value & 0x0f0f == 0x0a0a && value >> 8 == value & 0xff
}

struct Input<'a>(&'a [u8]);

impl<'a> Input<'a> {
    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }

    fn u8(&mut self) -> Option<u8> {
        self.take(1)?.first().copied()
    }

    fn u16(&mut self) -> Option<u16> {
        match self.take(2)? {
            [high, low] => Some(u16::from_be_bytes([*high, *low])),
            _ => None,
        }
    }

    /// A list of 16-bit values after its length in bytes, without GREASE.
    fn list_u16(&mut self) -> Option<Vec<u16>> {
        let length = usize::from(self.u16()?);
        let mut list = Input(self.take(length)?);
        let mut values = Vec::with_capacity(length / 2);
        while !list.0.is_empty() {
            let value = list.u16()?;
            if !is_grease(value) {
                values.push(value);
            }
        }
        Some(values)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The example of the specification.
    fn example() -> Hello {
        Hello {
            version: 0x0303,
            versions: vec![0x0304, 0x0303],
            ciphers: vec![
                0x1301, 0x1302, 0x1303, 0xc02b, 0xc02f, 0xc02c, 0xc030, 0xcca9, 0xcca8, 0xc013,
                0xc014, 0x009c, 0x009d, 0x002f, 0x0035,
            ],
            extensions: vec![
                0x001b, 0x0000, 0x0033, 0x0010, 0x4469, 0x0017, 0x002d, 0x000d, 0x0005, 0x0023,
                0x0012, 0x002b, 0xff01, 0x000b, 0x000a, 0x0015,
            ],
            signatures: vec![0x0403, 0x0804, 0x0401, 0x0503, 0x0805, 0x0501, 0x0806, 0x0601],
            alpn: Some(b"h2".to_vec()),
        }
    }

    #[test]
    fn the_example_of_the_specification() {
        assert_eq!(example().ja4(), "t13d1516h2_8daaf6152771_e5627efa2ab1");
        let unsigned = Hello { signatures: Vec::new(), ..example() };
        assert_eq!(unsigned.ja4(), "t13d1516h2_8daaf6152771_6d807ffa2a79");
    }

    #[test]
    fn nothing_hashes_to_zeros() {
        let none = Hello { version: 0x0301, ..Hello::default() };
        assert_eq!(none.ja4(), "t10i000000_000000000000_000000000000");
    }

    #[test]
    fn alpn_ends_as_specified() {
        let cases: [(&[u8], &str); 11] = [
            (b"http/1.1", "h1"),
            (b"a", "aa"),
            (b"", "00"),
            (&[0xab], "ab"),
            (&[0x20], "20"),
            (&[0xab, 0xcd], "ad"),
            (&[0x20, 0x61], "21"),
            (&[0x30, 0xab], "3b"),
            (&[0x61, 0x20], "60"),
            (&[0x30, 0x31, 0xab, 0xcd], "3d"),
            (&[0x30, 0xab, 0xcd, 0x31], "01"),
        ];
        for (alpn, ends) in cases {
            let (first, last) = Hello { alpn: Some(alpn.to_vec()), ..Hello::default() }.alpn_ends();
            assert_eq!(format!("{first}{last}"), ends, "{alpn:?}");
        }
    }

    /// A ClientHello with one cipher, a GREASE cipher and GREASE extensions.
    fn message() -> Vec<u8> {
        let mut body = vec![3, 3];
        body.extend([7; 32]);
        body.extend([0, 0, 4, 0x0a, 0x0a, 0x13, 0x01, 1, 0]);
        let extensions = [
            0x1a, 0x1a, 0, 0, 0, 0, 0, 0, 0, 0x10, 0, 5, 0, 3, 2, b'h', b'2', 0, 0x2b, 0, 5, 4,
            0x3a, 0x3a, 3, 4,
        ];
        body.extend(u16::try_from(extensions.len()).unwrap().to_be_bytes());
        body.extend(extensions);
        let mut message = vec![1, 0, 0, u8::try_from(body.len()).unwrap()];
        message.extend(body);
        message
    }

    fn records(message: &[u8], size: usize) -> Vec<u8> {
        let mut bytes = Vec::new();
        for fragment in message.chunks(size) {
            bytes.extend([22, 3, 1, 0, u8::try_from(fragment.len()).unwrap()]);
            bytes.extend(fragment);
        }
        bytes
    }

    #[test]
    fn a_hello_cut_into_records_is_one_hello() {
        for size in 1..=message().len() {
            let bytes = records(&message(), size);
            let Progress::Done(hello) = read(&bytes, 4_096) else { panic!("records of {size}") };
            assert!(hello.ja4().starts_with("t13d0103h2_"), "{}", hello.ja4());
            for end in 0..bytes.len() {
                assert_eq!(read(&bytes[..end], 4_096), Progress::More, "{end} of {size}");
            }
        }
        assert_eq!(read(b"GET / HTTP/1.1\r\n", 4_096), Progress::Wrong);
        assert_eq!(read(&records(&message(), 40), 20), Progress::Wrong);
    }

    proptest! {
        #[test]
        fn never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = read(&bytes, 4_096);
            if let Some(hello) = parse(&bytes) {
                prop_assert_eq!(hello.ja4().len(), 36);
            }
        }

        #[test]
        fn a_changed_hello_never_panics(at in 0usize..500, byte in any::<u8>()) {
            let mut message = message();
            let at = at % message.len();
            message[at] = byte;
            if let Progress::Done(hello) = read(&records(&message, 50), 4_096) {
                prop_assert_eq!(hello.ja4().len(), 36);
            }
        }
    }
}
