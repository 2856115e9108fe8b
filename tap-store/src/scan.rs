//! Reads the table in the order of (time, id), as much as is asked for and no more.
//!
//! The files are ordered by the end at which reading starts (their latest time for newest first). A file is
//! opened once no row before its end is left to give out, so that a page near an end of the table touches few
//! files, whatever the table's size. Opening reads only the columns that decide: time, id and those of the
//! predicate. What passes is a list of keys; the keys of the open files are merged, and their rows read in
//! chunks. Memory is bounded by the keys of the files that overlap in time, and one chunk of rows.

use std::{cmp::Ordering, collections::BTreeMap, ops::RangeInclusive, sync::Arc};

use deltalake::arrow::{
    array::{AsArray, RecordBatch},
    datatypes::TimestampMicrosecondType,
};
use futures::{Stream, StreamExt, TryStreamExt, stream};
use object_store::ObjectStore;
use prost::Message;
use tap_proto::v1::{Exchange, Order};

use crate::{
    Cause, StoreError,
    open_file::OpenFile,
    predicate::RowFilter,
    view::{DataFile, View},
};

/// Files opened ahead of need, so that a remote store's latency is paid once for several.
const OPEN_AHEAD: usize = 4;

/// A chunk starts small, as most pages need few rows, and doubles up to these.
const FIRST_CHUNK_ROWS: usize = 64;
const MAX_CHUNK_ROWS: usize = 8192;
const MAX_CHUNK_BYTES: usize = 16 * 1024 * 1024;

/// Which rows to read, from where, and how much of them.
#[derive(Debug)]
pub(crate) struct Scan {
    pub(crate) order: Order,
    pub(crate) times: RangeInclusive<i64>,
    pub(crate) filter: Option<RowFilter>,
    /// Only rows after this key in the scan's order.
    pub(crate) after: Option<(i64, String)>,
    /// Leave [`crate::columns::DETAIL_COLUMNS`] out.
    pub(crate) summary: bool,
}

impl Scan {
    /// The rows that pass the filter, in order, in chunks.
    pub(crate) fn run(
        self,
        objects: Arc<dyn ObjectStore>,
        view: &View,
    ) -> impl Stream<Item = Result<Vec<Exchange>, StoreError>> + Send {
        let mut files: Vec<_> =
            view.files.values().filter(|file| self.may_hold(file)).map(Arc::clone).collect();
        files.sort_by(|a, b| self.compare_times(self.first_time(a), self.first_time(b)));
        let scan = Arc::new(self);
        let merge = Merge::new(scan, objects, files);
        stream::try_unfold(merge, |mut merge| async move {
            let chunk = merge.next_chunk().await?;
            Ok((!chunk.is_empty()).then_some((chunk, merge)))
        })
    }

    fn may_hold(&self, file: &DataFile) -> bool {
        let overlaps = file.times.start() <= self.times.end() && self.times.start() <= file.times.end();
        let Some((after, _)) = &self.after else { return overlaps };
        let last = match self.order {
            Order::OldestFirst => *file.times.end(),
            Order::NewestFirst | Order::Unspecified => *file.times.start(),
        };
        overlaps && self.compare_times(last, *after) != Ordering::Less
    }

    /// No row of the file is before this in the scan's order.
    fn first_time(&self, file: &DataFile) -> i64 {
        match self.order {
            Order::OldestFirst => *file.times.start(),
            Order::NewestFirst | Order::Unspecified => *file.times.end(),
        }
    }

    fn compare_times(&self, a: i64, b: i64) -> Ordering {
        self.compare((a, ""), (b, ""))
    }

    fn compare(&self, a: (i64, &str), b: (i64, &str)) -> Ordering {
        match self.order {
            Order::OldestFirst => a.cmp(&b),
            Order::NewestFirst | Order::Unspecified => b.cmp(&a),
        }
    }

    /// The keys of the file's rows that pass, the last first.
    async fn keys(&self, file: &OpenFile) -> Result<Vec<Key>, Cause> {
        let filter_columns = self.filter.iter().flat_map(RowFilter::columns);
        let names: Vec<_> = ["id", "time"].into_iter().chain(filter_columns).collect();
        let mut batches = file.read(&|name| names.contains(&name), None)?;
        let mut keys = Vec::new();
        let mut first_row = 0;
        while let Some(batch) = batches.try_next().await? {
            self.collect_keys(&batch, first_row, &mut keys)?;
            first_row += batch.num_rows();
        }
        keys.sort_unstable_by(|a, b| self.compare(b.order(), a.order()));
        Ok(keys)
    }

    fn collect_keys(&self, batch: &RecordBatch, first_row: usize, keys: &mut Vec<Key>) -> Result<(), Cause> {
        let mask = self.filter.as_ref().map(|filter| filter.mask(batch)).transpose()?;
        let column = |name: &str| batch.column_by_name(name).ok_or_else(|| format!("no column {name}"));
        let times = column("time")?;
        let times =
            times.as_primitive_opt::<TimestampMicrosecondType>().ok_or("column time has another type")?;
        let ids = column("id")?;
        let ids = ids.as_string_opt::<i32>().ok_or("column id has another type")?;
        for row in 0..batch.num_rows() {
            let (time, id) = (times.value(row), ids.value(row));
            let is_after =
                |(after, after_id): &(i64, String)| self.compare((time, id), (*after, after_id)).is_gt();
            if mask.as_ref().is_none_or(|mask| mask.value(row))
                && self.times.contains(&time)
                && self.after.as_ref().is_none_or(is_after)
            {
                keys.push(Key { time, id: id.into(), row: first_row + row });
            }
        }
        Ok(())
    }
}

/// The order key of a row, and where the row is in its file.
#[derive(Debug)]
struct Key {
    time: i64,
    id: Box<str>,
    row: usize,
}

impl Key {
    fn order(&self) -> (i64, &str) {
        (self.time, &self.id)
    }
}

/// An open file with the keys that were not given out yet, the next one last.
struct Run {
    file: OpenFile,
    keys: Vec<Key>,
}

type Runs = std::pin::Pin<Box<dyn Stream<Item = Result<Run, StoreError>> + Send>>;

/// The keys of all files in order.
struct Merge {
    scan: Arc<Scan>,
    /// The first times of the files that are not open yet, the next one last.
    unopened: Vec<i64>,
    /// Those files.
    opening: Runs,
    open: Vec<Run>,
    chunk_rows: usize,
}

impl Merge {
    fn new(scan: Arc<Scan>, objects: Arc<dyn ObjectStore>, files: Vec<Arc<DataFile>>) -> Self {
        let unopened = files.iter().rev().map(|file| scan.first_time(file)).collect();
        let opener = Arc::clone(&scan);
        let open = move |file: Arc<DataFile>| {
            let (scan, objects) = (Arc::clone(&opener), Arc::clone(&objects));
            async move {
                let error = |source| StoreError::Read { path: file.path.to_string(), source };
                let open = OpenFile::open(objects, &file).await.map_err(error)?;
                let keys = scan.keys(&open).await.map_err(error)?;
                Ok(Run { file: open, keys })
            }
        };
        let opening = Box::pin(stream::iter(files).map(open).buffered(OPEN_AHEAD));
        Self { scan, unopened, opening, open: Vec::new(), chunk_rows: FIRST_CHUNK_ROWS }
    }

    /// The run whose next key is the first of all.
    fn first(&self) -> Option<(usize, i64)> {
        let next_keys = self.open.iter().enumerate().filter_map(|(run, open)| Some((run, open.keys.last()?)));
        let first = next_keys.min_by(|(_, a), (_, b)| self.scan.compare(a.order(), b.order()));
        first.map(|(run, key)| (run, key.time))
    }

    /// Whether no row of an unopened file comes before that time.
    fn is_decided(&self, time: i64) -> bool {
        self.unopened.last().is_none_or(|bound| self.scan.compare_times(time, *bound).is_lt())
    }

    /// The next key of all files, with its run; opens what must be open to know it.
    async fn next_key(&mut self) -> Result<Option<(usize, Key)>, StoreError> {
        loop {
            match self.first() {
                Some((run, time)) if self.is_decided(time) => {
                    return Ok(self.open[run].keys.pop().map(|key| (run, key)));
                }
                None if self.unopened.is_empty() => return Ok(None),
                Some(_) | None => {
                    self.unopened.pop();
                    self.open.extend(self.opening.try_next().await?);
                }
            }
        }
    }

    /// The next rows in order; none at the end.
    async fn next_chunk(&mut self) -> Result<Vec<Exchange>, StoreError> {
        self.open.retain(|run| !run.keys.is_empty());
        let mut rows_of_runs: BTreeMap<usize, Vec<(usize, usize)>> = BTreeMap::new();
        let mut count = 0;
        while count < self.chunk_rows {
            let Some((run, key)) = self.next_key().await? else { break };
            rows_of_runs.entry(run).or_default().push((key.row, count));
            count += 1;
        }
        let mut chunk = Vec::with_capacity(count);
        for (run, mut rows) in rows_of_runs {
            rows.sort_unstable();
            let file = &self.open[run].file;
            let error = |source| StoreError::Read { path: file.path().to_string(), source };
            let indices: Vec<_> = rows.iter().map(|(row, _)| *row).collect();
            let exchanges = file.exchanges(Some(&indices), self.scan.summary).await.map_err(error)?;
            chunk.extend(rows.into_iter().map(|(_, place)| place).zip(exchanges));
        }
        chunk.sort_unstable_by_key(|(place, _)| *place);
        let bytes: usize = chunk.iter().map(|(_, exchange)| exchange.encoded_len()).sum();
        self.grow(bytes);
        Ok(chunk.into_iter().map(|(_, exchange)| exchange).collect())
    }

    /// Doubles the chunk as long as its rows stay small.
    fn grow(&mut self, bytes: usize) {
        if bytes * 2 <= MAX_CHUNK_BYTES {
            self.chunk_rows = (self.chunk_rows * 2).min(MAX_CHUNK_ROWS);
        } else if bytes > MAX_CHUNK_BYTES {
            self.chunk_rows = (self.chunk_rows / 2).max(1);
        }
    }
}
