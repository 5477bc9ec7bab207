//! The admin side: which pages there are. What stands on them is the driver's to render.

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AdminPage {
    Metrics,
    /// The process runs and its data path turns.
    Live,
    /// The upstream is subscribed: this node may get clients.
    Ready,
    Stats,
    /// Who reads slowly, so many at most.
    Slow {
        limit: u16,
    },
}

/// How many slow readers are shown if the request does not say, and at most.
pub const SLOW_DEFAULT: u16 = 100;
pub const SLOW_MAX: u16 = 1_000;
