//! The kernel side of the agent: loads the programs, attaches them to cgroups, reads the rings.
//!
//! [`Capture`] owns the loaded programs, [`Attachment`] is a guard for one tapped cgroup, and a
//! [`SegmentRing`] yields the segments that the programs copied. A flow's segments all come through
//! one ring and in the order in which the hooks saw them.
//!
//! Times are nanoseconds of `CLOCK_BOOTTIME`: monotonic, and counting while the machine sleeps.
//!
//! Nothing is pinned: when the process ends, however it ends, the kernel detaches the programs.

use std::{
    io,
    path::Path,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use aya::{
    Ebpf, TestRun as _, TestRunOptions,
    maps::{MapData, MapError, PerCpuHashMap, PerCpuValues},
    programs::{CgroupAttachMode, CgroupSkbAttachType, cgroup_skb::CgroupSkbLink},
    util::nr_cpus,
};
use tap_flow::{Direction, TapId};

mod cgroup;
mod error;
mod object;
mod requests;
mod ring;
mod taps;

pub use tap_common::{
    MAX_PORTS, MAX_SEGMENT_CAP, MAX_TAPS, Tally, TapCounters as KernelCounters, VERDICT_GIVEN_UP,
    VERDICT_HTTP1, VERDICT_HTTP2, VERDICT_OTHER, VERDICT_TLS, VERDICT_UNKNOWN,
};

use self::{cgroup::Cgroup, taps::Taps};
pub use self::{
    error::CaptureError,
    object::{MAX_RING_BYTES, MAX_RINGS, MIN_RING_BYTES},
    ring::{Drained, SegmentRing},
};

/// How much the programs copy, and into what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CaptureOptions {
    /// Rings, among which flows are spread: a power of two up to [`MAX_RINGS`].
    pub rings: usize,
    /// Bytes of each ring: a power of two from [`MIN_RING_BYTES`] to [`MAX_RING_BYTES`].
    pub ring_bytes: usize,
    /// Payload bytes copied of one segment, at most [`MAX_SEGMENT_CAP`]; the rest is counted as truncated.
    pub segment_cap: u32,
    /// Judge in the kernel what each connection speaks, and copy no more than the first segment of what is not HTTP/1.
    pub judge: bool,
}

impl Default for CaptureOptions {
    fn default() -> Self {
        Self { rings: 2, ring_bytes: 32 << 20, segment_cap: MAX_SEGMENT_CAP, judge: true }
    }
}

/// The ports whose connections are copied.
///
/// The kernel can't know which end of a connection is the server, so a listed port on either end matches.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ports {
    All,
    /// At most [`MAX_PORTS`].
    Only(Vec<u16>),
}

/// What a program did so far. Runs are counted while the kernel is told to, as by the setting `kernel.bpf_stats_enabled`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProgramStats {
    pub name: &'static str,
    pub runs: u64,
    pub time: Duration,
    /// How many instructions the verifier went through to accept it (5.16); 0 where it doesn't say.
    pub verified_instructions: u32,
}

/// The loaded programs.
pub struct Capture {
    programs: Ebpf,
    taps: Arc<Mutex<Taps>>,
    counters: PerCpuHashMap<MapData, u64, KernelCounters>,
    rings: Vec<SegmentRing>,
}

impl Capture {
    /// Loads the programs into the kernel and makes the rings. Nothing is attached yet.
    pub fn load(options: &CaptureOptions) -> Result<Self, CaptureError> {
        object::load(options)
    }

    /// Taps a cgroup: from here on, payload of the sockets that were created in it or below it is copied.
    ///
    /// A cgroup above or below a tapped one is refused, as segments would be copied twice.
    pub fn attach(&mut self, cgroup: &Path, ports: &Ports) -> Result<Attachment, CaptureError> {
        let cgroup = Cgroup::open(cgroup)?;
        let tap = cgroup.tap();
        // The maps before the programs: one that finds no tap copies and counts nothing.
        self.count_from_zero(tap)?;
        lock(&self.taps).insert(&cgroup, ports)?;
        let mut attachment = Attachment { tap, links: Vec::with_capacity(2), taps: Arc::clone(&self.taps) };
        for direction in [Direction::Ingress, Direction::Egress] {
            attachment.links.push(self.link(&cgroup, direction)?);
        }
        Ok(attachment)
    }

    /// Copies connections of other ports from here on; the tap goes on without a gap.
    pub fn set_ports(&mut self, tap: TapId, ports: &Ports) -> Result<(), CaptureError> {
        lock(&self.taps).set_ports(tap, ports)
    }

    /// The rings, each to be read by one thread. Empty when they have been taken.
    pub fn take_rings(&mut self) -> Vec<SegmentRing> {
        std::mem::take(&mut self.rings)
    }

    /// What the kernel counted for a tap since it was first attached or forgotten.
    ///
    /// Readable after the tap is detached, until it is [forgotten](Self::forget). While segments are
    /// being handled, `seen` may be ahead of the other counters by those segments.
    pub fn counters(&self, tap: TapId) -> Result<KernelCounters, CaptureError> {
        let values = match self.counters.get(&tap.0, 0) {
            Ok(values) => values,
            Err(MapError::KeyNotFound) => return Err(CaptureError::UnknownTap { tap }),
            Err(source) => return Err(CaptureError::map("read the counters of a tap", source)),
        };
        let mut sum = KernelCounters::default();
        for &value in values.iter() {
            sum += value;
        }
        Ok(sum)
    }

    /// What the programs did so far.
    pub fn program_stats(&mut self) -> Result<[ProgramStats; 2], CaptureError> {
        let mut stats = |direction, name| {
            let info = object::program(&mut self.programs, direction)?
                .info()
                .map_err(|source| CaptureError::program("read what the kernel knows of a program", source))?;
            Ok(ProgramStats {
                name,
                runs: info.run_count(),
                time: info.run_time(),
                verified_instructions: info.verified_instruction_count().unwrap_or_default(),
            })
        };
        Ok([stats(Direction::Ingress, "ingress")?, stats(Direction::Egress, "egress")?])
    }

    /// Frees the counters of a tap that was detached. Those of an attached one stay.
    pub fn forget(&mut self, tap: TapId) -> Result<(), CaptureError> {
        if lock(&self.taps).contains(tap) {
            return Ok(());
        }
        match self.counters.remove(&tap.0) {
            Ok(()) => Ok(()),
            Err(MapError::SyscallError(error)) if error.io_error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(source) => Err(CaptureError::map("free the counters of a tap", source)),
        }
    }

    /// Runs a program on one IP packet, as a socket of the calling process would, and returns its verdict.
    ///
    /// For tests (`BPF_PROG_TEST_RUN`): the packet belongs to no connection and reaches nobody.
    pub fn test_run(&mut self, direction: Direction, packet: &[u8]) -> Result<u32, CaptureError> {
        // bpf_prog_test_run_skb (net/bpf/test_run.c) takes an Ethernet frame and hands the program what follows
        // its header.
        let ethertype = if packet.first().is_some_and(|byte| byte >> 4 == 6) { 0x86dd_u16 } else { 0x0800 };
        let mut frame = vec![0; 12];
        frame.extend(ethertype.to_be_bytes());
        frame.extend(packet);

        let mut options = TestRunOptions::new();
        options.data_in = Some(&frame);
        let program = object::program(&mut self.programs, direction)?;
        let result = program
            .test_run(options)
            .map_err(|source| CaptureError::program("run a program on a test packet", source))?;
        Ok(result.return_value)
    }

    /// Makes sure that the tap has counters: those that it had, or new ones at zero.
    fn count_from_zero(&mut self, tap: TapId) -> Result<(), CaptureError> {
        let failed = |source| CaptureError::map("create the counters of a tap", source);
        match self.counters.get(&tap.0, 0) {
            Ok(_) => return Ok(()),
            Err(MapError::KeyNotFound) => {}
            Err(source) => return Err(failed(source)),
        }
        let cpus = nr_cpus().map_err(|(_, source)| failed(source.into()))?;
        let zeros = PerCpuValues::try_from(vec![KernelCounters::default(); cpus])
            .map_err(|source| failed(source.into()))?;
        self.counters.insert(tap.0, zeros, 0).map_err(failed)
    }

    fn link(&mut self, cgroup: &Cgroup, direction: Direction) -> Result<CgroupSkbLink, CaptureError> {
        let attach_type = match direction {
            Direction::Ingress => CgroupSkbAttachType::Ingress,
            Direction::Egress => CgroupSkbAttachType::Egress,
        };
        let program = object::program(&mut self.programs, direction)?;
        program
            // A link takes no flags, and always allows others' programs beside it, such as systemd's
            // (5.7; `cgroup_bpf_link_attach`, kernel/bpf/cgroup.c).
            .attach(cgroup.file(), attach_type, CgroupAttachMode::Single)
            .and_then(|id| program.take_link(id))
            .map_err(|source| CaptureError::attach(cgroup.path(), source))
    }
}

impl std::fmt::Debug for Capture {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Capture")
            .field("taps", &self.taps)
            .field("rings", &self.rings)
            .finish_non_exhaustive()
    }
}

/// A tapped cgroup. Dropping it detaches both programs.
#[derive(Debug)]
pub struct Attachment {
    tap: TapId,
    links: Vec<CgroupSkbLink>,
    taps: Arc<Mutex<Taps>>,
}

impl Attachment {
    /// Names the tap in segments and counters: the id of its cgroup.
    pub fn tap(&self) -> TapId {
        self.tap
    }
}

impl Drop for Attachment {
    fn drop(&mut self) {
        // The programs first: while they run they need their map entries.
        self.links.clear();
        lock(&self.taps).remove(self.tap);
    }
}

/// What a poisoned lock guards is whole: no method of [`Taps`] leaves it half changed.
fn lock(taps: &Mutex<Taps>) -> MutexGuard<'_, Taps> {
    taps.lock().unwrap_or_else(PoisonError::into_inner)
}
