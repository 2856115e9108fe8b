//! From an IP packet to a TCP segment.
//!
//! At the hook a packet starts with its IP header (`__cgroup_bpf_run_filter_skb`,
//! kernel/bpf/cgroup.c), and its length is the skb's: the IP header's length field is 0 in a packet
//! of more than 64 KiB (BIG TCP, 5.19 for IPv6, 6.3 for IPv4).

use core::mem::MaybeUninit;

use aya_ebpf::{bindings::__sk_buff, helpers::bpf_skb_load_bytes};
use tap_common::{FAMILY_IPV4, FAMILY_IPV6};

use crate::{FIN, RST, SYN};

const IPPROTO_TCP: u8 = 6;
const IPPROTO_HOP_BY_HOP: u8 = 0;
const IPPROTO_ROUTING: u8 = 43;
const IPPROTO_FRAGMENT: u8 = 44;
const IPPROTO_AUTHENTICATION: u8 = 51;
const IPPROTO_DESTINATION: u8 = 60;

const IPV4_HEADER: u32 = 20;
const IPV6_HEADER: u32 = 40;
const TCP_HEADER: u32 = 20;

/// The most extension headers that are skipped. RFC 8200 knows seven, each once but one.
const MAX_EXTENSIONS: u32 = 8;

/// An IP address in network order; IPv4 takes the first word, the others are zero.
pub(crate) type Address = [u32; 4];

/// A packet that carries TCP. Every field has a value whatever the kind: before 6.3 the verifier refuses
/// to read a place on the stack that wasn't written, and the compiler may read one that it then ignores.
pub(crate) struct Packet {
    pub(crate) kind: Kind,
    pub(crate) family: u8,
    pub(crate) source: Address,
    pub(crate) destination: Address,
    pub(crate) source_port: u16,
    pub(crate) destination_port: u16,
    pub(crate) sequence: u32,
    pub(crate) flags: u8,
    /// From the start of the packet.
    pub(crate) payload_offset: u32,
    /// Of a segment, the bytes of its payload; otherwise all bytes after the IP headers.
    pub(crate) payload_len: u32,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Segment,
    /// A part of a packet. Sockets receive packets put together and send them whole, so this is out of the ordinary.
    Fragment,
    /// No valid TCP header where it should be.
    Malformed,
}

/// What precedes the TCP header.
struct Network {
    family: u8,
    source: Address,
    destination: Address,
    len: u32,
    is_fragment: bool,
}

impl Packet {
    /// Leaves out the first `skip` bytes of the payload.
    #[inline(always)]
    pub(crate) fn leave_out(&mut self, skip: u32) {
        self.sequence = self.sequence.wrapping_add(skip);
        self.payload_offset += skip;
        self.payload_len -= skip;
    }

    /// Whether the segment neither carries payload nor opens or closes a connection.
    #[inline(always)]
    pub(crate) fn is_bare(&self) -> bool {
        self.kind == Kind::Segment && self.payload_len == 0 && self.flags & (FIN | SYN | RST) == 0
    }
}

/// Reads a packet's headers; `None` if it doesn't carry TCP.
#[inline(always)]
pub(crate) fn parse(skb: *mut __sk_buff) -> Option<Packet> {
    // SAFETY: the packet is the program's context, which the verifier lets read this field.
    let len = unsafe { (*skb).len };
    let header = load::<{ IPV4_HEADER as usize }>(skb, 0)?;
    let network = match header[0] >> 4 {
        4 => ipv4(header)?,
        6 => ipv6(skb, header)?,
        _ => return None,
    };
    let Network { family, source, destination, len: header, is_fragment } = network;
    let mut packet = Packet {
        kind: if is_fragment { Kind::Fragment } else { Kind::Malformed },
        family,
        source,
        destination,
        source_port: 0,
        destination_port: 0,
        sequence: 0,
        flags: 0,
        payload_offset: header,
        payload_len: len.saturating_sub(header),
    };
    if !is_fragment {
        segment(skb, &mut packet);
    }
    Some(packet)
}

/// Reads the TCP header, if there is a valid one.
#[inline(always)]
fn segment(skb: *mut __sk_buff, packet: &mut Packet) {
    let Some(tcp) = load::<{ TCP_HEADER as usize }>(skb, packet.payload_offset) else { return };
    let [s0, s1, d0, d1, n0, n1, n2, n3, _, _, _, _, offset, flags, ..] = tcp;
    let header = u32::from(offset >> 4) * 4;
    if header < TCP_HEADER || header > packet.payload_len {
        return;
    }
    packet.kind = Kind::Segment;
    packet.source_port = u16::from_be_bytes([s0, s1]);
    packet.destination_port = u16::from_be_bytes([d0, d1]);
    packet.sequence = u32::from_be_bytes([n0, n1, n2, n3]);
    packet.flags = flags;
    packet.payload_offset += header;
    packet.payload_len -= header;
}

#[inline(always)]
fn ipv4(header: [u8; IPV4_HEADER as usize]) -> Option<Network> {
    let [first, _, _, _, _, _, f0, f1, _, protocol, _, _, s0, s1, s2, s3, d0, d1, d2, d3] = header;
    let len = u32::from(first & 0x0f) * 4;
    if protocol != IPPROTO_TCP || len < IPV4_HEADER {
        return None;
    }
    Some(Network {
        family: FAMILY_IPV4,
        source: [u32::from_ne_bytes([s0, s1, s2, s3]), 0, 0, 0],
        destination: [u32::from_ne_bytes([d0, d1, d2, d3]), 0, 0, 0],
        len,
        // More fragments, or an offset.
        is_fragment: u16::from_be_bytes([f0, f1]) & 0x3fff != 0,
    })
}

#[inline(always)]
fn ipv6(skb: *mut __sk_buff, begin: [u8; IPV4_HEADER as usize]) -> Option<Network> {
    let mut next = begin[6];
    let mut len = IPV6_HEADER;
    let mut is_fragment = false;
    let mut extensions = 0;
    while next != IPPROTO_TCP {
        if extensions == MAX_EXTENSIONS {
            return None;
        }
        extensions += 1;
        let [following, extent, f0, f1] = load::<4>(skb, len)?;
        match next {
            IPPROTO_HOP_BY_HOP | IPPROTO_ROUTING | IPPROTO_DESTINATION => len += (u32::from(extent) + 1) * 8,
            IPPROTO_AUTHENTICATION => len += (u32::from(extent) + 2) * 4,
            IPPROTO_FRAGMENT => {
                len += 8;
                // An offset, or more fragments. With neither, the packet is whole all the same (RFC 6946).
                is_fragment = u16::from_be_bytes([f0, f1]) & 0xfff9 != 0;
            }
            _ => return None,
        }
        next = following;
        if is_fragment {
            break;
        }
    }
    if next != IPPROTO_TCP {
        return None;
    }
    Some(Network {
        family: FAMILY_IPV6,
        source: address(skb, 8)?,
        destination: address(skb, 24)?,
        len,
        is_fragment,
    })
}

#[inline(always)]
fn address(skb: *mut __sk_buff, offset: u32) -> Option<Address> {
    load::<16>(skb, offset).map(words)
}

/// The bytes of an address as words, in the same order in memory.
#[inline(always)]
fn words(bytes: [u8; 16]) -> Address {
    let [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p] = bytes;
    [
        u32::from_ne_bytes([a, b, c, d]),
        u32::from_ne_bytes([e, f, g, h]),
        u32::from_ne_bytes([i, j, k, l]),
        u32::from_ne_bytes([m, n, o, p]),
    ]
}

/// The `N` bytes at `offset`, wherever the skb holds them; `None` when it ends before.
#[inline(always)]
pub(crate) fn load<const N: usize>(skb: *mut __sk_buff, offset: u32) -> Option<[u8; N]> {
    let mut bytes = MaybeUninit::<[u8; N]>::uninit();
    // SAFETY: the helper writes `N` bytes into `bytes`, also when it fails (with zeros).
    let error = unsafe { bpf_skb_load_bytes(skb.cast(), offset, bytes.as_mut_ptr().cast(), N as u32) };
    if error != 0 {
        return None;
    }
    // SAFETY: written by the helper.
    Some(unsafe { bytes.assume_init() })
}
