//! Where `courier subscribe` finds a courier: `http://host[:port][/path]`.

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerUrl {
    /// A name or an address, without brackets.
    pub host: String,
    pub port: u16,
    /// What stands before `/events`: empty, or the path under which a proxy serves courier.
    pub base_path: String,
}

impl ServerUrl {
    pub fn parse(text: &str) -> Result<Self, String> {
        let wrong = || "write http://host:port, as in http://127.0.0.1:8080".to_owned();
        if text.starts_with("https://") {
            return Err(
                "subscribe speaks plain HTTP only; for https use curl -N 'URL/events?channel=NAME'".into()
            );
        }
        let rest = text.strip_prefix("http://").ok_or_else(wrong)?;
        if !rest.bytes().all(|byte| byte.is_ascii_graphic()) || rest.contains(['@', '?', '#']) {
            return Err(wrong());
        }
        let (authority, path) = rest.find('/').map_or((rest, ""), |at| rest.split_at(at));
        let (host, port) = match authority.strip_prefix('[') {
            Some(rest) => {
                let (host, port) = rest.split_once(']').ok_or_else(wrong)?;
                (host, if port.is_empty() { None } else { Some(port.strip_prefix(':').ok_or_else(wrong)?) })
            }
            None => match authority.split_once(':') {
                Some((host, port)) => (host, Some(port)),
                None => (authority, None),
            },
        };
        let port = match port {
            None => 80,
            Some(port) => port.parse().ok().filter(|port| *port > 0).ok_or_else(wrong)?,
        };
        if host.is_empty() {
            return Err(wrong());
        }
        Ok(Self { host: host.into(), port, base_path: path.trim_end_matches('/').into() })
    }

    /// The `Host` field.
    pub fn authority(&self) -> String {
        match self.host.contains(':') {
            true => format!("[{}]:{}", self.host, self.port),
            false => format!("{}:{}", self.host, self.port),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_servers_are_read() {
        for (text, host, port, base_path, authority) in [
            ("http://127.0.0.1:8080", "127.0.0.1", 8080, "", "127.0.0.1:8080"),
            ("http://courier.example", "courier.example", 80, "", "courier.example:80"),
            ("http://[::1]:8080/", "::1", 8080, "", "[::1]:8080"),
            ("http://[::1]", "::1", 80, "", "[::1]:80"),
            ("http://h:1/live/", "h", 1, "/live", "h:1"),
        ] {
            let url = ServerUrl::parse(text).unwrap();
            assert_eq!((url.host.as_str(), url.port, url.base_path.as_str()), (host, port, base_path));
            assert_eq!(url.authority(), authority);
        }
        for text in [
            "h:80",
            "http://",
            "http://:80",
            "http://h:0",
            "http://h:x",
            "http://u@h",
            "http://h?a",
            "http://a b",
            "http://[::1]80",
        ] {
            assert!(ServerUrl::parse(text).unwrap_err().contains("write http://host:port"), "{text}");
        }
        assert!(ServerUrl::parse("https://h").unwrap_err().contains("plain HTTP only"));
    }
}
