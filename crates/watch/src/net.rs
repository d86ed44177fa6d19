//! Who counts as one client, and which neighbours are counted together.
//!
//! An IPv6 subscriber has a /64 at least (RFC 6177), so single IPv6 addresses mean nothing:
//! counting them would let one host be 2^64 clients.

use std::net::IpAddr;

use web::feed::Net;

/// What stands for one client: an IPv4 address, or an IPv6 /64.
pub(crate) fn client_of(address: IpAddr) -> [u8; 16] {
    bytes(Net::of_client(address))
}

/// What stands for a client's neighbourhood: an IPv4 /24, or an IPv6 /48.
pub(crate) fn neighbours_of(address: IpAddr) -> [u8; 16] {
    let address = address.to_canonical();
    bytes(Net::new(address, if address.is_ipv4() { 24 } else { 48 }))
}

fn bytes(net: Net) -> [u8; 16] {
    match net.address() {
        IpAddr::V4(address) => address.to_ipv6_mapped().octets(),
        IpAddr::V6(address) => address.octets(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_subscriber_of_ipv6_is_one_client() {
        let of = |text: &str| client_of(text.parse().unwrap());
        assert_eq!(of("2001:db8:1:2::1"), of("2001:db8:1:2:ffff::9"));
        assert_ne!(of("2001:db8:1:2::1"), of("2001:db8:1:3::1"));
        assert_ne!(of("192.0.2.1"), of("192.0.2.2"));
        assert_eq!(of("192.0.2.1"), of("::ffff:192.0.2.1"));
        let near = |text: &str| neighbours_of(text.parse().unwrap());
        assert_eq!(near("192.0.2.1"), near("192.0.2.200"));
        assert_eq!(near("192.0.2.1"), near("::ffff:192.0.2.200"));
        assert_ne!(near("192.0.2.1"), near("192.0.3.1"));
        assert_eq!(near("2001:db8:1:2::1"), near("2001:db8:1:9::1"));
    }
}
