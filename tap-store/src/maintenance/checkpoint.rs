//! Checkpoints of the log, so that opening the table reads few commits.
//!
//! The writer of every hundredth commit makes one, at once. Where it died, or the commit was of another kind, the
//! collector that maintains the table notices that one is overdue.

use std::sync::Arc;

use deltalake::checkpoints::{cleanup_metadata, create_checkpoint};
use object_store::{ObjectStoreExt, path::Path};
use serde::Deserialize;

use super::State;
use crate::{Cause, Store};

/// Commits between checkpoints. The table's property of that name, for other writers.
pub(crate) const CHECKPOINT_INTERVAL: u64 = 100;

/// How long commits stay in the log, and with them page and resume tokens. At a commit a second this is the
/// larger part of the log's folder.
pub(crate) const LOG_RETENTION: &str = "interval 1 days";

/// Commits after the newest checkpoint at which somebody else than its writer makes the next.
const OVERDUE: u64 = 2 * CHECKPOINT_INTERVAL;

/// Makes the checkpoint that the commit of `version` makes due.
pub(crate) fn after_commit(store: &Store, version: u64) {
    if !version.is_multiple_of(CHECKPOINT_INTERVAL) {
        return;
    }
    let store = store.clone();
    tokio::spawn(async move {
        let Ok(_one_at_a_time) = Arc::clone(store.checkpointing()).try_lock_owned() else { return };
        if let Err(error) = create(&store, version).await {
            tracing::warn!(%error, version, "checkpoint of the table's log failed; the next is due in {CHECKPOINT_INTERVAL} commits");
        }
    });
}

pub(super) async fn create(store: &Store, version: u64) -> Result<(), Cause> {
    let table = store.location().load(Some(version)).await?;
    create_checkpoint(&table, None).await?;
    tracing::debug!(version, "checkpoint of the table's log");
    Ok(())
}

/// Whether the newest checkpoint is too far behind `version`.
pub(super) async fn is_overdue(store: &Store, state: &mut State, version: u64) -> bool {
    if version.saturating_sub(state.checkpoint) < OVERDUE {
        return false;
    }
    let hint = Path::from("_delta_log/_last_checkpoint");
    let read = async { store.table_objects().get(&hint).await?.bytes().await };
    // Without a hint there is no checkpoint, or none that an opening would find.
    let newest = read.await.ok().and_then(|hint| serde_json::from_slice::<Hint>(&hint).ok());
    state.checkpoint = newest.map_or(0, |hint| hint.version);
    version.saturating_sub(state.checkpoint) >= OVERDUE
}

/// Removes commits and checkpoints that are older than [`LOG_RETENTION`] and covered by a checkpoint.
pub(super) async fn clean_log(store: &Store) -> Result<usize, Cause> {
    let table = store.location().load(None).await?;
    Ok(cleanup_metadata(&table, None).await?)
}

/// The part that is used of the log's pointer to its newest checkpoint.
#[derive(Deserialize)]
struct Hint {
    version: u64,
}
