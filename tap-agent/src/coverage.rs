//! How much of a target's traffic is what Podtap understands.

use std::ops::AddAssign;

use tap_proto::v1;

/// TCP payload at the hooks that passed the filters, by what its connection speaks: bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Coverage {
    pub http1: u64,
    pub http2: u64,
    pub tls: u64,
    /// None of these; also what follows an upgrade.
    pub other: u64,
    /// On connections that are older than the tap and have not shown yet what they speak.
    pub unknown: u64,
}

impl Coverage {
    /// Each share with the word of the metrics.
    pub fn by_protocol(&self) -> [(&'static str, u64); 5] {
        let Self { http1, http2, tls, other, unknown } = *self;
        [("http1", http1), ("http2", http2), ("tls", tls), ("other", other), ("unknown", unknown)]
    }
}

impl AddAssign for Coverage {
    fn add_assign(&mut self, more: Self) {
        let Self { http1, http2, tls, other, unknown } = more;
        self.http1 += http1;
        self.http2 += http2;
        self.tls += tls;
        self.other += other;
        self.unknown += unknown;
    }
}

impl From<Coverage> for v1::Coverage {
    fn from(coverage: Coverage) -> Self {
        let Coverage { http1, http2, tls, other, unknown } = coverage;
        Self {
            http1_bytes: http1,
            http2_bytes: http2,
            tls_bytes: tls,
            other_bytes: other,
            unknown_bytes: unknown,
        }
    }
}
