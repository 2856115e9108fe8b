//! GoReplay's own files, and what of them is no exchange.

use std::ops::ControlFlow;

use tap_flow::{Completeness, Limits};
use tap_formats::{Fit, Imported, ReadError, Unfit, gor};
use tap_proto::v1::{self, completeness::State};

use crate::sample::{SECOND, START, exchange, header, items, text};

const END: &str = "\n\u{1f435}\u{1f648}\u{1f649}\n";

fn read(file: &[u8]) -> (Vec<Imported>, Vec<&'static str>) {
    items(|sink| gor::read(file, &Limits::default(), sink)).unwrap()
}

/// As `gor --input-raw :80 --input-raw-track-response --output-file requests.gor` writes it.
fn recorded() -> String {
    let get = format!("1 d7123dasd913jfd21312dasdhas31 {START} 0\nGET / HTTP/1.1\r\nHost: a\r\n\r\n");
    let post = format!(
        "1 8e091765ae902fef8a2b7d9dd960e9d52222bd8c {} 1500\nPOST /p HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n\
        4\r\nab\n\n\r\n3\r\ncde\r\n0\r\n\r\n",
        START + SECOND
    );
    let answer = format!(
        "2 8e091765ae902fef8a2b7d9dd960e9d52222bd8c {} 2000\nHTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nok\n\n",
        START + SECOND + 5_000
    );
    let replayed =
        "3 8e091765ae902fef8a2b7d9dd960e9d52222bd8c 1231\nHTTP/1.1 500 Oh\r\nContent-Length: 0\r\n\r\n"
            .to_owned();
    let stray = format!("2 0000 {START} 1\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
    [get, post, answer, replayed, stray].map(|record| record + END).concat()
}

#[test]
fn requests_are_married_to_their_responses() {
    let (read, skipped) = read(recorded().as_bytes());
    assert_eq!(skipped, ["replayed_response", "response_without_request"]);
    // In the order in which they are whole.
    assert_eq!(read.iter().map(|it| it.number).collect::<Vec<_>>(), [2, 1]);
    let exchange = &read[0].exchange;
    let (request, response) = (exchange.request.as_ref().unwrap(), exchange.response.as_ref().unwrap());
    assert_eq!(request.body.content.as_ref(), b"ab\n\ncde");
    assert_eq!((request.span.start, request.span.end), (START + SECOND, START + SECOND + 1_500));
    assert_eq!(response.body.content.as_ref(), b"ok\n\n");
    assert_eq!((response.span.start, response.span.end), (START + SECOND + 5_000, START + SECOND + 7_000));
    assert!(read[1].exchange.response.is_none());
    assert_eq!(read[1].exchange.start(), START);
}

#[test]
fn a_message_that_goreplay_cut_says_so() {
    let file = format!("1 a {START}\nPOST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nabc{END}");
    let (read, _) = read(file.as_bytes());
    let request = read[0].exchange.request.as_ref().unwrap();
    assert_eq!(request.body.content.as_ref(), b"abc");
    assert!(matches!(request.completeness, Completeness::Truncated { .. }));
}

#[test]
fn what_is_no_exchange_is_counted_by_why() {
    let records = [
        "",
        "x",
        "4 a 1\nGET / HTTP/1.1\r\n\r\n",
        "1 a\nGET / HTTP/1.1\r\n\r\n",
        "1 a -5\nGET / HTTP/1.1\r\n\r\n",
        "1 a 5\n\x16\x03\x01",
        "1 b 5\nGET / HTTP/1.1\r\nHost: a\r\n\r\nGET /second HTTP/1.1\r\nHost: a\r\n\r\n",
    ];
    let file: String = records.iter().map(|record| format!("{record}{END}")).collect();
    let (read, mut skipped) = read(file.as_bytes());
    skipped.sort_unstable();
    assert_eq!(read.len(), 0);
    assert_eq!(skipped, ["malformed_record"; 5].into_iter().chain(["not_http"; 2]).collect::<Vec<_>>());
}

#[test]
fn a_file_that_ends_within_a_record_is_an_error_with_its_place() {
    let mut file = recorded();
    file.push_str("1 late 5\nGET /s3cret HTTP/1.1\r\n");
    let mut seen = 0;
    let error = gor::read(file.as_bytes(), &Limits::default(), &mut |_| {
        seen += 1;
        ControlFlow::Continue(())
    })
    .unwrap_err();
    assert!(matches!(error, ReadError::Malformed { .. }));
    assert_eq!(error.to_string(), "record 6: the file ends within it");
    assert_eq!(seen, 3, "what came before is read");
}

#[test]
fn what_a_record_cannot_hold_is_left_out_and_said() {
    let mut writer = gor::Writer::new(Vec::new());
    let mut separator = exchange(1, 0);
    separator.request.as_mut().unwrap().body = text("a\n\u{1f435}\u{1f648}\u{1f649}\nb");
    assert_eq!(writer.write(&separator).unwrap(), Fit::Not(Unfit::Separator));
    let mut cut = exchange(1, 1);
    cut.request.as_mut().unwrap().completeness =
        Some(v1::Completeness { state: State::Truncated.into(), bytes: 5, ..v1::Completeness::default() });
    cut.request.as_mut().unwrap().body.as_mut().unwrap().size = 14;
    assert_eq!(writer.write(&cut).unwrap(), Fit::Not(Unfit::RequestIncomplete));
    let mut half = exchange(1, 2);
    let body = half.response.as_mut().unwrap().body.as_mut().unwrap();
    (body.content, body.dropped) = (None, "opaque".into());
    assert_eq!(writer.write(&half).unwrap(), Fit::Partly(Unfit::ResponseIncomplete));
    let alone = v1::Exchange { request: None, ..exchange(1, 3) };
    assert_eq!(writer.write(&alone).unwrap(), Fit::Not(Unfit::NoRequest));
    let (read, _) = read(&writer.finish().unwrap());
    assert_eq!(read.len(), 1);
    assert!(read[0].exchange.response.is_none());
}

#[test]
fn codings_that_were_removed_are_removed_from_the_head() {
    let mut coded = exchange(1, 0);
    let request = coded.request.as_mut().unwrap();
    request.headers =
        vec![header("Host", "a"), header("Transfer-Encoding", "chunked"), header("Content-Encoding", "gzip")];
    request.body.as_mut().unwrap().decoded_from = "gzip".into();
    let mut writer = gor::Writer::new(Vec::new());
    assert_eq!(writer.write(&coded).unwrap(), Fit::Whole);
    let file = String::from_utf8(writer.finish().unwrap()).unwrap();
    let head = "POST /cart/0?a=b&c=d%20e HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\n{\"n\": 12}\n";
    assert!(file.contains(head), "{file}");
}
