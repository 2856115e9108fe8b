//! Accounts for everything seen: gathers the counters of every stage into the ledger of the wire contract.
//!
//! Nothing here is a remainder: each stage counts what it took, passed on, holds and lost, and the identities
//! of `ledger.proto` hold because the stages count right. The one difference taken is what is still in the rings: copied
//! by the kernel and not yet read. Stages are read from the end of the path to its beginning, so that under traffic
//! a ledger may show more seen than accounted for, never the reverse. docs/ledger.md explains stages and reasons.

mod ended;

use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, Mutex, MutexGuard},
    time::SystemTime,
};

use tap_flow::{FlowStats, Reason as Discarded, TapId};
use tap_proto::v1;
use tokio::sync::watch;

use crate::{
    amount::Amount,
    capture::ProgramStats,
    coverage::Coverage,
    registry::{Registry, RouteId, Target, TargetKey},
    spool::Spool,
};

use self::ended::Ended;

/// The stages of the path at which something can be lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Stage {
    Kernel,
    Ring,
    Budget,
    Assembly,
    Policy,
    Redaction,
    Spool,
}

/// What was lost, where and why. The reason is a word of docs/ledger.md.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Reason {
    pub stage: Stage,
    pub word: &'static str,
}

/// Losses by reason.
pub type Losses = HashMap<Reason, Amount>;

/// What the kernel programs counted for one tap.
#[derive(Clone, Debug, Default)]
pub struct KernelAmounts {
    pub seen: Amount,
    /// Put into a ring.
    pub copied: Amount,
    pub losses: Losses,
    pub coverage: Coverage,
}

/// Where the kernel's counters are read. A tap that was never attached has none.
pub trait KernelLedger: Send + Sync {
    fn amounts(&self, tap: TapId) -> Option<KernelAmounts>;

    /// Forgets a tap that is detached; returns what it counted.
    fn take(&self, tap: TapId) -> Option<KernelAmounts>;

    /// What the programs did so far, where there are any.
    fn programs(&self) -> Vec<ProgramStats> {
        Vec::new()
    }
}

/// What one ring's thread counted for one tap.
#[derive(Clone, Debug, Default)]
pub struct TapProgress {
    /// Of reassembly, which takes everything that is read from the ring.
    pub flow: FlowStats,
    /// Of the stages after reassembly.
    pub losses: Losses,
}

/// What one ring's thread shows of itself; the thread writes, the ledger reads.
#[derive(Debug, Default)]
pub struct RingProgress {
    state: Mutex<RingState>,
}

#[derive(Debug, Default)]
pub struct RingState {
    pub taps: HashMap<TapId, TapProgress>,
    /// Of taps that the thread has forgotten, by the target to which they belonged.
    pub forgotten: HashMap<TargetKey, TapProgress>,
    /// In the batches that are still open.
    pub batched: Vec<(TargetKey, Amount)>,
    /// Held for connections and by open batches, in bytes.
    pub memory: usize,
}

/// All counters of one run of the agent.
pub struct Ledger {
    agent: String,
    registry: Arc<Registry>,
    kernel: Arc<dyn KernelLedger>,
    rings: Vec<Arc<RingProgress>>,
    /// One for each route; their order is that of [`RouteId`].
    spools: Vec<Arc<Spool>>,
    /// Held while accounts are read and while they are folded.
    ended: Mutex<Ended>,
    reports: watch::Receiver<Vec<v1::PolicyReport>>,
}

/// The account of one target.
#[derive(Clone, Debug, Default)]
pub struct Account {
    pub name: String,
    pub seen: Amount,
    pub assembled: Amount,
    pub stored: Amount,
    pub pending: Amount,
    pub losses: Losses,
    pub flows: FlowCounts,
    pub coverage: Coverage,
    /// The TapPolicies that select it.
    pub policies: Vec<String>,
}

/// What a target's connections were. Not part of the account: they hold what is seen, whatever becomes of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FlowCounts {
    pub all: u64,
    /// Left out, from their beginning or from some moment on, to keep to a budget.
    pub shed: u64,
    pub tls: u64,
    pub http2: u64,
    pub other: u64,
    /// Holes in the byte streams that were given up.
    pub gaps: u64,
    pub gap_bytes: u64,
}

impl KernelAmounts {
    pub fn add(&mut self, other: Self) {
        let Self { seen, copied, losses, coverage } = other;
        self.coverage += coverage;
        self.seen += seen;
        self.copied += copied;
        for (reason, amount) in losses {
            *self.losses.entry(reason).or_default() += amount;
        }
    }
}

impl TapProgress {
    /// Adds what another tap of the same target counted.
    pub fn add(&mut self, other: &Self) {
        let Self { flow, losses } = other;
        self.flow.add(flow);
        for (reason, amount) in losses {
            *self.losses.entry(*reason).or_default() += *amount;
        }
    }
}

impl Stage {
    /// The word of the wire contract.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Kernel => "kernel",
            Self::Ring => "ring",
            Self::Budget => "budget",
            Self::Assembly => "assembly",
            Self::Policy => "policy",
            Self::Redaction => "redaction",
            Self::Spool => "spool",
        }
    }
}

impl RingProgress {
    pub fn lock(&self) -> MutexGuard<'_, RingState> {
        self.state.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

impl Ledger {
    /// `spools` holds one for each route; `reports` is what is known of TapPolicies.
    pub fn new(
        agent: &str,
        registry: Arc<Registry>,
        kernel: Arc<dyn KernelLedger>,
        rings: Vec<Arc<RingProgress>>,
        spools: Vec<Arc<Spool>>,
        reports: watch::Receiver<Vec<v1::PolicyReport>>,
    ) -> Self {
        let agent = agent.to_owned();
        Self { agent, registry, kernel, rings, spools, ended: Mutex::default(), reports }
    }

    pub fn agent(&self) -> &str {
        &self.agent
    }

    /// Tells when the reports on TapPolicies have changed.
    pub fn reports(&self) -> watch::Receiver<Vec<v1::PolicyReport>> {
        self.reports.clone()
    }

    /// The accounts of all targets, in the order in which they were added.
    pub fn accounts(&self) -> Vec<Account> {
        self.accounts_of(|_| true)
    }

    /// What the kernel programs did so far.
    pub fn programs(&self) -> Vec<ProgramStats> {
        self.kernel.programs()
    }

    /// How many targets have an account.
    pub fn targets(&self) -> usize {
        self.registry.len()
    }

    /// The ledger of a route at this instant; `is_final` where nothing can change any more.
    pub fn message(&self, route: RouteId, epoch: u64, is_final: bool) -> v1::Ledger {
        v1::Ledger {
            agent: self.agent.clone(),
            epoch,
            time: Some(SystemTime::now().into()),
            r#final: is_final,
            targets: self.accounts_of(|target| target.route == route).into_iter().map(Into::into).collect(),
            // The agent's own collector writes their status, and no other has to know of them.
            policies: if route == RouteId(0) { self.reports.borrow().clone() } else { Vec::new() },
        }
    }

    fn accounts_of(&self, wanted: impl Fn(&Target) -> bool) -> Vec<Account> {
        let ended = self.ended();
        let targets = self.registry.targets();
        let targets = targets.iter().filter(|(target, _)| wanted(target));
        targets.map(|(target, taps)| self.account(target, taps, &ended)).collect()
    }

    fn account(&self, target: &Target, taps: &[TapId], ended: &Ended) -> Account {
        let key = target.key;
        let spool = self.spools.get(target.route.0).map(|spool| spool.totals(key)).unwrap_or_default();
        let mut account = Account {
            name: target.name.clone(),
            stored: spool.stored,
            pending: spool.pending,
            policies: target.details().policies.clone(),
            ..Account::default()
        };
        account.lose(Reason { stage: Stage::Spool, word: "full" }, spool.dropped);

        let mut read_bytes = 0;
        for ring in &self.rings {
            let state = ring.lock();
            account.pending +=
                state.batched.iter().filter(|(owner, _)| *owner == key).map(|(_, amount)| *amount).sum();
            let taps = taps.iter().filter_map(|tap| state.taps.get(tap));
            for TapProgress { flow, losses } in taps.chain(state.forgotten.get(&key)) {
                read_bytes += flow.bytes_in;
                account.take_flow(flow);
                losses.iter().for_each(|(reason, amount)| account.lose(*reason, *amount));
            }
        }

        let mut copied = Amount::ZERO;
        let kernel = taps.iter().filter_map(|tap| self.kernel.amounts(*tap));
        for KernelAmounts { seen, copied: put, losses, coverage } in kernel.chain(ended.kernel(key).cloned())
        {
            account.seen += seen;
            copied += put;
            account.coverage += coverage;
            losses.iter().for_each(|(reason, amount)| account.lose(*reason, *amount));
        }
        account.pending += Amount::of_bytes(copied.bytes.saturating_sub(read_bytes));
        account
    }

    fn ended(&self) -> MutexGuard<'_, Ended> {
        self.ended.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

impl Account {
    fn take_flow(&mut self, flow: &FlowStats) {
        self.assembled += Amount { exchanges: flow.exchanges, bytes: flow.bytes_in_exchanges, segments: 0 };
        self.pending += Amount::of_bytes(flow.bytes_buffered);
        self.lose(
            Reason { stage: Stage::Assembly, word: "duplicate" },
            Amount::of_bytes(flow.bytes_duplicate),
        );
        for (reason, bytes) in flow.discarded() {
            let stage = match reason {
                Discarded::ShedForMemory | Discarded::ShedForCpu => Stage::Budget,
                _ => Stage::Assembly,
            };
            self.lose(Reason { stage, word: reason.as_str() }, Amount::of_bytes(bytes));
        }
        self.flows.all += flow.flows;
        self.flows.shed += flow.flows_shed;
        self.flows.tls += flow.flows_tls;
        self.flows.http2 += flow.flows_http2;
        self.flows.other += flow.flows_other;
        self.flows.gaps += flow.gaps;
        self.flows.gap_bytes += flow.gap_bytes;
    }

    fn lose(&mut self, reason: Reason, amount: Amount) {
        if !amount.is_zero() {
            *self.losses.entry(reason).or_default() += amount;
        }
    }

    /// What is missing from the ledger's two identities: bytes and exchanges, both zero at rest.
    pub fn imbalance(&self) -> (i128, i128) {
        let accounted = self.stored + self.pending + self.losses.values().copied().sum();
        (
            i128::from(self.seen.bytes) - i128::from(accounted.bytes),
            i128::from(self.assembled.exchanges) - i128::from(accounted.exchanges),
        )
    }
}

impl From<Account> for v1::TargetLedger {
    fn from(account: Account) -> Self {
        let Account { name, seen, assembled, stored, pending, losses, flows: _, coverage, policies } =
            account;
        let mut losses: Vec<_> = losses.into_iter().collect();
        losses.sort_unstable_by_key(|(reason, _)| *reason);
        Self {
            target: name,
            seen: Some(seen.into()),
            assembled: Some(assembled.into()),
            stored: Some(stored.into()),
            pending: Some(pending.into()),
            losses: losses
                .into_iter()
                .map(|(Reason { stage, word }, amount)| v1::Loss {
                    stage: stage.as_str().to_owned(),
                    reason: word.to_owned(),
                    amount: Some(amount.into()),
                })
                .collect(),
            policies,
            coverage: Some(coverage.into()),
        }
    }
}

impl fmt::Debug for Ledger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ledger").field("agent", &self.agent).finish_non_exhaustive()
    }
}
