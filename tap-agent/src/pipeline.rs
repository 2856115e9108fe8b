//! The path of the bytes, one thread for each ring: read, assemble, redact, encode, spool.
//!
//! The thread never waits for anything but its ring. What it can't pass on is counted and dropped: an observer does
//! not slow the observed, and a ring that is not read loses segments. All of an exchange's stages run on the
//! thread of its ring, so that nothing is queued between them.

use std::{
    collections::HashMap,
    fmt, io,
    sync::Arc,
    thread::{self, JoinHandle},
    time::Duration,
};

use tap_flow::{Assembler, Exchange, Limits, Segment, TapId};
use tap_redact::Redactor;
use tokio_util::sync::CancellationToken;
use tracing::warn;

use crate::{
    amount::Amount,
    batch::OpenBatch,
    clock::{WallClock, boottime},
    export::Exporter,
    ledger::{Losses, Reason, RingProgress, Stage},
    registry::{Registry, Target},
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

    /// Hands over what is there, `max` records at most; returns how many there were.
    fn drain(&mut self, max: usize, each: &mut dyn FnMut(Segment<'_>)) -> usize;
}

/// What the threads of all rings share.
#[derive(Clone)]
pub struct PipelineContext {
    pub agent: String,
    pub epoch: u64,
    pub limits: Limits,
    pub registry: Arc<Registry>,
    pub redactor: Arc<Redactor>,
    pub spool: Arc<Spool>,
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
        self.threads.into_iter().fold(true, |well, thread| thread.join().is_ok() && well)
    }
}

/// One thread's part.
struct Ring<S> {
    number: usize,
    source: S,
    assembler: Assembler,
    outlet: Outlet,
    progress: Arc<RingProgress>,
}

/// Where exchanges go.
struct Outlet {
    registry: Arc<Registry>,
    redactor: Arc<Redactor>,
    exporter: Exporter,
    clock: WallClock,
    now: u64,
    /// When the last segment passed the hook.
    segment_time: u64,
    batch: OpenBatch,
    spool: Arc<Spool>,
    /// Of the taps of which this ring had segments.
    taps: HashMap<TapId, TapRecord>,
}

struct TapRecord {
    target: Arc<Target>,
    losses: Losses,
}

impl<S: SegmentSource> Ring<S> {
    fn new(number: usize, source: S, context: &PipelineContext, progress: Arc<RingProgress>) -> Self {
        let PipelineContext { agent, epoch, limits, registry, redactor, spool } = context;
        let outlet = Outlet {
            registry: Arc::clone(registry),
            redactor: Arc::clone(redactor),
            exporter: Exporter::new(agent, *epoch, number),
            clock: WallClock::sample(),
            now: boottime(),
            segment_time: 0,
            batch: OpenBatch::default(),
            spool: Arc::clone(spool),
            taps: HashMap::new(),
        };
        Self { number, source, assembler: Assembler::new(limits.clone()), outlet, progress }
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
        let Self { source, assembler, outlet, .. } = self;
        outlet.now = boottime();
        let records = source.drain(RECORDS_PER_TURN, &mut |segment| {
            // A tap is registered before it is attached, so what has no target was never asked for.
            if outlet.knows(segment.key.tap) {
                outlet.segment_time = segment.time;
                assembler.push(segment, &mut |exchange| outlet.take(exchange));
            }
        });
        let due = outlet.batch.is_due(outlet.now);
        if due {
            outlet.flush();
        }
        if due || records > 0 {
            self.publish();
        }
        records
    }

    fn publish(&self) {
        let mut state = self.progress.lock();
        for (tap, record) in &self.outlet.taps {
            let shown = state.taps.entry(*tap).or_default();
            shown.flow.clone_from(&self.assembler.stats(*tap));
            shown.losses.clone_from(&record.losses);
        }
        state.batched.clear();
        state.batched.extend_from_slice(self.outlet.batch.amounts());
    }
}

impl Outlet {
    fn knows(&mut self, tap: TapId) -> bool {
        if self.taps.contains_key(&tap) {
            return true;
        }
        let Some(target) = self.registry.owner(tap) else { return false };
        self.taps.insert(tap, TapRecord { target, losses: Losses::new() });
        true
    }

    /// The gate: what is not redacted can't be exported, and what is not exported can't be spooled.
    fn take(&mut self, exchange: Exchange) {
        let Some(record) = self.taps.get_mut(&exchange.flow.tap) else { return };
        let wire_bytes = exchange.wire_bytes;
        let redacted = self.redactor.redact(exchange);
        let message = self.exporter.export(redacted, &record.target, &self.clock);
        match self.batch.push(record.target.key, message, self.now) {
            Ok(None) => {}
            Ok(Some(closed)) => self.spool.push(closed),
            Err(_oversized) => {
                let reason = Reason { stage: Stage::Spool, word: "oversized" };
                *record.losses.entry(reason).or_default() +=
                    Amount { exchanges: 1, bytes: wire_bytes, segments: 0 };
            }
        }
    }

    fn flush(&mut self) {
        if let Some(batch) = self.batch.seal() {
            self.spool.push(batch);
        }
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
