//! The collector's metrics.
//!
//! | metric                                              | what                                              |
//! |-----------------------------------------------------|---------------------------------------------------|
//! | `podtap_collector_batches_total{result}`            | batches received: `queued`, `duplicate`, `refused` |
//! | `podtap_collector_committed_batches_total`          | batches that became durable                       |
//! | `podtap_collector_committed_exchanges_total`        | exchanges that became durable                     |
//! | `podtap_collector_committed_bytes_total`            | their size on the wire, uncompressed              |
//! | `podtap_collector_commits_total{result}`            | attempts to commit: `ok`, `error`                 |
//! | `podtap_collector_commit_seconds`                   | how long a successful attempt took                |
//! | `podtap_collector_commit_conflicts_total`           | attempts to commit that other collectors won      |
//! | `podtap_collector_commit_interval_seconds`          | time between commits, longer than set while many are lost |
//! | `podtap_collector_queue_bytes`                      | received and not yet durable                      |
//! | `podtap_collector_ingest_streams`                   | agents' streams that are open                     |
//! | `podtap_collector_store_reachable`                  | 0 while the store is away                         |
//! | `podtap_collector_store_outage{reason}`             | 1 for why it is away: `disk_full`, `denied`, …    |
//! | `podtap_collector_ledger_writes_total{result}`      | ledgers put beside the table: `ok`, `error`       |
//! | `podtap_collector_table_files`, `…_bytes`           | data files that the table names, and their size   |
//! | `podtap_collector_maintenance_total{step}`          | steps: `checkpoint`, `expired`, `compacted`, `vacuumed`, `error` |
//! | `podtap_collector_expired_exchanges_total{reason}`  | exchanges that retention removed: `age`, `bytes`  |
//! | `podtap_collector_expired_bytes_total{reason}`      | their size on the wire                            |
//! | `podtap_collector_compacted_files_total`            | files that were merged into others                |
//! | `podtap_collector_vacuumed_objects_total`, `…_bytes_total` | files deleted that the table did not name  |
//! | `podtap_collector_queries_total{method, code}`      | Search, Get, Tail, GetLedger, by gRPC code        |
//! | `podtap_collector_tails`                            | Tail streams that are open                        |
//! | `podtap_collector_replays_running`                  | replays that run                                  |
//! | `podtap_collector_replays_total{state}`             | replays that ended: `finished`, `stopped`, `failed`, `aborted`, `interrupted` |
//! | `podtap_collector_peers_total{result}`              | peers of exchanges: `resolved`, `ambiguous`, `unknown` |
//! | `podtap_collector_peer_addresses`                   | addresses of pods, services, nodes that are known |
//! | `podtap_collector_peer_addresses_refused`           | of them not taken, because of a cap               |
//! | `podtap_collector_watch_up{kind}`                   | 1 while the API server answers the watch          |
//! | `podtap_collector_watch_errors_total{kind}`         | watches that broke or could not begin             |
//! | `podtap_collector_leading`                          | 1 in the replica that writes statuses             |
//! | `podtap_collector_status_writes_total{result}`      | statuses of TapPolicies: `ok`, `error`            |
//!
//! Beside them the `process_*` metrics of `tap_admin`.

use std::sync::atomic::AtomicU64;

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram},
    registry::Registry,
};
use tap_proto::v1::Amount;
use tap_store::Outage;
use tonic::Code;

/// From a local directory's milliseconds to a far bucket under load.
const COMMIT_SECONDS: [f64; 11] = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];

/// Clones count together.
#[derive(Clone, Debug)]
pub(crate) struct Metrics {
    pub(crate) batches: Family<ResultLabel, Counter>,
    pub(crate) committed_batches: Counter,
    pub(crate) committed_exchanges: Counter,
    pub(crate) committed_bytes: Counter,
    pub(crate) commits: Family<ResultLabel, Counter>,
    pub(crate) commit_seconds: Histogram,
    pub(crate) commit_conflicts: Counter,
    pub(crate) commit_interval: Gauge<f64, AtomicU64>,
    pub(crate) queue_bytes: Gauge,
    pub(crate) ingest_streams: Gauge,
    pub(crate) store_reachable: Gauge,
    store_outage: Family<ReasonLabel, Gauge>,
    pub(crate) ledger_writes: Family<ResultLabel, Counter>,
    pub(crate) table_files: Gauge,
    pub(crate) table_bytes: Gauge,
    maintenance: Family<StepLabel, Counter>,
    expired_exchanges: Family<ReasonLabel, Counter>,
    expired_bytes: Family<ReasonLabel, Counter>,
    pub(crate) compacted_files: Counter,
    pub(crate) vacuumed_objects: Counter,
    pub(crate) vacuumed_bytes: Counter,
    pub(crate) queries: Family<QueryLabels, Counter>,
    pub(crate) tails: Gauge,
    pub(crate) replays_running: Gauge,
    pub(crate) replays: Family<StateLabel, Counter>,
    peers: Family<ResultLabel, Counter>,
    pub(crate) peer_addresses: Gauge,
    pub(crate) peer_addresses_refused: Gauge,
    watch_up: Family<KindLabel, Gauge>,
    watch_errors: Family<KindLabel, Counter>,
    pub(crate) leading: Gauge,
    status_writes: Family<ResultLabel, Counter>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct ResultLabel {
    pub(crate) result: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct StateLabel {
    pub(crate) state: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct StepLabel {
    pub(crate) step: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct ReasonLabel {
    pub(crate) reason: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct KindLabel {
    pub(crate) kind: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct QueryLabels {
    pub(crate) method: &'static str,
    pub(crate) code: String,
}

/// Counts one in a gauge while it lives.
#[derive(Debug)]
pub(crate) struct InGauge(Gauge);

/// Counts bytes in a gauge while it lives.
#[derive(Debug)]
pub(crate) struct InBytes {
    gauge: Gauge,
    bytes: i64,
}

impl Metrics {
    pub(crate) fn register(registry: &mut Registry) -> Self {
        let metrics = Self {
            batches: Family::default(),
            committed_batches: Counter::default(),
            committed_exchanges: Counter::default(),
            committed_bytes: Counter::default(),
            commits: Family::default(),
            commit_seconds: Histogram::new(COMMIT_SECONDS),
            commit_conflicts: Counter::default(),
            commit_interval: Gauge::default(),
            queue_bytes: Gauge::default(),
            ingest_streams: Gauge::default(),
            store_reachable: Gauge::default(),
            store_outage: Family::default(),
            ledger_writes: Family::default(),
            table_files: Gauge::default(),
            table_bytes: Gauge::default(),
            maintenance: Family::default(),
            expired_exchanges: Family::default(),
            expired_bytes: Family::default(),
            compacted_files: Counter::default(),
            vacuumed_objects: Counter::default(),
            vacuumed_bytes: Counter::default(),
            queries: Family::default(),
            tails: Gauge::default(),
            replays_running: Gauge::default(),
            replays: Family::default(),
            peers: Family::default(),
            peer_addresses: Gauge::default(),
            peer_addresses_refused: Gauge::default(),
            watch_up: Family::default(),
            watch_errors: Family::default(),
            leading: Gauge::default(),
            status_writes: Family::default(),
        };
        let registry = registry.sub_registry_with_prefix("podtap_collector");
        registry.register("batches", "Batches received, by result", metrics.batches.clone());
        registry.register(
            "committed_batches",
            "Batches that became durable",
            metrics.committed_batches.clone(),
        );
        registry.register(
            "committed_exchanges",
            "Exchanges that became durable",
            metrics.committed_exchanges.clone(),
        );
        registry.register(
            "committed_bytes",
            "Size on the wire, uncompressed, of the exchanges that became durable",
            metrics.committed_bytes.clone(),
        );
        registry.register("commits", "Attempts to commit, by result", metrics.commits.clone());
        registry.register(
            "commit_seconds",
            "How long a successful commit took",
            metrics.commit_seconds.clone(),
        );
        registry.register(
            "commit_conflicts",
            "Attempts to commit that other collectors won",
            metrics.commit_conflicts.clone(),
        );
        registry.register(
            "commit_interval_seconds",
            "Time between commits: as set, or longer while many attempts are lost",
            metrics.commit_interval.clone(),
        );
        registry.register("queue_bytes", "Received and not yet durable", metrics.queue_bytes.clone());
        registry.register("ingest_streams", "Streams of agents", metrics.ingest_streams.clone());
        registry.register(
            "store_reachable",
            "0 while the store can't be reached",
            metrics.store_reachable.clone(),
        );
        registry.register(
            "store_outage",
            "1 for the reason for which the store can't be used",
            metrics.store_outage.clone(),
        );
        for outage in Outage::ALL {
            metrics.store_outage(outage, false);
        }
        registry.register("ledger_writes", "Ledgers written, by result", metrics.ledger_writes.clone());
        metrics.register_maintenance(registry);
        registry.register("queries", "Queries by method and gRPC code", metrics.queries.clone());
        registry.register("tails", "Tail streams that are open", metrics.tails.clone());
        registry.register("replays_running", "Replays that run", metrics.replays_running.clone());
        registry.register("replays", "Replays that ended, by state", metrics.replays.clone());
        registry.register(
            "peers",
            "Peers of exchanges that were looked up, by result",
            metrics.peers.clone(),
        );
        registry.register(
            "peer_addresses",
            "Addresses of pods, services and nodes that are known",
            metrics.peer_addresses.clone(),
        );
        registry.register(
            "peer_addresses_refused",
            "Addresses that were not taken because of a cap",
            metrics.peer_addresses_refused.clone(),
        );
        registry.register(
            "watch_up",
            "1 while the API server answers the watch of this kind",
            metrics.watch_up.clone(),
        );
        registry.register(
            "watch_errors",
            "Watches of this kind that broke or could not begin",
            metrics.watch_errors.clone(),
        );
        registry.register("leading", "1 in the replica that writes statuses", metrics.leading.clone());
        registry.register(
            "status_writes",
            "Statuses of TapPolicies that were written, by result",
            metrics.status_writes.clone(),
        );
        metrics
    }

    fn register_maintenance(&self, registry: &mut Registry) {
        registry.register("table_files", "Data files that the table names", self.table_files.clone());
        registry.register(
            "table_bytes",
            "Size of the data files that the table names",
            self.table_bytes.clone(),
        );
        registry.register("maintenance", "Steps of the table's maintenance", self.maintenance.clone());
        registry.register(
            "expired_exchanges",
            "Exchanges that retention removed",
            self.expired_exchanges.clone(),
        );
        registry.register(
            "expired_bytes",
            "Size on the wire of the exchanges that retention removed",
            self.expired_bytes.clone(),
        );
        registry.register(
            "compacted_files",
            "Files that were merged into others",
            self.compacted_files.clone(),
        );
        registry.register(
            "vacuumed_objects",
            "Files that were deleted as the table did not name them",
            self.vacuumed_objects.clone(),
        );
        registry.register("vacuumed_bytes", "Their size", self.vacuumed_bytes.clone());
    }

    pub(crate) fn maintenance(&self, step: &'static str) {
        self.maintenance.get_or_create(&StepLabel { step }).inc();
    }

    pub(crate) fn expired(&self, reason: &'static str, amount: &Amount) {
        self.expired_exchanges.get_or_create(&ReasonLabel { reason }).inc_by(amount.exchanges);
        self.expired_bytes.get_or_create(&ReasonLabel { reason }).inc_by(amount.bytes);
    }

    pub(crate) fn store_outage(&self, outage: Outage, is_so: bool) {
        self.store_outage.get_or_create(&ReasonLabel { reason: outage.name() }).set(i64::from(is_so));
    }

    pub(crate) fn peers(&self, result: &'static str, count: u64) {
        self.peers.get_or_create(&ResultLabel { result }).inc_by(count);
    }

    pub(crate) fn watch_up(&self, kind: &'static str, up: bool) {
        self.watch_up.get_or_create(&KindLabel { kind }).set(i64::from(up));
    }

    pub(crate) fn watch_error(&self, kind: &'static str) {
        self.watch_errors.get_or_create(&KindLabel { kind }).inc();
    }

    pub(crate) fn status_write(&self, result: &'static str) {
        self.status_writes.get_or_create(&ResultLabel { result }).inc();
    }

    pub(crate) fn batch(&self, result: &'static str) {
        self.batches.get_or_create(&ResultLabel { result }).inc();
    }

    pub(crate) fn commit(&self, result: &'static str) {
        self.commits.get_or_create(&ResultLabel { result }).inc();
    }

    pub(crate) fn ledger_write(&self, result: &'static str) {
        self.ledger_writes.get_or_create(&ResultLabel { result }).inc();
    }

    pub(crate) fn query(&self, method: &'static str, code: Code) {
        self.queries.get_or_create(&QueryLabels { method, code: format!("{code:?}") }).inc();
    }

    pub(crate) fn replay_ended(&self, state: &'static str) {
        self.replays.get_or_create(&StateLabel { state }).inc();
    }
}

impl InGauge {
    pub(crate) fn new(gauge: &Gauge) -> Self {
        gauge.inc();
        Self(gauge.clone())
    }
}

impl Drop for InGauge {
    fn drop(&mut self) {
        self.0.dec();
    }
}

impl InBytes {
    pub(crate) fn new(gauge: &Gauge, bytes: usize) -> Self {
        let bytes = i64::try_from(bytes).unwrap_or(i64::MAX);
        gauge.inc_by(bytes);
        Self { gauge: gauge.clone(), bytes }
    }
}

impl Drop for InBytes {
    fn drop(&mut self) {
        self.gauge.dec_by(self.bytes);
    }
}

#[cfg(test)]
impl Metrics {
    /// Registered nowhere.
    pub(crate) fn unregistered() -> Self {
        Self::register(&mut Registry::default())
    }

    pub(crate) fn peers_named(&self, result: &'static str) -> u64 {
        self.peers.get_or_create(&ResultLabel { result }).get()
    }
}
