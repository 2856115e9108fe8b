//! What the table is at one version: its data files, with what is needed to skip them.

mod files;

use std::{
    ops::RangeInclusive,
    sync::{Arc, OnceLock},
};

use deltalake::{
    DeltaTable,
    arrow::{compute::kernels::cast_utils::Parser, datatypes::TimestampMicrosecondType},
    kernel::{Action, Add},
};
use object_store::path::Path;
use serde::Deserialize;
use tap_expr::{Field, Predicate};

pub(crate) use files::DataFiles;

use crate::{
    Cause,
    bounds::{self, Bounds},
    ledger::InFile,
};

/// One version of the table. Old views stay readable for as long as their files exist.
#[derive(Clone, Debug)]
pub(crate) struct View {
    pub(crate) version: u64,
    /// The table's id, for tokens that are valid for this table alone.
    pub(crate) table_id: Arc<str>,
    /// By path. Files are shared between views.
    pub(crate) files: DataFiles,
}

/// A data file; immutable.
#[derive(Debug)]
pub(crate) struct DataFile {
    pub(crate) path: Path,
    pub(crate) size: u64,
    /// Of `time`, in microseconds; everything where unknown.
    pub(crate) times: RangeInclusive<i64>,
    /// When it was made, by its writer's clock; of a file made of others, when the newest of them was. Milliseconds.
    pub(crate) made: i64,
    /// 0 where unknown.
    pub(crate) rows: u64,
    /// The lowest and the highest value in the file; `None` where unknown. Other writers may have cut them.
    ids: Option<(Box<str>, Box<str>)>,
    pub(crate) namespaces: Option<(Box<str>, Box<str>)>,
    workloads: Option<(Box<str>, Box<str>)>,
    statuses: Option<(i64, i64)>,
    /// What is in the file by agent and epoch, once someone has counted it.
    pub(crate) in_file: OnceLock<Vec<InFile>>,
    /// Its namespaces, once someone has looked; `None` where they are too many to tell.
    pub(crate) all_namespaces: OnceLock<Option<Vec<String>>>,
}

impl View {
    pub(crate) fn of(table: &DeltaTable) -> Result<Self, Cause> {
        let snapshot = table.snapshot()?;
        let mut files = DataFiles::new();
        for file in snapshot.log_data().iter() {
            if file.deletion_vector_descriptor().is_some() {
                return Err("a deletion vector is set, which this store does not read".into());
            }
            let path = file.object_store_path();
            let size = u64::try_from(file.size())?;
            let file = DataFile::new(path, size, file.modification_time(), file.stats().as_deref());
            files.insert(file.path.to_string(), Arc::new(file));
        }
        Ok(Self { version: snapshot.version(), table_id: snapshot.metadata().id().into(), files })
    }

    /// The files that may hold rows of these times of which the predicate is true, by the log's statistics.
    pub(crate) fn may_match(
        &self,
        predicate: &Predicate,
        times: &RangeInclusive<i64>,
    ) -> impl Iterator<Item = &Arc<DataFile>> {
        self.files.values().filter(|file| file.may_match(predicate, times))
    }

    /// Enough of the table's id to tell a token of another table.
    pub(crate) fn table_mark(&self) -> &str {
        self.table_id.split('-').next().unwrap_or_default()
    }

    /// The table after the commit of these actions. `None` where they change more than files and marks, so
    /// that the table must be loaded anew.
    pub(crate) fn after(&self, version: u64, actions: &[Action]) -> Option<Self> {
        let mut next = Self { version, ..self.clone() };
        for action in actions {
            match action {
                Action::Add(add) => {
                    let file = DataFile::from_add(add)?;
                    next.files.insert(file.path.to_string(), Arc::new(file));
                }
                Action::Remove(remove) => {
                    next.files.remove(object_path(&remove.path)?.as_ref());
                }
                Action::Metadata(_) | Action::Protocol(_) => return None,
                Action::Cdc(_) | Action::Txn(_) | Action::CommitInfo(_) | Action::DomainMetadata(_) => {}
            }
        }
        Some(next)
    }
}

impl DataFile {
    fn new(path: Path, size: u64, made: i64, statistics: Option<&str>) -> Self {
        let statistics = statistics.and_then(|json| serde_json::from_str(json).ok()).unwrap_or_default();
        let Statistics { num_records, min_values: min, max_values: max } = statistics;
        let first =
            min.time.as_deref().and_then(parse_micros).map_or(i64::MIN, |time| time.saturating_sub(1));
        let last = max.time.as_deref().and_then(parse_micros).unwrap_or(i64::MAX);
        Self {
            path,
            size,
            // Writers may cut the statistics to milliseconds.
            times: first..=last.saturating_add(999),
            made,
            rows: num_records,
            ids: min.id.zip(max.id),
            namespaces: min.namespace.zip(max.namespace),
            workloads: min.workload.zip(max.workload),
            // The upper half of an unsigned status is negative in the table, so that the ends are not in its order.
            statuses: min.status.zip(max.status).filter(|(least, _)| *least >= 0),
            in_file: OnceLock::new(),
            all_namespaces: OnceLock::new(),
        }
    }

    /// `None` for what this store does not read.
    pub(crate) fn from_add(add: &Add) -> Option<Self> {
        if add.deletion_vector.is_some() {
            return None;
        }
        let size = u64::try_from(add.size).ok()?;
        Some(Self::new(object_path(&add.path)?, size, add.modification_time, add.stats.as_deref()))
    }

    /// Whether a row of one of these times may be in the file, of which the predicate is true.
    pub(crate) fn may_match(&self, predicate: &Predicate, times: &RangeInclusive<i64>) -> bool {
        self.times.start() <= times.end()
            && times.start() <= self.times.end()
            && bounds::may_hold(predicate, &|field| self.bounds(field))
    }

    fn bounds(&self, field: Field) -> Option<Bounds<'_>> {
        fn text(ends: &Option<(Box<str>, Box<str>)>) -> Option<Bounds<'_>> {
            ends.as_ref().map(|(least, greatest)| Bounds::Text(least, greatest))
        }
        match field {
            Field::Id => text(&self.ids),
            Field::Namespace => text(&self.namespaces),
            Field::Workload => text(&self.workloads),
            Field::Status => self.statuses.map(|(least, greatest)| Bounds::Integer(least, greatest)),
            Field::Time => Some(Bounds::of_times(*self.times.start(), *self.times.end())),
            _ => None,
        }
    }
}

/// The actions' serde has removed the URL encoding already.
fn object_path(path: &str) -> Option<Path> {
    Path::parse(path).ok()
}

/// The part that is used of a file's statistics in the log.
#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Statistics {
    num_records: u64,
    min_values: Ends,
    max_values: Ends,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Ends {
    id: Option<Box<str>>,
    time: Option<String>,
    namespace: Option<Box<str>>,
    workload: Option<Box<str>>,
    status: Option<i64>,
}

/// Microseconds since 1970, to be taken one lower where it is a lower bound: times before 1970 are cut towards it.
fn parse_micros(text: &str) -> Option<i64> {
    TimestampMicrosecondType::parse(text)
}
