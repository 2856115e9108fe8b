//! How much is shed: up at once when a budget gets short, down slowly when there is room. Pure.

use super::Cause;

/// Shedding begins, or goes on to grow, at this part of a budget.
const SHED_AT: f64 = 0.80;
/// Below this part of every budget it shrinks.
const RESUME_AT: f64 = 0.70;
/// What a step up aims at: between the two.
const AIM: f64 = 0.75;
/// A step up is at least this share of the connections: usage need not follow the number of connections.
const STEP_UP: f64 = 1.0 / 32.0;
/// A step down: from all to nothing in eight seconds.
const STEP_DOWN: f64 = 1.0 / 16.0;

/// The share of connections that are left out.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Level {
    share: f64,
    cause: Cause,
}

impl Level {
    /// Takes one look at what parts of the budgets are in use: 1 is all of one.
    pub(super) fn step(&mut self, memory: f64, cpu: f64) {
        let (used, cause) = if cpu > memory { (cpu, Cause::Cpu) } else { (memory, Cause::Memory) };
        if used >= SHED_AT {
            let followed = (1.0 - self.share) * AIM / used;
            self.share = (1.0 - followed).max(self.share + STEP_UP).min(1.0);
            self.cause = cause;
        } else if used < RESUME_AT {
            self.share = (self.share - STEP_DOWN).max(0.0);
        }
    }

    /// The share and the budget that is short; `None` while nothing is shed.
    pub(super) fn shedding(self) -> Option<(f64, Cause)> {
        (self.share > 0.0).then_some((self.share, self.cause))
    }
}

/// The share of a rank's connections that are left out, so that of all ranks together it is `level`: the last rank goes
/// first, and the one before it only when nothing is left of it.
pub(super) fn share_of_rank(level: f64, rank: usize, ranks: usize) -> f64 {
    let behind = ranks.saturating_sub(rank + 1);
    (level * ranks as f64 - behind as f64).clamp(0.0, 1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn share(level: Level) -> f64 {
        level.shedding().map_or(0.0, |(share, _)| share)
    }

    #[test]
    fn it_sheds_at_eighty_percent_and_resumes_below_seventy() {
        let mut level = Level::default();
        level.step(0.79, 0.0);
        assert_eq!(level.shedding(), None);
        level.step(0.80, 0.0);
        assert_eq!(level.shedding().map(|(_, cause)| cause), Some(Cause::Memory));
        let held = share(level);
        for used in [0.79, 0.75, 0.70] {
            level.step(used, 0.0);
            assert_eq!(share(level), held, "between the two it stays");
        }
        level.step(0.69, 0.0);
        assert!(share(level) < held);
    }

    #[test]
    fn a_load_of_three_times_the_budget_is_met_in_one_step_and_let_back_slowly() {
        let mut level = Level::default();
        let used = |level: Level| 3.0 * (1.0 - share(level));
        level.step(0.0, used(level));
        assert_eq!(level.shedding().map(|(_, cause)| cause), Some(Cause::Cpu));
        assert!((0.70..0.80).contains(&used(level)), "{}", used(level));
        let met = level;
        for _ in 0..100 {
            level.step(0.0, used(level));
        }
        assert_eq!(level, met, "it does not waver");
        let mut steps = 0;
        while level.shedding().is_some() {
            level.step(0.0, 0.1);
            steps += 1;
        }
        assert!((8..=16).contains(&steps), "{steps}");
    }

    #[test]
    fn what_does_not_shrink_ends_with_nothing_followed() {
        let mut level = Level::default();
        for _ in 0..40 {
            level.step(1.2, 0.5);
        }
        assert_eq!(level.shedding(), Some((1.0, Cause::Memory)));
    }

    #[test]
    fn the_last_rank_goes_first() {
        let shares = |level| [0, 1, 2, 3].map(|rank| share_of_rank(level, rank, 4));
        assert_eq!(shares(0.0), [0.0, 0.0, 0.0, 0.0]);
        assert_eq!(shares(0.125), [0.0, 0.0, 0.0, 0.5]);
        assert_eq!(shares(0.5), [0.0, 0.0, 1.0, 1.0]);
        assert_eq!(shares(0.875), [0.5, 1.0, 1.0, 1.0]);
        assert_eq!(shares(1.0), [1.0, 1.0, 1.0, 1.0]);
    }
}
