//! The rings: which one, and how a record gets into it.

use core::{ffi::c_void, ptr};

use aya_ebpf::{
    bindings::{__sk_buff, BPF_RB_AVAIL_DATA, BPF_RB_FORCE_WAKEUP, BPF_RB_NO_WAKEUP},
    helpers::{
        bpf_ringbuf_discard, bpf_ringbuf_query, bpf_ringbuf_reserve, bpf_ringbuf_submit, bpf_skb_load_bytes,
    },
};
use tap_common::{MAX_RECORD_PAYLOAD, SegmentRecord};

use crate::{
    maps::{RING_MASK, RINGS, WAKE_BYTES},
    packet::Address,
    socket::Ends,
};

/// What the kernel puts before each record (`BPF_RINGBUF_HDR_SZ`, include/uapi/linux/bpf.h).
const RING_HEADER: usize = 8;

/// 2³² divided by the golden ratio: spreads what differs in the low bits over the high ones.
const SPREAD: u32 = 0x9e37_79b9;

/// One of the rings.
pub(crate) struct RingRef(*mut c_void);

impl RingRef {
    /// The ring of a connection: the same for both directions, so that its segments stay in order.
    ///
    /// Chosen by the ends and not by the socket's cookie, as the hook runs with the listener during
    /// a handshake, and the last segment of that may carry payload.
    #[inline(always)]
    pub(crate) fn of(ends: &Ends) -> Option<Self> {
        let ports = u32::from(ends.local_port) << 16 | u32::from(ends.remote_port);
        let mixed = (fold(ends.local) ^ fold(ends.remote).rotate_left(7) ^ ports).wrapping_mul(SPREAD);
        RINGS.get(mixed >> 16 & RING_MASK.load()).map(|ring| Self(ptr::from_ref(ring).cast_mut().cast()))
    }

    /// Puts a record with [`MAX_RECORD_PAYLOAD`] bytes from `offset` of the packet; false if it had no place.
    #[inline(always)]
    pub(crate) fn put_full(&self, skb: *mut __sk_buff, record: &SegmentRecord, offset: u32) -> bool {
        self.put_class::<{ MAX_RECORD_PAYLOAD }>(skb, record, offset)
    }

    /// Puts a record with the payload that it announces, from `offset` of the packet; false if it had no place.
    ///
    /// A reservation's size must be a constant (until 5.19, and then only through a slower
    /// interface), so there is one for each power of two: on average a quarter of the place is left
    /// unused, which costs nothing but place, as nobody touches it.
    #[inline(always)]
    pub(crate) fn put(&self, skb: *mut __sk_buff, record: &SegmentRecord, offset: u32) -> bool {
        match record.payload_len {
            0 => self.put_class::<0>(skb, record, offset),
            1..=256 => self.put_class::<256>(skb, record, offset),
            257..=512 => self.put_class::<512>(skb, record, offset),
            513..=1024 => self.put_class::<1024>(skb, record, offset),
            1025..=2048 => self.put_class::<2048>(skb, record, offset),
            2049..=4096 => self.put_class::<4096>(skb, record, offset),
            4097..=8192 => self.put_class::<8192>(skb, record, offset),
            8193..=16_384 => self.put_class::<16_384>(skb, record, offset),
            16_385..=32_768 => self.put_class::<32_768>(skb, record, offset),
            _ => self.put_class::<{ MAX_RECORD_PAYLOAD }>(skb, record, offset),
        }
    }

    /// `CLASS` is 0 or a power of two.
    #[inline(always)]
    fn put_class<const CLASS: u32>(&self, skb: *mut __sk_buff, record: &SegmentRecord, offset: u32) -> bool {
        let size = SegmentRecord::SIZE + CLASS as usize;
        // SAFETY: a ring from the array of rings.
        let place = unsafe { bpf_ringbuf_reserve(self.0, size as u64, 0) }.cast::<SegmentRecord>();
        if place.is_null() {
            return false;
        }
        // SAFETY: reserved with at least this size, and aligned to 8 bytes.
        unsafe { place.write(*record) };
        if let Some(mask) = CLASS.checked_sub(1) {
            // Read back from the ring, where the verifier knows nothing about it: it then sees the mask as the
            // length's only bound, which holds for every packet. Otherwise it would follow the length back to
            // the packet's headers, and go through what follows once for each way through those.
            // SAFETY: written above.
            let len = (unsafe { ptr::read_volatile(&raw const (*place).payload_len) } - 1 & mask) + 1;
            // SAFETY: after the record there are `CLASS` bytes, and `len` isn't more.
            let error = unsafe { bpf_skb_load_bytes(skb.cast(), offset, place.add(1).cast(), len) };
            if error != 0 {
                // SAFETY: reserved above.
                unsafe { bpf_ringbuf_discard(place.cast(), u64::from(BPF_RB_NO_WAKEUP)) };
                return false;
            }
        }
        let flags = self.wake_flags((size + RING_HEADER) as u64);
        // SAFETY: reserved above.
        unsafe { bpf_ringbuf_submit(place.cast(), flags) };
        true
    }

    /// Wakes the reader when the `added` bytes have made the ring's fill pass a multiple of the threshold.
    ///
    /// A wake-up costs more than a copy, and below the threshold the reader comes by its timer. When
    /// several CPUs add at once, a wake-up may be missed: the next multiple brings another.
    #[inline(always)]
    fn wake_flags(&self, added: u64) -> u64 {
        // SAFETY: a ring from the array of rings.
        let fill = unsafe { bpf_ringbuf_query(self.0, u64::from(BPF_RB_AVAIL_DATA)) };
        let below = u64::from(WAKE_BYTES.load()) - 1;
        if (fill ^ fill.wrapping_sub(added)) & !below == 0 {
            u64::from(BPF_RB_NO_WAKEUP)
        } else {
            u64::from(BPF_RB_FORCE_WAKEUP)
        }
    }
}

#[inline(always)]
fn fold([a, b, c, d]: Address) -> u32 {
    a ^ b ^ c ^ d
}
