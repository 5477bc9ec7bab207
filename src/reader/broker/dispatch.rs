//! From bytes to commands: which client may call what at the moment, and what a client gets that may not.
//!
//! The order of the checks is Redis's (`processCommand`), since it decides which sentence a client gets.

use crate::base::limits;
use crate::base::socket::SocketKey;
use crate::base::time::Time;
use crate::reader::broker::Broker;
use crate::reader::broker::clients::{Client, State};
use crate::reader::broker::command::{self, Call, Flag, NotFound};
use crate::reader::broker::text;
use crate::reader::broker::transaction::Transaction;
use crate::wire::resp::Protocol;
use crate::wire::resp::answer::Answer;
use crate::wire::resp::request::{Arguments, RequestBounds, RequestError, Who};

impl Broker {
    /// Carries out all commands that are complete in `bytes` and in what the client sent before.
    pub(super) fn read_requests(&mut self, now: Time, socket: SocketKey, bytes: &[u8]) {
        let Some(client) = self.clients.open(socket) else { return };
        client.heard_at = now;
        let mut requests = self.clients.take_requests(socket);
        let mut input = bytes;
        // Ends with the input, or with the client: by QUIT, by an error, by what it is owed.
        while let Some(client) = self.clients.open(socket) {
            let bounds = if client.is_logged_in { self.bounds } else { self.bounds_before_login };
            match requests.next(&mut input, &bounds) {
                Ok(Some(arguments)) => self.carry_out(now, socket, arguments),
                Ok(None) => {
                    return self.clients.keep(socket, requests);
                }
                Err(error) => return self.end_for_bad_request(socket, error),
            }
        }
    }

    fn carry_out(&mut self, now: Time, socket: SocketKey, arguments: Arguments<'_>) {
        // Kept between commands so that an answer costs no allocation.
        let mut answer = std::mem::take(&mut self.answer);
        answer.speak(self.client(socket).protocol);
        self.dispatch(now, socket, arguments, &mut answer);
        self.clients.append(socket, answer.bytes());
        answer.clear();
        self.answer = answer;
    }

    fn dispatch(&mut self, now: Time, socket: SocketKey, arguments: Arguments<'_>, answer: &mut Answer) {
        let command = match command::find(&arguments) {
            Ok(command) => command,
            Err(NotFound::Subcommand(command)) => {
                let text = text::unknown_subcommand(command.name, arguments.at(1));
                return self.reject(socket, &text, answer);
            }
            Err(NotFound::Command) if is_http(arguments.at(0)) => {
                self.options.counters.cells.broker_protocol_errors.add(1);
                return self.clients.shut_down(socket);
            }
            Err(NotFound::Command) => {
                let text = text::unknown_command(arguments.at(0), arguments.from(1));
                return self.reject(socket, &text, answer);
            }
        };
        let client = self.client(socket);
        if !command.takes(arguments.count()) {
            return self.reject(socket, &text::wrong_arity(command.name), answer);
        }
        if !client.is_logged_in && !command.has(Flag::NoAuth) {
            return self.reject(socket, text::LOGIN_REQUIRED, answer);
        }
        if is_listening(client) && !command.has(Flag::WhileSubscribed) {
            return self.reject(socket, &text::while_subscribed(command.name), answer);
        }
        let call = Call { now, client: socket, command, arguments };
        if matches!(client.transaction, Transaction::Queuing { .. }) && !command.has(Flag::NotQueued) {
            return self.queue_command(&call, answer);
        }
        self.run(&call, answer);
    }

    /// Carries out a command that may be called.
    pub(super) fn run(&mut self, call: &Call<'_>, answer: &mut Answer) {
        self.options.counters.cells.broker_commands.add(1);
        self.client(call.client).last_command = call.command.name;
        (call.command.handler)(self, call, answer);
    }

    /// The row of a client whose command is being carried out.
    pub(super) fn client(&mut self, socket: SocketKey) -> &mut Client {
        self.clients.find_mut(socket).expect("a row is freed between commands, never within one")
    }

    /// Answers a command that may not be called; a transaction that it was to be part of is broken.
    fn reject(&mut self, socket: SocketKey, text: &[u8], answer: &mut Answer) {
        if let Transaction::Queuing { is_broken, .. } = &mut self.client(socket).transaction {
            *is_broken = true;
        }
        answer.error(text);
    }

    fn end_for_bad_request(&mut self, socket: SocketKey, error: RequestError) {
        self.options.counters.cells.broker_protocol_errors.add(1);
        if let Some(text) = error.text() {
            let mut answer = Answer::new(Protocol::Resp2);
            answer.error(&text);
            self.clients.append(socket, answer.bytes());
        }
        self.clients.end(socket);
    }
}

/// What a client may send in one command, before and after it has logged in.
pub(super) fn request_bounds(who: Who, message_bytes: usize) -> RequestBounds {
    let (elements, bulk_bytes) = match who {
        Who::LoggedIn => (limits::RESP_ELEMENTS, message_bytes),
        Who::NotLoggedIn => (limits::BROKER_ELEMENTS_BEFORE_LOGIN, limits::BROKER_BULK_BYTES_BEFORE_LOGIN),
    };
    RequestBounds {
        elements,
        bulk_bytes,
        request_bytes: message_bytes + limits::BROKER_REQUEST_EXTRA_BYTES,
        who,
    }
}

/// Whether this is a browser's request in which a page has hidden a command; Redis closes these without a word.
fn is_http(name: &[u8]) -> bool {
    name.eq_ignore_ascii_case(b"post") || name.eq_ignore_ascii_case(b"host:")
}

/// A subscribed client of the older protocol cannot tell a reply from a message, so it may not ask for one.
fn is_listening(client: &Client) -> bool {
    debug_assert!(client.state == State::Open, "only an open client's commands are carried out");
    client.protocol == Protocol::Resp2 && client.subscription_count() > 0
}
