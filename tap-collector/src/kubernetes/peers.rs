//! Names for the ends of connections: which pod, service or node an address was at the time of an exchange.
//!
//! One list and watch of each of pods, services and nodes, for the whole cluster, in the collector alone; agents
//! never watch more than their own node. Names are put into exchanges as they come in, before they are committed:
//! later the address may be another's.
//!
//! An end that has a name keeps it. The tapped end is named by what the agent says of the target. The other end
//! is looked up; where [`Index`] knows nobody, or more than one, it stays as it is, and is counted. A pod that talks
//! to itself, as with its sidecar, is at both ends.

mod index;
mod objects;

use std::{
    net::IpAddr,
    sync::{PoisonError, RwLock},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use kube::{Api, Client, runtime::watcher::Event};
use tap_proto::v1::{Endpoint, Exchange, Role};
use tokio::{
    sync::watch,
    time::{MissedTickBehavior, interval},
};

use self::{
    index::{Found, Index, Millis, Peer},
    objects::{Claims, Node, Pod, Service},
};
use super::watch::{Watched, watch};
use crate::metrics::Metrics;

const PRUNE_INTERVAL: Duration = Duration::from_secs(60);

/// The kinds that are listed before names are complete.
const KINDS: usize = 3;

#[derive(Debug)]
pub(crate) struct Peers {
    index: RwLock<Index>,
    /// How many kinds were listed at least once.
    listed: watch::Sender<usize>,
    metrics: Metrics,
}

/// What became of the ends that were looked up.
#[derive(Debug, Default)]
struct Tally {
    resolved: u64,
    ambiguous: u64,
    unknown: u64,
}

impl Peers {
    pub(crate) fn new(metrics: Metrics) -> Self {
        Self { index: RwLock::default(), listed: watch::Sender::new(0), metrics }
    }

    /// Names the ends of each exchange. Takes no more than the lock, which no I/O holds.
    pub(crate) fn name(&self, exchanges: &mut [Exchange]) {
        let mut tally = Tally::default();
        {
            let index = self.index.read().unwrap_or_else(PoisonError::into_inner);
            for exchange in exchanges {
                name_ends(&index, exchange, &mut tally);
            }
        }
        let Tally { resolved, ambiguous, unknown } = tally;
        for (result, count) in [("resolved", resolved), ("ambiguous", ambiguous), ("unknown", unknown)] {
            self.metrics.peers(result, count);
        }
    }

    /// Keeps the index up to date, for ever.
    pub(crate) async fn follow(&self, client: &Client) {
        tokio::join!(
            self.follow_kind(Api::<Pod>::all(client.clone()), "pods"),
            self.follow_kind(Api::<Service>::all(client.clone()), "services"),
            self.follow_kind(Api::<Node>::all(client.clone()), "nodes"),
            self.prune(),
        );
    }

    /// Returns when every kind was listed.
    pub(crate) async fn listed(&self) {
        // Fails only when `self` is gone.
        let _ = self.listed.subscribe().wait_for(|listed| *listed == KINDS).await;
    }

    async fn follow_kind<K: Watched + Claims>(&self, api: Api<K>, kind: &'static str) {
        let mut first = true;
        watch(api, kind, &self.metrics, |event| {
            let now = now();
            self.with_index(|index| match event {
                Event::Init => index.begin_listing(K::KIND),
                Event::InitDone => index.end_listing(K::KIND, now),
                Event::InitApply(object) | Event::Apply(object) => {
                    if let Some(claim) = object.claim(now) {
                        index.apply(claim, now);
                    }
                }
                Event::Delete(object) => index.remove(object.uid(), object.ended(now)),
            });
            if first && matches!(event, Event::InitDone) {
                first = false;
                self.listed.send_modify(|listed| *listed += 1);
            }
        })
        .await;
    }

    async fn prune(&self) {
        let mut ticks = interval(PRUNE_INTERVAL);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            self.with_index(|index| index.prune(now()));
        }
    }

    fn with_index(&self, f: impl FnOnce(&mut Index)) {
        let mut index = self.index.write().unwrap_or_else(PoisonError::into_inner);
        f(&mut index);
        self.metrics.peer_addresses.set(i64::try_from(index.len()).unwrap_or(i64::MAX));
        self.metrics.peer_addresses_refused.set(i64::try_from(index.refused()).unwrap_or(i64::MAX));
    }
}

fn name_ends(index: &Index, exchange: &mut Exchange, tally: &mut Tally) {
    let role = exchange.role();
    let Exchange { source, destination, namespace, pod, pod_uid, workload, time, .. } = exchange;
    let (tapped, other, is_server) = match role {
        Role::Inbound => (destination, source, false),
        Role::Outbound => (source, destination, true),
        Role::Unspecified => return,
    };
    let name_as_tapped = |end: &mut Endpoint| {
        end.namespace.clone_from(namespace);
        end.pod.clone_from(pod);
        end.workload.clone_from(workload);
    };
    if let Some(tapped) = tapped.as_mut().filter(|tapped| is_nameless(tapped)) {
        name_as_tapped(tapped);
    }
    let Some(other) = other.as_mut().filter(|other| is_nameless(other)) else { return };
    let Ok(ip) = other.ip.parse::<IpAddr>() else { return };
    if ip.is_loopback() && index.has_own_network(pod_uid) {
        name_as_tapped(other);
        tally.resolved += 1;
        return;
    }
    let at = time.as_ref().map_or(0, |time| {
        time.seconds.saturating_mul(1_000).saturating_add(Millis::from(time.nanos) / 1_000_000)
    });
    let server_port = u16::try_from(other.port).ok().filter(|_| is_server);
    match index.find(ip, server_port, at) {
        Found::Peer(Peer { kind: _, namespace, pod, service, workload }) => {
            tally.resolved += 1;
            other.namespace = namespace.to_string();
            other.pod = pod.to_string();
            other.service = service.to_string();
            other.workload = workload.to_string();
        }
        Found::Ambiguous => tally.ambiguous += 1,
        Found::Unknown => tally.unknown += 1,
    }
}

fn is_nameless(end: &Endpoint) -> bool {
    let Endpoint { ip: _, port: _, namespace, pod, service, workload } = end;
    namespace.is_empty() && pod.is_empty() && service.is_empty() && workload.is_empty()
}

fn now() -> Millis {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Millis::try_from(since.as_millis()).unwrap_or(Millis::MAX)
}

#[cfg(test)]
mod tests;
