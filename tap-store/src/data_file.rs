//! Exchanges to Parquet files, with what the log says of them.
//!
//! One file per day of `date`, its rows ordered by (namespace, time, id): a namespace's rows are together, so
//! that pages of others are skipped, and repeated values compress. Readers must not rely on the order; other
//! writers may have rewritten a file.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
    time::{SystemTime, UNIX_EPOCH},
};

use deltalake::{
    arrow::{array::RecordBatch, temporal_conversions},
    kernel::Add,
    parquet::{
        arrow::{ArrowWriter, arrow_writer::ArrowWriterOptions},
        basic::{Compression, Encoding, ZstdLevel},
        file::properties::{EnabledStatistics, WriterProperties},
        schema::types::ColumnPath,
    },
};
use prost::Message;
use serde_json::{Map, Value, json};
use tap_proto::v1::Exchange;
use uuid::Uuid;

use crate::{
    Cause,
    columns::{day, order_key, record_batch},
    schema::{self, PARTITION_COLUMN, STATISTICS_COLUMNS},
};

/// Rows and bytes encoded at a time: bounds the copy in Arrow's form, and keeps its 32-bit offsets in range.
const BATCH_ROWS: usize = 4096;
const BATCH_BYTES: usize = 32 * 1024 * 1024;

/// Rows of a row group, the unit that a scan skips by its statistics. A commit rarely has as many.
const ROW_GROUP_ROWS: usize = 64 * 1024;

/// Rows and bytes of a page, the unit that is decoded to read one row, and that a scan skips by the page index.
const PAGE_ROWS: usize = 4096;
const PAGE_BYTES: usize = 256 * 1024;

/// Rows that are encoded before a page's bounds are looked at.
const CHECKED_ROWS: usize = 256;

/// Columns of times: all different, but near to each other in the order of the file.
const TIME_COLUMNS: [&str; 7] = [
    "time",
    "time_nanos",
    "duration_ns",
    "timing.request_start_ns",
    "timing.request_end_ns",
    "timing.response_start_ns",
    "timing.response_end_ns",
];

/// Columns whose statistics are in the file, for engines that skip row groups and pages.
const PRUNING_COLUMNS: [&str; 12] = [
    "id",
    "time",
    "duration_ns",
    "node",
    "namespace",
    "workload",
    "pod",
    "method",
    "host",
    "path",
    "status",
    "agent",
];

/// A file to be put, and its entry in the log.
#[derive(Debug)]
pub(crate) struct Encoded {
    pub(crate) add: Add,
    pub(crate) bytes: Vec<u8>,
}

/// Encodes the exchanges; works for long, so not on a thread that others wait for.
pub(crate) fn encode(exchanges: &[&Exchange]) -> Result<Vec<Encoded>, Cause> {
    let mut days: BTreeMap<i64, Vec<&Exchange>> = BTreeMap::new();
    for exchange in exchanges {
        days.entry(day(order_key(exchange).0)).or_default().push(exchange);
    }
    days.into_iter().map(|(day, rows)| encode_day(day, rows)).collect()
}

fn encode_day(day: i64, mut rows: Vec<&Exchange>) -> Result<Encoded, Cause> {
    rows.sort_by(|a, b| (&a.namespace, order_key(a)).cmp(&(&b.namespace, order_key(b))));
    // The Arrow schema would be a copy of the Parquet schema, larger than the rows of a quiet second.
    let options = ArrowWriterOptions::new().with_properties(properties()?).with_skip_arrow_metadata(true);
    let mut writer = ArrowWriter::try_new_with_options(Vec::new(), Arc::clone(&schema::FILE), options)?;
    for batch in batches(&rows) {
        writer.write(&batch?)?;
    }
    let bytes = writer.into_inner()?;

    let date = date_text(day)?;
    let add = Add {
        path: format!("{PARTITION_COLUMN}={date}/part-{}.parquet", Uuid::now_v7()),
        size: i64::try_from(bytes.len())?,
        partition_values: HashMap::from([(PARTITION_COLUMN.to_owned(), Some(date))]),
        modification_time: i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH)?.as_millis())?,
        data_change: true,
        stats: Some(statistics(&rows)?.to_string()),
        ..Add::default()
    };
    Ok(Encoded { add, bytes })
}

pub(crate) fn batches<'a>(rows: &'a [&'a Exchange]) -> impl Iterator<Item = Result<RecordBatch, Cause>> + 'a {
    let mut rest = rows;
    std::iter::from_fn(move || {
        let mut bytes = 0;
        let fits = |exchange: &&&Exchange| {
            bytes += exchange.encoded_len();
            bytes <= BATCH_BYTES
        };
        let count = rest.iter().take(BATCH_ROWS).take_while(fits).count().max(1);
        let (batch, after) = rest.split_at_checked(count)?;
        rest = after;
        Some(record_batch(batch).map_err(Cause::from))
    })
}

/// How the table's files are written; docs/design/0011 has the figures behind it.
pub(crate) fn properties() -> Result<WriterProperties, Cause> {
    // With a file a second, what a file holds beside its rows counts: statistics are kept where a scan skips
    // by them, and nowhere else.
    let mut properties = WriterProperties::builder()
        .set_compression(Compression::ZSTD(ZstdLevel::try_new(1)?))
        .set_max_row_group_row_count(Some(ROW_GROUP_ROWS))
        .set_data_page_row_count_limit(PAGE_ROWS)
        .set_data_page_size_limit(PAGE_BYTES)
        .set_write_batch_size(CHECKED_ROWS)
        .set_created_by("podtap".to_owned())
        .set_statistics_enabled(EnabledStatistics::None);
    for column in PRUNING_COLUMNS {
        properties =
            properties.set_column_statistics_enabled(ColumnPath::from(column), EnabledStatistics::Page);
    }
    for column in TIME_COLUMNS {
        properties = properties
            .set_column_dictionary_enabled(ColumnPath::from(parts(column)), false)
            .set_column_encoding(ColumnPath::from(parts(column)), Encoding::DELTA_BINARY_PACKED);
    }
    // All different: a dictionary would be built and thrown away.
    for column in
        ["id", "request_body_text", "request_body_binary", "response_body_text", "response_body_binary"]
    {
        properties = properties.set_column_dictionary_enabled(ColumnPath::from(column), false);
    }
    Ok(properties.build())
}

/// Of a column within a column.
fn parts(path: &str) -> Vec<String> {
    path.split('.').map(str::to_owned).collect()
}

/// The file's entry of statistics in Delta's form, for [`STATISTICS_COLUMNS`].
fn statistics(rows: &[&Exchange]) -> Result<Value, Cause> {
    let mut minimum = Map::new();
    let mut maximum = Map::new();
    let mut nulls = Map::new();
    for column in STATISTICS_COLUMNS {
        let values: Vec<_> = rows.iter().filter_map(|row| statistic(row, column)).collect();
        nulls.insert(column.to_owned(), json!(rows.len() - values.len()));
        let (Some(least), Some(greatest)) = (values.iter().min(), values.iter().max()) else { continue };
        minimum.insert(column.to_owned(), least.json()?);
        maximum.insert(column.to_owned(), greatest.json()?);
    }
    Ok(json!({ "numRecords": rows.len(), "minValues": minimum, "maxValues": maximum, "nullCount": nulls }))
}

fn statistic<'a>(exchange: &'a Exchange, column: &str) -> Option<Statistic<'a>> {
    match column {
        "id" => Some(Statistic::Text(&exchange.id)),
        "time" => Some(Statistic::Time(order_key(exchange).0)),
        "namespace" => Some(Statistic::Text(&exchange.namespace)),
        "workload" => Some(Statistic::Text(&exchange.workload)),
        "status" => exchange.response.as_ref().map(|response| Statistic::Number(response.status as i32)),
        _ => None,
    }
}

#[derive(PartialEq, Eq, PartialOrd, Ord)]
enum Statistic<'a> {
    Text(&'a str),
    Time(i64),
    Number(i32),
}

impl Statistic<'_> {
    fn json(&self) -> Result<Value, Cause> {
        Ok(match self {
            Self::Text(text) => json!(text),
            Self::Number(number) => json!(number),
            Self::Time(micros) => {
                let time =
                    temporal_conversions::timestamp_us_to_datetime(*micros).ok_or("a time out of range")?;
                json!(time.format("%Y-%m-%dT%H:%M:%S%.6fZ").to_string())
            }
        })
    }
}

fn date_text(day: i64) -> Result<String, Cause> {
    let midnight =
        temporal_conversions::date32_to_datetime(i32::try_from(day)?).ok_or("a day out of range")?;
    Ok(midnight.format("%Y-%m-%d").to_string())
}
