//! Reads the table in the order of (time, id), as much as is asked for and no more.
//!
//! The files are ordered by the end at which reading starts (their latest time for newest first). A file is
//! opened once no row before its end is left to give out, so that a page near an end of the table touches few
//! files, whatever the table's size.
//!
//! What is read of a file narrows down in steps, each reading only what the step before left:
//! 1. pages that the statistics rule out are skipped ([`OpenFile::may_match`]);
//! 2. of the others come the columns that the condition's predicate is about, and the predicate is tested on whole
//!    columns at a time ([`RowFilter`]);
//! 3. the whole condition is evaluated on the columns that it reads, where the predicate does not decide ([`Rest`]):
//!    bodies, headers, patterns;
//! 4. of the rows that are left the page's are decoded ([`fetch`]).
//!
//! The third step is taken for few rows at a time at first, in the order of the answer, as a page that fills at once
//! should read little. Once many rows were in vain, it is taken for whole files, which reads each page of a file once.
//!
//! Memory is bounded by the keys that are kept of all files that overlap ([`Limits`]; a file with more is read again
//! for the rest), and by one batch of rows for each file that is being opened.

use std::{
    cmp::Ordering,
    collections::BTreeSet,
    ops::RangeInclusive,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use deltalake::{
    arrow::{
        array::{AsArray, BooleanArray, RecordBatch},
        datatypes::TimestampMicrosecondType,
    },
    parquet::arrow::arrow_reader::RowSelection,
};
use futures::{FutureExt, StreamExt, TryStreamExt, stream};
use tap_expr::{Condition, Field, Operator, Predicate, Read, Value};
use tap_proto::v1::{Exchange, Order};

use crate::{
    Cause, StoreError,
    columns::{Rows, columns_of},
    open_file::{Files, OpenFile},
    predicate::RowFilter,
    view::{DataFile, View},
};

mod key;
mod merge;

pub(crate) use merge::{Found, Limits, Merge};

use key::{Id, Key};

/// Files of whose rows more is read at once.
const READ_AHEAD: usize = 4;

/// Which rows to read, and from where.
#[derive(Debug)]
pub(crate) struct Scan {
    pub(crate) order: Order,
    pub(crate) times: RangeInclusive<i64>,
    /// Only rows after this in the scan's order.
    pub(crate) after: Option<Position>,
    predicate: Predicate,
    filter: Option<RowFilter>,
    rest: Option<Rest>,
    /// Bytes of columns that were decoded.
    work: AtomicU64,
}

/// A place in the scan's order: after the row of that id, or before all rows of the time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Position {
    pub(crate) time: i64,
    pub(crate) id: Option<String>,
}

/// What is left to test of rows that passed the filter.
#[derive(Debug)]
struct Rest {
    condition: Arc<Condition>,
    columns: BTreeSet<&'static str>,
}

/// A row that matches.
#[derive(Debug)]
pub(crate) struct Located {
    file: Arc<DataFile>,
    key: Key,
}

/// What a file has for the scan.
struct Matches {
    /// The last first.
    keys: Vec<Key>,
    /// Times of which there may be more.
    rest: Option<RangeInclusive<i64>>,
}

impl Scan {
    pub(crate) fn new(
        condition: Arc<Condition>,
        order: Order,
        times: RangeInclusive<i64>,
        after: Option<Position>,
    ) -> Self {
        let predicate = condition.predicate();
        let filter = RowFilter::new(&predicate);
        let filter_is_exact = filter.as_ref().map_or(predicate == Predicate::True, RowFilter::is_exact);
        let is_decided = condition.predicate_is_exact() && filter_is_exact;
        let rest = (!is_decided).then(|| {
            let columns = condition.reads().into_iter().flat_map(|read: Read| columns_of(read)).copied();
            Rest { columns: columns.collect(), condition }
        });
        Self { order, times, after, predicate, filter, rest, work: AtomicU64::new(0) }
    }

    /// The rows of one id.
    pub(crate) fn of_id(id: &str) -> Self {
        let predicate = Predicate::Compare {
            field: Field::Id,
            operator: Operator::Equal,
            value: Value::String(id.to_owned()),
        };
        Self {
            order: Order::NewestFirst,
            times: i64::MIN..=i64::MAX,
            after: None,
            filter: RowFilter::new(&predicate),
            predicate,
            rest: None,
            work: AtomicU64::new(0),
        }
    }

    /// The files that may hold rows of the scan, in no order.
    pub(crate) fn files<'a>(&'a self, view: &'a View) -> impl Iterator<Item = &'a Arc<DataFile>> {
        view.may_match(&self.predicate, &self.times).filter(|file| self.may_follow(&file.times))
    }

    /// One row of the file, if it has one.
    pub(crate) async fn any(
        &self,
        files: &Files,
        file: &Arc<DataFile>,
    ) -> Result<Option<Located>, StoreError> {
        let error = |source| StoreError::Read { path: file.path.to_string(), source };
        let open = files.open(file).await.map_err(error)?;
        let mut matches = self.matches(&open, self.times.clone(), 1, true).await.map_err(error)?;
        Ok(matches.keys.pop().map(|key| Located { file: Arc::clone(file), key }))
    }

    /// Whether rows of these times may be after the place where the scan begins.
    fn may_follow(&self, times: &RangeInclusive<i64>) -> bool {
        let Some(after) = &self.after else { return true };
        self.compare_times(self.last_time(times), after.time) != Ordering::Less
    }

    fn first_time(&self, times: &RangeInclusive<i64>) -> i64 {
        match self.order {
            Order::OldestFirst => *times.start(),
            Order::NewestFirst | Order::Unspecified => *times.end(),
        }
    }

    fn last_time(&self, times: &RangeInclusive<i64>) -> i64 {
        match self.order {
            Order::OldestFirst => *times.end(),
            Order::NewestFirst | Order::Unspecified => *times.start(),
        }
    }

    /// The times of the scan that are within those of a file, from where the scan begins.
    fn times_within(&self, file: &RangeInclusive<i64>) -> RangeInclusive<i64> {
        let (mut start, mut end) = (*file.start().max(self.times.start()), *file.end().min(self.times.end()));
        if let Some(after) = &self.after {
            match self.order {
                Order::OldestFirst => start = start.max(after.time),
                Order::NewestFirst | Order::Unspecified => end = end.min(after.time),
            }
        }
        start..=end
    }

    fn compare_times(&self, a: i64, b: i64) -> Ordering {
        match self.order {
            Order::OldestFirst => a.cmp(&b),
            Order::NewestFirst | Order::Unspecified => b.cmp(&a),
        }
    }

    fn compare(&self, a: &Key, b: &Key) -> Ordering {
        match self.order {
            Order::OldestFirst => a.order().cmp(&b.order()),
            Order::NewestFirst | Order::Unspecified => b.order().cmp(&a.order()),
        }
    }

    /// The keys of the file's rows of these times that pass; of those that come first about `limit`. The whole
    /// condition is evaluated if `whole`.
    async fn matches(
        &self,
        file: &OpenFile,
        times: RangeInclusive<i64>,
        limit: usize,
        whole: bool,
    ) -> Result<Matches, Cause> {
        let (mut rows, rest) = self.filtered(file, times, limit).await?;
        rows.sort_unstable_by_key(|(row, _)| *row);
        if whole {
            rows = self.examined(file, rows).await?;
        }
        let mut keys = self.with_ids(file, rows).await?;
        if let Some(Position { time, id: Some(id) }) = &self.after {
            let after = Key { time: *time, id: Id::from(id.as_str()), row: 0 };
            keys.retain(|key| self.compare(key, &after).is_gt());
        }
        keys.sort_unstable_by(|a, b| self.compare(b, a));
        Ok(Matches { keys, rest })
    }

    /// The rows of these times that pass the filter, each with its time: of those that come first about `limit`,
    /// and the times of the others.
    async fn filtered(
        &self,
        file: &OpenFile,
        times: RangeInclusive<i64>,
        limit: usize,
    ) -> Result<(Vec<(u32, i64)>, Option<RangeInclusive<i64>>), Cause> {
        let selection = file.may_match(&self.predicate, &times);
        if selection.as_ref().is_some_and(|selection| !selection.selects_any()) {
            return Ok((Vec::new(), None));
        }
        let named = |name: &str| {
            name == "time"
                || self.filter.as_ref().is_some_and(|filter| filter.columns().any(|column| column == name))
        };
        let mut numbers = RowNumbers::new(selection.as_ref());
        let mut batches = file.read(&named, selection)?;
        let mut kept_times = times.clone();
        let mut rows: Vec<(u32, i64)> = Vec::new();
        while let Some(batch) = batches.try_next().await? {
            self.account(&batch);
            let mask = self.filter.as_ref().map(|filter| filter.mask(&batch)).transpose()?;
            collect(&batch, mask.as_ref(), &kept_times, &mut numbers, &mut rows)?;
            if rows.len() > limit.saturating_mul(4) {
                kept_times = self.keep_first(&mut rows, kept_times, limit);
            }
            tokio::task::yield_now().await;
        }
        if rows.len() > limit {
            kept_times = self.keep_first(&mut rows, kept_times, limit);
        }
        let rest = match self.order {
            Order::OldestFirst => kept_times.end().saturating_add(1)..=*times.end(),
            Order::NewestFirst | Order::Unspecified => *times.start()..=kept_times.start().saturating_sub(1),
        };
        Ok((rows, (kept_times != times && !rest.is_empty()).then_some(rest)))
    }

    /// Leaves the first `limit` rows, and those of the same time as the last of them. Gives the times of those.
    fn keep_first(
        &self,
        rows: &mut Vec<(u32, i64)>,
        times: RangeInclusive<i64>,
        limit: usize,
    ) -> RangeInclusive<i64> {
        let (_, (_, last), _) =
            rows.select_nth_unstable_by(limit - 1, |(_, a), (_, b)| self.compare_times(*a, *b));
        let last = *last;
        rows.retain(|(_, time)| self.compare_times(*time, last).is_le());
        match self.order {
            Order::OldestFirst => *times.start()..=last,
            Order::NewestFirst | Order::Unspecified => last..=*times.end(),
        }
    }

    /// Those of the rows, which ascend, that meet the whole condition.
    async fn examined<T>(&self, file: &OpenFile, mut rows: Vec<(u32, T)>) -> Result<Vec<(u32, T)>, Cause> {
        let Some(rest) = &self.rest else { return Ok(rows) };
        if rows.is_empty() {
            return Ok(rows);
        }
        let selection = file.rows(rows.iter().map(|(row, _)| *row as usize))?;
        let mut met: Vec<bool> = Vec::with_capacity(rows.len());
        if rest.columns.is_empty() {
            // A condition that reads nothing is the same of all.
            let nothing = Exchange::default();
            met.resize(rows.len(), rest.condition.matches(&nothing));
        } else {
            let mut batches = file.read(&|name| rest.columns.contains(name), Some(selection))?;
            while let Some(batch) = batches.try_next().await? {
                self.account(&batch);
                let views = Rows::of(&batch);
                met.extend((0..batch.num_rows()).map(|row| rest.condition.matches(&views.get(row))));
                tokio::task::yield_now().await;
            }
            // Without one of its columns a file has batches of no columns, and as many rows.
            if met.len() != rows.len() {
                return Err(format!("{} rows instead of {}", met.len(), rows.len()).into());
            }
        }
        let mut met = met.into_iter();
        rows.retain(|_| met.next() == Some(true));
        Ok(rows)
    }

    async fn with_ids(&self, file: &OpenFile, rows: Vec<(u32, i64)>) -> Result<Vec<Key>, Cause> {
        if rows.is_empty() {
            return Ok(Vec::new());
        }
        let selection = file.rows(rows.iter().map(|(row, _)| *row as usize))?;
        let mut batches = file.read(&|name| name == "id", Some(selection))?;
        let mut keys = Vec::with_capacity(rows.len());
        let mut rows = rows.into_iter();
        while let Some(batch) = batches.try_next().await? {
            self.account(&batch);
            let ids = batch.column_by_name("id").and_then(|column| column.as_string_opt::<i32>());
            let ids = ids.ok_or("column id is missing or of another type")?;
            let of_batch = ids.iter().zip(rows.by_ref());
            keys.extend(of_batch.map(|(id, (row, time))| Key {
                time,
                id: id.unwrap_or_default().into(),
                row,
            }));
            tokio::task::yield_now().await;
        }
        if rows.next().is_some() {
            return Err("fewer ids than rows".into());
        }
        Ok(keys)
    }

    fn account(&self, batch: &RecordBatch) {
        self.work.fetch_add(batch.get_array_memory_size() as u64, Relaxed);
    }
}

fn collect(
    batch: &RecordBatch,
    mask: Option<&BooleanArray>,
    times: &RangeInclusive<i64>,
    numbers: &mut RowNumbers,
    rows: &mut Vec<(u32, i64)>,
) -> Result<(), Cause> {
    let column = batch.column_by_name("time").and_then(|column| column.as_primitive_opt());
    let column = column.ok_or("column time is missing or of another type")?;
    let column: &deltalake::arrow::array::PrimitiveArray<TimestampMicrosecondType> = column;
    for (index, time) in column.values().iter().enumerate() {
        let row = numbers.next().ok_or("more rows than were asked for")?;
        if mask.is_none_or(|mask| mask.value(index)) && times.contains(time) {
            rows.push((u32::try_from(row)?, *time));
        }
    }
    Ok(())
}

/// The numbers of the rows that a selection leaves, in order.
struct RowNumbers {
    /// The ranges that are left, the next one last.
    ranges: Vec<std::ops::Range<usize>>,
}

impl RowNumbers {
    fn new(selection: Option<&RowSelection>) -> Self {
        let Some(selection) = selection else { return Self { ranges: vec![0..usize::MAX] } };
        let mut next = 0;
        let mut ranges = Vec::new();
        for selector in selection.iter() {
            if !selector.skip {
                ranges.push(next..next + selector.row_count);
            }
            next += selector.row_count;
        }
        ranges.reverse();
        Self { ranges }
    }
}

impl Iterator for RowNumbers {
    type Item = usize;

    fn next(&mut self) -> Option<usize> {
        loop {
            match self.ranges.last_mut()?.next() {
                Some(row) => return Some(row),
                None => self.ranges.pop(),
            };
        }
    }
}

/// The exchanges of these rows, in their order.
pub(crate) async fn fetch(
    files: &Files,
    located: &[Located],
    summary: bool,
) -> Result<Vec<Exchange>, StoreError> {
    let reads = merge::by_file(located).into_iter().map(|(file, places)| {
        let rows: Vec<_> = places.iter().map(|place| located[*place].key.row as usize).collect();
        let (files, file) = (files.clone(), Arc::clone(file));
        async move {
            let error = |source| StoreError::Read { path: file.path.to_string(), source };
            let open = files.open(&file).await.map_err(error)?;
            let exchanges = open.exchanges(Some(&rows), summary).await.map_err(error)?;
            Ok::<_, StoreError>((places, exchanges))
        }
        .boxed()
    });
    let reads: Vec<_> = reads.collect();
    let mut reads = stream::iter(reads).buffer_unordered(READ_AHEAD);
    let mut exchanges = Vec::with_capacity(located.len());
    while let Some((places, of_file)) = reads.try_next().await? {
        exchanges.extend(places.into_iter().zip(of_file));
    }
    exchanges.sort_unstable_by_key(|(place, _)| *place);
    Ok(exchanges.into_iter().map(|(_, exchange)| exchange).collect())
}

/// Of an average exchange of the row's file.
pub(crate) async fn exchange_bytes(files: &Files, row: &Located) -> Result<u64, StoreError> {
    let open = files.open(&row.file).await;
    let open = open.map_err(|source| StoreError::Read { path: row.file.path.to_string(), source })?;
    Ok(open.exchange_bytes())
}
