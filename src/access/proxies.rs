//! Which peers may say for whom they ask: the proxies in front of courier.
//!
//! Anyone can send a field that names an address. So it counts only from a trusted peer, only in the one field that the
//! operator's proxies write (another may have passed through them as the client sent it), and read from its end: each proxy
//! adds whom it heard, so the last address that is no trusted proxy's is the nearest that somebody trusted has seen.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use smallvec::SmallVec;

use crate::base::peer::Peer;
use crate::wire::http::{Head, forwarded};

/// None by default: then nobody is believed.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Proxies {
    pub trusted: TrustedProxies,
    pub field: ForwardedField,
}

/// Whom to believe.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TrustedProxies {
    ranges: Vec<Range>,
    /// Whoever comes over a Unix socket.
    unix: bool,
}

/// Where the proxies write for whom they ask.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ForwardedField {
    #[default]
    XForwardedFor,
    /// RFC 7239.
    Forwarded,
}

/// Addresses with the same bits in front.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Range {
    /// IPv4 as IPv6 spells it, and the bits counted accordingly.
    bits: u128,
    mask: u128,
}

/// Why a text is no range.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BadRange {
    Address,
    Prefix,
    /// There are bits behind the prefix; the range that was probably meant.
    Host(String),
}

impl Proxies {
    /// Who asks with this request.
    pub fn client(&self, peer: Peer, head: &Head<'_>) -> Peer {
        if !self.trusted.trusts(peer) {
            return peer;
        }
        let named: SmallVec<[Option<IpAddr>; 4]> = match self.field {
            ForwardedField::XForwardedFor => forwarded::x_forwarded_for(&head.x_forwarded_for),
            ForwardedField::Forwarded => forwarded::forwarded(&head.forwarded),
        };
        let mut client = peer;
        for address in named.into_iter().rev() {
            // What cannot be read could hide anything before it: the proxy itself counts.
            let Some(address) = address else { return peer };
            client = Peer::ip(address);
            if !self.trusted.trusts(client) {
                break;
            }
        }
        client
    }
}

impl TrustedProxies {
    /// Reads the entries as an operator writes them: an address, a range such as `10.0.0.0/8`, or `unix`.
    pub fn parse<'a>(entries: impl IntoIterator<Item = &'a str>) -> Result<Self, BadRange> {
        let mut trusted = Self::default();
        for entry in entries {
            match entry.trim() {
                "unix" => trusted.unix = true,
                range => trusted.ranges.push(Range::parse(range)?),
            }
        }
        Ok(trusted)
    }

    pub fn trusts(&self, peer: Peer) -> bool {
        match peer {
            Peer::Ip(address) => self.ranges.iter().any(|range| range.contains(address)),
            Peer::Unix => self.unix,
            Peer::Unknown => false,
        }
    }

    /// Whether every address is trusted, so that anybody may claim any address.
    pub fn trusts_everyone(&self) -> bool {
        let four = as_bits(Ipv4Addr::UNSPECIFIED.into());
        let is_all = |range: &Range| range.mask == 0 || range.mask == mask(V4_BITS) && range.bits == four;
        self.ranges.iter().any(is_all)
    }
}

impl Range {
    fn parse(text: &str) -> Result<Self, BadRange> {
        let (address, prefix) = match text.split_once('/') {
            Some((address, prefix)) => (address, Some(prefix)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().map_err(|_| BadRange::Address)?;
        let most = if address.is_ipv4() { 32 } else { 128 };
        let length = match prefix {
            None => most,
            Some(digits) if digits.bytes().all(|byte| byte.is_ascii_digit()) => {
                digits.parse().ok().filter(|&length| length <= most).ok_or(BadRange::Prefix)?
            }
            Some(_) => return Err(BadRange::Prefix),
        };
        let mask = mask(length + 128 - most);
        let bits = as_bits(address);
        if bits & !mask == 0 {
            return Ok(Self { bits, mask });
        }
        let meant = match address {
            IpAddr::V4(_) => Ipv6Addr::from(bits & mask).to_ipv4_mapped().map(IpAddr::V4),
            IpAddr::V6(_) => Some(IpAddr::V6(Ipv6Addr::from(bits & mask))),
        };
        Err(BadRange::Host(meant.map_or_else(String::new, |meant| format!("{meant}/{length}"))))
    }

    fn contains(&self, address: IpAddr) -> bool {
        as_bits(address) & self.mask == self.bits
    }
}

/// The address as one of IPv6.
fn as_bits(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => u128::from(address.to_ipv6_mapped()),
        IpAddr::V6(address) => u128::from(address),
    }
}

/// So many ones in front.
fn mask(length: u32) -> u128 {
    u128::MAX.checked_shl(128 - length).unwrap_or(0)
}

/// The bits in front of an IPv4 address that is spelled as one of IPv6.
const V4_BITS: u32 = 96;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::http;

    fn peer(address: &str) -> Peer {
        if address == "unix" { Peer::Unix } else { Peer::ip(address.parse().unwrap()) }
    }

    fn trusted(entries: &[&str]) -> TrustedProxies {
        TrustedProxies::parse(entries.iter().copied()).unwrap()
    }

    #[test]
    fn a_peer_is_trusted_if_it_is_in_a_range() {
        let proxies = trusted(&["10.0.0.0/8", "192.0.2.1", "2001:db8::/32", "::1"]);
        for (address, is_trusted) in [
            ("10.1.2.3", true),
            ("::ffff:10.1.2.3", true),
            ("11.0.0.0", false),
            ("192.0.2.1", true),
            ("192.0.2.2", false),
            ("2001:db8:ffff::1", true),
            ("2001:db9::1", false),
            ("::1", true),
            ("::", false),
            ("unix", false),
        ] {
            assert_eq!(proxies.trusts(peer(address)), is_trusted, "{address}");
        }
        assert!(trusted(&["unix"]).trusts(Peer::Unix));
        assert!(!trusted(&["0.0.0.0/0", "::/0", "unix"]).trusts(Peer::Unknown));
        assert!(trusted(&["0.0.0.0/0"]).trusts_everyone() && trusted(&["::/0"]).trusts_everyone());
        assert!(!trusted(&["10.0.0.0/8", "unix"]).trusts_everyone());
        assert!(!trusted(&["0.0.0.0/0"]).trusts(peer("2001:db8::1")));
    }

    #[test]
    fn what_is_no_range_says_why() {
        for (entry, bad) in [
            ("proxy.example", BadRange::Address),
            ("10.0.0.0.0/8", BadRange::Address),
            ("", BadRange::Address),
            ("10.0.0.0/33", BadRange::Prefix),
            ("10.0.0.0/", BadRange::Prefix),
            ("::/129", BadRange::Prefix),
            ("10.0.0.0/+8", BadRange::Prefix),
            ("10.1.0.0/8", BadRange::Host("10.0.0.0/8".into())),
            ("2001:db8::1/32", BadRange::Host("2001:db8::/32".into())),
        ] {
            assert_eq!(TrustedProxies::parse([entry]), Err(bad), "{entry}");
        }
    }

    #[test]
    fn the_last_address_that_is_no_trusted_proxys_is_the_clients() {
        let trusted = trusted(&["10.0.0.0/8", "unix"]);
        let proxies = Proxies { trusted, field: ForwardedField::XForwardedFor };
        let rfc = Proxies { field: ForwardedField::Forwarded, ..proxies.clone() };
        for (proxies, from, fields, client) in [
            (&proxies, "192.0.2.9", "X-Forwarded-For: 198.51.100.1", "192.0.2.9"),
            (&proxies, "10.0.0.1", "X-Forwarded-For: 198.51.100.1", "198.51.100.1"),
            (&proxies, "unix", "X-Forwarded-For: 198.51.100.1", "198.51.100.1"),
            (&proxies, "10.0.0.1", "X-Forwarded-For: 1.1.1.1, 198.51.100.1, 10.0.0.2", "198.51.100.1"),
            (
                &proxies,
                "10.0.0.1",
                "X-Forwarded-For: 1.1.1.1\r\nX-Forwarded-For: 198.51.100.1",
                "198.51.100.1",
            ),
            (&proxies, "10.0.0.1", "X-Forwarded-For: 10.0.0.3,10.0.0.2", "10.0.0.3"),
            (&proxies, "10.0.0.1", "X-Forwarded-For: 1.1.1.1, nonsense", "10.0.0.1"),
            (&proxies, "10.0.0.1", "X-Forwarded-For: nonsense, 198.51.100.1", "198.51.100.1"),
            (&proxies, "10.0.0.1", "X-Forwarded-For: 1.1.1.1,", "10.0.0.1"),
            (&proxies, "10.0.0.1", "X-Forwarded-For:", "10.0.0.1"),
            (&proxies, "10.0.0.1", "Forwarded: for=198.51.100.1", "10.0.0.1"),
            (&proxies, "unix", "Accept: */*", "unix"),
            (&rfc, "10.0.0.1", "Forwarded: for=198.51.100.1;proto=https, for=10.0.0.2", "198.51.100.1"),
            (&rfc, "10.0.0.1", "Forwarded: for=\"[2001:db8::1]:4711\"", "2001:db8::1"),
            (&rfc, "10.0.0.1", "Forwarded: for=1.1.1.1, for=unknown", "10.0.0.1"),
            (&rfc, "10.0.0.1", "X-Forwarded-For: 1.1.1.1", "10.0.0.1"),
        ] {
            let request = format!("GET / HTTP/1.1\r\nHost: a\r\n{fields}\r\n\r\n");
            let (head, _) = http::parse(request.as_bytes(), 8_192).unwrap().unwrap();
            assert_eq!(proxies.client(peer(from), &head), peer(client), "{from}: {fields}");
        }
    }
}
