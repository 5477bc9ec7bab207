//! Whether this kernel, as it treats this process, can do all that a ring needs: tried out before anything listens.
//!
//! Nothing is inferred from version numbers, which distributions and sandboxes make unreliable: a small ring is made
//! and every kind of request is carried out on it over Unix sockets. What fails is then explained: a cause, and what
//! the operator can do, in one line.

use std::fmt;
use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener, UnixStream};
use std::time::Duration;

use crate::base::socket::{Slot, SocketKey};
use crate::driver::sys::bell::Bell;
use crate::driver::sys::process::{self, Resource};
use crate::driver::sys::time;
use crate::driver::uring::{Bells, End, Event, Ring, RingError, RingOptions};
use crate::shard::input::SendOutcome;

/// Why courier cannot run here.
#[derive(Debug)]
pub enum Unfit {
    /// io_uring_setup does not exist: ENOSYS.
    NoIoUring { is_sandboxed: bool },
    /// EPERM, and `kernel.io_uring_disabled` says why.
    SwitchedOff { level: u8 },
    /// EPERM, and `kernel.io_uring_disabled` does not: a container's seccomp profile, or another security module.
    Denied { is_sandboxed: bool },
    /// The kernel is too old for something that a ring needs.
    TooOld { lacks: &'static str, since: &'static str, running: String },
    /// glommio refuses to start with less.
    LockedMemory { limit: u64 },
    /// Anything else: the step that failed, and the kernel's word.
    Failed { step: &'static str, error: io::Error },
}

/// Tries everything. Takes a few milliseconds and leaves nothing behind.
pub fn probe() -> Result<(), Unfit> {
    let memory = process::raise(Resource::LockedMemory).map_err(failed("RLIMIT_MEMLOCK"))?;
    if memory.soft < LOCKED_MEMORY_BYTES {
        return Err(Unfit::LockedMemory { limit: memory.soft });
    }
    // A ring belongs to the thread that made it; the caller's thread shall have none.
    let trial = std::thread::Builder::new().name("courier-probe".into()).spawn(try_out);
    match trial.map_err(failed("starting a thread"))?.join() {
        Ok(outcome) => outcome,
        Err(_) => Err(Unfit::Failed { step: "the trial ring", error: io::ErrorKind::Other.into() }),
    }
}

fn try_out() -> Result<(), Unfit> {
    let mut trial = Trial::new()?;
    let (accepted, mut client) = trial.try_accept()?;
    trial.try_receive(accepted, &mut client)?;
    let (installed, mut peer) = trial.try_install()?;
    trial.try_volley(installed, &mut peer)?;
    // With the accept and a receive armed, as they always are: some kernels keep what was closed until those end.
    trial.try_close(installed, &mut peer)
}

struct Trial {
    ring: Ring,
    address: SocketAddr,
    _bells: [Bell; 2],
}

impl Trial {
    fn new() -> Result<Self, Unfit> {
        let [near, far] = [Bell::new().map_err(failed("eventfd"))?, Bell::new().map_err(failed("eventfd"))?];
        let bells = Bells { near: &near, far: &far };
        let options = RingOptions { slots: 8, buffers: 2, buffer_bytes: 64 };
        let mut ring = Ring::new(options, bells).map_err(|error| explain(error, &Surroundings::read()))?;
        let name = format!("courier-probe/{}", std::process::id());
        let address = SocketAddr::from_abstract_name(name).map_err(failed("an abstract name"))?;
        let listener = UnixListener::bind_addr(&address).map_err(failed("listening"))?;
        ring.listen(vec![listener.into()]);
        Ok(Self { ring, address, _bells: [near, far] })
    }

    fn try_accept(&mut self) -> Result<(SocketKey, UnixStream), Unfit> {
        self.ring.reap(time::now());
        let client = UnixStream::connect_addr(&self.address).map_err(failed("connecting"))?;
        client.set_read_timeout(Some(PATIENCE)).map_err(failed("connecting"))?;
        match self.next() {
            Some(Event::Accepted { slot, .. }) => Ok((key(slot), client)),
            _ => Err(too_old("accepts into direct descriptors", "5.19")),
        }
    }

    fn try_receive(&mut self, socket: SocketKey, client: &mut UnixStream) -> Result<(), Unfit> {
        let lacks = || too_old("multishot receive into a buffer ring", "6.0");
        self.ring.receive(socket);
        for _ in 0..4 {
            client.write_all(b"probe").map_err(failed("writing"))?;
            let Some(Event::Received { chunk, .. }) = self.next() else { return Err(lacks()) };
            let is_whole = self.ring.bytes(&chunk) == b"probe";
            self.ring.give_back(chunk);
            if !is_whole {
                return Err(lacks());
            }
        }
        Ok(())
    }

    fn try_install(&mut self) -> Result<(SocketKey, UnixStream), Unfit> {
        let (ours, peer) = UnixStream::pair().map_err(failed("a socket pair"))?;
        peer.set_read_timeout(Some(PATIENCE)).map_err(failed("a socket pair"))?;
        match self.ring.install(OwnedFd::from(ours)) {
            Ok(slot) => Ok((key(slot), peer)),
            Err(error) if error.raw_os_error() == Some(libc::EINVAL) => {
                Err(too_old("file table slots of the kernel's choice", "6.0"))
            }
            Err(error) => Err(Unfit::Failed { step: "installing a descriptor", error }),
        }
    }

    fn try_volley(&mut self, socket: SocketKey, peer: &mut UnixStream) -> Result<(), Unfit> {
        let lacks = || too_old("sends that report how much they took", "5.19");
        // Zeros, so that the kernel's one page of zeros serves for all of it: nothing of this stays with the process.
        let bytes = vec![0; 8 << 20];
        let mut unsent = Vec::new();
        self.ring.volley(1, |_| (socket.slot, &bytes[..]), &mut unsent);
        let Some(SendOutcome::Short { sent }) = unsent.first().map(|unsent| unsent.outcome) else {
            return Err(lacks());
        };
        let mut taken = vec![1; sent as usize];
        peer.read_exact(&mut taken).map_err(|_| lacks())?;
        if sent == 0 || taken.contains(&1) { Err(lacks()) } else { Ok(()) }
    }

    fn try_close(&mut self, socket: SocketKey, peer: &mut UnixStream) -> Result<(), Unfit> {
        self.ring.await_writable(socket);
        if !matches!(self.next(), Some(Event::Writable { .. })) {
            return Err(too_old("polling for writability", "5.1"));
        }
        self.ring.receive(socket);
        self.ring.shutdown(socket, End::Both);
        if !matches!(self.next(), Some(Event::HungUp { .. })) {
            return Err(too_old("shutdown of direct descriptors", "5.11"));
        }
        // A socket that was not shut down, so that its end shows the close and nothing else.
        let (other, mut other_peer) = self.try_install()?;
        self.ring.close(socket);
        self.ring.close(other);
        self.ring.reap(time::now());
        match (peer.read(&mut [0; 1]), other_peer.read(&mut [0; 1])) {
            (Ok(0), Ok(0)) => Ok(()),
            _ => Err(too_old("closing direct descriptors at once, whatever else is armed", "6.13")),
        }
    }

    /// The next event, if it comes before patience ends.
    fn next(&mut self) -> Option<Event> {
        let deadline = time::now().after(PATIENCE);
        loop {
            self.ring.reap(time::now());
            match self.ring.next_event() {
                Some(event) => return Some(event),
                None if time::now() > deadline => return None,
                None => std::thread::sleep(Duration::from_micros(100)),
            }
        }
    }
}

/// What tells one EPERM from another.
#[derive(Debug, Clone)]
struct Surroundings {
    /// `kernel.io_uring_disabled`: 0 no, 1 for the unprivileged outside `kernel.io_uring_group`, 2 for all.
    io_uring_disabled: Option<u8>,
    /// A seccomp filter is in force.
    is_sandboxed: bool,
    kernel: String,
}

impl Surroundings {
    fn read() -> Self {
        let file = |path| std::fs::read_to_string(path).unwrap_or_default();
        Self {
            io_uring_disabled: file("/proc/sys/kernel/io_uring_disabled").trim().parse().ok(),
            is_sandboxed: file("/proc/self/status").lines().any(|line| line == "Seccomp:\t2"),
            kernel: file("/proc/sys/kernel/osrelease").trim().to_owned(),
        }
    }
}

fn explain(error: RingError, surroundings: &Surroundings) -> Unfit {
    let is_sandboxed = surroundings.is_sandboxed;
    let too_old = |lacks, since| Unfit::TooOld { lacks, since, running: surroundings.kernel.clone() };
    match error {
        RingError::Setup(error) => match (error.raw_os_error(), surroundings.io_uring_disabled) {
            (Some(libc::ENOSYS), _) => Unfit::NoIoUring { is_sandboxed },
            (Some(libc::EPERM), Some(level @ 1..)) => Unfit::SwitchedOff { level },
            (Some(libc::EPERM), _) => Unfit::Denied { is_sandboxed },
            (Some(libc::EINVAL), _) => too_old("IORING_SETUP_DEFER_TASKRUN", "6.1"),
            _ => Unfit::Failed { step: "io_uring_setup", error },
        },
        RingError::Missing(lacks) => too_old(lacks, "5.17"),
        RingError::Files(error) => match error.raw_os_error() {
            Some(libc::EINVAL) => too_old("a sparse file table", "5.19"),
            _ => Unfit::Failed { step: "io_uring's file table", error },
        },
        RingError::Buffers(error) => match error.raw_os_error() {
            Some(libc::EINVAL) => too_old("a ring of provided buffers", "5.19"),
            _ => Unfit::Failed { step: "io_uring's buffer ring", error },
        },
        RingError::Bell(error) => Unfit::Failed { step: "io_uring's eventfd", error },
    }
}

fn failed(step: &'static str) -> impl FnOnce(io::Error) -> Unfit {
    move |error| Unfit::Failed { step, error }
}

fn too_old(lacks: &'static str, since: &'static str) -> Unfit {
    Unfit::TooOld { lacks, since, running: Surroundings::read().kernel }
}

const fn key(slot: Slot) -> SocketKey {
    SocketKey { slot, generation: 0 }
}

impl fmt::Display for Unfit {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoIoUring { is_sandboxed: false } => write!(
                formatter,
                "this kernel has no io_uring (ENOSYS): boot Linux {KERNEL} or newer, built with CONFIG_IO_URING"
            ),
            Self::NoIoUring { is_sandboxed: true } => write!(
                formatter,
                "there is no io_uring here (ENOSYS): the container's seccomp profile hides it, or the kernel has none; \
                 {SECCOMP_REMEDY}"
            ),
            Self::SwitchedOff { level: 1 } => formatter.write_str(
                "io_uring is switched off for this user (kernel.io_uring_disabled = 1): add the user to the group of \
                 kernel.io_uring_group, or run sysctl kernel.io_uring_disabled=0",
            ),
            Self::SwitchedOff { level } => write!(
                formatter,
                "io_uring is switched off on this machine (kernel.io_uring_disabled = {level}): run sysctl \
                 kernel.io_uring_disabled=0, and write it to /etc/sysctl.d"
            ),
            Self::Denied { is_sandboxed: true } => write!(
                formatter,
                "io_uring is denied (EPERM) by the seccomp profile of this container: {SECCOMP_REMEDY}"
            ),
            Self::Denied { is_sandboxed: false } => formatter.write_str(
                "io_uring is denied (EPERM), though neither kernel.io_uring_disabled nor seccomp does it: see the audit \
                 log of the security module (SELinux, AppArmor)",
            ),
            Self::TooOld { lacks, since, running } => write!(
                formatter,
                "kernel {running} is too old: it lacks {lacks} (Linux {since}); courier needs Linux {KERNEL} or newer"
            ),
            Self::LockedMemory { limit } => write!(
                formatter,
                "RLIMIT_MEMLOCK is {} KiB and cannot be raised: allow {} KiB (ulimit -l, LimitMEMLOCK= of systemd, \
                 --ulimit memlock= of docker)",
                limit / 1_024,
                LOCKED_MEMORY_BYTES / 1_024
            ),
            Self::Failed { step, error } => {
                write!(formatter, "this kernel does not do what courier needs: {step}: {error}")
            }
        }
    }
}

impl std::error::Error for Unfit {}

const SECCOMP_REMEDY: &str = "allow io_uring_setup, io_uring_enter and io_uring_register in it (docker run \
                              --security-opt seccomp=profile.json; Kubernetes: securityContext.seccompProfile)";
/// The first that closes direct descriptors while other requests are armed.
const KERNEL: &str = "6.13";
/// glommio 0.9 refuses to make an executor with less.
const LOCKED_MEMORY_BYTES: u64 = 512 * 1_024;
/// Each step takes microseconds; this long only where the kernel does not do it.
const PATIENCE: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;

    fn surroundings(io_uring_disabled: Option<u8>, is_sandboxed: bool) -> Surroundings {
        Surroundings { io_uring_disabled, is_sandboxed, kernel: "5.15.0-91-generic".into() }
    }

    fn setup(errno: i32, surroundings: &Surroundings) -> String {
        explain(RingError::Setup(io::Error::from_raw_os_error(errno)), surroundings).to_string()
    }

    #[test]
    fn this_kernel_can_do_it_all() {
        probe().unwrap();
    }

    #[test]
    fn what_denies_io_uring_is_told_apart() {
        let plain = surroundings(Some(0), false);
        assert!(setup(libc::ENOSYS, &plain).contains("CONFIG_IO_URING"));
        assert!(setup(libc::ENOSYS, &surroundings(Some(0), true)).contains("seccomp profile hides it"));
        assert!(setup(libc::EPERM, &surroundings(Some(1), true)).contains("kernel.io_uring_group"));
        assert!(setup(libc::EPERM, &surroundings(Some(2), true)).contains("kernel.io_uring_disabled = 2"));
        for disabled in [Some(0), None] {
            let message = setup(libc::EPERM, &surroundings(disabled, true));
            assert!(message.contains("by the seccomp profile of this container"), "{message}");
        }
        assert!(setup(libc::EPERM, &plain).contains("SELinux"));
        assert_eq!(
            setup(libc::EINVAL, &plain),
            "kernel 5.15.0-91-generic is too old: it lacks IORING_SETUP_DEFER_TASKRUN (Linux 6.1); courier needs Linux \
             6.13 or newer"
        );
        assert!(setup(libc::ENOMEM, &plain).contains("io_uring_setup: "));
    }

    #[test]
    fn every_explanation_is_one_line() {
        let failures = [
            Unfit::NoIoUring { is_sandboxed: false },
            Unfit::NoIoUring { is_sandboxed: true },
            Unfit::SwitchedOff { level: 1 },
            Unfit::SwitchedOff { level: 2 },
            Unfit::Denied { is_sandboxed: false },
            Unfit::Denied { is_sandboxed: true },
            Unfit::LockedMemory { limit: 65_536 },
            Unfit::Failed { step: "eventfd", error: io::ErrorKind::OutOfMemory.into() },
        ];
        for failure in failures {
            let text = failure.to_string();
            assert!(!text.contains('\n') && !text.contains("  "), "{text}");
        }
        let memory = Unfit::LockedMemory { limit: 65_536 }.to_string();
        assert!(
            memory.starts_with("RLIMIT_MEMLOCK is 64 KiB and cannot be raised: allow 512 KiB"),
            "{memory}"
        );
    }
}
