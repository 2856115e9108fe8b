//! The agents' ledgers, beside the table, and what the table holds of each agent.
//!
//! The newest ledger of an agent's epoch is one object, `ledger/<agent>/<epoch>.binpb`, a `tap.v1.Ledger`. It
//! is replaced as a whole; a store never replaces one by an older.
//!
//! What the table holds is counted in the data files. They never change, so each is counted once and the
//! counts are kept with the view.

mod recent;

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use deltalake::arrow::{
    array::{AsArray, RecordBatch},
    datatypes::{Decimal128Type, Int64Type},
};
use futures::{StreamExt, TryStreamExt, stream};
use object_store::{ObjectStoreExt, path::Path};
use prost::Message;
use tap_proto::v1::{AgentLedger, Amount, Ledger};

pub use recent::RecentLedgers;

use crate::{
    AgentEpoch, Cause, Store, StoreError,
    maintenance::{Count, expired_now},
    open_file::OpenFile,
    view::DataFile,
};

const FOLDER: &str = "ledger";

/// Objects read at the same time.
const READ_AHEAD: usize = 8;

/// What one file holds of one agent's epoch.
#[derive(Clone, Debug)]
pub(crate) struct InFile {
    pub(crate) agent: AgentEpoch,
    pub(crate) exchanges: u64,
    pub(crate) bytes: u64,
}

impl InFile {
    pub(crate) fn amount(&self) -> Count {
        Count { exchanges: self.exchanges, bytes: self.bytes }
    }
}

/// When the newest ledger that was put was taken, by agent and epoch. Held while it is put, so that the objects
/// are replaced in order.
pub(crate) type Newest = HashMap<AgentEpoch, Arc<tokio::sync::Mutex<Option<(i64, i32)>>>>;

pub(crate) async fn put(store: &Store, ledger: &Ledger) -> Result<(), StoreError> {
    let agent = AgentEpoch { agent: ledger.agent.clone(), epoch: ledger.epoch };
    let path = path_of(&agent);
    let taken = ledger.time.as_ref().map_or((0, 0), |time| (time.seconds, time.nanos));

    let newest = Arc::clone(store.newest_ledgers().entry(agent).or_default());
    let mut newest = newest.lock().await;
    if newest.is_some_and(|newest| taken < newest) {
        return Ok(());
    }
    let put = store.location().objects.put(&path, ledger.encode_to_vec().into()).await;
    put.map_err(|source| StoreError::Ledger {
        operation: "write",
        path: path.to_string(),
        source: source.into(),
    })?;
    *newest = Some(taken);
    Ok(())
}

pub(crate) fn path_of(agent: &AgentEpoch) -> Path {
    Path::from_iter([FOLDER, &agent.agent, &format!("{}.binpb", agent.epoch)])
}

pub(crate) fn folder() -> Path {
    Path::from(FOLDER)
}

/// Where the ledgers are, of all epochs that have one: see [`path_of`].
pub(crate) async fn paths(store: &Store) -> Result<HashSet<Path>, StoreError> {
    let folder = folder();
    let listed = store.location().objects.list(Some(&folder)).map_ok(|object| object.location);
    listed.try_collect().await.map_err(|source| StoreError::Ledger {
        operation: "list",
        path: folder.to_string(),
        source: source.into(),
    })
}

pub(crate) async fn all(store: &Store) -> Result<Vec<AgentLedger>, StoreError> {
    let (mut in_table, mut expired) = in_table(store).await?;
    let mut ledgers = Vec::new();
    for ledger in read_all(store).await? {
        let agent = AgentEpoch { agent: ledger.agent.clone(), epoch: ledger.epoch };
        let in_table = Some(in_table.remove(&agent).unwrap_or_default());
        let expired = expired.remove(&agent).map(Amount::from);
        ledgers.push(AgentLedger { ledger: Some(ledger), in_table, expired });
    }
    // Exchanges whose agent never got a ledger through.
    for (agent, in_table) in in_table {
        let expired = expired.remove(&agent).map(Amount::from);
        let AgentEpoch { agent, epoch } = agent;
        let ledger = Ledger { agent, epoch, ..Ledger::default() };
        ledgers.push(AgentLedger { ledger: Some(ledger), in_table: Some(in_table), expired });
    }
    for (AgentEpoch { agent, epoch }, expired) in expired {
        let ledger = Ledger { agent, epoch, ..Ledger::default() };
        let (in_table, expired) = (Some(Amount::default()), Some(expired.into()));
        ledgers.push(AgentLedger { ledger: Some(ledger), in_table, expired });
    }
    ledgers.sort_by(|a, b| key(a).cmp(&key(b)));
    Ok(ledgers)
}

fn key(agent: &AgentLedger) -> Option<(&str, i64, u64)> {
    let ledger = agent.ledger.as_ref()?;
    Some((&ledger.agent, ledger.time.as_ref().map_or(0, |time| time.seconds), ledger.epoch))
}

async fn read_all(store: &Store) -> Result<Vec<Ledger>, StoreError> {
    let objects = &store.location().objects;
    let error = |operation, path: &Path, source: Cause| StoreError::Ledger {
        operation,
        path: path.to_string(),
        source,
    };
    let folder = Path::from(FOLDER);
    let listed = objects.list(Some(&folder)).map_err(|source| error("list", &folder, source.into()));
    let read = |path: Path| {
        let error = &error;
        async move {
            let read = async { objects.get(&path).await?.bytes().await };
            let bytes = match read.await {
                Ok(bytes) => bytes,
                // Taken away since it was listed.
                Err(object_store::Error::NotFound { .. }) => return Ok(None),
                Err(source) => return Err(error("read", &path, source.into())),
            };
            Ledger::decode(bytes).map(Some).map_err(|source| error("decode", &path, source.into()))
        }
    };
    let ledgers = listed.map_ok(|object| read(object.location)).try_buffer_unordered(READ_AHEAD);
    ledgers.try_filter_map(|ledger| async move { Ok(ledger) }).try_collect().await
}

/// The exchanges and their wire bytes by agent and epoch: in the table, and what retention has removed from it.
async fn in_table(
    store: &Store,
) -> Result<(HashMap<AgentEpoch, Amount>, HashMap<AgentEpoch, Count>), StoreError> {
    let (view, expired) = {
        let mut follower = store.follower().await;
        follower.catch_up().await?;
        store.publish(&follower);
        let expired = expired_now(store, &mut follower).await?;
        (Arc::clone(follower.view()), expired)
    };
    let uncounted: Vec<_> =
        view.files.values().filter(|file| file.in_file.get().is_none()).cloned().collect();
    let count = |file: Arc<DataFile>| async move { counted(store, &file).await.map(|_| ()) };
    stream::iter(uncounted).map(count).buffer_unordered(READ_AHEAD).try_collect::<()>().await?;

    let mut totals: HashMap<AgentEpoch, Amount> = HashMap::new();
    for in_file in view.files.values().filter_map(|file| file.in_file.get()).flatten() {
        let total = totals.entry(in_file.agent.clone()).or_default();
        total.exchanges += in_file.exchanges;
        total.bytes += in_file.bytes;
    }
    Ok((totals, expired.by_epoch()))
}

/// What the file holds of each agent's epoch.
pub(crate) async fn counted<'a>(store: &Store, file: &'a DataFile) -> Result<&'a [InFile], StoreError> {
    if file.in_file.get().is_none() {
        let open = OpenFile::open(store.table_objects(), file);
        let counted = async { count(&open.await?).await }.await;
        let counted = counted.map_err(|source| StoreError::Read { path: file.path.to_string(), source })?;
        // Another call may have been first, with the same counts.
        let _ = file.in_file.set(counted);
    }
    Ok(file.in_file.get().map(Vec::as_slice).unwrap_or_default())
}

async fn count(file: &OpenFile) -> Result<Vec<InFile>, Cause> {
    let mut batches = file.read(&|name| ["agent", "epoch", "wire_bytes"].contains(&name), None)?;
    let mut counted: Vec<InFile> = Vec::new();
    while let Some(batch) = batches.try_next().await? {
        count_batch(&batch, &mut counted).ok_or("a column is missing or of another type")?;
    }
    Ok(counted)
}

/// `None` where the batch has not the columns.
pub(crate) fn count_batch(batch: &RecordBatch, counted: &mut Vec<InFile>) -> Option<()> {
    let agents = batch.column_by_name("agent")?.as_string_opt::<i32>()?;
    let epochs = batch.column_by_name("epoch")?.as_primitive_opt::<Decimal128Type>()?;
    let wire_bytes = batch.column_by_name("wire_bytes")?.as_primitive_opt::<Int64Type>()?;
    for row in 0..batch.num_rows() {
        let (agent, epoch) = (agents.value(row), u64::try_from(epochs.value(row)).ok()?);
        let is_same = |counted: &InFile| counted.agent.epoch == epoch && counted.agent.agent == agent;
        // Few agents in a file: searching the list beats hashing every row's name.
        let index = counted.iter().position(is_same).unwrap_or_else(|| {
            let agent = AgentEpoch { agent: agent.to_owned(), epoch };
            counted.push(InFile { agent, exchanges: 0, bytes: 0 });
            counted.len() - 1
        });
        counted[index].exchanges += 1;
        counted[index].bytes += wire_bytes.value(row) as u64;
    }
    Some(())
}
