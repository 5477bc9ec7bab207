//! What all bounds together allow, and what to lower if that is more memory than there is.
//!
//! A bound that the machine cannot keep is none: long before it is reached the kernel kills the process. The sum is what
//! would be taken if everything went wrong at once; courier itself takes some more, whatever the bounds are.

use std::fmt::Write;

use crate::base::limits::{
    ASK_BYTES, BROKER_BUFFER_BYTES, CALLBACK_QUESTION_BYTES, GATHER_BYTES, KIB, Limits, MIB, SCRATCH_BYTES,
};
use crate::config::{Config, Upstream};

/// What one bound allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Share {
    /// The option that sets it; none of what is courier's own choice.
    pub key: Option<&'static str>,
    pub bytes: u64,
}

/// What the process has to do with.
#[derive(Debug, Clone, Copy)]
pub struct Size {
    pub shards: usize,
    /// Of one shard, as many as there can be.
    pub connections: usize,
    /// What the kernel lets all sockets hold together.
    pub socket_bytes: u64,
}

/// What each bound allows, the most first.
pub fn shares(config: &Config, size: Size) -> Vec<Share> {
    let Limits { log_bytes, tail_bytes, queue_bytes, spill_bytes, .. } = config.limits;
    let Size { shards, connections, socket_bytes } = size;
    let sockets = bytes(shards * connections).saturating_mul(socket(config.limits.send_buffer_bytes));
    let of_shards = |of_one: usize| bytes(of_one).saturating_mul(bytes(shards));
    // Nothing of this while no rule asks an application.
    let asks = config.endpoints.len().min(1);
    let Limits { callback_in_flight, callback_answer_bytes, callback_cache_bytes, .. } = config.limits;
    let (broker, own) = match &config.upstream {
        Upstream::Redis(_) => (0, ASK_BYTES),
        Upstream::Broker(_) => (config.limits.broker_memory_bytes, BROKER_BUFFER_BYTES),
    };
    let mut shares: Vec<Share> = [
        ("limits.log_bytes", of_shards(log_bytes)),
        // Once for what is to be sent and once for request bodies.
        ("limits.tail_bytes", of_shards(tail_bytes).saturating_mul(2)),
        ("limits.queue_bytes", of_shards(queue_bytes)),
        ("limits.spill_bytes", of_shards(spill_bytes)),
        ("limits.history_bytes", bytes(config.limits.history_bytes)),
        ("limits.channels", bytes(config.limits.channels * CHANNEL_BYTES)),
        ("limits.connections_per_shard", of_shards(connections * CONNECTION_BYTES)),
        ("limits.send_buffer_bytes", sockets.min(socket_bytes)),
        ("limits.broker_memory_bytes", bytes(broker)),
        ("limits.callback_answer_bytes", of_shards(asks * callback_in_flight * callback_answer_bytes)),
        ("limits.callback_cache_bytes", of_shards(asks * callback_cache_bytes)),
    ]
    .map(|(key, bytes)| Share { key: Some(key), bytes })
    .into();
    let own =
        bytes(own).saturating_add(of_shards(SCRATCH_BYTES + GATHER_BYTES + asks * CALLBACK_QUESTION_BYTES));
    shares.push(Share { key: None, bytes: own });
    shares.sort_by_key(|share| std::cmp::Reverse(share.bytes));
    shares
}

/// What to tell an operator whose bounds allow more than these `available` bytes, which `bound` leaves.
pub fn warning(shares: &[Share], available: u64, bound: &str) -> Option<String> {
    let sum = shares.iter().map(|share| share.bytes).fold(0, u64::saturating_add);
    if sum <= available {
        return None;
    }
    let mut text = format!(
        "the bounds allow {} of memory, and there are {} ({bound}): when many things go wrong at once the kernel may \
         kill courier; lower",
        shown(sum),
        shown(available)
    );
    let (own, named): (Vec<Share>, Vec<Share>) = shares.iter().partition(|share| share.key.is_none());
    let sum_of = |shares: &[Share]| shares.iter().map(|share| share.bytes).fold(0, u64::saturating_add);
    // Enough of the largest that the others fit into half of what there is.
    let (mut others, own) = (sum_of(&named), sum_of(&own));
    let mut comma = "";
    for (key, bytes) in named.iter().filter_map(|share| Some((share.key?, share.bytes))) {
        let _ = write!(text, "{comma} {key} ({})", shown(bytes));
        others -= bytes;
        comma = ",";
        if others <= available / 2 {
            break;
        }
    }
    if own > available / 4 {
        let _ = write!(text, "; other buffers of courier's may take {}", shown(own));
    }
    Some(text)
}

/// What the kernel holds for a connection whose client does not read: it doubles what it is told, and counts its own
/// structures. Measured: 163 KB at 64 KiB.
fn socket(send_buffer_bytes: usize) -> u64 {
    bytes(send_buffer_bytes).saturating_mul(5) / 2
}

fn bytes(count: usize) -> u64 {
    u64::try_from(count).unwrap_or(u64::MAX)
}

/// To about a tenth: `1.3 GiB`, `256 MiB`.
fn shown(bytes: u64) -> String {
    const MIB_BYTES: u64 = MIB as u64;
    let tenths = bytes.saturating_mul(10) / (KIB as u64 * MIB_BYTES);
    if tenths >= 10 {
        return format!("{}.{} GiB", tenths / 10, tenths % 10);
    }
    match bytes / MIB_BYTES {
        0 => format!("{} KiB", bytes / KIB as u64),
        mebibytes => format!("{mebibytes} MiB"),
    }
}

/// An idle connection with one subscription, and a channel with one subscriber on one shard, as measured, rounded up.
const CONNECTION_BYTES: usize = 64;
const CHANNEL_BYTES: usize = 300;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Command, load};

    const SIZE: Size = Size { shards: 2, connections: 20_000, socket_bytes: 1 << 30 };

    fn config(flags: &[&str]) -> Config {
        let words = ["courier"].iter().chain(flags).map(std::ffi::OsString::from);
        match load(words, []) {
            Ok(Command::Serve(config)) => *config,
            other => panic!("{other:?}"),
        }
    }

    fn share(shares: &[Share], key: &str) -> u64 {
        shares.iter().find(|share| share.key == Some(key)).unwrap().bytes
    }

    #[test]
    fn what_belongs_to_a_shard_counts_for_each_and_the_rest_once() {
        let shares = shares(&config(&[]), SIZE);
        let mib = MIB as u64;
        assert_eq!(share(&shares, "limits.log_bytes"), 2 * 256 * mib);
        assert_eq!(share(&shares, "limits.tail_bytes"), 2 * 2 * 64 * mib);
        assert_eq!(share(&shares, "limits.queue_bytes"), 2 * 8 * mib);
        assert_eq!(share(&shares, "limits.spill_bytes"), 2 * 8 * mib);
        assert_eq!(share(&shares, "limits.history_bytes"), 256 * mib);
        assert_eq!(share(&shares, "limits.channels"), 500_000 * 300);
        assert_eq!(share(&shares, "limits.broker_memory_bytes"), 64 * mib);
        let own = shares.iter().find(|share| share.key.is_none()).unwrap().bytes;
        assert_eq!(own, bytes(BROKER_BUFFER_BYTES + 2 * (SCRATCH_BYTES + GATHER_BYTES)));
        assert!(shares.is_sorted_by_key(|share| std::cmp::Reverse(share.bytes)));
    }

    #[test]
    fn sockets_hold_what_their_buffers_do_and_no_more_than_the_kernel_lets_them() {
        let key = "limits.send_buffer_bytes";
        assert_eq!(share(&shares(&config(&[]), SIZE), key), 1 << 30);
        let few = Size { connections: 100, ..SIZE };
        assert_eq!(share(&shares(&config(&[]), few), key), 2 * 100 * 160 * KIB as u64);
    }

    #[test]
    fn bounds_that_fit_are_no_matter() {
        let shares = [Share { key: Some("limits.log_bytes"), bytes: 100 << 20 }];
        assert_eq!(warning(&shares, 100 << 20, "the machine's memory"), None);
    }

    #[test]
    fn bounds_that_do_not_fit_are_named_the_largest_first() {
        let shares = [
            Share { key: Some("limits.log_bytes"), bytes: 1 << 30 },
            Share { key: Some("limits.history_bytes"), bytes: 256 << 20 },
            Share { key: None, bytes: 65 << 20 },
            Share { key: Some("limits.spill_bytes"), bytes: 16 << 20 },
        ];
        let text = warning(&shares, 256 << 20, "/sys/fs/cgroup/memory.max").unwrap();
        assert_eq!(
            text,
            "the bounds allow 1.3 GiB of memory, and there are 256 MiB (/sys/fs/cgroup/memory.max): when many things \
             go wrong at once the kernel may kill courier; lower limits.log_bytes (1.0 GiB), limits.history_bytes (256 MiB); \
             other buffers of courier's may take 65 MiB"
        );
    }

    #[test]
    fn bounds_beyond_all_measure_are_no_riddle() {
        let size = Size { shards: 1_024, connections: 1 << 20, socket_bytes: u64::MAX };
        let shares = shares(&config(&["--limits-log-bytes", "64GiB"]), size);
        assert_eq!(
            shares[0],
            Share { key: Some("limits.send_buffer_bytes"), bytes: (1 << 30) * 160 * KIB as u64 }
        );
        assert!(warning(&shares, u64::MAX, "").is_none());
    }
}
