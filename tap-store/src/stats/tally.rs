//! What is counted of some exchanges.
//!
//! Latencies go into a histogram of two significant digits: its cells are as wide as 1 µs or 1/128 of their value, so that a
//! percentile is at most that much above the exact one, and never below. It grows with the largest latency, to 13 KiB.

use deltalake::arrow::{
    array::{Array, AsArray, Int32Array, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray},
    datatypes::{Int32Type, Int64Type, TimestampMicrosecondType},
};
use hdrhistogram::Histogram;
use prost_types::Duration;
use tap_proto::v1::{StatsLatency, StatsPercentile, StatsSummary};

use crate::{Cause, columns};

/// Of the histogram's values.
const SIGNIFICANT_DIGITS: u8 = 2;
/// Some 71 minutes: longer ones count as this long.
const MAX_LATENCY_MICROS: u64 = u32::MAX as u64;
const NANOS_PER_MICRO: u64 = 1_000;

/// The columns that are counted.
pub(super) const COLUMNS: [&str; 6] =
    ["time", "duration_ns", "status", "wire_bytes", "request_completeness", "response_completeness"];

#[derive(Clone, Debug, Default)]
pub(super) struct Tally {
    pub(super) exchanges: u64,
    pub(super) errors: u64,
    client_errors: u64,
    no_response: u64,
    incomplete: u64,
    pub(super) bytes: u64,
    latency: Option<Box<Latency>>,
}

#[derive(Clone, Debug)]
struct Latency {
    /// In microseconds.
    histogram: Histogram<u32>,
    count: u64,
    nanos: u128,
    min: u64,
    max: u64,
}

/// What is counted of one exchange.
#[derive(Clone, Copy, Debug)]
pub(super) struct Counted {
    /// Microseconds since 1970.
    pub(super) time: i64,
    status: Option<i32>,
    is_complete: bool,
    bytes: u64,
    latency_nanos: Option<u64>,
}

impl Tally {
    pub(super) fn record(&mut self, counted: &Counted) {
        let Counted { time: _, status, is_complete, bytes, latency_nanos } = *counted;
        self.exchanges += 1;
        match status {
            None => {
                self.no_response += 1;
                self.errors += 1;
            }
            Some(500..) => self.errors += 1,
            Some(400..500) => self.client_errors += 1,
            Some(_) => {}
        }
        self.incomplete += u64::from(!is_complete);
        self.bytes = self.bytes.saturating_add(bytes);
        if let Some(nanos) = latency_nanos
            && let Some(latency) = self.latency()
        {
            latency.record(nanos);
        }
    }

    pub(super) fn add(&mut self, other: &Self) {
        let Self { exchanges, errors, client_errors, no_response, incomplete, bytes, latency } = other;
        self.exchanges += exchanges;
        self.errors += errors;
        self.client_errors += client_errors;
        self.no_response += no_response;
        self.incomplete += incomplete;
        self.bytes = self.bytes.saturating_add(*bytes);
        if let Some(other) = latency
            && let Some(latency) = self.latency()
        {
            latency.add(other);
        }
    }

    /// The percentile of the latencies, in nanoseconds; 0 where there are none.
    pub(super) fn percentile(&self, percentile: f64) -> u64 {
        self.latency.as_ref().map_or(0, |latency| latency.percentile(percentile))
    }

    /// `seconds` are those that the exchanges were in.
    pub(super) fn summary(&self, seconds: f64, percentiles: &[f64]) -> StatsSummary {
        let Self { exchanges, errors, client_errors, no_response, incomplete, bytes, latency } = self;
        StatsSummary {
            exchanges: *exchanges,
            errors: *errors,
            client_errors: *client_errors,
            no_response: *no_response,
            incomplete: *incomplete,
            bytes: *bytes,
            rate: if seconds > 0.0 { *exchanges as f64 / seconds } else { 0.0 },
            latency: latency.as_ref().map(|latency| latency.message(percentiles)),
        }
    }

    /// Made with the first value. The histogram's settings are valid: it is always there.
    fn latency(&mut self) -> Option<&mut Latency> {
        if self.latency.is_none() {
            let histogram = Histogram::new(SIGNIFICANT_DIGITS).ok()?;
            self.latency = Some(Box::new(Latency { histogram, count: 0, nanos: 0, min: u64::MAX, max: 0 }));
        }
        self.latency.as_deref_mut()
    }
}

impl Latency {
    fn record(&mut self, nanos: u64) {
        // It resizes itself up to the largest value.
        let _ = self.histogram.record((nanos / NANOS_PER_MICRO).min(MAX_LATENCY_MICROS));
        self.count += 1;
        self.nanos += u128::from(nanos);
        self.min = self.min.min(nanos);
        self.max = self.max.max(nanos);
    }

    fn add(&mut self, other: &Self) {
        let Self { histogram, count, nanos, min, max } = other;
        let _ = self.histogram.add(histogram);
        self.count += count;
        self.nanos += nanos;
        self.min = self.min.min(*min);
        self.max = self.max.max(*max);
    }

    fn percentile(&self, percentile: f64) -> u64 {
        let micros = self.histogram.value_at_percentile(percentile);
        // The upper end of the cell: no exchange of this rank took longer.
        let nanos = micros.saturating_mul(NANOS_PER_MICRO).saturating_add(NANOS_PER_MICRO - 1);
        nanos.clamp(self.min, self.max)
    }

    fn message(&self, percentiles: &[f64]) -> StatsLatency {
        let mean = self.nanos / u128::from(self.count.max(1));
        let percentiles = percentiles.iter().map(|percentile| StatsPercentile {
            percentile: *percentile,
            value: Some(duration(self.percentile(*percentile))),
        });
        StatsLatency {
            count: self.count,
            min: Some(duration(self.min)),
            mean: Some(duration(u64::try_from(mean).unwrap_or(u64::MAX))),
            max: Some(duration(self.max)),
            percentiles: percentiles.collect(),
        }
    }
}

fn duration(nanos: u64) -> Duration {
    columns::duration(i64::try_from(nanos).unwrap_or(i64::MAX))
}

/// What is counted of the rows of a batch.
pub(super) struct CountedColumns<'a> {
    times: &'a TimestampMicrosecondArray,
    durations: Option<&'a Int64Array>,
    statuses: Option<&'a Int32Array>,
    bytes: Option<&'a Int64Array>,
    states: [Option<&'a StringArray>; 2],
}

impl<'a> CountedColumns<'a> {
    pub(super) fn of(batch: &'a RecordBatch) -> Result<Self, Cause> {
        let long = |name| batch.column_by_name(name).and_then(|c| c.as_primitive_opt::<Int64Type>());
        let times =
            batch.column_by_name("time").and_then(|c| c.as_primitive_opt::<TimestampMicrosecondType>());
        let state = |name| {
            let completeness = batch.column_by_name(name)?.as_struct_opt()?;
            completeness.column_by_name("state")?.as_string_opt::<i32>()
        };
        Ok(Self {
            times: times.ok_or("no column time")?,
            durations: long("duration_ns"),
            statuses: batch.column_by_name("status").and_then(|c| c.as_primitive_opt::<Int32Type>()),
            bytes: long("wire_bytes"),
            states: ["request_completeness", "response_completeness"].map(state),
        })
    }

    pub(super) fn at(&self, row: usize) -> Counted {
        let is_whole = |state: &Option<&StringArray>| {
            state.is_some_and(|state| !state.is_null(row) && state.value(row) == "complete")
        };
        let long = |column: Option<&Int64Array>| {
            column.filter(|column| !column.is_null(row)).map(|column| column.value(row))
        };
        Counted {
            time: self.times.value(row),
            status: self.statuses.filter(|column| !column.is_null(row)).map(|column| column.value(row)),
            is_complete: self.states.iter().all(is_whole),
            bytes: long(self.bytes).and_then(|bytes| u64::try_from(bytes).ok()).unwrap_or(0),
            latency_nanos: long(self.durations).and_then(|nanos| u64::try_from(nanos).ok()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counted(status: Option<i32>, latency_nanos: Option<u64>) -> Counted {
        Counted { time: 0, status, is_complete: status.is_some(), bytes: 10, latency_nanos }
    }

    #[test]
    fn percentiles_are_within_their_bound_of_the_exact_ones() {
        // Latencies from 1 µs to 100 s, evenly on a logarithmic scale.
        let latencies: Vec<u64> =
            (0..10_000).map(|i| 10_f64.powf(3.0 + f64::from(i) / 1_250.0) as u64).collect();
        let mut tally = Tally::default();
        for nanos in &latencies {
            tally.record(&counted(Some(200), Some(*nanos)));
        }
        for percentile in [0.1_f64, 1.0, 25.0, 50.0, 90.0, 99.0, 99.9, 100.0] {
            let rank = (percentile / 100.0 * latencies.len() as f64).ceil() as usize;
            let exact = latencies[rank - 1];
            let found = tally.percentile(percentile);
            let bound = (exact + 1_000).max(exact + exact / 125);
            assert!((exact..=bound).contains(&found), "{percentile}: {found} of {exact}");
        }
        let summary = tally.summary(10.0, &[]);
        assert!((summary.rate - 1_000.0).abs() < 1e-9);
        let latency = summary.latency.unwrap();
        assert_eq!(latency.min, Some(duration(1_000)));
        assert_eq!(latency.max, Some(duration(*latencies.last().unwrap())));
    }

    #[test]
    fn sums_are_as_if_counted_together() {
        let all = [
            counted(Some(200), Some(5_000_000)),
            counted(Some(404), None),
            counted(Some(503), Some(u64::MAX)),
            counted(None, Some(0)),
        ];
        let (mut together, mut left, mut right) = (Tally::default(), Tally::default(), Tally::default());
        for (index, one) in all.iter().enumerate() {
            together.record(one);
            if index % 2 == 0 { left.record(one) } else { right.record(one) }
        }
        left.add(&right);
        let percentiles = [0.0, 50.0, 100.0];
        assert_eq!(left.summary(0.0, &percentiles), together.summary(0.0, &percentiles));
        let summary = together.summary(0.0, &percentiles);
        assert_eq!(
            (summary.exchanges, summary.errors, summary.client_errors, summary.no_response),
            (4, 2, 1, 1)
        );
        assert_eq!((summary.incomplete, summary.bytes, summary.rate), (1, 40, 0.0));
        assert_eq!(Tally::default().summary(1.0, &percentiles).latency, None);
    }
}
