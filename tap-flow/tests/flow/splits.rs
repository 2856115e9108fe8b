//! However a conversation is cut into segments, its exchanges are the same.

use tap_flow::{Direction, Exchange};

use crate::support::{Connection, run};

/// Request and response of conversations that use each part of the grammar.
const CONVERSATIONS: &[(&str, &str)] = &[
    (
        "GET /a?b=c HTTP/1.1\r\nHost: shop\r\nX-Folded: one\r\n\ttwo\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 11\r\n\r\nhello world",
    ),
    (
        "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n3;x=\"y;z\"\r\nabc\r\n0a \r\n0123456789\r\n0\r\n\r\n",
        "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 Fine\r\nTransfer-Encoding: chunked\r\n\r\n\
         4\r\nwiki\r\n0;last\r\nDigest: abc\r\nOther: def\r\n\r\n",
    ),
    (
        "\r\nPUT /x HTTP/1.0\nContent-Length: 3\n\nabcGET /y HTTP/1.1\r\n\r\nHEAD /z HTTP/1.1\r\n\r\n",
        "HTTP/1.1 201 Created\r\nContent-Length: 0\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n\
         HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n",
    ),
    ("GET / HTTP/1.0\r\n\r\n", "HTTP/1.0 200 OK\nServer: x\n\nuntil the end"),
    (
        "GET /ws HTTP/1.1\r\nUpgrade: websocket\r\n\r\n",
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n\x01\x02\x03",
    ),
    (
        "POST /smuggle HTTP/1.1\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\nabc",
        "HTTP/1.1 400 Bad Request\r\nContent-Length: 2\r\n\r\nno",
    ),
    ("GET / HTTP/1.1\r\n\r\n", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\nzz\r\n"),
];

/// What must not depend on the cuts: all but the times.
fn outcome(connection: Connection) -> Vec<Exchange> {
    let mut exchanges = run(&connection.close().packets).exchanges;
    for exchange in &mut exchanges {
        if let Some(request) = &mut exchange.request {
            request.span = Default::default();
        }
        if let Some(response) = &mut exchange.response {
            response.span = Default::default();
        }
    }
    exchanges
}

fn send(mut connection: Connection, direction: Direction, pieces: &[&[u8]]) -> Connection {
    for piece in pieces.iter().filter(|piece| !piece.is_empty()) {
        connection = match direction {
            Direction::Ingress => connection.client(piece),
            Direction::Egress => connection.server(piece),
        };
    }
    connection
}

/// The request in these pieces, the response in those.
fn cut(request: &[&[u8]], response: &[&[u8]]) -> Vec<Exchange> {
    let connection = send(Connection::open(), Direction::Ingress, request);
    outcome(send(connection, Direction::Egress, response))
}

#[test]
fn in_two_pieces() {
    for (request, response) in CONVERSATIONS {
        let (request, response) = (request.as_bytes(), response.as_bytes());
        let expected = cut(&[request], &[response]);
        assert!(!expected.is_empty());
        for at in 0..request.len() {
            let (head, tail) = request.split_at(at);
            assert_eq!(cut(&[head, tail], &[response]), expected, "{at} of {}", request.escape_ascii());
        }
        for at in 0..response.len() {
            let (head, tail) = response.split_at(at);
            assert_eq!(cut(&[request], &[head, tail]), expected, "{at} of {}", response.escape_ascii());
        }
    }
}

#[test]
fn in_three_pieces() {
    for (request, response) in CONVERSATIONS {
        let (request, response) = (request.as_bytes(), response.as_bytes());
        let expected = cut(&[request], &[response]);
        for second in 0..response.len() {
            for first in 0..second {
                let pieces = [&response[..first], &response[first..second], &response[second..]];
                assert_eq!(cut(&[request], &pieces), expected, "{first}, {second}");
            }
        }
        for second in 0..request.len() {
            for first in 0..second {
                let pieces = [&request[..first], &request[first..second], &request[second..]];
                assert_eq!(cut(&pieces, &[response]), expected, "{first}, {second}");
            }
        }
    }
}

#[test]
fn byte_by_byte() {
    for (request, response) in CONVERSATIONS {
        let bytes = |text: &'static str| text.as_bytes().chunks(1).collect::<Vec<_>>();
        let expected = cut(&[request.as_bytes()], &[response.as_bytes()]);
        assert_eq!(cut(&bytes(request), &bytes(response)), expected, "{}", request.escape_debug());
    }
}
