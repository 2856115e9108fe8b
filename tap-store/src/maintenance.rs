//! Keeps the table quick to open: checkpoints of the log, and removal of commits that no reader needs.

use std::sync::Arc;

use deltalake::checkpoints::{cleanup_metadata, create_checkpoint};

use crate::{Cause, Store};

/// Commits between checkpoints: opening the table reads at most as many commits after the newest one. The
/// table's property of that name, for other writers.
pub(crate) const CHECKPOINT_INTERVAL: u64 = 100;

/// How long commits stay in the log, and with them page and resume tokens. At a commit a second this is the
/// larger part of the log's folder, which every opening lists.
pub(crate) const LOG_RETENTION: &str = "interval 1 days";

/// Starts what the commit of `version` makes due. The writer of that commit does it, so that of several
/// collectors one does; should it die meanwhile, the next interval makes up for it.
pub(crate) fn after_commit(store: &Store, version: u64) {
    if !version.is_multiple_of(CHECKPOINT_INTERVAL) {
        return;
    }
    let store = store.clone();
    tokio::spawn(async move {
        let Ok(_one_at_a_time) = Arc::clone(store.maintaining()).try_lock_owned() else { return };
        if let Err(error) = checkpoint(&store, version).await {
            tracing::warn!(%error, version, "checkpoint of the table's log failed; the next is due in {CHECKPOINT_INTERVAL} commits");
        }
    });
}

async fn checkpoint(store: &Store, version: u64) -> Result<(), Cause> {
    let table = store.location().load(Some(version)).await?;
    create_checkpoint(&table, None).await?;
    let removed = cleanup_metadata(&table, None).await?;
    tracing::debug!(version, removed, "checkpoint of the table's log");
    Ok(())
}
