//! Connections that are joined, lost in part, reused, given up or forgotten.

use std::net::SocketAddr;

use tap_flow::{Assembler, Cause, Completeness, Direction, FlowKey, Limits, Reason};

use crate::support::{CGROUP, Connection, MILLISECOND, TAP, assert_balanced, key, push_all, run, run_with};

const GET: &str = "GET /cart HTTP/1.1\r\nHost: shop\r\n\r\n";
const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello";
const COMPLETE: Option<Completeness> = Some(Completeness::Complete);

/// The completeness of each exchange's request and response.
fn completeness(run: &crate::support::Run) -> Vec<(Option<Completeness>, Option<Completeness>)> {
    let mut exchanges: Vec<_> = run.exchanges.iter().collect();
    exchanges.sort_by_key(|exchange| exchange.index);
    exchanges
        .into_iter()
        .map(|exchange| {
            let request = exchange.request.as_ref().map(|request| request.completeness);
            (request, exchange.response.as_ref().map(|response| response.completeness))
        })
        .collect()
}

#[test]
fn a_joined_connection_is_certain_from_its_second_exchange() {
    let connection = Connection::joined().exchange(GET, OK).exchange(GET, OK);
    let joined = Some(Completeness::JoinedMidstream);
    assert_eq!(completeness(&run(&connection.packets)), [(joined, COMPLETE), (COMPLETE, COMPLETE)]);
}

#[test]
fn an_exchange_knows_the_cgroup_of_its_socket() {
    let run = run(&Connection::open().exchange(GET, OK).packets);
    assert_eq!(run.exchanges[0].cgroup, CGROUP);
}

#[test]
fn a_connection_joined_within_a_response_waits_for_the_next_request() {
    let connection = Connection::joined().server("rest of a body").exchange(GET, OK).exchange(GET, OK);
    let run = run(&connection.packets);
    let joined = Some(Completeness::JoinedMidstream);
    assert_eq!(completeness(&run), [(joined, COMPLETE), (COMPLETE, COMPLETE)]);
    assert_eq!(run.stats.bytes_discarded(Reason::JoinedMidstream), 14);
}

#[test]
fn a_lost_request_costs_two_pairs_and_no_more() {
    let connection = Connection::open()
        .exchange(GET, OK)
        .lost(Direction::Ingress, GET)
        .server(OK)
        .exchange(GET, OK)
        .exchange(GET, OK);
    let run = run(&connection.packets);
    let gap = Some(Completeness::Gap { offset: 0, bytes: GET.len() as u64 });
    assert_eq!(
        completeness(&run),
        [(COMPLETE, COMPLETE), (None, COMPLETE), (gap, None), (None, COMPLETE), (COMPLETE, COMPLETE)]
    );
    assert_eq!((run.stats.gaps, run.stats.gap_bytes), (1, GET.len() as u64));
}

#[test]
fn a_lost_response_is_noticed_when_the_client_goes_on() {
    let connection =
        Connection::open().client(GET).lost(Direction::Egress, OK).exchange(GET, OK).exchange(GET, OK);
    let run = run(&connection.packets);
    let gap = Some(Completeness::Gap { offset: 0, bytes: OK.len() as u64 });
    assert_eq!(completeness(&run), [(COMPLETE, None), (COMPLETE, None), (None, gap), (COMPLETE, COMPLETE)]);
}

#[test]
fn a_hole_in_a_counted_body_keeps_the_connection_in_step() {
    let (head, tail) = OK.split_at(OK.len() - 5);
    let connection = Connection::open()
        .client(GET)
        .server(head)
        .lost(Direction::Egress, &tail[..2])
        .server(&tail[2..])
        .exchange(GET, OK);
    let gap = Some(Completeness::Gap { offset: 0, bytes: 2 });
    assert_eq!(completeness(&run(&connection.packets)), [(COMPLETE, gap), (COMPLETE, COMPLETE)]);
}

#[test]
fn a_hole_is_given_up_in_time() {
    let connection = Connection::open().client(GET).lost(Direction::Egress, &OK[..20]).server(&OK[20..]);
    let mut assembler = Assembler::new(Limits { hole_ns: 50 * MILLISECOND, ..Limits::default() });
    let mut exchanges = Vec::new();
    push_all(&mut assembler, &connection.packets, &mut exchanges);
    assembler.expire(53 * MILLISECOND, &mut |exchange| exchanges.push(exchange));
    assert_eq!(assembler.stats(TAP).gaps, 0);
    assembler.expire(60 * MILLISECOND, &mut |exchange| exchanges.push(exchange));
    let stats = assembler.stats(TAP);
    assert_eq!((stats.gaps, stats.gap_bytes, exchanges.len()), (1, 20, 1));
    assert_balanced(&stats, &exchanges);
}

#[test]
fn silence_ends_a_flow() {
    let connection = Connection::open().client(GET).server(&OK[..OK.len() - 1]);
    let mut assembler = Assembler::new(Limits::default());
    let mut exchanges = Vec::new();
    push_all(&mut assembler, &connection.packets, &mut exchanges);
    assembler.expire(3600 * 1000 * MILLISECOND, &mut |exchange| exchanges.push(exchange));
    let response = exchanges[0].response.as_ref().unwrap();
    assert_eq!(response.completeness, Completeness::Truncated { bytes: 1, cause: Cause::Evicted });
    assert_eq!((assembler.flows(), assembler.stats(TAP).flows_idle), (0, 1));
    assert_balanced(&assembler.stats(TAP), &exchanges);
}

#[test]
fn the_same_addresses_again_are_another_flow() {
    let mut packets = Connection::open().client(GET).packets;
    packets.extend(Connection::open_at([77, 88]).exchange(GET, OK).packets);
    let run = run(&packets);
    assert_eq!(completeness(&run), [(COMPLETE, None), (COMPLETE, COMPLETE)]);
    assert_ne!(run.exchanges[0].flow_serial, run.exchanges[1].flow_serial);
}

#[test]
fn a_late_retransmission_is_not_a_new_connection() {
    let connection = Connection::open().exchange(GET, OK).close();
    let mut packets = connection.packets.clone();
    packets.push(connection.packets[2].clone());
    let run = run(&packets);
    assert_eq!(run.exchanges.len(), 1);
    assert_eq!(run.stats.bytes_discarded(Reason::AfterClose), GET.len() as u64);
}

#[test]
fn too_many_flows_evict_the_oldest() {
    let mut assembler = Assembler::new(Limits { flows: 3, ..Limits::default() });
    let mut exchanges = Vec::new();
    for port in 1..=10 {
        let key = FlowKey { remote: SocketAddr::from(([10, 0, 0, 2], port)), ..key() };
        for packet in &Connection::open().client(GET).packets {
            assembler.push(packet.segment(key), &mut |exchange| exchanges.push(exchange));
        }
        assert!(assembler.flows() <= 3);
        assert_balanced(&assembler.stats(TAP), &exchanges);
    }
    assert_eq!((exchanges.len(), assembler.stats(TAP).flows_evicted), (7, 7));
}

#[test]
fn memory_is_bounded_over_all_flows() {
    let limits = Limits { total_bytes: 200_000, ..Limits::default() };
    let mut assembler = Assembler::new(limits);
    let mut exchanges = Vec::new();
    let upload = format!("POST / HTTP/1.1\r\nContent-Length: 100000\r\n\r\n{}", "x".repeat(50_000));
    for port in 1..=20 {
        let key = FlowKey { remote: SocketAddr::from(([10, 0, 0, 2], port)), ..key() };
        for packet in &Connection::open().client(&upload).packets {
            assembler.push(packet.segment(key), &mut |exchange| exchanges.push(exchange));
            assert!(assembler.held_bytes() <= 200_000);
        }
        assert_balanced(&assembler.stats(TAP), &exchanges);
    }
    assert!(assembler.stats(TAP).flows_evicted >= 16);
}

#[test]
fn a_tap_that_is_forgotten_leaves_nothing() {
    let mut assembler = Assembler::new(Limits::default());
    let mut exchanges = Vec::new();
    push_all(&mut assembler, &Connection::open().client(GET).packets, &mut exchanges);
    let last = assembler.forget(TAP, &mut |exchange| exchanges.push(exchange));
    assert_balanced(&last, &exchanges);
    assert_eq!((exchanges.len(), last.bytes_buffered, assembler.flows()), (1, 0, 0));
    assert_eq!(assembler.stats(TAP), tap_flow::FlowStats::default());
    assert_eq!(assembler.taps().count(), 0);
}

#[test]
fn the_last_bytes_of_a_connection_may_overtake_its_end() {
    let mut connection = Connection::open().client(GET).server(&OK[..30]).server(&OK[30..]).close();
    let count = connection.packets.len();
    connection.packets.swap(count - 3, count - 1);
    assert_eq!(completeness(&run(&connection.packets)), [(COMPLETE, COMPLETE)]);
}

#[test]
fn an_out_of_order_flood_is_bounded() {
    let limits = Limits { out_of_order_bytes: 1000, out_of_order_segments: 8, ..Limits::default() };
    let mut connection = Connection::open().client(GET).server(OK);
    for _ in 0..50 {
        connection = connection.lost(Direction::Egress, "x").server([b'y'; 90]);
    }
    let run = run_with(limits, &connection.packets);
    assert_eq!(completeness(&run), [(COMPLETE, COMPLETE)]);
    assert_eq!(run.stats.gaps, 50);
}
