//! What the kernel answered, sorted: events for the machine, and what has to be armed again.
//!
//! Plain state without I/O, so that every case of the kernel's can be tested without one. Bounded: one accept, receive
//! and poll can complete for each slot, and one chunk for each buffer.

use std::collections::{HashMap, VecDeque};

use crate::base::peer::Peer;
use crate::base::socket::{HangUp, Slot, SocketKey};
use crate::driver::uring::accepts::{Accepts, Single};
use crate::driver::uring::addresses::Addresses;
use crate::driver::uring::token::{Kind, Token};
use crate::shard::input::{SendOutcome, Unsent};

/// What became of a request.
#[derive(Debug)]
pub enum Event {
    /// A connection came in on this listener, in the order they were given.
    Accepted {
        slot: Slot,
        listener: usize,
        peer: Peer,
    },
    Received {
        socket: SocketKey,
        chunk: Chunk,
    },
    /// The receive has ended for good.
    HungUp {
        socket: SocketKey,
        cause: HangUp,
    },
    /// The socket takes bytes again, or never will: a send tells.
    Writable {
        socket: SocketKey,
    },
    /// The time that was asked for has come.
    Timer,
}

/// Received bytes in one of the ring's buffers; see `Ring::bytes`, and give it back with `Ring::give_back`.
#[derive(Debug, PartialEq, Eq)]
#[must_use = "a chunk that is not given back is a receive buffer less"]
pub struct Chunk {
    pub(super) buffer: u16,
    pub(super) length: u32,
}

#[derive(Debug, Default)]
pub(super) struct Inbox {
    pub(super) events: VecDeque<Event>,
    /// Sends of the present volley that were not taken whole.
    pub(super) unsent: Vec<Unsent>,
    /// Receives that ended although their socket lives; to be armed when the buffers have been given back.
    pub(super) receive_again: Vec<SocketKey>,
    /// Which accepts are armed; one that ended because descriptors or memory ran out is armed again after a pause,
    /// never at once.
    pub(super) accepts: Accepts,
    /// Where the addresses of those who are accepted come to lie.
    pub(super) addresses: Addresses,
    /// The near bell has rung since the last brief rest began.
    pub(super) rang: bool,
    /// Whether the bell's poll has ended and is to be armed again.
    pub(super) bell_again: bool,
    /// Buffers that came without bytes.
    pub(super) buffers: Vec<u16>,
    /// The sockets with a poll in the kernel, which are slow readers: a generation by slot.
    pub(super) polls: HashMap<Slot, u32>,
    /// The outcome of an installation: how many were installed, or which descriptor, or an errno.
    pub(super) installed: Option<i32>,
    /// Shutdowns that a worker thread of the kernel has not carried out yet, by slot. It looks the slot up only when it
    /// does, so the slot must not have its next owner by then.
    pub(super) shutdowns: HashMap<Slot, Shutdowns>,
    /// Slots whose close waited for a shutdown and may go on.
    pub(super) closes: Vec<Slot>,
    /// Volleys so far, modulo the generations of a token.
    pub(super) volley: u32,
}

/// What is under way for one slot.
#[derive(Debug, Default)]
pub(super) struct Shutdowns {
    count: u32,
    is_to_be_closed: bool,
}

/// One completion, as the kernel wrote it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Completion {
    pub token: Token,
    /// Not negative: a count, an index or zero; negative: an errno.
    pub result: i32,
    /// The provided buffer that holds what was received.
    pub buffer: Option<u16>,
    /// The request goes on: more completions will come.
    pub more: bool,
}

impl Inbox {
    // Hot: once per completion.
    pub(super) fn sort(&mut self, completion: Completion) {
        let Completion { token, result, .. } = completion;
        match token.kind {
            Kind::Receive => self.sort_receive(completion),
            Kind::Accept => self.sort_accept(completion),
            Kind::Send => self.sort_send(token, result),
            Kind::Writable => self.sort_writable(token, result),
            Kind::Timer => self.events.push_back(Event::Timer),
            Kind::Install => self.installed = Some(result),
            Kind::Shutdown => self.sort_shutdown(token.socket().slot),
            Kind::Bell => {
                self.rang = true;
                self.bell_again |= !completion.more;
            }
            Kind::Quiet => {}
        }
    }

    /// Notes a shutdown.
    pub(super) fn shutdown(&mut self, slot: Slot) {
        self.shutdowns.entry(slot).or_default().count += 1;
    }

    /// Whether the slot may be closed at once; if not, it comes up in `closes` as soon as it may.
    pub(super) fn may_close(&mut self, slot: Slot) -> bool {
        match self.shutdowns.get_mut(&slot) {
            None => true,
            Some(shutdowns) => {
                shutdowns.is_to_be_closed = true;
                false
            }
        }
    }

    fn sort_shutdown(&mut self, slot: Slot) {
        let shutdowns = self.shutdowns.get_mut(&slot).expect("a shutdown that completes was noted");
        shutdowns.count -= 1;
        if shutdowns.count == 0 {
            self.closes.extend(shutdowns.is_to_be_closed.then_some(slot));
            self.shutdowns.remove(&slot);
        }
    }

    /// Whether something waits to be asked for again, in the next turn.
    pub(super) fn has_arrears(&self) -> bool {
        self.accepts.has_order()
            || !self.receive_again.is_empty()
            || !self.closes.is_empty()
            || self.bell_again
    }

    /// Notes a poll; false: the socket has one already.
    pub(super) fn poll(&mut self, socket: SocketKey) -> bool {
        self.polls.insert(socket.slot, socket.generation) != Some(socket.generation)
    }

    /// Forgets a poll; true: the socket had one.
    pub(super) fn unpoll(&mut self, socket: SocketKey) -> bool {
        let had = self.polls.get(&socket.slot) == Some(&socket.generation);
        if had {
            self.polls.remove(&socket.slot);
        }
        had
    }

    fn sort_receive(&mut self, completion: Completion) {
        let Completion { token, result, buffer, more } = completion;
        let socket = token.socket();
        if let (Ok(length @ 1..), Some(buffer)) = (u32::try_from(result), buffer) {
            self.events.push_back(Event::Received { socket, chunk: Chunk { buffer, length } });
            if !more {
                self.receive_again.push(socket);
            }
            return;
        }
        self.buffers.extend(buffer);
        if more {
            return;
        }
        match -result {
            // No buffer was free, or the kernel wants to be asked again; the socket lives.
            libc::ENOBUFS | libc::EAGAIN | libc::EINTR => self.receive_again.push(socket),
            errno => self.events.push_back(Event::HungUp { socket, cause: hang_up(errno) }),
        }
    }

    fn sort_accept(&mut self, completion: Completion) {
        let Completion { token, result, more, .. } = completion;
        let accept = Single { listener: token.slot, place: token.generation };
        if let Ok(slot) = u32::try_from(result) {
            self.accepts.accepted(accept);
            let has_peer = self.accepts.has_peer(accept);
            let peer = if has_peer { self.addresses.peer(accept.place) } else { Peer::Unknown };
            let listener = accept.listener as usize;
            self.events.push_back(Event::Accepted { slot: Slot(slot), listener, peer });
        }
        if more {
            return;
        }
        self.accepts.ended(accept);
        match -result {
            // Cancelled because the listener goes, or slots get scarce.
            libc::ECANCELED => {}
            // Everything else is over with the one connection that failed (ECONNABORTED, EPERM of a firewall, ..).
            errno if errno <= 0 || is_of_one_connection(errno) => {}
            // ENFILE, EMFILE, ENOMEM, ENOBUFS, and what nobody knows: trying at once would be trying all the time.
            _ => self.accepts.pause(token.slot),
        }
    }

    fn sort_send(&mut self, token: Token, result: i32) {
        assert!(token.generation == self.volley, "a send was in flight after its volley");
        let outcome = match u32::try_from(result) {
            Ok(sent) => SendOutcome::Short { sent },
            Err(_) => match -result {
                libc::EAGAIN | libc::ENOBUFS | libc::ENOMEM | libc::EINTR => SendOutcome::Short { sent: 0 },
                errno => SendOutcome::Failed(hang_up(errno)),
            },
        };
        self.unsent.push(Unsent { index: token.slot, outcome });
    }

    fn sort_writable(&mut self, token: Token, result: i32) {
        // Cancelled because the socket was closed.
        if result == -libc::ECANCELED {
            return;
        }
        let socket = token.socket();
        self.unpoll(socket);
        self.events.push_back(Event::Writable { socket });
    }
}

/// How a connection ended, by the errno of a receive or a send; 0 is the peer's FIN.
fn hang_up(errno: i32) -> HangUp {
    match errno {
        0 => HangUp::Closed,
        libc::ECONNRESET | libc::EPIPE => HangUp::Reset,
        // An unreachable host is reported after as many attempts as a silent one.
        libc::ETIMEDOUT | libc::EHOSTUNREACH | libc::ENETUNREACH | libc::EHOSTDOWN => HangUp::TimedOut,
        errno => HangUp::Failed(errno),
    }
}

/// What accept(2) lists as errors of the new connection, already pending when it was taken.
fn is_of_one_connection(errno: i32) -> bool {
    matches!(
        errno,
        libc::ECONNABORTED
            | libc::EPERM
            | libc::EPROTO
            | libc::EINTR
            | libc::EAGAIN
            | libc::ENETDOWN
            | libc::ENOPROTOOPT
            | libc::EHOSTDOWN
            | libc::ENONET
            | libc::EHOSTUNREACH
            | libc::EOPNOTSUPP
            | libc::ENETUNREACH
            | libc::ETIMEDOUT
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOCKET: SocketKey = SocketKey { slot: Slot(70), generation: 3 };

    fn receive(result: i32, buffer: Option<u16>, more: bool) -> Inbox {
        let mut inbox = Inbox::default();
        inbox.sort(Completion { token: Token::of(Kind::Receive, SOCKET), result, buffer, more });
        inbox
    }

    /// Of the second of two listeners.
    fn accept(result: i32, more: bool) -> Inbox {
        let mut inbox = Inbox { accepts: Accepts::new(20_000), ..Inbox::default() };
        inbox.accepts.listen(2);
        inbox.addresses = Addresses::new(inbox.accepts.places());
        while inbox.accepts.next_order().is_some() {}
        inbox.sort(Completion { token: Token::new(Kind::Accept, 1), result, buffer: None, more });
        inbox
    }

    #[test]
    fn a_receive_that_ends_while_its_socket_lives_is_armed_again() {
        for inbox in [receive(5, Some(2), false), receive(-libc::ENOBUFS, None, false)] {
            assert_eq!(inbox.receive_again, [SOCKET]);
            assert!(!inbox.events.iter().any(|event| matches!(event, Event::HungUp { .. })));
        }
        let inbox = receive(5, Some(2), true);
        assert!(inbox.receive_again.is_empty());
        assert!(matches!(
            &inbox.events[0],
            Event::Received { socket: SOCKET, chunk: Chunk { buffer: 2, length: 5 } }
        ));
    }

    #[test]
    fn a_receive_that_ends_for_good_says_why_and_gives_its_buffer_back() {
        for (result, expected) in [
            (0, HangUp::Closed),
            (-libc::ECONNRESET, HangUp::Reset),
            (-libc::ETIMEDOUT, HangUp::TimedOut),
            (-libc::EIO, HangUp::Failed(libc::EIO)),
        ] {
            let inbox = receive(result, Some(9), false);
            assert_eq!(inbox.buffers, [9]);
            assert!(inbox.receive_again.is_empty());
            assert!(
                matches!(inbox.events[0], Event::HungUp { socket: SOCKET, cause } if cause == expected),
                "{result}"
            );
        }
    }

    #[test]
    fn an_accept_that_ran_out_of_room_is_paused_and_one_that_lost_a_connection_is_not() {
        for errno in [libc::ENFILE, libc::EMFILE, libc::ENOMEM, libc::ENOBUFS] {
            let inbox = accept(-errno, false);
            assert!(inbox.accepts.is_paused() && !inbox.has_arrears());
            assert_eq!(inbox.accepts.pauses(), 1);
        }
        let inbox = accept(-libc::ECONNABORTED, false);
        assert!(!inbox.accepts.is_paused() && inbox.has_arrears());
        let inbox = accept(70, true);
        assert!(!inbox.has_arrears(), "it goes on");
        let inbox = accept(70, false);
        assert!(!inbox.accepts.is_paused() && inbox.has_arrears());
        assert!(matches!(inbox.events[0], Event::Accepted { slot: Slot(70), listener: 1, .. }));
        let inbox = accept(-libc::ECANCELED, false);
        assert!(!inbox.accepts.is_paused() && inbox.events.is_empty());
    }

    #[test]
    fn a_send_that_would_wait_is_a_short_one() {
        let mut inbox = Inbox::default();
        for (slot, result) in [(0, 17), (1, -libc::EAGAIN), (2, -libc::EPIPE), (3, -libc::ECONNRESET)] {
            let token = Token::new(Kind::Send, slot);
            inbox.sort(Completion { token, result, buffer: None, more: false });
        }
        let outcomes: Vec<SendOutcome> = inbox.unsent.iter().map(|unsent| unsent.outcome).collect();
        assert_eq!(
            outcomes,
            [
                SendOutcome::Short { sent: 17 },
                SendOutcome::Short { sent: 0 },
                SendOutcome::Failed(HangUp::Reset),
                SendOutcome::Failed(HangUp::Reset)
            ]
        );
    }

    #[test]
    fn a_bell_that_rang_wakes_once_and_its_poll_is_armed_again_only_when_it_has_ended() {
        let mut inbox = Inbox::default();
        for (more, bell_again) in [(true, false), (false, true)] {
            let token = Token::new(Kind::Bell, 0);
            inbox.sort(Completion { token, result: 1, buffer: None, more });
            assert!(std::mem::take(&mut inbox.rang));
            assert_eq!((inbox.bell_again, inbox.has_arrears()), (bell_again, bell_again));
        }
    }

    #[test]
    fn a_stale_poll_leaves_the_mark_of_the_next_one() {
        let mut inbox = Inbox::default();
        assert!(inbox.poll(SOCKET) && !inbox.poll(SOCKET));
        let token = Token::of(Kind::Writable, SOCKET);
        inbox.sort(Completion { token, result: -libc::ECANCELED, buffer: None, more: false });
        assert!(inbox.events.is_empty());
        let next = SocketKey { generation: SOCKET.generation + 1, ..SOCKET };
        assert!(inbox.poll(next));
        inbox.sort(Completion { token, result: 4, buffer: None, more: false });
        assert!(matches!(inbox.events[0], Event::Writable { socket: SOCKET }));
        assert!(inbox.unpoll(next) && !inbox.unpoll(next));
    }
}
