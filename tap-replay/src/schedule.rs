//! When each request is to be sent: the recorded pauses, scaled. Pure; time is an argument.

use std::time::Duration;

use prost_types::Timestamp;

/// Far beyond any replay, and near enough that adding it to an instant can't overflow.
const LATEST: Duration = Duration::from_secs(10 * 365 * 24 * 3_600);

/// The intended times of a replay's sends.
#[derive(Debug)]
pub(crate) struct Schedule {
    speed: f64,
    /// Recorded time of the first send, in nanoseconds since the epoch.
    first: Option<i128>,
    latest: Duration,
}

impl Schedule {
    /// `speed` divides every pause; it is positive and finite.
    pub(crate) fn new(speed: f64) -> Self {
        Self { speed, first: None, latest: Duration::ZERO }
    }

    /// The intended time of the next send, counted from the first one, which is sent at zero. Never before
    /// the previous one: an exchange without a time, or with one out of order, follows at once.
    pub(crate) fn next(&mut self, recorded: Option<&Timestamp>) -> Duration {
        if let Some(recorded) = recorded {
            let recorded = i128::from(recorded.seconds) * 1_000_000_000 + i128::from(recorded.nanos);
            let since_first = recorded - *self.first.get_or_insert(recorded);
            // Exact to a microsecond for recordings of up to a century: an f64 has 53 bits.
            let seconds = (since_first.max(0) as f64 / 1e9 / self.speed).min(LATEST.as_secs_f64());
            self.latest = self.latest.max(Duration::from_secs_f64(seconds));
        }
        self.latest
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn offsets(speed: f64, times: &[Option<(i64, i32)>]) -> Vec<Duration> {
        let mut schedule = Schedule::new(speed);
        times
            .iter()
            .map(|time| schedule.next(time.map(|(seconds, nanos)| Timestamp { seconds, nanos }).as_ref()))
            .collect()
    }

    #[test]
    fn pauses_are_kept_at_speed_one_and_scaled_at_others() {
        let times =
            [Some((1_700_000_000, 999_000_000)), Some((1_700_000_001, 1_000_000)), Some((1_700_000_003, 0))];
        let ms = Duration::from_millis;
        assert_eq!(offsets(1.0, &times), [ms(0), ms(2), ms(2_001)]);
        assert_eq!(offsets(2.0, &times), [ms(0), ms(1), Duration::from_micros(1_000_500)]);
        assert_eq!(offsets(0.5, &times), [ms(0), ms(4), ms(4_002)]);
    }

    #[test]
    fn time_never_runs_backwards() {
        let times = [None, Some((10, 0)), Some((12, 0)), Some((11, 0)), None, Some((13, 0))];
        let seconds: Vec<_> = offsets(1.0, &times).iter().map(Duration::as_secs).collect();
        assert_eq!(seconds, [0, 0, 2, 2, 2, 3]);
    }

    #[test]
    fn absurd_times_stay_addable_to_an_instant() {
        let times = [Some((i64::MIN, 0)), Some((i64::MAX, i32::MAX))];
        let latest = offsets(0.001, &times)[1];
        assert_eq!(latest, LATEST);
        assert!(std::time::Instant::now().checked_add(latest).is_some());
    }
}
