//! One run of the agent: what is started, in which order it ends.

use std::{
    fmt,
    sync::{Arc, mpsc},
    thread::{self, JoinHandle},
    time::Duration,
};

use anyhow::{Context as _, bail};
use tap_admin::{Admin, LogLevel, Pending, Readiness, register_process_metrics};
use tokio::{net::TcpListener, sync::watch, task, time::timeout};
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use crate::{
    capture::{Capture, CaptureOptions},
    cgroup::Hierarchy,
    config::Config,
    kernel::Kernel,
    ledger::Ledger,
    metrics::AgentMetrics,
    pipeline::{Pipeline, PipelineContext, SegmentSource},
    registry::Registry,
    spool::Spool,
    taps::{Hooks, TapState, TapStatus, Taps},
    uplink::Uplink,
};

/// A running agent. Dropping it without [`Agent::drain`] loses what is not acknowledged.
pub struct Agent {
    pipeline: Pipeline,
    taps: Option<TapsThread>,
    status_rx: watch::Receiver<Vec<TapStatus>>,
    uplink: task::JoinHandle<()>,
    /// Tells the uplink that nothing more will come.
    drain: CancellationToken,
    drain_timeout: Duration,
    ledger: Arc<Ledger>,
    spool: Arc<Spool>,
    admin: Option<task::JoinHandle<()>>,
    shutdown_admin: CancellationToken,
}

/// The thread that attaches and detaches; closing the channel ends it.
struct TapsThread {
    stop: mpsc::Sender<()>,
    thread: JoinHandle<()>,
}

/// How a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Drained {
    /// Exchanges that the collector has not acknowledged.
    pub unsent: u64,
}

impl Agent {
    /// Loads the programs and starts everything. Must be called within a Tokio runtime.
    pub async fn start(config: &Config, log_level: LogLevel) -> anyhow::Result<Self> {
        let hierarchy = Hierarchy::find().context("find the cgroups of this host")?;
        let options = CaptureOptions {
            rings: config.rings.count,
            ring_bytes: config.rings.bytes,
            segment_cap: config.rings.segment_bytes,
        };
        let mut capture = Capture::load(&options).context("load the kernel programs")?;
        let rings = capture.take_rings();
        let kernel = Kernel::new(capture);
        Self::with_sources(config, log_level, hierarchy, kernel, rings).await
    }

    /// Starts everything but the kernel programs.
    async fn with_sources<K, S>(
        config: &Config,
        log_level: LogLevel,
        hierarchy: Hierarchy,
        kernel: K,
        sources: Vec<S>,
    ) -> anyhow::Result<Self>
    where
        K: Hooks + crate::ledger::KernelLedger + Clone + 'static,
        S: SegmentSource,
    {
        let epoch = rand::random();
        let registry = Arc::new(Registry::default());
        let spool = Arc::new(Spool::new(config.spool_bytes));
        let context = PipelineContext {
            agent: config.agent.clone(),
            epoch,
            limits: config.limits.clone(),
            registry: Arc::clone(&registry),
            redactor: Arc::clone(&config.redaction.redactor),
            spool: Arc::clone(&spool),
        };
        let kernel_ledger = Arc::new(kernel.clone());
        let taps =
            Taps::new(kernel, hierarchy, Arc::clone(&registry), kernel_ledger.clone(), &config.targets);
        let status_rx = taps.status();
        // Bound before anything is captured, so that a port in use ends a start and not a run.
        let admin_listener = match config.admin {
            Some(address) => Some(
                TcpListener::bind(address)
                    .await
                    .with_context(|| format!("listen on the admin port {address}"))?,
            ),
            None => None,
        };
        let pipeline = Pipeline::start(sources, &context).context("start the threads of the rings")?;
        let ledger = Arc::new(Ledger::new(
            &config.agent,
            epoch,
            registry,
            kernel_ledger,
            pipeline.progress(),
            Arc::clone(&spool),
        ));
        let drain = CancellationToken::new();
        let uplink = Uplink::new(
            config.collector.0.clone(),
            config.spool_bytes,
            Arc::clone(&ledger),
            Arc::clone(&spool),
            drain.clone(),
        );

        let shutdown_admin = CancellationToken::new();
        let admin = admin_listener.map(|listener| {
            let mut registry = prometheus_client::registry::Registry::default();
            register_process_metrics(&mut registry);
            let metrics = AgentMetrics {
                ledger: Arc::clone(&ledger),
                spool: Arc::clone(&spool),
                spool_limit: config.spool_bytes,
                uplink: uplink.status(),
                taps: status_rx.clone(),
            };
            metrics.register(&mut registry);
            let readiness = Readiness::default();
            task::spawn(show_readiness(status_rx.clone(), readiness.clone()));
            let admin = Admin { registry: Arc::new(registry), readiness, log_level };
            if let Ok(address) = listener.local_addr() {
                info!(%address, "admin port");
            }
            task::spawn(tap_admin::run(listener, admin, shutdown_admin.clone()))
        });

        let (stop, stopped) = mpsc::channel();
        let thread = thread::Builder::new()
            .name("taps".to_owned())
            .spawn(move || taps.run(&stopped))
            .context("start the thread of the taps")?;
        Ok(Self {
            pipeline,
            taps: Some(TapsThread { stop, thread }),
            status_rx,
            uplink: task::spawn(uplink.run()),
            drain,
            drain_timeout: config.drain_timeout,
            ledger,
            spool,
            admin,
            shutdown_admin,
        })
    }

    /// Waits until every target is tapped; fails with the reason when one can't be.
    pub async fn tapped(&mut self) -> anyhow::Result<()> {
        loop {
            let mut all = true;
            for TapStatus { name, state } in self.status_rx.borrow_and_update().iter() {
                match state {
                    TapState::Attached => {}
                    TapState::Failed { reason } => bail!("can't tap {name}: {reason}"),
                    TapState::Awaited { .. } | TapState::Ended => all = false,
                }
            }
            if all {
                return Ok(());
            }
            self.status_rx.changed().await.context("the thread of the taps has ended")?;
        }
    }

    /// Ends when the agent can't go on: a thread of its own has ended.
    pub fn failed(&self) -> CancellationToken {
        self.pipeline.ended()
    }

    /// The counters of this run.
    pub fn ledger(&self) -> Arc<Ledger> {
        Arc::clone(&self.ledger)
    }

    /// What is not acknowledged yet.
    pub fn spool(&self) -> Arc<Spool> {
        Arc::clone(&self.spool)
    }

    /// Detaches, passes on everything that was captured, and waits for the collector, within the configured time.
    pub async fn drain(mut self) -> Drained {
        if let Some(TapsThread { stop, thread }) = self.taps.take() {
            drop(stop);
            join(thread).await;
        }
        let pipeline = self.pipeline;
        if !task::spawn_blocking(|| pipeline.finish()).await.unwrap_or(false) {
            error!("a thread of the rings has panicked; what it held is lost");
        }
        self.drain.cancel();
        let acknowledged = timeout(self.drain_timeout, &mut self.uplink).await;
        let unsent = self.spool.usage().exchanges;
        if acknowledged.is_err() {
            self.uplink.abort();
        }
        if unsent > 0 {
            warn!(
                exchanges = unsent,
                "ended before the collector had stored everything; these exchanges are lost"
            );
        }
        for account in self.ledger.accounts() {
            let (bytes, exchanges) = account.imbalance();
            if (bytes, exchanges) != (0, 0) {
                error!(
                    target_name = account.name,
                    bytes, exchanges, "the ledger does not balance: report this as a bug"
                );
            }
        }
        self.shutdown_admin.cancel();
        if let Some(admin) = self.admin {
            let _ = admin.await;
        }
        Drained { unsent }
    }
}

/// Runs an agent until `shutdown` ends, and drains it. An error means that the agent could not start or go on.
pub async fn run(
    config: &Config,
    log_level: LogLevel,
    shutdown: impl Future<Output = ()>,
) -> anyhow::Result<Drained> {
    let agent = Agent::start(config, log_level).await?;
    let failed = agent.failed();
    let well = tokio::select! {
        () = shutdown => true,
        () = failed.cancelled() => false,
    };
    let drained = agent.drain().await;
    if !well {
        bail!("a thread of the rings has ended");
    }
    Ok(drained)
}

/// Not ready while a target that is there could not be tapped, or none was looked for yet.
async fn show_readiness(mut status_rx: watch::Receiver<Vec<TapStatus>>, readiness: Readiness) {
    let mut pending: Vec<Pending> = vec![readiness.pending("targets: not looked for yet")];
    while status_rx.changed().await.is_ok() {
        let failed: Vec<_> = status_rx
            .borrow_and_update()
            .iter()
            .filter_map(|TapStatus { name, state }| match state {
                TapState::Failed { reason } => Some(readiness.pending(format!("target {name}: {reason}"))),
                TapState::Awaited { .. } | TapState::Attached | TapState::Ended => None,
            })
            .collect();
        pending = failed;
    }
    drop(pending);
}

async fn join(thread: JoinHandle<()>) {
    if !matches!(task::spawn_blocking(|| thread.join()).await, Ok(Ok(()))) {
        error!("the thread of the taps has panicked");
    }
}

impl fmt::Debug for Agent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Agent").field("ledger", &self.ledger).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
