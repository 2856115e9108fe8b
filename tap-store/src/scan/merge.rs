//! The rows of all files in the scan's order.

use std::{
    collections::{BTreeMap, HashMap},
    ops::RangeInclusive,
    sync::{Arc, atomic::Ordering::Relaxed},
};

use futures::{
    FutureExt, StreamExt, TryStreamExt,
    future::BoxFuture,
    stream::{self, FuturesUnordered},
};

use super::{Key, Located, Matches, Position, READ_AHEAD, Scan};
use crate::{
    StoreError,
    open_file::Files,
    view::{DataFile, View},
};

/// Files opened at once, so that a remote store's latency is paid once for several: one at first, as the first may be
/// enough.
const OPEN_AHEAD: usize = 4;

/// Rows that are examined at a time, at first and at most.
const FIRST_ROWS: usize = 64;
const MAX_ROWS: usize = 16 * 1024;

/// Keys that are kept of a file for each that is examined at a time.
const KEYS_AHEAD: usize = 64;

/// How much a search keeps and does.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// Keys of all open files together, about: a row's time, id and place, some 40 bytes.
    pub(crate) keys: usize,
    /// Keys of one file, at least and at most.
    pub(crate) min_file_keys: usize,
    pub(crate) max_file_keys: usize,
    /// Bytes decoded for one page, about; then it ends, with what it has. Some seconds of one core.
    pub(crate) work_bytes: u64,
    /// Rows that are examined a few at a time; beyond it, files are examined as they are opened.
    pub(crate) rows_in_vain: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            keys: 256 * 1024,
            min_file_keys: 64,
            max_file_keys: 64 * 1024,
            work_bytes: 1024 * 1024 * 1024,
            rows_in_vain: 32 * 1024,
        }
    }
}

/// What was found.
#[derive(Debug)]
pub(crate) struct Found {
    pub(crate) rows: Vec<Located>,
    /// Where to go on, if looking was given up before there were as many rows as wanted.
    pub(crate) paused_at: Option<Position>,
}

/// A file, or the rest of one, that was not looked into yet.
#[derive(Debug)]
struct Unopened {
    file: Arc<DataFile>,
    times: RangeInclusive<i64>,
}

/// The keys of a file that were not given out yet, the next one last.
#[derive(Debug)]
struct Run {
    file: Arc<DataFile>,
    keys: Vec<Key>,
    /// The whole condition is true of them.
    is_examined: bool,
}

struct Opened {
    serial: usize,
    file: Arc<DataFile>,
    matches: Matches,
    is_examined: bool,
}

enum Next {
    Key(Located, bool),
    End,
    Pause,
}

pub(crate) struct Merge {
    scan: Arc<Scan>,
    files: Files,
    limits: Limits,
    /// In order, the next one last.
    unopened: Vec<Unopened>,
    opening: FuturesUnordered<BoxFuture<'static, Result<Opened, StoreError>>>,
    /// The first times of the files that are being opened, by serial number.
    first_times: BTreeMap<usize, i64>,
    next_serial: usize,
    opened: usize,
    runs: Vec<Run>,
    /// The bound when the scan began: it must move before the scan may pause.
    began_at: Option<i64>,
    wanted: usize,
    examine_at_once: usize,
    examined: usize,
}

impl Merge {
    pub(crate) fn new(scan: Scan, files: Files, view: &View, limits: Limits) -> Self {
        let unopened = scan
            .files(view)
            .map(|file| Unopened { file: Arc::clone(file), times: scan.times_within(&file.times) });
        let mut unopened: Vec<_> = unopened.collect();
        unopened.sort_by(|a, b| scan.compare_times(scan.first_time(&b.times), scan.first_time(&a.times)));
        let mut merge = Self {
            scan: Arc::new(scan),
            files,
            limits,
            unopened,
            opening: FuturesUnordered::new(),
            first_times: BTreeMap::new(),
            next_serial: 0,
            opened: 0,
            runs: Vec::new(),
            began_at: None,
            wanted: 0,
            examine_at_once: FIRST_ROWS,
            examined: 0,
        };
        merge.began_at = merge.bound();
        merge
    }

    /// The next rows, as many as are wanted if there are.
    pub(crate) async fn take(&mut self, wanted: usize) -> Result<Found, StoreError> {
        self.wanted = wanted;
        let mut rows = Vec::new();
        while rows.len() < wanted {
            let missing = wanted - rows.len();
            let count = if self.scan.rest.is_some() { self.examine_at_once } else { missing };
            let mut candidates = Vec::new();
            let mut pause = false;
            while candidates.len() < count {
                match self.next().await? {
                    Next::Key(row, is_examined) => candidates.push((row, is_examined)),
                    Next::Pause => {
                        pause = true;
                        break;
                    }
                    Next::End => break,
                }
            }
            if candidates.is_empty() {
                let paused_at = self.bound().filter(|_| pause);
                let paused_at = paused_at.map(|time| Position { time, id: None });
                return Ok(Found { rows, paused_at });
            }
            rows.extend(self.examine(candidates).await?);
            self.examine_at_once = (self.examine_at_once * 4).min(MAX_ROWS);
        }
        rows.truncate(wanted);
        Ok(Found { rows, paused_at: None })
    }

    /// Those of the rows that meet the whole condition, unless that is known.
    async fn examine(&mut self, candidates: Vec<(Located, bool)>) -> Result<Vec<Located>, StoreError> {
        let mut is_met: Vec<bool> = candidates.iter().map(|(_, is_examined)| *is_examined).collect();
        let (rows, _): (Vec<Located>, Vec<bool>) = candidates.into_iter().unzip();
        let mut reads = Vec::new();
        for (file, places) in by_file(&rows) {
            let of_file = places.into_iter().filter(|place| !is_met[*place]);
            let of_file: Vec<_> = of_file.map(|place| (rows[place].key.row, place)).collect();
            if of_file.is_empty() {
                continue;
            }
            self.examined += of_file.len();
            let (scan, files, file) = (Arc::clone(&self.scan), self.files.clone(), Arc::clone(file));
            let read = async move {
                let error = |source| StoreError::Read { path: file.path.to_string(), source };
                let open = files.open(&file).await.map_err(error)?;
                scan.examined(&open, of_file).await.map_err(error)
            };
            reads.push(read.boxed());
        }
        let mut reads = stream::iter(reads).buffer_unordered(READ_AHEAD);
        while let Some(met) = reads.try_next().await? {
            for (_, place) in met {
                is_met[place] = true;
            }
        }
        Ok(rows.into_iter().zip(is_met).filter(|(_, is_met)| *is_met).map(|(row, _)| row).collect())
    }

    /// The next key of all files; opens what must be open to know it.
    async fn next(&mut self) -> Result<Next, StoreError> {
        loop {
            let bound = self.bound();
            let first = self.first();
            let is_decided = |time| bound.is_none_or(|bound| self.scan.compare_times(time, bound).is_lt());
            match first {
                Some((run, time)) if is_decided(time) => {
                    let Run { file, keys, is_examined } = &mut self.runs[run];
                    if let Some(key) = keys.pop() {
                        let next = Next::Key(Located { file: Arc::clone(file), key }, *is_examined);
                        if keys.is_empty() {
                            self.runs.swap_remove(run);
                        }
                        return Ok(next);
                    }
                    self.runs.swap_remove(run);
                }
                None if bound.is_none() => return Ok(Next::End),
                Some(_) | None => {
                    if !self.may_pause() {
                        self.open_ahead();
                    } else if self.opening.is_empty() {
                        return Ok(Next::Pause);
                    }
                    if let Some(opened) = self.opening.next().await {
                        self.add(opened?);
                    }
                }
            }
        }
    }

    /// The first time that a row may have which is not known yet; `None` where all are known.
    fn bound(&self) -> Option<i64> {
        let unopened = self.unopened.last().map(|file| self.scan.first_time(&file.times));
        let opening = self.first_times.values().copied();
        opening.chain(unopened).min_by(|a, b| self.scan.compare_times(*a, *b))
    }

    /// The run whose next key is the first of all.
    fn first(&self) -> Option<(usize, i64)> {
        let next_keys = self.runs.iter().enumerate().filter_map(|(run, it)| Some((run, it.keys.last()?)));
        let first = next_keys.min_by(|(_, a), (_, b)| self.scan.compare(a, b));
        first.map(|(run, key)| (run, key.time))
    }

    /// Whether enough was done for one page, and the next one will not do the same again.
    fn may_pause(&self) -> bool {
        let has_moved = match (self.began_at, self.bound()) {
            (Some(began_at), Some(bound)) => self.scan.compare_times(bound, began_at).is_gt(),
            _ => true,
        };
        has_moved && self.scan.work.load(Relaxed) >= self.limits.work_bytes
    }

    fn open_ahead(&mut self) {
        while self.opening.len() < (1 + self.opened).min(OPEN_AHEAD)
            && let Some(Unopened { file, times }) = self.unopened.pop()
        {
            let serial = self.next_serial;
            self.next_serial += 1;
            self.first_times.insert(serial, self.scan.first_time(&times));
            let Limits { keys, min_file_keys, max_file_keys, work_bytes: _, rows_in_vain } = self.limits;
            let limit = keys / (1 + self.runs.len() + self.opening.len());
            // Where the columns decide, each key is a row that is wanted.
            let useful =
                if self.scan.rest.is_none() { self.wanted } else { self.examine_at_once * KEYS_AHEAD };
            let limit = limit.clamp(min_file_keys, max_file_keys).min(useful.max(min_file_keys));
            let is_examined = self.scan.rest.is_none() || self.examined >= rows_in_vain;
            let (scan, files) = (Arc::clone(&self.scan), self.files.clone());
            let open = async move {
                let error = |source| StoreError::Read { path: file.path.to_string(), source };
                let open = files.open(&file).await.map_err(error)?;
                let matches = scan.matches(&open, times, limit, is_examined).await.map_err(error)?;
                Ok(Opened { serial, file, matches, is_examined })
            };
            self.opening.push(open.boxed());
        }
    }

    fn add(&mut self, opened: Opened) {
        let Opened { serial, file, matches: Matches { keys, rest }, is_examined } = opened;
        self.opened += 1;
        self.first_times.remove(&serial);
        if let Some(times) = rest {
            let first = self.scan.first_time(&times);
            let place = self.unopened.partition_point(|other| {
                self.scan.compare_times(self.scan.first_time(&other.times), first).is_gt()
            });
            self.unopened.insert(place, Unopened { file: Arc::clone(&file), times });
        }
        if !keys.is_empty() {
            self.runs.push(Run { file, keys, is_examined });
        }
    }
}

/// The places of each file's rows, by their row.
pub(super) fn by_file(rows: &[Located]) -> Vec<(&Arc<DataFile>, Vec<usize>)> {
    let mut files: HashMap<&str, (&Arc<DataFile>, Vec<usize>)> = HashMap::new();
    for (place, row) in rows.iter().enumerate() {
        let of_file = files.entry(row.file.path.as_ref()).or_insert_with(|| (&row.file, Vec::new()));
        of_file.1.push(place);
    }
    let mut files: Vec<_> = files.into_values().collect();
    for (_, places) in &mut files {
        places.sort_unstable_by_key(|place| rows[*place].key.row);
    }
    files
}
