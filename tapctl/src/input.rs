//! HTTP that is in a file: a HAR, raw HTTP, or a JSON document alone, as exchanges.

mod raw;

use std::{net::SocketAddr, ops::ControlFlow};

use bytes::Bytes;
use tap_flow::{
    Body, CgroupId, Completeness, Exchange, FlowKey, Headers, Request, Role, Span, TapId, Version,
};
use tap_formats::{Item, har};

/// Why a file has no exchanges. Never shows what is in it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InputError {
    #[error("neither a HAR, nor raw HTTP (a request, a response, or one after the other), nor JSON")]
    Unknown,
    #[error("looks like JSON, but line {line}, column {column} is not")]
    Json { line: usize, column: usize },
    #[error("entry {entry} of the HAR: {problem}")]
    Har { entry: u64, problem: &'static str },
    #[error("the HAR: {0}")]
    Archive(String),
    #[error("the HTTP in it does not parse to its end")]
    Http,
}

/// What a file is.
#[derive(Clone, Debug)]
#[expect(clippy::large_enum_variant, reason = "there is one, for a file")]
pub enum Input {
    /// HTTP: exchanges, with what each is called.
    Http(Vec<(String, Exchange)>),
    /// JSON, as the body of a request.
    Document(Exchange),
}

impl Input {
    /// The exchanges, with what each is called.
    pub fn exchanges(self) -> Vec<(String, Exchange)> {
        match self {
            Self::Http(exchanges) => exchanges,
            Self::Document(exchange) => vec![("the document".to_owned(), exchange)],
        }
    }
}

/// Reads the content of a file.
pub fn read(content: &[u8]) -> Result<Input, InputError> {
    let trimmed = content.strip_prefix(b"\xef\xbb\xbf").unwrap_or(content).trim_ascii_start();
    match trimmed.first() {
        Some(b'{' | b'[' | b'"') => json(trimmed),
        Some(_) => raw::exchanges(trimmed).map(Input::Http),
        None => Err(InputError::Unknown),
    }
}

fn json(content: &[u8]) -> Result<Input, InputError> {
    let mut documents = serde_json::Deserializer::from_slice(content).into_iter::<serde_json::Value>();
    let mut first = None;
    for document in &mut documents {
        let document =
            document.map_err(|error| InputError::Json { line: error.line(), column: error.column() })?;
        first.get_or_insert(document);
    }
    if first.as_ref().and_then(|document| document.pointer("/log/entries")).is_some_and(|it| it.is_array()) {
        return archive(content).map(Input::Http);
    }
    let request = Request {
        headers: headers([("Content-Type".to_owned(), "application/json".to_owned())]),
        body: body(Bytes::copy_from_slice(content)),
        ..request("POST", "/")
    };
    Ok(Input::Document(exchange(request)))
}

/// The entries of a HAR, each of which has to be an exchange.
fn archive(content: &[u8]) -> Result<Vec<(String, Exchange)>, InputError> {
    let (mut exchanges, mut entry, mut problem) = (Vec::new(), 0, None);
    let read = har::read(content, &mut |item| {
        entry += 1;
        match item {
            Item::Exchange(imported) => {
                exchanges.push((name(entry, &imported.exchange), imported.exchange));
                ControlFlow::Continue(())
            }
            Item::Skipped(word) => {
                problem = Some(word);
                ControlFlow::Break(())
            }
        }
    });
    match (problem, read) {
        (Some(problem), _) => Err(InputError::Har { entry, problem }),
        (None, Err(error)) => Err(InputError::Archive(error.to_string())),
        (None, Ok(())) => Ok(exchanges),
    }
}

fn name(entry: u64, exchange: &Exchange) -> String {
    let Some(request) = &exchange.request else { return entry.to_string() };
    let method = String::from_utf8_lossy(&request.method);
    format!("{entry}: {method} {}", path_of(&request.parts().path))
}

/// The path of a target, for a name that tells exchanges apart: queries hold data more often.
fn path_of(target: &str) -> &str {
    target.split(['?', '#']).next().unwrap_or_default()
}

fn exchange(request: Request) -> Exchange {
    let address = SocketAddr::from(([0, 0, 0, 0], 0));
    Exchange {
        flow: FlowKey { tap: TapId(0), local: address, remote: address },
        cgroup: CgroupId(0),
        flow_serial: 0,
        index: 0,
        role: Role::Inbound,
        request: Some(request),
        response: None,
        wire_bytes: 0,
    }
}

fn request(method: &str, target: &str) -> Request {
    Request {
        method: Bytes::copy_from_slice(method.as_bytes()),
        target: Bytes::copy_from_slice(target.as_bytes()),
        version: Version::Http11,
        headers: Headers::default(),
        body: Body::default(),
        trailers: Headers::default(),
        completeness: Completeness::Complete,
        span: Span::default(),
    }
}

fn headers(fields: impl IntoIterator<Item = (String, String)>) -> Headers {
    fields.into_iter().collect()
}

fn body(content: Bytes) -> Body {
    Body { size: content.len() as u64, content, ..Body::default() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn exchanges(content: &[u8]) -> Result<Vec<(String, Exchange)>, InputError> {
        read(content).map(Input::exchanges)
    }

    #[test]
    fn raw_http_is_a_request_a_response_or_both() {
        let request = "POST /a?b=c HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}";
        let response = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n[]";
        let one = exchanges(request.as_bytes()).unwrap();
        assert_eq!(one[0].0, "POST /a");
        assert!(one[0].1.request.is_some() && one[0].1.response.is_none());
        let one = exchanges(response.as_bytes()).unwrap();
        assert!(one[0].1.request.is_none() && one[0].1.response.is_some());
        let both = exchanges(format!("{request}\r\n{response}").as_bytes()).unwrap();
        assert_eq!(both[0].1.request.as_ref().unwrap().body.content.as_ref(), b"{}");
        assert_eq!(both[0].1.response.as_ref().unwrap().body.content.as_ref(), b"[]");
    }

    #[test]
    fn a_file_without_lengths_and_with_bare_line_feeds_is_read_to_its_end() {
        let read = exchanges(b"POST /a HTTP/1.1\nHost: x\n\n{\"a\":1}").unwrap();
        assert_eq!(read[0].1.request.as_ref().unwrap().body.content.as_ref(), b"{\"a\":1}");
    }

    #[test]
    fn a_har_gives_its_entries() {
        let har = serde_json::json!({"log": {"entries": [{
            "request": {"method": "POST", "url": "https://shop.example/a?b=c", "headers": [{"name": "Host", "value": "shop.example"}],
                "postData": {"mimeType": "application/json", "text": "{}"}},
            "response": {"status": 200, "statusText": "OK", "headers": [], "content": {"mimeType": "text/plain", "text": "aGk=", "encoding": "base64"}},
        }]}});
        let read = exchanges(har.to_string().as_bytes()).unwrap();
        let (request, response) = (read[0].1.request.as_ref().unwrap(), read[0].1.response.as_ref().unwrap());
        assert_eq!(
            (read[0].0.as_str(), request.target.as_ref()),
            ("1: POST /a", &b"https://shop.example/a?b=c"[..])
        );
        assert_eq!((request.body.content.as_ref(), response.body.content.as_ref()), (&b"{}"[..], &b"hi"[..]));
        assert_eq!(response.headers.get("content-type"), Some(&b"text/plain"[..]));
        let wrong = serde_json::json!({"log": {"entries": [{"request": {}}]}});
        assert!(matches!(exchanges(wrong.to_string().as_bytes()), Err(InputError::Har { entry: 1, .. })));
    }

    #[test]
    fn json_is_a_body_and_anything_else_is_an_error() {
        let read = exchanges(b" [1, 2]\n{\"a\": 3}").unwrap();
        assert_eq!(read[0].1.request.as_ref().unwrap().body.content.as_ref(), b"[1, 2]\n{\"a\": 3}");
        assert_eq!(exchanges(b"{\"secret\": x}").unwrap_err(), InputError::Json { line: 1, column: 12 });
        for unknown in [&b""[..], b"hello", b"\xff\xfe"] {
            assert_eq!(exchanges(unknown).unwrap_err(), InputError::Unknown);
        }
    }
}
