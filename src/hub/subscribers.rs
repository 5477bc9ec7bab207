//! The subscriptions of one stream, in no order that matters: 16 bytes, and no allocation for one.
//!
//! One subscriber is the rule where channels are many (a user's own, a document's), and there a list of its own would be
//! most of what a channel costs.

use super::SubscriptionIndex;

#[derive(Debug)]
#[allow(clippy::box_collection)] // A list in place is 24 bytes, for every channel that has none.
pub(super) enum Subscribers {
    None,
    One(SubscriptionIndex),
    Many(Box<Vec<SubscriptionIndex>>),
}

const _: () = assert!(size_of::<Subscribers>() == 16);

impl Subscribers {
    pub(super) fn as_slice(&self) -> &[SubscriptionIndex] {
        match self {
            Self::None => &[],
            Self::One(one) => std::slice::from_ref(one),
            Self::Many(many) => many,
        }
    }

    pub(super) fn push(&mut self, subscription: SubscriptionIndex) {
        match self {
            Self::None => *self = Self::One(subscription),
            Self::One(one) => *self = Self::Many(Box::new(vec![*one, subscription])),
            Self::Many(many) => many.push(subscription),
        }
    }

    /// Takes out the subscription at `place`; the last one moves there.
    pub(super) fn swap_remove(&mut self, place: usize) {
        match self {
            Self::None => panic!("a subscription that is removed is in the list"),
            Self::One(_) => {
                assert!(place == 0, "a subscription that is removed is in the list");
                *self = Self::None;
            }
            Self::Many(many) => {
                many.swap_remove(place);
                // Below one of them it stays as it is: who comes and goes on a channel of two allocates nothing.
                if many.is_empty() {
                    *self = Self::None;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_a_list_whose_last_fills_the_place_of_the_one_that_goes() {
        let mut subscribers = Subscribers::None;
        assert!(subscribers.as_slice().is_empty());
        (7..11).for_each(|subscription| subscribers.push(subscription));
        assert_eq!(subscribers.as_slice(), [7, 8, 9, 10]);
        subscribers.swap_remove(1);
        assert_eq!(subscribers.as_slice(), [7, 10, 9]);
        subscribers.swap_remove(2);
        subscribers.swap_remove(0);
        assert_eq!(subscribers.as_slice(), [10]);
        subscribers.swap_remove(0);
        assert!(matches!(subscribers, Subscribers::None));
        subscribers.push(3);
        assert!(matches!(subscribers, Subscribers::One(3)));
    }
}
