//! Why a connection ended: a closed table, the label of `courier_disconnects_total` and a row of the reference page.

use crate::base::socket::HangUp;

macro_rules! disconnects {
    ($($(#[doc = $text:literal])+ $variant:ident = $name:literal,)+) => {
        /// Why a connection ended. Each connection ends exactly once, for exactly one of these reasons.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum Disconnect {
            $($(#[doc = $text])+ $variant,)+
        }

        impl Disconnect {
            pub const ALL: &'static [Self] = &[$(Self::$variant,)+];

            /// The label's value.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)+ }
            }

            /// The sentence of the reference page.
            pub const fn description(self) -> &'static str {
                match self { $(Self::$variant => concat!($($text,)+),)+ }
            }
        }
    };
}

disconnects! {
    /// The client closed its side, or went away in the middle of a request.
    ClientClosed = "client-closed",
    /// The client reset the connection.
    ClientReset = "client-reset",
    /// The client vanished without a word: it acknowledged nothing for 30 seconds.
    ClientVanished = "client-vanished",
    /// A short answer was complete and nothing more was to follow on the connection.
    Finished = "finished",
    /// The request was malformed and the connection cannot be used further.
    BadRequest = "bad-request",
    /// A TLS handshake arrived on a plain port.
    TlsOnPlainPort = "tls-on-plain-port",
    /// The request head was not complete in time.
    HeadTimeout = "head-timeout",
    /// A kept-alive connection was idle for too long.
    IdleTimeout = "idle-timeout",
    /// The client read too slowly and fell out of its channel's log; it resumes by its last id.
    Lagged = "lagged",
    /// The buffers for half-sent frames were at their limit.
    TailLimit = "tail-limit",
    /// The reader, or the shard, had as many channels as it takes; the client was told when to come back.
    ChannelLimit = "channel-limit",
    /// The shard, or the process, had as many connections as it takes; the client was told when to come back, or closed as
    /// it came if there were many more.
    ConnectionLimit = "connection-limit",
    /// The address had as many connections as `limits.connections_per_address` says; the client was told when to come back,
    /// or closed as it came if there were many more.
    AddressLimit = "address-limit",
    /// The user had as many streams as `limits.streams_per_user` says; the client was told when to come back.
    UserLimit = "user-limit",
    /// The stream had lasted as long as streams may (`sse.lifetime`); the client was told when to come back.
    Lifetime = "lifetime",
    /// What the client was let in with holds no longer; it was told so and comes back with something newer.
    Expired = "expired",
    /// The application ordered that the streams of this user end (`courier disconnect --user`); the client was told so.
    UserDismissed = "user-disconnected",
    /// The application ordered that the streams of this channel end (`courier disconnect --channel`); the client was told so.
    ChannelDismissed = "channel-disconnected",
    /// The application that decides who is let in did not say, or has failed so often that it was not asked; the client
    /// was told when to come back.
    ApplicationUnavailable = "application-unavailable",
    /// courier is stopping.
    Drain = "drain",
    /// The kernel reported an error that is not the client's doing.
    SocketError = "socket-error",
}

impl Disconnect {
    /// What a hang-up that nobody asked for means.
    pub const fn of(cause: HangUp) -> Self {
        match cause {
            HangUp::Closed => Self::ClientClosed,
            HangUp::Reset => Self::ClientReset,
            HangUp::TimedOut => Self::ClientVanished,
            HangUp::Failed(_) => Self::SocketError,
        }
    }
}
