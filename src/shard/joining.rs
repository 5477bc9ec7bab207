//! How a stream opens: it waits until the reader has answered for every channel, then goes live at the last answer.
//!
//! A channel that is live on this shard already needs no answer, unless the client resumes from before what the log
//! has. The head goes out at the last answer, or after [`crate::base::limits::JOIN_TIMEOUT`] at the latest; what a
//! client missed between such an early head and going live is stated as a gap. What is replayed from several channels
//! goes out in rising position, and so does everything behind it: a connection's ids rise, whatever its channels.

use crate::base::channel::ChannelName;
use crate::base::disconnect::Disconnect;
use crate::base::position::{Position, Seen, Start};
use crate::base::queue::{
    ChannelKey, Control, GapReason, JoinGap, JoinOutcome, Joined, Reach, Replayed, Since,
};
use crate::base::socket::{Slot, SocketKey};
use crate::hub::{NO_SUBSCRIPTION, SubscriptionIndex};
use crate::protocol::site::{Busy, Opening};
use crate::protocol::{GapNotice, WireFormat};

use super::Shard;
use super::replay::{LeftOut, Piece};
use super::row::{Flags, State};

#[derive(Debug)]
pub(super) struct Join {
    format: WireFormat,
    head: Vec<u8>,
    busy: Option<Box<Busy>>,
    start: Start,
    channels: Vec<Waiting>,
    /// The answers that are still to come.
    pending: usize,
    /// The position that went out with an early head.
    early: Option<Position>,
}

/// One channel of a stream that opens.
#[derive(Debug)]
struct Waiting {
    channel: ChannelKey,
    subscription: SubscriptionIndex,
    answer: Answer,
}

#[derive(Debug)]
enum Answer {
    Awaited,
    /// The shard itself knows all that is wanted.
    Known,
    Live {
        replay: Vec<Replayed>,
        gap: Option<JoinGap>,
        was_late: bool,
        /// Where the subscription begins if there is no replay.
        position: Position,
    },
    Forbidden,
}

/// Whether a stream is given what was published before it opened, as far as it is kept.
fn wants_past(start: Start) -> bool {
    match start {
        Start::Behind(Seen::Here(_)) | Start::Earliest | Start::Last(_) => true,
        Start::Behind(Seen::Elsewhere) | Start::Live => false,
    }
}

/// One thing to say before the live messages.
struct Notice {
    name: ChannelName,
    from: Option<Position>,
    /// The gap ends here, or behind where the stream begins if that is later.
    until: Position,
    reason: GapReason,
}

impl Shard {
    /// Begins a stream, if there is room for it, and sheds it otherwise. The request is over either way.
    pub(super) fn open_stream(&mut self, slot: Slot, opening: Opening) {
        if self.is_kept_away(&opening) {
            return self.stop_request(slot, &opening);
        }
        if let Err(reason) = self.admit(slot, &opening) {
            return self.shed_request(slot, opening, reason);
        }
        if let State::Request(request) = self.rows[slot.index()].state {
            self.drop_request(request);
        }
        let Opening { channels, format, start, grant, head, busy, .. } = opening;
        self.remember_grant(slot, grant);
        let mut waiting = Vec::with_capacity(channels.len());
        let mut pending = 0;
        for (name, mode) in channels {
            let next = self.rows[slot.index()].subscriptions;
            let subscribed = self.hub.subscribe(&name, mode, format.index(), slot, next);
            self.rows[slot.index()].subscriptions = subscribed.subscription;
            let answer = self.ask(slot, subscribed.subscription, subscribed.channel, name, start);
            pending += usize::from(matches!(answer, Answer::Awaited));
            waiting.push(Waiting {
                channel: subscribed.channel,
                subscription: subscribed.subscription,
                answer,
            });
        }
        self.count_subscriptions();
        let join =
            self.joins.insert(Join { format, head, busy, start, channels: waiting, pending, early: None });
        self.rows[slot.index()].state = State::Joining(join.index);
        if pending == 0 {
            self.go_live(slot, join.index);
        } else {
            let socket = self.key(slot);
            self.waits.add(self.now, socket);
        }
    }

    /// Starts the subscription from what this shard knows, or asks the reader.
    fn ask(
        &mut self,
        slot: Slot,
        subscription: SubscriptionIndex,
        channel: ChannelKey,
        name: ChannelName,
        start: Start,
    ) -> Answer {
        let since = match start {
            Start::Behind(Seen::Here(position))
                if self.upstream == Reach::Up && self.hub.reaches_back_to(subscription, position) =>
            {
                self.hub.start_after(subscription, position);
                return Answer::Known;
            }
            Start::Behind(Seen::Here(position)) => Since::After(position),
            Start::Behind(Seen::Elsewhere) | Start::Live
                if self.upstream == Reach::Up && self.hub.is_live(channel) =>
            {
                return Answer::Known;
            }
            Start::Behind(Seen::Elsewhere) | Start::Live => Since::Now,
            Start::Earliest => Since::Earliest,
            Start::Last(count) => Since::Last(count),
        };
        let connection = self.key(slot);
        self.control(Control::Join { shard: self.index, channel, name, connection, since });
        Answer::Awaited
    }

    pub(super) fn joined(&mut self, joined: Joined) {
        let Joined { connection, channel, position, outcome } = joined;
        if outcome.is_heard() {
            self.hub.joined(channel, position);
        } else {
            self.hub.advance(position);
        }
        // The connection may have ended while it waited.
        let row =
            self.rows.get(connection.slot.index()).filter(|row| row.generation == connection.generation);
        let Some(State::Joining(join)) = row.map(|row| row.state) else { return };
        let entry = self.joins.at_mut(join);
        let wants_past = wants_past(entry.start);
        let was_late = entry.early.is_some();
        let awaited =
            |waiting: &&mut Waiting| waiting.channel == channel && matches!(waiting.answer, Answer::Awaited);
        let Some(waiting) = entry.channels.iter_mut().find(awaited) else { return };
        match outcome {
            // One that ends opens no more: what would be replayed may be from behind its end.
            JoinOutcome::Live { .. } | JoinOutcome::Forbidden
                if self.rows[connection.slot.index()].retiring.is_some() =>
            {
                return;
            }
            JoinOutcome::Live { replay, gap } => {
                waiting.answer = Answer::Live { replay, gap, was_late, position };
                if wants_past || was_late {
                    self.hub.start_at_end(waiting.subscription);
                }
            }
            JoinOutcome::Forbidden => waiting.answer = Answer::Forbidden,
            JoinOutcome::Full => return self.shed(connection.slot, Disconnect::ChannelLimit),
        }
        entry.pending -= 1;
        if entry.pending == 0 {
            self.go_live(connection.slot, join);
        }
    }

    /// The reader has not answered for every channel in time: the client at least gets its head.
    pub(super) fn wait_overdue(&mut self, socket: SocketKey) {
        let slot = socket.slot;
        let row = &self.rows[slot.index()];
        let State::Joining(join) = row.state else { return };
        if row.generation != socket.generation {
            return;
        }
        let position = self.hub.position();
        let entry = self.joins.at_mut(join);
        entry.early = Some(position);
        let mut bytes = std::mem::take(&mut entry.head);
        let shown = match entry.start {
            Start::Behind(Seen::Here(seen)) => Some(seen),
            // Its first id will be of what is replayed to it.
            Start::Earliest | Start::Last(_) => None,
            start @ (Start::Behind(Seen::Elsewhere) | Start::Live) => {
                // What comes on the channels that are live is owed from here on.
                for waiting in
                    entry.channels.iter().filter(|waiting| !matches!(waiting.answer, Answer::Awaited))
                {
                    self.hub.start_at_end(waiting.subscription);
                }
                // Who has the id of another run keeps it until it is told of its gaps.
                (start == Start::Live).then_some(position)
            }
        };
        entry.format.encode_opening(self.epoch, shown, self.site.retry, &mut bytes);
        self.mark_opened(slot);
        self.push_tail(slot, bytes);
    }

    /// Every channel has been answered for: says what has to be said first, and lets the cursors stand.
    fn go_live(&mut self, slot: Slot, join: u32) {
        let join = self.drop_join(join);
        self.rows[slot.index()].state = State::Live;
        let Join { format, head, start, channels, early, .. } = join;
        let here = match start {
            // A position that this process has not reached is none of its own.
            Start::Behind(Seen::Here(position)) if position <= self.hub.position() => Some(position),
            Start::Behind(Seen::Here(_) | Seen::Elsewhere)
            | Start::Live
            | Start::Earliest
            | Start::Last(_) => None,
        };
        let mut notices = Vec::new();
        let mut replays = Vec::new();
        for waiting in channels {
            self.settle_channel(slot, waiting, start, here, early, &mut notices, &mut replays);
        }
        self.leave_out(format, here, &mut notices, &mut replays);
        let first_replayed = replays.iter().map(|(_, piece)| piece.position()).min();
        let first = first_replayed.into_iter().chain(self.first_owed(slot)).min();
        let position = first.map_or_else(|| self.hub.position(), Position::before);
        let mut bytes = head;
        // An id of this run is a promise: not before everything is told that the client's own id stands for.
        let is_known = here.is_some() || !matches!(start, Start::Behind(_));
        let shown = is_known.then(|| here.or(early).unwrap_or(position).min(position));
        if early.is_none() {
            format.encode_opening(self.epoch, shown, self.site.retry, &mut bytes);
            self.mark_opened(slot);
        }
        // An id covers all channels: only the last of the gaps may carry one behind them, or a client that is cut between
        // two of them would come back behind one that it was not told of.
        let last = notices.len().saturating_sub(1);
        for (index, Notice { name, from, until, reason }) in notices.into_iter().enumerate() {
            let until = until.max(position);
            let position = if index == last { Some(position) } else { shown };
            // What is replayed may begin before the gap that a late answer is: the gap is told first, and is no riddle.
            let from = from.map(|from| position.map_or(from, |position| from.min(position)));
            let notice = GapNotice { epoch: self.epoch, position, channel: &name, from, until, reason };
            format.encode_gap(&notice, &mut bytes);
            self.counters.gap(reason, 1);
        }
        if !replays.is_empty() {
            self.write_replays(slot, format, &replays, &mut bytes);
        }
        if !bytes.is_empty() {
            self.push_tail(slot, bytes);
        }
        if self.hub.is_owed(self.rows[slot.index()].subscriptions) {
            self.queue(slot);
        }
    }

    #[allow(clippy::too_many_arguments)] // One step of `go_live`, which owns all of these.
    fn settle_channel(
        &mut self,
        slot: Slot,
        waiting: Waiting,
        start: Start,
        here: Option<Position>,
        early: Option<Position>,
        notices: &mut Vec<Notice>,
        replays: &mut Vec<Piece>,
    ) {
        let Waiting { subscription, answer, .. } = waiting;
        let name = self.hub.channel_of(subscription).1.clone();
        let is_unknown = matches!(start, Start::Behind(_)) && here.is_none();
        let starts_now =
            here.is_none() && early.is_none() && !matches!(start, Start::Earliest | Start::Last(_));
        match answer {
            Answer::Awaited => unreachable!("a stream goes live when nothing is awaited"),
            Answer::Forbidden => {
                notices.push(Notice {
                    name,
                    from: here,
                    until: Position::ZERO,
                    reason: GapReason::Forbidden,
                });
                self.unlink(slot, subscription);
            }
            Answer::Known => {
                if is_unknown {
                    let (until, reason) = (Position::ZERO, GapReason::UnknownEpoch);
                    notices.push(Notice { name, from: None, until, reason });
                }
                if starts_now {
                    self.hub.start_at_end(subscription);
                }
            }
            Answer::Live { replay, gap, was_late, position: until } => {
                if is_unknown {
                    notices.push(Notice { name, from: None, until, reason: GapReason::UnknownEpoch });
                } else if let Some(JoinGap { from, until, reason }) = gap {
                    // An early head has promised what comes behind its id.
                    let promised = early.filter(|_| was_late && here.is_none());
                    let from = promised.map_or(from, |promised| from.min(promised));
                    notices.push(Notice { name, from: Some(from), until, reason });
                } else if was_late && here.is_none() {
                    notices.push(Notice { name, from: early, until, reason: GapReason::UpstreamDown });
                }
                if starts_now {
                    self.hub.start_at_end(subscription);
                }
                replays.extend(replay.into_iter().map(|piece| (subscription, piece)));
            }
        }
    }

    /// Leaves out of the replays what the tails have no room for, and states it.
    fn leave_out(
        &self,
        format: WireFormat,
        here: Option<Position>,
        notices: &mut Vec<Notice>,
        replays: &mut Vec<Piece>,
    ) {
        for LeftOut { subscription, from, until } in self.fit_replays(format, replays) {
            let name = self.hub.channel_of(subscription).1;
            match notices.iter_mut().find(|notice| notice.name == *name) {
                Some(notice) => notice.until = notice.until.max(until),
                None => {
                    let from = Some(here.unwrap_or(from));
                    notices.push(Notice { name: name.clone(), from, until, reason: GapReason::TooOld });
                }
            }
        }
    }

    pub(super) fn drop_join(&mut self, join: u32) -> Join {
        let join = self.joins.remove(self.joins.key_at(join)).expect("the row holds the join");
        // Each of these deadlines is of a join.
        if self.joins.is_empty() {
            self.waits.clear();
        }
        join
    }

    /// The head of a stream that has not gone out, if it has not, and the stream's format.
    pub(super) fn take_head(&mut self, join: u32) -> (Vec<u8>, WireFormat) {
        let join = self.joins.at_mut(join);
        (std::mem::take(&mut join.head), join.format)
    }

    /// How the stream is refused, if it has not opened and is not refused by a head and an end.
    pub(super) fn take_busy(&mut self, join: u32) -> Option<Box<Busy>> {
        let join = self.joins.at_mut(join);
        join.busy.take().filter(|_| join.early.is_none())
    }

    fn first_owed(&self, slot: Slot) -> Option<Position> {
        let mut first = None;
        let mut subscription = self.rows[slot.index()].subscriptions;
        while subscription != NO_SUBSCRIPTION {
            first = first.into_iter().chain(self.hub.first_position(subscription)).min();
            subscription = self.hub.next_of(subscription);
        }
        first
    }

    fn mark_opened(&mut self, slot: Slot) {
        let now = self.heartbeat.tick(self.now);
        let row = &mut self.rows[slot.index()];
        row.written = now;
        row.flags.set(Flags::OPENED);
        // Sweeps rest while there is no stream.
        if let (0, Some(sweep)) = (self.opened, &mut self.lifetimes) {
            sweep.restart(self.now);
        }
        self.opened += 1;
    }

    /// Takes one subscription out of the connection's list and ends it.
    fn unlink(&mut self, slot: Slot, subscription: SubscriptionIndex) {
        let head = self.rows[slot.index()].subscriptions;
        self.rows[slot.index()].subscriptions = self.hub.without(head, subscription);
        self.unsubscribe(subscription);
    }
}
