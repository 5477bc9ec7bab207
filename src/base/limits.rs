//! Every bound of the process, in one place: what may grow, how far, and what happens then.
//!
//! A constant is a bound that follows from a protocol or a design; a field of [`Limits`] is one that an operator may
//! set, under the key `limits.<field>`. Sizes are bytes, counts are numbers of things.

use std::time::Duration;

/// The bounds that an operator may set. The configuration table carries their ranges and sentences.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Longest request head. Beyond: 431.
    pub head_bytes: usize,
    /// Field lines of one request head. Beyond: 431, as for a head of too many bytes.
    pub head_fields: usize,
    /// How long a head may take from accept, or from the end of the previous answer, to complete. Beyond: 408.
    pub head_timeout: Duration,
    /// How long a kept-alive connection may be silent between two requests. Beyond: closed, after twice as long at most.
    pub idle_timeout: Duration,
    /// Connections of the process; `usize::MAX`: as many as its shards take. Beyond: as for one shard; with many more than
    /// that, closed as they come.
    pub connections: usize,
    /// Connections of one address (of IPv6: of its 64 bits in front); `usize::MAX`: any number. Beyond: as for the process.
    pub connections_per_address: usize,
    /// Streams of one user, over all shards; `usize::MAX`: any number. Beyond: the new one is shed.
    pub streams_per_user: usize,
    /// Connections that one shard accepts in a second; 0: as many as come. Beyond: they wait to be accepted.
    pub accept_rate: usize,
    /// Connections of one shard. Beyond: streams are shed, which are complete and say when to come back.
    pub connections_per_shard: usize,
    /// Encoded bytes that a channel's log keeps for slow readers, per wire format. Beyond: the lapped are closed or passed over, as their rule says.
    pub lag_bytes: usize,
    /// Encoded bytes of all logs of a shard. Beyond: the channel with the oldest frame loses its log.
    pub log_bytes: usize,
    /// Bytes of all half-sent frames, heads and replays of a shard. Beyond: the connection with the most is closed. A replay
    /// takes half of it at most.
    pub tail_bytes: usize,
    /// SO_SNDBUF of every client connection.
    pub send_buffer_bytes: usize,
    /// Bytes of one shard's queue from the reader. Beyond: the spill.
    pub queue_bytes: usize,
    /// Bytes that wait in the reader for a shard whose queue is full. Beyond: the messages are owed as a gap.
    pub spill_bytes: usize,
    /// Payload bytes of all histories together. Beyond: the channel with the oldest message loses its history.
    pub history_bytes: usize,
    /// Channels that the reader is subscribed to or lingers on. Beyond: the longest lingering one ends, else the stream
    /// is shed: it is complete and says when to come back.
    pub channels: usize,
    /// Channels that streams of one shard are subscribed to. Beyond: the new stream is shed.
    pub channels_per_shard: usize,
    /// Channels of one stream. Beyond: 400.
    pub channels_per_connection: usize,
    /// Payload bytes of one published message, over HTTP or in the embedded broker. Beyond: 413, or Redis's error.
    pub message_bytes: usize,
    /// Messages a second that one shard takes over HTTP on the web side. Beyond: 429.
    pub publish_rate: usize,
    /// The same of one user, or of one address (IPv6: /64) of nobody in particular.
    pub publish_rate_per_client: usize,
    /// Keys and values of the embedded broker. Beyond: `-OOM`.
    pub broker_memory_bytes: usize,
    /// Clients of the embedded broker. Beyond: `-ERR max number of clients reached`.
    pub broker_clients: usize,
    /// Questions of one shard that the application is answering. Beyond: they wait.
    pub callback_in_flight: usize,
    /// Questions of one shard that wait to be asked. Beyond: their clients are shed, as are those of whom the question
    /// has waited as long as an answer may take.
    pub callback_waiting: usize,
    /// Body of an answer of the application. Beyond: as if it had not answered.
    pub callback_answer_bytes: usize,
    /// What one shard keeps of answers that may be given again. Beyond: what ends first goes first.
    pub callback_cache_bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            head_bytes: 8 * KIB,
            head_fields: HEAD_FIELDS,
            head_timeout: Duration::from_secs(10),
            idle_timeout: Duration::from_secs(30),
            connections: usize::MAX,
            connections_per_address: usize::MAX,
            streams_per_user: usize::MAX,
            accept_rate: 0,
            connections_per_shard: 1 << 20,
            lag_bytes: MIB,
            log_bytes: 256 * MIB,
            tail_bytes: 64 * MIB,
            send_buffer_bytes: 64 * KIB,
            queue_bytes: 8 * MIB,
            spill_bytes: 8 * MIB,
            history_bytes: 256 * MIB,
            channels: 500_000,
            channels_per_shard: 500_000,
            channels_per_connection: 64,
            message_bytes: 16 * MIB,
            publish_rate: 10_000,
            publish_rate_per_client: 50,
            broker_memory_bytes: 64 * MIB,
            broker_clients: 1_000,
            callback_in_flight: 256,
            callback_waiting: 4_096,
            callback_answer_bytes: 64 * KIB,
            callback_cache_bytes: 8 * MIB,
        }
    }
}

/// Shards of one process. Beyond: `--shards` is refused.
pub const SHARDS: usize = 1_024;
/// Connections beyond a bound of theirs, to be told so, and for the admin side. Beyond: those of a shard are not accepted
/// until one ends, those of the process or of one address are closed as they come.
pub const CONNECTIONS_SPARE: usize = 64;
/// Field lines of one request head that an operator may allow at most; and of one answer of an application.
pub const HEAD_FIELDS_MAX: usize = 256;
pub const HEAD_FIELDS: usize = 100;
/// Channels of one stream that an operator may allow at most: naming n of them takes n^2 / 2 comparisons.
pub const CHANNELS_PER_CONNECTION_MAX: usize = 256;
/// Connections flushed in one turn; the rest wait in a FIFO where newer messages coalesce. 1,024 sends are 5 ms.
pub const FLUSH_CONNECTIONS: usize = 1_024;
/// Bytes gathered for one connection that has several channels, in one send.
pub const GATHER_BYTES: usize = 64 * KIB;
/// Bytes of one log handed over in one send, or one frame if that is longer.
pub const SEND_BYTES: usize = 1_024 * MIB;
/// Bytes gathered for all connections of one flush; a flush ends early at this bound.
pub const SCRATCH_BYTES: usize = MIB;
/// Batches or other items in one shard's queue.
pub const QUEUE_ITEMS: usize = 4_096;
/// Memory of reads that shards still have, or had, and that the reader keeps to fill again. Beyond: it is freed by the
/// last shard.
pub const LENT_BYTES: usize = MIB;
/// Items that a shard takes from its queue in one turn; the rest wait there.
pub const DELIVERIES_PER_TURN: usize = 256;
/// Controls that the reader takes in one turn, as many from each shard.
pub const CONTROLS_PER_TURN: usize = 1_024;
/// Controls of one shard that wait for the reader. Beyond: they wait in the shard.
pub const CONTROL_ITEMS: usize = 4_096;
/// A head goes out at the last `Joined`, or after this at the latest.
pub const JOIN_TIMEOUT: Duration = Duration::from_secs(2);
/// After our FIN, how long and how much a client may still send before the socket is closed.
pub const LINGER_TIMEOUT: Duration = Duration::from_secs(2);
pub const LINGER_BYTES: usize = 64 * KIB;
/// An envelope's `retry` is moved into this span.
pub const ENVELOPE_RETRY_MIN: Duration = Duration::from_millis(500);
pub const ENVELOPE_RETRY_MAX: Duration = Duration::from_secs(3_600);
/// TCP_USER_TIMEOUT of every client connection: unacknowledged for this long, the peer has vanished.
pub const USER_TIMEOUT: Duration = Duration::from_secs(30);
/// The history of a channel whose rule says nothing else: messages, payload bytes, age.
pub const HISTORY_COUNT: usize = 100;
pub const HISTORY_BYTES: usize = 64 * KIB;
pub const HISTORY_AGE: Duration = Duration::from_secs(60);
/// The greatest count that a rule may give a history.
pub const RETENTION_COUNT: usize = 1_000_000;
/// How long the reader stays subscribed to a channel without subscribers, or as long as its history's age if that is
/// longer.
pub const CHANNEL_LINGER: Duration = HISTORY_AGE;
/// Channels beyond `limits.channels` whose UNSUBSCRIBE is awaited, so that others have their place. Beyond: as if none
/// lingered.
pub const CHANNELS_ENDING: usize = 16 * KIB;
/// Gaps of full queues with several notices that the reader remembers. Beyond: the two oldest count as one.
pub const SPLIT_GAPS: usize = 64;
/// How often a channel that Redis forbade while it had subscribers is asked for again, joins apart.
pub const FORBIDDEN_RETRY: Duration = Duration::from_secs(30);
/// Channels in one SUBSCRIBE command.
pub const SUBSCRIBE_BATCH: usize = 512;
/// SUBSCRIBE and UNSUBSCRIBE commands that Redis has not answered yet; more channels wait for an answer.
pub const SUBSCRIBES_IN_FLIGHT: usize = 4;
/// Commands with replies that Redis has not answered yet, and bytes of those it has not taken. Beyond: refused.
pub const ASK_COMMANDS: usize = 4_096;
pub const ASK_BYTES: usize = 32 * MIB;
/// Clients of a shard whose rate of publishing is remembered, those that were quiet for a second aside. Beyond: others wait.
pub const PUBLISHERS: usize = 65_536;
/// Messages that clients publish with one request, as a batch. Beyond: refused.
pub const PUBLISH_BATCH: usize = 256;
/// Messages that clients publish and that are looked for among those that Redis hands out. Beyond: their clients are not
/// told which ids they have.
pub const PUBLISHES_WATCHED: usize = 1_024;
/// How long after Redis has taken a message it may take to come back. Beyond: its client is not told which id it has.
pub const PUBLISH_HEARD_TIMEOUT: Duration = Duration::from_secs(1);
/// How long a client whose message could not be handed on is told to wait.
pub const PUBLISH_RETRY: Duration = Duration::from_secs(1);
/// How far the time of an order to all couriers may be from ours. Beyond: refused.
pub const CONTROL_WINDOW: Duration = Duration::from_secs(60);
/// Orders of that time that were obeyed, which are remembered so that none is obeyed twice. Beyond: refused.
pub const CONTROL_ORDERS: usize = 10_000;
/// How often the log says that an order was refused.
pub const CONTROL_NOTICE_INTERVAL: Duration = Duration::from_secs(60);
/// The nonce of an order.
pub const CONTROL_NONCE_BYTES: usize = 64;
/// The longest time that an order keeps somebody away.
pub const DISMISSAL_TIME: Duration = Duration::from_secs(31 * 24 * 3_600);
/// Users and channels that a shard keeps away. Beyond: those who may come back soonest are let in again, with a line in the log.
pub const DISMISSALS: usize = 10_000;
/// RESP: nesting, elements of one aggregate and bytes of one bulk from an upstream Redis.
pub const RESP_DEPTH: usize = 8;
pub const RESP_ELEMENTS: usize = 1_048_576;
pub const RESP_BULK_BYTES: usize = 512 * MIB;
/// RESP: bytes of one line (a number, a length, a simple string or error), and of one whole frame. Beyond: the
/// connection is dropped.
pub const RESP_LINE_BYTES: usize = 64 * KIB;
pub const RESP_FRAME_BYTES: usize = RESP_BULK_BYTES + MIB;
/// Subscriptions of one client of the embedded broker. Beyond: `-OOM`.
pub const BROKER_SUBSCRIPTIONS: usize = 100_000;
/// What a client of the embedded broker may be owed when a reply or a message is added. Beyond: closed, as in Redis.
pub const BROKER_OUTPUT_BYTES: usize = 8 * MIB;
/// Buffers of all clients of the embedded broker together. Beyond: those with the largest are closed.
pub const BROKER_BUFFER_BYTES: usize = 256 * MIB;
/// What a client of the embedded broker may say before it has logged in, as in Redis.
pub const BROKER_ELEMENTS_BEFORE_LOGIN: usize = 10;
pub const BROKER_BULK_BYTES_BEFORE_LOGIN: usize = 16 * KIB;
/// Keys and lines of one command to the embedded broker beside its largest argument. Beyond: closed.
pub const BROKER_REQUEST_EXTRA_BYTES: usize = 64 * KIB;
/// Bytes of one event that `courier subscribe` takes: the longest message, each of its bytes a line of its own.
pub const EVENT_BYTES: usize = 128 * MIB;
/// Endpoints of applications over all rules. Beyond: courier does not start.
pub const CALLBACK_ENDPOINTS: usize = 64;
/// Bytes of all questions of a shard that have no answer yet. Beyond: their clients are shed.
pub const CALLBACK_QUESTION_BYTES: usize = 64 * MIB;
/// After so many failures in a row an application is not asked for a while.
pub const CALLBACK_BREAKER_FAILURES: u32 = 5;
pub const CALLBACK_BREAKER_PAUSE: Duration = Duration::from_secs(5);
/// The longest that an answer is given again, whatever the application says.
pub const CALLBACK_CACHE_AGE: Duration = Duration::from_secs(3_600);
/// Bytes of a user's name in an answer. Beyond: as if the application had not answered.
pub const CALLBACK_USER_BYTES: usize = 255;
/// How long a connection to the application is kept without a question.
pub const CALLBACK_IDLE_TIMEOUT: Duration = Duration::from_secs(15);
/// Lines of the log that wait for stderr. Beyond: dropped and counted.
pub const LOG_LINES: usize = 4_096;
/// Bytes of a user's name, as a token or a URL has it. Beyond: the token or the URL does not hold.
pub const USER_BYTES: usize = 255;
/// Channel patterns of one right in a token. Beyond: the token does not hold.
pub const CLAIM_PATTERNS: usize = 256;
/// How far behind the application's clock ours may be, for tokens that hold from now on (`nbf`). Their end is exact.
pub const NOT_BEFORE_LEEWAY: Duration = Duration::from_secs(5);
/// Keys of one JSON Web Key Set. Beyond: the set is refused.
pub const KEYS_PER_SET: usize = 256;
/// Bytes of a file with keys. Beyond: refused.
pub const KEY_FILE_BYTES: usize = 256 * KIB;
/// Bytes of the configuration file, and of the file with the Redis password.
pub const CONFIG_FILE_BYTES: usize = MIB;
pub const PASSWORD_FILE_BYTES: usize = 4 * KIB;
/// The shortest secret that an operator may choose for courier, where nothing slows down who guesses.
pub const SECRET_BYTES_LEAST: usize = 16;

pub const KIB: usize = 1_024;
pub const MIB: usize = 1_024 * KIB;

const _: () = assert!(GATHER_BYTES <= SCRATCH_BYTES);
const _: () = assert!(CHANNEL_LINGER.as_nanos() >= HISTORY_AGE.as_nanos());
