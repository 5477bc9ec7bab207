//! Messages that were published on channels that courier relays, until the reader takes them: one buffer, in order,
//! nothing allocated per message once warm.

/// One message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Published<'a> {
    pub channel: &'a [u8],
    pub payload: &'a [u8],
}

#[derive(Debug, Default)]
pub(super) struct PublishedMessages {
    /// Each message's channel and payload, back to back.
    bytes: Vec<u8>,
    /// The lengths of both.
    lengths: Vec<(usize, usize)>,
}

impl PublishedMessages {
    pub(super) fn push(&mut self, channel: &[u8], payload: &[u8]) {
        self.bytes.extend_from_slice(channel);
        self.bytes.extend_from_slice(payload);
        self.lengths.push((channel.len(), payload.len()));
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = Published<'_>> {
        let mut rest = self.bytes.as_slice();
        self.lengths.iter().map(move |&(channel, payload)| {
            let (message, behind) = rest.split_at(channel + payload);
            rest = behind;
            let (channel, payload) = message.split_at(channel);
            Published { channel, payload }
        })
    }

    pub(super) fn clear(&mut self) {
        self.bytes.clear();
        self.bytes.shrink_to(BYTES_KEPT);
        self.lengths.clear();
        self.lengths.shrink_to(MESSAGES_KEPT);
    }
}

/// What is kept of the buffers of a burst.
const BYTES_KEPT: usize = 256 * 1_024;
const MESSAGES_KEPT: usize = 4_096;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_come_out_in_order_until_they_are_cleared() {
        let mut messages = PublishedMessages::default();
        messages.push(b"a", b"1");
        messages.push(b"bb", b"");
        messages.push(b"", b"3");
        let taken: Vec<_> = messages.iter().map(|message| (message.channel, message.payload)).collect();
        assert_eq!(taken, [(b"a".as_slice(), b"1".as_slice()), (b"bb", b""), (b"", b"3")]);
        messages.clear();
        assert_eq!(messages.iter().count(), 0);
    }
}
