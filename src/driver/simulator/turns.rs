//! The moves of the shards' threads, and of the clients at their sockets.

use super::World;
use crate::base::number::index;
use crate::base::socket::Slot;
use crate::protocol::site::Shedding;
use crate::shard::input::{Input, Output};

impl World {
    /// The thread's next move; true if it did anything.
    pub(super) fn shard_turn(&mut self, index: usize) -> bool {
        let side = &mut self.shards[index];
        let has_delivery = !side.queue.is_empty() && side.shard.takes_delivery();
        let is_due = side.is_due(self.now);
        // What has drained still says that it has left.
        let is_over = side.is_gone && side.shard.controls_waiting() == 0;
        if is_over || !side.thread.takes_turn(is_due, || has_delivery) {
            return false;
        }
        let mut is_busy = is_due;
        if is_due {
            side.controls_blocked = false;
            side.shard.handle(self.now, Input::Tick);
            self.carry_out_shard(index);
        }
        for _ in 0..1 + self.random.below(4) {
            let side = &mut self.shards[index];
            if !side.shard.takes_delivery() {
                break;
            }
            let Some(delivery) = side.queue.pop_front() else { break };
            is_busy = true;
            side.deliver(self.now, delivery);
            self.carry_out_shard(index);
        }
        let side = &mut self.shards[index];
        if side.shard.has_work() {
            is_busy = true;
            side.volley(self.now, &mut self.random, &mut self.summary);
            self.carry_out_shard(index);
        }
        let side = &mut self.shards[index];
        side.check_bounds(&self.plan, self.seed);
        if !is_busy {
            side.thread.park();
        }
        is_busy
    }

    /// Carries out what the shard asks for, and what follows from that.
    pub(super) fn carry_out_shard(&mut self, index: usize) {
        loop {
            self.carry_out_outputs(index);
            let side = &mut self.shards[index];
            if side.is_gone {
                side.queue.clear();
                return side.check_nothing_is_left(self.seed);
            }
            side.check_ends(self.seed);
            if !side.tell_hang_ups(self.now, &mut self.random) {
                return;
            }
        }
    }

    fn carry_out_outputs(&mut self, index: usize) {
        let side = &mut self.shards[index];
        let mut owes_bell = false;
        while let Some(output) = side.shard.next_output() {
            match output {
                Output::Control(control) => {
                    side.controls_blocked |= self.controls.len() >= self.control_room;
                    if side.controls_blocked {
                        self.summary.returned_controls += 1;
                        side.shard.handle(self.now, Input::ControlReturned(control));
                    } else {
                        owes_bell = true;
                        self.controls.push_back(control);
                    }
                }
                Output::Receive { socket } => side.socket(socket.slot).key = Some(socket),
                Output::AwaitWritable { socket } => {
                    // Of a connection that was ended since, the descriptor is there until it is closed.
                    if let Some(entry) = side.sockets.get_mut(&socket.slot) {
                        entry.is_awaited = true;
                    }
                }
                Output::ShutdownWrite { socket } => {
                    let entry = side.socket(socket.slot);
                    entry.server_ended = true;
                    entry.is_polite = true;
                }
                Output::Shutdown { socket } => {
                    if let Some(entry) = side.sockets.get_mut(&socket.slot) {
                        entry.server_ended = true;
                        entry.shut_down = true;
                    }
                }
                Output::Close { socket } => {
                    let entry = side.sockets.remove(&socket.slot).expect("an open socket is closed");
                    assert!(entry.told_hang_up, "a socket is closed after its hang-up, seed {}", self.seed);
                    side.free_slots.push(socket.slot.0);
                    side.past_keys.push(socket);
                    self.clients[entry.client].disconnected((index, socket.slot));
                }
                Output::Ask { question, request, .. } => side.questions.ask(question, request),
                Output::StopAsking { question } => side.questions.stop(question),
                Output::AppUnavailable { .. } | Output::AppBack { .. } => {}
                Output::GiveBackMemory => {}
                Output::StopListening => side.is_listening = false,
                Output::Drained => side.is_gone = true,
                Output::Notice(_) => {}
                Output::AskAdmin { .. } => unreachable!("no client asks for the admin side"),
            }
        }
        if owes_bell {
            self.reader_thread.notify();
        }
    }

    pub(super) fn client_moves(&mut self) {
        let client = index(self.random.below(self.clients.len() as u64));
        self.client_move(client);
    }

    pub(super) fn client_move(&mut self, index: usize) {
        if self.clients[index].retired {
            return;
        }
        match self.clients[index].place {
            None => {
                let shard = self.any_shard();
                if !self.shards[shard].is_listening {
                    return;
                }
                let slot = self.shards[shard].accept(
                    self.now,
                    index,
                    self.clients[index].home.peer(),
                    &mut self.random,
                );
                let client = &mut self.clients[index];
                let is_resume = client.connect(self.now, (shard, slot), &self.order, &mut self.random);
                self.summary.resumes += u64::from(is_resume);
                self.carry_out_shard(shard);
            }
            Some((shard, slot)) => {
                self.client_speaks_or_reads(index, shard, slot);
                self.carry_out_shard(shard);
            }
        }
    }

    /// The client goes away, however far its request or the answer has come.
    pub(super) fn client_hangs_up(&mut self, index: usize) {
        let Some((shard, slot)) = self.clients[index].place else { return };
        let side = &mut self.shards[shard];
        if let Some(socket) = side.sockets.get_mut(&slot) {
            socket.client_ended = true;
        }
        self.carry_out_shard(shard);
        self.clients[index].disconnected((shard, slot));
    }

    fn client_speaks_or_reads(&mut self, index: usize, shard: usize, slot: Slot) {
        let client = &self.clients[index];
        if client.is_tired(&mut self.random) || client.rested && client.witness.is_refused {
            return self.client_hangs_up(index);
        }
        let (client, side) = (&mut self.clients[index], &mut self.shards[shard]);
        let Some(socket) = side.sockets.get_mut(&slot) else { return };
        let Some(key) = socket.key else { return };
        let said = client.speak(&mut self.random);
        let is_heard = !socket.told_hang_up;
        if client.rested {
            socket.widen();
        }
        if !said.is_empty() && is_heard {
            side.input(self.now, Input::Received { socket: key, bytes: &said });
        }
        let bytes = side.socket_take(slot, &mut self.random);
        let may_refuse = self.plan.shedding == Shedding::Unavailable;
        let is_kept_out = client.is_kept_out(&self.plan.asked);
        client.hear(self.now, &bytes, &self.order, &self.causes, may_refuse, is_kept_out);
        side.tell_writable(self.now, slot);
        if side.is_over(slot) {
            if side.sockets.get(&slot).is_some_and(|socket| socket.is_polite) {
                client.check_end();
            }
            client.disconnected((shard, slot));
        }
    }
}
