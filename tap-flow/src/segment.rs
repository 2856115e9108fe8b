//! What comes in: copies of TCP segments, as one tapped socket saw them.

use std::{
    hash::{Hash, Hasher},
    net::{IpAddr, SocketAddr},
};

/// Names one connection as one tapped socket sees it.
///
/// A connection between two tapped sockets is two flows, one for each end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FlowKey {
    /// Whose socket it is: the tap that captured the segment.
    pub tap: TapId,
    /// The tapped socket's own address.
    pub local: SocketAddr,
    /// The other end.
    pub remote: SocketAddr,
}

impl Hash for FlowKey {
    /// In few words, as every segment is looked up by it.
    fn hash<H: Hasher>(&self, state: &mut H) {
        let Self { tap, local, remote } = self;
        let ports = u64::from(local.port()) << 16 | u64::from(remote.port());
        match (local.ip(), remote.ip()) {
            (IpAddr::V4(local), IpAddr::V4(remote)) => {
                state.write_u64(tap.0);
                state.write_u64(u64::from(local.to_bits()) << 32 | u64::from(remote.to_bits()));
                state.write_u64(ports);
            }
            (local, remote) => {
                let bits = |ip| match ip {
                    IpAddr::V4(ip) => ip.to_ipv6_mapped().to_bits(),
                    IpAddr::V6(ip) => ip.to_bits(),
                };
                state.write_u64(tap.0);
                state.write_u128(bits(local));
                state.write_u128(bits(remote));
                state.write_u64(ports);
            }
        }
    }
}

/// Names a tap: the id of the cgroup to which it is attached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TapId(pub u64);

/// Names the cgroup of a socket: that of its tap or one below it, such as a container's in its pod's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CgroupId(pub u64);

/// Which way a segment passed the tapped socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Direction {
    /// Received by the tapped socket.
    Ingress,
    /// Sent by the tapped socket.
    Egress,
}

impl Direction {
    /// The other way.
    pub fn reverse(self) -> Self {
        match self {
            Self::Ingress => Self::Egress,
            Self::Egress => Self::Ingress,
        }
    }
}

/// The TCP flags that reassembly reads.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TcpFlags(pub u8);

impl TcpFlags {
    pub const FIN: Self = Self(0x01);
    pub const SYN: Self = Self(0x02);
    pub const RST: Self = Self(0x04);
    pub const ACK: Self = Self(0x10);

    /// Whether every flag of `flags` is set.
    pub fn contains(self, flags: Self) -> bool {
        self.0 & flags.0 == flags.0
    }
}

impl std::ops::BitOr for TcpFlags {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

/// A copy of one TCP segment, after GRO and before GSO: its payload may be far longer than a packet.
#[derive(Clone, Copy)]
pub struct Segment<'a> {
    pub key: FlowKey,
    /// The socket's own cgroup.
    pub cgroup: CgroupId,
    pub direction: Direction,
    /// When the hook saw it, in nanoseconds on the capture's one monotonic clock.
    pub time: u64,
    /// The sequence number of the first byte of `payload`, or of the SYN.
    pub sequence: u32,
    pub flags: TcpFlags,
    pub payload: &'a [u8],
    /// Payload bytes that followed `payload` in the segment and were not copied.
    pub cut: u32,
}

impl std::fmt::Debug for Segment<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { key, cgroup, direction, time, sequence, flags, payload, cut } = self;
        f.debug_struct("Segment")
            .field("key", key)
            .field("cgroup", cgroup)
            .field("direction", direction)
            .field("time", time)
            .field("sequence", sequence)
            .field("flags", flags)
            .field("payload_bytes", &payload.len())
            .field("cut", cut)
            .finish()
    }
}
