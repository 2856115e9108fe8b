//! Random conversations over a hostile network, against what was really said.

use proptest::{collection::vec, prelude::*, sample::Index};
use tap_flow::{Completeness, Direction, Exchange, Limits};

use crate::support::{Connection, Packet, run, run_with};

/// One exchange as it was meant. Its number is in the target, and in a field of the response.
#[derive(Clone, Debug)]
struct Said {
    method: &'static str,
    request_body: Vec<u8>,
    request_chunked: bool,
    status: u16,
    interim: bool,
    response_body: Vec<u8>,
    response_chunked: bool,
}

/// How the bytes of one turn in one direction are sent.
#[derive(Clone, Debug)]
struct Sending {
    cuts: Vec<Index>,
    /// Segments that are sent twice, with the place where the copy turns up.
    repeats: Vec<(Index, Index)>,
    /// Ranges that are sent again, across the boundaries of segments.
    overlaps: Vec<(Index, Index, Index)>,
    swaps: Vec<(Index, Index)>,
}

/// Requests sent together, answered together.
#[derive(Clone, Debug)]
struct Turn {
    said: Vec<Said>,
    requests: Sending,
    responses: Sending,
}

impl Said {
    fn request(&self, number: usize) -> Vec<u8> {
        let head = format!("{} /{number} HTTP/1.1\r\nHost: model\r\n", self.method);
        message(head, &self.request_body, self.request_chunked, !self.request_body.is_empty())
    }

    fn response(&self, number: usize) -> Vec<u8> {
        let interim = if self.interim { "HTTP/1.1 103 Early Hints\r\nLink: a\r\n\r\n" } else { "" };
        let head = format!("{interim}HTTP/1.1 {} Said\r\nNumber: {number}\r\n", self.status);
        if !self.has_response_body() {
            return format!("{head}Content-Length: {}\r\n\r\n", self.response_body.len()).into_bytes();
        }
        message(head, &self.response_body, self.response_chunked, true)
    }

    fn has_response_body(&self) -> bool {
        self.method != "HEAD" && self.status != 204 && self.status != 304
    }
}

fn message(head: String, body: &[u8], chunked: bool, has_body: bool) -> Vec<u8> {
    let mut message = head.into_bytes();
    if !has_body {
        message.extend(b"\r\n");
    } else if chunked {
        message.extend(b"Transfer-Encoding: chunked\r\n\r\n");
        for chunk in body.chunks(17) {
            message.extend(format!("{:x};part\r\n", chunk.len()).bytes());
            message.extend(chunk);
            message.extend(b"\r\n");
        }
        message.extend(b"0\r\nTrailer: x\r\n\r\n");
    } else {
        message.extend(format!("Content-Length: {}\r\n\r\n", body.len()).bytes());
        message.extend(body);
    }
    message
}

/// Bodies, some of which try to be taken for messages.
fn body() -> impl Strategy<Value = Vec<u8>> {
    let forged = "HTTP/1.1 200 Forged\r\nNumber: 99\r\nContent-Length: 0\r\n\r\n";
    let forged_request = "GET /99 HTTP/1.1\r\nHost: forged\r\n\r\n";
    prop_oneof![
        3 => vec(any::<u8>(), 0..120),
        1 => (vec(any::<u8>(), 0..40), 1usize..4).prop_map(move |(mut body, times)| {
            body.extend(forged.repeat(times).bytes());
            body
        }),
        1 => (vec(any::<u8>(), 0..40), 1usize..4).prop_map(move |(mut body, times)| {
            body.extend(forged_request.repeat(times).bytes());
            body
        }),
    ]
}

prop_compose! {
    fn said()(
        method in prop_oneof![Just("GET"), Just("POST"), Just("HEAD"), Just("DELETE")],
        request_body in prop_oneof![Just(Vec::new()), body()],
        request_chunked: bool,
        status in prop_oneof![4 => Just(200u16), 1 => Just(204), 1 => Just(304), 1 => Just(500)],
        interim in prop::bool::weighted(0.1),
        response_body in body(),
        response_chunked: bool,
    ) -> Said {
        Said { method, request_body, request_chunked, status, interim, response_body, response_chunked }
    }
}

prop_compose! {
    fn sending()(
        cuts in vec(any::<Index>(), 0..6),
        repeats in vec(any::<(Index, Index)>(), 0..2),
        overlaps in vec(any::<(Index, Index, Index)>(), 0..2),
        swaps in vec(any::<(Index, Index)>(), 0..3),
    ) -> Sending {
        Sending { cuts, repeats, overlaps, swaps }
    }
}

prop_compose! {
    fn turn(max_pipelined: usize)(
        said in vec(said(), 1..=max_pipelined),
        requests in sending(),
        responses in sending(),
    ) -> Turn {
        Turn { said, requests, responses }
    }
}

/// Writes the turns down, in order and without repetition, with the packets of each turn and direction.
fn write(turns: &[Turn], sequences: [u32; 2]) -> (Connection, Vec<(std::ops::Range<usize>, Sending)>) {
    let mut connection = Connection::open_at(sequences);
    let mut runs = Vec::new();
    let mut number = 0;
    for Turn { said, requests, responses } in turns {
        let (mut asked, mut answered) = (Vec::new(), Vec::new());
        for said in said {
            asked.extend(said.request(number));
            answered.extend(said.response(number));
            number += 1;
        }
        for (direction, bytes, sending) in
            [(Direction::Ingress, asked, requests), (Direction::Egress, answered, responses)]
        {
            let start = connection.packets.len();
            let mut cuts: Vec<usize> = sending.cuts.iter().map(|cut| cut.index(bytes.len())).collect();
            cuts.extend([0, bytes.len()]);
            cuts.sort_unstable();
            cuts.dedup();
            for cut in cuts.windows(2) {
                let piece = &bytes[cut[0]..cut[1]];
                connection = match direction {
                    Direction::Ingress => connection.client(piece),
                    Direction::Egress => connection.server(piece),
                };
            }
            runs.push((start..connection.packets.len(), sending.clone()));
        }
    }
    (connection, runs)
}

/// Repeats, overlaps and reorders the packets of each run.
fn scramble(connection: &Connection, runs: &[(std::ops::Range<usize>, Sending)]) -> Vec<Packet> {
    let mut packets = connection.packets[..2].to_vec();
    for (range, sending) in runs {
        let run = &connection.packets[range.clone()];
        let mut scrambled = run.to_vec();
        for (which, place) in &sending.repeats {
            let copy = run[which.index(run.len())].clone();
            scrambled.insert(place.index(scrambled.len() + 1), copy);
        }
        for (from, length, place) in &sending.overlaps {
            let bytes: Vec<u8> = run.iter().flat_map(|packet| packet.payload.iter().copied()).collect();
            let from = from.index(bytes.len());
            let length = length.index(bytes.len() - from) + 1;
            let mut copy = run[0].clone();
            copy.sequence = copy.sequence.wrapping_add(from as u32);
            copy.payload = bytes[from..from + length].to_vec();
            scrambled.insert(place.index(scrambled.len() + 1), copy);
        }
        for (a, b) in &sending.swaps {
            let (a, b) = (a.index(scrambled.len()), b.index(scrambled.len()));
            scrambled.swap(a, b);
        }
        packets.extend(scrambled);
    }
    for (at, packet) in packets.iter_mut().enumerate() {
        packet.time = at as u64 * 1000;
    }
    packets
}

/// The exchange is what was said, in every part.
fn assert_true(exchange: &Exchange, number: usize, said: &Said) {
    let (request, response) = (exchange.request.as_ref().unwrap(), exchange.response.as_ref().unwrap());
    assert_eq!(request.target, format!("/{number}"));
    assert_eq!(request.method, said.method);
    assert_eq!(request.body.content, said.request_body);
    assert_eq!(request.body.size, said.request_body.len() as u64);
    assert_eq!(response.headers.get("number").unwrap(), number.to_string().as_bytes());
    assert_eq!(response.status, said.status);
    let body = if said.has_response_body() { &said.response_body[..] } else { &[] };
    assert_eq!(response.body.content, body);
}

fn is_complete(exchange: &Exchange) -> bool {
    let request = exchange.request.as_ref().map(|request| request.completeness);
    let response = exchange.response.as_ref().map(|response| response.completeness);
    (request, response) == (Some(Completeness::Complete), Some(Completeness::Complete))
}

/// What a complete exchange claims must be what was said.
fn assert_nothing_false(exchanges: &[Exchange], said: &[&Said]) {
    for exchange in exchanges.iter().filter(|exchange| is_complete(exchange)) {
        let target = exchange.request.as_ref().unwrap().target.clone();
        let number: usize = std::str::from_utf8(&target[1..]).unwrap().parse().unwrap();
        assert!(number < said.len(), "a forged request is complete");
        assert_true(exchange, number, said[number]);
    }
}

fn all_said(turns: &[Turn]) -> Vec<&Said> {
    turns.iter().flat_map(|turn| &turn.said).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn nothing_is_lost_to_reordering_repetition_and_overlap(
        turns in vec(turn(3), 1..6),
        sequences in any::<[u32; 2]>(),
    ) {
        let (connection, runs) = write(&turns, sequences);
        let mut run = run(&scramble(&connection, &runs));
        run.exchanges.sort_by_key(|exchange| exchange.index);
        let said = all_said(&turns);
        prop_assert_eq!(run.exchanges.len(), said.len());
        for (number, exchange) in run.exchanges.iter().enumerate() {
            prop_assert!(is_complete(exchange));
            assert_true(exchange, number, said[number]);
            // Lost interim responses leave no trace where the server's SYN was lost too.
            let interim = if said[number].interim { vec![103] } else { vec![] };
            prop_assert_eq!(&exchange.response.as_ref().unwrap().interim, &interim);
        }
        prop_assert_eq!(run.stats.gaps, 0);
    }

    #[test]
    fn loss_makes_nothing_false(
        turns in vec(turn(3), 1..8),
        lost in vec(any::<Index>(), 1..6),
        tiny: bool,
    ) {
        let (connection, runs) = write(&turns, [1, u32::MAX - 100]);
        let mut packets = scramble(&connection, &runs);
        for lost in lost {
            if !packets.is_empty() {
                packets.remove(lost.index(packets.len()));
            }
        }
        let limits = if tiny {
            Limits { out_of_order_bytes: 50, out_of_order_segments: 2, ..Limits::default() }
        } else {
            Limits::default()
        };
        let run = run_with(limits, &packets);
        assert_nothing_false(&run.exchanges, &all_said(&turns));
    }

    #[test]
    fn cut_segments_make_nothing_false(
        turns in vec(turn(2), 1..6),
        cuts in vec(any::<(Index, Index)>(), 1..5),
    ) {
        let (connection, _) = write(&turns, [7, 7]);
        let mut packets = connection.packets.clone();
        for (which, length) in cuts {
            let at = which.index(packets.len());
            let packet = &mut packets[at];
            let kept = length.index(packet.payload.len() + 1);
            packet.cut += (packet.payload.len() - kept) as u32;
            packet.payload.truncate(kept);
        }
        let run = run(&packets);
        assert_nothing_false(&run.exchanges, &all_said(&turns));
    }
}
