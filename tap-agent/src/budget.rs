//! What the agent may use of its node, memory and time, and what it leaves out to stay within.
//!
//! Near a budget the agent follows fewer connections: whole ones, chosen by a hash of their addresses, of the targets that
//! are worth least first. So what is kept is whole, both ends of a connection decide alike, and a connection that is left
//! out stays so to its end. Their bytes are in the ledger at the stage `budget`. Usage is looked at twice a second; shedding
//! begins at 80 % of a budget and ends below 70 %, step by step, so that the agent doesn't waver at the edge.
//!
//! Memory is what the agent's own buffers hold ([`Memory`]) and not what the allocator keeps for later: that does not
//! shrink when connections are shed, and would never let them come back.

mod level;
mod limit;

use std::{
    collections::BTreeMap,
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use nix::sys::{
    resource::{UsageWho, getrusage},
    time::TimeValLike as _,
};
use sha2::{Digest, Sha256};
use tap_flow::{FlowKey, Reason};
use tokio::{sync::watch, time::interval};
use tracing::{info, warn};

use crate::{
    ledger::RingProgress,
    registry::{Registry, Target},
    spool::Spool,
};

use self::level::{Level, share_of_rank};
pub use self::limit::{memory_limit, resident_bytes};

/// How often usage is looked at.
const POLL: Duration = Duration::from_millis(500);

/// The hash of a connection is below this.
const HASHES: u64 = 1 << 32;

/// Set in [`Shed::to_bits`] where the cause is time.
const CPU_BIT: u64 = 1 << 63;

/// What the agent may use. `None`: as much as its other limits allow.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Budget {
    /// In bytes.
    pub memory: Option<u64>,
    /// In cores.
    pub cpu: Option<f64>,
}

/// Of which budget there is too little left.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Cause {
    #[default]
    Memory,
    Cpu,
}

/// Which connections of a target are left out: those whose hash is below a threshold.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Shed {
    below: u64,
    cause: Cause,
}

/// What the agent uses, as of the last look.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Usage {
    pub budget: Budget,
    pub memory: Memory,
    /// In cores, of all threads of the process.
    pub cpu: f64,
    /// The share of connections that are left out, and why. `None` while all are followed.
    pub shedding: Option<(f64, Cause)>,
}

/// Where the memory is, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Memory {
    /// Of the process when it began.
    pub process: u64,
    pub rings: u64,
    /// Connections, messages and open batches.
    pub flows: u64,
    pub spools: u64,
}

/// The pods of which connections are left out, by UID, and why.
pub type SheddingPods = BTreeMap<String, Cause>;

/// Tells the threads of the rings that more is to be shed than before.
#[derive(Debug, Default)]
pub struct Shedding {
    raised: AtomicU64,
}

/// Looks at the usage and sets what the targets leave out.
pub struct Monitor {
    budget: Budget,
    process: u64,
    ring_bytes: u64,
    registry: Arc<Registry>,
    rings: Vec<Arc<RingProgress>>,
    spools: Vec<Arc<Spool>>,
    shedding: Arc<Shedding>,
    level: Level,
    cpu: CpuClock,
    usage: watch::Sender<Usage>,
    pods: watch::Sender<SheddingPods>,
}

/// Time that the process has had on processors.
struct CpuClock {
    looked: Instant,
    used: Duration,
}

impl Cause {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Memory => "memory",
            Self::Cpu => "cpu",
        }
    }

    fn reason(self) -> Reason {
        match self {
            Self::Memory => Reason::ShedForMemory,
            Self::Cpu => Reason::ShedForCpu,
        }
    }
}

impl Shed {
    /// Leaves out this share of the connections.
    fn new(share: f64, cause: Cause) -> Self {
        Self { below: (share.clamp(0.0, 1.0) * HASHES as f64) as u64, cause }
    }

    pub(crate) fn from_bits(bits: u64) -> Self {
        let cause = if bits & CPU_BIT == 0 { Cause::Memory } else { Cause::Cpu };
        Self { below: bits & !CPU_BIT, cause }
    }

    pub(crate) fn to_bits(self) -> u64 {
        let Self { below, cause } = self;
        match cause {
            Cause::Memory => below,
            Cause::Cpu => below | CPU_BIT,
        }
    }

    /// Whether any connection is left out.
    pub fn is_some(self) -> bool {
        self.below > 0
    }

    /// Why a connection is left out; `None` where it is not.
    pub fn reason(self, key: &FlowKey) -> Option<Reason> {
        (self.below > 0 && hash(key) < self.below).then(|| self.cause.reason())
    }

    /// [`Self::reason`] as [`tap_flow::Assembler::push_admitted`] asks for it.
    pub fn admit(self, key: &FlowKey) -> Result<(), Reason> {
        self.reason(key).map_or(Ok(()), Err)
    }
}

/// The same at both ends of a connection, in every run, on every machine.
fn hash(key: &FlowKey) -> u64 {
    let address = |address: std::net::SocketAddr| (address.ip().to_canonical(), address.port());
    let (local, remote) = (address(key.local), address(key.remote));
    let mut digest = Sha256::new();
    for (ip, port) in [local.min(remote), local.max(remote)] {
        match ip {
            std::net::IpAddr::V4(ip) => digest.update(ip.octets()),
            std::net::IpAddr::V6(ip) => digest.update(ip.octets()),
        }
        digest.update(port.to_be_bytes());
    }
    let [a, b, c, d, ..] = <[u8; 32]>::from(digest.finalize());
    u64::from(u32::from_be_bytes([a, b, c, d]))
}

impl Memory {
    pub fn total(self) -> u64 {
        let Self { process, rings, flows, spools } = self;
        process + rings + flows + spools
    }
}

impl Shedding {
    /// Changes whenever some target leaves out more than before.
    pub fn raised(&self) -> u64 {
        self.raised.load(Ordering::Acquire)
    }
}

impl Monitor {
    /// `process` is what the process has without anything captured, `ring_bytes` what all rings take together.
    pub fn new(
        budget: Budget,
        process: u64,
        ring_bytes: u64,
        registry: Arc<Registry>,
        rings: Vec<Arc<RingProgress>>,
        spools: Vec<Arc<Spool>>,
        shedding: Arc<Shedding>,
    ) -> Self {
        Self {
            budget,
            process,
            ring_bytes,
            registry,
            rings,
            spools,
            shedding,
            level: Level::default(),
            cpu: CpuClock::new(),
            usage: watch::Sender::new(Usage { budget, ..Usage::default() }),
            pods: watch::Sender::new(SheddingPods::new()),
        }
    }

    pub fn usage(&self) -> watch::Receiver<Usage> {
        self.usage.subscribe()
    }

    pub fn pods(&self) -> watch::Receiver<SheddingPods> {
        self.pods.subscribe()
    }

    /// Runs until it is dropped.
    pub async fn run(mut self) {
        let mut timer = interval(POLL);
        loop {
            timer.tick().await;
            let cpu = self.cpu.cores();
            self.look(cpu);
        }
    }

    /// Takes one look; `cpu` is what was used since the last, in cores.
    pub(crate) fn look(&mut self, cpu: f64) {
        let memory = Memory {
            process: self.process,
            rings: self.ring_bytes,
            flows: self.rings.iter().map(|ring| ring.lock().memory as u64).sum(),
            spools: self.spools.iter().map(|spool| spool.usage().bytes as u64).sum(),
        };
        let part = |used: f64, budget: Option<f64>| budget.map_or(0.0, |budget| used / budget);
        let of_memory = part(memory.total() as f64, self.budget.memory.map(|bytes| bytes as f64));
        let before = self.level.shedding();
        self.level.step(of_memory, part(cpu, self.budget.cpu));
        let shedding = self.level.shedding();
        match (before, shedding) {
            (None, Some((_, cause))) => {
                warn!(budget = cause.as_str(), "near the budget: connections are left out, and counted");
            }
            (Some(_), None) => info!("within the budget again: every new connection is followed"),
            (None, None) | (Some(_), Some(_)) => {}
        }
        self.apply();
        self.usage.send_replace(Usage { budget: self.budget, memory, cpu, shedding });
    }

    /// Sets what each target leaves out.
    fn apply(&self) {
        let (level, cause) = self.level.shedding().unwrap_or_default();
        let ranks = ranks(&self.registry);
        let mut pods = SheddingPods::new();
        let mut raised = false;
        for (rank, targets) in ranks.iter().enumerate() {
            let shed = Shed::new(share_of_rank(level, rank, ranks.len()), cause);
            for target in targets {
                raised |= shed.below > target.shed().below;
                target.set_shed(shed);
                let details = target.details();
                if shed.is_some() && !details.pod_uid.is_empty() {
                    pods.insert(details.pod_uid.clone(), cause);
                }
            }
        }
        if raised {
            self.shedding.raised.fetch_add(1, Ordering::Release);
        }
        self.pods.send_if_modified(|shown| {
            let changed = *shown != pods;
            *shown = pods;
            changed
        });
    }
}

/// The targets that are tapped, those of most worth first: the configuration's in its order, then pods by the age of the oldest policy
/// that selects them. What one policy selects is worth the same.
fn ranks(registry: &Registry) -> Vec<Vec<Arc<Target>>> {
    let mut targets: Vec<_> = registry
        .targets()
        .into_iter()
        .map(|(target, _)| target)
        .filter(|target| target.retired_since().is_none())
        .map(|target| {
            let plan = target.details().plan.clone();
            (plan, target)
        })
        .collect();
    let oldest = |plan: &Option<Arc<crate::registry::CapturePlan>>| {
        plan.as_ref().and_then(|capture| capture.plan.policies().first().cloned())
    };
    // A stable sort: among targets of the configuration the order of their keys stays.
    targets.sort_by(|(a, _), (b, _)| match (oldest(a), oldest(b)) {
        (Some(a), Some(b)) => a.cmp_age(&b),
        (a, b) => a.is_some().cmp(&b.is_some()),
    });
    let mut ranks: Vec<Vec<Arc<Target>>> = Vec::new();
    let mut last: Option<Arc<tap_policy::Policy>> = None;
    for (plan, target) in targets {
        let policy = oldest(&plan);
        let is_same = matches!((&last, &policy), (Some(a), Some(b)) if b.cmp_age(a).is_eq());
        match ranks.last_mut() {
            Some(rank) if is_same => rank.push(target),
            _ => ranks.push(vec![target]),
        }
        last = policy;
    }
    ranks
}

impl CpuClock {
    fn new() -> Self {
        Self { looked: Instant::now(), used: cpu_time() }
    }

    /// Cores that were used since this was last asked.
    fn cores(&mut self) -> f64 {
        let Self { looked, used } = std::mem::replace(self, Self::new());
        let elapsed = self.looked.duration_since(looked).as_secs_f64();
        if elapsed > 0.0 { self.used.saturating_sub(used).as_secs_f64() / elapsed } else { 0.0 }
    }
}

fn cpu_time() -> Duration {
    getrusage(UsageWho::RUSAGE_SELF).map_or(Duration::ZERO, |usage| {
        let microseconds = (usage.user_time() + usage.system_time()).num_microseconds();
        Duration::from_micros(u64::try_from(microseconds).unwrap_or_default())
    })
}

impl fmt::Debug for Monitor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { budget, level, .. } = self;
        f.debug_struct("Monitor").field("budget", budget).field("level", level).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
