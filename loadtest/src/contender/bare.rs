//! The floor: a server that does nothing but send. What a real server costs above it is its own doing.
//!
//! Speaks as much HTTP and RESP as the same subscribers and the same publisher need, and no more: every subscriber
//! hears every channel (or, with [`OwnChannels`], the one that it asked for), nothing is kept, nothing is queued (a
//! socket that is full is waited for), a subscriber that goes away is noticed when a send fails.

use std::fmt::Write as _;
use std::io::{self, BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::Stdio;
use std::time::Duration;

use clap::ValueEnum;
use serde::{Deserialize, Serialize};

use crate::arguments::BareVolley;
use crate::contender::Server;
use crate::contender::commands::{Commands, Publish};
use crate::contender::own::{OwnChannels, channel_number, requested_channel};
use crate::contender::ring::{Ring, Short};
use crate::machine::Placement;
use crate::process::{Ending, Process, this_program};
use crate::publisher::{Intake, RedisUrl};
use crate::sys::{self, Epoll, Interest, Ready};
use crate::trouble::Trouble;

/// Starts a bare loop as a process of its own.
pub fn start(volley: BareVolley, placement: &Placement) -> Result<Server, Trouble> {
    let mut command = this_program();
    let name = volley.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default();
    command.args(["bare-server", &name]).stdin(Stdio::null()).stdout(Stdio::piped());
    let mut process = Process::start(command, &placement.server, Ending::Kill)?;
    let mut line = String::new();
    if let Some(output) = process.output() {
        BufReader::new(output).read_line(&mut line).map_err(Trouble::doing("hear from the bare loop"))?;
    }
    let addresses: Addresses = serde_json::from_str(&line)
        .map_err(|_| Trouble::Process(format!("the bare loop could not start: {}", process.last_words())))?;
    Ok(Server::started(process, addresses.web, Intake::Publish(RedisUrl::local(addresses.broker))))
}

/// Serves until it is killed.
pub fn serve(volley: BareVolley) -> Result<(), Trouble> {
    let mut server = BareServer::open(volley).map_err(Trouble::doing("start the bare loop"))?;
    server.run().map_err(Trouble::doing("serve"))
}

/// What the process says when it is up.
#[derive(Debug, Serialize, Deserialize)]
struct Addresses {
    web: SocketAddr,
    broker: SocketAddr,
}

struct BareServer {
    epoll: Epoll,
    web: TcpListener,
    broker: TcpListener,
    volley: Volley,
    /// Everybody who ever asked, by slot; subscribers stay where they are.
    clients: Vec<Client>,
    /// Everybody who hears messages, in the order in which they came.
    subscribers: Vec<TcpStream>,
    sent: u64,
    frame: Vec<u8>,
}

enum Client {
    /// Has not asked yet.
    Silent(TcpStream, Vec<u8>),
    Publisher(TcpStream, Commands),
    /// Is a subscriber by now, or gone.
    Done,
}

/// How one message goes to everybody, or to the one who hears it.
enum Volley {
    SendLoop,
    RingLoop(Box<Ring>, Vec<Short>),
    RingEach(Box<OwnChannels>),
}

const WEB: u64 = u64::MAX;
const BROKER: u64 = u64::MAX - 1;
const BACKLOG: i32 = 4_096;
const HEAD: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nCache-Control: no-store\r\n\
                      Connection: close\r\n\r\nretry: 2000\nid: bare.0\n\n";
const HEAD_BYTES_MAX: usize = 8_192;
/// How long a subscriber may be full before the loop goes on without it.
const FULL_TIMEOUT: Duration = Duration::from_secs(5);

impl BareServer {
    fn open(volley: BareVolley) -> io::Result<Self> {
        let open_files = sys::raise_open_file_limit();
        let (web, broker) = (TcpListener::bind("127.0.0.1:0")?, TcpListener::bind("127.0.0.1:0")?);
        let epoll = Epoll::new()?;
        for (listener, token) in [(&web, WEB), (&broker, BROKER)] {
            sys::set_backlog(listener, BACKLOG)?;
            listener.set_nonblocking(true)?;
            epoll.add(listener, token, Interest::Readable)?;
        }
        let sockets_max = u32::try_from(open_files.min(SOCKETS_MAX)).map_err(io::Error::other)?;
        let volley = match volley {
            BareVolley::SendLoop => Volley::SendLoop,
            BareVolley::RingLoop => Volley::RingLoop(Box::new(Ring::new(sockets_max)?), Vec::new()),
            BareVolley::RingEach => Volley::RingEach(Box::new(OwnChannels::new(sockets_max))),
        };
        let addresses = Addresses { web: web.local_addr()?, broker: broker.local_addr()? };
        let line = serde_json::to_string(&addresses).map_err(io::Error::other)?;
        writeln!(io::stdout(), "{line}")?;
        let (clients, subscribers) = (Vec::new(), Vec::new());
        Ok(Self { epoll, web, broker, volley, clients, subscribers, sent: 0, frame: Vec::new() })
    }

    fn run(&mut self) -> io::Result<()> {
        let mut ready = Ready::with_capacity(1_024);
        loop {
            let count = self.epoll.wait(&mut ready, None)?;
            for index in 0..count {
                match ready.token(index) {
                    WEB => self.accept(|stream| Client::Silent(stream, Vec::new()), WEB)?,
                    BROKER => self.accept(|stream| Client::Publisher(stream, Commands::default()), BROKER)?,
                    token => self.advance(usize::try_from(token).map_err(io::Error::other)?)?,
                }
            }
        }
    }

    fn accept(&mut self, client: impl Fn(TcpStream) -> Client, listener: u64) -> io::Result<()> {
        let listener = if listener == WEB { &self.web } else { &self.broker };
        loop {
            match listener.accept() {
                Ok((stream, _)) => {
                    stream.set_nodelay(true)?;
                    self.epoll.add(&stream, self.clients.len() as u64, Interest::Readable)?;
                    self.clients.push(client(stream));
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            }
        }
    }

    fn advance(&mut self, index: usize) -> io::Result<()> {
        let mut buffer = [0; 16_384];
        match &mut self.clients[index] {
            Client::Done => Ok(()),
            Client::Silent(stream, head) => match sys::receive_now(stream, &mut buffer) {
                Ok(count @ 1..) if head.len() <= HEAD_BYTES_MAX => {
                    head.extend_from_slice(&buffer[..count]);
                    if head.ends_with(b"\r\n\r\n") { self.subscribe(index) } else { Ok(()) }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(()),
                _ => self.forget(index),
            },
            Client::Publisher(stream, commands) => match sys::receive_now(stream, &mut buffer) {
                Ok(count @ 1..) => {
                    commands.push(&buffer[..count]);
                    self.publish(index)
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(()),
                _ => self.forget(index),
            },
        }
    }

    fn forget(&mut self, index: usize) -> io::Result<()> {
        match std::mem::replace(&mut self.clients[index], Client::Done) {
            Client::Silent(stream, _) | Client::Publisher(stream, _) => self.epoll.remove(&stream),
            Client::Done => Ok(()),
        }
    }

    fn subscribe(&mut self, index: usize) -> io::Result<()> {
        let Client::Silent(stream, head) = std::mem::replace(&mut self.clients[index], Client::Done) else {
            return Ok(());
        };
        // Nothing more is heard from a subscriber: it costs nothing but its socket.
        self.epoll.remove(&stream)?;
        if !sys::send_now(&stream, HEAD).is_ok_and(|count| count == HEAD.len()) {
            return Ok(());
        }
        match &mut self.volley {
            Volley::SendLoop => self.subscribers.push(stream),
            Volley::RingLoop(ring, _) => {
                ring.add(&stream)?;
                self.subscribers.push(stream);
            }
            Volley::RingEach(own) => {
                let channel = requested_channel(&head);
                own.add(channel.ok_or_else(|| io::Error::other("a channel without a number"))?, &stream)?;
            }
        }
        Ok(())
    }

    fn publish(&mut self, index: usize) -> io::Result<()> {
        let mut replies = String::new();
        let Client::Publisher(stream, commands) = &mut self.clients[index] else { return Ok(()) };
        let is_sound = loop {
            match commands.take() {
                Ok(None) => break true,
                Ok(Some(message)) => {
                    self.sent += 1;
                    let (subscribers, frame) = (&self.subscribers, &mut self.frame);
                    let receivers = self.volley.publish(message, self.sent, subscribers, frame)?;
                    // A string takes every number.
                    let _ = write!(replies, ":{receivers}\r\n");
                }
                Err(_) => break false,
            }
        };
        self.volley.flush()?;
        if is_sound && stream.write_all(replies.as_bytes()).is_ok() { Ok(()) } else { self.forget(index) }
    }
}

// Hot: once per message.
fn write_frame(frame: &mut Vec<u8>, message: Publish<'_>, number: u64) {
    frame.extend_from_slice(b"data: ");
    frame.extend_from_slice(message.payload);
    // A vector takes every byte.
    let _ = write!(frame, "\nid: bare.{number}\n\n");
}

impl Volley {
    /// Sends one message, or queues it until the `flush`; how many hear it.
    fn publish(
        &mut self,
        message: Publish<'_>,
        number: u64,
        subscribers: &[TcpStream],
        frame: &mut Vec<u8>,
    ) -> io::Result<usize> {
        frame.clear();
        write_frame(frame, message, number);
        match self {
            Self::SendLoop => subscribers.iter().for_each(|stream| send_whole(stream, frame)),
            Self::RingLoop(ring, shorts) => {
                ring.send_to_all(frame, shorts)?;
                for Short { socket, result } in shorts.drain(..) {
                    match usize::try_from(result) {
                        Ok(count) => send_rest(&subscribers[socket], &frame[count..]),
                        Err(_) if result == -libc::EAGAIN => send_rest(&subscribers[socket], frame),
                        Err(_) => {} // Gone; its slot stays, and costs a failing send a message.
                    }
                }
            }
            Self::RingEach(own) => {
                channel_number(message.channel).into_iter().for_each(|channel| own.publish(channel, frame));
                return Ok(1);
            }
        }
        Ok(subscribers.len())
    }

    /// The end of a read.
    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::SendLoop | Self::RingLoop(..) => Ok(()),
            Self::RingEach(own) => own.flush(),
        }
    }
}

fn send_whole(stream: &TcpStream, frame: &[u8]) {
    match sys::send_now(stream, frame) {
        Ok(count) => send_rest(stream, &frame[count..]),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => send_rest(stream, frame),
        Err(_) => {} // Gone, as above.
    }
}

/// Fixed files of one ring; the kernel allows a million.
const SOCKETS_MAX: u64 = 1 << 20;

/// Waits until a full subscriber has taken the rest; gives it up when that takes too long.
fn send_rest(stream: &TcpStream, mut rest: &[u8]) {
    while !rest.is_empty() {
        match sys::send_now(stream, rest) {
            Ok(count) => rest = &rest[count..],
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                if !sys::wait_writable(stream, FULL_TIMEOUT).unwrap_or(false) {
                    // A frame that is cut in the middle must not go on: end the stream.
                    let _ = stream.shutdown(std::net::Shutdown::Both);
                    return;
                }
            }
            Err(_) => return,
        }
    }
}
