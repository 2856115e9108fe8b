//! All maps of the kernel programs, each with the reason for its size.

use aya_ebpf::{
    Global,
    bindings::BPF_F_NO_PREALLOC,
    btf_maps::{Array, ArrayOfMaps, HashMap, PerCpuHashMap, RingBuf, SkStorage},
    macros::btf_map,
};
use tap_common::{MAX_REQUESTS, MAX_TAPS, Request, SocketState, TapConfig, TapCounters, TapLevels};

const NO_PREALLOC: usize = BPF_F_NO_PREALLOC as usize;

/// The model of a ring, which the verifier takes for each of [`RINGS`]. Its size is a page's, the
/// least that there is: rings of other sizes can stand in for it
/// (5.10; `bpf_map_meta_equal`, kernel/bpf/map_in_map.c).
pub(crate) type Ring = RingBuf<(), 4096>;

/// The rings. The loader sets how many there are, and makes them.
#[btf_map]
pub(crate) static RINGS: ArrayOfMaps<Ring, 1> = ArrayOfMaps::new();

/// What to copy, by tap. Entries are allocated when a tap is attached: most nodes use a fraction of the cap.
#[btf_map]
pub(crate) static TAPS: HashMap<u64, TapConfig, { MAX_TAPS as usize }, NO_PREALLOC> = HashMap::new();

/// At which depths of the cgroup tree taps are.
#[btf_map]
pub(crate) static LEVELS: Array<TapLevels, 1> = Array::new();

/// What was seen, by tap. Twice the taps, as counters outlive their tap until they have been read;
/// allocated like [`TAPS`], which matters more here: an entry takes its size on each CPU.
#[btf_map]
pub(crate) static COUNTERS: PerCpuHashMap<u64, TapCounters, { 2 * MAX_TAPS as usize }, NO_PREALLOC> =
    PerCpuHashMap::new();

/// What is known of sockets. Hangs on the sockets themselves, and goes with them: it needs no size.
#[btf_map]
pub(crate) static SOCKETS: SkStorage<SocketState> = SkStorage::new();

/// What the agent asks of sockets, by [`Request::place`].
#[btf_map]
pub(crate) static REQUESTS: Array<Request, { MAX_REQUESTS as usize }> = Array::new();

/// The number of rings, a power of two, less one. Set by the loader, as are the following.
#[unsafe(no_mangle)]
pub(crate) static RING_MASK: Global<u32> = Global::new(0);

/// A ring's reader is woken each time that the ring's fill passes a multiple of this power of two.
#[unsafe(no_mangle)]
pub(crate) static WAKE_BYTES: Global<u32> = Global::new(4096);

/// How much is copied of one segment.
#[unsafe(no_mangle)]
pub(crate) static SEGMENT_CAP: Global<u32> = Global::new(0);

/// 0: what a connection speaks is not judged here, and all of it is copied unless the agent asks otherwise.
#[unsafe(no_mangle)]
pub(crate) static JUDGE: Global<u32> = Global::new(1);
