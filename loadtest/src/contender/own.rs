//! The floor for very many channels with one subscriber each: a message goes to the one who hears its channel.
//!
//! What one read of the publisher gave is sent in one submission, one SEND a message. A channel is known by the number at
//! the end of its name, which leads to its socket without a hash: a server that knows names can only be slower. Sockets
//! live in rings only, and a ring's file table holds as many as the limit of open files: so there are as many rings as
//! it takes, all of one thread, and a read costs a submission for each ring that it concerns.

use std::io;
use std::net::TcpStream;

use crate::contender::ring::{Ring, Short};

/// Rings, who is in them, and what is to be sent.
#[derive(Debug)]
pub struct OwnChannels {
    rings: Vec<Volley>,
    /// By the channel's number.
    places: Vec<Option<Place>>,
    sockets_per_ring: usize,
    sockets: usize,
    frames: Vec<u8>,
    shorts: Vec<Short>,
}

/// A ring, and its sends of the read at hand.
#[derive(Debug)]
struct Volley {
    ring: Ring,
    sends: Vec<Send>,
}

#[derive(Debug, Clone, Copy)]
struct Place {
    ring: u32,
    socket: u32,
}

/// A frame to a socket.
#[derive(Debug, Clone, Copy)]
struct Send {
    socket: u32,
    start: usize,
    end: usize,
}

impl OwnChannels {
    pub fn new(sockets_per_ring: u32) -> Self {
        let (rings, places, frames, shorts) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        Self { rings, places, sockets_per_ring: sockets_per_ring as usize, sockets: 0, frames, shorts }
    }

    /// Makes the subscriber of a channel known. Its socket may be dropped: the ring keeps it open.
    pub fn add(&mut self, channel: usize, stream: &TcpStream) -> io::Result<()> {
        let (ring, socket) = (self.sockets / self.sockets_per_ring, self.sockets % self.sockets_per_ring);
        if ring == self.rings.len() {
            let sockets_max = u32::try_from(self.sockets_per_ring).map_err(io::Error::other)?;
            self.rings.push(Volley { ring: Ring::new(sockets_max)?, sends: Vec::new() });
        }
        self.rings[ring].ring.add(stream)?;
        self.sockets += 1;
        if self.places.len() <= channel {
            self.places.resize(channel + 1, None);
        }
        let number = |count| u32::try_from(count).map_err(io::Error::other);
        self.places[channel] = Some(Place { ring: number(ring)?, socket: number(socket)? });
        Ok(())
    }

    /// Queues a frame for the subscriber of its channel, if there is one.
    // Hot: once per message.
    pub fn publish(&mut self, channel: usize, frame: &[u8]) {
        let Some(&Some(Place { ring, socket })) = self.places.get(channel) else { return };
        let start = self.frames.len();
        self.frames.extend_from_slice(frame);
        self.rings[ring as usize].sends.push(Send { socket, start, end: self.frames.len() });
    }

    /// Sends what was queued. A subscriber who has gone is passed over; one whose socket is full would need a memory, which a
    /// floor has not: that is an error.
    // Hot: once per read.
    pub fn flush(&mut self) -> io::Result<()> {
        let Self { rings, frames, shorts, .. } = self;
        for Volley { ring, sends } in rings {
            if !sends.is_empty() {
                let bytes = |send: Send| (send.socket as usize, &frames[send.start..send.end]);
                ring.send(sends.len(), |index| bytes(sends[index]), shorts)?;
                sends.clear();
            }
        }
        frames.clear();
        let mut is_full = false;
        shorts.drain(..).for_each(|short| is_full |= short.result >= 0 || short.result == -libc::EAGAIN);
        if is_full { Err(io::Error::other("a subscriber's socket is full")) } else { Ok(()) }
    }
}

/// The number at the end of a channel's name.
// Hot: once per message.
pub fn channel_number(name: &[u8]) -> Option<usize> {
    let digits = name.iter().rev().take_while(|byte| byte.is_ascii_digit()).count();
    std::str::from_utf8(&name[name.len() - digits..]).ok()?.parse().ok()
}

/// The same of the channel that a request asks for, which stands at the end of its target.
pub fn requested_channel(head: &[u8]) -> Option<usize> {
    let end = head.windows(6).position(|window| window == b" HTTP/")?;
    channel_number(&head[..end])
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::net::TcpListener;

    use super::*;

    #[test]
    fn each_hears_its_own_channel_whichever_ring_it_is_in() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut own = OwnChannels::new(2);
        let clients: Vec<TcpStream> = [4, 0, 7, 2, 9]
            .into_iter()
            .map(|channel| {
                let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
                own.add(channel, &listener.accept().unwrap().0).unwrap();
                client
            })
            .collect();
        for (channel, text) in [(7, "a"), (2, "b"), (7, "c"), (1, "nobody"), (1_000, "nobody"), (9, "d")] {
            own.publish(channel, text.as_bytes());
        }
        own.flush().unwrap();
        for (mut client, expected) in clients.iter().zip(["", "", "ac", "b", "d"]) {
            let mut bytes = vec![0; expected.len()];
            client.read_exact(&mut bytes).unwrap();
            assert_eq!(bytes, expected.as_bytes());
            client.set_nonblocking(true).unwrap();
            assert!(client.read(&mut [0]).is_err(), "there is nothing else");
        }
        own.publish(4, &vec![b'x'; 64 << 20]);
        assert!(own.flush().is_err(), "no socket takes so much");
    }

    #[test]
    fn a_channel_has_the_number_at_its_end() {
        assert_eq!(channel_number(b"loadtest.12.034"), Some(34));
        assert_eq!(channel_number(b"news"), None);
        assert_eq!(
            requested_channel(b"GET /events?channel=loadtest.12.5 HTTP/1.1\r\nHost: h\r\n\r\n"),
            Some(5)
        );
        assert_eq!(requested_channel(b"GET /events?channel=5"), None);
    }
}
