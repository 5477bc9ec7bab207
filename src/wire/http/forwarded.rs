//! For whom a proxy asks: the addresses in `X-Forwarded-For`, and in `Forwarded` (RFC 7239).
//!
//! One entry for each hop, in the order of the field, and none in the place of an entry that is no address (`unknown`, a
//! hidden name, nonsense). Whom to believe is not decided here.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use smallvec::SmallVec;

/// The entries of all lines of the field.
pub type Hops = SmallVec<[Option<IpAddr>; 4]>;

/// A list of addresses, each with or without a port.
pub fn x_forwarded_for(lines: &[&[u8]]) -> Hops {
    lines.iter().flat_map(|line| line.split(|&byte| byte == b',')).map(address).collect()
}

/// `for=192.0.2.1;proto=https, for="[2001:db8::1]:4711"`. A line that is not well-formed is one unreadable entry, so that
/// a quote that a client opened cannot swallow what a proxy added.
pub fn forwarded(lines: &[&[u8]]) -> Hops {
    let mut hops = Hops::new();
    for line in lines {
        match forwarded_line(line) {
            Some(read) => hops.extend(read),
            None => hops.push(None),
        }
    }
    hops
}

fn forwarded_line(line: &[u8]) -> Option<Hops> {
    let mut hops = Hops::new();
    let mut rest = line;
    loop {
        let (hop, behind) = forwarded_element(rest)?;
        hops.push(hop);
        match behind {
            Some(behind) => rest = behind,
            None => return Some(hops),
        }
    }
}

/// The address of one element, and what follows its comma, if there is one.
#[allow(clippy::type_complexity)] // A name would say no more.
fn forwarded_element(mut rest: &[u8]) -> Option<(Option<IpAddr>, Option<&[u8]>)> {
    let mut hop = None;
    loop {
        rest = rest.trim_ascii_start();
        let name_end = rest.iter().position(|&byte| b"=,;".contains(&byte)).unwrap_or(rest.len());
        let (name, behind) = rest.split_at(name_end);
        if let [b'=', behind @ ..] = behind {
            let (value, after) = value(behind)?;
            if name.trim_ascii().eq_ignore_ascii_case(b"for") {
                hop = address(&value);
            }
            rest = after.trim_ascii_start();
        } else if name.trim_ascii().is_empty() {
            rest = behind;
        } else {
            return None;
        }
        match rest {
            [] => return Some((hop, None)),
            [b';', behind @ ..] => rest = behind,
            [b',', behind @ ..] => return Some((hop, Some(behind))),
            [..] => return None,
        }
    }
}

/// A token or a quoted string, and what is behind it.
fn value(bytes: &[u8]) -> Option<(SmallVec<[u8; 64]>, &[u8])> {
    let [b'"', quoted @ ..] = bytes else {
        let end = bytes.iter().position(|byte| b",; \t".contains(byte)).unwrap_or(bytes.len());
        return Some((SmallVec::from_slice(&bytes[..end]), &bytes[end..]));
    };
    let (mut value, mut rest) = (SmallVec::new(), quoted);
    loop {
        match rest {
            [b'"', behind @ ..] => return Some((value, behind)),
            [b'\\', byte, behind @ ..] | [byte, behind @ ..] => {
                value.push(*byte);
                rest = behind;
            }
            [] => return None,
        }
    }
}

/// `192.0.2.1`, `192.0.2.1:4711`, `2001:db8::1`, `[2001:db8::1]`, `[2001:db8::1]:4711`.
fn address(entry: &[u8]) -> Option<IpAddr> {
    let entry = std::str::from_utf8(entry).ok()?.trim_ascii();
    if let Some(bracketed) = entry.strip_prefix('[') {
        let (address, port) = bracketed.split_once(']')?;
        return is_port_or_nothing(port).then(|| address.parse::<Ipv6Addr>().ok())?.map(IpAddr::V6);
    }
    if let Ok(address) = entry.parse() {
        return Some(address);
    }
    let (address, port) = entry.split_once(':')?;
    let is_port = !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit());
    is_port.then(|| address.parse::<Ipv4Addr>().ok())?.map(IpAddr::V4)
}

fn is_port_or_nothing(text: &str) -> bool {
    match text.strip_prefix(':') {
        Some(port) => !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit()),
        None => text.is_empty(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(hops: &Hops) -> String {
        let hops: Vec<String> = hops
            .iter()
            .map(|hop| hop.map_or_else(|| "-".to_owned(), |address| address.to_string()))
            .collect();
        hops.join(" ")
    }

    #[test]
    fn x_forwarded_for_is_a_list_of_addresses() {
        for (line, hops) in [
            ("192.0.2.1", "192.0.2.1"),
            ("192.0.2.1, 198.51.100.2:4711 ,2001:db8::1", "192.0.2.1 198.51.100.2 2001:db8::1"),
            ("[2001:db8::1]:4711,[2001:db8::2]", "2001:db8::1 2001:db8::2"),
            ("unknown, 192.0.2.1", "- 192.0.2.1"),
            ("192.0.2.1,,192.0.2.2", "192.0.2.1 - 192.0.2.2"),
            ("192.0.2.1:x", "-"),
            ("192.0.2.1:", "-"),
            ("[2001:db8::1", "-"),
            ("[2001:db8::1]x", "-"),
            ("[192.0.2.1]", "-"),
            ("fe80::1%eth0", "-"),
            ("192.0.2.01", "-"),
            ("", "-"),
        ] {
            assert_eq!(shown(&x_forwarded_for(&[line.as_bytes()])), hops, "{line}");
        }
        assert_eq!(shown(&x_forwarded_for(&[b"\xff"])), "-");
        assert_eq!(shown(&x_forwarded_for(&[])), "");
    }

    #[test]
    fn forwarded_is_a_list_of_parameters() {
        for (line, hops) in [
            ("for=192.0.2.1", "192.0.2.1"),
            ("For=192.0.2.1;proto=https;by=203.0.113.43", "192.0.2.1"),
            ("for=192.0.2.1, for=198.51.100.2", "192.0.2.1 198.51.100.2"),
            ("for=\"[2001:db8::1]:4711\" ; host=a", "2001:db8::1"),
            ("for=\"192.0.2.1:80\"", "192.0.2.1"),
            ("for=\"192.\\0.2.1\"", "192.0.2.1"),
            ("proto=https", "-"),
            ("for=unknown,for=_hidden,for=192.0.2.1", "- - 192.0.2.1"),
            ("by=\"a,for=1.1.1.1\",for=192.0.2.1", "- 192.0.2.1"),
            ("for=\"1.1.1.1, for=192.0.2.1", "-"),
            ("for=192.0.2.1 x, for=192.0.2.2", "-"),
            ("nonsense", "-"),
            ("", "-"),
        ] {
            assert_eq!(shown(&forwarded(&[line.as_bytes()])), hops, "{line}");
        }
        assert_eq!(shown(&forwarded(&[b"for=\"1.1.1.1", b"for=192.0.2.1"])), "- 192.0.2.1");
    }
}
