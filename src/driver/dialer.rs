//! Dials Redis away from the reader's thread: name lookups, connects and files block, and none may hold up a message.
//!
//! One thread a link, so that a name server that does not answer holds up no more than that link's own dials: a dial
//! is given up at its deadline, and the next one waits behind the lookup at most as long.

use std::io;
use std::net::{SocketAddr, TcpStream, ToSocketAddrs};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, TrySendError, bounded};

use crate::base::secret::Secret;
use crate::driver::doorbell::Doorbell;
use crate::driver::files;
use crate::reader::RedisAddress;
use crate::reader::input::Link;

/// What is dialed.
#[derive(Debug, Clone)]
pub struct Target {
    pub address: RedisAddress,
    /// Read at each dial: who rotates the password restarts nothing.
    pub password_file: Option<PathBuf>,
}

/// A dial that succeeded.
#[derive(Debug)]
pub struct Dialed {
    pub descriptor: OwnedFd,
    /// What the password file holds, if there is one that can be read at present.
    pub password: Option<Secret>,
}

#[derive(Debug)]
pub struct Dialer {
    dials: [Sender<Dial>; LINKS.len()],
    results: Receiver<Finished>,
    timeout: Duration,
    /// How many dials have been begun; the last of each link is the one whose result counts.
    attempts: u64,
    awaited: [Option<Awaited>; LINKS.len()],
}

/// A dial on its way.
#[derive(Debug)]
struct Awaited {
    attempt: u64,
    deadline: Instant,
}

#[derive(Debug)]
struct Dial {
    attempt: u64,
    deadline: Instant,
}

#[derive(Debug)]
struct Finished {
    link: Link,
    attempt: u64,
    outcome: Result<Dialed, String>,
}

impl Dialer {
    /// Starts the threads; each tells `reader` when it is done.
    pub fn start(target: &Target, timeout: Duration, reader: &Arc<Doorbell>) -> io::Result<Self> {
        let (results, finished) = bounded(RESULTS);
        let start = |link: Link| {
            // Room for one behind the dial that is at work, which may be stuck in a lookup.
            let (dials, orders) = bounded(1);
            let (target, results, reader) = (target.clone(), results.clone(), Arc::clone(reader));
            std::thread::Builder::new()
                .name(format!("courier-{}", name(link)))
                .spawn(move || work(link, &target, &orders, &results, &reader))?;
            io::Result::Ok(dials)
        };
        Ok(Self {
            dials: [start(LINKS[0])?, start(LINKS[1])?],
            results: finished,
            timeout,
            attempts: 0,
            awaited: [None, None],
        })
    }

    pub fn dial(&mut self, link: Link) {
        self.attempts += 1;
        let (attempt, deadline) = (self.attempts, Instant::now() + self.timeout);
        self.awaited[link as usize] = Some(Awaited { attempt, deadline });
        match self.dials[link as usize].try_send(Dial { attempt, deadline }) {
            // Full: earlier lookups are stuck; this dial comes to nothing at its deadline.
            Ok(()) | Err(TrySendError::Full(_)) => {}
            Err(TrySendError::Disconnected(_)) => unreachable!("a dialing thread ends with its dialer only"),
        }
    }

    /// The outcome of a dial, one for each.
    pub fn next_result(&mut self) -> Option<(Link, Result<Dialed, String>)> {
        while let Ok(Finished { link, attempt, outcome }) = self.results.try_recv() {
            let awaited = &mut self.awaited[link as usize];
            if awaited.as_ref().is_some_and(|awaited| awaited.attempt == attempt) {
                *awaited = None;
                return Some((link, outcome));
            }
        }
        let now = Instant::now();
        for link in LINKS {
            let awaited = &mut self.awaited[link as usize];
            // A moment beyond, since the thread bounds its connect by the same deadline and knows the reason.
            if awaited.as_ref().is_some_and(|awaited| awaited.deadline + GRACE <= now) {
                *awaited = None;
                let reason = format!("no answer within {:?}: the name lookup hangs", self.timeout);
                return Some((link, Err(reason)));
            }
        }
        None
    }

    /// After how long `next_result` should be asked at the latest.
    pub fn wait(&self) -> Option<Duration> {
        let now = Instant::now();
        let deadlines = self.awaited.iter().flatten().map(|awaited| awaited.deadline + GRACE);
        deadlines.min().map(|deadline| deadline.saturating_duration_since(now))
    }

    pub fn has_result(&self) -> bool {
        !self.results.is_empty()
    }
}

fn work(link: Link, target: &Target, orders: &Receiver<Dial>, results: &Sender<Finished>, reader: &Doorbell) {
    while let Ok(Dial { attempt, deadline }) = orders.recv() {
        let outcome = connect(&target.address, deadline).map(|descriptor| Dialed {
            descriptor,
            // In the middle of a rotation it may be missing: the password before it goes on.
            password: target.password_file.as_ref().and_then(|path| files::read_password(path).ok()),
        });
        // Full: nobody has listened for a long time; the dial ends at its deadline.
        let _ = results.try_send(Finished { link, attempt, outcome });
        reader.notify();
    }
}

fn connect(address: &RedisAddress, deadline: Instant) -> Result<OwnedFd, String> {
    match address {
        RedisAddress::Unix { path } => {
            let stream = UnixStream::connect(path);
            stream.map(OwnedFd::from).map_err(|error| format!("{}: {error}", path.display()))
        }
        RedisAddress::Tcp { host, port } => {
            let looked_up = (host.as_str(), *port).to_socket_addrs();
            let addresses = looked_up.map_err(|error| format!("{host}: {error}"))?;
            let mut reason = format!("{host}: the name has no address");
            for address in addresses {
                match connect_tcp(address, deadline) {
                    Ok(stream) => return Ok(stream),
                    Err(error) => reason = format!("{address}: {error}"),
                }
            }
            Err(reason)
        }
    }
}

fn connect_tcp(address: SocketAddr, deadline: Instant) -> io::Result<OwnedFd> {
    let left = deadline.saturating_duration_since(Instant::now());
    if left.is_zero() {
        return Err(io::ErrorKind::TimedOut.into());
    }
    let stream = TcpStream::connect_timeout(&address, left)?;
    stream.set_nodelay(true)?;
    Ok(stream.into())
}

const fn name(link: Link) -> &'static str {
    match link {
        Link::Push => "dial-push",
        Link::Ask => "dial-ask",
    }
}

const LINKS: [Link; 2] = [Link::Push, Link::Ask];
/// Each thread has one dial at work and one waiting, and a result may wait for each.
const RESULTS: usize = 8;
const GRACE: Duration = Duration::from_millis(100);

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    fn dialer(address: &RedisAddress) -> Dialer {
        let doorbell = Arc::new(Doorbell::new().unwrap());
        let target = Target { address: address.clone(), password_file: None };
        Dialer::start(&target, Duration::from_secs(5), &doorbell).unwrap()
    }

    fn tcp(host: &str, port: u16) -> RedisAddress {
        RedisAddress::Tcp { host: host.into(), port }
    }

    fn outcome(dialer: &mut Dialer, link: Link) -> Result<Dialed, String> {
        dialer.dial(link);
        let began = Instant::now();
        loop {
            if let Some((dialed, outcome)) = dialer.next_result() {
                assert_eq!(dialed, link);
                assert!(dialer.wait().is_none());
                return outcome;
            }
            assert!(began.elapsed() < Duration::from_secs(10), "a dial has an outcome");
            std::thread::yield_now();
        }
    }

    #[test]
    fn a_name_is_looked_up_and_connected_to() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = tcp("localhost", listener.local_addr().unwrap().port());
        let mut dialer = dialer(&address);
        for link in LINKS {
            outcome(&mut dialer, link).unwrap();
            listener.accept().unwrap();
        }
    }

    #[test]
    fn a_failure_says_where_and_why() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        drop(listener);
        let mut refused = dialer(&tcp("127.0.0.1", port));
        let reason = outcome(&mut refused, Link::Push).unwrap_err();
        assert_eq!(reason, format!("127.0.0.1:{port}: Connection refused (os error 111)"));
        let mut absent = dialer(&RedisAddress::Unix { path: "/nonexistent/redis.sock".into() });
        let reason = outcome(&mut absent, Link::Ask).unwrap_err();
        assert_eq!(reason, "/nonexistent/redis.sock: No such file or directory (os error 2)");
    }
}
