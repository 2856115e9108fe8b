//! An exchange as conditions read it, before or after redaction, without building a message of the wire contract.

use std::{borrow::Cow, collections::BTreeMap};

use tap_expr::{BodyView, Field, Fields, MessageView, Part, PeerNames, Scalar, Side, View};
use tap_flow::{Body, Completeness, Exchange, Header, Headers, Request, RequestTarget, Role};

use crate::body::DropReason;

/// Who was tapped: what conditions can ask beside the exchange itself. Empty where it is unknown.
#[derive(Clone, Copy, Debug)]
pub struct Subject<'s> {
    pub target: &'s str,
    pub node: &'s str,
    pub namespace: &'s str,
    pub workload: &'s str,
    pub pod: &'s str,
    pub container: &'s str,
    pub labels: &'s BTreeMap<String, String>,
}

static NO_LABELS: BTreeMap<String, String> = BTreeMap::new();

impl Default for Subject<'_> {
    fn default() -> Self {
        Self { target: "", node: "", namespace: "", workload: "", pod: "", container: "", labels: &NO_LABELS }
    }
}

/// An exchange and who was tapped, for [`tap_expr::Condition::matches`]. What only export knows (`id`, `time`,
/// `flow`, names of peers) is unknown or empty.
#[derive(Debug)]
pub struct Captured<'e> {
    exchange: &'e Exchange,
    subject: Subject<'e>,
    target: Option<RequestTarget<'e>>,
    /// Headers and trailers.
    request_fields: Option<[HeaderFields<'e>; 2]>,
    response_fields: Option<[HeaderFields<'e>; 2]>,
    pub(crate) request_dropped: Option<DropReason>,
    pub(crate) response_dropped: Option<DropReason>,
}

impl<'e> Captured<'e> {
    pub fn new(exchange: &'e Exchange, subject: Subject<'e>) -> Self {
        let (request, response) = (exchange.request.as_ref(), exchange.response.as_ref());
        Self {
            exchange,
            subject,
            target: request.map(Request::parts),
            request_fields: request.map(|it| [HeaderFields(&it.headers), HeaderFields(&it.trailers)]),
            response_fields: response.map(|it| [HeaderFields(&it.headers), HeaderFields(&it.trailers)]),
            request_dropped: None,
            response_dropped: None,
        }
    }

    /// The client's end and the server's.
    fn ends(&self) -> (std::net::SocketAddr, std::net::SocketAddr) {
        let flow = &self.exchange.flow;
        match self.exchange.role {
            Role::Inbound => (flow.remote, flow.local),
            Role::Outbound => (flow.local, flow.remote),
        }
    }
}

impl View for Captured<'_> {
    fn field(&self, field: Field) -> Option<Scalar<'_>> {
        // A function, as a closure would tie all borrows together.
        fn text(text: &str) -> Option<Scalar<'_>> {
            Some(Scalar::Text(Cow::Borrowed(text)))
        }
        let (source, destination) = self.ends();
        let request = self.exchange.request.as_ref();
        let response = self.exchange.response.as_ref();
        let Subject { target, node, namespace, workload, pod, container, labels: _ } = &self.subject;
        let ip = |end: std::net::SocketAddr| Some(Scalar::Text(end.ip().to_canonical().to_string().into()));
        match field {
            // They are given when the exchange is exported.
            Field::Id | Field::Time => None,
            Field::Role => text(match self.exchange.role {
                Role::Inbound => "inbound",
                Role::Outbound => "outbound",
            }),
            Field::Duration => {
                let (start, end) = (request?.span.start, response?.span.end);
                (start != 0 && end != 0).then(|| Scalar::Nanos(i128::from(end.saturating_sub(start))))
            }
            Field::Target => text(target),
            Field::Node => text(node),
            Field::Namespace => text(namespace),
            Field::Workload => text(workload),
            Field::Pod => text(pod),
            Field::Container => text(container),
            Field::SourceIp => ip(source),
            Field::SourcePort => Some(Scalar::Int(source.port().into())),
            Field::DestinationIp => ip(destination),
            Field::DestinationPort => Some(Scalar::Int(destination.port().into())),
            Field::Method => Some(Scalar::Text(String::from_utf8_lossy(&request?.method))),
            Field::Scheme => text(&self.target.as_ref()?.scheme),
            Field::Host => text(&self.target.as_ref()?.host),
            Field::Path => Some(Scalar::Text(Cow::Borrowed(&self.target.as_ref()?.path))),
            Field::Query => Some(Scalar::Text(Cow::Borrowed(&self.target.as_ref()?.query))),
            Field::Status => Some(Scalar::Int(response?.status.into())),
        }
    }

    fn peer(&self, _: Side) -> Option<PeerNames<'_>> {
        Some(PeerNames::default())
    }

    fn labels(&self) -> &BTreeMap<String, String> {
        self.subject.labels
    }

    fn flow(&self) -> (u64, u32) {
        (self.exchange.flow_serial, self.exchange.index)
    }

    fn message(&self, part: Part) -> Option<MessageView<'_>> {
        match part {
            Part::Request => {
                let request = self.exchange.request.as_ref()?;
                let [headers, trailers] = self.request_fields.as_ref()?;
                Some(MessageView {
                    version: request.version.as_str(),
                    reason: "",
                    headers,
                    trailers,
                    complete: request.completeness == Completeness::Complete,
                    body: body(&request.body, self.request_dropped),
                })
            }
            Part::Response => {
                let response = self.exchange.response.as_ref()?;
                let [headers, trailers] = self.response_fields.as_ref()?;
                Some(MessageView {
                    version: response.version.as_str(),
                    reason: std::str::from_utf8(&response.reason).unwrap_or_default(),
                    headers,
                    trailers,
                    complete: response.completeness == Completeness::Complete,
                    body: body(&response.body, self.response_dropped),
                })
            }
        }
    }
}

/// Header fields of a capture: a type of this crate, as neither trait nor type is.
#[derive(Debug)]
struct HeaderFields<'e>(&'e Headers);

impl Fields for HeaderFields<'_> {
    fn count(&self) -> usize {
        self.0.len()
    }

    fn at(&self, index: usize) -> (Cow<'_, str>, Cow<'_, str>) {
        let Some(Header { name, value }) = self.0.at(index) else { return Default::default() };
        (String::from_utf8_lossy(name), String::from_utf8_lossy(value))
    }
}

fn body(body: &Body, dropped: Option<DropReason>) -> Option<BodyView<'_>> {
    let Body { content, size, decoded_from, undecoded: _ } = body;
    (*size != 0 || !content.is_empty()).then(|| BodyView {
        content,
        size: *size,
        decoded_from: std::str::from_utf8(decoded_from).unwrap_or_default(),
        dropped: dropped.map_or("", DropReason::as_str),
    })
}
