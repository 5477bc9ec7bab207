//! Joins, messages, acknowledgements and losses: what they do to the channels, and who is told.
//!
//! The same for both upstreams; how a channel is asked for lies in `redis` or in the embedded broker. Order is the
//! whole matter: a shard's messages, its joins' answers and its gaps leave here in the order in which they happened.
//!
//! Invariants: each join is answered exactly once; a channel's messages are routed exactly from its acknowledgement to
//! its loss; a channel that shards had keeps their routes until they leave, so none of them is deaf without knowing; a position that was given to a client before a channel's acknowledgement lies before the
//! history's beginning, so nobody resumes across a time in which nobody listened without being told.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use crate::access::{Rules, SigningKey};
use crate::base::channel::ChannelName;
use crate::base::counters::ReaderCounters;
use crate::base::deadlines::Deadlines;
use crate::base::limits::{CHANNELS_ENDING, FORBIDDEN_RETRY, Limits};
use crate::base::position::{Epoch, Position};
use crate::base::queue::{
    ChannelKey, Delivery, Gap, GapReason, JoinGap, JoinOutcome, Joined, PublishOutcome, Published, Reach,
    Replayed, ShardIndex, Since,
};
use crate::base::retention::Retention;
use crate::base::socket::SocketKey;
use crate::base::time::{Time, UnixTime, WallClock};
use crate::reader::channels::{ChannelId, Channels, State, Waiter};
use crate::reader::control::ControlChannel;
use crate::reader::history::History;
use crate::reader::input::Notice;
use crate::reader::lingering::{self, Left, Lingering};
use crate::reader::redis::ask::Answered;
use crate::reader::router::Router;
use crate::reader::routes::Route;
use crate::reader::sequence::Sequence;
use crate::reader::subscriptions::{Event, Subscriptions};

#[derive(Debug)]
pub(super) struct Relay {
    pub(super) channels: Channels,
    pub(super) subscriptions: Subscriptions,
    sequence: Sequence,
    history: History,
    rules: Rules,
    router: Router,
    /// Whether channels can be subscribed at present.
    upstream: Reach,
    /// What the shards know of it: up, unless they were told otherwise, and again when all that was lost is heard.
    told: Reach,
    /// Acknowledged by what is being read; settled before the next message and at the read's end.
    acknowledged: Vec<ChannelId>,
    /// Forbidden by what is being read.
    forbidden: Forbidden,
    lingering: Lingering,
    /// Channels that are forbidden though they are wanted: asked again.
    retries: Deadlines<ChannelId>,
    notices: VecDeque<Notice>,
    /// For whoever drives the reader and has asked Redis something.
    answers: VecDeque<Answered>,
    channels_max: usize,
    pub(super) control: Option<ControlChannel>,
    counters: Arc<ReaderCounters>,
}

#[derive(Debug, Default)]
struct Forbidden {
    count: usize,
    first: Option<ChannelName>,
}

impl Relay {
    pub(super) fn new(
        epoch: Epoch,
        shards: u16,
        rules: Rules,
        limits: &Limits,
        seed: u64,
        counters: Arc<ReaderCounters>,
    ) -> Self {
        Self {
            channels: Channels::new(seed),
            subscriptions: Subscriptions::default(),
            sequence: Sequence::new(epoch),
            history: History::new(limits.history_bytes),
            rules,
            router: Router::new(shards, limits.spill_bytes),
            upstream: Reach::Down,
            told: Reach::Up,
            acknowledged: Vec::new(),
            forbidden: Forbidden::default(),
            lingering: Lingering::default(),
            retries: Deadlines::new(FORBIDDEN_RETRY),
            notices: VecDeque::new(),
            answers: VecDeque::new(),
            channels_max: limits.channels,
            control: None,
            counters,
        }
    }

    pub(super) fn epoch(&self) -> Epoch {
        self.sequence.epoch()
    }

    /// A shard wants a channel.
    pub(super) fn join(&mut self, now: Time, name: ChannelName, waiter: Waiter) {
        let id = match self.channels.find(name.as_bytes()) {
            Some(id) => id,
            None if self.makes_room(now) => self.begin(now, name),
            None => return self.joined(waiter, JoinOutcome::Full),
        };
        self.router.add(id, Route { shard: waiter.shard, channel: waiter.channel });
        match *self.channels.state(id) {
            State::Live => self.answer(id, waiter),
            State::Lingering | State::Unsubscribing { is_sent: false } => {
                self.channels.change(id, State::Live);
                self.answer(id, waiter);
            }
            State::Unsubscribing { is_sent: true } => {
                self.channels.change(id, State::Subscribing { waiters: Box::new(vec![waiter]) });
                self.subscriptions.want(id);
            }
            State::Subscribing { .. } => {
                self.channels.waiters(id).expect("the state has waiters").push(waiter);
            }
            State::Resubscribing { .. } => {
                self.answer_without_upstream(id, waiter, GapReason::UpstreamDown);
            }
            State::Forbidden { .. } => {
                self.answer_without_upstream(id, waiter, GapReason::Forbidden);
                self.ask_again(id);
            }
        }
    }

    /// A shard wants a channel no longer.
    pub(super) fn leave(&mut self, now: Time, name: &ChannelName, shard: ShardIndex, channel: ChannelKey) {
        let Some(id) = self.channels.find(name.as_bytes()) else { return };
        if !self.router.remove(id, Route { shard, channel }) || self.is_wanted(id) {
            return;
        }
        match self.channels.state(id) {
            State::Live => {
                self.channels.change(id, State::Lingering);
                self.left(now, id);
            }
            State::Resubscribing { .. } => self.left(now, id),
            State::Forbidden { is_asked: false, .. } => self.forget(id),
            // Lingers from its acknowledgement on, or is forgotten when it is refused.
            State::Subscribing { .. } | State::Forbidden { is_asked: true, .. } => {}
            State::Lingering | State::Unsubscribing { .. } => {
                unreachable!("a channel in this state has no route to lose")
            }
        }
    }

    /// A message from the upstream; its channel and position, if anyone wants it.
    // Hot: once per message; one hash of the name, one copy into the history, one into what the shards share.
    pub(super) fn message(
        &mut self,
        now: Time,
        name: &[u8],
        payload: &[u8],
    ) -> Option<(ChannelId, Position)> {
        if !self.acknowledged.is_empty() {
            self.settle(now);
        }
        let id = self.channels.find(name)?;
        match self.channels.state(id) {
            State::Live | State::Lingering | State::Unsubscribing { .. } => {}
            // Still of the subscription before, whose end is under way: not of the one that is awaited.
            State::Subscribing { .. } | State::Resubscribing { .. } | State::Forbidden { .. } => return None,
        }
        if self.is_control(id) {
            self.ordered(now, payload);
            return None;
        }
        let position = self.sequence.take();
        self.counters.cells.messages_received.add(1);
        self.history.append(id, position, now, payload);
        self.router.route(id, position, payload);
        Some((id, position))
    }

    /// Takes orders on the control channel from here on, whether anybody listens to it or not.
    pub(super) fn take_orders(&mut self, now: Time, key: SigningKey) {
        let control = ControlChannel::new(key);
        let (name, last) = (control.name().clone(), self.sequence.last());
        // As a channel that was lost: it is asked for whenever the upstream is there, and again when it is forbidden.
        let id = self.channels.insert(name, State::Resubscribing { lost_at: last }, now);
        self.history.open(id, Retention { count: 0, ..Retention::STANDARD }, last);
        self.control = Some(control.on(id));
        if self.upstream == Reach::Up {
            self.subscriptions.want(id);
        }
    }

    /// What the calendar says.
    pub(super) fn calendar(&mut self, now: Time, unix: UnixTime) {
        if let Some(control) = &mut self.control {
            control.wall_clock = WallClock { at: now, unix };
        }
    }

    /// A message on the control channel: every shard gets the order, in its place among the messages.
    fn ordered(&mut self, now: Time, message: &[u8]) {
        let Some(control) = &mut self.control else { return };
        let read = control.read(now, message, &self.counters);
        self.notices.extend(read.notice);
        if let Some(dismissal) = read.dismissal {
            self.settle(now);
            self.router.push_to_all(&Delivery::Dismiss(dismissal));
        }
    }

    fn is_control(&self, id: ChannelId) -> bool {
        self.control.as_ref().is_some_and(|control| control.is(id))
    }

    /// Whether the channel is to be heard, be it by a shard or by us.
    fn is_wanted(&self, id: ChannelId) -> bool {
        !self.router.routes(id).is_empty() || self.is_control(id)
    }

    /// The channel, if every message of it comes.
    pub(super) fn heard_channel(&self, name: &ChannelName) -> Option<ChannelId> {
        let id = self.channels.find(name.as_bytes())?;
        matches!(self.channels.state(id), State::Live | State::Lingering).then_some(id)
    }

    /// The position that was given last.
    pub(super) fn last_position(&self) -> Position {
        self.sequence.last()
    }

    /// The upstream answered.
    pub(super) fn apply(&mut self, now: Time, event: Event) {
        match event {
            Event::Subscribed(id) => self.acknowledged.push(id),
            Event::Unsubscribed(id) => self.unsubscribed(id),
            Event::Forbidden(ids) => {
                self.settle(now);
                ids.into_iter().for_each(|id| self.forbid(now, id));
            }
            Event::Alive | Event::Nothing => {}
        }
    }

    /// Takes the next channel that is to be subscribed as acknowledged, where nobody has to be asked.
    pub(super) fn subscribe_at_once(&mut self) -> Option<ChannelName> {
        let id = self.subscriptions.take_wanted(&self.channels)?;
        self.acknowledged.push(id);
        Some(self.channels.get(id)?.name.clone())
    }

    /// Ends the next channel that is to be unsubscribed, where nobody has to be asked.
    pub(super) fn unsubscribe_at_once(&mut self) -> Option<ChannelName> {
        let id = self.subscriptions.take_unwanted(&self.channels)?;
        let name = self.channels.get(id)?.name.clone();
        self.forget(id);
        Some(name)
    }

    /// The end of a read: hands the shards what it gave.
    pub(super) fn finish_read(&mut self, now: Time) {
        self.settle(now);
        self.tell_up();
        if let Forbidden { count, first: Some(first) } = std::mem::take(&mut self.forbidden) {
            self.notices.push_back(Notice::Forbidden { channels: count, first: first.as_str().to_owned() });
        }
    }

    /// The upstream can be asked from here on; everything that was lost is to be subscribed again.
    pub(super) fn reached(&mut self) {
        self.upstream = Reach::Up;
        let ids: Vec<ChannelId> = self.channels.ids().collect();
        for id in ids {
            if let State::Forbidden { .. } = self.channels.state(id) {
                self.ask_again(id);
            } else {
                self.subscriptions.want(id);
            }
        }
    }

    /// The upstream is not heard: the shards know nothing by themselves.
    pub(super) fn tell_down(&mut self) {
        if self.told == Reach::Up {
            self.told = Reach::Down;
            self.router.push_to_all(&Delivery::Upstream(Reach::Down));
        }
    }

    /// The upstream is lost.
    pub(super) fn lost(&mut self, now: Time) {
        assert!(self.acknowledged.is_empty(), "a read is settled before its link is lost");
        self.upstream = Reach::Down;
        self.tell_down();
        self.subscriptions.clear();
        let lost_at = self.sequence.last();
        let ids: Vec<ChannelId> = self.channels.ids().collect();
        for id in ids {
            match self.channels.state(id) {
                State::Unsubscribing { .. } => {
                    self.forget(id);
                    continue;
                }
                State::Forbidden { .. } if !self.is_wanted(id) => {
                    self.forget(id);
                    continue;
                }
                // Lost before, and longer.
                &State::Forbidden { lost_at, .. } => {
                    self.channels.change(id, State::Forbidden { lost_at, is_asked: false });
                }
                State::Resubscribing { .. } => {}
                State::Live | State::Lingering | State::Subscribing { .. } => {
                    let before = self.channels.change(id, State::Resubscribing { lost_at });
                    if let State::Subscribing { waiters } = before {
                        let reason = GapReason::UpstreamDown;
                        waiters
                            .into_iter()
                            .for_each(|waiter| self.answer_without_upstream(id, waiter, reason));
                    }
                }
            }
            if !self.is_wanted(id) {
                self.left(now, id);
            }
        }
    }

    pub(super) fn published(&mut self, shard: ShardIndex, connection: SocketKey, outcome: PublishOutcome) {
        self.router.push(shard, Delivery::Published(Published { connection, outcome }));
    }

    pub(super) fn answered(&mut self, answered: Answered) {
        self.answers.push_back(answered);
    }

    pub(super) fn next_answer(&mut self) -> Option<Answered> {
        self.answers.pop_front()
    }

    pub(super) fn tick(&mut self, now: Time) {
        self.history.sweep(now);
        while let Some(left) = self.lingering.take_due(now) {
            self.linger_over(now, left.channel);
        }
        while let Some(id) = self.retries.take_due(now) {
            self.retry(now, id);
        }
    }

    pub(super) fn next_deadline(&self) -> Option<Time> {
        [self.history.next_deadline(), self.lingering.next(), self.retries.next()].into_iter().flatten().min()
    }

    pub(super) fn next_delivery(&mut self, shard: ShardIndex) -> Option<Delivery> {
        let delivery = self.router.next_delivery(shard, &mut self.sequence);
        if delivery.is_none() {
            self.counters.cells.spill_bytes.set(self.router.bytes() as u64);
        }
        delivery
    }

    /// Each channel with each shard that it is routed to.
    pub(super) fn routed(&self) -> impl Iterator<Item = (&ChannelName, ShardIndex)> {
        let named = self.channels.ids().filter_map(|id| Some((id, &self.channels.get(id)?.name)));
        named.flat_map(|(id, name)| self.router.routes(id).iter().map(move |route| (name, route.shard)))
    }

    /// Whether large answers to the shard have room.
    pub(super) fn takes_control(&self, shard: ShardIndex) -> bool {
        self.router.has_room(shard)
    }

    pub(super) fn next_notice(&mut self) -> Option<Notice> {
        self.notices.pop_front()
    }

    pub(super) fn write_gauges(&self) {
        let cells = &self.counters.cells;
        cells.upstream_channels.set(self.channels.len() as u64);
        cells.history_bytes.set(self.history.bytes() as u64);
        cells.spill_bytes.set(self.router.bytes() as u64);
    }

    /// Closes the batches at hand; what was acknowledged behind their messages becomes live.
    fn settle(&mut self, now: Time) {
        for shard in self.router.seal(now) {
            self.notices.push_back(Notice::QueueFull { shard: shard.0 });
        }
        if !self.acknowledged.is_empty() {
            self.settle_acknowledged(now);
        }
    }

    /// Behind the gaps of what was lost, as soon as nothing of it is awaited any more.
    fn tell_up(&mut self) {
        let is_heard = self.upstream == Reach::Up && self.channels.resubscribing() == 0;
        if self.told == Reach::Down && is_heard {
            self.told = Reach::Up;
            self.router.push_to_all(&Delivery::Upstream(Reach::Up));
        }
    }

    /// A channel that nobody wanted so far.
    fn begin(&mut self, now: Time, name: ChannelName) -> ChannelId {
        let state = match self.upstream {
            Reach::Up => State::Subscribing { waiters: Box::default() },
            Reach::Down => State::Resubscribing { lost_at: self.sequence.last() },
        };
        let retention = self.rules.retention(&name);
        let id = self.channels.insert(name, state, now);
        self.history.open(id, retention, self.sequence.last());
        if self.upstream == Reach::Up {
            self.subscriptions.want(id);
        }
        id
    }

    fn forget(&mut self, id: ChannelId) {
        self.channels.remove(id);
        self.history.forget(id);
        self.router.forget(id);
    }

    /// The answer to a join of a channel that is subscribed.
    fn answer(&mut self, id: ChannelId, waiter: Waiter) {
        let (replay, gap) = match self.history.start(id, waiter.since) {
            None => (Vec::new(), None),
            Some(from) if self.router.is_full(waiter.shard) => {
                (Vec::new(), Some(self.join_gap(from, GapReason::QueueFull)))
            }
            Some(from) => self.history.replay(id, from),
        };
        self.joined(waiter, JoinOutcome::Live { replay, gap });
    }

    /// All of the channel up to now.
    fn join_gap(&self, from: Position, reason: GapReason) -> JoinGap {
        JoinGap { from, until: self.sequence.last(), reason }
    }

    /// The answer to a join at a time when nobody listens: what there is, and the gap that has begun.
    fn answer_without_upstream(&mut self, id: ChannelId, waiter: Waiter, reason: GapReason) {
        let outcome = match self.history.start(id, waiter.since) {
            None => {
                let gap = Some(self.join_gap(self.sequence.last(), reason));
                JoinOutcome::Live { replay: Vec::new(), gap }
            }
            Some(from) if self.router.is_full(waiter.shard) => {
                JoinOutcome::Live { replay: Vec::new(), gap: Some(self.join_gap(from, reason)) }
            }
            Some(from) => {
                let (mut replay, gap) = self.history.replay(id, from);
                let from = replay.last().map_or(from, Replayed::position);
                // A position of its own: another channel's message may have the last one, and ids rise.
                replay.push(Replayed::Gap { position: self.sequence.take(), from, reason });
                JoinOutcome::Live { replay, gap }
            }
        };
        self.joined(waiter, outcome);
    }

    fn joined(&mut self, waiter: Waiter, outcome: JoinOutcome) {
        let Waiter { shard, channel, connection, since } = waiter;
        let outcome = self.with_overflow(since, outcome);
        let position = self.sequence.last();
        self.router.push(shard, Delivery::Joined(Joined { connection, channel, position, outcome }));
    }

    /// A client that was cut off between the notices of one gap is told of it again.
    fn with_overflow(&self, since: Since, outcome: JoinOutcome) -> JoinOutcome {
        match (since, outcome) {
            (Since::After(seen), JoinOutcome::Live { replay, gap }) => {
                // What it may lack lies before the notice that it had.
                let behind = gap.map_or((seen, GapReason::QueueFull), |gap| (gap.until, gap.reason));
                let overflow = self.router.overflow_began(seen).map(|from| JoinGap {
                    from,
                    until: behind.0,
                    reason: behind.1,
                });
                JoinOutcome::Live { replay, gap: overflow.or(gap) }
            }
            (_, outcome) => outcome,
        }
    }

    /// What was acknowledged becomes live: gaps for those that had been lost, then the answers to those who wait.
    fn settle_acknowledged(&mut self, now: Time) {
        let mut waiting = Vec::new();
        let mut lost: BTreeMap<Position, Vec<ChannelId>> = BTreeMap::new();
        let mut allowed: BTreeMap<Position, Vec<ChannelId>> = BTreeMap::new();
        // A position of its own: what any client was given before lies below it.
        let mut fresh: Option<Position> = None;
        for id in std::mem::take(&mut self.acknowledged) {
            let is_wanted = self.is_wanted(id);
            let state = if is_wanted { State::Live } else { State::Lingering };
            match self.channels.change(id, state) {
                State::Subscribing { waiters } => {
                    let position = *fresh.get_or_insert_with(|| self.sequence.take());
                    self.history.begin(id, position);
                    waiting.extend(waiters.into_iter().map(|waiter| (id, waiter)));
                }
                State::Resubscribing { lost_at } => lost.entry(lost_at).or_default().push(id),
                State::Forbidden { lost_at, .. } => allowed.entry(lost_at).or_default().push(id),
                State::Live | State::Lingering | State::Unsubscribing { .. } => {
                    unreachable!("only a channel that awaits it is acknowledged")
                }
            }
            if !is_wanted {
                self.left(now, id);
            }
        }
        for (reason, lost) in [(GapReason::UpstreamDown, lost), (GapReason::Forbidden, allowed)] {
            for (from, ids) in lost {
                for (id, position) in self.gap(from, &ids, reason) {
                    self.history.mend(id, from, position, reason);
                }
            }
        }
        self.tell_up();
        waiting.into_iter().for_each(|(id, waiter)| self.answer(id, waiter));
    }

    /// Tells every shard that wants these channels; returns the position of each channel's gap.
    fn gap(&mut self, from: Position, ids: &[ChannelId], reason: GapReason) -> Vec<(ChannelId, Position)> {
        let positions: Vec<(ChannelId, Position)> =
            ids.iter().map(|&id| (id, self.sequence.take())).collect();
        let mut shards: BTreeMap<ShardIndex, Vec<(ChannelKey, Position)>> = BTreeMap::new();
        for &(id, position) in &positions {
            for route in self.router.routes(id) {
                shards.entry(route.shard).or_default().push((route.channel, position));
            }
        }
        for (shard, channels) in shards {
            self.router.push(shard, Delivery::Gap(Gap { channels, from, reason }));
        }
        positions
    }

    fn unsubscribed(&mut self, id: ChannelId) {
        match self.channels.state(id) {
            State::Unsubscribing { is_sent: true } => self.forget(id),
            // Joined again in the meantime: its SUBSCRIBE follows.
            State::Subscribing { .. } => {}
            State::Live
            | State::Lingering
            | State::Unsubscribing { is_sent: false }
            | State::Resubscribing { .. }
            | State::Forbidden { .. } => unreachable!("only a channel that awaits it is unsubscribed"),
        }
    }

    /// The upstream does not let us read the channel. Those who wait are told; those who had it are told and keep it,
    /// for the day on which it is allowed again.
    fn forbid(&mut self, now: Time, id: ChannelId) {
        let is_wanted = self.is_wanted(id);
        match *self.channels.state(id) {
            State::Subscribing { .. } => {
                self.note_forbidden(id);
                let waiters = std::mem::take(self.channels.waiters(id).expect("the state has waiters"));
                waiters.into_iter().for_each(|waiter| self.joined(waiter, JoinOutcome::Forbidden));
                self.forget(id);
            }
            State::Resubscribing { lost_at } if is_wanted => {
                self.note_forbidden(id);
                self.gap(lost_at, &[id], GapReason::Forbidden);
                self.channels.change(id, State::Forbidden { lost_at, is_asked: false });
                self.watch_forbidden(now, id);
            }
            // As before.
            State::Forbidden { lost_at, .. } if is_wanted => {
                self.channels.change(id, State::Forbidden { lost_at, is_asked: false });
            }
            State::Resubscribing { .. } | State::Forbidden { .. } => self.forget(id),
            State::Live | State::Lingering | State::Unsubscribing { .. } => {
                unreachable!("only a channel that awaits an acknowledgement is forbidden")
            }
        }
    }

    fn note_forbidden(&mut self, id: ChannelId) {
        let channel = self.channels.get(id).expect("the channel is there");
        self.forbidden.count += 1;
        self.forbidden.first.get_or_insert_with(|| channel.name.clone());
    }

    /// Asks for a channel that was forbidden, unless that is under way, or nobody can be asked.
    fn ask_again(&mut self, id: ChannelId) {
        if let State::Forbidden { lost_at, is_asked: false } = *self.channels.state(id)
            && self.upstream == Reach::Up
        {
            self.channels.change(id, State::Forbidden { lost_at, is_asked: true });
            self.subscriptions.want(id);
        }
    }

    /// One entry a channel, as long as it is forbidden.
    fn watch_forbidden(&mut self, now: Time, id: ChannelId) {
        let channel = self.channels.get_mut(id).expect("the channel is there");
        if !std::mem::replace(&mut channel.is_retried, true) {
            self.retries.add(now, id);
        }
    }

    /// The entry of a channel that was forbidden came due.
    fn retry(&mut self, now: Time, id: ChannelId) {
        let Some(channel) = self.channels.get_mut(id) else { return };
        channel.is_retried = false;
        if let State::Forbidden { .. } = self.channels.state(id) {
            self.ask_again(id);
            self.watch_forbidden(now, id);
        }
    }

    /// The channel's last route went, or it is seen to have none: it lingers from now on.
    fn left(&mut self, now: Time, id: ChannelId) {
        self.channels.get_mut(id).expect("the channel is there").left_at = now;
        self.watch(now, id);
    }

    /// One entry a channel, however often it is joined and left: it may linger twice as long, not grow twice.
    fn watch(&mut self, now: Time, id: ChannelId) {
        let channel = self.channels.get_mut(id).expect("the channel is there");
        if !std::mem::replace(&mut channel.is_timed, true) {
            let span = lingering::span(self.history.retention(id));
            self.lingering.add(now, span, Left { channel: id, at: channel.left_at });
        }
    }

    /// Whether there is room for one more channel; ends one that lingers if that is what it takes. Names come from
    /// clients: their number must have a bound, and what nobody wants at present is the least loss.
    fn makes_room(&mut self, now: Time) -> bool {
        let count = self.channels.len();
        if count < self.channels_max {
            return true;
        }
        if count >= self.channels_max + CHANNELS_ENDING {
            return false;
        }
        count - self.channels.unsubscribing() < self.channels_max || self.end_longest_lingering(now)
    }

    /// Ends the channel that has lingered longest; false if none lingers. A channel that was joined and left again since
    /// its entry was made goes to the end of the queue, once for each time it was left: that pays for the search.
    fn end_longest_lingering(&mut self, now: Time) -> bool {
        while let Some(Left { channel: id, at }) = self.lingering.take_first() {
            let Some(channel) = self.channels.get_mut(id) else { continue };
            channel.is_timed = false;
            let was_left_again = channel.left_at != at;
            if self.is_wanted(id) {
                continue;
            }
            match self.channels.state(id) {
                State::Lingering | State::Resubscribing { .. } if was_left_again => self.watch(now, id),
                State::Lingering => {
                    self.end(id);
                    return true;
                }
                State::Resubscribing { .. } if self.upstream == Reach::Down => {
                    self.forget(id);
                    return true;
                }
                // It lingers from its acknowledgement on, or has ended.
                State::Resubscribing { .. }
                | State::Subscribing { .. }
                | State::Live
                | State::Forbidden { .. }
                | State::Unsubscribing { .. } => {}
            }
        }
        false
    }

    fn end(&mut self, id: ChannelId) {
        self.channels.change(id, State::Unsubscribing { is_sent: false });
        self.subscriptions.unwant(id);
    }

    /// The channel's entry came due.
    fn linger_over(&mut self, now: Time, id: ChannelId) {
        let Some(channel) = self.channels.get_mut(id) else { return };
        channel.is_timed = false;
        let is_over = now.since(channel.left_at) >= lingering::span(self.history.retention(id));
        if self.is_wanted(id) {
            return;
        }
        match self.channels.state(id) {
            State::Lingering | State::Resubscribing { .. } if !is_over => self.watch(now, id),
            State::Lingering => self.end(id),
            // While the upstream is there its SUBSCRIBE is under way, and it lingers from its acknowledgement on.
            State::Resubscribing { .. } if self.upstream == Reach::Down => self.forget(id),
            State::Resubscribing { .. }
            | State::Subscribing { .. }
            | State::Live
            | State::Forbidden { .. }
            | State::Unsubscribing { .. } => {}
        }
    }
}
