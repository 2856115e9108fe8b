//! How often a collector commits, and how much at once.
//!
//! Collectors race for each version of the table, and one wins; the more of them there are, the more attempts are lost. Each
//! commit says how many attempts it lost, and every collector lengthens its interval, and lets its commits grow to match, by
//! what it reads there of all of them: also the one that never loses, to which nothing else would tell that it is in the others'
//! way. All read the same, so their intervals come to be the same, and each gets its share: `tap_store` sees to it that who
//! has lost often is first.
//!
//! Pure: times are arguments.

use std::time::Duration;

use tokio::time::Instant;

/// Attempts lost for one commit from which on the table counts as crowded. One is chance.
const CROWDED: u32 = 2;
/// The interval of a crowded table grows to this many times what is set, or [`LONGEST`], if that is less. Sixteen
/// collectors that commit every second then do so every sixteen.
const MOST: u32 = 16;
/// What an agent's spool has to bridge is the interval and the commit itself.
const LONGEST: Duration = Duration::from_secs(15);
/// Each interval differs by up to this share: collectors that began together don't stay so.
const JITTER: f64 = 0.1;

#[derive(Debug)]
pub(crate) struct Pace {
    /// As it is set.
    base: Duration,
    interval: Duration,
    /// Of a commit that doesn't wait for its time, as it is set.
    base_bytes: usize,
    /// Half of the queue: the other half fills while a commit is written.
    most_bytes: usize,
}

impl Pace {
    pub(crate) fn new(interval: Duration, bytes: usize, queue_bytes: usize) -> Self {
        Self { base: interval, interval, base_bytes: bytes, most_bytes: (queue_bytes / 2).max(bytes) }
    }

    pub(crate) fn interval(&self) -> Duration {
        self.interval
    }

    /// A commit of this size doesn't wait for its time.
    pub(crate) fn bytes(&self) -> usize {
        let factor = self.interval.as_secs_f64() / self.base.as_secs_f64().max(f64::EPSILON);
        ((self.base_bytes as f64 * factor) as usize).clamp(self.base_bytes, self.most_bytes)
    }

    /// When what is there at `now` is to be committed. `begun`: when the commit before began. `random` is from 0 to 1.
    ///
    /// What came while the commit before was written does not wait a whole interval more, but for half a one at
    /// least: the queue holds more by then, and a slow store gets a pause.
    pub(super) fn due(&self, begun: Option<Instant>, now: Instant, random: f64) -> Instant {
        let interval = self.interval.mul_f64(1.0 - JITTER + 2.0 * JITTER * random);
        let after_last = begun.map_or(now + interval, |begun| begun + interval);
        after_last.clamp(now + interval / 2, now + interval)
    }

    /// After somebody's commit that lost so many attempts. Up faster than down: one commit in five or so may lose.
    pub(super) fn adapt(&mut self, lost: u32) {
        let longest = (self.base * MOST).min(LONGEST).max(self.base);
        self.interval = match lost {
            0 => self.interval - self.interval / 16,
            lost if lost < CROWDED => self.interval,
            _ => self.interval + self.interval / 4,
        }
        .clamp(self.base, longest);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn pace() -> Pace {
        Pace::new(SECOND, 16, 64)
    }

    #[test]
    fn a_crowded_table_is_committed_to_less_often_and_more_at_once() {
        let mut pace = pace();
        assert_eq!((pace.interval(), pace.bytes()), (SECOND, 16));
        pace.adapt(1);
        assert_eq!(pace.interval(), SECOND);
        pace.adapt(2);
        assert_eq!((pace.interval(), pace.bytes()), (SECOND * 5 / 4, 20));
        for _ in 0..20 {
            pace.adapt(7);
        }
        assert_eq!((pace.interval(), pace.bytes()), (LONGEST, 32));
        for _ in 0..60 {
            pace.adapt(0);
        }
        assert_eq!((pace.interval(), pace.bytes()), (SECOND, 16));
    }

    #[test]
    fn a_long_interval_stays_as_it_is_set() {
        let mut pace = Pace::new(SECOND * 60, 16, 16);
        pace.adapt(9);
        assert_eq!((pace.interval(), pace.bytes()), (SECOND * 60, 16));
    }

    #[test]
    fn what_waited_for_a_commit_waits_less_for_the_next() {
        let (pace, now) = (pace(), Instant::now());
        assert_eq!(pace.due(None, now, 0.5), now + SECOND);
        assert_eq!(pace.due(Some(now - SECOND / 4), now, 0.5), now + SECOND * 3 / 4);
        assert_eq!(pace.due(Some(now - SECOND * 9), now, 0.5), now + SECOND / 2);
        assert!(pace.due(None, now, 1.0) > pace.due(None, now, 0.0));
    }

    /// Collectors with a fixed time for an attempt, each round won by one of those that try: what the interval is for.
    #[test]
    fn ten_collectors_get_equal_shares_of_a_slow_table() {
        const COLLECTORS: usize = 10;
        const ROUND: Duration = Duration::from_millis(300);
        let mut paces: Vec<_> = (0..COLLECTORS).map(|_| pace()).collect();
        let mut due = [Duration::ZERO; COLLECTORS];
        let (mut lost, mut won) = ([0_u32; COLLECTORS], [0_u32; COLLECTORS]);
        let (mut now, mut draw) = (Duration::ZERO, 7_usize);
        while now < SECOND * 600 {
            let trying: Vec<_> = (0..COLLECTORS).filter(|&index| due[index] <= now).collect();
            if !trying.is_empty() {
                draw = draw.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                let winner = trying[(draw >> 33) % trying.len()];
                for &index in trying.iter().filter(|&&index| index != winner) {
                    lost[index] += 1;
                }
                paces.iter_mut().for_each(|pace| pace.adapt(lost[winner]));
                (lost[winner], won[winner]) = (0, won[winner] + 1);
                due[winner] = now + paces[winner].interval();
            }
            now += ROUND;
        }
        let (least, most) = (won.iter().min().unwrap(), won.iter().max().unwrap());
        assert!(*least > 60 && most / least < 2, "{won:?}");
    }
}
