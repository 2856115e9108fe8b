//! The ways to collectors: for each a spool, an epoch and a stream of its own.
//!
//! The first is the agent's own. The others are used once a policy sends something there: until then they hold nothing and
//! connect to nobody.

use std::sync::Arc;

use anyhow::Context as _;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tonic::transport::Endpoint;

use crate::{
    config::Collector,
    kubernetes::Routes,
    ledger::Ledger,
    registry::RouteId,
    spool::Spool,
    uplink::{Uplink, UplinkStatus},
};

/// All uplinks, in the order of their routes.
pub(super) struct Uplinks {
    ways: Vec<Way>,
    status: Vec<Arc<UplinkStatus>>,
    tasks: Vec<JoinHandle<()>>,
    spool_bytes: usize,
    /// Tells the uplinks that nothing more will come.
    drain: CancellationToken,
}

struct Way {
    endpoint: Endpoint,
    epoch: u64,
    spool: Arc<Spool>,
}

impl Uplinks {
    /// Sends nothing yet.
    pub(super) fn new(own: &Collector, routes: &Routes, spool_bytes: usize) -> anyhow::Result<Self> {
        let way =
            |endpoint| Way { endpoint, epoch: rand::random(), spool: Arc::new(Spool::new(spool_bytes)) };
        let mut ways = vec![way(own.0.clone())];
        for url in routes.collectors().iter().skip(1) {
            let endpoint = Endpoint::from_shared(url.clone());
            ways.push(way(endpoint.with_context(|| format!("the collector {url}"))?));
        }
        Ok(Self { ways, status: Vec::new(), tasks: Vec::new(), spool_bytes, drain: CancellationToken::new() })
    }

    /// The epoch of the agent's own collector, which names this run.
    pub(super) fn epoch(&self) -> u64 {
        self.ways.first().map_or(0, |way| way.epoch)
    }

    pub(super) fn spools(&self) -> Vec<Arc<Spool>> {
        self.ways.iter().map(|way| Arc::clone(&way.spool)).collect()
    }

    pub(super) fn status(&self) -> Vec<Arc<UplinkStatus>> {
        self.status.clone()
    }

    pub(super) fn start(mut self, ledger: &Arc<Ledger>) -> Self {
        for (index, Way { endpoint, epoch, spool }) in self.ways.iter().enumerate() {
            let route = RouteId(index);
            let uplink = Uplink::new(
                endpoint.clone(),
                self.spool_bytes,
                (route, *epoch),
                Arc::clone(ledger),
                Arc::clone(spool),
                self.drain.clone(),
            );
            self.status.push(uplink.status());
            let (spool, drain) = (Arc::clone(spool), self.drain.clone());
            self.tasks.push(tokio::spawn(async move {
                if route != RouteId(0) {
                    tokio::select! {
                        () = spool.pushed() => {}
                        () = drain.cancelled() => {}
                    }
                    if spool.is_empty() {
                        return;
                    }
                }
                uplink.run().await;
            }));
        }
        self
    }

    /// Sends what is left; ends when everything is acknowledged, or there is nothing to send and no collector.
    pub(super) async fn drain(&mut self) {
        self.drain.cancel();
        for task in &mut self.tasks {
            let _ = task.await;
        }
    }

    /// Gives up what is left.
    pub(super) fn abort(&self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}
