//! Secrets that detectors know by their looks, in every place and encoding, through reassembly cut anywhere: nothing of
//! one comes out.

use std::{fmt::Write as _, io::Write as _, net::SocketAddr};

use flate2::{Compression, write::GzEncoder};
use proptest::prelude::*;
use tap_flow::{Assembler, CgroupId, Direction, Exchange, FlowKey, Limits, Segment, TapId, TcpFlags};

use crate::{
    planted::assert_gone,
    sample::{base64, redactor, with_rules},
};

const TAP: TapId = TapId(1);

/// Values that validate, made up.
fn secret() -> impl Strategy<Value = String> {
    prop_oneof![
        "qxz[a-z]{6}@[a-z]{8}\\.org",
        "[0-9]{11}".prop_map(|digits| with_luhn(&format!("4532{digits}"))),
        "[0-9]{18}".prop_map(|account| iban("DE", &account)),
        "AKIA[A-Z2-7]{16}",
        "ghp_[A-Za-z0-9]{36}",
    ]
}

fn with_luhn(digits: &str) -> String {
    let sum: u32 = digits
        .bytes()
        .rev()
        .enumerate()
        .map(|(place, digit)| {
            let digit = u32::from(digit - b'0');
            if place % 2 == 1 { digit } else { digit * 2 / 10 + digit * 2 % 10 }
        })
        .sum();
    format!("{digits}{}", (10 - sum % 10) % 10)
}

fn iban(country: &str, account: &str) -> String {
    let digits: String =
        format!("{account}{country}00").chars().map(|c| c.to_digit(36).unwrap().to_string()).collect();
    let rest = digits.bytes().fold(0_u32, |rest, digit| (rest * 10 + u32::from(digit - b'0')) % 97);
    format!("{country}{:02}{account}", 98 - rest)
}

fn percent(text: &str) -> String {
    text.bytes().fold(String::new(), |mut all, byte| {
        let _ = write!(all, "%{byte:02x}");
        all
    })
}

fn unicode_escapes(text: &str) -> String {
    text.chars().fold(String::new(), |mut all, c| {
        let _ = write!(all, "\\u{:04x}", u32::from(c));
        all
    })
}

fn entities(text: &str) -> String {
    text.chars().fold(String::new(), |mut all, c| {
        let _ = write!(all, "&#{};", u32::from(c));
        all
    })
}

/// Target, header fields, media type and body of a message with the secret in one place.
type Planted = (String, String, &'static str, String);

fn in_head(secret: &str) -> Vec<Planted> {
    let encoded = base64(format!("it is {secret} here").as_bytes());
    let target = |target: String| (target, String::new(), "", String::new());
    let header = |header: String| ("/".to_owned(), header, "", String::new());
    vec![
        target(format!("/users/{}/orders", percent(secret))),
        target(format!("/users/{}", secret.replace('@', "%40"))),
        target(format!("/a/{encoded}/b")),
        target(format!("/search?q={}&x=1", percent(secret))),
        target(format!("/search?{}", percent(secret))),
        target(format!("/search?q={encoded}")),
        target(format!("/search?filter={}", percent(&format!("{{\"a\":[\"{secret}\"]}}")))),
        target(format!("/go?to={}", percent(&format!("https://h.example/x?q={secret}")))),
        target(format!("http://{}@h.example/", percent(secret))),
        header(format!("X-Note: see {secret} now\r\n")),
        header(format!("X-Context: {encoded}\r\n")),
        header(format!("X-Context: {{\"who\":\"{secret}\"}}\r\n")),
        header(format!("User-Agent: test ({secret})\r\n")),
        header(format!("Cookie: a=b; c={}\r\nSet-Cookie: c={secret}; Path=/\r\n", percent(secret))),
        header(format!("Referer: https://h.example/u/{}?q={}\r\n", percent(secret), percent(secret))),
        header(format!("Location: /u/{}#{}\r\n", percent(secret), percent(secret))),
        header(format!("Authorization: Bearer {secret}\r\n")),
        header(format!("Authorization: Basic {}\r\n", base64(format!("{secret}:{secret}").as_bytes()))),
        header(format!("Link: <https://h.example/?q={secret}>; rel=next\r\n")),
    ]
}

fn in_body(secret: &str) -> Vec<Planted> {
    let body = |media, body: String| ("/".to_owned(), String::new(), media, body);
    let json = |document: String| body("application/json", document);
    let text = format!("it is {secret} here");
    let encoded = base64(text.as_bytes());
    let inner = format!("{{\"note\":\"{secret}\"}}");
    let quoted = inner.replace('"', "\\\"");
    let twice = format!("{{\"a\":\"{quoted}\"}}").replace('\\', "\\\\").replace('"', "\\\"");
    let multipart = |head: &str, content: &str| {
        body(
            "multipart/form-data; boundary=XyZ",
            format!("--XyZ\r\nContent-Disposition: form-data; {head}\r\n\r\n{content}\r\n--XyZ--\r\n"),
        )
    };
    let mut all = vec![
        json(inner.clone()),
        json(format!("[1,[\"{text}\"]]")),
        json(format!("\"{secret}\"")),
        json(format!("{{\"note\":\"{}\"}}", unicode_escapes(secret))),
        json(format!("{{\"{secret}\":1,\"{secret}\":{{\"x\":2}}}}")),
        json(format!("{{\"a\":1,\"note\":\"x\",\"note\":\"{secret}\"}}")),
        json(format!("{{\"a\":\"{quoted}\"}}")),
        json(format!("{{\"a\":\"{twice}\"}}")),
        json(format!("{{\"a\":\"{encoded}\"}}")),
        json(format!("{{\"a\":\"{}\"}}", percent(&text))),
        json(format!("{{\"a\":\"x=1&y={}\"}}", percent(secret))),
        json(format!("{{\"a\":\"see https://h.example/u?q={} there\"}}", percent(secret))),
        json(format!("{{\"a\":\"<b note='{secret}'>{secret}</b>\"}}")),
        json(format!(
            "{{\"query\":\"mutation {{ f(x: \\\"{secret}\\\") {{ id }} }}\",\"variables\":{{\"x\":\"{secret}\"}}}}"
        )),
        body("application/x-ndjson", format!("{{\"a\":1}}\n{inner}\n")),
        body("text/plain", inner.clone()),
        body("application/x-www-form-urlencoded", format!("a=1&note={}", percent(secret))),
        body(
            "application/x-www-form-urlencoded",
            format!("a=1&note={}", encoded.replace('=', "%3D").replace('+', "%2B")),
        ),
        body("application/x-www-form-urlencoded", format!("a=1&note={}", percent(&inner))),
        body("application/x-www-form-urlencoded", inner.clone()),
        multipart("name=\"note\"", &text),
        multipart("name=\"note\"", &inner),
        multipart(&format!("name=\"f\"; filename=\"{secret}.txt\""), "x"),
        multipart("name=\"f\"; filename=\"a.txt\"", &text),
        body(
            "text/plain",
            format!("--XyZ\r\nContent-Disposition: form-data; name=\"n\"\r\n\r\n{text}\r\n--XyZ--\r\n"),
        ),
        body("application/xml", format!("<?xml version=\"1.0\"?><a><note>{secret}</note></a>")),
        body("application/xml", format!("<a note=\"{secret}\"/>")),
        body("application/xml", format!("<a><![CDATA[{text}]]></a>")),
        body("application/xml", format!("<a><!-- {text} --></a>")),
        body("text/xml", format!("<a>{}</a>", entities(secret))),
        body("text/html", format!("<!doctype html><p>{text}<br><input name=q value='{secret}'>")),
        body("text/html", format!("<script>let user = {inner};</script>")),
        body("text/html", format!("<a href=\"mailto:{}\">x</a>", entities(secret))),
        body("text/plain", text.clone()),
        body("text/plain", format!("a {encoded} b")),
        body("", text.clone()),
        body("text/csv", format!("id,note\r\n1,{secret}\r\n")),
        body("text/csv", format!("id;note\n1;\"{text}\"\n")),
        body("application/graphql", format!("query {{ user(x: \"{secret}\") {{ id }} }}")),
        body("text/event-stream", format!("event: a\ndata: {inner}\n\ndata: {text}\n\n")),
        body("text/event-stream", format!("data: {{\"a\":1,\ndata: \"note\":\"{secret}\"}}\n\n")),
        body("application/octet-stream", text.clone()),
        body("image/png", inner.clone()),
        body("application/x-protobuf", text),
    ];
    if secret.bytes().all(|byte| byte.is_ascii_digit()) {
        all.push(json(format!("{{\"a\":{secret}}}")));
        all.push(json(format!("[{secret}]")));
    }
    all
}

/// A value that only its name gives away, in every kind of body that has names.
fn under_a_name(name: &str, secret: &str) -> Vec<Planted> {
    let body = |media, body: String| ("/".to_owned(), String::new(), media, body);
    vec![
        body("application/json", format!("{{\"a\":{{\"{name}\":[{{\"x\":\"{secret}\"}}]}}}}")),
        body("application/json", format!("{{\"a\":\"{{\\\"{name}\\\":\\\"{secret}\\\"}}\"}}")),
        body("application/json", format!("{{\"a\":\"x=1&{name}={secret}\"}}")),
        body(
            "application/json",
            format!("{{\"a\":\"{}\"}}", base64(format!("{{\"{name}\":\"{secret}\"}}").as_bytes())),
        ),
        body("application/x-www-form-urlencoded", format!("a=1&{name}={secret}")),
        body(
            "multipart/form-data; boundary=b",
            format!("--b\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{secret}\r\n--b--\r\n"),
        ),
        body("application/xml", format!("<a><n:{name} x=\"1\"><b>{secret}</b></n:{name}></a>")),
        body("application/xml", format!("<a {name}=\"{secret}\"/>")),
        body("text/html", format!("<input type=text value=\"{secret}\" name='{name}'>")),
        body("text/csv", format!("id,{name}\n1,{secret}\n2,\"{secret}\"\n")),
        body("application/graphql", format!("mutation {{ f({name}: \"{secret}\") {{ id }} }}")),
        body("application/graphql", format!("query ($x: In = {{{name}: [\"{secret}\"]}}) {{ id }}")),
        body("text/event-stream", format!("data: {{\"{name}\": \"{secret}\"}}\n\n")),
        body("text/plain", format!("with {name}={secret} and {name}: \"{secret}\"")),
        (format!("/a;{name}={secret}?{name}={secret}#{name}={secret}"), String::new(), "", String::new()),
        ("/".to_owned(), format!("Location: https://h.example/a?{name}={secret}\r\n"), "", String::new()),
    ]
}

fn gzip(content: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(content).unwrap();
    encoder.finish().unwrap()
}

/// The bytes of both messages, with the same header fields and body.
fn conversation((target, headers, media, body): &Planted, coded: bool, secret: &str) -> (Vec<u8>, Vec<u8>) {
    let content = if coded { gzip(body.as_bytes()) } else { body.clone().into_bytes() };
    let mut fields = headers.clone();
    if !media.is_empty() {
        let _ = write!(fields, "Content-Type: {media}\r\n");
    }
    if coded {
        fields.push_str("Content-Encoding: gzip\r\n");
    }
    let mut request =
        format!("POST {target} HTTP/1.1\r\nHost: h\r\n{fields}Content-Length: {}\r\n\r\n", content.len())
            .into_bytes();
    request.extend_from_slice(&content);
    // In chunks, and with a trailer.
    let mut response =
        format!("HTTP/1.1 200 seen {secret}\r\n{fields}Transfer-Encoding: chunked\r\n\r\n").into_bytes();
    for chunk in content.chunks(7) {
        response.extend_from_slice(format!("{:x}\r\n", chunk.len()).as_bytes());
        response.extend_from_slice(chunk);
        response.extend_from_slice(b"\r\n");
    }
    response.extend_from_slice(format!("0\r\nX-Trailer: {secret}\r\n\r\n").as_bytes());
    (request, response)
}

/// The exchanges of a conversation whose segments are as long as `lengths` says, over and over.
fn assemble(request: &[u8], response: &[u8], lengths: &[usize]) -> Vec<Exchange> {
    let mut assembler = Assembler::new(Limits::default());
    let mut exchanges = Vec::new();
    let key = FlowKey {
        tap: TAP,
        local: SocketAddr::from(([127, 0, 0, 1], 80)),
        remote: SocketAddr::from(([127, 0, 0, 1], 9)),
    };
    let mut push = |direction, flags, sequence: usize, payload: &[u8]| {
        let segment = Segment {
            key,
            cgroup: CgroupId(1),
            direction,
            time: 1,
            sequence: sequence as u32,
            flags,
            payload,
            cut: 0,
        };
        assembler.push(segment, &mut |exchange| exchanges.push(exchange));
    };
    let ack = TcpFlags::ACK;
    push(Direction::Ingress, TcpFlags::SYN, 0, b"");
    push(Direction::Egress, TcpFlags::SYN | ack, 0, b"");
    let mut lengths = lengths.iter().cycle();
    for (direction, bytes) in [(Direction::Ingress, request), (Direction::Egress, response)] {
        let mut at = 0;
        while at < bytes.len() {
            let end = (at + lengths.next().unwrap()).min(bytes.len());
            push(direction, ack, 1 + at, &bytes[at..end]);
            at = end;
        }
    }
    push(Direction::Ingress, TcpFlags::FIN, 1 + request.len(), b"");
    push(Direction::Egress, TcpFlags::FIN, 1 + response.len(), b"");
    assembler.finish(&mut |exchange| exchanges.push(exchange));
    exchanges
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, ..ProptestConfig::default() })]

    #[test]
    fn nothing_of_a_named_value_comes_out(
        secret in "QX[A-Z]{5}[A-Z0-9]{4,12}",
        name in proptest::sample::select(vec!["password", "userPassword", "access_token", "first_name", "ssn", "cardNumber"]),
        lengths in proptest::collection::vec(1..400_usize, 1..8),
    ) {
        let redactor = redactor();
        for planted in under_a_name(name, &secret) {
            let (request, response) = conversation(&planted, false, "nothing");
            for exchange in assemble(&request, &response, &lengths) {
                assert_gone(&redactor.redact(exchange), &secret);
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 16, max_shrink_iters: 0, ..ProptestConfig::default() })]

    #[test]
    fn nothing_of_a_secret_comes_out(
        secret in secret(),
        lengths in proptest::collection::vec(1..400_usize, 1..8),
        coded in any::<bool>(),
    ) {
        let (standard, lenient) = (redactor(), with_rules("bodies: {opaque: drop, truncated: redact, files: redact}"));
        let strict = with_rules("profile: strict");
        for planted in in_head(&secret).into_iter().chain(in_body(&secret)) {
            let (request, response) = conversation(&planted, coded, &secret);
            let exchanges = assemble(&request, &response, &lengths);
            assert_eq!(exchanges.len(), 1, "{planted:?}");
            for (redactor, is_strict) in [(&standard, false), (&lenient, false), (&strict, true)] {
                for exchange in &exchanges {
                    let redacted = redactor.redact(exchange.clone());
                    assert_gone(&redacted, &secret);
                    assert_gone(&redacted, &percent(&secret));
                    if is_strict {
                        continue;
                    }
                    // What detectors have found once is not found again.
                    let again = redactor.redact(redacted.get().clone());
                    prop_assert_eq!(redacted.get(), again.get(), "{:?}", planted);
                }
            }
        }
    }
}
