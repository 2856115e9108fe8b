//! The one conversion from what redaction let pass to what goes on the wire.
//!
//! Takes [`Redacted`] and nothing else, so that what leaves the node, or the machine where a file is imported, has
//! passed redaction. Pure: the time of the capture's clock is told by its caller.

#![forbid(unsafe_code)]

use std::{collections::BTreeMap, net::SocketAddr};

use prost_types::{Duration, Timestamp};
use sha2::{Digest, Sha256};
use tap_flow::{Body, Completeness, Exchange, Header, Headers, Request, RequestTarget, Response, Role};
use tap_proto::v1;
use tap_redact::{DropReason, Redacted, Redaction};

/// Serials of flows count within one assembler; its number goes above them.
const ASSEMBLER_SHIFT: u32 = 48;

const NANOS_PER_SECOND: u64 = 1_000_000_000;
const NANOS_PER_MILLI: u64 = 1_000_000;

/// Whose exchange it is. Empty where it is not known, or does not apply.
#[derive(Clone, Copy, Debug)]
pub struct Attribution<'a> {
    pub target: &'a str,
    pub node: &'a str,
    pub namespace: &'a str,
    pub workload: &'a str,
    pub pod: &'a str,
    pub pod_uid: &'a str,
    pub container: &'a str,
    pub labels: &'a BTreeMap<String, String>,
}

/// Turns redacted exchanges of one assembler into messages of the wire contract.
#[derive(Debug)]
pub struct Exporter {
    assembler: u64,
    clock: &'static str,
    /// The hash of what tells this run of this agent from every other.
    origin: Sha256,
}

impl Exporter {
    /// `agent` and `epoch` name the run of the agent; `assembler` is the number of the assembler within it, and `clock` the
    /// name of the clock on which exchanges have their times.
    pub fn new(agent: &str, epoch: u64, assembler: usize, clock: &'static str) -> Self {
        let origin =
            Sha256::new().chain_update(agent.as_bytes()).chain_update([0]).chain_update(epoch.to_le_bytes());
        Self { assembler: assembler as u64, clock, origin }
    }

    /// `wall` tells the wall-clock time of an instant on the exchange's clock, in nanoseconds since the Unix epoch.
    pub fn export(
        &self,
        exchange: Redacted<Exchange>,
        attribution: &Attribution<'_>,
        wall: impl Fn(u64) -> u64,
    ) -> v1::Exchange {
        let Attribution { target, node, namespace, workload, pod, pod_uid, container, labels } = *attribution;
        let (request_dropped, response_dropped) =
            (exchange.request_body_dropped(), exchange.response_body_dropped());
        // Where nothing was replaced there is nothing that a key could tell of.
        let redaction_key =
            if exchange.redactions().is_empty() { String::new() } else { exchange.key_id().to_owned() };
        let (exchange, redactions) = exchange.into_parts();
        let start = wall(exchange.start());
        let Exchange { flow, cgroup: _, flow_serial, index, role, request, response, wire_bytes } = exchange;
        let flow_id = self.assembler << ASSEMBLER_SHIFT | flow_serial;
        let (source, destination) = match role {
            Role::Inbound => (flow.remote, flow.local),
            Role::Outbound => (flow.local, flow.remote),
        };
        let timing = timing(self.clock, request.as_ref(), response.as_ref());
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
            target: target.to_owned(),
            node: node.to_owned(),
            namespace: namespace.to_owned(),
            workload: workload.to_owned(),
            pod: pod.to_owned(),
            pod_uid: pod_uid.to_owned(),
            container: container.to_owned(),
            labels: labels.clone(),
            source: endpoint(source),
            destination: endpoint(destination),
            flow: flow_id,
            flow_index: index,
            request: request.map(|request| request_message(request, request_dropped)),
            response: response.map(|response| response_message(response, response_dropped)),
            redactions: redactions.into_iter().map(redaction).collect(),
            redaction_key,
            wire_bytes,
            // What only the collector sets.
            ..v1::Exchange::default()
        }
    }

    /// A UUID of version 7 without chance: the same exchange has the same id however often it is made.
    ///
    /// After the milliseconds come their fraction (12 bits, as RFC 9562 allows), a hash of the flow (46 bits) and the
    /// exchange's position on it (16 bits): pipelined requests that came in one segment sort as they were sent.
    fn id(&self, start_ns: u64, flow: u64, index: u32) -> String {
        let hash = self.origin.clone().chain_update(flow.to_le_bytes()).finalize();
        let fraction = (((start_ns % NANOS_PER_MILLI) << 12) / NANOS_PER_MILLI) as u16;
        let mut rest = [0; 10];
        rest[..2].copy_from_slice(&fraction.to_be_bytes());
        rest[2..8].copy_from_slice(&hash[..6]);
        rest[8..].copy_from_slice(&(index as u16).to_be_bytes());
        uuid::Builder::from_unix_timestamp_millis(start_ns / NANOS_PER_MILLI, &rest).into_uuid().to_string()
    }
}

fn timestamp(nanos: u64) -> Timestamp {
    Timestamp { seconds: (nanos / NANOS_PER_SECOND) as i64, nanos: (nanos % NANOS_PER_SECOND) as i32 }
}

fn duration(nanos: u64) -> Duration {
    Duration { seconds: (nanos / NANOS_PER_SECOND) as i64, nanos: (nanos % NANOS_PER_SECOND) as i32 }
}

/// The first byte of a message that the tap joined midstream was not seen, so neither was its time.
fn timing(clock: &str, request: Option<&Request>, response: Option<&Response>) -> v1::Timing {
    let start = |start: u64, completeness: Completeness| match completeness {
        Completeness::JoinedMidstream => 0,
        Completeness::Complete | Completeness::Truncated { .. } | Completeness::Gap { .. } => start,
    };
    v1::Timing {
        clock: clock.to_owned(),
        request_start_ns: request.map_or(0, |request| start(request.span.start, request.completeness)),
        request_end_ns: request.map_or(0, |request| request.span.end),
        response_start_ns: response.map_or(0, |response| start(response.span.start, response.completeness)),
        response_end_ns: response.map_or(0, |response| response.span.end),
    }
}

/// `None` for an end of which nothing is known, as in a file that does not tell.
fn endpoint(address: SocketAddr) -> Option<v1::Endpoint> {
    let ip = address.ip().to_canonical();
    (!ip.is_unspecified() || address.port() != 0).then(|| v1::Endpoint {
        ip: ip.to_string(),
        port: address.port().into(),
        ..v1::Endpoint::default()
    })
}

fn request_message(request: Request, dropped: Option<DropReason>) -> v1::Request {
    let RequestTarget { scheme, host, path, query } = request.parts();
    let (path, query) = (path.into_owned(), query.into_owned());
    let Request { method, target: _, version, headers, body, trailers, completeness, span: _ } = request;
    v1::Request {
        method: lossy(&method),
        scheme,
        host,
        path,
        query,
        version: version.as_str().to_owned(),
        headers: header_messages(&headers),
        body: body_message(body, dropped),
        trailers: header_messages(&trailers),
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
        headers: header_messages(&headers),
        body: body_message(body, dropped),
        trailers: header_messages(&trailers),
        completeness: Some(completeness_message(completeness)),
        interim_statuses: interim.into_iter().map(u32::from).collect(),
    }
}

fn header_messages(headers: &Headers) -> Vec<v1::Header> {
    headers
        .iter()
        .map(|Header { name, value }| match std::str::from_utf8(value) {
            Ok(text) => v1::Header { name: lossy(name), value: text.to_owned(), raw_value: Vec::new() },
            Err(_) => v1::Header { name: lossy(name), value: lossy(value), raw_value: value.to_vec() },
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

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use tap_flow::{Cause, CgroupId, FlowKey, Span, TapId, Version};
    use tap_redact::{Key, Redactor, Settings};

    use super::*;

    const SECOND: u64 = NANOS_PER_SECOND;

    fn headers(fields: &[(&str, &[u8])]) -> Headers {
        fields.iter().copied().collect()
    }

    fn body(content_type: &'static str, content: &'static [u8]) -> (Headers, Body) {
        let body = Body { content: content.into(), size: content.len() as u64, ..Body::default() };
        (headers(&[("Content-Type", content_type.as_bytes())]), body)
    }

    fn exchange() -> Exchange {
        Exchange {
            flow: FlowKey {
                tap: TapId(1),
                local: "[::ffff:10.0.0.1]:80".parse().unwrap(),
                remote: "10.0.0.2:40000".parse().unwrap(),
            },
            cgroup: CgroupId(1),
            flow_serial: 7,
            index: 2,
            role: Role::Inbound,
            request: Some(Request {
                method: "GET".into(),
                target: "/a?b=c?d".into(),
                version: Version::Http11,
                headers: headers(&[
                    ("Host", b"Shop.Example:8080"),
                    ("X-Raw", b"caf\xe9"),
                    ("Content-Type", b""),
                ]),
                body: Body::default(),
                trailers: Headers::default(),
                completeness: Completeness::Complete,
                span: Span { start: 10 * SECOND, end: 10 * SECOND + 5 },
            }),
            response: Some(Response {
                status: 200,
                reason: "OK".into(),
                version: Version::Http11,
                headers: headers(&[("Content-Type", b"text/plain")]),
                body: Body { content: "hello".into(), size: 5, ..Body::default() },
                trailers: Headers::default(),
                completeness: Completeness::Complete,
                span: Span { start: 11 * SECOND, end: 12 * SECOND },
                interim: vec![100],
            }),
            wire_bytes: 321,
        }
    }

    fn export(exchange: Exchange) -> v1::Exchange {
        let redactor = Redactor::new(&Settings::default(), Key::new(&[7; 32]).unwrap()).unwrap();
        let labels = [("app".to_owned(), "web".to_owned())].into();
        let attribution = Attribution {
            target: "web",
            node: "node",
            namespace: "",
            workload: "nginx.service",
            pod: "web-1",
            pod_uid: "",
            container: "nginx",
            labels: &labels,
        };
        let wall = |instant| 1_700_000_000 * SECOND + instant;
        Exporter::new("node", 42, 3, "CLOCK_BOOTTIME").export(redactor.redact(exchange), &attribution, wall)
    }

    #[test]
    fn a_whole_exchange_is_carried_over() {
        let message = export(exchange());
        assert_eq!(message.role(), v1::Role::Inbound);
        assert_eq!(message.time, Some(Timestamp { seconds: 1_700_000_010, nanos: 0 }));
        assert_eq!(message.duration, Some(Duration { seconds: 2, nanos: 0 }));
        assert_eq!((message.target.as_str(), message.node.as_str()), ("web", "node"));
        assert_eq!((message.workload.as_str(), message.pod.as_str()), ("nginx.service", "web-1"));
        assert_eq!((message.container.as_str(), message.labels["app"].as_str()), ("nginx", "web"));
        assert_eq!((message.flow, message.flow_index, message.wire_bytes), (3 << 48 | 7, 2, 321));
        let (source, destination) = (message.source.unwrap(), message.destination.unwrap());
        assert_eq!((source.ip.as_str(), source.port), ("10.0.0.2", 40000));
        assert_eq!((destination.ip.as_str(), destination.port), ("10.0.0.1", 80), "an IPv4-mapped address");

        let request = message.request.unwrap();
        assert_eq!((request.path.as_str(), request.query.as_str()), ("/a", "b=c?d"));
        assert_eq!((request.scheme.as_str(), request.host.as_str()), ("http", "shop.example:8080"));
        assert_eq!(request.body, None);
        let raw = &request.headers[1];
        assert_eq!((raw.value.as_str(), raw.raw_value.as_ref()), ("caf\u{fffd}", b"caf\xe9".as_slice()));
        assert!(request.headers[0].raw_value.is_empty());

        let response = message.response.unwrap();
        assert_eq!((response.status, response.interim_statuses.as_slice()), (200, [100].as_slice()));
        let body = response.body.unwrap();
        assert_eq!((body.content, body.size), (Some(v1::body::Content::Text("hello".to_owned())), 5));
        assert_eq!(response.completeness.unwrap().state(), v1::completeness::State::Complete);
    }

    #[test]
    fn the_same_exchange_has_the_same_id_and_ids_sort_by_time() {
        let (first, again) = (export(exchange()), export(exchange()));
        assert_eq!(first.id, again.id);
        let id = uuid::Uuid::parse_str(&first.id).unwrap();
        assert_eq!(id.get_version_num(), 7);
        assert_eq!(id.get_timestamp().unwrap().to_unix(), (1_700_000_010, 0));
        let mut next = exchange();
        next.index += 1;
        assert!(export(next).id > first.id, "pipelined");
        let mut other = exchange();
        other.flow_serial += 1;
        assert_ne!(export(other).id, first.id);
        let mut soon = exchange();
        soon.index = 0;
        soon.request.as_mut().unwrap().span.start += 1_000;
        assert!(export(soon).id > first.id, "a microsecond later");
        let mut later = exchange();
        later.request.as_mut().unwrap().span.start += NANOS_PER_MILLI;
        assert!(export(later).id > first.id);
    }

    #[test]
    fn an_outbound_exchange_has_the_tapped_end_as_its_source() {
        let message = export(Exchange { role: Role::Outbound, ..exchange() });
        assert_eq!(message.role(), v1::Role::Outbound);
        assert_eq!(message.source.unwrap().port, 80);
    }

    #[test]
    fn what_was_not_seen_is_absent() {
        let message = export(Exchange { request: None, ..exchange() });
        assert_eq!(message.request, None);
        assert_eq!(message.duration, None);
        assert_eq!(message.time.unwrap().seconds, 1_700_000_011);
        assert_eq!(message.timing.unwrap().request_start_ns, 0);

        let mut joined = exchange();
        joined.request.as_mut().unwrap().completeness = Completeness::JoinedMidstream;
        let message = export(joined);
        assert_eq!(message.timing.unwrap().request_start_ns, 0);
        assert_eq!(message.duration, None);
    }

    #[test]
    fn completeness_is_carried_over() {
        let of = |completeness| {
            let mut exchange = exchange();
            exchange.response.as_mut().unwrap().completeness = completeness;
            export(exchange).response.unwrap().completeness.unwrap()
        };
        let truncated = of(Completeness::Truncated { bytes: 9, cause: Cause::BodyCap });
        assert_eq!(truncated.state(), v1::completeness::State::Truncated);
        assert_eq!((truncated.bytes, truncated.cause.as_str()), (9, "body_cap"));
        let gap = of(Completeness::Gap { offset: 3, bytes: 4 });
        assert_eq!((gap.state(), gap.offset, gap.bytes), (v1::completeness::State::Gap, 3, 4));
    }

    #[test]
    fn a_dropped_body_says_why() {
        let mut opaque = exchange();
        let response = opaque.response.as_mut().unwrap();
        (response.headers, response.body) = body("image/png", b"\x89PNG\r\n");
        let body = export(opaque).response.unwrap().body.unwrap();
        assert_eq!((body.content, body.size, body.dropped.as_str()), (None, 6, "opaque"));
    }

    #[test]
    fn redactions_are_listed() {
        let mut secret = exchange();
        secret.request.as_mut().unwrap().headers =
            headers(&[("Authorization", b"Bearer abcdef0123456789abcdef")]);
        let message = export(secret);
        assert!(message.redactions.iter().any(|redaction| redaction.rule == "header.authorization"));
        assert!(!message.request.unwrap().headers[0].value.contains("abcdef0123456789"));
    }

    #[test]
    fn addresses_are_canonical() {
        let of = |address: &str| endpoint(address.parse().unwrap()).unwrap().ip;
        assert_eq!(of("[::ffff:192.0.2.1]:1"), "192.0.2.1");
        assert_eq!(of("[2001:db8::1]:1"), "2001:db8::1".parse::<IpAddr>().unwrap().to_string());
        assert_eq!(endpoint("0.0.0.0:0".parse().unwrap()), None, "not known");
    }
}
