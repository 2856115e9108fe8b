//! Keeps the table quick to open and to search, and within its bounds.
//!
//! - `checkpoint`: checkpoints of the log, and removal of commits that nobody needs.
//! - `retention`: removal of what is too old or too much, counted so that the ledger stays true (`expired`).
//! - `compaction`: few files in place of the many that commits leave. It moves rows and changes none.
//! - `vacuum`: deletion of files that the table does not name any more, or never did, and of old ledgers.
//!
//! One collector at a time does this (`claim`), step by step, each step bounded in memory. Which one does not matter,
//! and nothing breaks if two do: what a step replaces must still be in the table when its commit is put, and a
//! checkpoint or a deletion done twice is the same as once. A crash leaves files that no commit names, for a later
//! vacuum.
//!
//! A table with columns of a later version is not rewritten, as they would be lost: that version's collectors do it.
//!
//! Files that were replaced or removed stay for [`Retention::grace`], for pages and tails that read earlier versions.

mod checkpoint;
mod claim;
mod commit;
mod compaction;
mod expired;
mod retention;
mod rewrite;
mod vacuum;

use std::{
    collections::{BTreeMap, HashSet},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use tap_proto::v1::Amount;

pub(crate) use checkpoint::{CHECKPOINT_INTERVAL, LOG_RETENTION, after_commit};
pub(crate) use expired::{Count, current as expired_now};

use crate::{Store, StoreError, schema};

/// What the table keeps. Without any bound it keeps everything.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Retention {
    /// Exchanges whose `time` is longer ago are removed, with their file: see `docs/table.md`.
    pub max_age: Option<Duration>,
    /// Of the data files that the table names. The oldest are removed beyond.
    pub max_bytes: Option<u64>,
    /// Instead of `max_age` for exchanges of these namespaces.
    pub namespaces: BTreeMap<String, Duration>,
    /// How long files stay that the table does not name any more. At most [`Retention::MAX_GRACE`].
    pub grace: Duration,
}

/// What one step of maintenance did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Maintained {
    /// Nothing is due.
    Nothing,
    /// Something is due, and another process has claimed to do it.
    Elsewhere,
    Checkpoint,
    /// Exchanges that were removed, by the bound that they exceeded.
    Expired {
        by_age: Amount,
        by_bytes: Amount,
    },
    /// Files that were replaced, and by how many. Of 0 there was nothing to gain.
    Compacted {
        files: u64,
        into: u64,
    },
    Vacuumed {
        objects: u64,
        bytes: u64,
        ledgers: u64,
    },
}

/// What a process remembers between its steps; it could do without.
#[derive(Debug, Default)]
pub(crate) struct State {
    /// The claim that this process has put.
    claim: Option<i64>,
    /// The newest checkpoint that is known.
    checkpoint: u64,
    /// Files with which there is nothing to gain: too large in memory, or unreadable.
    settled: HashSet<String>,
}

impl Retention {
    /// As long as commits are in the log, and with them the tokens that need the files.
    pub const MAX_GRACE: Duration = Duration::from_secs(24 * 60 * 60);

    /// Twice as long as a writer may take from a file to its commit.
    pub const MIN_GRACE: Duration = Duration::from_secs(20 * 60);
}

impl Default for Retention {
    fn default() -> Self {
        Self { max_age: None, max_bytes: None, namespaces: BTreeMap::new(), grace: Self::MAX_GRACE }
    }
}

/// Does one step of what is due at `now`.
pub(crate) async fn maintain(
    store: &Store,
    retention: &Retention,
    now: SystemTime,
) -> Result<Maintained, StoreError> {
    let mut state = store.maintenance().lock().await;
    let view = store.current().await?;
    state.settled.retain(|path| view.files.contains_key(path));
    let now = millis(now);

    if checkpoint::is_overdue(store, &mut state, view.version).await {
        if !claim::claim(store, &mut state, now, &[]).await? {
            return Ok(Maintained::Elsewhere);
        }
        let version = store.current().await?.version;
        checkpoint::create(store, version).await.map_err(|source| error("checkpoint", source))?;
        state.checkpoint = version;
        return Ok(Maintained::Checkpoint);
    }
    if vacuum::is_due(store, now).await? {
        // The commit of the claim comes before any deletion: see `vacuum`.
        if !claim::claim(store, &mut state, now, &[vacuum::begun(now)]).await? {
            return Ok(Maintained::Elsewhere);
        }
        return vacuum::vacuum(store, retention, now).await;
    }
    let rewrites = !schema::has_unknown(store.follower().await.base()).map_err(|s| error("look at", s))?;
    let expired = retention::plan(&view, retention, rewrites.then_some(&state.settled), now);
    if !expired.is_empty() {
        if !claim::claim(store, &mut state, now, &[]).await? {
            return Ok(Maintained::Elsewhere);
        }
        if let Some(done) = retention::run(store, &mut state, retention, expired, now).await? {
            return Ok(done);
        }
    }
    if rewrites && let Some(group) = compaction::plan(&view, retention, &state.settled, now) {
        if !claim::claim(store, &mut state, now, &[]).await? {
            return Ok(Maintained::Elsewhere);
        }
        return compaction::run(store, &mut state, retention, group, now).await;
    }
    Ok(Maintained::Nothing)
}

fn error(operation: &'static str, source: impl Into<crate::Cause>) -> StoreError {
    StoreError::Maintenance { operation, source: source.into() }
}

fn millis(time: SystemTime) -> i64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

fn as_millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}
