//! Which tap a packet belongs to, and what it wants of it.

use aya_ebpf::{
    bindings::__sk_buff,
    helpers::{bpf_skb_ancestor_cgroup_id, bpf_skb_cgroup_id},
};
use tap_common::{MAX_LEVELS, TapConfig};

use crate::{
    maps::{LEVELS, TAPS},
    socket::Ends,
};

pub(crate) struct Tap {
    /// The id of the tapped cgroup.
    pub(crate) id: u64,
    config: &'static TapConfig,
}

impl Tap {
    /// The tap at or above the cgroup of the packet's socket.
    ///
    /// A program isn't told to which cgroup it was attached but by cgroup storage, and that may be
    /// another program's before 5.13, as it hung on the CPU and a program could be interrupted by
    /// another (`bpf_cgroup_storage_set`, include/linux/bpf-cgroup.h).
    #[inline(always)]
    pub(crate) fn of(skb: *mut __sk_buff) -> Option<Self> {
        let levels = LEVELS.get(0)?;
        let mut index = 0;
        while index < MAX_LEVELS {
            let level = levels.levels[index];
            if level == 0 {
                return None;
            }
            // SAFETY: the packet is the program's context. 5.1 for `cgroup_skb` (`cg_skb_func_proto`, net/core/filter.c).
            let id = unsafe { bpf_skb_ancestor_cgroup_id(skb, level as i32 - 1) };
            // SAFETY: a change puts another value in the place of this one, which stays readable while the program runs.
            if let Some(config) = unsafe { TAPS.get(id) } {
                return Some(Self { id, config });
            }
            index += 1;
        }
        None
    }

    /// Whether one of the connection's ports is to be copied.
    #[inline(always)]
    pub(crate) fn wants(&self, ends: &Ends) -> bool {
        let count = self.config.port_count;
        if count == 0 {
            return true;
        }
        let mut index = 0;
        for port in self.config.ports {
            if index == count {
                return false;
            }
            if port == ends.local_port || port == ends.remote_port {
                return true;
            }
            index += 1;
        }
        false
    }
}

/// The id of the cgroup of the packet's socket.
#[inline(always)]
pub(crate) fn cgroup(skb: *mut __sk_buff) -> u64 {
    // SAFETY: the packet is the program's context.
    unsafe { bpf_skb_cgroup_id(skb) }
}
