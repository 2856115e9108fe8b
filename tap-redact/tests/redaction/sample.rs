//! Exchanges to redact.

use bytes::Bytes;
use tap_flow::{
    Body, CgroupId, Completeness, Exchange, FlowKey, Headers, Request, Response, Role, Span, TapId, Version,
};
use tap_redact::{Key, Redacted, Redactor, Settings};

pub(crate) fn redactor() -> Redactor {
    with_rules("{}")
}

pub(crate) fn with_rules(yaml: &str) -> Redactor {
    let rules: Settings = serde_yaml_ng::from_str(yaml).unwrap();
    Redactor::new(&rules, Key::new(b"a key for tests, not for use").unwrap()).unwrap()
}

pub(crate) fn headers(fields: &[(&str, &str)]) -> Headers {
    fields.iter().copied().collect()
}

pub(crate) fn body(content: &[u8]) -> Body {
    Body { content: Bytes::copy_from_slice(content), size: content.len() as u64, ..Body::default() }
}

pub(crate) fn exchange() -> Exchange {
    let address = |port| std::net::SocketAddr::from(([127, 0, 0, 1], port));
    Exchange {
        flow: FlowKey { tap: TapId(1), local: address(80), remote: address(4000) },
        cgroup: CgroupId(1),
        flow_serial: 1,
        index: 0,
        role: Role::Inbound,
        request: Some(Request {
            method: Bytes::from_static(b"POST"),
            target: Bytes::from_static(b"/"),
            version: Version::Http11,
            headers: Headers::default(),
            body: Body::default(),
            trailers: Headers::default(),
            completeness: Completeness::Complete,
            span: Span::default(),
        }),
        response: Some(Response {
            status: 200,
            reason: Bytes::from_static(b"OK"),
            version: Version::Http11,
            headers: Headers::default(),
            body: Body::default(),
            trailers: Headers::default(),
            completeness: Completeness::Complete,
            span: Span::default(),
            interim: Vec::new(),
        }),
        wire_bytes: 100,
    }
}

/// The request's body after redaction, sent with this type; none for no type.
pub(crate) fn redact_body(media: &str, content: &[u8], completeness: Completeness) -> Redacted<Exchange> {
    redact_body_with(&redactor(), media, content, completeness)
}

pub(crate) fn redact_body_with(
    redactor: &Redactor,
    media: &str,
    content: &[u8],
    completeness: Completeness,
) -> Redacted<Exchange> {
    let mut exchange = exchange();
    let request = exchange.request.as_mut().unwrap();
    if !media.is_empty() {
        request.headers = headers(&[("Content-Type", media)]);
    }
    request.body = body(content);
    request.completeness = completeness;
    redactor.redact(exchange)
}

pub(crate) fn text(redacted: &Redacted<Exchange>) -> String {
    String::from_utf8(redacted.get().request.as_ref().unwrap().body.content.to_vec()).unwrap()
}

/// The body of a complete message of this type.
pub(crate) fn redacted_text(media: &str, content: &str) -> String {
    text(&redact_body(media, content.as_bytes(), Completeness::Complete))
}

/// The target after redaction.
pub(crate) fn redacted_target(target: &str) -> String {
    let mut exchange = exchange();
    exchange.request.as_mut().unwrap().target = Bytes::copy_from_slice(target.as_bytes());
    let redacted = redactor().redact(exchange);
    String::from_utf8(redacted.get().request.as_ref().unwrap().target.to_vec()).unwrap()
}

/// A request header's value after redaction.
pub(crate) fn redacted_header(name: &str, value: &str) -> String {
    let mut exchange = exchange();
    exchange.request.as_mut().unwrap().headers = headers(&[(name, value)]);
    let redacted = redactor().redact(exchange);
    let headers = &redacted.get().request.as_ref().unwrap().headers;
    String::from_utf8(headers.at(0).unwrap().value.to_vec()).unwrap()
}

/// The token of a value that is text.
pub(crate) fn token_of(value: &str) -> String {
    redacted_header("X-Api-Key", value)
}

/// Base64 by another way than the code under test.
pub(crate) fn base64(bytes: &[u8]) -> String {
    let alphabet: Vec<char> = ('A'..='Z').chain('a'..='z').chain('0'..='9').chain(['+', '/']).collect();
    let bits: String = bytes.iter().map(|byte| format!("{byte:08b}")).collect();
    let mut text: String = bits
        .as_bytes()
        .chunks(6)
        .map(|chunk| {
            let chunk = format!("{:0<6}", std::str::from_utf8(chunk).unwrap());
            alphabet[usize::from_str_radix(&chunk, 2).unwrap()]
        })
        .collect();
    while !text.len().is_multiple_of(4) {
        text.push('=');
    }
    text
}
