//! The one task that writes exchanges to the table.

use std::{collections::HashMap, sync::Arc};

use tap_proto::v1::Batch;
use tap_store::{AgentEpoch, Appended, StoreError};
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;
use tonic::Status;
use tracing::{debug, warn};

use super::{
    epoch::Epoch,
    pace::Pace,
    queue::{QueueReceiver, Queued},
};
use crate::{backoff::Backoff, metrics::Metrics, mirrors::Mirrors, store_gate::StoreGate};

#[derive(Debug)]
pub(crate) struct Committer {
    pub(crate) gate: Arc<StoreGate>,
    pub(crate) queue: QueueReceiver,
    pub(crate) pace: Pace,
    /// They get what became durable.
    pub(crate) mirrors: Mirrors,
    pub(crate) metrics: Metrics,
}

/// What one commit is to hold, in the order in which it was queued.
#[derive(Debug, Default)]
struct Commit {
    batches: Vec<Queued>,
    bytes: usize,
    /// The highest sequence of each epoch in `batches`.
    marks: HashMap<AgentEpoch, (Arc<Epoch>, u64)>,
}

impl Committer {
    /// Commits until `ended` says that no stream queues any more, and the queue is empty. From `shutdown` on
    /// nothing is waited for but the store.
    pub(crate) async fn run(mut self, shutdown: CancellationToken, ended: CancellationToken) {
        self.metrics.commit_interval.set(self.pace.interval().as_secs_f64());
        let mut begun = None;
        while let Some(first) = self.first(&ended).await {
            let due = self.pace.due(begun, Instant::now(), rand::random());
            let commit = self.collect(first, due, &shutdown).await;
            begun = Some(Instant::now());
            self.write(commit).await;
        }
    }

    async fn first(&mut self, ended: &CancellationToken) -> Option<Queued> {
        tokio::select! {
            biased;
            queued = self.queue.recv() => queued,
            () = ended.cancelled() => {
                self.queue.close();
                self.queue.recv().await
            }
        }
    }

    async fn collect(&mut self, first: Queued, due: Instant, shutdown: &CancellationToken) -> Commit {
        let mut commit = Commit::default();
        commit.push(first, &self.metrics);
        let bytes = self.pace.bytes();
        while commit.bytes < bytes {
            tokio::select! {
                biased;
                queued = self.queue.recv() => match queued {
                    Some(queued) => commit.push(queued, &self.metrics),
                    None => break,
                },
                () = sleep_until(due) => break,
                () = shutdown.cancelled() => break,
            }
        }
        commit
    }

    /// Tries until the batches are in the table.
    async fn write(&mut self, mut commit: Commit) {
        let store = self.gate.opened().await;
        let mut backoff = Backoff::default();
        while !commit.batches.is_empty() {
            let begin = Instant::now();
            match store.append(commit.to_append()).await {
                Ok(Appended { lost, losses }) => {
                    self.metrics.commit("ok");
                    self.lost(lost, &losses);
                    self.metrics.commit_seconds.observe(begin.elapsed().as_secs_f64());
                    self.gate.reached();
                    commit.committed(&self.metrics, &self.mirrors);
                    return;
                }
                Err(StoreError::InvalidBatch { agent, sequence, reason }) => {
                    self.metrics.commit("error");
                    commit.refuse(&agent, sequence, reason, &self.metrics);
                }
                // The store is there: other collectors write to the same table.
                Err(error @ StoreError::Contended { attempts }) => {
                    self.metrics.commit("error");
                    self.lost(attempts, &[attempts]);
                    debug!(%error, "trying again");
                    backoff.pause().await;
                }
                Err(error) => {
                    self.metrics.commit("error");
                    self.gate.failed(&error);
                    backoff.pause().await;
                }
            }
        }
    }
}

impl Committer {
    /// Commits less often where commits to the table lose many attempts, whoever makes them.
    fn lost(&mut self, own: u32, of_all: &[u32]) {
        self.metrics.commit_conflicts.inc_by(u64::from(own));
        of_all.iter().for_each(|lost| self.pace.adapt(*lost));
        self.metrics.commit_interval.set(self.pace.interval().as_secs_f64());
    }
}

impl Commit {
    fn push(&mut self, queued: Queued, metrics: &Metrics) {
        if queued.session.is_refused() {
            return;
        }
        let epoch = &queued.session.epoch;
        let (_, mark) = self
            .marks
            .entry(epoch.id.clone())
            .or_insert_with(|| (Arc::clone(epoch), epoch.durable_sequence()));
        // An older stream of the epoch queued it before.
        if queued.batch.sequence <= *mark {
            metrics.batch("duplicate");
            return;
        }
        *mark = queued.batch.sequence;
        self.bytes += queued.bytes;
        self.batches.push(queued);
    }

    fn to_append(&self) -> Vec<(AgentEpoch, Arc<Batch>)> {
        let of_agent = |queued: &Queued| (queued.session.epoch.id.clone(), Arc::clone(&queued.batch));
        self.batches.iter().map(of_agent).collect()
    }

    fn committed(self, metrics: &Metrics, mirrors: &Mirrors) {
        let Self { batches, bytes, marks } = self;
        let exchanges: usize = batches.iter().map(|queued| queued.batch.exchanges.len()).sum();
        metrics.committed_batches.inc_by(batches.len() as u64);
        metrics.committed_exchanges.inc_by(exchanges as u64);
        metrics.committed_bytes.inc_by(bytes as u64);
        for (epoch, mark) in marks.into_values() {
            epoch.advance(mark);
        }
        // After the acknowledgements: nothing is waited for, and agents come first.
        for queued in batches {
            mirrors.feed(queued.batch, queued.bytes);
        }
    }

    /// Takes the batch out that the store can't hold, with what follows it in its epoch, and ends its streams.
    fn refuse(&mut self, agent: &str, sequence: u64, reason: &str, metrics: &Metrics) {
        warn!(agent, sequence, reason, "the store refuses a batch; its stream is ended");
        let status = Status::invalid_argument(format!("batch {sequence}: {reason}"));
        let epochs: Vec<AgentEpoch> = self
            .batches
            .iter()
            .filter(|queued| queued.session.epoch.id.agent == agent && queued.batch.sequence == sequence)
            .map(|queued| queued.session.epoch.id.clone())
            .collect();
        // Where the batch is not here, nothing but giving all of them up would end the attempts.
        let unknown = epochs.is_empty();
        self.batches.retain(|queued| {
            let refused =
                unknown || (queued.batch.sequence >= sequence && epochs.contains(&queued.session.epoch.id));
            if refused {
                metrics.batch("refused");
                queued.session.refuse(&status);
            }
            !refused
        });
        self.recount();
    }

    fn recount(&mut self) {
        self.bytes = self.batches.iter().map(|queued| queued.bytes).sum();
        self.marks.clear();
        for queued in &self.batches {
            let epoch = &queued.session.epoch;
            self.marks.insert(epoch.id.clone(), (Arc::clone(epoch), queued.batch.sequence));
        }
    }
}
