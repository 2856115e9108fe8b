//! The kernel's side as the rest of the agent uses it: one [`Capture`], shared by what attaches and what counts.

use std::{
    collections::HashMap,
    fmt, io,
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use tap_flow::{Segment, TapId};
use tracing::warn;

use crate::{
    amount::Amount,
    capture::{Attachment, Capture, CaptureError, KernelCounters, Ports, SegmentRing, Tally},
    cgroup::Cgroup,
    config::PortFilter,
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
}

impl SegmentSource for SegmentRing {
    fn wait(&mut self, timeout: Duration) -> io::Result<()> {
        SegmentRing::wait(self, timeout)
    }

    fn drain(&mut self, max: usize, each: &mut dyn FnMut(Segment<'_>)) -> usize {
        let drained = SegmentRing::drain(self, max, each);
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
    let KernelCounters { seen, copied, lost, truncated, port, fragment, malformed } = counters;
    let reasons = [
        (Stage::Kernel, "port_filter", port),
        (Stage::Kernel, "fragment", fragment),
        (Stage::Kernel, "malformed", malformed),
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
            seen: tally(31),
            copied: tally(1),
            lost: tally(2),
            truncated: tally(4),
            port: tally(8),
            fragment: tally(15),
            malformed: tally(1),
        };
        let KernelAmounts { seen, copied, losses } = amounts(counters);
        let lost: Amount = losses.values().copied().sum();
        assert_eq!(seen.bytes, copied.bytes + lost.bytes);
    }
}
