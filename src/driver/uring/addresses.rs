//! Where the kernel writes the addresses of those it accepts: one place for each accept that may be armed.
//!
//! A place is words that both sides may touch at any time, so that reading one needs no promise about the other; whose it
//! is at a time is kept by [`super::accepts`]. The memory lies still from the first accept until the ring is gone.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::atomic::{AtomicU32, Ordering};

use crate::base::peer::Peer;

#[derive(Debug, Default)]
pub(super) struct Addresses(Box<[Place]>);

/// A `sockaddr_in6`, the longest that is of interest, and its length.
#[derive(Debug, Default)]
#[repr(C)]
struct Place {
    address: [AtomicU32; ADDRESS_WORDS],
    length: AtomicU32,
}

impl Addresses {
    pub(super) fn new(places: u32) -> Self {
        Self((0..places).map(|_| Place::default()).collect())
    }

    /// Makes the place ready for an accept; where its address goes, and the length of that.
    pub(super) fn prepare(&self, place: u32) -> (*mut libc::sockaddr, *mut libc::socklen_t) {
        let place = &self.0[place as usize];
        place.address[0].store(0, Ordering::Relaxed);
        place.length.store(ADDRESS_BYTES, Ordering::Relaxed);
        (place.address.as_ptr().cast_mut().cast(), place.length.as_ptr())
    }

    /// Who came with the accept of this place, which has completed.
    pub(super) fn peer(&self, place: u32) -> Peer {
        let mut bytes = [0; ADDRESS_BYTES as usize];
        for (four, word) in bytes.chunks_exact_mut(4).zip(&self.0[place as usize].address) {
            four.copy_from_slice(&word.load(Ordering::Relaxed).to_ne_bytes());
        }
        // struct sockaddr_in, sockaddr_in6: family, port, [flow,] address; see ip(7) and ipv6(7).
        match i32::from(u16::from_ne_bytes([bytes[0], bytes[1]])) {
            libc::AF_INET => Peer::ip(IpAddr::V4(Ipv4Addr::from(part::<4>(&bytes, 4)))),
            libc::AF_INET6 => Peer::ip(IpAddr::V6(Ipv6Addr::from(part::<16>(&bytes, 8)))),
            libc::AF_UNIX => Peer::Unix,
            _ => Peer::Unknown,
        }
    }
}

fn part<const COUNT: usize>(bytes: &[u8], start: usize) -> [u8; COUNT] {
    bytes[start..start + COUNT].try_into().expect("the range has this length")
}

const ADDRESS_WORDS: usize = 7;
const ADDRESS_BYTES: u32 = 28;

const _: () = assert!(size_of::<libc::sockaddr_in6>() == ADDRESS_BYTES as usize);
const _: () = assert!(ADDRESS_WORDS * 4 == ADDRESS_BYTES as usize);
