//! The agents' ledgers: the newest of each connected agent in memory, and beside the table for the time after.
//!
//! A ledger is written at most every few seconds, and when its stream ends. What is in memory is bounded by
//! the streams: an agent's entry goes once its stream has ended and its last ledger is written.

use std::{
    collections::{HashMap, HashSet},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, SystemTime},
};

use futures::{StreamExt as _, stream};
use tap_proto::v1::{
    AgentLedger, Amount, GetLedgerRequest, GetLedgerResponse, Ledger, ledger_service_server::LedgerService,
};
use tap_store::{AgentEpoch, Store};
use tokio::{
    sync::Notify,
    time::{MissedTickBehavior, interval},
};
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status};
use tracing::{info, warn};

use crate::{metrics::Metrics, status, store_gate::StoreGate};

/// A ledger beside the table is for readers of the bucket and for agents that are gone: seconds do.
const WRITE_INTERVAL: Duration = Duration::from_secs(3);
/// A bucket answers in tens of milliseconds, and there may be thousands of agents.
const CONCURRENT_WRITES: usize = 16;

#[derive(Debug)]
pub(crate) struct Ledgers {
    gate: Arc<StoreGate>,
    metrics: Metrics,
    newest: Mutex<HashMap<AgentEpoch, Entry>>,
    /// A stream ended: its last ledger should not wait.
    ended: Notify,
    /// An agent reports something else of the policies than before.
    reports: Notify,
    /// The last write failed; the log has said so.
    failing: AtomicBool,
}

#[derive(Debug)]
struct Entry {
    /// Absent until the agent sends one.
    ledger: Option<Ledger>,
    /// How many ledgers came, and how many of them were there when it was last written.
    received: u64,
    written: u64,
    streams: usize,
    /// When the newest came.
    heard: SystemTime,
}

/// A stream's access to the ledger of its epoch.
#[derive(Debug)]
pub(crate) struct OpenLedger {
    ledgers: Arc<Ledgers>,
    id: AgentEpoch,
}

/// Which ledgers to write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Due {
    Changed,
    /// Those of which the table's directory knows nothing.
    NeverWritten,
}

impl Ledgers {
    pub(crate) fn new(gate: Arc<StoreGate>, metrics: Metrics) -> Self {
        Self {
            gate,
            metrics,
            newest: Mutex::default(),
            ended: Notify::new(),
            reports: Notify::new(),
            failing: AtomicBool::new(false),
        }
    }

    pub(crate) fn open(self: &Arc<Self>, id: AgentEpoch) -> OpenLedger {
        self.with(|newest| {
            newest
                .entry(id.clone())
                .or_insert(Entry {
                    ledger: None,
                    received: 0,
                    written: 0,
                    streams: 0,
                    heard: SystemTime::UNIX_EPOCH,
                })
                .streams += 1;
        });
        OpenLedger { ledgers: Arc::clone(self), id }
    }

    /// Hands over the newest ledgers, each with the time when it came; that of an agent that is connected is of now.
    pub(crate) fn with_newest<T>(
        &self,
        f: impl FnOnce(&mut dyn Iterator<Item = (&Ledger, SystemTime)>) -> T,
    ) -> T {
        let now = SystemTime::now();
        self.with(|newest| {
            f(&mut newest.values().filter_map(|entry| {
                let at = if entry.streams > 0 { now } else { entry.heard };
                Some((entry.ledger.as_ref()?, at))
            }))
        })
    }

    /// The epochs whose newest ledger is here.
    pub(crate) fn connected(&self) -> HashSet<AgentEpoch> {
        self.with(|newest| {
            newest.iter().filter(|(_, entry)| entry.streams > 0).map(|(id, _)| id.clone()).collect()
        })
    }

    /// Returns when an agent reports something else of the policies than before.
    pub(crate) async fn reports_changed(&self) {
        self.reports.notified().await;
    }

    /// Writes what changed, every few seconds, until `shutdown`.
    pub(crate) async fn write_until(&self, shutdown: CancellationToken) {
        let store = tokio::select! {
            store = self.gate.opened() => store,
            () = shutdown.cancelled() => return,
        };
        let mut ticks = interval(WRITE_INTERVAL);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = ticks.tick() => {}
                () = self.ended.notified() => {}
                () = shutdown.cancelled() => return,
            }
            self.write(&store, Due::Changed).await;
        }
    }

    /// Writes what is not written yet.
    pub(crate) async fn write_last(&self) {
        if let Ok(store) = self.gate.store() {
            self.write(&store, Due::Changed).await;
        }
    }

    async fn write(&self, store: &Store, due: Due) {
        let due: Vec<(AgentEpoch, u64, Ledger)> = self.with(|newest| {
            newest.retain(|_, entry| entry.streams > 0 || entry.written < entry.received);
            newest
                .iter()
                .filter(|(_, entry)| match due {
                    Due::Changed => entry.written < entry.received,
                    Due::NeverWritten => entry.written == 0,
                })
                .filter_map(|(id, entry)| Some((id.clone(), entry.received, entry.ledger.clone()?)))
                .collect()
        });
        stream::iter(due)
            .for_each_concurrent(CONCURRENT_WRITES, |(id, received, ledger)| async move {
                match store.put_ledger(&ledger).await {
                    Ok(()) => {
                        self.metrics.ledger_write("ok");
                        if self.failing.swap(false, Ordering::Relaxed) {
                            info!("ledgers can be written again");
                        }
                        self.with(|newest| {
                            if let Some(entry) = newest.get_mut(&id) {
                                entry.written = entry.written.max(received);
                            }
                        });
                    }
                    Err(error) => {
                        self.metrics.ledger_write("error");
                        if !self.failing.swap(true, Ordering::Relaxed) {
                            warn!(%error, "ledgers can't be written; the newest are kept in memory");
                        }
                    }
                }
            })
            .await;
    }

    fn with<T>(&self, f: impl FnOnce(&mut HashMap<AgentEpoch, Entry>) -> T) -> T {
        f(&mut self.newest.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl OpenLedger {
    /// The newest ledger is the one that came last: wall clocks may step back.
    pub(crate) fn record(&self, mut ledger: Ledger) {
        ledger.agent.clone_from(&self.id.agent);
        ledger.epoch = self.id.epoch;
        self.ledgers.with(|newest| {
            if let Some(entry) = newest.get_mut(&self.id) {
                let before = entry.ledger.as_ref();
                let is_news = before.is_none_or(|before| before.policies != ledger.policies)
                    || before.is_some_and(|before| before.r#final != ledger.r#final);
                entry.ledger = Some(ledger);
                entry.received += 1;
                entry.heard = SystemTime::now();
                if is_news {
                    self.ledgers.reports.notify_one();
                }
            }
        });
    }
}

impl Drop for OpenLedger {
    fn drop(&mut self) {
        self.ledgers.with(|newest| {
            if let Some(entry) = newest.get_mut(&self.id) {
                entry.streams -= 1;
            }
        });
        self.ledgers.ended.notify_one();
    }
}

/// The service; a newtype because tonic implements services on what it is given by value.
#[derive(Clone, Debug)]
pub(crate) struct LedgerQueries(pub(crate) Arc<Ledgers>);

#[tonic::async_trait]
impl LedgerService for LedgerQueries {
    async fn get_ledger(
        &self,
        request: Request<GetLedgerRequest>,
    ) -> Result<Response<GetLedgerResponse>, Status> {
        let result = self.0.get(&request.into_inner().agent).await;
        self.0.metrics.query("GetLedger", status::code(&result));
        Ok(Response::new(GetLedgerResponse { agents: result? }))
    }
}

impl Ledgers {
    /// Joins what is in memory with what is in the store, sorted by agent and time.
    async fn get(&self, agent: &str) -> Result<Vec<AgentLedger>, Status> {
        let store = self.gate.store()?;
        // What the table holds of an agent is told for ledgers that are beside it.
        self.write(&store, Due::NeverWritten).await;
        let stored = store.ledgers().await.map_err(|error| status::from_store(&error))?;
        let newest: HashMap<AgentEpoch, Ledger> = self.with(|newest| {
            newest.iter().filter_map(|(id, entry)| Some((id.clone(), entry.ledger.clone()?))).collect()
        });
        let mut agents = join(stored, newest);
        agents.retain(|entry| {
            agent.is_empty() || entry.ledger.as_ref().is_some_and(|ledger| ledger.agent == agent)
        });
        Ok(agents)
    }
}

fn join(stored: Vec<AgentLedger>, mut newest: HashMap<AgentEpoch, Ledger>) -> Vec<AgentLedger> {
    let mut agents: Vec<AgentLedger> = stored
        .into_iter()
        .map(|mut entry| {
            if let Some(ledger) = &mut entry.ledger {
                let id = AgentEpoch { agent: ledger.agent.clone(), epoch: ledger.epoch };
                if let Some(newer) = newest.remove(&id) {
                    *ledger = newer;
                }
            }
            entry
        })
        .collect();
    agents.extend(newest.into_values().map(|ledger| AgentLedger {
        ledger: Some(ledger),
        in_table: Some(Amount::default()),
        expired: None,
    }));
    agents.sort_by_cached_key(|entry| {
        entry.ledger.as_ref().map(|ledger| {
            let time = ledger.time.unwrap_or_default();
            (ledger.agent.clone(), time.seconds, time.nanos, ledger.epoch)
        })
    });
    agents
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_wins_over_the_store_and_adds_to_it() {
        let ledger = |agent: &str, epoch, r#final| Ledger {
            agent: agent.to_owned(),
            epoch,
            r#final,
            ..Ledger::default()
        };
        let id = |agent: &str, epoch| AgentEpoch { agent: agent.to_owned(), epoch };
        let in_table = Some(Amount { exchanges: 5, ..Amount::default() });
        let stored = vec![
            AgentLedger { ledger: Some(ledger("b", 1, false)), in_table, expired: None },
            AgentLedger { ledger: Some(ledger("a", 1, false)), in_table, expired: None },
        ];
        let newest = HashMap::from([(id("b", 1), ledger("b", 1, true)), (id("c", 1), ledger("c", 1, false))]);
        let joined = join(stored, newest);
        assert_eq!(
            joined,
            [
                AgentLedger { ledger: Some(ledger("a", 1, false)), in_table, expired: None },
                AgentLedger { ledger: Some(ledger("b", 1, true)), in_table, expired: None },
                AgentLedger {
                    ledger: Some(ledger("c", 1, false)),
                    in_table: Some(Amount::default()),
                    expired: None
                },
            ]
        );
    }
}
