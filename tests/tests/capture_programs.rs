//! The kernel programs on single packets (`BPF_PROG_TEST_RUN`): each passes, is counted for what it is, and a
//! segment comes out of the ring as it was.

#![expect(clippy::unwrap_used, reason = "a test panics")]

use std::net::SocketAddr;

use podtap_tests::Cgroup;
use tap_agent::capture::{Attachment, Capture, CaptureOptions, KernelCounters, Ports, SegmentRing, Tally};
use tap_flow::{Direction, TcpFlags};

const ALLOW: u32 = 1;

const FIN: u8 = 0x01;
const SYN: u8 = 0x02;
const RST: u8 = 0x04;
const PSH: u8 = 0x08;
const ACK: u8 = 0x10;

const TCP: u8 = 6;
const UDP: u8 = 17;
const HOP_BY_HOP: u8 = 0;
const ROUTING: u8 = 43;
const FRAGMENT: u8 = 44;
const ENCAPSULATED: u8 = 50;
const AUTHENTICATION: u8 = 51;
const DESTINATION: u8 = 60;

const CLIENT_PORT: u16 = 40_000;
const SERVER_PORT: u16 = 8080;
const SEQUENCE: u32 = 0xffff_fff0;

/// A tap on a cgroup in which the test runs the programs.
struct Bench {
    attachment: Attachment,
    capture: Capture,
    ring: SegmentRing,
    cgroup: Cgroup,
}

/// A segment that came out of the ring.
#[derive(Debug, PartialEq)]
struct Copy {
    local: SocketAddr,
    remote: SocketAddr,
    direction: Direction,
    sequence: u32,
    flags: u8,
    payload: Vec<u8>,
    cut: u32,
}

impl Bench {
    fn new(ports: &Ports, segment_cap: u32) -> Self {
        let cgroup = Cgroup::create("programs").unwrap();
        let mut capture =
            Capture::load(&CaptureOptions { rings: 1, ring_bytes: 1 << 20, segment_cap, judge: true })
                .unwrap();
        let ring = capture.take_rings().pop().unwrap();
        let attachment = capture.attach(cgroup.path(), ports).unwrap();
        Self { attachment, capture, ring, cgroup }
    }

    /// Runs a program on a packet: what the counters gained, and what the ring holds.
    fn run(&mut self, direction: Direction, packet: &[u8]) -> (KernelCounters, Vec<Copy>) {
        let before = self.counters();
        let inside = self.cgroup.join().unwrap();
        let verdict = self.capture.test_run(direction, packet).unwrap();
        drop(inside);
        assert_eq!(verdict, ALLOW, "{direction:?} {packet:x?}");

        let after = self.counters();
        assert!(after.balances() && after.skipped() == Tally::default(), "{after:?} after {packet:x?}");
        let mut copies = Vec::new();
        let drained = self.ring.drain(usize::MAX, |segment| {
            assert_eq!(segment.key.tap, self.attachment.tap());
            let TcpFlags(flags) = segment.flags;
            copies.push(Copy {
                local: segment.key.local,
                remote: segment.key.remote,
                direction: segment.direction,
                sequence: segment.sequence,
                flags,
                payload: segment.payload.to_owned(),
                cut: segment.cut,
            });
        });
        assert_eq!((drained.records, drained.unknown), (copies.len(), 0));
        (gain(before, after), copies)
    }

    /// Without what is no part of the account: these packets have no connected socket, of which something could be known.
    fn counters(&self) -> KernelCounters {
        let counters = self.capture.counters(self.attachment.tap()).unwrap();
        assert_eq!(counters.by_verdict.iter().sum::<u64>(), counters.by_verdict[0]);
        KernelCounters { by_verdict: Default::default(), ..counters }
    }
}

fn gain(before: KernelCounters, after: KernelCounters) -> KernelCounters {
    let less = |after: Tally, before: Tally| Tally {
        segments: after.segments - before.segments,
        bytes: after.bytes - before.bytes,
    };
    KernelCounters {
        seen: less(after.seen, before.seen),
        copied: less(after.copied, before.copied),
        lost: less(after.lost, before.lost),
        truncated: less(after.truncated, before.truncated),
        port: less(after.port, before.port),
        fragment: less(after.fragment, before.fragment),
        malformed: less(after.malformed, before.malformed),
        ..KernelCounters::default()
    }
}

fn one(bytes: usize) -> Tally {
    Tally { segments: 1, bytes: bytes as u64 }
}

fn copied(bytes: usize) -> KernelCounters {
    KernelCounters { seen: one(bytes), copied: one(bytes), ..KernelCounters::default() }
}

fn filtered_fragment(bytes: usize) -> KernelCounters {
    KernelCounters { seen: one(bytes), fragment: one(bytes), ..KernelCounters::default() }
}

fn malformed(bytes: usize) -> KernelCounters {
    KernelCounters { seen: one(bytes), malformed: one(bytes), ..KernelCounters::default() }
}

/// A TCP segment with `options`, a multiple of four bytes.
fn tcp(flags: u8, options: &[u8], payload: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    bytes.extend(CLIENT_PORT.to_be_bytes());
    bytes.extend(SERVER_PORT.to_be_bytes());
    bytes.extend(SEQUENCE.to_be_bytes());
    bytes.extend(7_u32.to_be_bytes());
    bytes.push((((20 + options.len()) / 4) << 4) as u8);
    bytes.push(flags);
    bytes.extend([0; 6]);
    bytes.extend(options);
    bytes.extend(payload);
    bytes
}

/// An IPv4 packet from 10.1.2.3 to 10.4.5.6. `fragment` is the field of flags and offset.
fn ipv4(protocol: u8, options: &[u8], fragment: u16, content: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0x40 | ((20 + options.len()) / 4) as u8, 0];
    bytes.extend(((20 + options.len() + content.len()) as u16).to_be_bytes());
    bytes.extend([0, 1]);
    bytes.extend(fragment.to_be_bytes());
    bytes.extend([64, protocol, 0, 0]);
    bytes.extend([10, 1, 2, 3, 10, 4, 5, 6]);
    bytes.extend(options);
    bytes.extend(content);
    bytes
}

/// An IPv6 packet from fd00::1 to fd00::2, with extension headers: their numbers and contents after the
/// number of the next header.
fn ipv6(extensions: &[(u8, &[u8])], protocol: u8, content: &[u8]) -> Vec<u8> {
    let mut body = Vec::new();
    for (index, (_, extension)) in extensions.iter().enumerate() {
        body.push(extensions.get(index + 1).map_or(protocol, |&(number, _)| number));
        body.extend(*extension);
    }
    body.extend(content);
    let mut bytes = vec![0x60, 0, 0, 0];
    bytes.extend((body.len() as u16).to_be_bytes());
    bytes.push(extensions.first().map_or(protocol, |&(number, _)| number));
    bytes.push(64);
    for last in [1, 2] {
        bytes.extend([0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, last]);
    }
    bytes.extend(body);
    bytes
}

#[test]
fn segments_come_out_as_they_were() {
    let mut bench = Bench::new(&Ports::All, 1 << 19);
    let text = b"GET / HTTP/1.1\r\n\r\n";
    let v4: (SocketAddr, SocketAddr) = ("10.1.2.3:40000".parse().unwrap(), "10.4.5.6:8080".parse().unwrap());
    let v6: (SocketAddr, SocketAddr) =
        ("[fd00::1]:40000".parse().unwrap(), "[fd00::2]:8080".parse().unwrap());
    let data = |payload: &[u8]| tcp(PSH | ACK, &[], payload);

    for (what, packet, flags, (source, destination), payload) in [
        ("IPv4", ipv4(TCP, &[], 0, &data(text)), PSH | ACK, v4, &text[..]),
        ("don't fragment", ipv4(TCP, &[], 0x4000, &data(text)), PSH | ACK, v4, text),
        ("IPv4 options", ipv4(TCP, &[1; 40], 0, &data(text)), PSH | ACK, v4, text),
        ("TCP options", ipv4(TCP, &[], 0, &tcp(PSH | ACK, &[1; 40], text)), PSH | ACK, v4, text),
        ("SYN", ipv4(TCP, &[], 0, &tcp(SYN, &[], b"")), SYN, v4, b""),
        ("SYN with payload", ipv4(TCP, &[], 0, &tcp(SYN, &[], text)), SYN, v4, text),
        ("FIN", ipv4(TCP, &[], 0, &tcp(FIN | ACK, &[], b"")), FIN | ACK, v4, b""),
        ("RST", ipv4(TCP, &[], 0, &tcp(RST, &[], b"")), RST, v4, b""),
        ("IPv6", ipv6(&[], TCP, &data(text)), PSH | ACK, v6, text),
        ("hop-by-hop", ipv6(&[(HOP_BY_HOP, &[0; 7])], TCP, &data(text)), PSH | ACK, v6, text),
        (
            "three extensions",
            ipv6(&[(HOP_BY_HOP, &[0; 7]), (ROUTING, &[1; 15]), (DESTINATION, &[0; 7])], TCP, &data(text)),
            PSH | ACK,
            v6,
            text,
        ),
        ("authentication", ipv6(&[(AUTHENTICATION, &[4; 23])], TCP, &data(text)), PSH | ACK, v6, text),
        ("a fragment that is all", ipv6(&[(FRAGMENT, &[0; 7])], TCP, &data(text)), PSH | ACK, v6, text),
        ("eight extensions", ipv6(&[(DESTINATION, &[0; 7][..]); 8], TCP, &data(text)), PSH | ACK, v6, text),
    ] {
        for direction in [Direction::Ingress, Direction::Egress] {
            let (local, remote) = match direction {
                Direction::Ingress => (destination, source),
                Direction::Egress => (source, destination),
            };
            let copy = Copy {
                local,
                remote,
                direction,
                sequence: SEQUENCE,
                flags,
                payload: payload.to_owned(),
                cut: 0,
            };
            assert_eq!(bench.run(direction, &packet), (copied(payload.len()), vec![copy]), "{what}");
        }
    }
}

#[test]
fn what_is_not_copied_is_counted_for_what_it_is() {
    let mut bench = Bench::new(&Ports::All, 1 << 19);
    let segment = tcp(PSH | ACK, &[], b"hello");
    let nothing = KernelCounters::default();
    let with_byte = |mut packet: Vec<u8>, at: usize, byte: u8| {
        packet[at] = byte;
        packet
    };

    for (what, packet, gained) in [
        ("a bare acknowledgement", ipv4(TCP, &[], 0, &tcp(ACK, &[], b"")), nothing),
        ("a bare acknowledgement, IPv6", ipv6(&[], TCP, &tcp(ACK, &[], b"")), nothing),
        ("UDP", ipv4(UDP, &[], 0, &segment), nothing),
        ("UDP, IPv6", ipv6(&[], UDP, &segment), nothing),
        ("encapsulated", ipv6(&[], ENCAPSULATED, &segment), nothing),
        ("neither version", with_byte(ipv4(TCP, &[], 0, &segment), 0, 0x55), nothing),
        ("an IPv4 header shorter than possible", with_byte(ipv4(TCP, &[], 0, &segment), 0, 0x44), nothing),
        ("nine extensions", ipv6(&[(DESTINATION, &[0; 7][..]); 9], TCP, &segment), nothing),
        ("an extension beyond the end", ipv6(&[(ROUTING, &[255; 7])], TCP, &segment), malformed(0)),
        ("a first fragment", ipv4(TCP, &[], 0x2000, &segment), filtered_fragment(25)),
        ("a later fragment", ipv4(TCP, &[], 0x0010, &segment), filtered_fragment(25)),
        (
            "a first fragment, IPv6",
            ipv6(&[(FRAGMENT, &[0, 0, 1, 0, 0, 0, 0])], TCP, &segment),
            filtered_fragment(25),
        ),
        (
            "a later fragment, IPv6",
            ipv6(&[(FRAGMENT, &[0, 1, 0, 0, 0, 0, 0])], TCP, &segment),
            filtered_fragment(25),
        ),
        (
            "a TCP header shorter than possible",
            with_byte(ipv4(TCP, &[], 0, &segment), 32, 0x40),
            malformed(25),
        ),
        ("a TCP header beyond the end", with_byte(ipv4(TCP, &[], 0, &segment), 32, 0x70), malformed(25)),
    ] {
        for direction in [Direction::Ingress, Direction::Egress] {
            assert_eq!(bench.run(direction, &packet), (gained, vec![]), "{what}");
        }
    }
}

#[test]
fn every_truncation_passes() {
    let mut bench = Bench::new(&Ports::All, 1 << 19);
    let payload = [b'x'; 5];
    let segment = tcp(PSH | ACK, &[1; 4], &payload);

    let packet = ipv4(TCP, &[1; 4], 0, &segment);
    // Recent kernels run nothing shorter than an IP header without options.
    for len in 20..=packet.len() {
        let (gained, copies) = bench.run(Direction::Ingress, &packet[..len]);
        // 24 bytes of IP header, 24 of TCP header.
        let expected = match len {
            ..48 => malformed(len.saturating_sub(24)),
            48 => KernelCounters::default(),
            _ => copied(len - 48),
        };
        assert_eq!(gained, expected, "{len} bytes");
        assert_eq!(copies.len(), usize::from(len > 48), "{len} bytes");
    }

    let packet = ipv6(&[(HOP_BY_HOP, &[0; 7]), (AUTHENTICATION, &[0; 7])], TCP, &segment);
    for len in 40..=packet.len() {
        let (gained, copies) = bench.run(Direction::Egress, &packet[..len]);
        // 40 bytes of IP header, twice 8 of extensions, 24 of TCP header. An extension is
        // known by its first four bytes.
        let expected = match len {
            ..52 => KernelCounters::default(),
            52..80 => malformed(len.saturating_sub(56)),
            80 => KernelCounters::default(),
            _ => copied(len - 80),
        };
        assert_eq!(gained, expected, "{len} bytes");
        assert_eq!(copies.len(), usize::from(len > 80), "{len} bytes");
    }
}

#[test]
fn garbage_passes() {
    let mut bench = Bench::new(&Ports::All, 1 << 19);
    let mut state = 0x9e37_79b9_u32;
    let mut random = || {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        state
    };
    for round in 0..3000 {
        let len = 40 + random() as usize % 160;
        let mut packet: Vec<u8> = (0..len).map(|_| random() as u8).collect();
        // Most would be neither version, and few of the others would be TCP.
        packet[0] = [0x45, 0x4f, 0x60, 0x46][round % 4];
        if let Some(protocol) = packet.get_mut(if round % 4 == 2 { 6 } else { 9 }) {
            *protocol = [TCP, HOP_BY_HOP, ROUTING, FRAGMENT, AUTHENTICATION, DESTINATION][round % 6];
        }
        bench.run(if round % 2 == 0 { Direction::Ingress } else { Direction::Egress }, &packet);
    }
}

#[test]
fn every_size_class_is_copied_in_full() {
    let mut bench = Bench::new(&Ports::All, 1 << 19);
    for len in [1, 2, 255, 256, 257, 511, 512, 513, 1023, 1024, 1025, 2047, 2048, 2049, 3000] {
        let payload: Vec<u8> = (0..len).map(|index| (index * 7 % 251) as u8).collect();
        let (gained, copies) = bench.run(Direction::Ingress, &ipv4(TCP, &[], 0, &tcp(ACK, &[], &payload)));
        assert_eq!(gained, copied(len));
        assert_eq!(copies.len(), 1);
        assert!(copies[0].payload == payload, "{len} bytes");
    }
}

#[test]
fn beyond_the_cap_a_segment_is_cut_and_counted() {
    let mut bench = Bench::new(&Ports::All, 1000);
    for (len, cut) in [(999, 0), (1000, 0), (1001, 1), (3000, 2000)] {
        let packet = ipv4(TCP, &[], 0, &tcp(FIN | ACK, &[], &vec![b'x'; len]));
        let (gained, copies) = bench.run(Direction::Egress, &packet);
        let expected = KernelCounters {
            seen: one(len),
            copied: one(len - cut),
            truncated: if cut > 0 { one(cut) } else { Tally::default() },
            ..KernelCounters::default()
        };
        assert_eq!(gained, expected);
        let [Copy { payload, cut: was_cut, flags, .. }] = &copies[..] else { panic!("{copies:?}") };
        assert_eq!((payload.len(), *was_cut, *flags), (len - cut, cut as u32, FIN | ACK));
    }
}

#[test]
fn a_port_on_either_end_matches() {
    let packet = ipv4(TCP, &[], 0, &tcp(PSH | ACK, &[], b"hello"));
    let other = KernelCounters { seen: one(5), port: one(5), ..KernelCounters::default() };
    let mut many: Vec<u16> = (1..=16).collect();
    for (ports, expected) in [
        (vec![SERVER_PORT], copied(5)),
        (vec![CLIENT_PORT], copied(5)),
        (vec![80], other),
        (vec![80, SERVER_PORT.swap_bytes(), 0], other),
        (many.clone(), other),
        (
            {
                many[15] = SERVER_PORT;
                many
            },
            copied(5),
        ),
    ] {
        let mut bench = Bench::new(&Ports::Only(ports.clone()), 1 << 19);
        for direction in [Direction::Ingress, Direction::Egress] {
            let (gained, copies) = bench.run(direction, &packet);
            assert_eq!(gained, expected, "{ports:?}");
            assert_eq!(copies.len() as u64, expected.copied.segments, "{ports:?}");
        }
    }
}

#[test]
fn outside_the_tapped_cgroup_nothing_is_copied() {
    let mut bench = Bench::new(&Ports::All, 1 << 19);
    let packet = ipv4(TCP, &[], 0, &tcp(PSH | ACK, &[], b"hello"));
    let elsewhere = Cgroup::create("elsewhere").unwrap();
    let inside = elsewhere.join().unwrap();
    assert_eq!(bench.capture.test_run(Direction::Ingress, &packet).unwrap(), ALLOW);
    drop(inside);
    assert_eq!(bench.counters(), KernelCounters::default());
    assert_eq!(bench.ring.drain(usize::MAX, |_| panic!("a segment")).records, 0);

    // A cgroup below is within the tap.
    let below = bench.cgroup.child("below").unwrap();
    let inside = below.join().unwrap();
    bench.capture.test_run(Direction::Ingress, &packet).unwrap();
    drop(inside);
    assert_eq!(bench.counters(), copied(5));
}
