//! The admin side: which pages there are. What stands on them is the driver's to render.

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AdminPage {
    Metrics,
    /// The process runs and its data path turns.
    Live,
    /// The upstream is subscribed: this node may get clients.
    Ready,
    Stats,
}
