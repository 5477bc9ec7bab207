//! Where a Redis is: `redis://[[user]:password@]host[:port]`.

use std::fmt;
use std::net::SocketAddr;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RedisUrl {
    pub host: String,
    pub port: u16,
    pub user: Option<String>,
    pub password: Option<String>,
}

impl RedisUrl {
    pub fn parse(url: &str) -> Result<Self, String> {
        let rest = url.strip_prefix("redis://").ok_or("only redis:// is supported, without TLS")?;
        let rest = rest.split('/').next().unwrap_or_default(); // PUBLISH does not know databases.
        let (credentials, address) = match rest.rsplit_once('@') {
            Some((credentials, address)) => (Some(credentials), address),
            None => (None, rest),
        };
        let (user, password) = match credentials.map(|text| text.split_once(':').unwrap_or(("", text))) {
            Some((user, password)) => (Some(user), Some(password)),
            None => (None, None),
        };
        let (host, port) = match address.rsplit_once(':') {
            Some((host, port)) => (host, port.parse().map_err(|_| format!("bad port {port:?}"))?),
            None => (address, 6_379),
        };
        if host.is_empty() {
            return Err("no host".to_owned());
        }
        let owned = |text: &str| (!text.is_empty()).then(|| text.to_owned());
        Ok(Self {
            host: host.trim_matches(['[', ']']).to_owned(),
            port,
            user: user.and_then(owned),
            password: password.and_then(owned),
        })
    }

    pub fn local(address: SocketAddr) -> Self {
        Self { host: address.ip().to_string(), port: address.port(), user: None, password: None }
    }
}

impl fmt::Display for RedisUrl {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("redis://")?;
        if let Some(password) = &self.password {
            write!(formatter, "{}:{password}@", self.user.as_deref().unwrap_or_default())?;
        }
        match self.host.contains(':') {
            true => write!(formatter, "[{}]:{}", self.host, self.port),
            false => write!(formatter, "{}:{}", self.host, self.port),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_redis_url_may_have_credentials_and_a_database() {
        let plain = RedisUrl { host: "h".to_owned(), port: 6_379, user: None, password: None };
        assert_eq!(RedisUrl::parse("redis://h"), Ok(plain.clone()));
        assert_eq!(RedisUrl::parse("redis://h:7/2"), Ok(RedisUrl { port: 7, ..plain.clone() }));
        let password = Some("p@:".to_owned());
        assert_eq!(RedisUrl::parse("redis://:p@:@h"), Ok(RedisUrl { password, ..plain.clone() }));
        let (user, password) = (Some("u".to_owned()), Some("p".to_owned()));
        assert_eq!(
            RedisUrl::parse("redis://u:p@[::1]:9").unwrap(),
            RedisUrl { host: "::1".to_owned(), port: 9, user, password }
        );
        for bad in ["rediss://h", "h:6379", "redis://", "redis://h:x"] {
            assert!(RedisUrl::parse(bad).is_err(), "{bad}");
        }
    }
}
