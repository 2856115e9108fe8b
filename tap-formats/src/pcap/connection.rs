//! A TCP connection that is made up around what it carried.

use std::net::{IpAddr, SocketAddr};

use etherparse::{PacketBuilder, PacketBuilderStep, TcpHeader};

/// Payload of a segment: Ethernet's 1,500 bytes without the headers of IPv6 and TCP.
const SEGMENT: usize = 1_440;
const WINDOW: u16 = 65_535;
const TTL: u8 = 64;
/// Locally administered.
const CLIENT_MAC: [u8; 6] = [2, 0, 0, 0, 0, 1];
const SERVER_MAC: [u8; 6] = [2, 0, 0, 0, 0, 2];

/// Who sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    Client,
    Server,
}

/// A packet with its time.
pub(super) struct Packet {
    pub(super) time: u64,
    pub(super) bytes: Vec<u8>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Flag {
    Syn,
    Ack,
    Push,
    Fin,
}

/// An open connection.
#[derive(Debug)]
pub(super) struct Connection {
    client: SocketAddr,
    server: SocketAddr,
    /// Of the byte that each side sends next.
    client_next: u32,
    server_next: u32,
    /// Packets of a connection do not go back in time.
    time: u64,
}

impl Connection {
    /// Opens it with a handshake.
    pub(super) fn open(client: SocketAddr, server: SocketAddr, time: u64, packets: &mut Vec<Packet>) -> Self {
        // Of one family: an IPv4 end beside an IPv6 end is written as IPv6 writes it.
        let (client, server) = match (client.ip(), server.ip()) {
            (IpAddr::V4(_), IpAddr::V4(_)) | (IpAddr::V6(_), IpAddr::V6(_)) => (client, server),
            _ => (mapped(client), mapped(server)),
        };
        let mut connection = Self { client, server, client_next: 1_000, server_next: 5_000, time };
        connection.send(Side::Client, &[Flag::Syn], &[], packets);
        connection.send(Side::Server, &[Flag::Syn, Flag::Ack], &[], packets);
        connection.send(Side::Client, &[Flag::Ack], &[], packets);
        connection
    }

    /// Sends a message, its first byte at `start` and its last at `end`, so in two segments at least where that took time;
    /// then `missing` bytes that are not in the file. The other side acknowledges all of it.
    pub(super) fn message(
        &mut self,
        side: Side,
        (start, end): (u64, u64),
        bytes: &[u8],
        missing: u32,
        packets: &mut Vec<Packet>,
    ) {
        self.time = self.time.max(start);
        let first = if end > start && bytes.len() <= SEGMENT { first_part(bytes) } else { 0 };
        let (first, rest) = bytes.split_at(first);
        if !first.is_empty() {
            self.send(side, &[Flag::Ack], first, packets);
        }
        let mut chunks = rest.chunks(SEGMENT).peekable();
        while let Some(chunk) = chunks.next() {
            let flags: &[Flag] = if chunks.peek().is_none() {
                self.time = self.time.max(end);
                &[Flag::Push, Flag::Ack]
            } else {
                &[Flag::Ack]
            };
            self.send(side, flags, chunk, packets);
        }
        match side {
            Side::Client => self.client_next = self.client_next.wrapping_add(missing),
            Side::Server => self.server_next = self.server_next.wrapping_add(missing),
        }
        self.send(side.other(), &[Flag::Ack], &[], packets);
    }

    /// Closes it, no earlier than `time`.
    pub(super) fn close(mut self, time: u64, packets: &mut Vec<Packet>) {
        self.time = self.time.max(time);
        self.send(Side::Client, &[Flag::Fin, Flag::Ack], &[], packets);
        self.send(Side::Server, &[Flag::Fin, Flag::Ack], &[], packets);
        self.send(Side::Client, &[Flag::Ack], &[], packets);
    }

    fn send(&mut self, side: Side, flags: &[Flag], payload: &[u8], packets: &mut Vec<Packet>) {
        let (from, to, macs) = match side {
            Side::Client => (self.client, self.server, (CLIENT_MAC, SERVER_MAC)),
            Side::Server => (self.server, self.client, (SERVER_MAC, CLIENT_MAC)),
        };
        let (sequence, acknowledged) = match side {
            Side::Client => (self.client_next, self.server_next),
            Side::Server => (self.server_next, self.client_next),
        };
        let ethernet = PacketBuilder::ethernet2(macs.0, macs.1);
        let ip = match (from.ip(), to.ip()) {
            (IpAddr::V4(from), IpAddr::V4(to)) => ethernet.ipv4(from.octets(), to.octets(), TTL),
            (from, to) => ethernet.ipv6(octets(from), octets(to), TTL),
        };
        let tcp = ip.tcp(from.port(), to.port(), sequence, WINDOW);
        let tcp = flags.iter().fold(tcp, |tcp: PacketBuilderStep<TcpHeader>, flag| match flag {
            Flag::Syn => tcp.syn(),
            Flag::Ack => tcp.ack(acknowledged),
            Flag::Push => tcp.psh(),
            Flag::Fin => tcp.fin(),
        });
        let mut bytes = Vec::with_capacity(tcp.size(payload.len()));
        // A segment is far from what would be too long.
        if tcp.write_to_vec(&mut bytes, payload).is_ok() {
            packets.push(Packet { time: self.time, bytes });
        }
        let taken =
            payload.len() as u32 + u32::from(flags.contains(&Flag::Syn) || flags.contains(&Flag::Fin));
        match side {
            Side::Client => self.client_next = self.client_next.wrapping_add(taken),
            Side::Server => self.server_next = self.server_next.wrapping_add(taken),
        }
    }
}

impl Side {
    fn other(self) -> Self {
        match self {
            Self::Client => Self::Server,
            Self::Server => Self::Client,
        }
    }
}

/// Of a message that came in two parts: its head, or half of one that is nothing else.
fn first_part(message: &[u8]) -> usize {
    let head = message.windows(4).position(|window| window == b"\r\n\r\n").map(|at| at + 4);
    head.filter(|head| *head < message.len()).unwrap_or(message.len() / 2)
}

fn mapped(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(octets(address.ip()).into(), address.port())
}

fn octets(ip: IpAddr) -> [u8; 16] {
    match ip {
        IpAddr::V4(ip) => ip.to_ipv6_mapped().octets(),
        IpAddr::V6(ip) => ip.octets(),
    }
}
