//! Keeps the table quick to open and to search: checkpoints of the log, removal of commits that no reader needs,
//! and files of many commits in place of the files of each.
//!
//! A compaction moves rows and changes none. The files that it replaces stay, for searches that page through an
//! earlier version; a vacuum of the table removes them.

use std::{num::NonZeroU64, sync::Arc};

use deltalake::{
    checkpoints::{cleanup_metadata, create_checkpoint},
    operations::optimize::OptimizeType,
};

use crate::{Cause, Store, data_file};

/// Commits between checkpoints: opening the table reads at most as many commits after the newest one. The
/// table's property of that name, for other writers.
pub(crate) const CHECKPOINT_INTERVAL: u64 = 100;

/// How long commits stay in the log, and with them page and resume tokens. At a commit a second this is the
/// larger part of the log's folder, which every opening lists.
pub(crate) const LOG_RETENTION: &str = "interval 1 days";

/// Commits between compactions, a multiple of [`CHECKPOINT_INTERVAL`]: ten minutes of a busy writer.
const COMPACTION_INTERVAL: u64 = 600;

/// Files of this size and more are left as they are.
const COMPACTED_BYTES: NonZeroU64 = NonZeroU64::new(64 * 1024 * 1024).expect("not zero");

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
        if version.is_multiple_of(COMPACTION_INTERVAL)
            && let Err(error) = compact(&store).await
        {
            tracing::warn!(%error, version, "compaction of the table failed; the next is due in {COMPACTION_INTERVAL} commits");
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

async fn compact(store: &Store) -> Result<(), Cause> {
    let table = store.location().load(None).await?;
    let compaction = table
        .optimize()
        .with_type(OptimizeType::Compact)
        .with_target_size(COMPACTED_BYTES)
        .with_writer_properties(data_file::properties()?)
        .with_max_concurrent_tasks(1);
    let (table, metrics) = compaction.await?;
    tracing::debug!(version = table.version(), ?metrics, "compaction of the table");
    Ok(())
}

#[cfg(test)]
mod tests {
    use futures::StreamExt;
    use prost_types::Timestamp;
    use tap_expr::Condition;
    use tap_proto::v1::{Batch, Exchange, Order};

    use super::*;
    use crate::{AgentEpoch, Query};

    fn batch(sequence: u64) -> Batch {
        let exchange = |number: i64| Exchange {
            id: format!("{number:08}"),
            time: Some(Timestamp { seconds: 1_767_323_045 + number, nanos: 7 }),
            labels: [("app".to_owned(), "shop".to_owned())].into(),
            ..Exchange::default()
        };
        let first = sequence as i64 * 3;
        Batch { sequence, exchanges: (first..first + 3).map(exchange).collect(), ledger: None }
    }

    #[tokio::test]
    async fn a_checkpoint_and_a_compaction_change_no_rows() {
        let folder = tempfile::tempdir().unwrap();
        let url = url::Url::from_directory_path(folder.path()).unwrap();
        let store = Store::open(&url).await.unwrap();
        let agent = AgentEpoch { agent: "a".to_owned(), epoch: u64::MAX };
        let everything = || Query {
            condition: Condition::parse("").unwrap(),
            start: None,
            end: None,
            order: Order::OldestFirst,
            page_size: 1000,
            page_token: None,
            summary: false,
        };
        for sequence in 1..=8 {
            store.append(vec![(agent.clone(), batch(sequence))]).await.unwrap();
        }
        let before = store.search(everything()).await.unwrap().exchanges;
        let paging = Query { page_size: 5, ..everything() };
        let page_token = store.search(paging).await.unwrap().next_page_token;
        let mut tail = store.tail(Condition::parse("").unwrap(), None, false).await.unwrap();

        checkpoint(&store, 8).await.unwrap();
        compact(&store).await.unwrap();
        assert_eq!(store.current().await.unwrap().files.len(), 1);
        assert_eq!(store.search(everything()).await.unwrap().exchanges, before);
        // No statistics of what was captured.
        let compaction = folder.path().join("exchanges/_delta_log/00000000000000000009.json");
        let compaction = std::fs::read_to_string(compaction).unwrap();
        assert!(compaction.contains("minValues") && !compaction.contains("response_"), "{compaction}");
        let rest = store.search(Query { page_token, ..everything() }).await.unwrap().exchanges;
        assert_eq!(rest, before[5..]);

        let reopened = Store::open(&url).await.unwrap();
        assert_eq!(reopened.search(everything()).await.unwrap().exchanges, before);
        reopened.append(vec![(agent.clone(), batch(8)), (agent.clone(), batch(9))]).await.unwrap();
        let mut tailed = Vec::new();
        while tailed.len() < 3 {
            tailed.extend(tail.next().await.unwrap().unwrap().exchanges);
        }
        assert_eq!(tailed.iter().map(|e| e.sequence).collect::<Vec<_>>(), [9, 9, 9]);
        assert_eq!(store.search(everything()).await.unwrap().exchanges.len(), 27);
    }
}
