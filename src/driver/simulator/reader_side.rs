//! The reader's thread: its links to Redis, the controls that come to it, and the queues that it fills.

use super::World;
use crate::base::number::index;
use crate::base::queue::{Control, ShardIndex};
use crate::base::socket::{HangUp, Slot, SocketKey};
use crate::reader::input::{Input, Link, Output};
use std::time::Duration;

/// One end of a connection between the reader and Redis.
pub(super) struct ReaderSocket {
    socket: Option<SocketKey>,
    link: Link,
    hung_up: bool,
    told: bool,
    /// The reader waits until it is writable.
    is_awaited: bool,
}

/// How long a full queue is left alone.
const QUEUE_RETRY: Duration = Duration::from_millis(1);

impl World {
    /// Some of what Redis has to say arrives, and what it could not be told before goes out.
    pub(super) fn redis_speaks(&mut self) {
        for (link, slot) in self.links.clone() {
            let spoken = self.redis.speak(link, &mut self.random);
            let entry = self.reader_sockets.get_mut(&slot).expect("a link has a socket");
            let is_writable = std::mem::take(&mut entry.is_awaited);
            if let Some(socket) = entry.socket {
                if is_writable {
                    self.reader_input(Input::Writable { socket });
                }
                if !spoken.bytes.is_empty() {
                    self.reader_input(Input::Received { socket, bytes: &spoken.bytes });
                    self.carry_out_reader();
                }
            }
            if spoken.breaks {
                self.summary.outages += 1;
                self.reader_socket_ends(slot);
                self.tell_reader_hang_ups();
            }
        }
        self.reader_turn();
    }

    /// The thread's next move.
    pub(super) fn reader_turn(&mut self) {
        let due = [self.reader.next_deadline(), self.retry_at].into_iter().flatten().min();
        let is_due = due.is_some_and(|due| due <= self.now);
        let has_control = self.controls.front().is_some_and(|first| self.reader.takes_control(first.shard()));
        if !self.reader_thread.takes_turn(is_due, || has_control) {
            return;
        }
        let mut is_busy = false;
        while let Some(shard) = self.controls.front().map(Control::shard) {
            if !self.reader.takes_control(shard) {
                is_busy |= self.fill_queues();
                if !self.reader.takes_control(shard) {
                    break;
                }
            }
            let control = self.controls.pop_front().expect("the front was looked at");
            is_busy = true;
            self.reader.handle(self.now, Input::Control(control));
        }
        if self.reader.next_deadline().is_some_and(|due| due <= self.now) {
            is_busy = true;
            self.reader.handle(self.now, Input::Tick);
        }
        self.carry_out_reader();
        is_busy |= self.fill_queues();
        self.reader_sends();
        self.carry_out_reader();
        self.check_reader();
        if !is_busy {
            self.reader_thread.park();
        }
    }

    fn reader_sends(&mut self) {
        while let Some(socket) = self.reader.next_to_send() {
            let bytes = self.reader.outgoing(socket).to_vec();
            let is_short = self.troubles.upstream && self.random.below(10) == 0;
            let taken = if is_short { index(self.random.below(bytes.len() as u64 + 1)) } else { bytes.len() };
            let link = self.reader_sockets[&socket.slot].link;
            self.redis.receive(link, &bytes[..taken]);
            self.reader.sent(self.now, socket, taken);
        }
    }

    /// A completion of the reader's own ring: its thread is awake with it.
    fn reader_input(&mut self, input: Input<'_>) {
        self.reader_thread.wake();
        self.reader.handle(self.now, input);
    }

    /// Moves deliveries into the shards' queues while they have room, and rings for those that got any.
    fn fill_queues(&mut self) -> bool {
        let mut is_busy = false;
        self.retry_at = None;
        for index in 0..self.shards.len() {
            let side = &mut self.shards[index];
            let shard = ShardIndex(u16::try_from(index).expect("at most four shards"));
            let mut has_new = false;
            loop {
                if side.queue.len() >= self.queue_room {
                    self.retry_at = Some(self.now.after(QUEUE_RETRY));
                    break;
                }
                let Some(delivery) = self.reader.next_delivery(shard) else { break };
                self.order.note(&delivery);
                // What is meant for a shard that has drained and gone is for nobody.
                if !side.is_gone {
                    side.queue.push_back(delivery);
                    has_new = true;
                }
            }
            if has_new {
                is_busy = true;
                side.thread.notify();
            }
        }
        is_busy
    }

    fn carry_out_reader(&mut self) {
        while let Some(output) = self.reader.next_output() {
            match output {
                Output::Dial { link } => self.dials.push_back(link),
                Output::Receive { socket } => {
                    let entry = self.reader_sockets.get_mut(&socket.slot);
                    entry.expect("the slot was connected").socket = Some(socket);
                }
                Output::Shutdown { socket } => self.reader_socket_ends(socket.slot),
                Output::Close { socket } => {
                    let entry = self.reader_sockets.remove(&socket.slot).expect("the slot was connected");
                    assert!(entry.told, "a socket is closed after its hang-up, seed {}", self.seed);
                    self.past_links.push(socket);
                }
                Output::AwaitWritable { socket } => {
                    if let Some(entry) = self.reader_sockets.get_mut(&socket.slot) {
                        entry.is_awaited = true;
                    }
                }
                Output::Unheard { .. } | Output::Notice(_) => {}
            }
            self.tell_reader_hang_ups();
        }
    }

    /// The connection in this slot ends: Redis forgets it, the reader's receive ends.
    fn reader_socket_ends(&mut self, slot: Slot) {
        let entry = self.reader_sockets.get_mut(&slot).expect("the slot was connected");
        if !entry.hung_up {
            entry.hung_up = true;
            self.causes.outage = true;
            self.redis.disconnect(entry.link);
            self.links.retain(|&(_, linked)| linked != slot);
        }
    }

    fn tell_reader_hang_ups(&mut self) {
        let untold = |(_, entry): &(&Slot, &mut ReaderSocket)| entry.hung_up && !entry.told;
        while let Some((_, entry)) = self.reader_sockets.iter_mut().find(untold) {
            entry.told = true;
            let Some(socket) = entry.socket else { continue };
            self.reader_input(Input::HungUp { socket, cause: HangUp::Reset });
        }
    }

    /// A dial succeeds or fails.
    pub(super) fn dial(&mut self) {
        let Some(link) = self.dials.pop_front() else { return };
        if self.redis.refuses {
            self.causes.outage = true;
            self.reader_input(Input::DialFailed { link, reason: "connection refused" });
        } else {
            let slot = (0..).map(Slot).find(|slot| !self.reader_sockets.contains_key(slot));
            let slot = slot.expect("there are always free slots");
            let entry = ReaderSocket { socket: None, link, hung_up: false, told: false, is_awaited: false };
            self.reader_sockets.insert(slot, entry);
            self.links.push((link, slot));
            self.redis.connect(link);
            self.reader_input(Input::Connected { link, slot });
        }
        self.carry_out_reader();
    }

    pub(super) fn break_links(&mut self, is_broken: impl Fn(Link) -> bool) {
        for (link, slot) in self.links.clone() {
            if is_broken(link) {
                self.summary.outages += 1;
                self.reader_socket_ends(slot);
            }
        }
        self.tell_reader_hang_ups();
        self.carry_out_reader();
    }

    /// Bytes of a connection that is no more: they are for nobody.
    pub(super) fn stale_link_speaks(&mut self) {
        if self.past_links.is_empty() {
            return;
        }
        let socket = self.past_links[index(self.random.below(self.past_links.len() as u64))];
        self.reader_input(Input::Received {
            socket,
            bytes: b">3\r\n$7\r\nmessage\r\n$9\r\nchannel-0\r\n$1\r\n?\r\n",
        });
        self.reader_input(Input::HungUp { socket, cause: HangUp::Closed });
        self.carry_out_reader();
    }
}
