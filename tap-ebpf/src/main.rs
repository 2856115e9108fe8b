//! The kernel programs: copy the TCP payload of tapped sockets into ring buffers.
#![no_std]
#![no_main]
#![expect(unsafe_code, reason = "helpers of the kernel take raw pointers; the verifier checks each access")]

mod maps;

use aya_ebpf::{macros::cgroup_skb, programs::SkBuffContext};

#[cgroup_skb(ingress)]
fn tap_ingress(_: SkBuffContext) -> i32 {
    1
}

#[cgroup_skb(egress)]
fn tap_egress(_: SkBuffContext) -> i32 {
    1
}

#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}
