//! Counts what became of every exchange of a replay. Its sums hold after every call.

use std::{collections::BTreeMap, time::Duration};

use hdrhistogram::Histogram;
use tap_proto::v1::{Distribution, ReplayReport};

use crate::compare::{RESPONSE_MISSING, Verdict};

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
        }
    }

    /// An exchange is not sent.
    pub(crate) fn not_sent(&mut self, reason: &'static str) {
        self.selected += 1;
        *self.not_sent.entry(reason).or_default() += 1;
    }

    /// An exchange is on its way.
    pub(crate) fn sent(&mut self) {
        self.selected += 1;
        self.sent += 1;
    }

    /// A request was handed to a connection, this long after its intended time.
    pub(crate) fn written(&mut self, error: Duration) {
        self.late += u64::from(error > LATE);
        self.send_error.saturating_record(microseconds(error));
    }

    /// A sent request got no answer.
    pub(crate) fn failed(&mut self, reason: &'static str) {
        *self.failed.entry(reason).or_default() += 1;
    }

    /// A sent request was answered, this long after its intended time.
    pub(crate) fn answered(&mut self, status: u16, latency: Duration, verdict: Verdict) {
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
            ..ReplayReport::default()
        }
    }
}

fn microseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
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
            tally.sent();
            tally.answered(200, Duration::from_millis(1), Verdict { differences, not_compared });
        }
        tally.sent();
        tally.failed("timeout");
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
            tally.written(Duration::from_micros(microseconds));
        }
        let report = tally.report(Duration::ZERO);
        assert_eq!(report.late, 2);
        assert!(report.send_error.unwrap().max_us >= HIGHEST);
    }
}
