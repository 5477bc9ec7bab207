//! Publishes messages the way an application does: RESP `PUBLISH` to a Redis, or to the server's own broker.

use std::fmt;
use std::io::{self, Write};
use std::net::{SocketAddr, TcpStream, ToSocketAddrs};
use std::time::Duration;

use crate::payload::{Payload, Stamp};
use crate::sys;
use crate::trouble::Trouble;

/// Where to publish: `redis://[[user]:password@]host[:port]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RedisUrl {
    pub host: String,
    pub port: u16,
    pub user: Option<String>,
    pub password: Option<String>,
}

#[derive(Debug)]
pub struct Publisher {
    stream: TcpStream,
    channel: String,
    payload: Payload,
    /// Scratch for one payload and one command.
    message: Vec<u8>,
    command: Vec<u8>,
    /// Replies that have not been looked at to their end.
    replies: Vec<u8>,
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

impl Publisher {
    pub fn connect(url: &RedisUrl, channel: &str, payload: Payload) -> Result<Self, Trouble> {
        let failed = |error: &dyn fmt::Display| {
            Trouble::Publish(format!("cannot publish to {}:{}: {error}", url.host, url.port))
        };
        let mut addresses =
            (url.host.as_str(), url.port).to_socket_addrs().map_err(|error| failed(&error))?;
        let address = addresses.next().ok_or_else(|| failed(&"no such host"))?;
        let stream = TcpStream::connect_timeout(&address, PATIENCE).map_err(|error| failed(&error))?;
        stream.set_nodelay(true).map_err(|error| failed(&error))?;
        stream.set_write_timeout(Some(PATIENCE)).map_err(|error| failed(&error))?;
        let mut publisher = Self {
            stream,
            channel: channel.to_owned(),
            payload,
            message: Vec::new(),
            command: Vec::new(),
            replies: Vec::new(),
        };
        if let Some(password) = &url.password {
            let mut words: Vec<&[u8]> = vec![b"AUTH"];
            words.extend(url.user.as_ref().map(|user| user.as_bytes()));
            words.push(password.as_bytes());
            encode(&words, &mut publisher.command);
            publisher.send()?;
        }
        Ok(publisher)
    }

    /// Sends one message, and looks at the replies that have come so far without waiting for more.
    pub fn publish(&mut self, stamp: Stamp) -> Result<(), Trouble> {
        self.message.clear();
        self.payload.write(stamp, &mut self.message);
        self.command.clear();
        encode(&[b"PUBLISH", self.channel.as_bytes(), &self.message], &mut self.command);
        self.send()?;
        self.look_at_replies()
    }

    /// An error reply of the broker, if one has come.
    pub fn look_at_replies(&mut self) -> Result<(), Trouble> {
        let mut bytes = [0; 16_384];
        loop {
            match sys::receive_now(&self.stream, &mut bytes) {
                Ok(0) => return Err(Trouble::Publish("the broker closed the connection".to_owned())),
                Ok(count) => self.replies.extend_from_slice(&bytes[..count]),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => return Err(Trouble::System { doing: "read the broker's replies", error }),
            }
        }
        while let Some(end) = self.replies.iter().position(|&byte| byte == b'\n') {
            let line: Vec<u8> = self.replies.drain(..=end).collect();
            if !matches!(line.first(), Some(b':' | b'+')) {
                let line = String::from_utf8_lossy(&line);
                return Err(Trouble::Publish(format!("the broker answered {:?}", line.trim())));
            }
        }
        Ok(())
    }

    fn send(&mut self) -> Result<(), Trouble> {
        self.stream.write_all(&self.command).map_err(Trouble::doing("publish"))
    }
}

const PATIENCE: Duration = Duration::from_secs(10);

fn encode(words: &[&[u8]], command: &mut Vec<u8>) {
    command.extend_from_slice(format!("*{}\r\n", words.len()).as_bytes());
    for word in words {
        command.extend_from_slice(format!("${}\r\n", word.len()).as_bytes());
        command.extend_from_slice(word);
        command.extend_from_slice(b"\r\n");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_is_an_array_of_bulk_strings() {
        let mut command = Vec::new();
        encode(&[b"PUBLISH", b"news", b"hi"], &mut command);
        assert_eq!(command, b"*3\r\n$7\r\nPUBLISH\r\n$4\r\nnews\r\n$2\r\nhi\r\n");
    }

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
