//! Few files in place of many.
//!
//! A commit leaves a file for each day that it has rows of, of kilobytes where it is quiet. Files of one day, about
//! one size and adjacent in time are merged in the order that all files have (`data_file`), so that a compacted file
//! is one that a large commit could have written: the same columns, properties and statistics.
//!
//! Sizes form tiers, each eight times the one before, and a merge waits until a tier has enough files. So a row is
//! rewritten about once in each tier on its way up, a few times in all, however long the table lives.
//!
//! Memory is bounded by [`LOADED_BYTES`]: files are loaded as long as they fit, and what does not fit waits for the
//! next merge. Namespaces that expire on their own get files of their own here, so that they can be removed as whole
//! files; and no file spans more than a part of the shortest age, for the same reason.

use std::{
    collections::{BTreeMap, HashSet},
    sync::Arc,
    time::Duration,
};

use deltalake::{
    arrow::{
        array::RecordBatch, compute::interleave_record_batch, temporal_conversions::timestamp_ms_to_datetime,
    },
    protocol::DeltaOperation,
};
use tokio::task::spawn_blocking;

use super::{
    Maintained, Retention, State, as_millis,
    commit::{self, Replacement, date},
    error,
    rewrite::{self, Keys, NewFile},
};
use crate::{
    Cause, Store, StoreError,
    data_file::Encoded,
    view::{DataFile, View},
};

/// What is loaded for a merge, decoded. With what the writer holds this is most of the memory that maintenance takes.
const LOADED_BYTES: usize = 128 * 1024 * 1024;

/// A file below the first is of the lowest tier, and so on; from the last on it is left as it is.
const TIERS: [u64; 4] = [64 << 10, 512 << 10, 4 << 20, 32 << 20];

/// Bytes of the files of a merge, as they are stored, and their number.
const MERGED_BYTES: u64 = 64 << 20;
const MERGED_FILES: usize = 512;

/// Files of a tier that are worth a merge, while their day may get more.
const MIN_FILES: usize = 32;

/// The same of days that are over, and the least that a merge must have fit into memory.
const MIN_FILES_OF_PAST_DAY: usize = 4;

/// A day gets its last exchanges about this long after its end.
const PAST_DAY_AFTER: Duration = Duration::from_secs(60 * 60);

/// A compacted file spans at most this part of the shortest age, and need not span less than the least.
const SPANS_PER_AGE: u32 = 4;
const LEAST_SPAN: Duration = Duration::from_secs(10 * 60);

/// Rows that are copied at a time.
const CHUNK_ROWS: usize = 1024;

/// Files of one day to merge.
#[derive(Debug)]
pub(super) struct Group {
    date: String,
    files: Vec<Arc<DataFile>>,
}

/// The next files to merge, if there are any.
pub(super) fn plan(view: &View, retention: &Retention, settled: &HashSet<String>, now: i64) -> Option<Group> {
    let today = timestamp_ms_to_datetime(now.saturating_sub(as_millis(PAST_DAY_AFTER)))?;
    let today = today.format("%Y-%m-%d").to_string();
    let mut tiers: BTreeMap<(&str, Option<&str>, usize), Vec<&Arc<DataFile>>> = BTreeMap::new();
    for file in view.files.values() {
        let Some(date) = date(&file.path) else { continue };
        let Some(tier) = TIERS.iter().position(|bound| file.size < *bound) else { continue };
        if settled.is_empty() || !settled.contains(file.path.as_ref()) {
            tiers.entry((date, own_class(file, retention), tier)).or_default().push(file);
        }
    }
    let span = longest_span(retention);
    let mut groups = tiers.into_iter().filter_map(|((date, _, _), mut files)| {
        let least = if date < today.as_str() { MIN_FILES_OF_PAST_DAY } else { MIN_FILES };
        if files.len() < least {
            return None;
        }
        files.sort_unstable_by_key(|file| *file.times.start());
        let files = first_run(&files, least, span)?;
        Some(Group { date: date.to_owned(), files })
    });
    groups.next()
}

/// The namespace of a file that has but one, where that has an age of its own.
fn own_class<'a>(file: &DataFile, retention: &'a Retention) -> Option<&'a str> {
    let (lowest, highest) = file.namespaces.as_ref()?;
    let (namespace, _) = retention.namespaces.get_key_value(lowest.as_ref())?;
    (lowest == highest).then_some(namespace)
}

/// In microseconds.
fn longest_span(retention: &Retention) -> i64 {
    let shortest = retention.max_age.iter().chain(retention.namespaces.values()).min();
    shortest.map_or(i64::MAX, |age| {
        i64::try_from((*age / SPANS_PER_AGE).max(LEAST_SPAN).as_micros()).unwrap_or(i64::MAX)
    })
}

/// The first files, adjacent in time, that may be merged and are at least as many as `least`.
fn first_run(files: &[&Arc<DataFile>], least: usize, span: i64) -> Option<Vec<Arc<DataFile>>> {
    let mut run: Vec<Arc<DataFile>> = Vec::new();
    let (mut bytes, mut start, mut end) = (0, 0, 0);
    for file in files {
        let fits = run.len() < MERGED_FILES
            && bytes + file.size <= MERGED_BYTES
            && (*file.times.end()).max(end).saturating_sub(start) <= span;
        if !run.is_empty() && !fits {
            if run.len() >= least {
                break;
            }
            run.clear();
        }
        if run.is_empty() {
            (bytes, start, end) = (0, *file.times.start(), *file.times.end());
        }
        bytes += file.size;
        end = end.max(*file.times.end());
        run.push(Arc::clone(file));
    }
    (run.len() >= least).then_some(run)
}

/// Merges a group, as far as it fits into memory.
pub(super) async fn run(
    store: &Store,
    state: &mut State,
    retention: &Retention,
    group: Group,
    now: i64,
) -> Result<Maintained, StoreError> {
    let nothing = Maintained::Compacted { files: 0, into: 0 };
    let objects = store.table_objects();
    let mut files = Vec::new();
    let mut batches = Vec::new();
    let mut bytes = 0;
    for file in group.files {
        match rewrite::read(Arc::clone(&objects), &file, LOADED_BYTES - bytes).await {
            Ok(Some((read, size))) => {
                bytes += size;
                batches.extend(read);
                files.push(file);
            }
            Ok(None) => {
                if files.is_empty() {
                    state.settled.insert(file.path.to_string());
                }
                break;
            }
            Err(source) => {
                state.settled.insert(file.path.to_string());
                return Err(StoreError::Read { path: file.path.to_string(), source });
            }
        }
    }
    let settle = |state: &mut State, files: &[Arc<DataFile>]| {
        state.settled.extend(files.iter().map(|file| file.path.to_string()));
    };
    if files.len() < MIN_FILES_OF_PAST_DAY {
        settle(state, &files);
        return Ok(nothing);
    }
    let classes: Vec<String> = retention.namespaces.keys().cloned().collect();
    let (date, made) = (group.date, files.iter().map(|file| file.made).max().unwrap_or(now));
    let merged = spawn_blocking(move || merge(&date, made, &batches, &classes)).await;
    let merged = merged.map_err(|panic| error("compact", panic))?;
    let merged = merged.inspect_err(|_| settle(state, &files)).map_err(|source| error("compact", source))?;
    // Else the same files, split by namespaces, would be merged again and again.
    if merged.len() * 2 > files.len() {
        settle(state, &files);
        return Ok(nothing);
    }
    let counts = Maintained::Compacted { files: files.len() as u64, into: merged.len() as u64 };
    let replacement = Replacement {
        removed: files,
        added: commit::put(store, merged).await?,
        loses_rows: false,
        operation: DeltaOperation::Optimize { predicate: None, target_size: MERGED_BYTES as i64 },
    };
    Ok(if commit::replace(store, &replacement, now).await? { counts } else { nothing })
}

/// The rows in the order of a file's rows; a file for each of the classes, and one for the rest.
fn merge(date: &str, made: i64, batches: &[RecordBatch], classes: &[String]) -> Result<Vec<Encoded>, Cause> {
    let keys: Vec<Keys<'_>> = batches.iter().map(Keys::of).collect::<Result<_, _>>()?;
    let mut rows: Vec<(Option<usize>, usize, usize)> = Vec::new();
    for (batch, keys) in keys.iter().enumerate() {
        for row in 0..keys.rows() {
            let namespace = keys.namespaces.value(row);
            let class = classes.binary_search_by(|class| class.as_str().cmp(namespace)).ok();
            rows.push((class, batch, row));
        }
    }
    rows.sort_unstable_by(|(a_class, a, a_row), (b_class, b, b_row)| {
        (a_class, keys[*a].key(*a_row)).cmp(&(b_class, keys[*b].key(*b_row)))
    });
    let batches: Vec<&RecordBatch> = batches.iter().collect();
    let mut files = Vec::new();
    for of_class in rows.chunk_by(|a, b| a.0 == b.0) {
        let mut file = NewFile::new(date)?;
        for chunk in of_class.chunks(CHUNK_ROWS) {
            let chunk: Vec<(usize, usize)> = chunk.iter().map(|(_, batch, row)| (*batch, *row)).collect();
            file.write(&interleave_record_batch(&batches, &chunk)?)?;
        }
        files.extend(file.finish(made)?);
    }
    Ok(files)
}
