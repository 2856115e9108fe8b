//! Packet captures of every link and form, and what is missing in them.

use tap_flow::{Completeness, Limits, Reason, Role};
use tap_formats::{Fit, Imported, ReadError, Unfit, pcap};
use tap_proto::v1::{self, completeness::State};

use crate::sample::{START, essence, exchange, header, items, text};

/// The Ethernet frames of a file that the writer made, with their times.
fn frames(exchanges: &[v1::Exchange]) -> Vec<(u64, Vec<u8>)> {
    let mut writer = pcap::Writer::new(Vec::new());
    for exchange in exchanges {
        writer.write(exchange).unwrap();
    }
    let file = writer.finish().unwrap();
    let mut frames = Vec::new();
    let mut rest = file.as_slice();
    while !rest.is_empty() {
        let word = |at: usize| u32::from_le_bytes(rest[at..at + 4].try_into().unwrap());
        if word(0) == 6 {
            let time = u64::from(word(12)) << 32 | u64::from(word(16));
            frames.push((time, rest[28..28 + word(20) as usize].to_vec()));
        }
        rest = &rest[word(4) as usize..];
    }
    frames
}

/// A pcap file, in little or big-endian order, of microseconds or nanoseconds. A packet may be longer on the wire.
struct Pcap {
    bytes: Vec<u8>,
    big_endian: bool,
    nanoseconds: bool,
}

impl Pcap {
    fn new(link: u32, big_endian: bool, nanoseconds: bool) -> Self {
        let mut file = Self { bytes: Vec::new(), big_endian, nanoseconds };
        file.word(if nanoseconds { 0xa1b2_3c4d } else { 0xa1b2_c3d4 });
        let version = if big_endian { [0, 2, 0, 4] } else { [2, 0, 4, 0] };
        file.bytes.extend(version);
        for word in [0, 0, 262_144, link] {
            file.word(word);
        }
        file
    }

    fn word(&mut self, word: u32) {
        self.bytes.extend(if self.big_endian { word.to_be_bytes() } else { word.to_le_bytes() });
    }

    fn packet(&mut self, time: u64, bytes: &[u8], length: usize) {
        self.word((time / 1_000_000_000) as u32);
        self.word((time % 1_000_000_000 / if self.nanoseconds { 1 } else { 1_000 }) as u32);
        self.word(bytes.len() as u32);
        self.word(length as u32);
        self.bytes.extend(bytes);
    }
}

fn read_with(file: &[u8], ports: &[u16], role: Role) -> (Vec<Imported>, pcap::Summary) {
    let options = pcap::Options { limits: Limits::default(), ports: ports.to_vec(), role };
    let mut summary = pcap::Summary::default();
    let (exchanges, _) = items(|sink| pcap::read(file, &options, &mut summary, sink)).unwrap();
    assert!(summary.balances(), "{summary:?}");
    (exchanges, summary)
}

fn read(file: &[u8]) -> (Vec<Imported>, pcap::Summary) {
    read_with(file, &[], Role::Inbound)
}

const ETHERNET: usize = 14;

#[test]
fn every_link_byte_order_and_resolution_is_read() {
    let stored = exchange(1, 0);
    let wanted = essence(&tap_formats::stored::exchange(stored.clone()));
    let frames = frames(&[stored]);
    let vlan = |frame: &[u8], tags: &[[u8; 4]]| [&frame[..12], &tags.concat(), &frame[12..]].concat();
    type Wrap<'w> = Box<dyn Fn(&[u8]) -> Vec<u8> + 'w>;
    let links: Vec<(u32, Wrap<'_>)> = vec![
        (1, Box::new(|frame| frame.to_vec())),
        (1, Box::new(|frame| vlan(frame, &[[0x81, 0, 0, 7]]))),
        (1, Box::new(|frame| vlan(frame, &[[0x88, 0xa8, 0, 7], [0x81, 0, 0, 8]]))),
        (101, Box::new(|frame| frame[ETHERNET..].to_vec())),
        (12, Box::new(|frame| frame[ETHERNET..].to_vec())),
        (228, Box::new(|frame| frame[ETHERNET..].to_vec())),
        (0, Box::new(|frame| [&[2, 0, 0, 0], &frame[ETHERNET..]].concat())),
        (0, Box::new(|frame| [&[0, 0, 0, 2], &frame[ETHERNET..]].concat())),
        (108, Box::new(|frame| [&[0, 0, 0, 2], &frame[ETHERNET..]].concat())),
        (113, Box::new(|frame| [&[0; 14][..], &frame[12..]].concat())),
        (276, Box::new(|frame| [&frame[12..14], &[0; 18], &frame[ETHERNET..]].concat())),
    ];
    for (link, wrap) in links {
        for (big_endian, nanoseconds) in [(false, false), (false, true), (true, false), (true, true)] {
            let mut file = Pcap::new(link, big_endian, nanoseconds);
            for (time, frame) in &frames {
                let packet = wrap(frame);
                file.packet(*time, &packet, packet.len());
            }
            let (read, summary) = read(&file.bytes);
            assert_eq!(summary.segments, frames.len() as u64, "link {link}: {summary:?}");
            assert_eq!(read.len(), 1, "link {link}");
            assert_eq!(essence(&read[0].exchange), wanted, "link {link}");
            // A whole microsecond: both resolutions hold it.
            assert_eq!(read[0].exchange.start(), START + 1_000);
        }
    }
}

#[test]
fn ipv6_and_its_extension_headers_are_read() {
    let mut stored = exchange(1, 0);
    stored.source.as_mut().unwrap().ip = "2001:db8::9".into();
    stored.destination.as_mut().unwrap().ip = "2001:db8::1".into();
    let mut plain = Pcap::new(101, false, true);
    let mut extended = Pcap::new(101, false, true);
    let mut fragmented = Pcap::new(101, false, true);
    for (time, frame) in frames(&[stored]) {
        let packet = &frame[ETHERNET..];
        plain.packet(time, packet, packet.len());
        // Hop-by-hop options: eight bytes of padding, before TCP.
        let mut longer = packet.to_vec();
        let length = u16::from_be_bytes([packet[4], packet[5]]) + 8;
        longer[4..6].copy_from_slice(&length.to_be_bytes());
        longer[6] = 0;
        longer.splice(40..40, [6, 0, 1, 4, 0, 0, 0, 0]);
        extended.packet(time, &longer, longer.len());
        // The same as a first fragment.
        longer[6] = 44;
        longer.splice(40..48, [6, 0, 0, 1, 0, 0, 0, 9]);
        fragmented.packet(time, &longer, longer.len());
    }
    for file in [plain, extended] {
        let (read, _) = read(&file.bytes);
        assert_eq!(read.len(), 1);
        assert_eq!(read[0].exchange.flow.local.to_string(), "[2001:db8::1]:8080");
    }
    let (read, summary) = read(&fragmented.bytes);
    assert_eq!((read.len(), summary.fragments, summary.packets), (0, summary.packets, summary.packets));
}

#[test]
fn what_is_no_http_over_tcp_is_counted_by_what_it_is() {
    let frames = frames(&[exchange(1, 0)]);
    let mut file = Pcap::new(1, false, true);
    let (time, frame) = &frames[3];
    let mut put = |change: &dyn Fn(&mut Vec<u8>), cut: usize| {
        let mut frame = frame.clone();
        change(&mut frame);
        let kept = frame.len() - cut;
        file.packet(*time, &frame[..kept], frame.len());
    };
    // ARP.
    put(&|frame| frame[12..14].copy_from_slice(&[8, 6]), 0);
    // UDP.
    put(&|frame| frame[ETHERNET + 9] = 17, 0);
    // A fragment: more follow.
    put(&|frame| frame[ETHERNET + 6] |= 0x20, 0);
    // A header length of TCP beyond the packet.
    put(
        &|frame| {
            frame.truncate(ETHERNET + 40);
            frame[ETHERNET + 2..ETHERNET + 4].copy_from_slice(&40_u16.to_be_bytes());
            frame[ETHERNET + 32] = 0xf0;
        },
        0,
    );
    // Longer than it was on the wire, by its own words.
    put(&|frame| frame[ETHERNET + 2] = 0xff, 0);
    // Cut before the end of the headers.
    let cut = frame.len() - ETHERNET - 25;
    put(&|_| (), cut);
    let (read, summary) = read(&file.bytes);
    assert_eq!(read.len(), 0);
    let others: Vec<_> = summary.others().into_iter().filter(|(_, packets)| *packets > 0).collect();
    assert_eq!(
        others,
        [("not_ip", 1), ("not_tcp", 1), ("fragment", 1), ("cut_headers", 1), ("malformed", 2)]
    );
    let mut unknown = Pcap::new(147, false, true);
    unknown.packet(*time, frame, frame.len());
    assert_eq!(self::read(&unknown.bytes).1.unknown_link, 1);
}

#[test]
fn packets_that_were_cut_leave_a_gap_of_what_is_missing() {
    let mut stored = exchange(1, 0);
    let response = stored.response.as_mut().unwrap();
    response.body = text(&"x".repeat(1_000));
    response.headers = vec![header("Content-Length", "1000")];
    let mut file = Pcap::new(1, false, true);
    // As `tcpdump -s 300`.
    for (time, frame) in frames(&[stored]) {
        file.packet(time, &frame[..frame.len().min(300)], frame.len());
    }
    let (read, summary) = read(&file.bytes);
    assert_eq!(summary.cut_segments, 1);
    let response = read[0].exchange.response.as_ref().unwrap();
    let kept = response.body.content.len() as u64;
    assert!(kept > 100, "{kept}");
    assert_eq!(kept + summary.cut_bytes, 1_000);
    assert_eq!(response.completeness, Completeness::Gap { offset: kept, bytes: summary.cut_bytes });
    assert_eq!(read[0].exchange.request.as_ref().unwrap().completeness, Completeness::Complete);
}

#[test]
fn ports_choose_connections_and_roles_whose_view_it_is() {
    let mut other = exchange(2, 0);
    other.destination.as_mut().unwrap().port = 9090;
    let mut file = Pcap::new(1, false, true);
    for (time, frame) in frames(&[exchange(1, 0), other]) {
        file.packet(time, &frame, frame.len());
    }
    let (read, summary) = read_with(&file.bytes, &[9090], Role::Outbound);
    assert_eq!((read.len(), summary.other_ports), (1, summary.segments));
    let flow = read[0].exchange.flow;
    assert_eq!((flow.local.port(), flow.remote.port()), (40_002, 9090));
    assert_eq!(read[0].exchange.role, Role::Outbound);
}

#[test]
fn a_connection_without_its_beginning_is_read_from_where_it_can_be() {
    let mut file = Pcap::new(1, false, true);
    let exchanges: Vec<_> = (0..4).map(|index| exchange(1, index)).collect();
    // Without the handshake, and without the first request.
    for (time, frame) in frames(&exchanges).into_iter().skip(6) {
        file.packet(time, &frame, frame.len());
    }
    let (read, summary) = read(&file.bytes);
    let requests: Vec<_> = read.iter().filter_map(|it| it.exchange.request.as_ref()).collect();
    let responses = read.iter().filter(|it| it.exchange.response.is_some()).count();
    let paths: Vec<_> = requests.iter().map(|it| it.parts().path.into_owned()).collect();
    assert_eq!(
        (paths, responses),
        (vec!["/cart/1".to_owned(), "/cart/2".into(), "/cart/3".into()], 4),
        "{summary:?}"
    );
}

#[test]
fn tls_and_other_protocols_are_told() {
    let mut stored = exchange(1, 0);
    stored.request.as_mut().unwrap().method = "POST".into();
    let mut file = Pcap::new(1, false, true);
    for (time, mut frame) in frames(&[stored]) {
        let payload = ETHERNET + 20 + 20;
        if frame.len() >= payload + 6 {
            // A record of a handshake.
            frame[payload..payload + 6].copy_from_slice(&[0x16, 3, 1, 0, 0x80, 1]);
        }
        file.packet(time, &frame, frame.len());
    }
    let (read, summary) = read(&file.bytes);
    assert_eq!((read.len(), summary.flow.flows_tls), (0, 1));
    assert_eq!(summary.flow.bytes_discarded(Reason::NotHttp), summary.flow.bytes_in);
}

#[test]
fn a_file_that_ends_within_a_packet_is_read_up_to_there() {
    let mut file = Pcap::new(1, false, true);
    for (time, frame) in frames(&[exchange(1, 0)]) {
        file.packet(time, &frame, frame.len());
    }
    file.bytes.truncate(file.bytes.len() - 3);
    let (read, summary) = read(&file.bytes);
    assert!(summary.ends_early && read.len() == 1, "{summary:?}");
}

#[test]
fn what_is_no_capture_is_an_error_with_its_place() {
    let options = pcap::Options { limits: Limits::default(), ports: Vec::new(), role: Role::Inbound };
    let error = |file: &[u8]| {
        let mut summary = pcap::Summary::default();
        pcap::read(file, &options, &mut summary, &mut |_| panic!("no exchange")).unwrap_err()
    };
    for file in [&b""[..], b"GET / HTTP/1.1\r\n\r\n", &[0; 64]] {
        let error = error(file);
        assert!(matches!(error, ReadError::Malformed { .. }), "{error}");
        assert!(error.to_string().starts_with("packet 1: "), "{error}");
    }
}

#[test]
fn bytes_that_were_not_kept_are_a_hole() {
    let mut cut = exchange(1, 0);
    let response = cut.response.as_mut().unwrap();
    response.headers = vec![header("Content-Length", "70000")];
    let body = response.body.as_mut().unwrap();
    body.size = 70_000;
    response.completeness = Some(v1::Completeness {
        state: State::Truncated.into(),
        bytes: 69_995,
        cause: "body_cap".into(),
        ..v1::Completeness::default()
    });
    // Redaction dropped it.
    let mut dropped = exchange(1, 1);
    let body = dropped.request.as_mut().unwrap().body.as_mut().unwrap();
    (body.content, body.dropped) = (None, "opaque".into());
    // How long it was nobody knows.
    let mut unknown = exchange(1, 2);
    let response = unknown.response.as_mut().unwrap();
    response.headers = vec![header("Transfer-Encoding", "chunked")];
    response.completeness =
        Some(v1::Completeness { state: State::Truncated.into(), ..v1::Completeness::default() });
    let after = exchange(1, 3);

    let mut file = Pcap::new(1, false, true);
    for (time, frame) in frames(&[cut, dropped, unknown, after]) {
        file.packet(time, &frame, frame.len());
    }
    let (read, summary) = read(&file.bytes);
    assert_eq!(read.len(), 4, "{summary:?}");
    let completeness: Vec<_> = read
        .iter()
        .map(|it| {
            let exchange = &it.exchange;
            (
                exchange.request.as_ref().unwrap().completeness,
                exchange.response.as_ref().unwrap().completeness,
            )
        })
        .collect();
    assert_eq!(completeness[0].1, Completeness::Gap { offset: 5, bytes: 69_995 });
    assert_eq!(completeness[1].0, Completeness::Gap { offset: 0, bytes: 9 });
    assert!(matches!(completeness[2].1, Completeness::Truncated { .. }), "{completeness:?}");
    assert_eq!(completeness[3], (Completeness::Complete, Completeness::Complete));
    // What follows a message without an end is on another connection.
    assert_eq!(summary.flow.flows, 2);
}

#[test]
fn what_http_1_cannot_carry_is_left_out_and_said() {
    let mut writer = pcap::Writer::new(Vec::new());
    let mut split = exchange(1, 0);
    split.request.as_mut().unwrap().headers.push(header("X", "a\r\nInjected: b"));
    assert_eq!(writer.write(&split).unwrap(), Fit::Not(Unfit::InvalidHead));
    let mut half = exchange(1, 0);
    half.response.as_mut().unwrap().status = 0;
    assert_eq!(writer.write(&half).unwrap(), Fit::Partly(Unfit::InvalidHead));
    let file = writer.finish().unwrap();
    assert!(!file.windows(8).any(|window| window == b"Injected"));
}
