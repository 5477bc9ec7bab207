//! Commands with replies, on a link of their own: matched in order, bounded, failed when the link drops.
//!
//! A command whose link drops may or may not have been carried out; whoever asked is told that it failed.

use std::collections::VecDeque;

use crate::base::limits::{ASK_BYTES, ASK_COMMANDS};
use crate::base::slab::Key;
use crate::wire::resp::command::Command;
use crate::wire::resp::reply::Reply;

/// Who asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::reader) enum Asker {
    /// The link itself, whether it is alive.
    Liveness,
    /// A client that publishes, by what it publishes.
    Publisher { batch: Key },
    /// Whoever drives the reader, who knows it by this number.
    Caller(u64),
}

/// The answer to [`Reader::ask`](crate::reader::Reader::ask).
#[derive(Debug, Clone, PartialEq)]
pub struct Answered {
    pub caller: u64,
    /// What Redis said, be it an error; none if there was no connection, it dropped, or too much was under way.
    pub reply: Option<Reply>,
}

/// Those who wait for a reply, in the order of their commands.
#[derive(Debug, Default)]
pub(super) struct Ask {
    waiting: VecDeque<Asker>,
}

/// The queue is at its bound.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Full;

impl Ask {
    /// Whether so many commands more, with so many bytes, would be taken.
    pub(super) fn takes(&self, commands: usize, bytes: usize, out: &[u8]) -> bool {
        // An empty queue takes a command of any size: payloads have a bound of their own.
        self.waiting.len() + commands <= ASK_COMMANDS && (out.is_empty() || out.len() + bytes <= ASK_BYTES)
    }

    /// Appends the command to what Redis is to be sent.
    pub(super) fn write(&mut self, command: &Command, asker: Asker, out: &mut Vec<u8>) -> Result<(), Full> {
        if !self.takes(1, command.argument_bytes(), out) {
            return Err(Full);
        }
        self.push(command, asker, out);
        Ok(())
    }

    /// Appends a command for which there is room.
    pub(super) fn push(&mut self, command: &Command, asker: Asker, out: &mut Vec<u8>) {
        command.encode(out);
        self.waiting.push_back(asker);
    }

    /// Who waits for the reply that came; none if nobody asked for it.
    pub(super) fn answered(&mut self) -> Option<Asker> {
        self.waiting.pop_front()
    }

    /// The link dropped: those whose commands have failed, in order.
    pub(super) fn fail(&mut self) -> impl Iterator<Item = Asker> + use<> {
        std::mem::take(&mut self.waiting).into_iter()
    }
}
