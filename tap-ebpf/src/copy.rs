//! Copying a segment into its ring.

use aya_ebpf::{bindings::__sk_buff, helpers::bpf_ktime_get_boot_ns};
use tap_common::{
    KIND_SEGMENT, MAX_RECORD_PAYLOAD, MAX_RECORDS_PER_SEGMENT, MAX_SEGMENT_CAP, RecordHeader, SegmentRecord,
    VERSION,
};

use crate::{
    FIN, Fate, Outcome, RST, SYN,
    packet::{Address, Packet},
    ring::RingRef,
    socket::Ends,
    tap::{self, Tap},
};

/// Copies a segment but for the last `cut` bytes, in as many records as it takes.
#[inline(always)]
pub(crate) fn copy(
    skb: *mut __sk_buff,
    direction: u8,
    tap: &Tap,
    cookie: u64,
    segment: &Packet,
    ends: &Ends,
    cut: u32,
) -> Outcome {
    let Some(ring) = RingRef::of(ends) else { return Outcome { fate: Fate::Lost, copied: 0 } };
    let len = segment.payload_len - cut;
    let mut record = SegmentRecord {
        header: RecordHeader { kind: KIND_SEGMENT, version: VERSION, len: 0 },
        // SAFETY: takes nothing. 5.8 (`bpf_base_func_proto`, kernel/bpf/helpers.c).
        time: unsafe { bpf_ktime_get_boot_ns() },
        cookie,
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

    // The odd bytes come first, in a record of their size, and then as many of the largest records as
    // it takes: the other way round the verifier would go through all sizes after each of those.
    let odd = if len == 0 { 0 } else { (len - 1) % MAX_RECORD_PAYLOAD + 1 };
    let mut remaining = len - odd;
    let mut offset = segment.payload_offset + odd;
    set_part(&mut record, segment, odd, remaining, cut);
    if !ring.put(skb, &record, segment.payload_offset) {
        return Outcome { fate: Fate::Lost, copied: 0 };
    }
    record.sequence = segment.sequence.wrapping_add(odd + beginning(segment.flags));
    let mut records = 1;
    while remaining > 0 && records < MAX_RECORDS_PER_SEGMENT {
        remaining -= MAX_RECORD_PAYLOAD;
        set_part(&mut record, segment, MAX_RECORD_PAYLOAD, remaining, cut);
        record.flags &= !SYN;
        if !ring.put_full(skb, &record, offset) {
            return Outcome { fate: Fate::Lost, copied: len - remaining - MAX_RECORD_PAYLOAD };
        }
        record.sequence = record.sequence.wrapping_add(MAX_RECORD_PAYLOAD);
        offset += MAX_RECORD_PAYLOAD;
        records += 1;
    }
    Outcome { fate: Fate::Copied, copied: len }
}

/// Fills in what differs between a segment's records, of which this has `len` bytes and `remaining` come after it.
#[inline(always)]
fn set_part(record: &mut SegmentRecord, segment: &Packet, len: u32, remaining: u32, cut: u32) {
    record.payload_len = len;
    record.header.len = SegmentRecord::SIZE as u32 + len;
    // The end of the stream comes after the last byte, and so does what was cut. 1 if more follows, and 0
    // otherwise, without a branch: the verifier would go through the rest once for each way.
    let more = (remaining + (MAX_SEGMENT_CAP - 1)) / MAX_SEGMENT_CAP;
    record.flags = segment.flags & !((FIN | RST) * more as u8);
    record.cut = cut * (1 - more);
}

/// The sequence numbers that the stream's beginning takes: one, if this is it.
#[inline(always)]
fn beginning(flags: u8) -> u32 {
    u32::from(flags & SYN) / u32::from(SYN)
}

/// An address in the byte order in which it came.
#[inline(always)]
fn bytes(address: Address) -> [u8; 16] {
    // SAFETY: both are 16 bytes without padding, and any are valid.
    unsafe { core::mem::transmute(address) }
}
