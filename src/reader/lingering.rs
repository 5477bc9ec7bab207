//! Channels that nobody wants at present, each with the time at which it has lingered long enough.
//!
//! A channel lingers as long as its history reaches back, and histories differ by rule: one FIFO for each span, of which
//! there are as many as rules say. Knows nothing of channels' states: an entry that is over may be stale.
//!
//! Cost: adding and taking look at one front for each span.

use std::time::Duration;

use crate::base::deadlines::Deadlines;
use crate::base::limits::CHANNEL_LINGER;
use crate::base::retention::Retention;
use crate::base::time::Time;
use crate::reader::channels::ChannelId;

#[derive(Debug, Default)]
pub(super) struct Lingering {
    /// By span; none twice.
    queues: Vec<(Duration, Deadlines<Left>)>,
}

/// A channel, and when its last route had gone at the time the entry was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Left {
    pub(super) channel: ChannelId,
    pub(super) at: Time,
}

/// How long a channel of this history lingers.
pub(super) fn span(retention: &Retention) -> Duration {
    retention.age.max(CHANNEL_LINGER)
}

impl Lingering {
    pub(super) fn add(&mut self, now: Time, span: Duration, left: Left) {
        let index = self.queues.iter().position(|(other, _)| *other == span).unwrap_or_else(|| {
            self.queues.push((span, Deadlines::new(span)));
            self.queues.len() - 1
        });
        self.queues[index].1.add(now, left);
    }

    /// Takes an entry whose span is over.
    pub(super) fn take_due(&mut self, now: Time) -> Option<Left> {
        self.queues.iter_mut().find_map(|(_, queue)| queue.take_due(now))
    }

    /// Takes the entry that was made first, whether its span is over or not.
    pub(super) fn take_first(&mut self) -> Option<Left> {
        let oldest = self.queues.iter_mut().filter(|(_, queue)| !queue.is_empty());
        let (_, queue) = oldest.min_by_key(|(span, queue)| {
            queue.next().map_or(0, |due| due.as_nanos()).saturating_sub(nanos(*span))
        })?;
        queue.take_due(Time::from_nanos(u64::MAX))
    }

    pub(super) fn next(&self) -> Option<Time> {
        self.queues.iter().filter_map(|(_, queue)| queue.next()).min()
    }
}

fn nanos(span: Duration) -> u64 {
    u64::try_from(span.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::channel::ChannelName;
    use crate::reader::channels::{Channels, State};

    #[test]
    fn each_lingers_for_its_own_span_and_the_first_to_leave_can_be_had_first() {
        let mut channels = Channels::new(1);
        let mut left = |name: &str, seconds: u64| {
            let name = ChannelName::parse(name.as_bytes()).unwrap();
            let at = Time::ZERO.after(Duration::from_secs(seconds));
            Left { channel: channels.insert(name, State::Lingering, at), at }
        };
        let (long, short, late) = (left("long", 0), left("short", 10), left("late", 100));
        let seconds = Duration::from_secs;
        let mut lingering = Lingering::default();
        lingering.add(long.at, seconds(3_600), long);
        lingering.add(short.at, seconds(60), short);
        lingering.add(late.at, seconds(60), late);
        assert_eq!(lingering.take_due(Time::ZERO.after(seconds(69))), None);
        let due = lingering.next().unwrap();
        assert_eq!(lingering.take_due(due), Some(short));
        assert_eq!(lingering.take_due(due), None);
        assert_eq!(lingering.take_first(), Some(long));
        assert_eq!(lingering.take_first(), Some(late));
        assert_eq!((lingering.take_first(), lingering.next()), (None, None));
    }

    #[test]
    fn a_channel_lingers_as_long_as_its_history_reaches_back_and_a_minute_at_least() {
        let of = |age: u64| span(&Retention { age: Duration::from_secs(age), ..Retention::STANDARD });
        assert_eq!(of(1), CHANNEL_LINGER);
        assert_eq!(of(7_200), Duration::from_secs(7_200));
    }
}
