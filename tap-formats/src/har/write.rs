//! Stored exchanges as entries of an archive.

use std::{
    fmt,
    io::{self, Write},
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use jiff::Timestamp;
use serde::{Serialize, Serializer};
use tap_flow::Span;
use tap_proto::v1::{self, completeness::State};

use super::entry::{Content, Cookie, Field, Number, PostData, Request, Response, Timings};
use crate::{
    fit::{Fit, Unfit},
    http1, protobuf_json, stored,
    stored::Times,
    terminal,
};

const NANOS_PER_MILLI: f64 = 1e6;
/// RFC 2046 for what is not known; browsers write `x-unknown`.
const UNKNOWN_TYPE: &str = "x-unknown";

/// Writes an archive, entry by entry.
pub struct Writer<W> {
    out: W,
    empty: bool,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Entry<E> {
    started_date_time: String,
    time: f64,
    request: Request,
    response: Response,
    cache: Empty,
    timings: Timings,
    #[serde(rename = "serverIPAddress", skip_serializing_if = "Option::is_none")]
    server_ip_address: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    connection: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    comment: Option<String>,
    #[serde(rename = "_exchange")]
    exchange: E,
}

struct Empty;

impl<W: Write> Writer<W> {
    pub fn new(out: W) -> Self {
        Self { out, empty: true }
    }

    /// Writes the exchange as an entry.
    pub fn write(&mut self, exchange: &v1::Exchange) -> io::Result<Fit> {
        let Some(request) = &exchange.request else { return Ok(Fit::Not(Unfit::NoRequest)) };
        if request.method.is_empty() || request.host.is_empty() && request.path.is_empty() {
            return Ok(Fit::Not(Unfit::InvalidHead));
        }
        let rest = protobuf_json::serializable(&rest(exchange)).map_err(io::Error::other)?;
        let json = serde_json::to_string(&entry(exchange, request, rest)).map_err(io::Error::other)?;
        let begin = if self.empty { self.begin() } else { ",\n".to_owned() };
        self.empty = false;
        self.out.write_all(begin.as_bytes())?;
        self.out.write_all(terminal::json(&json).as_bytes())?;
        Ok(Fit::Whole)
    }

    /// Ends the archive.
    pub fn finish(mut self) -> io::Result<W> {
        if self.empty {
            let begin = self.begin();
            self.out.write_all(begin.as_bytes())?;
        }
        self.out.write_all(b"\n]}}\n")?;
        self.out.flush()?;
        Ok(self.out)
    }

    fn begin(&self) -> String {
        let version = env!("CARGO_PKG_VERSION");
        format!(
            "{{\"log\":{{\"version\":\"1.2\",\"creator\":{{\"name\":\"Podtap\",\"version\":\"{version}\"}},\"entries\":[\n"
        )
    }
}

/// What the archive has no place for.
fn rest(exchange: &v1::Exchange) -> v1::Exchange {
    let mut rest = exchange.clone();
    if let Some(request) = &mut rest.request {
        request.headers.clear();
        (request.method, request.host, request.path, request.query) = Default::default();
        clear(&mut request.body);
    }
    if let Some(response) = &mut rest.response {
        response.headers.clear();
        clear(&mut response.body);
    }
    rest
}

fn clear(body: &mut Option<v1::Body>) {
    if let Some(body) = body {
        body.content = None;
    }
}

fn entry<E>(exchange: &v1::Exchange, request: &v1::Request, rest: E) -> Entry<E> {
    let times = Times::of(exchange);
    let timings = timings(times.request, times.response);
    let time = exchange.time.unwrap_or_default();
    let started = Timestamp::new(time.seconds, time.nanos).unwrap_or(Timestamp::UNIX_EPOCH);
    let (flow, end) = (exchange.flow, exchange.destination.as_ref());
    Entry {
        started_date_time: format!("{started:.6}"),
        time: timings.send + timings.wait + timings.receive,
        request: self::request(exchange, request),
        response: exchange.response.as_ref().map_or_else(no_response, |it| response(it, &request.method)),
        cache: Empty,
        timings,
        server_ip_address: end.map(|end| end.ip.clone()).filter(|ip| !ip.is_empty()),
        connection: (flow != 0).then(|| flow.to_string()),
        comment: comment(exchange),
        exchange: rest,
    }
}

/// From the four instants; what was not seen took no time.
fn timings(request: Span, response: Span) -> Timings {
    let millis = |from: u64, to: u64| match (from, to) {
        (0, _) | (_, 0) => 0.0,
        (from, to) => to.saturating_sub(from) as f64 / NANOS_PER_MILLI,
    };
    let sent = if request.end == 0 { request.start } else { request.end };
    Timings {
        send: millis(request.start, request.end),
        wait: millis(sent, response.start),
        receive: millis(response.start, response.end),
        ..Timings::default()
    }
}

/// Says of an entry what its reader must know and the archive does not tell.
fn comment(exchange: &v1::Exchange) -> Option<String> {
    let incomplete = |completeness: Option<&v1::Completeness>| {
        completeness.filter(|it| !matches!(it.state(), State::Complete | State::Unspecified)).is_some()
    };
    let mut parts = Vec::new();
    if exchange.request.as_ref().is_some_and(|it| incomplete(it.completeness.as_ref())) {
        parts.push("the request is not complete");
    }
    if exchange.response.as_ref().is_some_and(|it| incomplete(it.completeness.as_ref())) {
        parts.push("the response is not complete");
    }
    if exchange.response.is_none() {
        parts.push("no response was captured");
    }
    if !exchange.redactions.is_empty() {
        parts.push("values were redacted");
    }
    (!parts.is_empty()).then(|| parts.join("; "))
}

fn request(exchange: &v1::Exchange, request: &v1::Request) -> Request {
    let content = stored::content(request.body.as_ref());
    let is_form = of(&request.headers, "content-type")
        .is_some_and(|value| value.to_ascii_lowercase().starts_with("application/x-www-form-urlencoded"));
    Request {
        method: request.method.clone(),
        url: url(exchange, request),
        http_version: request.version.clone(),
        cookies: request
            .headers
            .iter()
            .filter(|header| header.name.eq_ignore_ascii_case("cookie"))
            .flat_map(|header| header.value.split(';'))
            .filter_map(|pair| pair.split_once('='))
            .map(|(name, value)| Cookie {
                name: name.trim().to_owned(),
                value: value.trim().to_owned(),
                ..Cookie::default()
            })
            .collect(),
        headers: fields(&request.headers),
        query_string: url::form_urlencoded::parse(request.query.as_bytes())
            .map(|(name, value)| Field { name: name.into(), value: value.into(), base64: None })
            .collect(),
        post_data: request.body.as_ref().map(|body| {
            let text = std::str::from_utf8(content).ok().filter(|_| body.content.is_some());
            PostData {
                mime_type: of(&request.headers, "content-type").unwrap_or_default().to_owned(),
                // Both have a place in the archive, and readers take the one they know.
                params: is_form.then(|| {
                    url::form_urlencoded::parse(content)
                        .map(|(name, value)| Field { name: name.into(), value: value.into(), base64: None })
                        .collect()
                }),
                text: text.map(str::to_owned),
                base64: (text.is_none() && body.content.is_some()).then(|| STANDARD.encode(content)),
                comment: absence(body),
            }
        }),
        headers_size: Number::from(head_size(
            request.method.len() + 1 + http1::target(request).len() + 1 + request.version.len(),
            &request.headers,
        )),
        body_size: Number::from(request.body.as_ref().map_or(0, |body| body.size)),
    }
}

/// Of an absolute target, as the archive wants it.
fn url(exchange: &v1::Exchange, request: &v1::Request) -> String {
    let scheme = if request.scheme.is_empty() { "http" } else { &request.scheme };
    let host = match (&request.host, &exchange.destination) {
        (host, _) if !host.is_empty() => host.clone(),
        (_, Some(end)) if end.ip.contains(':') => format!("[{}]:{}", end.ip, end.port),
        (_, Some(end)) if !end.ip.is_empty() => format!("{}:{}", end.ip, end.port),
        _ => String::new(),
    };
    let target = http1::target(request);
    match (request.method.as_str(), target.starts_with('/')) {
        ("CONNECT", _) => format!("{scheme}://{host}/"),
        (_, true) => format!("{scheme}://{host}{target}"),
        (_, false) => format!("{scheme}://{host}/{target}"),
    }
}

fn response(response: &v1::Response, method: &str) -> Response {
    let body = response.body.as_ref();
    let content = stored::content(body);
    let (size, kept) = (body.map_or(0, |body| body.size), content.len() as u64);
    let decoded = body.is_some_and(|body| !body.decoded_from.is_empty());
    // How long all of it is once decoded is known of a whole body only.
    let whole = response.completeness.as_ref().is_none_or(|it| it.state() == State::Complete);
    let length = if decoded || whole && kept > 0 { kept } else { size };
    let text = std::str::from_utf8(content).ok();
    let has_content = body.is_some_and(|body| body.content.is_some());
    Response {
        status: u16::try_from(response.status).unwrap_or_default(),
        status_text: response.reason.clone(),
        http_version: response.version.clone(),
        cookies: response
            .headers
            .iter()
            .filter(|header| header.name.eq_ignore_ascii_case("set-cookie"))
            .filter_map(|header| set_cookie(&header.value))
            .collect(),
        headers: fields(&response.headers),
        content: Content {
            size: Number::from(length),
            compression: (decoded && whole)
                .then(|| Number(length.cast_signed().saturating_sub(size.cast_signed()))),
            mime_type: of(&response.headers, "content-type").unwrap_or(UNKNOWN_TYPE).to_owned(),
            text: has_content.then(|| text.map_or_else(|| STANDARD.encode(content), str::to_owned)),
            encoding: (has_content && text.is_none()).then(|| "base64".to_owned()),
            comment: body.and_then(absence),
        },
        redirect_url: of(&response.headers, "location").unwrap_or_default().to_owned(),
        headers_size: Number::from(head_size(
            response.version.len() + 5 + response.reason.len(),
            &response.headers,
        )),
        body_size: if method == "HEAD" || response.status == 304 { Number(0) } else { Number::from(size) },
        error: None,
    }
}

/// As browsers write it.
fn no_response() -> Response {
    Response {
        content: Content { size: Number(0), mime_type: UNKNOWN_TYPE.to_owned(), ..Content::default() },
        error: Some("no response was captured".to_owned()),
        ..Response::default()
    }
}

/// Why content is not there.
fn absence(body: &v1::Body) -> Option<String> {
    (body.content.is_none() && body.size > 0).then(|| match body.dropped.as_str() {
        "" => "not kept".to_owned(),
        reason => format!("dropped: {reason}"),
    })
}

fn fields(headers: &[v1::Header]) -> Vec<Field> {
    let field = |header: &v1::Header| Field {
        name: header.name.clone(),
        value: header.value.clone(),
        base64: (!header.raw_value.is_empty()).then(|| STANDARD.encode(&header.raw_value)),
    };
    headers.iter().map(field).collect()
}

fn of<'a>(headers: &'a [v1::Header], name: &str) -> Option<&'a str> {
    headers.iter().find(|header| header.name.eq_ignore_ascii_case(name)).map(|header| header.value.as_str())
}

/// Of a start line of this length, and what follows it up to the body.
fn head_size(start: usize, headers: &[v1::Header]) -> u64 {
    let fields: usize =
        headers.iter().map(|header| header.name.len() + stored::value(header).len() + 4).sum();
    (start + 2 + fields + 2) as u64
}

fn set_cookie(value: &str) -> Option<Cookie> {
    let mut parts = value.split(';');
    let (name, value) = parts.next()?.split_once('=')?;
    let mut cookie = Cookie {
        name: name.trim().to_owned(),
        value: value.trim().to_owned(),
        http_only: Some(false),
        secure: Some(false),
        ..Cookie::default()
    };
    for part in parts {
        let (name, value) = part.split_once('=').unwrap_or((part, ""));
        let value = value.trim().to_owned();
        match name.trim().to_ascii_lowercase().as_str() {
            "path" => cookie.path = Some(value),
            "domain" => cookie.domain = Some(value),
            "expires" => {
                // The archive wants ISO 8601.
                let expires = jiff::fmt::rfc2822::parse(&value).map(|zoned| zoned.timestamp().to_string());
                cookie.expires = expires.ok();
            }
            "httponly" => cookie.http_only = Some(true),
            "secure" => cookie.secure = Some(true),
            _ => {}
        }
    }
    Some(cookie)
}

impl Serialize for Empty {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serde::ser::SerializeMap::end(serializer.serialize_map(Some(0))?)
    }
}

impl<W> fmt::Debug for Writer<W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Writer").field("empty", &self.empty).finish_non_exhaustive()
    }
}
