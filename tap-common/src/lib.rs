//! Types shared by the kernel programs and the agent: ring records, map values, limits.
//!
//! Everything here crosses the kernel boundary as plain bytes, so it is made of integers and byte
//! arrays with explicit padding, `#[repr(C)]`, with sizes and offsets asserted at compile time.
//! Integers are in the machine's byte order (both sides run on the same machine); addresses are
//! byte arrays in network order.
//!
//! The crate is `no_std`. Feature `user` adds what only user space needs.
#![cfg_attr(not(test), no_std)]

mod counters;
mod record;
mod tap;

#[cfg(feature = "user")]
mod decode;

#[cfg(feature = "user")]
pub use crate::decode::{DecodeError, Decoded, decode};
pub use crate::{
    counters::{Tally, TapCounters},
    record::{
        DIRECTION_EGRESS, DIRECTION_INGRESS, FAMILY_IPV4, FAMILY_IPV6, KIND_SEGMENT, RecordHeader,
        SegmentRecord, VERSION,
    },
    tap::{MAX_LEVELS, MAX_PORTS, MAX_TAPS, TapConfig, TapLevels},
};

/// The most payload bytes that one record carries. A longer segment becomes several records.
///
/// A record is reserved in a size class, a power of two; this is the largest. The ordinary GSO
/// segment of just under 64 KiB takes two records and wastes at most a quarter of their space.
pub const MAX_RECORD_PAYLOAD: u32 = 32 * 1024;

/// The most records that one segment becomes; bounds the kernel program's loop.
pub const MAX_RECORDS_PER_SEGMENT: u32 = 32;

/// The most payload bytes that are copied of one segment: 1 MiB.
///
/// The largest skb is 512 KiB: `GSO_MAX_SIZE` is `8 * GSO_MAX_SEGS` pages' worth since 5.19
/// (BIG TCP; include/linux/netdevice.h), and 64 KiB before.
pub const MAX_SEGMENT_CAP: u32 = MAX_RECORD_PAYLOAD * MAX_RECORDS_PER_SEGMENT;
