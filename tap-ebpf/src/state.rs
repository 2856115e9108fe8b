//! What is kept of a socket, and what of its payload nobody needs.

use core::ptr;

use aya_ebpf::{
    bindings::{__sk_buff, BPF_SK_STORAGE_GET_F_CREATE, bpf_sock},
    helpers::generated::bpf_sk_storage_get,
};
use tap_common::{
    ASK_SKIP_EGRESS, ASK_SKIP_INGRESS, ASK_VERDICT, DIRECTION_EGRESS, DIRECTION_INGRESS, Request,
    SocketState, VERDICT_TLS, VERDICT_UNKNOWN,
};

use crate::{
    FIN, RST, SYN,
    counters::Counters,
    maps::{JUDGE, REQUESTS, SOCKETS},
    packet::Packet,
    verdict,
};

/// The state of a connected socket, made where it is missing and there is something to keep; otherwise null.
///
/// Of what is told of a socket nothing changes the socket: the kernel hangs this on it and frees it with it
/// (5.2; `bpf_sk_storage_get`, net/core/bpf_sk_storage.c).
#[inline(always)]
pub(crate) fn of(socket: *mut bpf_sock, packet: &Packet, direction: u8) -> *mut SocketState {
    if socket.is_null() {
        return ptr::null_mut();
    }
    let begins = direction == DIRECTION_EGRESS && packet.flags & SYN != 0;
    let create = if packet.payload_len > 0 || begins { u64::from(BPF_SK_STORAGE_GET_F_CREATE) } else { 0 };
    let map = ptr::from_ref(&SOCKETS).cast_mut().cast();
    // SAFETY: the map is one of sockets' storage, and the socket isn't null. Without a value a new one is zero.
    unsafe { bpf_sk_storage_get(map, socket.cast(), ptr::null_mut(), create) }.cast()
}

/// Counts a segment of a connection whose payload is not copied; false if it has to be looked at.
#[inline(always)]
pub(crate) fn skip_at_once(state: *mut SocketState, packet: &Packet) -> bool {
    if state.is_null() || packet.flags & (FIN | SYN | RST) != 0 {
        return false;
    }
    // SAFETY: the pointer is that of the socket's storage, which lives while the program runs.
    let verdict = unsafe { (*state).verdict };
    if verdict < VERDICT_TLS {
        return false;
    }
    // SAFETY: likewise.
    let Some(counters) = Counters::of(unsafe { (*state).tap }) else { return false };
    counters.seen(packet.payload_len);
    counters.skipped(verdict, 1, packet.payload_len);
    true
}

/// How many of the segment's first payload bytes nobody needs; counts them, and brings the state up to date.
#[inline(always)]
pub(crate) fn unneeded(
    skb: *mut __sk_buff,
    socket: *mut bpf_sock,
    state: *mut SocketState,
    direction: u8,
    tap: u64,
    cookie: u64,
    packet: &Packet,
    counters: &Counters,
) -> u32 {
    let len = packet.payload_len;
    let begins = packet.flags & SYN != 0;
    let sequence = packet.sequence.wrapping_add(u32::from(begins));
    // SAFETY: the pointer is that of the socket's storage, which lives while the program runs. Both
    // directions may write at once: each field stands for itself.
    let known = unsafe { &mut *state };
    known.tap = tap;
    if begins {
        if direction == DIRECTION_EGRESS {
            known.verdict = VERDICT_UNKNOWN;
            known.skips = [0, 0];
            known.egress_start = sequence;
            known.began = 1;
        }
        return 0;
    }
    if len == 0 {
        return 0;
    }
    follow_request(known, cookie);

    if known.verdict >= VERDICT_TLS {
        let segments = u32::from(packet.flags & (FIN | RST) == 0);
        counters.skipped(known.verdict, segments, len);
        return len;
    }
    if known.verdict == VERDICT_UNKNOWN && JUDGE.load() != 0 {
        // The segment that is judged is copied all the same: the agent learns from it what the connection is.
        known.verdict = verdict::judge(skb, socket, known, direction, packet, sequence);
    }
    counters.by_verdict(known.verdict, len);
    let index = usize::from(direction == DIRECTION_EGRESS);
    if known.skips[index] == 0 {
        return 0;
    }
    let distance = known.skip_until[index].wrapping_sub(sequence);
    // Half of the sequence space is behind.
    if distance == 0 || distance > u32::MAX / 2 {
        known.skips[index] = 0;
        return 0;
    }
    let skip = if distance < len { distance } else { len };
    let segments = u32::from(skip == len && packet.flags & (FIN | RST) == 0);
    counters.body(segments, skip);
    skip
}

/// Takes over what the agent asks of this socket, if that is new.
#[inline(always)]
fn follow_request(known: &mut SocketState, cookie: u64) {
    let Some(place) = REQUESTS.get_ptr(Request::place(cookie)) else { return };
    // SAFETY: the pointer is that of a map value. It may be written meanwhile, which `is_for` notices.
    let request = unsafe { ptr::read_volatile(place) };
    if !request.is_for(cookie) || request.word == known.request {
        return;
    }
    known.request = request.word;
    let ask = request.ask();
    if ask == ASK_SKIP_INGRESS {
        known.skip_until[usize::from(DIRECTION_INGRESS)] = request.sequence();
        known.skips[usize::from(DIRECTION_INGRESS)] = 1;
    } else if ask == ASK_SKIP_EGRESS {
        known.skip_until[usize::from(DIRECTION_EGRESS)] = request.sequence();
        known.skips[usize::from(DIRECTION_EGRESS)] = 1;
    } else if ask >= ASK_VERDICT {
        known.verdict = (ask - ASK_VERDICT) as u32;
    }
}
