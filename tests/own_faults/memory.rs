//! Little memory: a control group bounds it, and very many clients do not read what they are sent.

use std::collections::VecDeque;
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use courier::driver::sys::process::{Resource, raise};
use socket2::{Domain, Socket, Type};

use crate::groups::{MemoryGroup, figure, skipped};
use crate::support::courier::{Courier, server};
use crate::support::http::Peer;
use crate::support::redis::Redis;
use crate::support::{Directory, until};
use crate::witness::{Witness, publish};

const MIB: u64 = 1 << 20;
const BOUND: u64 = 256 * MIB;

/// What fits into 256 MiB, with courier itself.
const LIMITS: [&str; 20] = [
    "--limits-lag-bytes",
    "64KiB",
    "--limits-log-bytes",
    "24MiB",
    "--limits-tail-bytes",
    "8MiB",
    "--limits-history-bytes",
    "16MiB",
    "--limits-queue-bytes",
    "4MiB",
    "--limits-spill-bytes",
    "4MiB",
    "--limits-channels",
    "10000",
    "--limits-send-buffer-bytes",
    "32KiB",
    "--limits-connections-per-shard",
    "640",
    "--heartbeat",
    "1s",
];

#[test]
fn a_quarter_of_a_gibibyte_holds_a_thousand_stalled_readers() {
    hold(Duration::from_secs(12));
}

#[test]
#[ignore = "ten minutes"]
fn a_quarter_of_a_gibibyte_holds_a_thousand_stalled_readers_for_ten_minutes() {
    hold(Duration::from_secs(600));
}

#[test]
fn bounds_beyond_the_memory_there_is_are_told_at_the_start_with_the_options_to_lower() {
    let Some(group) = MemoryGroup::of(BOUND) else {
        return skipped("no control group of memory can be made here");
    };
    let flags = ["--broker", "127.0.0.1:0", "--public", "*", "--shards", "2"];
    let courier = Courier::of(&mut group.around(&server(&flags)));
    let line = courier.process.errors.with("the bounds allow ");
    assert!(line.contains(" WARN "), "{line}");
    assert!(line.contains(&format!("and there are 256 MiB ({})", group.bound().display())), "{line}");
    let lower = line.split("lower ").nth(1).unwrap();
    for key in ["limits.log_bytes (512 MiB)", "limits.history_bytes (256 MiB)"] {
        assert!(lower.contains(key), "{line}");
    }
    assert!(!lower.contains("limits.spill_bytes"), "what is small need not be lowered: {line}");
    drop(courier);
}

/// A subscriber that never reads, and whose kernel takes little for it.
fn stalled(address: SocketAddr, channel: &str) -> TcpStream {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.set_recv_buffer_size(4_096).unwrap();
    socket.connect(&address.into()).unwrap();
    let mut peer = Peer::over(socket.into());
    peer.send(format!("GET /events?channel={channel} HTTP/1.1\r\nHost: a\r\n\r\n"));
    peer.socket
}

/// The greatest of what was seen in each third of the time.
#[derive(Debug, Default)]
struct Thirds([u64; 3]);

impl Thirds {
    fn see(&mut self, value: u64, elapsed: Duration, of: Duration) {
        let third = (elapsed.as_millis() * 3 / of.as_millis()).min(2);
        let greatest = &mut self.0[usize::try_from(third).unwrap()];
        *greatest = value.max(*greatest);
    }
}

/// For so long: a broadcast to 30 readers, of whom each gets everything; 1,000 who stay and never read; 100 who never
/// read and are closed for it, and come again; and all the time more who find no room.
fn hold(span: Duration) {
    let Some(group) = MemoryGroup::of(BOUND) else {
        return skipped("no control group of memory can be made here");
    };
    let _busy = crate::busy();
    raise(Resource::Descriptors).unwrap();
    let (redis, directory) = (Redis::start(), Directory::new());
    let rules = directory.file(
        "courier.toml",
        "[[channels]]\nmatch = \"latest\"\naccess = \"public\"\nslow = \"latest\"\n\
         [[channels]]\nmatch = \"*\"\naccess = \"public\"\n",
    );
    let url = redis.url();
    let flags = [&["--redis", &url, "--config", &rules, "--shards", "2"][..], &LIMITS].concat();
    let mut courier = Courier::of(&mut group.around(&server(&flags)));
    courier.until_ready();
    let mut publisher = redis.client();
    let mut readers: Vec<Witness> = (0..30).map(|_| Witness::of(courier.web, "plain")).collect();
    let staying: Vec<TcpStream> = (0..1_000).map(|_| stalled(courier.web, "latest")).collect();
    courier.until_metric("courier_subscriptions", |subscriptions| subscriptions == 1_030.0);
    let mut closed: VecDeque<TcpStream> = VecDeque::new();

    let (began, mut number) = (Instant::now(), 0);
    let (mut resident, mut used, mut next_look) = (Thirds::default(), Thirds::default(), began);
    while began.elapsed() < span {
        for _ in 0..20 {
            number += 1;
            publish(&mut publisher, "plain", number, 1_000);
            publish(&mut publisher, "latest", number, 1_000);
        }
        readers.iter_mut().for_each(|reader| reader.until(number, None));
        if Instant::now() < next_look {
            continue;
        }
        next_look += Duration::from_millis(500);
        resident.see(resident_bytes(&courier), began.elapsed(), span);
        used.see(group.used(), began.elapsed(), span);
        assert_eq!(group.kills(), 0, "nothing was killed");
        // Those who were closed have gone for good, and as many come anew. Then more than there is room for.
        closed.extend((0..100).map(|_| stalled(courier.web, "plain")));
        closed.drain(..closed.len().saturating_sub(100));
        drop((0..400).map(|_| stalled(courier.web, "plain")).collect::<Vec<_>>());
    }
    let (refused, lagged) = ("{reason=\"connection-limit\"}", "{reason=\"lagged\"}");
    let count = |reason: &str| courier.metric(&format!("courier_disconnects_total{reason}"));
    let (refused, lagged) = (count(refused), count(lagged));
    assert!(refused > 0.0 && lagged > 0.0, "{refused} refused, {lagged} closed for not reading");
    assert!(!courier.process.errors.text().contains("the bounds allow"), "these bounds fit");
    let [first, second, third] = resident.0;
    let most = used.0.into_iter().max().unwrap();
    let shown = format!(
        "{} of {} to those who read; of 256 MiB at most {} held; resident {}, {}, {} MiB in the thirds of {} s; \
         {refused} refused, {lagged} closed for not reading, none killed",
        30 * number,
        readers.iter().map(|reader| reader.delivered).sum::<u64>(),
        most / MIB,
        first / MIB,
        second / MIB,
        third / MIB,
        span.as_secs(),
    );
    assert!(most < BOUND, "{shown}");
    assert!(third <= second + second / 10 + 2 * MIB, "resident memory does not grow: {shown}");
    figure(&shown);

    drop((staying, closed));
    until("everybody who did not read is gone", || courier.metric("courier_connections") <= 31.0);
    readers.iter_mut().for_each(|reader| assert_eq!((reader.gaps, reader.missed), (0, 0)));
    assert!(courier.stop().success());
}

fn resident_bytes(courier: &Courier) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", courier.process.id())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1_024
}
