//! Who is tapped: the targets, what is known of each, and the taps that serve them.
//!
//! A tap is registered before its programs are attached, so that every segment finds its target. Both stay until the target
//! is settled: late records of a detached tap still belong to their target, and its totals go on. What is known of a target
//! may change while it is tapped; the data path sees the change at its next exchange.

mod containers;

use std::{
    collections::{BTreeMap, HashMap},
    fmt,
    sync::{
        Arc, RwLock, RwLockReadGuard, RwLockWriteGuard,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use tap_flow::TapId;
use tap_policy::Plan;
use tap_redact::Redactor;

use crate::{budget::Shed, clock::boottime};

pub use containers::{Container, Containers, UnknownCgroup};

/// Names a target within one run of the agent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TargetKey(pub usize);

/// Names a way to a collector: 0 is the agent's own. Exchanges of a target go one way for the target's whole life.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RouteId(pub usize);

/// What the data path knows of a target.
pub struct Target {
    pub key: TargetKey,
    /// The name in the configuration, or namespace/pod.
    pub name: String,
    pub route: RouteId,
    details: RwLock<Arc<Details>>,
    /// Counts the changes of `details`, so that the data path looks at one number.
    version: AtomicU64,
    /// An exchange came from a cgroup that `details` does not name.
    unknown_cgroup: AtomicBool,
    /// Since when nothing will come any more, on the boot-time clock; 0 while it may. Threads that count for a retired
    /// target may close its account.
    retired: AtomicU64,
    /// Once retired, it is wanted out of the way.
    hurried: AtomicBool,
    /// The connections that are left out to keep to a budget.
    shed: AtomicU64,
}

/// What goes with each exchange of a target, and what is kept of them.
#[derive(Clone, Debug, Default)]
pub struct Details {
    /// The systemd unit or command, where known; a pod's owner.
    pub workload: String,
    /// Of a pod, as are the following.
    pub namespace: String,
    pub pod: String,
    pub pod_uid: String,
    /// That the policies ask for.
    pub labels: BTreeMap<String, String>,
    pub containers: Containers,
    /// `None` where everything is kept.
    pub plan: Option<Arc<CapturePlan>>,
    /// The policies that select the pod, as namespace/name; of a pod that none selects any more, the last that did.
    pub policies: Vec<String>,
}

/// What the policies of a pod say.
#[derive(Debug)]
pub struct CapturePlan {
    pub plan: Plan,
    /// `None` for the agent's own.
    pub redactor: Option<Arc<Redactor>>,
}

/// The targets of this agent.
#[derive(Debug, Default)]
pub struct Registry {
    entries: RwLock<Entries>,
}

#[derive(Debug, Default)]
struct Entries {
    next_key: usize,
    targets: BTreeMap<TargetKey, Entry>,
    taps: HashMap<TapId, Arc<Target>>,
}

#[derive(Debug)]
struct Entry {
    target: Arc<Target>,
    /// Every tap that has served it.
    taps: Vec<TapId>,
}

impl Target {
    pub fn details(&self) -> Arc<Details> {
        Arc::clone(&self.details.read().unwrap_or_else(|poisoned| poisoned.into_inner()))
    }

    /// Changes with every [`Self::set_details`].
    pub fn version(&self) -> u64 {
        self.version.load(Ordering::Acquire)
    }

    /// Holds for exchanges from now on.
    pub fn set_details(&self, details: Details) {
        *self.details.write().unwrap_or_else(|poisoned| poisoned.into_inner()) = Arc::new(details);
        self.version.fetch_add(1, Ordering::Release);
    }

    /// Notes that [`Details::containers`] misses a cgroup.
    pub fn miss_cgroup(&self) {
        self.unknown_cgroup.store(true, Ordering::Relaxed);
    }

    /// Whether one was missed since this was last asked.
    pub fn take_missed_cgroup(&self) -> bool {
        self.unknown_cgroup.swap(false, Ordering::Relaxed)
    }

    /// No tap serves it any more, since now.
    pub fn retire(&self) {
        self.retired.store(boottime().max(1), Ordering::Release);
    }

    /// Once retired it is forgotten as soon as it can be: another target waits for its tap.
    pub fn hurry(&self) {
        self.hurried.store(true, Ordering::Release);
    }

    pub fn is_hurried(&self) -> bool {
        self.hurried.load(Ordering::Acquire)
    }

    /// Which of its connections are left out to keep to a budget.
    pub fn shed(&self) -> Shed {
        Shed::from_bits(self.shed.load(Ordering::Relaxed))
    }

    /// Holds for connections that begin from now on.
    pub fn set_shed(&self, shed: Shed) {
        self.shed.store(shed.to_bits(), Ordering::Relaxed);
    }

    /// When it was retired, in nanoseconds on the boot-time clock.
    pub fn retired_since(&self) -> Option<u64> {
        Some(self.retired.load(Ordering::Acquire)).filter(|since| *since != 0)
    }
}

impl Registry {
    pub fn add_target(&self, name: &str, route: RouteId, details: Details) -> Arc<Target> {
        let mut entries = self.write();
        let key = TargetKey(entries.next_key);
        entries.next_key += 1;
        let target = Arc::new(Target {
            key,
            name: name.to_owned(),
            route,
            details: RwLock::new(Arc::new(details)),
            version: AtomicU64::new(0),
            unknown_cgroup: AtomicBool::new(false),
            retired: AtomicU64::new(0),
            hurried: AtomicBool::new(false),
            shed: AtomicU64::new(Shed::default().to_bits()),
        });
        entries.targets.insert(key, Entry { target: Arc::clone(&target), taps: Vec::new() });
        target
    }

    /// From here on, what `tap` captures belongs to `target`. Refused while it belongs to another.
    pub fn add_tap(&self, tap: TapId, target: &Arc<Target>) -> bool {
        let mut entries = self.write();
        if entries.taps.get(&tap).is_some_and(|owner| owner.key != target.key) {
            return false;
        }
        if entries.taps.insert(tap, Arc::clone(target)).is_none()
            && let Some(entry) = entries.targets.get_mut(&target.key)
        {
            entry.taps.push(tap);
        }
        true
    }

    /// Something serves a retired target again; refused where it was forgotten meanwhile.
    pub fn revive(&self, target: &Target) -> bool {
        let entries = self.write();
        let holds = entries.targets.contains_key(&target.key);
        if holds {
            target.retired.store(0, Ordering::Release);
        }
        holds
    }

    /// Whether the target was not forgotten.
    pub fn holds(&self, target: &Target) -> bool {
        self.read().targets.contains_key(&target.key)
    }

    /// Forgets a target and its taps, if it is still retired.
    pub fn remove_retired(&self, key: TargetKey) -> bool {
        let mut entries = self.write();
        if entries.targets.get(&key).is_none_or(|entry| entry.target.retired_since().is_none()) {
            return false;
        }
        entries.remove(key);
        true
    }

    /// In order of their keys, each with the taps that have served it.
    pub fn targets(&self) -> Vec<(Arc<Target>, Vec<TapId>)> {
        let entries = self.read();
        entries.targets.values().map(|entry| (Arc::clone(&entry.target), entry.taps.clone())).collect()
    }

    /// How many targets there are.
    pub fn len(&self) -> usize {
        self.read().targets.len()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The target of a tap.
    pub fn owner(&self, tap: TapId) -> Option<Arc<Target>> {
        self.read().taps.get(&tap).cloned()
    }

    fn read(&self) -> RwLockReadGuard<'_, Entries> {
        self.entries.read().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    fn write(&self) -> RwLockWriteGuard<'_, Entries> {
        self.entries.write().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

impl Entries {
    fn remove(&mut self, key: TargetKey) {
        if let Some(Entry { taps, .. }) = self.targets.remove(&key) {
            for tap in taps {
                self.taps.remove(&tap);
            }
        }
    }
}

impl fmt::Debug for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { key, name, route, .. } = self;
        f.debug_struct("Target")
            .field("key", key)
            .field("name", name)
            .field("route", route)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tap_serves_one_target_until_that_is_forgotten() {
        let registry = Registry::default();
        let web = registry.add_target("web", RouteId(0), Details::default());
        let api = registry.add_target("api", RouteId(0), Details::default());
        assert!(registry.add_tap(TapId(1), &web));
        assert!(registry.add_tap(TapId(1), &web), "again the same");
        assert!(!registry.add_tap(TapId(1), &api));
        assert_eq!(registry.targets()[0].1, [TapId(1)]);
        assert!(!registry.remove_retired(web.key), "it is not retired");
        web.retire();
        assert!(registry.remove_retired(web.key));
        assert!(!registry.revive(&web));
        assert!(registry.owner(TapId(1)).is_none());
        assert!(registry.add_tap(TapId(1), &api));
        assert_eq!(registry.targets().len(), 1);
    }

    #[test]
    fn a_change_of_details_is_seen_by_its_version() {
        let registry = Registry::default();
        let web = registry.add_target("web", RouteId(0), Details::default());
        let before = web.version();
        web.set_details(Details { pod: "web-1".to_owned(), ..Details::default() });
        assert_ne!(web.version(), before);
        assert_eq!(web.details().pod, "web-1");
    }
}
