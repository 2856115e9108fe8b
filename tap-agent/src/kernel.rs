//! The kernel's side as the rest of the agent uses it: one [`Capture`], shared by what attaches and what counts.

use std::{
    collections::HashMap,
    fmt, io,
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use tap_flow::{Segment, TapId, Unneeded};
use tracing::{debug, warn};

use crate::{
    amount::Amount,
    capture::{
        Attachment, Capture, CaptureError, KernelCounters, Ports, ProgramStats, SegmentRing, Tally,
        VERDICT_GIVEN_UP, VERDICT_HTTP1, VERDICT_HTTP2, VERDICT_OTHER, VERDICT_TLS, VERDICT_UNKNOWN,
    },
    cgroup::Cgroup,
    config::PortFilter,
    coverage::Coverage,
    ledger::{KernelAmounts, KernelLedger, Losses, Reason, Stage},
    pipeline::SegmentSource,
    taps::Hooks,
};

/// The loaded programs.
#[derive(Clone)]
pub struct Kernel {
    shared: Arc<Shared>,
}

struct Shared {
    capture: Mutex<Capture>,
    /// What was counted for taps that are detached: the kernel's own counters are freed, as they have a limit.
    retired: Mutex<HashMap<TapId, KernelAmounts>>,
}

/// An attached tap; detaches when dropped, and keeps what it counted.
pub struct Tap {
    tap: TapId,
    /// Taken when dropped.
    attachment: Option<Attachment>,
    shared: Arc<Shared>,
}

impl Kernel {
    pub fn new(capture: Capture) -> Self {
        let shared = Shared { capture: Mutex::new(capture), retired: Mutex::default() };
        Self { shared: Arc::new(shared) }
    }
}

impl Hooks for Kernel {
    type Attachment = Tap;
    type Error = CaptureError;

    fn attach(&mut self, cgroup: &Cgroup, ports: &PortFilter) -> Result<Tap, CaptureError> {
        let attachment = self.shared.capture().attach(&cgroup.path, &kernel_ports(ports))?;
        Ok(Tap { tap: attachment.tap(), attachment: Some(attachment), shared: Arc::clone(&self.shared) })
    }

    fn set_ports(&mut self, tap: &Tap, ports: &PortFilter) -> Result<(), CaptureError> {
        self.shared.capture().set_ports(tap.tap, &kernel_ports(ports))
    }
}

impl KernelLedger for Kernel {
    fn amounts(&self, tap: TapId) -> Option<KernelAmounts> {
        // The same order as when a tap is retired, so that it is counted once.
        let capture = self.shared.capture();
        let retired = self.shared.retired().get(&tap).cloned();
        let live = capture.counters(tap).ok().map(amounts);
        match (retired, live) {
            (Some(mut retired), Some(live)) => {
                retired.add(live);
                Some(retired)
            }
            (retired, live) => retired.or(live),
        }
    }

    fn take(&self, tap: TapId) -> Option<KernelAmounts> {
        let _capture = self.shared.capture();
        self.shared.retired().remove(&tap)
    }

    fn programs(&self) -> Vec<ProgramStats> {
        match self.shared.capture().program_stats() {
            Ok(stats) => stats.to_vec(),
            Err(error) => {
                debug!("{error}");
                Vec::new()
            }
        }
    }
}

impl SegmentSource for SegmentRing {
    fn wait(&mut self, timeout: Duration) -> io::Result<()> {
        SegmentRing::wait(self, timeout)
    }

    fn drain(&mut self, max: usize, each: &mut dyn FnMut(Segment<'_>) -> Unneeded) -> usize {
        let drained = self.serve(max, each);
        if drained.unknown > 0 {
            warn!(records = drained.unknown, "the ring holds records that this agent can't read");
        }
        drained.records
    }
}

impl Shared {
    fn capture(&self) -> MutexGuard<'_, Capture> {
        self.capture.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    fn retired(&self) -> MutexGuard<'_, HashMap<TapId, KernelAmounts>> {
        self.retired.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

impl Drop for Tap {
    fn drop(&mut self) {
        drop(self.attachment.take());
        let mut capture = self.shared.capture();
        let Ok(counters) = capture.counters(self.tap) else { return };
        match capture.forget(self.tap) {
            Ok(()) => self.shared.retired().entry(self.tap).or_default().add(amounts(counters)),
            Err(error) => warn!(tap = self.tap.0, "{error}"),
        }
    }
}

fn kernel_ports(ports: &PortFilter) -> Ports {
    match ports {
        PortFilter::All => Ports::All,
        PortFilter::Only(ports) => Ports::Only(ports.clone()),
    }
}

/// The kernel's counters in the words of the ledger.
fn amounts(counters: KernelCounters) -> KernelAmounts {
    let KernelCounters {
        seen,
        copied,
        lost,
        truncated,
        port,
        fragment,
        malformed,
        skipped: _,
        body,
        by_verdict: _,
    } = counters;
    let reasons = [
        (Stage::Kernel, "port_filter", port),
        (Stage::Kernel, "fragment", fragment),
        (Stage::Kernel, "malformed", malformed),
        (Stage::Kernel, "tls", counters.skipped_as(VERDICT_TLS)),
        (Stage::Kernel, "http2", counters.skipped_as(VERDICT_HTTP2)),
        (Stage::Kernel, "not_http", counters.skipped_as(VERDICT_OTHER)),
        (Stage::Kernel, "given_up", counters.skipped_as(VERDICT_GIVEN_UP)),
        (Stage::Kernel, "body_cap", body),
        // The segment itself was copied or lost, and counts there.
        (Stage::Kernel, "segment_cap", Tally { segments: 0, ..truncated }),
        (Stage::Ring, "full", lost),
    ];
    KernelAmounts {
        seen: amount(seen),
        copied: amount(copied),
        losses: reasons
            .map(|(stage, word, tally)| (Reason { stage, word }, amount(tally)))
            .into_iter()
            .collect::<Losses>(),
        coverage: coverage(&counters),
    }
}

/// What the payload was that passed the filters, by what its connection speaks.
fn coverage(counters: &KernelCounters) -> Coverage {
    let bytes = |verdict: u32| {
        let passed = counters.by_verdict.get(verdict as usize).copied().unwrap_or_default();
        passed + counters.skipped_as(verdict).bytes
    };
    Coverage {
        http1: bytes(VERDICT_HTTP1),
        http2: bytes(VERDICT_HTTP2),
        tls: bytes(VERDICT_TLS),
        // What was HTTP/1 and is no longer: most are WebSockets.
        other: bytes(VERDICT_OTHER) + bytes(VERDICT_GIVEN_UP),
        unknown: bytes(VERDICT_UNKNOWN),
    }
}

fn amount(tally: Tally) -> Amount {
    let Tally { segments, bytes } = tally;
    Amount { exchanges: 0, bytes, segments }
}

impl fmt::Debug for Kernel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Kernel").finish_non_exhaustive()
    }
}

impl fmt::Debug for Tap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tap").field("tap", &self.tap).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_words_account_for_everything_seen() {
        let tally = |n| Tally { segments: n, bytes: 10 * n };
        let counters = KernelCounters {
            seen: tally(77),
            copied: tally(1),
            lost: tally(2),
            truncated: tally(4),
            port: tally(8),
            fragment: tally(15),
            malformed: tally(1),
            skipped: [tally(5), tally(6), tally(7), tally(8)],
            body: tally(20),
            by_verdict: [100, 200, 300, 400, 500, 600, 0, 0],
        };
        let KernelAmounts { seen, copied, losses, coverage } = amounts(counters);
        let lost: Amount = losses.values().copied().sum();
        assert_eq!(seen.bytes, copied.bytes + lost.bytes);
        let expected = Coverage { http1: 200, http2: 460, tls: 350, other: 570 + 680, unknown: 100 };
        assert_eq!(coverage, expected);
    }
}
