//! `http://host[:port][/path]`, as much of a URL as a target has.

use std::fmt;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HttpUrl {
    pub host: String,
    pub port: u16,
    pub path: String,
}

impl HttpUrl {
    pub fn parse(url: &str) -> Result<Self, String> {
        let rest = url.strip_prefix("http://").ok_or(
            "only http:// is supported: for HTTPS measure the plain port behind what terminates TLS",
        )?;
        let (authority, path) = rest.find('/').map_or((rest, "/"), |slash| rest.split_at(slash));
        let (host, port) = match authority.rsplit_once(':') {
            Some((host, port)) if !port.ends_with(']') => {
                (host, port.parse().map_err(|_| format!("bad port {port:?}"))?)
            }
            _ => (authority, 80),
        };
        match host.trim_matches(['[', ']']) {
            "" => Err("no host".to_owned()),
            host => Ok(Self { host: host.to_owned(), port, path: path.to_owned() }),
        }
    }

    /// What stands in a `Host` header.
    pub fn authority(&self) -> String {
        let Self { host, port, .. } = self;
        if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
    }
}

/// For a query: everything but unreserved characters (RFC 3986, section 2.3).
pub fn percent_encoded(text: &str) -> String {
    let mut encoded = String::new();
    for &byte in text.as_bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                encoded.push(char::from(byte));
            }
            _ => encoded.push_str(&format!("%{byte:02X}")),
        }
    }
    encoded
}

impl fmt::Display for HttpUrl {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "http://{}{}", self.authority(), self.path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn host_port_and_path_have_their_defaults() {
        for (url, authority, path) in [
            ("http://a", "a:80", "/"),
            ("http://a:8080/x?y", "a:8080", "/x?y"),
            ("http://[::1]", "[::1]:80", "/"),
            ("http://[::1]:81/", "[::1]:81", "/"),
        ] {
            let parsed = HttpUrl::parse(url).unwrap();
            assert_eq!((parsed.authority().as_str(), parsed.path.as_str()), (authority, path), "{url}");
        }
        for bad in ["https://a", "a:80", "http://", "http://a:x"] {
            assert!(HttpUrl::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_channel_is_escaped_in_a_query() {
        assert_eq!(percent_encoded("news.sport/ü &"), "news.sport%2F%C3%BC%20%26");
    }
}
