//! Who is let in, and who is told to come back.

use super::*;
use crate::access::TrustedProxies;
use crate::base::census::Census;
use crate::base::limits::CONNECTIONS_SPARE;
use crate::base::peer::{Network, Peer};

const SHED: &str = "retry: ";

fn from(last: u8) -> Arrival {
    Arrival { listener: Listener::Web, peer: Peer::ip([192, 0, 2, last].into()) }
}

/// A stream of the channel `a`; how its answer begins, behind the head.
fn stream(bench: &mut Bench, slot: u32, arrival: Arrival, fields: &str) -> String {
    let request = format!("GET /events?channel=a HTTP/1.1\r\nHost: a\r\n{fields}\r\n");
    let socket = bench.accept_from(slot, arrival);
    bench.input(Input::Received { socket, bytes: request.as_bytes() });
    bench.join_all(1);
    bench.flush();
    bench.body(slot)
}

fn hang_up(bench: &mut Bench, slot: u32) {
    let socket = bench.shard.key(Slot(slot));
    bench.input(Input::HungUp { socket, cause: HangUp::Closed });
    bench.flush();
}

fn is_open(body: &str) -> bool {
    body.starts_with("retry: 2000\nid: a.1\n\n")
}

/// Both shards of a process.
fn pair(change: impl Fn(&mut ShardOptions)) -> (Bench, Bench, Arc<Census>) {
    let census = Arc::new(Census::default());
    let one = || {
        Bench::with(|options| {
            options.census = Arc::clone(&census);
            change(options);
        })
    };
    let (first, second) = (one(), one());
    (first, second, census)
}

#[test]
fn an_address_has_its_connections_over_all_shards_and_the_next_is_told_to_come_back() {
    let (mut first, mut second, census) = pair(|options| options.limits.connections_per_address = 2);
    assert!(is_open(&stream(&mut first, 0, from(7), "")));
    assert!(is_open(&stream(&mut second, 0, from(7), "")));
    let refused = stream(&mut second, 1, from(7), "");
    assert!(refused.starts_with(SHED) && !refused.contains("id:"), "{refused}");
    assert_eq!(second.disconnects(Disconnect::AddressLimit), 1);
    assert!(second.outputs.iter().any(|output| output.contains("AddressFull")), "{:?}", second.outputs);
    assert!(is_open(&stream(&mut second, 2, from(8), "")), "another address has its own");
    // The old were left alone; who goes makes room.
    hang_up(&mut second, 1);
    hang_up(&mut first, 0);
    assert!(is_open(&stream(&mut first, 1, from(7), "")));
    hang_up(&mut first, 1);
    hang_up(&mut second, 0);
    hang_up(&mut second, 2);
    assert_eq!((census.entries(), census.connections()), (0, 0));
}

#[test]
fn a_64th_of_ipv6_is_one_address() {
    let (mut first, _, _) = pair(|options| options.limits.connections_per_address = 1);
    let from = |address: &str| Arrival { listener: Listener::Web, peer: Peer::ip(address.parse().unwrap()) };
    assert!(is_open(&stream(&mut first, 0, from("2001:db8::1"), "")));
    assert!(!is_open(&stream(&mut first, 1, from("2001:db8::2"), "")));
    assert!(is_open(&stream(&mut first, 2, from("2001:db8:0:1::1"), "")));
}

#[test]
fn who_came_when_there_were_too_many_may_stay_if_others_have_gone() {
    let (mut first, _, _) = pair(|options| options.limits.connections_per_address = 1);
    assert!(is_open(&stream(&mut first, 0, from(7), "")));
    let waiting = first.accept_from(1, from(7));
    hang_up(&mut first, 0);
    let request = b"GET /events?channel=a HTTP/1.1\r\nHost: a\r\n\r\n";
    first.input(Input::Received { socket: waiting, bytes: request });
    first.join_all(1);
    assert!(is_open(&first.body(1)));
}

#[test]
fn an_address_with_many_more_connections_is_closed_as_it_comes() {
    let (mut first, _, census) = pair(|options| options.limits.connections_per_address = 1);
    let most = u32::try_from(1 + CONNECTIONS_SPARE).unwrap();
    for slot in 0..most {
        first.accept_from(slot, from(7));
    }
    assert_eq!(first.shard.connections(), u64::from(most));
    first.outputs.clear();
    first.accept_from(most, from(7));
    assert_eq!(first.shard.connections(), u64::from(most));
    assert!(first.outputs[0].starts_with("Close"), "{:?}", first.outputs);
    assert_eq!(first.disconnects(Disconnect::AddressLimit), 1);
    assert_eq!(census.networks.count(Network::of([192, 0, 2, 7].into())), 1 + CONNECTIONS_SPARE);
}

#[test]
fn an_operator_can_look_however_many_there_are() {
    let (mut first, _, _) = pair(|options| options.limits.connections = 1);
    for slot in 0..u32::try_from(2 + CONNECTIONS_SPARE).unwrap() {
        first.accept_from(slot, from(7));
    }
    assert_eq!(first.disconnects(Disconnect::ConnectionLimit), 1);
    let admin = Arrival { listener: Listener::Admin, ..from(7) };
    let socket = first.accept_from(100, admin);
    first.input(Input::Received { socket, bytes: b"GET /livez HTTP/1.1\r\nHost: a\r\n\r\n" });
    assert!(first.outputs.iter().any(|output| output.starts_with("AskAdmin")), "{:?}", first.outputs);
}

#[test]
fn the_process_has_its_connections_over_all_shards() {
    let (mut first, mut second, census) = pair(|options| options.limits.connections = 2);
    assert!(is_open(&stream(&mut first, 0, from(1), "")));
    assert!(is_open(&stream(&mut second, 0, from(2), "")));
    assert!(!is_open(&stream(&mut second, 1, from(3), "")));
    assert_eq!(second.disconnects(Disconnect::ConnectionLimit), 1);
    hang_up(&mut second, 1);
    hang_up(&mut first, 0);
    assert!(is_open(&stream(&mut second, 2, from(3), "")));
    hang_up(&mut second, 0);
    hang_up(&mut second, 2);
    assert_eq!(census.connections(), 0);
}

#[test]
fn behind_a_trusted_proxy_it_is_the_clients_address_that_counts() {
    let (mut first, mut second, census) = pair(|options| {
        options.limits.connections_per_address = 1;
        let mut site = Site::clone(&options.site);
        site.proxies.trusted = TrustedProxies::parse(["192.0.2.1", "unix"]).unwrap();
        options.site = Arc::new(site);
    });
    let unix = Arrival { listener: Listener::Web, peer: Peer::Unix };
    let (one, other) = ("X-Forwarded-For: 198.51.100.1\r\n", "X-Forwarded-For: 198.51.100.2\r\n");
    assert!(is_open(&stream(&mut first, 0, from(1), one)));
    assert!(is_open(&stream(&mut first, 1, from(1), other)));
    assert!(!is_open(&stream(&mut second, 0, unix, one)));
    assert_eq!(second.disconnects(Disconnect::AddressLimit), 1);
    // Whoever is not trusted speaks for itself alone.
    assert!(is_open(&stream(&mut first, 2, from(9), one)));
    assert!(!is_open(&stream(&mut first, 3, from(9), "X-Forwarded-For: 198.51.100.3\r\n")));
    (0..4).for_each(|slot| hang_up(&mut first, slot));
    hang_up(&mut second, 0);
    assert_eq!((census.entries(), census.connections()), (0, 0));
}

#[test]
fn a_user_has_its_streams_over_all_shards() {
    let (mut first, mut second, census) = pair(|options| options.limits.streams_per_user = 1);
    let user = |name: &str| Grant { user: Some(name.into()), expires: None };
    grants::granted(&mut first, 0, user("7"));
    grants::granted(&mut second, 0, user("8"));
    grants::granted(&mut second, 1, user("7"));
    for bench in [&mut first, &mut second] {
        bench.join_all(1);
    }
    assert!(is_open(&first.body(0)) && is_open(&second.body(0)));
    assert!(second.body(1).starts_with(SHED));
    assert_eq!(second.disconnects(Disconnect::UserLimit), 1);
    hang_up(&mut first, 0);
    grants::granted(&mut second, 2, user("7"));
    second.join_all(1);
    assert!(is_open(&second.body(2)));
    (0..3).for_each(|slot| hang_up(&mut second, slot));
    assert_eq!((census.entries(), census.connections()), (0, 0));
}

#[test]
fn a_shard_has_its_channels() {
    let mut bench = Bench::with(|options| options.limits.channels_per_shard = 2);
    bench.stream(0, "channel=a&channel=b");
    bench.stream(1, "channel=b&channel=c");
    bench.stream(2, "channel=b&channel=a");
    bench.join_all(1);
    assert!(is_open(&bench.body(0)) && is_open(&bench.body(2)));
    assert!(bench.body(1).starts_with(SHED));
    assert_eq!(bench.disconnects(Disconnect::ChannelLimit), 1);
}

#[test]
fn where_that_is_wanted_a_refused_stream_is_a_503() {
    let (mut first, _, _) = pair(|options| {
        options.limits.connections_per_address = 1;
        options.site = Arc::new(Site { shedding: Shedding::Unavailable, ..Site::clone(&options.site) });
    });
    assert!(is_open(&stream(&mut first, 0, from(7), "")));
    stream(&mut first, 1, from(7), "");
    first.accept_from(2, from(7));
    let request = b"GET /events?channel=a HTTP/1.1\r\nHost: a\r\n\r\n";
    let socket = first.shard.key(Slot(2));
    first.input(Input::Received { socket, bytes: request });
    first.flush();
    let answer = String::from_utf8(first.received[&2].clone()).unwrap();
    assert!(answer.starts_with("HTTP/1.1 503 ") && answer.contains("Retry-After: "), "{answer}");
}
