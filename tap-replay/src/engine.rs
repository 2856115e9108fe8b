//! Runs a plan over a selection of exchanges.
//!
//! - The **reader** takes exchanges from their source, refuses or rebuilds them, and gives each its intended
//!   time; it runs ahead of the sends within a bound.
//! - **Workers**, one thread each, wait for each intended time, for the request's session and a free place in
//!   flight, write the request, read the answer, compare, count. A session's requests all go to one worker.
//! - The **coordinator** adds up what the workers have counted, ten times a second, and looks whether the target
//!   is well.
//!
//! Where `max_in_flight` is reached, sends wait their turn and go late, which the report shows; one that would
//! start after its own timeout is not sent and counts as `max_in_flight`, or as `session` where it was the
//! previous request of its session that took so long.

mod read_ahead;
mod reader;
mod timer;
mod worker;

use std::{
    panic,
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Duration,
};

use futures::Stream;
use tap_proto::v1::{Exchange, ReplayReport};
use tokio::{
    sync::{mpsc, watch},
    task::JoinError,
    time::{self, Instant},
};
use tokio_util::sync::CancellationToken;

use self::read_ahead::ReadAhead;
use crate::{Plan, abort::Watch, connections::Connections, hook::Hook, tally::Tally};

/// Batches on their way to a worker; what is in them is bounded by [`ReadAhead`].
const BATCHES: usize = 256;
const PROGRESS_INTERVAL: Duration = Duration::from_millis(100);
/// With fewer places than this for each, another worker would only divide them.
const PLACES_PER_WORKER: usize = 32;
/// More do not help on any machine that a replay shares with others.
const MAX_WORKERS: usize = 8;

const NOT_SENT_MAX_IN_FLIGHT: &str = "max_in_flight";
const NOT_SENT_SESSION: &str = "session";
const NOT_SENT_ENDED: &str = "ended";
const NOT_SENT_STOPPED: &str = "stopped";
const NOT_SENT_ABORTED: &str = "aborted";
const NOT_SENT_NO_WORKER: &str = "no_worker";

/// What a replay came to.
#[derive(Debug)]
pub struct Outcome<E> {
    /// Final: nothing is in flight any more.
    pub report: ReplayReport,
    pub end: End<E>,
}

/// Why a replay ended.
#[derive(Debug)]
pub enum End<E> {
    /// Everything selected was sent or counted as not sent.
    Finished,
    /// By the caller.
    Stopped,
    /// The target was not well: which condition was met, and what was measured. Or the plan's hook has ended.
    Aborted(String),
    /// The selection could not be read to its end.
    Failed(E),
}

/// What the threads of one replay share.
#[derive(Debug)]
struct Shared {
    plan: Plan,
    read_ahead: ReadAhead,
    /// One for each worker, and the reader's.
    tallies: Vec<Mutex<Tally>>,
    /// Of each worker.
    connections: Vec<Arc<Connections>>,
    /// When the first request is sent.
    start: OnceLock<Instant>,
    stop: CancellationToken,
    aborted: AtomicBool,
    hook: Option<Hook>,
}

impl Shared {
    fn new(plan: Plan, hook: Option<Hook>, workers: usize, stop: CancellationToken) -> Self {
        Self {
            read_ahead: ReadAhead::default(),
            tallies: (0..=workers).map(|_| Mutex::new(Tally::new())).collect(),
            connections: (0..workers).map(|_| Arc::new(Connections::new(plan.upstream.clone()))).collect(),
            start: OnceLock::new(),
            stop,
            aborted: AtomicBool::new(false),
            hook,
            plan,
        }
    }

    fn start(&self) -> Instant {
        *self.start.get_or_init(Instant::now)
    }

    /// Whether the plan's duration is over.
    fn is_over(&self) -> bool {
        self.plan.duration.is_some_and(|duration| self.start().elapsed() >= duration)
    }

    /// Sends nothing more, for another reason than the caller's.
    fn abort(&self) {
        self.aborted.store(true, Ordering::Relaxed);
        self.stop.cancel();
    }

    fn stop_reason(&self) -> &'static str {
        if self.aborted.load(Ordering::Relaxed) { NOT_SENT_ABORTED } else { NOT_SENT_STOPPED }
    }

    fn tally(&self, worker: usize) -> MutexGuard<'_, Tally> {
        self.tallies[worker].lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn reader_tally(&self) -> MutexGuard<'_, Tally> {
        self.tally(self.tallies.len() - 1)
    }

    fn connections(&self, worker: usize) -> Arc<Connections> {
        Arc::clone(&self.connections[worker])
    }

    fn total(&self) -> Tally {
        let mut total = Tally::new();
        for worker in 0..self.tallies.len() {
            total.merge(&self.tally(worker));
        }
        total
    }

    /// What a tally does not know.
    fn complete(&self, report: ReplayReport) -> ReplayReport {
        ReplayReport {
            connections: self.connections.iter().map(|connections| connections.opened()).sum(),
            warnings: self.plan.warnings.clone(),
            faults: self.plan.chaos.as_ref().map(|chaos| chaos.report()).unwrap_or_default(),
            ..report
        }
    }
}

/// Sends what `source` gives, in order of time, as `plan` says; for each further pass it is asked again. Once
/// `stop` is cancelled nothing more is sent; what is in flight is awaited. `progress` gets the report as it grows,
/// ten times a second, and at the end. Dropping the future stops the replay, too.
pub async fn replay<E, S>(
    plan: Plan,
    source: impl FnMut() -> S + Send + 'static,
    progress: watch::Sender<ReplayReport>,
    stop: CancellationToken,
) -> Outcome<E>
where
    E: Send + 'static,
    S: Stream<Item = Result<Exchange, E>> + Send + 'static,
{
    let begun = Instant::now();
    let places = plan.max_in_flight as usize;
    let workers = workers(places);
    let hook = plan.hook.as_ref().map(Hook::start).transpose();
    let (hook, mut aborted) = match hook {
        Ok(hook) => (hook, None),
        Err(error) => (None, Some(format!("the hook could not be started: {error}"))),
    };
    let shared = Arc::new(Shared::new(plan, hook, workers, stop.child_token()));
    if aborted.is_some() {
        shared.abort();
    }
    let _stop_when_dropped = shared.stop.clone().drop_guard();

    let mut batches_tx = Vec::new();
    let mut running = Vec::new();
    for worker in 0..workers {
        let (tx, rx) = mpsc::channel(BATCHES);
        batches_tx.push(tx);
        let shared = Arc::clone(&shared);
        let places = places / workers + usize::from(worker < places % workers);
        running.push(tokio::task::spawn_blocking(move || worker::run(shared, worker, places, rx)));
    }
    let reader = tokio::spawn(reader::read(Arc::clone(&shared), source, batches_tx));

    let mut all_sent = std::pin::pin!(futures::future::join_all(running));
    let mut health = Watch::new(shared.plan.abort.clone());
    let mut tick = time::interval(PROGRESS_INTERVAL);
    let ended = loop {
        tokio::select! {
            ended = &mut all_sent => break ended,
            _ = tick.tick() => {
                let total = shared.total();
                if aborted.is_none() && !stop.is_cancelled() {
                    aborted = health.look(total.health().clone(), begun.elapsed());
                    if shared.hook.as_ref().is_some_and(Hook::has_ended) {
                        aborted = Some("the hook has ended".to_owned());
                    }
                    if aborted.is_some() {
                        shared.abort();
                    }
                }
                progress.send_replace(shared.complete(total.report(begun.elapsed())));
            }
        }
    };
    ended.into_iter().for_each(expect_completed);
    let unread = expect_completed(reader.await);

    let mut report = shared.complete(shared.total().final_report(begun.elapsed()));
    shared.plan.comparator.fill(&mut report);
    report.aborted = aborted.clone().unwrap_or_default();
    progress.send_replace(report.clone());
    let end = match (unread, aborted) {
        (_, Some(reason)) => End::Aborted(reason),
        (Some(error), None) => End::Failed(error),
        (None, None) if stop.is_cancelled() => End::Stopped,
        (None, None) => End::Finished,
    };
    Outcome { report, end }
}

/// Half of the cores at most: the target may be on the same machine, and the captures are decoded, too.
fn workers(places: usize) -> usize {
    let cores = thread::available_parallelism().map_or(1, usize::from);
    (cores / 2).min(places / PLACES_PER_WORKER).clamp(1, MAX_WORKERS)
}

/// A stage is never aborted while the replay's own future lives: it returned, or it panicked.
fn expect_completed<T>(joined: Result<T, JoinError>) -> T {
    joined.unwrap_or_else(|error| panic::resume_unwind(error.into_panic()))
}
