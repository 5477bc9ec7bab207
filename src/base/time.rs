//! The machines' clock: a value that a driver passes in, never a call.

use std::time::Duration;

/// Monotonic nanoseconds since an arbitrary start, the same for every thread of a process.
///
/// A `u64` holds 584 years. The simulator's clock starts at zero and moves only when it says so.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Hash)]
pub struct Time(u64);

impl Time {
    pub const ZERO: Self = Self(0);

    pub const fn from_nanos(nanos: u64) -> Self {
        Self(nanos)
    }

    pub const fn as_nanos(self) -> u64 {
        self.0
    }

    /// The time that lies `duration` after this one; saturates at the end of the clock.
    pub fn after(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(nanos(duration)))
    }

    /// How long ago `earlier` was; zero if it was not, so that a clock that steps back does no harm.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}

/// Seconds and milliseconds since 1970, as calendars, tokens and signatures have them. It may jump, in either direction:
/// what has to happen at such a time is set for the [`Time`] that it lies at now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Hash)]
pub struct UnixTime {
    millis: u64,
}

impl UnixTime {
    pub const fn from_millis(millis: u64) -> Self {
        Self { millis }
    }

    /// Saturates at the end of the clock.
    pub const fn from_secs(secs: u64) -> Self {
        Self { millis: secs.saturating_mul(1_000) }
    }

    pub const fn as_millis(self) -> u64 {
        self.millis
    }

    /// Rounded down.
    pub const fn as_secs(self) -> u64 {
        self.millis / 1_000
    }

    /// The time that lies `duration` after this one; saturates at the end of the clock.
    pub fn after(self, duration: Duration) -> Self {
        Self { millis: self.millis.saturating_add(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)) }
    }

    /// How long ago `earlier` was; zero if it is still to come.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(self.millis.saturating_sub(earlier.millis))
    }
}

/// What the calendar says at a moment of the machines' clock; true until the calendar jumps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct WallClock {
    pub at: Time,
    pub unix: UnixTime,
}

impl WallClock {
    /// What the calendar says then.
    pub fn unix(self, now: Time) -> UnixTime {
        self.unix.after(now.since(self.at))
    }

    /// The moment at which the calendar says this. What has been already is now.
    pub fn time(self, now: Time, unix: UnixTime) -> Time {
        now.after(unix.since(self.unix(now)))
    }
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_of_the_calendar_is_a_moment_of_the_machines_clock() {
        let clock = WallClock { at: Time::from_nanos(5_000_000), unix: UnixTime::from_secs(100) };
        let now = clock.at.after(Duration::from_secs(2));
        assert_eq!(clock.unix(now), UnixTime::from_secs(102));
        assert_eq!(clock.time(now, UnixTime::from_secs(110)), clock.at.after(Duration::from_secs(10)));
        assert_eq!(clock.time(now, UnixTime::from_secs(50)), now);
        assert_eq!(UnixTime::from_secs(u64::MAX).as_millis(), u64::MAX);
    }
}
