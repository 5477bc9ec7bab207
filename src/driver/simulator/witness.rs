//! What a client is told, and what it holds courier to: of each channel every message, in order, once, or a stated gap
//! that the run's troubles explain.
//!
//! Judged by two orders that must agree. By number: after message 5 of a channel comes 6, also across a reconnect. By
//! position: an id says that everything up to it was told, so of all that lies between two ids of a channel's messages
//! nothing may be left out. What is left out must lie in a gap that was stated in between, behind where it begins.

use crate::base::position::Position;
use crate::base::queue::GapReason;

use super::EPOCH;
use super::causes::{Causes, Circumstances};
use super::event_stream::{Block, Event, EventStream};
use super::order::{Message, Order, channel_name};

#[derive(Debug)]
pub(super) struct Witness {
    pub(super) name: String,
    pub(super) channels: Vec<Wanted>,
    pub(super) format: Format,
    stream: EventStream,
    pub(super) begin: Begin,
    /// Up to where this client has been told everything, and how much had been published when it was.
    pub(super) seen: Option<Seen>,
    /// True from a gap that says that a channel is forbidden until the next stream: a stream that opened with it is
    /// without that channel for good.
    pub(super) is_refused: bool,
    /// The fields of the last block.
    last_fields: String,
    pub(super) messages: u64,
    pub(super) gaps: [u64; GapReason::ALL.len()],
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Format {
    Raw,
    Event,
    Json,
}

/// How the present stream was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Begin {
    Live,
    Resume,
    /// With an id that is none of this process.
    Foreign,
    Earliest,
    Last(u32),
}

#[derive(Debug, Clone)]
pub(super) struct Seen {
    pub(super) id: String,
    pub(super) position: Position,
    /// By channel, the number of the last message.
    published: Vec<u64>,
}

#[derive(Debug)]
pub(super) struct Wanted {
    pub(super) channel: usize,
    heard: Heard,
    /// Every message up to here was told; none if nothing is promised yet.
    told: Option<Position>,
    /// The gaps that were stated since the last message.
    gaps: Vec<Stated>,
    /// True from a resume with a foreign id until that is stated.
    owes_gap: bool,
    /// On a stream that began with the last messages: the last that the reader had for certain, and how many of those up
    /// to it may come.
    last: Option<(u64, u32)>,
}

/// A gap: messages behind `from` and up to `until` may be missing.
#[derive(Debug, Clone, Copy)]
struct Stated {
    from: Position,
    until: Position,
}

#[derive(Debug, Clone, Copy)]
enum Heard {
    /// The stream has not opened.
    Nothing,
    /// The stream opened when so many messages had been published.
    Opened(u64),
    /// The last message was this.
    Message(u64),
}

impl Wanted {
    pub(super) fn new(channel: usize) -> Self {
        Self { channel, heard: Heard::Nothing, told: None, gaps: Vec::new(), owes_gap: false, last: None }
    }

    fn opens(&mut self, published: u64) {
        if let Heard::Nothing = self.heard {
            self.heard = Heard::Opened(published);
        }
    }
}

impl Witness {
    pub(super) fn new(name: String, format: Format) -> Self {
        Self {
            name,
            channels: Vec::new(),
            format,
            stream: EventStream::new(""),
            begin: Begin::Live,
            seen: None,
            is_refused: false,
            last_fields: String::new(),
            messages: 0,
            gaps: [0; GapReason::ALL.len()],
        }
    }

    /// Changes what it wants. Of a channel that is new to it, it wants what comes behind its last id.
    pub(super) fn want(&mut self, channels: Vec<usize>) {
        let mut before = std::mem::take(&mut self.channels);
        for channel in channels {
            let kept = before.iter().position(|wanted| wanted.channel == channel);
            let mut wanted = kept.map_or_else(|| Wanted::new(channel), |at| before.swap_remove(at));
            if let Some(seen) = &self.seen {
                wanted.opens(seen.published[channel]);
            }
            self.channels.push(wanted);
        }
    }

    /// A new stream; what was half said on the one before is void.
    pub(super) fn connects(&mut self, begin: Begin, order: &Order) {
        if begin != Begin::Resume {
            // It begins anew, as if it had never been there.
            self.seen = None;
            self.channels.iter_mut().for_each(|wanted| *wanted = Wanted::new(wanted.channel));
        }
        self.begin = begin;
        self.is_refused = false;
        let id = if begin == Begin::Foreign { FOREIGN } else { "" };
        self.stream = EventStream::new(self.seen.as_ref().map_or(id, |seen| &seen.id));
        for wanted in &mut self.channels {
            wanted.told = self.seen.as_ref().map(|seen| seen.position);
            wanted.owes_gap = begin == Begin::Foreign;
            wanted.last = match begin {
                Begin::Last(count) => Some((order.last_given(wanted.channel), count)),
                Begin::Live | Begin::Resume | Begin::Foreign | Begin::Earliest => None,
            };
        }
    }

    pub(super) fn hear(&mut self, bytes: &[u8], order: &Order, causes: &Causes, now: Circumstances) {
        let blocks = self.stream.feed(bytes).unwrap_or_else(|error| panic!("{}: {error}", self.name));
        for block in blocks {
            self.block(block, order, causes, now);
        }
    }

    /// The server has ended the stream by itself, politely: nothing is cut, and the last words say when to come back.
    pub(super) fn check_last_words(&self) {
        assert!(self.stream.is_between_blocks(), "{}: a stream ends in the middle of a block", self.name);
        assert_eq!(self.last_fields, "r", "{}: a stream's last words are when to come back", self.name);
    }

    pub(super) fn has_opened(&self) -> bool {
        self.channels.iter().all(|wanted| !matches!(wanted.heard, Heard::Nothing))
    }

    /// The first channel of which nothing was heard behind these messages, by channel.
    pub(super) fn lacks(&self, behind: &[u64]) -> Option<&Wanted> {
        self.channels.iter().find(|wanted| match wanted.heard {
            Heard::Message(last) => last <= behind[wanted.channel],
            Heard::Nothing | Heard::Opened(_) => true,
        })
    }

    fn block(&mut self, block: Block, order: &Order, causes: &Causes, now: Circumstances) {
        let Block { event, id, fields } = block;
        if !fields.is_empty() {
            self.last_fields = fields;
        }
        if id.is_empty() || id == FOREIGN {
            return match event {
                None => {}
                Some(Event { kind, data }) if kind == "courier-gap" => self.gap(&data, None, causes, now),
                Some(_) => panic!("{}: an event without an id of this run", self.name),
            };
        }
        let position = self.position(&id);
        let before = self.seen.as_ref().map_or(Position::ZERO, |seen| seen.position);
        match event {
            None => assert!(position >= before, "{}: id {id} falls back behind {before:?}", self.name),
            Some(Event { kind, data }) if kind == "courier-gap" => {
                assert!(position >= before, "{}: a gap's id {id} falls back behind {before:?}", self.name);
                self.gap(&data, Some(position), causes, now);
            }
            Some(event) => {
                assert!(position > before, "{}: id {id} does not rise above {before:?}", self.name);
                self.message(&event, &id, position, order);
            }
        }
        self.sees(id, position, order);
    }

    fn position(&self, id: &str) -> Position {
        let (epoch, number) = id.split_once('.').unwrap_or_else(|| panic!("{}: id {id:?}", self.name));
        assert_eq!(epoch, EPOCH.to_string(), "{}: id {id:?}", self.name);
        Position(number.parse().unwrap_or_else(|_| panic!("{}: id {id:?}", self.name)))
    }

    fn sees(&mut self, id: String, position: Position, order: &Order) {
        // Cut here, it would come back with this id, and never be told.
        let owing = self.channels.iter().find(|wanted| wanted.owes_gap);
        assert!(owing.is_none(), "{}: id {id} before the gap of an unknown epoch: {owing:?}", self.name);
        let is_first = self.seen.is_none();
        self.seen = Some(Seen { id, position, published: order.published().to_vec() });
        for wanted in &mut self.channels {
            wanted.opens(order.published()[wanted.channel]);
            // A first id promises what comes behind it; where the past was asked for, only as far as it is kept.
            if is_first && matches!(self.begin, Begin::Live | Begin::Foreign) && wanted.told.is_none() {
                wanted.told = Some(position);
            }
        }
    }

    fn gap(&mut self, data: &str, id: Option<Position>, causes: &Causes, now: Circumstances) {
        let gap: serde_json::Value = serde_json::from_str(data).expect("a gap is JSON");
        let channel = gap["channel"].as_str().expect("a gap names its channel");
        let from = gap["from"].as_str().map_or(Position::ZERO, |id| self.position(id));
        let said = gap["reason"].as_str().expect("a gap has a reason");
        let reason = GapReason::ALL.into_iter().find(|reason| reason.name() == said);
        let reason = reason.unwrap_or_else(|| panic!("{}: reason {said:?}", self.name));
        let until = gap["to"].as_str().map(|id| self.position(id)).or(id);
        let until = until.unwrap_or_else(|| panic!("{}: a gap without an end: {data}", self.name));
        assert!(from <= until, "{}: a gap from {from:?} to {until:?}", self.name);
        assert!(id.is_none_or(|id| id <= until), "{}: a gap ends before its id: {data}", self.name);
        let begin = self.begin;
        let wanted = self.channels.iter_mut().find(|wanted| channel_name(wanted.channel) == channel);
        let wanted = wanted.unwrap_or_else(|| panic!("{}: a gap of {channel}", self.name));
        let had_message = matches!(wanted.heard, Heard::Message(_));
        let is_explained = causes.explain(reason, wanted.channel, begin, had_message, now);
        assert!(is_explained, "{}: nothing explains {data}", self.name);
        // A stream that opens with a forbidden channel is without it until it ends.
        let until = if reason == GapReason::Forbidden { Position(u64::MAX) } else { until };
        wanted.gaps.push(Stated { from, until });
        // A channel that is forbidden is told to be that instead.
        wanted.owes_gap &= !matches!(reason, GapReason::UnknownEpoch | GapReason::Forbidden);
        self.is_refused |= reason == GapReason::Forbidden;
        self.gaps[reason as usize] += 1;
    }

    fn message(&mut self, event: &Event, id: &str, position: Position, order: &Order) {
        let name = &self.name;
        let payload = self.format.payload(event, id).unwrap_or_else(|| panic!("{name}: {event:?} at {id}"));
        let message = Message::parse(&payload).unwrap_or_else(|| panic!("{name}: {payload:?} at {id}"));
        let Message { channel, number } = message;
        assert!(self.format != Format::Event || event.kind == channel_name(channel), "{name}: {event:?}");
        assert!(number <= order.published()[channel], "{name}: {message:?} was never published");
        assert_eq!(order.position(message), Some(position), "{name}: {message:?} has another id");
        let wanted = self.channels.iter_mut().find(|wanted| wanted.channel == channel);
        let wanted = wanted.unwrap_or_else(|| panic!("{name}: {message:?} is not listened to"));
        assert!(!wanted.owes_gap, "{name}: {message:?} before the gap of an unknown epoch");
        wanted.check_numbers(number, order, name);
        if let Some(told) = wanted.told {
            for (passed, left_out) in order.between(channel, told, position) {
                assert!(
                    wanted.is_excused(passed),
                    "{name}: {left_out:?} at {passed:?} is left out before {message:?}: {wanted:?}"
                );
            }
        }
        if let Some((there, most)) = &mut wanted.last
            && number <= *there
        {
            assert!(*most > 0, "{name}: {message:?} is beyond the last messages that were asked for");
            *most -= 1;
        }
        wanted.heard = Heard::Message(number);
        wanted.told = Some(position);
        wanted.gaps.clear();
        self.messages += 1;
    }
}

impl Wanted {
    fn check_numbers(&self, number: u64, order: &Order, name: &str) {
        let last = match self.heard {
            Heard::Message(last) => {
                assert!(number > last, "{name}: {number} of {} comes again after {last}", self.channel);
                last
            }
            Heard::Opened(before) => before,
            Heard::Nothing => return,
        };
        for passed in last + 1..number {
            let passed = Message { channel: self.channel, number: passed };
            let is_excused = match order.position(passed) {
                Some(position) => self.is_excused(position),
                // Nobody was given it.
                None => !self.gaps.is_empty(),
            };
            let at = order.position(passed);
            assert!(is_excused, "{name}: {passed:?} at {at:?} is missing before {number}: {self:?}");
        }
    }

    fn is_excused(&self, position: Position) -> bool {
        self.gaps.iter().any(|gap| gap.from < position && position <= gap.until)
    }
}

/// An id of another run.
pub(super) const FOREIGN: &str = "zzz.17";

impl Format {
    pub(super) const ALL: [Self; 3] = [Self::Raw, Self::Event, Self::Json];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Raw => "raw",
            Self::Event => "event",
            Self::Json => "json",
        }
    }

    /// The payload in an event's data, if everything around it is as it should be.
    fn payload(self, event: &Event, id: &str) -> Option<String> {
        match self {
            Self::Raw | Self::Event => Some(event.data.clone()),
            Self::Json => {
                let value: serde_json::Value = serde_json::from_str(&event.data).ok()?;
                (value["id"] == id).then(|| value["data"].as_str().map(str::to_owned))?
            }
        }
    }
}
