//! One courier on one Redis with everything around it, and the one verdict that every fault is held to.
//!
//! Around it: three subscribers of three channels, an application that publishes all the time, a load balancer that asks
//! for readiness all the time; and in a long outage one subscriber who comes new and one who comes back. The verdict, when
//! the fault is over and courier was not touched: each of them has everything that Redis accepted, in order and once, or
//! the gap that says where not; `/readyz` was red and is green; the metrics have the outage and its length; the log has
//! exactly the lines that are expected of it.

use std::collections::BTreeMap;
use std::time::Instant;

use courier::wire::resp::reply::Reply;

use crate::publisher::Publisher;
use crate::subscriber::Subscriber;
use crate::support::courier::Courier;
use crate::support::redis::Redis;
use crate::support::resp::Client;
use crate::support::until;
use crate::watch::Watch;

#[derive(Debug)]
pub struct Scene {
    pub redis: Redis,
    pub courier: Courier,
    pub watch: Watch,
    pub publisher: Publisher,
    subscribers: Vec<Subscriber>,
    /// Those who came during the outage: they are told at once, and again when it is over.
    latecomers: Vec<Subscriber>,
    /// What each subscriber is told of a channel; of the others, that Redis was not heard once.
    gaps: BTreeMap<String, Vec<&'static str>>,
    /// How often the connection that hears is made anew.
    reconnects: u32,
    before: Figures,
    began: Instant,
}

/// What the metrics say.
#[derive(Debug)]
struct Figures {
    outage_seconds: f64,
    reconnects: f64,
    failed_attempts: f64,
    gaps: f64,
}

impl Scene {
    #[track_caller]
    pub fn new(redis: Redis) -> Self {
        Self::with(redis, &[])
    }

    #[track_caller]
    pub fn with(redis: Redis, flags: &[&str]) -> Self {
        let url = redis.url();
        Self::through(&url, redis, flags)
    }

    /// By a way of its own.
    #[track_caller]
    pub fn through(url: &str, redis: Redis, flags: &[&str]) -> Self {
        let began = Instant::now();
        let courier = Courier::start(&[&["--redis", url, "--public", "*", "--shards", "2"], flags].concat());
        let subscribers = (0..3).map(|_| Subscriber::open(courier.web, &CHANNELS)).collect();
        let mut scene = Self {
            watch: Watch::start(courier.admin),
            publisher: Publisher::start(redis.access(), &BUSY),
            before: Figures::of(&courier),
            redis,
            courier,
            subscribers,
            latecomers: Vec::new(),
            gaps: BTreeMap::new(),
            reconnects: 1,
            began,
        };
        for subscriber in &mut scene.subscribers {
            subscriber.take(&scene.publisher.record);
        }
        scene.watch.until_green();
        scene
    }

    /// One more who is owed everything of these channels.
    #[track_caller]
    pub fn subscribe(&mut self, channels: &[impl AsRef<str>]) {
        self.subscribers.push(Subscriber::open(self.courier.web, channels));
    }

    /// The outage is seen; one comes new and one comes back.
    #[track_caller]
    pub fn turns_red(&mut self) {
        self.watch.until_red();
        self.subscribers[0].take_what_has_come(&self.publisher.record);
        let new = Subscriber::open(self.courier.web, &CHANNELS);
        let back = Subscriber::resume(self.courier.web, &self.subscribers[0]);
        self.latecomers.extend([new, back]);
    }

    /// Subscribers are told this of the channel.
    pub fn expect_gaps(&mut self, channel: &str, reasons: &[&'static str]) {
        self.gaps.insert(channel.to_owned(), reasons.to_vec());
    }

    pub fn expect_reconnects(&mut self, count: u32) {
        self.reconnects = count;
    }

    #[track_caller]
    pub fn until_reconnects(&self, count: u32) {
        let wanted = self.before.reconnects + f64::from(count);
        self.courier.until_metric(RECONNECTS, |reconnects| reconnects >= wanted);
    }

    /// Until courier has tried in vain so often.
    #[track_caller]
    pub fn until_failed_attempts(&self, count: u32) {
        let wanted = self.before.failed_attempts + f64::from(count);
        self.courier.until_metric(FAILED_ATTEMPTS, |attempts| attempts >= wanted);
    }

    /// The verdict on an outage, of which the log says these lines and that it is over.
    #[track_caller]
    pub fn recovers(self, lost: &[&str]) {
        self.recovers_each_time(1, lost);
    }

    /// The verdict on outages that are alike.
    #[track_caller]
    pub fn recovers_each_time(mut self, outages: u32, lost: &[&str]) {
        self.reconnects += outages - 1;
        let outages = outages as usize;
        self.watch.until_green();
        self.courier.process.errors.nth_with(outages - 1, HEARD_AGAIN);
        let lines: Vec<&str> = lost.iter().copied().chain([HEARD_AGAIN]).collect();
        let outage_seconds = self.verdict(&lines.repeat(outages), &vec![UPSTREAM_DOWN; outages]);
        assert!(outage_seconds > 0.0);
    }

    /// The verdict on what is none: nothing is lost, nobody is told, the log is silent.
    #[track_caller]
    pub fn goes_on(mut self, lines: &[&str]) {
        self.reconnects = 0;
        assert!(!self.watch.has_seen_red());
        assert_eq!(self.verdict(lines, &[]), 0.0);
    }

    /// What holds of every fault. How long the outage was, as the metrics say.
    #[track_caller]
    fn verdict(self, lines: &[&str], gaps: &[&str]) -> f64 {
        let Self { redis, mut courier, watch, publisher, mut subscribers, mut latecomers, .. } = self;
        until("both connections are logged in", || links(&mut redis.client(), "").len() == 2);
        let so_far = publisher.record.accepted(BUSY[0]);
        until("the application has gone on", || publisher.record.accepted(BUSY[0]) >= so_far + 20);
        let channels: std::collections::BTreeSet<&str> =
            subscribers.iter().flat_map(Subscriber::channels).collect();
        let record = publisher.finish(channels.into_iter());
        let expected = |channel: &str| self.gaps.get(channel).map_or(gaps, Vec::as_slice);
        for subscriber in &mut subscribers {
            subscriber.take_all(&record);
            for channel in subscriber.channels() {
                assert_eq!(subscriber.gaps(channel), expected(channel), "the gaps of {channel}");
            }
        }
        for subscriber in &mut latecomers {
            subscriber.take_all(&record);
            for channel in subscriber.channels() {
                let told = subscriber.gaps(channel);
                let least = if self.gaps.contains_key(channel) { 1 } else { gaps.len() + 1 };
                assert!(told.len() >= least, "at once and at the end: {channel}: {told:?}");
            }
        }
        let red_seconds = watch.finish().as_secs_f64();
        let after = Figures::of(&courier);
        let outage_seconds = after.outage_seconds - self.before.outage_seconds;
        assert!(outage_seconds <= self.began.elapsed().as_secs_f64());
        assert_eq!(courier.metric("courier_redis_up"), 1.0);
        assert_eq!(after.reconnects - self.before.reconnects, f64::from(self.reconnects));
        let told = |one: &Subscriber| one.channels().map(|channel| one.gaps(channel).len()).sum::<usize>();
        let counted = after.gaps - self.before.gaps;
        // A gap of a live channel is counted for each shard that has subscribers of it.
        let everyone = subscribers.iter().chain(&latecomers).map(told).sum::<usize>();
        assert!(told(&subscribers[0]) as f64 <= counted && counted <= everyone as f64, "{counted}");
        said_exactly(&courier, lines);
        assert!(!courier.process.has_ended(), "and all that without a restart");
        let of_all = |count: fn(&Subscriber) -> usize| subscribers.iter().map(count).sum::<usize>();
        let owed = |one: &Subscriber| one.channels().map(|channel| record.accepted(channel)).sum::<usize>();
        let (delivered, stated) = (of_all(|one| one.delivered), of_all(|one| one.stated));
        let owed = subscribers.iter().map(owed).sum::<usize>();
        assert!(delivered + stated >= owed, "{delivered} + {stated} of {owed}");
        figures(&format!(
            "{delivered} delivered + {stated} in stated gaps of {owed}, red {red_seconds:.2} s, outage {outage_seconds:.2} s"
        ));
        outage_seconds
    }
}

impl Figures {
    fn of(courier: &Courier) -> Self {
        Self {
            outage_seconds: courier.metric("courier_redis_outage_seconds_total"),
            reconnects: courier.metric(RECONNECTS),
            failed_attempts: courier.metric(FAILED_ATTEMPTS),
            gaps: courier.metric("courier_gaps_total"),
        }
    }
}

/// The ids of courier's connections to this Redis, of those of which CLIENT LIST says `what`.
pub fn links(client: &mut Client, what: &str) -> Vec<String> {
    let Reply::Text(list) = client.say("CLIENT LIST") else { panic!("CLIENT LIST is a text") };
    let list = String::from_utf8(list.to_vec()).unwrap();
    let ours = list.lines().filter(|line| line.contains(" name=courier-") && line.contains(what));
    ours.map(|line| line.split([' ', '=']).nth(1).unwrap().to_owned()).collect()
}

/// A number in what INFO says.
pub fn info(client: &mut Client, field: &str) -> Option<u64> {
    let Reply::Text(info) = client.say("INFO everything") else { panic!("INFO is a text") };
    let info = String::from_utf8(info.to_vec()).unwrap();
    info.lines().find_map(|line| line.strip_prefix(field)?.parse().ok())
}

/// Of what the log says of Redis since courier was started: these lines in this order, and no others.
#[track_caller]
fn said_exactly(courier: &Courier, lines: &[&str]) {
    let all = courier.process.errors.all();
    let said: Vec<&String> = all.iter().filter(|line| line.contains("redis ")).skip(1).collect();
    let is_as_expected =
        said.len() == lines.len() && said.iter().zip(lines).all(|(said, line)| said.contains(line));
    assert!(is_as_expected, "one line a transition, {lines:#?}, and not\n{said:#?}");
}

/// For the table of docs/reliability.md.
fn figures(line: &str) {
    let test = std::thread::current().name().unwrap_or_default().to_owned();
    eprintln!("figures: {test}: {line}");
}

pub const UPSTREAM_DOWN: &str = "upstream-down";
pub const FORBIDDEN: &str = "forbidden";
/// That Redis closed the connection, or reset it: whether bytes lay unread at its end is chance.
pub const CLOSED: &str = "WARN courier::driver::reader_loop: redis cannot be heard reason=\"Redis ";
pub const SILENT: &str =
    "WARN courier::driver::reader_loop: redis cannot be heard reason=\"it did not answer a PING\"";
const HEARD_AGAIN: &str = "INFO courier::driver::reader_loop: redis is heard again outage_seconds=";
const RECONNECTS: &str = "courier_redis_reconnects_total";
const FAILED_ATTEMPTS: &str = "courier_redis_failed_attempts_total";
/// Of every subscriber; the application speaks to the first two.
const CHANNELS: [&str; 3] = ["a", "b", "c"];
const BUSY: [&str; 2] = ["a", "b"];
