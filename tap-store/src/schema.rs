//! The schema of the table, in one place: what every column is, and what the table promises of it.
//!
//! The schema is a contract with every engine that reads the table (`docs/table.md`). Columns are only added,
//! at the end and nullable; a column's name, type and meaning never change.
//!
//! Delta has no unsigned integers. `epoch` and `flow` use all 64 bits and are `decimal(20, 0)`, so that every
//! engine shows and joins the number that Podtap's own tools show. The other unsigned fields are counts,
//! sizes and ports that stay far below 2^63; they are `long` or `integer`, and the store maps the rest of
//! their range onto negative numbers rather than refuse it.

use std::sync::{Arc, LazyLock};

use deltalake::{
    DeltaTable, DeltaTableError,
    arrow::datatypes::{DataType, Field, Fields, Schema, SchemaRef, TimeUnit},
    kernel::{StructField, engine::arrow_conversion::TryIntoKernel},
};

/// The table's name and description in its metadata.
pub(crate) const TABLE_NAME: &str = "exchanges";
pub(crate) const TABLE_DESCRIPTION: &str =
    "HTTP exchanges captured by Podtap, one row each; see docs/table.md";

/// The day of `time` in UTC. Retention drops whole days; finer partitions would multiply the files, as every
/// commit writes one per partition.
pub(crate) const PARTITION_COLUMN: &str = "date";

/// Columns with minimum and maximum per file in the log: those by which a file can be skipped. Statistics of
/// headers and bodies would put captured bytes into the log.
pub(crate) const STATISTICS_COLUMNS: [&str; 5] = ["id", "time", "namespace", "workload", "status"];

/// Precision of the columns that hold all of a u64.
pub(crate) const U64_PRECISION: u8 = 20;

/// Precision and zone of `time`, fixed by Delta's type `timestamp`.
pub(crate) fn time_type() -> DataType {
    DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()))
}

pub(crate) fn u64_type() -> DataType {
    DataType::Decimal128(U64_PRECISION, 0)
}

/// Name, value, and the value's bytes where they are not UTF-8.
pub(crate) fn header_fields() -> Fields {
    Fields::from(vec![
        Field::new("name", DataType::Utf8, false),
        Field::new("value", DataType::Utf8, false),
        Field::new("raw_value", DataType::Binary, true),
    ])
}

pub(crate) fn completeness_fields() -> Fields {
    Fields::from(vec![
        Field::new("state", DataType::Utf8, false),
        Field::new("offset", DataType::Int64, false),
        Field::new("bytes", DataType::Int64, false),
        Field::new("cause", DataType::Utf8, false),
    ])
}

pub(crate) fn timing_fields() -> Fields {
    Fields::from(vec![
        Field::new("clock", DataType::Utf8, false),
        Field::new("request_start_ns", DataType::Int64, false),
        Field::new("request_end_ns", DataType::Int64, false),
        Field::new("response_start_ns", DataType::Int64, false),
        Field::new("response_end_ns", DataType::Int64, false),
    ])
}

pub(crate) fn redaction_fields() -> Fields {
    Fields::from(vec![
        Field::new("rule", DataType::Utf8, false),
        Field::new("place", DataType::Utf8, false),
        Field::new("action", DataType::Utf8, false),
        Field::new("count", DataType::Int64, false),
    ])
}

/// The one field of a list, with the name that Delta gives it.
pub(crate) fn element(data_type: DataType) -> Arc<Field> {
    Arc::new(Field::new("element", data_type, false))
}

/// The entries of a map from string to string, with the names that Delta gives them.
pub(crate) fn entry_fields() -> Fields {
    Fields::from(vec![Field::new("key", DataType::Utf8, false), Field::new("value", DataType::Utf8, true)])
}

/// Every column in the table's order, each with its meaning as the column's comment.
pub(crate) static TABLE: LazyLock<SchemaRef> = LazyLock::new(|| Arc::new(Schema::new(columns())));

/// The columns of a data file: the table's without the partition column, which Delta keeps in the log.
pub(crate) static FILE: LazyLock<SchemaRef> = LazyLock::new(|| {
    let columns: Vec<_> =
        TABLE.fields().iter().filter(|field| field.name() != PARTITION_COLUMN).cloned().collect();
    Arc::new(Schema::new(columns))
});

/// The table's columns as Delta knows them.
pub(crate) fn delta_columns() -> Vec<StructField> {
    TABLE
        .fields()
        .iter()
        .map(|field| field.as_ref().try_into_kernel().expect("every column's type is one of Delta's"))
        .collect()
}

fn columns() -> Vec<Field> {
    let text = || DataType::Utf8;
    let headers = || DataType::List(element(DataType::Struct(header_fields())));
    let completeness = || DataType::Struct(completeness_fields());
    let labels =
        DataType::Map(Arc::new(Field::new("key_value", DataType::Struct(entry_fields()), false)), false);

    vec![
        required("date", DataType::Date32, "Day of `time` in UTC; the partition"),
        required("id", text(), "UUID version 7, lower case; its leading 48 bits are `time` in milliseconds"),
        required("time", time_type(), "Wall-clock time of the node at the first byte of the request"),
        required("time_nanos", DataType::Int32, "Nanoseconds that `time` leaves out, 0 to 999"),
        optional(
            "duration_ns",
            DataType::Int64,
            "From the first byte of the request to the last of the response",
        ),
        optional(
            "timing",
            DataType::Struct(timing_fields()),
            "The four instants in ns on `clock`; 0 where unseen",
        ),
        required(
            "role",
            text(),
            "inbound: the tapped process was the server; outbound: the client; or empty",
        ),
        required("target", text(), "The target's name in the agent's configuration, or namespace/pod"),
        required("node", text(), "Kubernetes node, or the host's name"),
        required("namespace", text(), "Kubernetes namespace; empty outside a cluster"),
        required("workload", text(), "Owner of the pod as Kind/name; else systemd unit or command"),
        required("pod", text(), "Pod's name; empty outside a cluster"),
        required("pod_uid", text(), "Pod's UID; empty outside a cluster"),
        required("container", text(), "Container's name; empty outside a cluster"),
        required("labels", labels, "Labels of the pod that the user asked for"),
        optional("source_ip", text(), "The client's address; null where unknown"),
        optional("source_port", DataType::Int32, "The client's port"),
        optional("source_namespace", text(), "The client's namespace, where resolved"),
        optional("source_pod", text(), "The client's pod, where resolved"),
        optional("source_service", text(), "The client's service, where resolved"),
        optional("source_workload", text(), "The client's workload, where resolved"),
        optional("destination_ip", text(), "The server's address; null where unknown"),
        optional("destination_port", DataType::Int32, "The server's port"),
        optional("destination_namespace", text(), "The server's namespace, where resolved"),
        optional("destination_pod", text(), "The server's pod, where resolved"),
        optional("destination_service", text(), "The server's service, where resolved"),
        optional("destination_workload", text(), "The server's workload, where resolved"),
        required("flow", u64_type(), "Names the connection within `agent` and `epoch`"),
        required("flow_index", DataType::Int64, "Position on the connection, from 0"),
        optional("method", text(), "Request method; null where no request was seen"),
        optional("scheme", text(), "http or https"),
        optional("host", text(), "Lower case, with the port if one was given"),
        optional("path", text(), "As sent, without the query"),
        optional("query", text(), "What follows the first `?`, as sent"),
        optional("request_version", text(), "HTTP/1.0, HTTP/1.1, HTTP/2"),
        optional("request_headers", headers(), "In the order and spelling of the wire"),
        optional("request_trailers", headers(), "In the order and spelling of the wire"),
        optional("request_body_text", text(), "What was kept of the body, decoded, where it is UTF-8"),
        optional(
            "request_body_binary",
            DataType::Binary,
            "What was kept of the body, decoded, where it is not UTF-8",
        ),
        optional(
            "request_body_size",
            DataType::Int64,
            "Length after transfer decoding, however much was kept",
        ),
        optional("request_body_decoded_from", text(), "Content coding that was removed, e.g. gzip"),
        optional(
            "request_body_dropped",
            text(),
            "Why there is no content though there was a body; else empty",
        ),
        optional("request_completeness", completeness(), "How much of the request was captured"),
        optional("status", DataType::Int32, "Response status; null where no response was seen"),
        optional("reason", text(), "Reason phrase"),
        optional("response_version", text(), "HTTP/1.0, HTTP/1.1, HTTP/2"),
        optional("response_headers", headers(), "In the order and spelling of the wire"),
        optional("response_trailers", headers(), "In the order and spelling of the wire"),
        optional("response_body_text", text(), "As request_body_text"),
        optional("response_body_binary", DataType::Binary, "As request_body_binary"),
        optional("response_body_size", DataType::Int64, "As request_body_size"),
        optional("response_body_decoded_from", text(), "As request_body_decoded_from"),
        optional("response_body_dropped", text(), "As request_body_dropped"),
        optional("response_completeness", completeness(), "How much of the response was captured"),
        optional(
            "interim_statuses",
            DataType::List(element(DataType::Int32)),
            "Statuses of the 1xx responses before",
        ),
        required(
            "redactions",
            DataType::List(element(DataType::Struct(redaction_fields()))),
            "What redaction replaced or removed: never values",
        ),
        required("wire_bytes", DataType::Int64, "TCP payload of both directions, as in the ledger"),
        required("agent", text(), "The agent that captured it"),
        required("epoch", u64_type(), "One run of the agent's process"),
        required("sequence", DataType::Int64, "The batch within the epoch that brought it"),
        // From here on in the order in which versions added them: nullable, for the rows before.
        optional(
            "redaction_key",
            text(),
            "Id of the key of the tokens; empty where redaction replaced nothing",
        ),
    ]
}

fn required(name: &str, data_type: DataType, comment: &str) -> Field {
    column(name, data_type, false, comment)
}

fn optional(name: &str, data_type: DataType, comment: &str) -> Field {
    column(name, data_type, true, comment)
}

fn column(name: &str, data_type: DataType, nullable: bool, comment: &str) -> Field {
    Field::new(name, data_type, nullable).with_metadata([("comment".to_owned(), comment.to_owned())].into())
}

/// The columns that this version writes and a table of an earlier one does not have.
pub(crate) fn missing(table: &DeltaTable) -> Result<Vec<StructField>, DeltaTableError> {
    let schema = table.snapshot()?.schema();
    Ok(delta_columns().into_iter().filter(|column| schema.field(column.name()).is_none()).collect())
}

/// Whether the table has columns that this version does not know, and would lose where it rewrites rows.
pub(crate) fn has_unknown(table: &DeltaTable) -> Result<bool, DeltaTableError> {
    let schema = table.snapshot()?.schema();
    let mut columns = schema.fields();
    Ok(columns.any(|column| TABLE.field_with_name(column.name()).is_err()))
}

/// Says why a table is not one of exchanges, or one that this version can't serve.
pub(crate) fn check(table: &DeltaTable) -> Result<(), String> {
    let snapshot = table.snapshot().map_err(|error| error.to_string())?;
    let partitions = snapshot.metadata().partition_columns();
    if partitions != [PARTITION_COLUMN] {
        return Err(format!("it is partitioned by {partitions:?}, not by [\"{PARTITION_COLUMN}\"]"));
    }
    if let Some(mode) = snapshot.metadata().configuration().get("delta.columnMapping.mode")
        && mode != "none"
    {
        return Err(format!("its columns are mapped by {mode}"));
    }
    let schema = snapshot.schema();
    for expected in delta_columns() {
        let name = expected.name();
        match schema.field(name) {
            None if expected.is_nullable() => {}
            None => return Err(format!("it has no column {name}")),
            Some(column) if column.data_type() != expected.data_type() => {
                return Err(format!("its column {name} is a {}", column.data_type()));
            }
            Some(_) => {}
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_contract_page_lists_every_column() {
        let page = include_str!("../../docs/table.md");
        for column in delta_columns() {
            let nullable = if column.is_nullable() { "yes" } else { "no" };
            let meaning = TABLE.field_with_name(column.name()).unwrap().metadata()["comment"].clone();
            let rows: Vec<_> =
                page.lines().filter(|line| line.starts_with(&format!("| `{}` |", column.name()))).collect();
            let [row] = *rows else { panic!("{} has {} rows in docs/table.md", column.name(), rows.len()) };
            assert!(row.ends_with(&format!("| {nullable} | {meaning} |")), "{row}");
        }
    }

    #[test]
    fn statistics_name_columns() {
        assert!(STATISTICS_COLUMNS.iter().all(|name| FILE.field_with_name(name).is_ok()));
    }
}
