//! What became of every byte: the flow part of the ledger.

/// Why payload bytes are in no exchange.
///
/// The words of [`Reason::as_str`] are stable:
///
/// | word | meaning |
/// |---|---|
/// | `not_http` | the connection speaks something else: TLS, HTTP/2, a database's protocol |
/// | `joined_midstream` | before the first message start, on a connection older than the tap |
/// | `out_of_sync` | after a gap or broken framing, before the next message start |
/// | `invalid_head` | a start line or header field that is not valid HTTP/1 |
/// | `head_too_large` | a head past the limits on bytes or fields |
/// | `incomplete_head` | a head whose end never came |
/// | `ambiguous_framing` | after a message whose length two readers may read differently |
/// | `upgraded` | after 101 Switching Protocols or a successful CONNECT |
/// | `blank_line` | line ends between messages |
/// | `after_close` | after the FIN of its direction or the end of the connection |
/// | `memory` | of a connection that was shed for want of memory |
/// | `cpu` | of a connection that was shed for want of time |
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Reason {
    NotHttp,
    JoinedMidstream,
    OutOfSync,
    InvalidHead,
    HeadTooLarge,
    IncompleteHead,
    AmbiguousFraming,
    Upgraded,
    BlankLine,
    AfterClose,
    ShedForMemory,
    ShedForCpu,
}

impl Reason {
    /// Every reason, in the order of the table.
    pub const ALL: [Self; 12] = [
        Self::NotHttp,
        Self::JoinedMidstream,
        Self::OutOfSync,
        Self::InvalidHead,
        Self::HeadTooLarge,
        Self::IncompleteHead,
        Self::AmbiguousFraming,
        Self::Upgraded,
        Self::BlankLine,
        Self::AfterClose,
        Self::ShedForMemory,
        Self::ShedForCpu,
    ];

    /// The stable word of the ledger.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::NotHttp => "not_http",
            Self::JoinedMidstream => "joined_midstream",
            Self::OutOfSync => "out_of_sync",
            Self::InvalidHead => "invalid_head",
            Self::HeadTooLarge => "head_too_large",
            Self::IncompleteHead => "incomplete_head",
            Self::AmbiguousFraming => "ambiguous_framing",
            Self::Upgraded => "upgraded",
            Self::BlankLine => "blank_line",
            Self::AfterClose => "after_close",
            Self::ShedForMemory => "memory",
            Self::ShedForCpu => "cpu",
        }
    }
}

/// Why a flow or a message could not be parsed further.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Failure {
    InvalidHead,
    HeadTooLarge,
    InvalidChunk,
    AmbiguousFraming,
}

impl Failure {
    pub const ALL: [Self; 4] =
        [Self::InvalidHead, Self::HeadTooLarge, Self::InvalidChunk, Self::AmbiguousFraming];

    /// The stable word of the metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::InvalidHead => "invalid_head",
            Self::HeadTooLarge => "head_too_large",
            Self::InvalidChunk => "invalid_chunk",
            Self::AmbiguousFraming => "ambiguous_framing",
        }
    }
}

/// What a flow that is not HTTP/1 speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Protocol {
    Tls,
    Http2,
    Other,
}

/// The counters of one tap. At every moment:
///
/// `bytes_in = bytes_duplicate + bytes_in_exchanges + Σ discarded + bytes_buffered`
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FlowStats {
    /// Payload bytes of every segment that was pushed; what a segment has in `cut` is not among them.
    pub bytes_in: u64,
    /// Seen before: retransmissions and overlaps.
    pub bytes_duplicate: u64,
    /// The sum of `wire_bytes` of the emitted exchanges.
    pub bytes_in_exchanges: u64,
    /// In messages that are still open, and waiting out of order.
    pub bytes_buffered: u64,
    discarded: [u64; Reason::ALL.len()],

    /// Emitted.
    pub exchanges: u64,
    /// Holes that were given up. Their bytes never came, so they are in no other counter.
    pub gaps: u64,
    pub gap_bytes: u64,
    failures: [u64; Failure::ALL.len()],

    /// Connections that were seen to begin or were joined.
    pub flows: u64,
    /// Connections that were given up for silence.
    pub flows_idle: u64,
    /// Connections that were given up for room, of flows or of memory.
    pub flows_evicted: u64,
    /// Connections that were not followed, or not to their end, as their caller said.
    pub flows_shed: u64,
    pub flows_tls: u64,
    pub flows_http2: u64,
    /// Connections that speak something else, that is none of the named.
    pub flows_other: u64,
}

impl FlowStats {
    /// Payload bytes that are in no exchange for this reason.
    pub fn bytes_discarded(&self, reason: Reason) -> u64 {
        self.discarded[reason as usize]
    }

    /// Every reason with its bytes, also those with none.
    pub fn discarded(&self) -> impl Iterator<Item = (Reason, u64)> + '_ {
        Reason::ALL.into_iter().map(|reason| (reason, self.bytes_discarded(reason)))
    }

    /// How often parsing failed in this way.
    pub fn failures(&self, failure: Failure) -> u64 {
        self.failures[failure as usize]
    }

    /// Whether every byte is accounted for: always true.
    pub fn balances(&self) -> bool {
        let discarded: u64 = self.discarded.iter().sum();
        self.bytes_in == self.bytes_duplicate + self.bytes_in_exchanges + discarded + self.bytes_buffered
    }

    /// Adds the counters of another tap.
    pub fn add(&mut self, other: &Self) {
        let Self {
            bytes_in,
            bytes_duplicate,
            bytes_in_exchanges,
            bytes_buffered,
            discarded,
            exchanges,
            gaps,
            gap_bytes,
            failures,
            flows,
            flows_idle,
            flows_evicted,
            flows_shed,
            flows_tls,
            flows_http2,
            flows_other,
        } = other;
        self.bytes_in += bytes_in;
        self.bytes_duplicate += bytes_duplicate;
        self.bytes_in_exchanges += bytes_in_exchanges;
        self.bytes_buffered += bytes_buffered;
        self.discarded.iter_mut().zip(discarded).for_each(|(sum, bytes)| *sum += bytes);
        self.exchanges += exchanges;
        self.gaps += gaps;
        self.gap_bytes += gap_bytes;
        self.failures.iter_mut().zip(failures).for_each(|(sum, count)| *sum += count);
        self.flows += flows;
        self.flows_idle += flows_idle;
        self.flows_evicted += flows_evicted;
        self.flows_shed += flows_shed;
        self.flows_tls += flows_tls;
        self.flows_http2 += flows_http2;
        self.flows_other += flows_other;
    }

    pub(crate) fn discard(&mut self, reason: Reason, bytes: u64) {
        self.discarded[reason as usize] += bytes;
    }

    pub(crate) fn fail(&mut self, failure: Failure) {
        self.failures[failure as usize] += 1;
    }

    pub(crate) fn count_protocol(&mut self, protocol: Protocol) {
        match protocol {
            Protocol::Tls => self.flows_tls += 1,
            Protocol::Http2 => self.flows_http2 += 1,
            Protocol::Other => self.flows_other += 1,
        }
    }
}
