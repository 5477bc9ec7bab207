//! The options: a closed table. Flags, environment, file, defaults, `--help`, the example file and the reference page
//! are all made from it; an option exists if and only if it has a row here.

use std::time::Duration;

use crate::access::jwt::Algorithm;
use crate::base::limits::{CHANNELS_PER_CONNECTION_MAX, HEAD_FIELDS_MAX, KIB, MIB};

/// One option. A row is found by its key: `Key::row`.
#[derive(Debug)]
pub struct Row {
    pub key: Key,
    /// `table.key` in the file. `None`: not an option of the file.
    pub file_key: Option<&'static str>,
    /// Without dashes. The variable is made from it: `COURIER_` and the flag in capitals.
    pub flag: &'static str,
    pub group: Group,
    pub kind: Kind,
    /// In the syntax of a flag's value. `None`: not given means something of its own, which `help` says.
    pub default: Option<&'static str>,
    /// One sentence or two; without the default, which is added.
    pub help: &'static str,
}

/// The headings of `--help` and of the pages, in their order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Group {
    Messages,
    Clients,
    Admin,
    Threads,
    General,
    /// Not in `--help`, which shall stay short; nor are those that follow.
    Access,
    Limits,
}

/// What a value may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A listening address.
    Address,
    /// At least one listening address.
    Addresses,
    RedisUrl,
    /// Where an application is asked.
    AppUrl,
    /// Names of header fields.
    Fields,
    /// A text that is never shown; not in `--help`, where its file is.
    Secret,
    /// Channel patterns.
    Patterns,
    Origins,
    /// Ranges of addresses.
    Proxies,
    File,
    /// A list of CPU numbers such as `0-3,8`.
    Cpus,
    /// A plain number in a range.
    Count {
        least: usize,
        most: usize,
    },
    /// In a range, or 0 where that means off.
    Duration {
        least: Duration,
        most: Duration,
        zero: bool,
    },
    /// A number of bytes in a range.
    Size {
        least: usize,
        most: usize,
    },
    /// One of these words.
    Choice(&'static [&'static str]),
    /// Any text that is not empty and has no control characters.
    Text,
    CookieName,
    /// The channels that a token opens.
    Template,
}

impl Key {
    pub fn row(self) -> &'static Row {
        &TABLE[self as usize]
    }
}

impl Row {
    /// The flag with its dashes.
    pub fn flag(&self) -> String {
        format!("--{}", self.flag)
    }

    pub fn variable(&self) -> String {
        format!("{PREFIX}{}", self.flag.replace('-', "_").to_ascii_uppercase())
    }

    /// Whether the option may be given without a value, and then takes its default.
    pub fn is_switch(&self) -> bool {
        self.key == Key::BrokerListen
    }

    /// How other options and errors call it: the key if it has one, else the flag.
    pub fn name(&self) -> String {
        self.file_key.map_or_else(|| self.flag(), str::to_owned)
    }
}

impl Group {
    pub const ALL: [Self; 7] = [
        Self::Messages,
        Self::Clients,
        Self::Admin,
        Self::Threads,
        Self::General,
        Self::Access,
        Self::Limits,
    ];

    /// Whether `--help` leaves the group out.
    pub const fn is_hidden(self) -> bool {
        matches!(self, Self::Access | Self::Limits)
    }

    pub const fn heading(self) -> &'static str {
        match self {
            Self::Messages => "Where messages come from",
            Self::Clients => "Clients",
            Self::Admin => "Administration",
            Self::Threads => "Threads",
            Self::General => "General",
            Self::Access => "Access by token, by signed URL, and by asking the application",
            Self::Limits => "Limits and timeouts",
        }
    }

    pub fn rows(self) -> impl Iterator<Item = &'static Row> {
        TABLE.iter().filter(move |row| row.group == self)
    }
}

impl Kind {
    /// Whether an option of this kind may be given several times.
    pub const fn is_list(self) -> bool {
        matches!(self, Self::Addresses | Self::Patterns | Self::Origins | Self::Proxies | Self::Fields)
    }

    /// What stands for the value in `--help`.
    pub const fn placeholder(self) -> &'static str {
        match self {
            Self::Address | Self::Addresses => "ADDRESS",
            Self::RedisUrl | Self::AppUrl => "URL",
            Self::Fields => "NAME",
            Self::Secret => "SECRET",
            Self::Patterns => "PATTERN",
            Self::Origins => "ORIGIN",
            Self::Proxies => "RANGE",
            Self::File => "FILE",
            Self::Cpus => "CPUS",
            Self::Count { .. } => "NUMBER",
            Self::Duration { .. } => "TIME",
            Self::Size { .. } => "SIZE",
            Self::Choice(_) => "WORD",
            Self::Text => "TEXT",
            Self::CookieName => "NAME",
            Self::Template => "TEMPLATE",
        }
    }
}

/// What every variable starts with.
pub const PREFIX: &str = "COURIER_";

/// Read by the build, not by the program, and therefore no mistake if it is set.
pub const BUILD_VARIABLE: &str = "COURIER_REVISION";

/// The variable of many hosting platforms; used where `redis.url` is not given otherwise.
pub const REDIS_URL_VARIABLE: &str = "REDIS_URL";

macro_rules! options {
    ($($key:ident $file_key:expr, $flag:literal, $group:ident, $kind:expr, $default:expr, $help:literal;)+) => {
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum Key {
            $($key,)+
        }

        /// All options, in the order of the pages.
        pub const TABLE: [Row; [$(Key::$key,)+].len()] = [$(Row {
            key: Key::$key,
            file_key: $file_key,
            flag: $flag,
            group: Group::$group,
            kind: $kind,
            default: $default,
            help: $help,
        },)+];
    };
}

const fn duration(least_millis: u64, most_secs: u64) -> Kind {
    Kind::Duration {
        least: Duration::from_millis(least_millis),
        most: Duration::from_secs(most_secs),
        zero: false,
    }
}

const fn duration_or_zero(least_millis: u64, most_secs: u64) -> Kind {
    Kind::Duration {
        least: Duration::from_millis(least_millis),
        most: Duration::from_secs(most_secs),
        zero: true,
    }
}

const fn size(least: usize, most: usize) -> Kind {
    Kind::Size { least, most }
}

pub(super) const fn count(least: usize, most: usize) -> Kind {
    Kind::Count { least, most }
}

const GIB: usize = 1_024 * MIB;

/// The bounds of a row's history beside its count.
pub(super) const RETENTION_BYTES: Kind = size(1, GIB);
pub(super) const RETENTION_AGE: Kind = duration(1_000, 7 * 24 * 3_600);

#[rustfmt::skip] // A row a line, or two where the sentence does not fit.
options! {
    RedisUrl Some("redis.url"), "redis", Messages, Kind::RedisUrl, None,
        "Redis or Valkey, as in redis://host:6379 or unix:///run/redis.sock. The variable REDIS_URL is used if this is not given otherwise.";
    RedisPasswordFile Some("redis.password_file"), "redis-password-file", Messages, Kind::File, None,
        "A file with the password for Redis. It is read again whenever Redis is dialed.";
    BrokerListen Some("broker.listen"), "broker", Messages, Kind::Address, Some("127.0.0.1:6380"),
        "Instead of Redis: take PUBLISH from redis-cli and Redis clients at this address.";
    BrokerPasswordFile Some("broker.password_file"), "broker-password-file", Messages, Kind::File, None,
        "A file with the password that clients of the broker must log in with.";

    ServerListen Some("server.listen"), "listen", Clients, Kind::Addresses, Some("127.0.0.1:8080"),
        "Where clients connect: [::]:8080 for every interface, unix:/run/courier.sock,mode=0660 for a proxy. Repeatable.";
    Public None, "public", Clients, Kind::Patterns, None,
        "Open the channels that match this Redis glob to everyone, as in 'news.*'. Repeatable; added to the [[channels]] rules of the file.";
    AllowedOrigins Some("http.allowed_origins"), "allowed-origins", Clients, Kind::Origins, Some("*"),
        "The origins whose pages may read the streams, as in https://app.example, or * for all. Repeatable, or with commas.";
    Heartbeat Some("sse.heartbeat"), "heartbeat", Clients, duration_or_zero(100, 3_600), Some("15s"),
        "Send a comment to a client after this long without a message; 0s for never.";
    Retry Some("sse.retry"), "retry", Clients, duration(100, 3_600), Some("2s"),
        "How long clients shall wait before they reconnect.";
    DrainTimeout Some("server.drain_timeout"), "drain-timeout", Clients, duration_or_zero(1, 3_600), Some("10s"),
        "How long stopping may take. In the first half streams are told one by one to come back; then half-sent messages are finished.";

    CallbackUrl Some("callback.url"), "callback-url", Access, Kind::AppUrl, None,
        "Where the application is asked whether a client is let in, as in http://127.0.0.1:8000/courier or unix:/run/app.sock:/courier, for rules with the way callback or session.";
    CallbackHeaders Some("callback.headers"), "callback-headers", Access, Kind::Fields, None,
        "The fields of the client's request that the way callback sends along, as in authorization; Cookie always is. Repeatable. Not given: none.";
    CallbackSecretFile Some("callback.secret_file"), "callback-secret-file", Access, Kind::File, None,
        "A file with the secret that questions to the application are signed with. Not given: they are not signed.";
    CallbackSecret Some("callback.secret"), "callback-secret", Access, Kind::Secret, None,
        "The same secret itself, for a file or a variable that others cannot read.";

    AdminListen Some("admin.listen"), "admin", Admin, Kind::Address, Some("127.0.0.1:8081"),
        "Where /metrics, /livez, /readyz, /stats and /slow are, and the application's POST /publish.";
    AdminToken Some("admin.token"), "admin-token", Admin, Kind::Secret, None,
        "What POST /publish on the admin side must show as Authorization: Bearer, to publish in any channel. A file is the better place.";
    AdminTokenFile Some("admin.token_file"), "admin-token-file", Admin, Kind::File, None,
        "A file with that token.";
    ControlSecret Some("control.secret"), "control-secret", Admin, Kind::Secret, None,
        "The secret that courier disconnect signs its orders with, the same for all couriers of a Redis. A file is the better place.";
    ControlSecretFile Some("control.secret_file"), "control-secret-file", Admin, Kind::File, None,
        "A file with that secret. Without it no orders are taken.";
    LogLevel Some("log.level"), "log-level", Admin, Kind::Choice(&["error", "warn", "info", "debug", "trace"]), Some("info"),
        "The least severe events that are logged.";
    LogFormat Some("log.format"), "log-format", Admin, Kind::Choice(&["text", "json"]), Some("text"),
        "How a line of the log is written.";

    Shards Some("runtime.shards"), "shards", Threads, count(1, 1_024), None,
        "Threads that serve clients. Not given: one for each core that may be used.";
    Cpus Some("runtime.cpus"), "cpus", Threads, Kind::Cpus, None,
        "CPUs to run on, as in 0-3,8. Not given: those that the process was started with.";
    ReaderCpu Some("runtime.reader_cpu"), "reader-cpu", Threads, count(0, CPU_MAX), None,
        "The CPU of the thread that reads from Redis. Not given: one beside the shards.";

    Config None, "config", General, Kind::File, None,
        "Read options and channel rules from this file (TOML).";

    JwtAlgorithm Some("jwt.algorithm"), "jwt-algorithm", Access, Kind::Choice(&Algorithm::NAMES), Some("HS256"),
        "How tokens are signed. What a token says of it must be the same.";
    JwtKey Some("jwt.key"), "jwt-key", Access, Kind::Secret, None,
        "The key that tokens are checked with: for HS256, HS384 and HS512 the secret, else a public key in PEM. Better in a file.";
    JwtKeyFile Some("jwt.key_file"), "jwt-key-file", Access, Kind::File, None,
        "A file with that key, without the line's end. It is read again when it changes.";
    JwtJwksFile Some("jwt.jwks_file"), "jwt-jwks-file", Access, Kind::File, None,
        "A file with a JSON Web Key Set, of which a token names its key by kid. It is read again when it changes.";
    JwtAudience Some("jwt.audience"), "jwt-audience", Access, Kind::Text, None,
        "What the aud of a token must be or hold. Not given: a token with aud is refused.";
    JwtIssuer Some("jwt.issuer"), "jwt-issuer", Access, Kind::Text, None,
        "What the iss of a token must be. Not given: it is not looked at.";
    JwtTemplate Some("jwt.template"), "jwt-template", Access, Kind::Template, None,
        "The channel that a token opens beside those of its claim courier, with claims in braces, as in user.{sub} or team.{team}.*.";
    JwtCookie Some("jwt.cookie"), "jwt-cookie", Access, Kind::CookieName, Some("courier_access_token"),
        "The cookie that carries the token where there is no Authorization field.";
    JwtQuery Some("jwt.query"), "jwt-query", Access, Kind::Choice(&["off", "on"]), Some("off"),
        "Whether the query may carry the token, as access_token. Proxies and browsers keep URLs in logs and histories.";
    JwtExpiry Some("jwt.expiry"), "jwt-expiry", Access, Kind::Choice(&["required", "optional"]), Some("required"),
        "Whether a token must have exp. One without holds for ever.";
    SignedUrlKey Some("signed_url.key"), "signed-url-key", Access, Kind::Secret, None,
        "The secret that URLs are signed with. Better in a file.";
    SignedUrlKeyFile Some("signed_url.key_file"), "signed-url-key-file", Access, Kind::File, None,
        "A file with that secret, without the line's end. It is read again when it changes.";

    RedisDialTimeout Some("redis.dial_timeout"), "redis-dial-timeout", Limits, duration(100, 60), Some("5s"),
        "How long connecting to Redis may take.";
    RedisPingInterval Some("redis.ping_interval"), "redis-ping-interval", Limits, duration(100, 600), Some("10s"),
        "How long Redis may be silent before it is pinged.";
    RedisPingTimeout Some("redis.ping_timeout"), "redis-ping-timeout", Limits, duration(100, 60), Some("5s"),
        "How long the answer to a ping may take before Redis counts as lost.";
    Lifetime Some("sse.lifetime"), "sse-lifetime", Limits, duration_or_zero(1_000, 7 * 24 * 3_600), Some("0s"),
        "How long a stream may last: it ends, with word to come back, after half of this at the earliest; 0s for ever.";
    CallbackTimeout Some("callback.timeout"), "callback-timeout", Limits, duration(10, 60), Some("3s"),
        "How long the application may take to answer, from connecting on; before that a question may wait as long to be asked. Beyond: the client is told to come back later.";
    Shed Some("server.shed"), "server-shed", Limits, Kind::Choice(&["retry", "503"]), Some("retry"),
        "What a client gets whose stream cannot be served now: retry, a stream that ends at once and says when to come back, as browsers need it; or 503 with Retry-After, on which browsers give up.";
    AllowCredentials Some("http.allow_credentials"), "http-allow-credentials", Limits, Kind::Choice(&["no", "yes"]), Some("no"),
        "Whether pages of the allowed origins may use the cookies that their users' browsers have for courier's host; not with * for all origins.";
    TrustedProxies Some("server.trusted_proxies"), "server-trusted-proxies", Limits, Kind::Proxies, Some("none"),
        "Proxies that are believed when they say for whom they ask, as in 10.0.0.0/8, 192.0.2.1, or unix for whoever comes over a Unix socket; none for nobody. Repeatable, or with commas.";
    ForwardedField Some("server.forwarded_field"), "server-forwarded-field", Limits, Kind::Choice(&["x-forwarded-for", "forwarded"]), Some("x-forwarded-for"),
        "The field in which trusted proxies say for whom they ask. The other one is not looked at: a proxy passes on what a client writes there.";
    LimitsHeadBytes Some("limits.head_bytes"), "limits-head-bytes", Limits, size(KIB, 64 * KIB), Some("8KiB"),
        "The longest request head. Beyond: 431.";
    LimitsHeadFields Some("limits.head_fields"), "limits-head-fields", Limits, count(16, HEAD_FIELDS_MAX), Some("100"),
        "The most fields of one request head. Beyond: 431.";
    LimitsHeadTimeout Some("limits.head_timeout"), "limits-head-timeout", Limits, duration(100, 300), Some("10s"),
        "How long a request head may take to arrive. Beyond: 408.";
    LimitsIdleTimeout Some("limits.idle_timeout"), "limits-idle-timeout", Limits, duration(100, 3_600), Some("30s"),
        "How long a kept-alive connection may be silent between two requests. Beyond: closed.";
    LimitsConnections Some("limits.connections"), "limits-connections", Limits, count(0, 1 << 30), Some("0"),
        "Connections of the process; 0 for as many as its shards take. Beyond: new streams are told to come back later; 64 beyond: closed as they come.";
    LimitsConnectionsPerAddress Some("limits.connections_per_address"), "limits-connections-per-address", Limits, count(0, 1 << 30), Some("0"),
        "Connections from one IPv4 address or one /64 of IPv6; of clients behind a trusted proxy, their streams; 0 for any number, since many people may share an address. Beyond: new streams are told to come back later; 64 beyond: closed as they come.";
    LimitsStreamsPerUser Some("limits.streams_per_user"), "limits-streams-per-user", Limits, count(0, 1 << 30), Some("0"),
        "Streams of one user, as a way in names them; 0 for any number. Beyond: new streams are told to come back later.";
    LimitsAcceptRate Some("limits.accept_rate"), "limits-accept-rate", Limits, count(0, 1_000_000), Some("0"),
        "Connections that one shard accepts in a second, and at once after a pause; 0 for as many as come. Beyond: they wait in the kernel's queue of the listener.";
    LimitsConnectionsPerShard Some("limits.connections_per_shard"), "limits-connections-per-shard", Limits, count(1, 1 << 20), Some("1048576"),
        "Connections of one shard. Beyond: new streams are told to come back later.";
    LimitsLagBytes Some("limits.lag_bytes"), "limits-lag-bytes", Limits, size(4 * KIB, GIB), Some("1MiB"),
        "How far a client may fall behind on one channel. Beyond: by the channel's rule, closed (it resumes by its last id) or told of a gap.";
    LimitsLogBytes Some("limits.log_bytes"), "limits-log-bytes", Limits, size(64 * KIB, 64 * GIB), Some("256MiB"),
        "What one shard keeps for clients that are behind, over all channels. Beyond: the channel with the oldest message lets go of those who are behind, as its rule says.";
    LimitsTailBytes Some("limits.tail_bytes"), "limits-tail-bytes", Limits, size(64 * KIB, 64 * GIB), Some("64MiB"),
        "What one shard keeps of half-sent messages, heads and replays. Beyond: the connection with the most is closed. One replay takes half of it at most; the oldest of a longer one is left out, and said so. Bodies of publishes have as much again, from their announcement on; beyond: 503.";
    LimitsSendBufferBytes Some("limits.send_buffer_bytes"), "limits-send-buffer-bytes", Limits, size(4 * KIB, 64 * MIB), Some("64KiB"),
        "The kernel's send buffer of one connection (SO_SNDBUF).";
    LimitsQueueBytes Some("limits.queue_bytes"), "limits-queue-bytes", Limits, size(64 * KIB, GIB), Some("8MiB"),
        "Messages on the way from the reader to one shard. Beyond: they wait in the reader.";
    LimitsSpillBytes Some("limits.spill_bytes"), "limits-spill-bytes", Limits, size(64 * KIB, GIB), Some("8MiB"),
        "Messages that wait in the reader for one shard. Beyond: its clients are told of a gap.";
    LimitsHistoryBytes Some("limits.history_bytes"), "limits-history-bytes", Limits, size(64 * KIB, 64 * GIB), Some("256MiB"),
        "Messages kept for replay, over all channels. Beyond: the channel with the oldest message loses its history.";
    LimitsChannels Some("limits.channels"), "limits-channels", Limits, count(1, 100_000_000), Some("500000"),
        "Channels that courier is subscribed to, or was a moment ago. Beyond: new streams are told to come back later.";
    LimitsChannelsPerShard Some("limits.channels_per_shard"), "limits-channels-per-shard", Limits, count(1, 100_000_000), Some("500000"),
        "Channels that clients of one shard are subscribed to. Beyond: new streams of further channels are told to come back later.";
    LimitsChannelsPerConnection Some("limits.channels_per_connection"), "limits-channels-per-connection", Limits, count(1, CHANNELS_PER_CONNECTION_MAX), Some("64"),
        "Channels of one stream. Beyond: 400.";
    LimitsMessageBytes Some("limits.message_bytes"), "limits-message-bytes", Limits, size(KIB, 512 * MIB), Some("16MiB"),
        "The longest message that is taken over HTTP or by the embedded broker. Beyond: refused.";
    LimitsPublishRate Some("limits.publish_rate"), "limits-publish-rate", Limits, count(1, 1_000_000), Some("10000"),
        "Messages a second that one shard takes over HTTP from clients. Beyond: 429 with Retry-After. The admin side is not limited.";
    LimitsPublishRatePerClient Some("limits.publish_rate_per_client"), "limits-publish-rate-per-client", Limits, count(1, 1_000_000), Some("50"),
        "The same of one user, or of one address (IPv6: /64) if it is nobody in particular; a second's worth may come at once.";
    LimitsBrokerMemoryBytes Some("limits.broker_memory_bytes"), "limits-broker-memory-bytes", Limits, size(64 * KIB, 64 * GIB), Some("64MiB"),
        "Keys and values of the embedded broker. Beyond: -OOM.";
    LimitsBrokerClients Some("limits.broker_clients"), "limits-broker-clients", Limits, count(1, 100_000), Some("1000"),
        "Clients of the embedded broker. Beyond: refused.";
    LimitsCallbackInFlight Some("limits.callback_in_flight"), "limits-callback-in-flight", Limits, count(1, 4_096), Some("256"),
        "Questions of one shard that the application is answering, and connections to it that are kept. Beyond: questions wait.";
    LimitsCallbackWaiting Some("limits.callback_waiting"), "limits-callback-waiting", Limits, count(0, 1_000_000), Some("4096"),
        "Questions of one shard that wait to be asked. Beyond: their clients are told to come back later.";
    LimitsCallbackAnswerBytes Some("limits.callback_answer_bytes"), "limits-callback-answer-bytes", Limits, size(KIB, 16 * MIB), Some("64KiB"),
        "The longest answer of the application. Beyond: the client is told to come back later.";
    LimitsCallbackCacheBytes Some("limits.callback_cache_bytes"), "limits-callback-cache-bytes", Limits, size(0, GIB), Some("8MiB"),
        "What one shard keeps of answers that may be given again. Beyond: what ends first goes first.";
}

/// The highest CPU number that Linux can be built for.
pub const CPU_MAX: usize = 8_191;

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_option_has_its_own_spellings() {
        let mut names = BTreeSet::new();
        for (index, row) in TABLE.iter().enumerate() {
            assert_eq!(row.key as usize, index);
            assert!(names.insert(row.flag()), "{}", row.flag);
            if let Some(key) = row.file_key {
                assert!(names.insert(key.to_owned()), "{key}");
                assert_eq!(key.split('.').count(), 2, "{key} is table.key");
            }
            assert!(row.help.ends_with('.'), "{} is explained in sentences", row.flag);
        }
        assert_eq!(Key::RedisPasswordFile.row().variable(), "COURIER_REDIS_PASSWORD_FILE");
        assert_eq!(Key::ServerListen.row().variable(), "COURIER_LISTEN");
    }

    #[test]
    fn limits_are_spelled_alike_everywhere() {
        for row in Group::Limits.rows() {
            let key = row.file_key.unwrap();
            assert_eq!(row.flag, key.replace(['.', '_'], "-"));
            assert!(row.default.is_some(), "{key}");
        }
    }
}
