//! A client's socket as a shard sees it: takes bytes while its buffer has room, and may go away at any moment.

use std::collections::VecDeque;

use crate::base::random::Random;
use crate::base::socket::SocketKey;

#[derive(Debug)]
pub(super) struct Socket {
    /// Whose it is: an index into the clients.
    pub(super) client: usize,
    /// Known from the moment the shard asks to receive.
    pub(super) key: Option<SocketKey>,
    buffer: VecDeque<u8>,
    room: usize,
    /// The shard waits until it is writable.
    pub(super) is_awaited: bool,
    /// The server has sent its FIN or shut the socket down.
    pub(super) server_ended: bool,
    pub(super) shut_down: bool,
    /// The FIN came behind everything that was to be sent.
    pub(super) is_polite: bool,
    /// The client has closed or reset it.
    pub(super) client_ended: bool,
    /// The shard has been told that its receive has ended.
    pub(super) told_hang_up: bool,
}

impl Socket {
    pub(super) fn new(client: usize, random: &mut Random) -> Self {
        Self {
            client,
            key: None,
            buffer: VecDeque::new(),
            room: 1 << (3 + random.below(10)),
            is_awaited: false,
            server_ended: false,
            shut_down: false,
            is_polite: false,
            client_ended: false,
            told_hang_up: false,
        }
    }

    pub(super) fn is_gone(&self) -> bool {
        self.client_ended
    }

    pub(super) fn has_room(&self) -> bool {
        self.buffer.len() < self.room || self.client_ended || self.shut_down
    }

    pub(super) fn is_empty(&self) -> bool {
        self.buffer.is_empty()
    }

    /// Takes as many of the bytes as there is room for; now and then fewer, as a kernel short of memory does.
    pub(super) fn offer(&mut self, bytes: &[u8], random: &mut Random) -> usize {
        let mut taken = bytes.len().min(self.room - self.buffer.len());
        if random.below(10) == 0 {
            taken = usize::try_from(random.below(taken as u64 + 1)).expect("fewer than there is room for");
        }
        self.buffer.extend(&bytes[..taken]);
        taken
    }

    /// Makes room for everything: a client that has stopped being slow.
    pub(super) fn widen(&mut self) {
        self.room = 1 << 20;
    }

    /// The client reads some of what is there.
    pub(super) fn take(&mut self, random: &mut Random) -> Vec<u8> {
        let most = random.below(self.buffer.len() as u64 + 1);
        self.buffer.drain(..usize::try_from(most).expect("at most what is there")).collect()
    }
}
