//! Runs a plan over a stream of exchanges.
//!
//! Three stages, so that none delays the next:
//!
//! - the **reader** takes exchanges from the stream, refuses or rebuilds them, and gives each its intended
//!   time; it runs ahead of the sends within [`READ_AHEAD`] and [`READ_AHEAD_BYTES`];
//! - the **pacer** waits for each intended time on a thread of its own, and for a free place in flight;
//! - a **send** is a task: it writes the request, reads the answer, compares, counts.
//!
//! Where `max_in_flight` is reached, sends wait their turn and go late, which the report shows; one that
//! would start after its own timeout is not sent and counts as `max_in_flight`.

use std::{
    panic,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread,
    time::Duration,
};

use futures::{Stream, StreamExt as _, pin_mut};
use tap_proto::v1::{Exchange, ReplayReport};
use tokio::{
    runtime::Handle,
    sync::{OwnedSemaphorePermit, Semaphore, mpsc, watch},
    task::JoinError,
    time::{self, Instant},
};
use tokio_util::sync::CancellationToken;

use crate::{
    Plan,
    compare::{Comparison, Expected, Verdict},
    connections::{Connections, Failure, Head, Receiver},
    request::{self, Outgoing},
    schedule::Schedule,
    tally::Tally,
};

/// Exchanges read ahead: most of a second at 5,000/s, longer than fetching a page takes.
const READ_AHEAD: usize = 4_096;
/// Bytes read ahead, whatever the exchanges' size: ten pages of a search.
const READ_AHEAD_BYTES: usize = 32 * 1024 * 1024;
/// What an exchange without bodies takes, roughly.
const EXCHANGE_OVERHEAD_BYTES: usize = 1_024;
/// The tokio timer fires up to a millisecond late; the rest of a wait is slept on the pacer's own thread,
/// which the kernel wakes within its timer slack of 50 µs.
const COARSE_TIMER: Duration = Duration::from_millis(2);
const PROGRESS_INTERVAL: Duration = Duration::from_millis(100);

const NOT_SENT_MAX_IN_FLIGHT: &str = "max_in_flight";
const NOT_SENT_STOPPED: &str = "stopped";

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
    /// The selection could not be read to its end.
    Failed(E),
}

/// A request with its time, ready to be sent.
#[derive(Debug)]
struct Scheduled {
    request: Outgoing,
    expected: Expected,
    /// From the first send.
    offset: Duration,
    /// Given back when the request is sent: by then it counts as in flight.
    _read_ahead: OwnedSemaphorePermit,
}

/// What the stages of one replay share.
#[derive(Debug)]
struct Replay {
    plan: Plan,
    connections: Connections,
    tally: Mutex<Tally>,
    stop: CancellationToken,
}

/// Sends `exchanges`, which come in order of time, as `plan` says. Once `stop` is cancelled nothing more is
/// sent; what is in flight is awaited. `progress` gets the report as it grows, ten times a second, and at the
/// end. Dropping the future stops the replay, too.
pub async fn replay<E: Send + 'static>(
    plan: Plan,
    exchanges: impl Stream<Item = Result<Exchange, E>> + Send + 'static,
    progress: watch::Sender<ReplayReport>,
    stop: CancellationToken,
) -> Outcome<E> {
    let begun = Instant::now();
    let replay = Arc::new(Replay {
        connections: Connections::new(plan.upstream.clone()),
        tally: Mutex::new(Tally::new()),
        stop: stop.child_token(),
        plan,
    });
    let _stop_when_dropped = replay.stop.clone().drop_guard();
    let (scheduled_tx, scheduled_rx) = mpsc::channel(READ_AHEAD);

    let reader = tokio::spawn(read(Arc::clone(&replay), exchanges, scheduled_tx));
    let runtime = Handle::current();
    let mut pacer = tokio::task::spawn_blocking({
        let replay = Arc::clone(&replay);
        move || runtime.block_on(pace(replay, scheduled_rx))
    });
    let mut tick = time::interval(PROGRESS_INTERVAL);
    let paced = loop {
        tokio::select! {
            paced = &mut pacer => break paced,
            _ = tick.tick() => progress.send_replace(replay.tally().report(begun.elapsed())),
        };
    };
    let () = expect_completed(paced);
    let unread = expect_completed(reader.await);

    let mut report = replay.tally().report(begun.elapsed());
    replay.plan.comparator.fill(&mut report);
    progress.send_replace(report.clone());
    let end = match unread {
        Some(error) => End::Failed(error),
        None if stop.is_cancelled() => End::Stopped,
        None => End::Finished,
    };
    Outcome { report, end }
}

/// Reads the selection to its end, the plan's limit, or the stop; returns the error that ended it early.
async fn read<E>(
    replay: Arc<Replay>,
    exchanges: impl Stream<Item = Result<Exchange, E>>,
    scheduled_tx: mpsc::Sender<Scheduled>,
) -> Option<E> {
    let mut schedule =
        Schedule::new(replay.plan.arrival, replay.plan.speed, replay.plan.choice.shards, replay.plan.seed);
    let mut times = Vec::new();
    let mut remaining = replay.plan.max_requests.unwrap_or(u64::MAX);
    let read_ahead = Arc::new(Semaphore::new(READ_AHEAD_BYTES));
    pin_mut!(exchanges);
    while remaining > 0 {
        let exchange = tokio::select! {
            biased;
            () = replay.stop.cancelled() => return None,
            exchange = exchanges.next() => match exchange? {
                Ok(exchange) => exchange,
                Err(error) => return Some(error),
            },
        };
        let drafted = request::draft(&exchange, &replay.plan);
        let request = match drafted.and_then(|draft| draft.encode(&replay.plan)) {
            Ok(request) => request,
            Err(refusal) => {
                replay.tally().not_sent(refusal.as_str());
                continue;
            }
        };
        remaining -= 1;
        let exchange = Arc::new(exchange);
        let permits = size(&exchange).min(READ_AHEAD_BYTES) as u32;
        let read_ahead = Arc::clone(&read_ahead).acquire_many_owned(permits).await;
        times.clear();
        schedule.next(&[exchange.time], &mut times);
        let scheduled = Scheduled {
            request,
            expected: replay.plan.expect(&exchange),
            offset: times[0],
            _read_ahead: read_ahead.expect("the semaphore is never closed"),
        };
        // The pacer takes all there is, also once stopped: every exchange read is counted.
        let _ = scheduled_tx.send(scheduled).await;
    }
    None
}

/// Starts each send at its intended time, then waits until nothing is in flight.
async fn pace(replay: Arc<Replay>, mut scheduled_rx: mpsc::Receiver<Scheduled>) {
    let places = Arc::new(Semaphore::new(replay.plan.max_in_flight as usize));
    let mut start = None;
    while let Some(Scheduled { request, expected, offset, _read_ahead }) = scheduled_rx.recv().await {
        let intended = *start.get_or_insert_with(Instant::now) + offset;
        let deadline = intended + replay.plan.timeout;
        let place = tokio::select! {
            biased;
            () = replay.stop.cancelled() => {
                replay.tally().not_sent(NOT_SENT_STOPPED);
                continue;
            }
            place = async {
                sleep_until(intended).await;
                time::timeout_at(deadline, Arc::clone(&places).acquire_owned()).await
            } => place,
        };
        let Ok(place) = place else {
            replay.tally().not_sent(NOT_SENT_MAX_IN_FLIGHT);
            continue;
        };
        replay.tally().sent();
        let replay = Arc::clone(&replay);
        tokio::spawn(async move {
            replay.send(request, expected, intended, deadline).await;
            drop(place);
        });
    }
    let _all_places = places.acquire_many(replay.plan.max_in_flight).await;
}

/// Sleeps to well within a millisecond, which blocks the thread at the end: for the pacer alone.
async fn sleep_until(deadline: Instant) {
    time::sleep_until(deadline.checked_sub(COARSE_TIMER).unwrap_or(deadline)).await;
    thread::sleep(deadline.saturating_duration_since(Instant::now()));
}

impl Replay {
    fn tally(&self) -> MutexGuard<'_, Tally> {
        self.tally.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sends one request and counts what comes of it.
    async fn send(&self, request: Outgoing, expected: Expected, intended: Instant, deadline: Instant) {
        let mut answer = Answer { written: None, status: 0, expected: Some(expected), comparison: None };
        let sent = time::timeout_at(deadline, self.connections.send(&request, &mut answer)).await;
        let answered = Instant::now();

        let Answer { written, status, comparison, .. } = answer;
        let mut tally = self.tally();
        if let Some(written) = written {
            tally.written(written - intended);
        }
        match sent.unwrap_or(Err(Failure::Timeout)) {
            Ok(()) => {
                let latency = answered - intended;
                let verdict =
                    comparison.map_or_else(Verdict::missing, |comparison| comparison.finish(latency));
                tally.answered(status, latency, verdict);
            }
            Err(failure) => tally.failed(failure.as_str()),
        }
    }
}

/// An answer as it comes.
struct Answer {
    written: Option<Instant>,
    status: u16,
    /// Until the head is there.
    expected: Option<Expected>,
    comparison: Option<Comparison>,
}

impl Receiver for Answer {
    fn written(&mut self) {
        self.written = Some(Instant::now());
    }

    fn head(&mut self, head: &Head<'_>) {
        self.status = head.status();
        self.comparison = self.expected.take().map(|expected| expected.begin(head));
    }

    fn chunk(&mut self, chunk: &[u8]) {
        if let Some(comparison) = &mut self.comparison {
            comparison.chunk(chunk);
        }
    }
}

fn size(exchange: &Exchange) -> usize {
    let request = exchange.request.as_ref().and_then(|request| request.body.as_ref());
    let response = exchange.response.as_ref().and_then(|response| response.body.as_ref());
    let bodies = request.into_iter().chain(response).filter_map(|body| body.content.as_ref());
    EXCHANGE_OVERHEAD_BYTES
        + bodies
            .map(|content| match content {
                tap_proto::v1::body::Content::Text(text) => text.len(),
                tap_proto::v1::body::Content::Binary(bytes) => bytes.len(),
            })
            .sum::<usize>()
}

/// A stage is never aborted while the replay's own future lives: it returned, or it panicked.
fn expect_completed<T>(joined: Result<T, JoinError>) -> T {
    joined.unwrap_or_else(|error| panic::resume_unwind(error.into_panic()))
}
