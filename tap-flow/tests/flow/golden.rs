//! Transcripts in `fixtures/*.http` and the exchanges that they yield, in `fixtures/*.txt`.
//!
//! A transcript's lines begin with `> ` (client) or `< ` (server) and have Rust's escapes for bytes that a
//! text line can't hold; lines of one side in a row are one segment, an empty line ends it, `#` is a comment.
//! `BLESS=1 cargo test -p tap-flow golden` writes the expectations anew.

use std::{fmt::Write, fs, path::Path};

use tap_flow::{Completeness, Direction, Exchange, Headers, Reason};

use crate::support::{Connection, Run, run};

#[test]
fn transcripts_yield_their_exchanges() {
    // Cargo runs tests in the directory of their package.
    let fixtures = Path::new("fixtures");
    let bless = std::env::var_os("BLESS").is_some();
    let mut seen = 0;
    for entry in fs::read_dir(fixtures).unwrap() {
        let transcript = entry.unwrap().path();
        if transcript.extension().is_none_or(|extension| extension != "http") {
            continue;
        }
        seen += 1;
        let yielded = render(&run(&read(&fs::read_to_string(&transcript).unwrap()).close().packets));
        let expectation = transcript.with_extension("txt");
        if bless {
            fs::write(&expectation, &yielded).unwrap();
        }
        let expected = fs::read_to_string(&expectation).unwrap_or_default();
        assert_eq!(yielded, expected, "{}; BLESS=1 accepts", transcript.display());
    }
    assert!(seen > 0, "no transcripts in {}", fixtures.display());
}

fn read(transcript: &str) -> Connection {
    let mut connection = Connection::open();
    let mut segment: Option<(Direction, Vec<u8>)> = None;
    let send = |connection: Connection, segment: &mut Option<(Direction, Vec<u8>)>| match segment.take() {
        Some((Direction::Ingress, bytes)) => connection.client(bytes),
        Some((Direction::Egress, bytes)) => connection.server(bytes),
        None => connection,
    };
    for line in transcript.lines().filter(|line| !line.starts_with('#')) {
        let (direction, text) = match (line.strip_prefix("> "), line.strip_prefix("< ")) {
            (Some(text), _) => (Direction::Ingress, text),
            (_, Some(text)) => (Direction::Egress, text),
            _ => {
                assert!(line.is_empty(), "{line:?} is neither client nor server");
                connection = send(connection, &mut segment);
                continue;
            }
        };
        if segment.as_ref().is_some_and(|(side, _)| *side != direction) {
            connection = send(connection, &mut segment);
        }
        segment.get_or_insert((direction, Vec::new())).1.extend(unescape(text));
    }
    send(connection, &mut segment)
}

fn unescape(text: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let [first, after @ ..] = rest {
        rest = after;
        let (byte, length) = match (first, after) {
            (b'\\', [b'r', ..]) => (b'\r', 1),
            (b'\\', [b'n', ..]) => (b'\n', 1),
            (b'\\', [b't', ..]) => (b'\t', 1),
            (b'\\', [b'\\', ..]) => (b'\\', 1),
            (b'\\', [b'x', high, low, ..]) => {
                let digit = |digit: u8| (digit as char).to_digit(16).unwrap() as u8;
                (digit(*high) << 4 | digit(*low), 3)
            }
            _ => (*first, 0),
        };
        bytes.push(byte);
        rest = &rest[length..];
    }
    bytes
}

fn render(run: &Run) -> String {
    let mut text = String::new();
    for exchange in &run.exchanges {
        render_exchange(exchange, &mut text);
    }
    let discarded = run.stats.discarded().filter(|(_, bytes)| *bytes > 0);
    for (reason, bytes) in discarded {
        writeln!(text, "discarded {} {bytes}", Reason::as_str(reason)).unwrap();
    }
    text
}

fn render_exchange(exchange: &Exchange, text: &mut String) {
    let Exchange { flow: _, cgroup: _, flow_serial: _, index, role, request, response, wire_bytes } =
        exchange;
    writeln!(text, "exchange {index} {role:?}, {wire_bytes} bytes").unwrap();
    if let Some(request) = request {
        let (method, target) = (request.method.escape_ascii(), request.target.escape_ascii());
        writeln!(text, "  request {method} {target} {}", request.version.as_str()).unwrap();
        render_message(&request.headers, &request.body, &request.trailers, request.completeness, text);
    }
    if let Some(response) = response {
        let (version, reason) = (response.version.as_str(), response.reason.escape_ascii());
        let interim = if response.interim.is_empty() {
            String::new()
        } else {
            format!(" after {:?}", response.interim)
        };
        writeln!(text, "  response {} {reason} {version}{interim}", response.status).unwrap();
        render_message(&response.headers, &response.body, &response.trailers, response.completeness, text);
    }
}

fn render_message(
    headers: &Headers,
    body: &tap_flow::Body,
    trailers: &Headers,
    completeness: Completeness,
    text: &mut String,
) {
    for (kind, fields) in [("header", headers), ("trailer", trailers)] {
        for field in fields.iter() {
            writeln!(text, "    {kind} {}: {}", field.name.escape_ascii(), field.value.escape_ascii())
                .unwrap();
        }
    }
    let coding = match (body.undecoded, body.decoded_from.is_empty()) {
        (true, _) => " undecoded".to_owned(),
        (false, false) => format!(" from {}", body.decoded_from.escape_ascii()),
        (false, true) => String::new(),
    };
    writeln!(text, "    body {} bytes{coding}: {}", body.size, body.content.escape_ascii()).unwrap();
    writeln!(text, "    {completeness:?}").unwrap();
}
