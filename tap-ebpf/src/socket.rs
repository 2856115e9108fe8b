//! The socket of a packet, and the two ends of its connection as it knows them.

use core::{mem::offset_of, ptr};

use aya_ebpf::{
    bindings::{__sk_buff, bpf_sock},
    helpers::bpf_sk_fullsock,
};
use tap_common::{DIRECTION_INGRESS, FAMILY_IPV4};

use crate::packet::{Address, Packet};

pub(crate) struct Ends {
    pub(crate) local: Address,
    pub(crate) remote: Address,
    pub(crate) local_port: u16,
    pub(crate) remote_port: u16,
}

const REMOTE_PORT: usize = offset_of!(bpf_sock, dst_port) / 4;

/// The packet's socket if it is connected, otherwise null.
#[inline(always)]
pub(crate) fn connected(skb: *mut __sk_buff) -> *mut bpf_sock {
    // SAFETY: the packet is the program's context; `sk` is readable since 5.1.
    let socket = unsafe { (*skb).__bindgen_anon_2.sk };
    if socket.is_null() {
        return ptr::null_mut();
    }
    // SAFETY: not null, as the verifier demands.
    let socket = unsafe { bpf_sk_fullsock(socket) };
    if socket.is_null() || remote_port(socket) == 0 {
        return ptr::null_mut();
    }
    socket
}

/// The connection's ends: the socket's when it is connected, the packet's otherwise.
///
/// They differ where this machine translates addresses for its own sockets (redirection to a proxy
/// in the pod, services of the host's network): a packet is translated before the hook when it
/// leaves (`ip_finish_output`, net/ipv4/ip_output.c) and translated back before the hook when it
/// arrives, so the packets' own addresses would make two flows of one connection.
///
/// During a handshake the hook runs with the listener, which isn't connected. What arrives then has
/// the addresses that the new socket will have.
#[inline(always)]
pub(crate) fn ends(socket: *const bpf_sock, direction: u8, packet: &Packet) -> Ends {
    let (source, destination) = (packet.source, packet.destination);
    let (source_port, destination_port) = (packet.source_port, packet.destination_port);
    let mut ends = if direction == DIRECTION_INGRESS {
        Ends { local: destination, remote: source, local_port: destination_port, remote_port: source_port }
    } else {
        Ends { local: source, remote: destination, local_port: source_port, remote_port: destination_port }
    };
    if !socket.is_null() {
        take_connected(socket, packet.family, &mut ends);
    }
    ends
}

/// Puts the socket's ends in the place of the packet's.
#[inline(always)]
fn take_connected(socket: *const bpf_sock, family: u8, ends: &mut Ends) {
    const LOCAL_PORT: usize = offset_of!(bpf_sock, src_port) / 4;
    const LOCAL_IPV4: usize = offset_of!(bpf_sock, src_ip4) / 4;
    const REMOTE_IPV4: usize = offset_of!(bpf_sock, dst_ip4) / 4;
    const LOCAL_IPV6: usize = offset_of!(bpf_sock, src_ip6) / 4;
    const REMOTE_IPV6: usize = offset_of!(bpf_sock, dst_ip6) / 4;

    ends.local_port = word(socket, LOCAL_PORT) as u16;
    ends.remote_port = remote_port(socket);
    // By the address family of the packet and not of the socket, as an IPv6 socket may serve IPv4.
    if family == FAMILY_IPV4 {
        ends.local = [word(socket, LOCAL_IPV4), 0, 0, 0];
        ends.remote = [word(socket, REMOTE_IPV4), 0, 0, 0];
    } else {
        ends.local = address(socket, LOCAL_IPV6);
        ends.remote = address(socket, REMOTE_IPV6);
    }
}

/// 0 while the socket isn't connected.
#[inline(always)]
fn remote_port(socket: *const bpf_sock) -> u16 {
    // Before 5.18 it could only be read as a word, of which it is the first half
    // (`bpf_sock_is_valid_access`, net/core/filter.c).
    let [first, second, ..] = word(socket, REMOTE_PORT).to_ne_bytes();
    u16::from_be_bytes([first, second])
}

#[inline(always)]
fn address(socket: *const bpf_sock, first: usize) -> Address {
    [word(socket, first), word(socket, first + 1), word(socket, first + 2), word(socket, first + 3)]
}

/// One word of the socket. The kernel rewrites each such access, so the compiler may not merge or narrow it.
#[inline(always)]
fn word(socket: *const bpf_sock, index: usize) -> u32 {
    // SAFETY: `index` lies within the structure, which consists of words.
    unsafe { ptr::read_volatile(socket.cast::<u32>().add(index)) }
}
