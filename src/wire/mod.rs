//! Codecs: slices in, values out. Nothing here keeps state across connections, does I/O or knows of channels.

pub mod resp;
