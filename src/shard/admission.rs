//! Who is let in: bounds on connections, on streams and on their channels, for the shard and for the whole process.
//!
//! At a bound the new is refused and never the old ended. A connection that comes beyond one may still ask, so that it can
//! be told when to come back, in the words that its request understands; only if there are many more, nothing is read from
//! it and it is closed as it comes. All other requests of such a connection are answered: what is bounded is who stays.
//!
//! Invariant: whatever is counted in the census for a row is given back when the row ends, or with its grant.

use std::sync::Arc;

use crate::base::disconnect::Disconnect;
use crate::base::limits::CONNECTIONS_SPARE;
use crate::base::peer::{Network, Peer};
use crate::base::socket::{Arrival, Listener, Slot};
use crate::protocol::site::Opening;

use super::Shard;
use super::input::Notice;
use super::row::{Flags, State};

impl Shard {
    /// Counts a connection that has come. An error: it is to be closed as it is.
    pub(super) fn arrived(&mut self, slot: Slot, arrival: Arrival) -> Result<(), Disconnect> {
        let connections = self.census.add_connection();
        // An operator can always look.
        if arrival.listener != Listener::Web {
            return Ok(());
        }
        if connections > self.limits.connections.saturating_add(CONNECTIONS_SPARE) {
            self.notice(Notice::ProcessFull);
            return Err(Disconnect::ConnectionLimit);
        }
        match arrival.peer.network() {
            // Whoever a proxy asks for is known only from a request.
            Some(network) if self.counts_addresses() && !self.site.proxies.trusted.trusts(arrival.peer) => {
                self.arrived_from(slot, network)
            }
            Some(_) | None => Ok(()),
        }
    }

    fn arrived_from(&mut self, slot: Slot, network: Network) -> Result<(), Disconnect> {
        let row = &mut self.rows[slot.index()];
        row.network = network;
        let (count, most) = (self.census.networks.add(network), self.limits.connections_per_address);
        if count > most {
            row.flags.set(Flags::CROWDED);
            self.notice(Notice::AddressFull(network));
        }
        if count > most.saturating_add(CONNECTIONS_SPARE) { Err(Disconnect::AddressLimit) } else { Ok(()) }
    }

    /// A connection has gone that was counted for this address, if for any.
    pub(super) fn departed(&self, network: Network) {
        self.census.remove_connection();
        if network != Network::NONE {
            self.census.networks.remove(network);
        }
    }

    /// Whether a stream may begin on this connection. If so, it counts for its user until its grant is forgotten.
    pub(super) fn admit(&mut self, slot: Slot, opening: &Opening) -> Result<(), Disconnect> {
        self.has_place()?;
        self.admit_from(slot, opening.client)?;
        let new = opening.channels.iter().filter(|(name, _)| !self.hub.has_channel(name)).count();
        if self.hub.channel_count() + new > self.limits.channels_per_shard {
            return self.full(Notice::ChannelsFull, Disconnect::ChannelLimit);
        }
        match &opening.grant.user {
            Some(user) if self.counts_users() => {
                if self.census.users.try_add(Arc::clone(user), self.limits.streams_per_user) {
                    return Ok(());
                }
                self.full(Notice::UserFull, Disconnect::UserLimit)
            }
            Some(_) | None => Ok(()),
        }
    }

    /// Whether any stream may begin: nobody is asked about one that could not.
    pub(super) fn has_place(&mut self) -> Result<(), Disconnect> {
        if self.is_draining() {
            return Err(Disconnect::Drain);
        }
        // Connections in progress count, this one among them.
        if self.connections > self.limits.connections_per_shard as u64 {
            return self.full(Notice::ShardFull, Disconnect::ConnectionLimit);
        }
        if self.census.connections() > self.limits.connections {
            return self.full(Notice::ProcessFull, Disconnect::ConnectionLimit);
        }
        Ok(())
    }

    /// Who came when its address had too many may stay if others have gone since. Whoever came through a proxy counts from
    /// here on.
    fn admit_from(&mut self, slot: Slot, client: Peer) -> Result<(), Disconnect> {
        let row = &mut self.rows[slot.index()];
        if let (true, Network::NONE, Some(network)) =
            (self.limits.connections_per_address < usize::MAX, row.network, client.network())
        {
            if !self.census.networks.try_add(network, self.limits.connections_per_address) {
                return self.full(Notice::AddressFull(network), Disconnect::AddressLimit);
            }
            row.network = network;
        }
        let row = &mut self.rows[slot.index()];
        if row.flags.has(Flags::CROWDED) {
            if self.census.networks.count(row.network) > self.limits.connections_per_address {
                return Err(Disconnect::AddressLimit);
            }
            row.flags.clear(Flags::CROWDED);
        }
        Ok(())
    }

    /// A stream of this user has ended.
    pub(super) fn user_left(&self, user: Arc<str>) {
        if self.counts_users() {
            self.census.users.remove(user);
        }
    }

    /// The addresses that connections are counted for, and which of those are streams: for checks against the census.
    pub fn counted(&self) -> impl Iterator<Item = (Network, bool)> {
        let counted = self.rows.iter().filter(|row| row.network != Network::NONE);
        counted.map(|row| (row.network, matches!(row.state, State::Joining(_) | State::Live)))
    }

    /// How many streams the user has here: for the same.
    pub fn streams_of(&self, user: &str) -> usize {
        self.grants.slots_of(user).len()
    }

    fn full(&mut self, notice: Notice, reason: Disconnect) -> Result<(), Disconnect> {
        self.notice(notice);
        Err(reason)
    }

    /// What is not bounded is not counted, which would take a lock and memory for each.
    fn counts_addresses(&self) -> bool {
        self.limits.connections_per_address < usize::MAX
    }

    fn counts_users(&self) -> bool {
        self.limits.streams_per_user < usize::MAX
    }
}
