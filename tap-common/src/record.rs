//! What the kernel programs put into the rings.
//!
//! A record is a [`RecordHeader`], fields that its kind and version define, and payload. The memory
//! that the ring holds for it may be longer, as it is reserved in size classes: `len` says how much
//! of it is the record.

use core::mem::offset_of;

/// A [`SegmentRecord`] with its payload.
pub const KIND_SEGMENT: u16 = 1;

/// The version of every kind here. A reader skips versions that it doesn't know.
pub const VERSION: u16 = 1;

pub const DIRECTION_INGRESS: u8 = 0;
pub const DIRECTION_EGRESS: u8 = 1;

pub const FAMILY_IPV4: u8 = 4;
pub const FAMILY_IPV6: u8 = 6;

/// How every record starts.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecordHeader {
    pub kind: u16,
    pub version: u16,
    /// Bytes of the record, from the start of this header to the end of the payload.
    pub len: u32,
}

/// A copy of a TCP segment or of a part of one; `payload_len` bytes of payload follow.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SegmentRecord {
    pub header: RecordHeader,
    /// `CLOCK_BOOTTIME` in nanoseconds.
    pub time: u64,
    /// The cookie of the socket that the hook ran with. During a handshake that is the listener's.
    pub cookie: u64,
    /// The id of the tapped cgroup.
    pub tap: u64,
    /// The id of the socket's own cgroup: the tapped one or one below it.
    pub cgroup: u64,
    /// The tapped socket's own address. IPv4 takes the first four bytes, the others are zero.
    pub local: [u8; 16],
    /// The other end's address, likewise.
    pub remote: [u8; 16],
    pub local_port: u16,
    pub remote_port: u16,
    /// The sequence number of the SYN, if there is one, otherwise of the first payload byte.
    pub sequence: u32,
    pub payload_len: u32,
    /// Payload bytes that follow this record's in the segment and were left out by the segment cap.
    pub cut: u32,
    /// [`FAMILY_IPV4`] or [`FAMILY_IPV6`].
    pub family: u8,
    /// [`DIRECTION_INGRESS`] or [`DIRECTION_EGRESS`].
    pub direction: u8,
    /// The TCP header's flags byte. Of a segment in several records, the first carries SYN, the last FIN and RST.
    pub flags: u8,
    // Two integers: for an array of bytes the compiler calls a function, which the kernel program can't afford.
    pub _pad0: u8,
    pub _pad1: u32,
}

impl SegmentRecord {
    pub const SIZE: usize = size_of::<Self>();
}

const _: () = {
    assert!(size_of::<RecordHeader>() == 8);
    assert!(offset_of!(RecordHeader, kind) == 0);
    assert!(offset_of!(RecordHeader, version) == 2);
    assert!(offset_of!(RecordHeader, len) == 4);

    assert!(SegmentRecord::SIZE == 96);
    assert!(align_of::<SegmentRecord>() == 8);
    assert!(offset_of!(SegmentRecord, header) == 0);
    assert!(offset_of!(SegmentRecord, time) == 8);
    assert!(offset_of!(SegmentRecord, cookie) == 16);
    assert!(offset_of!(SegmentRecord, tap) == 24);
    assert!(offset_of!(SegmentRecord, cgroup) == 32);
    assert!(offset_of!(SegmentRecord, local) == 40);
    assert!(offset_of!(SegmentRecord, remote) == 56);
    assert!(offset_of!(SegmentRecord, local_port) == 72);
    assert!(offset_of!(SegmentRecord, remote_port) == 74);
    assert!(offset_of!(SegmentRecord, sequence) == 76);
    assert!(offset_of!(SegmentRecord, payload_len) == 80);
    assert!(offset_of!(SegmentRecord, cut) == 84);
    assert!(offset_of!(SegmentRecord, family) == 88);
    assert!(offset_of!(SegmentRecord, direction) == 89);
    assert!(offset_of!(SegmentRecord, flags) == 90);
    assert!(offset_of!(SegmentRecord, _pad0) == 91);
    assert!(offset_of!(SegmentRecord, _pad1) == 92);
};
