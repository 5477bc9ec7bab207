//! Where the application is asked: `http://host[:port]/path`, or `unix:/path/of.sock:/path` behind a Unix socket.

use std::fmt;
use std::path::PathBuf;

use crate::access::AppAddress;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AppUrl {
    pub address: AppAddress,
    /// Path and query.
    pub target: String,
}

impl AppUrl {
    pub fn parse(text: &str) -> Result<Self, String> {
        match (text.strip_prefix("http://"), text.strip_prefix("unix:")) {
            (Some(rest), _) => Self::parse_tcp(rest),
            (None, Some(rest)) => Self::parse_unix(rest),
            (None, None) if text.starts_with("https://") => Err(
                "courier speaks no TLS to the application: give its plain address, as in http://127.0.0.1:8000/courier, \
                 or run a TLS proxy beside courier and give that one's"
                    .into(),
            ),
            (None, None) => Err(SHAPE.into()),
        }
    }

    /// The Host field of a question.
    pub fn host(&self) -> String {
        match &self.address {
            AppAddress::Tcp { host, port } if host.contains(':') => format!("[{host}]:{port}"),
            AppAddress::Tcp { host, port: 80 } => host.clone(),
            AppAddress::Tcp { host, port } => format!("{host}:{port}"),
            AppAddress::Unix { .. } => "localhost".into(),
        }
    }

    fn parse_tcp(rest: &str) -> Result<Self, String> {
        let (authority, target) = rest.find('/').map_or((rest, ""), |at| rest.split_at(at));
        if authority.contains('@') {
            return Err("a URL with a login is not taken: sign questions with callback.secret_file".into());
        }
        let (host, port) = match authority.strip_prefix('[') {
            Some(rest) => {
                let (host, port) = rest.split_once(']').ok_or(SHAPE)?;
                (host, if port.is_empty() { None } else { Some(port.strip_prefix(':').ok_or(SHAPE)?) })
            }
            None => match authority.split_once(':') {
                Some((_, port)) if port.contains(':') => {
                    return Err("an IPv6 address stands in brackets: http://[::1]:8000/courier".into());
                }
                Some((host, port)) => (host, Some(port)),
                None => (authority, None),
            },
        };
        let is_host = |byte: u8| byte.is_ascii_alphanumeric() || b"-._:".contains(&byte);
        if host.is_empty() || !host.bytes().all(is_host) {
            return Err(SHAPE.into());
        }
        let number = |port: &str| port.parse().ok().filter(|number| *number > 0 && !port.starts_with('+'));
        let port = match port {
            None => 80,
            Some(port) => number(port).ok_or("the port is a number from 1 to 65535")?,
        };
        Ok(Self { address: AppAddress::Tcp { host: host.into(), port }, target: parse_target(target)? })
    }

    fn parse_unix(rest: &str) -> Result<Self, String> {
        let (path, target) = rest.split_once(':').ok_or(UNIX_SHAPE)?;
        if !path.starts_with('/') {
            return Err(UNIX_SHAPE.into());
        }
        if path.len() > UNIX_PATH_BYTES {
            return Err(format!("the path of a Unix socket has at most {UNIX_PATH_BYTES} bytes"));
        }
        Ok(Self { address: AppAddress::Unix { path: PathBuf::from(path) }, target: parse_target(target)? })
    }
}

fn parse_target(target: &str) -> Result<String, String> {
    if target.is_empty() {
        return Err("the path is missing, as in http://127.0.0.1:8000/courier".into());
    }
    if !target.starts_with('/') {
        return Err(SHAPE.into());
    }
    if target.contains('#') || !target.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err("the path has no spaces, no # and nothing beyond ASCII; write other bytes as %XX".into());
    }
    Ok(target.into())
}

impl fmt::Display for AppUrl {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.address {
            AppAddress::Tcp { .. } => write!(formatter, "http://{}{}", self.host(), self.target),
            AppAddress::Unix { path } => write!(formatter, "unix:{}:{}", path.display(), self.target),
        }
    }
}

const SHAPE: &str = "write http://host:port/path, or unix:/run/app.sock:/path for a Unix socket";
const UNIX_SHAPE: &str = "a Unix socket needs an absolute path, a colon and the path to ask for, as in unix:/run/app.sock:/courier";
/// `sun_path` of Linux is 108 bytes with its terminator.
const UNIX_PATH_BYTES: usize = 107;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_read_back_as_they_are_written() {
        for (text, host) in [
            ("http://127.0.0.1:8000/courier", "127.0.0.1:8000"),
            ("http://app.internal/a/b?c=d", "app.internal"),
            ("http://[::1]:8000/", "[::1]:8000"),
            ("unix:/run/app.sock:/courier", "localhost"),
        ] {
            let url = AppUrl::parse(text).unwrap();
            assert_eq!((url.to_string().as_str(), url.host().as_str()), (text, host));
        }
        assert_eq!(AppUrl::parse("http://a:80/x").unwrap().to_string(), "http://a/x");
    }

    #[test]
    fn a_wrong_url_says_what_to_write() {
        for (text, remedy) in [
            ("https://a/x", "courier speaks no TLS to the application"),
            ("a:8000/x", "write http://host:port/path"),
            ("http:///x", "write http://host:port/path"),
            ("http://a b/x", "write http://host:port/path"),
            ("http://a:8000", "the path is missing"),
            ("http://a:0/x", "a number from 1 to 65535"),
            ("http://a:+1/x", "a number from 1 to 65535"),
            ("http://a:65536/x", "a number from 1 to 65535"),
            ("http://::1/x", "stands in brackets"),
            ("http://[::1/x", "write http://host:port/path"),
            ("http://u:p@a/x", "a URL with a login is not taken"),
            ("http://a/x#y", "no spaces, no #"),
            ("http://a/x\r\nHost: b", "no spaces, no #"),
            ("unix:/run/app.sock", "a colon and the path to ask for"),
            ("unix:run/app.sock:/x", "needs an absolute path"),
            ("unix:/run/app.sock:", "the path is missing"),
            ("unix:/run/app.sock:x", "write http://host:port/path"),
        ] {
            let error = AppUrl::parse(text).unwrap_err();
            assert!(error.contains(remedy), "{text}: {error}");
        }
    }
}
