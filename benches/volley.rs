//! CPU time of one send: a volley of the ring against a bare loop of send(2), to sockets on loopback.
//!
//! CPU by CLOCK_THREAD_CPUTIME_ID; a loopback send includes the receiver's half of TCP. The two take turns round by
//! round, so that whatever else the machine does falls on both. `cargo bench --bench volley -- [sockets] [rounds]`.

use std::io::Read;
use std::net::{TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::time::Duration;

use courier::base::limits::FLUSH_CONNECTIONS;
use courier::base::socket::Slot;
use courier::driver::sys::bell::Bell;
use courier::driver::sys::process::{self, Resource};
use courier::driver::sys::time;
use courier::driver::uring::{Ring, RingOptions};
use socket2::SockRef;

const PAYLOAD: [u8; 100] = [b'x'; 100];

fn main() {
    let mut numbers = std::env::args().skip(1).filter_map(|argument| argument.parse::<usize>().ok());
    let sockets = numbers.next().unwrap_or(4_096);
    let rounds = numbers.next().unwrap_or(200);
    process::raise(Resource::Descriptors).expect("RLIMIT_NOFILE can be read");

    let bell = Bell::new().expect("an eventfd");
    let options = RingOptions { slots: 1 << 14, buffers: 2, buffer_bytes: 64 };
    let mut ring = Ring::new(options, &bell).expect("a ring");
    let listener = TcpListener::bind("127.0.0.1:0").expect("a listener");
    let pairs: Vec<(TcpStream, TcpStream)> = (0..sockets).map(|_| pair(&listener)).collect();
    let install = |(server, _): &(TcpStream, TcpStream)| {
        let copy = server.try_clone().expect("a descriptor");
        ring.install(OwnedFd::from(copy)).expect("a slot")
    };
    let slots: Vec<Slot> = pairs.iter().map(install).collect();

    let (mut bare, mut volleys) = (Vec::new(), Vec::new());
    for _ in 0..rounds {
        bare.push(cpu_of(|| {
            for (server, _) in &pairs {
                let sent =
                    SockRef::from(server).send_with_flags(&PAYLOAD, libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL);
                assert_eq!(sent.ok(), Some(PAYLOAD.len()));
            }
        }));
        drain(&pairs);
        volleys.push(cpu_of(|| {
            let mut unsent = Vec::new();
            for slots in slots.chunks(FLUSH_CONNECTIONS) {
                ring.volley(slots.len(), |index| (slots[index], &PAYLOAD), &mut unsent);
            }
            assert!(unsent.is_empty(), "every send is taken whole");
        }));
        drain(&pairs);
    }
    report("send(2)", &mut bare, sockets);
    report("volley ", &mut volleys, sockets);
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

fn cpu_of(work: impl FnOnce()) -> Duration {
    let before = time::thread_cpu();
    work();
    time::thread_cpu() - before
}

fn report(name: &str, rounds: &mut [Duration], sockets: usize) {
    rounds.sort_unstable();
    let per_send = |duration: Duration| duration.as_secs_f64() * 1e6 / sockets as f64;
    println!(
        "{name}  median {:.2} us  min {:.2} us  a send of {} bytes, {sockets} sockets, {} rounds",
        per_send(rounds[rounds.len() / 2]),
        per_send(rounds[0]),
        PAYLOAD.len(),
        rounds.len()
    );
}
