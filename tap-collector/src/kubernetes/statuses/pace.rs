//! When a status is written: news at once, numbers now and then, nothing while nothing changes. Pure.
//!
//! - [`SETTLE`] passes after a change, and between two writes, so that a rollout is a few writes and not hundreds.
//! - Totals alone are written [`TOTALS_INTERVAL`] after the last write, and some random time later, so that policies
//!   that were made together are not written together.
//! - Who finds again and again that what it wrote is not what is there writes ever more seldom: somebody else writes
//!   too.

use std::time::Duration;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use tap_policy::TapPolicyStatus;
use tokio::time::Instant;

pub(super) const SETTLE: Duration = Duration::from_secs(1);
pub(super) const TOTALS_INTERVAL: Duration = Duration::from_secs(30);
const TOTALS_JITTER: Duration = Duration::from_secs(10);
/// Between two writes of the same, against somebody else's.
const LONGEST_REPEAT: Duration = Duration::from_secs(300);

/// How a status differs from the one that the API has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Change {
    None,
    /// Only in the ledger's totals.
    Totals,
    State,
}

/// The writes of one policy.
#[derive(Debug)]
pub(super) struct Pace {
    last: Option<Written>,
    /// How often the same was written again.
    repeats: u32,
    /// When a change of state was first seen, while there is one.
    changed: Option<Instant>,
    jitter: Duration,
    begin: Instant,
}

#[derive(Debug)]
struct Written {
    at: Instant,
    status: TapPolicyStatus,
}

impl Pace {
    /// `random` is from 0 to 1.
    pub(super) fn new(now: Instant, random: f64) -> Self {
        let jitter = TOTALS_JITTER.mul_f64(random.clamp(0.0, 1.0));
        Self { last: None, repeats: 0, changed: None, jitter, begin: now }
    }

    /// When `wanted` may be written, given that it differs by `change` from what the API has.
    pub(super) fn due(&mut self, change: Change, wanted: &TapPolicyStatus, now: Instant) -> Option<Instant> {
        let last = self.last.as_ref();
        match change {
            Change::None => {
                self.changed = None;
                None
            }
            Change::Totals => {
                self.changed = None;
                Some(last.map_or(self.begin, |last| last.at) + TOTALS_INTERVAL + self.jitter)
            }
            Change::State => {
                let settled = *self.changed.get_or_insert(now) + SETTLE;
                let Some(last) = last else { return Some(settled) };
                let is_repeat = compare(&last.status, wanted) != Change::State;
                let pause = if is_repeat {
                    SETTLE.saturating_mul(1 << self.repeats.min(16)).min(LONGEST_REPEAT)
                } else {
                    SETTLE
                };
                Some(settled.max(last.at + pause))
            }
        }
    }

    /// `status` was written.
    pub(super) fn written(&mut self, status: TapPolicyStatus, change: Change, now: Instant) {
        let is_repeat = change == Change::State
            && self.last.as_ref().is_some_and(|last| compare(&last.status, &status) != Change::State);
        self.repeats = if is_repeat { self.repeats.saturating_add(1) } else { 0 };
        self.changed = None;
        self.last = Some(Written { at: now, status });
    }
}

/// How `after` differs from `before`.
pub(super) fn compare(before: &TapPolicyStatus, after: &TapPolicyStatus) -> Change {
    let TapPolicyStatus { observed_generation, matched_pods, active_taps, agents, ledger, conditions } =
        after;
    let is_same_state = before.observed_generation == *observed_generation
        && before.matched_pods == *matched_pods
        && before.active_taps == *active_taps
        && before.agents == *agents
        && are_same(&before.conditions, conditions);
    match (is_same_state, before.ledger == *ledger) {
        (false, _) => Change::State,
        (true, false) => Change::Totals,
        (true, true) => Change::None,
    }
}

/// Times of transition aside: where all else is the same, they are too.
fn are_same(before: &[Condition], after: &[Condition]) -> bool {
    let key = |condition: &Condition| {
        let Condition { type_, status, reason, message, observed_generation, last_transition_time: _ } =
            condition.clone();
        (type_, status, reason, message, observed_generation)
    };
    before.len() == after.len() && before.iter().zip(after).all(|(before, after)| key(before) == key(after))
}

#[cfg(test)]
mod tests {
    use tap_policy::LedgerTotals;

    use super::*;

    fn status(matched_pods: i64, exchanges: i64) -> TapPolicyStatus {
        let ledger = Some(LedgerTotals { exchanges, ..LedgerTotals::default() });
        TapPolicyStatus { matched_pods, ledger, ..TapPolicyStatus::default() }
    }

    /// Runs `seconds` in steps of a tenth of one; the wanted status is a function of the step, and every write gets
    /// through to what the API has, unless `overwritten` by somebody else. Answers when writes happened.
    fn run(
        seconds: u64,
        wanted: impl Fn(u64) -> TapPolicyStatus,
        overwritten: Option<TapPolicyStatus>,
    ) -> Vec<Duration> {
        let begin = Instant::now();
        let mut pace = Pace::new(begin, 0.5);
        let mut api = TapPolicyStatus::default();
        let mut writes = Vec::new();
        for step in 0..seconds * 10 {
            let now = begin + Duration::from_millis(100 * step);
            let wanted = wanted(step);
            let change = compare(&api, &wanted);
            if pace.due(change, &wanted, now).is_some_and(|due| due <= now) {
                api = overwritten.clone().unwrap_or_else(|| wanted.clone());
                pace.written(wanted, change, now);
                writes.push(now - begin);
            }
        }
        writes
    }

    #[test]
    fn an_hour_without_changes_writes_nothing_after_the_first() {
        assert_eq!(run(3_600, |_| status(1, 0), None), [SETTLE]);
    }

    #[test]
    fn an_hour_of_traffic_writes_totals_now_and_then() {
        let writes = run(3_600, |step| status(1, step.try_into().unwrap()), None);
        let expected = 3_600 / (TOTALS_INTERVAL + TOTALS_JITTER / 2).as_secs();
        assert_eq!(writes.len() as u64 - 1, expected);
        assert!(writes[1..].windows(2).all(|two| two[1] - two[0] >= TOTALS_INTERVAL));
    }

    #[test]
    fn a_change_of_state_is_written_when_it_has_settled() {
        let writes = run(100, |step| status(1 + i64::from(step >= 500), 0), None);
        assert_eq!(writes, [SETTLE, SETTLE + Duration::from_secs(50)]);
    }

    #[test]
    fn a_rollout_is_a_write_a_second() {
        let writes = run(10, |step| status(1 + i64::try_from(step).unwrap(), 0), None);
        assert!((4..=10).contains(&writes.len()), "{writes:?}");
        assert!(writes.windows(2).all(|two| two[1] - two[0] >= SETTLE));
    }

    #[test]
    fn what_came_and_went_is_not_written() {
        let writes = run(10, |step| status(i64::from((20..25).contains(&step)), 0), None);
        assert!(writes.is_empty(), "{writes:?}");
    }

    #[test]
    fn against_another_writer_it_becomes_quiet() {
        let writes = run(3_600, |_| status(1, 0), Some(status(2, 0)));
        assert!((10..=25).contains(&writes.len()), "{}", writes.len());
    }
}
