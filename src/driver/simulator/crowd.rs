//! Where clients come from, and how many may: some directly, some through a proxy that says for whom it asks.
//!
//! Has a generator of its own, so that what a seed does in a world without such bounds does not depend on it.

use std::collections::BTreeMap;

use super::World;
use super::apps::USER;
use super::plan::Plan;
use crate::access::TrustedProxies;
use crate::base::number::index;
use crate::base::peer::{Network, Peer};
use crate::base::random::Random;

/// Where one client comes from.
#[derive(Debug, Clone, Copy)]
pub(super) struct Home {
    /// Its own address.
    address: u8,
    /// True if it comes through a proxy.
    is_behind_proxy: bool,
}

/// What a seed chooses of it.
#[derive(Debug)]
pub(super) struct Crowd {
    random: Random,
    addresses: u64,
}

impl Crowd {
    /// Bounds the plan, in some runs.
    pub(super) fn new(seed: u64, plan: &mut Plan) -> Self {
        let mut random = Random::new(!seed);
        if random.below(8) == 0 {
            plan.limits.connections_per_address = index(1 + random.below(5));
        }
        if random.below(10) == 0 {
            plan.limits.connections = index(1 + plan.clients / 2 + random.below(plan.clients));
        }
        if random.below(16) == 0 {
            plan.limits.channels_per_shard = index(1 + random.below(plan.channels as u64));
        }
        if random.below(2) == 0 && !plan.asked.is_empty() {
            plan.limits.streams_per_user = index(1 + random.below(4));
        }
        plan.proxies.trusted = TrustedProxies::parse([PROXY]).expect("an address is a range");
        let addresses = 1 + random.below(4);
        Self { random, addresses }
    }

    pub(super) fn next(&mut self) -> Home {
        let address = u8::try_from(self.random.below(self.addresses)).expect("a few addresses");
        Home { address, is_behind_proxy: self.random.below(3) == 0 }
    }
}

impl Home {
    /// Who connects.
    pub(super) fn peer(self) -> Peer {
        let peer = if self.is_behind_proxy { PROXY.to_owned() } else { self.address() };
        Peer::ip(peer.parse().expect("it is an address"))
    }

    /// What its request says of it. Who comes directly says it too, and is not believed.
    pub(super) fn field(self) -> String {
        match self.is_behind_proxy {
            true => format!("X-Forwarded-For: 203.0.113.9, {}\r\n", self.address()),
            false => "X-Forwarded-For: 203.0.113.9\r\n".to_owned(),
        }
    }

    fn network(self) -> Network {
        Network::of(self.address().parse().expect("it is an address"))
    }

    fn address(self) -> String {
        format!("198.51.100.{}", self.address)
    }
}

impl World {
    /// What is counted for the process is what its shards have, and no address has more streams than it may have.
    pub(super) fn check_census(&self) {
        let seed = self.seed;
        let connections: u64 = self.shards.iter().map(|side| side.shard.connections()).sum();
        assert_eq!(self.census.connections() as u64, connections, "connections are counted, seed {seed}");
        let mut counted: BTreeMap<Network, (usize, usize)> = BTreeMap::new();
        for (network, is_stream) in self.shards.iter().flat_map(|side| side.shard.counted()) {
            let (connections, streams) = counted.entry(network).or_default();
            *connections += 1;
            *streams += usize::from(is_stream);
        }
        let most = self.plan.limits.connections_per_address;
        for (&network, &(connections, streams)) in &counted {
            assert_eq!(self.census.networks.count(network), connections, "{network}, seed {seed}");
            assert!(streams <= most, "{network} has {streams} streams of {most}, seed {seed}");
        }
        assert_eq!(self.census.networks.len(), counted.len(), "only who is there is counted, seed {seed}");
        let (most, user) = (self.plan.limits.streams_per_user, USER.into());
        let streams: usize = self.shards.iter().map(|side| side.shard.streams_of(USER)).sum();
        assert!(streams <= most, "the user has {streams} streams of {most}, seed {seed}");
        let expected = if most == usize::MAX { 0 } else { streams };
        assert_eq!(self.census.users.count(user), expected, "streams of the user, seed {seed}");
        assert_eq!(self.census.users.len(), usize::from(expected > 0), "nobody else, seed {seed}");
    }

    /// Those for whom there is no room would be sent away for ever.
    pub(super) fn retire_the_crowd(&mut self) {
        let limits = &self.plan.limits;
        let (most, of_one, of_user) =
            (limits.connections, limits.connections_per_address, limits.streams_per_user);
        let (mut all, mut as_user, mut by_network) = (0, 0, BTreeMap::<Network, usize>::new());
        for client in 0..self.clients.len() {
            if self.clients[client].retired {
                continue;
            }
            let of_network = by_network.entry(self.clients[client].home.network()).or_default();
            let is_user = self.clients[client].is_asked_about(&self.plan.asked);
            if all < most && *of_network < of_one && (!is_user || as_user < of_user) {
                all += 1;
                as_user += usize::from(is_user);
                *of_network += 1;
            } else {
                self.client_hangs_up(client);
                self.clients[client].retired = true;
            }
        }
    }
}

const PROXY: &str = "192.0.2.1";
