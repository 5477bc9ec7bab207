//! The ring against the real kernel, over loopback. No sleeps: each test waits for its event, with a deadline.

use std::io::{Read, Write};
use std::net::{Ipv6Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::time::Duration;

use glommio::{LocalExecutorBuilder, Placement};
use socket2::{Domain, Socket, Type};

use crate::base::peer::Peer;
use crate::base::random::Random;
use crate::base::socket::{HangUp, Slot, SocketKey};
use crate::base::time::Time;
use crate::driver::sys::bell::Bell;
use crate::driver::sys::time;
use crate::driver::uring::{Bells, End, Event, Ring, RingOptions};
use crate::shard::input::{SendOutcome, Unsent};

const OPTIONS: RingOptions = RingOptions { slots: 2_048, buffers: 64, buffer_bytes: 512 };

/// A ring with one listener, and the executor it runs in.
struct Harness {
    ring: Ring,
    _near: Bell,
    far: Bell,
    address: SocketAddr,
}

fn run<T>(options: RingOptions, test: impl AsyncFnOnce(Harness) -> T) -> T {
    let executor = LocalExecutorBuilder::new(Placement::Unbound).io_memory(0).make().unwrap();
    executor.run(async {
        let (near, far) = (Bell::new().unwrap(), Bell::new().unwrap());
        let mut ring = Ring::new(options, Bells { near: &near, far: &far }).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        ring.listen(vec![listener.into()]);
        test(Harness { ring, _near: near, far, address }).await
    })
}

impl Harness {
    async fn next(&mut self) -> Event {
        let deadline = time::now().after(Duration::from_secs(10));
        loop {
            match self.ring.next_event() {
                Some(Event::Timer) => assert!(time::now() < deadline, "nothing comes"),
                Some(event) => return event,
                None => self.rest_until(Some(deadline)).await,
            }
        }
    }

    async fn accept(&mut self) -> (SocketKey, TcpStream) {
        self.ring.reap(time::now());
        let client = TcpStream::connect(self.address).unwrap();
        match self.next().await {
            Event::Accepted { slot, listener: 0, .. } => (SocketKey { slot, generation: 0 }, client),
            event => panic!("{event:?} came instead of a connection"),
        }
    }

    /// The bytes that the socket receives, until there are so many.
    async fn received(&mut self, from: SocketKey, count: usize) -> Vec<u8> {
        let mut received = Vec::new();
        while received.len() < count {
            match self.next().await {
                Event::Received { socket, chunk } => {
                    assert_eq!(socket, from);
                    received.extend_from_slice(self.ring.bytes(&chunk));
                    self.ring.give_back(chunk);
                }
                event => panic!("{event:?} came instead of bytes"),
            }
        }
        received
    }

    async fn hung_up(&mut self) -> (SocketKey, HangUp) {
        match self.next().await {
            Event::HungUp { socket, cause } => (socket, cause),
            event => panic!("{event:?} came instead of a hang-up"),
        }
    }

    /// A long rest.
    async fn rest_until(&mut self, deadline: Option<Time>) {
        self.far.silence();
        if !self.ring.is_awake(time::now(), deadline) {
            self.far.wait().await;
        }
        self.ring.is_up();
    }

    /// Until what was to be closed is closed.
    async fn until_closed(&mut self) {
        while !self.ring.inbox.shutdowns.is_empty() {
            self.rest_until(None).await;
        }
        self.ring.reap(time::now());
    }

    /// Waits while nothing comes; returns what CPU time that took.
    async fn rest(&mut self, span: Duration) -> Duration {
        let before = time::thread_cpu();
        let deadline = time::now().after(span);
        // What is to be armed again is no rest yet.
        self.ring.reap(time::now());
        while !self.ring.has_something() {
            self.rest_until(Some(deadline)).await;
            self.ring.reap(time::now());
        }
        assert!(matches!(self.ring.next_event(), Some(Event::Timer)));
        assert!(self.ring.next_event().is_none() && time::now() >= deadline);
        time::thread_cpu() - before
    }

    fn send(&mut self, sends: &[(SocketKey, &[u8])]) -> Vec<Unsent> {
        let mut unsent = Vec::new();
        self.ring.volley(sends.len(), |index| (sends[index].0.slot, sends[index].1), &mut unsent);
        unsent
    }
}

fn read_exactly(client: &mut TcpStream, count: usize) -> Vec<u8> {
    client.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    let mut bytes = vec![0; count];
    client.read_exact(&mut bytes).unwrap();
    bytes
}

fn assert_ended(client: &mut TcpStream) {
    client.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    assert_eq!(client.read(&mut [0; 16]).unwrap(), 0, "the client sees a FIN");
}

#[test]
fn a_thousand_connections_are_accepted_heard_and_answered() {
    run(OPTIONS, async |mut harness: Harness| {
        const COUNT: usize = 1_000;
        let mut clients = Vec::new();
        let mut sockets = vec![None; COUNT];
        for _ in 0..COUNT {
            let (socket, client) = harness.accept().await;
            harness.ring.receive(socket);
            clients.push(client);
            sockets[clients.len() - 1] = Some(socket);
        }
        let sockets: Vec<SocketKey> = sockets.into_iter().map(Option::unwrap).collect();
        let slots: std::collections::BTreeSet<u32> = sockets.iter().map(|socket| socket.slot.0).collect();
        assert_eq!(slots.len(), COUNT, "each has a slot of its own");

        for (index, client) in clients.iter_mut().enumerate() {
            client.write_all(format!("{index:04}").as_bytes()).unwrap();
        }
        let mut heard = vec![Vec::new(); COUNT];
        let mut count = 0;
        while count < 4 * COUNT {
            let Event::Received { socket, chunk } = harness.next().await else { panic!("not bytes") };
            let index = sockets.iter().position(|other| *other == socket).unwrap();
            heard[index].extend_from_slice(harness.ring.bytes(&chunk));
            count += harness.ring.bytes(&chunk).len();
            harness.ring.give_back(chunk);
        }
        let sends: Vec<(SocketKey, &[u8])> =
            sockets.iter().copied().zip(heard.iter().map(Vec::as_slice)).collect();
        assert!(harness.send(&sends).is_empty(), "every send is taken whole");
        for (index, client) in clients.iter_mut().enumerate() {
            assert_eq!(read_exactly(client, 4), format!("{index:04}").as_bytes());
        }
    });
}

#[test]
fn each_who_comes_is_known_by_their_address() {
    run(OPTIONS, async |mut harness: Harness| {
        let path = std::env::temp_dir().join(format!("courier-peer-{}", std::process::id()));
        let unix = UnixListener::bind(&path).unwrap();
        let six = TcpListener::bind("[::1]:0").unwrap();
        let six_address = six.local_addr().unwrap();
        let (near, far) = (Bell::new().unwrap(), Bell::new().unwrap());
        harness.ring = Ring::new(OPTIONS, Bells { near: &near, far: &far }).unwrap();
        harness.far = far;
        let four = TcpListener::bind("127.0.0.1:0").unwrap();
        harness.address = four.local_addr().unwrap();
        harness.ring.listen(vec![four.into(), six.into(), unix.into()]);
        harness.ring.want_peers();
        // More at once than accepts are armed, each from an address of its own.
        let from = |last: u8| {
            let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
            socket.bind(&SocketAddr::from(([127, 0, 0, last], 0)).into()).unwrap();
            socket.connect(&harness.address.into()).unwrap();
            socket
        };
        let mut clients: Vec<Socket> = (1..=100).map(from).collect();
        clients.push(TcpStream::connect(six_address).unwrap().into());
        clients.push(UnixStream::connect(&path).unwrap().into());
        let mut peers = vec![Vec::new(); 3];
        for _ in &clients {
            let Event::Accepted { listener, peer, .. } = harness.next().await else {
                panic!("no connection")
            };
            peers[listener].push(peer);
        }
        peers[0].sort_unstable_by_key(Peer::to_string);
        let mut expected: Vec<Peer> = (1..=100).map(|last| Peer::ip([127, 0, 0, last].into())).collect();
        expected.sort_unstable_by_key(Peer::to_string);
        assert_eq!(peers[0], expected);
        assert_eq!(peers[1..], [vec![Peer::ip(Ipv6Addr::LOCALHOST.into())], vec![Peer::Unix]]);
        std::fs::remove_file(path).unwrap();
    });
}

#[test]
fn a_reader_that_does_not_read_makes_a_send_short_and_is_heard_of_when_it_reads_on() {
    run(OPTIONS, async |mut harness: Harness| {
        let (slow, mut slow_client) = harness.accept().await;
        let (fast, mut fast_client) = harness.accept().await;
        let mut random = Random::new(1);
        let bytes: Vec<u8> = (0..32 << 20).map(|_| random.word().to_ne_bytes()[0]).collect();

        let unsent = harness.send(&[(fast, b"first"), (slow, &bytes), (fast, b"second")]);
        let [Unsent { index: 1, outcome: SendOutcome::Short { sent } }] = unsent[..] else {
            panic!("{unsent:?}")
        };
        assert!(sent > 0 && (sent as usize) < bytes.len());
        assert_eq!(read_exactly(&mut fast_client, 11), b"firstsecond");
        let unsent = harness.send(&[(slow, &bytes[sent as usize..])]);
        let none = Unsent { index: 0, outcome: SendOutcome::Short { sent: 0 } };
        assert_eq!(unsent, [none], "EAGAIN is a short send of nothing");

        harness.ring.await_writable(slow);
        harness.ring.await_writable(slow);
        harness.ring.reap(time::now());
        assert_eq!(read_exactly(&mut slow_client, sent as usize), bytes[..sent as usize]);
        assert!(matches!(harness.next().await, Event::Writable { socket } if socket == slow));
        let unsent = harness.send(&[(slow, &bytes[sent as usize..][..1_000])]);
        assert!(unsent.is_empty());
        assert_eq!(read_exactly(&mut slow_client, 1_000), bytes[sent as usize..][..1_000]);
    });
}

#[test]
fn a_send_to_a_peer_that_is_gone_fails_and_the_others_do_not() {
    run(OPTIONS, async |mut harness: Harness| {
        let (gone, gone_client) = harness.accept().await;
        let (here, mut here_client) = harness.accept().await;
        // Unread bytes make the kernel answer a close with a reset.
        assert!(harness.send(&[(gone, b"unread")]).is_empty());
        drop(gone_client);
        harness.ring.receive(gone);
        assert_eq!(harness.hung_up().await, (gone, HangUp::Reset));
        let unsent = harness.send(&[(gone, b"lost"), (here, b"kept")]);
        assert_eq!(unsent, [Unsent { index: 0, outcome: SendOutcome::Failed(HangUp::Reset) }]);
        assert_eq!(read_exactly(&mut here_client, 4), b"kept");
    });
}

#[test]
fn a_shutdown_ends_an_armed_receive_and_close_frees_the_slot() {
    run(OPTIONS, async |mut harness: Harness| {
        let (socket, mut client) = harness.accept().await;
        harness.ring.receive(socket);
        harness.ring.shutdown(socket, End::Both);
        assert_eq!(harness.hung_up().await, (socket, HangUp::Closed));
        assert_ended(&mut client);
        harness.ring.close(socket);
        harness.until_closed().await;
        let (next, _client) = harness.accept().await;
        assert_eq!(next.slot, socket.slot, "the kernel hands the slot out again");
    });
}

#[test]
fn a_shutdown_and_a_close_behind_it_spare_the_next_connection_in_the_slot() {
    run(OPTIONS, async |mut harness: Harness| {
        const COUNT: usize = 64;
        for _ in 0..40 {
            let mut earlier = Vec::new();
            for _ in 0..COUNT {
                earlier.push(harness.accept().await);
            }
            // These wait to be accepted, which happens right behind the closes.
            let clients: Vec<_> = (0..COUNT).map(|_| TcpStream::connect(harness.address).unwrap()).collect();
            for (socket, _client) in &earlier {
                harness.ring.shutdown(*socket, End::Both);
                harness.ring.close(*socket);
            }
            let mut later = Vec::new();
            for client in clients {
                let Event::Accepted { slot, .. } = harness.next().await else { panic!("not a connection") };
                later.push((SocketKey { slot, generation: 1 }, client));
            }
            harness.until_closed().await;
            for (socket, mut client) in later {
                assert_eq!(harness.send(&[(socket, b"here")]), [], "the connection is whole");
                assert_eq!(read_exactly(&mut client, 4), b"here");
                harness.ring.close(socket);
            }
            harness.ring.reap(time::now());
        }
    });
}

#[test]
fn after_our_fin_the_client_may_still_send() {
    run(OPTIONS, async |mut harness: Harness| {
        let (socket, mut client) = harness.accept().await;
        harness.ring.receive(socket);
        harness.ring.shutdown(socket, End::Write);
        harness.ring.reap(time::now());
        assert_ended(&mut client);
        client.write_all(b"late").unwrap();
        assert_eq!(harness.received(socket, 4).await, b"late");
        client.shutdown(Shutdown::Both).unwrap();
        assert_eq!(harness.hung_up().await, (socket, HangUp::Closed));
    });
}

#[test]
fn close_sends_a_fin_although_a_poll_is_armed() {
    run(OPTIONS, async |mut harness: Harness| {
        let (socket, mut client) = harness.accept().await;
        harness.ring.receive(socket);
        let bytes = vec![7; 32 << 20];
        client.shutdown(Shutdown::Write).unwrap();
        assert_eq!(harness.hung_up().await, (socket, HangUp::Closed));
        // The client's window may grow by what it has got so far: send until nothing more is taken.
        let mut total = 0;
        loop {
            let unsent = harness.send(&[(socket, &bytes)]);
            let SendOutcome::Short { sent } = unsent[0].outcome else { panic!("{unsent:?}") };
            total += sent as usize;
            if sent == 0 {
                break;
            }
        }
        harness.ring.await_writable(socket);
        harness.ring.reap(time::now());
        harness.ring.close(socket);
        harness.ring.reap(time::now());
        // Unless the poll was over already: a machine drops its event by the generation.
        while let Some(event) = harness.ring.next_event() {
            assert!(matches!(event, Event::Writable { socket: stale } if stale == socket));
        }
        read_exactly(&mut client, total);
        assert_ended(&mut client);
        // The poll says nothing any more, and the slot's next owner can have one of its own.
        let (mut next, _client) = harness.accept().await;
        next.generation = 1;
        harness.ring.await_writable(next);
        assert!(matches!(harness.next().await, Event::Writable { socket } if socket == next));
    });
}

/// Pins why a machine closes after the hang-up only, and why tokens carry a generation.
#[test]
fn a_close_under_an_armed_receive_sends_no_fin_and_the_old_bytes_carry_the_old_generation() {
    run(OPTIONS, async |mut harness: Harness| {
        let (old, mut old_client) = harness.accept().await;
        harness.ring.receive(old);
        harness.ring.reap(time::now());
        harness.ring.close(old);
        harness.ring.reap(time::now());
        old_client.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
        assert!(old_client.read(&mut [0; 1]).is_err(), "no FIN");

        let (mut new, mut new_client) = harness.accept().await;
        assert_eq!(new.slot, old.slot);
        new.generation = 1;
        harness.ring.receive(new);
        old_client.write_all(b"old").unwrap();
        assert_eq!(harness.received(old, 3).await, b"old");
        new_client.write_all(b"new").unwrap();
        assert_eq!(harness.received(new, 3).await, b"new");
    });
}

#[test]
fn more_bytes_than_buffers_arrive_whole_and_in_order() {
    let options = RingOptions { slots: 16, buffers: 2, buffer_bytes: 64 };
    run(options, async |mut harness: Harness| {
        let (socket, mut client) = harness.accept().await;
        harness.ring.receive(socket);
        let mut random = Random::new(2);
        let bytes: Vec<u8> = (0..100_000).map(|_| random.word().to_ne_bytes()[0]).collect();
        let copy = bytes.clone();
        let writer = std::thread::spawn(move || {
            client.write_all(&copy).unwrap();
            client
        });
        assert_eq!(harness.received(socket, bytes.len()).await, bytes);
        drop(writer.join().unwrap());
        assert_eq!(harness.hung_up().await, (socket, HangUp::Closed));
    });
}

#[test]
fn who_finds_the_table_full_waits_and_is_accepted_when_a_slot_is_free() {
    let options = RingOptions { slots: 2, buffers: 2, buffer_bytes: 64 };
    run(options, async |mut harness: Harness| {
        let (first, first_client) = harness.accept().await;
        let (_second, _second_client) = harness.accept().await;
        harness.ring.receive(first);
        let mut waiting = TcpStream::connect(harness.address).unwrap();
        waiting.write_all(b"patient").unwrap();
        drop(first_client);
        assert_eq!(harness.hung_up().await, (first, HangUp::Closed), "and nobody was accepted");
        harness.ring.close(first);
        let Event::Accepted { slot, .. } = harness.next().await else { panic!("nobody was accepted") };
        assert_eq!(slot, first.slot);
        let socket = SocketKey { slot, generation: 1 };
        harness.ring.receive(socket);
        assert_eq!(harness.received(socket, 7).await, b"patient");
        assert_eq!(harness.ring.accept_pauses(), 0);
    });
}

#[test]
fn of_a_thousand_who_come_to_a_small_table_each_is_accepted_once() {
    let options = RingOptions { slots: 8, buffers: 2, buffer_bytes: 64 };
    run(options, async |mut harness: Harness| {
        let address = harness.address;
        let clients = std::thread::spawn(move || {
            let clients: Vec<_> = (0..1_000).map(|_| TcpStream::connect(address).unwrap()).collect();
            clients.into_iter().for_each(|mut client| assert_ended(&mut client));
        });
        for generation in 0..1_000 {
            let Event::Accepted { slot, .. } = harness.next().await else { panic!("nobody was accepted") };
            assert!(slot.0 < 8);
            harness.ring.close(SocketKey { slot, generation });
        }
        harness.ring.reap(time::now());
        clients.join().unwrap();
        assert_eq!(harness.ring.accept_pauses(), 0);
    });
}

#[test]
fn an_ordinary_descriptor_gets_a_slot_of_the_kernels_choice() {
    run(OPTIONS, async |mut harness: Harness| {
        let (accepted, _client) = harness.accept().await;
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let stream = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (mut peer, _) = listener.accept().unwrap();
        let slot = harness.ring.install(OwnedFd::from(stream)).unwrap();
        assert_ne!(slot, accepted.slot);
        let socket = SocketKey { slot, generation: 0 };
        harness.ring.receive(socket);
        assert!(harness.send(&[(socket, b"PING\r\n")]).is_empty());
        assert_eq!(read_exactly(&mut peer, 6), b"PING\r\n");
        peer.write_all(b"+PONG\r\n").unwrap();
        assert_eq!(harness.received(socket, 7).await, b"+PONG\r\n");
        harness.ring.shutdown(socket, End::Both);
        assert_eq!(harness.hung_up().await, (socket, HangUp::Closed));
        harness.ring.close(socket);
        harness.ring.reap(time::now());
        assert_ended(&mut peer);
    });
}

#[test]
fn a_full_table_refuses_an_installation() {
    let options = RingOptions { slots: 1, buffers: 2, buffer_bytes: 64 };
    run(options, async |mut harness: Harness| {
        let (_socket, client) = harness.accept().await;
        let copy = client.try_clone().unwrap();
        let error = harness.ring.install(OwnedFd::from(copy)).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::ENFILE));
    });
}

#[test]
fn the_timer_comes_at_its_time_and_can_be_moved_forward() {
    run(OPTIONS, async |mut harness: Harness| {
        let began = time::now();
        let far = Some(began.after(Duration::from_secs(3_600)));
        let near = Some(began.after(Duration::from_millis(30)));
        for deadline in [far, near] {
            assert!(!harness.ring.is_awake(time::now(), deadline));
        }
        harness.far.wait().await;
        assert!(harness.ring.is_awake(time::now(), None));
        harness.ring.is_up();
        assert!(matches!(harness.ring.next_event(), Some(Event::Timer)));
        let waited = time::now().since(began);
        assert!(waited >= Duration::from_millis(30) && waited < Duration::from_secs(10), "{waited:?}");
    });
}

#[test]
fn nobody_is_accepted_after_listening_has_stopped() {
    run(OPTIONS, async |mut harness: Harness| {
        let (socket, _client) = harness.accept().await;
        harness.ring.stop_listening();
        harness.ring.reap(time::now());
        let error = TcpStream::connect(harness.address).unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::ConnectionRefused);
        harness.ring.receive(socket);
        harness.ring.shutdown(socket, End::Both);
        assert_eq!(harness.hung_up().await, (socket, HangUp::Closed));
    });
}

#[test]
fn completions_beyond_the_queue_are_kept() {
    run(OPTIONS, async |mut harness: Harness| {
        let absent = SocketKey { slot: Slot(2_000), generation: 0 };
        // Each close of an empty slot fails and is told: three times what the completion queue holds.
        for _ in 0..24_576 {
            harness.ring.close(absent);
        }
        let sends = vec![(absent, b"x".as_slice()); 1_024];
        let unsent = harness.send(&sends);
        assert_eq!(unsent.len(), 1_024);
        assert!(unsent.iter().all(|unsent| matches!(unsent.outcome, SendOutcome::Failed(_))));
        assert!(harness.send(&[]).is_empty());
    });
}

#[test]
fn a_ring_with_armed_receives_uses_no_cpu_at_rest() {
    run(OPTIONS, async |mut harness: Harness| {
        let mut connections = Vec::new();
        for _ in 0..100 {
            let (socket, client) = harness.accept().await;
            harness.ring.receive(socket);
            connections.push(client);
        }
        // The first rest is dearer: glommio and the kernel set themselves up.
        harness.rest(Duration::from_millis(5)).await;
        let spent = harness.rest(Duration::from_millis(500)).await;
        assert!(spent < Duration::from_millis(1), "{spent:?} of CPU in 500 ms at rest");
    });
}

#[test]
fn a_hundred_shutdowns_at_once_do_not_drown_the_bell() {
    run(OPTIONS, async |mut harness: Harness| {
        let mut clients = Vec::new();
        for _ in 0..100 {
            let (socket, client) = harness.accept().await;
            harness.ring.receive(socket);
            clients.push((socket, client));
        }
        harness.rest(Duration::from_millis(10)).await;
        for (socket, _) in &clients {
            harness.ring.shutdown(*socket, End::Write);
        }
        // Each shutdown wakes an armed receive that has nothing to say; the timer comes all the same, and not only when
        // something else wakes the thread.
        let address = harness.address;
        let rescuer = std::thread::spawn(move || {
            let began = time::now();
            std::thread::park_timeout(Duration::from_secs(5));
            if time::now().since(began) >= Duration::from_secs(5) {
                drop(TcpStream::connect(address));
            }
        });
        let began = time::now();
        harness.rest(Duration::from_millis(300)).await;
        assert!(time::now().since(began) < Duration::from_secs(4), "the timer did not ring");
        rescuer.thread().unpark();
        rescuer.join().unwrap();
        for (_, client) in &clients {
            client.shutdown(Shutdown::Write).unwrap();
        }
        for _ in &clients {
            harness.hung_up().await;
        }
    });
}

#[test]
fn a_shutdown_under_way_spares_the_next_owner_of_the_slot() {
    run(OPTIONS, async |mut harness: Harness| {
        for _ in 0..200 {
            let (socket, client) = harness.accept().await;
            harness.ring.shutdown(socket, End::Both);
            harness.ring.close(socket);
            drop(client);
            // The slot is free again only after the shutdown: whoever gets it stays connected.
            let mut next = TcpStream::connect(harness.address).unwrap();
            let Event::Accepted { slot, .. } = harness.next().await else { panic!("nobody was accepted") };
            let next_socket = SocketKey { slot, generation: 1 };
            harness.ring.receive(next_socket);
            next.write_all(b"here").unwrap();
            assert_eq!(harness.received(next_socket, 4).await, b"here");
            drop(next);
            assert_eq!(harness.hung_up().await, (next_socket, HangUp::Closed));
            harness.ring.close(next_socket);
        }
    });
}
