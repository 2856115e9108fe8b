//! What the kernel programs leave out of real connections: what is no HTTP/1, the rest of large bodies, what the agent
//! has given up. Nothing else is, the applications notice nothing, and every byte is accounted for.

#![expect(clippy::unwrap_used, reason = "a test panics")]

use std::{
    io::{Read as _, Write as _},
    net::{Ipv4Addr, TcpListener, TcpStream},
    thread,
};

use podtap_tests::{Cgroup, until};
use tap_agent::capture::{
    Attachment, Capture, CaptureOptions, KernelCounters, Ports, SegmentRing, VERDICT_GIVEN_UP, VERDICT_HTTP1,
    VERDICT_HTTP2, VERDICT_OTHER, VERDICT_TLS, VERDICT_UNKNOWN,
};
use tap_flow::{Assembler, Completeness, Exchange, FlowStats, Limits};

const GET: &[u8] = b"GET /cart HTTP/1.1\r\nHost: shop\r\n\r\n";
const OK: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello";
const LARGE: usize = 8 << 20;
/// More than is kept of a body.
const PAST_CAP: usize = 256 << 10;

/// Who sends a part of a conversation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Side {
    Client,
    Server,
}

use Side::{Client, Server};

/// Which end of the connection is tapped.
const TAPPED: [Side; 2] = [Client, Server];

/// A tapped cgroup, its ring, and what is made of it.
struct Tapped {
    // Detached before the cgroup goes.
    attachment: Option<Attachment>,
    capture: Capture,
    ring: SegmentRing,
    assembler: Assembler,
    exchanges: Vec<Exchange>,
    cgroup: Cgroup,
}

/// Both ends of a connection.
struct Connection {
    client: TcpStream,
    server: TcpStream,
}

impl Tapped {
    fn new() -> Self {
        let mut tapped = Self::unattached();
        tapped.attach();
        tapped
    }

    fn unattached() -> Self {
        let cgroup = Cgroup::create("verdicts").unwrap();
        let options = CaptureOptions { rings: 1, ring_bytes: 64 << 20, ..CaptureOptions::default() };
        let mut capture = Capture::load(&options).unwrap();
        let ring = capture.take_rings().pop().unwrap();
        let assembler = Assembler::new(Limits::default());
        Self { attachment: None, capture, ring, assembler, exchanges: Vec::new(), cgroup }
    }

    fn attach(&mut self) {
        self.attachment = Some(self.capture.attach(self.cgroup.path(), &Ports::All).unwrap());
    }

    fn connect(&self, tapped: Side) -> Connection {
        let untapped = Cgroup::create("untapped").unwrap();
        let place = |side| if side == tapped { &self.cgroup } else { &untapped };
        let listener = {
            let _inside = place(Server).join().unwrap();
            TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap()
        };
        let client = {
            let _inside = place(Client).join().unwrap();
            TcpStream::connect(listener.local_addr().unwrap()).unwrap()
        };
        Connection { client, server: listener.accept().unwrap().0 }
    }

    /// Passes on what the ring holds, as the agent does.
    fn drain(&mut self) {
        let Self { ring, assembler, exchanges, .. } = self;
        let drained = ring
            .serve(usize::MAX, |segment| assembler.push(segment, &mut |exchange| exchanges.push(exchange)));
        assert_eq!(drained.unknown, 0);
    }

    /// The counters once they balance, after everything was read.
    fn counters(&mut self) -> KernelCounters {
        let tap = self.attachment.as_ref().unwrap().tap();
        let counters = until("the counters balance", || {
            let counters = self.capture.counters(tap).unwrap();
            if counters.balances() { Ok(counters) } else { Err(format!("{counters:?}")) }
        })
        .unwrap();
        self.drain();
        let stats = self.stats();
        assert_eq!(counters.copied.bytes, stats.bytes_in, "everything that was copied was read");
        assert!(stats.balances(), "{stats:?}");
        assert_eq!(counters.lost.bytes + counters.truncated.bytes + counters.filtered().bytes, 0);
        counters
    }

    fn stats(&self) -> FlowStats {
        self.assembler.stats(self.attachment.as_ref().unwrap().tap())
    }
}

impl Connection {
    /// Sends a part and waits until the other end has it, while the ring is read.
    fn say(&mut self, tapped: &mut Tapped, side: Side, part: &[u8]) {
        let (from, to) = match side {
            Client => (&mut self.client, &mut self.server),
            Server => (&mut self.server, &mut self.client),
        };
        thread::scope(|scope| {
            let sender = scope.spawn(|| from.write_all(part).unwrap());
            let mut received = vec![0; part.len()];
            let mut filled = 0;
            while filled < part.len() {
                filled += to.read(&mut received[filled..]).unwrap();
                tapped.drain();
            }
            assert!(received == part, "it arrived changed");
            sender.join().unwrap();
        });
        tapped.drain();
    }
}

/// Bytes without any text.
fn noise(len: usize) -> Vec<u8> {
    (0..len).map(|index| (index * 7 % 251 / 8) as u8 | 0x80).collect()
}

fn response(body: usize) -> Vec<u8> {
    let mut bytes = format!("HTTP/1.1 200 OK\r\nContent-Length: {body}\r\n\r\n").into_bytes();
    bytes.extend(noise(body));
    bytes
}

#[test]
fn of_what_is_not_http_only_the_first_segment_is_copied() {
    let hello = [b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03".as_slice(), &noise(500)].concat();
    let preface = [b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".as_slice(), &[0; 20]].concat();
    for (what, verdict, first) in [
        ("TLS", VERDICT_TLS, hello.as_slice()),
        ("HTTP/2", VERDICT_HTTP2, &preface),
        ("PostgreSQL", VERDICT_OTHER, b"\0\0\0\x08\x04\xd2\x16\x2f"),
        ("Redis", VERDICT_OTHER, b"*1\r\n$4\r\nPING\r\n"),
    ] {
        for side in TAPPED {
            let mut tapped = Tapped::new();
            let mut connection = tapped.connect(side);
            connection.say(&mut tapped, Client, first);
            for _ in 0..3 {
                connection.say(&mut tapped, Server, &noise(300_000));
                connection.say(&mut tapped, Client, &noise(2000));
            }
            drop(connection);
            let counters = tapped.counters();
            // TCP may have sent some of it twice.
            let seen = counters.seen.bytes;
            assert!(seen >= first.len() as u64 + 3 * 302_000, "{what} {side:?}: {counters:?}");
            assert_eq!(counters.copied.bytes, first.len() as u64, "{what} {side:?}: {counters:?}");
            assert_eq!(counters.skipped_as(verdict).bytes, seen - first.len() as u64, "{what} {side:?}");
            assert_eq!(counters.by_verdict[verdict as usize], first.len() as u64, "{what} {side:?}");
            assert!(tapped.exchanges.is_empty());
            let stats = tapped.stats();
            assert_eq!(stats.flows_tls + stats.flows_http2 + stats.flows_other, 1, "{what} {side:?}");
        }
    }
}

#[test]
fn of_http_everything_is_copied() {
    for side in TAPPED {
        let mut tapped = Tapped::new();
        let mut connection = tapped.connect(side);
        for method in ["GET", "POST", "PROPFIND", "X-ODD~VERB"] {
            // Bodies that begin like anything.
            for body in [&b"\x16\x03\x01\x02\x00\x01"[..], b"PRI * HTTP/2.0", b"\0\0\0\x08", b"hello"] {
                let head =
                    format!("{method} / HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\r\n", body.len());
                connection.say(&mut tapped, Client, head.as_bytes());
                connection.say(&mut tapped, Client, body);
                connection.say(&mut tapped, Server, b"HTTP/1.1 100 Continue\r\n\r\n");
                connection.say(&mut tapped, Server, b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n");
                connection.say(&mut tapped, Server, b"\x16\x03\x03\0\0");
            }
        }
        let counters = tapped.counters();
        assert_eq!(counters.copied.bytes, counters.seen.bytes, "{counters:?}");
        assert_eq!(tapped.exchanges.len(), 16);
        let of_http = counters.by_verdict[VERDICT_HTTP1 as usize];
        assert_eq!(of_http, counters.seen.bytes, "{counters:?}");
        for exchange in &tapped.exchanges {
            assert_eq!(exchange.request.as_ref().unwrap().completeness, Completeness::Complete);
            assert_eq!(exchange.response.as_ref().unwrap().completeness, Completeness::Complete);
        }
    }
}

#[test]
fn a_connection_that_was_joined_in_its_middle_stays_possible_http() {
    for side in TAPPED {
        let mut tapped = Tapped::unattached();
        let mut connection = tapped.connect(side);
        let (begun, rest) = (noise(1000), noise(1000));
        connection.say(&mut tapped, Client, b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 3000\r\n\r\n");
        connection.say(&mut tapped, Client, &begun);
        tapped.attach();
        connection.say(&mut tapped, Client, &rest);
        // What a body may hold, at the beginning of a segment.
        connection.say(&mut tapped, Client, &[b"\0\0\0\x08".as_slice(), &noise(996)].concat());
        connection.say(&mut tapped, Server, OK);
        connection.say(&mut tapped, Client, GET);
        connection.say(&mut tapped, Server, OK);
        let counters = tapped.counters();
        assert_eq!(counters.copied.bytes, counters.seen.bytes, "{counters:?}");
        assert!(counters.by_verdict[VERDICT_UNKNOWN as usize] >= 2000, "{side:?} {counters:?}");
        let is_get =
            |exchange: &Exchange| exchange.request.as_ref().is_some_and(|it| &it.method[..] == b"GET");
        assert!(tapped.exchanges.iter().any(is_get), "{side:?}: {:?}", tapped.exchanges);
    }
}

#[test]
fn a_connection_that_was_idle_when_it_was_joined_is_judged() {
    let mut tapped = Tapped::unattached();
    let mut connection = tapped.connect(Server);
    tapped.attach();
    connection.say(&mut tapped, Client, b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03");
    connection.say(&mut tapped, Server, &noise(1000));
    let counters = tapped.counters();
    assert!(counters.skipped_as(VERDICT_TLS).bytes >= 1000, "{counters:?}");
}

#[test]
fn the_rest_of_a_large_body_is_left_out() {
    for side in TAPPED {
        let mut tapped = Tapped::new();
        let mut connection = tapped.connect(side);
        let mut sent = 0;
        for _ in 0..3 {
            connection.say(&mut tapped, Client, GET);
            // When the second part is sent, the programs have been told.
            let large = response(LARGE);
            let (first, rest) = large.split_at(PAST_CAP);
            connection.say(&mut tapped, Server, first);
            connection.say(&mut tapped, Server, rest);
            connection.say(&mut tapped, Client, GET);
            connection.say(&mut tapped, Server, OK);
            sent += 2 * GET.len() + response(LARGE).len() + OK.len();
        }
        let counters = tapped.counters();
        // TCP may have sent some of it twice.
        assert!(counters.seen.bytes >= sent as u64, "{counters:?}");
        assert_eq!(counters.copied.bytes + counters.body.bytes, counters.seen.bytes, "{counters:?}");
        let stats = tapped.stats();
        assert_eq!(stats.bytes_in_exchanges + stats.bytes_duplicate, counters.copied.bytes, "{stats:?}");
        assert_eq!(stats.gaps, 0, "{stats:?}");
        // The last byte of each is needed.
        let rest = response(LARGE).len() - PAST_CAP - 1;
        assert!(counters.body.bytes >= 3 * rest as u64, "{side:?}: {counters:?}");
        assert_eq!(tapped.exchanges.len(), 6);
        for (index, exchange) in tapped.exchanges.iter().enumerate() {
            let response = exchange.response.as_ref().unwrap();
            if index % 2 == 0 {
                assert_eq!((response.body.content.len(), response.body.size), (64 << 10, LARGE as u64));
                assert!(matches!(response.completeness, Completeness::Truncated { .. }));
                assert!(response.span.end > response.span.start, "its end was seen");
            } else {
                assert_eq!(response.completeness, Completeness::Complete);
            }
        }
    }
}

#[test]
fn a_large_body_that_ends_with_its_connection_has_its_size() {
    for side in TAPPED {
        let mut tapped = Tapped::new();
        let mut connection = tapped.connect(side);
        connection.say(&mut tapped, Client, GET);
        connection.say(&mut tapped, Server, b"HTTP/1.1 200 OK\r\n\r\n");
        let body = noise(LARGE);
        let (first, rest) = body.split_at(PAST_CAP);
        connection.say(&mut tapped, Server, first);
        connection.say(&mut tapped, Server, rest);
        let Connection { client, server } = connection;
        drop(server);
        // The FIN has passed both hooks when the client sees the end.
        assert_eq!((&client).read(&mut [0; 1]).unwrap(), 0);
        tapped.drain();
        let size = tapped.exchanges[0].response.as_ref().unwrap().body.size;
        assert_eq!(size, LARGE as u64, "{side:?}");
        let counters = tapped.counters();
        assert_eq!(counters.copied.bytes + counters.body.bytes, counters.seen.bytes, "{counters:?}");
        assert!(counters.body.bytes >= (LARGE - PAST_CAP) as u64, "{counters:?}");
    }
}

#[test]
fn what_follows_an_upgrade_is_left_out() {
    let mut tapped = Tapped::new();
    let mut connection = tapped.connect(Server);
    let request = b"GET /ws HTTP/1.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n";
    connection.say(&mut tapped, Client, request);
    connection.say(&mut tapped, Server, b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n");
    for _ in 0..10 {
        connection.say(&mut tapped, Client, &noise(1000));
        connection.say(&mut tapped, Server, &noise(1000));
    }
    let counters = tapped.counters();
    let skipped = counters.skipped_as(VERDICT_GIVEN_UP).bytes;
    assert_eq!(counters.copied.bytes + skipped, counters.seen.bytes, "{counters:?}");
    assert!(skipped >= 20_000, "{counters:?}");
    assert_eq!(tapped.exchanges.len(), 1);
}

#[test]
fn sockets_are_judged_each_for_itself() {
    let mut tapped = Tapped::new();
    let mut connections: Vec<_> = (0..40).map(|_| tapped.connect(Server)).collect();
    for (index, connection) in connections.iter_mut().enumerate() {
        if index % 2 == 0 {
            connection.say(&mut tapped, Client, b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03");
        } else {
            connection.say(&mut tapped, Client, GET);
        }
    }
    for (index, connection) in connections.iter_mut().enumerate() {
        connection.say(&mut tapped, Server, if index % 2 == 0 { &[7; 100] } else { OK });
    }
    let counters = tapped.counters();
    assert!(counters.skipped_as(VERDICT_TLS).bytes >= 20 * 100, "{counters:?}");
    assert_eq!(tapped.exchanges.len(), 20);
}
