//! Appends batches: files first, then the commit that makes them the table's.
//!
//! Several writers race for each version, and one wins. Who lost reads what won and tries the next one. The longer an append
//! has lost, the less it waits, so that those that come anew give way to it. Every commit says how many attempts it lost, so that
//! all writers know how crowded the table is, the lucky ones too: [`Appended::losses`] is for the caller to commit less often.

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, Instant, SystemTime},
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

/// The first loss is followed by a pause of up to this many attempts' time, at random: enough for a few writers to come one
/// after the other.
const PAUSE_ATTEMPTS: u32 = 4;
/// Of a pause, where a single attempt takes very long.
const MAX_PAUSE: Duration = Duration::from_secs(1);

/// What it took to append.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Appended {
    /// Attempts that other writers won.
    pub lost: u32,
    /// The same of every append to the table that this store has learnt of since its last one: this one, and all writers'.
    pub losses: Vec<u32>,
}

/// A batch, and which agent's. Shared with who wants it appended, so that nothing is copied for an attempt.
type OfAgent = (AgentEpoch, Arc<Batch>);

/// Batches in the order of their sequence, and the marks that they lead to.
struct Selection {
    /// The version at which it was made, and for whose successor alone it holds.
    version: u64,
    /// Indices of the batches that are not in the table.
    batches: Vec<usize>,
    marks: Vec<(AgentEpoch, i64)>,
}

/// Files this old are not committed any more: a vacuum may have deleted them. Half of the least grace that it gives.
pub(crate) const MAX_PUT_AGE: Duration = Duration::from_secs(10 * 60);

/// Files that were put for a selection and are in no commit yet.
struct Put {
    /// By the clock of the wall, which also runs while the machine sleeps.
    at: SystemTime,
    batches: Vec<usize>,
    adds: Vec<Add>,
}

pub(crate) async fn append(store: &Store, batches: Vec<OfAgent>) -> Result<Appended, StoreError> {
    let batches = Arc::new(prepare(batches)?);
    let _one_at_a_time = store.appending().await;
    let mut put: Option<Put> = None;
    for lost in 0..ATTEMPTS {
        let selection = {
            let mut follower = store.follower().await;
            follower.catch_up().await?;
            select(&mut follower, &batches).await?
        };
        if selection.batches.is_empty() {
            discard(store, put).await;
            return Ok(Appended { lost, losses: store.follower().await.take_losses() });
        }
        let files = match put.take() {
            Some(put) if put.batches == selection.batches && put.is_fresh() => put,
            stale => {
                discard(store, stale).await;
                write(store, &batches, &selection).await?
            }
        };

        let begin = Instant::now();
        let mut follower = store.follower().await;
        if follower.view().version == selection.version {
            match follower.commit(&files.adds, &selection.marks, lost).await {
                Ok(Outcome::Committed) => {
                    store.publish(&follower);
                    maintenance::after_commit(store, follower.view().version);
                    return Ok(Appended { lost, losses: follower.take_losses() });
                }
                Ok(Outcome::Conflict) => {
                    tracing::debug!(version = selection.version + 1, lost, "another writer won")
                }
                Err(error) => {
                    drop(follower);
                    give_up(store, files).await;
                    return Err(error);
                }
            }
        }
        drop(follower);
        put = Some(files);
        tokio::time::sleep(pause(lost, begin.elapsed(), rand::random())).await;
    }
    // The last conflict may have been with a commit of these very files, whose answer was lost.
    if store.current().await.is_ok() {
        discard(store, put).await;
    }
    Err(StoreError::Contended { attempts: ATTEMPTS })
}

/// Puts the batches into the order of their sequence and marks their exchanges with it.
fn prepare(mut batches: Vec<OfAgent>) -> Result<Vec<OfAgent>, StoreError> {
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
        stamp(agent, batch);
    }
    batches.sort_by_key(|(_, batch)| batch.sequence);
    Ok(batches)
}

/// Says in every exchange which batch brought it.
fn stamp(agent: &AgentEpoch, batch: &mut Arc<Batch>) {
    let sequence = batch.sequence;
    let is_stamped = |exchange: &Exchange| {
        exchange.sequence == sequence && exchange.epoch == agent.epoch && exchange.agent == agent.agent
    };
    if batch.exchanges.iter().all(is_stamped) {
        return;
    }
    for exchange in &mut Arc::make_mut(batch).exchanges {
        exchange.agent.clone_from(&agent.agent);
        exchange.epoch = agent.epoch;
        exchange.sequence = sequence;
    }
}

/// Leaves out what the table's marks cover, and repetitions.
async fn select(follower: &mut Follower, batches: &[OfAgent]) -> Result<Selection, StoreError> {
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

async fn write(store: &Store, batches: &Arc<Vec<OfAgent>>, selection: &Selection) -> Result<Put, StoreError> {
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

    let mut put = Put {
        at: SystemTime::now(),
        batches: selection.batches.clone(),
        adds: Vec::with_capacity(encoded.len()),
    };
    if let Err(source) = put_files(store, encoded, &mut put.adds).await {
        // In no commit, and never to be in one.
        delete(&store.table_objects(), put.adds.iter()).await;
        return Err(error(source));
    }
    Ok(put)
}

impl Put {
    fn is_fresh(&self) -> bool {
        self.at.elapsed().is_ok_and(|age| age < MAX_PUT_AGE)
    }
}

/// Adds to `adds` what it puts, before it does: what is there after a failure is for the caller to delete.
async fn put_files(store: &Store, encoded: Vec<Encoded>, adds: &mut Vec<Add>) -> Result<(), Cause> {
    let objects = store.table_objects();
    let mut paths = Vec::with_capacity(encoded.len());
    for Encoded { add, bytes } in encoded {
        let path = Path::parse(&add.path)?;
        adds.push(add);
        objects.put(&path, bytes.into()).await?;
        paths.push(path);
    }
    store.location().sync(paths).await
}

/// Deletes files whose commit failed, where that failure is final. Elsewhere the commit may still arrive, and its files
/// must be there then: they are left to a vacuum.
async fn give_up(store: &Store, put: Put) {
    if store.location().failure_is_final() && store.current().await.is_ok() {
        discard(store, Some(put)).await;
    }
}

/// Deletes files that no commit names. The follower must have caught up with any commit that was tried with them.
async fn discard(store: &Store, put: Option<Put>) {
    let Some(put) = put else { return };
    let view = Arc::clone(store.follower().await.view());
    // A commit whose answer was lost looks like a conflict, yet its files are the table's.
    let unused = put.adds.iter().filter(|add| !view.files.contains_key(&add.path));
    delete(&store.table_objects(), unused).await;
}

/// Best effort: what stays is for a vacuum of the table to find.
async fn delete(objects: &Arc<dyn ObjectStore>, adds: impl Iterator<Item = &Add>) {
    for add in adds {
        match objects.delete(&Path::from(add.path.as_str())).await {
            Ok(()) | Err(object_store::Error::NotFound { .. }) => {}
            Err(error) => tracing::debug!(%error, path = add.path, "an unused file stays"),
        }
    }
}

/// After an attempt that was lost and took `attempt`: shorter with every loss. `random` is from 0 to 1.
fn pause(lost: u32, attempt: Duration, random: f64) -> Duration {
    (attempt * PAUSE_ATTEMPTS / (lost + 1)).min(MAX_PAUSE).mul_f64(random)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_lost_often_waits_less() {
        let attempt = Duration::from_millis(50);
        assert_eq!(pause(0, attempt, 1.0), Duration::from_millis(200));
        assert_eq!(pause(3, attempt, 1.0), Duration::from_millis(50));
        assert_eq!(pause(3, attempt, 0.5), Duration::from_millis(25));
        assert_eq!(pause(0, Duration::from_secs(9), 1.0), MAX_PAUSE);
    }

    #[test]
    fn a_stamped_batch_is_not_copied() {
        let agent = AgentEpoch { agent: "a".to_owned(), epoch: 3 };
        let plain = Batch { sequence: 5, exchanges: vec![Exchange::default()], ledger: None };
        let mut batch = Arc::new(plain);
        let other = Arc::clone(&batch);
        stamp(&agent, &mut batch);
        assert_eq!((batch.exchanges[0].sequence, other.exchanges[0].sequence), (5, 0));
        let stamped = Arc::clone(&batch);
        stamp(&agent, &mut batch);
        assert!(Arc::ptr_eq(&batch, &stamped));
    }
}
