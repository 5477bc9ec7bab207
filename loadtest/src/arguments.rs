//! The command line.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, CommandFactory, FromArgMatches, Parser, Subcommand, ValueEnum};

use crate::payload::Payload;
use crate::publisher::RedisUrl;
use crate::url::HttpUrl;

/// Measures a fan-out server from outside: CPU per delivery, latency, memory per connection. Every message is checked
/// at every subscriber: lost, repeated, out of order or altered.
///
/// Without --target it starts everything itself, on this machine: courier, and two bare loops that do nothing but
/// send, which are the floor that no server can be below. The server gets one CPU, the subscribers the others, and the
/// contenders take turns. With --target it measures a running server.
///
/// Exit code: 0 all was delivered as it should be, 1 something was not (or could not be measured), 2 wrong usage.
#[derive(Debug, Parser)]
#[command(name = "loadtest", version, max_term_width = 110)]
pub struct Arguments {
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// One channel with very many subscribers, one message at a time: CPU per delivery and latency
    Fanout(FanoutArguments),
    /// One channel with few subscribers and as many messages as go through: deliveries per CPU-second
    Firehose(FirehoseArguments),
    /// Very many subscribers and hardly a message: memory per connection and CPU at rest
    Idle(IdleArguments),
    /// Very many subscribers at once: connections accepted, answered and subscribed per second of the server's CPU
    Connect(ConnectArguments),
    /// Very many channels with one subscriber each, messages to random ones: CPU per delivery, latency, memory per channel
    Spread(SpreadArguments),
    /// Every subscriber's connection cut again and again, while messages go on: whether each gets all of them
    Jitter(JitterArguments),
    /// The server killed under all its subscribers and started again: how long until all are back
    Avalanche(AvalancheArguments),
    /// Few subscribers of one channel, one of them far too slow: whether the others notice
    Slow(SlowArguments),
    /// Fan-out to 20,000, 100,000 and 300,000 subscribers: whether a delivery costs the same
    Curve(CurveArguments),
    /// One process of the subscribers (started by the others)
    #[command(hide = true)]
    SwarmProcess,
    /// One of the bare loops (started by the others)
    #[command(hide = true)]
    BareServer { volley: BareVolley },
}

#[derive(Debug, Clone, Args)]
pub struct FanoutArguments {
    /// Messages that are measured, in each round of each contender
    #[arg(long, value_name = "COUNT", default_value_t = 30, value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    pub messages: u64,
    /// Messages before those, which warm up caches and buffers
    #[arg(long, value_name = "COUNT", default_value_t = 5, value_parser = clap::value_parser!(u64).range(0..=100_000))]
    pub warm_up: u64,
    /// Publish on a fixed schedule, so many messages a second, whether the earlier ones have arrived or not; latency
    /// counts from when a message was due [default: one at a time, the next when all have it]
    #[arg(long, value_name = "PER_SECOND", value_parser = positive)]
    pub rate: Option<f64>,
    #[command(flatten)]
    pub common: Common,
}

#[derive(Debug, Clone, Args)]
pub struct FirehoseArguments {
    /// Messages a second, or `auto`: climb until the server uses most of its CPU, or cannot keep up, or the load generator
    /// uses most of its own
    #[arg(long, value_name = "PER_SECOND", default_value = "auto", value_parser = rate)]
    pub rate: Rate,
    /// A rate is sustained while everything arrives and 99 of 100 messages take no longer than this
    #[arg(long, value_name = "DURATION", default_value = "5ms", value_parser = duration)]
    pub p99_max: Duration,
    /// Then publish at so much of the rate that was found, the same rate to all contenders: that of the slowest [default:
    /// to each its own, in full]
    #[arg(long, value_name = "SHARE", value_parser = share)]
    pub load: Option<f64>,
    /// How long each round is measured
    #[arg(long, value_name = "DURATION", default_value = "5s", value_parser = duration)]
    pub duration: Duration,
    /// How long a step of the search lasts, and the warm-up before a round
    #[arg(long, value_name = "DURATION", default_value = "500ms", value_parser = duration)]
    pub step: Duration,
    /// Messages are due in batches, so far apart: many publishers whose messages come together
    #[arg(long, value_name = "DURATION", default_value = "1ms", value_parser = duration)]
    pub batch_interval: Duration,
    #[command(flatten)]
    pub common: Common,
}

/// How many messages a second.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Rate {
    Auto,
    Fixed(f64),
}

#[derive(Debug, Clone, Args)]
pub struct IdleArguments {
    /// Messages to everybody, after which memory is looked at once more
    #[arg(long, value_name = "COUNT", default_value_t = 5, value_parser = clap::value_parser!(u64).range(0..=100_000))]
    pub messages: u64,
    /// How long to watch the connected server at rest, after the messages
    #[arg(long, value_name = "DURATION", default_value = "10s", value_parser = duration)]
    pub rest: Duration,
    /// How long the server's memory must not have moved to count as settled
    #[arg(long, value_name = "DURATION", default_value = "3s", value_parser = duration)]
    pub settle: Duration,
    #[command(flatten)]
    pub common: Common,
}

#[derive(Debug, Clone, Args)]
#[command(mut_arg("connections", |argument| argument.default_value("200000").help("Channels, each with one subscriber")))]
#[command(mut_arg("connect_patience", |argument| argument.default_value("180s")))]
#[command(mut_arg("contenders", |argument| argument.help("Who is measured, in turn [default: courier,ring-loop; with --target: target]")))]
#[command(mut_arg("rounds", |argument| argument.default_value("3")))]
pub struct SpreadArguments {
    /// Messages a second, each to a random channel, on a fixed schedule; latency counts from when a message was due
    #[arg(long, value_name = "PER_SECOND", default_value = "50000", value_parser = positive)]
    pub rate: f64,
    /// How long to publish, in each round of each contender
    #[arg(long, value_name = "DURATION", default_value = "20s", value_parser = duration)]
    pub duration: Duration,
    /// How long to publish before that, to warm up
    #[arg(long, value_name = "DURATION", default_value = "5s", value_parser = duration)]
    pub warm_up: Duration,
    /// How often the publisher writes what has come due, all in one
    #[arg(long, value_name = "DURATION", default_value = "1ms", value_parser = duration)]
    pub pace: Duration,
    #[command(flatten)]
    pub common: Common,
}

#[derive(Debug, Clone, Args)]
#[command(mut_arg("connections", |argument| argument.hide(true)))]
#[command(mut_arg("connect_patience", |argument| argument.default_value("180s")))]
#[command(mut_arg("contenders", |argument| argument.help("Who is measured, in turn [default: courier; with --target: target]")))]
#[command(mut_arg("rounds", |argument| argument.default_value("3")))]
pub struct CurveArguments {
    /// How many subscribers, one after the other; the first is what the others are compared with
    #[arg(long, value_name = "LIST", value_delimiter = ',', default_value = "20000,100000,300000")]
    pub sizes: Vec<usize>,
    /// Messages that are measured, for each number of subscribers
    #[arg(long, value_name = "COUNT", default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    pub messages: u64,
    /// Messages before those, which warm up caches and buffers
    #[arg(long, value_name = "COUNT", default_value_t = 3, value_parser = clap::value_parser!(u64).range(0..=100_000))]
    pub warm_up: u64,
    #[command(flatten)]
    pub common: Common,
}

#[derive(Debug, Clone, Args)]
pub struct ConnectArguments {
    /// Connections that each process of subscribers opens at a time: fewer than the queue of the server's listener holds
    #[arg(long, value_name = "COUNT", default_value_t = 256, value_parser = clap::value_parser!(u16).range(1..=16_384))]
    pub at_once: u16,
    #[command(flatten)]
    pub common: Common,
}

#[derive(Debug, Clone, Args)]
#[command(mut_arg("connections", |argument| argument.default_value("10000")))]
#[command(mut_arg("contenders", |argument| argument.help("Who is measured, in turn [default: courier; with --target: target]")))]
#[command(mut_arg("rounds", |argument| argument.default_value("1")))]
pub struct JitterArguments {
    /// Each connection is cut about so often: after half of it at least and one and a half of it at most
    #[arg(long, value_name = "DURATION", default_value = "15s", value_parser = duration)]
    pub cut_every: Duration,
    /// How long a subscriber stays away
    #[arg(long, value_name = "DURATION", default_value = "2s", value_parser = duration)]
    pub away: Duration,
    /// Messages a second, on a fixed schedule
    #[arg(long, value_name = "PER_SECOND", default_value = "2", value_parser = positive)]
    pub rate: f64,
    /// How long to publish while connections are cut, in each round of each contender
    #[arg(long, value_name = "DURATION", default_value = "160s", value_parser = duration)]
    pub duration: Duration,
    #[command(flatten)]
    pub common: Common,
}

#[derive(Debug, Clone, Args)]
#[command(mut_arg("contenders", |argument| argument.help("Who is measured, in turn [default: courier; with --target: target]")))]
#[command(mut_arg("rounds", |argument| argument.default_value("3")))]
pub struct AvalancheArguments {
    /// How the server is ended
    #[arg(long, value_enum, default_value = "kill")]
    pub signal: Signal,
    /// What restarts the running server of --target: a command for the shell, which returns when it is done
    #[arg(long, value_name = "COMMAND")]
    pub restart: Option<String>,
    /// How long after the server is gone all subscribers must be back
    #[arg(long, value_name = "DURATION", default_value = "10s", value_parser = duration)]
    pub within: Duration,
    #[command(flatten)]
    pub common: Common,
}

/// How a server is told to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Signal {
    /// SIGKILL: it has no time for anything
    Kill,
    /// SIGTERM: it ends its streams as it sees fit
    Term,
}

impl Signal {
    pub fn number(self) -> i32 {
        match self {
            Self::Kill => libc::SIGKILL,
            Self::Term => libc::SIGTERM,
        }
    }
}

#[derive(Debug, Clone, Args)]
#[command(mut_arg("connections", |argument| argument.default_value("10").help("Subscribers that read all they get")))]
#[command(mut_arg("payload", |argument| argument.default_value("1000")))]
#[command(mut_arg("contenders", |argument| argument.help("Who is measured, in turn [default: courier; with --target: target]")))]
#[command(mut_arg("rounds", |argument| argument.default_value("1")))]
pub struct SlowArguments {
    /// Subscribers that are slow
    #[arg(long, value_name = "COUNT", default_value_t = 1)]
    pub slow: usize,
    /// What each of those reads in a second
    #[arg(long, value_name = "BYTES", default_value_t = 1_024, value_parser = clap::value_parser!(u64).range(10..=1_000_000_000))]
    pub slow_bytes: u64,
    /// Messages a second, on a fixed schedule
    #[arg(long, value_name = "PER_SECOND", default_value = "500", value_parser = positive)]
    pub rate: f64,
    /// How long to publish without the slow ones, and how long with them
    #[arg(long, value_name = "DURATION", default_value = "10s", value_parser = duration)]
    pub phase: Duration,
    /// How often each of the two, in turn
    #[arg(long, value_name = "COUNT", default_value_t = 4, value_parser = clap::value_parser!(u16).range(1..=1_000))]
    pub phases: u16,
    #[command(flatten)]
    pub common: Common,
}

#[derive(Debug, Clone, Args)]
pub struct Common {
    /// Subscribers
    #[arg(long, value_name = "COUNT", default_value_t = 18_000)]
    pub connections: usize,
    /// Length of a message
    #[arg(long, value_name = "BYTES", default_value_t = 100, value_parser = payload)]
    pub payload: usize,
    /// Rounds; shown are medians and how far the rounds lie apart
    #[arg(long, value_name = "COUNT", default_value_t = 5, value_parser = clap::value_parser!(u16).range(1..=1_000))]
    pub rounds: u16,
    /// Who is measured, in turn [default: courier,send-loop,ring-loop and, if it is
    /// installed, nchan; with --target: target]
    #[arg(long, value_name = "LIST", value_delimiter = ',')]
    pub contenders: Vec<ContenderName>,
    /// Write everything that was measured to this file
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,

    /// A running server to measure, such as http://10.0.0.1:8080
    #[arg(long, value_name = "URL", value_parser = HttpUrl::parse, help_heading = "A running server")]
    pub target: Option<HttpUrl>,
    /// Where its process_* metrics are, for its CPU and memory when it is on another machine, such as
    /// http://10.0.0.1:8081/metrics
    #[arg(long, value_name = "URL", value_parser = HttpUrl::parse, help_heading = "A running server")]
    pub target_metrics: Option<HttpUrl>,
    /// Its process id, for its CPU and memory when it is on this machine
    #[arg(long, value_name = "PID", help_heading = "A running server")]
    pub pid: Option<u32>,
    /// Publish to this Redis (or broker): redis://host:port, or redis://user:password@host:port. Without --target,
    /// courier is started on it instead of on its own broker
    #[arg(long, value_name = "URL", value_parser = RedisUrl::parse, help_heading = "A running server")]
    pub redis: Option<RedisUrl>,
    /// The channel [default: one of this run]
    #[arg(long, value_name = "NAME", help_heading = "A running server")]
    pub channel: Option<String>,
    /// What a subscriber asks for; {channel} stands for the channel
    #[arg(
        long,
        value_name = "PATH",
        default_value = "/events?channel={channel}",
        help_heading = "A running server"
    )]
    pub path: String,

    /// The courier to start [default: the one next to this program, or on the PATH]
    #[arg(long, value_name = "FILE", help_heading = "This machine")]
    pub courier: Option<PathBuf>,
    /// The heartbeat interval of the courier that is started; 0s: none
    #[arg(long, value_name = "DURATION", default_value = "0s", value_parser = duration, help_heading = "This machine")]
    pub heartbeat: Duration,
    /// CPUs of the server, such as 0 or 0-3 or 0,2 [default: the first]
    #[arg(long, value_name = "CPUS", value_parser = cpus, help_heading = "This machine")]
    pub server_cpus: Option<Cpus>,
    /// CPUs of the subscribers and the publisher [default: all others]
    #[arg(long, value_name = "CPUS", value_parser = cpus, help_heading = "This machine")]
    pub client_cpus: Option<Cpus>,
    /// Processes that the subscribers are spread over [default: as many as the limit of open files asks for]
    #[arg(long, value_name = "COUNT", help_heading = "This machine")]
    pub client_processes: Option<usize>,
    /// Subscribers that were quicker than the server rest so long before they look again. Otherwise each of the
    /// server's sends wakes them, which no send over a network does, and which can cost more than the send
    #[arg(long, value_name = "DURATION", default_value = "200us", value_parser = duration, help_heading = "This machine")]
    pub client_rest: Duration,

    /// How long all subscribers may take to connect
    #[arg(long, value_name = "DURATION", default_value = "60s", value_parser = duration, help_heading = "Patience")]
    pub connect_patience: Duration,
    /// How long one message may take to reach all subscribers; then the round goes no further
    #[arg(long, value_name = "DURATION", default_value = "10s", value_parser = duration, help_heading = "Patience")]
    pub patience: Duration,
    /// How long the messages of one round may take in all
    #[arg(long, value_name = "DURATION", default_value = "120s", value_parser = duration, help_heading = "Patience")]
    pub round_patience: Duration,
}

impl Common {
    /// The same, and without a word about contenders these.
    pub fn or_contenders(&self, default: &[ContenderName]) -> Self {
        let is_silent = self.contenders.is_empty() && self.target.is_none();
        let contenders = if is_silent { default.to_vec() } else { self.contenders.clone() };
        Self { contenders, ..self.clone() }
    }
}

/// Who can be measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ContenderName {
    /// courier, started here with one shard for each CPU of the server
    Courier,
    /// courier on a Redis that is started here too (or that of --redis)
    CourierRedis,
    /// The floor: a loop of send(2), started here
    SendLoop,
    /// The floor with io_uring: SENDs in bulk, started here
    RingLoop,
    /// nginx with the nchan module in memory mode, fed over HTTP; started here
    Nchan,
    /// The same in Redis `nostore` mode, fed through a Redis that is started here too (or that of --redis)
    NchanRedis,
    /// The running server of --target
    Target,
}

/// How a bare loop sends one message to everybody, or to the one who hears it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum BareVolley {
    SendLoop,
    RingLoop,
    /// Each subscriber has a channel of its own.
    RingEach,
}

/// A list of CPUs, not empty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cpus(pub Vec<usize>);

fn cpus(text: &str) -> Result<Cpus, String> {
    let number = |text: &str| text.parse::<usize>().map_err(|_| format!("{text:?} is no CPU"));
    let mut cpus = Vec::new();
    for part in text.split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last) = (number(first)?, number(last)?);
        if last < first || last >= CPUS_MAX {
            return Err(format!("{part:?} is no range of CPUs"));
        }
        cpus.extend(first..=last);
    }
    cpus.sort_unstable();
    cpus.dedup();
    Ok(Cpus(cpus))
}

/// As many as a cpu_set_t has.
const CPUS_MAX: usize = 1_024;

fn duration(text: &str) -> Result<Duration, String> {
    let digits = text.find(|letter: char| !letter.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let microseconds: u64 = match unit {
        "us" => 1,
        "ms" => 1_000,
        "s" => 1_000_000,
        "m" => 60_000_000,
        _ => return Err("a duration is a number with us, ms, s or m, such as 10s".to_owned()),
    };
    let number: u64 = number.parse().map_err(|_| "a duration is a number with its unit".to_owned())?;
    number.checked_mul(microseconds).map(Duration::from_micros).ok_or_else(|| "too long".to_owned())
}

fn payload(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(bytes) if (Payload::BYTES_MIN..=PAYLOAD_BYTES_MAX).contains(&bytes) => Ok(bytes),
        _ => Err(format!("{} to {PAYLOAD_BYTES_MAX} bytes", Payload::BYTES_MIN)),
    }
}

const PAYLOAD_BYTES_MAX: usize = 16 << 20;

fn positive(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(rate) if (0.001..=1e7).contains(&rate) => Ok(rate),
        _ => Err("0.001 to 10000000 a second".to_owned()),
    }
}

fn rate(text: &str) -> Result<Rate, String> {
    if text == "auto" { Ok(Rate::Auto) } else { positive(text).map(Rate::Fixed) }
}

fn share(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(share) if (0.01..=1.0).contains(&share) => Ok(share),
        _ => Err("a share is 0.01 to 1".to_owned()),
    }
}

impl Arguments {
    /// The command line, with the defaults of common arguments that differ from scenario to scenario; ends the process if
    /// it is wrong.
    pub fn take() -> Self {
        let matches = Self::with_defaults().get_matches();
        Self::from_arg_matches(&matches).unwrap_or_else(|error| error.exit())
    }

    fn with_defaults() -> clap::Command {
        Self::command().mut_subcommand("firehose", |scenario| {
            scenario
                .mut_arg("connections", |argument| argument.default_value("200"))
                .mut_arg("client_rest", |argument| {
                    argument.default_value("1ms").help(
                        "All subscribers are looked at so often, whether or not there is something to read: one read \
                         takes all that came in between, and no send has to wake anybody",
                    )
                })
        })
    }
}

#[cfg(test)]
mod tests {

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Arguments::with_defaults().debug_assert();
    }

    #[test]
    fn lists_of_cpus_have_ranges() {
        assert_eq!(cpus("0"), Ok(Cpus(vec![0])));
        assert_eq!(cpus("4-6,1,5"), Ok(Cpus(vec![1, 4, 5, 6])));
        for bad in ["", "a", "3-1", "1-", "0-99999"] {
            assert!(cpus(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_duration_has_a_unit() {
        assert_eq!(duration("250ms"), Ok(Duration::from_millis(250)));
        assert_eq!(duration("200us"), Ok(Duration::from_micros(200)));
        assert_eq!(duration("2m"), Ok(Duration::from_secs(120)));
        for bad in ["", "10", "s", "1h", "-1s", "99999999999999999999s"] {
            assert!(duration(bad).is_err(), "{bad:?}");
        }
    }
}
