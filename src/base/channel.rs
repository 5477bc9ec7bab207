//! The name of a channel: parsed once at the edge, trusted everywhere after.

use std::fmt;
use std::sync::Arc;

/// The name of a pub/sub channel: 1 to 255 bytes of UTF-8 without control characters. Cheap to clone and to send.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ChannelName(Arc<str>);

/// What a channel's payloads are, by its rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Hash)]
pub enum PayloadMode {
    /// The payload is the event's data, byte for byte.
    #[default]
    Raw,
    /// The payload is a JSON object `{"data","event","id","retry"}`; text that is none is delivered as it is.
    Envelope,
}

/// What happens to a subscriber of the channel who falls out of its log, by its rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Hash)]
pub enum SlowMode {
    /// The connection ends; its client resumes by its last id.
    #[default]
    Disconnect,
    /// It is told of a gap and goes on with the newest message.
    Latest,
}

/// How a channel is served, by its rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Hash)]
pub struct ChannelMode {
    pub payload: PayloadMode,
    pub slow: SlowMode,
}

/// Why bytes are no channel name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BadChannelName {
    Empty,
    TooLong,
    ControlCharacter,
    NotUtf8,
}

impl ChannelName {
    /// The longest name, in bytes.
    pub const BYTES_MAX: usize = 255;

    pub fn parse(name: &[u8]) -> Result<Self, BadChannelName> {
        if name.is_empty() {
            return Err(BadChannelName::Empty);
        }
        if name.len() > Self::BYTES_MAX {
            return Err(BadChannelName::TooLong);
        }
        let name = std::str::from_utf8(name).map_err(|_| BadChannelName::NotUtf8)?;
        // `char::is_control` covers C0, DEL and C1: none of them can stand in an `event:` line or a log line.
        if name.chars().any(char::is_control) {
            return Err(BadChannelName::ControlCharacter);
        }
        Ok(Self(Arc::from(name)))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    pub fn as_bytes(&self) -> &[u8] {
        self.0.as_bytes()
    }

    /// The same name as bytes, not copied.
    pub fn shared_bytes(&self) -> Arc<[u8]> {
        Arc::from(Arc::clone(&self.0))
    }

    /// Names that a pattern never opens, only a rule that spells them out: `__*` (keyspace events, sentinels) and
    /// `courier:*` (our own keys and channels).
    pub fn is_reserved(&self) -> bool {
        self.0.starts_with("__") || self.0.starts_with("courier:")
    }
}

impl std::borrow::Borrow<str> for ChannelName {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ChannelName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl fmt::Debug for ChannelName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "ChannelName({:?})", &*self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_1_to_255_bytes_of_utf_8_without_control_characters() {
        assert_eq!(ChannelName::parse("news.sport/ü".as_bytes()).unwrap().as_str(), "news.sport/ü");
        assert!(ChannelName::parse(&[b'a'; 255]).is_ok());
        assert_eq!(ChannelName::parse(b""), Err(BadChannelName::Empty));
        assert_eq!(ChannelName::parse(&[b'a'; 256]), Err(BadChannelName::TooLong));
        for name in ["a\nb", "a\0", "\u{7f}", "\u{85}"] {
            assert_eq!(
                ChannelName::parse(name.as_bytes()),
                Err(BadChannelName::ControlCharacter),
                "{name:?}"
            );
        }
        assert_eq!(ChannelName::parse(b"a\xff"), Err(BadChannelName::NotUtf8));
    }

    #[test]
    fn reserved_names_are_those_of_redis_and_our_own() {
        for (name, reserved) in
            [("__keyspace@0__:a", true), ("courier:live:a", true), ("_a", false), ("couriers", false)]
        {
            assert_eq!(ChannelName::parse(name.as_bytes()).unwrap().is_reserved(), reserved, "{name}");
        }
    }
}
