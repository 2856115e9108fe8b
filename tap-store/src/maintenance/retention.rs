//! Removal of what is too old or too much.
//!
//! Files all of whose rows are past are removed as they are, by what the log says of them. A file of several
//! namespaces, of which one is past and another is not, is rewritten without the past rows, once for each such
//! namespace: compaction keeps namespaces with an age of their own apart, so that this is for files from before.
//!
//! An exchange is past when its `time` is longer ago than its namespace's age. As files go as a whole, an exchange may
//! stay for as long as the span of its file. A time in the future doesn't keep a file for ever: the age of a file is at
//! most the time since it was made.
//!
//! Beyond `max_bytes` the files with the oldest rows go, of whatever namespace.

use std::{
    collections::{BTreeSet, HashSet},
    sync::Arc,
    time::Duration,
};

use deltalake::{
    arrow::{
        array::{AsArray, BooleanArray, RecordBatch},
        compute::{filter_record_batch, not},
    },
    protocol::DeltaOperation,
};
use futures::{StreamExt, TryStreamExt, stream};
use tap_proto::v1::Amount;

use super::{
    Maintained, Retention, State, as_millis,
    claim::back_off,
    commit::{self, Attempt, Replacement, Step, date},
    expired::{self, Count, Expired},
    rewrite::{self, Keys, NewFile},
};
use crate::{
    Cause, Store, StoreError,
    data_file::Encoded,
    ledger::{self, InFile},
    open_file::OpenFile,
    schema,
    view::{DataFile, View},
};

/// Files removed by one commit: bounds the commit, and what is counted before it.
const FILES_PER_STEP: usize = 500;

/// A bucket answers in tens of milliseconds.
const COUNTED_AT_ONCE: usize = 8;

/// Of files that are looked into, or rewritten, in one step.
const BYTES_PER_STEP: u64 = 64 << 20;

/// Larger files, which this store does not make, are not rewritten: they go once all of their rows are past.
const MAX_REWRITTEN_BYTES: u64 = 128 << 20;

/// Namespaces of a file that are remembered. Of a file with more it is not known which.
const MAX_NAMESPACES: usize = 256;

/// What is past.
#[derive(Debug, Default)]
pub(super) struct Plan {
    by_age: Vec<Arc<DataFile>>,
    by_bytes: Vec<Arc<DataFile>>,
    /// Some of their rows may be past.
    mixed: Vec<Arc<DataFile>>,
}

impl Plan {
    pub(super) fn is_empty(&self) -> bool {
        self.by_age.is_empty() && self.by_bytes.is_empty() && self.mixed.is_empty()
    }
}

/// What is past. Only files may be rewritten that are not `settled`, and none where that is not given.
pub(super) fn plan(view: &View, retention: &Retention, settled: Option<&HashSet<String>>, now: i64) -> Plan {
    let is_rewritten = |file: &DataFile| {
        file.size <= MAX_REWRITTEN_BYTES
            && settled.is_some_and(|settled| !settled.contains(file.path.as_ref()))
    };
    let mut plan = Plan::default();
    let has_ages = retention.max_age.is_some() || !retention.namespaces.is_empty();
    let mut bytes: u64 = view.files.values().map(|file| file.size).sum();
    let is_over = |bytes: u64| retention.max_bytes.is_some_and(|bound| bytes > bound);
    if !has_ages && !is_over(bytes) {
        return plan;
    }
    let mut kept = Vec::new();
    for file in view.files.values() {
        match if has_ages { judge(file, retention, now) } else { Judgement::Stays } {
            Judgement::Past => {
                bytes -= file.size;
                plan.by_age.push(Arc::clone(file));
            }
            judgement => {
                if judgement == Judgement::Mixed && is_rewritten(file) {
                    plan.mixed.push(Arc::clone(file));
                }
                kept.push(file);
            }
        }
    }
    if is_over(bytes) {
        kept.sort_unstable_by_key(|file| age_micros(file));
        for file in kept {
            if !is_over(bytes) {
                break;
            }
            bytes -= file.size;
            plan.by_bytes.push(Arc::clone(file));
        }
    }
    plan
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Judgement {
    Past,
    /// Rows of some namespaces may be past, those of others are not.
    Mixed,
    Stays,
}

/// By the latest of its rows, or when it was made if they are of the future.
fn age_micros(file: &DataFile) -> i64 {
    (*file.times.end()).min(file.made.saturating_mul(1000))
}

fn judge(file: &DataFile, retention: &Retention, now: i64) -> Judgement {
    let age = now.saturating_sub(age_micros(file).div_euclid(1000));
    let is_past = |bound: Option<Duration>| bound.is_some_and(|bound| age > as_millis(bound));
    let (mut any_past, mut any_stays) = (false, false);
    let mut see = |bound: Option<Duration>| {
        if is_past(bound) { any_past = true } else { any_stays = true }
    };
    match file.all_namespaces.get() {
        Some(Some(namespaces)) => {
            for namespace in namespaces {
                see(retention.namespaces.get(namespace).copied().or(retention.max_age));
            }
        }
        _ => {
            let (lowest, highest) = match &file.namespaces {
                Some((lowest, highest)) => (Some(lowest), Some(highest)),
                None => (None, None),
            };
            let may_hold = |namespace: &str| {
                lowest.is_none_or(|lowest| lowest.as_ref() <= namespace)
                    && highest.is_none_or(|highest| namespace <= highest.as_ref())
            };
            let mut own = retention.namespaces.iter().filter(|(namespace, _)| may_hold(namespace)).peekable();
            let is_one = lowest.is_some() && lowest == highest;
            if !is_one || own.peek().is_none() {
                see(retention.max_age);
            }
            own.for_each(|(_, age)| see(Some(*age)));
        }
    }
    match (any_past, any_stays) {
        (true, false) => Judgement::Past,
        (true, true) => Judgement::Mixed,
        (false, _) => Judgement::Stays,
    }
}

/// Carries out a part of the plan. `None` where on a closer look there was nothing to do.
pub(super) async fn run(
    store: &Store,
    state: &mut State,
    retention: &Retention,
    plan: Plan,
    now: i64,
) -> Result<Option<Maintained>, StoreError> {
    let Plan { by_age, by_bytes, mixed } = plan;
    let files: Vec<_> = by_age
        .iter()
        .map(|file| (file, true))
        .chain(by_bytes.iter().map(|file| (file, false)))
        .take(FILES_PER_STEP)
        .collect();
    // Counts are kept with the file. An error shows again below.
    stream::iter(&files)
        .for_each_concurrent(COUNTED_AT_ONCE, |(file, _)| async move {
            let _ = ledger::counted(store, file).await;
        })
        .await;
    let mut removal = Removal::default();
    for (file, is_by_age) in files {
        removal.add_whole(store, file, is_by_age).await;
    }
    if removal.removed.is_empty() {
        let mut budget = BYTES_PER_STEP;
        for file in mixed {
            if budget == 0 {
                break;
            }
            budget = budget.saturating_sub(file.size);
            match removal.add_part(store, &file, retention, now).await {
                Ok(true) => {}
                // Nothing past was found, and nothing better is known of the file than before: once is enough.
                Ok(false) if judge(&file, retention, now) == Judgement::Mixed => {
                    state.settled.insert(file.path.to_string());
                }
                Ok(false) => {}
                Err(source) => {
                    state.settled.insert(file.path.to_string());
                    return Err(StoreError::Read { path: file.path.to_string(), source });
                }
            }
        }
    }
    if removal.removed.is_empty() {
        return Ok(None);
    }
    removal.commit(store, now).await.map(Some)
}

/// Files to remove, and what is in them.
#[derive(Default)]
struct Removal {
    removed: Vec<Arc<DataFile>>,
    kept_rows: Vec<Encoded>,
    counts: Vec<InFile>,
    unattributed: Count,
    by_age: Count,
    by_bytes: Count,
}

impl Removal {
    async fn add_whole(&mut self, store: &Store, file: &Arc<DataFile>, is_by_age: bool) {
        let mut total = Count::default();
        match ledger::counted(store, file).await {
            Ok(counts) => {
                counts.iter().for_each(|count| total.add(count.amount()));
                self.counts.extend_from_slice(counts);
            }
            // A file that can't be read must go all the same.
            Err(error) => {
                tracing::warn!(%error, path = %file.path, "what expires with this file is counted without its agents");
                total.exchanges = file.rows;
                self.unattributed.add(total);
            }
        }
        if is_by_age {
            self.by_age.add(total)
        } else {
            self.by_bytes.add(total)
        }
        self.removed.push(Arc::clone(file));
    }

    /// Rewrites a file without its past rows. Whether it had any.
    async fn add_part(
        &mut self,
        store: &Store,
        file: &Arc<DataFile>,
        retention: &Retention,
        now: i64,
    ) -> Result<bool, Cause> {
        let open = OpenFile::open(store.table_objects(), file).await?;
        if file.all_namespaces.get().is_none() {
            // Set already where another call was first.
            let _ = file.all_namespaces.set(namespaces(&open).await?);
            if judge(file, retention, now) != Judgement::Mixed {
                // A later step removes it, or nobody.
                return Ok(false);
            }
        }
        let Some(date) = date(&file.path) else { return Ok(false) };
        let mut new = NewFile::new(date)?;
        let mut dropped: Vec<InFile> = Vec::new();
        let mut batches = open.read(&|name| schema::FILE.field_with_name(name).is_ok(), None)?;
        while let Some(batch) = batches.try_next().await? {
            let batch = rewrite::with_all_columns(&batch)?;
            let past = past_rows(&batch, file, retention, now)?;
            ledger::count_batch(&filter_record_batch(&batch, &past)?, &mut dropped)
                .ok_or("a column is missing or of another type")?;
            new.write(&filter_record_batch(&batch, &not(&past)?)?)?;
        }
        if dropped.is_empty() {
            return Ok(false);
        }
        self.kept_rows.extend(new.finish(file.made)?);
        dropped.iter().for_each(|count| self.by_age.add(count.amount()));
        self.counts.extend(dropped);
        self.removed.push(Arc::clone(file));
        Ok(true)
    }

    async fn commit(self, store: &Store, now: i64) -> Result<Maintained, StoreError> {
        let Self { removed, kept_rows, counts, unattributed, by_age, by_bytes } = self;
        let replacement = Replacement {
            removed,
            added: commit::put(store, kept_rows).await?,
            loses_rows: true,
            operation: DeltaOperation::Delete { predicate: None },
        };
        let add = |expired: &mut Expired| {
            expired.add(&counts);
            expired.unattributed.add(unattributed);
        };
        let committed = commit_counted(store, &replacement, add, now).await?;
        if !committed {
            commit::discard(store, &replacement).await;
            return Ok(Maintained::Compacted { files: 0, into: 0 });
        }
        Ok(Maintained::Expired { by_age: Amount::from(by_age), by_bytes: Amount::from(by_bytes) })
    }
}

/// Commits a removal together with new totals of what expired.
pub(super) async fn commit_counted(
    store: &Store,
    replacement: &Replacement,
    add: impl Fn(&mut Expired),
    now: i64,
) -> Result<bool, StoreError> {
    for _ in 0..commit::ATTEMPTS {
        let before = {
            let mut follower = store.follower().await;
            follower.catch_up().await?;
            follower.transaction(expired::APP_ID.to_owned()).await?
        };
        let mut totals = expired::read(store, before).await?;
        add(&mut totals);
        let after = expired::put(store, &totals, now).await?;
        let step = Step { app_id: expired::APP_ID, before, after };
        let mut outcome = commit::attempt(store, replacement, Some(step), now).await?;
        // The totals are still right as long as nobody else has removed anything.
        for _ in 0..commit::ATTEMPTS {
            if outcome != Attempt::Conflict {
                break;
            }
            back_off().await;
            outcome = commit::attempt(store, replacement, Some(step), now).await?;
        }
        match outcome {
            Attempt::Committed => return Ok(true),
            Attempt::Superseded | Attempt::Conflict => return Ok(false),
            Attempt::Outrun => {}
        }
    }
    Ok(false)
}

/// The namespaces of a file's rows; `None` where there are too many.
async fn namespaces(file: &OpenFile) -> Result<Option<Vec<String>>, Cause> {
    let mut batches = file.read(&|name| name == "namespace", None)?;
    let mut namespaces = BTreeSet::new();
    while let Some(batch) = batches.try_next().await? {
        let column = batch.column_by_name("namespace").ok_or("no column namespace")?;
        let column = column.as_string_opt::<i32>().ok_or("namespaces of another type")?;
        for namespace in column.iter().flatten() {
            if !namespaces.contains(namespace) {
                namespaces.insert(namespace.to_owned());
            }
        }
        if namespaces.len() > MAX_NAMESPACES {
            return Ok(None);
        }
    }
    Ok(Some(namespaces.into_iter().collect()))
}

/// Which rows are past, by their namespace and their own time.
fn past_rows(
    batch: &RecordBatch,
    file: &DataFile,
    retention: &Retention,
    now: i64,
) -> Result<BooleanArray, Cause> {
    let keys = Keys::of(batch)?;
    let made = file.made.saturating_mul(1000);
    let past = (0..batch.num_rows()).map(|row| {
        let (namespace, time, _) = keys.key(row);
        let age = now.saturating_sub(time.min(made).div_euclid(1000));
        let bound = retention.namespaces.get(namespace).copied().or(retention.max_age);
        Some(bound.is_some_and(|bound| age > as_millis(bound)))
    });
    Ok(past.collect())
}
