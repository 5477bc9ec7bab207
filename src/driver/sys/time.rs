//! The clock and the dice: the two inputs that make a run differ from every other.

#![allow(unsafe_code)] // Two system calls without a wrapper in std; see the blocks.

use std::io;
use std::time::{Duration, SystemTime};

use crate::base::time::{Time, UnixTime};

/// The time of CLOCK_MONOTONIC, which is also what the ring's timeouts are measured against.
pub fn now() -> Time {
    Time::from_nanos(read(libc::CLOCK_MONOTONIC))
}

/// What the calendar says now. It may have been set to anything.
pub fn unix_now() -> UnixTime {
    let since_epoch = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    UnixTime::from_millis(u64::try_from(since_epoch.as_millis()).unwrap_or(u64::MAX))
}

/// CPU time of this thread so far, to the nanosecond. A thread's own `/proc/thread-self/schedstat` lags by up to a tick
/// while it runs, and `utime` counts ticks.
pub fn thread_cpu() -> Duration {
    Duration::from_nanos(read(libc::CLOCK_THREAD_CPUTIME_ID))
}

fn read(clock: libc::clockid_t) -> u64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the pointer is to a live, writable timespec, and the call keeps nothing of it.
    // JUSTIFICATION: `Instant` does not give its number, and the ring's absolute timeouts need exactly that.
    let result = unsafe { libc::clock_gettime(clock, &raw mut time) };
    assert!(result == 0, "every Linux has these clocks");
    let seconds = u64::try_from(time.tv_sec).expect("these clocks start at zero");
    let nanos = u64::try_from(time.tv_nsec).expect("a timespec's nanoseconds are not negative");
    seconds * 1_000_000_000 + nanos
}

/// A random number from the kernel: a seed for [`crate::base::random::Random`], or an epoch.
pub fn random() -> io::Result<u64> {
    let mut bytes = [0_u8; 8];
    // SAFETY: the buffer is live and writable for the length given, and the call keeps nothing of it.
    // JUSTIFICATION: std has no random numbers; 8 bytes are never given in part (getrandom(2): up to 256 are not).
    let count = unsafe { libc::getrandom(bytes.as_mut_ptr().cast(), bytes.len(), 0) };
    if count != 8 {
        return Err(io::Error::last_os_error());
    }
    Ok(u64::from_ne_bytes(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_clock_does_not_step_back_and_random_numbers_differ() {
        let (first, second) = (now(), now());
        assert!(second >= first);
        assert_ne!(random().unwrap(), random().unwrap());
    }
}
