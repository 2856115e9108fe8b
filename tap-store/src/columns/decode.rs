//! Arrow batches, whole or projected, to exchanges.
//!
//! Columns are found by name. One that is not in the batch reads as absent: it was projected away, or the file
//! is older than the column. Other engines may have rewritten a file with other Arrow types of the same Delta
//! type (`LargeUtf8`, `Utf8View`, other names within lists); [`conform`] casts those.

use std::{collections::BTreeMap, sync::Arc};

use deltalake::arrow::{
    array::{Array, AsArray, ListArray, MapArray, RecordBatch, RecordBatchOptions},
    compute::cast,
    datatypes::{Int32Type, Int64Type, Schema},
    error::ArrowError,
};
use tap_proto::v1::{
    Body, Completeness, Endpoint, Exchange, Header, Redaction, Request, Response, Role, Timing,
    body::Content, completeness::State,
};

use super::{
    duration, timestamp,
    typed::{Columns, EndpointColumns, Long, MessageColumns, Text, TimingColumns},
};
use crate::schema;

/// The batch with each known column in the type that the schema gives it.
pub(crate) fn conform(batch: RecordBatch) -> Result<RecordBatch, ArrowError> {
    let expected = |name: &str| schema::FILE.field_with_name(name).ok();
    let conforms = |field: &Arc<deltalake::arrow::datatypes::Field>| {
        expected(field.name()).is_none_or(|expected| expected.data_type() == field.data_type())
    };
    if batch.schema_ref().fields().iter().all(conforms) {
        return Ok(batch);
    }
    let rows = batch.num_rows();
    let mut fields = Vec::with_capacity(batch.num_columns());
    let mut columns = Vec::with_capacity(batch.num_columns());
    for (field, column) in batch.schema_ref().fields().iter().zip(batch.columns()) {
        match expected(field.name()) {
            Some(expected) => {
                fields.push(Arc::new(expected.clone().with_nullable(true)));
                columns.push(cast(column, expected.data_type())?);
            }
            None => {
                fields.push(Arc::clone(field));
                columns.push(Arc::clone(column));
            }
        }
    }
    let options = RecordBatchOptions::new().with_row_count(Some(rows));
    RecordBatch::try_new_with_options(Arc::new(Schema::new(fields)), columns, &options)
}

/// One exchange per row. The batch is one that [`conform`] returned.
pub(crate) fn exchanges(batch: &RecordBatch) -> Vec<Exchange> {
    let columns = Columns::of(batch);
    (0..batch.num_rows()).map(|row| columns.exchange(row)).collect()
}

impl Columns<'_> {
    fn exchange(&self, row: usize) -> Exchange {
        let micros = self.time.map_or(0, |time| time.value(row));
        Exchange {
            id: self.id.string(row),
            role: role(self.role.get(row)).into(),
            time: Some(timestamp(micros, self.time_nanos.get(row).unwrap_or(0))),
            duration: self.duration_ns.get(row).map(duration),
            timing: self.timing.as_ref().and_then(|timing| timing.get(row)),
            target: self.target.string(row),
            node: self.node.string(row),
            namespace: self.namespace.string(row),
            workload: self.workload.string(row),
            pod: self.pod.string(row),
            pod_uid: self.pod_uid.string(row),
            container: self.container.string(row),
            labels: self.labels.map(|labels| entries(labels, row)).unwrap_or_default(),
            source: self.source.get(row),
            destination: self.destination.get(row),
            flow: self.flow.get(row),
            flow_index: self.flow_index.get(row).unwrap_or(0) as u32,
            request: self.request(row),
            response: self.response(row),
            redactions: self.redactions.map(|list| redactions(list, row)).unwrap_or_default(),
            wire_bytes: self.wire_bytes.unsigned(row),
            agent: self.agent.string(row),
            epoch: self.epoch.get(row),
            sequence: self.sequence.unsigned(row),
            redaction_key: self.redaction_key.string(row),
            // Of what is on its way to the table.
            mirrors: Vec::new(),
        }
    }

    fn request(&self, row: usize) -> Option<Request> {
        let method = self.method.get(row)?.to_owned();
        Some(Request {
            method,
            scheme: self.scheme.string(row),
            host: self.host.string(row),
            path: self.path.string(row),
            query: self.query.string(row),
            version: self.request_version.string(row),
            headers: self.request.headers(row),
            body: self.request.body(row),
            trailers: self.request.trailers(row),
            completeness: self.request.completeness(row),
        })
    }

    fn response(&self, row: usize) -> Option<Response> {
        let status = self.status.get(row)? as u32;
        Some(Response {
            status,
            reason: self.reason.string(row),
            version: self.response_version.string(row),
            headers: self.response.headers(row),
            body: self.response.body(row),
            trailers: self.response.trailers(row),
            completeness: self.response.completeness(row),
            interim_statuses: self.interim_statuses.map(|list| statuses(list, row)).unwrap_or_default(),
        })
    }
}

impl TimingColumns<'_> {
    fn get(&self, row: usize) -> Option<Timing> {
        self.present.is_valid(row).then(|| Timing {
            clock: self.clock.string(row),
            request_start_ns: self.request_start_ns.unsigned(row),
            request_end_ns: self.request_end_ns.unsigned(row),
            response_start_ns: self.response_start_ns.unsigned(row),
            response_end_ns: self.response_end_ns.unsigned(row),
        })
    }
}

impl EndpointColumns<'_> {
    fn get(&self, row: usize) -> Option<Endpoint> {
        let ip = self.ip.get(row)?.to_owned();
        Some(Endpoint {
            ip,
            port: self.port.get(row).unwrap_or(0) as u32,
            namespace: self.namespace.string(row),
            pod: self.pod.string(row),
            service: self.service.string(row),
            workload: self.workload.string(row),
        })
    }
}

impl MessageColumns<'_> {
    fn headers(&self, row: usize) -> Vec<Header> {
        self.headers.map(|list| headers(list, row)).unwrap_or_default()
    }

    fn trailers(&self, row: usize) -> Vec<Header> {
        self.trailers.map(|list| headers(list, row)).unwrap_or_default()
    }

    fn body(&self, row: usize) -> Option<Body> {
        let size = self.body_size.get(row)? as u64;
        let binary = self.body_binary.filter(|column| column.is_valid(row));
        let content = match self.body_text.get(row) {
            Some(text) => Some(Content::Text(text.to_owned())),
            None => binary.map(|column| Content::Binary(column.value(row).to_vec().into())),
        };
        Some(Body {
            size,
            decoded_from: self.body_decoded_from.string(row),
            dropped: self.body_dropped.string(row),
            content,
        })
    }

    fn completeness(&self, row: usize) -> Option<Completeness> {
        let column = self.completeness.filter(|column| column.is_valid(row))?;
        let text = |name: &str| Text(column.column_by_name(name).and_then(|column| column.as_string_opt()));
        let long =
            |name: &str| Long(column.column_by_name(name).and_then(|c| c.as_primitive_opt::<Int64Type>()));
        Some(Completeness {
            state: state(text("state").get(row)).into(),
            offset: long("offset").unsigned(row),
            bytes: long("bytes").unsigned(row),
            cause: text("cause").string(row),
        })
    }
}

pub(super) fn role(name: Option<&str>) -> Role {
    match name {
        Some("inbound") => Role::Inbound,
        Some("outbound") => Role::Outbound,
        _ => Role::Unspecified,
    }
}

fn state(name: Option<&str>) -> State {
    match name {
        Some("complete") => State::Complete,
        Some("truncated") => State::Truncated,
        Some("gap") => State::Gap,
        Some("joined_midstream") => State::JoinedMidstream,
        Some("missing") => State::Missing,
        _ => State::Unspecified,
    }
}

pub(super) fn entries(map: &MapArray, row: usize) -> BTreeMap<String, String> {
    let entries = map.value(row);
    let keys = Text(entries.column(0).as_string_opt());
    let values = Text(entries.column(1).as_string_opt());
    (0..entries.len()).map(|entry| (keys.string(entry), values.string(entry))).collect()
}

fn headers(list: &ListArray, row: usize) -> Vec<Header> {
    let values = list.value(row);
    let Some(values) = values.as_struct_opt() else { return Vec::new() };
    let text = |name: &str| Text(values.column_by_name(name).and_then(|column| column.as_string_opt()));
    let (names, texts) = (text("name"), text("value"));
    let raw_values = values.column_by_name("raw_value").and_then(|column| column.as_binary_opt::<i32>());
    let raw_value =
        |index| raw_values.filter(|column| column.is_valid(index)).map(|column| column.value(index));
    let header = |index| Header {
        name: names.string(index),
        value: texts.string(index),
        raw_value: raw_value(index).unwrap_or_default().to_vec(),
    };
    (0..values.len()).map(header).collect()
}

fn redactions(list: &ListArray, row: usize) -> Vec<Redaction> {
    let values = list.value(row);
    let Some(values) = values.as_struct_opt() else { return Vec::new() };
    let text = |name: &str| Text(values.column_by_name(name).and_then(|column| column.as_string_opt()));
    let (rules, places, actions) = (text("rule"), text("place"), text("action"));
    let counts =
        Long(values.column_by_name("count").and_then(|column| column.as_primitive_opt::<Int64Type>()));
    let redaction = |index| Redaction {
        rule: rules.string(index),
        place: places.string(index),
        action: actions.string(index),
        count: counts.unsigned(index) as u32,
    };
    (0..values.len()).map(redaction).collect()
}

fn statuses(list: &ListArray, row: usize) -> Vec<u32> {
    let values = list.value(row);
    let values = values.as_primitive_opt::<Int32Type>();
    values.map(|values| values.values().iter().map(|status| *status as u32).collect()).unwrap_or_default()
}
