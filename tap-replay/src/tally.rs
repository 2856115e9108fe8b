//! Counts what became of every exchange of a replay. Its sums hold after every call.

use std::{collections::BTreeMap, time::Duration};

use hdrhistogram::{
    Histogram,
    serialization::{Serializer as _, V2Serializer},
};
use tap_proto::v1::{Distribution, ReplayReport};

use crate::{
    Failure,
    abort::Health,
    compare::{RESPONSE_MISSING, Verdict},
};

/// A send later than this is late: what the tokio timer alone would allow.
const LATE: Duration = Duration::from_millis(1);
/// In microseconds: the longest timeout a plan allows. Longer values count as this one.
const HIGHEST: u64 = 3_600_000_000;
/// Percentiles are exact to a thousandth of their value; two histograms of 200 KB.
const SIGNIFICANT_DIGITS: u8 = 3;

type Counts = BTreeMap<&'static str, u64>;

/// The counters of one replay.
#[derive(Debug)]
pub(crate) struct Tally {
    selected: u64,
    sent: u64,
    answered: u64,
    failed: Counts,
    not_sent: Counts,
    statuses: BTreeMap<u32, u64>,
    matched: u64,
    differed: u64,
    mismatched: Counts,
    not_compared: Counts,
    late: u64,
    latency: Histogram<u64>,
    send_error: Histogram<u64>,
    left_out: Counts,
    warm_up: u64,
    transform_errors: Counts,
    /// Also of the warm-up: a target that fails then is not well.
    health: Health,
}

impl Tally {
    pub(crate) fn new() -> Self {
        let histogram =
            || Histogram::new_with_bounds(1, HIGHEST, SIGNIFICANT_DIGITS).expect("constant bounds are valid");
        Self {
            selected: 0,
            sent: 0,
            answered: 0,
            failed: Counts::new(),
            not_sent: Counts::new(),
            statuses: BTreeMap::new(),
            matched: 0,
            differed: 0,
            mismatched: Counts::new(),
            not_compared: Counts::new(),
            late: 0,
            latency: histogram(),
            send_error: histogram(),
            left_out: Counts::new(),
            warm_up: 0,
            transform_errors: Counts::new(),
            health: Health::default(),
        }
    }

    /// An exchange is not sent.
    pub(crate) fn not_sent(&mut self, reason: &'static str) {
        self.selected += 1;
        *self.not_sent.entry(reason).or_default() += 1;
    }

    /// An exchange was read and is not part of the selection.
    pub(crate) fn left_out(&mut self, reason: &'static str) {
        *self.left_out.entry(reason).or_default() += 1;
    }

    /// A transformation could not do something.
    pub(crate) fn transform_errors(&mut self, problems: &[&'static str]) {
        for problem in problems {
            *self.transform_errors.entry(problem).or_default() += 1;
        }
    }

    /// An exchange is on its way; in the warm-up it is counted as that alone.
    pub(crate) fn sent(&mut self, warm_up: bool) {
        if warm_up {
            self.warm_up += 1;
        } else {
            self.selected += 1;
            self.sent += 1;
        }
    }

    /// A request was handed to a connection, this long after its intended time, if it was.
    pub(crate) fn written(&mut self, error: Option<Duration>, warm_up: bool) {
        if let Some(error) = error.filter(|_| !warm_up) {
            self.late += u64::from(error > LATE);
            self.send_error.saturating_record(microseconds(error));
        }
    }

    /// A sent request got no answer.
    pub(crate) fn failed(&mut self, failure: Failure, warm_up: bool) {
        self.health.failed(failure.is_of_connect());
        if !warm_up {
            *self.failed.entry(failure.as_str()).or_default() += 1;
        }
    }

    /// A sent request was answered, this long after its intended time.
    pub(crate) fn answered(&mut self, status: u16, latency: Duration, verdict: Verdict, warm_up: bool) {
        self.health.answered(status, latency);
        if warm_up {
            return;
        }
        let Verdict { differences, not_compared } = verdict;
        self.answered += 1;
        *self.statuses.entry(u32::from(status)).or_default() += 1;
        self.latency.saturating_record(microseconds(latency));
        if !differences.is_empty() {
            self.differed += 1;
        } else if not_compared != Some(RESPONSE_MISSING) {
            self.matched += 1;
        }
        for difference in differences {
            *self.mismatched.entry(difference).or_default() += 1;
        }
        if let Some(reason) = not_compared {
            *self.not_compared.entry(reason).or_default() += 1;
        }
    }

    /// Counts what `other` has counted, too.
    pub(crate) fn merge(&mut self, other: &Self) {
        let Self {
            selected,
            sent,
            answered,
            failed,
            not_sent,
            statuses,
            matched,
            differed,
            mismatched,
            not_compared,
            late,
            latency,
            send_error,
            left_out,
            warm_up,
            transform_errors,
            health,
        } = self;
        *selected += other.selected;
        *sent += other.sent;
        *answered += other.answered;
        *matched += other.matched;
        *differed += other.differed;
        *late += other.late;
        *warm_up += other.warm_up;
        for (status, count) in &other.statuses {
            *statuses.entry(*status).or_default() += count;
        }
        for (counts, other) in [
            (failed, &other.failed),
            (not_sent, &other.not_sent),
            (mismatched, &other.mismatched),
            (not_compared, &other.not_compared),
            (left_out, &other.left_out),
            (transform_errors, &other.transform_errors),
        ] {
            for (word, count) in other {
                *counts.entry(*word).or_default() += count;
            }
        }
        // All have the same bounds.
        let _ = latency.add(&other.latency);
        let _ = send_error.add(&other.send_error);
        health.add(&other.health);
    }

    pub(crate) fn health(&self) -> &Health {
        &self.health
    }

    /// The report with all of both distributions, so that it can be merged with others.
    pub(crate) fn final_report(&self, elapsed: Duration) -> ReplayReport {
        ReplayReport {
            latency_histogram: serialized(&self.latency),
            send_error_histogram: serialized(&self.send_error),
            ..self.report(elapsed)
        }
    }

    pub(crate) fn report(&self, elapsed: Duration) -> ReplayReport {
        let owned = |counts: &Counts| counts.iter().map(|(&word, &count)| (word.to_owned(), count)).collect();
        ReplayReport {
            selected: self.selected,
            sent: self.sent,
            answered: self.answered,
            failed: owned(&self.failed),
            not_sent: owned(&self.not_sent),
            statuses: self.statuses.clone(),
            matched: self.matched,
            mismatched: owned(&self.mismatched),
            latency: distribution(&self.latency),
            send_error: distribution(&self.send_error),
            elapsed: prost_types::Duration::try_from(elapsed).ok(),
            differed: self.differed,
            not_compared: owned(&self.not_compared),
            late: self.late,
            left_out: owned(&self.left_out),
            warm_up: self.warm_up,
            transform_errors: owned(&self.transform_errors),
            ..ReplayReport::default()
        }
    }
}

fn microseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

pub(crate) fn serialized(histogram: &Histogram<u64>) -> Vec<u8> {
    let mut bytes = Vec::new();
    if !histogram.is_empty() {
        // Into memory it can't fail; and a report without it is still one.
        let _ = V2Serializer::new().serialize(histogram, &mut bytes);
    }
    bytes
}

pub(crate) fn distribution(histogram: &Histogram<u64>) -> Option<Distribution> {
    (!histogram.is_empty()).then(|| Distribution {
        count: histogram.len(),
        min_us: histogram.min(),
        p50_us: histogram.value_at_quantile(0.5),
        p90_us: histogram.value_at_quantile(0.9),
        p99_us: histogram.value_at_quantile(0.99),
        p999_us: histogram.value_at_quantile(0.999),
        max_us: histogram.max(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_matched_differs_or_had_nothing_to_be_compared_with() {
        let mut tally = Tally::new();
        let answers = [
            (vec![], None),
            (vec![], Some("body_redacted")),
            (vec!["status", "body"], None),
            (vec!["status"], Some("body_incomplete")),
            (vec![], Some(RESPONSE_MISSING)),
        ];
        for (differences, not_compared) in answers {
            tally.sent(false);
            tally.answered(200, Duration::from_millis(1), Verdict { differences, not_compared }, false);
        }
        tally.sent(false);
        tally.failed(Failure::Timeout, false);
        tally.not_sent("method");

        let report = tally.report(Duration::from_secs(1));
        assert_eq!((report.selected, report.sent, report.answered), (7, 6, 5));
        assert_eq!((report.matched, report.differed), (2, 2));
        assert_eq!(report.answered, report.matched + report.differed + report.not_compared[RESPONSE_MISSING]);
        assert_eq!(report.mismatched["status"], 2);
        assert_eq!(report.latency.unwrap().count, 5);
        assert_eq!(report.send_error, None);
    }

    #[test]
    fn a_send_is_late_past_a_millisecond() {
        let mut tally = Tally::new();
        for microseconds in [0, 999, 1_000, 1_001, u64::MAX] {
            tally.written(Some(Duration::from_micros(microseconds)), false);
        }
        let report = tally.report(Duration::ZERO);
        assert_eq!(report.late, 2);
        assert!(report.send_error.unwrap().max_us >= HIGHEST);
    }

    #[test]
    fn the_warm_up_is_in_no_other_number() {
        let mut tally = Tally::new();
        tally.sent(true);
        tally.written(Some(Duration::from_secs(1)), true);
        tally.answered(500, Duration::from_secs(1), Verdict::missing(), true);
        let report = tally.report(Duration::ZERO);
        assert_eq!(report, ReplayReport { warm_up: 1, elapsed: report.elapsed, ..ReplayReport::default() });
    }

    #[test]
    fn merged_tallies_count_like_one() {
        let mut all = Tally::new();
        let mut parts = [Tally::new(), Tally::new()];
        for index in 0..100_u64 {
            for tally in [&mut all, &mut parts[index as usize % 2]] {
                tally.sent(false);
                tally.written(Some(Duration::from_micros(index)), false);
                if index % 10 == 0 {
                    tally.failed(Failure::ConnectionReset, false);
                } else {
                    tally.answered(
                        200 + index as u16 % 3,
                        Duration::from_micros(index),
                        Verdict::missing(),
                        false,
                    );
                }
                tally.not_sent("method");
                tally.left_out("sample");
            }
        }
        let [mut merged, other] = parts;
        merged.merge(&other);
        assert_eq!(merged.final_report(Duration::ZERO), all.final_report(Duration::ZERO));
    }
}
