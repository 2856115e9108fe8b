//! What the kernel programs count for each tap.

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
/// - bytes: `seen = copied + lost + truncated + port + fragment + malformed`
/// - segments: `seen = copied + lost + port + fragment + malformed`
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
}

const _: () = assert!(size_of::<Tally>() == 16);
const _: () = assert!(size_of::<TapCounters>() == 7 * 16);

impl core::ops::AddAssign for Tally {
    fn add_assign(&mut self, other: Self) {
        self.segments += other.segments;
        self.bytes += other.bytes;
    }
}

impl core::ops::AddAssign for TapCounters {
    fn add_assign(&mut self, other: Self) {
        let Self { seen, copied, lost, truncated, port, fragment, malformed } = other;
        self.seen += seen;
        self.copied += copied;
        self.lost += lost;
        self.truncated += truncated;
        self.port += port;
        self.fragment += fragment;
        self.malformed += malformed;
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

    /// Whether both identities hold. They may not while segments are being handled.
    pub fn balances(&self) -> bool {
        let filtered = self.filtered();
        self.seen.bytes == self.copied.bytes + self.lost.bytes + self.truncated.bytes + filtered.bytes
            && self.seen.segments == self.copied.segments + self.lost.segments + filtered.segments
    }
}

#[cfg(feature = "user")]
#[expect(unsafe_code, reason = "aya requires this promise for map values")]
// SAFETY: `repr(C)`, made of `u64` alone: no padding, every bit pattern is valid.
unsafe impl aya::Pod for TapCounters {}
