//! Reads the selection, pass by pass: refuses, leaves out or rebuilds each exchange, and gives it its time.

use std::{pin::pin, sync::Arc, time::Duration};

use futures::{FutureExt as _, Stream, StreamExt as _};
use prost_types::Timestamp;
use tap_proto::v1::Exchange;
use tokio::sync::mpsc;

use super::{
    Shared,
    read_ahead::{self, cost},
};
use crate::{
    request::{self, Outgoing},
    safety,
    schedule::{Arrival, Schedule},
};

/// Handed to a worker at once: a wake-up for many.
const BATCH: usize = 64;
/// A selection up to this size is kept for the next pass, not read again.
const KEPT_BYTES: usize = read_ahead::MAX_BYTES;

/// An exchange that can be sent.
#[derive(Debug)]
pub(super) struct Prepared {
    pub(super) exchange: Arc<Exchange>,
    /// As recorded; transformations begin from the exchange.
    pub(super) request: Outgoing,
    /// Requests of one session are sent one after the other.
    pub(super) session: Option<u64>,
    cost: usize,
}

/// A send that is to be.
#[derive(Debug)]
pub(super) struct Job {
    pub(super) prepared: Arc<Prepared>,
    /// Its intended time, from the first send.
    pub(super) offset: Duration,
    /// Faults are drawn anew in each pass.
    pub(super) pass: u64,
    /// It had to wait for the previous request of its session.
    pub(super) in_session: bool,
}

impl Job {
    /// What it takes of [`read_ahead::ReadAhead`].
    pub(super) fn cost(&self) -> usize {
        self.prepared.cost
    }
}

/// The jobs on their way to the workers.
struct Outbox<'a> {
    shared: &'a Shared,
    workers: Vec<mpsc::Sender<Vec<Job>>>,
    batches: Vec<Vec<Job>>,
    schedule: Schedule,
    /// Wait for their times, which a schedule may give by the block.
    block: Vec<Arc<Prepared>>,
    recorded: Vec<Option<Timestamp>>,
    times: Vec<Duration>,
    next_worker: usize,
    pass: u64,
    remaining: u64,
    /// The duration is over, or enough was read.
    done: bool,
}

/// What of a pass is kept for the next.
enum Kept {
    All(Vec<Arc<Prepared>>, usize),
    TooMuch,
}

/// Reads to the end of the selection, of the plan, or until the stop; returns the error that ended it early.
pub(super) async fn read<E, S>(
    shared: Arc<Shared>,
    mut source: impl FnMut() -> S,
    workers: Vec<mpsc::Sender<Vec<Job>>>,
) -> Option<E>
where
    S: Stream<Item = Result<Exchange, E>>,
{
    let plan = &shared.plan;
    let mut outbox = Outbox {
        shared: &shared,
        batches: workers.iter().map(|_| Vec::new()).collect(),
        workers,
        schedule: Schedule::new(plan.arrival, plan.speed, plan.choice.shards, plan.seed),
        block: Vec::new(),
        recorded: Vec::new(),
        times: Vec::new(),
        next_worker: 0,
        pass: 0,
        remaining: plan.max_requests.unwrap_or(u64::MAX),
        done: plan.max_requests == Some(0),
    };
    let mut kept = if plan.passes == Some(1) { Kept::TooMuch } else { Kept::All(Vec::new(), 0) };
    while !outbox.done && plan.passes.is_none_or(|passes| outbox.pass < passes) {
        let before = outbox.remaining;
        match &kept {
            Kept::All(prepared, _) if outbox.pass > 0 => {
                for prepared in prepared.clone() {
                    outbox.push(prepared).await;
                    if outbox.done {
                        break;
                    }
                }
            }
            _ => {
                if let Some(error) = read_pass(&shared, source(), &mut outbox, &mut kept).await {
                    outbox.flush().await;
                    return Some(error);
                }
            }
        }
        outbox.assign().await;
        outbox.schedule.next_pass();
        outbox.pass += 1;
        if outbox.remaining == before {
            // A pass without a request would be followed by another, forever.
            break;
        }
    }
    outbox.flush().await;
    None
}

async fn read_pass<E>(
    shared: &Shared,
    exchanges: impl Stream<Item = Result<Exchange, E>>,
    outbox: &mut Outbox<'_>,
    kept: &mut Kept,
) -> Option<E> {
    let mut exchanges = pin!(exchanges);
    while !outbox.done {
        let next = match exchanges.next().now_or_never() {
            Some(next) => next,
            None => {
                // What is there must not wait for what is not.
                outbox.flush().await;
                tokio::select! {
                    biased;
                    () = shared.stop.cancelled() => return None,
                    next = exchanges.next() => next,
                }
            }
        };
        if shared.stop.is_cancelled() {
            outbox.done = true;
        }
        match next? {
            Err(error) => return Some(error),
            Ok(exchange) => {
                if let Some(prepared) = prepare(shared, exchange, &mut outbox.schedule) {
                    kept.keep(&prepared);
                    outbox.push(prepared).await;
                }
            }
        }
    }
    None
}

/// The request for `exchange`, or nothing where it was counted as left out or not sent.
fn prepare(shared: &Shared, exchange: Exchange, schedule: &mut Schedule) -> Option<Arc<Prepared>> {
    let plan = &shared.plan;
    if let Some(reason) = plan.choice.leaves_out(plan.session.or_exchange(&exchange)) {
        schedule.pass_by(exchange.time.as_ref());
        shared.reader_tally().left_out(reason);
        return None;
    }
    let request = if safety::is_production(&exchange, plan) {
        Err(safety::PRODUCTION)
    } else {
        let drafted = request::draft(&exchange, plan).and_then(|draft| draft.encode(plan));
        drafted.map_err(request::Refusal::as_str)
    };
    match request {
        Ok(request) => {
            let session = plan.session.of(&exchange);
            let cost = cost(&exchange);
            Some(Arc::new(Prepared { exchange: Arc::new(exchange), request, session, cost }))
        }
        Err(reason) => {
            shared.reader_tally().not_sent(reason);
            None
        }
    }
}

impl Outbox<'_> {
    async fn push(&mut self, prepared: Arc<Prepared>) {
        if self.shared.stop.is_cancelled() {
            self.done = true;
        }
        self.recorded.push(prepared.exchange.time);
        self.block.push(prepared);
        self.remaining -= 1;
        if self.remaining == 0 {
            self.done = true;
        }
        if self.block.len() >= self.schedule.block() || self.done {
            self.assign().await;
        }
    }

    /// Gives the block its times and hands it on.
    async fn assign(&mut self) {
        self.times.clear();
        self.schedule.next(&self.recorded, &mut self.times);
        self.recorded.clear();
        for (prepared, offset) in
            std::mem::take(&mut self.block).into_iter().zip(std::mem::take(&mut self.times))
        {
            if self.shared.plan.duration.is_some_and(|duration| offset >= duration) {
                self.done = true;
                return;
            }
            self.hand_on(Job { prepared, offset, pass: self.pass, in_session: false }).await;
        }
        if self.shared.plan.arrival == Arrival::Max && self.shared.is_over() {
            self.done = true;
        }
    }

    async fn hand_on(&mut self, job: Job) {
        let workers = self.workers.len();
        let worker = match job.prepared.session {
            Some(session) => (session % workers as u64) as usize,
            None => {
                self.next_worker = (self.next_worker + 1) % workers;
                self.next_worker
            }
        };
        self.shared.read_ahead.take(job.cost());
        self.batches[worker].push(job);
        if self.shared.read_ahead.is_full() {
            self.flush().await;
            self.shared.read_ahead.half_free().await;
        } else if self.batches[worker].len() >= BATCH {
            self.flush_to(worker).await;
        }
    }

    async fn flush(&mut self) {
        for worker in 0..self.workers.len() {
            self.flush_to(worker).await;
        }
    }

    async fn flush_to(&mut self, worker: usize) {
        if !self.batches[worker].is_empty() {
            let batch = std::mem::replace(&mut self.batches[worker], Vec::with_capacity(BATCH));
            // A worker takes all there is, also once stopped: every exchange read is counted.
            let _ = self.workers[worker].send(batch).await;
        }
    }
}

impl Kept {
    fn keep(&mut self, prepared: &Arc<Prepared>) {
        if let Self::All(kept, bytes) = self {
            *bytes += prepared.cost;
            if *bytes > KEPT_BYTES {
                *self = Self::TooMuch;
            } else {
                kept.push(Arc::clone(prepared));
            }
        }
    }
}
