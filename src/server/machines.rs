//! What the configuration means for the machines: their options.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use crate::access::{Gate, Rule, Rules, SigningKey, Way};
use crate::base::census::Census;
use crate::base::counters::{ReaderCounters, ShardCounters};
use crate::base::position::Epoch;
use crate::base::queue::ShardIndex;
use crate::base::random::Random;
use crate::base::time::{Time, WallClock};
use crate::config::address::ListenAddress;
use crate::config::{self, Config, Mode, RedisConfig};
use crate::driver::sys::listen::Place;
use crate::driver::sys::time;
use crate::protocol::site::Site;
use crate::reader::{EmbeddedOptions, ReaderOptions, RedisOptions, Upstream};
use crate::shard::ShardOptions;

pub(super) fn site(config: &Config) -> Site {
    Site {
        gate: Gate {
            keys: Arc::new(config.keys.clone()),
            ..Gate::new(Rules::new(config.rules.clone())).asking(config.endpoints.clone())
        },
        origins: config.allowed_origins.clone(),
        allow_credentials: config.allow_credentials,
        proxies: config.proxies.clone(),
        channels_per_connection: config.limits.channels_per_connection,
        try_out: config.mode == Mode::TryOut,
        admin_token: config.admin_token.clone(),
        demo_page: include_bytes!("../protocol/demo.html"),
        publish_limit: config.limits.message_bytes,
        retry: config.retry,
        shedding: config.shedding,
    }
}

/// Whether anything looks at who connects, which is not free to know. Who publishes is held to a rate by address, unless a
/// way in says which user it is.
pub(super) fn wants_peers(config: &Config) -> bool {
    let asks =
        |rule: &Rule| !rule.publish.ways().is_empty() || rule.access.ways().iter().any(Way::reads_client);
    config.limits.connections_per_address < usize::MAX || config.rules.iter().any(asks)
}

pub(super) fn shard(
    config: &Config,
    index: ShardIndex,
    epoch: Epoch,
    site: &Arc<Site>,
    counters: &Arc<ShardCounters>,
    census: &Arc<Census>,
    random: &mut Random,
) -> ShardOptions {
    ShardOptions {
        index,
        epoch,
        site: Arc::clone(site),
        limits: config.limits.clone(),
        heartbeat: config.heartbeat.unwrap_or(Duration::ZERO),
        lifetime: config.lifetime,
        // The other half is for those who take their last words slowly.
        drain_window: config.drain_timeout / 2,
        callback_timeout: config.callback_timeout,
        counters: Arc::clone(counters),
        census: Arc::clone(census),
        seed: random.word(),
    }
}

pub(super) fn reader(
    config: &Config,
    shards: u16,
    epoch: Epoch,
    counters: &Arc<ReaderCounters>,
    start: Time,
    random: &mut Random,
) -> ReaderOptions {
    let upstream = match &config.upstream {
        config::Upstream::Redis(redis) => Upstream::Redis(redis_options(redis)),
        config::Upstream::Broker(broker) => Upstream::Embedded(EmbeddedOptions {
            password: broker.password.clone(),
            wall_clock: WallClock { at: start, unix: time::unix_now() },
        }),
    };
    ReaderOptions {
        upstream,
        epoch,
        rules: Rules::new(config.rules.clone()),
        limits: config.limits.clone(),
        counters: Arc::clone(counters),
        shards,
        seed: random.word(),
        start,
        control: config.control_secret.as_ref().map(|secret| SigningKey::new(secret.reveal().as_bytes())),
    }
}

fn redis_options(redis: &RedisConfig) -> RedisOptions {
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    RedisOptions {
        address: redis.url.address.clone(),
        username: redis.url.user.clone(),
        password: redis.url.password.clone(),
        database: redis.url.database,
        client_name: client_name(host.trim()),
        dial_timeout: redis.dial_timeout,
        ping_interval: redis.ping_interval,
        ping_timeout: redis.ping_timeout,
    }
}

/// What CLIENT LIST shows. CLIENT SETNAME takes printable ASCII without spaces.
fn client_name(host: &str) -> String {
    let plain: String = host.chars().filter(char::is_ascii_graphic).collect();
    format!("courier-{plain}")
}

pub(super) fn place(address: &ListenAddress) -> Place {
    match address {
        ListenAddress::Tcp(address) => Place::Tcp(*address),
        ListenAddress::Unix { path, mode } => Place::Unix { path: path.clone(), mode: *mode },
    }
}

/// The address with the port that was really taken.
pub(super) fn taken(address: &ListenAddress, place: &Place) -> ListenAddress {
    match (address, place) {
        (ListenAddress::Tcp(asked), Place::Tcp(taken)) => {
            ListenAddress::Tcp(SocketAddr::new(asked.ip(), taken.port()))
        }
        (address, _) => address.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hosts_name_is_cut_to_what_redis_takes() {
        assert_eq!(client_name("web-1.example"), "courier-web-1.example");
        assert_eq!(client_name("höst 1"), "courier-hst1");
    }

    #[test]
    fn the_port_that_was_taken_stands_in_the_address() {
        let asked = ListenAddress::parse("127.0.0.1:0").unwrap();
        let place = Place::Tcp("127.0.0.1:4711".parse().unwrap());
        assert_eq!(taken(&asked, &place).to_string(), "127.0.0.1:4711");
        let socket = ListenAddress::parse("unix:/run/x.sock").unwrap();
        assert_eq!(taken(&socket, &super::place(&socket)), socket);
    }
}
