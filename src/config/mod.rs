//! What courier shall do: one table of options, read from flags, environment and file, checked as a whole.
//!
//! An option has one key and three spellings: `server.listen` in the file, `--listen`, `COURIER_LISTEN`. The first that
//! is given wins: flag, environment, file, default. The result is plain data that the server turns into machines;
//! nothing here opens a socket. The only I/O is reading two files at start, before there is any other thread: the
//! configuration file and the Redis password file.
//!
//! Invariant: everything that can be known to be wrong without the network is an error here, in one line that names
//! where the value came from and what to do.

pub mod address;
pub mod error;
pub mod file;
pub mod nearest;
pub mod redis_url;
pub mod settings;
pub mod table;
pub mod value;

use std::time::Duration;

use crate::base::channel::{ChannelName, PayloadMode};
use crate::base::limits::Limits;
use crate::config::address::ListenAddress;
use crate::config::redis_url::RedisUrl;
use crate::driver::log::{LogFormat, LogLevel};

/// What the command line asks for.
#[derive(Debug)]
pub enum Command {
    /// No subcommand: run the server.
    Serve(Box<Config>),
    Publish(Box<PublishCommand>),
    Subscribe(SubscribeCommand),
    /// `--help`, `--version`, `--print-config`, `--check-config`: text for stdout, and success.
    Print(String),
}

/// `courier publish`.
#[derive(Debug, PartialEq)]
pub struct PublishCommand {
    /// Where Redis or the embedded broker is.
    pub redis: RedisUrl,
    pub timeout: Duration,
    pub channel: ChannelName,
    pub payload: PublishPayload,
}

#[derive(Debug, PartialEq, Eq)]
pub enum PublishPayload {
    Argument(Vec<u8>),
    /// All of stdin.
    Stdin,
}

/// `courier subscribe`.
#[derive(Debug, PartialEq, Eq)]
pub struct SubscribeCommand {
    /// The host and port of the web side, as in a `Host` header.
    pub authority: String,
    /// What stands before `/events`: empty, or the path that a proxy serves courier under.
    pub base_path: String,
    pub channels: Vec<ChannelName>,
}

/// Everything the server needs to know, checked.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    pub mode: Mode,
    /// The web side; at least one.
    pub listen: Vec<ListenAddress>,
    pub admin: ListenAddress,
    pub upstream: Upstream,
    /// In the order of the file, then the `--public` patterns; the first match decides.
    pub rules: Vec<RuleConfig>,
    pub limits: Limits,
    /// `None`: no heartbeats.
    pub heartbeat: Option<Duration>,
    pub retry: Duration,
    pub drain_timeout: Duration,
    pub allowed_origins: OriginList,
    /// `None`: by the machine.
    pub shards: Option<usize>,
    /// The CPUs to use, in rising order; `None`: those of the inherited affinity mask.
    pub cpus: Option<Vec<usize>>,
    /// `None`: by the machine.
    pub reader_cpu: Option<usize>,
    pub log_level: LogLevel,
    pub log_format: LogFormat,
    /// Things that are allowed and probably not meant, one sentence each, for the log.
    pub warnings: Vec<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// No configuration at all: everything is open and only this machine can reach it.
    TryOut,
    Production,
}

/// Where messages come from.
#[derive(Debug, Clone, PartialEq)]
pub enum Upstream {
    Redis(RedisConfig),
    /// The embedded broker, listening here.
    Broker(ListenAddress),
}

#[derive(Debug, Clone, PartialEq)]
pub struct RedisConfig {
    /// With the password of `redis.password_file`, if there is one.
    pub url: RedisUrl,
    pub dial_timeout: Duration,
    /// How long Redis may be silent before it is pinged.
    pub ping_interval: Duration,
    /// How long the answer may take before the connection counts as lost.
    pub ping_timeout: Duration,
}

/// One row of the channel table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RuleConfig {
    /// A Redis glob.
    pub pattern: String,
    pub access: RuleAccess,
    pub payload: PayloadMode,
}

/// Who may listen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RuleAccess {
    /// Everyone.
    Public,
}

/// The origins whose pages may read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OriginList {
    Any,
    /// `scheme://host[:port]` each, as browsers send them.
    These(Vec<String>),
}
