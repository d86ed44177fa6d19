//! The PROXY protocol, versions 1 and 2 (haproxy.org, proxy-protocol.txt): how a load balancer that
//! passes connections, not requests, says whose each one is. A pure parser over hostile bytes, and
//! the reading around it.
//!
//! A connection from a listed proxy must begin with the header, and nobody else's may: guessing
//! would let anybody choose an address.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use tokio::io::{AsyncRead, AsyncReadExt as _};

/// What every header of version 2 begins with.
const SIGNATURE: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";
/// The longest header of version 1, with its line end.
const LINE_MAX_BYTES: usize = 107;
/// Bytes before the addresses of version 2.
const FIXED_BYTES: usize = 16;
/// The addresses of version 2 with what a balancer adds to them (TLVs).
const REST_MAX_BYTES: usize = 2_048;

/// How far the reading of a header got.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// More bytes are needed.
    More,
    /// The header is so many bytes long; the client, unless the proxy speaks for itself (a health
    /// check) or does not know.
    Done(usize, Option<IpAddr>),
    /// This is no header.
    Wrong,
}

/// Reads a header at the front of what has come.
#[must_use]
pub fn read(bytes: &[u8]) -> Progress {
    match bytes.first() {
        None => Progress::More,
        Some(b'P') => version_1(bytes),
        Some(_) => version_2(bytes),
    }
}

fn version_1(bytes: &[u8]) -> Progress {
    let line = bytes.get(..LINE_MAX_BYTES).unwrap_or(bytes);
    let Some(end) = memchr::memchr(b'\n', line) else {
        let begun = line.iter().zip(b"PROXY ").all(|(one, other)| one == other);
        let more = begun && line.len() < LINE_MAX_BYTES;
        return if more { Progress::More } else { Progress::Wrong };
    };
    let line = line.get(..end).and_then(|line| line.strip_suffix(b"\r"));
    match line.and_then(|line| std::str::from_utf8(line).ok()).and_then(addresses) {
        Some(client) => Progress::Done(end.saturating_add(1), client),
        None => Progress::Wrong,
    }
}

/// The client of `PROXY TCP4 client proxy port port`; `Some(None)` where it is not known.
fn addresses(line: &str) -> Option<Option<IpAddr>> {
    let rest = line.strip_prefix("PROXY ")?;
    if rest == "UNKNOWN" || rest.starts_with("UNKNOWN ") {
        return Some(None);
    }
    let mut words = rest.split(' ');
    let (family, client, proxy) = (words.next()?, words.next()?, words.next()?);
    let (client, proxy) = match family {
        "TCP4" => (client.parse::<Ipv4Addr>().ok()?.into(), proxy.parse::<Ipv4Addr>().is_ok()),
        "TCP6" => (client.parse::<Ipv6Addr>().ok()?.into(), proxy.parse::<Ipv6Addr>().is_ok()),
        _ => return None,
    };
    let ports = words.by_ref().take(2).filter(|port| is_port(port)).count();
    (proxy && ports == 2 && words.next().is_none()).then_some(Some(client))
}

fn is_port(text: &str) -> bool {
    let plain = text == "0" || !text.starts_with(['0', '+']);
    plain && text.parse::<u16>().is_ok()
}

fn version_2(bytes: &[u8]) -> Progress {
    if !bytes.iter().zip(SIGNATURE).all(|(one, other)| one == other) {
        return Progress::Wrong;
    }
    let Some((fixed, rest)) = bytes.split_at_checked(FIXED_BYTES) else { return Progress::More };
    let [.., command, family, high, low] = fixed else { return Progress::Wrong };
    let length = usize::from(u16::from_be_bytes([*high, *low]));
    if length > REST_MAX_BYTES {
        return Progress::Wrong;
    }
    let client = match (command, family) {
        // LOCAL: the proxy itself, as when it asks whether we live.
        (0x20, _) => Some(None),
        (0x21, 0x11) => Some(Some(4usize)),
        (0x21, 0x21) => Some(Some(16)),
        // PROXY for what is no TCP over IP: nothing is known.
        (0x21, _) => Some(None),
        _ => None,
    };
    // Two addresses and two ports must be there.
    let wanted = client.flatten().map_or(0, |size| size.saturating_mul(2).saturating_add(4));
    let (Some(client), true) = (client, length >= wanted) else { return Progress::Wrong };
    let Some(rest) = rest.get(..length) else { return Progress::More };
    let client = client.and_then(|size| address(rest.get(..size)?));
    Progress::Done(FIXED_BYTES.saturating_add(length), client)
}

fn address(bytes: &[u8]) -> Option<IpAddr> {
    let v4 = <[u8; 4]>::try_from(bytes).map(IpAddr::from);
    v4.or_else(|_| <[u8; 16]>::try_from(bytes).map(IpAddr::from)).ok()
}

/// Reads the header of a connection; gives the client and what came behind the header.
pub(crate) async fn header<S: AsyncRead + Unpin>(
    socket: &mut S,
) -> io::Result<(Option<IpAddr>, Vec<u8>)> {
    let mut words = Vec::with_capacity(512);
    loop {
        match read(&words) {
            Progress::Done(length, client) => {
                return Ok((client.map(|client| client.to_canonical()), words.split_off(length)));
            }
            Progress::Wrong => return Err(io::ErrorKind::InvalidData.into()),
            Progress::More => {}
        }
        if socket.read_buf(&mut words).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn v2(command: u8, family: u8, rest: &[u8]) -> Vec<u8> {
        let mut bytes = SIGNATURE.to_vec();
        bytes.extend([command, family]);
        bytes.extend(u16::try_from(rest.len()).unwrap().to_be_bytes());
        bytes.extend(rest);
        bytes
    }

    fn told(client: &str) -> Option<IpAddr> {
        Some(client.parse().unwrap())
    }

    // E3
    #[test]
    fn headers_of_both_versions_are_read() {
        let v4 = [203, 0, 113, 9, 10, 0, 0, 1, 0xdc, 4, 1, 187];
        let mut v6 = [0; 36];
        v6[15] = 9;
        let with_tlv = [v4.as_slice(), &[0xea, 0, 1, 7]].concat();
        let cases = [
            (b"PROXY TCP4 203.0.113.9 10.0.0.1 56324 443\r\n".to_vec(), told("203.0.113.9")),
            (b"PROXY TCP6 2001:db8::9 ::1 1 443\r\n".to_vec(), told("2001:db8::9")),
            (b"PROXY UNKNOWN\r\n".to_vec(), None),
            (b"PROXY UNKNOWN ffff:f...f:ffff 1 2\r\n".to_vec(), None),
            (v2(0x21, 0x11, &v4), told("203.0.113.9")),
            (v2(0x21, 0x11, &with_tlv), told("203.0.113.9")),
            (v2(0x21, 0x21, &v6), told("::9")),
            (v2(0x20, 0x00, &[]), None),
            (v2(0x20, 0x11, &v4), None),
            (v2(0x21, 0x31, &[0; 216]), None),
        ];
        for (header, client) in cases {
            let whole = header.len();
            let behind = [header.as_slice(), b"GET / HTTP/1.1\r\n"].concat();
            assert_eq!(read(&behind), Progress::Done(whole, client), "{header:?}");
            for end in 0..whole {
                assert_eq!(read(&header[..end]), Progress::More, "{end} of {header:?}");
            }
        }
    }

    // E3
    #[test]
    fn everything_else_is_refused_at_once() {
        let long = format!("PROXY TCP4 {}", "1".repeat(100));
        let cases: [&[u8]; 14] = [
            b"GET / HTTP/1.1\r\n",
            b"POST",
            &[22, 3, 1, 2, 0],
            b"PROXY TCP4 203.0.113.9 10.0.0.1 56324 443\n",
            b"PROXY TCP4 203.0.113.9 10.0.0.1 56324\r\n",
            b"PROXY TCP4 203.0.113.9 10.0.0.1 56324 443 1\r\n",
            b"PROXY TCP4 203.0.113.9 10.0.0.1 056 443\r\n",
            b"PROXY TCP4 203.0.113.9 10.0.0.1 70000 443\r\n",
            b"PROXY TCP4 ::1 ::1 1 2\r\n",
            b"PROXY TCP4  203.0.113.9 10.0.0.1 1 2\r\n",
            b"PROXY UDP4 203.0.113.9 10.0.0.1 1 2\r\n",
            b"PROXY UNKNOWNS\r\n",
            b"\r\n\r\n\0\r\nQUIT\r",
            long.as_bytes(),
        ];
        for bytes in cases {
            assert_eq!(read(bytes), Progress::Wrong, "{bytes:?}");
        }
        for header in [v2(0x31, 0x11, &[0; 12]), v2(0x22, 0x11, &[0; 12]), v2(0x21, 0x11, &[0; 11])]
        {
            assert_eq!(read(&header), Progress::Wrong, "{header:?}");
        }
        assert_eq!(read(&v2(0x21, 0x11, &[0; 2_049])), Progress::Wrong);
    }

    proptest! {
        #[test]
        fn never_panics_and_never_takes_what_is_not_there(
            bytes in proptest::collection::vec(any::<u8>(), 0..200),
            version in 0usize..3,
        ) {
            let start: [&[u8]; 3] = [b"", b"PROXY TCP4 ", SIGNATURE];
            let bytes = [start[version], &bytes].concat();
            if let Progress::Done(length, _) = read(&bytes) {
                prop_assert!((15..=bytes.len()).contains(&length));
                // What comes behind does not change what was read.
                prop_assert_eq!(read(&bytes[..length]), read(&bytes));
            }
        }

        #[test]
        fn what_was_written_is_read(client in any::<IpAddr>(), port in any::<u16>()) {
            let family = if client.is_ipv4() { "TCP4" } else { "TCP6" };
            let line = format!("PROXY {family} {client} {client} {port} 443\r\n");
            prop_assert_eq!(read(line.as_bytes()), Progress::Done(line.len(), Some(client)));
        }
    }
}
