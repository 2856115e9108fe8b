//! The one conversion from what redaction let pass to what goes on the wire.
//!
//! Takes [`Redacted`] and nothing else, so that what leaves the node has passed redaction; nothing in this
//! crate makes a [`v1::Exchange`] in another way.

use std::{borrow::Cow, net::SocketAddr};

use percent_encoding::{CONTROLS, percent_encode};
use prost_types::{Duration, Timestamp};
use sha2::{Digest, Sha256};
use tap_flow::{Body, Completeness, Exchange, Headers, Request, Response, Role};
use tap_proto::v1;
use tap_redact::{DropReason, Redacted, Redaction};

use crate::{clock::WallClock, registry::Target};

/// Serials of flows count within one ring; the ring's number goes above them.
const RING_SHIFT: u32 = 48;

const NANOS_PER_SECOND: u64 = 1_000_000_000;
const NANOS_PER_MILLI: u64 = 1_000_000;

/// Turns redacted exchanges of one ring into messages of the wire contract.
#[derive(Debug)]
pub struct Exporter {
    node: String,
    ring: u64,
    /// The hash of what tells this run of this agent from every other.
    origin: Sha256,
}

impl Exporter {
    /// `agent` and `epoch` name the run of the agent; `ring` is the number of the ring within it.
    pub fn new(agent: &str, epoch: u64, ring: usize) -> Self {
        let origin =
            Sha256::new().chain_update(agent.as_bytes()).chain_update([0]).chain_update(epoch.to_le_bytes());
        Self { node: agent.to_owned(), ring: ring as u64, origin }
    }

    /// `clock` tells the wall-clock time of the capture's clock.
    pub fn export(&self, exchange: Redacted<Exchange>, target: &Target, clock: &WallClock) -> v1::Exchange {
        let (request_dropped, response_dropped) =
            (exchange.request_body_dropped(), exchange.response_body_dropped());
        let (exchange, redactions) = exchange.into_parts();
        let start = clock.wall(exchange.start());
        let Exchange { flow, flow_serial, index, role, request, response, wire_bytes } = exchange;
        let flow_id = self.ring << RING_SHIFT | flow_serial;
        let (source, destination) = match role {
            Role::Inbound => (flow.remote, flow.local),
            Role::Outbound => (flow.local, flow.remote),
        };
        let timing = timing(request.as_ref(), response.as_ref());
        v1::Exchange {
            id: self.id(start, flow_id, index),
            role: match role {
                Role::Inbound => v1::Role::Inbound,
                Role::Outbound => v1::Role::Outbound,
            }
            .into(),
            time: Some(timestamp(start)),
            duration: (timing.request_start_ns != 0 && timing.response_end_ns != 0)
                .then(|| duration(timing.response_end_ns.saturating_sub(timing.request_start_ns))),
            timing: Some(timing),
            target: target.name.clone(),
            node: self.node.clone(),
            workload: target.workload.clone(),
            source: Some(endpoint(source)),
            destination: Some(endpoint(destination)),
            flow: flow_id,
            flow_index: index,
            request: request.map(|request| request_message(request, request_dropped)),
            response: response.map(|response| response_message(response, response_dropped)),
            redactions: redactions.into_iter().map(redaction).collect(),
            wire_bytes,
            // What only a cluster knows, and what only the collector sets.
            ..v1::Exchange::default()
        }
    }

    /// A UUID of version 7 whose random part is a hash: the same exchange has the same id however often it is made.
    fn id(&self, start_ns: u64, flow: u64, index: u32) -> String {
        let hash =
            self.origin.clone().chain_update(flow.to_le_bytes()).chain_update(index.to_le_bytes()).finalize();
        let mut random = [0; 10];
        random.copy_from_slice(&hash[..10]);
        uuid::Builder::from_unix_timestamp_millis(start_ns / NANOS_PER_MILLI, &random).into_uuid().to_string()
    }
}

fn timestamp(nanos: u64) -> Timestamp {
    Timestamp { seconds: (nanos / NANOS_PER_SECOND) as i64, nanos: (nanos % NANOS_PER_SECOND) as i32 }
}

fn duration(nanos: u64) -> Duration {
    Duration { seconds: (nanos / NANOS_PER_SECOND) as i64, nanos: (nanos % NANOS_PER_SECOND) as i32 }
}

/// The first byte of a message that the tap joined midstream was not seen, so neither was its time.
fn timing(request: Option<&Request>, response: Option<&Response>) -> v1::Timing {
    let start = |start: u64, completeness: Completeness| match completeness {
        Completeness::JoinedMidstream => 0,
        Completeness::Complete | Completeness::Truncated { .. } | Completeness::Gap { .. } => start,
    };
    v1::Timing {
        clock: "CLOCK_BOOTTIME".to_owned(),
        request_start_ns: request.map_or(0, |request| start(request.span.start, request.completeness)),
        request_end_ns: request.map_or(0, |request| request.span.end),
        response_start_ns: response.map_or(0, |response| start(response.span.start, response.completeness)),
        response_end_ns: response.map_or(0, |response| response.span.end),
    }
}

fn endpoint(address: SocketAddr) -> v1::Endpoint {
    v1::Endpoint {
        ip: address.ip().to_canonical().to_string(),
        port: address.port().into(),
        ..v1::Endpoint::default()
    }
}

fn request_message(request: Request, dropped: Option<DropReason>) -> v1::Request {
    let Request { method, target, version, headers, body, trailers, completeness, span: _ } = request;
    let target = target_text(&target);
    let parts = split_target(&method, &target);
    let host = match parts.host {
        Some(host) => host.to_ascii_lowercase(),
        None => headers.get("host").map_or_else(String::new, |host| lossy(host).to_ascii_lowercase()),
    };
    v1::Request {
        method: lossy(&method),
        scheme: parts.scheme.to_ascii_lowercase(),
        host,
        path: parts.path.to_owned(),
        query: parts.query.to_owned(),
        version: version.as_str().to_owned(),
        headers: header_messages(headers),
        body: body_message(body, dropped),
        trailers: header_messages(trailers),
        completeness: Some(completeness_message(completeness)),
    }
}

fn response_message(response: Response, dropped: Option<DropReason>) -> v1::Response {
    let Response { status, reason, version, headers, body, trailers, completeness, span: _, interim } =
        response;
    v1::Response {
        status: status.into(),
        reason: lossy(&reason),
        version: version.as_str().to_owned(),
        headers: header_messages(headers),
        body: body_message(body, dropped),
        trailers: header_messages(trailers),
        completeness: Some(completeness_message(completeness)),
        interim_statuses: interim.into_iter().map(u32::from).collect(),
    }
}

/// A request target taken apart. What it leaves out is not in the target.
#[derive(Debug, PartialEq, Eq)]
struct TargetParts<'a> {
    scheme: &'a str,
    host: Option<&'a str>,
    path: &'a str,
    query: &'a str,
}

/// RFC 9112, section 3.2: origin-form, absolute-form, authority-form (CONNECT) and asterisk-form.
fn split_target<'a>(method: &[u8], target: &'a str) -> TargetParts<'a> {
    if method == b"CONNECT" {
        return TargetParts { scheme: "http", host: Some(target), path: target, query: "" };
    }
    let (scheme, host, rest) = match target.split_once("://") {
        // In origin-form "://" can only be part of the path or query.
        Some((scheme, rest)) if !target.starts_with('/') && is_http(scheme) => {
            let end = rest.find(['/', '?']).unwrap_or(rest.len());
            let (authority, rest) = rest.split_at(end);
            let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
            (scheme, Some(host), rest)
        }
        _ => ("http", None, target),
    };
    let (path, query) = rest.split_once('?').unwrap_or((rest, ""));
    // RFC 9112, section 3.2.2: an empty path in absolute-form means "/".
    let path = if path.is_empty() && host.is_some() { "/" } else { path };
    TargetParts { scheme, host, path, query }
}

fn is_http(scheme: &str) -> bool {
    scheme.eq_ignore_ascii_case("http") || scheme.eq_ignore_ascii_case("https")
}

/// The target as text. Bytes that are not UTF-8 are percent-encoded, which means the same to a server.
fn target_text(target: &[u8]) -> Cow<'_, str> {
    match std::str::from_utf8(target) {
        Ok(text) => Cow::Borrowed(text),
        Err(_) => percent_encode(target, CONTROLS).into(),
    }
}

fn header_messages(headers: Headers) -> Vec<v1::Header> {
    headers
        .0
        .into_iter()
        .map(|header| match std::str::from_utf8(&header.value) {
            Ok(value) => {
                v1::Header { name: lossy(&header.name), value: value.to_owned(), raw_value: Vec::new() }
            }
            Err(_) => v1::Header {
                name: lossy(&header.name),
                value: lossy(&header.value),
                raw_value: header.value.to_vec(),
            },
        })
        .collect()
}

/// Absent where the message has no body. `dropped` is why redaction took the content away.
fn body_message(body: Body, dropped: Option<DropReason>) -> Option<v1::Body> {
    let Body { content, size, decoded_from, undecoded: _ } = body;
    if size == 0 && content.is_empty() {
        return None;
    }
    let content = match std::str::from_utf8(&content) {
        _ if content.is_empty() => None,
        Ok(text) => Some(v1::body::Content::Text(text.to_owned())),
        Err(_) => Some(v1::body::Content::Binary(content)),
    };
    let dropped = dropped.map_or("", DropReason::as_str).to_owned();
    Some(v1::Body { content, size, decoded_from: lossy(&decoded_from), dropped })
}

fn completeness_message(completeness: Completeness) -> v1::Completeness {
    use v1::completeness::State;
    let (state, offset, bytes, cause) = match completeness {
        Completeness::Complete => (State::Complete, 0, 0, ""),
        Completeness::Truncated { bytes, cause } => (State::Truncated, 0, bytes, cause.as_str()),
        Completeness::Gap { offset, bytes } => (State::Gap, offset, bytes, ""),
        Completeness::JoinedMidstream => (State::JoinedMidstream, 0, 0, ""),
    };
    v1::Completeness { state: state.into(), offset, bytes, cause: cause.to_owned() }
}

fn redaction(redaction: Redaction) -> v1::Redaction {
    let Redaction { rule, place, action, count } = redaction;
    v1::Redaction { rule, place, action, count }
}

fn lossy(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
