//! Counts what became of every exchange that a mirror looked at. Its sums hold after every call.

use std::{collections::BTreeMap, time::Duration};

use hdrhistogram::Histogram;
use tap_proto::v1::MirrorReport;

use crate::{
    compare::{RESPONSE_MISSING, Verdict},
    tally::distribution,
};

/// In microseconds: an hour, the longest lag that settings allow. Longer values count as this one.
const HIGHEST: u64 = 3_600_000_000;
/// Percentiles within a hundredth of their value, in 40 KB: there may be many mirrors.
const SIGNIFICANT_DIGITS: u8 = 2;
/// Health is that of the last one to two of these.
const WINDOW: Duration = Duration::from_secs(30);

type Counts = BTreeMap<&'static str, u64>;

#[derive(Debug)]
pub(super) struct Tally {
    considered: u64,
    passed_over: Counts,
    selected: u64,
    not_sent: Counts,
    waiting: u64,
    sent: u64,
    in_flight: u64,
    answered: u64,
    failed: Counts,
    statuses: BTreeMap<u32, u64>,
    matched: u64,
    differed: u64,
    mismatched: Counts,
    not_compared: Counts,
    latency: Histogram<u64>,
    lag: Histogram<u64>,
    last_lag: Duration,
    overrun: u64,
    /// Of this window and the one before.
    recent: [Recent; 2],
    began: Duration,
}

/// What happened of late.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Recent {
    pub answered: u64,
    pub failed: u64,
    /// Meant for the mirror, and not sent for want of room or time.
    pub dropped: u64,
    /// The newest reason of a failure.
    pub failure: Option<&'static str>,
}

impl Tally {
    pub(super) fn new() -> Self {
        let histogram =
            || Histogram::new_with_bounds(1, HIGHEST, SIGNIFICANT_DIGITS).expect("constant bounds are valid");
        Self {
            considered: 0,
            passed_over: Counts::new(),
            selected: 0,
            not_sent: Counts::new(),
            waiting: 0,
            sent: 0,
            in_flight: 0,
            answered: 0,
            failed: Counts::new(),
            statuses: BTreeMap::new(),
            matched: 0,
            differed: 0,
            mismatched: Counts::new(),
            not_compared: Counts::new(),
            latency: histogram(),
            lag: histogram(),
            last_lag: Duration::ZERO,
            overrun: 0,
            recent: [Recent::default(); 2],
            began: Duration::ZERO,
        }
    }

    pub(super) fn passed_over(&mut self, reason: &'static str) {
        self.considered += 1;
        *self.passed_over.entry(reason).or_default() += 1;
    }

    /// Not even waited.
    pub(super) fn refused(&mut self, reason: &'static str) {
        self.considered += 1;
        self.selected += 1;
        *self.not_sent.entry(reason).or_default() += 1;
    }

    /// No room, in the queue.
    pub(super) fn no_room(&mut self, reason: &'static str, now: Duration) {
        self.refused(reason);
        self.recent(now).dropped += 1;
    }

    pub(super) fn queued(&mut self) {
        self.considered += 1;
        self.selected += 1;
        self.waiting += 1;
    }

    /// Of what waited, so many are not sent, as was wanted.
    pub(super) fn left_out(&mut self, reason: &'static str, count: u64) {
        if count > 0 {
            self.waiting -= count;
            *self.not_sent.entry(reason).or_default() += count;
        }
    }

    /// One that waited is not sent for want of room or time.
    pub(super) fn dropped(&mut self, reason: &'static str, now: Duration) {
        self.left_out(reason, 1);
        self.recent(now).dropped += 1;
    }

    /// One that waited is on its way.
    pub(super) fn sent(&mut self, lag: Duration) {
        self.waiting -= 1;
        self.sent += 1;
        self.in_flight += 1;
        self.last_lag = lag;
        self.lag.saturating_record(microseconds(lag));
    }

    pub(super) fn failed(&mut self, reason: &'static str, now: Duration) {
        self.in_flight -= 1;
        *self.failed.entry(reason).or_default() += 1;
        let recent = self.recent(now);
        recent.failed += 1;
        recent.failure = Some(reason);
    }

    /// `None`: responses are not compared.
    pub(super) fn answered(
        &mut self,
        status: u16,
        latency: Duration,
        verdict: Option<Verdict>,
        now: Duration,
    ) {
        self.in_flight -= 1;
        self.answered += 1;
        self.recent(now).answered += 1;
        *self.statuses.entry(u32::from(status)).or_default() += 1;
        self.latency.saturating_record(microseconds(latency));
        let Some(Verdict { differences, not_compared, .. }) = verdict else { return };
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

    /// The mirror ends: nothing that waits is sent.
    pub(super) fn stop(&mut self, reason: &'static str) {
        self.left_out(reason, self.waiting);
    }

    pub(super) fn overrun(&mut self, count: u64) {
        self.overrun += count;
    }

    /// The last half to whole minute.
    pub(super) fn of_late(&mut self, now: Duration) -> Recent {
        self.recent(now);
        let [this, before] = self.recent;
        Recent {
            answered: this.answered + before.answered,
            failed: this.failed + before.failed,
            dropped: this.dropped + before.dropped,
            failure: this.failure.or(before.failure),
        }
    }

    pub(super) fn report(&self) -> MirrorReport {
        let owned = |counts: &Counts| counts.iter().map(|(&word, &count)| (word.to_owned(), count)).collect();
        MirrorReport {
            considered: self.considered,
            passed_over: owned(&self.passed_over),
            selected: self.selected,
            not_sent: owned(&self.not_sent),
            waiting: self.waiting,
            sent: self.sent,
            in_flight: self.in_flight,
            answered: self.answered,
            failed: owned(&self.failed),
            statuses: self.statuses.clone(),
            matched: self.matched,
            differed: self.differed,
            mismatched: owned(&self.mismatched),
            not_compared: owned(&self.not_compared),
            latency: distribution(&self.latency),
            lag: distribution(&self.lag),
            last_lag_us: microseconds(self.last_lag),
            overrun: self.overrun,
            endpoints: Vec::new(),
        }
    }

    fn recent(&mut self, now: Duration) -> &mut Recent {
        let since = now.saturating_sub(self.began);
        if since >= WINDOW {
            let before = if since < 2 * WINDOW { self.recent[0] } else { Recent::default() };
            self.recent = [Recent::default(), before];
            self.began = now;
        }
        &mut self.recent[0]
    }
}

fn microseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}
