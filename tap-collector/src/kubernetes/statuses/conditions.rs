//! The status of one policy, from the policy, what agents report of it, and the status before. Pure.
//!
//! | condition | true | false, by reason |
//! |---|---|---|
//! | `Accepted` | `Valid` | that of the first problem: `InvalidFilter`, … |
//! | `Capturing` | `AllPods`, `SomePods` | `NotAccepted`, `NoAgents`, `NoPodsMatch`, `NotTapped`, or the agents' own |
//! | `Mirroring` | `AsExpected` | `NotAccepted`, `TargetNotAllowed`, `InvalidMirror`, `TooManyMirrors`, `TargetFails`, `Dropping` |
//! | `Degraded` | `Losses`, or the agents' own: `CollectorNotAllowed`, … | `AsExpected` |
//!
//! `Mirroring` is there only where the policy has mirrors, and is what the replica sees that writes it.
//!
//! A status without news is equal to the one before, times of transition included.

use std::fmt::Write as _;

use k8s_openapi::{
    apimachinery::pkg::apis::meta::v1::{Condition, Time},
    jiff::Timestamp,
};
use tap_policy::{Problem, TapPolicyStatus};

use super::reports::{Mishaps, Of, Report, Trouble};
use crate::mirrors::{Refusal, Told};

/// In the API a message can have 32 KiB; `kubectl describe` and statuses should stay readable.
const MAX_MESSAGE: usize = 1024;
/// Pods that a message names.
const NAMED_PODS: usize = 5;
/// The API's own bound on a reason, which also must look like a name.
const MAX_REASON: usize = 128;

/// Everything that a status is made of.
#[derive(Clone, Copy, Debug)]
pub(super) struct Facts<'a> {
    pub(super) uid: &'a str,
    pub(super) generation: Option<i64>,
    /// Why the policy can't be used; empty where it can.
    pub(super) problems: &'a [Problem],
    pub(super) report: Option<&'a Report>,
    /// Agents that report anything at all.
    pub(super) agents: usize,
    /// What was lost by mishap lately, if anything.
    pub(super) losses: Option<&'a Mishaps>,
    /// Of the policy's mirrors.
    pub(super) mirrors: &'a [Told],
}

/// What a condition says, without its time.
#[derive(Debug)]
struct Verdict {
    kind: &'static str,
    holds: bool,
    reason: String,
    message: String,
}

pub(super) fn status(facts: Facts<'_>, before: Option<&TapPolicyStatus>, now: Timestamp) -> TapPolicyStatus {
    let nothing = Of::default();
    let of = facts.report.and_then(|report| report.of(facts.uid)).unwrap_or(&nothing);
    let verdicts = [accepted(facts.problems), capturing(&facts, of), degraded(&facts, of)];
    let verdicts = verdicts.into_iter().chain(mirroring(&facts));
    let known = before.map(|status| status.conditions.as_slice()).unwrap_or_default();
    let conditions = verdicts.map(|verdict| verdict.into_condition(facts.generation, known, now)).collect();
    TapPolicyStatus {
        observed_generation: facts.generation,
        matched_pods: count(of.matched_pods),
        active_taps: count(of.active_taps),
        agents: count(of.agents),
        ledger: facts.report.map(|report| report.totals),
        conditions,
    }
}

fn accepted(problems: &[Problem]) -> Verdict {
    match problems {
        [] => verdict("Accepted", true, "Valid", "the policy is valid"),
        [first, ..] => {
            let message = problems.iter().map(|problem| format!("{}: {}", problem.field, problem.message));
            verdict("Accepted", false, first.reason, &message.collect::<Vec<_>>().join("; "))
        }
    }
}

fn capturing(facts: &Facts<'_>, of: &Of) -> Verdict {
    let no = |reason: &str, message: &str| verdict("Capturing", false, reason, message);
    if !facts.problems.is_empty() {
        return no("NotAccepted", "the policy is not valid: see the condition Accepted");
    }
    if facts.agents == 0 {
        return no("NoAgents", "no agent is connected to a collector");
    }
    let Of { matched_pods, active_taps, .. } = *of;
    if active_taps > 0 {
        let reason = if active_taps < matched_pods { "SomePods" } else { "AllPods" };
        let mut message = format!("{active_taps} of {matched_pods} pods are tapped");
        if let (Some(oldest), Some(newest)) = (of.generation, facts.generation)
            && oldest < newest
        {
            // Writing to a string does not fail.
            let _ = write!(message, ", on some nodes still as generation {oldest} says");
        }
        return verdict("Capturing", true, reason, &message);
    }
    match of.problems.first() {
        Some(trouble) => no(&trouble.reason, &trouble.to_string()),
        None if matched_pods == 0 => no("NoPodsMatch", "no pod of the namespace matches the selector"),
        None => no("NotTapped", &format!("0 of {matched_pods} pods are tapped")),
    }
}

fn degraded(facts: &Facts<'_>, of: &Of) -> Verdict {
    let yes = |reason: &str, message: &str| verdict("Degraded", true, reason, message);
    if let Some(first) = of.problems.first() {
        let mut message =
            of.problems.iter().take(NAMED_PODS).map(Trouble::to_string).collect::<Vec<_>>().join("; ");
        let more = of.problems.len().saturating_sub(NAMED_PODS) + of.more_problems;
        if more > 0 {
            // Writing to a string does not fail.
            let _ = write!(message, "; and {more} more");
        }
        return yes(&first.reason, &message);
    }
    if let Some(Mishaps { places, count: _ }) = facts.losses {
        let places: Vec<String> = places.iter().map(|(stage, reason)| format!("{stage}/{reason}")).collect();
        let message = format!("lost within the last minutes at {}: see docs/ledger.md", places.join(", "));
        return yes("Losses", &message);
    }
    verdict("Degraded", false, "AsExpected", "nothing was lost by mishap")
}

/// The worst that there is to say of the mirrors. Without counts, which would be news at every look.
fn mirroring(facts: &Facts<'_>) -> Option<Verdict> {
    let no = |reason: &str, message: String| verdict("Mirroring", false, reason, &message);
    if facts.mirrors.is_empty() {
        return None;
    }
    let refused = facts.mirrors.iter().find_map(|Told { target, state }| {
        let Refusal { reason, message } = state.as_ref().err()?;
        Some(no(reason, format!("{target}: {message}")))
    });
    let running = || facts.mirrors.iter().filter_map(|told| Some((&told.target, told.state.as_ref().ok()?)));
    let failing = || {
        let (target, recent) = running().find(|(_, recent)| recent.failed > recent.answered)?;
        let cause = recent.failure.unwrap_or_default();
        Some(no("TargetFails", format!("{target}: most requests of the last minute failed, with {cause}")))
    };
    let dropping = || {
        let (target, _) = running().find(|(_, recent)| recent.dropped > 0)?;
        let message =
            format!("{target}: within the last minute not everything was sent; tapctl mirror says why");
        Some(no("Dropping", message))
    };
    let well = || verdict("Mirroring", true, "AsExpected", "what the policy keeps is mirrored");
    Some(refused.or_else(failing).or_else(dropping).unwrap_or_else(well))
}

fn verdict(kind: &'static str, holds: bool, reason: &str, message: &str) -> Verdict {
    Verdict { kind, holds, reason: as_reason(reason), message: printable(message) }
}

impl Verdict {
    /// The time of the condition before stays, unless it said otherwise.
    fn into_condition(self, generation: Option<i64>, known: &[Condition], now: Timestamp) -> Condition {
        let Self { kind, holds, reason, message } = self;
        let status = if holds { "True" } else { "False" };
        let before = known.iter().find(|condition| condition.type_ == kind && condition.status == status);
        Condition {
            type_: kind.to_owned(),
            status: status.to_owned(),
            reason,
            message,
            observed_generation: generation,
            last_transition_time: before.map_or_else(
                // In the API it has whole seconds: with more it would never be equal again.
                || Time(Timestamp::from_second(now.as_second()).unwrap_or_default()),
                |before| before.last_transition_time.clone(),
            ),
        }
    }
}

impl std::fmt::Display for Trouble {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { pod, reason: _, message } = self;
        if pod.is_empty() { write!(f, "{message}") } else { write!(f, "pod {pod}: {message}") }
    }
}

/// The API refuses a condition whose reason is not a name; agents are another version, or hostile.
fn as_reason(reason: &str) -> String {
    let is_name = reason.len() <= MAX_REASON
        && reason.starts_with(|c: char| c.is_ascii_alphabetic())
        && reason.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    if is_name { reason.to_owned() } else { "Unknown".to_owned() }
}

/// What agents say ends on administrators' terminals.
fn printable(message: &str) -> String {
    let message = &message[..message.floor_char_boundary(MAX_MESSAGE)];
    message.chars().map(|char| if char.is_control() { '\u{fffd}' } else { char }).collect()
}

fn count(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests;
