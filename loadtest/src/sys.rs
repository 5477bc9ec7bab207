//! The system calls that std does not reach, each behind a safe function. Linux only.
//!
//! Not a wrapper of everything: what std can do (accept, read, processes) is done with std.
#![allow(unsafe_code)] // JUSTIFICATION: epoll, affinity and MSG_DONTWAIT have no safe form in std.

use std::io;
use std::mem::size_of;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command};
use std::time::Duration;

/// CLOCK_MONOTONIC in nanoseconds: the same clock in every process of this machine.
pub fn monotonic_nanos() -> u64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `time` is a valid timespec for the call to fill.
    let result = unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &raw mut time) };
    assert!(result == 0, "CLOCK_MONOTONIC exists on every Linux");
    time.tv_sec.unsigned_abs() * 1_000_000_000 + time.tv_nsec.unsigned_abs()
}

/// Raises the soft limit of open files to the hard one and returns it.
pub fn raise_open_file_limit() -> u64 {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: `limit` is a valid rlimit for the call to fill.
    if unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) } != 0 {
        return 1_024;
    }
    let raised = libc::rlimit { rlim_cur: limit.rlim_max, rlim_max: limit.rlim_max };
    // SAFETY: `raised` is a valid rlimit that outlives the call.
    match unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const raised) } {
        0 => limit.rlim_max,
        _ => limit.rlim_cur,
    }
}

/// The CPUs that this process may run on, in rising order.
pub fn allowed_cpus() -> Vec<usize> {
    // SAFETY: an all-zero cpu_set_t is the empty set.
    let mut set: libc::cpu_set_t = unsafe { std::mem::zeroed() };
    // SAFETY: `set` is valid for writes of its own size.
    let result = unsafe { libc::sched_getaffinity(0, size_of::<libc::cpu_set_t>(), &raw mut set) };
    if result != 0 {
        return vec![0];
    }
    let bits = 8 * size_of::<libc::cpu_set_t>();
    // SAFETY: every index is below the number of bits of the set.
    (0..bits).filter(|&cpu| unsafe { libc::CPU_ISSET(cpu, &set) }).collect()
}

/// Keeps the calling thread, and what it starts from now on, on `cpus`.
pub fn run_on(cpus: &[usize]) -> io::Result<()> {
    // SAFETY: an all-zero cpu_set_t is the empty set.
    let mut set: libc::cpu_set_t = unsafe { std::mem::zeroed() };
    let bits = 8 * size_of::<libc::cpu_set_t>();
    for &cpu in cpus.iter().filter(|&&cpu| cpu < bits) {
        // SAFETY: `cpu` is below the number of bits of the set.
        unsafe { libc::CPU_SET(cpu, &mut set) };
    }
    // SAFETY: `set` is valid for reads of its own size.
    check(unsafe { libc::sched_setaffinity(0, size_of::<libc::cpu_set_t>(), &raw const set) }).map(drop)
}

/// Makes `command` start on `cpus` (anywhere if there are none), and have `signal` when the thread that starts it dies,
/// so that not even a kill -9 of this process leaves one running.
pub fn bind_child(command: &mut Command, cpus: Vec<usize>, signal: i32) {
    let start = move || {
        // SAFETY: prctl with PR_SET_PDEATHSIG takes a signal number and touches no memory.
        check(unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, signal) })?;
        if cpus.is_empty() { Ok(()) } else { run_on(&cpus) }
    };
    // SAFETY: between fork and exec `start` makes two system calls and neither allocates nor locks.
    unsafe { command.pre_exec(start) };
}

/// Sends `signal` to a process.
pub fn signal(child: &Child, signal: i32) {
    let Ok(pid) = libc::pid_t::try_from(child.id()) else { return };
    // SAFETY: kill(2) takes plain numbers. The process has not been waited for, so its id is nobody else's; that it has
    // ended already is the only error, and what is wanted.
    let _ = unsafe { libc::kill(pid, signal) };
}

/// Starts a connection without waiting for it. It is reset when dropped: no TIME_WAIT, so that its port is free for
/// the next round.
pub fn start_connection(target: SocketAddr, source: Option<Ipv4Addr>) -> io::Result<TcpStream> {
    let family = if target.is_ipv4() { libc::AF_INET } else { libc::AF_INET6 };
    let kind = libc::SOCK_STREAM | libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC;
    // SAFETY: socket(2) takes plain numbers.
    let descriptor = check(unsafe { libc::socket(family, kind, 0) })?;
    // SAFETY: the descriptor was just opened and belongs to nobody else.
    let stream = unsafe { TcpStream::from_raw_fd(descriptor) };
    set_option(&stream, libc::SOL_SOCKET, libc::SO_LINGER, &libc::linger { l_onoff: 1, l_linger: 0 })?;
    if let Some(source) = source {
        // The port is chosen at connect(2), by destination; otherwise one address has 28,000 for all of them.
        set_option(&stream, libc::SOL_IP, libc::IP_BIND_ADDRESS_NO_PORT, &1_i32)?;
        let (address, length) = native_address(SocketAddr::new(source.into(), 0));
        // SAFETY: `address` is valid for reads of `length` bytes.
        check(unsafe { libc::bind(descriptor, (&raw const address).cast(), length) })?;
    }
    let (address, length) = native_address(target);
    // SAFETY: `address` is valid for reads of `length` bytes.
    match check(unsafe { libc::connect(descriptor, (&raw const address).cast(), length) }) {
        Err(error) if error.raw_os_error() != Some(libc::EINPROGRESS) => Err(error),
        _ => Ok(stream),
    }
}

/// Lets `backlog` connections wait to be accepted, as far as `net.core.somaxconn` goes.
pub fn set_backlog(listener: &TcpListener, backlog: i32) -> io::Result<()> {
    // SAFETY: listen(2) takes plain numbers; a second call on a listening socket only changes the backlog.
    check(unsafe { libc::listen(listener.as_raw_fd(), backlog) }).map(drop)
}

/// One send(2) that never waits.
// Hot: once per delivery in the floor's send loop.
pub fn send_now(stream: &TcpStream, bytes: &[u8]) -> io::Result<usize> {
    let flags = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;
    // SAFETY: `bytes` is valid for reads of its length.
    let count = unsafe { libc::send(stream.as_raw_fd(), bytes.as_ptr().cast(), bytes.len(), flags) };
    usize::try_from(count).map_err(|_| io::Error::last_os_error())
}

/// One recv(2) that never waits, whatever the mode of the socket.
pub fn receive_now(stream: &TcpStream, buffer: &mut [u8]) -> io::Result<usize> {
    let length = buffer.len();
    // SAFETY: `buffer` is valid for writes of its length.
    let count =
        unsafe { libc::recv(stream.as_raw_fd(), buffer.as_mut_ptr().cast(), length, libc::MSG_DONTWAIT) };
    usize::try_from(count).map_err(|_| io::Error::last_os_error())
}

/// Waits until the socket takes bytes again; false if it does not within `patience`.
pub fn wait_writable(stream: &TcpStream, patience: Duration) -> io::Result<bool> {
    wait_for(stream, libc::POLLOUT, patience)
}

/// Waits until the socket takes bytes again, or has some; false if it does not within `patience`.
pub fn wait_for_change(stream: &TcpStream, patience: Duration) -> io::Result<bool> {
    wait_for(stream, libc::POLLIN | libc::POLLOUT, patience)
}

fn wait_for(stream: &TcpStream, events: libc::c_short, patience: Duration) -> io::Result<bool> {
    let mut poll = libc::pollfd { fd: stream.as_raw_fd(), events, revents: 0 };
    let milliseconds = i32::try_from(patience.as_millis()).unwrap_or(i32::MAX);
    // SAFETY: `poll` is one valid pollfd.
    check(unsafe { libc::poll(&raw mut poll, 1, milliseconds) }).map(|ready| ready > 0)
}

/// A set of descriptors to wait for, each known by a token.
#[derive(Debug)]
pub struct Epoll(OwnedFd);

/// What was reported by one wait; reused from wait to wait.
pub struct Ready(Vec<libc::epoll_event>);

/// How readiness is reported.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Interest {
    /// While there is something to read.
    Readable,
    /// Once each time that something changes, in either direction: fewer system calls for thousands of sockets.
    Changes,
}

impl Epoll {
    pub fn new() -> io::Result<Self> {
        // SAFETY: epoll_create1 takes a plain number.
        let descriptor = check(unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) })?;
        // SAFETY: the descriptor was just opened and belongs to nobody else.
        Ok(Self(unsafe { OwnedFd::from_raw_fd(descriptor) }))
    }

    pub fn add(&self, source: &impl AsRawFd, token: u64, interest: Interest) -> io::Result<()> {
        let events = match interest {
            Interest::Readable => libc::EPOLLIN,
            Interest::Changes => libc::EPOLLIN | libc::EPOLLOUT | libc::EPOLLRDHUP | libc::EPOLLET,
        };
        let mut event = libc::epoll_event { events: events.cast_unsigned(), u64: token };
        let (epoll, source) = (self.0.as_raw_fd(), source.as_raw_fd());
        // SAFETY: `event` is a valid epoll_event; the kernel copies it.
        check(unsafe { libc::epoll_ctl(epoll, libc::EPOLL_CTL_ADD, source, &raw mut event) }).map(drop)
    }

    pub fn remove(&self, source: &impl AsRawFd) -> io::Result<()> {
        let (epoll, source) = (self.0.as_raw_fd(), source.as_raw_fd());
        // SAFETY: EPOLL_CTL_DEL ignores its event, which may be null.
        let result = unsafe { libc::epoll_ctl(epoll, libc::EPOLL_CTL_DEL, source, std::ptr::null_mut()) };
        check(result).map(drop)
    }

    /// Waits for the first events; `None` waits for ever. Returns how many there are.
    pub fn wait(&self, ready: &mut Ready, patience: Option<Duration>) -> io::Result<usize> {
        let milliseconds = patience.map_or(-1, |span| i32::try_from(span.as_millis()).unwrap_or(i32::MAX));
        let room = i32::try_from(ready.0.capacity()).unwrap_or(i32::MAX);
        // SAFETY: the vector has capacity for `room` events, of which the kernel writes the first `count`.
        let count = unsafe { libc::epoll_wait(self.0.as_raw_fd(), ready.0.as_mut_ptr(), room, milliseconds) };
        let count = match usize::try_from(count) {
            Ok(count) => count,
            Err(_) => match io::Error::last_os_error() {
                error if error.kind() == io::ErrorKind::Interrupted => 0,
                error => return Err(error),
            },
        };
        assert!(count <= ready.0.capacity(), "the kernel reports no more events than there is room for");
        // SAFETY: the kernel has initialised `count` events, and `count` is within the capacity.
        unsafe { ready.0.set_len(count) };
        Ok(count)
    }
}

impl Ready {
    pub fn with_capacity(events: usize) -> Self {
        Self(Vec::with_capacity(events.max(1)))
    }

    /// The token of the event at `index` of the last wait.
    pub fn token(&self, index: usize) -> u64 {
        self.0[index].u64
    }
}

impl std::fmt::Debug for Ready {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "Ready({} events)", self.0.len())
    }
}

fn check(result: libc::c_int) -> io::Result<libc::c_int> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

fn set_option<T>(stream: &TcpStream, level: i32, name: i32, value: &T) -> io::Result<()> {
    let length = libc::socklen_t::try_from(size_of::<T>()).map_err(io::Error::other)?;
    // SAFETY: `value` is valid for reads of `length` bytes.
    let result = unsafe {
        libc::setsockopt(stream.as_raw_fd(), level, name, std::ptr::from_ref(value).cast(), length)
    };
    check(result).map(drop)
}

#[allow(clippy::cast_possible_truncation)] // 2 and 10.
const FAMILY_V4: libc::sa_family_t = libc::AF_INET.unsigned_abs() as libc::sa_family_t;
#[allow(clippy::cast_possible_truncation)]
const FAMILY_V6: libc::sa_family_t = libc::AF_INET6.unsigned_abs() as libc::sa_family_t;

fn native_address(address: SocketAddr) -> (libc::sockaddr_storage, libc::socklen_t) {
    // SAFETY: all zeros is a valid sockaddr_storage.
    let mut storage: libc::sockaddr_storage = unsafe { std::mem::zeroed() };
    let length = match address {
        SocketAddr::V4(address) => {
            let native = libc::sockaddr_in {
                sin_family: FAMILY_V4,
                sin_port: address.port().to_be(),
                sin_addr: libc::in_addr { s_addr: u32::from_ne_bytes(address.ip().octets()) },
                sin_zero: [0; 8],
            };
            // SAFETY: sockaddr_storage is larger than, and aligned for, every socket address.
            unsafe { (&raw mut storage).cast::<libc::sockaddr_in>().write(native) };
            size_of::<libc::sockaddr_in>()
        }
        SocketAddr::V6(address) => {
            let native = libc::sockaddr_in6 {
                sin6_family: FAMILY_V6,
                sin6_port: address.port().to_be(),
                sin6_flowinfo: address.flowinfo(),
                sin6_addr: libc::in6_addr { s6_addr: address.ip().octets() },
                sin6_scope_id: address.scope_id(),
            };
            // SAFETY: sockaddr_storage is larger than, and aligned for, every socket address.
            unsafe { (&raw mut storage).cast::<libc::sockaddr_in6>().write(native) };
            size_of::<libc::sockaddr_in6>()
        }
    };
    (storage, libc::socklen_t::try_from(length).unwrap_or(libc::socklen_t::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connection_starts_from_the_source_address_it_was_given() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        set_backlog(&listener, 16).unwrap();
        let source = Ipv4Addr::new(127, 0, 3, 4);
        let _client = start_connection(listener.local_addr().unwrap(), Some(source)).unwrap();
        let (_, peer) = listener.accept().unwrap();
        assert_eq!(peer.ip(), source);
    }

    #[test]
    fn the_clock_does_not_step_back() {
        let first = monotonic_nanos();
        assert!(monotonic_nanos() >= first);
    }

    #[test]
    fn there_is_a_cpu_to_run_on() {
        assert!(!allowed_cpus().is_empty());
    }
}
