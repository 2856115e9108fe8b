//! What the agents say of each policy, added up. Pure.
//!
//! An agent counts while it *reports*: its newest ledger is not its last, and not older than [`FRESH`]. So the totals
//! are those of the agents that run, since each of them started; what ended stays in the table's own ledger.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    time::{Duration, SystemTime},
};

use tap_policy::LedgerTotals;
use tap_proto::v1::{Amount, Ledger, PolicyProblem};

/// An agent sends a ledger every second, and collectors put them beside the table every few seconds.
pub(super) const FRESH: Duration = Duration::from_secs(60);

/// Problems kept of one policy: a condition's message names the first few.
const MAX_PROBLEMS: usize = 64;

/// Losses that somebody wants: they are no mishap, and no loss in a policy's status.
const WANTED: &str = "policy";

/// What could not be kept for want of room or time: an operator can do something about it.
const MISHAPS: [(&str, &str); 3] = [("ring", "full"), ("spool", "full"), ("spool", "oversized")];

/// Namespace and name of a policy.
pub(super) type PolicyName = (String, String);

/// Everything that the agents report.
#[derive(Debug, Default)]
pub(super) struct Reports {
    /// Agents that report anything at all.
    pub(super) agents: usize,
    policies: HashMap<PolicyName, Report>,
}

/// What is reported of one policy.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Report {
    /// By UID: the policy of the same name before may still be reported.
    uids: BTreeMap<String, Of>,
    pub(super) totals: LedgerTotals,
    /// Exchanges, or segments, that were lost by mishap, and where.
    pub(super) mishaps: Mishaps,
}

/// What agents report of one policy, named by its UID.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Of {
    pub(super) agents: u64,
    pub(super) matched_pods: u64,
    pub(super) active_taps: u64,
    pub(super) problems: BTreeSet<Trouble>,
    /// Problems beyond the bound.
    pub(super) more_problems: usize,
    /// The oldest generation that an agent goes by.
    pub(super) generation: Option<i64>,
}

/// A problem of a pod, or of the policy where `pod` is empty.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Trouble {
    pub(super) pod: String,
    pub(super) reason: String,
    pub(super) message: String,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Mishaps {
    pub(super) count: u64,
    /// As stage and reason of the ledger.
    pub(super) places: BTreeSet<(&'static str, &'static str)>,
}

/// A ledger and when it was last heard of.
#[derive(Clone, Copy, Debug)]
pub(super) struct Heard<'a> {
    pub(super) ledger: &'a Ledger,
    pub(super) at: SystemTime,
}

impl Reports {
    /// Adds up the newest ledger of each agent that reports.
    pub(super) fn of<'a>(ledgers: impl Iterator<Item = Heard<'a>>, now: SystemTime) -> Self {
        let mut newest: HashMap<&str, Heard<'_>> = HashMap::new();
        for heard in ledgers {
            let known = newest.entry(&heard.ledger.agent).or_insert(heard);
            if known.at < heard.at {
                *known = heard;
            }
        }
        let mut reports = Self::default();
        for Heard { ledger, at } in newest.into_values() {
            // One that comes from the future is not old: clocks differ.
            let is_stale = now.duration_since(at).is_ok_and(|age| age > FRESH);
            if ledger.r#final || is_stale {
                continue;
            }
            reports.agents += 1;
            reports.add(ledger);
        }
        reports
    }

    pub(super) fn get(&self, policy: &PolicyName) -> Option<&Report> {
        self.policies.get(policy)
    }

    fn add(&mut self, ledger: &Ledger) {
        for report in &ledger.policies {
            let name = (report.namespace.clone(), report.name.clone());
            let of = self.policies.entry(name).or_default().uids.entry(report.uid.clone()).or_default();
            of.agents += 1;
            of.matched_pods += u64::from(report.matched_pods);
            of.active_taps += u64::from(report.active_taps);
            let oldest = of.generation.unwrap_or(i64::MAX);
            of.generation = Some(oldest.min(report.observed_generation));
            for PolicyProblem { reason, message, pod } in &report.problems {
                if of.problems.len() < MAX_PROBLEMS {
                    let (pod, reason, message) = (pod.clone(), reason.clone(), message.clone());
                    of.problems.insert(Trouble { pod, reason, message });
                } else {
                    of.more_problems += 1;
                }
            }
        }
        for target in &ledger.targets {
            for policy in &target.policies {
                let Some((namespace, name)) = policy.split_once('/') else { continue };
                let report = self.policies.entry((namespace.to_owned(), name.to_owned())).or_default();
                let totals = &mut report.totals;
                add(&mut totals.seen_bytes, bytes(target.seen));
                add(&mut totals.exchanges, exchanges(target.assembled));
                add(&mut totals.stored_exchanges, exchanges(target.stored));
                for loss in target.losses.iter().filter(|loss| loss.stage != WANTED) {
                    add(&mut totals.lost_exchanges, exchanges(loss.amount));
                    add(&mut totals.lost_bytes, bytes(loss.amount));
                    let amount = loss.amount.unwrap_or_default();
                    let mishap =
                        MISHAPS.iter().find(|(stage, reason)| *stage == loss.stage && *reason == loss.reason);
                    if let Some(place) = mishap
                        && amount != Amount::default()
                    {
                        report.mishaps.count = report
                            .mishaps
                            .count
                            .saturating_add(amount.exchanges)
                            .saturating_add(amount.segments);
                        report.mishaps.places.insert(*place);
                    }
                }
            }
        }
    }
}

impl Report {
    /// What is reported of the policy of this UID.
    pub(super) fn of(&self, uid: &str) -> Option<&Of> {
        self.uids.get(uid)
    }
}

fn bytes(amount: Option<Amount>) -> u64 {
    amount.unwrap_or_default().bytes
}

fn exchanges(amount: Option<Amount>) -> u64 {
    amount.unwrap_or_default().exchanges
}

/// Amounts come from agents: whatever they say, it ends at the largest number.
fn add(total: &mut i64, amount: u64) {
    *total = total.saturating_add(i64::try_from(amount).unwrap_or(i64::MAX));
}

#[cfg(test)]
mod tests {
    use tap_proto::v1::{Loss, PolicyReport, TargetLedger};

    use super::*;

    fn amount(exchanges: u64, bytes: u64) -> Option<Amount> {
        Some(Amount { exchanges, bytes, segments: 0 })
    }

    fn loss(stage: &str, reason: &str, exchanges: u64) -> Loss {
        Loss { stage: stage.to_owned(), reason: reason.to_owned(), amount: amount(exchanges, 10 * exchanges) }
    }

    fn ledger(agent: &str) -> Ledger {
        let problem = |pod: &str| PolicyProblem {
            reason: "CgroupNotFound".to_owned(),
            message: "no cgroup".to_owned(),
            pod: pod.to_owned(),
        };
        Ledger {
            agent: agent.to_owned(),
            epoch: 1,
            targets: vec![
                TargetLedger {
                    target: "shop/cart-1".to_owned(),
                    seen: amount(0, 1_000),
                    assembled: amount(10, 900),
                    stored: amount(5, 500),
                    losses: vec![loss("policy", "sample", 3), loss("spool", "full", 2)],
                    policies: vec!["shop/cart".to_owned(), "shop/all".to_owned()],
                    ..TargetLedger::default()
                },
                TargetLedger {
                    target: "shop/front-1".to_owned(),
                    assembled: amount(7, 0),
                    policies: vec!["shop/all".to_owned(), "no slash".to_owned()],
                    ..TargetLedger::default()
                },
            ],
            policies: vec![PolicyReport {
                namespace: "shop".to_owned(),
                name: "cart".to_owned(),
                uid: "u1".to_owned(),
                observed_generation: 2,
                matched_pods: 2,
                active_taps: 1,
                problems: vec![problem(&format!("cart-of-{agent}"))],
            }],
            ..Ledger::default()
        }
    }

    fn name(name: &str) -> PolicyName {
        ("shop".to_owned(), name.to_owned())
    }

    #[test]
    fn the_agents_are_added_up() {
        let now = SystemTime::now();
        let ledgers = [ledger("n1"), ledger("n2")];
        let reports = Reports::of(ledgers.iter().map(|ledger| Heard { ledger, at: now }), now);
        assert_eq!(reports.agents, 2);
        let cart = reports.get(&name("cart")).unwrap();
        let of = cart.of("u1").unwrap();
        assert_eq!((of.agents, of.matched_pods, of.active_taps, of.generation), (2, 4, 2, Some(2)));
        let pods: Vec<&str> = of.problems.iter().map(|trouble| trouble.pod.as_str()).collect();
        assert_eq!(pods, ["cart-of-n1", "cart-of-n2"]);
        // Of a policy of the same name before.
        assert_eq!(cart.of("u0"), None);
        let expected = LedgerTotals {
            seen_bytes: 2_000,
            exchanges: 20,
            stored_exchanges: 10,
            lost_exchanges: 4,
            lost_bytes: 40,
        };
        assert_eq!(cart.totals, expected);
        assert_eq!(cart.mishaps, Mishaps { count: 4, places: BTreeSet::from([("spool", "full")]) });
        assert_eq!(reports.get(&name("all")).unwrap().totals.exchanges, 34);
    }

    #[test]
    fn only_the_newest_ledger_of_an_agent_that_reports_counts() {
        let now = SystemTime::now();
        let older = ledger("n1");
        let newer = Ledger { epoch: 2, policies: Vec::new(), ..ledger("n1") };
        let ended = Ledger { r#final: true, ..ledger("n2") };
        let silent = ledger("n3");
        let ahead = ledger("n4");
        let second = Duration::from_secs(1);
        let heard = [
            (&newer, now - second),
            (&older, now - 2 * second),
            (&ended, now),
            (&silent, now - FRESH - second),
            (&ahead, now + 10 * second),
        ];
        let reports = Reports::of(heard.into_iter().map(|(ledger, at)| Heard { ledger, at }), now);
        assert_eq!(reports.agents, 2);
        assert_eq!(reports.get(&name("cart")).unwrap().of("u1").unwrap().agents, 1);
    }

    #[test]
    fn whatever_agents_say_is_bounded() {
        let now = SystemTime::now();
        let mut hostile = ledger("n1");
        hostile.targets[0].seen = amount(u64::MAX, u64::MAX);
        hostile.targets.push(hostile.targets[0].clone());
        hostile.policies[0].problems = (0..100)
            .map(|number| PolicyProblem { pod: number.to_string(), ..PolicyProblem::default() })
            .collect();
        let reports = Reports::of(std::iter::once(Heard { ledger: &hostile, at: now }), now);
        let cart = reports.get(&name("cart")).unwrap();
        assert_eq!(cart.totals.seen_bytes, i64::MAX);
        let of = cart.of("u1").unwrap();
        assert_eq!((of.problems.len(), of.more_problems), (MAX_PROBLEMS, 100 - MAX_PROBLEMS));
    }
}
