//! One run of the agent: what is started, in which order it ends.

mod routes;

use std::{
    fmt,
    sync::{Arc, mpsc},
    thread::{self, JoinHandle},
    time::Duration,
};

use anyhow::{Context as _, bail};
use tap_admin::{Admin, LogLevel, Pending, Readiness, register_process_metrics};
use tap_flow::TapId;
use tap_proto::v1;
use tokio::{
    net::TcpListener,
    sync::watch,
    task,
    time::{interval, timeout},
};
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use crate::{
    budget::{self, Shedding, Usage, resident_bytes},
    capture::{Capture, CaptureOptions},
    cgroup::Hierarchy,
    clock::boottime,
    config::{Config, TargetConfig},
    kernel::Kernel,
    kubernetes::{Kubernetes, PodCgroups, Redactors, Routes},
    ledger::Ledger,
    metrics::AgentMetrics,
    pipeline::{Pipeline, PipelineContext, SegmentSource},
    registry::{Details, Registry, RouteId},
    reload, self_test,
    taps::{Command, Hooks, TapState, TapStatus, Taps, TargetId, Wanted},
};

use self::routes::Uplinks;

/// Commands that wait for the thread of the taps: some for each pod of a node. Who sends more waits.
const COMMANDS: usize = 4096;

/// The root of the cgroup tree on every 64-bit kernel (since 5.5; `kernfs_create_root`, fs/kernfs/dir.c).
const ROOT_CGROUP: TapId = TapId(1);

/// How often targets that have ended are folded.
const FOLD_INTERVAL: Duration = Duration::from_secs(1);

/// A running agent. Dropping it without [`Agent::drain`] loses what is not acknowledged.
pub struct Agent {
    pipeline: Pipeline,
    taps: Option<TapsThread>,
    status_rx: watch::Receiver<Vec<TapStatus>>,
    /// Targets that the configuration names.
    configured: usize,
    pods: Option<Pods>,
    folding: task::JoinHandle<()>,
    monitor: task::JoinHandle<()>,
    usage: watch::Receiver<Usage>,
    uplinks: Uplinks,
    drain_timeout: Duration,
    ledger: Arc<Ledger>,
    admin: Option<task::JoinHandle<()>>,
    shutdown_admin: CancellationToken,
}

/// The thread that attaches and detaches.
struct TapsThread {
    commands: mpsc::SyncSender<Command>,
    thread: JoinHandle<()>,
}

/// What makes pods targets.
struct Pods {
    watches: task::JoinHandle<()>,
    cgroups: PodCgroups,
}

/// Who tells of pods.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum PodSource {
    /// The API server and the cgroups of this node.
    Cluster,
    /// Only who sends commands.
    #[cfg(test)]
    Commands,
}

/// What is known before anything is captured.
#[derive(Debug, Default)]
struct Found {
    /// Of each way to send, the word for whether the programs see it.
    self_test: Vec<(&'static str, &'static str)>,
    /// Memory of the process, in bytes.
    process: u64,
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
        let root = config.kubernetes.as_ref().and_then(|kubernetes| kubernetes.cgroup_root.as_deref());
        let hierarchy = root.map_or_else(Hierarchy::find, Hierarchy::below);
        let hierarchy = hierarchy.context("find the cgroups of this host")?;
        let options = CaptureOptions {
            rings: config.rings.count,
            ring_bytes: config.rings.bytes,
            segment_cap: config.rings.segment_bytes,
            judge: true,
        };
        let mut capture = Capture::load(&options).context("load the kernel programs")?;
        let mut rings = capture.take_rings();
        let mut self_test = Vec::new();
        if config.self_test {
            // Not in the root cgroup: it would run the programs for every socket of the host.
            let own = hierarchy.own().filter(|own| own.tap != ROOT_CGROUP);
            let report = self_test::run(&mut capture, &mut rings, own.as_ref().map(|own| own.path.as_path()));
            report.log();
            self_test.extend(report.results());
        }
        let kernel = Kernel::new(capture);
        let found = Found { self_test, process: resident_bytes() };
        Self::with_sources(config, log_level, hierarchy, kernel, rings, PodSource::Cluster, found).await
    }

    /// Starts everything but the kernel programs.
    async fn with_sources<K, S>(
        config: &Config,
        log_level: LogLevel,
        hierarchy: Hierarchy,
        kernel: K,
        sources: Vec<S>,
        pod_source: PodSource,
        found: Found,
    ) -> anyhow::Result<Self>
    where
        K: Hooks + crate::ledger::KernelLedger + Clone + 'static,
        S: SegmentSource,
    {
        let Found { self_test, process } = found;
        let registry = Arc::new(Registry::default());
        let (reports_tx, reports_rx) = watch::channel::<Vec<v1::PolicyReport>>(Vec::new());
        let allowed = config.kubernetes.as_ref().map_or(&[][..], |kubernetes| &kubernetes.collectors);
        let routes = Routes::new(&config.collector.0.uri().to_string(), allowed);
        let uplinks = Uplinks::new(&config.collector, &routes, config.spool_bytes)?;
        let (redaction_tx, redaction_rx) = watch::channel(config.redaction.clone());
        let shedding = Arc::new(Shedding::default());
        let context = PipelineContext {
            agent: config.agent.clone(),
            epoch: uplinks.epoch(),
            limits: config.limits.clone(),
            registry: Arc::clone(&registry),
            replayed: config.replayed,
            redaction: redaction_rx.clone(),
            spools: uplinks.spools(),
            shedding: Arc::clone(&shedding),
        };
        let kernel_ledger = Arc::new(kernel.clone());
        let mount = hierarchy.mount().to_owned();
        let taps = Taps::new(kernel, hierarchy, Arc::clone(&registry), Arc::<K>::clone(&kernel_ledger));
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
        let monitor = budget::Monitor::new(
            config.budget,
            process,
            config.rings.total_bytes(),
            Arc::clone(&registry),
            pipeline.progress(),
            uplinks.spools(),
            shedding,
        );
        let (usage, shedding_pods) = (monitor.usage(), monitor.pods());
        let ledger = Arc::new(Ledger::new(
            &config.agent,
            registry,
            kernel_ledger,
            pipeline.progress(),
            uplinks.spools(),
            reports_rx,
        ));
        let uplinks = uplinks.start(&ledger);

        // Before the admin port answers: it must not say ready while the tasks that know better have not run yet.
        let readiness = Readiness::default();
        let looking = (!config.targets.is_empty()).then(|| readiness.pending("targets: not looked for yet"));
        let listing = (config.kubernetes.is_some() && pod_source == PodSource::Cluster)
            .then(|| readiness.pending("kubernetes: pods and TapPolicies of this node are not listed yet"));
        let shutdown_admin = CancellationToken::new();
        let admin = admin_listener.map(|listener| {
            let mut registry = prometheus_client::registry::Registry::default();
            register_process_metrics(&mut registry);
            let metrics = AgentMetrics {
                ledger: Arc::clone(&ledger),
                spools: uplinks.spools(),
                spool_limit: config.spool_bytes,
                uplinks: uplinks.status(),
                taps: status_rx.clone(),
                self_test,
                usage: usage.clone(),
            };
            metrics.register(&mut registry);
            task::spawn(show_readiness(status_rx.clone(), readiness.clone(), looking));
            let admin = Admin { registry: Arc::new(registry), readiness, log_level };
            if let Ok(address) = listener.local_addr() {
                info!(%address, "admin port");
            }
            task::spawn(tap_admin::run(listener, admin, shutdown_admin.clone()))
        });

        let (commands, commands_rx) = mpsc::sync_channel(COMMANDS);
        let thread = thread::Builder::new()
            .name("taps".to_owned())
            .spawn(move || taps.run(&commands_rx))
            .context("start the thread of the taps")?;
        for (index, target) in config.targets.iter().enumerate() {
            let _ = commands.send(Command::Put(Box::new(configured(index, target))));
        }
        let pods = match &config.kubernetes {
            Some(kubernetes) if pod_source == PodSource::Cluster => {
                let pods = Kubernetes {
                    node: kubernetes.node.clone(),
                    routes,
                    redactors: Redactors::new(config.redaction.clone()),
                    redaction: redaction_rx,
                    commands: commands.clone(),
                    taps: status_rx.clone(),
                    shedding: shedding_pods,
                    reports: reports_tx,
                };
                let cgroups =
                    PodCgroups::start(&mount, commands.clone()).context("look for the cgroups of pods")?;
                Some(Pods { watches: task::spawn(pods.run(listing)), cgroups })
            }
            _ => None,
        };
        // Ends once neither pipeline nor pods listen any more.
        task::spawn(reload::follow(config.redaction_source.clone(), redaction_tx));
        Ok(Self {
            pipeline,
            taps: Some(TapsThread { commands, thread }),
            status_rx,
            configured: config.targets.len(),
            pods,
            folding: task::spawn(fold(Arc::clone(&ledger))),
            monitor: task::spawn(monitor.run()),
            usage,
            uplinks,
            drain_timeout: config.drain_timeout,
            ledger,
            admin,
            shutdown_admin,
        })
    }

    /// Waits until every target of the configuration is tapped; fails with the reason when one can't be.
    pub async fn tapped(&mut self) -> anyhow::Result<()> {
        loop {
            let mut tapped = 0;
            for TapStatus { id, name, state } in self.status_rx.borrow_and_update().iter() {
                match state {
                    TapState::Attached => tapped += usize::from(id.is_configured()),
                    TapState::Failed { reason } if id.is_configured() => bail!("can't tap {name}: {reason}"),
                    TapState::Failed { .. } | TapState::Awaited { .. } | TapState::Ended => {}
                }
            }
            if tapped >= self.configured {
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

    /// What this run uses of its budgets, as of the last look.
    pub fn usage(&self) -> Usage {
        *self.usage.borrow()
    }

    /// Tells how many exchanges are not acknowledged yet, also while the agent drains.
    pub fn unsent(&self) -> impl Fn() -> u64 + use<> {
        let spools = self.uplinks.spools();
        move || spools.iter().map(|spool| spool.usage().exchanges).sum()
    }

    /// Detaches, passes on everything that was captured, and waits for the collector, within the configured time.
    pub async fn drain(mut self) -> Drained {
        let unsent = self.unsent();
        if let Some(Pods { watches, cgroups }) = self.pods.take() {
            watches.abort();
            let _ = task::spawn_blocking(|| drop(cgroups)).await;
        }
        self.folding.abort();
        self.monitor.abort();
        if let Some(TapsThread { commands, thread }) = self.taps.take() {
            let _ = task::spawn_blocking(move || commands.send(Command::Stop)).await;
            join(thread).await;
        }
        let pipeline = self.pipeline;
        if !task::spawn_blocking(|| pipeline.finish()).await.unwrap_or(false) {
            error!("a thread of the rings has panicked; what it held is lost");
        }
        // What is not sent by then never will be.
        let _ = timeout(self.drain_timeout, self.uplinks.drain()).await;
        self.uplinks.abort();
        let unsent = unsent();
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

/// A target of the configuration.
fn configured(index: usize, target: &TargetConfig) -> Wanted {
    let TargetConfig { name, selector, ports, workload } = target.clone();
    Wanted {
        id: TargetId::Configured(index),
        name,
        selector,
        ports,
        route: RouteId(0),
        details: Details { workload, ..Details::default() },
        containers: Vec::new(),
    }
}

/// Keeps what is kept of targets that have ended small.
async fn fold(ledger: Arc<Ledger>) {
    let mut timer = interval(FOLD_INTERVAL);
    loop {
        timer.tick().await;
        ledger.fold_ended(boottime());
    }
}

/// Not ready while a configured target that is there could not be tapped, or none was looked for yet. A pod that can't be
/// tapped is told in its policies' status: it is no reason to stop a roll-out of agents.
async fn show_readiness(
    mut status_rx: watch::Receiver<Vec<TapStatus>>,
    readiness: Readiness,
    looking: Option<Pending>,
) {
    let mut pending: Vec<Pending> = looking.into_iter().collect();
    while status_rx.changed().await.is_ok() {
        let failed: Vec<_> = status_rx
            .borrow_and_update()
            .iter()
            .filter_map(|TapStatus { id, name, state }| match state {
                TapState::Failed { reason } if id.is_configured() => {
                    Some(readiness.pending(format!("target {name}: {reason}")))
                }
                TapState::Failed { .. } | TapState::Awaited { .. } | TapState::Attached | TapState::Ended => {
                    None
                }
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
