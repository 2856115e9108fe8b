//! The columns of a batch by their type, found by name.
//!
//! A column that is not in the batch reads as absent: it was projected away, or the file is older than the column.

use deltalake::arrow::{
    array::{
        Array, AsArray, BinaryArray, Decimal128Array, Int32Array, Int64Array, ListArray, MapArray,
        RecordBatch, StringArray, StructArray, TimestampMicrosecondArray,
    },
    datatypes::{Decimal128Type, Int32Type, Int64Type, TimestampMicrosecondType},
};

/// The columns of a batch by their type; `None` where the batch has no such column.
pub(super) struct Columns<'a> {
    pub(super) id: Text<'a>,
    pub(super) time: Option<&'a TimestampMicrosecondArray>,
    pub(super) time_nanos: Integer<'a>,
    pub(super) duration_ns: Long<'a>,
    pub(super) timing: Option<TimingColumns<'a>>,
    pub(super) role: Text<'a>,
    pub(super) target: Text<'a>,
    pub(super) node: Text<'a>,
    pub(super) namespace: Text<'a>,
    pub(super) workload: Text<'a>,
    pub(super) pod: Text<'a>,
    pub(super) pod_uid: Text<'a>,
    pub(super) container: Text<'a>,
    pub(super) labels: Option<&'a MapArray>,
    pub(super) source: EndpointColumns<'a>,
    pub(super) destination: EndpointColumns<'a>,
    pub(super) flow: Unsigned<'a>,
    pub(super) flow_index: Long<'a>,
    pub(super) method: Text<'a>,
    pub(super) scheme: Text<'a>,
    pub(super) host: Text<'a>,
    pub(super) path: Text<'a>,
    pub(super) query: Text<'a>,
    pub(super) request_version: Text<'a>,
    pub(super) request: MessageColumns<'a>,
    pub(super) status: Integer<'a>,
    pub(super) reason: Text<'a>,
    pub(super) response_version: Text<'a>,
    pub(super) response: MessageColumns<'a>,
    pub(super) interim_statuses: Option<&'a ListArray>,
    pub(super) redactions: Option<&'a ListArray>,
    pub(super) wire_bytes: Long<'a>,
    pub(super) agent: Text<'a>,
    pub(super) epoch: Unsigned<'a>,
    pub(super) sequence: Long<'a>,
    pub(super) redaction_key: Text<'a>,
}

impl<'a> Columns<'a> {
    pub(super) fn of(batch: &'a RecordBatch) -> Self {
        let text = |name: &str| Text(batch.column_by_name(name).and_then(|column| column.as_string_opt()));
        let long =
            |name: &str| Long(batch.column_by_name(name).and_then(|c| c.as_primitive_opt::<Int64Type>()));
        let integer =
            |name: &str| Integer(batch.column_by_name(name).and_then(|c| c.as_primitive_opt::<Int32Type>()));
        let unsigned = |name: &str| {
            Unsigned(batch.column_by_name(name).and_then(|c| c.as_primitive_opt::<Decimal128Type>()))
        };
        let list = |name: &str| batch.column_by_name(name).and_then(|column| column.as_list_opt());
        Self {
            id: text("id"),
            time: batch.column_by_name("time").and_then(|c| c.as_primitive_opt::<TimestampMicrosecondType>()),
            time_nanos: integer("time_nanos"),
            duration_ns: long("duration_ns"),
            timing: batch.column_by_name("timing").and_then(|c| c.as_struct_opt()).map(TimingColumns::of),
            role: text("role"),
            target: text("target"),
            node: text("node"),
            namespace: text("namespace"),
            workload: text("workload"),
            pod: text("pod"),
            pod_uid: text("pod_uid"),
            container: text("container"),
            labels: batch.column_by_name("labels").and_then(|column| column.as_map_opt()),
            source: EndpointColumns::of("source", text, integer),
            destination: EndpointColumns::of("destination", text, integer),
            flow: unsigned("flow"),
            flow_index: long("flow_index"),
            method: text("method"),
            scheme: text("scheme"),
            host: text("host"),
            path: text("path"),
            query: text("query"),
            request_version: text("request_version"),
            request: MessageColumns::of("request", batch),
            status: integer("status"),
            reason: text("reason"),
            response_version: text("response_version"),
            response: MessageColumns::of("response", batch),
            interim_statuses: list("interim_statuses"),
            redactions: list("redactions"),
            wire_bytes: long("wire_bytes"),
            agent: text("agent"),
            epoch: unsigned("epoch"),
            sequence: long("sequence"),
            redaction_key: text("redaction_key"),
        }
    }
}

pub(super) struct TimingColumns<'a> {
    pub(super) present: &'a StructArray,
    pub(super) clock: Text<'a>,
    pub(super) request_start_ns: Long<'a>,
    pub(super) request_end_ns: Long<'a>,
    pub(super) response_start_ns: Long<'a>,
    pub(super) response_end_ns: Long<'a>,
}

impl<'a> TimingColumns<'a> {
    pub(super) fn of(timing: &'a StructArray) -> Self {
        let long =
            |name: &str| Long(timing.column_by_name(name).and_then(|c| c.as_primitive_opt::<Int64Type>()));
        Self {
            present: timing,
            clock: Text(timing.column_by_name("clock").and_then(|column| column.as_string_opt())),
            request_start_ns: long("request_start_ns"),
            request_end_ns: long("request_end_ns"),
            response_start_ns: long("response_start_ns"),
            response_end_ns: long("response_end_ns"),
        }
    }
}

pub(super) struct EndpointColumns<'a> {
    pub(super) ip: Text<'a>,
    pub(super) port: Integer<'a>,
    pub(super) namespace: Text<'a>,
    pub(super) pod: Text<'a>,
    pub(super) service: Text<'a>,
    pub(super) workload: Text<'a>,
}

impl<'a> EndpointColumns<'a> {
    pub(super) fn of(
        end: &str,
        text: impl Fn(&str) -> Text<'a>,
        integer: impl Fn(&str) -> Integer<'a>,
    ) -> Self {
        Self {
            ip: text(&format!("{end}_ip")),
            port: integer(&format!("{end}_port")),
            namespace: text(&format!("{end}_namespace")),
            pod: text(&format!("{end}_pod")),
            service: text(&format!("{end}_service")),
            workload: text(&format!("{end}_workload")),
        }
    }
}

/// What requests and responses have alike.
pub(super) struct MessageColumns<'a> {
    pub(super) headers: Option<&'a ListArray>,
    pub(super) trailers: Option<&'a ListArray>,
    pub(super) body_text: Text<'a>,
    pub(super) body_binary: Option<&'a BinaryArray>,
    pub(super) body_size: Long<'a>,
    pub(super) body_decoded_from: Text<'a>,
    pub(super) body_dropped: Text<'a>,
    pub(super) completeness: Option<&'a StructArray>,
}

impl<'a> MessageColumns<'a> {
    pub(super) fn of(message: &str, batch: &'a RecordBatch) -> Self {
        let column = |name: &str| batch.column_by_name(&format!("{message}_{name}"));
        let text = |name: &str| Text(column(name).and_then(|column| column.as_string_opt()));
        Self {
            headers: column("headers").and_then(|column| column.as_list_opt()),
            trailers: column("trailers").and_then(|column| column.as_list_opt()),
            body_text: text("body_text"),
            body_binary: column("body_binary").and_then(|column| column.as_binary_opt()),
            body_size: Long(column("body_size").and_then(|column| column.as_primitive_opt::<Int64Type>())),
            body_decoded_from: text("body_decoded_from"),
            body_dropped: text("body_dropped"),
            completeness: column("completeness").and_then(|column| column.as_struct_opt()),
        }
    }
}

#[derive(Clone, Copy)]
pub(super) struct Text<'a>(pub(super) Option<&'a StringArray>);

impl<'a> Text<'a> {
    pub(super) fn get(&self, row: usize) -> Option<&'a str> {
        self.0.filter(|column| column.is_valid(row)).map(|column| column.value(row))
    }

    pub(super) fn string(&self, row: usize) -> String {
        self.get(row).unwrap_or_default().to_owned()
    }
}

#[derive(Clone, Copy)]
pub(super) struct Integer<'a>(pub(super) Option<&'a Int32Array>);

impl Integer<'_> {
    pub(super) fn get(&self, row: usize) -> Option<i32> {
        self.0.filter(|column| column.is_valid(row)).map(|column| column.value(row))
    }
}

#[derive(Clone, Copy)]
pub(super) struct Long<'a>(pub(super) Option<&'a Int64Array>);

impl Long<'_> {
    pub(super) fn get(&self, row: usize) -> Option<i64> {
        self.0.filter(|column| column.is_valid(row)).map(|column| column.value(row))
    }

    pub(super) fn unsigned(&self, row: usize) -> u64 {
        self.get(row).unwrap_or(0) as u64
    }
}

#[derive(Clone, Copy)]
pub(super) struct Unsigned<'a>(pub(super) Option<&'a Decimal128Array>);

impl Unsigned<'_> {
    pub(super) fn get(&self, row: usize) -> u64 {
        self.0.map_or(0, |column| u64::try_from(column.value(row)).unwrap_or(0))
    }
}
