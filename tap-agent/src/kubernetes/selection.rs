//! Which pods are to be tapped, and how: pods and policies in, commands out. Pure but for the log.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    fmt,
    sync::Arc,
};

use kube::core::ObjectMeta;
use serde_json::Value;
use tap_policy::{Plan, Policy, Problem, TapPolicy};
use tap_redact::{Redactor, SettingsErrors};
use tracing::{debug, warn};

use super::{
    pod::PodRecord,
    routes::Routes,
    watch::{Change, Objects},
};
use crate::{
    config::{PortFilter, Redaction, Selector, announce_keeps},
    registry::{CapturePlan, Details, RouteId},
    taps::{Command, TargetId, Wanted},
};

/// What is known and what was told.
pub(super) struct Selection {
    pub(super) pods: Objects<PodRecord>,
    policies: Objects<PolicyEntry>,
    routes: Routes,
    redactors: Redactors,
    /// The agent's own redaction has changed since the taps were told.
    is_stale: bool,
    /// What the taps were told last of each pod, by UID.
    told: HashMap<Arc<str>, Told>,
    /// Pods, by UID, that are not tapped because what their policies ask of redaction does not fit together, and why.
    pub(super) unfit: HashMap<Arc<str>, String>,
}

/// A policy as it is, or why it can't be used.
pub(super) struct PolicyEntry {
    pub(super) namespace: String,
    pub(super) name: String,
    pub(super) uid: String,
    pub(super) generation: i64,
    pub(super) policy: Result<Arc<Policy>, Vec<Problem>>,
}

/// Tells one state of one policy from every other.
pub(super) type PolicyVersion = (String, i64);

struct Told {
    pod: PodRecord,
    policies: Vec<PolicyVersion>,
}

/// Makes the redactors of plans whose policies ask for more than the agent's own.
pub struct Redactors {
    own: Redaction,
    /// By the policies of the plan: pods of one workload share one.
    made: HashMap<Vec<PolicyVersion>, Arc<Redactor>>,
}

impl Selection {
    pub(super) fn new(routes: Routes, redactors: Redactors) -> Self {
        Self {
            pods: Objects::default(),
            policies: Objects::default(),
            routes,
            redactors,
            is_stale: false,
            told: HashMap::new(),
            unfit: HashMap::new(),
        }
    }

    /// Takes over a change of policies; each is checked once.
    pub(super) fn take_policies(&mut self, change: Change<Box<(ObjectMeta, Value)>>) {
        let change = match change {
            Change::ListBegins => Change::ListBegins,
            Change::Gone(uid) => Change::Gone(uid),
            Change::ListEnds => Change::ListEnds,
            Change::Put(uid, read) => {
                let (metadata, spec) = *read;
                let generation = metadata.generation.unwrap_or_default();
                // A change of the status alone, of which there are more than of the spec.
                if let Some(known) = self.policies.get(&uid)
                    && known.generation == generation
                    && generation != 0
                {
                    self.policies.keep(&uid);
                    return;
                }
                Change::Put(uid, self.read(metadata, &spec))
            }
        };
        self.policies.take(change);
    }

    /// Takes over a change of the agent's own redaction, for the pods that are tapped too.
    pub(super) fn set_redaction(&mut self, own: Redaction) {
        self.redactors = Redactors::new(own);
        self.is_stale = true;
    }

    /// Whether pods and policies were listed once.
    pub(super) fn is_complete(&self) -> bool {
        self.pods.is_listed() && self.policies.is_listed()
    }

    pub(super) fn policies(&self) -> usize {
        self.policies.len()
    }

    /// What has to change so that the taps are what the policies say.
    pub(super) fn reconcile(&mut self) -> Vec<Command> {
        // Before both are known a pod would be tapped by half of its policies, with half of their redaction.
        if !self.policies.is_listed() {
            return Vec::new();
        }
        let by_namespace = self.by_namespace();
        let mut commands = Vec::new();
        let mut selected = HashSet::new();
        let mut in_use = HashSet::new();
        // Those are asked again each time: nothing was told of them.
        self.unfit.clear();
        for (_, pod) in self.pods.iter().filter(|(_, pod)| !pod.has_ended) {
            let Some(plan) = plan_of(&by_namespace, pod) else { continue };
            let policies: Vec<_> =
                plan.policies().iter().map(|policy| (policy.uid.clone(), policy.generation)).collect();
            selected.insert(Arc::clone(&pod.uid));
            in_use.insert(policies.clone());
            let known = self.told.get(&pod.uid);
            if !self.is_stale && known.is_some_and(|told| told.policies == policies && told.pod == *pod) {
                continue;
            }
            // Checked when the policy was read.
            let route = self.routes.to(plan.collector()).unwrap_or_default();
            let redactor = match self.redactors.of(&policies, &plan) {
                Ok(redactor) => redactor,
                Err(error) => {
                    // Each is valid, but not all together. What can't be redacted as asked is not tapped.
                    warn!(pod = pod.full_name(), "the pod is not tapped, its policies' redaction: {error}");
                    selected.remove(&pod.uid);
                    self.unfit.insert(Arc::clone(&pod.uid), error.to_string());
                    continue;
                }
            };
            commands.push(Command::Put(Box::new(wanted(pod, plan, route, redactor))));
            self.told.insert(Arc::clone(&pod.uid), Told { pod: pod.clone(), policies });
        }
        self.is_stale = false;
        self.redactors.made.retain(|policies, _| in_use.contains(policies));
        self.told.retain(|uid, _| {
            let is_wanted = selected.contains(uid);
            if !is_wanted {
                commands.push(Command::Remove(TargetId::Pod(Arc::clone(uid))));
            }
            is_wanted
        });
        commands
    }

    pub(super) fn entries(&self) -> impl Iterator<Item = &PolicyEntry> {
        self.policies.iter().map(|(_, entry)| entry)
    }

    /// Valid policies by namespace.
    pub(super) fn by_namespace(&self) -> BTreeMap<String, Vec<Arc<Policy>>> {
        let mut by_namespace = BTreeMap::<_, Vec<_>>::new();
        for policy in self.entries().filter_map(|entry| entry.policy.as_ref().ok()) {
            by_namespace.entry(policy.namespace.clone()).or_default().push(Arc::clone(policy));
        }
        by_namespace
    }

    /// A pod that the policy selects and whose exchanges go elsewhere, as an older policy says.
    pub(super) fn overruling(&self, policy: &Policy) -> Option<(String, Arc<Policy>)> {
        let by_namespace = self.by_namespace();
        let mut pods = self.pods.iter().map(|(_, pod)| pod);
        pods.find_map(|pod| {
            let is_selected = !pod.has_ended && policy.selects(&pod.namespace, &pod.labels);
            let plan = is_selected.then(|| plan_of(&by_namespace, pod)).flatten()?;
            let is_overruled = plan.collector() != policy.collector();
            is_overruled.then(|| (pod.name.clone(), Arc::clone(&plan.policies()[0])))
        })
    }

    fn read(&self, metadata: ObjectMeta, spec: &Value) -> PolicyEntry {
        let ObjectMeta { namespace, name, uid, generation, .. } = metadata.clone();
        let policy = TapPolicy::read(metadata, spec)
            .map_err(|problem| vec![problem])
            .and_then(|policy| Policy::compile(&policy))
            .and_then(|policy| match self.routes.to(policy.collector()) {
                Some(_) => Ok(Arc::new(policy)),
                None => Err(vec![Problem {
                    field: "spec.collector".to_owned(),
                    reason: "CollectorNotAllowed",
                    message: format!(
                        "{} is not among kubernetes.collectors of the agents' settings",
                        policy.collector().unwrap_or_default()
                    ),
                }]),
            });
        let entry = PolicyEntry {
            namespace: namespace.unwrap_or_default(),
            name: name.unwrap_or_default(),
            uid: uid.unwrap_or_default(),
            generation: generation.unwrap_or_default(),
            policy,
        };
        let PolicyEntry { namespace, name, generation, policy, .. } = &entry;
        match policy {
            Ok(_) => debug!(namespace, name, generation, "policy"),
            Err(problems) => {
                let problems: Vec<_> = problems.iter().map(ToString::to_string).collect();
                warn!(namespace, name, generation, "the policy is not valid: {}", problems.join("; "));
            }
        }
        entry
    }
}

/// What the policies of its namespace that select it mean for a pod.
fn plan_of(by_namespace: &BTreeMap<String, Vec<Arc<Policy>>>, pod: &PodRecord) -> Option<Plan> {
    let policies = by_namespace.get(&pod.namespace)?;
    let selecting = policies.iter().filter(|policy| policy.selects(&pod.namespace, &pod.labels));
    Plan::new(selecting.cloned().collect())
}

fn wanted(pod: &PodRecord, plan: Plan, route: RouteId, redactor: Option<Arc<Redactor>>) -> Wanted {
    let ports = plan.ports();
    Wanted {
        id: TargetId::Pod(Arc::clone(&pod.uid)),
        name: pod.full_name(),
        selector: Selector::Pod(Arc::clone(&pod.cgroup)),
        ports: if ports.is_empty() { PortFilter::All } else { PortFilter::Only(ports.into_iter().collect()) },
        route,
        containers: pod.containers.clone(),
        details: Details {
            workload: pod.workload.clone(),
            namespace: pod.namespace.clone(),
            pod: pod.name.clone(),
            pod_uid: pod.uid.to_string(),
            labels: plan.labels(&pod.labels),
            policies: plan.policies().iter().map(|policy| policy.full_name()).collect(),
            plan: Some(Arc::new(CapturePlan { plan, redactor })),
            ..Details::default()
        },
    }
}

impl Redactors {
    /// `own` is what the agent redacts always.
    pub fn new(own: Redaction) -> Self {
        Self { own, made: HashMap::new() }
    }

    /// The redactor of a plan; `None` where the agent's own does.
    fn of(
        &mut self,
        policies: &[PolicyVersion],
        plan: &Plan,
    ) -> Result<Option<Arc<Redactor>>, SettingsErrors> {
        if plan.redactions().next().is_none() {
            return Ok(None);
        }
        if let Some(redactor) = self.made.get(policies) {
            return Ok(Some(Arc::clone(redactor)));
        }
        let redactor = self.own.stricter(plan.redactions())?;
        announce_keeps(&redactor, "of policies");
        self.made.insert(policies.to_vec(), Arc::clone(&redactor));
        Ok(Some(redactor))
    }
}

impl fmt::Debug for Redactors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Redactors").field("own", &self.own).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
