//! A subscriber that checks every event as it comes: ids rise, numbers rise, and no accepted number is missing unless a
//! gap of its channel stands in its place.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use courier::wire::sse_parser::Event;

use crate::publisher::Record;
use crate::support::stream::Stream;

#[derive(Debug)]
pub struct Subscriber {
    stream: Stream,
    views: BTreeMap<String, View>,
    epoch: String,
    /// The number in the last id.
    position: u64,
    /// The number in the id that the stream opened with.
    opened_at: u64,
    pub delivered: usize,
    /// Accepted, not delivered, and covered by a gap.
    pub stated: usize,
}

/// What it knows of one channel.
#[derive(Debug, Clone, Default)]
struct View {
    /// The number that comes next if nothing is missing.
    next: usize,
    /// True exactly while a gap stands behind the last message.
    has_gap: bool,
    /// The position of the last message.
    position: u64,
    /// The reasons of its gaps, in order.
    gaps: Vec<String>,
}

impl Subscriber {
    /// Of one who is owed everything from each channel's first number on.
    #[track_caller]
    pub fn open(web: SocketAddr, channels: &[impl AsRef<str>]) -> Self {
        let views = channels.iter().map(|name| (name.as_ref().to_owned(), View::default())).collect();
        Self::over(Stream::open(web, &query(channels)), views)
    }

    /// Of one who comes back behind what `other` has seen so far, and is owed what follows.
    #[track_caller]
    pub fn resume(web: SocketAddr, other: &Self) -> Self {
        let channels: Vec<&String> = other.views.keys().collect();
        let stream = Stream::resume(web, &query(&channels), other.stream.last_event_id());
        let mut views = other.views.clone();
        views.values_mut().for_each(|view| view.gaps.clear());
        Self::over(stream, views)
    }

    #[track_caller]
    fn over(stream: Stream, views: BTreeMap<String, View>) -> Self {
        let (epoch, position) = parse_id(stream.opening_id());
        Self { stream, views, epoch, position, opened_at: position, delivered: 0, stated: 0 }
    }

    pub fn channels(&self) -> impl Iterator<Item = &str> {
        self.views.keys().map(String::as_str)
    }

    /// The reasons of the channel's gaps so far, in order.
    pub fn gaps(&self, channel: &str) -> &[String] {
        &self.views[channel].gaps
    }

    /// The next event that comes.
    #[track_caller]
    pub fn take(&mut self, record: &Record) {
        let event = self.stream.event();
        self.check(&event, record);
    }

    #[track_caller]
    pub fn take_what_has_come(&mut self, record: &Record) {
        while let Some(event) = self.stream.event_within(Duration::from_millis(1)) {
            self.check(&event, record);
        }
    }

    #[track_caller]
    fn check(&mut self, event: &Event, record: &Record) {
        let (epoch, position) = parse_id(&event.id);
        assert_eq!(epoch, self.epoch, "{event:?}");
        let is_gap = event.event == "courier-gap";
        // What is told while a stream opens is told with the id that it opens with, of each channel.
        let is_opening = is_gap && position == self.opened_at;
        assert!(position > self.position || is_opening, "{position} behind {}: {event:?}", self.position);
        self.position = position;
        match event.event.as_str() {
            "message" => self.message(event, record),
            "courier-gap" => self.gap(event),
            other => panic!("{other} is no event of these channels"),
        }
    }

    /// Everything up to the last number of each channel.
    #[track_caller]
    pub fn take_all(&mut self, record: &Record) {
        while self.views.iter().any(|(name, view)| view.next <= record.last(name)) {
            self.take(record);
        }
    }

    #[track_caller]
    fn message(&mut self, event: &Event, record: &Record) {
        let mut words = event.data.split(' ');
        let name = words.next().unwrap();
        let number: usize = words.next().unwrap().parse().unwrap();
        let view = self.views.get_mut(name).expect("a channel that was asked for");
        assert!(number >= view.next, "{name} {number} comes again or late; {} is next", view.next);
        let missing = (view.next..number).filter(|&number| record.is_accepted(name, number)).count();
        assert!(
            missing == 0 || view.has_gap,
            "{missing} of {name} are missing before {number}, and no gap says so"
        );
        self.stated += missing;
        self.delivered += 1;
        *view = View {
            next: number + 1,
            has_gap: false,
            position: self.position,
            gaps: std::mem::take(&mut view.gaps),
        };
    }

    #[track_caller]
    fn gap(&mut self, event: &Event) {
        let gap: serde_json::Value = serde_json::from_str(&event.data).unwrap();
        let view =
            self.views.get_mut(gap["channel"].as_str().unwrap()).expect("a channel that was asked for");
        let (epoch, from) = parse_id(gap["from"].as_str().unwrap());
        assert_eq!(epoch, self.epoch, "{event:?}");
        assert!(from >= view.position, "what was delivered is in no gap: {event:?} behind {}", view.position);
        assert!(from <= self.position, "{event:?}");
        view.has_gap = true;
        view.gaps.push(gap["reason"].as_str().unwrap().to_owned());
    }
}

fn query(channels: &[impl AsRef<str>]) -> String {
    channels.iter().map(|name| format!("channel={}", name.as_ref())).collect::<Vec<_>>().join("&")
}

/// Epoch and number.
#[track_caller]
fn parse_id(id: &str) -> (String, u64) {
    let (epoch, number) = id.split_once('.').unwrap_or_else(|| panic!("{id:?} is no id"));
    (epoch.to_owned(), number.parse().unwrap())
}
