//! From a recorded exchange to the request that is sent again.
//!
//! Method, path, query, headers and body are the recorded ones (redacted on the node, body decoded). What
//! belonged to the recorded connection or its framing is left out: hop-by-hop headers, `Expect`, trailers;
//! `Content-Length` is computed anew, and `Content-Encoding` goes where the capture removed the coding.
//! `Accept-Encoding` becomes `identity`, because recorded bodies are stored decoded and are compared as they
//! come. Every request is sent as HTTP/1.1, with header names in their recorded spelling.

use std::borrow::Cow;

use bytes::Bytes;
use http::uri::PathAndQuery;
use tap_proto::v1::{self, Exchange, body::Content, completeness::State};

use crate::{MARKER, Plan};

/// Headers that speak of one connection (RFC 9110, 7.6.1) or of how the recorded message was framed, and
/// those that are set here.
const NOT_COPIED: [&str; 10] = [
    "accept-encoding",
    "connection",
    "content-length",
    "expect",
    "host",
    "keep-alive",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];
const PROXY_PREFIX: &str = "proxy-";
const MARKER_SPELLED: &str = "Podtap-Replay";
/// Safe or repeatable without another effect (RFC 9110, 9.2).
const IDEMPOTENT: [&str; 6] = ["GET", "HEAD", "OPTIONS", "TRACE", "PUT", "DELETE"];

/// A request ready to be written.
#[derive(Clone)]
pub(crate) struct Outgoing {
    /// Head and body as they go on the wire.
    pub(crate) bytes: Bytes,
    /// Where the body begins.
    pub(crate) head_length: usize,
    /// Its answer has no body.
    pub(crate) is_head: bool,
    pub(crate) is_idempotent: bool,
}

/// A request while it can be changed: what transformations see.
#[derive(Clone)]
pub(crate) struct Draft<'a> {
    pub(crate) method: Cow<'a, str>,
    pub(crate) path: Cow<'a, str>,
    pub(crate) query: Cow<'a, str>,
    pub(crate) host: Cow<'a, [u8]>,
    /// Without those that [`Draft::encode`] writes itself: Host, Accept-Encoding, Content-Length, the marker.
    pub(crate) headers: Vec<(Cow<'a, str>, Cow<'a, [u8]>)>,
    pub(crate) body: Cow<'a, [u8]>,
    /// The recorded request said how long its body is, also where it was empty.
    has_length: bool,
}

/// Why an exchange is not sent. The words are part of the report.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// Its method was not allowed by name.
    Method,
    /// The request was not captured whole.
    Incomplete,
    /// The request's body was dropped on the node.
    BodyDropped,
    /// CONNECT, or a switch to another protocol.
    Upgrade,
    /// It was itself sent by a replay.
    Replayed,
    /// HTTP/1.1 can't carry it as recorded.
    Unsendable,
}

impl Refusal {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Method => "method",
            Self::Incomplete => "incomplete",
            Self::BodyDropped => "body_dropped",
            Self::Upgrade => "upgrade",
            Self::Replayed => "replayed",
            Self::Unsendable => "unsendable",
        }
    }
}

impl std::fmt::Debug for Outgoing {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "Outgoing({} bytes)", self.bytes.len())
    }
}

impl std::fmt::Debug for Draft<'_> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "Draft({} headers, {} bytes of body)", self.headers.len(), self.body.len())
    }
}

/// The request for `exchange` as recorded, with what belongs to this replay; or why there is none.
pub(crate) fn draft<'a>(exchange: &'a Exchange, plan: &'a Plan) -> Result<Draft<'a>, Refusal> {
    let recorded = exchange.request.as_ref().ok_or(Refusal::Incomplete)?;
    let switched = exchange.response.as_ref().is_some_and(|response| response.status == 101);
    if recorded.method == "CONNECT" || switched {
        return Err(Refusal::Upgrade);
    }
    if has_header(recorded, MARKER) {
        return Err(Refusal::Replayed);
    }
    if !plan.methods.contains(&recorded.method) {
        return Err(Refusal::Method);
    }
    if recorded.completeness.as_ref().is_none_or(|completeness| completeness.state() != State::Complete) {
        return Err(Refusal::Incomplete);
    }
    let asterisk = recorded.path == "*";
    if !asterisk && !recorded.path.starts_with('/') {
        return Err(Refusal::Unsendable);
    }
    let prefix = plan.target.prefix();
    let path = if asterisk || prefix.is_empty() {
        Cow::Borrowed(recorded.path.as_str())
    } else {
        Cow::Owned(format!("{prefix}{}", recorded.path))
    };
    Ok(Draft {
        method: Cow::Borrowed(&recorded.method),
        path,
        query: Cow::Borrowed(&recorded.query),
        host: Cow::Borrowed(host(recorded, plan)),
        headers: headers(recorded),
        body: Cow::Borrowed(body(recorded)?),
        has_length: has_header(recorded, "content-length") || has_header(recorded, "transfer-encoding"),
    })
}

impl<'a> Draft<'a> {
    pub(crate) fn new(
        method: Cow<'a, str>,
        path: Cow<'a, str>,
        query: Cow<'a, str>,
        host: Cow<'a, [u8]>,
        headers: Vec<(Cow<'a, str>, Cow<'a, [u8]>)>,
        body: Cow<'a, [u8]>,
    ) -> Self {
        Self { method, path, query, host, headers, body, has_length: false }
    }

    /// Whether [`Self::encode`] writes this header by itself.
    pub(crate) fn writes(name: &str) -> bool {
        ["host", "accept-encoding", "content-length", MARKER].iter().any(|own| own.eq_ignore_ascii_case(name))
    }

    /// The bytes to write. Refused is what would not be one request with these parts.
    pub(crate) fn encode(&self, plan: &Plan) -> Result<Outgoing, Refusal> {
        let Self { method, path, query, host, headers, body, has_length } = self;
        let length: usize = headers.iter().map(|(name, value)| name.len() + value.len() + 4).sum();
        let mut bytes = Vec::with_capacity(length + path.len() + query.len() + body.len() + 256);

        if !is_token(method) {
            return Err(Refusal::Unsendable);
        }
        bytes.extend_from_slice(method.as_bytes());
        bytes.push(b' ');
        let target = bytes.len();
        bytes.extend_from_slice(path.as_bytes());
        if !query.is_empty() {
            bytes.push(b'?');
            bytes.extend_from_slice(query.as_bytes());
        }
        match PathAndQuery::try_from(&bytes[target..]) {
            // Parsing cuts at "#", which no valid target has: what can't be sent as it was is not sent.
            Ok(parsed) if parsed.as_str().as_bytes() == &bytes[target..] => {}
            _ => return Err(Refusal::Unsendable),
        }
        bytes.extend_from_slice(b" HTTP/1.1\r\n");

        put(&mut bytes, "Host", host)?;
        for (name, value) in headers {
            put(&mut bytes, name, value)?;
        }
        put(&mut bytes, "Accept-Encoding", b"identity")?;
        if !body.is_empty() || *has_length {
            put(&mut bytes, "Content-Length", body.len().to_string().as_bytes())?;
        }
        put(&mut bytes, MARKER_SPELLED, plan.id.as_bytes())?;
        bytes.extend_from_slice(b"\r\n");
        let head_length = bytes.len();
        bytes.extend_from_slice(body);
        Ok(Outgoing {
            bytes: bytes.into(),
            head_length,
            is_head: method == "HEAD",
            is_idempotent: IDEMPOTENT.contains(&method.as_ref()),
        })
    }
}

fn put(bytes: &mut Vec<u8>, name: &str, value: &[u8]) -> Result<(), Refusal> {
    let is_text = |&byte: &u8| byte == b'\t' || (byte >= b' ' && byte != 0x7f);
    if !is_token(name) || !value.iter().all(is_text) {
        return Err(Refusal::Unsendable);
    }
    bytes.extend_from_slice(name.as_bytes());
    bytes.extend_from_slice(b": ");
    bytes.extend_from_slice(value);
    bytes.extend_from_slice(b"\r\n");
    Ok(())
}

/// A method or a header's name (RFC 9110, 5.6.2).
pub(crate) fn is_token(text: &str) -> bool {
    !text.is_empty()
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte))
}

fn body(recorded: &v1::Request) -> Result<&[u8], Refusal> {
    let Some(body) = &recorded.body else { return Ok(&[]) };
    if !body.dropped.is_empty() {
        return Err(Refusal::BodyDropped);
    }
    match &body.content {
        Some(Content::Text(text)) => Ok(text.as_bytes()),
        Some(Content::Binary(bytes)) => Ok(bytes),
        None if body.size == 0 => Ok(&[]),
        None => Err(Refusal::Incomplete),
    }
}

fn headers(recorded: &v1::Request) -> Vec<(Cow<'_, str>, Cow<'_, [u8]>)> {
    let connection_options = connection_options(recorded);
    let decoded = recorded.body.as_ref().is_some_and(|body| !body.decoded_from.is_empty());
    let stays = |header: &&v1::Header| {
        let is = |name: &&str| header.name.eq_ignore_ascii_case(name);
        let start = header.name.get(..PROXY_PREFIX.len());
        let hop_by_hop = NOT_COPIED.iter().any(is)
            || connection_options.iter().any(is)
            || start.is_some_and(|start| start.eq_ignore_ascii_case(PROXY_PREFIX));
        !(hop_by_hop || decoded && is(&"content-encoding"))
    };
    let kept = recorded.headers.iter().filter(stays);
    kept.map(|header| (Cow::Borrowed(header.name.as_str()), Cow::Borrowed(value(header)))).collect()
}

fn host<'a>(recorded: &'a v1::Request, plan: &'a Plan) -> &'a [u8] {
    let recorded_host = plan.keep_host.then(|| {
        let header = recorded.headers.iter().find(|header| header.name.eq_ignore_ascii_case("host"));
        header.map_or(recorded.host.as_bytes(), value)
    });
    recorded_host.filter(|host| !host.is_empty()).unwrap_or(plan.target.authority().as_bytes())
}

/// The headers that `Connection` names: they end with the recorded connection, too.
fn connection_options(recorded: &v1::Request) -> Vec<&str> {
    let connection = recorded.headers.iter().filter(|header| header.name.eq_ignore_ascii_case("connection"));
    connection.flat_map(|header| header.value.split(',')).map(str::trim).collect()
}

fn has_header(recorded: &v1::Request, name: &str) -> bool {
    recorded.headers.iter().any(|header| header.name.eq_ignore_ascii_case(name))
}

/// The bytes of the wire, where they were not UTF-8.
pub(crate) fn value(header: &v1::Header) -> &[u8] {
    if header.raw_value.is_empty() { header.value.as_bytes() } else { &header.raw_value }
}

#[cfg(test)]
mod tests {
    use tap_proto::v1::{Body, Completeness, Header, Response};

    use super::*;
    use crate::RawPlan;

    fn plan(change: impl FnOnce(&mut RawPlan)) -> Plan {
        let mut raw = RawPlan {
            id: "r1".into(),
            target: "http://test:81/v2".into(),
            allow_methods: vec!["POST".into()],
            ..RawPlan::default()
        };
        change(&mut raw);
        Plan::validate(raw).unwrap()
    }

    fn exchange(method: &str, path: &str, headers: &[(&str, &str)]) -> Exchange {
        let headers = headers
            .iter()
            .map(|(name, value)| Header { name: (*name).into(), value: (*value).into(), ..Header::default() })
            .collect();
        Exchange {
            request: Some(v1::Request {
                method: method.into(),
                path: path.into(),
                headers,
                completeness: Some(Completeness { state: State::Complete.into(), ..Completeness::default() }),
                ..v1::Request::default()
            }),
            ..Exchange::default()
        }
    }

    fn rebuild(exchange: &Exchange, plan: &Plan) -> Result<Sent, Refusal> {
        draft(exchange, plan)?.encode(plan).map(|outgoing| Sent::parse(&outgoing))
    }

    /// A request as a server reads it.
    #[derive(Debug)]
    struct Sent {
        target: String,
        headers: Vec<(String, Vec<u8>)>,
        body: Vec<u8>,
    }

    impl Sent {
        fn parse(outgoing: &Outgoing) -> Self {
            let mut headers = [httparse::EMPTY_HEADER; 32];
            let mut request = httparse::Request::new(&mut headers);
            let httparse::Status::Complete(length) = request.parse(&outgoing.bytes).unwrap() else {
                panic!("incomplete head")
            };
            assert_eq!(length, outgoing.head_length);
            Self {
                target: request.path.unwrap().to_owned(),
                headers: request
                    .headers
                    .iter()
                    .map(|header| (header.name.to_owned(), header.value.to_vec()))
                    .collect(),
                body: outgoing.bytes[length..].to_vec(),
            }
        }

        fn names(&self) -> Vec<&str> {
            self.headers.iter().map(|(name, _)| name.as_str()).collect()
        }

        fn all(&self, name: &str) -> Vec<&[u8]> {
            self.headers.iter().filter(|(given, _)| given == name).map(|(_, value)| &value[..]).collect()
        }
    }

    #[test]
    fn what_belonged_to_the_recorded_connection_is_left_out() {
        let mut exchange = exchange(
            "POST",
            "/cart",
            &[
                ("HOST", "shop"),
                ("Connection", "keep-alive, X-Hop"),
                ("X-Hop", "1"),
                ("Keep-Alive", "timeout=5"),
                ("Transfer-Encoding", "chunked"),
                ("TE", "trailers"),
                ("Trailer", "X-Sum"),
                ("Expect", "100-continue"),
                ("Upgrade", "h2c"),
                ("Proxy-Authorization", "x"),
                ("Proxy-Connection", "keep-alive"),
                ("Content-Encoding", "gzip"),
                ("Accept-Encoding", "gzip, br"),
                ("Content-Type", "text/plain"),
                ("X-Repeated", "1"),
                ("x-repeated", "2"),
            ],
        );
        exchange.request.as_mut().unwrap().query = "a=1&b".into();
        exchange.request.as_mut().unwrap().body = Some(Body {
            content: Some(Content::Text("hello".into())),
            size: 25,
            decoded_from: "gzip".into(),
            dropped: String::new(),
        });

        let request = rebuild(&exchange, &plan(|_| {})).unwrap();

        assert_eq!(request.target, "/v2/cart?a=1&b");
        assert_eq!(
            request.names(),
            [
                "Host",
                "Content-Type",
                "X-Repeated",
                "x-repeated",
                "Accept-Encoding",
                "Content-Length",
                "Podtap-Replay"
            ]
        );
        assert_eq!(request.all("Host"), [b"test:81"]);
        assert_eq!(request.all("Accept-Encoding"), [b"identity"]);
        assert_eq!(request.all("Content-Length"), [b"5"]);
        assert_eq!(request.all("Podtap-Replay"), [b"r1"]);
        assert_eq!(request.body, b"hello");
    }

    #[test]
    fn the_recorded_host_is_kept_when_asked() {
        let recorded = exchange("GET", "/", &[("Host", "Shop.example")]);
        let request = rebuild(&recorded, &plan(|raw| raw.keep_host = true)).unwrap();
        assert_eq!(request.all("Host"), [b"Shop.example"]);

        let without = exchange("GET", "/", &[]);
        let request = rebuild(&without, &plan(|raw| raw.keep_host = true)).unwrap();
        assert_eq!(request.all("Host"), [b"test:81"]);
    }

    #[test]
    fn raw_header_bytes_win_over_their_rendition() {
        let mut recorded = exchange("GET", "/", &[("X-Name", "caf\u{fffd}")]);
        recorded.request.as_mut().unwrap().headers[0].raw_value = b"caf\xe9".to_vec();
        let request = rebuild(&recorded, &plan(|_| {})).unwrap();
        assert_eq!(request.all("X-Name"), [b"caf\xe9"]);
    }

    #[test]
    fn a_body_that_was_announced_empty_stays_announced() {
        let request = rebuild(&exchange("POST", "/", &[("Content-Length", "0")]), &plan(|_| {})).unwrap();
        assert_eq!(request.all("Content-Length"), [b"0"]);
        let request = rebuild(&exchange("GET", "/", &[]), &plan(|_| {})).unwrap();
        assert!(request.all("Content-Length").is_empty());
    }

    #[test]
    fn options_asterisk_ignores_the_prefix() {
        assert_eq!(rebuild(&exchange("OPTIONS", "*", &[]), &plan(|_| {})).unwrap().target, "*");
    }

    #[test]
    fn each_refusal_has_its_reason() {
        let refusal = |exchange: &Exchange| rebuild(exchange, &plan(|_| {})).unwrap_err();

        assert_eq!(refusal(&Exchange::default()), Refusal::Incomplete);
        assert_eq!(refusal(&exchange("DELETE", "/", &[])), Refusal::Method);
        assert_eq!(refusal(&exchange("CONNECT", "shop:443", &[])), Refusal::Upgrade);
        assert_eq!(refusal(&exchange("GET", "/", &[("Podtap-Replay", "r0")])), Refusal::Replayed);
        for path in ["shop", "", "/a b", "/a#b", "/\n"] {
            assert_eq!(refusal(&exchange("GET", path, &[])), Refusal::Unsendable, "{path:?}");
        }
        assert_eq!(refusal(&exchange("GET", "/", &[("X", "a\r\nInjected: 1")])), Refusal::Unsendable);

        let mut websocket = exchange("GET", "/", &[]);
        websocket.response = Some(Response { status: 101, ..Response::default() });
        assert_eq!(refusal(&websocket), Refusal::Upgrade);

        let mut truncated = exchange("POST", "/", &[]);
        truncated.request.as_mut().unwrap().completeness =
            Some(Completeness { state: State::Truncated.into(), ..Completeness::default() });
        assert_eq!(refusal(&truncated), Refusal::Incomplete);
        truncated.request.as_mut().unwrap().completeness = None;
        assert_eq!(refusal(&truncated), Refusal::Incomplete);

        let mut dropped = exchange("POST", "/", &[]);
        dropped.request.as_mut().unwrap().body =
            Some(Body { size: 9, dropped: "opaque".into(), ..Body::default() });
        assert_eq!(refusal(&dropped), Refusal::BodyDropped);
    }
}
