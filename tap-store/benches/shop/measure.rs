//! Time and its spread.

use std::time::{Duration, Instant};

use nix::time::{ClockId, clock_gettime};

/// Time on processors of all this process's threads: a busy machine stretches the wall clock.
pub(crate) fn processor_seconds() -> f64 {
    let time = clock_gettime(ClockId::CLOCK_PROCESS_CPUTIME_ID).expect("every kernel has this clock");
    Duration::from(time).as_secs_f64()
}

/// Seconds by the wall clock, and on processors.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Took {
    pub(crate) wall: f64,
    pub(crate) processor: f64,
}

pub(crate) struct Stopwatch(Instant, f64);

impl Stopwatch {
    pub(crate) fn start() -> Self {
        Self(Instant::now(), processor_seconds())
    }

    pub(crate) fn read(&self) -> Took {
        Took { wall: self.0.elapsed().as_secs_f64(), processor: processor_seconds() - self.1 }
    }
}

/// Median, least and greatest.
pub(crate) fn spread(mut values: Vec<f64>) -> (f64, f64, f64) {
    values.sort_by(f64::total_cmp);
    let last = values.len().saturating_sub(1);
    (values[values.len() / 2], values[0], values[last])
}

/// The number that an environment variable gives, or the default.
pub(crate) fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|value| value.parse().ok()).unwrap_or(default)
}

/// Whether figures are wanted: `cargo test --benches` only wants to see that it works.
pub(crate) fn is_measured() -> bool {
    std::env::args().any(|argument| argument == "--bench")
}
