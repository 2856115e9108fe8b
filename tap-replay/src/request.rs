//! From a recorded exchange to the request that is sent again.
//!
//! Method, path, query, headers and body are the recorded ones (redacted on the node, body decoded). What
//! belonged to the recorded connection or its framing is left out: hop-by-hop headers, `Expect`, trailers;
//! `Content-Length` is computed anew, and `Content-Encoding` goes where the capture removed the coding.
//! `Accept-Encoding` becomes `identity`, because recorded bodies are stored decoded and are compared as they
//! come. Every request is sent as HTTP/1.1, with header names in title case.

use bytes::Bytes;
use http::{
    HeaderMap, HeaderName, HeaderValue, Method, Request, Uri,
    header::{self, Entry},
    uri::PathAndQuery,
};
use http_body_util::Full;
use tap_proto::v1::{self, Exchange, body::Content, completeness::State};

use crate::{MARKER, Plan};

/// A request ready to be written.
pub(crate) type Outgoing = Request<Full<Bytes>>;

/// Headers that speak of one connection (RFC 9110, 7.6.1) or of how the recorded message was framed, and
/// those that are set here.
const NOT_COPIED: [HeaderName; 10] = [
    header::ACCEPT_ENCODING,
    header::CONNECTION,
    header::CONTENT_LENGTH,
    header::EXPECT,
    header::HOST,
    HeaderName::from_static("keep-alive"),
    header::TE,
    header::TRAILER,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
];
const PROXY_PREFIX: &str = "proxy-";

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

/// The request to send for `exchange`, or why there is none.
pub(crate) fn rebuild(exchange: &Exchange, plan: &Plan) -> Result<Outgoing, Refusal> {
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
    let body = body(recorded)?;

    let method = Method::from_bytes(recorded.method.as_bytes()).map_err(|_| Refusal::Unsendable)?;
    let mut request = Request::new(Full::new(body.clone()));
    *request.method_mut() = method;
    *request.uri_mut() = uri(recorded, plan.target.prefix())?;
    *request.headers_mut() = headers(recorded, body.len(), plan)?;
    Ok(request)
}

fn body(recorded: &v1::Request) -> Result<Bytes, Refusal> {
    let Some(body) = &recorded.body else { return Ok(Bytes::new()) };
    if !body.dropped.is_empty() {
        return Err(Refusal::BodyDropped);
    }
    match &body.content {
        Some(Content::Text(text)) => Ok(Bytes::copy_from_slice(text.as_bytes())),
        Some(Content::Binary(bytes)) => Ok(bytes.clone()),
        None if body.size == 0 => Ok(Bytes::new()),
        None => Err(Refusal::Incomplete),
    }
}

fn uri(recorded: &v1::Request, prefix: &str) -> Result<Uri, Refusal> {
    let v1::Request { path, query, .. } = recorded;
    let prefix = if path == "*" { "" } else { prefix };
    if path != "*" && !path.starts_with('/') {
        return Err(Refusal::Unsendable);
    }
    let separator = if query.is_empty() { "" } else { "?" };
    let target = format!("{prefix}{path}{separator}{query}");
    match PathAndQuery::try_from(target.as_str()) {
        // Parsing cuts at "#", which no valid target has: what can't be sent as it was is not sent.
        Ok(parsed) if parsed.as_str() == target => Ok(Uri::from(parsed)),
        _ => Err(Refusal::Unsendable),
    }
}

fn headers(recorded: &v1::Request, body_length: usize, plan: &Plan) -> Result<HeaderMap, Refusal> {
    let unsendable = |_| Refusal::Unsendable;
    let connection_options = connection_options(recorded);
    let decoded = recorded.body.as_ref().is_some_and(|body| !body.decoded_from.is_empty());
    let has_length = has_header(recorded, "content-length") || has_header(recorded, "transfer-encoding");

    let mut headers = HeaderMap::with_capacity(recorded.headers.len() + 4);
    headers.insert(header::HOST, host(recorded, plan)?);
    for recorded in &recorded.headers {
        let name = HeaderName::from_bytes(recorded.name.as_bytes()).map_err(|_| Refusal::Unsendable)?;
        let hop_by_hop = NOT_COPIED.contains(&name)
            || name.as_str().starts_with(PROXY_PREFIX)
            || connection_options.iter().any(|option| option.eq_ignore_ascii_case(name.as_str()));
        if hop_by_hop || (decoded && name == header::CONTENT_ENCODING) {
            continue;
        }
        let value = HeaderValue::from_bytes(value(recorded)).map_err(unsendable)?;
        match headers.try_entry(name).map_err(|_| Refusal::Unsendable)? {
            Entry::Occupied(mut entry) => entry.append(value),
            Entry::Vacant(entry) => {
                entry.insert(value);
            }
        }
    }
    headers.insert(header::ACCEPT_ENCODING, HeaderValue::from_static("identity"));
    if body_length > 0 || has_length {
        headers.insert(header::CONTENT_LENGTH, HeaderValue::from(body_length));
    }
    headers.insert(HeaderName::from_static(MARKER), plan.id.clone());
    Ok(headers)
}

fn host(recorded: &v1::Request, plan: &Plan) -> Result<HeaderValue, Refusal> {
    let recorded_host = plan.keep_host.then(|| {
        let header = recorded.headers.iter().find(|header| header.name.eq_ignore_ascii_case("host"));
        header.map_or(recorded.host.as_bytes(), value)
    });
    let host = recorded_host.filter(|host| !host.is_empty()).unwrap_or(plan.target.authority().as_bytes());
    HeaderValue::from_bytes(host).map_err(|_| Refusal::Unsendable)
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
fn value(header: &v1::Header) -> &[u8] {
    if header.raw_value.is_empty() { header.value.as_bytes() } else { &header.raw_value }
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt as _;
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

    fn names(request: &Outgoing) -> Vec<&str> {
        request.headers().keys().map(HeaderName::as_str).collect()
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

        assert_eq!(request.uri(), "/v2/cart?a=1&b");
        assert_eq!(
            names(&request),
            ["host", "content-type", "x-repeated", "accept-encoding", "content-length", MARKER]
        );
        assert_eq!(request.headers()["host"], "test:81");
        assert_eq!(request.headers()["accept-encoding"], "identity");
        assert_eq!(request.headers()["content-length"], "5");
        assert_eq!(request.headers()[MARKER], "r1");
        assert_eq!(request.headers().get_all("x-repeated").iter().collect::<Vec<_>>(), ["1", "2"]);
        let body = futures::executor::block_on(request.into_body().collect()).unwrap().to_bytes();
        assert_eq!(body, "hello");
    }

    #[test]
    fn the_recorded_host_is_kept_when_asked() {
        let recorded = exchange("GET", "/", &[("Host", "Shop.example")]);
        let request = rebuild(&recorded, &plan(|raw| raw.keep_host = true)).unwrap();
        assert_eq!(request.headers()["host"], "Shop.example");

        let without = exchange("GET", "/", &[]);
        let request = rebuild(&without, &plan(|raw| raw.keep_host = true)).unwrap();
        assert_eq!(request.headers()["host"], "test:81");
    }

    #[test]
    fn raw_header_bytes_win_over_their_rendition() {
        let mut recorded = exchange("GET", "/", &[("X-Name", "caf\u{fffd}")]);
        recorded.request.as_mut().unwrap().headers[0].raw_value = b"caf\xe9".to_vec();
        let request = rebuild(&recorded, &plan(|_| {})).unwrap();
        assert_eq!(request.headers()["x-name"].as_bytes(), b"caf\xe9");
    }

    #[test]
    fn a_body_that_was_announced_empty_stays_announced() {
        let request = rebuild(&exchange("POST", "/", &[("Content-Length", "0")]), &plan(|_| {})).unwrap();
        assert_eq!(request.headers()["content-length"], "0");
        let request = rebuild(&exchange("GET", "/", &[]), &plan(|_| {})).unwrap();
        assert!(!request.headers().contains_key("content-length"));
    }

    #[test]
    fn options_asterisk_ignores_the_prefix() {
        assert_eq!(rebuild(&exchange("OPTIONS", "*", &[]), &plan(|_| {})).unwrap().uri(), "*");
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
