//! The admin side's pages, rendered from what reader and shards count: `/metrics`, `/stats`, `/livez`, `/readyz`; and, from what
//! the shards answer to a survey, `/slow`.
//!
//! Any shard may render any page; all read the same cells, which only their owners write. A page costs about as long
//! as formatting it takes and allocates its body; nothing here is on the data path.

mod health;
mod metrics;
mod process;
mod reference;
pub mod slow;
mod stats;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;

use crate::base::counters::{ReaderCounters, ShardCounters};
use crate::base::time::Time;
use crate::driver::admin::health::Progress;
use crate::driver::keys::KeyBoard;
use crate::driver::log::DroppedLines;
use crate::protocol::admin::AdminPage;
use crate::shard::input::AdminAnswer;

pub use self::reference::metrics_page;

/// Everything the pages are made from. One for the process, shared by the shards.
#[derive(Debug)]
pub struct AdminPages {
    shards: Arc<Vec<Arc<ShardCounters>>>,
    reader: Arc<ReaderCounters>,
    /// What carries the bytes, for `courier_build_info`: `io_uring`.
    driver: &'static str,
    dropped_log_lines: Option<DroppedLines>,
    keys: Option<Arc<KeyBoard>>,
    /// True from the moment on that courier is stopping.
    draining: AtomicBool,
    progress: Vec<Progress>,
    /// Why the last attempt to hear Redis failed.
    unheard: Mutex<String>,
}

impl AdminPages {
    pub fn new(
        shards: Arc<Vec<Arc<ShardCounters>>>,
        reader: Arc<ReaderCounters>,
        driver: &'static str,
        dropped_log_lines: Option<DroppedLines>,
    ) -> Self {
        let progress = shards.iter().map(|_| Progress::default()).collect();
        let (draining, unheard) =
            (AtomicBool::new(false), Mutex::new("it has not been reached yet".to_owned()));
        Self { shards, reader, driver, dropped_log_lines, keys: None, draining, progress, unheard }
    }

    /// The pages of a server whose keys may change.
    pub fn with_keys(self, keys: Arc<KeyBoard>) -> Self {
        Self { keys: Some(keys), ..self }
    }

    pub fn answer(&self, now: Time, page: AdminPage) -> AdminAnswer {
        match page {
            AdminPage::Metrics => answer(200, metrics::CONTENT_TYPE, metrics::render(self)),
            AdminPage::Stats => answer(200, "application/json", stats::render(self)),
            AdminPage::Live => health::live(self, now),
            AdminPage::Ready => health::ready(self),
            AdminPage::Slow { .. } => {
                unreachable!("who reads slowly is counted nowhere: the shards are asked")
            }
        }
    }

    /// courier is stopping: from now on it is not ready.
    pub fn drain(&self) {
        self.draining.store(true, Ordering::Relaxed);
    }

    /// Redis cannot be heard, at present for this reason.
    pub fn redis_is_unheard(&self, reason: String) {
        *self.unheard.lock().unwrap_or_else(PoisonError::into_inner) = reason;
    }

    fn dropped_log_lines(&self) -> u64 {
        self.dropped_log_lines.as_ref().map_or(0, DroppedLines::count)
    }
}

fn answer(status: u16, content_type: &'static str, body: String) -> AdminAnswer {
    AdminAnswer { status, content_type, body: Bytes::from(body) }
}
