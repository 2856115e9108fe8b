//! How should a data file be laid out: what do order, compression, pages and encodings cost and bring?
//!
//! The same exchanges, as the store writes them, are written again in each layout. Bytes are those of the file; times are
//! on one core: to encode, to find a pattern in all bodies, to read the columns of a filter, to read one whole row by the
//! page index. Each time is the median of some rounds in which the layouts take turns; docs/design/0011 has figures.
//!
//! `cargo bench -p tap-store --bench layout`. Environment: `PODTAP_BENCH_ROWS` (60,000, a compacted file; a commit has
//! some thousand), `PODTAP_BENCH_ROUNDS` (5).

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a benchmark prints, and panics where it can't"
)]

#[path = "shop/measure.rs"]
mod measure;
#[path = "shop/traffic.rs"]
mod traffic;

use std::{fs, sync::Arc};

use bytes::Bytes;
use deltalake::{
    arrow::{
        array::{AsArray, RecordBatch},
        compute::{SortColumn, concat_batches, lexsort_to_indices, take_record_batch},
    },
    parquet::{
        arrow::{
            ArrowWriter, ProjectionMask,
            arrow_reader::{
                ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReaderBuilder, RowSelection,
            },
            arrow_writer::ArrowWriterOptions,
        },
        basic::{Compression, Encoding, ZstdLevel},
        file::{
            metadata::PageIndexPolicy,
            properties::{EnabledStatistics, WriterProperties, WriterPropertiesBuilder},
        },
        schema::types::ColumnPath,
    },
};
use measure::{Stopwatch, is_measured, setting, spread};
use rand::{RngExt, SeedableRng, rngs::StdRng};
use regex::Regex;
use tap_proto::v1::Batch;
use tap_store::{AgentEpoch, Store};
use url::Url;

const BODIES: [&str; 4] =
    ["request_body_text", "request_body_binary", "response_body_text", "response_body_binary"];
const BY_NAMESPACE: &[&str] = &["namespace", "time", "id"];

/// Columns with statistics, as the store has them.
const PRUNING: [&str; 12] = [
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

struct Layout {
    name: &'static str,
    order: &'static [&'static str],
    properties: WriterPropertiesBuilder,
}

fn zstd(level: i32) -> Compression {
    Compression::ZSTD(ZstdLevel::try_new(level).unwrap())
}

/// As simple as can be: what the others differ from.
fn plain() -> WriterPropertiesBuilder {
    let mut properties = WriterProperties::builder()
        .set_compression(zstd(1))
        .set_max_row_group_row_count(Some(64 * 1024))
        .set_statistics_enabled(EnabledStatistics::None);
    for column in PRUNING {
        properties = properties.set_column_statistics_enabled(column.into(), EnabledStatistics::Page);
    }
    for column in BODIES.into_iter().chain(["id"]) {
        properties = properties.set_column_dictionary_enabled(column.into(), false);
    }
    properties
}

fn bodies(compression: Compression) -> WriterPropertiesBuilder {
    let set = |properties: WriterPropertiesBuilder, column: &str| {
        properties.set_column_compression(ColumnPath::from(column), compression)
    };
    BODIES.into_iter().fold(plain(), set)
}

fn encoded(columns: &[(&str, Encoding)]) -> WriterPropertiesBuilder {
    columns.iter().fold(plain(), |properties, (column, encoding)| {
        properties
            .set_column_dictionary_enabled(path(column), false)
            .set_column_encoding(path(column), *encoding)
    })
}

fn path(column: &str) -> ColumnPath {
    ColumnPath::from(column.split('.').map(str::to_owned).collect::<Vec<_>>())
}

fn layouts() -> Vec<Layout> {
    let layout = |name, properties| Layout { name, order: BY_NAMESPACE, properties };
    let delta = Encoding::DELTA_BINARY_PACKED;
    let times = [
        ("time", delta),
        ("time_nanos", delta),
        ("duration_ns", delta),
        ("timing.request_start_ns", delta),
        ("timing.request_end_ns", delta),
        ("timing.response_start_ns", delta),
        ("timing.response_end_ns", delta),
    ];
    let texts = BODIES.map(|body| (body, Encoding::DELTA_LENGTH_BYTE_ARRAY));
    vec![
        layout("plain: zstd 1, 20,000 rows a page", plain()),
        Layout { name: "by time, id", order: &["time", "id"], properties: plain() },
        Layout {
            name: "by namespace, workload, time",
            order: &["namespace", "workload", "time"],
            properties: plain(),
        },
        layout("zstd 3", plain().set_compression(zstd(3))),
        layout("lz4_raw", plain().set_compression(Compression::LZ4_RAW)),
        layout("snappy", plain().set_compression(Compression::SNAPPY)),
        layout("uncompressed", plain().set_compression(Compression::UNCOMPRESSED)),
        layout("bodies lz4_raw, others zstd 1", bodies(Compression::LZ4_RAW)),
        layout("bodies zstd 3, others zstd 1", bodies(zstd(3))),
        layout("8,192 rows a page", plain().set_data_page_row_count_limit(8192)),
        layout("2,048 rows a page", plain().set_data_page_row_count_limit(2048)),
        layout("256 KiB a page", pages_of(256 * 1024)),
        layout("64 KiB a page", pages_of(64 * 1024)),
        layout("16,384 rows a row group", plain().set_max_row_group_row_count(Some(16 * 1024))),
        layout("no dictionaries", plain().set_dictionary_enabled(false)),
        layout("times as differences", encoded(&times)),
        layout("id as differences", encoded(&[("id", Encoding::DELTA_BYTE_ARRAY)])),
        layout("bodies with lengths apart", encoded(&texts)),
        layout("no statistics", plain_without_statistics()),
        layout("bloom filter on id", plain().set_column_bloom_filter_enabled("id".into(), true)),
        layout("bloom filter on path", plain().set_column_bloom_filter_enabled("path".into(), true)),
    ]
}

/// The size of a page is looked at after so many rows, so that it is kept for rows of 1 KiB.
fn pages_of(bytes: usize) -> WriterPropertiesBuilder {
    plain().set_data_page_size_limit(bytes).set_write_batch_size(32)
}

fn plain_without_statistics() -> WriterPropertiesBuilder {
    PRUNING.into_iter().fold(plain(), |properties, column| {
        properties.set_column_statistics_enabled(column.into(), EnabledStatistics::None)
    })
}

/// The exchanges as the store encodes them.
async fn rows(count: u64) -> RecordBatch {
    let folder = tempfile::tempdir().unwrap();
    let url = Url::from_directory_path(folder.path()).unwrap();
    let store = Store::open(&url).await.unwrap();
    let mut random = StdRng::seed_from_u64(1);
    // An hour's worth of a day, so that there is one day.
    let exchanges = (0..count).map(|number| traffic::exchange(number, count * 24, &mut random)).collect();
    let agent = AgentEpoch { agent: "node-1".to_owned(), epoch: 1 };
    store.append(vec![(agent, Batch { sequence: 1, exchanges, ledger: None })]).await.unwrap();
    let table = deltalake::open_table(url.join("exchanges/").unwrap()).await.unwrap();
    let paths: Vec<_> = table.get_file_uris().unwrap().collect();
    let [path] = paths.as_slice() else { panic!("{} files", paths.len()) };
    let bytes = Bytes::from(fs::read(path.trim_start_matches("file://")).unwrap());
    println!("as the store writes it: {:.1} bytes an exchange", bytes.len() as f64 / count as f64);
    let reader = ParquetRecordBatchReaderBuilder::try_new(bytes).unwrap();
    let schema = Arc::clone(reader.schema());
    let batches: Vec<_> = reader.build().unwrap().map(|batch| batch.unwrap()).collect();
    concat_batches(&schema, &batches).unwrap()
}

fn sorted(rows: &RecordBatch, order: &[&str]) -> RecordBatch {
    let column =
        |name: &&str| SortColumn { values: Arc::clone(rows.column_by_name(name).unwrap()), options: None };
    let columns: Vec<_> = order.iter().map(column).collect();
    take_record_batch(rows, &lexsort_to_indices(&columns, None).unwrap()).unwrap()
}

fn write(rows: &RecordBatch, properties: &WriterProperties) -> Bytes {
    let options =
        ArrowWriterOptions::new().with_properties(properties.clone()).with_skip_arrow_metadata(true);
    let mut writer = ArrowWriter::try_new_with_options(Vec::new(), rows.schema(), options).unwrap();
    for first in (0..rows.num_rows()).step_by(4096) {
        writer.write(&rows.slice(first, 4096.min(rows.num_rows() - first))).unwrap();
    }
    writer.into_inner().unwrap().into()
}

fn read(
    file: &Bytes,
    metadata: &ArrowReaderMetadata,
    columns: &[&str],
    rows: Option<RowSelection>,
    mut batch: impl FnMut(&RecordBatch),
) {
    let mut builder = ParquetRecordBatchReaderBuilder::new_with_metadata(file.clone(), metadata.clone());
    if !columns.is_empty() {
        let fields = builder.schema().fields().iter().enumerate();
        let roots: Vec<_> = fields
            .filter(|(_, field)| columns.contains(&field.name().as_str()))
            .map(|(root, _)| root)
            .collect();
        let mask = ProjectionMask::roots(builder.parquet_schema(), roots);
        builder = builder.with_projection(mask);
    }
    if let Some(rows) = rows {
        builder = builder.with_row_selection(rows);
    }
    for next in builder.with_batch_size(4096).build().unwrap() {
        batch(&next.unwrap());
    }
}

#[derive(Default)]
struct Times {
    encode: Vec<f64>,
    bodies: Vec<f64>,
    columns: Vec<f64>,
    get: Vec<f64>,
}

fn main() {
    let count = setting("PODTAP_BENCH_ROWS", if is_measured() { 60_000 } else { 2000 });
    let rounds = setting("PODTAP_BENCH_ROUNDS", if is_measured() { 5 } else { 1 }).max(1);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let rows = runtime.block_on(rows(count));
    let bodies = rows.column_by_name("response_body_text").unwrap().as_string::<i32>().value_data().len();
    let pattern = Regex::new(r#""warning":"W47[0-9]*0""#).unwrap();
    let layouts: Vec<_> = layouts()
        .into_iter()
        .map(|Layout { name, order, properties }| (name, sorted(&rows, order), properties.build()))
        .collect();
    let mut results: Vec<(usize, usize, Times)> = layouts.iter().map(|_| Default::default()).collect();
    for _ in 0..rounds {
        for ((_, rows, properties), (bytes, footer, times)) in layouts.iter().zip(&mut results) {
            let stopwatch = Stopwatch::start();
            let file = write(rows, properties);
            times.encode.push(stopwatch.read().processor);
            *bytes = file.len();

            let options = ArrowReaderOptions::new().with_page_index_policy(PageIndexPolicy::Optional);
            let metadata = ArrowReaderMetadata::load(&file, options).unwrap();
            *footer = metadata.metadata().memory_size();

            let mut found = 0;
            let stopwatch = Stopwatch::start();
            read(&file, &metadata, &["response_body_text"], None, |batch| {
                let bodies = batch.column(0).as_string::<i32>();
                found += bodies.iter().flatten().filter(|body| pattern.is_match(body)).count();
            });
            times.bodies.push(stopwatch.read().processor);
            assert!(found > 0 || count < 20_000);

            let stopwatch = Stopwatch::start();
            read(&file, &metadata, &["time", "path", "status"], None, |_| ());
            times.columns.push(stopwatch.read().processor);

            let row = rand::rng().random_range(0..rows.num_rows());
            let selection =
                RowSelection::from_consecutive_ranges(std::iter::once(row..row + 1), rows.num_rows());
            let stopwatch = Stopwatch::start();
            read(&file, &metadata, &[], Some(selection), |_| ());
            times.get.push(stopwatch.read().processor);
        }
    }
    println!(
        "| layout | bytes an exchange | encode, µs an exchange | bodies, MB/s | filter, ns a row | one row, ms | footer in memory, KiB |"
    );
    println!("|---|---|---|---|---|---|---|");
    for ((name, ..), (bytes, footer, times)) in layouts.iter().zip(results) {
        let median = |seconds: Vec<f64>| spread(seconds).0;
        println!(
            "| {name} | {:.1} | {:.2} | {:.0} | {:.1} | {:.2} | {} |",
            bytes as f64 / count as f64,
            median(times.encode) * 1e6 / count as f64,
            bodies as f64 / 1e6 / median(times.bodies),
            median(times.columns) * 1e9 / count as f64,
            median(times.get) * 1e3,
            footer / 1024,
        );
    }
}
