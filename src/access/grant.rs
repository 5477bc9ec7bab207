//! What a client has been let do: as whom, and until when.

use std::sync::Arc;

use crate::base::time::UnixTime;

/// The outcome of a positive decision about all channels of a request. The default is everyone's: nobody in particular,
/// for ever.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Grant {
    /// Who it is, if a way in said so; never empty.
    pub user: Option<Arc<str>>,
    /// From when on it holds no more.
    pub expires: Option<UnixTime>,
}

/// What a request wants to do with a channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Right {
    Subscribe,
    Publish,
}

impl Grant {
    /// Both at once, for a request about several channels: the user of the first that names one, the earlier end.
    pub fn and(self, other: Self) -> Self {
        let expires = self.expires.into_iter().chain(other.expires).min();
        Self { user: self.user.or(other.user), expires }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_two_grants_the_first_user_and_the_earlier_end_hold() {
        let grant = |user: Option<&str>, expires: Option<u64>| Grant {
            user: user.map(Arc::from),
            expires: expires.map(UnixTime::from_secs),
        };
        let both = grant(None, Some(9)).and(grant(Some("7"), Some(5))).and(grant(Some("8"), None));
        assert_eq!(both, grant(Some("7"), Some(5)));
    }
}
