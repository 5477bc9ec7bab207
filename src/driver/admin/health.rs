//! `/livez` and `/readyz`: one status and one sentence each.
//!
//! Live: the data path turns. The page itself came through a shard, and a dead thread ends the process; what is left is
//! a shard that is stuck. It shows: messages wait in its queue and none of them is taken for seconds. Nothing has to be
//! counted for that on the data path.
//!
//! Ready: this node may get clients, because the upstream is subscribed and courier is not stopping.

use std::sync::PoisonError;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::base::time::Time;
use crate::driver::admin::{AdminPages, answer};
use crate::shard::input::AdminAnswer;

/// What was last seen of a shard's queue. Races between two scrapes only delay the finding.
#[derive(Debug, Default)]
pub(super) struct Progress {
    /// The bytes in the queue.
    bytes: AtomicU64,
    /// Since when they have been as many.
    since_nanos: AtomicU64,
}

impl Progress {
    /// For how long these bytes, more than none, have been waiting.
    fn waiting(&self, now: Time, bytes: u64) -> Duration {
        if bytes == 0 || self.bytes.swap(bytes, Ordering::Relaxed) != bytes {
            self.bytes.store(bytes, Ordering::Relaxed);
            self.since_nanos.store(now.as_nanos(), Ordering::Relaxed);
            return Duration::ZERO;
        }
        now.since(Time::from_nanos(self.since_nanos.load(Ordering::Relaxed)))
    }
}

pub(super) fn live(pages: &AdminPages, now: Time) -> AdminAnswer {
    for (index, (shard, progress)) in pages.shards.iter().zip(&pages.progress).enumerate() {
        let waiting = progress.waiting(now, shard.queue_bytes.load(Ordering::Relaxed));
        if waiting >= STUCK_AFTER {
            let seconds = waiting.as_secs();
            return text(
                503,
                format!("not live: shard {index} has taken no message from its queue for {seconds} s\n"),
            );
        }
    }
    text(200, "live: the data path turns\n".to_owned())
}

pub(super) fn ready(pages: &AdminPages) -> AdminAnswer {
    if pages.draining.load(Ordering::Relaxed) {
        return text(503, "not ready: courier is stopping\n".to_owned());
    }
    if pages.reader.cells.redis_up.get() == 0 {
        let reason = pages.unheard.lock().unwrap_or_else(PoisonError::into_inner);
        return text(503, format!("not ready: Redis cannot be heard, courier keeps trying: {reason}\n"));
    }
    text(200, "ready: every wanted channel is subscribed\n".to_owned())
}

fn text(status: u16, sentence: String) -> AdminAnswer {
    answer(status, "text/plain; charset=utf-8", sentence)
}

/// A turn takes milliseconds, and the deepest queue is drained within one second.
const STUCK_AFTER: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::base::counters::{ReaderCounters, ShardCounters};
    use crate::protocol::admin::AdminPage;

    fn pages() -> AdminPages {
        let shards = Arc::new(vec![Arc::new(ShardCounters::default()), Arc::new(ShardCounters::default())]);
        AdminPages::new(shards, Arc::new(ReaderCounters::default()), "io_uring", None)
    }

    fn ask(pages: &AdminPages, seconds: u64, page: AdminPage) -> (u16, String) {
        let now = Time::ZERO.after(Duration::from_secs(seconds));
        let answer = pages.answer(now, page);
        assert_eq!(answer.content_type, "text/plain; charset=utf-8");
        (answer.status, String::from_utf8(answer.body.to_vec()).unwrap())
    }

    #[test]
    fn ready_follows_the_upstream_and_ends_with_the_drain() {
        let pages = pages();
        let down = "not ready: Redis cannot be heard, courier keeps trying: it has not been reached yet\n";
        assert_eq!(ask(&pages, 0, AdminPage::Ready), (503, down.into()));
        pages.redis_is_unheard("Connection refused".into());
        let down = "not ready: Redis cannot be heard, courier keeps trying: Connection refused\n";
        assert_eq!(ask(&pages, 0, AdminPage::Ready), (503, down.into()));
        pages.reader.cells.redis_up.set(1);
        assert_eq!(
            ask(&pages, 0, AdminPage::Ready),
            (200, "ready: every wanted channel is subscribed\n".into())
        );
        pages.drain();
        assert_eq!(ask(&pages, 0, AdminPage::Ready), (503, "not ready: courier is stopping\n".into()));
    }

    #[test]
    fn a_shard_that_takes_nothing_from_its_queue_for_seconds_is_not_live() {
        let pages = pages();
        let queue = &pages.shards[1].queue_bytes;
        let live = (200, "live: the data path turns\n".to_owned());
        assert_eq!(ask(&pages, 100, AdminPage::Live), live, "an empty queue may be empty for ever");
        queue.store(10, Ordering::Relaxed);
        assert_eq!(ask(&pages, 200, AdminPage::Live), live);
        queue.store(20, Ordering::Relaxed);
        assert_eq!(ask(&pages, 300, AdminPage::Live), live, "it moves");
        assert_eq!(ask(&pages, 304, AdminPage::Live), live);
        let stuck = "not live: shard 1 has taken no message from its queue for 5 s\n";
        assert_eq!(ask(&pages, 305, AdminPage::Live), (503, stuck.into()));
        queue.store(0, Ordering::Relaxed);
        assert_eq!(ask(&pages, 306, AdminPage::Live), live);
        queue.store(20, Ordering::Relaxed);
        assert_eq!(ask(&pages, 320, AdminPage::Live), live, "the same number, but of new messages");
    }
}
