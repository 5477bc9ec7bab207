//! An order that ends streams, and that keeps whom it is about away for a time.

use std::sync::Arc;

use crate::base::channel::ChannelName;
use crate::base::disconnect::Disconnect;
use crate::base::time::UnixTime;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dismissal {
    pub whom: Whom,
    /// Until when nobody of them is let in again. What has been already: they may come back at once.
    pub until: UnixTime,
}

/// Whose streams end.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Whom {
    /// Those of this user.
    User(Arc<str>),
    /// Those that listen to this channel, whatever else they listen to.
    Channel(ChannelName),
}

impl Whom {
    pub fn disconnect(&self) -> Disconnect {
        match self {
            Self::User(_) => Disconnect::UserDismissed,
            Self::Channel(_) => Disconnect::ChannelDismissed,
        }
    }
}
