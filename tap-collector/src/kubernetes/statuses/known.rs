//! The policies as the API has them: whether each is valid, and its status.

use std::collections::HashMap;

use k8s_openapi::serde_json;
use kube::{api::DynamicObject, runtime::watcher::Event};
use tap_policy::{Policy, Problem, TapPolicy, TapPolicyStatus};
use tracing::warn;

use super::reports::PolicyName;

/// Far more than anybody reads; what goes beyond has no status, and the log says so.
const MAX_POLICIES: usize = 10_000;

#[derive(Debug, Default)]
pub(super) struct Policies {
    known: HashMap<PolicyName, Known>,
    /// Raised by every listing.
    listing: u64,
    is_listed: bool,
    is_full: bool,
}

/// One policy.
#[derive(Clone, Debug)]
pub(super) struct Known {
    pub(super) uid: String,
    pub(super) generation: Option<i64>,
    /// Why it can't be used; empty where it can.
    pub(super) problems: Vec<Problem>,
    pub(super) status: Option<TapPolicyStatus>,
    listing: u64,
}

impl Policies {
    pub(super) fn handle(&mut self, event: &Event<DynamicObject>) {
        match event {
            Event::Init => self.listing += 1,
            Event::InitDone => {
                self.known.retain(|_, known| known.listing == self.listing);
                self.is_listed = true;
            }
            Event::InitApply(policy) | Event::Apply(policy) => self.apply(policy),
            Event::Delete(policy) => {
                if let Some(name) = name(policy) {
                    self.known.remove(&name);
                }
            }
        }
    }

    /// All of them, once they were listed: before that a policy is not known to be missing.
    pub(super) fn listed(&self) -> Option<&HashMap<PolicyName, Known>> {
        self.is_listed.then_some(&self.known)
    }

    /// A write came through; the watch will say the same.
    pub(super) fn wrote(&mut self, name: &PolicyName, uid: &str, status: Option<TapPolicyStatus>) {
        if let Some(known) = self.known.get_mut(name).filter(|known| known.uid == uid) {
            known.status = status;
        }
    }

    fn apply(&mut self, policy: &DynamicObject) {
        let (Some(name), Some(uid)) = (name(policy), policy.metadata.uid.clone()) else { return };
        let generation = policy.metadata.generation;
        let before = self.known.remove(&name);
        if before.is_none() && self.known.len() >= MAX_POLICIES {
            if !std::mem::replace(&mut self.is_full, true) {
                warn!("more than {MAX_POLICIES} TapPolicies: the others have no status");
            }
            return;
        }
        // A change of the status alone is no reason to check the policy again.
        let problems = match before {
            Some(before) if before.uid == uid && before.generation == generation => before.problems,
            _ => problems_of(policy),
        };
        let status = status_of(policy);
        self.known.insert(name, Known { uid, generation, problems, status, listing: self.listing });
    }
}

/// The status that the policy has; absent where it has none, or one that this version can't read.
pub(super) fn status_of(policy: &DynamicObject) -> Option<TapPolicyStatus> {
    let status = policy.data.get("status")?;
    serde_json::from_value(status.clone()).ok()
}

fn problems_of(policy: &DynamicObject) -> Vec<Problem> {
    match TapPolicy::read(policy.metadata.clone(), &policy.data["spec"]) {
        Ok(policy) => Policy::compile(&policy).err().unwrap_or_default(),
        // Of another version, whose schema lets something pass that this one doesn't know.
        Err(problem) => vec![problem],
    }
}

fn name(policy: &DynamicObject) -> Option<PolicyName> {
    Some((policy.metadata.namespace.clone()?, policy.metadata.name.clone()?))
}
