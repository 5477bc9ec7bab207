//! The addresses of names: looked up by a thread, since a lookup blocks, and used for a while.
//!
//! The thread is started by the first name, so that addresses need none. A name is looked up once at a time; a lookup
//! that hangs holds up those behind it, whose questions end by their own time.

use std::collections::BTreeMap;
use std::net::{IpAddr, ToSocketAddrs};
use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, bounded};

use crate::base::limits::CALLBACK_ENDPOINTS;
use crate::base::time::Time;
use crate::driver::doorbell::Doorbell;

#[derive(Debug)]
pub(super) struct Names {
    doorbell: Arc<Doorbell>,
    thread: Option<Thread>,
    names: BTreeMap<String, Name>,
}

#[derive(Debug)]
struct Thread {
    lookups: Sender<String>,
    found: Receiver<Found>,
}

#[derive(Debug)]
enum Name {
    LookingUp,
    /// Empty if there are none.
    Known {
        since: Time,
        addresses: Vec<IpAddr>,
    },
}

type Found = (String, Vec<IpAddr>);

impl Names {
    pub(super) fn new(doorbell: Arc<Doorbell>) -> Self {
        Self { doorbell, thread: None, names: BTreeMap::new() }
    }

    /// The host's addresses; none while they are being looked up, which `take_result` ends.
    pub(super) fn addresses(&mut self, now: Time, host: &str) -> Option<Vec<IpAddr>> {
        if let Ok(address) = host.parse() {
            return Some(vec![address]);
        }
        match self.names.get(host) {
            Some(Name::LookingUp) => return None,
            Some(Name::Known { since, addresses }) if now.since(*since) < age_max(addresses) => {
                return Some(addresses.clone());
            }
            Some(Name::Known { .. }) | None => {}
        }
        if self.look_up(host) {
            self.names.insert(host.to_owned(), Name::LookingUp);
            return None;
        }
        Some(Vec::new())
    }

    pub(super) fn has_result(&self) -> bool {
        self.thread.as_ref().is_some_and(|thread| !thread.found.is_empty())
    }

    /// Takes what was found of one name; false if there is nothing.
    pub(super) fn take_result(&mut self, now: Time) -> bool {
        let Some(Ok((host, addresses))) = self.thread.as_ref().map(|thread| thread.found.try_recv()) else {
            return false;
        };
        self.names.insert(host, Name::Known { since: now, addresses });
        true
    }

    /// False if there can be no lookup.
    fn look_up(&mut self, host: &str) -> bool {
        if self.thread.is_none() {
            self.thread = Thread::start(&self.doorbell).ok();
        }
        // Each name is looked up once at a time, and there are no more of them than places.
        self.thread.as_ref().is_some_and(|thread| thread.lookups.try_send(host.to_owned()).is_ok())
    }
}

impl Thread {
    fn start(doorbell: &Arc<Doorbell>) -> std::io::Result<Self> {
        let (lookups, orders) = bounded::<String>(CALLBACK_ENDPOINTS);
        let (results, found) = bounded(CALLBACK_ENDPOINTS);
        let doorbell = Arc::clone(doorbell);
        std::thread::Builder::new().name("courier-names".into()).spawn(move || {
            while let Ok(host) = orders.recv() {
                let looked_up = (host.as_str(), 0).to_socket_addrs();
                let addresses =
                    looked_up.map_or_else(|_| Vec::new(), |all| all.map(|one| one.ip()).collect());
                if results.send((host, addresses)).is_err() {
                    return;
                }
                doorbell.notify();
            }
        })?;
        Ok(Self { lookups, found })
    }
}

/// How long what was found is used; that there was nothing, for long enough to serve those who waited for it.
fn age_max(addresses: &[IpAddr]) -> Duration {
    if addresses.is_empty() { ABSENT_AGE } else { NAME_AGE }
}

const NAME_AGE: Duration = Duration::from_secs(30);
const ABSENT_AGE: Duration = Duration::from_secs(1);
