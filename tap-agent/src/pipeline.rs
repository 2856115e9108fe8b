//! The path of the bytes, one thread for each ring: read, assemble, redact, encode, spool.
//!
//! The thread never waits for anything but its ring. What it can't pass on is counted and dropped: an observer does
//! not slow the observed, and a ring that is not read loses segments. All of an exchange's stages run on the
//! thread of its ring, so that nothing is queued between them.

use std::{
    collections::HashMap,
    fmt, io,
    panic::{self, AssertUnwindSafe},
    sync::Arc,
    thread::{self, JoinHandle},
    time::Duration,
};

use bytes::Bytes;
use tap_flow::{Assembler, Exchange, FlowKey, Limits, Segment, TapId, Unneeded};
use tap_policy::{Replayed, Unkept, is_replayed};
use tap_redact::{Redactor, Subject};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tracing::warn;

use crate::{
    amount::Amount,
    batch::OpenBatch,
    budget::{Shed, Shedding},
    clock::{WallClock, boottime},
    config::Redaction,
    export::{Attribution, Exporter},
    ledger::{Losses, Reason, RingProgress, Stage, TapProgress},
    registry::{CapturePlan, Details, Registry, Target, TargetKey, UnknownCgroup},
    spool::Spool,
};

/// How long to wait for a ring that has traffic: the kernel wakes the reader only past a threshold, as a wake-up for
/// each record costs the tapped process more than the copy does.
const WAIT_BUSY: Duration = Duration::from_millis(5);

/// How long to wait for a ring that was empty for a while. Traffic past the threshold ends the wait.
const WAIT_IDLE: Duration = Duration::from_millis(50);

/// A ring is idle after this many empty waits.
const IDLE_AFTER: u32 = 20;

/// How many records are read before the counters are published.
const RECORDS_PER_TURN: usize = 4096;

/// How many turns are taken before the timers are looked after, where the ring never gets empty.
const TURNS: usize = 64;

/// How often silent connections are looked for and the wall clock is sampled, in nanoseconds.
const TIMER: u64 = 1_000_000_000;

/// A ring of segments, read by one thread.
pub trait SegmentSource: Send + 'static {
    /// Returns when there is much to read, or after `timeout`.
    fn wait(&mut self, timeout: Duration) -> io::Result<()>;

    /// Hands over what is there, `max` records at most; returns how many there were. What is not needed of a segment's
    /// connection from then on may be left out.
    fn drain(&mut self, max: usize, each: &mut dyn FnMut(Segment<'_>) -> Unneeded) -> usize;
}

/// What the threads of all rings share.
#[derive(Clone)]
pub struct PipelineContext {
    pub agent: String,
    pub epoch: u64,
    pub limits: Limits,
    pub registry: Arc<Registry>,
    /// Requests that Podtap itself sent, to targets without policies.
    pub replayed: Replayed,
    /// What is in effect, and every change of it.
    pub redaction: watch::Receiver<Redaction>,
    /// One for each route.
    pub spools: Vec<Arc<Spool>>,
    /// Tells when more is to be left out.
    pub shedding: Arc<Shedding>,
}

/// The running threads.
#[derive(Debug)]
pub struct Pipeline {
    threads: Vec<JoinHandle<()>>,
    progress: Vec<Arc<RingProgress>>,
    stop: CancellationToken,
    ended: CancellationToken,
}

impl Pipeline {
    /// Starts one thread for each source.
    pub fn start<S: SegmentSource>(sources: Vec<S>, context: &PipelineContext) -> io::Result<Self> {
        let mut pipeline = Self {
            threads: Vec::new(),
            progress: Vec::new(),
            stop: CancellationToken::new(),
            ended: CancellationToken::new(),
        };
        for (number, source) in sources.into_iter().enumerate() {
            let progress = Arc::new(RingProgress::default());
            let ring = Ring::new(number, source, context, Arc::clone(&progress));
            let (stop, ended) = (pipeline.stop.clone(), pipeline.ended.clone());
            let thread = thread::Builder::new().name(format!("ring-{number}")).spawn(move || {
                let _ended = ended.drop_guard();
                ring.run(&stop);
            })?;
            pipeline.threads.push(thread);
            pipeline.progress.push(progress);
        }
        Ok(pipeline)
    }

    /// What each thread has counted so far.
    pub fn progress(&self) -> Vec<Arc<RingProgress>> {
        self.progress.clone()
    }

    /// Cancelled when a thread has ended, which none does before it is stopped unless it panics.
    pub fn ended(&self) -> CancellationToken {
        self.ended.clone()
    }

    /// Reads what is left in the rings, ends every flow, and passes on what that gives. Nothing may be attached
    /// any more. Blocks until it is done; returns whether every thread ended well.
    pub fn finish(self) -> bool {
        self.stop.cancel();
        // Every one is waited for, also after one that did not end well.
        let ended: Vec<_> = self.threads.into_iter().map(JoinHandle::join).collect();
        ended.iter().all(Result::is_ok)
    }
}

/// One thread's part.
struct Ring<S> {
    number: usize,
    source: S,
    assembler: Assembler,
    outlet: Outlet,
    progress: Arc<RingProgress>,
    shedding: Arc<Shedding>,
    /// What of it was heeded.
    shed: u64,
}

/// Where exchanges go.
struct Outlet {
    registry: Arc<Registry>,
    replayed: Replayed,
    redaction: watch::Receiver<Redaction>,
    /// Of targets without one of their own.
    redactor: Arc<Redactor>,
    node: String,
    exporter: Exporter,
    clock: WallClock,
    now: u64,
    /// When the last segment passed the hook.
    segment_time: u64,
    routes: Vec<Route>,
    /// Of the taps of which this ring had segments.
    taps: HashMap<TapId, TapRecord>,
}

/// One way to a collector.
struct Route {
    batch: OpenBatch,
    spool: Arc<Spool>,
}

struct TapRecord {
    target: Arc<Target>,
    /// Of the target, as of `version`.
    details: Arc<Details>,
    version: u64,
    losses: Losses,
}

impl<S: SegmentSource> Ring<S> {
    fn new(number: usize, source: S, context: &PipelineContext, progress: Arc<RingProgress>) -> Self {
        let PipelineContext { agent, epoch, limits, registry, replayed, redaction, spools, shedding } =
            context;
        let route = |spool| Route { batch: OpenBatch::default(), spool: Arc::clone(spool) };
        let outlet = Outlet {
            registry: Arc::clone(registry),
            replayed: *replayed,
            redactor: Arc::clone(&redaction.borrow().redactor),
            redaction: redaction.clone(),
            node: agent.clone(),
            exporter: Exporter::new(agent, *epoch, number),
            clock: WallClock::sample(),
            now: boottime(),
            segment_time: 0,
            routes: spools.iter().map(route).collect(),
            taps: HashMap::new(),
        };
        let (assembler, shedding) = (Assembler::new(limits.clone()), Arc::clone(shedding));
        Self { number, source, assembler, outlet, progress, shed: shedding.raised(), shedding }
    }

    fn run(mut self, stop: &CancellationToken) {
        let mut next_timer = self.outlet.now + TIMER;
        let mut empty_turns = 0;
        loop {
            // Before the wait: what was in the ring when the programs were detached is read after it.
            let stopping = stop.is_cancelled();
            let patience = if empty_turns < IDLE_AFTER { WAIT_BUSY } else { WAIT_IDLE };
            if let Err(error) = self.source.wait(patience) {
                warn!(ring = self.number, "can't wait for the ring: {error}");
                thread::sleep(WAIT_IDLE);
            }
            let mut records = self.turn();
            empty_turns = if records == 0 { empty_turns.saturating_add(1) } else { 0 };
            for _ in 1..TURNS {
                if records < RECORDS_PER_TURN {
                    break;
                }
                records = self.turn();
            }
            if self.outlet.now >= next_timer {
                next_timer = self.outlet.now + TIMER;
                self.outlet.clock = WallClock::sample();
                // While there is more in the ring, time is what its records say: an agent that was stopped for
                // a while must not take connections for silent whose segments it has not read.
                let drained = records < RECORDS_PER_TURN;
                let time = if drained { self.outlet.now } else { self.outlet.segment_time };
                self.assembler.expire(time, &mut |exchange| self.outlet.take(exchange));
                if drained {
                    self.forget_retired();
                }
                self.publish();
            }
            if stopping && empty_turns > 0 {
                break;
            }
        }
        self.assembler.finish(&mut |exchange| self.outlet.take(exchange));
        self.outlet.flush();
        self.publish();
    }

    /// Reads some records; returns how many.
    fn turn(&mut self) -> usize {
        self.heed_budget();
        let Self { source, assembler, outlet, .. } = self;
        outlet.now = boottime();
        outlet.follow_redaction();
        let records = source.drain(RECORDS_PER_TURN, &mut |segment| {
            // A tap is registered before it is attached, so what has no target was never asked for.
            let Some(shed) = outlet.shed_of(segment.key.tap) else { return Unneeded::Nothing };
            outlet.segment_time = segment.time;
            assembler.push_admitted(segment, |key| shed.admit(key), &mut |exchange| outlet.take(exchange))
        });
        let due = outlet.flush_due();
        if due || records > 0 {
            self.publish();
        }
        records
    }

    /// Lets go of the connections that are to be left out since the last turn.
    fn heed_budget(&mut self) {
        let raised = self.shedding.raised();
        if self.shed == raised {
            return;
        }
        self.shed = raised;
        let shed: HashMap<TapId, Shed> =
            self.outlet.taps.iter().map(|(tap, record)| (*tap, record.target.shed())).collect();
        let reason_of = |key: &FlowKey| shed.get(&key.tap).and_then(|shed| shed.reason(key));
        self.assembler.shed(reason_of, &mut |exchange| self.outlet.take(exchange));
    }

    /// Closes the account of taps from which nothing comes any more: they are detached, and the ring is empty.
    fn forget_retired(&mut self) {
        let is_retired = |record: &TapRecord| record.target.retired_since().is_some();
        let taps = self.outlet.taps.iter().filter(|(_, record)| is_retired(record));
        let taps: Vec<_> = taps.map(|(tap, _)| *tap).collect();
        for tap in taps {
            let flow = self.assembler.forget(tap, &mut |exchange| self.outlet.take(exchange));
            let Some(TapRecord { target, losses, .. }) = self.outlet.taps.remove(&tap) else { continue };
            let mut state = self.progress.lock();
            state.taps.remove(&tap);
            state.forgotten.entry(target.key).or_default().add(&TapProgress { flow, losses });
            // What forgetting gave is in a batch; nobody may see the account without it.
            self.outlet.batched(&mut state.batched);
        }
    }

    fn publish(&self) {
        let mut state = self.progress.lock();
        for (tap, record) in &self.outlet.taps {
            let shown = state.taps.entry(*tap).or_default();
            shown.flow.clone_from(&self.assembler.stats(*tap));
            shown.losses.clone_from(&record.losses);
        }
        self.outlet.batched(&mut state.batched);
        state.memory = self.assembler.memory() + self.outlet.memory();
    }
}

impl Outlet {
    /// Takes over a change of the agent's own redaction.
    fn follow_redaction(&mut self) {
        // An error is that there will be no more changes.
        if self.redaction.has_changed().unwrap_or(false) {
            self.redactor = Arc::clone(&self.redaction.borrow_and_update().redactor);
        }
    }

    /// What is left out of a tap; `None` for one that serves no target.
    fn shed_of(&mut self, tap: TapId) -> Option<Shed> {
        if let Some(record) = self.taps.get(&tap) {
            return Some(record.target.shed());
        }
        let target = self.registry.owner(tap)?;
        let (shed, version) = (target.shed(), target.version());
        let record = TapRecord { details: target.details(), target, version, losses: Losses::new() };
        self.taps.insert(tap, record);
        Some(shed)
    }

    /// The gate: what is not redacted can't be exported, and what is not exported can't be spooled.
    fn take(&mut self, mut exchange: Exchange) {
        let Some(record) = self.taps.get_mut(&exchange.flow.tap) else { return };
        record.refresh();
        let wire_bytes = exchange.wire_bytes;
        let container = match record.details.containers.name(exchange.cgroup) {
            Ok(container) => container,
            Err(UnknownCgroup) => {
                record.target.miss_cgroup();
                None
            }
        };
        let capture = record.details.plan.as_deref();
        let mut selected = None;
        if let Some(CapturePlan { plan, .. }) = capture {
            match plan.before_redaction(&exchange, container) {
                Ok(policies) => {
                    if plan.ignores_bodies(policies) {
                        drop_bodies(&mut exchange);
                    }
                    selected = Some((plan, policies));
                }
                Err(unkept) => return lose(&mut record.losses, Stage::Policy, unkept.as_str(), wire_bytes),
            }
        } else if self.replayed == Replayed::Drop && is_replayed(&exchange) {
            return lose(&mut record.losses, Stage::Policy, Unkept::Replayed.as_str(), wire_bytes);
        }
        let redactor = capture.and_then(|capture| capture.redactor.as_ref()).unwrap_or(&self.redactor);
        let Details { workload, namespace, pod, labels, .. } = &*record.details;
        let subject = Subject {
            target: &record.target.name,
            node: &self.node,
            namespace,
            workload,
            pod,
            container: container.unwrap_or_default(),
            labels,
        };
        let Some(redacted) = caught(|| redactor.redact_of(exchange, subject)) else {
            return lose(&mut record.losses, Stage::Redaction, "panic", wire_bytes);
        };
        let target = Attribution { name: &record.target.name, details: &record.details, container };
        let mut message = self.exporter.export(redacted, &target, &self.clock);
        if let Some((plan, policies)) = selected {
            match plan.after_redaction(policies, &message) {
                Ok(kept) => {
                    kept.body.apply(&mut message);
                    message.mirrors = plan.mirrors(kept.policies);
                }
                Err(unkept) => return lose(&mut record.losses, Stage::Policy, unkept.as_str(), wire_bytes),
            }
        }
        let Some(Route { batch, spool }) = self.routes.get_mut(record.target.route.0) else {
            return lose(&mut record.losses, Stage::Spool, "no_route", wire_bytes);
        };
        match batch.push(record.target.key, message, self.now) {
            Ok(None) => {}
            Ok(Some(closed)) => spool.push(closed),
            Err(_oversized) => lose(&mut record.losses, Stage::Spool, "oversized", wire_bytes),
        }
    }

    /// Passes on the batches that have waited long enough; whether there was one.
    fn flush_due(&mut self) -> bool {
        let mut any = false;
        for Route { batch, spool } in &mut self.routes {
            if batch.is_due(self.now)
                && let Some(batch) = batch.seal()
            {
                spool.push(batch);
                any = true;
            }
        }
        any
    }

    fn flush(&mut self) {
        for Route { batch, spool } in &mut self.routes {
            if let Some(batch) = batch.seal() {
                spool.push(batch);
            }
        }
    }

    /// Memory of the open batches, in bytes.
    fn memory(&self) -> usize {
        self.routes.iter().map(|route| route.batch.memory()).sum()
    }

    /// What the open batches hold.
    fn batched(&self, amounts: &mut Vec<(TargetKey, Amount)>) {
        amounts.clear();
        self.routes.iter().for_each(|route| amounts.extend_from_slice(route.batch.amounts()));
    }
}

impl TapRecord {
    /// Takes over a change of what is known of the target.
    fn refresh(&mut self) {
        let version = self.target.version();
        if version != self.version {
            self.version = version;
            self.details = self.target.details();
        }
    }
}

/// What `body` gives, unless it panics: a bug must cost an exchange, not a ring.
fn caught<T>(body: impl FnOnce() -> T) -> Option<T> {
    // Nothing that was half changed is used again: redaction changes the exchange alone, which is lost.
    panic::catch_unwind(AssertUnwindSafe(body)).ok()
}

fn lose(losses: &mut Losses, stage: Stage, word: &'static str, wire_bytes: u64) {
    *losses.entry(Reason { stage, word }).or_default() +=
        Amount { exchanges: 1, bytes: wire_bytes, segments: 0 };
}

/// Nobody will look at the bodies, so nobody has to redact them. Their sizes stay.
fn drop_bodies(exchange: &mut Exchange) {
    if let Some(request) = &mut exchange.request {
        request.body.content = Bytes::new();
    }
    if let Some(response) = &mut exchange.response {
        response.body.content = Bytes::new();
    }
}

impl fmt::Debug for PipelineContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { agent, epoch, limits, .. } = self;
        f.debug_struct("PipelineContext")
            .field("agent", agent)
            .field("epoch", epoch)
            .field("limits", limits)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_is_caught() {
        assert_eq!(caught(|| 1), Some(1));
        assert_eq!(caught::<()>(|| panic!("as a bug would")), None);
    }
}
