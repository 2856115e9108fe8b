//! Input that wants to be misread, to cost too much, or to bring the tap down.

use std::io::Write;

use flate2::{Compression, write::GzEncoder};
use tap_flow::{Cause, Completeness, Exchange, Failure, Limits, Reason};

use crate::support::{Connection, run, run_with};

const GET: &str = "GET /cart HTTP/1.1\r\nHost: shop\r\n\r\n";
const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello";

fn gzip(content: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(content).unwrap();
    encoder.finish().unwrap()
}

fn coded_response(coding: &str, body: &[u8]) -> Exchange {
    let mut response =
        format!("HTTP/1.1 200 OK\r\nContent-Encoding: {coding}\r\nContent-Length: {}\r\n\r\n", body.len())
            .into_bytes();
    response.extend(body);
    let run = run(&Connection::open().exchange(GET, response).packets);
    run.exchanges.into_iter().next().unwrap()
}

#[test]
fn framing_that_two_readers_read_differently_is_refused() {
    let vectors = [
        "Content-Length: 5\r\nTransfer-Encoding: chunked",
        "Transfer-Encoding: chunked\r\nContent-Length: 5",
        "Content-Length: 5\r\nContent-Length: 6",
        "Content-Length: 5, 6",
        "Content-Length: +5",
        "Content-Length: -1",
        "Content-Length: 0x5",
        "Content-Length: 5 5",
        "Content-Length: ",
        "Content-Length: 99999999999999999999",
        "Transfer-Encoding: xchunked",
        "Transfer-Encoding: chunked, identity",
        "Transfer-Encoding: identity",
        "Transfer-Encoding: gzip, chunked",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
        "Transfer-Encoding: \"chunked\"",
    ];
    for vector in vectors {
        let request = format!(
            "POST / HTTP/1.1\r\n{vector}\r\n\r\n5\r\nhello\r\n0\r\n\r\nGET /smuggled HTTP/1.1\r\n\r\n"
        );
        let run = run(&Connection::open().exchange(&request, OK).exchange(GET, OK).packets);
        let [exchange] = &run.exchanges[..] else { panic!("{vector}: {:?}", run.exchanges) };
        let refused = Completeness::Truncated { bytes: 0, cause: Cause::AmbiguousFraming };
        assert_eq!(exchange.request.as_ref().unwrap().completeness, refused, "{vector}");
        assert_eq!(exchange.response.as_ref().unwrap().status, 200, "{vector}");
        assert_eq!(run.stats.failures(Failure::AmbiguousFraming), 1);
        assert!(run.stats.bytes_discarded(Reason::AmbiguousFraming) > 0);
    }
}

#[test]
fn an_ambiguous_response_stops_the_flow() {
    let response = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\nabc";
    let run = run(&Connection::open().exchange(GET, response).exchange(GET, OK).packets);
    assert_eq!(run.exchanges.len(), 1);
    assert_eq!(run.stats.bytes_discarded(Reason::AmbiguousFraming), (3 + GET.len() + OK.len()) as u64);
}

#[test]
fn ambiguity_on_both_sides_leaves_no_request_behind() {
    let ambiguous = "POST / HTTP/1.1\r\nContent-Length: @1\r\n\r\n";
    let response = "HTTP/1.1 200 OK\r\nContent-Length: @0\r\n\r\n";
    let run = run(&Connection::open().client(GET).client(ambiguous).server(response).close().packets);
    assert_eq!(run.exchanges.iter().filter(|exchange| exchange.request.is_some()).count(), 2);
    assert_eq!(run.exchanges.iter().filter(|exchange| exchange.response.is_some()).count(), 1);
}

#[test]
fn a_request_in_place_of_a_refused_body_is_not_guessed() {
    let expect = "PUT / HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 34\r\n\r\n";
    let refusal = "HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n";
    let run = run(&Connection::open().exchange(expect, refusal).exchange(GET, OK).packets);
    let [exchange] = &run.exchanges[..] else { panic!("{:?}", run.exchanges) };
    let refused = Completeness::Truncated { bytes: 34, cause: Cause::AmbiguousFraming };
    assert_eq!(exchange.request.as_ref().unwrap().completeness, refused);
    assert_eq!(exchange.response.as_ref().unwrap().status, 401);
}

#[test]
fn chunks_that_are_not_valid_end_their_message_alone() {
    for chunks in
        ["zz\r\n", "5\nhello\r\n", "5\r\nhelloXX", "5;a\nb\r\n", "-1\r\n", "11111111111111111\r\n", "\r\n"]
    {
        let response = format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{chunks}");
        let run = run(&Connection::open().exchange(GET, response).exchange(GET, OK).packets);
        let completeness = |at: usize| run.exchanges[at].response.as_ref().unwrap().completeness;
        let invalid = Completeness::Truncated { bytes: 0, cause: Cause::InvalidChunk };
        assert_eq!((run.exchanges.len(), completeness(0)), (2, invalid), "{chunks:?}");
        assert_eq!(completeness(1), Completeness::Complete, "{chunks:?}");
    }
}

#[test]
fn heads_past_the_limits_are_counted_not_kept() {
    let many = format!("GET / HTTP/1.1\r\n{}\r\n", "a: b\r\n".repeat(200));
    let long = format!("GET / HTTP/1.1\r\nlong: {}\r\n\r\n", "x".repeat(100_000));
    for request in [&many, &long] {
        let mut connection = Connection::open().exchange(GET, OK);
        for piece in request.as_bytes().chunks(1400) {
            connection = connection.client(piece);
        }
        let run = run(&connection.server("HTTP/1.1 431 Too Large\r\nContent-Length: 0\r\n\r\n").packets);
        assert_eq!(run.stats.failures(Failure::HeadTooLarge), 1);
        assert_eq!(run.exchanges.iter().filter(|exchange| exchange.request.is_some()).count(), 1);
    }
}

#[test]
fn malformed_heads_are_discarded_and_the_next_turn_is_read() {
    for garbage in
        ["\0\0\0\0", "GET / HTTP/1.1\r\nno colon\r\n\r\n", "GET / HTTP/9.9\r\n\r\n", "\u{ff}\u{fe}", " \r\n"]
    {
        let run = run(&Connection::open()
            .exchange(GET, OK)
            .exchange(garbage, "HTTP/1.1 400 Bad\r\nContent-Length: 0\r\n\r\n")
            .exchange(GET, OK)
            .packets);
        let paired: Vec<u16> = run
            .exchanges
            .iter()
            .filter(|exchange| exchange.request.is_some())
            .map(|exchange| exchange.response.as_ref().unwrap().status)
            .collect();
        assert_eq!(paired, [200, 200], "{garbage:?}");
        assert_eq!(run.stats.failures(Failure::InvalidHead), 1, "{garbage:?}");
    }
}

#[test]
fn content_codings_are_removed() {
    let content = "hello hello hello hello".repeat(10);
    let zstd = zstd::encode_all(content.as_bytes(), 3).unwrap();
    let mut deflate = flate2::write::DeflateEncoder::new(Vec::new(), Compression::fast());
    deflate.write_all(content.as_bytes()).unwrap();
    let mut zlib = flate2::write::ZlibEncoder::new(Vec::new(), Compression::fast());
    zlib.write_all(content.as_bytes()).unwrap();
    let gzipped = gzip(content.as_bytes());
    let twice = zstd::encode_all(&gzipped[..], 3).unwrap();
    for (coding, body) in [
        ("gzip", &gzipped),
        ("X-Gzip", &gzipped),
        ("zstd", &zstd),
        ("deflate", &deflate.finish().unwrap()),
        ("deflate", &zlib.finish().unwrap()),
        ("gzip, zstd", &twice),
        ("identity, gzip", &gzipped),
    ] {
        let response = coded_response(coding, body).response.unwrap();
        assert_eq!(response.body.content, content, "{coding}");
        assert_eq!(response.body.size, body.len() as u64);
        assert_eq!((response.completeness, response.body.undecoded), (Completeness::Complete, false));
        assert!(!response.body.decoded_from.is_empty());
    }
}

#[test]
fn what_does_not_decode_is_kept_as_it_is_and_said_so() {
    for (coding, body) in
        [("gzip", &b"not gzip"[..]), ("compress", b"x"), ("br", b"\xff\xff\xff"), ("zstd", b"zz")]
    {
        let response = coded_response(coding, body).response.unwrap();
        assert_eq!((&response.body.content[..], response.body.undecoded), (body, true), "{coding}");
        assert_eq!(response.completeness, Completeness::Complete);
    }
}

#[test]
fn a_bomb_is_a_truncated_body() {
    let bomb = gzip(&vec![0; 64 << 20]);
    let response = coded_response("gzip", &bomb).response.unwrap();
    assert_eq!(response.body.content.len(), Limits::default().body_bytes);
    assert!(matches!(response.completeness, Completeness::Truncated { cause: Cause::BodyCap, .. }));
    let twice = gzip(&bomb);
    let response = coded_response("gzip, gzip", &twice).response.unwrap();
    assert!(response.body.content.len() <= Limits::default().body_bytes);
    assert!(matches!(response.completeness, Completeness::Truncated { .. }));
}

#[test]
fn a_flood_of_one_kind_is_bounded() {
    let limits = || Limits { pipelined_requests: 4, ..Limits::default() };
    let flood = Connection::open().client(GET.repeat(1000)).server(OK.repeat(1000));
    let outcome = run_with(limits(), &flood.packets);
    let paired =
        outcome.exchanges.iter().filter(|exchange| exchange.request.is_some() && exchange.response.is_some());
    assert_eq!(paired.count(), 4);
    let interim = "HTTP/1.1 102 Processing\r\n\r\n".repeat(1000);
    let outcome = run(&Connection::open().client(GET).server(interim).server(OK).packets);
    assert_eq!(outcome.exchanges.len(), 1);
    let blank = run(&Connection::open().client("\r\n".repeat(100_000)).exchange(GET, OK).packets);
    assert_eq!((blank.exchanges.len(), blank.stats.bytes_discarded(Reason::BlankLine)), (1, 200_000));
}
