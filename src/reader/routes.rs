//! The shards that want one channel, in their order: 16 bytes, and no allocation for one of them.

use crate::base::queue::{ChannelKey, ShardIndex};

/// One shard wants a channel, and knows it by this key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Route {
    pub(super) shard: ShardIndex,
    pub(super) channel: ChannelKey,
}

/// Each shard is in it once.
#[derive(Debug, Default)]
#[allow(clippy::box_collection)] // A list in place is 32 bytes, for every channel that one shard wants.
pub(super) enum Routes {
    #[default]
    None,
    One(Route),
    Many(Box<Vec<Route>>),
}

const _: () = assert!(size_of::<Routes>() == 16);

impl Routes {
    // Hot: once per message.
    pub(super) fn as_slice(&self) -> &[Route] {
        match self {
            Self::None => &[],
            Self::One(one) => std::slice::from_ref(one),
            Self::Many(many) => many,
        }
    }

    /// Adds the shard's route, or gives it its new key.
    pub(super) fn add(&mut self, route: Route) {
        match self {
            Self::None => *self = Self::One(route),
            Self::One(one) if one.shard == route.shard => *one = route,
            Self::One(one) => {
                let mut both = vec![*one, route];
                both.sort_unstable_by_key(|route| route.shard);
                *self = Self::Many(Box::new(both));
            }
            Self::Many(many) => match many.binary_search_by_key(&route.shard, |route| route.shard) {
                Ok(at) => many[at] = route,
                Err(at) => many.insert(at, route),
            },
        }
    }

    /// Removes the shard's route, unless it has another key by now. Whether there was one.
    pub(super) fn remove(&mut self, route: Route) -> bool {
        match self {
            Self::None => false,
            Self::One(one) => {
                let is_it = *one == route;
                if is_it {
                    *self = Self::None;
                }
                is_it
            }
            Self::Many(many) => {
                let before = many.len();
                many.retain(|other| *other != route);
                let is_removed = many.len() < before;
                match many[..] {
                    [] => *self = Self::None,
                    [one] => *self = Self::One(one),
                    _ => {}
                }
                is_removed
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::slab::Key;

    fn route(shard: u16, generation: u32) -> Route {
        Route { shard: ShardIndex(shard), channel: Key { index: 5, generation } }
    }

    #[test]
    fn routes_stand_in_the_order_of_their_shards_and_a_new_key_replaces_the_old() {
        let mut routes = Routes::default();
        for added in [route(3, 0), route(1, 0), route(2, 0), route(3, 1), route(1, 1)] {
            routes.add(added);
        }
        assert_eq!(routes.as_slice(), [route(1, 1), route(2, 0), route(3, 1)]);
        assert!(!routes.remove(route(3, 0)), "a route that has another key by now stays");
        assert!(routes.remove(route(1, 1)) && routes.remove(route(3, 1)));
        assert!(matches!(routes, Routes::One(_)));
        routes.add(route(2, 7));
        assert!(!routes.remove(route(2, 0)) && routes.remove(route(2, 7)));
        assert!(!routes.remove(route(2, 7)) && routes.as_slice().is_empty());
    }
}
