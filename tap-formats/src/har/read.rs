//! Archives as exchanges, entry by entry: an archive may be of any length, an entry may not.

use std::{
    cell::Cell,
    collections::HashMap,
    fmt,
    io::{self, BufRead, Read},
    rc::Rc,
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;
use jiff::Timestamp;
use serde::{
    Deserialize,
    de::{DeserializeSeed, Deserializer, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor},
};
use serde_json::Value;
use tap_proto::v1::{self, body::Content as BodyContent, completeness::State};

use super::entry::{EXCHANGE, Field, PostData, Request, Response, Timings};
use crate::{
    item::{Imported, Item, Sink},
    protobuf_json,
    read_error::{Place, ReadError},
    stored,
};

/// Of the JSON text of one entry, or of what is between two.
const MAX_ENTRY_BYTES: usize = 64 * 1024 * 1024;
/// Names of connections that are remembered, so that entries of one share it.
const MAX_CONNECTIONS: usize = 65_536;
const NANOS_PER_MILLI: f64 = 1e6;
/// Of the times in an archive.
const CLOCK: &str = "CLOCK_REALTIME";

/// Reads an archive; hands each entry to `sink`.
pub fn read(input: impl BufRead, sink: &mut Sink<'_>) -> Result<(), ReadError> {
    let allowance = Rc::new(Cell::new(MAX_ENTRY_BYTES));
    let bounded = Bounded { input, allowance: Rc::clone(&allowance) };
    let mut walk =
        Walk { sink, allowance, entry: 0, connections: HashMap::new(), found: false, stopped: false };
    let mut deserializer = serde_json::Deserializer::from_reader(bounded);
    let end = Archive(&mut walk).deserialize(&mut deserializer).and_then(|()| deserializer.end());
    let Walk { allowance, entry, found, stopped, .. } = walk;
    let place = Place::Entry(entry + 1);
    match end {
        _ if stopped => Err(ReadError::Stopped),
        Ok(()) if found => Ok(()),
        Ok(()) => {
            Err(ReadError::Malformed { place: Place::Line(1), problem: "no HAR: there is no log.entries" })
        }
        Err(_) if allowance.get() == 0 => Err(ReadError::TooLong { place, limit: MAX_ENTRY_BYTES }),
        Err(error) if error.is_io() => Err(ReadError::Read { place, error: error.into() }),
        Err(error) => {
            // What serde says of it may quote what is there.
            let problem = if error.is_data() { "not as in a HAR" } else { "not JSON" };
            Err(ReadError::Malformed { place: Place::Line(error.line() as u64), problem })
        }
    }
}

/// Gives no more than it is allowed to.
struct Bounded<R> {
    input: R,
    allowance: Rc<Cell<usize>>,
}

impl<R: Read> Read for Bounded<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let allowed = self.allowance.get();
        if allowed == 0 {
            return Err(io::Error::other("too long"));
        }
        let length = buffer.len().min(allowed);
        let read = self.input.read(&mut buffer[..length])?;
        self.allowance.set(allowed - read);
        Ok(read)
    }
}

struct Walk<'s, 'f> {
    sink: &'s mut Sink<'f>,
    allowance: Rc<Cell<usize>>,
    entry: u64,
    connections: HashMap<String, (u64, u32)>,
    found: bool,
    stopped: bool,
}

/// The document: only its `log` is looked at.
struct Archive<'w, 's, 'f>(&'w mut Walk<'s, 'f>);
/// The log: only its `entries` are looked at.
struct Log<'w, 's, 'f>(&'w mut Walk<'s, 'f>);
struct Entries<'w, 's, 'f>(&'w mut Walk<'s, 'f>);

impl<'d> DeserializeSeed<'d> for Archive<'_, '_, '_> {
    type Value = ();

    fn deserialize<D: Deserializer<'d>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'d> Visitor<'d> for Archive<'_, '_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an archive")
    }

    fn visit_map<A: MapAccess<'d>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(key) = map.next_key::<String>()? {
            match key.as_str() {
                "log" => map.next_value_seed(Log(&mut *self.0))?,
                _ => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        Ok(())
    }
}

impl<'d> DeserializeSeed<'d> for Log<'_, '_, '_> {
    type Value = ();

    fn deserialize<D: Deserializer<'d>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'d> Visitor<'d> for Log<'_, '_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a log")
    }

    fn visit_map<A: MapAccess<'d>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(key) = map.next_key::<String>()? {
            match key.as_str() {
                "entries" => map.next_value_seed(Entries(&mut *self.0))?,
                _ => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        Ok(())
    }
}

impl<'d> DeserializeSeed<'d> for Entries<'_, '_, '_> {
    type Value = ();

    fn deserialize<D: Deserializer<'d>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'d> Visitor<'d> for Entries<'_, '_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("entries")
    }

    fn visit_seq<A: SeqAccess<'d>>(self, mut entries: A) -> Result<(), A::Error> {
        let walk = self.0;
        walk.found = true;
        walk.allowance.set(MAX_ENTRY_BYTES);
        while let Some(entry) = entries.next_element::<Value>()? {
            walk.allowance.set(MAX_ENTRY_BYTES);
            walk.entry += 1;
            let item = match walk.exchange(entry) {
                Ok(exchange) => Item::Exchange(exchange),
                Err(word) => Item::Skipped(word),
            };
            if (walk.sink)(item).is_break() {
                walk.stopped = true;
                return Err(A::Error::custom("stopped"));
            }
        }
        Ok(())
    }
}

impl Walk<'_, '_> {
    fn exchange(&mut self, mut entry: Value) -> Result<Imported, &'static str> {
        let rest = entry.get(EXCHANGE).and_then(protobuf_json::of_value::<v1::Exchange>);
        let mut field = |name: &str| entry.get_mut(name).map(Value::take).unwrap_or(Value::Null);
        let request = Request::deserialize(field("request")).map_err(|_| "no_request")?;
        let response = match field("response") {
            Value::Null => None,
            response => Some(Response::deserialize(response).map_err(|_| "malformed_response")?),
        };
        let started = field("startedDateTime");
        let started = started.as_str().and_then(|text| text.parse::<Timestamp>().ok());
        let timings = Timings::deserialize(field("timings")).unwrap_or_default();
        let server = field("serverIPAddress");
        let connection = field("connection");

        let own = rest.is_some();
        let mut exchange = rest.unwrap_or_default();
        if !own {
            times(&mut exchange, started, &timings);
            (exchange.flow, exchange.flow_index) = self.place(connection.as_str());
            exchange.role = v1::Role::Inbound.into();
        }
        let location = request.url.clone();
        let url = Url::parse(&location).ok_or("not_http")?;
        let server = server.as_str().unwrap_or_default().trim_matches(['[', ']']);
        if !own && !server.is_empty() {
            let port = url.port();
            exchange.destination =
                Some(v1::Endpoint { ip: server.to_owned(), port, ..v1::Endpoint::default() });
        }
        exchange.request = Some(self::request(request, &url, exchange.request.take())?);
        exchange.response = match response {
            // 0 where no response came.
            Some(response) if response.status > 0 => {
                Some(self::response(response, exchange.response.take())?)
            }
            _ => None,
        };
        if own {
            return Ok(stored::imported(self.entry, exchange));
        }
        let mut imported = stored::imported(self.entry, exchange);
        if started.is_none() {
            for span in [
                imported.exchange.request.as_mut().map(|request| &mut request.span),
                imported.exchange.response.as_mut().map(|response| &mut response.span),
            ]
            .into_iter()
            .flatten()
            {
                *span = tap_flow::Span::default();
            }
        }
        Ok(imported)
    }

    /// Flow and position: entries of one connection share it, others have their own.
    fn place(&mut self, connection: Option<&str>) -> (u64, u32) {
        let alone = (self.entry, 0);
        let Some(name) = connection.filter(|name| !name.is_empty() && *name != "0") else { return alone };
        let is_full = self.connections.len() >= MAX_CONNECTIONS;
        match self.connections.get_mut(name) {
            Some((flow, next)) => {
                let place = (*flow, *next);
                *next = next.saturating_add(1);
                place
            }
            None if is_full => alone,
            None => {
                self.connections.insert(name.to_owned(), (self.entry, 1));
                alone
            }
        }
    }
}

/// The four instants; phases before the request are left out.
fn times(exchange: &mut v1::Exchange, started: Option<Timestamp>, timings: &Timings) {
    let Some(started) = started else { return };
    let nanos = |millis: f64| if millis > 0.0 { (millis * NANOS_PER_MILLI) as u64 } else { 0 };
    let before =
        [timings.blocked, timings.dns, timings.connect].into_iter().map(nanos).fold(0, u64::saturating_add);
    let begin = u64::try_from(started.as_nanosecond()).unwrap_or(0).saturating_add(before);
    let sent = begin.saturating_add(nanos(timings.send));
    let first = sent.saturating_add(nanos(timings.wait));
    exchange.time = Some(prost_types::Timestamp {
        seconds: (begin / 1_000_000_000) as i64,
        nanos: (begin % 1_000_000_000) as i32,
    });
    exchange.timing = Some(v1::Timing {
        clock: CLOCK.to_owned(),
        request_start_ns: begin,
        request_end_ns: sent,
        response_start_ns: first,
        response_end_ns: first.saturating_add(nanos(timings.receive)),
    });
}

/// The parts of an absolute URL that a request shows.
struct Url<'u> {
    scheme: &'static str,
    host: String,
    path: &'u str,
    query: &'u str,
}

impl<'u> Url<'u> {
    /// `None` where HTTP did not fetch it: data, blob, WebSocket, an extension's.
    fn parse(url: &'u str) -> Option<Self> {
        let (scheme, rest) = url.split_once("://")?;
        let scheme = ["http", "https"].into_iter().find(|known| scheme.eq_ignore_ascii_case(known))?;
        let rest = rest.split('#').next()?;
        let (authority, target) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
        // Who asked is not where it went, and a secret.
        let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let path = if path.is_empty() { "/" } else { path };
        Some(Self { scheme, host: host.to_ascii_lowercase(), path, query })
    }

    fn port(&self) -> u32 {
        let port = self.host.rsplit_once(':').and_then(|(_, port)| port.parse::<u16>().ok());
        u32::from(port.unwrap_or(if self.scheme == "https" { 443 } else { 80 }))
    }
}

fn request(request: Request, url: &Url<'_>, rest: Option<v1::Request>) -> Result<v1::Request, &'static str> {
    let Request { method, http_version, headers, post_data, body_size, .. } = request;
    if method.is_empty() {
        return Err("no_request");
    }
    let own = rest.is_some();
    let mut request = rest.unwrap_or_default();
    let (mime_type, content, absent) = match post_data {
        None => (String::new(), None, false),
        Some(PostData { mime_type, base64: Some(encoded), .. }) => {
            (mime_type, Some(decode(&encoded)?), false)
        }
        Some(PostData { mime_type, text: Some(text), .. }) => (mime_type, Some(text.into_bytes()), false),
        // Decoded as they are in the body.
        Some(PostData { mime_type, params: Some(params), .. }) if !params.is_empty() => {
            let mut form = url::form_urlencoded::Serializer::new(String::new());
            form.extend_pairs(params.iter().map(|Field { name, value, .. }| (name, value)));
            (mime_type, Some(form.finish().into_bytes()), false)
        }
        Some(PostData { mime_type, .. }) => (mime_type, None, true),
    };
    request.method = method;
    (url.scheme).clone_into(&mut request.scheme);
    (request.path, request.query) = (url.path.to_owned(), url.query.to_owned());
    if own && request.path.starts_with("/*") && request.method == "OPTIONS" {
        "*".clone_into(&mut request.path);
    }
    request.host.clone_from(&url.host);
    if request.method == "CONNECT" {
        request.path.clone_from(&url.host);
    }
    request.headers = fields(headers, &mime_type)?;
    if !own {
        request.version = http_version;
        let missing = u64::try_from(body_size.0).unwrap_or(0);
        let known = content.as_ref().map(Vec::len);
        request.completeness = Some(completeness(known.is_some() || !absent || missing == 0, missing));
        request.body = content.map(|content| body(content, &request.headers, body_size.0));
    } else if let Some(content) = content {
        put(&mut request.body, content);
    }
    Ok(request)
}

fn response(response: Response, rest: Option<v1::Response>) -> Result<v1::Response, &'static str> {
    let Response { status, status_text, http_version, headers, content, body_size, .. } = response;
    let own = rest.is_some();
    let mut response = rest.unwrap_or_default();
    let bytes = match (content.text, content.encoding.as_deref()) {
        (Some(text), Some("base64")) => Some(decode(&text)?),
        (Some(text), _) => Some(text.into_bytes()),
        (None, _) => None,
    };
    let mime_type = if content.mime_type == "x-unknown" { "" } else { content.mime_type.as_str() };
    response.headers = fields(headers, mime_type)?;
    if !own {
        (response.status, response.reason, response.version) = (status.into(), status_text, http_version);
        let size = u64::try_from(content.size.0).unwrap_or(0);
        // Browsers leave content out of what they save unless they are told otherwise.
        let whole = bytes.is_some() || size == 0;
        response.completeness = Some(completeness(whole, size));
        response.body = match bytes {
            Some(bytes) if !bytes.is_empty() => Some(body(bytes, &response.headers, body_size.0)),
            _ => (!whole).then(|| v1::Body { size, ..v1::Body::default() }),
        };
    } else if let Some(bytes) = bytes {
        put(&mut response.body, bytes);
    }
    Ok(response)
}

fn completeness(whole: bool, missing: u64) -> v1::Completeness {
    let state = if whole { State::Complete } else { State::Truncated };
    let bytes = if whole { 0 } else { missing };
    v1::Completeness { state: state.into(), bytes, ..v1::Completeness::default() }
}

/// Contents are decoded in an archive.
fn body(content: Vec<u8>, headers: &[v1::Header], transferred: i64) -> v1::Body {
    let coding = headers.iter().find(|header| header.name.eq_ignore_ascii_case("content-encoding"));
    let coding =
        coding.map(|header| header.value.clone()).filter(|coding| !coding.eq_ignore_ascii_case("identity"));
    let length = content.len() as u64;
    let size = match &coding {
        Some(_) => u64::try_from(transferred).ok().filter(|size| *size > 0).unwrap_or(length),
        None => length,
    };
    let mut body = Some(v1::Body { size, decoded_from: coding.unwrap_or_default(), ..v1::Body::default() });
    put(&mut body, content);
    body.unwrap_or_default()
}

fn put(body: &mut Option<v1::Body>, content: Vec<u8>) {
    let content = match String::from_utf8(content) {
        Ok(text) => BodyContent::Text(text),
        Err(error) => BodyContent::Binary(Bytes::from(error.into_bytes())),
    };
    if let Some(body) = body {
        body.content = Some(content);
    }
}

/// The fields, without those by which HTTP/2 says what a start line does, and with the type that the archive gives
/// where they have none.
fn fields(fields: Vec<Field>, mime_type: &str) -> Result<Vec<v1::Header>, &'static str> {
    let field = |Field { name, value, base64 }: Field| -> Result<v1::Header, &'static str> {
        let raw_value = base64.as_deref().map(decode).transpose()?.unwrap_or_default();
        Ok(v1::Header { name, value, raw_value })
    };
    let mut headers: Vec<v1::Header> = fields
        .into_iter()
        .filter(|field| !field.name.starts_with(':'))
        .map(field)
        .collect::<Result<_, _>>()?;
    let has_type = headers.iter().any(|header| header.name.eq_ignore_ascii_case("content-type"));
    if !mime_type.is_empty() && !has_type {
        headers.push(v1::Header {
            name: "Content-Type".to_owned(),
            value: mime_type.to_owned(),
            raw_value: Vec::new(),
        });
    }
    Ok(headers)
}

fn decode(text: &str) -> Result<Vec<u8>, &'static str> {
    STANDARD.decode(text).map_err(|_| "bad_base64")
}
