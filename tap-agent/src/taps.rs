//! Keeps everything that is wanted tapped: finds its cgroup, attaches the programs, and takes them off again.
//!
//! What is wanted comes as [`Command`]s: the configuration's targets once, pods as they come, change and go. A target need
//! not exist yet: it is awaited, with growing pauses, or until the search for pods' cgroups tells of it. When its cgroup
//! is removed it is detached and awaited again under the same name, and its counters go on. A pid names one process and
//! is never awaited again: the number may come back as another process, which nobody asked to tap.
//!
//! What changes of a tapped target (policies, labels, ports) is changed in place: its connections go on.

mod entry;
mod wanted;

use std::{
    collections::{BTreeMap, HashMap},
    fmt,
    path::PathBuf,
    sync::{
        Arc,
        mpsc::{Receiver, RecvTimeoutError},
    },
    time::{Duration, Instant},
};

use tokio::sync::watch;
use tracing::{debug, info, warn};

use self::entry::{Entry, Sought, State};
pub use self::wanted::{Command, TapState, TapStatus, TargetId, Wanted};
use crate::{
    cgroup::{Cgroup, Hierarchy, ResolveError},
    config::{PortFilter, Selector},
    ledger::KernelLedger,
    registry::{Registry, Target},
};

/// How often attached targets are looked at, and what comes up is found at the earliest.
const TICK: Duration = Duration::from_millis(250);

/// The longest pause between two looks for a target that is awaited: a search for a unit reads many directories.
const BACKOFF_MAX: Duration = Duration::from_secs(2);

/// A configured target that shows no traffic for this long after it was attached may be one whose sockets are elsewhere.
const SILENCE: Duration = Duration::from_secs(30);

/// Pods of which only a cgroup is known: more than a node can run.
const MAX_POD_CGROUPS: usize = 8192;

/// Targets that are wanted no more and may come back under their old account.
const MAX_REMOVED: usize = 1024;

/// Attaches the kernel programs; what it returns detaches them when dropped.
pub trait Hooks: Send {
    type Attachment: Send;
    type Error: std::error::Error;

    fn attach(&mut self, cgroup: &Cgroup, ports: &PortFilter) -> Result<Self::Attachment, Self::Error>;

    /// Changes the ports of a tap while it runs.
    fn set_ports(&mut self, attachment: &Self::Attachment, ports: &PortFilter) -> Result<(), Self::Error>;
}

/// The taps of all targets.
pub struct Taps<H: Hooks> {
    hooks: H,
    hierarchy: Hierarchy,
    registry: Arc<Registry>,
    kernel: Arc<dyn KernelLedger>,
    entries: BTreeMap<TargetId, Entry<H::Attachment>>,
    /// Targets that were wanted, and whose account may still be open.
    removed: HashMap<TargetId, Arc<Target>>,
    /// Cgroups of the pods of this node, wanted or not.
    pod_cgroups: HashMap<Arc<str>, PathBuf>,
    /// Why no pod's cgroup is known at all.
    no_pods: Option<String>,
    status_tx: watch::Sender<Vec<TapStatus>>,
}

impl<H: Hooks> Taps<H> {
    /// Taps nothing yet.
    pub fn new(
        hooks: H,
        hierarchy: Hierarchy,
        registry: Arc<Registry>,
        kernel: Arc<dyn KernelLedger>,
    ) -> Self {
        Self {
            hooks,
            hierarchy,
            registry,
            kernel,
            entries: BTreeMap::new(),
            removed: HashMap::new(),
            pod_cgroups: HashMap::new(),
            no_pods: None,
            status_tx: watch::Sender::new(Vec::new()),
        }
    }

    /// Every target's state, now and after each change.
    pub fn status(&self) -> watch::Receiver<Vec<TapStatus>> {
        self.status_tx.subscribe()
    }

    /// Carries out commands until told to stop, or until nobody can send any more; then everything is detached.
    pub fn run(mut self, commands: &Receiver<Command>) {
        let mut next_tick = Instant::now();
        loop {
            let now = Instant::now();
            match commands.recv_timeout(next_tick.saturating_duration_since(now)) {
                Ok(Command::Stop) | Err(RecvTimeoutError::Disconnected) => return,
                Ok(command) => {
                    self.execute(command, now);
                    // Those that wait too, so that the state is shown once.
                    while let Ok(command) = commands.try_recv() {
                        if matches!(command, Command::Stop) {
                            return;
                        }
                        self.execute(command, now);
                    }
                }
                Err(RecvTimeoutError::Timeout) => {
                    next_tick = now + TICK;
                    self.tick(now);
                }
            }
            self.show();
        }
    }

    fn execute(&mut self, command: Command, now: Instant) {
        match command {
            Command::Put(wanted) => self.put(*wanted, now),
            Command::Remove(id) => self.remove(&id),
            Command::PodCgroup { pod, path } => {
                self.no_pods = None;
                if self.pod_cgroups.len() < MAX_POD_CGROUPS {
                    self.pod_cgroups.insert(Arc::clone(&pod), path);
                }
                self.look_for_pod(&pod, now);
            }
            Command::PodCgroupGone { pod } => {
                self.pod_cgroups.remove(&pod);
                self.look_for_pod(&pod, now);
            }
            Command::NoPodCgroups { reason } => self.no_pods = Some(reason),
            Command::Stop => {}
        }
    }

    /// Looks at every target once.
    fn tick(&mut self, now: Instant) {
        let ids: Vec<_> = self.entries.keys().cloned().collect();
        for id in ids {
            self.check(&id, now);
        }
    }

    fn show(&self) {
        let status: Vec<_> = self.entries.iter().map(|(id, entry)| entry.status(id)).collect();
        self.status_tx.send_if_modified(|shown| {
            let changed = *shown != status;
            if changed {
                *shown = status;
            }
            changed
        });
    }

    /// Begins to tap something, or changes how.
    fn put(&mut self, wanted: Wanted, now: Instant) {
        let Wanted { id, name, selector, ports, route, details, containers } = wanted;
        if self.entries.get(&id).is_some_and(|entry| entry.target.route != route) {
            // Its exchanges go another way from now on, and so does its account: a new target takes over the tap, once
            // the old one has let go of it.
            if let Some(entry) = self.entries.remove(&id) {
                entry.target.hurry();
                entry.target.retire();
            }
        }
        if let Some(entry) = self.entries.get_mut(&id) {
            entry.containers = containers;
            entry.set_details(details);
            if entry.ports != ports
                && let State::Attached { attachment, .. } = &entry.state
                && let Err(error) = self.hooks.set_ports(attachment, &ports)
            {
                warn!(target_name = entry.target.name, "can't change the ports of the tap: {error}");
                return;
            }
            entry.ports = ports;
            return;
        }
        let known = self.removed.remove(&id).filter(|target| target.route == route);
        let target = match known.filter(|target| self.registry.revive(target)) {
            Some(target) => target,
            None => self.registry.add_target(&name, route, crate::registry::Details::default()),
        };
        let mut entry = Entry::new(target, selector, ports, containers, now);
        entry.set_details(details);
        self.entries.insert(id.clone(), entry);
        self.check(&id, now);
    }

    fn remove(&mut self, id: &TargetId) {
        let Some(entry) = self.entries.remove(id) else { return };
        debug!(target_name = entry.target.name, "no longer wanted, detached");
        let Entry { target, state, .. } = entry;
        // The programs first: nothing comes after that.
        drop(state);
        target.retire();
        if self.removed.len() >= MAX_REMOVED {
            let registry = &self.registry;
            self.removed.retain(|_, target| registry.holds(target));
        }
        if self.removed.len() < MAX_REMOVED {
            self.removed.insert(id.clone(), target);
        }
    }

    fn look_for_pod(&mut self, pod: &Arc<str>, now: Instant) {
        let is_of =
            |entry: &Entry<_>| matches!(&entry.sought, Sought::Selector(Selector::Pod(key)) if key == pod);
        let ids: Vec<_> =
            self.entries.iter().filter(|(_, entry)| is_of(entry)).map(|(id, _)| id.clone()).collect();
        for id in ids {
            if let Some(entry) = self.entries.get_mut(&id) {
                entry.hasten(now);
            }
            self.check(&id, now);
        }
    }

    fn check(&mut self, id: &TargetId, now: Instant) {
        let Some(entry) = self.entries.get_mut(id) else { return };
        match &mut entry.state {
            State::Attached { cgroup, since, silent, .. } => {
                if !entry.sought.is_still(cgroup, &self.hierarchy) {
                    let path = cgroup.path.display().to_string();
                    if id.is_configured() {
                        info!(target_name = entry.target.name, cgroup = path, "target is gone, detached");
                    } else {
                        debug!(
                            target_name = entry.target.name,
                            cgroup = path,
                            "the pod's cgroup is gone, detached"
                        );
                    }
                    entry.detach(now);
                    return;
                }
                if *silent && now.duration_since(*since) >= SILENCE {
                    *silent = false;
                    if self.kernel.amounts(cgroup.tap).is_none_or(|amounts| amounts.seen.bytes == 0) {
                        info!(
                            target_name = entry.target.name,
                            "no traffic seen yet. A socket belongs to the cgroup in which it was created: if the server \
                             was started elsewhere and moved here, restart it in this cgroup, or start it with `tap-agent run`"
                        );
                    }
                }
                if entry.target.take_missed_cgroup() {
                    entry.find_containers();
                }
            }
            State::Awaited { next, .. } | State::Failed { next, .. } if *next <= now => self.attach(id, now),
            State::Awaited { .. } | State::Failed { .. } | State::Ended => entry.note_delay(now),
        }
    }

    fn attach(&mut self, id: &TargetId, now: Instant) {
        let resolved = self.resolve(id);
        let outcome = resolved.map(|cgroup| {
            let attached = self.try_attach(id, &cgroup);
            (cgroup, attached)
        });
        let Some(entry) = self.entries.get_mut(id) else { return };
        let (pause, since) = entry.pause(now);
        let pause = (pause * 2).min(BACKOFF_MAX);
        let next = now + pause;
        let awaited = |reason| State::Awaited { reason, pause, next, since, overdue: false };
        let state = match outcome {
            Ok((cgroup, Ok(attachment))) => {
                State::Attached { cgroup, attachment, since: now, silent: id.is_configured() }
            }
            Ok((_, Err(Refused::NotYet(reason)))) => awaited(reason),
            Ok((_, Err(Refused::Failed(reason)))) => State::Failed { reason, pause, next, since },
            Err(ResolveError::NoProcess { .. } | ResolveError::ProcessReplaced { .. })
                if matches!(entry.sought, Sought::Process(_)) =>
            {
                State::Ended
            }
            Err(error) => awaited(error.to_string()),
        };
        tell(id, entry, &state, &self.hierarchy);
        entry.state = state;
        entry.note_delay(now);
        entry.find_containers();
    }

    fn resolve(&mut self, id: &TargetId) -> Result<Cgroup, ResolveError> {
        let Some(entry) = self.entries.get_mut(id) else {
            return Err(ResolveError::NoPod { reason: String::new() });
        };
        if let Sought::Selector(Selector::Pid(pid)) = entry.sought {
            entry.sought = Sought::Process(self.hierarchy.process(pid)?);
        }
        match &entry.sought {
            Sought::Selector(Selector::Cgroup(path)) => self.hierarchy.by_path(path),
            Sought::Selector(Selector::SystemdUnit(unit)) => self.hierarchy.by_unit(unit),
            Sought::Selector(Selector::Pid(pid)) => self.hierarchy.by_process(self.hierarchy.process(*pid)?),
            Sought::Selector(Selector::Pod(pod)) => match self.pod_cgroups.get(pod) {
                Some(path) => self.hierarchy.by_path(path),
                None => Err(ResolveError::NoPod {
                    reason: self.no_pods.clone().unwrap_or_else(|| {
                        format!("no cgroup of pod {pod} below {}", self.hierarchy.mount().display())
                    }),
                }),
            },
            Sought::Process(process) => self.hierarchy.by_process(*process),
        }
    }

    fn try_attach(&mut self, id: &TargetId, cgroup: &Cgroup) -> Result<H::Attachment, Refused> {
        let holder = self.entries.values().find(
            |entry| matches!(&entry.state, State::Attached { cgroup: held, .. } if held.tap == cgroup.tap),
        );
        if let Some(holder) = holder {
            return Err(Refused::Failed(format!(
                "cgroup {} is tapped for target {} already: one cgroup serves one target",
                cgroup.path.display(),
                holder.target.name
            )));
        }
        let Some(Entry { target, ports, .. }) = self.entries.get(id) else {
            return Err(Refused::NotYet(String::new()));
        };
        // First the name, then the programs: the first segment must find its target.
        if !self.registry.add_tap(cgroup.tap, target) {
            return Err(Refused::NotYet("the tap is being handed over".to_owned()));
        }
        self.hooks.attach(cgroup, ports).map_err(|error| Refused::Failed(error.to_string()))
    }
}

/// Why a cgroup that is there is not tapped.
enum Refused {
    NotYet(String),
    Failed(String),
}

/// Says what has changed. A node has many pods: of those only what someone should look at is worth a line.
fn tell<A>(id: &TargetId, entry: &Entry<A>, state: &State<A>, hierarchy: &Hierarchy) {
    let name = entry.target.name.as_str();
    match (&entry.state, state) {
        (_, State::Attached { cgroup, .. }) if id.is_configured() => {
            info!(target_name = name, cgroup = %cgroup.path.display(), "tapped");
            warn_if_wide(name, cgroup, hierarchy);
        }
        (_, State::Attached { cgroup, .. }) => {
            debug!(target_name = name, cgroup = %cgroup.path.display(), "tapped");
        }
        (State::Awaited { reason: old, .. }, State::Awaited { reason, .. })
        | (State::Failed { reason: old, .. }, State::Failed { reason, .. })
            if old == reason =>
        {
            debug!(target_name = name, reason, "still not tapped");
        }
        (_, State::Awaited { reason, .. }) if id.is_configured() => {
            warn!(target_name = name, "waiting for the target: {reason}");
        }
        (_, State::Awaited { reason, .. }) => debug!(target_name = name, "waiting for the pod: {reason}"),
        (_, State::Failed { reason, .. }) => warn!(target_name = name, "can't tap the target: {reason}"),
        (_, State::Ended) => info!(target_name = name, "the process has ended"),
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
