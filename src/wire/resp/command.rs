//! The commands with replies that courier asks of a Redis.

use std::time::Duration;

use bytes::Bytes;

use crate::wire::resp::request::encode_command;

/// A command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    Ping,
    Publish {
        channel: Bytes,
        payload: Bytes,
    },
    Get {
        key: Bytes,
    },
    /// SET key value NX EX seconds.
    SetIfAbsent {
        key: Bytes,
        value: Bytes,
        expire: Duration,
    },
    EvalSha {
        digest: Bytes,
        keys: Vec<Bytes>,
        arguments: Vec<Bytes>,
    },
    /// XRANGE key from to COUNT count.
    StreamRange {
        key: Bytes,
        from: Bytes,
        to: Bytes,
        count: usize,
    },
}

impl Command {
    /// How many bytes its arguments have.
    pub fn argument_bytes(&self) -> usize {
        match self {
            Self::Ping => 0,
            Self::Publish { channel, payload } => channel.len() + payload.len(),
            Self::Get { key } | Self::StreamRange { key, .. } => key.len(),
            Self::SetIfAbsent { key, value, expire: _ } => key.len() + value.len(),
            Self::EvalSha { digest, keys, arguments } => {
                digest.len() + keys.iter().chain(arguments).map(Bytes::len).sum::<usize>()
            }
        }
    }

    /// Appends the command as it is sent.
    pub fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Self::Ping => encode_command(&[b"PING"], out),
            Self::Publish { channel, payload } => encode_command(&[b"PUBLISH", channel, payload], out),
            Self::Get { key } => encode_command(&[b"GET", key], out),
            Self::SetIfAbsent { key, value, expire } => {
                // Redis refuses an expiry of 0.
                let seconds = expire.as_secs().max(1).to_string();
                encode_command(&[b"SET", key, value, b"NX", b"EX", seconds.as_bytes()], out);
            }
            Self::EvalSha { digest, keys, arguments } => {
                let count = keys.len().to_string();
                let mut command: Vec<&[u8]> = vec![b"EVALSHA", digest, count.as_bytes()];
                command.extend(keys.iter().chain(arguments).map(|argument| &argument[..]));
                encode_command(&command, out);
            }
            Self::StreamRange { key, from, to, count } => {
                let count = count.to_string();
                encode_command(&[b"XRANGE", key, from, to, b"COUNT", count.as_bytes()], out);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(text: &'static str) -> Bytes {
        Bytes::from_static(text.as_bytes())
    }

    #[test]
    fn commands_are_arrays_of_bulk_strings() {
        let table: [(Command, &str); 6] = [
            (Command::Ping, "*1\r\n$4\r\nPING\r\n"),
            (
                Command::Publish { channel: bytes("a"), payload: bytes("x\r\ny") },
                "*3\r\n$7\r\nPUBLISH\r\n$1\r\na\r\n$4\r\nx\r\ny\r\n",
            ),
            (Command::Get { key: bytes("k") }, "*2\r\n$3\r\nGET\r\n$1\r\nk\r\n"),
            (
                Command::SetIfAbsent {
                    key: bytes("k"),
                    value: bytes("v"),
                    expire: Duration::from_millis(60_500),
                },
                "*6\r\n$3\r\nSET\r\n$1\r\nk\r\n$1\r\nv\r\n$2\r\nNX\r\n$2\r\nEX\r\n$2\r\n60\r\n",
            ),
            (
                Command::EvalSha { digest: bytes("ab"), keys: vec![bytes("k")], arguments: vec![bytes("1")] },
                "*5\r\n$7\r\nEVALSHA\r\n$2\r\nab\r\n$1\r\n1\r\n$1\r\nk\r\n$1\r\n1\r\n",
            ),
            (
                Command::StreamRange { key: bytes("s"), from: bytes("(1-0"), to: bytes("+"), count: 100 },
                "*6\r\n$6\r\nXRANGE\r\n$1\r\ns\r\n$4\r\n(1-0\r\n$1\r\n+\r\n$5\r\nCOUNT\r\n$3\r\n100\r\n",
            ),
        ];
        for (command, expected) in table {
            let mut out = Vec::new();
            command.encode(&mut out);
            assert_eq!(out, expected.as_bytes(), "{command:?}");
        }
    }
}
