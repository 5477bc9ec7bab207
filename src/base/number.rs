//! Conversions between number types that cannot lose anything on the machines courier runs on.

/// A `u64` that counts something in memory, as an index.
#[allow(clippy::cast_possible_truncation)] // The assertion below: a usize has 64 bits.
pub const fn index(number: u64) -> usize {
    number as usize
}

/// A length or an index that a bound in `limits` keeps below 2^32.
///
/// # Panics
/// If it is not: the bound was not applied, which is our own mistake.
pub fn small(number: usize) -> u32 {
    u32::try_from(number).expect("a bound in limits keeps this below 2^32")
}

const _: () = assert!(usize::BITS == 64, "courier is built for 64-bit Linux");
