//! What a client has been let do: as whom, and until when.

use std::sync::Arc;

use crate::base::refusal::Refusal;
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
    /// Both at once, for a request about several channels: whoever one of them names, the earlier end.
    ///
    /// # Errors
    /// [`Refusal::TwoUsers`] if they name different users: a ban of either must end what comes of it, and a bound for each user
    /// counts it for one.
    pub fn and(self, other: Self) -> Result<Self, Refusal> {
        if let (Some(one), Some(another)) = (&self.user, &other.user)
            && one != another
        {
            return Err(Refusal::TwoUsers);
        }
        let expires = self.expires.into_iter().chain(other.expires).min();
        Ok(Self { user: self.user.or(other.user), expires })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_two_grants_whoever_is_named_and_the_earlier_end_hold_and_two_users_are_refused() {
        let grant = |user: Option<&str>, expires: Option<u64>| Grant {
            user: user.map(Arc::from),
            expires: expires.map(UnixTime::from_secs),
        };
        let both = grant(None, Some(9)).and(grant(Some("7"), Some(5))).unwrap();
        assert_eq!(both, grant(Some("7"), Some(5)));
        assert_eq!(both.clone().and(grant(Some("7"), None)), Ok(both.clone()));
        assert_eq!(both.clone().and(grant(None, Some(4))), Ok(grant(Some("7"), Some(4))));
        assert_eq!(both.and(grant(Some("8"), None)), Err(Refusal::TwoUsers));
    }
}
