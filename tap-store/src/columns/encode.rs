//! Exchanges to one Arrow batch with the columns of a data file.

use std::sync::Arc;

use deltalake::arrow::{
    array::{
        ArrayRef, BinaryArray, Decimal128Array, Int32Array, Int64Array, ListArray, MapArray, RecordBatch,
        StringArray, StructArray, TimestampMicrosecondArray,
    },
    buffer::{NullBuffer, OffsetBuffer},
    datatypes::{DataType, Field},
    error::ArrowError,
};
use tap_proto::v1::{Body, Completeness, Endpoint, Exchange, Header, Request, Response, Role, body::Content};

use super::{micros, nanoseconds};
use crate::schema;

/// One row per exchange, in their order.
pub(crate) fn record_batch(rows: &[&Exchange]) -> Result<RecordBatch, ArrowError> {
    let encoder = Encoder { rows };
    let columns = vec![
        encoder.text(|e| &e.id),
        encoder.time(),
        encoder.integer(|e| e.time.as_ref().map_or(0, |time| micros(time).1)),
        encoder.optional_long(|e| e.duration.as_ref().map(nanoseconds)),
        encoder.timing(),
        encoder.text(|e| role_name(e.role())),
        encoder.text(|e| &e.target),
        encoder.text(|e| &e.node),
        encoder.text(|e| &e.namespace),
        encoder.text(|e| &e.workload),
        encoder.text(|e| &e.pod),
        encoder.text(|e| &e.pod_uid),
        encoder.text(|e| &e.container),
        encoder.labels(),
        encoder.of(source, |end| &end.ip),
        encoder.port(source),
        encoder.of(source, |end| &end.namespace),
        encoder.of(source, |end| &end.pod),
        encoder.of(source, |end| &end.service),
        encoder.of(source, |end| &end.workload),
        encoder.of(destination, |end| &end.ip),
        encoder.port(destination),
        encoder.of(destination, |end| &end.namespace),
        encoder.of(destination, |end| &end.pod),
        encoder.of(destination, |end| &end.service),
        encoder.of(destination, |end| &end.workload),
        encoder.unsigned(|e| e.flow)?,
        encoder.long(|e| i64::from(e.flow_index)),
        encoder.of(request, |request| &request.method),
        encoder.of(request, |request| &request.scheme),
        encoder.of(request, |request| &request.host),
        encoder.of(request, |request| &request.path),
        encoder.of(request, |request| &request.query),
        encoder.of(request, |request| &request.version),
        encoder.headers(|e| request(e).map(|request| &*request.headers)),
        encoder.headers(|e| request(e).map(|request| &*request.trailers)),
        encoder.body_text(request_body),
        encoder.body_binary(request_body),
        encoder.optional_long(|e| request_body(e).map(|body| body.size as i64)),
        encoder.of(request_body, |body| &body.decoded_from),
        encoder.of(request_body, |body| &body.dropped),
        encoder.completeness(|e| request(e).and_then(|request| request.completeness.as_ref())),
        encoder.optional_integer(|e| response(e).map(|response| response.status as i32)),
        encoder.of(response, |response| &response.reason),
        encoder.of(response, |response| &response.version),
        encoder.headers(|e| response(e).map(|response| &*response.headers)),
        encoder.headers(|e| response(e).map(|response| &*response.trailers)),
        encoder.body_text(response_body),
        encoder.body_binary(response_body),
        encoder.optional_long(|e| response_body(e).map(|body| body.size as i64)),
        encoder.of(response_body, |body| &body.decoded_from),
        encoder.of(response_body, |body| &body.dropped),
        encoder.completeness(|e| response(e).and_then(|response| response.completeness.as_ref())),
        encoder.interim_statuses(),
        encoder.redactions(),
        encoder.long(|e| e.wire_bytes as i64),
        encoder.text(|e| &e.agent),
        encoder.unsigned(|e| e.epoch)?,
        encoder.long(|e| e.sequence as i64),
        encoder.text(|e| &e.redaction_key),
    ];
    RecordBatch::try_new(Arc::clone(&schema::FILE), columns)
}

fn source(exchange: &Exchange) -> Option<&Endpoint> {
    exchange.source.as_ref()
}

fn destination(exchange: &Exchange) -> Option<&Endpoint> {
    exchange.destination.as_ref()
}

fn request(exchange: &Exchange) -> Option<&Request> {
    exchange.request.as_ref()
}

fn response(exchange: &Exchange) -> Option<&Response> {
    exchange.response.as_ref()
}

fn request_body(exchange: &Exchange) -> Option<&Body> {
    request(exchange).and_then(|request| request.body.as_ref())
}

fn response_body(exchange: &Exchange) -> Option<&Body> {
    response(exchange).and_then(|response| response.body.as_ref())
}

pub(super) fn role_name(role: Role) -> &'static str {
    match role {
        Role::Unspecified => "",
        Role::Inbound => "inbound",
        Role::Outbound => "outbound",
    }
}

pub(super) fn state_name(completeness: &Completeness) -> &'static str {
    use tap_proto::v1::completeness::State;
    match completeness.state() {
        State::Unspecified => "unspecified",
        State::Complete => "complete",
        State::Truncated => "truncated",
        State::Gap => "gap",
        State::JoinedMidstream => "joined_midstream",
        State::Missing => "missing",
    }
}

/// Builds one column after the other from the same rows.
struct Encoder<'a> {
    rows: &'a [&'a Exchange],
}

impl<'a> Encoder<'a> {
    fn iter(&self) -> impl Iterator<Item = &'a Exchange> + Clone {
        self.rows.iter().copied()
    }

    fn text(&self, value: impl Fn(&'a Exchange) -> &'a str) -> ArrayRef {
        Arc::new(StringArray::from_iter_values(self.iter().map(value)))
    }

    /// A text of a part of the exchange, null where there is no such part.
    fn of<P: 'a>(&self, part: fn(&Exchange) -> Option<&P>, value: impl Fn(&'a P) -> &'a String) -> ArrayRef {
        Arc::new(StringArray::from_iter(self.iter().map(|e| part(e).map(|part| value(part).as_str()))))
    }

    fn integer(&self, value: impl Fn(&Exchange) -> i32) -> ArrayRef {
        Arc::new(Int32Array::from_iter_values(self.iter().map(value)))
    }

    fn optional_integer(&self, value: impl Fn(&Exchange) -> Option<i32>) -> ArrayRef {
        Arc::new(Int32Array::from_iter(self.iter().map(value)))
    }

    fn long(&self, value: impl Fn(&Exchange) -> i64) -> ArrayRef {
        Arc::new(Int64Array::from_iter_values(self.iter().map(value)))
    }

    fn optional_long(&self, value: impl Fn(&Exchange) -> Option<i64>) -> ArrayRef {
        Arc::new(Int64Array::from_iter(self.iter().map(value)))
    }

    fn unsigned(&self, value: impl Fn(&Exchange) -> u64) -> Result<ArrayRef, ArrowError> {
        let values = Decimal128Array::from_iter_values(self.iter().map(|e| i128::from(value(e))));
        Ok(Arc::new(values.with_precision_and_scale(schema::U64_PRECISION, 0)?))
    }

    fn port(&self, end: fn(&Exchange) -> Option<&Endpoint>) -> ArrayRef {
        self.optional_integer(|e| end(e).map(|end| end.port as i32))
    }

    fn time(&self) -> ArrayRef {
        let times = self.iter().map(|e| e.time.as_ref().map_or(0, |time| micros(time).0));
        Arc::new(TimestampMicrosecondArray::from_iter_values(times).with_timezone("UTC"))
    }

    fn timing(&self) -> ArrayRef {
        let timings: Vec<_> = self.iter().map(|e| e.timing.as_ref()).collect();
        let instants = |value: fn(&tap_proto::v1::Timing) -> u64| -> ArrayRef {
            Arc::new(Int64Array::from_iter_values(
                timings.iter().map(|timing| timing.map_or(0, value) as i64),
            ))
        };
        let clocks = timings.iter().map(|timing| timing.map_or("", |timing| &timing.clock));
        let columns = vec![
            Arc::new(StringArray::from_iter_values(clocks)) as ArrayRef,
            instants(|timing| timing.request_start_ns),
            instants(|timing| timing.request_end_ns),
            instants(|timing| timing.response_start_ns),
            instants(|timing| timing.response_end_ns),
        ];
        let present = timings.iter().map(Option::is_some).collect::<NullBuffer>();
        Arc::new(StructArray::new(schema::timing_fields(), columns, Some(present)))
    }

    fn completeness(&self, value: impl Fn(&'a Exchange) -> Option<&'a Completeness>) -> ArrayRef {
        let values: Vec<_> = self.iter().map(value).collect();
        let columns: Vec<ArrayRef> = vec![
            Arc::new(StringArray::from_iter_values(values.iter().map(|value| value.map_or("", state_name)))),
            Arc::new(Int64Array::from_iter_values(
                values.iter().map(|value| value.map_or(0, |v| v.offset as i64)),
            )),
            Arc::new(Int64Array::from_iter_values(
                values.iter().map(|value| value.map_or(0, |v| v.bytes as i64)),
            )),
            Arc::new(StringArray::from_iter_values(
                values.iter().map(|value| value.map_or("", |v| &v.cause)),
            )),
        ];
        let present = values.iter().map(Option::is_some).collect::<NullBuffer>();
        Arc::new(StructArray::new(schema::completeness_fields(), columns, Some(present)))
    }

    fn body_text(&self, body: fn(&Exchange) -> Option<&Body>) -> ArrayRef {
        let texts = self.iter().map(|e| match body(e).and_then(|body| body.content.as_ref()) {
            Some(Content::Text(text)) => Some(text.as_str()),
            Some(Content::Binary(_)) | None => None,
        });
        Arc::new(StringArray::from_iter(texts))
    }

    fn body_binary(&self, body: fn(&Exchange) -> Option<&Body>) -> ArrayRef {
        let binaries = self.iter().map(|e| match body(e).and_then(|body| body.content.as_ref()) {
            Some(Content::Binary(bytes)) => Some(&**bytes),
            Some(Content::Text(_)) | None => None,
        });
        Arc::new(BinaryArray::from_iter(binaries))
    }

    fn labels(&self) -> ArrayRef {
        let entries: Vec<_> = self.iter().flat_map(|e| &e.labels).collect();
        let keys = StringArray::from_iter_values(entries.iter().map(|(key, _)| key));
        let values = StringArray::from_iter_values(entries.iter().map(|(_, value)| value));
        let entries = StructArray::new(schema::entry_fields(), vec![Arc::new(keys), Arc::new(values)], None);
        let field = Field::new("key_value", DataType::Struct(schema::entry_fields()), false);
        let offsets = OffsetBuffer::from_lengths(self.iter().map(|e| e.labels.len()));
        Arc::new(MapArray::new(Arc::new(field), offsets, entries, None, false))
    }

    fn headers(&self, value: impl Fn(&'a Exchange) -> Option<&'a [Header]>) -> ArrayRef {
        let lists: Vec<_> = self.iter().map(value).collect();
        let headers: Vec<_> = lists.iter().filter_map(|list| *list).flatten().collect();
        let raw_value = |header: &&'a Header| (!header.raw_value.is_empty()).then_some(&*header.raw_value);
        let columns: Vec<ArrayRef> = vec![
            Arc::new(StringArray::from_iter_values(headers.iter().map(|header| &header.name))),
            Arc::new(StringArray::from_iter_values(headers.iter().map(|header| &header.value))),
            Arc::new(BinaryArray::from_iter(headers.iter().map(raw_value))),
        ];
        let values = StructArray::new(schema::header_fields(), columns, None);
        let present = lists.iter().map(Option::is_some).collect::<NullBuffer>();
        list(lists.iter().map(|list| list.map_or(0, <[Header]>::len)), Arc::new(values), Some(present))
    }

    fn interim_statuses(&self) -> ArrayRef {
        let lists: Vec<_> =
            self.iter().map(|e| response(e).map(|response| &*response.interim_statuses)).collect();
        let statuses: Vec<_> =
            lists.iter().filter_map(|list| *list).flatten().map(|status| *status as i32).collect();
        let values = Int32Array::from(statuses);
        let present = lists.iter().map(Option::is_some).collect::<NullBuffer>();
        list(lists.iter().map(|list| list.map_or(0, <[u32]>::len)), Arc::new(values), Some(present))
    }

    fn redactions(&self) -> ArrayRef {
        let redactions: Vec<_> = self.iter().flat_map(|e| &e.redactions).collect();
        let columns: Vec<ArrayRef> = vec![
            Arc::new(StringArray::from_iter_values(redactions.iter().map(|redaction| &redaction.rule))),
            Arc::new(StringArray::from_iter_values(redactions.iter().map(|redaction| &redaction.place))),
            Arc::new(StringArray::from_iter_values(redactions.iter().map(|redaction| &redaction.action))),
            Arc::new(Int64Array::from_iter_values(
                redactions.iter().map(|redaction| i64::from(redaction.count)),
            )),
        ];
        let values = StructArray::new(schema::redaction_fields(), columns, None);
        list(self.iter().map(|e| e.redactions.len()), Arc::new(values), None)
    }
}

fn list(lengths: impl Iterator<Item = usize>, values: ArrayRef, present: Option<NullBuffer>) -> ArrayRef {
    let element = schema::element(values.data_type().clone());
    Arc::new(ListArray::new(element, OffsetBuffer::from_lengths(lengths), values, present))
}
