//! Signals as values: blocked before the first thread exists, received by one thread through a signalfd.
//!
//! A signal that is blocked in every thread runs no handler and interrupts no system call; it waits in the signalfd.
//! SIGPIPE is ignored by Rust's runtime already; sends carry MSG_NOSIGNAL besides.

#![allow(unsafe_code)] // Signal masks and signalfd(2) have no wrapper in std; see the blocks.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{FromRawFd, OwnedFd};

#[derive(Debug)]
pub struct Signals {
    signalfd: File,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signal {
    /// SIGTERM, or SIGINT of a terminal.
    Stop,
    /// SIGHUP: of a terminal that went away, or asking for a new configuration.
    HangUp,
}

impl Signals {
    /// Blocks the signals in this thread and in all that it starts from here on: to be called before the first.
    pub fn block() -> io::Result<Self> {
        // SAFETY: a sigset_t is plain memory that sigemptyset fills before it is read; the pointers are to that local
        // value; a result of signalfd that is not negative is a new descriptor that nothing else owns.
        // JUSTIFICATION: std has no signals.
        let signalfd = unsafe {
            let mut set = std::mem::zeroed::<libc::sigset_t>();
            libc::sigemptyset(&raw mut set);
            for signal in [libc::SIGTERM, libc::SIGINT, libc::SIGHUP] {
                libc::sigaddset(&raw mut set, signal);
            }
            let error = libc::pthread_sigmask(libc::SIG_BLOCK, &raw const set, std::ptr::null_mut());
            if error != 0 {
                return Err(io::Error::from_raw_os_error(error));
            }
            let signalfd = libc::signalfd(-1, &raw const set, libc::SFD_CLOEXEC);
            if signalfd < 0 {
                return Err(io::Error::last_os_error());
            }
            OwnedFd::from_raw_fd(signalfd)
        };
        Ok(Self { signalfd: File::from(signalfd) })
    }

    /// Waits for the next signal. Blocks: for a thread of its own.
    pub fn receive(&mut self) -> io::Result<Signal> {
        // A signalfd_siginfo of the kernel: 128 bytes, the signal's number first.
        let mut siginfo = [0_u8; 128];
        self.signalfd.read_exact(&mut siginfo)?;
        let number = u32::from_ne_bytes([siginfo[0], siginfo[1], siginfo[2], siginfo[3]]);
        Ok(if i64::from(number) == i64::from(libc::SIGHUP) { Signal::HangUp } else { Signal::Stop })
    }
}

const _: () = assert!(size_of::<libc::signalfd_siginfo>() == 128);

#[cfg(test)]
mod tests {
    use super::*;

    /// Sends a signal to this thread alone, so that the other tests' threads, which do not block it, live on.
    fn raise(signal: i32) {
        // SAFETY: takes no pointers; the thread is the calling one.
        // JUSTIFICATION: std sends no signals.
        let result = unsafe { libc::pthread_kill(libc::pthread_self(), signal) };
        assert_eq!(result, 0);
    }

    #[test]
    fn a_blocked_signal_waits_to_be_read() {
        std::thread::spawn(|| {
            let mut signals = Signals::block().unwrap();
            for (number, signal) in
                [(libc::SIGHUP, Signal::HangUp), (libc::SIGTERM, Signal::Stop), (libc::SIGINT, Signal::Stop)]
            {
                raise(number);
                assert_eq!(signals.receive().unwrap(), signal);
            }
        })
        .join()
        .unwrap();
    }
}
