//! How fast clients publish: all of a shard together, and each by itself.
//!
//! A bucket is one moment: when the messages so far would have been due at the allowed rate. It may lie a second ahead
//! of now, the burst; a message is let through if it does not lie further, and a batch if its first message would be, and counts whole.
//! Cost: one lookup a publish; who has been quiet for a second is forgotten when the table is full.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use crate::base::limits::{Limits, PUBLISHERS};
use crate::base::number::small;
use crate::base::peer::Network;
use crate::base::socket::SocketKey;
use crate::base::time::Time;

/// Who publishes, as far as that is known.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum Client {
    User(Arc<str>),
    Network(Network),
    /// Of what comes over a Unix socket nothing else is known.
    Connection(SocketKey),
}

#[derive(Debug)]
pub(super) struct Publishers {
    /// Between two messages, of all and of one.
    interval: Duration,
    interval_of_client: Duration,
    due: Time,
    clients: HashMap<Client, Time>,
}

impl Publishers {
    pub(super) fn new(limits: &Limits) -> Self {
        let interval = |rate: usize| Duration::from_secs(1) / small(rate.max(1));
        Self {
            interval: interval(limits.publish_rate),
            interval_of_client: interval(limits.publish_rate_per_client),
            due: Time::ZERO,
            clients: HashMap::new(),
        }
    }

    /// Counts so many messages of this client, or says how long it has to wait; then none is counted.
    pub(super) fn take(&mut self, now: Time, client: Client, messages: usize) -> Result<(), Duration> {
        if self.clients.len() >= PUBLISHERS && !self.clients.contains_key(&client) {
            self.clients.retain(|_, due| *due > now);
            if self.clients.len() >= PUBLISHERS {
                return Err(BURST);
            }
        }
        wait(self.due, self.interval, now)?;
        let due = self.clients.entry(client).or_insert(now);
        wait(*due, self.interval_of_client, now)?;
        let after = |due: Time, interval: Duration| due.max(now).after(interval * small(messages));
        *due = after(*due, self.interval_of_client);
        self.due = after(self.due, self.interval);
        Ok(())
    }
}

/// How long until a bucket that is due then takes a message.
fn wait(due: Time, interval: Duration, now: Time) -> Result<(), Duration> {
    let ahead = due.since(now) + interval;
    if ahead <= BURST { Ok(()) } else { Err(ahead - BURST) }
}

/// How far a client may be ahead of its rate.
const BURST: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::socket::Slot;

    fn user(name: &str) -> Client {
        Client::User(Arc::from(name))
    }

    fn publishers(publish_rate: usize, publish_rate_per_client: usize) -> Publishers {
        Publishers::new(&Limits { publish_rate, publish_rate_per_client, ..Limits::default() })
    }

    #[test]
    fn each_client_has_its_rate_and_a_second_in_advance() {
        let mut publishers = publishers(1_000, 10);
        let start = Time::ZERO.after(Duration::from_secs(5));
        for _ in 0..10 {
            assert_eq!(publishers.take(start, user("a"), 1), Ok(()));
        }
        assert_eq!(publishers.take(start, user("a"), 1), Err(Duration::from_millis(100)));
        assert_eq!(publishers.take(start, user("b"), 1), Ok(()), "of others nothing is taken");
        let later = start.after(Duration::from_millis(100));
        assert_eq!(publishers.take(later, user("a"), 1), Ok(()));
        assert!(publishers.take(later, user("a"), 1).is_err(), "one message a tenth of a second");
        assert_eq!(publishers.take(later.after(Duration::from_secs(60)), user("a"), 1), Ok(()));
    }

    #[test]
    fn a_batch_counts_whole() {
        let mut publishers = publishers(1_000, 10);
        assert_eq!(publishers.take(Time::ZERO, user("a"), 50), Ok(()));
        assert_eq!(publishers.take(Time::ZERO, user("a"), 1), Err(Duration::from_millis(4_100)));
    }

    #[test]
    fn all_together_have_a_rate_too() {
        let mut publishers = publishers(3, 100);
        for name in ["a", "b", "c"] {
            assert_eq!(publishers.take(Time::ZERO, user(name), 1), Ok(()));
        }
        assert!(publishers.take(Time::ZERO, user("d"), 1).is_err());
        assert_eq!(publishers.take(Time::ZERO.after(Duration::from_millis(400)), user("d"), 1), Ok(()));
    }

    #[test]
    fn so_many_clients_as_are_not_remembered_wait_for_others_to_be_quiet() {
        let mut publishers = publishers(1_000_000, 1_000);
        let connection = |slot| Client::Connection(SocketKey { slot: Slot(slot), generation: 0 });
        for slot in 0..small(PUBLISHERS) {
            assert_eq!(publishers.take(Time::ZERO, connection(slot), 1), Ok(()));
        }
        let one_more = || connection(small(PUBLISHERS));
        assert!(publishers.take(Time::ZERO, one_more(), 1).is_err());
        assert_eq!(publishers.take(Time::ZERO.after(Duration::from_millis(2)), one_more(), 1), Ok(()));
        assert_eq!(publishers.clients.len(), 1);
    }
}
