//! Which pages' origins may read the streams: everyone's, or a list of origins and of patterns for subdomains.
//!
//! An origin is compared as a browser serialises it (RFC 6454, section 6.2): scheme, host and port, default port left
//! out. Anything else, `null` among it, is on no list.

/// The policy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AllowedOrigins {
    /// Every page may read, without credentials.
    Any,
    Listed(Vec<OriginPattern>),
}

/// One entry of the list: `https://example.org`, or `https://*.example.org` for every host below it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OriginPattern {
    scheme: String,
    host: HostPattern,
    port: Option<u16>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum HostPattern {
    Exact(String),
    /// With its leading dot.
    Below(String),
}

/// Why a text is no entry of the list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BadOrigin {
    /// `*` stands among others: it would make them meaningless.
    AnyAmongOthers,
    /// Not `http://` or `https://`.
    Scheme,
    /// A path, a query, user information, or a host that is none.
    Host,
    /// Not a number from 1 to 65535.
    Port,
}

impl AllowedOrigins {
    /// Reads the entries as an operator writes them. No entry at all is a list that allows no other origin.
    pub fn parse<'a>(entries: impl IntoIterator<Item = &'a str>) -> Result<Self, BadOrigin> {
        let entries: Vec<&str> = entries.into_iter().map(str::trim).collect();
        match entries[..] {
            ["*"] => Ok(Self::Any),
            _ if entries.contains(&"*") => Err(BadOrigin::AnyAmongOthers),
            _ => entries.into_iter().map(OriginPattern::parse).collect::<Result<_, _>>().map(Self::Listed),
        }
    }

    /// Whether a page of this origin may read.
    pub fn allows(&self, origin: &[u8]) -> bool {
        *self == Self::Any || self.lists(origin)
    }

    /// Whether this origin is on a list, so that the operator means it and not everyone.
    pub fn lists(&self, origin: &[u8]) -> bool {
        match self {
            Self::Any => false,
            Self::Listed(patterns) => {
                Origin::parse(origin).is_some_and(|origin| patterns.iter().any(|one| one.matches(&origin)))
            }
        }
    }
}

/// Whether a page of `origin` was served under `host`, a Host field: the request is not cross-origin.
pub fn is_same_host(origin: &[u8], host: &[u8]) -> bool {
    let Some(origin) = Origin::parse(origin) else { return false };
    let Ok(host) = std::str::from_utf8(host) else { return false };
    let Some((name, port)) = split_port(host) else { return false };
    origin.host == name.to_ascii_lowercase() && origin.port == port.or_else(|| default_port(&origin.scheme))
}

impl OriginPattern {
    fn parse(entry: &str) -> Result<Self, BadOrigin> {
        let (scheme, rest) = entry.split_once("://").ok_or(BadOrigin::Scheme)?;
        let scheme = scheme.to_ascii_lowercase();
        if default_port(&scheme).is_none() {
            return Err(BadOrigin::Scheme);
        }
        let (host, port) = split_port(rest).ok_or(BadOrigin::Port)?;
        let host = host.to_ascii_lowercase();
        let host = match host.strip_prefix('*') {
            Some(below) if below.starts_with('.') && is_host(&below[1..]) => {
                HostPattern::Below(below.to_owned())
            }
            None if is_host(&host) => HostPattern::Exact(host),
            Some(_) | None => return Err(BadOrigin::Host),
        };
        let port = port.or_else(|| default_port(&scheme));
        Ok(Self { scheme, host, port })
    }

    fn matches(&self, origin: &Origin) -> bool {
        self.scheme == origin.scheme
            && self.port == origin.port
            && match &self.host {
                HostPattern::Exact(host) => *host == origin.host,
                HostPattern::Below(suffix) => {
                    origin.host.len() > suffix.len() && origin.host.ends_with(suffix.as_str())
                }
            }
    }
}

/// An Origin field, lowercase, with its port filled in.
struct Origin {
    scheme: String,
    host: String,
    port: Option<u16>,
}

impl Origin {
    fn parse(origin: &[u8]) -> Option<Self> {
        let (scheme, rest) = std::str::from_utf8(origin).ok()?.split_once("://")?;
        let scheme = scheme.to_ascii_lowercase();
        let (host, port) = split_port(rest)?;
        if !is_host(host) {
            return None;
        }
        let port = port.or_else(|| default_port(&scheme));
        Some(Self { scheme, host: host.to_ascii_lowercase(), port })
    }
}

/// Host and port of an authority; the colons inside `[..]` are the address's own. None if the port is no port.
fn split_port(authority: &str) -> Option<(&str, Option<u16>)> {
    let host_end = if authority.starts_with('[') { authority.find(']')? + 1 } else { 0 };
    match authority[host_end..].split_once(':') {
        None => Some((authority, None)),
        Some((before, port)) => {
            let digits = !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit());
            let port = port.parse().ok().filter(|&port| digits && port > 0)?;
            Some((&authority[..host_end + before.len()], Some(port)))
        }
    }
}

fn default_port(scheme: &str) -> Option<u16> {
    match scheme {
        "http" => Some(80),
        "https" => Some(443),
        _ => None,
    }
}

/// A name, an IPv4 address, or an IPv6 address in brackets. Names in other scripts come as punycode.
fn is_host(host: &str) -> bool {
    let inner = host.strip_prefix('[').and_then(|inner| inner.strip_suffix(']'));
    match inner {
        Some(address) => address.parse::<std::net::Ipv6Addr>().is_ok(),
        None => {
            !host.is_empty()
                && !host.starts_with('.')
                && host.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._".contains(&byte))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_is_of_exact_origins_and_of_subdomains() {
        let origins = AllowedOrigins::parse([
            "https://example.org",
            "https://*.example.org",
            "http://localhost:3000",
            "http://[::1]:3000",
        ])
        .unwrap();
        for (origin, allowed) in [
            ("https://example.org", true),
            ("https://example.org:443", true),
            ("HTTPS://Example.ORG", true),
            ("https://a.example.org", true),
            ("https://a.b.example.org", true),
            ("http://localhost:3000", true),
            ("http://[::1]:3000", true),
            ("http://example.org", false),
            ("https://example.org:8443", false),
            ("https://.example.org", false),
            ("https://badexample.org", false),
            ("https://example.org.evil.com", false),
            ("https://evil.com/.example.org", false),
            ("https://evil.com?.example.org", false),
            ("https://evil.com@a.example.org", false),
            ("http://localhost:3001", false),
            ("http://localhost", false),
            ("null", false),
            ("", false),
            ("https://", false),
            ("https://[::1", false),
            ("https://example.org:0443x", false),
        ] {
            assert_eq!(origins.allows(origin.as_bytes()), allowed, "{origin}");
        }
        assert!(!origins.allows(b"https://\xff.example.org"));
    }

    #[test]
    fn a_star_alone_allows_every_origin() {
        assert_eq!(AllowedOrigins::parse(["*"]), Ok(AllowedOrigins::Any));
        assert!(AllowedOrigins::Any.allows(b"null"));
        assert!(!AllowedOrigins::parse([]).unwrap().allows(b"https://example.org"));
    }

    #[test]
    fn an_entry_that_could_never_match_is_an_error() {
        for (entry, error) in [
            ("example.org", BadOrigin::Scheme),
            ("ftp://example.org", BadOrigin::Scheme),
            ("https://example.org/", BadOrigin::Host),
            ("https://*", BadOrigin::Host),
            ("https://*.", BadOrigin::Host),
            ("https://a*.example.org", BadOrigin::Host),
            ("https://a.*.org", BadOrigin::Host),
            ("https://", BadOrigin::Host),
            ("https://user@example.org", BadOrigin::Host),
            ("https://example.org:0", BadOrigin::Port),
            ("https://example.org:99999", BadOrigin::Port),
            ("https://example.org:", BadOrigin::Port),
        ] {
            assert_eq!(AllowedOrigins::parse([entry]), Err(error), "{entry}");
        }
        assert_eq!(AllowedOrigins::parse(["*", "https://a.org"]), Err(BadOrigin::AnyAmongOthers));
    }

    #[test]
    fn a_page_served_under_the_host_it_asks_is_of_the_same_host() {
        for (origin, host, same) in [
            ("http://localhost:8080", "localhost:8080", true),
            ("http://LOCALHOST:8080", "localhost:8080", true),
            ("http://localhost", "localhost", true),
            ("http://localhost", "localhost:80", true),
            ("https://example.org", "example.org", true),
            ("http://[::1]:8080", "[::1]:8080", true),
            ("http://localhost:8080", "localhost:8081", false),
            ("http://localhost:8080", "127.0.0.1:8080", false),
            ("http://evil.com", "localhost:8080", false),
            ("null", "localhost:8080", false),
            ("http://localhost:8080", "", false),
        ] {
            assert_eq!(is_same_host(origin.as_bytes(), host.as_bytes()), same, "{origin} at {host}");
        }
    }
}
