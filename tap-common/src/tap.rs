//! What the kernel programs are told about taps.

/// The most taps at once; bounds the maps. A node runs a few hundred pods at most.
pub const MAX_TAPS: u32 = 4096;

/// The most ports in one tap's filter; bounds the kernel program's comparison.
pub const MAX_PORTS: usize = 16;

/// The most different depths in the cgroup tree at which taps can be; bounds the kernel program's search.
pub const MAX_LEVELS: usize = 16;

/// The value of the taps map; its key is the tap's id, which is its cgroup's id.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TapConfig {
    /// The first `port_count` are the ports to copy, in the machine's byte order.
    pub ports: [u16; MAX_PORTS],
    /// Zero: every port.
    pub port_count: u32,
    pub _pad: u32,
}

/// The one value of the levels map: at which depths of the cgroup tree taps are.
///
/// A segment's socket may belong to any cgroup below a tap's. The kernel tells the id of the
/// socket's ancestor at a given depth, so this list makes finding the tap one step as long as all
/// taps have the same depth, as pods have.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TapLevels {
    /// Depth + 1 (the root's depth is 0), ended by the first 0.
    pub levels: [u32; MAX_LEVELS],
}

const _: () = assert!(size_of::<TapConfig>() == 40);
const _: () = assert!(size_of::<TapLevels>() == 64);

#[cfg(feature = "user")]
#[expect(unsafe_code, reason = "aya requires this promise for map values")]
// SAFETY: `repr(C)`, made of integers whose sizes leave no implicit padding: every bit pattern is valid.
unsafe impl aya::Pod for TapConfig {}

#[cfg(feature = "user")]
#[expect(unsafe_code, reason = "aya requires this promise for map values")]
// SAFETY: `repr(C)`, made of `u32` alone: no padding, every bit pattern is valid.
unsafe impl aya::Pod for TapLevels {}
