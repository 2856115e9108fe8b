//! What the kernel programs count for each tap.

use crate::socket::{SKIPPING_VERDICTS, VERDICT_TLS, VERDICTS};

/// A number of segments and the payload bytes in them.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    pub segments: u64,
    pub bytes: u64,
}

/// The value of the counters map: one for each tap and CPU.
///
/// Two identities hold for the sum over the CPUs whenever no segment is being handled:
///
/// - bytes: `seen = copied + lost + truncated + filtered + skipped`
/// - segments: `seen = copied + lost + filtered + skipped`
///
/// where `filtered = port + fragment + malformed` and `skipped` is that by verdict and the rest of bodies.
///
/// A segment counts when it carries payload or one of SYN, FIN, RST. Bare acknowledgements
/// carry nothing that a reader of the payload needs and aren't counted at all.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TapCounters {
    /// Everything that passed the hooks.
    pub seen: Tally,
    /// Copied into a ring. A segment counts here when all of it that was to be copied was.
    pub copied: Tally,
    /// Not copied because the ring was full. A segment counts here when any part was lost.
    pub lost: Tally,
    /// Beyond the segment cap. Such a segment counts as copied or lost as well.
    pub truncated: Tally,
    /// Filtered: neither port is listed.
    pub port: Tally,
    /// Filtered: a fragment of an IP packet.
    pub fragment: Tally,
    /// Filtered: TCP according to its IP header, but no valid TCP header follows.
    pub malformed: Tally,
    /// Skipped because of the socket's verdict, by that: TLS, HTTP/2, neither, given up. A segment counts as skipped when
    /// there is no record of it.
    pub skipped: [Tally; SKIPPING_VERDICTS],
    /// Skipped: the rest of a body of which enough was copied.
    pub body: Tally,
    /// Not part of the identities: bytes that were neither filtered nor skipped because of a verdict, by the verdict.
    pub by_verdict: [u64; VERDICTS],
}

const _: () = assert!(size_of::<Tally>() == 16);
const _: () = assert!(size_of::<TapCounters>() == 12 * 16 + 8 * VERDICTS);

impl core::ops::AddAssign for Tally {
    fn add_assign(&mut self, other: Self) {
        self.segments += other.segments;
        self.bytes += other.bytes;
    }
}

impl core::ops::AddAssign for TapCounters {
    fn add_assign(&mut self, other: Self) {
        let Self { seen, copied, lost, truncated, port, fragment, malformed, skipped, body, by_verdict } =
            other;
        self.seen += seen;
        self.copied += copied;
        self.lost += lost;
        self.truncated += truncated;
        self.port += port;
        self.fragment += fragment;
        self.malformed += malformed;
        for (sum, tally) in self.skipped.iter_mut().zip(skipped) {
            *sum += tally;
        }
        self.body += body;
        for (sum, bytes) in self.by_verdict.iter_mut().zip(by_verdict) {
            *sum += bytes;
        }
    }
}

impl TapCounters {
    /// Everything that was filtered, whatever the reason.
    pub fn filtered(&self) -> Tally {
        let mut sum = self.port;
        sum += self.fragment;
        sum += self.malformed;
        sum
    }

    /// What was skipped because of this verdict; nothing for one of which payload is copied.
    pub fn skipped_as(&self, verdict: u32) -> Tally {
        let index = verdict.checked_sub(VERDICT_TLS).map(|index| index as usize);
        index.and_then(|index| self.skipped.get(index).copied()).unwrap_or_default()
    }

    /// Everything that was skipped, whatever the reason.
    pub fn skipped(&self) -> Tally {
        let mut sum = self.body;
        for tally in self.skipped {
            sum += tally;
        }
        sum
    }

    /// Whether both identities hold. They may not while segments are being handled.
    pub fn balances(&self) -> bool {
        let mut left_out = self.filtered();
        left_out += self.skipped();
        self.seen.bytes == self.copied.bytes + self.lost.bytes + self.truncated.bytes + left_out.bytes
            && self.seen.segments == self.copied.segments + self.lost.segments + left_out.segments
    }
}

#[cfg(feature = "user")]
#[expect(unsafe_code, reason = "aya requires this promise for map values")]
// SAFETY: `repr(C)`, made of `u64` alone: no padding, every bit pattern is valid.
unsafe impl aya::Pod for TapCounters {}
