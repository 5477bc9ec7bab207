//! HTTP/1.x as a server of short answers and endless streams needs it: request heads in, response heads out.
//!
//! Strict where leniency lets two readers of the same bytes disagree (RFC 9112, section 11): what a proxy in front
//! could understand differently is refused, and the connection is closed. Bodies are not read here; a head says how
//! long its body is.

mod accept;
pub mod forwarded;
mod head;
mod reply;
mod response;

pub use head::{Head, HeadBounds, HeadError, Method, Version, parse, parse_from, values};
pub use reply::{Reply, ReplyError, ReplyReader};
pub use response::{Connection, Response, encode, encode_stream_head, field, reason};
