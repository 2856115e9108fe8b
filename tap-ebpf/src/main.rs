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
mod tap;

use aya_ebpf::{bindings::__sk_buff, macros::cgroup_skb, programs::SkBuffContext};
use tap_common::{DIRECTION_EGRESS, DIRECTION_INGRESS};

use crate::{
    counters::Counters,
    packet::{Kind, Packet},
    tap::Tap,
};

/// What a `cgroup_skb` program returns to let the packet pass.
const ALLOW: i32 = 1;

/// None of the helpers used here is restricted to programs with a GPL-compatible licence.
#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 11] = *b"Apache-2.0\0";

/// What became of a packet that carries TCP.
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
    Port,
    Fragment,
    Malformed,
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
    let Some(packet) = packet::parse(skb) else { return ALLOW };
    // Two of three packets of small exchanges: bare acknowledgements cost no more than this.
    if packet.is_bare() {
        return ALLOW;
    }
    let Some(tap) = Tap::of(skb) else { return ALLOW };
    let Some(counters) = Counters::of(tap.id) else { return ALLOW };

    let len = packet.payload_len;
    let cut = len.saturating_sub(maps::SEGMENT_CAP.load());
    counters.seen(len);
    let Outcome { fate, copied } = try_tap(skb, direction, &tap, &packet, cut);
    match fate {
        Fate::Copied => counters.copied(copied, cut),
        Fate::Lost => counters.lost(copied, len - cut - copied, cut),
        Fate::Port => counters.port(len),
        Fate::Fragment => counters.fragment(len),
        Fate::Malformed => counters.malformed(len),
    }
    ALLOW
}

/// Copies a packet's payload but for the last `cut` bytes.
#[inline(always)]
fn try_tap(skb: *mut __sk_buff, direction: u8, tap: &Tap, packet: &Packet, cut: u32) -> Outcome {
    match packet.kind {
        Kind::Segment => {}
        Kind::Fragment => return Outcome { fate: Fate::Fragment, copied: 0 },
        Kind::Malformed => return Outcome { fate: Fate::Malformed, copied: 0 },
    }
    let ends = socket::ends(skb, direction, packet);
    if !tap.wants(&ends) {
        return Outcome { fate: Fate::Port, copied: 0 };
    }
    copy::copy(skb, direction, tap, packet, &ends, cut)
}

#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    // Never reached, or the verifier would refuse the program.
    loop {}
}
