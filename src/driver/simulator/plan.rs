//! What a seed chooses before anything moves: how large the world is, how tight its bounds are, what will go wrong.
//!
//! Most troubles are absent from most runs: a run in which everything goes wrong at once never gets far enough to show
//! what one trouble does, and one without outages may have no gap that only an outage explains.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::access::{
    Access, AllowedOrigins, AppAddress, Endpoint, EndpointIndex, Gate, Pattern, Proxies, Rule, Rules, Way,
};
use crate::base::channel::SlowMode;
use crate::base::limits::{HISTORY_AGE, Limits, MIB};
use crate::base::number::index;
use crate::base::random::Random;
use crate::base::retention::Retention;
use crate::protocol::site::{Shedding, Site};
use crate::reader::{RedisAddress, RedisOptions};

use super::order::channel_name;

#[derive(Debug)]
pub(super) struct Plan {
    pub(super) steps: u64,
    pub(super) shards: u16,
    pub(super) channels: usize,
    pub(super) clients: u64,
    pub(super) limits: Limits,
    pub(super) rules: Rules,
    /// Channels about which the application is asked.
    pub(super) asked: BTreeSet<usize>,
    pub(super) proxies: Proxies,
    pub(super) kept_whole: BTreeSet<usize>,
    pub(super) tight_tails: bool,
    /// Deliveries in one queue, and controls in theirs.
    pub(super) queue_room: usize,
    pub(super) control_room: usize,
    pub(super) tight_queues: bool,
    pub(super) heartbeat: Duration,
    pub(super) lifetime: Duration,
    pub(super) shedding: Shedding,
    pub(super) troubles: Troubles,
}

/// What may go wrong.
#[derive(Debug, Clone, Copy)]
pub(super) struct Troubles {
    pub(super) upstream: bool,
    pub(super) acl: bool,
    pub(super) clock: bool,
    pub(super) drain: bool,
}

impl Plan {
    pub(super) fn new(random: &mut Random, app_random: &mut Random) -> Self {
        let mut one_in = |n: u64| random.below(n) == 0;
        let (tight_queues, few_channels) = (one_in(2), one_in(6));
        let (tight_history, tight_tails, tight_logs) = (one_in(4), one_in(6), one_in(4));
        let (is_mortal, is_unavailable) = (one_in(4), one_in(2));
        let troubles = Troubles { upstream: !one_in(3), acl: one_in(4), clock: one_in(3), drain: one_in(3) };
        let channels = index(1 + random.below(6));
        let mut power = |least: u64, span: u64| 1_usize << (least + random.below(span));
        let limits = Limits {
            // So few that questions wait, and that some are not asked.
            callback_in_flight: index(1 + app_random.below(3)),
            callback_waiting: index(app_random.below(4)),
            // Small enough that slow readers are lapped in some runs and histories are trimmed in others.
            lag_bytes: power(9, 8),
            log_bytes: if tight_logs { power(9, 4) } else { MIB },
            tail_bytes: if tight_tails { power(14, 2) } else { MIB },
            history_bytes: if tight_history { power(8, 5) } else { MIB },
            // Small enough that resumes have to wait for room.
            spill_bytes: if tight_queues { power(12, 6) } else { 8 * MIB },
            channels: if few_channels { index(1 + random.below(channels as u64)) } else { 1_000 },
            connections_per_shard: 64,
            ..Limits::default()
        };
        let mut kept_whole = BTreeSet::new();
        let mut rules = Vec::new();
        let asks = app_random.below(3) == 0;
        let mut asked = BTreeSet::new();
        for channel in 0..channels {
            let history = any_retention(random);
            if history == WHOLE && !tight_history && !few_channels && !tight_tails {
                kept_whole.insert(channel);
            }
            let pattern = Pattern::parse(&channel_name(channel)).expect("a name is a pattern");
            let access = match asks && app_random.below(2) == 0 {
                true => Access::new(vec![Way::Callback(EndpointIndex(0))]),
                false => Access::public(),
            };
            if !access.is_public() {
                asked.insert(channel);
            }
            rules.push(Rule { history, slow: slow_mode(channel), ..Rule::new(pattern, access) });
        }
        Self {
            steps: 300 + random.below(1_200),
            shards: u16::try_from(1 + random.below(4)).expect("at most four shards"),
            channels,
            clients: 1 + random.below(12),
            limits,
            rules: Rules::new(rules),
            asked,
            proxies: Proxies::default(),
            kept_whole,
            tight_tails,
            queue_room: 1 << random.below(8),
            control_room: 1 << random.below(8),
            tight_queues,
            heartbeat: Duration::from_secs(random.below(3)),
            lifetime: Duration::from_secs(if is_mortal { 3 + random.below(20) } else { 0 }),
            shedding: if is_unavailable { Shedding::Unavailable } else { Shedding::Retry },
            troubles,
        }
    }

    pub(super) fn site(&self) -> Site {
        Site {
            gate: Gate::new(self.rules.clone()).asking(vec![endpoint()]),
            origins: AllowedOrigins::Any,
            allow_credentials: false,
            proxies: self.proxies.clone(),
            channels_per_connection: 64,
            try_out: false,
            demo_page: b"",
            admin_token: None,
            publish_limit: 0,
            retry: Duration::from_secs(2),
            shedding: self.shedding,
        }
    }

    /// The longest that a channel lingers without anybody.
    pub(super) fn linger(&self) -> Duration {
        self.rules.rows().iter().map(|rule| rule.history.age).max().unwrap_or_default().max(HISTORY_AGE)
    }
}

fn endpoint() -> Endpoint {
    Endpoint {
        address: AppAddress::Tcp { host: "app".into(), port: 80 },
        target: "/ask".into(),
        host: "app".into(),
        fields: Vec::new(),
        sends_peer: false,
        secret: None,
    }
}

/// Of every second channel a slow reader is told of a gap instead of being closed.
pub(super) fn slow_mode(channel: usize) -> SlowMode {
    if channel.is_multiple_of(2) { SlowMode::Latest } else { SlowMode::Disconnect }
}

fn any_retention(random: &mut Random) -> Retention {
    match random.below(6) {
        0 => Retention { count: 0, ..Retention::STANDARD },
        1 => FEW,
        2 => Retention { bytes: 300, ..Retention::STANDARD },
        3 => Retention { age: Duration::from_secs(5), ..Retention::STANDARD },
        4 => WHOLE,
        _ => Retention::STANDARD,
    }
}

const FEW: Retention = Retention { count: 3, ..Retention::STANDARD };
/// More than any run has.
const WHOLE: Retention = Retention { count: 1_000_000, bytes: MIB, age: Duration::from_secs(100_000) };

pub(super) fn redis_options() -> RedisOptions {
    RedisOptions {
        address: RedisAddress::Tcp { host: "redis".into(), port: 6_379 },
        username: None,
        password: None,
        database: 0,
        client_name: "courier-simulator".into(),
        dial_timeout: Duration::from_secs(1),
        ping_interval: Duration::from_secs(2),
        ping_timeout: Duration::from_secs(4),
    }
}
