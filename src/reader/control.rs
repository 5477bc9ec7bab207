//! The channel that orders to all couriers come on.
//!
//! It is heard as long as the upstream is, without a shard that wants it; its messages get no position and go to no client.

use crate::access::SigningKey;
use crate::access::control::{BadOrder, CONTROL_CHANNEL, Control};
use crate::base::channel::ChannelName;
use crate::base::counters::ReaderCounters;
use crate::base::dismissal::{Dismissal, Whom};
use crate::base::limits::CONTROL_NOTICE_INTERVAL;
use crate::base::time::{Time, WallClock};
use crate::reader::channels::ChannelId;
use crate::reader::input::Notice;

#[derive(Debug)]
pub(super) struct ControlChannel {
    control: Control,
    name: ChannelName,
    id: Option<ChannelId>,
    pub(super) wall_clock: WallClock,
    /// When the operator was last told that an order was refused.
    told_at: Option<Time>,
}

/// What came of a message.
#[derive(Debug)]
pub(super) struct Ordered {
    pub(super) dismissal: Option<Dismissal>,
    pub(super) notice: Option<Notice>,
}

impl ControlChannel {
    pub(super) fn new(key: SigningKey) -> Self {
        let name = ChannelName::parse(CONTROL_CHANNEL.as_bytes()).expect("it is a channel name");
        Self { control: Control::new(key), name, id: None, wall_clock: WallClock::default(), told_at: None }
    }

    pub(super) fn name(&self) -> &ChannelName {
        &self.name
    }

    /// Known by this id from here on.
    pub(super) fn on(self, id: ChannelId) -> Self {
        Self { id: Some(id), ..self }
    }

    /// Asked for each message: one comparison.
    pub(super) fn is(&self, id: ChannelId) -> bool {
        self.id == Some(id)
    }

    pub(super) fn read(&mut self, now: Time, message: &[u8], counters: &ReaderCounters) -> Ordered {
        let cells = &counters.cells;
        match self.control.read(message, self.wall_clock.unix(now)) {
            Ok(dismissal) => {
                cells.control_obeyed.add(1);
                let whom = match dismissal.whom {
                    Whom::User(_) => "a user",
                    Whom::Channel(_) => "a channel",
                };
                Ordered { dismissal: Some(dismissal), notice: Some(Notice::Ordered { whom }) }
            }
            Err(bad) => {
                match bad {
                    BadOrder::Signature => cells.control_unsigned.add(1),
                    BadOrder::Stale => cells.control_stale.add(1),
                    BadOrder::Malformed | BadOrder::TooMany => cells.control_refused.add(1),
                }
                // Whoever may publish in Redis may say anything here; not so much of it in the log.
                let is_due = self.told_at.is_none_or(|at| now.since(at) >= CONTROL_NOTICE_INTERVAL);
                let notice = is_due.then_some(Notice::BadOrder(bad));
                self.told_at = if is_due { Some(now) } else { self.told_at };
                Ordered { dismissal: None, notice }
            }
        }
    }
}
