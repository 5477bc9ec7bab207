//! What a stream that opens is given of the past: the replays of its channels, in rising position, and no more of them
//! than the tails hold.
//!
//! A replay goes out through the connection's tail, and all tails have a bound, at which the longest ends. One that is
//! beyond it by itself would be ended each time its client comes back. So the oldest of it is left out, and said so.

use crate::base::position::Position;
use crate::base::queue::Replayed;
use crate::base::socket::Slot;
use crate::hub::SubscriptionIndex;
use crate::protocol::{Event, GapNotice, WireFormat};

use super::Shard;

/// A piece of a channel's past, by its subscription.
pub(super) type Piece = (SubscriptionIndex, Replayed);

/// What was left out of a channel's replay: its pieces after `from` and up to `until`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct LeftOut {
    pub(super) subscription: SubscriptionIndex,
    pub(super) from: Position,
    pub(super) until: Position,
}

impl Shard {
    /// Puts the pieces into rising position and leaves the oldest out if all of them are more than half of what the
    /// tails may hold: nobody takes more of that than all others.
    pub(super) fn fit_replays(&self, format: WireFormat, replays: &mut Vec<Piece>) -> Vec<LeftOut> {
        // Stable: a gap that begins behind the last message stays behind it.
        replays.sort_by_key(|(_, piece)| piece.position());
        let room = self.limits.tail_bytes / 2;
        if replays.iter().map(|(_, piece)| bytes_at_most(piece)).sum::<usize>() <= room {
            return Vec::new();
        }
        let (mut left, mut frame) = (room, Vec::new());
        let fits = |(subscription, piece): &&Piece| {
            frame.clear();
            self.encode_piece(format, *subscription, piece, &mut frame);
            left.checked_sub(frame.len()).map(|rest| left = rest).is_some()
        };
        let kept = replays.iter().rev().take_while(fits).count();
        let mut left_out: Vec<LeftOut> = Vec::new();
        for (subscription, piece) in replays.drain(..replays.len() - kept) {
            let until = piece.position();
            match left_out.iter_mut().find(|left_out| left_out.subscription == subscription) {
                Some(left_out) => left_out.until = until,
                None => left_out.push(LeftOut { subscription, from: piece.begins_behind(), until }),
            }
        }
        left_out
    }

    /// Writes the replays of all channels, and what came live behind them meanwhile, in rising position.
    pub(super) fn write_replays(
        &mut self,
        slot: Slot,
        format: WireFormat,
        replays: &[Piece],
        bytes: &mut Vec<u8>,
    ) {
        let (mut encoded, mut written) = (0, 0);
        for (subscription, piece) in replays {
            // What another channel got live in between goes first.
            while let Some(gathered) = self.gather_first(slot, Some(piece.position()), bytes) {
                written += gathered.messages();
            }
            self.encode_piece(format, *subscription, piece, bytes);
            match piece {
                Replayed::Message { .. } => encoded += 1,
                Replayed::Gap { reason, .. } => self.counters.gap(*reason, 1),
            }
        }
        self.counters.cells.frames_encoded.add(encoded);
        self.counters.cells.messages_delivered.add(encoded + written);
    }

    fn encode_piece(
        &self,
        format: WireFormat,
        subscription: SubscriptionIndex,
        piece: &Replayed,
        bytes: &mut Vec<u8>,
    ) {
        let (epoch, (_, channel, mode)) = (self.epoch, self.hub.channel_of(subscription));
        match *piece {
            Replayed::Message { position, ref payload } => {
                format.encode(&Event { epoch, position, channel, payload, mode }, bytes);
            }
            Replayed::Gap { position, from, reason } => {
                let (from, until) = (Some(from), position);
                let notice = GapNotice { epoch, position: Some(position), channel, from, until, reason };
                format.encode_gap(&notice, bytes);
            }
        }
    }
}

impl Replayed {
    /// Everything of the channel up to here is in front of this piece.
    fn begins_behind(&self) -> Position {
        match *self {
            Self::Message { position, .. } => position.before(),
            Self::Gap { from, .. } => from,
        }
    }
}

/// More than the piece's frame has, whatever it is: a byte of a payload becomes at most a line of its own, or an escape of
/// six; beside it there are an id and a name, which is escaped too.
fn bytes_at_most(piece: &Replayed) -> usize {
    let payload = match piece {
        Replayed::Message { payload, .. } => payload.len(),
        Replayed::Gap { .. } => 0,
    };
    8 * payload + FRAME_BYTES
}

const FRAME_BYTES: usize = 2_048;
