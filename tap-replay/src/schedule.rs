//! When each request is to be sent. Pure; time is an argument.
//!
//! Recorded times are kept or scaled; other arrival processes give the times themselves, and the recording only
//! the order. The share of a shard is a shard's share of the rate.

mod arrival;

use std::time::Duration;

use prost_types::Timestamp;
use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;

pub use self::arrival::{Arrival, ArrivalError};

/// Far beyond any replay, and near enough that adding it to an instant can't overflow.
const LATEST: Duration = Duration::from_secs(10 * 365 * 24 * 3_600);
/// Arrivals whose pauses are scaled together where a recording is resampled: bursts that are shorter stay as
/// they were, and reading ahead stays bounded.
const BLOCK: usize = 1_000;
/// Between two passes over a selection that takes no time: else a pass would never end.
const LEAST_PAUSE: Duration = Duration::from_secs(1);

/// The intended times of a replay's sends, each counted from the first.
#[derive(Debug)]
pub(crate) struct Schedule {
    arrival: Arrival,
    speed: f64,
    /// Of this pass.
    recorded: Recorded,
    /// When this pass began.
    pass: Duration,
    latest: Duration,
    count: u64,
    random: ChaCha8Rng,
}

/// The recorded times of one pass.
#[derive(Clone, Copy, Debug, Default)]
struct Recorded {
    /// In nanoseconds since the epoch.
    first: Option<i128>,
    last: i128,
    count: u64,
}

impl Schedule {
    /// `speed` divides every recorded pause; it is positive and finite. Of the arrivals of another process, one
    /// of `shards` is this replay's.
    pub(crate) fn new(arrival: Arrival, speed: f64, shards: u32, seed: u64) -> Self {
        Self {
            arrival: share(arrival, f64::from(shards)),
            speed,
            recorded: Recorded::default(),
            pass: Duration::ZERO,
            latest: Duration::ZERO,
            count: 0,
            random: ChaCha8Rng::seed_from_u64(seed),
        }
    }

    /// How many exchanges [`Self::next`] wants to see at once; a shorter block is good, too.
    pub(crate) fn block(&self) -> usize {
        if matches!(self.arrival, Arrival::Resampled(_)) { BLOCK } else { 1 }
    }

    /// Lets an exchange pass that is not sent by this shard: its time counts as recorded all the same.
    pub(crate) fn pass_by(&mut self, recorded: Option<&Timestamp>) {
        self.recorded.see(recorded);
    }

    /// The selection is read from its start again, and begins one mean pause after its end.
    pub(crate) fn next_pass(&mut self) {
        let Recorded { first, last, count } = std::mem::take(&mut self.recorded);
        let span = (last - first.unwrap_or(last)).max(0) as f64 / 1e9;
        let pause = if span > 0.0 { span / (count - 1) as f64 } else { LEAST_PAUSE.as_secs_f64() };
        self.pass = (self.pass + scaled(span + pause, self.speed)).max(self.latest).min(LATEST);
    }

    /// The intended times of the next sends: never before the previous one. An exchange without a recorded
    /// time, or with one out of order, follows at once where recorded times are kept.
    pub(crate) fn next(&mut self, recorded: &[Option<Timestamp>], times: &mut Vec<Duration>) {
        match self.arrival {
            Arrival::Recorded => {
                for recorded in recorded {
                    if let Some(since_first) = self.recorded.see(recorded.as_ref()) {
                        let seconds = since_first.max(0) as f64 / 1e9;
                        self.latest = self.latest.max(self.pass + scaled(seconds, self.speed)).min(LATEST);
                    }
                    times.push(self.latest);
                }
            }
            Arrival::Resampled(rate) => self.resample(recorded, rate, times),
            arrival => {
                for recorded in recorded {
                    self.recorded.see(recorded.as_ref());
                    let time = self.arrival_time(arrival);
                    self.latest = self.latest.max(time.min(LATEST));
                    times.push(self.latest);
                    self.count += 1;
                }
            }
        }
    }

    /// A block takes the time that the rate gives it, and its arrivals lie in it as recorded.
    fn resample(&mut self, recorded: &[Option<Timestamp>], rate: f64, times: &mut Vec<Duration>) {
        let mut latest = 0;
        let offsets: Vec<i128> = recorded
            .iter()
            .map(|recorded| {
                latest = self.recorded.see(recorded.as_ref()).unwrap_or(latest).max(latest);
                latest
            })
            .collect();
        let (first, last) = (offsets.first().copied().unwrap_or(0), latest);
        let span = (last - first) as f64;
        let wanted = recorded.len() as f64 / rate;
        let begin = self.latest;
        for (index, offset) in offsets.into_iter().enumerate() {
            // Between the last arrival of a block and the first of the next lies one mean pause.
            let share = if span > 0.0 {
                (offset - first) as f64 / span * (1.0 - 1.0 / recorded.len() as f64)
            } else {
                index as f64 / recorded.len() as f64
            };
            times.push((begin + seconds(share * wanted)).min(LATEST));
        }
        self.latest = (begin + seconds(wanted)).min(LATEST);
        self.count += recorded.len() as u64;
    }

    /// The time of the arrival number `count`.
    fn arrival_time(&mut self, arrival: Arrival) -> Duration {
        let count = self.count as f64;
        match arrival {
            Arrival::Recorded | Arrival::Resampled(_) | Arrival::Max => Duration::ZERO,
            Arrival::Constant(rate) => seconds(count / rate),
            Arrival::Poisson(rate) => {
                // The first is at zero, as everywhere.
                let uniform: f64 = if self.count == 0 { 0.0 } else { self.random.random() };
                self.latest + seconds(-(1.0 - uniform).ln() / rate)
            }
            Arrival::Ramp { from, to, over } => {
                let over = over.as_secs_f64();
                let during = (from + to) / 2.0 * over;
                if count >= during {
                    return seconds(over + (count - during) / to);
                }
                // The arrivals until t are from·t + (to − from)·t²/(2·over).
                let slope = (to - from) / over;
                let root = (from * from + 2.0 * slope * count).max(0.0).sqrt();
                seconds(2.0 * count / (from + root))
            }
            Arrival::Spike { base, peak, at, lasting } => {
                let (at, lasting) = (at.as_secs_f64(), lasting.as_secs_f64());
                let (before, during) = (base * at, peak * lasting);
                if count < before {
                    seconds(count / base)
                } else if count < before + during {
                    seconds(at + (count - before) / peak)
                } else {
                    seconds(at + lasting + (count - before - during) / base)
                }
            }
        }
    }
}

impl Recorded {
    /// Since the first of the pass, in nanoseconds.
    fn see(&mut self, recorded: Option<&Timestamp>) -> Option<i128> {
        let recorded = recorded?;
        let recorded = i128::from(recorded.seconds) * 1_000_000_000 + i128::from(recorded.nanos);
        self.last = if self.first.is_none() { recorded } else { self.last.max(recorded) };
        self.count += 1;
        Some(recorded - *self.first.get_or_insert(recorded))
    }
}

fn share(arrival: Arrival, shards: f64) -> Arrival {
    match arrival {
        Arrival::Recorded | Arrival::Max => arrival,
        Arrival::Resampled(rate) => Arrival::Resampled(rate / shards),
        Arrival::Constant(rate) => Arrival::Constant(rate / shards),
        Arrival::Poisson(rate) => Arrival::Poisson(rate / shards),
        Arrival::Ramp { from, to, over } => Arrival::Ramp { from: from / shards, to: to / shards, over },
        Arrival::Spike { base, peak, at, lasting } => {
            Arrival::Spike { base: base / shards, peak: peak / shards, at, lasting }
        }
    }
}

fn scaled(recorded: f64, speed: f64) -> Duration {
    seconds(recorded / speed)
}

/// Exact to a microsecond for up to a century: an `f64` has 53 bits.
fn seconds(seconds: f64) -> Duration {
    Duration::try_from_secs_f64(seconds.max(0.0)).unwrap_or(LATEST).min(LATEST)
}

#[cfg(test)]
mod tests;
