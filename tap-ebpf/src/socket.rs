//! The two ends of a connection, as its socket knows them.

use core::{mem::offset_of, ptr};

use aya_ebpf::{
    bindings::{__sk_buff, bpf_sock},
    helpers::bpf_sk_fullsock,
};
use tap_common::{DIRECTION_INGRESS, FAMILY_IPV4};

use crate::packet::{Address, Segment};

pub(crate) struct Ends {
    pub(crate) local: Address,
    pub(crate) remote: Address,
    pub(crate) local_port: u16,
    pub(crate) remote_port: u16,
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
pub(crate) fn ends(skb: *mut __sk_buff, direction: u8, segment: &Segment) -> Ends {
    connected(skb, segment.family).unwrap_or_else(|| {
        let (source, destination) = (segment.source, segment.destination);
        let (source_port, destination_port) = (segment.source_port, segment.destination_port);
        if direction == DIRECTION_INGRESS {
            Ends {
                local: destination,
                remote: source,
                local_port: destination_port,
                remote_port: source_port,
            }
        } else {
            Ends {
                local: source,
                remote: destination,
                local_port: source_port,
                remote_port: destination_port,
            }
        }
    })
}

#[inline(always)]
fn connected(skb: *mut __sk_buff, family: u8) -> Option<Ends> {
    // SAFETY: the packet is the program's context; `sk` is readable since 5.1.
    let socket = unsafe { (*skb).__bindgen_anon_2.sk };
    if socket.is_null() {
        return None;
    }
    // SAFETY: not null, as the verifier demands.
    let socket = unsafe { bpf_sk_fullsock(socket) };
    if socket.is_null() {
        return None;
    }
    // Before 5.18 the remote port could only be read as a word, of which it is the first half
    // (`bpf_sock_is_valid_access`, net/core/filter.c).
    const PORT: usize = offset_of!(bpf_sock, dst_port) / 4;
    let remote_port = word(socket, PORT).to_ne_bytes();
    let remote_port = u16::from_be_bytes([remote_port[0], remote_port[1]]);
    if remote_port == 0 {
        return None;
    }
    // The address family of the packet and not of the socket, as an IPv6 socket may serve IPv4.
    let (local, remote) = if family == FAMILY_IPV4 {
        const LOCAL: usize = offset_of!(bpf_sock, src_ip4) / 4;
        const REMOTE: usize = offset_of!(bpf_sock, dst_ip4) / 4;
        ([word(socket, LOCAL), 0, 0, 0], [word(socket, REMOTE), 0, 0, 0])
    } else {
        const LOCAL: usize = offset_of!(bpf_sock, src_ip6) / 4;
        const REMOTE: usize = offset_of!(bpf_sock, dst_ip6) / 4;
        (address(socket, LOCAL), address(socket, REMOTE))
    };
    const LOCAL_PORT: usize = offset_of!(bpf_sock, src_port) / 4;
    Some(Ends { local, remote, local_port: word(socket, LOCAL_PORT) as u16, remote_port })
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
