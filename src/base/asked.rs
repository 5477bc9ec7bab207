//! What became of a question to the application: a closed table, the label of `courier_callback_questions_total`.

macro_rules! outcomes {
    ($($(#[doc = $text:literal])+ $variant:ident = $name:literal $kind:ident,)+) => {
        /// How a question to the application ended. Each ends once, for exactly one of these reasons.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum AskOutcome {
            $($(#[doc = $text])+ $variant,)+
        }

        impl AskOutcome {
            pub const ALL: &'static [Self] = &[$(Self::$variant,)+];

            /// The label's value.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)+ }
            }

            /// The sentence of the documentation.
            pub const fn description(self) -> &'static str {
                match self { $(Self::$variant => concat!($($text,)+),)+ }
            }

            /// Whether the application did not do its part, which opens the breaker when it goes on. What one client can get
            /// it to answer at will is none: it would shut out all others.
            pub const fn is_failure(self) -> bool {
                match self { $(Self::$variant => outcomes!(@$kind),)+ }
            }
        }
    };
    (@Answer) => { false };
    (@Failure) => { true };
}

outcomes! {
    /// It let the client in.
    Granted = "granted" Answer,
    /// It said 401 or 403, or did not name every channel that was asked for.
    Refused = "refused" Answer,
    /// It could not be connected to, or its name could not be looked up.
    Unreachable = "unreachable" Failure,
    /// It closed the connection before its answer was whole.
    Closed = "closed" Failure,
    /// It had not answered within `callback.timeout`.
    Timeout = "timeout" Failure,
    /// What it sent is no answer of HTTP/1.1.
    Malformed = "malformed" Failure,
    /// Its answer was longer than `limits.callback_answer_bytes`.
    TooLarge = "too-large" Failure,
    /// It answered with a redirect, and courier follows none.
    Redirect = "redirect" Failure,
    /// It answered with a status of 500 or above.
    ServerError = "server-error" Failure,
    /// It answered with 408, 429, or a status below 300 that is not 200.
    Status = "status" Failure,
    /// It answered with another status from 400 to 499: it works, and has something against this request.
    ClientError = "client-error" Answer,
    /// It let the client in until a time that is over by courier's clock.
    Expired = "expired" Answer,
    /// It answered 200 with a body that is not the JSON described.
    BadAnswer = "bad-answer" Failure,
}
