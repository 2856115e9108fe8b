//! Stored exchanges as the ones that they were made of, so that they can go through redaction as on the node.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use bytes::Bytes;
use tap_flow::{
    Body, Cause, CgroupId, Completeness, Exchange, FlowKey, Header, Headers, Request, Response, Role, Span,
    TapId, Version,
};
use tap_proto::v1::{self, body::Content, completeness::State};

use crate::item::{About, Imported};

const NANOS_PER_SECOND: u64 = 1_000_000_000;
/// Names of Kubernetes are shorter, and so are those of cgroups, units and hosts.
const MAX_NAME_BYTES: usize = 1024;
const MAX_LABELS: usize = 256;
/// Redaction records fewer of one exchange.
const MAX_REDACTIONS: usize = 128;
const CAUSES: [Cause; 9] = [
    Cause::BodyCap,
    Cause::DecodeCap,
    Cause::AmbiguousFraming,
    Cause::InvalidChunk,
    Cause::ConnectionClosed,
    Cause::ConnectionReset,
    Cause::Upgraded,
    Cause::Evicted,
    Cause::CaptureEnded,
];

/// The exchange as far as it was stored, with the times of the wall clock.
pub fn exchange(stored: v1::Exchange) -> Exchange {
    let times = Times::of(&stored);
    let role = match stored.role() {
        v1::Role::Outbound => Role::Outbound,
        v1::Role::Inbound | v1::Role::Unspecified => Role::Inbound,
    };
    let (source, destination) = (address(stored.source.as_ref()), address(stored.destination.as_ref()));
    let (local, remote) = match role {
        Role::Inbound => (destination, source),
        Role::Outbound => (source, destination),
    };
    Exchange {
        flow: FlowKey { tap: TapId(0), local, remote },
        cgroup: CgroupId(0),
        flow_serial: stored.flow,
        index: stored.flow_index,
        role,
        request: stored.request.map(|stored| request(stored, times.request)),
        response: stored.response.map(|stored| response(stored, times.response)),
        wire_bytes: stored.wire_bytes,
    }
}

/// An exchange of a file that Podtap wrote: its traffic, and what the file says about it.
pub fn imported(number: u64, stored: v1::Exchange) -> Imported {
    let about = about(&stored);
    Imported { number, exchange: exchange(stored), about: Some(Box::new(about)) }
}

/// Of header fields, as they are stored.
pub fn header_messages(headers: &Headers) -> Vec<v1::Header> {
    let field = |Header { name, value }: Header<'_>| {
        let raw_value = if std::str::from_utf8(value).is_ok() { Vec::new() } else { value.to_vec() };
        v1::Header {
            name: String::from_utf8_lossy(name).into_owned(),
            value: String::from_utf8_lossy(value).into_owned(),
            raw_value,
        }
    };
    headers.iter().map(field).collect()
}

/// The bytes of a body that were kept.
pub(crate) fn content(body: Option<&v1::Body>) -> &[u8] {
    match body.and_then(|body| body.content.as_ref()) {
        Some(Content::Text(text)) => text.as_bytes(),
        Some(Content::Binary(bytes)) => bytes,
        None => &[],
    }
}

/// The bytes of a field's value.
pub(crate) fn value(header: &v1::Header) -> &[u8] {
    if header.raw_value.is_empty() { header.value.as_bytes() } else { &header.raw_value }
}

/// The four instants by the wall clock, in nanoseconds since the Unix epoch.
pub(crate) struct Times {
    pub(crate) request: Span,
    pub(crate) response: Span,
}

impl Times {
    pub(crate) fn of(stored: &v1::Exchange) -> Self {
        let time = stored.time.as_ref().map_or(0, |time| {
            let seconds = u64::try_from(time.seconds).unwrap_or(0);
            seconds.saturating_mul(NANOS_PER_SECOND).saturating_add(u64::try_from(time.nanos).unwrap_or(0))
        });
        let timing = stored.timing.clone().unwrap_or_default();
        let v1::Timing { clock: _, request_start_ns, request_end_ns, response_start_ns, response_end_ns } =
            timing;
        let instants = [request_start_ns, request_end_ns, response_start_ns, response_end_ns];
        let Some(first) = instants.into_iter().find(|instant| *instant != 0) else {
            let start = Span { start: time, end: 0 };
            return Self { request: start, response: start };
        };
        let wall = |instant: u64| match instant {
            0 => 0,
            instant => time.saturating_add(instant.saturating_sub(first)),
        };
        let [request_start, request_end, response_start, response_end] = instants.map(wall);
        Self {
            // Of a message that was joined midstream the start is not known, and `time` is the best there is.
            request: Span { start: if request_start == 0 { time } else { request_start }, end: request_end },
            response: Span {
                start: if response_start == 0 { time } else { response_start },
                end: response_end,
            },
        }
    }
}

fn address(end: Option<&v1::Endpoint>) -> SocketAddr {
    let ip = end.and_then(|end| end.ip.parse().ok()).unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED));
    let port = end.and_then(|end| u16::try_from(end.port).ok()).unwrap_or_default();
    SocketAddr::new(ip, port)
}

fn request(stored: v1::Request, span: Span) -> Request {
    let v1::Request { method, scheme, host, path, query, version, headers, body, trailers, completeness } =
        stored;
    let headers = self::headers(headers);
    let query = if query.is_empty() { String::new() } else { format!("?{query}") };
    // In absolute form where origin-form would not say the same.
    let absolute =
        path.starts_with('/') && !host.is_empty() && (scheme == "https" || headers.get("host").is_none());
    let target = if absolute { format!("{scheme}://{host}{path}{query}") } else { path + &query };
    let (body, completeness) = self::body(body, completeness);
    Request {
        method: method.into(),
        target: target.into(),
        version: self::version(&version),
        headers,
        body,
        trailers: self::headers(trailers),
        completeness,
        span,
    }
}

fn response(stored: v1::Response, span: Span) -> Response {
    let v1::Response { status, reason, version, headers, body, trailers, completeness, interim_statuses } =
        stored;
    let (body, completeness) = self::body(body, completeness);
    Response {
        status: u16::try_from(status).unwrap_or_default(),
        reason: reason.into(),
        version: self::version(&version),
        headers: self::headers(headers),
        body,
        trailers: self::headers(trailers),
        completeness,
        span,
        interim: interim_statuses.into_iter().filter_map(|status| u16::try_from(status).ok()).collect(),
    }
}

fn version(stored: &str) -> Version {
    if stored == "HTTP/1.0" { Version::Http10 } else { Version::Http11 }
}

fn headers(stored: Vec<v1::Header>) -> Headers {
    stored.iter().map(|header| (header.name.as_bytes(), value(header))).collect()
}

/// The content that was kept, and whether more of it existed.
fn body(stored: Option<v1::Body>, completeness: Option<v1::Completeness>) -> (Body, Completeness) {
    let stored = stored.unwrap_or_default();
    let dropped = stored.content.is_none() && !stored.dropped.is_empty();
    let content: Bytes = match stored.content {
        Some(Content::Text(text)) => text.into(),
        Some(Content::Binary(bytes)) => bytes,
        None => Bytes::new(),
    };
    let body = Body {
        size: stored.size.max(if stored.decoded_from.is_empty() { content.len() as u64 } else { 0 }),
        content,
        decoded_from: stored.decoded_from.into(),
        // Decoded when it was captured: a coding in the header does not tell of these bytes.
        undecoded: false,
    };
    let completeness = completeness.unwrap_or_default();
    let cause = CAUSES.into_iter().find(|cause| cause.as_str() == completeness.cause);
    let completeness = match completeness.state() {
        State::Complete => Completeness::Complete,
        // Nothing of it is there, which whoever wrote the file knew.
        State::Unspecified if dropped => Completeness::Complete,
        State::Unspecified if body.size == body.content.len() as u64 => Completeness::Complete,
        State::Gap => Completeness::Gap { offset: completeness.offset, bytes: completeness.bytes },
        State::JoinedMidstream => Completeness::JoinedMidstream,
        State::Truncated | State::Missing | State::Unspecified => {
            Completeness::Truncated { bytes: completeness.bytes, cause: cause.unwrap_or(Cause::CaptureEnded) }
        }
    };
    (body, completeness)
}

fn about(stored: &v1::Exchange) -> About {
    let name = |text: &String| if text.len() <= MAX_NAME_BYTES { text.clone() } else { String::new() };
    let peer = |end: &Option<v1::Endpoint>| {
        end.as_ref().map_or_else(v1::Endpoint::default, |end| v1::Endpoint {
            namespace: name(&end.namespace),
            pod: name(&end.pod),
            service: name(&end.service),
            workload: name(&end.workload),
            ..v1::Endpoint::default()
        })
    };
    let (request, response) = (stored.request.as_ref(), stored.response.as_ref());
    let dropped = |body: Option<&v1::Body>| {
        body.map(|body| body.dropped.as_str()).filter(|word| is_word(word)).unwrap_or_default().to_owned()
    };
    About {
        id: if is_id(&stored.id) { stored.id.clone() } else { String::new() },
        target: name(&stored.target),
        node: name(&stored.node),
        namespace: name(&stored.namespace),
        workload: name(&stored.workload),
        pod: name(&stored.pod),
        pod_uid: name(&stored.pod_uid),
        container: name(&stored.container),
        labels: stored
            .labels
            .iter()
            .take(MAX_LABELS)
            .filter(|(label, value)| label.len().max(value.len()) <= MAX_NAME_BYTES)
            .map(|(label, value)| (label.clone(), value.clone()))
            .collect(),
        source: peer(&stored.source),
        destination: peer(&stored.destination),
        request_version: request.map_or("", |request| later_version(&request.version)),
        response_version: response.map_or("", |response| later_version(&response.version)),
        request_dropped: dropped(request.and_then(|request| request.body.as_ref())),
        response_dropped: dropped(response.and_then(|response| response.body.as_ref())),
        redactions: stored.redactions.iter().take(MAX_REDACTIONS).cloned().collect(),
        redaction_key: name(&stored.redaction_key),
    }
}

/// The stable name of a version that is not HTTP/1; empty for one that is, or that is not known.
pub(crate) fn later_version(text: &str) -> &'static str {
    let text = text.to_ascii_lowercase();
    match text.as_str() {
        "http/2" | "http/2.0" | "h2" | "h2c" => "HTTP/2",
        "http/3" | "http/3.0" | "h3" => "HTTP/3",
        _ => "",
    }
}

fn is_word(word: &str) -> bool {
    word.len() <= 32 && word.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_')
}

fn is_id(id: &str) -> bool {
    uuid::Uuid::try_parse(id).is_ok_and(|uuid| {
        uuid.get_version() == Some(uuid::Version::SortRand) && uuid.hyphenated().to_string() == id
    })
}
