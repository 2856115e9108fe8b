//! Packets into exchanges.

use std::{
    cmp::Ordering,
    io::{BufRead, Cursor, Read},
    net::SocketAddr,
};

use pcap_parser::{Block, Linktype, PcapBlockOwned, PcapError, create_reader, traits::PcapReaderIterator};
use tap_flow::{Assembler, CgroupId, Direction, Exchange, FlowKey, Limits, Role, Segment, TapId};

use super::{
    link::{self, Other, Tcp},
    summary::Summary,
};
use crate::{
    item::{Imported, Item, Sink},
    read_error::{Place, ReadError},
};

/// Read first, to tell the formats apart.
const FIRST_READ: usize = 64 * 1024;
/// Of a block: packets are shorter than 256 KiB, what else a pcapng file holds may be longer.
const MAX_BLOCK_BYTES: usize = 32 * 1024 * 1024;
/// Of one section of a pcapng file.
const MAX_INTERFACES: usize = 65_536;
/// How often silent connections are looked for, by the packets' times.
const EXPIRE_NS: u64 = 1_000_000_000;
const NANOS_PER_SECOND: u64 = 1_000_000_000;
/// There is one tap: the file.
const TAP: TapId = TapId(0);

/// How a capture is read.
#[derive(Clone, Debug)]
pub struct Options {
    /// Caps on what is kept and held.
    pub limits: Limits,
    /// Only connections with one of these at either end, which is the server's; all where there is none.
    pub ports: Vec<u16>,
    /// Which side of the connections is taken for the tapped one.
    pub role: Role,
}

/// Reads a capture; hands each exchange to `sink`. What becomes of the packets is in `summary`, also after an error.
pub fn read(
    input: impl BufRead + Send,
    options: &Options,
    summary: &mut Summary,
    sink: &mut Sink<'_>,
) -> Result<(), ReadError> {
    let mut packets = Packets::new(input)?;
    let mut taker = Taker {
        assembler: Assembler::new(options.limits.clone()),
        options,
        sink,
        now: 0,
        expired: 0,
        stopped: false,
    };
    let end = loop {
        match packets.next(summary) {
            Ok(None) => break Ok(()),
            Ok(Some(next)) => {
                if let Some(packet) = next {
                    taker.take(&packet, summary);
                }
            }
            Err(error) => break Err(error),
        }
        packets.consume();
        if taker.stopped {
            break Err(ReadError::Stopped);
        }
    };
    taker.finish();
    summary.flow = taker.assembler.stats(TAP);
    if taker.stopped { Err(ReadError::Stopped) } else { end }
}

/// One packet of the file.
struct Packet<'a> {
    link: Linktype,
    /// In nanoseconds since the Unix epoch; `None` where the file gives none.
    time: Option<u64>,
    bytes: &'a [u8],
    /// On the wire.
    length: u64,
}

struct Packets<'r> {
    reader: Box<dyn PcapReaderIterator + Send + 'r>,
    capacity: usize,
    /// Of the block that is being looked at.
    block: usize,
    /// Of the current section, or of the whole file where it is pcap.
    interfaces: Vec<Interface>,
    nanoseconds: bool,
}

#[derive(Clone, Copy)]
struct Interface {
    link: Linktype,
    /// Units of time in a second.
    resolution: u64,
    /// In seconds.
    offset: i64,
}

impl<'r> Packets<'r> {
    fn new(mut input: impl BufRead + Send + 'r) -> Result<Self, ReadError> {
        let place = Place::Packet(1);
        let mut start = Vec::with_capacity(FIRST_READ);
        // Whole, as what tells the formats apart reads once.
        let read = input.by_ref().take(FIRST_READ as u64).read_to_end(&mut start);
        read.map_err(|error| ReadError::Read { place, error })?;
        let input = Cursor::new(start).chain(input);
        let reader = create_reader(FIRST_READ, input)
            .map_err(|_| ReadError::Malformed { place, problem: "neither pcap nor pcapng" })?;
        Ok(Self { reader, capacity: FIRST_READ, block: 0, interfaces: Vec::new(), nanoseconds: false })
    }

    /// The next packet, or `Some(None)` for a block that is none; `None` at the end.
    #[expect(clippy::option_option, reason = "a block without a packet is neither a packet nor the end")]
    fn next(&mut self, summary: &mut Summary) -> Result<Option<Option<Packet<'_>>>, ReadError> {
        let place = Place::Packet(summary.packets + 1);
        // The borrow of a block that is returned would last too long: look first, then take.
        loop {
            let wants = match self.reader.next() {
                Ok(_) => break,
                Err(PcapError::Eof) => return Ok(None),
                Err(PcapError::UnexpectedEof) => {
                    summary.ends_early = true;
                    return Ok(None);
                }
                Err(PcapError::Incomplete(_)) => false,
                Err(PcapError::BufferTooSmall) => true,
                Err(_) => return Err(ReadError::Malformed { place, problem: "not as in a capture" }),
            };
            if wants || self.reader.position() == 0 && self.reader.data().len() >= self.capacity {
                if self.capacity >= MAX_BLOCK_BYTES {
                    return Err(ReadError::TooLong { place, limit: MAX_BLOCK_BYTES });
                }
                self.capacity *= 2;
                self.reader.grow(self.capacity);
            }
            self.reader.refill().map_err(|_| ReadError::Read {
                place,
                error: std::io::Error::other("the file can't be read"),
            })?;
        }
        let Ok((length, block)) = self.reader.next() else {
            return Err(ReadError::Malformed { place, problem: "not as in a capture" });
        };
        self.block = length;
        let interfaces = &mut self.interfaces;
        let packet = match block {
            PcapBlockOwned::LegacyHeader(header) => {
                self.nanoseconds = header.is_nanosecond_precision();
                // The upper bits are of frame check sequences.
                let link = Linktype(header.network.0 & 0xffff);
                *interfaces = vec![Interface { link, resolution: 0, offset: 0 }];
                None
            }
            PcapBlockOwned::Legacy(block) => {
                let fraction = u64::from(block.ts_usec) * if self.nanoseconds { 1 } else { 1_000 };
                Some(Packet {
                    link: interfaces.first().map_or(Linktype(-1), |interface| interface.link),
                    time: Some(u64::from(block.ts_sec) * NANOS_PER_SECOND + fraction),
                    bytes: captured(block.data, block.caplen),
                    length: block.origlen.into(),
                })
            }
            PcapBlockOwned::NG(Block::SectionHeader(_)) => {
                interfaces.clear();
                None
            }
            PcapBlockOwned::NG(Block::InterfaceDescription(block)) => {
                if interfaces.len() >= MAX_INTERFACES {
                    return Err(ReadError::Malformed { place, problem: "too many interfaces" });
                }
                interfaces.push(Interface {
                    link: block.linktype,
                    resolution: block.ts_resolution().filter(|units| *units > 0).unwrap_or(1_000_000),
                    offset: block.ts_offset(),
                });
                None
            }
            PcapBlockOwned::NG(Block::EnhancedPacket(block)) => {
                let interface = interfaces.get(block.if_id as usize).copied();
                let units = u64::from(block.ts_high) << 32 | u64::from(block.ts_low);
                Some(Packet {
                    link: interface.map_or(Linktype(-1), |interface| interface.link),
                    time: interface.and_then(|interface| interface.time(units)),
                    bytes: captured(block.data, block.caplen),
                    length: block.origlen.into(),
                })
            }
            PcapBlockOwned::NG(Block::SimplePacket(block)) => Some(Packet {
                link: interfaces.first().map_or(Linktype(-1), |interface| interface.link),
                time: None,
                bytes: captured(block.data, block.origlen),
                length: block.origlen.into(),
            }),
            // Names, statistics, secrets and what else is no packet.
            PcapBlockOwned::NG(_) => None,
        };
        if packet.is_some() {
            summary.packets += 1;
        }
        Ok(Some(packet))
    }

    fn consume(&mut self) {
        self.reader.consume(std::mem::take(&mut self.block));
    }
}

/// Without the padding.
fn captured(data: &[u8], length: u32) -> &[u8] {
    data.get(..length as usize).unwrap_or(data)
}

impl Interface {
    fn time(self, units: u64) -> Option<u64> {
        let nanos = u128::from(units) * u128::from(NANOS_PER_SECOND) / u128::from(self.resolution);
        let offset = i128::from(self.offset) * i128::from(NANOS_PER_SECOND);
        u64::try_from(i128::try_from(nanos).ok()? + offset).ok()
    }
}

struct Taker<'o, 's, 'f> {
    assembler: Assembler,
    options: &'o Options,
    sink: &'s mut Sink<'f>,
    now: u64,
    expired: u64,
    stopped: bool,
}

impl Taker<'_, '_, '_> {
    fn take(&mut self, packet: &Packet<'_>, summary: &mut Summary) {
        let Some(time) = packet.time else {
            summary.no_time += 1;
            return;
        };
        let tcp = match link::segment(packet.link, packet.bytes, packet.length) {
            Ok(tcp) => tcp,
            Err(other) => {
                *match other {
                    Other::NotIp => &mut summary.not_ip,
                    Other::NotTcp => &mut summary.not_tcp,
                    Other::Fragment => &mut summary.fragments,
                    Other::CutHeaders => &mut summary.cut_headers,
                    Other::Malformed => &mut summary.malformed,
                    Other::UnknownLink => &mut summary.unknown_link,
                } += 1;
                return;
            }
        };
        if !self.options.ports.is_empty() && !self.is_wanted(tcp.source) && !self.is_wanted(tcp.destination) {
            summary.other_ports += 1;
            return;
        }
        summary.segments += 1;
        if tcp.cut > 0 {
            summary.cut_segments += 1;
            summary.cut_bytes += u64::from(tcp.cut);
        }
        // Packets of several interfaces may be out of order by a little; time does not go back.
        self.now = self.now.max(time);
        let segment = self.segment(&tcp, time);
        let Self { assembler, options, sink, stopped, .. } = self;
        let mut emit = |exchange| *stopped |= give(exchange, options.role, sink);
        assembler.push(segment, &mut emit);
        if self.now.saturating_sub(self.expired) >= EXPIRE_NS {
            self.expired = self.now;
            assembler.expire(self.now, &mut emit);
        }
    }

    fn finish(&mut self) {
        let Self { assembler, options, sink, stopped, .. } = self;
        assembler.finish(&mut |exchange| {
            // Nothing more is wanted; what is left still has to be counted.
            if !*stopped {
                *stopped |= give(exchange, options.role, sink);
            }
        });
    }

    fn is_wanted(&self, end: SocketAddr) -> bool {
        self.options.ports.contains(&end.port())
    }

    /// As the socket of the one end sees it that is more likely to be the server. Which end is the server is found out by
    /// what they say; what has to be the same for all segments of a connection is only whose view it is.
    fn segment<'a>(&self, tcp: &Tcp<'a>, time: u64) -> Segment<'a> {
        let order = |end: SocketAddr| (!self.is_wanted(end), end.port(), end.ip());
        let Tcp { source, destination, sequence, flags, payload, cut } = *tcp;
        let (local, remote, direction) = match order(destination).cmp(&order(source)) {
            Ordering::Less | Ordering::Equal => (destination, source, Direction::Ingress),
            Ordering::Greater => (source, destination, Direction::Egress),
        };
        let key = FlowKey { tap: TAP, local, remote };
        Segment { key, cgroup: CgroupId(0), direction, time, sequence, flags, payload, cut }
    }
}

/// Hands over an exchange as the tapped side of `role` saw it; whether no more is wanted.
fn give(mut exchange: Exchange, role: Role, sink: &mut Sink<'_>) -> bool {
    if exchange.role != role {
        std::mem::swap(&mut exchange.flow.local, &mut exchange.flow.remote);
        exchange.role = role;
    }
    sink(Item::Exchange(Imported { number: 0, exchange, about: None })).is_break()
}
