//! Messages that are numbered, and whether a subscriber has seen all of them or was told where not.

use std::net::SocketAddr;

use crate::support::resp::Client;
use crate::support::stream::Stream;

/// A subscriber of one channel who was there before the first message.
#[derive(Debug)]
pub struct Witness {
    pub stream: Stream,
    /// The next number that is due.
    next: u64,
    pub delivered: u64,
    /// Gaps that it was told of, and the numbers that they cover.
    pub gaps: u64,
    pub missed: u64,
}

/// Publishes the message of this number, padded to so many bytes.
#[track_caller]
pub fn publish(client: &mut Client, channel: &str, number: u64, bytes: usize) {
    let payload = format!("{number:08} {}", "x".repeat(bytes.saturating_sub(9)));
    client.command(&[b"PUBLISH", channel.as_bytes(), payload.as_bytes()]);
}

impl Witness {
    #[track_caller]
    pub fn of(address: SocketAddr, channel: &str) -> Self {
        Self::over(Stream::open(address, &format!("channel={channel}")))
    }

    pub fn over(stream: Stream) -> Self {
        Self { stream, next: 1, delivered: 0, gaps: 0, missed: 0 }
    }

    /// The first message was looked at already.
    pub fn behind_the_first(mut self) -> Self {
        self.next = 2;
        self.delivered = 1;
        self
    }

    /// Reads on until the message of this number has come. Nothing is missing on the way but behind a stated gap for
    /// this reason.
    #[track_caller]
    pub fn until(&mut self, number: u64, reason: Option<&str>) {
        let mut is_told = false;
        while self.next <= number {
            let event = self.stream.event();
            if event.event == "courier-gap" {
                let reason = reason.unwrap_or_else(|| panic!("a gap came: {event:?}"));
                assert!(event.data.contains(&format!("\"reason\":\"{reason}\"")), "{event:?}");
                assert!(!is_told, "one gap is told once");
                is_told = true;
                self.gaps += 1;
                continue;
            }
            self.take(&event.data, is_told);
            is_told = false;
        }
    }

    /// Reads up to the stream's end, which must be the closing block behind whole messages. Their last number.
    #[track_caller]
    pub fn until_closed(&mut self) -> u64 {
        while let Some(event) = self.stream.event_within(crate::support::DEADLINE) {
            assert_eq!(event.event, "message", "{event:?}");
            self.take(&event.data, false);
        }
        self.stream.expect_end();
        let raw = std::str::from_utf8(&self.stream.raw).unwrap();
        let last = raw.trim_end_matches('\n').rsplit("\n\n").next().unwrap();
        assert!(raw.ends_with("\n\n") && last.starts_with("retry: "), "the last words are {last:?}");
        assert_eq!(last.lines().count(), 1, "the last words are {last:?}");
        self.next - 1
    }

    #[track_caller]
    fn take(&mut self, data: &str, is_told: bool) {
        let number: u64 = data[..8].parse().unwrap();
        assert!(data[8..].trim_start().bytes().all(|byte| byte == b'x'));
        assert!(number == self.next || is_told && number > self.next, "{number} came, {} was due", self.next);
        self.missed += number - self.next;
        self.delivered += 1;
        self.next = number + 1;
    }
}
