//! One connection that behaves: what its exchanges look like.

use tap_flow::{Cause, Completeness, Direction, Reason, Role};

use crate::support::{Connection, MILLISECOND, run};

const GET: &str = "GET /cart HTTP/1.1\r\nHost: shop\r\n\r\n";
const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello";

#[test]
fn keep_alive_pairs_in_order() {
    let connection = Connection::open()
        .exchange(GET, OK)
        .exchange("POST /a HTTP/1.1\r\nContent-Length: 3\r\n\r\nabc", "HTTP/1.1 204 No Content\r\n\r\n")
        .close();
    let run = run(&connection.packets);
    let [first, second] = &run.exchanges[..] else { panic!("{run:?}") };
    assert_eq!((first.index, second.index, first.role), (0, 1, Role::Inbound));
    let (request, response) = (first.request.as_ref().unwrap(), first.response.as_ref().unwrap());
    assert_eq!((&request.method[..], &request.target[..]), (&b"GET"[..], &b"/cart"[..]));
    assert_eq!(request.headers.get("host").unwrap(), b"shop");
    assert_eq!(response.status, 200);
    assert_eq!((&response.body.content[..], response.body.size), (&b"hello"[..], 5));
    assert_eq!(response.completeness, Completeness::Complete);
    assert_eq!((request.span.start, response.span.end), (3 * MILLISECOND, 4 * MILLISECOND));
    assert_eq!(second.request.as_ref().unwrap().body.content, "abc");
    assert_eq!(second.response.as_ref().unwrap().status, 204);
    assert_eq!(first.wire_bytes, (GET.len() + OK.len()) as u64);
    assert_eq!(run.stats.gaps, 0);
}

#[test]
fn chunked_with_extensions_and_trailers() {
    let response = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n\
        5;name=\"v\"\r\nhello\r\n6  \r\n world\r\n0\r\nDigest: x\r\n\r\n";
    let run = run(&Connection::open().exchange(GET, response).exchange(GET, OK).packets);
    assert_eq!(run.exchanges.len(), 2);
    let response = run.exchanges[0].response.as_ref().unwrap();
    assert_eq!((&response.body.content[..], response.body.size), (&b"hello world"[..], 11));
    assert_eq!(response.trailers.get("digest").unwrap(), b"x");
    assert_eq!(response.completeness, Completeness::Complete);
}

#[test]
fn pipelined_requests_are_answered_in_order() {
    let requests: String = (0..3).map(|n| format!("GET /{n} HTTP/1.1\r\nHost: shop\r\n\r\n")).collect();
    let responses: String =
        (0..3).map(|n| format!("HTTP/1.1 20{n} OK\r\nContent-Length: 1\r\n\r\n{n}")).collect();
    let run = run(&Connection::open().exchange(requests, responses).packets);
    assert_eq!(run.exchanges.len(), 3);
    for (n, exchange) in run.exchanges.iter().enumerate() {
        assert_eq!(exchange.request.as_ref().unwrap().target, format!("/{n}"));
        assert_eq!(exchange.response.as_ref().unwrap().status, 200 + n as u16);
        assert_eq!(exchange.response.as_ref().unwrap().completeness, Completeness::Complete);
    }
}

#[test]
fn responses_without_a_body() {
    let head = "HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n";
    let not_modified = "HTTP/1.1 304 Not Modified\r\nContent-Length: 500\r\n\r\n";
    let run = run(&Connection::open()
        .exchange("HEAD / HTTP/1.1\r\nHost: a\r\n\r\n", head)
        .exchange(GET, not_modified)
        .exchange(GET, OK)
        .packets);
    let statuses: Vec<u16> = run.exchanges.iter().map(|e| e.response.as_ref().unwrap().status).collect();
    assert_eq!(statuses, [200, 304, 200]);
    assert!(
        run.exchanges.iter().all(|e| e.response.as_ref().unwrap().completeness == Completeness::Complete)
    );
}

#[test]
fn a_body_without_length_ends_with_the_connection() {
    let connection = Connection::open().exchange(GET, "HTTP/1.0 200 OK\r\n\r\nsome").server(" more").close();
    let run = run(&connection.packets);
    let response = run.exchanges[0].response.as_ref().unwrap();
    assert_eq!(
        (&response.body.content[..], response.completeness),
        (&b"some more"[..], Completeness::Complete)
    );
}

#[test]
fn interim_responses_are_collected() {
    let connection = Connection::open()
        .client("PUT / HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n")
        .server("HTTP/1.1 100 Continue\r\n\r\n")
        .client("ok")
        .server(
            "HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 201 Created\r\nContent-Length: 0\r\n\r\n",
        );
    let run = run(&connection.packets);
    let [exchange] = &run.exchanges[..] else { panic!("{run:?}") };
    let response = exchange.response.as_ref().unwrap();
    assert_eq!((response.status, &response.interim[..]), (201, &[100, 103][..]));
    assert_eq!(exchange.request.as_ref().unwrap().body.content, "ok");
}

#[test]
fn after_an_upgrade_nothing_is_parsed() {
    let connection = Connection::open()
        .exchange(
            "GET /ws HTTP/1.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n",
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n\x01\x02",
        )
        .client("GET /looks HTTP/1.1\r\n\r\n")
        .server("frames");
    let run = run(&connection.packets);
    let [exchange] = &run.exchanges[..] else { panic!("{run:?}") };
    let upgraded = Completeness::Truncated { bytes: 0, cause: Cause::Upgraded };
    assert_eq!(exchange.response.as_ref().unwrap().completeness, upgraded);
    assert_eq!(run.stats.bytes_discarded(Reason::Upgraded), 2 + 23 + 6);
}

#[test]
fn a_long_body_is_kept_to_the_cap_and_counted_in_full() {
    let body = vec![b'x'; 1 << 20];
    let mut response = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len()).into_bytes();
    response.extend(body);
    let mut connection = Connection::open().client(GET);
    for piece in response.chunks(60_000) {
        connection = connection.server(piece);
    }
    let run = run(&connection.exchange(GET, OK).packets);
    let response = run.exchanges[0].response.as_ref().unwrap();
    assert_eq!((response.body.content.len(), response.body.size), (64 << 10, 1 << 20));
    let bytes = (1 << 20) - (64 << 10);
    assert_eq!(response.completeness, Completeness::Truncated { bytes, cause: Cause::BodyCap });
    assert_eq!(run.exchanges[1].response.as_ref().unwrap().completeness, Completeness::Complete);
}

#[test]
fn a_client_that_is_tapped_is_outbound() {
    let mut connection = Connection::open().exchange(GET, OK);
    for packet in &mut connection.packets {
        packet.direction = packet.direction.reverse();
    }
    let run = run(&connection.packets);
    assert_eq!(run.exchanges[0].role, Role::Outbound);
    assert_eq!(run.exchanges[0].response.as_ref().unwrap().completeness, Completeness::Complete);
}

#[test]
fn an_early_response_waits_for_its_request() {
    let connection = Connection::open()
        .client("POST / HTTP/1.1\r\nContent-Length: 4\r\n\r\nab")
        .server("HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\n\r\n")
        .client("cd")
        .exchange(GET, OK);
    let run = run(&connection.packets);
    let statuses: Vec<u16> = run.exchanges.iter().map(|e| e.response.as_ref().unwrap().status).collect();
    assert_eq!(statuses, [413, 200]);
    assert_eq!(run.exchanges[0].request.as_ref().unwrap().body.content, "abcd");
}

#[test]
fn a_reset_ends_what_is_open() {
    let connection =
        Connection::open().client(GET).server("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhal").reset();
    let run = run(&connection.packets);
    let [exchange] = &run.exchanges[..] else { panic!("{run:?}") };
    let response = exchange.response.as_ref().unwrap();
    let reset = Completeness::Truncated { bytes: 7, cause: Cause::ConnectionReset };
    assert_eq!((response.completeness, response.span.end), (reset, 0));
}

#[test]
fn other_protocols_are_left_alone() {
    let long_method = format!("{} / HTTP/1.1\r\n\r\n", "A".repeat(33));
    for first in [
        &b"\x16\x03\x01\x02\x00\x01"[..],
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"*1\r\n$4\r\nPING\r\n",
        long_method.as_bytes(),
    ] {
        let run = run(&Connection::open().exchange(first, [0u8; 100]).client(GET).packets);
        assert!(run.exchanges.is_empty());
        let bytes = first.len() + 100 + GET.len();
        assert_eq!(run.stats.bytes_discarded(Reason::NotHttp), bytes as u64);
        assert_eq!(run.stats.flows_tls + run.stats.flows_http2 + run.stats.flows_other, 1);
    }
}

#[test]
fn a_cut_body_is_a_gap_and_framing_survives() {
    let connection = Connection::open().client(GET).cut(Direction::Egress, OK, 3).exchange(GET, OK);
    let run = run(&connection.packets);
    let completeness: Vec<Completeness> =
        run.exchanges.iter().map(|e| e.response.as_ref().unwrap().completeness).collect();
    assert_eq!(completeness, [Completeness::Gap { offset: 2, bytes: 3 }, Completeness::Complete]);
    assert_eq!((run.stats.gaps, run.stats.gap_bytes), (1, 3));
}
