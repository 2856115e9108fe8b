//! From a packet to the TCP segment in it, whatever link it was captured on.

use std::net::SocketAddr;

use etherparse::{EtherType, IpNumber, LaxNetSlice, LaxSlicedPacket, TransportSlice};
use pcap_parser::Linktype;
use tap_flow::TcpFlags;

/// A segment with its ends.
#[derive(Clone, Copy)]
pub(super) struct Tcp<'a> {
    pub(super) source: SocketAddr,
    pub(super) destination: SocketAddr,
    pub(super) sequence: u32,
    pub(super) flags: TcpFlags,
    pub(super) payload: &'a [u8],
    /// Payload that followed and was not captured.
    pub(super) cut: u32,
}

/// Why there is no segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Other {
    NotIp,
    NotTcp,
    Fragment,
    CutHeaders,
    Malformed,
    UnknownLink,
}

/// Raw IP under the numbers that BSD, OpenBSD and others gave it before it had one of its own.
const RAW_OF_OLD: [Linktype; 2] = [Linktype(12), Linktype(14)];
/// A loopback header: the address family.
const LOOPBACK_HEADER: usize = 4;
/// Linux cooked captures, version 1 and 2: where the protocol is, and where the packet begins.
const SLL: (usize, usize) = (14, 16);
const SLL2: (usize, usize) = (0, 20);

/// The segment in a packet that was `length` bytes long on the wire.
pub(super) fn segment(link: Linktype, packet: &[u8], length: u64) -> Result<Tcp<'_>, Other> {
    let missing = length.saturating_sub(packet.len() as u64);
    let too_short = if missing > 0 { Other::CutHeaders } else { Other::Malformed };
    let sliced = slice(link, packet, too_short)?;
    let ip = match &sliced.net {
        Some(LaxNetSlice::Ipv4(ip)) => {
            (ip.header().source_addr().into(), ip.header().destination_addr().into(), ip.payload())
        }
        Some(LaxNetSlice::Ipv6(ip)) => {
            (ip.header().source_addr().into(), ip.header().destination_addr().into(), ip.payload())
        }
        Some(_) => return Err(Other::NotIp),
        // A link header, and an error or a protocol that is not IP behind it.
        None if sliced.stop_err.is_some() => return Err(too_short),
        None => return Err(Other::NotIp),
    };
    let (source, destination, body): (std::net::IpAddr, std::net::IpAddr, _) = ip;
    if body.fragmented {
        return Err(Other::Fragment);
    }
    let tcp = match &sliced.transport {
        Some(TransportSlice::Tcp(tcp)) => tcp,
        None if body.ip_number == IpNumber::TCP => return Err(too_short),
        _ => return Err(Other::NotTcp),
    };
    let cut = match (body.incomplete, u32::try_from(missing)) {
        (false, _) => 0,
        // The packet says that it is longer than it was.
        (true, Ok(0) | Err(_)) => return Err(Other::Malformed),
        (true, Ok(missing)) => missing,
    };
    let mut flags = TcpFlags(0);
    for (is_set, flag) in [
        (tcp.fin(), TcpFlags::FIN),
        (tcp.syn(), TcpFlags::SYN),
        (tcp.rst(), TcpFlags::RST),
        (tcp.ack(), TcpFlags::ACK),
    ] {
        if is_set {
            flags = flags | flag;
        }
    }
    Ok(Tcp {
        source: SocketAddr::new(source, tcp.source_port()),
        destination: SocketAddr::new(destination, tcp.destination_port()),
        sequence: tcp.sequence_number(),
        flags,
        payload: tcp.payload(),
        cut,
    })
}

fn slice(link: Linktype, packet: &[u8], too_short: Other) -> Result<LaxSlicedPacket<'_>, Other> {
    let ip = |packet| LaxSlicedPacket::from_ip(packet).map_err(|_| too_short);
    match link {
        Linktype::ETHERNET => LaxSlicedPacket::from_ethernet(packet).map_err(|_| too_short),
        Linktype::RAW | Linktype::IPV4 | Linktype::IPV6 => ip(packet),
        link if RAW_OF_OLD.contains(&link) => ip(packet),
        Linktype::NULL | Linktype::LOOP => {
            let (family, packet) = packet.split_at_checked(LOOPBACK_HEADER).ok_or(too_short)?;
            // In the byte order of the host that captured, which none but IPv4 and the IPv6 of some system reads as either.
            let is_ip = |family: u32| matches!(family, 2 | 10 | 23 | 24 | 28 | 30);
            let family = family.first_chunk().copied().unwrap_or_default();
            if is_ip(u32::from_le_bytes(family)) || is_ip(u32::from_be_bytes(family)) {
                ip(packet)
            } else {
                Err(Other::NotIp)
            }
        }
        Linktype::LINUX_SLL => cooked(packet, SLL, too_short),
        Linktype::LINUX_SLL2 => cooked(packet, SLL2, too_short),
        _ => Err(Other::UnknownLink),
    }
}

fn cooked(
    packet: &[u8],
    (protocol, start): (usize, usize),
    too_short: Other,
) -> Result<LaxSlicedPacket<'_>, Other> {
    let payload = packet.get(start..).ok_or(too_short)?;
    let protocol = packet.get(protocol..).and_then(|bytes| bytes.first_chunk()).ok_or(too_short)?;
    Ok(LaxSlicedPacket::from_ether_type(EtherType(u16::from_be_bytes(*protocol)), payload))
}
