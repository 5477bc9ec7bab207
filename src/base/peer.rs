//! Who is at the other end of a connection, as far as addresses say it.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The other end's address, without its port, which names nobody.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Peer {
    /// IPv4 is never spelled as IPv6 (`::ffff:192.0.2.1`), whatever the listener.
    Ip(IpAddr),
    /// It came over a Unix socket.
    Unix,
    /// The kernel did not say.
    #[default]
    Unknown,
}

/// What counts as one place: an IPv4 address, or the 64 bits in front of an IPv6 address, since whoever has one such
/// address has all that follow them.
///
/// Eight bytes at no alignment, because each connection has one. An IPv6 prefix is itself; an IPv4 address stands behind
/// zeros and a one, in a block of IPv6 that is not given to anybody (RFC 4291, section 2.4).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Network([u8; 8]);

impl Peer {
    pub fn ip(address: IpAddr) -> Self {
        Self::Ip(address.to_canonical())
    }

    /// What connections of it are counted by; none over a Unix socket.
    pub fn network(self) -> Option<Network> {
        match self {
            Self::Ip(address) => Some(Network::of(address)),
            Self::Unix | Self::Unknown => None,
        }
    }
}

impl Network {
    /// Stands for none: a multicast prefix, from which nobody connects.
    pub const NONE: Self = Self([0xff; 8]);

    pub fn of(address: IpAddr) -> Self {
        match address {
            IpAddr::V4(address) => {
                let [a, b, c, d] = address.octets();
                Self([0, 0, 0, 1, a, b, c, d])
            }
            IpAddr::V6(address) => {
                let [a, b, c, d, e, f, g, h, ..] = address.octets();
                Self([a, b, c, d, e, f, g, h])
            }
        }
    }
}

impl fmt::Display for Peer {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ip(address) => address.fmt(formatter),
            Self::Unix => formatter.write_str("unix"),
            Self::Unknown => formatter.write_str("unknown"),
        }
    }
}

impl fmt::Display for Network {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, f, g, h] = self.0;
        if [a, b, c, d] == [0, 0, 0, 1] {
            return Ipv4Addr::new(e, f, g, h).fmt(formatter);
        }
        let segment = |high, low| u16::from_be_bytes([high, low]);
        let prefix = Ipv6Addr::new(segment(a, b), segment(c, d), segment(e, f), segment(g, h), 0, 0, 0, 0);
        write!(formatter, "{prefix}/64")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn network(address: &str) -> String {
        Network::of(address.parse().unwrap()).to_string()
    }

    #[test]
    fn a_network_is_an_address_of_ipv4_and_a_64th_of_ipv6() {
        assert_eq!(network("192.0.2.7"), "192.0.2.7");
        assert_eq!(network("2001:db8:1:2:3:4:5:6"), "2001:db8:1:2::/64");
        assert_eq!(network("::1"), "::/64");
        assert_ne!(Network::of("0.0.0.0".parse().unwrap()), Network::of("::1".parse().unwrap()));
    }

    #[test]
    fn ipv4_is_the_same_however_it_is_spelled() {
        let peer = |address: &str| Peer::ip(address.parse().unwrap());
        assert_eq!(peer("::ffff:192.0.2.7"), peer("192.0.2.7"));
        assert_eq!(peer("::ffff:192.0.2.7").network(), peer("192.0.2.7").network());
        assert_eq!(peer("192.0.2.7").to_string(), "192.0.2.7");
        assert_eq!(Peer::Unix.network(), None);
    }
}
