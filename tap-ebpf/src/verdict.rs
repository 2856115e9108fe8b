//! What a connection speaks, judged by the first bytes that come one way.
//!
//! A verdict that stops copying is only given where no doubt is left: on the very first bytes of a direction, and
//! where they can't begin an HTTP/1 message. A connection that was joined in its middle may be within a body, which can hold
//! anything: it stays unjudged, and the agent decides. That it carries HTTP/1 may be seen anywhere, as that stops nothing.

use core::{mem::offset_of, ptr};

use aya_ebpf::{
    bindings::{__sk_buff, bpf_sock, bpf_tcp_sock},
    helpers::bpf_tcp_sock as tcp_sock_of,
};
use tap_common::{
    DIRECTION_INGRESS, SocketState, VERDICT_HTTP1, VERDICT_HTTP2, VERDICT_OTHER, VERDICT_TLS, VERDICT_UNKNOWN,
};

use crate::packet::{self, Packet};

/// Judges a segment with payload. `sequence` is that of its first payload byte.
#[inline(always)]
pub(crate) fn judge(
    skb: *mut __sk_buff,
    socket: *mut bpf_sock,
    state: *const SocketState,
    direction: u8,
    packet: &Packet,
    sequence: u32,
) -> u32 {
    let Some([b0, b1, b2, b3]) = packet::load::<4>(skb, packet.payload_offset) else {
        return VERDICT_UNKNOWN;
    };
    let first = u32::from_ne_bytes([b0, b1, b2, b3]);
    let more = packet::load::<8>(skb, packet.payload_offset + 4).unwrap_or([0; 8]);
    let [m0, m1, m2, m3, m4, m5, m6, m7] = more;
    let (second, third) = (u32::from_ne_bytes([m0, m1, m2, m3]), u32::from_ne_bytes([m4, m5, m6, m7]));

    if first == word(b"HTTP") && m0 == b'/' && m1 == b'1' && m2 == b'.' || is_method(first) {
        return VERDICT_HTTP1;
    }
    let at_start = if direction == DIRECTION_INGRESS {
        nothing_was_received(socket, sequence)
    } else {
        // SAFETY: the pointer is that of the socket's storage, which lives while the program runs.
        unsafe { (*state).began == 1 && (*state).egress_start == sequence }
    };
    if !at_start {
        return VERDICT_UNKNOWN;
    }
    // A record of SSL 3.0 to TLS 1.3: change cipher spec, alert, handshake or application data.
    if b0 >= 0x14 && b0 <= 0x17 && b1 == 0x03 && b2 <= 0x04 {
        return VERDICT_TLS;
    }
    if first == word(b"PRI ") && second == word(b"* HT") && third == word(b"TP/2") {
        return VERDICT_HTTP2;
    }
    // Line ends may come before a message. Otherwise it begins with a method or a version, and no control character is
    // in either or right after.
    if b0 == b'\r' || b0 == b'\n' {
        return VERDICT_UNKNOWN;
    }
    if b0 <= b' ' || b0 >= 0x7f || b1 < b' ' || b2 < b' ' || b3 < b' ' {
        return VERDICT_OTHER;
    }
    VERDICT_UNKNOWN
}

/// Whether the socket takes `sequence` for the first byte that it receives.
#[inline(always)]
fn nothing_was_received(socket: *mut bpf_sock, sequence: u32) -> bool {
    // SAFETY: not null. 5.1 for `cgroup_skb` (`cg_skb_func_proto`, net/core/filter.c).
    let tcp = unsafe { tcp_sock_of(socket) };
    if tcp.is_null() {
        return false;
    }
    // In this order: another CPU may be taking a segment at this moment, and counts its bytes before it moves on.
    // SAFETY: not null; the kernel rewrites each access, so the compiler may not merge or narrow it.
    let next = unsafe { ptr::read_volatile(tcp.cast::<u32>().add(offset_of!(bpf_tcp_sock, rcv_nxt) / 4)) };
    // SAFETY: likewise.
    let received =
        unsafe { ptr::read_volatile(tcp.cast::<u64>().add(offset_of!(bpf_tcp_sock, bytes_received) / 8)) };
    received == 0 && next == sequence
}

/// Whether these are the first four bytes of one of the common methods.
#[inline(always)]
fn is_method(first: u32) -> bool {
    first == word(b"GET ")
        || first == word(b"POST")
        || first == word(b"PUT ")
        || first == word(b"HEAD")
        || first == word(b"DELE")
        || first == word(b"PATC")
        || first == word(b"OPTI")
        || first == word(b"CONN")
        || first == word(b"TRAC")
}

/// Four bytes in the order in which they lie in memory.
#[inline(always)]
const fn word(bytes: &[u8; 4]) -> u32 {
    u32::from_ne_bytes(*bytes)
}
