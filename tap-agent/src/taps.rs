//! Keeps every configured target tapped: finds its cgroup, attaches the programs, and takes them off again.
//!
//! A target need not exist yet: it is awaited, with growing pauses. When its cgroup is removed it is detached and
//! awaited again under the same name, and its counters go on. A pid names one process and is never awaited
//! again: the number may come back as another process, which nobody asked to tap.

use std::{
    fmt,
    sync::{
        Arc,
        mpsc::{Receiver, RecvTimeoutError},
    },
    time::{Duration, Instant},
};

use tokio::sync::watch;
use tracing::{debug, info, warn};

use crate::{
    cgroup::{Cgroup, Hierarchy, Process, ResolveError},
    config::{PortFilter, Selector, TargetConfig},
    ledger::KernelLedger,
    registry::{Registry, Target},
};

/// How often attached targets are looked at, and what comes up is found at the earliest.
const TICK: Duration = Duration::from_millis(250);

/// The longest pause between two looks for a target that is awaited: a search for a unit reads many directories.
const BACKOFF_MAX: Duration = Duration::from_secs(2);

/// A target that shows no traffic for this long after it was attached may be one whose sockets are elsewhere.
const SILENCE: Duration = Duration::from_secs(30);

/// Attaches the kernel programs; what it returns detaches them when dropped.
pub trait Hooks: Send {
    type Attachment: Send;
    type Error: std::error::Error;

    fn attach(&mut self, cgroup: &Cgroup, ports: &PortFilter) -> Result<Self::Attachment, Self::Error>;
}

/// Where a target stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TapState {
    /// It is not there.
    Awaited {
        reason: String,
    },
    /// It is there and could not be tapped.
    Failed {
        reason: String,
    },
    Attached,
    /// It was a process, and has ended.
    Ended,
}

/// One target's state, for the admin port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TapStatus {
    pub name: String,
    pub state: TapState,
}

/// The taps of all targets.
pub struct Taps<H: Hooks> {
    hooks: H,
    hierarchy: Hierarchy,
    registry: Arc<Registry>,
    kernel: Arc<dyn KernelLedger>,
    entries: Vec<Entry<H::Attachment>>,
    status_tx: watch::Sender<Vec<TapStatus>>,
}

struct Entry<A> {
    target: Arc<Target>,
    ports: PortFilter,
    wanted: Wanted,
    state: State<A>,
}

/// What a target's selector has come to mean.
#[derive(Clone, Debug)]
enum Wanted {
    Selector(Selector),
    /// A pid, once its process was found.
    Process(Process),
}

enum State<A> {
    Awaited { reason: String, pause: Duration, next: Instant },
    Failed { reason: String, pause: Duration, next: Instant },
    Attached { cgroup: Cgroup, _attachment: A, since: Instant, silent: bool },
    Ended,
}

impl<H: Hooks> Taps<H> {
    /// Taps nothing yet.
    pub fn new(
        hooks: H,
        hierarchy: Hierarchy,
        registry: Arc<Registry>,
        kernel: Arc<dyn KernelLedger>,
        targets: &[TargetConfig],
    ) -> Self {
        let now = Instant::now();
        let entries: Vec<_> = targets
            .iter()
            .map(|target| Entry {
                target: registry.add_target(&target.name, &target.workload),
                ports: target.ports.clone(),
                wanted: Wanted::Selector(target.selector.clone()),
                state: State::Awaited { reason: "not looked for yet".to_owned(), pause: TICK, next: now },
            })
            .collect();
        let status = entries.iter().map(Entry::status).collect();
        Self { hooks, hierarchy, registry, kernel, entries, status_tx: watch::Sender::new(status) }
    }

    /// Every target's state, now and after each change.
    pub fn status(&self) -> watch::Receiver<Vec<TapStatus>> {
        self.status_tx.subscribe()
    }

    /// Keeps the targets tapped until `stop` is closed; then everything is detached.
    pub fn run(mut self, stop: &Receiver<()>) {
        loop {
            self.tick(Instant::now());
            match stop.recv_timeout(TICK) {
                Err(RecvTimeoutError::Timeout) => {}
                Ok(()) | Err(RecvTimeoutError::Disconnected) => return,
            }
        }
    }

    /// Looks at every target once.
    fn tick(&mut self, now: Instant) {
        for index in 0..self.entries.len() {
            self.check(index, now);
        }
        let status: Vec<_> = self.entries.iter().map(Entry::status).collect();
        self.status_tx.send_if_modified(|shown| {
            let changed = *shown != status;
            *shown = status;
            changed
        });
    }

    fn check(&mut self, index: usize, now: Instant) {
        let entry = &mut self.entries[index];
        match &mut entry.state {
            State::Attached { cgroup, since, silent, .. } => {
                if !entry.wanted.is_still(cgroup, &self.hierarchy) {
                    info!(target_name = entry.target.name, cgroup = %cgroup.path.display(), "target is gone, detached");
                    entry.detach(now);
                } else if *silent && now.duration_since(*since) >= SILENCE {
                    *silent = false;
                    if self.kernel.amounts(cgroup.tap).is_none_or(|amounts| amounts.seen.bytes == 0) {
                        info!(
                            target_name = entry.target.name,
                            "no traffic seen yet. A socket belongs to the cgroup in which it was created: if the server \
                             was started elsewhere and moved here, restart it in this cgroup, or start it with `tap-agent run`"
                        );
                    }
                }
            }
            State::Awaited { next, pause, .. } | State::Failed { next, pause, .. } if *next <= now => {
                let pause = (*pause * 2).min(BACKOFF_MAX);
                self.attach(index, pause, now);
            }
            State::Awaited { .. } | State::Failed { .. } | State::Ended => {}
        }
    }

    fn attach(&mut self, index: usize, pause: Duration, now: Instant) {
        let next = now + pause;
        let state = match self.resolve(index) {
            Ok(cgroup) => match self.try_attach(index, &cgroup) {
                Ok(attachment) => {
                    State::Attached { cgroup, _attachment: attachment, since: now, silent: true }
                }
                Err(reason) => State::Failed { reason, pause, next },
            },
            Err(ResolveError::NoProcess { .. } | ResolveError::ProcessReplaced { .. })
                if matches!(self.entries[index].wanted, Wanted::Process(_)) =>
            {
                State::Ended
            }
            Err(error) => State::Awaited { reason: error.to_string(), pause, next },
        };
        let entry = &mut self.entries[index];
        let name = entry.target.name.as_str();
        match (&entry.state, &state) {
            (_, State::Attached { cgroup, .. }) => {
                info!(target_name = name, cgroup = %cgroup.path.display(), "tapped");
                warn_if_wide(name, cgroup, &self.hierarchy);
            }
            (State::Awaited { reason: old, .. }, State::Awaited { reason, .. })
            | (State::Failed { reason: old, .. }, State::Failed { reason, .. })
                if old == reason =>
            {
                debug!(target_name = name, reason, "still not tapped");
            }
            (_, State::Awaited { reason, .. }) => {
                warn!(target_name = name, "waiting for the target: {reason}")
            }
            (_, State::Failed { reason, .. }) => warn!(target_name = name, "can't tap the target: {reason}"),
            (_, State::Ended) => info!(target_name = name, "the process has ended"),
        }
        entry.state = state;
    }

    fn resolve(&mut self, index: usize) -> Result<Cgroup, ResolveError> {
        let wanted = &mut self.entries[index].wanted;
        if let Wanted::Selector(Selector::Pid(pid)) = wanted {
            *wanted = Wanted::Process(self.hierarchy.process(*pid)?);
        }
        match wanted {
            Wanted::Selector(Selector::Cgroup(path)) => self.hierarchy.by_path(path),
            Wanted::Selector(Selector::SystemdUnit(unit)) => self.hierarchy.by_unit(unit),
            Wanted::Selector(Selector::Pid(pid)) => self.hierarchy.by_process(self.hierarchy.process(*pid)?),
            Wanted::Process(process) => self.hierarchy.by_process(*process),
        }
    }

    fn try_attach(&mut self, index: usize, cgroup: &Cgroup) -> Result<H::Attachment, String> {
        let holder = self.entries.iter().find(
            |entry| matches!(&entry.state, State::Attached { cgroup: held, .. } if held.tap == cgroup.tap),
        );
        if let Some(holder) = holder {
            return Err(format!(
                "cgroup {} is tapped for target {} already: one cgroup serves one target",
                cgroup.path.display(),
                holder.target.name
            ));
        }
        let Entry { target, ports, .. } = &self.entries[index];
        // First the name, then the programs: the first segment must find its target.
        self.registry.add_tap(cgroup.tap, target);
        self.hooks.attach(cgroup, ports).map_err(|error| error.to_string())
    }
}

impl Wanted {
    fn is_still(&self, cgroup: &Cgroup, hierarchy: &Hierarchy) -> bool {
        let named_is_there = match self {
            Self::Process(process) => hierarchy.process(process.pid).is_ok_and(|found| found == *process),
            Self::Selector(_) => true,
        };
        named_is_there && cgroup.exists()
    }
}

impl<A> Entry<A> {
    fn detach(&mut self, now: Instant) {
        self.state = match self.wanted {
            Wanted::Process(_) => State::Ended,
            Wanted::Selector(_) => {
                State::Awaited { reason: "its cgroup was removed".to_owned(), pause: TICK, next: now }
            }
        };
    }

    fn status(&self) -> TapStatus {
        let state = match &self.state {
            State::Awaited { reason, .. } => TapState::Awaited { reason: reason.clone() },
            State::Failed { reason, .. } => TapState::Failed { reason: reason.clone() },
            State::Attached { .. } => TapState::Attached,
            State::Ended => TapState::Ended,
        };
        TapStatus { name: self.target.name.clone(), state }
    }
}

fn warn_if_wide(name: &str, cgroup: &Cgroup, hierarchy: &Hierarchy) {
    if cgroup.path == hierarchy.mount() {
        warn!(
            target_name = name,
            "this is the root cgroup: everything on this host is tapped, the agent's own stream included"
        );
    } else if hierarchy.own().is_some_and(|own| cgroup.contains(&own)) {
        warn!(
            target_name = name,
            "the agent itself is in this cgroup: its own stream is tapped with the rest; run the agent in another cgroup"
        );
    }
}

impl<H: Hooks> fmt::Debug for Taps<H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Taps").field("status", &*self.status_tx.borrow()).finish_non_exhaustive()
    }
}
