//! Rows of data files into new data files: columns stay columns, no exchange is decoded.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use deltalake::{
    arrow::{
        array::{Array, AsArray, RecordBatch, StringArray, TimestampMicrosecondArray, new_null_array},
        datatypes::{DataType, Int32Type, TimestampMicrosecondType},
        temporal_conversions::timestamp_us_to_datetime,
    },
    kernel::Add,
    parquet::arrow::{ArrowWriter, arrow_writer::ArrowWriterOptions},
};
use futures::TryStreamExt;
use object_store::ObjectStore;
use serde_json::{Map, Value, json};
use uuid::Uuid;

use crate::{
    Cause,
    data_file::{self, Encoded},
    open_file::OpenFile,
    schema::{self, PARTITION_COLUMN, STATISTICS_COLUMNS},
    view::DataFile,
};

/// A file of the table that is being written.
pub(super) struct NewFile {
    date: String,
    writer: ArrowWriter<Vec<u8>>,
    rows: usize,
    statistics: BTreeMap<&'static str, Statistic>,
}

/// Of one column.
#[derive(Default)]
struct Statistic {
    nulls: usize,
    bounds: Option<(Bound, Bound)>,
}

#[derive(Clone, PartialEq, PartialOrd)]
enum Bound {
    Text(String),
    Number(i32),
    Time(i64),
}

impl NewFile {
    pub(super) fn new(date: &str) -> Result<Self, Cause> {
        let options = ArrowWriterOptions::new()
            .with_properties(data_file::properties()?)
            .with_skip_arrow_metadata(true);
        Ok(Self {
            date: date.to_owned(),
            writer: ArrowWriter::try_new_with_options(Vec::new(), Arc::clone(&schema::FILE), options)?,
            rows: 0,
            statistics: BTreeMap::new(),
        })
    }

    /// The batch is one that [`read`] gave, or made of such.
    pub(super) fn write(&mut self, batch: &RecordBatch) -> Result<(), Cause> {
        self.writer.write(batch)?;
        self.rows += batch.num_rows();
        for name in STATISTICS_COLUMNS {
            let column = batch.column_by_name(name).ok_or_else(|| format!("no column {name}"))?;
            self.statistics.entry(name).or_default().add(column.as_ref());
        }
        Ok(())
    }

    /// `None` where nothing was written. `made` is when the newest of the files was made whose rows these are.
    pub(super) fn finish(self, made: i64) -> Result<Option<Encoded>, Cause> {
        let Self { date, writer, rows, statistics } = self;
        if rows == 0 {
            return Ok(None);
        }
        let bytes = writer.into_inner()?;
        let (mut minimum, mut maximum, mut nulls) = (Map::new(), Map::new(), Map::new());
        for (name, Statistic { nulls: count, bounds }) in statistics {
            nulls.insert(name.to_owned(), json!(count));
            if let Some((least, greatest)) = bounds {
                minimum.insert(name.to_owned(), least.json()?);
                maximum.insert(name.to_owned(), greatest.json()?);
            }
        }
        let statistics =
            json!({ "numRecords": rows, "minValues": minimum, "maxValues": maximum, "nullCount": nulls });
        let add = Add {
            path: format!("{PARTITION_COLUMN}={date}/part-{}.parquet", Uuid::now_v7()),
            size: i64::try_from(bytes.len())?,
            partition_values: HashMap::from([(PARTITION_COLUMN.to_owned(), Some(date))]),
            modification_time: made,
            // The rows are in the table already.
            data_change: false,
            stats: Some(statistics.to_string()),
            ..Add::default()
        };
        Ok(Some(Encoded { add, bytes }))
    }
}

impl Statistic {
    fn add(&mut self, column: &dyn Array) {
        self.nulls += column.null_count();
        let bounds = match column.data_type() {
            DataType::Utf8 => {
                let texts = column.as_string::<i32>();
                let bound = |text: Option<&str>| text.map(|text| Bound::Text(text.to_owned()));
                (bound(texts.iter().flatten().min()), bound(texts.iter().flatten().max()))
            }
            DataType::Int32 => {
                let numbers = column.as_primitive::<Int32Type>();
                let bound = |number: Option<i32>| number.map(Bound::Number);
                (bound(numbers.iter().flatten().min()), bound(numbers.iter().flatten().max()))
            }
            DataType::Timestamp(..) => {
                let times = column.as_primitive::<TimestampMicrosecondType>();
                let bound = |time: Option<i64>| time.map(Bound::Time);
                (bound(times.iter().flatten().min()), bound(times.iter().flatten().max()))
            }
            _ => (None, None),
        };
        let (Some(least), Some(greatest)) = bounds else { return };
        self.bounds = Some(match self.bounds.take() {
            None => (least, greatest),
            Some((before, after)) => {
                (if least < before { least } else { before }, if greatest > after { greatest } else { after })
            }
        });
    }
}

impl Bound {
    fn json(&self) -> Result<Value, Cause> {
        Ok(match self {
            Self::Text(text) => json!(text),
            Self::Number(number) => json!(number),
            Self::Time(micros) => {
                let time = timestamp_us_to_datetime(*micros).ok_or("a time out of range")?;
                json!(time.format("%Y-%m-%dT%H:%M:%S%.6fZ").to_string())
            }
        })
    }
}

/// The columns that order rows within a file, and by which they expire.
pub(super) struct Keys<'a> {
    pub(super) namespaces: &'a StringArray,
    pub(super) times: &'a TimestampMicrosecondArray,
    pub(super) ids: &'a StringArray,
}

impl<'a> Keys<'a> {
    /// The batch is one that [`read`] gave.
    pub(super) fn of(batch: &'a RecordBatch) -> Result<Self, Cause> {
        let column = |name: &str| batch.column_by_name(name).ok_or_else(|| format!("no column {name}"));
        Ok(Self {
            namespaces: column("namespace")?.as_string_opt().ok_or("namespaces of another type")?,
            times: column("time")?.as_primitive_opt().ok_or("times of another type")?,
            ids: column("id")?.as_string_opt().ok_or("ids of another type")?,
        })
    }

    pub(super) fn rows(&self) -> usize {
        self.ids.len()
    }

    /// The order of a file's rows.
    pub(super) fn key(&self, row: usize) -> (&'a str, i64, &'a str) {
        (self.namespaces.value(row), self.times.value(row), self.ids.value(row))
    }
}

/// All rows of a file, with all of the table's columns. Gives up once they take more than `limit` in memory.
pub(super) async fn read(
    objects: Arc<dyn ObjectStore>,
    file: &DataFile,
    limit: usize,
) -> Result<Option<(Vec<RecordBatch>, usize)>, Cause> {
    let open = OpenFile::open(objects, file).await?;
    let mut batches = open.read(&|name| schema::FILE.field_with_name(name).is_ok(), None)?;
    let mut bytes = 0;
    let mut read = Vec::new();
    while let Some(batch) = batches.try_next().await? {
        bytes += batch.get_array_memory_size();
        if bytes > limit {
            return Ok(None);
        }
        read.push(with_all_columns(&batch)?);
    }
    Ok(Some((read, bytes)))
}

/// The columns in the table's order; null where the file is older than the column.
pub(super) fn with_all_columns(batch: &RecordBatch) -> Result<RecordBatch, Cause> {
    let column = |name: &str, data_type: &DataType| match batch.column_by_name(name) {
        Some(column) => Arc::clone(column),
        None => new_null_array(data_type, batch.num_rows()),
    };
    let fields = schema::FILE.fields().iter();
    let columns = fields.map(|field| column(field.name(), field.data_type())).collect();
    Ok(RecordBatch::try_new(Arc::clone(&schema::FILE), columns)?)
}
