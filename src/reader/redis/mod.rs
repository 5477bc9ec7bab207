//! Redis as the upstream: two links, one that is pushed messages and one that is asked for things.
//!
//! Two, because a subscribed client's ordinary replies count against Redis's pub/sub output limit too: a few large
//! replies would cost the subscriptions. `push` says HELLO, SUBSCRIBE, UNSUBSCRIBE and PING, never MULTI; `ask` says
//! everything with a reply. Each is dialed, logged in and lost by itself; channels hang on `push` alone.
//!
//! Losing Redis is a state, never an error of a caller: channels are subscribed again when it is back.

pub(super) mod ask;
mod health;
mod link;
mod login;
mod publishing;

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;

use crate::base::counters::ReaderCounters;
use crate::base::queue::{Publication, PublishOutcome, ShardIndex};
use crate::base::random::Random;
use crate::base::secret::Secret;
use crate::base::socket::{HangUp, SocketKey};
use crate::base::time::Time;
use crate::reader::RedisOptions;
use crate::reader::input::{Link, Output};
use crate::reader::redis::ask::{Answered, Ask, Asker};
use crate::reader::redis::health::{AskFailed, Health};
use crate::reader::redis::link::{Connection, Due};
use crate::reader::redis::login::Failure;
use crate::reader::redis::publishing::{Done, Publishing};
use crate::reader::relay::Relay;
use crate::reader::subscriptions::{Event, Unexpected, Why};
use crate::wire::resp::command::Command;
use crate::wire::resp::reply::{Decoder, Frame, Message, Reply, RespError};

#[derive(Debug)]
pub(super) struct Redis {
    options: RedisOptions,
    push: Connection,
    ask: Connection,
    asked: Ask,
    publishing: Publishing,
    /// Answers to those who publish, for the end of the read at hand.
    done: Vec<Done>,
    health: Health,
    /// Sockets that were given up and whose hang-up is awaited.
    leaving: Vec<SocketKey>,
    /// Logins of the push link.
    logins: u64,
    random: Random,
    outputs: VecDeque<Output>,
    counters: Arc<ReaderCounters>,
}

impl Redis {
    pub(super) fn new(options: RedisOptions, seed: u64, now: Time, counters: Arc<ReaderCounters>) -> Self {
        let dials = [Output::Dial { link: Link::Push }, Output::Dial { link: Link::Ask }];
        Self {
            options,
            push: Connection::new(),
            ask: Connection::new(),
            asked: Ask::default(),
            publishing: Publishing::new(),
            done: Vec::new(),
            health: Health::new(now, Arc::clone(&counters)),
            leaving: Vec::new(),
            logins: 0,
            random: Random::new(seed),
            outputs: VecDeque::from(dials),
            counters,
        }
    }

    pub(super) fn connected(&mut self, now: Time, link: Link, socket: SocketKey) {
        self.outputs.push_back(Output::Receive { socket });
        let options = &self.options;
        match link {
            Link::Push => self.push.connected(now, socket, options),
            Link::Ask => self.ask.connected(now, socket, options),
        }
    }

    pub(super) fn set_password(&mut self, password: Secret) {
        self.options.password = Some(password);
    }

    pub(super) fn dial_failed(&mut self, now: Time, link: Link, reason: &str, relay: &mut Relay) {
        self.lose(now, link, Failure::Down(reason.to_owned()), relay);
    }

    /// Bytes from Redis. Those of a socket that was given up are dropped.
    // Hot: once per read.
    pub(super) fn received(&mut self, now: Time, socket: SocketKey, bytes: &[u8], relay: &mut Relay) {
        let Some(link) = self.link(socket) else { return };
        let connection = self.connection(link);
        connection.heard(now);
        let mut decoder = std::mem::take(&mut connection.decoder);
        let outcome = match link {
            Link::Push => self.read_push(now, &mut decoder, bytes, relay),
            Link::Ask => self.read_ask(now, &mut decoder, bytes, relay),
        };
        relay.finish_read(now);
        // Behind the messages themselves: whoever reads the answer can resume from it.
        self.done.drain(..).for_each(|done| say_done(done, relay));
        match outcome {
            Ok(()) => self.connection(link).decoder = decoder,
            Err(failure) => self.fail(now, link, failure, relay),
        }
    }

    pub(super) fn hung_up(&mut self, now: Time, socket: SocketKey, cause: HangUp, relay: &mut Relay) {
        if let Some(at) = self.leaving.iter().position(|&leaving| leaving == socket) {
            self.leaving.swap_remove(at);
            self.outputs.push_back(Output::Close { socket });
            return;
        }
        let Some(link) = self.link(socket) else { return };
        let reason = match cause {
            HangUp::Closed => "Redis closed the connection".to_owned(),
            HangUp::Reset => "Redis reset the connection".to_owned(),
            HangUp::TimedOut => "Redis acknowledges nothing any more".to_owned(),
            HangUp::Failed(errno) => format!("the connection failed with error {errno}"),
        };
        self.outputs.push_back(Output::Close { socket });
        self.lose(now, link, Failure::Down(reason), relay);
    }

    pub(super) fn writable(&mut self, socket: SocketKey) {
        if let Some(link) = self.link(socket) {
            self.connection(link).outgoing.writable();
        }
    }

    /// Sends a command with a reply; whoever asks is answered exactly once, also if it cannot be sent.
    pub(super) fn ask(&mut self, command: &Command, caller: u64, relay: &mut Relay) {
        let is_ready = self.ask.is_ready();
        let out = &mut self.ask.outgoing.bytes;
        let is_refused = !is_ready || self.asked.write(command, Asker::Caller(caller), out).is_err();
        if is_refused {
            relay.answered(Answered { caller, reply: None });
        }
    }

    /// Sends the messages of a client in their order: all of them, or none if there is no room or nobody to ask.
    pub(super) fn publish(
        &mut self,
        shard: ShardIndex,
        connection: SocketKey,
        messages: &[Publication],
        relay: &mut Relay,
    ) {
        let bytes =
            messages.iter().map(|message| message.name.as_bytes().len() + message.payload.len()).sum();
        if !self.ask.is_ready() || !self.asked.takes(messages.len(), bytes, &self.ask.outgoing.bytes) {
            return relay.published(shard, connection, PublishOutcome::Unavailable { taken: 0 });
        }
        let batch = self.publishing.begin(shard, connection, messages.len());
        for Publication { name, payload } in messages {
            let heard = relay.heard_channel(name).filter(|_| self.push.is_ready());
            self.publishing.add(batch, heard, payload, relay.last_position());
            let channel = Bytes::copy_from_slice(name.as_bytes());
            let command = Command::Publish { channel, payload: payload.clone() };
            self.asked.push(&command, Asker::Publisher { batch }, &mut self.ask.outgoing.bytes);
        }
    }

    pub(super) fn tick(&mut self, now: Time, relay: &mut Relay) {
        while let Some(done) = self.publishing.take_due(now) {
            say_done(done, relay);
        }
        for link in [Link::Push, Link::Ask] {
            let due = match link {
                Link::Push => self.push.due(now, &self.options),
                Link::Ask => self.ask.due(now, &self.options),
            };
            match due {
                Due::Nothing => {}
                Due::Dial => {
                    self.connection(link).dialing();
                    self.outputs.push_back(Output::Dial { link });
                }
                Due::Ping => self.ping(now, link, Why::Silence, relay),
                Due::GiveUp(reason) => self.fail(now, link, Failure::Down(reason.to_owned()), relay),
            }
        }
    }

    /// After every input: whether everything that is wanted is heard.
    pub(super) fn note_health(&mut self, now: Time, relay: &Relay) {
        let is_up = self.push.is_ready() && relay.channels.resubscribing() == 0;
        if is_up && let Some(notice) = self.health.up(now, self.ask.is_ready()) {
            self.outputs.push_back(Output::Notice(notice));
        }
        self.health.count_outage(now);
    }

    pub(super) fn next_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    pub(super) fn next_to_send(&mut self, relay: &mut Relay) -> Option<SocketKey> {
        if self.push.is_ready() {
            relay.subscriptions.write(&mut relay.channels, &mut self.push.outgoing.bytes);
        }
        [&self.push, &self.ask]
            .into_iter()
            .find(|connection| connection.outgoing.is_sendable())
            .and_then(Connection::socket)
    }

    pub(super) fn outgoing(&self, socket: SocketKey) -> &[u8] {
        match self.link(socket) {
            Some(Link::Push) => self.push.outgoing.unsent(),
            Some(Link::Ask) => self.ask.outgoing.unsent(),
            None => &[],
        }
    }

    pub(super) fn sent(&mut self, socket: SocketKey, bytes: usize) {
        let Some(link) = self.link(socket) else { return };
        if self.connection(link).outgoing.sent(bytes) {
            self.outputs.push_back(Output::AwaitWritable { socket });
        }
    }

    pub(super) fn next_deadline(&self) -> Option<Time> {
        let (push, ask) = (self.push.next_deadline(&self.options), self.ask.next_deadline(&self.options));
        [push, ask, self.publishing.next_deadline()].into_iter().flatten().min()
    }

    // Hot: once per read, its loop once per message.
    fn read_push(
        &mut self,
        now: Time,
        decoder: &mut Decoder,
        bytes: &[u8],
        relay: &mut Relay,
    ) -> Result<(), Failure> {
        let mut frames = decoder.decode(bytes);
        while let Some(frame) = frames.next() {
            match frame.map_err(|error| self.undecodable(Link::Push, error))? {
                Frame::Message(Message { channel, payload }) => {
                    if let Some((id, position)) = relay.message(now, channel, payload)
                        && !self.publishing.is_idle()
                        && let Some(done) = self.publishing.heard(id, position, payload)
                    {
                        self.done.push(done);
                    }
                }
                Frame::Reply(reply) if self.push.is_ready() => {
                    let event = answer(reply, relay)?;
                    if event == Event::Alive {
                        self.outputs.extend(self.health.is_alive().map(Output::Notice));
                    }
                    relay.apply(now, event);
                }
                Frame::Reply(reply) => {
                    if self.push.answered_login(now, &reply)? {
                        self.logins += 1;
                        self.counters.cells.redis_reconnects.set(self.logins - 1);
                        relay.reached();
                    }
                }
            }
        }
        Ok(())
    }

    fn read_ask(
        &mut self,
        now: Time,
        decoder: &mut Decoder,
        bytes: &[u8],
        relay: &mut Relay,
    ) -> Result<(), Failure> {
        let mut frames = decoder.decode(bytes);
        while let Some(frame) = frames.next() {
            match frame.map_err(|error| self.undecodable(Link::Ask, error))? {
                // Nothing is subscribed here; what Redis pushes of itself is not for us.
                Frame::Message(_) | Frame::Reply(Reply::Push(_)) => {}
                Frame::Reply(reply) if self.ask.is_ready() => {
                    let asker = self.asked.answered().ok_or_else(unasked)?;
                    self.tell(now, asker, Some(reply), relay);
                }
                Frame::Reply(reply) => {
                    if self.ask.answered_login(now, &reply)? {
                        self.outputs.extend(self.health.ask_ready().map(Output::Notice));
                    }
                }
            }
        }
        Ok(())
    }

    fn tell(&mut self, now: Time, asker: Asker, reply: Option<Reply>, relay: &mut Relay) {
        match asker {
            Asker::Liveness => {}
            Asker::Publisher { batch } => {
                let is_taken = !matches!(reply, None | Some(Reply::Error(_)));
                if let Some(done) = self.publishing.answered(now, batch, is_taken) {
                    say_done(done, relay);
                }
            }
            Asker::Caller(caller) => relay.answered(Answered { caller, reply }),
        }
    }

    /// What is no RESP before the login is over is no Redis; later it is a broken connection.
    fn undecodable(&self, link: Link, error: RespError) -> Failure {
        let is_ready = match link {
            Link::Push => self.push.is_ready(),
            Link::Ask => self.ask.is_ready(),
        };
        match error {
            RespError::NotResp(_) if !is_ready => Failure::Refused(error.to_string()),
            error => Failure::Down(format!("Redis sent what cannot be read: {error}")),
        }
    }

    fn ping(&mut self, now: Time, link: Link, why: Why, relay: &mut Relay) {
        match link {
            Link::Push => {
                relay.subscriptions.write_ping(why, &mut self.push.outgoing.bytes);
                self.push.pinged(now);
            }
            Link::Ask => {
                // With the queue at its bound there are answers enough to wait for.
                let _ = self.asked.write(&Command::Ping, Asker::Liveness, &mut self.ask.outgoing.bytes);
                self.ask.pinged(now);
            }
        }
    }

    /// The link is given up.
    fn fail(&mut self, now: Time, link: Link, failure: Failure, relay: &mut Relay) {
        if let Some(socket) = self.connection(link).socket() {
            self.leaving.push(socket);
            self.outputs.push_back(Output::Shutdown { socket });
        }
        self.lose(now, link, failure, relay);
    }

    /// The link is gone, or could not be made.
    fn lose(&mut self, now: Time, link: Link, failure: Failure, relay: &mut Relay) {
        let was_ready = self.connection(link).is_ready();
        if !was_ready {
            self.counters.cells.redis_failed_attempts.add(1);
        }
        match link {
            Link::Push => self.push.fail(now, &mut self.random),
            Link::Ask => self.ask.fail(now, &mut self.random),
        }
        let notice = match link {
            Link::Push => {
                if was_ready {
                    relay.lost(now);
                }
                self.publishing.unheard().into_iter().for_each(|done| say_done(done, relay));
                self.outputs.push_back(Output::Unheard { reason: failure.reason().to_owned() });
                self.health.failed(now, failure)
            }
            Link::Ask => {
                for asker in self.asked.fail() {
                    self.tell(now, asker, None, relay);
                }
                match self.health.ask_failed(now, failure) {
                    AskFailed::Say(notice) => notice,
                    AskFailed::FindOut => {
                        self.ping(now, Link::Push, Why::Doubt, relay);
                        None
                    }
                }
            }
        };
        self.outputs.extend(notice.map(Output::Notice));
    }

    fn link(&self, socket: SocketKey) -> Option<Link> {
        if self.push.socket() == Some(socket) {
            Some(Link::Push)
        } else if self.ask.socket() == Some(socket) {
            Some(Link::Ask)
        } else {
            None
        }
    }

    fn connection(&mut self, link: Link) -> &mut Connection {
        match link {
            Link::Push => &mut self.push,
            Link::Ask => &mut self.ask,
        }
    }
}

/// What a frame on the push link means that is no message.
fn answer(reply: Reply, relay: &mut Relay) -> Result<Event, Failure> {
    let event = match &reply {
        Reply::Push(elements) => match elements.as_slice() {
            [Reply::Text(kind), Reply::Text(name), Reply::Integer(_)] if kind == "subscribe" => {
                relay.subscriptions.acknowledged(true, name, &relay.channels)
            }
            [Reply::Text(kind), Reply::Text(name), Reply::Integer(_)] if kind == "unsubscribe" => {
                relay.subscriptions.acknowledged(false, name, &relay.channels)
            }
            // Kinds of pushes that were not asked for, today or in a later Redis.
            _ => Ok(Event::Nothing),
        },
        Reply::Error(error) => {
            return relay.subscriptions.refused(error).map_err(|Unexpected| login::unexpected(error));
        }
        Reply::Null
        | Reply::Integer(_)
        | Reply::Boolean(_)
        | Reply::Text(_)
        | Reply::Array(_)
        | Reply::Map(_) => relay.subscriptions.replied(),
    };
    event.map_err(|Unexpected| unasked())
}

fn say_done(done: Done, relay: &mut Relay) {
    relay.published(done.shard, done.connection, done.outcome);
}

fn unasked() -> Failure {
    Failure::Down("Redis sent an answer that nothing had asked for".to_owned())
}
