//! One conversation: cut at any points it yields what it yields in one piece.
//!
//! The first byte seeds the cuts; a `\0` separates what the client says from what the server says.

#![no_main]

use std::net::SocketAddr;

use libfuzzer_sys::fuzz_target;
use tap_flow::{
    Assembler, CgroupId, Direction, Exchange, Failure, FlowKey, FlowStats, Limits, Segment, TapId, TcpFlags,
};

const TAP: TapId = TapId(1);

fuzz_target!(|input: &[u8]| {
    let [seed, input @ ..] = input else { return };
    let mut halves = input.splitn(2, |byte| *byte == 0);
    let requests = halves.next().unwrap_or_default();
    let responses = halves.next().unwrap_or_default();
    let (whole, stats) = converse(requests, responses, |_| usize::MAX);
    // Where the next message starts after something invalid depends on the segments, by design.
    let invalid: u64 = Failure::ALL.iter().map(|failure| stats.failures(*failure)).sum();
    let mut state = u32::from(*seed);
    let (cut, _) = converse(requests, responses, |_| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        1 + (state >> 16) as usize % 11
    });
    if invalid == 0 {
        assert_eq!(whole.len(), cut.len());
        for (whole, cut) in whole.iter().zip(&cut) {
            assert_eq!(without_times(whole), without_times(cut));
        }
    }
});

fn without_times(exchange: &Exchange) -> Exchange {
    let mut exchange = exchange.clone();
    if let Some(request) = &mut exchange.request {
        request.span = Default::default();
    }
    if let Some(response) = &mut exchange.response {
        response.span = Default::default();
    }
    exchange
}

fn converse(
    requests: &[u8],
    responses: &[u8],
    mut piece: impl FnMut(usize) -> usize,
) -> (Vec<Exchange>, FlowStats) {
    let mut assembler = Assembler::new(Limits { head_bytes: 2048, ..Limits::default() });
    let mut exchanges = Vec::new();
    let key = FlowKey {
        tap: TAP,
        local: SocketAddr::from(([127, 0, 0, 1], 80)),
        remote: SocketAddr::from(([127, 0, 0, 1], 9)),
    };
    let ack = TcpFlags::ACK;
    let mut push = |direction, flags, sequence: usize, payload: &[u8]| {
        let sequence = sequence as u32;
        let segment = Segment { key, cgroup: CgroupId(1), direction, time: 1, sequence, flags, payload, cut: 0 };
        assembler.push(segment, &mut |exchange| exchanges.push(exchange));
    };
    push(Direction::Ingress, TcpFlags::SYN, 0, b"");
    push(Direction::Egress, TcpFlags::SYN | ack, 0, b"");
    for (direction, bytes) in [(Direction::Ingress, requests), (Direction::Egress, responses)] {
        let mut at = 0;
        while at < bytes.len() {
            let end = at.saturating_add(piece(at)).min(bytes.len());
            push(direction, ack, 1 + at, &bytes[at..end]);
            at = end;
        }
    }
    push(Direction::Ingress, TcpFlags::FIN, 1 + requests.len(), b"");
    push(Direction::Egress, TcpFlags::FIN, 1 + responses.len(), b"");
    assembler.finish(&mut |exchange| exchanges.push(exchange));
    let stats = assembler.stats(TAP);
    assert!(stats.balances(), "{stats:?}");
    exchanges.sort_by_key(|exchange| exchange.index);
    (exchanges, stats)
}
