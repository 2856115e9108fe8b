//! Appends batches: files first, then the commit that makes them the table's.

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, SystemTime},
};

use deltalake::kernel::Add;
use object_store::{ObjectStore, ObjectStoreExt, path::Path};
use tap_proto::v1::{Batch, Exchange};

use crate::{
    AgentEpoch, Cause, Store, StoreError,
    data_file::{self, Encoded},
    log::{Follower, Outcome},
    maintenance,
};

/// Attempts at a commit before the append is given up. Every lost attempt is another writer's success.
const ATTEMPTS: u32 = 100;

/// A loser waits up to this, times the attempts it has lost, at random.
const BACKOFF: Duration = Duration::from_millis(5);
const MAX_BACKOFF: Duration = Duration::from_millis(250);

/// Batches in the order of their sequence, and the marks that they lead to.
struct Selection {
    /// The version at which it was made, and for whose successor alone it holds.
    version: u64,
    /// Indices of the batches that are not in the table.
    batches: Vec<usize>,
    marks: Vec<(AgentEpoch, i64)>,
}

/// Files this old are not committed any more: a vacuum may have deleted them. Half of the least grace that it gives.
const MAX_PUT_AGE: Duration = Duration::from_secs(10 * 60);

/// Files that were put for a selection and are in no commit yet.
struct Put {
    /// By the clock of the wall, which also runs while the machine sleeps.
    at: SystemTime,
    batches: Vec<usize>,
    adds: Vec<Add>,
}

pub(crate) async fn append(store: &Store, batches: Vec<(AgentEpoch, Batch)>) -> Result<(), StoreError> {
    let batches = Arc::new(prepare(batches)?);
    let _one_at_a_time = store.appending().await;
    let mut put: Option<Put> = None;
    for attempt in 0..ATTEMPTS {
        let selection = {
            let mut follower = store.follower().await;
            follower.catch_up().await?;
            select(&mut follower, &batches).await?
        };
        if selection.batches.is_empty() {
            discard(store, put).await;
            return Ok(());
        }
        let files = match put.take() {
            Some(put) if put.batches == selection.batches && put.is_fresh() => put,
            stale => {
                discard(store, stale).await;
                write(store, &batches, &selection).await?
            }
        };

        let mut follower = store.follower().await;
        if follower.view().version == selection.version {
            match follower.commit(&files.adds, &selection.marks).await? {
                Outcome::Committed => {
                    store.publish(&follower);
                    maintenance::after_commit(store, follower.view().version);
                    return Ok(());
                }
                Outcome::Conflict => {
                    tracing::debug!(version = selection.version + 1, attempt, "another writer won")
                }
            }
        }
        drop(follower);
        put = Some(files);
        back_off(attempt).await;
    }
    discard(store, put).await;
    Err(StoreError::Contended { attempts: ATTEMPTS })
}

/// Puts the batches into the order of their sequence and marks their exchanges with it.
fn prepare(mut batches: Vec<(AgentEpoch, Batch)>) -> Result<Vec<(AgentEpoch, Batch)>, StoreError> {
    for (agent, batch) in &mut batches {
        let invalid = |reason| StoreError::InvalidBatch {
            agent: agent.agent.clone(),
            sequence: batch.sequence,
            reason,
        };
        if batch.sequence == 0 {
            return Err(invalid("sequences start at 1"));
        }
        if i64::try_from(batch.sequence).is_err() {
            return Err(invalid("the sequence is beyond 2^63"));
        }
        for exchange in &mut batch.exchanges {
            exchange.agent.clone_from(&agent.agent);
            exchange.epoch = agent.epoch;
            exchange.sequence = batch.sequence;
        }
    }
    batches.sort_by_key(|(_, batch)| batch.sequence);
    Ok(batches)
}

/// Leaves out what the table's marks cover, and repetitions.
async fn select(follower: &mut Follower, batches: &[(AgentEpoch, Batch)]) -> Result<Selection, StoreError> {
    let mut marks: HashMap<&AgentEpoch, (u64, bool)> = HashMap::new();
    let mut selected = Vec::new();
    for (index, (agent, batch)) in batches.iter().enumerate() {
        let (mark, _) = match marks.get(agent) {
            Some(mark) => *mark,
            None => (follower.mark(agent).await?, false),
        };
        let is_new = batch.sequence > mark;
        let was_moved = marks.get(agent).is_some_and(|(_, moved)| *moved);
        marks.insert(agent, (mark.max(batch.sequence), was_moved || is_new));
        if is_new {
            selected.push(index);
        }
    }
    let moved = marks.into_iter().filter(|(_, (_, moved))| *moved);
    let marks = moved.map(|(agent, (mark, _))| (agent.clone(), mark as i64)).collect();
    Ok(Selection { version: follower.view().version, batches: selected, marks })
}

async fn write(
    store: &Store,
    batches: &Arc<Vec<(AgentEpoch, Batch)>>,
    selection: &Selection,
) -> Result<Put, StoreError> {
    let version = selection.version + 1;
    let error = |source: Cause| StoreError::Append { version, source };
    let (batches, selected) = (Arc::clone(batches), selection.batches.clone());
    let encode = move || {
        let exchanges: Vec<&Exchange> =
            selected.iter().flat_map(|index| &batches[*index].1.exchanges).collect();
        data_file::encode(&exchanges)
    };
    let encoded =
        tokio::task::spawn_blocking(encode).await.map_err(|panic| error(panic.into()))?.map_err(error)?;

    let at = SystemTime::now();
    let objects = store.table_objects();
    let mut adds = Vec::with_capacity(encoded.len());
    let mut paths = Vec::with_capacity(encoded.len());
    for Encoded { add, bytes } in encoded {
        let path = Path::parse(&add.path).map_err(|source| error(source.into()))?;
        objects.put(&path, bytes.into()).await.map_err(|source| error(source.into()))?;
        adds.push(add);
        paths.push(path);
    }
    store.location().sync(paths).await.map_err(error)?;
    Ok(Put { at, batches: selection.batches.clone(), adds })
}

impl Put {
    fn is_fresh(&self) -> bool {
        self.at.elapsed().is_ok_and(|age| age < MAX_PUT_AGE)
    }
}

/// Deletes files that no commit names. Best effort: what stays is for a vacuum of the table to find.
async fn discard(store: &Store, put: Option<Put>) {
    let Some(put) = put else { return };
    let objects: Arc<dyn ObjectStore> = store.table_objects();
    let view = Arc::clone(store.follower().await.view());
    // A commit whose answer was lost looks like a conflict, yet its files are the table's.
    for add in put.adds.iter().filter(|add| !view.files.contains_key(&add.path)) {
        if let Err(error) = objects.delete(&Path::from(add.path.as_str())).await {
            tracing::debug!(%error, path = add.path, "an unused file stays");
        }
    }
}

async fn back_off(attempt: u32) {
    let longest = MAX_BACKOFF.min(BACKOFF * (attempt + 1));
    // The random bits of an id: fair enough among a few writers.
    let random = uuid::Uuid::now_v7().as_u128() as u64;
    tokio::time::sleep(longest.mul_f64((random % 1024) as f64 / 1024.0)).await;
}
