//! Who the client is, behind proxies that are trusted and only those. Pure.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use web::feed::Net;

use crate::token::members;

/// Hops that are looked at; a longer list is somebody's game.
const HOPS_MAX: usize = 32;

/// The client's address: the peer's, or, where the peer is a trusted proxy, the last address of
/// `X-Forwarded-For` from the right that is not one itself. `lists` are the field's values in
/// their order. What cannot be read ends the walk: nothing left of it is believed.
#[must_use]
pub fn client<'a>(
    peer: IpAddr,
    lists: impl DoubleEndedIterator<Item = &'a [u8]>,
    trusted: &[Net],
) -> IpAddr {
    let is_trusted = |address| trusted.iter().any(|net| net.contains(address));
    let mut client = peer;
    if !is_trusted(peer) {
        return client;
    }
    for item in lists.rev().flat_map(|list| members(list).rev()).take(HOPS_MAX) {
        let Some(address) = std::str::from_utf8(item).ok().and_then(address) else {
            return client;
        };
        client = address;
        if !is_trusted(address) {
            return client;
        }
    }
    client
}

/// An address as proxies write it: plain, with a port, or in brackets; IPv4 in IPv6 is IPv4.
fn address(text: &str) -> Option<IpAddr> {
    let text = text.trim_matches('"');
    let address = text
        .parse::<IpAddr>()
        .ok()
        .or_else(|| text.parse::<SocketAddr>().ok().map(|socket| socket.ip()))
        .or_else(|| {
            let inside = text.strip_prefix('[')?.strip_suffix(']')?;
            inside.parse::<Ipv6Addr>().ok().map(IpAddr::V6)
        })?;
    Some(address.to_canonical())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn seen(peer: &str, lists: &[&str]) -> String {
        let trusted = ["10.0.0.0/8".parse().unwrap(), "::1".parse().unwrap()];
        let lists = lists.iter().map(|list| list.as_bytes());
        client(peer.parse().unwrap(), lists, &trusted).to_string()
    }

    // E3
    #[test]
    fn only_trusted_hops_are_believed() {
        assert_eq!(seen("192.0.2.1", &["198.51.100.1"]), "192.0.2.1");
        assert_eq!(seen("10.0.0.1", &[]), "10.0.0.1");
        assert_eq!(seen("10.0.0.1", &["198.51.100.1"]), "198.51.100.1");
        assert_eq!(seen("10.0.0.1", &["203.0.113.9, 198.51.100.1, 10.9.9.9"]), "198.51.100.1");
        assert_eq!(seen("10.0.0.1", &["203.0.113.9", "198.51.100.1"]), "198.51.100.1");
        assert_eq!(seen("10.0.0.1", &["203.0.113.9, rubbish"]), "10.0.0.1");
        assert_eq!(seen("::1", &["[2001:db8::1]:443"]), "2001:db8::1");
        assert_eq!(seen("::1", &["::ffff:203.0.113.9"]), "203.0.113.9");
        assert_eq!(seen("10.0.0.1", &["10.0.0.2, 10.0.0.3"]), "10.0.0.2");
    }

    proptest! {
        #[test]
        fn never_panics(list in proptest::collection::vec(any::<u8>(), 0..200)) {
            let trusted = [Net::new(IpAddr::from([0, 0, 0, 0]), 0)];
            let _ = client(IpAddr::from([10, 0, 0, 1]), [list.as_slice()].into_iter(), &trusted);
        }
    }
}
