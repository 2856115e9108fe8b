//! The collector in a cluster: names for the ends of connections, and the statuses of TapPolicies.
//!
//! - [`peers`]: one watch each of pods, services and nodes; every replica has its own, because each names what it
//!   takes in.
//! - [`statuses`]: what became of each TapPolicy, written by one of the replicas, which [`lease`] chooses.
//!
//!
//! Each replica follows the policies for their mirrors, too ([`crate::mirrors`]).
//!
//! Everything else goes on without the API server. It is waited for once, at the start, and not for long: until
//! [`FIRST_LISTING`] the collector is not ready, so that a restart doesn't store exchanges without names.

mod client;
mod lease;
pub(crate) mod peers;
mod statuses;
pub(crate) mod watch;

use std::{sync::Arc, time::Duration};

use kube::{Client, Config};
use tap_admin::Pending;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tracing::warn;

use self::{
    lease::{Election, Terms},
    peers::Peers,
    statuses::Statuses,
};
use crate::{
    config::KubernetesConfig, ledgers::Ledgers, metrics::Metrics, mirrors::Mirrors, store_gate::StoreGate,
};

/// For the first lists of a large cluster. Agents keep what they capture meanwhile.
const FIRST_LISTING: Duration = Duration::from_secs(15);

/// What readiness calls it until then.
pub(crate) const CONDITION: &str = "kubernetes";

#[derive(Debug)]
pub(crate) struct Kubernetes {
    pub(crate) config: KubernetesConfig,
    pub(crate) peers: Arc<Peers>,
    pub(crate) ledgers: Arc<Ledgers>,
    pub(crate) gate: Arc<StoreGate>,
    pub(crate) mirrors: Mirrors,
    pub(crate) metrics: Metrics,
}

impl Kubernetes {
    /// Runs until `shutdown`, and then until the lease is given up. `names` is what readiness waits for.
    pub(crate) async fn run(self, names: Pending, shutdown: CancellationToken) {
        let first_listing = shutdown.run_until_cancelled(async {
            if timeout(FIRST_LISTING, self.peers.listed()).await.is_err() {
                warn!(
                    "pods, services and nodes are not listed yet: exchanges are stored without their names"
                );
            }
            drop(names);
        });
        let follow = async {
            let Some((client, config)) = shutdown.run_until_cancelled(client::connect()).await else {
                return;
            };
            tokio::join!(
                shutdown.run_until_cancelled(self.peers.follow(&client)),
                shutdown.run_until_cancelled(self.mirrors.follow(&client, &self.metrics)),
                self.write_statuses(&client, &config, &shutdown),
            );
        };
        tokio::join!(first_listing, follow);
    }

    async fn write_statuses(&self, client: &Client, config: &Config, shutdown: &CancellationToken) {
        let namespace = self.config.namespace.as_deref().unwrap_or(&config.default_namespace);
        let election = Election::new(
            client,
            namespace,
            &self.config.lease,
            identity(),
            Terms::default(),
            self.metrics.clone(),
        );
        let statuses = Statuses::new(
            client.clone(),
            Arc::clone(&self.ledgers),
            Arc::clone(&self.gate),
            self.mirrors.clone(),
            self.metrics.clone(),
        );
        election.run(shutdown, || statuses.run()).await;
    }
}

/// The pod's name, and what tells a restarted container from the one before.
fn identity() -> String {
    let host = std::env::var("HOSTNAME").unwrap_or_else(|_| "tap-collector".to_owned());
    format!("{host}_{}", uuid::Uuid::now_v7())
}
