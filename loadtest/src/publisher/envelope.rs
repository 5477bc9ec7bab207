//! nchan's own message on Redis pub/sub, as its nodes exchange it in `nostore` mode: ten MessagePack fields on the channel
//! `{channel:GROUP/ID}:pubsub`.
//!
//! The fields were read off `MONITOR` of a Redis between two nchan 1.3.6. A node that receives a message in this mode
//! numbers it itself, so that its time and its tag need not rise.

/// nchan's name on Redis for a channel of the group `loadtest`; `name` as it stands in a query.
pub fn channel(name: &str, bytes: &mut Vec<u8>) {
    bytes.extend_from_slice(b"{channel:");
    bytes.extend_from_slice(GROUP.as_bytes());
    bytes.push(b'/');
    bytes.extend_from_slice(name.as_bytes());
    bytes.extend_from_slice(b"}:pubsub");
}

/// The `nchan_channel_group` of the channels.
pub const GROUP: &str = "loadtest";

// Hot: once per message.
pub fn write(payload: &[u8], bytes: &mut Vec<u8>) {
    bytes.extend_from_slice(b"\x9a\xa3msg"); // An array of ten; the kind of message.
    bytes.extend_from_slice(b"\xce\x00\x00\x0e\x10"); // Seconds to live, of no effect without a store: 3,600.
    bytes.extend_from_slice(b"\xce\x00\x00\x00\x01\x00"); // Its time and its tag.
    bytes.extend_from_slice(b"\x00\x00"); // The time and the tag of the one before.
    bytes.push(0xdb);
    bytes.extend_from_slice(&u32::try_from(payload.len()).unwrap_or(u32::MAX).to_be_bytes());
    bytes.extend_from_slice(payload);
    bytes.extend_from_slice(b"\xd9\x00\xd9\x00"); // No content type and no name of the event.
    bytes.push(0x00); // Not compressed.
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_envelope_is_what_nchan_publishes() {
        let (mut name, mut bytes) = (Vec::new(), Vec::new());
        channel("news", &mut name);
        write(b"hello2", &mut bytes);
        assert_eq!(name, b"{channel:loadtest/news}:pubsub");
        let expected =
            b"\x9a\xa3msg\xce\x00\x00\x0e\x10\xce\x00\x00\x00\x01\x00\x00\x00\xdb\x00\x00\x00\x06hello2\
                         \xd9\x00\xd9\x00\x00";
        assert_eq!(bytes, expected);
    }
}
