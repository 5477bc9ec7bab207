//! CPU time of one send: a volley of the ring against a bare loop of send(2), to sockets on loopback.
//!
//! CPU by CLOCK_THREAD_CPUTIME_ID, of which a virtual machine takes its steal time off, so the median counts and not the
//! minimum; a loopback send includes the receiver's half of TCP. The two take turns round by round, so that whatever
//! else the machine does falls on both. `cargo bench --bench volley -- [sockets] [rounds]`.

use std::io::Read;
use std::net::{TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use courier::base::limits::FLUSH_CONNECTIONS;
use courier::base::socket::Slot;
use courier::driver::sys::bell::Bell;
use courier::driver::sys::process::{self, Resource};
use courier::driver::sys::time;
use courier::driver::uring::{Bells, Ring, RingOptions};
use socket2::SockRef;

const PAYLOAD: [u8; 100] = [b'x'; 100];

fn main() {
    let mut numbers = std::env::args().skip(1).filter_map(|argument| argument.parse::<usize>().ok());
    let sockets = numbers.next().unwrap_or(4_096);
    let rounds = numbers.next().unwrap_or(200);
    process::raise(Resource::Descriptors).expect("RLIMIT_NOFILE can be read");

    let [near, far] = [(); 2].map(|()| Bell::new().expect("an eventfd"));
    let options = RingOptions { slots: 1 << 14, buffers: 2, buffer_bytes: 64 };
    let mut ring = Ring::new(options, Bells { near: &near, far: &far }).expect("a ring");
    let listener = TcpListener::bind("127.0.0.1:0").expect("a listener");
    let pairs: Vec<(TcpStream, TcpStream)> = (0..sockets).map(|_| pair(&listener)).collect();
    let install = |(server, _): &(TcpStream, TcpStream)| {
        let copy = server.try_clone().expect("a descriptor");
        ring.install(OwnedFd::from(copy)).expect("a slot")
    };
    let slots: Vec<Slot> = pairs.iter().map(install).collect();

    let (mut bare, mut volleys) = (Vec::new(), Vec::new());
    for _ in 0..rounds {
        bare.push(cost_of(|| {
            for (server, _) in &pairs {
                let sent =
                    SockRef::from(server).send_with_flags(&PAYLOAD, libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL);
                assert_eq!(sent.ok(), Some(PAYLOAD.len()));
            }
        }));
        drain(&pairs);
        volleys.push(cost_of(|| {
            let mut unsent = Vec::new();
            for slots in slots.chunks(FLUSH_CONNECTIONS) {
                ring.volley(slots.len(), |index| (slots[index], &PAYLOAD), &mut unsent);
            }
            assert!(unsent.is_empty(), "every send is taken whole");
        }));
        drain(&pairs);
    }
    report("send(2)", &bare, sockets);
    report("volley ", &volleys, sockets);
}

fn pair(listener: &TcpListener) -> (TcpStream, TcpStream) {
    let client = TcpStream::connect(listener.local_addr().expect("an address")).expect("a connection");
    let (server, _) = listener.accept().expect("a connection");
    server.set_nodelay(true).expect("TCP_NODELAY");
    (server, client)
}

fn drain(pairs: &[(TcpStream, TcpStream)]) {
    let mut bytes = [0; PAYLOAD.len()];
    for (_, client) in pairs {
        let mut client: &TcpStream = client;
        client.read_exact(&mut bytes).expect("what was sent arrives");
    }
}

/// CPU time and wall time of the work.
fn cost_of(work: impl FnOnce()) -> (Duration, Duration) {
    let (cpu, wall) = (time::thread_cpu(), Instant::now());
    work();
    (time::thread_cpu() - cpu, wall.elapsed())
}

fn report(name: &str, rounds: &[(Duration, Duration)], sockets: usize) {
    let median = |mut durations: Vec<Duration>| {
        durations.sort_unstable();
        durations[durations.len() / 2].as_secs_f64() * 1e6 / sockets as f64
    };
    let cpu = median(rounds.iter().map(|(cpu, _)| *cpu).collect());
    let wall = median(rounds.iter().map(|(_, wall)| *wall).collect());
    let (bytes, rounds) = (PAYLOAD.len(), rounds.len());
    println!("{name}  {cpu:.2} us of CPU, {wall:.2} us a send of {bytes} bytes: medians of {rounds} rounds");
}
