//! `MULTI` to `EXEC`: commands that are queued and then carried out one after the other, with nothing in between; and
//! `WATCH`, which makes `EXEC` do nothing if a key has changed.
//!
//! Queued commands and watched keys are charged to the broker's memory. A key that was absent and is absent again
//! counts as unchanged.

use crate::base::socket::SocketKey;
use crate::reader::broker::Broker;
use crate::reader::broker::command::{self, Call};
use crate::reader::broker::memory::ENTRY_BYTES;
use crate::reader::broker::text;
use crate::wire::resp::answer::Answer;
use crate::wire::resp::request::OwnedArguments;

#[derive(Debug, Default)]
pub(super) enum Transaction {
    #[default]
    None,
    /// After `MULTI`.
    Queuing {
        commands: Vec<OwnedArguments>,
        /// One of the commands was refused: `EXEC` will do nothing.
        is_broken: bool,
    },
}

impl Broker {
    pub(super) fn queue_command(&mut self, call: &Call<'_>, answer: &mut Answer) {
        let owned = call.arguments.to_owned();
        let is_charged = self.memory.charge(owned.memory_bytes());
        match &mut self.client(call.client).transaction {
            Transaction::Queuing { commands, .. } if is_charged => {
                commands.push(owned);
                answer.simple("QUEUED");
            }
            Transaction::Queuing { is_broken, .. } => {
                *is_broken = true;
                answer.error(text::OUT_OF_MEMORY);
            }
            Transaction::None => unreachable!("commands are queued after MULTI only"),
        }
    }

    pub(super) fn multi(&mut self, call: &Call<'_>, answer: &mut Answer) {
        let transaction = &mut self.client(call.client).transaction;
        if matches!(transaction, Transaction::Queuing { .. }) {
            return answer.error(text::NESTED_MULTI);
        }
        *transaction = Transaction::Queuing { commands: Vec::new(), is_broken: false };
        answer.ok();
    }

    pub(super) fn exec(&mut self, call: &Call<'_>, answer: &mut Answer) {
        let Transaction::Queuing { commands, is_broken } = self.end_transaction(call.client) else {
            return answer.error(text::EXEC_WITHOUT_MULTI);
        };
        let has_changed = self.has_watched_change(call);
        self.forget_watched(call.client);
        if is_broken {
            return answer.error(text::EXEC_ABORTED);
        }
        if has_changed {
            return answer.null_array();
        }
        answer.array(commands.len());
        for owned in &commands {
            let arguments = owned.borrow();
            let command = command::find(&arguments).expect("a command is found before it is queued");
            self.run(&Call { command, arguments, ..*call }, answer);
            // All is carried out, but not all replies are kept: the client is shut down when it is owed too much.
            if answer.bytes().len() > self.options.output_bytes_max {
                self.clients.append(call.client, answer.bytes());
                answer.clear();
            }
        }
    }

    pub(super) fn discard(&mut self, call: &Call<'_>, answer: &mut Answer) {
        match self.end_transaction(call.client) {
            Transaction::None => answer.error(text::DISCARD_WITHOUT_MULTI),
            Transaction::Queuing { .. } => {
                self.forget_watched(call.client);
                answer.ok();
            }
        }
    }

    pub(super) fn watch(&mut self, call: &Call<'_>, answer: &mut Answer) {
        if matches!(self.client(call.client).transaction, Transaction::Queuing { .. }) {
            return answer.error(text::WATCH_INSIDE_MULTI);
        }
        let now = self.wall_milliseconds(call.now);
        let database = self.client(call.client).database;
        for key in call.arguments.from(1) {
            let watched = (database, Box::from(key));
            if self.client(call.client).watched.contains_key(&watched) {
                continue;
            }
            if !self.memory.charge(key.len() + ENTRY_BYTES) {
                return answer.error(text::OUT_OF_MEMORY);
            }
            let version = self.keyspace.version(&mut self.memory, database, key, now);
            self.client(call.client).watched.insert(watched, version);
        }
        answer.ok();
    }

    pub(super) fn unwatch(&mut self, call: &Call<'_>, answer: &mut Answer) {
        self.forget_watched(call.client);
        answer.ok();
    }

    /// Takes the transaction out of the client's row, which has none from here on.
    pub(super) fn end_transaction(&mut self, socket: SocketKey) -> Transaction {
        let transaction = std::mem::take(&mut self.client(socket).transaction);
        if let Transaction::Queuing { commands, .. } = &transaction {
            self.memory.release(commands.iter().map(OwnedArguments::memory_bytes).sum());
        }
        transaction
    }

    pub(super) fn forget_watched(&mut self, socket: SocketKey) {
        let watched = std::mem::take(&mut self.client(socket).watched);
        self.memory.release(watched.keys().map(|(_, key)| key.len() + ENTRY_BYTES).sum());
    }

    fn has_watched_change(&mut self, call: &Call<'_>) -> bool {
        let now = self.wall_milliseconds(call.now);
        let watched = std::mem::take(&mut self.client(call.client).watched);
        let has_changed = watched.iter().any(|((database, key), &version)| {
            self.keyspace.version(&mut self.memory, *database, key, now) != version
        });
        self.client(call.client).watched = watched;
        has_changed
    }
}
