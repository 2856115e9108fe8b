//! Live mirrors: exchanges are sent at another target as they come in.
//!
//! ```text
//! offer ─ rules (which, what) ─ queue (in order of time, bounded) ─ pace (when, how often) ─ send ─ counts
//! ```
//!
//! Whoever offers an exchange never waits: what a mirror has no room for it drops for itself, and counts under a reason. What
//! it sends carries the marker header, so that nobody captures it, and is what redaction left. Answers are read to their end,
//! compared where that is asked, and never kept.
//!
//! - [`settings`]: what a mirror does, checked; [`Tls`]: whom it trusts. [`select`], [`share`]: which exchanges it is for.
//! - [`pace`], [`queue`]: pure; time is an argument.
//! - `tally`: counts whose sums hold at every moment (`proto/tap/v1/mirror.proto`).
//! - this file: the task of one mirror.

pub mod pace;
pub mod queue;
pub mod select;
pub mod settings;
pub mod share;
mod tally;
mod tls;

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use tap_proto::v1::{self, Exchange, MirrorReport, ReplayReport, body::Content};
use tokio::{
    sync::{Notify, OwnedSemaphorePermit, Semaphore},
    time::{self, Instant},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use self::{
    pace::{Bucket, Playout},
    queue::Queue,
    tally::Tally,
};
pub use self::{
    select::PassedOver,
    settings::{Rules, Scope, Settings, SettingsError},
    share::By,
    tally::Recent,
    tls::Tls,
};
use crate::{
    Failure,
    compare::{self, Comparator, Comparison, Expected, Verdict},
    connections::{Connections, Head, Receiver},
    request::Outgoing,
};

const QUEUE_FULL: &str = "queue_full";
const MAX_IN_FLIGHT: &str = "max_in_flight";
const RATE: &str = "rate";
const STALE: &str = "stale";
const STOPPED: &str = "stopped";

/// A mirror that runs; it ends when this is dropped, or by [`Mirror::stop`].
#[derive(Debug)]
pub struct Mirror {
    shared: Arc<Shared>,
    stop: CancellationToken,
}

#[derive(Debug)]
struct Shared {
    rules: Rules,
    connections: Connections,
    /// `None` where answers are not compared.
    comparator: Option<Arc<Comparator>>,
    state: Mutex<State>,
    /// Something came that may be due first.
    pushed: Notify,
    places: Arc<Semaphore>,
    stop: CancellationToken,
    sends: TaskTracker,
}

#[derive(Debug)]
struct State {
    queue: Queue<Ready>,
    playout: Playout,
    tally: Tally,
    is_stopped: bool,
}

/// A request that waits for its time.
#[derive(Debug)]
struct Ready {
    request: Outgoing,
    /// `None` where answers are not compared.
    expected: Option<Expected>,
    /// Of the exchange, since the epoch.
    time: Duration,
}

/// Reads an answer.
#[derive(Debug, Default)]
struct Answer {
    expected: Option<Expected>,
    comparison: Option<Comparison>,
    status: u16,
}

impl Mirror {
    /// Starts a mirror in the current runtime. `tasks` tracks what it runs until it has ended.
    pub fn start(rules: Rules, tasks: &TaskTracker) -> Self {
        let stop = CancellationToken::new();
        let shared = Arc::new(Shared {
            connections: Connections::new(rules.plan.upstream.clone()),
            // By default settings, which are valid.
            comparator: rules
                .compare
                .then(|| Comparator::new(&compare::Settings::default()).ok().map(Arc::new))
                .flatten(),
            state: Mutex::new(State {
                queue: Queue::default(),
                playout: Playout::default(),
                tally: Tally::new(),
                is_stopped: false,
            }),
            pushed: Notify::new(),
            places: Arc::new(Semaphore::new(rules.max_in_flight)),
            stop: stop.clone(),
            sends: tasks.clone(),
            rules,
        });
        tasks.spawn(run(Arc::clone(&shared)));
        Self { shared, stop }
    }

    pub fn name(&self) -> &str {
        &self.shared.rules.name
    }

    /// Looks at an exchange and, if it is meant for the mirror, takes what it needs. Never waits.
    pub fn offer(&self, exchange: &Exchange) {
        let rules = &self.shared.rules;
        if !rules.considers(exchange) {
            return;
        }
        if let Err(reason) = rules.select(exchange) {
            return self.shared.state().tally.passed_over(reason.as_str());
        }
        let request = match rules.request(exchange) {
            Ok(request) => request,
            Err(refusal) => return self.shared.state().tally.refused(refusal.as_str()),
        };
        let comparator = self.shared.comparator.as_ref();
        let expected = comparator.map(|comparator| comparator.expect(&Arc::new(compared_of(exchange))));
        let bytes = request.bytes.len() + if rules.compare { response_bytes(exchange) } else { 0 };
        let now = since_epoch();
        let time = time_of(exchange).unwrap_or(now);
        let ready = Ready { request, expected, time };

        let mut state = self.shared.state();
        if state.is_stopped {
            return state.tally.refused(STOPPED);
        }
        let due = Instant::now() + state.playout.wait(time, now);
        match state.queue.push(due, bytes, ready) {
            Ok(()) => state.tally.queued(),
            Err(_) => return state.tally.no_room(QUEUE_FULL, now),
        }
        drop(state);
        self.shared.pushed.notify_one();
    }

    /// So many exchanges went by that could not be offered.
    pub fn overrun(&self, count: u64) {
        self.shared.state().tally.overrun(count);
    }

    pub fn report(&self) -> MirrorReport {
        self.shared.state().tally.report()
    }

    /// With what differs by endpoint and field, which takes longer.
    pub fn full_report(&self) -> MirrorReport {
        let mut report = self.report();
        if let Some(comparator) = &self.shared.comparator {
            let mut found = ReplayReport::default();
            comparator.fill(&mut found);
            report.endpoints = found.endpoints;
        }
        report
    }

    /// What happened in the last half to whole minute.
    pub fn of_late(&self) -> Recent {
        self.shared.state().tally.of_late(since_epoch())
    }

    /// Sends nothing more, and gives up what is in flight.
    pub fn stop(&self) {
        self.stop.cancel();
    }
}

impl Drop for Mirror {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Sends what is due until the mirror is stopped.
async fn run(shared: Arc<Shared>) {
    let mut bucket = shared.rules.max_rate.map(|rate| Bucket::new(rate, since_epoch()));
    let step = async {
        loop {
            let ready = shared.next().await;
            let now = since_epoch();
            if now.saturating_sub(ready.time) > shared.rules.max_lag {
                shared.state().tally.dropped(STALE, now);
            } else if bucket.as_mut().is_some_and(|bucket| !bucket.take(now)) {
                shared.state().tally.left_out(RATE, 1);
            } else {
                let place = Arc::clone(&shared.places).acquire_owned();
                match time::timeout(shared.rules.timeout, place).await {
                    Ok(Ok(place)) => {
                        shared.state().tally.sent(since_epoch().saturating_sub(ready.time));
                        shared.sends.spawn(send(Arc::clone(&shared), ready, place));
                    }
                    _ => shared.state().tally.dropped(MAX_IN_FLIGHT, since_epoch()),
                }
            }
        }
    };
    tokio::select! {
        () = shared.stop.cancelled() => {}
        () = step => {}
    }
    let mut state = shared.state();
    state.is_stopped = true;
    state.queue.clear();
    // With what was taken out of the queue and not sent yet.
    state.tally.stop(STOPPED);
}

/// Sends one request and counts what comes of it.
async fn send(shared: Arc<Shared>, ready: Ready, _place: OwnedSemaphorePermit) {
    let Ready { request, expected, time: _ } = ready;
    let begun = Instant::now();
    let mut answer = Answer { expected, ..Answer::default() };
    let result = tokio::select! {
        result = time::timeout(shared.rules.timeout, shared.connections.send(&request, &mut answer)) => {
            result.unwrap_or(Err(Failure::Timeout)).map_err(Failure::as_str)
        }
        () = shared.stop.cancelled() => Err(STOPPED),
    };
    let latency = begun.elapsed();
    match result {
        Ok(()) => {
            let (status, verdict) = answer.finish(latency);
            shared.state().tally.answered(status, latency, verdict, since_epoch());
        }
        Err(reason) => shared.state().tally.failed(reason, since_epoch()),
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The next request, when it is due.
    async fn next(&self) -> Ready {
        loop {
            let due = {
                let mut state = self.state();
                if let Some(ready) = state.queue.pop(Instant::now()) {
                    return ready;
                }
                state.queue.due()
            };
            match due {
                Some(due) => tokio::select! {
                    () = time::sleep_until(due) => {}
                    () = self.pushed.notified() => {}
                },
                None => self.pushed.notified().await,
            }
        }
    }
}

impl Answer {
    fn finish(self, latency: Duration) -> (u16, Option<Verdict>) {
        (self.status, self.comparison.map(|comparison| comparison.finish(latency)))
    }
}

impl Receiver for Answer {
    fn written(&mut self) {}

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

/// What a comparison needs, in memory of its own: a binary body is a part of the whole message in which it came.
fn compared_of(exchange: &Exchange) -> Exchange {
    let request = exchange.request.as_ref().map(|request| v1::Request {
        method: request.method.clone(),
        path: request.path.clone(),
        ..v1::Request::default()
    });
    let mut response = exchange.response.clone();
    if let Some(v1::Body { content: Some(Content::Binary(bytes)), .. }) =
        response.as_mut().and_then(|response| response.body.as_mut())
    {
        *bytes = bytes.to_vec().into();
    }
    Exchange {
        id: exchange.id.clone(),
        request,
        response,
        redactions: exchange.redactions.clone(),
        ..Exchange::default()
    }
}

fn response_bytes(exchange: &Exchange) -> usize {
    let Some(response) = &exchange.response else { return 0 };
    let head: usize = response.headers.iter().map(|header| header.name.len() + header.value.len()).sum();
    let body = match response.body.as_ref().and_then(|body| body.content.as_ref()) {
        Some(Content::Text(text)) => text.len(),
        Some(Content::Binary(bytes)) => bytes.len(),
        None => 0,
    };
    head + body
}

fn since_epoch() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

fn time_of(exchange: &Exchange) -> Option<Duration> {
    let prost_types::Timestamp { seconds, nanos } = exchange.time?;
    Some(Duration::new(u64::try_from(seconds).ok()?, u32::try_from(nanos).ok()?.min(999_999_999)))
}
