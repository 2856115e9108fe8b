//! Connections that their caller has no room or time for.

use std::net::SocketAddr;

use proptest::prelude::*;
use tap_flow::{Assembler, Cause, Completeness, FlowKey, Limits, Reason};

use crate::support::{Connection, TAP, assert_balanced, key, push_all};

const GET: &str = "GET /cart HTTP/1.1\r\nHost: shop\r\n\r\n";
const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello";

#[test]
fn a_connection_that_is_not_admitted_costs_its_bytes_and_nothing_else() {
    let mut assembler = Assembler::new(Limits::default());
    let connection = Connection::open().exchange(GET, OK).exchange(GET, OK).close();
    let mut asked = 0;
    for packet in &connection.packets {
        let refuse = |_: &FlowKey| {
            asked += 1;
            Err(Reason::ShedForMemory)
        };
        assembler.push_admitted(packet.segment(key()), refuse, &mut |_| panic!("it is not followed"));
    }
    let stats = assembler.stats(TAP);
    assert_balanced(&stats, &[]);
    assert_eq!(stats.bytes_discarded(Reason::ShedForMemory), 2 * (GET.len() + OK.len()) as u64);
    assert_eq!((asked, stats.flows, stats.flows_shed), (1, 1, 1));
    assert_eq!(assembler.held_bytes(), 0);
}

#[test]
fn a_connection_that_is_shed_gives_what_it_has_and_stays_shed_to_its_end() {
    let mut assembler = Assembler::new(Limits::default());
    let mut exchanges = Vec::new();
    let open = Connection::open().exchange(GET, OK).client(GET);
    push_all(&mut assembler, &open.packets, &mut exchanges);
    assembler.shed(|_| Some(Reason::ShedForCpu), &mut |exchange| exchanges.push(exchange));
    let before = open.packets.len();
    let rest = open.server(OK).exchange(GET, OK).close();
    push_all(&mut assembler, &rest.packets[before..], &mut exchanges);

    assert_eq!(exchanges.len(), 2);
    assert_eq!(exchanges[1].request.as_ref().unwrap().completeness, Completeness::Complete);
    assert!(exchanges[1].response.is_none());
    let stats = assembler.stats(TAP);
    assert_eq!(stats.bytes_discarded(Reason::ShedForCpu), (GET.len() + 2 * OK.len()) as u64);
    assert_eq!(stats.flows_shed, 1);

    // The next connection of the same addresses is another one.
    push_all(&mut assembler, &Connection::open_at([7, 8]).exchange(GET, OK).close().packets, &mut exchanges);
    assert_eq!(exchanges.len(), 3);
}

#[test]
fn only_those_that_were_meant_are_shed() {
    let mut assembler = Assembler::new(Limits::default());
    let mut exchanges = Vec::new();
    let upload = format!("POST / HTTP/1.1\r\nContent-Length: 10\r\n\r\n{}", "x".repeat(5));
    for port in 1..=10 {
        let key = FlowKey { remote: SocketAddr::from(([10, 0, 0, 2], port)), ..key() };
        for packet in &Connection::open().client(&upload).packets {
            assembler.push(packet.segment(key), &mut |exchange| exchanges.push(exchange));
        }
    }
    let odd = |key: &FlowKey| (key.remote.port() % 2 == 1).then_some(Reason::ShedForMemory);
    assembler.shed(odd, &mut |exchange| exchanges.push(exchange));
    assert_eq!(exchanges.len(), 5);
    let evicted = Completeness::Truncated { bytes: 5, cause: Cause::Evicted };
    for exchange in &exchanges {
        assert_eq!(exchange.request.as_ref().unwrap().completeness, evicted);
        assert_eq!(exchange.flow.remote.port() % 2, 1);
    }
    assert_balanced(&assembler.stats(TAP), &exchanges);
    assert_eq!(assembler.stats(TAP).flows_shed, 5);
}

proptest! {
    #[test]
    fn every_byte_is_accounted_for_wherever_a_connection_is_shed(
        pieces in prop::collection::vec((any::<bool>(), 1..60_usize), 1..20),
        shed_at in 0..40_usize,
    ) {
        let (mut requests, mut responses) = (GET.repeat(10), OK.repeat(10));
        let mut connection = Connection::open();
        for (from_client, length) in pieces {
            let said = if from_client { &mut requests } else { &mut responses };
            let piece: String = said.drain(..length.min(said.len())).collect();
            connection = if from_client { connection.client(piece) } else { connection.server(piece) };
        }
        let connection = connection.close();
        let mut assembler = Assembler::new(Limits::default());
        let mut exchanges = Vec::new();
        for (at, packet) in connection.packets.iter().enumerate() {
            if at == shed_at {
                assembler.shed(|_| Some(Reason::ShedForMemory), &mut |exchange| exchanges.push(exchange));
                prop_assert_eq!(assembler.held_bytes(), 0);
            }
            push_all(&mut assembler, std::slice::from_ref(packet), &mut exchanges);
        }
        assembler.finish(&mut |exchange| exchanges.push(exchange));
        assert_balanced(&assembler.stats(TAP), &exchanges);
        prop_assert_eq!(assembler.stats(TAP).bytes_buffered, 0);
    }
}
