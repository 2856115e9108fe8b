//! Who is tapped: the targets' names and the taps that have served them.
//!
//! A tap is registered before its programs are attached, so that every segment finds its target. Targets and
//! taps are never taken out: late records of a detached tap still belong to their target, and its totals go on.

use std::{
    collections::HashMap,
    sync::{Arc, RwLock},
};

use tap_flow::TapId;

/// Names a target within one run of the agent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TargetKey(pub usize);

/// What the data path knows of a target.
#[derive(Debug)]
pub struct Target {
    pub key: TargetKey,
    /// The name in the configuration.
    pub name: String,
    /// The systemd unit or command, where known.
    pub workload: String,
}

/// The targets of this agent.
#[derive(Debug, Default)]
pub struct Registry {
    entries: RwLock<Entries>,
}

#[derive(Debug, Default)]
struct Entries {
    targets: Vec<Arc<Target>>,
    taps: HashMap<TapId, Arc<Target>>,
}

impl Registry {
    pub fn add_target(&self, name: &str, workload: &str) -> Arc<Target> {
        let mut entries = self.entries.write().unwrap_or_else(|poisoned| poisoned.into_inner());
        let key = TargetKey(entries.targets.len());
        let target = Arc::new(Target { key, name: name.to_owned(), workload: workload.to_owned() });
        entries.targets.push(Arc::clone(&target));
        target
    }

    /// From here on, what `tap` captures belongs to `target`.
    pub fn add_tap(&self, tap: TapId, target: &Arc<Target>) {
        let mut entries = self.entries.write().unwrap_or_else(|poisoned| poisoned.into_inner());
        entries.taps.insert(tap, Arc::clone(target));
    }

    /// In order of their keys.
    pub fn targets(&self) -> Vec<Arc<Target>> {
        self.read().targets.clone()
    }

    /// Every tap that has served the target.
    pub fn taps(&self, target: TargetKey) -> Vec<TapId> {
        let entries = self.read();
        entries.taps.iter().filter(|(_, owner)| owner.key == target).map(|(tap, _)| *tap).collect()
    }

    /// The target of a tap.
    pub fn owner(&self, tap: TapId) -> Option<Arc<Target>> {
        self.read().taps.get(&tap).cloned()
    }

    fn read(&self) -> std::sync::RwLockReadGuard<'_, Entries> {
        self.entries.read().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}
