//! Commits that replace or remove files.

use std::{collections::HashMap, sync::Arc, time::SystemTime};

use deltalake::{
    kernel::{Action, Add, Remove, Transaction},
    protocol::DeltaOperation,
};
use object_store::{ObjectStoreExt, path::Path};

use crate::{
    Store, StoreError, append::MAX_PUT_AGE, data_file::Encoded, log::Outcome, schema::PARTITION_COLUMN,
    view::DataFile,
};

use super::{claim::back_off, error};

/// Attempts against other writers before the work is given up.
pub(super) const ATTEMPTS: u32 = 50;

/// Files that go, and what comes in their place.
#[derive(Debug)]
pub(super) struct Replacement {
    pub(super) removed: Vec<Arc<DataFile>>,
    /// Their rows are rows of the removed files.
    pub(super) added: Added,
    /// Whether rows of the removed files are in none of the added.
    pub(super) loses_rows: bool,
    pub(super) operation: DeltaOperation,
}

/// Files that were put and are in no commit yet.
#[derive(Debug)]
pub(super) struct Added {
    files: Vec<Add>,
    /// When the first was put. By the clock of the wall, which also runs while the machine sleeps.
    at: SystemTime,
}

/// What became of an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Attempt {
    Committed,
    /// Another writer took the version.
    Conflict,
    /// What was to be replaced is not in the table any more, or what was put is so old that it may be deleted.
    Superseded,
    /// The application's transaction is another than was expected.
    Outrun,
}

/// An application's transaction to commit, and the one that must be the newest before it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Step {
    pub(super) app_id: &'static str,
    pub(super) before: Option<i64>,
    pub(super) after: i64,
}

pub(super) async fn attempt(
    store: &Store,
    replacement: &Replacement,
    step: Option<Step>,
    now: i64,
) -> Result<Attempt, StoreError> {
    let mut follower = store.follower().await;
    follower.catch_up().await?;
    if let Some(step) = step
        && follower.transaction(step.app_id.to_owned()).await? != step.before
    {
        return Ok(Attempt::Outrun);
    }
    // A vacuum takes a version before it deletes: see `vacuum`.
    if !replacement.added.is_fresh() {
        return Ok(Attempt::Superseded);
    }
    let view = follower.view();
    if !replacement.removed.iter().all(|file| view.files.contains_key(file.path.as_ref())) {
        return Ok(Attempt::Superseded);
    }
    let removes = replacement.removed.iter().map(|file| {
        Action::Remove(Remove {
            path: file.path.to_string(),
            data_change: replacement.loses_rows,
            deletion_timestamp: Some(now),
            extended_file_metadata: Some(true),
            partition_values: date(&file.path)
                .map(|date| HashMap::from([(PARTITION_COLUMN.to_owned(), Some(date.to_owned()))])),
            size: i64::try_from(file.size).ok(),
            ..Remove::default()
        })
    });
    let adds = replacement.added.files.iter().cloned().map(Action::Add);
    let transactions = step.map(|step| Transaction::new_with_last_update(step.app_id, step.after, Some(now)));
    let operation = replacement.operation.clone();
    let outcome = follower
        .commit_actions(removes.chain(adds).collect(), operation, transactions.into_iter().collect())
        .await
        .map_err(|source| error("commit to", source))?;
    Ok(match outcome {
        Outcome::Committed => {
            store.publish(&follower);
            Attempt::Committed
        }
        Outcome::Conflict => Attempt::Conflict,
    })
}

/// Commits the replacement, against other writers. Whether it came to that; if not, its files are gone.
pub(super) async fn replace(store: &Store, replacement: &Replacement, now: i64) -> Result<bool, StoreError> {
    for _ in 0..ATTEMPTS {
        match attempt(store, replacement, None, now).await? {
            Attempt::Committed => return Ok(true),
            Attempt::Superseded | Attempt::Outrun => break,
            Attempt::Conflict => back_off().await,
        }
    }
    discard(store, replacement).await;
    Ok(false)
}

/// Puts the files that a replacement is to add.
pub(super) async fn put(store: &Store, encoded: Vec<Encoded>) -> Result<Added, StoreError> {
    let at = SystemTime::now();
    let objects = store.table_objects();
    let mut adds = Vec::with_capacity(encoded.len());
    let mut paths = Vec::with_capacity(encoded.len());
    for Encoded { add, bytes } in encoded {
        let path = Path::parse(&add.path).map_err(|source| error("write a file of", source))?;
        objects.put(&path, bytes.into()).await.map_err(|source| error("write a file of", source))?;
        adds.push(add);
        paths.push(path);
    }
    store.location().sync(paths).await.map_err(|source| error("write a file of", source))?;
    Ok(Added { files: adds, at })
}

impl Added {
    pub(super) fn nothing() -> Self {
        Self { files: Vec::new(), at: SystemTime::now() }
    }

    fn is_fresh(&self) -> bool {
        self.files.is_empty() || self.at.elapsed().is_ok_and(|age| age < MAX_PUT_AGE)
    }
}

/// Deletes files that no commit names. Best effort: a vacuum finds what stays.
pub(super) async fn discard(store: &Store, replacement: &Replacement) {
    let objects = store.table_objects();
    let view = Arc::clone(store.follower().await.view());
    // A commit whose answer was lost looks like a conflict, yet its files are the table's.
    for add in replacement.added.files.iter().filter(|add| !view.files.contains_key(&add.path)) {
        if let Err(error) = objects.delete(&Path::from(add.path.as_str())).await {
            tracing::debug!(%error, path = add.path, "an unused file stays");
        }
    }
}

/// The partition of a file that this store, or another that names folders as it does, has made.
pub(super) fn date(path: &Path) -> Option<&str> {
    let (folder, name) = path.as_ref().split_once('/')?;
    let date = folder.strip_prefix(PARTITION_COLUMN)?.strip_prefix('=')?;
    (!name.contains('/')).then_some(date)
}
