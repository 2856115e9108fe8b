//! What is not needed can be left out: a source that does so gives the same exchanges as one that copies everything.

use std::collections::VecDeque;

use tap_flow::{Assembler, Direction, Exchange, Limits, Protocol, TcpFlags, Unneeded};

use crate::support::{Connection, Packet, TAP, assert_balanced, key, run};

const GET: &str = "GET /file HTTP/1.1\r\nHost: shop\r\n\r\n";
const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello";
const BODY: usize = 3 << 20;
const PIECE: usize = 50_000;

/// A source that is told with a delay what is not needed, as the kernel programs are.
#[derive(Debug, Default)]
struct Source {
    delayed: VecDeque<Unneeded>,
    until: [Option<u32>; 2],
    nothing_more: bool,
    left_out: u64,
}

impl Source {
    fn tell(&mut self, unneeded: Unneeded, delay: usize) {
        self.delayed.push_back(unneeded);
        if self.delayed.len() <= delay {
            return;
        }
        match self.delayed.pop_front().unwrap() {
            Unneeded::Nothing => {}
            Unneeded::Until { direction, sequence } => self.until[direction as usize] = Some(sequence),
            Unneeded::Rest { .. } => self.nothing_more = true,
        }
    }

    /// What is left of a packet; `None` if nothing is.
    fn pass(&mut self, packet: &Packet) -> Option<Packet> {
        let mut packet = packet.clone();
        let len = packet.payload.len() as u32;
        let distance = self.until[packet.direction as usize]
            .map_or(0, |until| until.wrapping_sub(packet.sequence).cast_signed().max(0).cast_unsigned());
        let skip = if self.nothing_more { len } else { len.min(distance) };
        packet.payload.drain(..skip as usize);
        packet.sequence = packet.sequence.wrapping_add(skip);
        self.left_out += u64::from(skip);
        let ends = packet.flags.0 & (TcpFlags::SYN | TcpFlags::FIN | TcpFlags::RST).0 != 0;
        (ends || skip < len || len == 0).then_some(packet)
    }
}

/// Runs the connection with a source that leaves out what is not needed; returns how much that was.
fn run_sparing(packets: &[Packet], delay: usize) -> (Vec<Exchange>, u64, u64) {
    let mut source = Source::default();
    let mut assembler = Assembler::new(Limits::default());
    let mut exchanges = Vec::new();
    for packet in packets {
        if let Some(packet) = source.pass(packet) {
            let unneeded = assembler.push(packet.segment(key()), &mut |exchange| exchanges.push(exchange));
            source.tell(unneeded, delay);
            assert_balanced(&assembler.stats(TAP), &exchanges);
        }
    }
    assembler.finish(&mut |exchange| exchanges.push(exchange));
    let stats = assembler.stats(TAP);
    assert_balanced(&stats, &exchanges);
    assert_eq!((stats.gaps, stats.gap_bytes), (0, 0), "what was left out on purpose is no gap");
    (exchanges, source.left_out, stats.bytes_in)
}

/// A response with a large body in pieces.
fn large(mut connection: Connection, head: &str, body: &[u8]) -> Connection {
    let mut bytes = head.as_bytes().to_vec();
    bytes.extend(body);
    connection = connection.client(GET);
    for piece in bytes.chunks(PIECE) {
        connection = connection.server(piece);
    }
    connection
}

fn with_length() -> Connection {
    let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {BODY}\r\n\r\n");
    large(Connection::open(), &head, &vec![b'x'; BODY])
}

/// The same exchanges, but for the bytes that were left out.
fn assert_same(mut full: Vec<Exchange>, mut spared: Vec<Exchange>, left_out: u64) {
    let wire = |exchanges: &[Exchange]| exchanges.iter().map(|exchange| exchange.wire_bytes).sum::<u64>();
    assert_eq!(wire(&full), wire(&spared) + left_out);
    for exchange in full.iter_mut().chain(&mut spared) {
        exchange.wire_bytes = 0;
        // Runs of their own.
        exchange.flow_serial = 0;
    }
    assert_eq!(format!("{full:?}"), format!("{spared:?}"));
}

#[test]
fn the_rest_of_a_body_is_left_out_and_nothing_else_changes() {
    let chunked = {
        let mut body = format!("{BODY:x}\r\n").into_bytes();
        body.extend(vec![b'x'; BODY]);
        body.extend(b"\r\n5\r\nhello\r\n0\r\nX-Sum: 1\r\n\r\n");
        large(Connection::open(), "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", &body)
    };
    let mut until_close = large(Connection::open(), "HTTP/1.1 200 OK\r\n\r\n", &vec![b'x'; BODY]);
    // When the last byte came is not known of one that was left out; the end of the connection comes with it.
    until_close.packets.last_mut().unwrap().flags = TcpFlags::FIN | TcpFlags::ACK;
    let mut upload = Connection::open();
    let mut request = format!("PUT /file HTTP/1.1\r\nContent-Length: {BODY}\r\n\r\n").into_bytes();
    request.extend(vec![b'x'; BODY]);
    for piece in request.chunks(PIECE) {
        upload = upload.client(piece);
    }
    for (what, connection) in [
        ("counted", with_length().exchange(GET, OK).close()),
        ("twice", {
            let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {BODY}\r\n\r\n");
            large(with_length(), &head, &vec![b'x'; BODY]).close()
        }),
        ("chunked", chunked.exchange(GET, OK).close()),
        ("until the end", until_close.fin(Direction::Ingress)),
        ("a request's", upload.server(OK).exchange(GET, OK).close()),
    ] {
        let full = run(&connection.packets);
        for delay in [0, 1, 7, 1000] {
            let (exchanges, left_out, _) = run_sparing(&connection.packets, delay);
            assert_same(full.exchanges.clone(), exchanges, left_out);
            assert_eq!(left_out == 0, delay == 1000, "{what} {delay}");
            // The cap is reached within two pieces.
            assert!(delay > 0 || left_out as usize > BODY - (64 << 10) - 2 * PIECE, "{what}: {left_out}");
        }
    }
}

#[test]
fn a_connection_that_ends_within_what_is_left_out_tells_how_far_it_came() {
    let mut connection = with_length();
    connection.packets.truncate(connection.packets.len() - 10);
    let sent: usize = connection.packets.iter().map(|packet| packet.payload.len()).sum::<usize>() - GET.len();
    let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {BODY}\r\n\r\n").len();
    let last = connection.packets.last().unwrap();
    // With the last byte: when that came is not known of one that was left out.
    let fin = Packet {
        sequence: last.sequence.wrapping_add(last.payload.len() as u32),
        flags: TcpFlags::FIN | TcpFlags::ACK,
        payload: Vec::new(),
        ..last.clone()
    };
    connection.packets.push(fin);
    let full = run(&connection.packets);
    let (exchanges, left_out, _) = run_sparing(&connection.packets, 0);
    assert!(left_out > 0);
    assert_eq!(exchanges[0].response.as_ref().unwrap().body.size, (sent - head) as u64);
    assert_same(full.exchanges, exchanges, left_out);
}

#[test]
fn bytes_that_are_lost_past_the_cap_are_no_gap_in_what_is_kept() {
    let mut connection = with_length();
    connection.packets.remove(connection.packets.len() - 5);
    let run = run(&connection.close().packets);
    let body = &run.exchanges[0].response.as_ref().unwrap().body;
    assert_eq!((body.content.len(), body.size), (64 << 10, BODY as u64));
    assert_eq!(run.stats.gap_bytes, 0);
}

#[test]
fn what_is_not_http_is_not_needed() {
    for (first, protocol) in [
        (&b"\x16\x03\x01\x02\x00\x01"[..], Protocol::Tls),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", Protocol::Http2),
        (b"*1\r\n$4\r\nPING\r\n", Protocol::Other),
    ] {
        let mut assembler = Assembler::new(Limits::default());
        let connection = Connection::open().client(first).server([0; 10]);
        let said: Vec<_> = connection
            .packets
            .iter()
            .map(|packet| assembler.push(packet.segment(key()), &mut |_| panic!("an exchange")))
            .collect();
        let rest = Unneeded::Rest { protocol: Some(protocol) };
        assert_eq!(said, [Unneeded::Nothing, Unneeded::Nothing, rest, rest]);
    }
    let mut assembler = Assembler::new(Limits::default());
    let upgrade = Connection::open().exchange(
        "GET /ws HTTP/1.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n",
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n",
    );
    let last = upgrade.packets.iter().map(|packet| assembler.push(packet.segment(key()), &mut |_| ())).last();
    assert_eq!(last, Some(Unneeded::Rest { protocol: None }));
}

#[test]
fn of_what_is_parsed_in_full_everything_is_needed() {
    let mut assembler = Assembler::new(Limits::default());
    for packet in &Connection::open().exchange(GET, OK).exchange(GET, OK).close().packets {
        let unneeded = assembler.push(packet.segment(key()), &mut |_| ());
        assert_eq!(unneeded, Unneeded::Nothing, "{:?}", packet.direction == Direction::Ingress);
    }
}
