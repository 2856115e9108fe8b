//! What retention has removed, by agent and epoch, so that the ledger's account stays true: what an agent had stored
//! is in the table, or expired.
//!
//! The totals are an object beside the table, `<store>/expired/<number>.json`, whose number is the version of the
//! application transaction `podtap.retention` in the same commit as the removal. The object is put first, under a
//! number of its own; the commit makes it the valid one. So totals and table change at once, and a crash between the two
//! leaves an object that no commit names.
//!
//! An epoch whose ledger is gone is counted with `earlier`.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use object_store::{ObjectStore, ObjectStoreExt, PutMode, path::Path};
use rand::RngExt as _;
use serde::{Deserialize, Serialize};
use tap_proto::v1::Amount;

use super::error;
use crate::{AgentEpoch, Store, StoreError, ledger::InFile, log::Follower};

pub(super) const APP_ID: &str = "podtap.retention";

pub(super) const FOLDER: &str = "expired";

/// Epochs that are counted apart. Beyond, some go to `earlier`.
const MAX_EPOCHS: usize = 50_000;

/// Totals since the table was made.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Expired {
    /// Of files that could not be read any more, as far as the log knows.
    pub(crate) unattributed: Count,
    /// Of epochs whose ledger is gone.
    pub(crate) earlier: Count,
    /// By agent and epoch.
    pub(crate) agents: BTreeMap<String, BTreeMap<u64, Count>>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Count {
    pub(crate) exchanges: u64,
    pub(crate) bytes: u64,
}

impl Count {
    pub(crate) fn add(&mut self, other: Self) {
        self.exchanges += other.exchanges;
        self.bytes += other.bytes;
    }
}

impl From<Count> for Amount {
    fn from(Count { exchanges, bytes }: Count) -> Self {
        Self { exchanges, bytes, ..Self::default() }
    }
}

impl Expired {
    pub(super) fn add(&mut self, counts: &[InFile]) {
        for InFile { agent: AgentEpoch { agent, epoch }, exchanges, bytes } in counts {
            let count = Count { exchanges: *exchanges, bytes: *bytes };
            self.agents.entry(agent.clone()).or_default().entry(*epoch).or_default().add(count);
        }
        while self.agents.values().map(BTreeMap::len).sum::<usize>() > MAX_EPOCHS {
            let Some((_, epochs)) = self.agents.pop_first() else { return };
            epochs.into_values().for_each(|count| self.earlier.add(count));
        }
    }

    /// Counts with `earlier` all epochs but those given. Whether that changed anything.
    pub(super) fn keep_apart(&mut self, is_kept: impl Fn(&AgentEpoch) -> bool) -> bool {
        let mut earlier = self.earlier;
        self.agents.retain(|agent, epochs| {
            epochs.retain(|epoch, count| {
                let stays = is_kept(&AgentEpoch { agent: agent.clone(), epoch: *epoch });
                if !stays {
                    earlier.add(*count);
                }
                stays
            });
            !epochs.is_empty()
        });
        std::mem::replace(&mut self.earlier, earlier) != earlier
    }

    /// By agent and epoch, for those who look them up.
    pub(crate) fn by_epoch(self) -> HashMap<AgentEpoch, Count> {
        let epochs = self.agents.into_iter().flat_map(|(agent, epochs)| {
            epochs.into_iter().map(move |(epoch, count)| (AgentEpoch { agent: agent.clone(), epoch }, count))
        });
        epochs.collect()
    }
}

/// The totals at the follower's version.
pub(crate) async fn current(store: &Store, follower: &mut Follower) -> Result<Expired, StoreError> {
    let number = follower.transaction(APP_ID.to_owned()).await?;
    read(store, number).await
}

pub(super) async fn read(store: &Store, number: Option<i64>) -> Result<Expired, StoreError> {
    let Some(number) = number else { return Ok(Expired::default()) };
    let objects = objects(store);
    let read = async { objects.get(&path(number)).await?.bytes().await };
    let bytes = read.await.map_err(|source| error("read what expired of", source))?;
    serde_json::from_slice(&bytes).map_err(|source| error("read what expired of", source))
}

/// Puts totals under a number of their own, which is not valid until it is committed.
pub(super) async fn put(store: &Store, expired: &Expired, now: i64) -> Result<i64, StoreError> {
    // Numbers ascend with time; the low bits keep those of one millisecond apart.
    let number = (now << 20) | i64::from(rand::rng().random_range(0..1 << 20));
    let bytes = serde_json::to_vec(expired).map_err(|source| error("count what expired of", source))?;
    objects(store)
        .put_opts(&path(number), bytes.into(), PutMode::Create.into())
        .await
        .map_err(|source| error("count what expired of", source))?;
    let synced = store.location().sync_beside(&path(number)).await;
    synced.map_err(|source| error("count what expired of", source))?;
    Ok(number)
}

pub(super) fn path(number: i64) -> Path {
    Path::from_iter([FOLDER, &format!("{number:020}.json")])
}

fn objects(store: &Store) -> Arc<dyn ObjectStore> {
    Arc::clone(&store.location().objects)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn totals_survive_being_written_and_epochs_being_forgotten() {
        let id = |agent: &str, epoch| AgentEpoch { agent: agent.to_owned(), epoch };
        let counts =
            |agent, epoch, exchanges| InFile { agent: id(agent, epoch), exchanges, bytes: 10 * exchanges };
        let mut expired = Expired::default();
        expired.add(&[counts("a", u64::MAX, 3), counts("a", 1, 4)]);
        expired.add(&[counts("b", 1, 5), counts("a", 1, 1)]);
        let written = serde_json::to_vec(&expired).unwrap();
        assert_eq!(serde_json::from_slice::<Expired>(&written).unwrap(), expired);

        assert!(expired.keep_apart(|agent| *agent == id("a", 1)));
        assert!(!expired.keep_apart(|agent| *agent == id("a", 1)));
        assert_eq!(expired.earlier, Count { exchanges: 8, bytes: 80 });
        assert_eq!(expired.by_epoch(), HashMap::from([(id("a", 1), Count { exchanges: 5, bytes: 50 })]));
    }
}
