//! When a replay ends because its target is not well: a condition over what the last seconds brought.

use std::{collections::VecDeque, time::Duration};

use tap_expr::{ConditionError, Figure, FigureCondition, FigureKind, Figures};

/// Fewer sends than this in the window say nothing about a target.
const LEAST_ENDED: u64 = 20;
/// Eighths of an octave of microseconds, up to an hour: a percentile is exact to a tenth.
const BUCKETS: usize = 256;
const PER_OCTAVE: u32 = 8;

pub(crate) const DEFAULT_CONDITION: &str = "connect_failure_rate > 0.99";
pub(crate) const DEFAULT_WINDOW: Duration = Duration::from_secs(10);

const KNOWN: [(&str, FigureKind); 6] = [
    ("error_rate", FigureKind::Number),
    ("connect_failure_rate", FigureKind::Number),
    ("failed", FigureKind::Number),
    ("answered", FigureKind::Number),
    ("latency.p50", FigureKind::Duration),
    ("latency.p99", FigureKind::Duration),
];

/// When to abort.
#[derive(Clone, Debug)]
pub(crate) struct Rule {
    source: String,
    condition: FigureCondition,
    pub(crate) window: Duration,
}

/// What sends came to, counted from the start.
#[derive(Clone, Debug)]
pub(crate) struct Health {
    answered: u64,
    /// Answers of 500 and above.
    server_errors: u64,
    failed: u64,
    connect_failed: u64,
    latencies: [u32; BUCKETS],
}

/// What the target was like in the last seconds.
#[derive(Debug)]
pub(crate) struct Watch {
    rule: Rule,
    past: VecDeque<(Duration, Health)>,
}

struct Window {
    answered: u64,
    server_errors: u64,
    failed: u64,
    connect_failed: u64,
    latencies: Vec<u32>,
}

impl Rule {
    pub(crate) fn parse(source: &str, window: Duration) -> Result<Self, ConditionError> {
        let condition = FigureCondition::parse(source, &KNOWN)?;
        Ok(Self { source: source.to_owned(), condition, window })
    }
}

impl Default for Health {
    fn default() -> Self {
        Self { answered: 0, server_errors: 0, failed: 0, connect_failed: 0, latencies: [0; BUCKETS] }
    }
}

impl Health {
    pub(crate) fn answered(&mut self, status: u16, latency: Duration) {
        self.answered += 1;
        self.server_errors += u64::from(status >= 500);
        let bucket = &mut self.latencies[bucket(latency)];
        *bucket = bucket.wrapping_add(1);
    }

    pub(crate) fn failed(&mut self, connecting: bool) {
        self.failed += 1;
        self.connect_failed += u64::from(connecting);
    }

    pub(crate) fn add(&mut self, other: &Self) {
        self.answered += other.answered;
        self.server_errors += other.server_errors;
        self.failed += other.failed;
        self.connect_failed += other.connect_failed;
        for (sum, other) in self.latencies.iter_mut().zip(&other.latencies) {
            *sum = sum.wrapping_add(*other);
        }
    }

    fn since(&self, past: &Self) -> Window {
        Window {
            answered: self.answered - past.answered,
            server_errors: self.server_errors - past.server_errors,
            failed: self.failed - past.failed,
            connect_failed: self.connect_failed - past.connect_failed,
            latencies: self
                .latencies
                .iter()
                .zip(&past.latencies)
                .map(|(now, past)| now.wrapping_sub(*past))
                .collect(),
        }
    }
}

impl Watch {
    pub(crate) fn new(rule: Rule) -> Self {
        Self { rule, past: VecDeque::from([(Duration::ZERO, Health::default())]) }
    }

    /// Looks at `health` as it is `now`, counted from the start, several times a second. Returns why to abort.
    pub(crate) fn look(&mut self, health: Health, now: Duration) -> Option<String> {
        while self.past.len() > 1 && self.past[1].0 + self.rule.window <= now {
            self.past.pop_front();
        }
        let window = self.past.front().map(|(_, past)| health.since(past))?;
        self.past.push_back((now, health));
        if window.ended() < LEAST_ENDED || !self.rule.condition.holds(&window) {
            return None;
        }
        let seconds = self.rule.window.min(now).as_secs_f64();
        Some(format!("{}: in the last {seconds:.1} s {}", self.rule.source, window.describe()))
    }
}

impl Window {
    fn ended(&self) -> u64 {
        self.answered + self.failed
    }

    fn quantile(&self, quantile: f64) -> Option<Duration> {
        let total: u64 = self.latencies.iter().map(|&count| u64::from(count)).sum();
        let wanted = (total as f64 * quantile).ceil().max(1.0) as u64;
        let mut seen = 0;
        let bucket = self.latencies.iter().position(|&count| {
            seen += u64::from(count);
            seen >= wanted
        })?;
        Some(upper_bound(bucket))
    }

    fn describe(&self) -> String {
        let Self { answered, server_errors, failed, connect_failed, .. } = self;
        let latency = self.quantile(0.99).map_or_else(String::new, |p99| format!(", latency p99 {p99:.1?}"));
        format!(
            "{answered} answered, {server_errors} of them with 500 or more, {failed} failed, {connect_failed} of \
             them to connect{latency}"
        )
    }
}

impl Figures for Window {
    fn figure(&self, name: &str, _key: Option<&str>) -> Option<Figure> {
        let share =
            |count: u64| (self.ended() > 0).then(|| Figure::Number(count as f64 / self.ended() as f64));
        let duration = |quantile| {
            self.quantile(quantile).map(|duration| Figure::Duration(duration.as_nanos().cast_signed()))
        };
        match name {
            "error_rate" => share(self.failed + self.server_errors),
            "connect_failure_rate" => share(self.connect_failed),
            "failed" => Some(Figure::Number(self.failed as f64)),
            "answered" => Some(Figure::Number(self.answered as f64)),
            "latency.p50" => duration(0.5),
            "latency.p99" => duration(0.99),
            _ => None,
        }
    }
}

fn bucket(latency: Duration) -> usize {
    let micros = u64::try_from(latency.as_micros()).unwrap_or(u64::MAX).max(1);
    (((micros as f64).log2() * f64::from(PER_OCTAVE)) as usize).min(BUCKETS - 1)
}

fn upper_bound(bucket: usize) -> Duration {
    Duration::from_secs_f64(((bucket + 1) as f64 / f64::from(PER_OCTAVE)).exp2() / 1e6)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn watch(condition: &str) -> Watch {
        Watch::new(Rule::parse(condition, Duration::from_secs(10)).unwrap())
    }

    const fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn a_target_that_fails_ends_the_replay_with_what_was_measured() {
        let mut watch = watch("error_rate > 0.5");
        let mut health = Health::default();
        for _ in 0..100 {
            health.answered(200, Duration::from_millis(1));
        }
        assert_eq!(watch.look(health.clone(), seconds(1)), None);
        for _ in 0..60 {
            health.answered(503, Duration::from_millis(1));
            health.failed(false);
        }
        let reason = watch.look(health, seconds(2)).unwrap();
        assert!(
            reason.starts_with("error_rate > 0.5: in the last 2.0 s 160 answered, 60 of them"),
            "{reason}"
        );
    }

    #[test]
    fn only_the_window_counts() {
        let mut watch = watch("error_rate > 0.5");
        let mut health = Health::default();
        for _ in 0..1_000 {
            health.answered(200, Duration::from_millis(1));
        }
        assert_eq!(watch.look(health.clone(), seconds(1)), None);
        for _ in 0..30 {
            health.failed(true);
        }
        // A good past hides it for ten seconds, and no longer.
        assert_eq!(watch.look(health.clone(), seconds(5)), None);
        for _ in 0..30 {
            health.failed(true);
        }
        assert!(watch.look(health, seconds(12)).is_some());
    }

    #[test]
    fn a_few_sends_say_nothing() {
        let mut watch = watch("connect_failure_rate > 0.99");
        let mut health = Health::default();
        for _ in 0..LEAST_ENDED - 1 {
            health.failed(true);
        }
        assert_eq!(watch.look(health.clone(), seconds(1)), None);
        health.failed(true);
        assert!(watch.look(health, seconds(2)).is_some());
    }

    #[test]
    fn latencies_are_known_to_a_tenth() {
        let mut health = Health::default();
        for millis in 1..=1_000 {
            health.answered(200, Duration::from_millis(millis));
        }
        let window = health.since(&Health::default());
        for (quantile, expected) in [(0.5, 500.0), (0.99, 990.0)] {
            let measured = window.quantile(quantile).unwrap().as_secs_f64() * 1_000.0;
            assert!((expected..expected * 1.1).contains(&measured), "{measured}");
        }
        assert_eq!(bucket(Duration::MAX), BUCKETS - 1);
        assert!(watch("latency.p99 > duration(\"900ms\")").look(health, seconds(1)).is_some());
    }

    #[test]
    fn a_condition_speaks_of_known_figures() {
        assert!(Rule::parse("error_rates > 1", DEFAULT_WINDOW).is_err());
        assert!(Rule::parse(DEFAULT_CONDITION, DEFAULT_WINDOW).is_ok());
        assert!(Rule::parse("false", DEFAULT_WINDOW).is_ok());
    }
}
