//! Where Redis is and how to log in: `redis://[user[:password]@]host[:port][/database]` or
//! `unix://[user[:password]@]/path[?db=database]`, as redis-py and the others write it.

use std::fmt;
use std::path::PathBuf;

use crate::base::secret::Secret;
use crate::reader::RedisAddress;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RedisUrl {
    pub address: RedisAddress,
    /// `None`: the default user.
    pub user: Option<String>,
    pub password: Option<Secret>,
    pub database: u32,
}

impl RedisUrl {
    /// The URL in its parts, or the sentence that says what to write. A port alone is none: Redis's is 6379.
    pub fn parse(text: &str) -> Result<Self, String> {
        if text.starts_with("rediss://") {
            return Err("courier speaks no TLS to Redis: run a TLS proxy such as stunnel beside it and give its plain \
                        address, as in redis://127.0.0.1:6379"
                .into());
        }
        if let Some(rest) = text.strip_prefix("redis://") {
            return Self::parse_tcp(rest);
        }
        match text.strip_prefix("unix://") {
            Some(rest) => Self::parse_unix(rest),
            None => Err("not a Redis URL: write redis://host:6379 or unix:///path/to/redis.sock".into()),
        }
    }

    fn parse_tcp(rest: &str) -> Result<Self, String> {
        if rest.contains(['?', '#']) {
            return Err(
                "a redis:// URL takes no parameters: write redis://user:password@host:port/database \
                        (in a password, percent-encode ? as %3F and # as %23)"
                    .into(),
            );
        }
        // The last @ ends the login: some write passwords with a plain @ in them, and a host has none.
        let (login, address) = match rest.rsplit_once('@') {
            Some((login, address)) => (Some(login), address),
            None => (None, rest),
        };
        let (user, password) = parse_login(login)?;
        let (place, database) = match address.split_once('/') {
            Some((address, database)) => (address, parse_database(database)?),
            None => (address, 0),
        };
        let (host, port) = split_port(place)?;
        if host.is_empty() {
            return Err("the host is missing, as in redis://127.0.0.1:6379".into());
        }
        Ok(Self { address: RedisAddress::Tcp { host: host.into(), port }, user, password, database })
    }

    fn parse_unix(rest: &str) -> Result<Self, String> {
        let (address, query) = rest.split_once('?').unwrap_or((rest, ""));
        let Some(at) = address.find('/') else {
            return Err(
                "a Unix socket needs an absolute path: unix:///path/to/redis.sock (three slashes)".into()
            );
        };
        let (login, path) = address.split_at(at);
        let login = match login.strip_suffix('@') {
            Some(login) => Some(login),
            None if login.is_empty() => None,
            None => {
                return Err(
                    "a Unix socket needs an absolute path: unix:///path/to/redis.sock (three slashes)".into(),
                );
            }
        };
        let (user, password) = parse_login(login)?;
        let database = match query.strip_prefix("db=") {
            Some(database) => parse_database(database)?,
            None if query.is_empty() => 0,
            None => return Err("a unix:// URL takes one parameter, the database: ?db=0".into()),
        };
        Ok(Self {
            address: RedisAddress::Unix { path: PathBuf::from(percent_decode(path)?) },
            user,
            password,
            database,
        })
    }
}

/// Without the password; what a log line and `--print-config` show.
impl fmt::Display for RedisUrl {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let login = match (&self.user, &self.password) {
            (None, None) => String::new(),
            (user, None) => format!("{}@", user.as_deref().unwrap_or("")),
            (user, Some(_)) => format!("{}:***@", user.as_deref().unwrap_or("")),
        };
        match &self.address {
            RedisAddress::Tcp { host, port } if host.contains(':') => {
                write!(formatter, "redis://{login}[{host}]:{port}")?
            }
            RedisAddress::Tcp { host, port } => write!(formatter, "redis://{login}{host}:{port}")?,
            RedisAddress::Unix { path } => write!(formatter, "unix://{login}{}", path.display())?,
        }
        match (&self.address, self.database) {
            (_, 0) => Ok(()),
            (RedisAddress::Tcp { .. }, database) => write!(formatter, "/{database}"),
            (RedisAddress::Unix { .. }, database) => write!(formatter, "?db={database}"),
        }
    }
}

/// `user:password`, `:password` or `user`, percent-decoded.
fn parse_login(login: Option<&str>) -> Result<(Option<String>, Option<Secret>), String> {
    let Some(login) = login else { return Ok((None, None)) };
    let (user, password) = match login.split_once(':') {
        Some((user, password)) => (user, Some(password)),
        None => (login, None),
    };
    let user = if user.is_empty() { None } else { Some(percent_decode(user)?) };
    let password = match password {
        None | Some("") => None,
        Some(password) => Some(Secret::new(percent_decode(password)?)),
    };
    Ok((user, password))
}

fn split_port(address: &str) -> Result<(&str, u16), String> {
    let (host, port) = match address.strip_prefix('[') {
        Some(rest) => {
            let (host, port) =
                rest.split_once(']').ok_or("an IPv6 address stands in brackets: redis://[::1]:6379")?;
            (host, port.strip_prefix(':').or_else(|| port.is_empty().then_some("")))
        }
        None => match address.split_once(':') {
            Some((_, port)) if port.contains(':') => {
                return Err("an IPv6 address stands in brackets: redis://[::1]:6379".into());
            }
            Some((host, port)) => (host, Some(port)),
            None => (address, Some("")),
        },
    };
    match port {
        Some("") => Ok((host, REDIS_PORT)),
        Some(digits) if !digits.starts_with('+') => match digits.parse() {
            Ok(port) if port > 0 => Ok((host, port)),
            Ok(_) | Err(_) => Err("the port is a number from 1 to 65535".into()),
        },
        Some(_) | None => Err("the port is a number from 1 to 65535".into()),
    }
}

fn parse_database(text: &str) -> Result<u32, String> {
    if text.is_empty() {
        return Ok(0);
    }
    text.parse()
        .ok()
        .filter(|_| !text.starts_with('+'))
        .ok_or_else(|| "the database is a number, as in redis://host:6379/0".into())
}

fn percent_decode(text: &str) -> Result<String, String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [byte, tail @ ..] = rest {
        match (byte, tail) {
            (b'%', [high, low, tail @ ..]) if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() => {
                bytes.push(hex_digit(*high) << 4 | hex_digit(*low));
                rest = tail;
            }
            (b'%', _) => {
                return Err("a % stands before two hexadecimal digits; write a plain % as %25".into());
            }
            (byte, tail) => {
                bytes.push(*byte);
                rest = tail;
            }
        }
    }
    String::from_utf8(bytes).map_err(|_| "user, password and path are UTF-8 after percent-decoding".into())
}

fn hex_digit(digit: u8) -> u8 {
    match digit {
        b'0'..=b'9' => digit - b'0',
        _ => (digit | 0x20) - b'a' + 10,
    }
}

const REDIS_PORT: u16 = 6379;

#[cfg(test)]
mod tests {
    use super::*;

    fn tcp(host: &str, port: u16, user: Option<&str>, password: Option<&str>, database: u32) -> RedisUrl {
        RedisUrl {
            address: RedisAddress::Tcp { host: host.into(), port },
            user: user.map(str::to_owned),
            password: password.map(|password| Secret::new(password.into())),
            database,
        }
    }

    #[test]
    fn urls_are_read_as_other_clients_read_them() {
        for (text, expected) in [
            ("redis://h", tcp("h", 6379, None, None, 0)),
            ("redis://h:1", tcp("h", 1, None, None, 0)),
            ("redis://h/", tcp("h", 6379, None, None, 0)),
            ("redis://h:1/7", tcp("h", 1, None, None, 7)),
            ("redis://[::1]", tcp("::1", 6379, None, None, 0)),
            ("redis://[::1]:5/2", tcp("::1", 5, None, None, 2)),
            ("redis://u@h", tcp("h", 6379, Some("u"), None, 0)),
            ("redis://u:p@h", tcp("h", 6379, Some("u"), Some("p"), 0)),
            ("redis://:p@h", tcp("h", 6379, None, Some("p"), 0)),
            ("redis://u:p%40%2f%3F:x@h", tcp("h", 6379, Some("u"), Some("p@/?:x"), 0)),
            ("redis://u:p@q@h", tcp("h", 6379, Some("u"), Some("p@q"), 0)),
        ] {
            assert_eq!(RedisUrl::parse(text).unwrap(), expected, "{text}");
        }
        let unix = RedisUrl::parse("unix://u:p@/run/redis.sock?db=3").unwrap();
        assert_eq!(unix.address, RedisAddress::Unix { path: "/run/redis.sock".into() });
        assert_eq!(
            (unix.user.as_deref(), unix.password, unix.database),
            (Some("u"), Some(Secret::new("p".into())), 3)
        );
        assert_eq!(RedisUrl::parse("unix:///r.sock").unwrap().database, 0);
    }

    #[test]
    fn a_wrong_url_says_what_to_write() {
        for (text, remedy) in [
            ("rediss://h", "run a TLS proxy such as stunnel"),
            ("h:6379", "write redis://host:6379"),
            ("http://h", "write redis://host:6379"),
            ("redis://", "the host is missing"),
            ("redis://:p@", "the host is missing"),
            ("redis://h:0", "a number from 1 to 65535"),
            ("redis://h:65536", "a number from 1 to 65535"),
            ("redis://h:+1", "a number from 1 to 65535"),
            ("redis://[::1]x", "a number from 1 to 65535"),
            ("redis://::1", "stands in brackets"),
            ("redis://[::1", "stands in brackets"),
            ("redis://h/x", "the database is a number"),
            ("redis://h?db=1", "takes no parameters"),
            ("redis://:%zz@h", "write a plain % as %25"),
            ("redis://:%ff@h", "UTF-8 after percent-decoding"),
            ("unix://run/x", "three slashes"),
            ("unix://x", "three slashes"),
            ("unix:///x?database=1", "?db=0"),
        ] {
            let error = RedisUrl::parse(text).unwrap_err();
            assert!(error.contains(remedy), "{text}: {error}");
        }
    }

    #[test]
    fn a_url_is_shown_without_its_password() {
        for (text, shown) in [
            ("redis://u:secret@h:1/2", "redis://u:***@h:1/2"),
            ("redis://:secret@h", "redis://:***@h:6379"),
            ("redis://[::1]", "redis://[::1]:6379"),
            ("unix:///x?db=2", "unix:///x?db=2"),
        ] {
            let url = RedisUrl::parse(text).unwrap();
            assert_eq!(url.to_string(), shown);
            assert!(!format!("{url:?}").contains("secret"));
        }
    }
}
