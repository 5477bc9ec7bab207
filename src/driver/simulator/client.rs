//! A client: connects, says its request piece by piece, reads when it feels like it, goes away, comes back in every way
//! that a client can ask for a stream. What it is told goes to its [`Witness`].

use std::collections::BTreeSet;

use crate::base::number::index;
use crate::base::random::Random;
use crate::base::socket::Slot;
use crate::base::time::Time;

use super::apps::{ALLOWED, FORBIDDEN};
use super::causes::{Causes, Circumstances};
use super::crowd::Home;
use super::order::{Order, channel_name};
use super::witness::{Begin, FOREIGN, Format, Witness};

#[derive(Debug)]
pub(super) struct Client {
    pub(super) witness: Witness,
    /// The shard and slot it is connected to.
    pub(super) place: Option<(usize, Slot)>,
    connected_at: Time,
    to_say: Vec<u8>,
    head: Vec<u8>,
    answer: Answer,
    channels: usize,
    pub(super) home: Home,
    /// No longer hangs up or changes its mind on its own.
    pub(super) rested: bool,
    /// Whether the application lets it in; none: nothing is asked in its world.
    pub(super) is_allowed: Option<bool>,
    /// Has left for good.
    pub(super) retired: bool,
}

/// What the server answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Answer {
    Head,
    Stream,
    /// It dawdled, or cannot be served now: a short answer, and the end.
    Refused,
}

impl Client {
    pub(super) fn new(seed: u64, number: u64, channels: usize, home: Home, random: &mut Random) -> Self {
        let format = Format::ALL[index(random.below(Format::ALL.len() as u64))];
        let mut witness = Witness::new(format!("seed {seed}, client {number}"), format);
        witness.want(any_channels(channels, random));
        Self {
            witness,
            place: None,
            connected_at: Time::ZERO,
            to_say: Vec::new(),
            head: Vec::new(),
            answer: Answer::Head,
            channels,
            home,
            rested: false,
            is_allowed: None,
            retired: false,
        }
    }

    /// Connects; true if it resumes.
    pub(super) fn connect(
        &mut self,
        now: Time,
        place: (usize, Slot),
        order: &Order,
        random: &mut Random,
    ) -> bool {
        self.place = Some(place);
        self.connected_at = now;
        if !self.rested && random.below(4) == 0 {
            self.witness.want(any_channels(self.channels, random));
        }
        let begin = self.any_begin(random);
        let request = self.request(begin, random);
        let cookie = match self.is_allowed {
            None => None,
            Some(true) => Some(ALLOWED),
            Some(false) => Some(FORBIDDEN),
        };
        let request = match cookie {
            None => request,
            Some(cookie) => request.replacen("\r\n", &format!("\r\nCookie: {cookie}\r\n"), 1),
        };
        self.witness.connects(begin, order);
        self.to_say = request.into_bytes();
        self.head.clear();
        self.answer = Answer::Head;
        begin == Begin::Resume
    }

    /// The connection there has ended, if it still is this client's.
    pub(super) fn disconnected(&mut self, place: (usize, Slot)) {
        if self.place == Some(place) {
            self.place = None;
        }
    }

    /// Now and then a client has had enough.
    pub(super) fn is_tired(&self, random: &mut Random) -> bool {
        !self.rested && random.below(40) == 0
    }

    /// Some more of its request.
    pub(super) fn speak(&mut self, random: &mut Random) -> Vec<u8> {
        let most = random.below(self.to_say.len() as u64 + 1);
        self.to_say.drain(..index(most)).collect()
    }

    /// `asked`: the channels about which the application is asked.
    pub(super) fn is_kept_out(&self, asked: &BTreeSet<usize>) -> bool {
        self.is_allowed == Some(false) && self.is_asked_about(asked)
    }

    /// Whether it gets in only as somebody.
    pub(super) fn is_asked_about(&self, asked: &BTreeSet<usize>) -> bool {
        self.witness.channels.iter().any(|wanted| asked.contains(&wanted.channel))
    }

    pub(super) fn hear(
        &mut self,
        now: Time,
        bytes: &[u8],
        order: &Order,
        causes: &Causes,
        may_refuse: bool,
        is_kept_out: bool,
    ) {
        let mut body = bytes;
        if self.answer == Answer::Head {
            let end = bytes.iter().position(|&byte| {
                self.head.push(byte);
                self.head.ends_with(b"\r\n\r\n")
            });
            let Some(end) = end else { return };
            self.answer = self.judge_head(may_refuse, is_kept_out);
            body = &bytes[end + 1..];
        }
        if self.answer == Answer::Stream {
            // Of a stream it may be told when to come back, and nothing else.
            let is_told = body.iter().any(|byte| !b"retry: 0123456789\n".contains(byte));
            assert!(!is_kept_out || !is_told, "{} is let in without a grant", self.witness.name);
            let circumstances = Circumstances { age: now.since(self.connected_at) };
            self.witness.hear(body, order, causes, circumstances);
        }
    }

    /// The server has ended the connection with a FIN, and everything was read.
    pub(super) fn check_end(&self) {
        if self.answer == Answer::Stream {
            self.witness.check_last_words();
        }
    }

    pub(super) fn has_opened(&self) -> bool {
        self.place.is_some() && self.witness.has_opened()
    }

    fn judge_head(&self, may_refuse: bool, is_kept_out: bool) -> Answer {
        let head = String::from_utf8_lossy(&self.head);
        match head.split(' ').nth(1) {
            Some("200") => {
                assert!(
                    head.contains("\r\nContent-Type: text/event-stream"),
                    "{}: {head}",
                    self.witness.name
                );
                Answer::Stream
            }
            Some("408") => Answer::Refused,
            Some("403") if is_kept_out => Answer::Refused,
            Some("503") if may_refuse => Answer::Refused,
            _ => panic!("{}: {head}", self.witness.name),
        }
    }

    fn any_begin(&self, random: &mut Random) -> Begin {
        if self.rested && self.witness.seen.is_some() {
            return Begin::Resume;
        }
        match (random.below(24), self.witness.seen.is_some()) {
            (0, _) => Begin::Foreign,
            (1..3, _) => Begin::Live,
            (3..5, _) => Begin::Earliest,
            (5..7, _) => Begin::Last(u32::try_from(random.below(6)).expect("a few")),
            (_, true) => Begin::Resume,
            (_, false) => Begin::Live,
        }
    }

    fn request(&self, begin: Begin, random: &mut Random) -> String {
        let witness = &self.witness;
        let mut query = vec![format!("format={}", witness.format.name())];
        query.extend(
            witness.channels.iter().map(|wanted| format!("channel={}", channel_name(wanted.channel))),
        );
        let mut header = String::new();
        let id = witness.seen.as_ref().map_or("", |seen| &seen.id);
        let said = match begin {
            Begin::Live => None,
            Begin::Resume => Some(id),
            Begin::Foreign => Some(FOREIGN),
            Begin::Earliest => Some("earliest"),
            Begin::Last(count) => {
                query.push(format!("history={count}"));
                None
            }
        };
        match said {
            Some(id) if random.below(2) == 0 => {
                header = format!("Last-Event-ID: {id}\r\n");
                // An EventSource repeats its URL: what stands there is older, and the header counts.
                if random.below(2) == 0 {
                    query.extend(["last_event_id=earliest".to_owned(), "history=3".to_owned()]);
                }
            }
            Some(id) if random.below(2) == 0 => query.push(format!("lastEventId={id}")),
            Some(id) => query.push(format!("last_event_id={id}")),
            None => {}
        }
        header += &self.home.field();
        format!("GET /events?{} HTTP/1.1\r\nHost: courier\r\n{header}\r\n", query.join("&"))
    }
}

/// At least one of the channels.
fn any_channels(channels: usize, random: &mut Random) -> Vec<usize> {
    let mut wanted: Vec<usize> = (0..channels).filter(|_| random.below(2) == 0).collect();
    if wanted.is_empty() {
        wanted.push(index(random.below(channels as u64)));
    }
    wanted
}
