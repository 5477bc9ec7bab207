//! Codecs: slices in, values out. Nothing here keeps state across connections, does I/O or knows of channels.

pub mod envelope;
pub mod http;
pub mod resp;
pub mod sse;
pub mod sse_parser;
pub mod url;
