//! Pods of this node as targets: what TapPolicies select is tapped, as they say, for as long as they say.
//!
//! ```text
//! API server ─ watch (pods of this node, TapPolicies) ─► selection ─ Command ─► taps ◄─ Command ─ cgroups (inotify)
//!                                                            │  ▲                 │
//!                                          reports ◄─────────┘  └──── state ◄─────┘
//! ```
//!
//! The API server is only read, with one list and one watch for each kind. While it is away everything that is tapped
//! stays so. What an agent knows of a policy goes to the collector with its ledger; the collector writes the status.

mod cgroups;
mod pod;
mod report;
mod routes;
mod selection;
mod watch;

use std::{fmt, sync::mpsc, time::Duration};

use kube::{Api, Client, Resource, core::ObjectMeta, runtime::watcher};
use serde::Deserialize;
use serde_json::Value;
use tap_admin::Pending;
use tap_policy::TapPolicy;
use tap_proto::v1;
use tokio::{
    sync::{mpsc as async_mpsc, watch as state},
    task::JoinSet,
    time::{Instant, sleep, sleep_until},
};
use tracing::{info, warn};

pub use self::{cgroups::PodCgroups, routes::Routes, selection::Redactors};
use self::{
    pod::{PodObject, PodRecord},
    selection::Selection,
    watch::Change,
};
use crate::{
    budget::SheddingPods,
    config::Redaction,
    taps::{Command, TapStatus},
};

/// How long to wait for more changes before they are acted upon together: a roll-out changes many pods at once.
const SETTLE: Duration = Duration::from_millis(20);

/// How long changes of state are gathered before they are reported.
const REPORT_DELAY: Duration = Duration::from_millis(250);

/// How long to wait before the next attempt to set up a client.
const CLIENT_RETRY: Duration = Duration::from_secs(5);

/// Changes that wait to be handled; the watches wait while there are more.
const CHANGES: usize = 256;

/// What the watches and their surroundings share.
pub struct Kubernetes {
    /// The node whose pods are tapped.
    pub node: String,
    pub routes: Routes,
    pub redactors: Redactors,
    /// Changes of the agent's own redaction.
    pub redaction: state::Receiver<Redaction>,
    pub commands: mpsc::SyncSender<Command>,
    pub taps: state::Receiver<Vec<TapStatus>>,
    pub shedding: state::Receiver<SheddingPods>,
    pub reports: state::Sender<Vec<v1::PolicyReport>>,
}

/// A TapPolicy before its spec is read: one that can't be read must not spoil the list of all.
#[derive(Clone, Debug, Deserialize, Resource)]
#[resource(inherit = TapPolicy)]
struct PolicyObject {
    metadata: ObjectMeta,
    #[serde(default)]
    spec: Value,
}

/// What one of the watches told.
enum News {
    Pods(Change<PodRecord>),
    Policies(Change<Box<(ObjectMeta, Value)>>),
}

impl Kubernetes {
    /// Runs until it is dropped. The agent is not ready, `pending`, until everything was listed once.
    pub async fn run(self, pending: Option<Pending>) {
        let client = client().await;
        let (news_tx, news_rx) = async_mpsc::channel(CHANGES);
        let mut watches = JoinSet::new();
        let pods: Api<PodObject> = Api::all(client.clone());
        let of_node =
            watcher::Config::default().any_semantic().fields(&format!("spec.nodeName={}", self.node));
        watches.spawn(watch::watch(
            "pods",
            pods,
            of_node,
            news_tx.clone(),
            |object| PodRecord::of(object).map(|record| (record.uid.to_string(), record)),
            News::Pods,
        ));
        let policies: Api<PolicyObject> = Api::all(client);
        let all = watcher::Config::default().any_semantic();
        watches.spawn(watch::watch(
            "TapPolicies",
            policies,
            all,
            news_tx,
            |object: PolicyObject| {
                let uid = object.metadata.uid.clone()?;
                Some((uid, Box::new((object.metadata, object.spec))))
            },
            News::Policies,
        ));
        self.select(news_rx, pending).await;
    }

    /// Turns news into commands and reports.
    async fn select(self, mut news_rx: async_mpsc::Receiver<News>, mut pending: Option<Pending>) {
        let Self { node, routes, redactors, mut redaction, commands, mut taps, mut shedding, reports } = self;
        let mut selection = Selection::new(routes, redactors);
        let mut act_at: Option<Instant> = None;
        let mut report_at: Option<Instant> = None;
        loop {
            tokio::select! {
                news = news_rx.recv() => {
                    match news {
                        Some(News::Pods(change)) => selection.pods.take(change),
                        Some(News::Policies(change)) => selection.take_policies(change),
                        None => return,
                    }
                    act_at.get_or_insert_with(|| Instant::now() + SETTLE);
                }
                () = until(act_at) => {
                    act_at = None;
                    for command in selection.reconcile() {
                        if commands.send(command).is_err() {
                            return;
                        }
                    }
                    report_at.get_or_insert_with(|| Instant::now() + REPORT_DELAY);
                    if selection.is_complete() && pending.take().is_some() {
                        info!(node, pods = selection.pods.len(), policies = selection.policies(), "following the pods of this node");
                    }
                }
                Ok(()) = redaction.changed() => {
                    selection.set_redaction(redaction.borrow_and_update().clone());
                    act_at.get_or_insert_with(|| Instant::now() + SETTLE);
                }
                Ok(()) = taps.changed() => {
                    taps.mark_unchanged();
                    report_at.get_or_insert_with(|| Instant::now() + REPORT_DELAY);
                }
                Ok(()) = shedding.changed() => {
                    shedding.mark_unchanged();
                    report_at.get_or_insert_with(|| Instant::now() + REPORT_DELAY);
                }
                () = until(report_at) => {
                    report_at = None;
                    let report = selection.report(&taps.borrow(), &shedding.borrow());
                    reports.send_if_modified(|shown| {
                        let changed = *shown != report;
                        *shown = report;
                        changed
                    });
                }
            }
        }
    }
}

/// A client by the cluster's own configuration of pods, or a kubeconfig. Tries until there is one: the files may come late.
async fn client() -> Client {
    // Where several providers are compiled in, rustls refuses to choose.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let mut told = false;
    loop {
        let error = match kube::Config::infer().await {
            Ok(config) => match Client::try_from(config) {
                Ok(client) => return client,
                Err(error) => error.to_string(),
            },
            Err(error) => error.to_string(),
        };
        if !told {
            told = true;
            warn!("can't set up a client of the Kubernetes API, trying again: {error}");
        }
        sleep(CLIENT_RETRY).await;
    }
}

async fn until(instant: Option<Instant>) {
    match instant {
        Some(instant) => sleep_until(instant).await,
        None => std::future::pending().await,
    }
}

impl fmt::Debug for Kubernetes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Kubernetes").field("node", &self.node).finish_non_exhaustive()
    }
}
