//! Writes connections as segments, and runs them with the ledger checked at every step.

use std::net::SocketAddr;

use tap_flow::{
    Assembler, CgroupId, Direction, Exchange, FlowKey, FlowStats, Limits, Segment, TapId, TcpFlags,
};

pub(crate) const TAP: TapId = TapId(7);
pub(crate) const CGROUP: CgroupId = CgroupId(8);
pub(crate) const SYN_ACK: TcpFlags = TcpFlags(TcpFlags::SYN.0 | TcpFlags::ACK.0);
pub(crate) const MILLISECOND: u64 = 1_000_000;

/// A segment that owns its payload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Packet {
    pub(crate) direction: Direction,
    pub(crate) time: u64,
    pub(crate) sequence: u32,
    pub(crate) flags: TcpFlags,
    pub(crate) payload: Vec<u8>,
    pub(crate) cut: u32,
}

/// Writes down what a tapped server's socket sees of one connection: requests come in, responses go out.
#[derive(Clone, Debug)]
pub(crate) struct Connection {
    pub(crate) packets: Vec<Packet>,
    sequences: [u32; 2],
    time: u64,
}

pub(crate) fn key() -> FlowKey {
    FlowKey {
        tap: TAP,
        local: SocketAddr::from(([10, 0, 0, 1], 80)),
        remote: SocketAddr::from(([10, 0, 0, 2], 40_000)),
    }
}

impl Connection {
    /// Joined midstream.
    pub(crate) fn joined() -> Self {
        Self { packets: Vec::new(), sequences: [1000, 5000], time: 0 }
    }

    /// With its handshake.
    pub(crate) fn open() -> Self {
        Self::open_at([u32::MAX - 20, u32::MAX - 5])
    }

    /// With these initial sequence numbers.
    pub(crate) fn open_at(sequences: [u32; 2]) -> Self {
        let mut connection = Self { sequences, ..Self::joined() };
        connection.packet(Direction::Ingress, TcpFlags::SYN, b"", 0);
        connection.packet(Direction::Egress, SYN_ACK, b"", 0);
        connection
    }

    pub(crate) fn client(mut self, payload: impl AsRef<[u8]>) -> Self {
        self.packet(Direction::Ingress, TcpFlags::ACK, payload.as_ref(), 0);
        self
    }

    pub(crate) fn server(mut self, payload: impl AsRef<[u8]>) -> Self {
        self.packet(Direction::Egress, TcpFlags::ACK, payload.as_ref(), 0);
        self
    }

    /// One request and its response, in a segment each.
    pub(crate) fn exchange(self, request: impl AsRef<[u8]>, response: impl AsRef<[u8]>) -> Self {
        self.client(request).server(response)
    }

    /// Sent, and lost on the way from the kernel.
    pub(crate) fn lost(mut self, direction: Direction, payload: impl AsRef<[u8]>) -> Self {
        self.packet(direction, TcpFlags::ACK, payload.as_ref(), 0);
        self.packets.pop();
        self
    }

    /// Sent, and copied but for the last `cut` bytes.
    pub(crate) fn cut(mut self, direction: Direction, payload: impl AsRef<[u8]>, cut: usize) -> Self {
        let payload = payload.as_ref();
        self.packet(direction, TcpFlags::ACK, &payload[..payload.len() - cut], cut as u32);
        self
    }

    pub(crate) fn fin(mut self, direction: Direction) -> Self {
        self.packet(direction, TcpFlags::FIN | TcpFlags::ACK, b"", 0);
        self
    }

    pub(crate) fn close(self) -> Self {
        self.fin(Direction::Ingress).fin(Direction::Egress)
    }

    pub(crate) fn reset(mut self) -> Self {
        self.packet(Direction::Ingress, TcpFlags::RST, b"", 0);
        self
    }

    fn packet(&mut self, direction: Direction, flags: TcpFlags, payload: &[u8], cut: u32) {
        self.time += MILLISECOND;
        let sequence = &mut self.sequences[direction as usize];
        self.packets.push(Packet {
            direction,
            time: self.time,
            sequence: *sequence,
            flags,
            payload: payload.to_vec(),
            cut,
        });
        let consumed = u32::from(flags.contains(TcpFlags::SYN)) + u32::from(flags.contains(TcpFlags::FIN));
        *sequence = sequence.wrapping_add(payload.len() as u32 + cut + consumed);
    }
}

/// The outcome of a run.
#[derive(Debug)]
pub(crate) struct Run {
    pub(crate) exchanges: Vec<Exchange>,
    pub(crate) stats: FlowStats,
}

/// Pushes every packet, then ends the capture.
pub(crate) fn run(packets: &[Packet]) -> Run {
    run_with(Limits::default(), packets)
}

pub(crate) fn run_with(limits: Limits, packets: &[Packet]) -> Run {
    let mut assembler = Assembler::new(limits);
    let mut exchanges = Vec::new();
    // Another connection shows that these hooks see a server's SYN, so that its absence means loss.
    let other = FlowKey { remote: SocketAddr::from(([10, 0, 0, 2], 40_001)), ..key() };
    for packet in &Connection::open().packets {
        assembler.push(packet.segment(other), &mut |_| panic!("no exchange yet"));
    }
    push_all(&mut assembler, packets, &mut exchanges);
    assembler.finish(&mut |exchange| exchanges.push(exchange));
    let stats = assembler.stats(TAP);
    assert_balanced(&stats, &exchanges);
    assert_eq!(stats.bytes_buffered, 0, "nothing is left after the end");
    assert_eq!(assembler.held_bytes(), 0, "no memory is left after the end");
    assert_eq!(stats.bytes_in, packets.iter().map(|packet| packet.payload.len() as u64).sum::<u64>());
    Run { exchanges, stats }
}

/// Pushes every packet and checks the ledger after each.
pub(crate) fn push_all(assembler: &mut Assembler, packets: &[Packet], exchanges: &mut Vec<Exchange>) {
    for packet in packets {
        assembler.push(packet.segment(key()), &mut |exchange| exchanges.push(exchange));
        assert_balanced(&assembler.stats(TAP), exchanges);
    }
}

pub(crate) fn assert_balanced(stats: &FlowStats, exchanges: &[Exchange]) {
    assert!(stats.balances(), "{stats:?}");
    assert_eq!(stats.exchanges, exchanges.len() as u64);
    assert_eq!(stats.bytes_in_exchanges, exchanges.iter().map(|exchange| exchange.wire_bytes).sum::<u64>());
}

impl Packet {
    pub(crate) fn segment(&self, key: FlowKey) -> Segment<'_> {
        let Self { direction, time, sequence, flags, payload, cut } = self;
        Segment {
            key,
            cgroup: CGROUP,
            direction: *direction,
            time: *time,
            sequence: *sequence,
            flags: *flags,
            payload,
            cut: *cut,
        }
    }
}
