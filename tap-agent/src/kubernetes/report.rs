//! What an agent knows of the policies, for their status: pods that match, pods that are tapped, and what went wrong.

use std::{collections::HashMap, sync::Arc};

use tap_proto::v1;

use super::selection::{PolicyEntry, Selection};
use crate::{
    budget::{Cause, SheddingPods},
    taps::{TapState, TapStatus, TargetId},
};

/// Problems of one policy that are reported; of more it is said how many.
const MAX_PROBLEMS: usize = 16;

/// Longest message of a problem, in characters.
const MAX_MESSAGE: usize = 512;

impl Selection {
    /// One report for each policy that selects a pod of this node or that this agent can't use, in order of their names.
    pub(super) fn report(&self, taps: &[TapStatus], shedding: &SheddingPods) -> Vec<v1::PolicyReport> {
        let states: HashMap<_, _> = taps
            .iter()
            .filter_map(|status| match &status.id {
                TargetId::Pod(uid) => Some((Arc::clone(uid), &status.state)),
                TargetId::Configured(_) => None,
            })
            .collect();
        let mut reports: Vec<_> =
            self.entries().filter_map(|entry| self.report_of(entry, &states, shedding)).collect();
        reports.sort_by(|a, b| (&a.namespace, &a.name, &a.uid).cmp(&(&b.namespace, &b.name, &b.uid)));
        reports
    }

    fn report_of(
        &self,
        entry: &PolicyEntry,
        states: &HashMap<Arc<str>, &TapState>,
        shedding: &SheddingPods,
    ) -> Option<v1::PolicyReport> {
        let PolicyEntry { namespace, name, uid, generation, policy } = entry;
        let mut report = v1::PolicyReport {
            namespace: namespace.clone(),
            name: name.clone(),
            uid: uid.clone(),
            observed_generation: *generation,
            ..v1::PolicyReport::default()
        };
        let mut problems = Vec::new();
        match policy {
            Err(found) => {
                problems.extend(found.iter().map(|found| problem(found.reason, found.to_string(), "")));
            }
            Ok(policy) => {
                let mut pods: Vec<_> = self
                    .pods
                    .iter()
                    .map(|(_, pod)| pod)
                    .filter(|pod| !pod.has_ended && policy.selects(&pod.namespace, &pod.labels))
                    .collect();
                if pods.is_empty() {
                    return None;
                }
                pods.sort_by(|a, b| a.name.cmp(&b.name));
                for pod in pods {
                    report.matched_pods += 1;
                    problems.extend(shedding.get(&*pod.uid).map(|cause| shed(*cause, &pod.name)));
                    if let Some(reason) = self.unfit.get(&pod.uid) {
                        problems.push(problem("RedactionConflict", reason.clone(), &pod.name));
                    }
                    match states.get(&pod.uid) {
                        Some(TapState::Attached) => report.active_taps += 1,
                        Some(TapState::Awaited { reason, overdue: true }) => {
                            problems.push(problem("CgroupNotFound", reason.clone(), &pod.name));
                        }
                        Some(TapState::Failed { reason }) => {
                            problems.push(problem("TapFailed", reason.clone(), &pod.name));
                        }
                        Some(TapState::Awaited { .. } | TapState::Ended) | None => {}
                    }
                }
                problems.extend(self.overruled(entry));
            }
        }
        let more = problems.len().saturating_sub(MAX_PROBLEMS);
        if more > 0 {
            problems.truncate(MAX_PROBLEMS);
            problems.push(problem("MoreProblems", format!("and {more} more pods of this node"), ""));
        }
        report.problems = problems;
        Some(report)
    }

    /// The collector that the policy names does not count where an older policy selects the same pod.
    fn overruled(&self, entry: &PolicyEntry) -> Option<v1::PolicyProblem> {
        let policy = entry.policy.as_ref().ok()?;
        let wanted = policy.collector()?;
        let (pod, oldest) = self.overruling(policy)?;
        let goes = oldest.collector().unwrap_or("the agents' own collector");
        let name = oldest.full_name();
        let message =
            format!("exchanges go to {goes} and not to {wanted}: {name} is older and selects the pod too");
        Some(problem("CollectorOverruled", message, &pod))
    }
}

fn shed(cause: Cause, pod: &str) -> v1::PolicyProblem {
    let budget = cause.as_str();
    let message = format!(
        "the node's agent is near its budget.{budget} and leaves out connections of the pod: see the ledger, stage budget"
    );
    problem("Shedding", message, pod)
}

fn problem(reason: &str, mut message: String, pod: &str) -> v1::PolicyProblem {
    if let Some((end, _)) = message.char_indices().nth(MAX_MESSAGE) {
        message.truncate(end);
    }
    v1::PolicyProblem { reason: reason.to_owned(), message, pod: pod.to_owned() }
}
