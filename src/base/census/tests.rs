use super::*;

#[test]
fn counts_come_back_to_nothing() {
    let tally = Tally::default();
    for key in 0..10_000_u64 {
        assert_eq!(tally.add(key % 5_000), 1 + usize::from(key >= 5_000));
    }
    assert_eq!((tally.len(), tally.count(7), tally.count(5_000)), (5_000, 2, 0));
    for key in 0..10_000_u64 {
        tally.remove(key % 5_000);
    }
    assert_eq!(tally.len(), 0);
    let capacity: usize = tally.parts.iter().map(|part| part.lock().unwrap().capacity()).sum();
    assert!(capacity <= ENTRIES_KEPT * tally.parts.len(), "{capacity}");
}

#[test]
fn no_more_are_counted_than_there_may_be() {
    let users = Tally::default();
    let user: Arc<str> = "7".into();
    assert!(users.try_add(Arc::clone(&user), 2) && users.try_add(Arc::clone(&user), 2));
    assert!(!users.try_add(Arc::clone(&user), 2));
    users.remove(Arc::clone(&user));
    assert!(users.try_add(Arc::clone(&user), 2));
    assert!(!users.try_add("8".into(), 0));
    assert_eq!(users.len(), 1);
}

#[test]
fn threads_that_come_and_go_at_once_lose_no_count() {
    let census = Census::default();
    std::thread::scope(|scope| {
        for thread in 0..4_u8 {
            let census = &census;
            scope.spawn(move || {
                for round in 0..2_000_u16 {
                    let network = Network::of([127, 0, 0, thread ^ round.to_ne_bytes()[0]].into());
                    census.add_connection();
                    census.networks.add(network);
                    census.remove_connection();
                    census.networks.remove(network);
                }
            });
        }
    });
    assert_eq!((census.connections(), census.entries()), (0, 0));
}
