//! What courier shall do: one table of options, read from flags, environment and file, checked as a whole.
//!
//! An option has one key and three spellings: `server.listen` in the file, `--listen`, `COURIER_LISTEN`. The first that
//! is given wins: flag, environment, file, default. The result is plain data that the server turns into machines;
//! nothing here opens a socket. The only I/O is reading files at start, before there is any other thread: the
//! configuration file and those with passwords and keys that it names.
//!
//! Invariant: everything that can be known to be wrong without the network is an error here, in one line that names
//! where the value came from and what to do.

pub mod access;
pub mod address;
pub mod app_url;
pub mod banner;
pub mod budget;
mod callback;
pub mod error;
pub mod file;
pub mod flags;
pub mod limits_page;
pub mod nearest;
pub mod print;
pub mod redis_url;
pub mod reference;
pub mod resolve;
pub mod row_options;
pub mod rows;
pub mod server_url;
pub mod settings;
mod sign;
pub mod table;
pub mod value;

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use crate::access::keys::KeyRing;
use crate::access::{AllowedOrigins, Endpoint, Proxies, Right, Rule, SigningKey};
use crate::base::channel::{BadChannelName, ChannelName};
use crate::base::dismissal::Whom;
use crate::base::limits::{CHANNELS_PER_CONNECTION_MAX, DISMISSAL_TIME, Limits};
use crate::base::secret::Secret;
use crate::config::address::ListenAddress;
use crate::config::error::{ConfigError, Origin};
use crate::config::flags::{Action, Invocation, Target};
use crate::config::redis_url::RedisUrl;
use crate::config::server_url::ServerUrl;
use crate::config::settings::Settings;
use crate::config::table::{Key, Kind};
use crate::config::value::Value;
use crate::driver::keys::KeyFile;
use crate::driver::log::{LogFormat, LogLevel};
use crate::protocol::site::Shedding;

/// Reads the command line (whose first argument is the program's name), the environment, and the files they name.
pub fn load(
    arguments: impl IntoIterator<Item = OsString>,
    environment: impl IntoIterator<Item = (OsString, OsString)>,
) -> Result<Command, ConfigError> {
    match flags::parse(arguments)? {
        Invocation::Serve { flags, action } => {
            let settings = Settings::collect(flags, environment)?;
            let config = resolve::resolve(&settings)?;
            Ok(match action {
                Action::Run => Command::Serve(Box::new(config)),
                Action::PrintConfig => Command::Print(print::print_config(&settings, &config)),
                Action::CheckConfig => Command::Print(print::check_config(&settings, &config)),
            })
        }
        Invocation::Publish { flags, channel, payload } => {
            let settings = Settings::collect(flags, environment)?;
            Ok(Command::Publish(Box::new(PublishCommand {
                redis: resolve::publish_target(&settings)?,
                timeout: settings.duration(Key::RedisDialTimeout),
                channel: channel_name(&channel)?,
                payload,
            })))
        }
        Invocation::Disconnect { flags, target, keep_away } => {
            let settings = Settings::collect(flags, environment)?;
            let secret = resolve::control_secret(&settings, &mut Vec::new())?.ok_or_else(|| {
                ConfigError::new("the secret of the couriers is missing: give --control-secret-file FILE")
            })?;
            Ok(Command::Disconnect(Box::new(DisconnectCommand {
                redis: resolve::publish_target(&settings)?,
                timeout: settings.duration(Key::RedisDialTimeout),
                whom: match target {
                    Target::User(user) => Whom::User(user.into()),
                    Target::Channel(channel) => Whom::Channel(channel_name(&channel)?),
                },
                keep_away: match keep_away {
                    Some(text) => span(&text)?,
                    None => Duration::ZERO,
                },
                key: SigningKey::new(secret.reveal().as_bytes()),
            })))
        }
        Invocation::Subscribe { url, channels } => {
            let server = ServerUrl::parse(&url)
                .map_err(|remedy| ConfigError::value(&Origin::Flag("--url".into()), "url", &url, remedy))?;
            if channels.len() > CHANNELS_PER_CONNECTION_MAX {
                return Err(ConfigError::new(format!(
                    "at most {CHANNELS_PER_CONNECTION_MAX} channels at once"
                )));
            }
            let channels = channels.iter().map(|name| channel_name(name)).collect::<Result<_, _>>()?;
            Ok(Command::Subscribe(SubscribeCommand { server, channels }))
        }
        Invocation::Explain { flags, shown, channels, right } => {
            let settings = Settings::collect(flags, environment)?;
            Ok(Command::Explain(Box::new(ExplainCommand {
                config: resolve::resolve(&settings)?,
                shown,
                channels: channel_names(&channels)?,
                right,
            })))
        }
        Invocation::Sign { flags, channels, expires, user, right } => {
            let settings = Settings::collect(flags, environment)?;
            sign::command(&settings, &channel_names(&channels)?, &expires, user, right).map(Command::Sign)
        }
        Invocation::Print(text) => Ok(Command::Print(text)),
    }
}

/// Those of one request: each once, and not too many.
fn channel_names(texts: &[String]) -> Result<Vec<ChannelName>, ConfigError> {
    if texts.len() > CHANNELS_PER_CONNECTION_MAX {
        return Err(ConfigError::new(format!("at most {CHANNELS_PER_CONNECTION_MAX} channels at once")));
    }
    let mut names: Vec<ChannelName> = Vec::new();
    for text in texts {
        let name = channel_name(text)?;
        if !names.contains(&name) {
            names.push(name);
        }
    }
    Ok(names)
}

/// How long somebody is kept away.
fn span(text: &str) -> Result<Duration, ConfigError> {
    let (least, most) = (Duration::from_secs(1), DISMISSAL_TIME);
    match (Kind::Duration { least, most, zero: false }).parse(&[text.to_owned()]) {
        Ok(Value::Duration(span)) => Ok(span),
        Ok(_) => unreachable!("a duration is a duration"),
        Err(bad) => Err(ConfigError::value(&Origin::Flag("--for".into()), "for", text, bad.remedy)),
    }
}

fn channel_name(text: &str) -> Result<ChannelName, ConfigError> {
    ChannelName::parse(text.as_bytes()).map_err(|bad| {
        let remedy = match bad {
            BadChannelName::Empty => "is empty",
            BadChannelName::TooLong => "is longer than 255 bytes",
            BadChannelName::ControlCharacter => "has control characters",
            BadChannelName::NotUtf8 => "is not UTF-8",
        };
        ConfigError::new(format!("the channel name {text:?} {remedy}"))
    })
}

/// What the command line asks for.
#[derive(Debug)]
pub enum Command {
    /// No subcommand: run the server.
    Serve(Box<Config>),
    Publish(Box<PublishCommand>),
    Subscribe(SubscribeCommand),
    Explain(Box<ExplainCommand>),
    Sign(SignCommand),
    Disconnect(Box<DisconnectCommand>),
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

/// `courier disconnect`.
#[derive(Debug)]
pub struct DisconnectCommand {
    /// Where Redis or the embedded broker is.
    pub redis: RedisUrl,
    pub timeout: Duration,
    pub whom: Whom,
    /// Zero: they may come back at once.
    pub keep_away: Duration,
    pub key: SigningKey,
}

/// `courier subscribe`.
#[derive(Debug, PartialEq, Eq)]
pub struct SubscribeCommand {
    pub server: ServerUrl,
    /// At least one.
    pub channels: Vec<ChannelName>,
}

/// `courier --check-config --channel NAME`.
#[derive(Debug)]
pub struct ExplainCommand {
    pub config: Config,
    /// A token, the query of a signed URL, `@FILE` or `-`. None: who shows nothing.
    pub shown: Option<String>,
    /// 1 to 64, each once.
    pub channels: Vec<ChannelName>,
    pub right: Right,
}

/// `courier sign`.
#[derive(Debug)]
pub struct SignCommand {
    pub key: SigningKey,
    /// 1 to 64, each once.
    pub channels: Vec<ChannelName>,
    pub holds_for: Duration,
    /// Empty: nobody in particular.
    pub user: String,
    pub right: Right,
}

/// Everything the server needs to know, checked.
#[derive(Debug, Clone)]
pub struct Config {
    pub mode: Mode,
    /// The web side; at least one.
    pub listen: Vec<ListenAddress>,
    pub admin: ListenAddress,
    /// Who shows it may publish on the admin side.
    pub admin_token: Option<Secret>,
    /// What orders to all couriers are signed with; none: no orders are taken.
    pub control_secret: Option<Secret>,
    pub upstream: Upstream,
    /// In the order of the file, then the `--public` patterns; the first match decides.
    pub rules: Vec<Rule>,
    /// Where each of them is written.
    pub rule_origins: Vec<Origin>,
    /// What the rules' signatures are checked with.
    pub keys: KeyRing,
    /// Those keys that lie in files of their own, which may change.
    pub key_files: Vec<KeyFile>,
    /// Where the rules' ways `callback` and `session` ask.
    pub endpoints: Vec<Endpoint>,
    pub callback_timeout: Duration,
    pub limits: Limits,
    /// `None`: no heartbeats.
    pub heartbeat: Option<Duration>,
    pub retry: Duration,
    /// Zero: for ever.
    pub lifetime: Duration,
    pub shedding: Shedding,
    pub drain_timeout: Duration,
    pub allowed_origins: AllowedOrigins,
    /// Whether pages of allowed origins may read what their users' cookies open.
    pub allow_credentials: bool,
    pub proxies: Proxies,
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
    /// The embedded broker.
    Broker(BrokerConfig),
}

#[derive(Debug, Clone, PartialEq)]
pub struct BrokerConfig {
    pub listen: ListenAddress,
    /// What its clients must log in with, if anything.
    pub password: Option<Secret>,
}

#[derive(Debug, Clone, PartialEq)]
pub struct RedisConfig {
    /// With the password of `redis.password_file`, if there is one.
    pub url: RedisUrl,
    /// Read again whenever Redis is dialed.
    pub password_file: Option<PathBuf>,
    pub dial_timeout: Duration,
    /// How long Redis may be silent before it is pinged.
    pub ping_interval: Duration,
    /// How long the answer may take before the connection counts as lost.
    pub ping_timeout: Duration,
}

#[cfg(test)]
mod tests;
