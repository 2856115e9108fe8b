//! Counting what was seen and what became of it.

use core::arch::asm;

use tap_common::{SKIPPING_VERDICTS, Tally, TapCounters, VERDICT_TLS, VERDICTS};

use crate::maps::COUNTERS;

/// The counters of one tap on this CPU.
pub(crate) struct Counters(*mut TapCounters);

impl Counters {
    #[inline(always)]
    pub(crate) fn of(tap: u64) -> Option<Self> {
        COUNTERS.get_ptr_mut(tap).map(Self)
    }

    #[inline(always)]
    pub(crate) fn seen(&self, bytes: u32) {
        // SAFETY: the pointer is that of a map value, which lives at least as long as the program runs.
        count(unsafe { &raw mut (*self.0).seen }, 1, bytes);
    }

    #[inline(always)]
    pub(crate) fn copied(&self, bytes: u32, cut: u32) {
        // SAFETY: as in `seen`.
        count(unsafe { &raw mut (*self.0).copied }, 1, bytes);
        self.truncated(cut);
    }

    #[inline(always)]
    pub(crate) fn lost(&self, copied: u32, lost: u32, cut: u32) {
        // SAFETY: as in `seen`.
        count(unsafe { &raw mut (*self.0).copied }, 0, copied);
        // SAFETY: as in `seen`.
        count(unsafe { &raw mut (*self.0).lost }, 1, lost);
        self.truncated(cut);
    }

    #[inline(always)]
    pub(crate) fn port(&self, bytes: u32) {
        // SAFETY: as in `seen`.
        count(unsafe { &raw mut (*self.0).port }, 1, bytes);
    }

    #[inline(always)]
    pub(crate) fn fragment(&self, bytes: u32) {
        // SAFETY: as in `seen`.
        count(unsafe { &raw mut (*self.0).fragment }, 1, bytes);
    }

    #[inline(always)]
    pub(crate) fn malformed(&self, bytes: u32) {
        // SAFETY: as in `seen`.
        count(unsafe { &raw mut (*self.0).malformed }, 1, bytes);
    }

    /// Payload that is not copied because of a verdict.
    #[inline(always)]
    pub(crate) fn skipped(&self, verdict: u32, segments: u32, bytes: u32) {
        let index = within::<SKIPPING_VERDICTS>(verdict.wrapping_sub(VERDICT_TLS));
        // SAFETY: as in `seen`; within the array.
        count(unsafe { (&raw mut (*self.0).skipped).cast::<Tally>().add(index) }, segments, bytes);
    }

    /// The rest of a body.
    #[inline(always)]
    pub(crate) fn body(&self, segments: u32, bytes: u32) {
        // SAFETY: as in `seen`.
        count(unsafe { &raw mut (*self.0).body }, segments, bytes);
    }

    /// Payload of a connection with this verdict.
    #[inline(always)]
    pub(crate) fn by_verdict(&self, verdict: u32, bytes: u32) {
        let index = within::<VERDICTS>(verdict);
        // SAFETY: as in `seen`; within the array.
        add(unsafe { (&raw mut (*self.0).by_verdict).cast::<u64>().add(index) }, bytes);
    }

    #[inline(always)]
    fn truncated(&self, bytes: u32) {
        if bytes > 0 {
            // SAFETY: as in `seen`.
            count(unsafe { &raw mut (*self.0).truncated }, 1, bytes);
        }
    }
}

/// An index into an array of `LEN` places, a power of two, with a bound that the compiler can't take for needless and
/// the verifier sees.
#[inline(always)]
fn within<const LEN: usize>(index: u32) -> usize {
    let mut index = u64::from(index);
    // SAFETY: changes the register alone.
    unsafe { asm!("{0} &= {1}", inout(reg) index, const LEN - 1) };
    index as usize
}

#[inline(always)]
fn count(tally: *mut Tally, segments: u32, bytes: u32) {
    // SAFETY: `tally` points into a map value.
    let (segment_count, byte_count) = unsafe { (&raw mut (*tally).segments, &raw mut (*tally).bytes) };
    if segments > 0 {
        add(segment_count, segments);
    }
    if bytes > 0 {
        add(byte_count, bytes);
    }
}

/// Adds atomically, although the counter belongs to one CPU: a program that runs for a sender can
/// be interrupted there by one that runs for a receiver.
///
/// In assembler, as the compiler knows no atomic operations for a target that may lack some of them.
#[inline(always)]
fn add(counter: *mut u64, amount: u32) {
    // SAFETY: `counter` points to an aligned `u64` in a map value, which lives while the program runs.
    unsafe { asm!("lock *(u64 *)({0} + 0) += {1}", in(reg) counter, in(reg) u64::from(amount)) };
}
