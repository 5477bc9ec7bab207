//! Where a side listens: a TCP address or a Unix socket.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ListenAddress {
    Tcp(SocketAddr),
    Unix {
        path: PathBuf,
        /// The socket file's permissions; without one, those that the umask leaves.
        mode: Option<u32>,
    },
}

impl ListenAddress {
    /// `127.0.0.1:8080`, `[::]:8080`, `localhost:8080`, `unix:/run/x.sock`, `unix:/run/x.sock,mode=0660`; otherwise the
    /// sentence that says what to write. Names are not looked up: a listener belongs to an address, not to a name.
    pub fn parse(text: &str) -> Result<Self, String> {
        match text.strip_prefix("unix:") {
            Some(rest) => Self::parse_unix(rest),
            None => Self::parse_tcp(text),
        }
    }

    /// True if nobody on another machine can reach it.
    pub fn is_local(&self) -> bool {
        match self {
            Self::Tcp(address) => address.ip().to_canonical().is_loopback(),
            Self::Unix { .. } => true,
        }
    }

    fn parse_tcp(text: &str) -> Result<Self, String> {
        if let Ok(address) = text.parse() {
            return Ok(Self::Tcp(address));
        }
        if let Some(port) = text.strip_prefix("localhost:").and_then(|port| port.parse().ok()) {
            return Ok(Self::Tcp(SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port)));
        }
        let port = text.rsplit(':').next().unwrap_or(text);
        if text.parse::<IpAddr>().is_ok() {
            return Err(format!("the port is missing, as in {}", SocketAddr::new(loopback(text), 8080)));
        }
        if port.parse::<u16>().is_ok() && (text == port || text.len() == port.len() + 1) {
            return Err(format!(
                "write 127.0.0.1:{port} for this machine only, or [::]:{port} for every interface"
            ));
        }
        Err("not an address: write an IP address and a port as in 127.0.0.1:8080 or [::]:8080, or unix:/path"
            .into())
    }

    fn parse_unix(rest: &str) -> Result<Self, String> {
        let (path, mode) = match rest.split_once(',') {
            None => (rest, None),
            Some((path, options)) => (path, Some(socket_mode(options)?)),
        };
        if !path.starts_with('/') {
            return Err("a Unix socket needs an absolute path, as in unix:/run/courier.sock".into());
        }
        if path.len() > UNIX_PATH_BYTES {
            return Err(format!("the path of a Unix socket has at most {UNIX_PATH_BYTES} bytes"));
        }
        Ok(Self::Unix { path: PathBuf::from(path), mode })
    }
}

impl fmt::Display for ListenAddress {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => write!(formatter, "{address}"),
            Self::Unix { path, mode: None } => write!(formatter, "unix:{}", path.display()),
            Self::Unix { path, mode: Some(mode) } => {
                write!(formatter, "unix:{},mode={mode:04o}", path.display())
            }
        }
    }
}

fn socket_mode(options: &str) -> Result<u32, String> {
    options
        .strip_prefix("mode=")
        .filter(|digits| digits.len() <= 4)
        .and_then(|digits| u32::from_str_radix(digits, 8).ok())
        .filter(|mode| *mode <= 0o777)
        .ok_or_else(|| "after the path only ,mode= and octal permissions may follow, as in ,mode=0660".into())
}

fn loopback(text: &str) -> IpAddr {
    text.parse().unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST))
}

/// `sun_path` of Linux is 108 bytes with its terminator.
const UNIX_PATH_BYTES: usize = 107;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_read_back_as_they_are_written() {
        for (text, local) in [
            ("127.0.0.1:8080", true),
            ("127.9.9.9:0", true),
            ("[::1]:8080", true),
            ("[::ffff:127.0.0.1]:80", true),
            ("[::]:8080", false),
            ("0.0.0.0:8080", false),
            ("192.0.2.1:80", false),
            ("unix:/run/x.sock", true),
            ("unix:/run/x.sock,mode=0660", true),
        ] {
            let address = ListenAddress::parse(text).unwrap();
            assert_eq!((address.to_string().as_str(), address.is_local()), (text, local));
        }
        assert_eq!(ListenAddress::parse("localhost:80"), ListenAddress::parse("127.0.0.1:80"));
    }

    #[test]
    fn a_wrong_address_says_what_to_write() {
        for (text, remedy) in [
            ("8080", "write 127.0.0.1:8080 for this machine only, or [::]:8080 for every interface"),
            (":8080", "write 127.0.0.1:8080 for this machine only, or [::]:8080 for every interface"),
            ("127.0.0.1", "the port is missing, as in 127.0.0.1:8080"),
            ("::1", "the port is missing, as in [::1]:8080"),
            ("host:99999", "not an address: write an IP address and a port"),
            ("http://127.0.0.1:8080", "not an address: write an IP address and a port"),
            ("", "not an address: write an IP address and a port"),
            ("unix:x.sock", "a Unix socket needs an absolute path"),
            ("unix:/x,mode=0999", "octal permissions may follow, as in ,mode=0660"),
            ("unix:/x,owner=me", "octal permissions may follow, as in ,mode=0660"),
        ] {
            let error = ListenAddress::parse(text).unwrap_err();
            assert!(error.contains(remedy), "{text}: {error}");
        }
        assert!(ListenAddress::parse(&format!("unix:/{}", "x".repeat(107))).is_err());
    }
}
