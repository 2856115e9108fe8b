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
mod socket;
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
    socket::{
        ASK_SKIP_EGRESS, ASK_SKIP_INGRESS, ASK_VERDICT, MAX_REQUESTS, Request, SKIPPING_VERDICTS,
        SocketState, VERDICT_GIVEN_UP, VERDICT_HTTP1, VERDICT_HTTP2, VERDICT_OTHER, VERDICT_TLS,
        VERDICT_UNKNOWN, VERDICTS,
    },
    tap::{MAX_LEVELS, MAX_PORTS, MAX_TAPS, TapConfig, TapLevels},
};

/// The most payload bytes that one record carries. A longer segment becomes several records.
///
/// A record is reserved in a size class, a power of two; this is the largest, and holds what an skb
/// holds at most unless BIG TCP is configured.
pub const MAX_RECORD_PAYLOAD: u32 = 64 * 1024;

/// The most records that one segment becomes; bounds the kernel program's loop.
pub const MAX_RECORDS_PER_SEGMENT: u32 = 8;

/// The most payload bytes that are copied of one segment: 512 KiB, which no skb exceeds
/// (`GSO_MAX_SIZE`, include/linux/netdevice.h: 64 KiB, since 5.19 512 KiB).
pub const MAX_SEGMENT_CAP: u32 = MAX_RECORD_PAYLOAD * MAX_RECORDS_PER_SEGMENT;
