//! The rows that match, batch by batch, in no particular order.

use std::{
    collections::BTreeSet,
    ops::RangeInclusive,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use deltalake::{
    arrow::{
        array::{AsArray, BooleanArray, RecordBatch, TimestampMicrosecondArray},
        compute::and,
    },
    parquet::arrow::arrow_reader::RowSelection,
};
use futures::TryStreamExt;
use tap_expr::{Condition, Predicate};
use tokio::{sync::mpsc, task::JoinSet};

use super::{Dimension, tally};
use crate::{
    Cause, StoreError,
    columns::{Rows, columns_of},
    open_file::Files,
    predicate::RowFilter,
    view::{DataFile, View},
};

/// Files read at once: while one waits for the store, the other is decoded.
pub(super) const READERS: usize = 2;
/// Batches decoded ahead of the fold.
const BATCHES_AHEAD: usize = 4;

/// What to read of a file, and which rows of it.
#[derive(Debug)]
pub(super) struct Reader {
    files: Files,
    condition: Condition,
    predicate: Predicate,
    filter: Option<RowFilter>,
    times: RangeInclusive<i64>,
    /// The columns that the condition reads, where the filter does not decide it.
    rest: Option<BTreeSet<&'static str>>,
    /// Those that are counted and grouped by.
    counted: BTreeSet<&'static str>,
}

/// A batch, and which of its rows match.
#[derive(Debug)]
pub(super) struct Selected {
    pub(super) batch: RecordBatch,
    pub(super) rows: Vec<usize>,
    file: Arc<DataFile>,
}

impl Selected {
    pub(super) fn error(&self, source: Cause) -> StoreError {
        StoreError::Read { path: self.file.path.to_string(), source }
    }
}

/// The matching rows of some files.
pub(super) struct Matching {
    selected_rx: mpsc::Receiver<Result<Selected, StoreError>>,
    read: Arc<AtomicU64>,
    /// Aborts its tasks when dropped.
    readers: JoinSet<()>,
}

impl Matching {
    pub(super) fn start(reader: &Arc<Reader>, files: Vec<Arc<DataFile>>) -> Self {
        let (selected_tx, selected_rx) = mpsc::channel(BATCHES_AHEAD);
        let read = Arc::new(AtomicU64::new(0));
        let files = Arc::new(Mutex::new(files));
        let mut readers = JoinSet::new();
        for _ in 0..READERS {
            let (reader, files, read) = (Arc::clone(reader), Arc::clone(&files), Arc::clone(&read));
            let selected_tx = selected_tx.clone();
            readers.spawn(async move {
                loop {
                    let next = files.lock().unwrap_or_else(PoisonError::into_inner).pop();
                    let Some(file) = next else { return };
                    if let Err(source) = reader.read(&file, &selected_tx, &read).await {
                        let error = StoreError::Read { path: file.path.to_string(), source };
                        let _ = selected_tx.send(Err(error)).await;
                        return;
                    }
                }
            });
        }
        Self { selected_rx, read, readers }
    }

    /// The next batch with matching rows; `None` at the end.
    pub(super) async fn next(&mut self) -> Result<Option<Selected>, StoreError> {
        if let Some(selected) = self.selected_rx.recv().await {
            return selected.map(Some);
        }
        // A reader that panicked must not pass for one that had nothing more.
        while let Some(ended) = self.readers.join_next().await {
            ended.map_err(|error| StoreError::Read { path: String::new(), source: error.into() })?;
        }
        Ok(None)
    }

    /// Rows looked at so far.
    pub(super) fn read(&self) -> u64 {
        self.read.load(Relaxed)
    }
}

impl Reader {
    pub(super) fn new(
        files: Files,
        condition: Condition,
        times: RangeInclusive<i64>,
        group_by: &[Dimension],
    ) -> Self {
        let predicate = condition.predicate();
        let filter = RowFilter::new(&predicate);
        let filter_is_exact = filter.as_ref().map_or(predicate == Predicate::True, RowFilter::is_exact);
        let is_decided = condition.predicate_is_exact() && filter_is_exact;
        let read = condition.reads().into_iter().flat_map(columns_of).copied().collect();
        let counted = tally::COLUMNS.into_iter().chain(group_by.iter().map(Dimension::column)).collect();
        Self { files, condition, predicate, filter, times, rest: (!is_decided).then_some(read), counted }
    }

    /// The files that may have rows that match.
    pub(super) fn files(&self, view: &View) -> Vec<Arc<DataFile>> {
        view.may_match(&self.predicate, &self.times).map(Arc::clone).collect()
    }

    async fn read(
        &self,
        file: &Arc<DataFile>,
        selected_tx: &mpsc::Sender<Result<Selected, StoreError>>,
        rows_read: &AtomicU64,
    ) -> Result<(), Cause> {
        let open = self.files.open(file).await?;
        let mut selection = open.may_match(&self.predicate, &self.times);
        let is_tested = |name: &str| {
            name == "time" || self.filter.iter().any(|f| f.columns().any(|column| column == name))
        };
        // What the condition reads beside may be large: of a filter, few rows are left as a rule.
        let filters_first = self.rest.is_some() && self.filter.is_some();
        if filters_first {
            let mut masks = Vec::new();
            let mut batches = open.read(&is_tested, selection.clone())?;
            while let Some(batch) = batches.try_next().await? {
                rows_read.fetch_add(batch.num_rows() as u64, Relaxed);
                masks.push(self.passing(&batch)?);
            }
            let passing = RowSelection::from_filters(&masks);
            selection = Some(match selection {
                Some(selection) => selection.and_then(&passing),
                None => passing,
            });
        }
        if selection.as_ref().is_some_and(|selection| !selection.selects_any()) {
            return Ok(());
        }
        let is_wanted = |name: &str| {
            self.counted.contains(name)
                || self.rest.as_ref().is_some_and(|rest| rest.contains(name))
                || (!filters_first && is_tested(name))
        };
        let mut batches = open.read(&is_wanted, selection)?;
        while let Some(batch) = batches.try_next().await? {
            let mut mask = BooleanArray::from(vec![true; batch.num_rows()]);
            if !filters_first {
                rows_read.fetch_add(batch.num_rows() as u64, Relaxed);
                mask = self.passing(&batch)?;
            }
            let mut rows: Vec<usize> = mask.values().set_indices().collect();
            if self.rest.is_some() {
                let views = Rows::of(&batch);
                rows.retain(|row| self.condition.matches(&views.get(*row)));
            }
            // Bodies and headers are let go here.
            let schema = batch.schema();
            let names = schema.fields().iter().map(|field| field.name().as_str()).enumerate();
            let kept = names.filter(|(_, name)| self.counted.contains(name)).map(|(index, _)| index);
            let batch = batch.project(&kept.collect::<Vec<_>>())?;
            send(selected_tx, Selected { batch, rows, file: Arc::clone(file) }).await;
        }
        Ok(())
    }

    /// The rows that the scan leaves.
    fn passing(&self, batch: &RecordBatch) -> Result<BooleanArray, Cause> {
        let times = batch.column_by_name("time").and_then(|column| column.as_primitive_opt());
        let times: &TimestampMicrosecondArray = times.ok_or("column time is missing or of another type")?;
        let in_time = BooleanArray::from_unary(times, |time| self.times.contains(&time));
        match &self.filter {
            Some(filter) => Ok(and(&in_time, &filter.mask(batch)?)?),
            None => Ok(in_time),
        }
    }
}

/// Nobody receives any more where the query has ended with an error of the other reader.
async fn send(selected_tx: &mpsc::Sender<Result<Selected, StoreError>>, selected: Selected) {
    if !selected.rows.is_empty() {
        let _ = selected_tx.send(Ok(selected)).await;
    }
}
