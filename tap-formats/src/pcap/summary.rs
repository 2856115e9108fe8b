//! What became of every packet.

use tap_flow::{FlowStats, Reason};

/// Counts of one file. Every packet is in one of those up to `segments`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    pub packets: u64,
    /// Neither IPv4 nor IPv6: ARP and others.
    pub not_ip: u64,
    /// UDP, with it QUIC, and others.
    pub not_tcp: u64,
    /// Of an IP packet that was taken apart on its way: they are not put together.
    pub fragments: u64,
    /// Cut by the capture before the end of the TCP header.
    pub cut_headers: u64,
    /// Headers that contradict themselves or the packet's length.
    pub malformed: u64,
    /// On a link of a type that is not known.
    pub unknown_link: u64,
    /// Without a time.
    pub no_time: u64,
    /// Neither port is one of those that were asked for.
    pub other_ports: u64,
    /// TCP, taken.
    pub segments: u64,

    /// Segments of which the capture kept only the start.
    pub cut_segments: u64,
    /// Payload that was on the wire and is not in the file.
    pub cut_bytes: u64,
    /// The file ends within a packet.
    pub ends_early: bool,
    /// What became of the payload.
    pub flow: FlowStats,
}

impl Summary {
    /// Every packet that is no segment, by what it is.
    pub fn others(&self) -> [(&'static str, u64); 8] {
        let Self {
            packets: _,
            not_ip,
            not_tcp,
            fragments,
            cut_headers,
            malformed,
            unknown_link,
            no_time,
            other_ports,
            segments: _,
            cut_segments: _,
            cut_bytes: _,
            ends_early: _,
            flow: _,
        } = self;
        [
            ("not_ip", *not_ip),
            ("not_tcp", *not_tcp),
            ("fragment", *fragments),
            ("cut_headers", *cut_headers),
            ("malformed", *malformed),
            ("unknown_link", *unknown_link),
            ("no_time", *no_time),
            ("other_ports", *other_ports),
        ]
    }

    /// Payload bytes that are in no exchange, by why.
    pub fn lost_bytes(&self) -> impl Iterator<Item = (&'static str, u64)> + '_ {
        let discarded = self.flow.discarded().map(|(reason, bytes): (Reason, u64)| (reason.as_str(), bytes));
        std::iter::once(("duplicate", self.flow.bytes_duplicate)).chain(discarded)
    }

    /// Whether every packet and every byte is accounted for: always true once a file was read.
    pub fn balances(&self) -> bool {
        let others: u64 = self.others().iter().map(|(_, packets)| packets).sum();
        self.packets == self.segments + others && self.flow.balances()
    }
}
