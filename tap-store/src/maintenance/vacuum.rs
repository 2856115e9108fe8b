//! Deletion of what the table does not name: files that were replaced or removed, once no page and no tail needs them;
//! files of appends that never came to their commit; ledgers of epochs of which the table holds nothing any more.
//!
//! An object is deleted when it is older than the grace, is not in the table, and was not removed from it within the
//! grace. A file that was just put is younger; and one that was put long ago by a process that was stopped since is not
//! committed by it any more: the vacuum begins with a commit of its own, so that the stopped writer's commit finds its
//! version taken, looks again, and writes its files anew because they are old (`append`); or gives up what it was to replace (`commit`).

use std::{collections::HashSet, sync::Arc, time::Duration};

use deltalake::{kernel::Transaction, protocol::DeltaOperation};
use futures::{StreamExt, TryStreamExt, stream};
use object_store::{ObjectMeta, ObjectStore, path::Path};

use super::{
    Maintained, Retention, as_millis, checkpoint,
    commit::{Added, Replacement, date},
    error, expired, retention,
};
use crate::{AgentEpoch, Cause, Store, StoreError, ledger, log::view_of, view::View};

const APP_ID: &str = "podtap.vacuum";

/// The table is listed each time.
const INTERVAL: Duration = Duration::from_secs(60 * 60);

/// A ledger that nobody has written for so long is of an agent that is gone.
const LEDGER_AGE: Duration = Duration::from_secs(7 * 24 * 60 * 60);

/// Objects deleted at a time, and by one vacuum; what is left is for the next.
const BATCH: usize = 1000;
const MAX_OBJECTS: usize = 1_000_000;

/// The transaction by which every process knows when the last vacuum began.
pub(super) fn begun(now: i64) -> Transaction {
    Transaction::new_with_last_update(APP_ID, now, Some(now))
}

pub(super) async fn is_due(store: &Store, now: i64) -> Result<bool, StoreError> {
    let last = store.follower().await.transaction(APP_ID.to_owned()).await?;
    // A table that nobody has written to has nothing to vacuum.
    let Some(last) = last else { return Ok(store.current().await?.version > 0) };
    Ok(now.saturating_sub(last) >= as_millis(INTERVAL) || now < last.saturating_sub(as_millis(INTERVAL)))
}

pub(super) async fn vacuum(store: &Store, retention: &Retention, now: i64) -> Result<Maintained, StoreError> {
    let failed = |source: Cause| error("vacuum", source);
    let oldest_kept = now.saturating_sub(as_millis(retention.grace));
    let table = store.location().load(None).await?;
    let view = view_of(store.location(), &table)?;
    let state = table.snapshot().map_err(|source| failed(source.into()))?;
    // Without a time of removal it is not known whether anybody needs the file: then its own age tells.
    let recently_removed: HashSet<String> = state
        .all_tombstones(store.location().log_store.as_ref())
        .try_filter_map(|removed| async move {
            let is_recent = removed.deletion_timestamp().is_some_and(|at| at >= oldest_kept);
            Ok(is_recent.then(|| removed.path().into_owned()))
        })
        .try_collect()
        .await
        .map_err(|source| failed(source.into()))?;

    let is_unnamed = |object: &ObjectMeta| {
        let path = object.location.as_ref();
        // Only what a store has put, or what was in the table.
        date(&object.location).is_some()
            && path.ends_with(".parquet")
            && object.last_modified.timestamp_millis() < oldest_kept
            && !view.files.contains_key(path)
            && !recently_removed.contains(path)
    };
    let objects = store.table_objects();
    let (deleted, bytes) =
        delete(&objects, None, is_unnamed).await.map_err(|source| failed(source.into()))?;

    let ledgers = forget_ledgers(store, &view, now).await?;
    checkpoint::clean_log(store).await.map_err(failed)?;
    Ok(Maintained::Vacuumed { objects: deleted, bytes, ledgers })
}

/// Deletes the objects that are chosen: how many, and their bytes.
async fn delete(
    objects: &Arc<dyn ObjectStore>,
    folder: Option<&Path>,
    is_chosen: impl Fn(&ObjectMeta) -> bool + Sync,
) -> object_store::Result<(u64, u64)> {
    let (mut deleted, mut bytes) = (0, 0);
    let chosen = objects.list(folder).try_filter(|object| std::future::ready(is_chosen(object)));
    let mut chosen = chosen.take(MAX_OBJECTS).try_chunks(BATCH).boxed();
    while let Some(chunk) = chosen.next().await {
        let chunk = chunk.map_err(|error| error.1)?;
        bytes += chunk.iter().map(|object| object.size).sum::<u64>();
        let paths = stream::iter(chunk.into_iter().map(|object| Ok(object.location))).boxed();
        let mut results = objects.delete_stream(paths);
        while let Some(result) = results.next().await {
            match result {
                // Another process may have been first.
                Ok(_) | Err(object_store::Error::NotFound { .. }) => deleted += 1,
                Err(error) => return Err(error),
            }
        }
    }
    Ok((deleted, bytes))
}

/// Deletes the ledgers of epochs that ended long ago and of which the table can't hold anything: no file in it reaches
/// back to the time of the ledger. What expired of them is counted with `earlier` from then on; and totals that were
/// replaced are deleted.
async fn forget_ledgers(store: &Store, view: &View, now: i64) -> Result<u64, StoreError> {
    let failed = |source: object_store::Error| error("remove old ledgers of", source);
    let objects = &store.location().objects;
    // Half a day for clocks that differ.
    let margin = as_millis(LEDGER_AGE) / 14;
    let earliest = view.files.values().map(|file| file.times.start().div_euclid(1000)).min();
    let oldest_kept = now.saturating_sub(as_millis(LEDGER_AGE));
    let is_past = |object: &ObjectMeta| {
        let put = object.last_modified.timestamp_millis();
        put < oldest_kept && earliest.is_none_or(|earliest| put.saturating_add(margin) < earliest)
    };
    let (ledgers, _) = delete(objects, Some(&ledger::folder()), is_past).await.map_err(failed)?;

    let number = store.follower().await.transaction(expired::APP_ID.to_owned()).await?;
    let left = ledger::paths(store).await?;
    let is_kept = |agent: &AgentEpoch| left.contains(&ledger::path_of(agent));
    if expired::read(store, number).await?.keep_apart(is_kept) {
        let nothing_removed = Replacement {
            removed: Vec::new(),
            added: Added::nothing(),
            loses_rows: false,
            operation: DeltaOperation::FileSystemCheck {},
        };
        let fold = |expired: &mut expired::Expired| {
            expired.keep_apart(is_kept);
        };
        retention::commit_counted(store, &nothing_removed, fold, now).await?;
    }
    let number = store.follower().await.transaction(expired::APP_ID.to_owned()).await?;
    let valid = number.map(expired::path);
    let is_replaced = |object: &ObjectMeta| {
        object.last_modified.timestamp_millis() < now.saturating_sub(as_millis(Retention::MIN_GRACE))
            && Some(&object.location) != valid.as_ref()
    };
    delete(objects, Some(&Path::from(expired::FOLDER)), is_replaced).await.map_err(failed)?;
    Ok(ledgers)
}
