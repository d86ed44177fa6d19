//! Networks: who counts as one client, which neighbours are counted together, who is never blocked.
//!
//! An IPv6 subscriber has a /64 at least (RFC 6177), so single IPv6 addresses mean nothing: counting
//! them would let one host be 2^64 clients.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// A network in CIDR notation (RFC 4632): an address and the number of its leading bits that count.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Net {
    address: IpAddr,
    bits: u8,
}

/// Why a text is no network.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("`{0}` is no network: write it as 192.0.2.0/24 or 2001:db8::/32, without host bits")]
pub struct NetError(String);

/// The address as 128 bits; IPv4 as IPv4-mapped IPv6, so that one comparison serves both.
fn wide(address: IpAddr) -> u128 {
    match address.to_canonical() {
        IpAddr::V4(address) => address.to_ipv6_mapped().to_bits(),
        IpAddr::V6(address) => address.to_bits(),
    }
}

/// The first `bits` of 128.
const fn cut(value: u128, bits: u8) -> u128 {
    match 128_u32.checked_sub(bits as u32) {
        None | Some(0) => value,
        Some(128) => 0,
        Some(rest) => value >> rest << rest,
    }
}

impl Net {
    /// Whether the address is inside.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        cut(wide(address), self.wide_bits()) == wide(self.address)
    }

    /// The bits that count of 128.
    const fn wide_bits(&self) -> u8 {
        match self.address {
            IpAddr::V4(_) => self.bits.saturating_add(96),
            IpAddr::V6(_) => self.bits,
        }
    }
}

impl FromStr for Net {
    type Err = NetError;

    fn from_str(text: &str) -> Result<Self, NetError> {
        let wrong = || NetError(text.chars().take(60).collect());
        let (address, bits) = match text.split_once('/') {
            Some((address, bits)) => (address, Some(bits)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().map_err(|_| wrong())?;
        let most = if address.is_ipv4() { 32 } else { 128 };
        let bits = bits.map_or(Ok(most), |bits| bits.parse().map_err(|_| wrong()))?;
        let net = Self { address, bits };
        if bits > most || cut(wide(address), net.wide_bits()) != wide(address) {
            return Err(wrong());
        }
        Ok(net)
    }
}

impl TryFrom<String> for Net {
    type Error = NetError;

    fn try_from(text: String) -> Result<Self, NetError> {
        text.parse()
    }
}

impl From<Net> for String {
    fn from(net: Net) -> Self {
        net.to_string()
    }
}

impl fmt::Display for Net {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.bits)
    }
}

/// What stands for one client: an IPv4 address, or an IPv6 /64.
#[must_use]
pub(crate) fn client_of(address: IpAddr) -> [u8; 16] {
    prefix(address, 128, 64)
}

/// What stands for a client's neighbourhood: an IPv4 /24, or an IPv6 /48.
#[must_use]
pub(crate) fn neighbours_of(address: IpAddr) -> [u8; 16] {
    prefix(address, 96 + 24, 48)
}

fn prefix(address: IpAddr, v4_bits: u8, v6_bits: u8) -> [u8; 16] {
    let value = wide(address);
    let v4 = Ipv6Addr::from_bits(value).to_ipv4_mapped().is_some();
    cut(value, if v4 { v4_bits } else { v6_bits }).to_be_bytes()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn net(text: &str) -> Net {
        text.parse().unwrap()
    }

    #[test]
    fn what_is_inside_and_what_is_not() {
        let cases = [
            ("192.0.2.0/24", "192.0.2.255", true),
            ("192.0.2.0/24", "192.0.3.0", false),
            ("192.0.2.7", "192.0.2.7", true),
            ("192.0.2.0/24", "::ffff:192.0.2.1", true),
            ("0.0.0.0/0", "203.0.113.9", true),
            ("0.0.0.0/0", "2001:db8::1", false),
            ("::/0", "2001:db8::1", true),
            ("2001:db8::/32", "2001:db9::", false),
        ];
        for (text, address, inside) in cases {
            assert_eq!(net(text).contains(address.parse().unwrap()), inside, "{text} {address}");
        }
    }

    #[test]
    fn what_is_no_network_is_refused() {
        for text in ["", "192.0.2.1/24", "192.0.2.0/33", "::1/129", "shop", "1.2.3.4/x", "/8"] {
            assert!(text.parse::<Net>().is_err(), "{text}");
        }
    }

    #[test]
    fn one_subscriber_of_ipv6_is_one_client() {
        let of = |text: &str| client_of(text.parse().unwrap());
        assert_eq!(of("2001:db8:1:2::1"), of("2001:db8:1:2:ffff::9"));
        assert_ne!(of("2001:db8:1:2::1"), of("2001:db8:1:3::1"));
        assert_ne!(of("192.0.2.1"), of("192.0.2.2"));
        assert_eq!(of("192.0.2.1"), of("::ffff:192.0.2.1"));
        let near = |text: &str| neighbours_of(text.parse().unwrap());
        assert_eq!(near("192.0.2.1"), near("192.0.2.200"));
        assert_ne!(near("192.0.2.1"), near("192.0.3.1"));
        assert_eq!(near("2001:db8:1:2::1"), near("2001:db8:1:9::1"));
    }

    proptest! {
        #[test]
        fn text_round_trips(address in any::<u128>(), bits in 0u8..=128) {
            let address = IpAddr::V6(Ipv6Addr::from_bits(cut(address, bits)));
            let text = Net { address, bits }.to_string();
            // an IPv4-mapped address reads back as what it is
            if let Ok(read) = text.parse::<Net>() {
                prop_assert_eq!(read.to_string(), text);
            }
        }
    }
}
