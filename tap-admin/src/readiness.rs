//! Readiness as a set of named conditions that are still pending. Ready is when there is none.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

/// Ready while no [`Pending`] guard lives. Clones share their state.
#[derive(Clone, Debug, Default)]
pub struct Readiness {
    /// How many guards each condition has.
    pending: Arc<Mutex<BTreeMap<String, usize>>>,
}

/// One condition that readiness waits for; dropping it meets the condition.
#[derive(Debug)]
#[must_use = "the condition is met when the guard is dropped"]
pub struct Pending {
    readiness: Readiness,
    condition: String,
}

impl Readiness {
    /// Not ready until the guard is dropped. A condition that fails later takes a new guard.
    pub fn pending(&self, condition: impl Into<String>) -> Pending {
        let condition = condition.into();
        self.with(|pending| *pending.entry(condition.clone()).or_default() += 1);
        Pending { readiness: self.clone(), condition }
    }

    pub fn is_ready(&self) -> bool {
        self.with(|pending| pending.is_empty())
    }

    /// The conditions that are pending, sorted.
    pub fn conditions(&self) -> Vec<String> {
        self.with(|pending| pending.keys().cloned().collect())
    }

    fn with<T>(&self, f: impl FnOnce(&mut BTreeMap<String, usize>) -> T) -> T {
        // Each operation is complete in itself: a panic elsewhere leaves nothing half done.
        f(&mut self.pending.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Drop for Pending {
    fn drop(&mut self) {
        self.readiness.with(|pending| {
            if let Some(guards) = pending.get_mut(&self.condition) {
                *guards -= 1;
                if *guards == 0 {
                    pending.remove(&self.condition);
                }
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ready_when_every_guard_is_dropped() {
        let readiness = Readiness::default();
        assert!(readiness.is_ready());
        let store = readiness.pending("store");
        let store_again = readiness.pending("store");
        let capture = readiness.pending("capture");
        assert_eq!(readiness.conditions(), ["capture", "store"]);
        drop(store);
        drop(capture);
        assert_eq!(readiness.conditions(), ["store"]);
        drop(store_again);
        assert!(readiness.is_ready());
    }
}
