//! Who may listen to what, and who may publish: the channel rules, the ways in, and the allowed origins. Question and
//! answer only, no I/O.

mod callback;
pub mod control;
mod credentials;
mod denial;
mod gate;
mod grant;
pub mod jwt;
pub mod keys;
mod origins;
mod proxies;
mod rules;
pub mod signed_url;
mod signing_key;

pub use callback::{Answer, Answered, AppAddress, Endpoint, EndpointIndex, Question};
pub use credentials::Credentials;
pub use denial::Denial;
pub use gate::{Account, Gate, Questions, Verdict};
pub use grant::{Grant, Right};
pub use origins::{AllowedOrigins, BadOrigin, is_same_host};
pub use proxies::{BadRange, ForwardedField, Proxies, TrustedProxies};
pub use rules::{Access, BadPattern, Pattern, Rule, Rules, Way};
pub use signing_key::SigningKey;
