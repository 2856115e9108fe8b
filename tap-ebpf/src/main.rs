//! The kernel programs: copy the TCP payload of tapped sockets into ring buffers.
//!
//! `cgroup_skb` programs run for each IP packet of the sockets below the cgroup to which they are
//! attached. These filter, copy and count. They know no HTTP. They return "allow" on every path and
//! change neither packet nor socket: whatever goes wrong here costs a copy, never a packet.
//!
//! Everything is inlined into the two programs: before 5.15 the verifier tracks every number
//! precisely in a program of several functions and prunes little of its search
//! (`__mark_reg_unknown`, kernel/bpf/verifier.c).
#![no_std]
#![no_main]
#![feature(asm_experimental_arch)]
#![expect(unsafe_code, reason = "helpers of the kernel take raw pointers; the verifier checks each access")]

mod copy;
mod counters;
mod maps;
mod packet;
mod ring;
mod socket;
mod state;
mod tap;
mod verdict;

use aya_ebpf::{
    bindings::__sk_buff, helpers::bpf_get_socket_cookie, macros::cgroup_skb, programs::SkBuffContext,
};
use tap_common::{DIRECTION_EGRESS, DIRECTION_INGRESS, VERDICT_UNKNOWN};

use crate::{counters::Counters, packet::Kind, tap::Tap};

/// What a `cgroup_skb` program returns to let the packet pass.
const ALLOW: i32 = 1;

/// Flags of the TCP header.
const FIN: u8 = 0x01;
const SYN: u8 = 0x02;
const RST: u8 = 0x04;

/// None of the helpers used here is restricted to programs with a GPL-compatible licence.
#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 11] = *b"Apache-2.0\0";

/// What became of a segment.
struct Outcome {
    fate: Fate,
    /// Bytes that are in a ring.
    copied: u32,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Fate {
    Copied,
    /// A ring was full, so that not all was copied.
    Lost,
}

#[cgroup_skb(ingress)]
fn tap_ingress(context: SkBuffContext) -> i32 {
    tap(context.skb.skb, DIRECTION_INGRESS)
}

#[cgroup_skb(egress)]
fn tap_egress(context: SkBuffContext) -> i32 {
    tap(context.skb.skb, DIRECTION_EGRESS)
}

/// Accounts for a packet that isn't nothing to a tap, whatever becomes of it.
#[inline(always)]
fn tap(skb: *mut __sk_buff, direction: u8) -> i32 {
    let Some(mut packet) = packet::parse(skb) else { return ALLOW };
    // Two of three packets of small exchanges: bare acknowledgements cost no more than this.
    if packet.is_bare() {
        return ALLOW;
    }
    let socket = socket::connected(skb);
    let state = state::of(socket, &packet, direction);
    if state::skip_at_once(state, &packet) {
        return ALLOW;
    }
    let Some(tap) = Tap::of(skb) else { return ALLOW };
    let Some(counters) = Counters::of(tap.id) else { return ALLOW };

    let len = packet.payload_len;
    counters.seen(len);
    match packet.kind {
        Kind::Segment => {}
        Kind::Fragment => {
            counters.fragment(len);
            return ALLOW;
        }
        Kind::Malformed => {
            counters.malformed(len);
            return ALLOW;
        }
    }
    let ends = socket::ends(socket, direction, &packet);
    if !tap.wants(&ends) {
        counters.port(len);
        return ALLOW;
    }
    // SAFETY: the packet is the program's context.
    let cookie = unsafe { bpf_get_socket_cookie(skb.cast()) };
    if state.is_null() {
        counters.by_verdict(VERDICT_UNKNOWN, len);
    } else {
        let skip = state::unneeded(skb, socket, state, direction, tap.id, cookie, &packet, &counters);
        if skip > 0 && skip == len && packet.flags & (FIN | RST) == 0 {
            return ALLOW;
        }
        packet.leave_out(skip);
    }

    let len = packet.payload_len;
    let cut = len.saturating_sub(maps::SEGMENT_CAP.load());
    let Outcome { fate, copied } = copy::copy(skb, direction, &tap, cookie, &packet, &ends, cut);
    match fate {
        Fate::Copied => counters.copied(copied, cut),
        Fate::Lost => counters.lost(copied, len - cut - copied, cut),
    }
    ALLOW
}

#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    // Never reached, or the verifier would refuse the program.
    loop {}
}
