//! What a ring is made with, and which step of making one failed.

use std::fmt;
use std::io;

use crate::driver::sys::bell::Bell;

/// The bells of the thread that owns a ring.
#[derive(Debug, Clone, Copy)]
pub struct Bells<'a> {
    /// Ends a brief rest.
    pub near: &'a Bell,
    /// Rung by the ring when something completes during a long rest.
    pub far: &'a Bell,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RingOptions {
    /// Size of the file table; the kernel refuses more than RLIMIT_NOFILE or 2^20.
    pub slots: u32,
    /// How many receive buffers: a power of two.
    pub buffers: u16,
    /// Size of each.
    pub buffer_bytes: u32,
}

/// Which step of making a ring failed.
#[derive(Debug)]
pub enum RingError {
    /// io_uring_setup.
    Setup(io::Error),
    /// The kernel lacks something that is older than every flag that setup took; named.
    Missing(&'static str),
    /// The file table.
    Files(io::Error),
    /// The ring of provided buffers.
    Buffers(io::Error),
    /// The eventfd.
    Bell(io::Error),
}

impl fmt::Display for RingError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Setup(error) => write!(formatter, "io_uring_setup: {error}"),
            Self::Missing(what) => write!(formatter, "the kernel lacks {what}"),
            Self::Files(error) => write!(formatter, "io_uring's file table: {error}"),
            Self::Buffers(error) => write!(formatter, "io_uring's buffer ring: {error}"),
            Self::Bell(error) => write!(formatter, "io_uring's eventfd: {error}"),
        }
    }
}

impl std::error::Error for RingError {}
