//! Copying a segment into its ring.

use aya_ebpf::{
    bindings::__sk_buff,
    helpers::{bpf_get_socket_cookie, bpf_ktime_get_boot_ns},
};
use tap_common::{
    KIND_SEGMENT, MAX_RECORD_PAYLOAD, MAX_RECORDS_PER_SEGMENT, RecordHeader, SegmentRecord, VERSION,
};

use crate::{
    Uncopied,
    packet::{Address, Segment},
    ring::RingRef,
    socket::Ends,
    tap::{self, Tap},
};

const FIN: u8 = 0x01;
const SYN: u8 = 0x02;
const RST: u8 = 0x04;

/// Copies a segment but for the last `cut` bytes, in as many records as it takes.
#[inline(always)]
pub(crate) fn copy(
    skb: *mut __sk_buff,
    direction: u8,
    tap: &Tap,
    segment: &Segment,
    ends: &Ends,
    cut: u32,
) -> Result<(), Uncopied> {
    let ring = RingRef::of(ends).ok_or(Uncopied::Lost { copied: 0 })?;
    let len = segment.payload_len - cut;
    let mut record = SegmentRecord {
        header: RecordHeader { kind: KIND_SEGMENT, version: VERSION, len: 0 },
        // SAFETY: takes nothing. 5.8 (`bpf_base_func_proto`, kernel/bpf/helpers.c).
        time: unsafe { bpf_ktime_get_boot_ns() },
        // SAFETY: the packet is the program's context.
        cookie: unsafe { bpf_get_socket_cookie(skb.cast()) },
        tap: tap.id,
        cgroup: tap::cgroup(skb),
        local: bytes(ends.local),
        remote: bytes(ends.remote),
        local_port: ends.local_port,
        remote_port: ends.remote_port,
        sequence: segment.sequence,
        payload_len: 0,
        cut: 0,
        family: segment.family,
        direction,
        flags: segment.flags,
        _pad0: 0,
        _pad1: 0,
    };

    // No branch depends on how many records there have been, so that the verifier sees the same
    // state after each.
    let mut remaining = len;
    let mut offset = segment.payload_offset;
    let mut flags = segment.flags;
    let mut records = 1;
    while remaining > MAX_RECORD_PAYLOAD && records < MAX_RECORDS_PER_SEGMENT {
        // The end of the stream comes after the last byte, its beginning before the first, and takes a
        // sequence number.
        record.flags = flags & !(FIN | RST);
        let beginning = u32::from(flags & SYN) / u32::from(SYN);
        flags &= !SYN;
        set_payload(&mut record, MAX_RECORD_PAYLOAD);
        if !ring.put_full(skb, &record, offset) {
            return Err(Uncopied::Lost { copied: len - remaining });
        }
        record.sequence = record.sequence.wrapping_add(MAX_RECORD_PAYLOAD + beginning);
        remaining -= MAX_RECORD_PAYLOAD;
        offset += MAX_RECORD_PAYLOAD;
        records += 1;
    }
    record.flags = flags;
    record.cut = cut;
    set_payload(&mut record, remaining);
    if !ring.put(skb, &record, offset) {
        return Err(Uncopied::Lost { copied: len - remaining });
    }
    Ok(())
}

#[inline(always)]
fn set_payload(record: &mut SegmentRecord, len: u32) {
    record.payload_len = len;
    record.header.len = SegmentRecord::SIZE as u32 + len;
}

/// An address in the byte order in which it came.
#[inline(always)]
fn bytes(address: Address) -> [u8; 16] {
    // SAFETY: both are 16 bytes without padding, and any are valid.
    unsafe { core::mem::transmute(address) }
}
