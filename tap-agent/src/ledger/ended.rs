//! Targets that have ended: their totals go on, folded into one account for each namespace and set of policies.
//!
//! Pods come and go for as long as an agent runs; what is kept of them must not grow with them, and no byte may be
//! forgotten. So a target that is retired is folded once no ring counts for it any more. Its exchanges may still be on the
//! way: the spool goes on under the key of the account into which they were folded.

use std::{collections::HashMap, sync::Arc};

use super::{KernelAmounts, Ledger};
use crate::registry::{Details, RouteId, Target, TargetKey};

/// How long a target stays by itself after it was retired, in nanoseconds: a pod may be selected again at once, and a user
/// may look what became of it.
const LINGER: u64 = 60_000_000_000;

/// Retired targets that linger at most.
const MAX_LINGERING: usize = 512;

/// Accounts into which is folded. What needs one more goes into one for all.
const MAX_ACCOUNTS: usize = 256;

/// What is kept of the targets that ended.
#[derive(Debug, Default)]
pub(super) struct Ended {
    accounts: HashMap<Class, Arc<Target>>,
    kernel: HashMap<TargetKey, KernelAmounts>,
}

/// Targets that are folded together.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Class {
    route: RouteId,
    namespace: String,
    policies: Vec<String>,
}

impl Ended {
    /// What the kernel counted for the targets that were folded into this one.
    pub(super) fn kernel(&self, key: TargetKey) -> Option<&KernelAmounts> {
        self.kernel.get(&key)
    }
}

impl Class {
    fn of(target: &Target) -> Self {
        let details = target.details();
        Self { route: target.route, namespace: details.namespace.clone(), policies: details.policies.clone() }
    }

    /// Where there are too many.
    fn of_all(route: RouteId) -> Self {
        Self { route, namespace: String::new(), policies: Vec::new() }
    }

    /// "shop/(ended)", "shop/(ended: cart, checkout)".
    fn name(&self) -> String {
        let names: Vec<_> = self
            .policies
            .iter()
            .map(|policy| policy.rsplit_once('/').map_or(policy.as_str(), |(_, name)| name))
            .collect();
        let names = if names.is_empty() { String::new() } else { format!(": {}", names.join(", ")) };
        let slash = if self.namespace.is_empty() { "" } else { "/" };
        let route = if self.route == RouteId(0) { String::new() } else { format!(" #{}", self.route.0) };
        format!("{}{slash}(ended{names}){route}", self.namespace)
    }
}

impl Ledger {
    /// Folds what has been retired for long enough at time `now` (nanoseconds on the boot-time clock), and by all rings.
    pub fn fold_ended(&self, now: u64) {
        let mut ended = self.ended();
        let mut retired: Vec<_> = self
            .registry
            .targets()
            .into_iter()
            .filter_map(|(target, taps)| target.retired_since().map(|since| (since, target, taps)))
            .collect();
        retired.sort_by_key(|(since, target, _)| (*since, target.key));
        let too_many = retired.len().saturating_sub(MAX_LINGERING);
        for (index, (since, target, taps)) in retired.iter().enumerate() {
            let is_due = index < too_many || target.is_hurried() || now.saturating_sub(*since) >= LINGER;
            if !is_due || !self.is_settled(target.key, taps) || !self.registry.remove_retired(target.key) {
                continue;
            }
            let into = self.account_for(&mut ended, target);
            for ring in &self.rings {
                let mut state = ring.lock();
                if let Some(progress) = state.forgotten.remove(&target.key) {
                    state.forgotten.entry(into).or_default().add(&progress);
                }
            }
            for amounts in taps.iter().filter_map(|tap| self.kernel.take(*tap)) {
                ended.kernel.entry(into).or_default().add(amounts);
            }
            if let Some(spool) = self.spools.get(target.route.0) {
                spool.rename(target.key, into);
            }
        }
    }

    /// Whether no ring counts for the target any more.
    fn is_settled(&self, key: TargetKey, taps: &[tap_flow::TapId]) -> bool {
        self.rings.iter().all(|ring| {
            let state = ring.lock();
            taps.iter().all(|tap| !state.taps.contains_key(tap))
                && state.batched.iter().all(|(owner, _)| *owner != key)
        })
    }

    fn account_for(&self, ended: &mut Ended, target: &Target) -> TargetKey {
        let mut class = Class::of(target);
        if !ended.accounts.contains_key(&class) && ended.accounts.len() >= MAX_ACCOUNTS {
            class = Class::of_all(target.route);
        }
        let name = class.name();
        let details = Details {
            namespace: class.namespace.clone(),
            policies: class.policies.clone(),
            ..Details::default()
        };
        let account = ended
            .accounts
            .entry(class)
            .or_insert_with(|| self.registry.add_target(&name, target.route, details));
        account.key
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_account_is_called_by_what_is_in_it() {
        let name = |namespace: &str, policies: &[&str], route| {
            let policies = policies.iter().map(|policy| (*policy).to_owned()).collect();
            Class { route: RouteId(route), namespace: namespace.to_owned(), policies }.name()
        };
        assert_eq!(name("shop", &[], 0), "shop/(ended)");
        assert_eq!(name("shop", &["shop/cart", "shop/checkout"], 0), "shop/(ended: cart, checkout)");
        assert_eq!(name("", &[], 2), "(ended) #2");
    }
}
