//! From what was given to what shall be done: the mode, and everything that must fit together.

use std::path::{Path, PathBuf};

use crate::access::{Access, AllowedOrigins, ForwardedField, Pattern, Proxies, Rule};
use crate::base::limits::Limits;
use crate::base::secret::Secret;
use crate::config::access::{self, Keys};
use crate::config::address::ListenAddress;
use crate::config::callback::Endpoints;
use crate::config::error::{ConfigError, Origin};
use crate::config::redis_url::RedisUrl;
use crate::config::settings::Settings;
use crate::config::table::Key;
use crate::config::value::{Value, parse_secret, show_size};
use crate::config::{BrokerConfig, Config, Mode, RedisConfig, Upstream};
use crate::driver::files;
use crate::driver::log::{LogFormat, LogLevel};
use crate::protocol::site::Shedding;
use crate::reader::RedisAddress;

/// The configuration of a server.
pub fn resolve(settings: &Settings) -> Result<Config, ConfigError> {
    let mut warnings = Vec::new();
    let (mode, upstream) = match mode(settings) {
        Mode::TryOut => (Mode::TryOut, try_out(settings)?),
        Mode::Production => (Mode::Production, production(settings, &mut warnings)?),
    };
    check_addresses(settings, &upstream)?;
    let mut endpoints = Endpoints::new(settings, &mut warnings)?;
    let (rules, keys) = rules(mode, settings, &mut endpoints, &mut warnings)?;
    let (rules, rule_origins) = rules.into_iter().unzip();
    Ok(Config {
        mode,
        listen: settings.addresses(Key::ServerListen),
        admin: settings.address(Key::AdminListen),
        admin_token: secret(settings, Key::AdminToken, Key::AdminTokenFile, &mut warnings)?,
        control_secret: control_secret(settings, &mut warnings)?,
        upstream,
        rules,
        rule_origins,
        keys: keys.ring,
        key_files: keys.files,
        endpoints: endpoints.finish(&mut warnings),
        callback_timeout: settings.duration(Key::CallbackTimeout),
        limits: limits(settings)?,
        heartbeat: Some(settings.duration(Key::Heartbeat)).filter(|interval| !interval.is_zero()),
        retry: settings.duration(Key::Retry),
        lifetime: settings.duration(Key::Lifetime),
        shedding: match settings.choice(Key::Shed) {
            "503" => Shedding::Unavailable,
            _ => Shedding::Retry,
        },
        drain_timeout: settings.duration(Key::DrainTimeout),
        allowed_origins: origins(settings),
        allow_credentials: allow_credentials(settings)?,
        proxies: proxies(settings, &mut warnings),
        shards: settings.optional_count(Key::Shards),
        cpus: cpus(settings),
        reader_cpu: settings.optional_count(Key::ReaderCpu),
        log_level: log_level(settings),
        log_format: log_format(settings),
        warnings,
    })
}

/// Where `courier publish` sends to: Redis if one is named, else the broker at its configured or usual address.
pub fn publish_target(settings: &Settings) -> Result<RedisUrl, ConfigError> {
    if let Some(url) = settings.redis_url() {
        return with_password(url, settings, &mut Vec::new());
    }
    let address = match settings.address(Key::BrokerListen) {
        ListenAddress::Tcp(address) => {
            RedisAddress::Tcp { host: address.ip().to_string(), port: address.port() }
        }
        ListenAddress::Unix { path, .. } => RedisAddress::Unix { path },
    };
    Ok(RedisUrl { address, user: None, password: password(settings, Key::BrokerPasswordFile)?, database: 0 })
}

/// What orders to all couriers are signed with.
pub fn control_secret(
    settings: &Settings,
    warnings: &mut Vec<String>,
) -> Result<Option<Secret>, ConfigError> {
    secret(settings, Key::ControlSecret, Key::ControlSecretFile, warnings)
}

fn mode(settings: &Settings) -> Mode {
    match [Key::RedisUrl, Key::Public, Key::Config].iter().any(|key| settings.given(*key).is_some()) {
        true => Mode::Production,
        false => Mode::TryOut,
    }
}

fn try_out(settings: &Settings) -> Result<Upstream, ConfigError> {
    let broker = settings.address(Key::BrokerListen);
    let mut listeners = settings.addresses(Key::ServerListen);
    listeners.extend([settings.address(Key::AdminListen), broker.clone()]);
    if !listeners.iter().all(ListenAddress::is_local) {
        return Err(ConfigError::new(TRY_OUT_IS_LOCAL));
    }
    Ok(Upstream::Broker(BrokerConfig {
        listen: broker,
        password: password(settings, Key::BrokerPasswordFile)?,
    }))
}

fn production(settings: &Settings, warnings: &mut Vec<String>) -> Result<Upstream, ConfigError> {
    let is_open = settings.given(Key::Public).is_some() || !settings.rules.is_empty();
    match (settings.redis_url(), settings.given(Key::BrokerListen), is_open) {
        (Some(_), Some(broker), _) => {
            let redis = settings.given(Key::RedisUrl).map_or(&Origin::Default, |setting| &setting.origin);
            let remedy =
                format!("messages come either from the broker or from Redis ({redis}); give one of them");
            Err(ConfigError::at(&broker.origin, remedy))
        }
        (Some(_), None, false) | (None, Some(_), false) => Err(ConfigError::new(PUBLIC_IS_MISSING)),
        (None, None, true) => Err(ConfigError::new(REDIS_IS_MISSING)),
        (None, None, false) => Err(ConfigError::new(BOTH_ARE_MISSING)),
        (Some(url), None, true) => redis(url, settings, warnings).map(Upstream::Redis),
        (None, Some(broker), true) => {
            let listen = settings.address(Key::BrokerListen);
            let password = password(settings, Key::BrokerPasswordFile)?;
            if password.is_none() && !listen.is_local() {
                warnings.push(format!(
                    "{}: whoever reaches {listen} may publish to every channel; give broker.password_file, or keep \
                     the port closed to others",
                    broker.origin
                ));
            }
            Ok(Upstream::Broker(BrokerConfig { listen, password }))
        }
    }
}

fn redis(url: RedisUrl, settings: &Settings, warnings: &mut Vec<String>) -> Result<RedisConfig, ConfigError> {
    Ok(RedisConfig {
        url: with_password(url, settings, warnings)?,
        password_file: file_setting(settings, Key::RedisPasswordFile).map(|(path, _)| PathBuf::from(path)),
        dial_timeout: settings.duration(Key::RedisDialTimeout),
        ping_interval: settings.duration(Key::RedisPingInterval),
        ping_timeout: settings.duration(Key::RedisPingTimeout),
    })
}

/// The URL with the password of the password file, if there is one.
fn with_password(
    mut url: RedisUrl,
    settings: &Settings,
    warnings: &mut Vec<String>,
) -> Result<RedisUrl, ConfigError> {
    let origin = settings.given(Key::RedisUrl).map(|setting| &setting.origin);
    if let (Some(_), Some(Origin::Flag(flag))) = (&url.password, origin) {
        warnings.push(format!(
            "{flag}: everyone on this machine can read the password in the list of processes; put it into a file \
             (redis.password_file) or into COURIER_REDIS"
        ));
    }
    if let Some(password) = password(settings, Key::RedisPasswordFile)? {
        if url.password.is_some() {
            let origin =
                settings.given(Key::RedisPasswordFile).map_or(&Origin::Default, |setting| &setting.origin);
            warnings.push(format!("{origin}: the password of the file is used, not that of redis.url"));
        }
        url.password = Some(password);
    }
    if url.user.is_some() && url.password.is_none() {
        return Err(ConfigError::new(format!(
            "redis.url = {url}: a user needs a password: give redis.password_file"
        )));
    }
    Ok(url)
}

/// The password in the file that this option names, if it is given.
pub(super) fn password(settings: &Settings, key: Key) -> Result<Option<Secret>, ConfigError> {
    let Some((path, origin)) = file_setting(settings, key) else { return Ok(None) };
    let wrong =
        |remedy: String| ConfigError::value(origin, &key.row().name(), &path.display().to_string(), remedy);
    files::read_password(path).map(Some).map_err(wrong)
}

/// A secret that is given as it is or in a file.
fn secret(
    settings: &Settings,
    inline: Key,
    file: Key,
    warnings: &mut Vec<String>,
) -> Result<Option<Secret>, ConfigError> {
    let in_file = match (password(settings, file)?, file_setting(settings, file)) {
        (Some(secret), Some((path, origin))) => {
            let path = path.display().to_string();
            let wrong = |remedy| ConfigError::value(origin, &file.row().name(), &path, remedy);
            Some(parse_secret(secret.reveal()).map_err(wrong)?)
        }
        _ => None,
    };
    let Some(setting) = settings.given(inline) else { return Ok(in_file) };
    let name = file.row().name();
    if in_file.is_some() {
        let remedy = format!("{} is given too; give one of them", name);
        return Err(ConfigError::at(&setting.origin, remedy));
    }
    if let Origin::Flag(flag) = &setting.origin {
        warnings.push(format!(
            "{flag}: everyone on this machine can read it in the list of processes; put it into a file ({name}) or into \
             {}",
            inline.row().variable()
        ));
    }
    match &setting.value {
        Value::Secret(secret) => Ok(Some(secret.clone())),
        other => unreachable!("the table says that this is a secret: {other:?}"),
    }
}

fn file_setting(settings: &Settings, key: Key) -> Option<(&Path, &Origin)> {
    settings.given(key).and_then(|setting| match &setting.value {
        Value::File(path) => Some((path.as_path(), &setting.origin)),
        _ => None,
    })
}

/// Two sides cannot listen at one address. Port 0 is a different port each time.
fn check_addresses(settings: &Settings, upstream: &Upstream) -> Result<(), ConfigError> {
    let mut taken: Vec<(Key, ListenAddress)> = Vec::new();
    let web = settings.addresses(Key::ServerListen).into_iter().map(|address| (Key::ServerListen, address));
    let admin = [(Key::AdminListen, settings.address(Key::AdminListen))];
    let broker = match upstream {
        Upstream::Broker(broker) => Some((Key::BrokerListen, broker.listen.clone())),
        Upstream::Redis(_) => None,
    };
    for (key, address) in web.chain(admin).chain(broker) {
        if let Some((other, _)) = taken.iter().find(|(_, other)| is_same(other, &address)) {
            let (key, other) = (key.row().name(), other.row().name());
            let both = if key == other {
                format!("{key} has {address} twice")
            } else {
                format!("{other} and {key} are both {address}")
            };
            return Err(ConfigError::new(format!("{both}: give each an address of its own")));
        }
        taken.push((key, address));
    }
    Ok(())
}

fn is_same(one: &ListenAddress, other: &ListenAddress) -> bool {
    match (one, other) {
        (ListenAddress::Tcp(one), ListenAddress::Tcp(other)) => one == other && one.port() != 0,
        (ListenAddress::Unix { path: one, .. }, ListenAddress::Unix { path: other, .. }) => one == other,
        (ListenAddress::Tcp(_), ListenAddress::Unix { .. })
        | (ListenAddress::Unix { .. }, ListenAddress::Tcp(_)) => false,
    }
}

/// The rows of the file, then those of `--public`: a flag adds to a file, it never opens what the file closes.
fn rules(
    mode: Mode,
    settings: &Settings,
    endpoints: &mut Endpoints,
    warnings: &mut Vec<String>,
) -> Result<(Vec<(Rule, Origin)>, Keys), ConfigError> {
    if mode == Mode::TryOut {
        let open = |pattern| (Rule { publish: Access::public(), ..public(pattern) }, Origin::Default);
        return Ok((Pattern::parse("*").map(open).into_iter().collect(), Keys::default()));
    }
    let (mut rules, keys) = access::rules(settings, warnings)?;
    for (rule, row) in rules.iter_mut().zip(&settings.rules) {
        endpoints.place(row, rule)?;
    }
    let origins = settings.rules.iter().map(|row| row.origin.clone());
    let mut rules: Vec<(Rule, Origin)> = rules.into_iter().zip(origins).collect();
    if let Some(setting) = settings.given(Key::Public)
        && let Value::Patterns(patterns) = &setting.value
    {
        rules.extend(patterns.iter().map(|pattern| (public(pattern.clone()), setting.origin.clone())));
    }
    for (rule, origin) in &rules {
        warnings.extend(reserved_warning(rule, origin));
    }
    Ok((rules, keys))
}

fn public(pattern: Pattern) -> Rule {
    Rule::new(pattern, Access::public())
}

fn reserved_warning(rule: &Rule, origin: &Origin) -> Option<String> {
    let pattern = rule.pattern.as_str();
    if !rule.access.is_public() {
        return None;
    }
    if rule.pattern.is_reserved() {
        return Some(format!(
            "{origin}: {pattern} is a reserved name (of Redis or of courier itself), and is now open to everyone"
        ));
    }
    (pattern.starts_with("__") || pattern.starts_with("courier:")).then(|| {
        format!("{origin}: {pattern} matches nothing: names that start with __ or courier: are opened one by one only")
    })
}

fn limits(settings: &Settings) -> Result<Limits, ConfigError> {
    let limits = Limits {
        head_bytes: settings.size(Key::LimitsHeadBytes),
        head_fields: settings.count(Key::LimitsHeadFields),
        head_timeout: settings.duration(Key::LimitsHeadTimeout),
        idle_timeout: settings.duration(Key::LimitsIdleTimeout),
        connections: count_or_any(settings, Key::LimitsConnections),
        connections_per_address: count_or_any(settings, Key::LimitsConnectionsPerAddress),
        streams_per_user: count_or_any(settings, Key::LimitsStreamsPerUser),
        accept_rate: settings.count(Key::LimitsAcceptRate),
        connections_per_shard: settings.count(Key::LimitsConnectionsPerShard),
        lag_bytes: settings.size(Key::LimitsLagBytes),
        log_bytes: settings.size(Key::LimitsLogBytes),
        tail_bytes: settings.size(Key::LimitsTailBytes),
        send_buffer_bytes: settings.size(Key::LimitsSendBufferBytes),
        queue_bytes: settings.size(Key::LimitsQueueBytes),
        spill_bytes: settings.size(Key::LimitsSpillBytes),
        history_bytes: settings.size(Key::LimitsHistoryBytes),
        channels: settings.count(Key::LimitsChannels),
        channels_per_shard: settings.count(Key::LimitsChannelsPerShard),
        channels_per_connection: settings.count(Key::LimitsChannelsPerConnection),
        message_bytes: settings.size(Key::LimitsMessageBytes),
        publish_rate: settings.count(Key::LimitsPublishRate),
        publish_rate_per_client: settings.count(Key::LimitsPublishRatePerClient),
        broker_memory_bytes: settings.size(Key::LimitsBrokerMemoryBytes),
        broker_clients: settings.count(Key::LimitsBrokerClients),
        callback_in_flight: settings.count(Key::LimitsCallbackInFlight),
        callback_waiting: settings.count(Key::LimitsCallbackWaiting),
        callback_answer_bytes: settings.size(Key::LimitsCallbackAnswerBytes),
        callback_cache_bytes: settings.size(Key::LimitsCallbackCacheBytes),
    };
    if limits.lag_bytes > limits.log_bytes {
        return Err(ConfigError::new(format!(
            "limits.lag_bytes = {}: at most limits.log_bytes, which is {}",
            show_size(limits.lag_bytes),
            show_size(limits.log_bytes)
        )));
    }
    Ok(limits)
}

fn origins(settings: &Settings) -> AllowedOrigins {
    match settings.value(Key::AllowedOrigins) {
        Value::Origins(origins) => origins.clone(),
        other => unreachable!("the table says these are origins: {other:?}"),
    }
}

/// Browsers refuse credentials with `*`, and courier says so at the start.
fn allow_credentials(settings: &Settings) -> Result<bool, ConfigError> {
    let is_allowed = settings.choice(Key::AllowCredentials) == "yes";
    match settings.given(Key::AllowCredentials) {
        Some(setting) if is_allowed && origins(settings) == AllowedOrigins::Any => {
            let remedy = "every origin is allowed, and with credentials each has to be meant: list them in \
                http.allowed_origins, as in https://app.example";
            Err(ConfigError::value(&setting.origin, "http.allow_credentials", "yes", remedy))
        }
        Some(_) | None => Ok(is_allowed),
    }
}

fn proxies(settings: &Settings, warnings: &mut Vec<String>) -> Proxies {
    let field = match settings.choice(Key::ForwardedField) {
        "forwarded" => ForwardedField::Forwarded,
        _ => ForwardedField::XForwardedFor,
    };
    let trusted = match settings.value(Key::TrustedProxies) {
        Value::Proxies(trusted) => trusted,
        other => unreachable!("the table says these are ranges: {other:?}"),
    };
    if let Some(setting) = settings.given(Key::TrustedProxies).filter(|_| trusted.trusts_everyone()) {
        warnings.push(format!(
            "{}: every address is trusted, so that whoever connects may claim any other; name the proxies' own",
            setting.origin
        ));
    }
    Proxies { trusted: trusted.clone(), field }
}

/// Of a count where 0 stands for no bound.
fn count_or_any(settings: &Settings, key: Key) -> usize {
    match settings.count(key) {
        0 => usize::MAX,
        count => count,
    }
}

fn cpus(settings: &Settings) -> Option<Vec<usize>> {
    settings.find(Key::Cpus).and_then(|setting| match &setting.value {
        Value::Cpus(cpus) => Some(cpus.clone()),
        _ => None,
    })
}

fn log_level(settings: &Settings) -> LogLevel {
    match settings.choice(Key::LogLevel) {
        "error" => LogLevel::Error,
        "warn" => LogLevel::Warn,
        "debug" => LogLevel::Debug,
        "trace" => LogLevel::Trace,
        _ => LogLevel::Info,
    }
}

fn log_format(settings: &Settings) -> LogFormat {
    match settings.choice(Key::LogFormat) {
        "json" => LogFormat::Json,
        _ => LogFormat::Text,
    }
}

const TRY_OUT_IS_LOCAL: &str =
    "try-out opens every channel to everyone: listen on loopback, or give --redis and --public";
const PUBLIC_IS_MISSING: &str = "--public is missing: no channel is open to anyone; give --public 'PATTERN' or a [[channels]] row in the file";
const REDIS_IS_MISSING: &str = "--redis is missing: say where messages come from, with --redis URL, or --broker for a broker of courier's own";
const BOTH_ARE_MISSING: &str =
    "--redis and --public are missing: say where messages come from and which channels are open to everyone";
