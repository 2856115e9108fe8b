//! The ledgers that were put lately, by any collector of the table: a listing, and a read of what changed since the
//! one before.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    time::{Duration, SystemTime},
};

use futures::{StreamExt, TryStreamExt, stream};
use object_store::{ObjectMeta, ObjectStoreExt, path::Path};
use prost::Message;
use tap_proto::v1::Ledger;

use super::{FOLDER, READ_AHEAD, path_of};
use crate::{AgentEpoch, Cause, Store, StoreError};

/// As many agents as a collector serves.
const MAX_RECENT: usize = 4096;

/// The ledgers that were put lately. Each is kept until it is too old.
#[derive(Debug)]
pub struct RecentLedgers {
    store: Store,
    known: HashMap<Path, Known>,
}

#[derive(Debug)]
struct Known {
    put: SystemTime,
    e_tag: Option<String>,
    ledger: Arc<Ledger>,
}

impl RecentLedgers {
    pub fn new(store: Store) -> Self {
        Self { store, known: HashMap::new() }
    }

    /// Reads what was put within `age`, by the store's clock, but for the agents in `skip`. Of more than 4096 such
    /// ledgers some are left out. After an error what was known before stays.
    pub async fn refresh(&mut self, age: Duration, skip: &HashSet<AgentEpoch>) -> Result<(), StoreError> {
        let objects = &self.store.location().objects;
        let skip: HashSet<Path> = skip.iter().map(path_of).collect();
        let oldest = SystemTime::now() - age;
        let folder = Path::from(FOLDER);
        let error = |operation, path: &Path, source: Cause| StoreError::Ledger {
            operation,
            path: path.to_string(),
            source,
        };
        let listed: Vec<ObjectMeta> = objects
            .list(Some(&folder))
            .try_filter(|object| {
                let is_wanted =
                    SystemTime::from(object.last_modified) >= oldest && !skip.contains(&object.location);
                async move { is_wanted }
            })
            .take(MAX_RECENT)
            .try_collect()
            .await
            .map_err(|source| error("list", &folder, source.into()))?;

        let mut known = HashMap::with_capacity(listed.len());
        let mut changed = Vec::new();
        for object in listed {
            match self.known.get(&object.location).filter(|known| known.is_of(&object)) {
                Some(unchanged) => {
                    let ledger = Arc::clone(&unchanged.ledger);
                    known.insert(object.location.clone(), Known::new(&object, ledger));
                }
                None => changed.push(object),
            }
        }
        let read = async |object: ObjectMeta| {
            let read = async { objects.get(&object.location).await?.bytes().await };
            match read.await {
                Ok(bytes) => Ledger::decode(bytes)
                    .map(|ledger| Some((object.clone(), Arc::new(ledger))))
                    .map_err(|source| error("decode", &object.location, source.into())),
                // Taken away since it was listed.
                Err(object_store::Error::NotFound { .. }) => Ok(None),
                Err(source) => Err(error("read", &object.location, source.into())),
            }
        };
        let read: Vec<_> = stream::iter(changed).map(read).buffer_unordered(READ_AHEAD).try_collect().await?;
        for (object, ledger) in read.into_iter().flatten() {
            known.insert(object.location.clone(), Known::new(&object, ledger));
        }
        self.known = known;
        Ok(())
    }

    /// The ledgers, each with the time when it was put.
    pub fn iter(&self) -> impl Iterator<Item = (Arc<Ledger>, SystemTime)> {
        self.known.values().map(|known| (Arc::clone(&known.ledger), known.put))
    }
}

impl Known {
    fn new(object: &ObjectMeta, ledger: Arc<Ledger>) -> Self {
        Self { put: object.last_modified.into(), e_tag: object.e_tag.clone(), ledger }
    }

    fn is_of(&self, object: &ObjectMeta) -> bool {
        self.put == SystemTime::from(object.last_modified) && self.e_tag == object.e_tag
    }
}
