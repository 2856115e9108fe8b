//! Rows of an Arrow batch as exchanges that conditions are evaluated on, where they lie: nothing is decoded or
//! copied. What was projected away reads as absent, so a batch holds all that its condition reads.

use std::{borrow::Cow, collections::BTreeMap};

use deltalake::arrow::array::{Array, AsArray, ListArray, RecordBatch, StructArray};
use tap_expr::{BodyView, Field, Fields, MessageView, Part, PeerNames, Read, Scalar, Side, View};

use super::{
    decode::{entries, role},
    encode::role_name,
    typed::{Columns, EndpointColumns, MessageColumns, Text},
};

/// The columns that the evaluation of what is read needs, beside those that say whether a message is there.
pub(crate) fn columns_of(read: Read) -> &'static [&'static str] {
    match read {
        Read::Field(field) => columns_of_field(field),
        Read::Peer(Side::Source) => {
            &["source_ip", "source_namespace", "source_pod", "source_service", "source_workload"]
        }
        Read::Peer(Side::Destination) => &[
            "destination_ip",
            "destination_namespace",
            "destination_pod",
            "destination_service",
            "destination_workload",
        ],
        Read::Labels => &["labels"],
        Read::Flow => &["flow", "flow_index"],
        Read::Version(Part::Request) => &["method", "request_version"],
        Read::Version(Part::Response) => &["status", "response_version"],
        Read::Reason => &["status", "reason"],
        Read::Headers(Part::Request) => &["method", "request_headers"],
        Read::Headers(Part::Response) => &["status", "response_headers"],
        Read::Trailers(Part::Request) => &["method", "request_trailers"],
        Read::Trailers(Part::Response) => &["status", "response_trailers"],
        Read::Completeness(Part::Request) => &["method", "request_completeness"],
        Read::Completeness(Part::Response) => &["status", "response_completeness"],
        Read::Body(Part::Request) => {
            &["method", "request_body_size", "request_body_decoded_from", "request_body_dropped"]
        }
        Read::Body(Part::Response) => {
            &["status", "response_body_size", "response_body_decoded_from", "response_body_dropped"]
        }
        Read::BodyContent(Part::Request) => {
            &["method", "request_body_size", "request_body_text", "request_body_binary"]
        }
        Read::BodyContent(Part::Response) => {
            &["status", "response_body_size", "response_body_text", "response_body_binary"]
        }
    }
}

fn columns_of_field(field: Field) -> &'static [&'static str] {
    match field {
        Field::Id => &["id"],
        Field::Role => &["role"],
        Field::Time => &["time", "time_nanos"],
        Field::Duration => &["duration_ns"],
        Field::Target => &["target"],
        Field::Node => &["node"],
        Field::Namespace => &["namespace"],
        Field::Workload => &["workload"],
        Field::Pod => &["pod"],
        Field::Container => &["container"],
        Field::SourceIp => &["source_ip"],
        Field::SourcePort => &["source_ip", "source_port"],
        Field::DestinationIp => &["destination_ip"],
        Field::DestinationPort => &["destination_ip", "destination_port"],
        Field::Method => &["method"],
        Field::Scheme => &["method", "scheme"],
        Field::Host => &["method", "host"],
        Field::Path => &["method", "path"],
        Field::Query => &["method", "query"],
        Field::Status => &["status"],
    }
}

/// The rows of a batch that [`super::conform`] returned.
pub(crate) struct Rows<'a>(Columns<'a>);

impl<'a> Rows<'a> {
    pub(crate) fn of(batch: &'a RecordBatch) -> Self {
        Self(Columns::of(batch))
    }

    pub(crate) fn get(&self, row: usize) -> Row<'_> {
        let columns = &self.0;
        Row {
            columns,
            row,
            labels: columns.labels.map(|labels| entries(labels, row)).unwrap_or_default(),
            request: MessageFields::of(&columns.request, row),
            response: MessageFields::of(&columns.response, row),
        }
    }
}

/// One exchange, as [`super::exchanges`] would decode it.
pub(crate) struct Row<'a> {
    columns: &'a Columns<'a>,
    row: usize,
    labels: BTreeMap<String, String>,
    request: MessageFields<'a>,
    response: MessageFields<'a>,
}

impl View for Row<'_> {
    fn field(&self, field: Field) -> Option<Scalar<'_>> {
        let Self { columns, row, .. } = self;
        let text = |column| Some(scalar(column, *row));
        // What belongs to a message is absent with it, whatever its column holds.
        let of_request = |column| columns.method.get(*row).and_then(|_| text(column));
        let port = |end: &EndpointColumns<'_>| {
            end.ip.get(*row)?;
            Some(Scalar::Int(i64::from(end.port.get(*row).unwrap_or(0) as u32)))
        };
        match field {
            Field::Id => text(columns.id),
            Field::Role => Some(Scalar::Text(Cow::Borrowed(role_name(role(columns.role.get(*row)))))),
            Field::Time => {
                let micros = columns.time.map_or(0, |time| time.value(*row));
                let nanos = i128::from(columns.time_nanos.get(*row).unwrap_or(0));
                Some(Scalar::Nanos(i128::from(micros) * 1000 + nanos))
            }
            Field::Duration => columns.duration_ns.get(*row).map(|nanos| Scalar::Nanos(i128::from(nanos))),
            Field::Target => text(columns.target),
            Field::Node => text(columns.node),
            Field::Namespace => text(columns.namespace),
            Field::Workload => text(columns.workload),
            Field::Pod => text(columns.pod),
            Field::Container => text(columns.container),
            Field::SourceIp => columns.source.ip.get(*row).and_then(|_| text(columns.source.ip)),
            Field::SourcePort => port(&columns.source),
            Field::DestinationIp => {
                columns.destination.ip.get(*row).and_then(|_| text(columns.destination.ip))
            }
            Field::DestinationPort => port(&columns.destination),
            Field::Method => of_request(columns.method),
            Field::Scheme => of_request(columns.scheme),
            Field::Host => of_request(columns.host),
            Field::Path => of_request(columns.path),
            Field::Query => of_request(columns.query),
            Field::Status => columns.status.get(*row).map(|status| Scalar::Int(i64::from(status as u32))),
        }
    }

    fn peer(&self, side: Side) -> Option<PeerNames<'_>> {
        let end = match side {
            Side::Source => &self.columns.source,
            Side::Destination => &self.columns.destination,
        };
        end.ip.get(self.row)?;
        Some(PeerNames {
            namespace: end.namespace.get(self.row).unwrap_or_default(),
            pod: end.pod.get(self.row).unwrap_or_default(),
            service: end.service.get(self.row).unwrap_or_default(),
            workload: end.workload.get(self.row).unwrap_or_default(),
        })
    }

    fn labels(&self) -> &BTreeMap<String, String> {
        &self.labels
    }

    fn flow(&self) -> (u64, u32) {
        (self.columns.flow.get(self.row), self.columns.flow_index.get(self.row).unwrap_or(0) as u32)
    }

    fn message(&self, part: Part) -> Option<MessageView<'_>> {
        let Self { columns, row, request, response, .. } = self;
        let (version, reason, message, fields) = match part {
            Part::Request => {
                columns.method.get(*row)?;
                (columns.request_version, "", &columns.request, request)
            }
            Part::Response => {
                columns.status.get(*row)?;
                let reason = columns.reason.get(*row).unwrap_or_default();
                (columns.response_version, reason, &columns.response, response)
            }
        };
        Some(MessageView {
            version: version.get(*row).unwrap_or_default(),
            reason,
            headers: &fields.headers,
            trailers: &fields.trailers,
            complete: is_complete(message, *row),
            body: body(message, *row),
        })
    }
}

fn scalar(column: Text<'_>, row: usize) -> Scalar<'_> {
    Scalar::Text(Cow::Borrowed(column.get(row).unwrap_or_default()))
}

fn is_complete(message: &MessageColumns<'_>, row: usize) -> bool {
    let state = message.completeness.filter(|column| column.is_valid(row));
    let state = state.and_then(|column| column.column_by_name("state")?.as_string_opt());
    Text(state).get(row) == Some("complete")
}

fn body<'a>(message: &MessageColumns<'a>, row: usize) -> Option<BodyView<'a>> {
    let size = message.body_size.get(row)? as u64;
    let binary = || message.body_binary.filter(|column| column.is_valid(row)).map(|column| column.value(row));
    Some(BodyView {
        content: message.body_text.get(row).map(str::as_bytes).or_else(binary).unwrap_or_default(),
        size,
        decoded_from: message.body_decoded_from.get(row).unwrap_or_default(),
        dropped: message.body_dropped.get(row).unwrap_or_default(),
    })
}

struct MessageFields<'a> {
    headers: HeaderFields<'a>,
    trailers: HeaderFields<'a>,
}

impl<'a> MessageFields<'a> {
    fn of(message: &MessageColumns<'a>, row: usize) -> Self {
        Self {
            headers: HeaderFields::of(message.headers, row),
            trailers: HeaderFields::of(message.trailers, row),
        }
    }
}

/// The header or trailer fields of a row.
struct HeaderFields<'a> {
    fields: Option<&'a StructArray>,
    first: usize,
    count: usize,
}

impl<'a> HeaderFields<'a> {
    fn of(list: Option<&'a ListArray>, row: usize) -> Self {
        let list = list.filter(|list| list.is_valid(row));
        let offsets = list.map(|list| list.value_offsets());
        let offset = |row: usize| offsets.map_or(0, |offsets| usize::try_from(offsets[row]).unwrap_or(0));
        let (first, end) = (offset(row), offset(row + 1));
        Self { fields: list.and_then(|list| list.values().as_struct_opt()), first, count: end - first }
    }

    fn text(&self, name: &str, index: usize) -> Cow<'_, str> {
        let column = self.fields.and_then(|fields| fields.column_by_name(name)?.as_string_opt());
        Cow::Borrowed(Text(column).get(self.first + index).unwrap_or_default())
    }
}

impl Fields for HeaderFields<'_> {
    fn count(&self) -> usize {
        self.count
    }

    fn at(&self, index: usize) -> (Cow<'_, str>, Cow<'_, str>) {
        (self.text("name", index), self.text("value", index))
    }
}
