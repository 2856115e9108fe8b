//! A task that sends, and one send.

use std::{
    cell::{Cell, RefCell},
    fmt,
    future::poll_fn,
    task::{Poll, Waker},
    time::{Duration, SystemTime},
};

use tokio::time::{self, Instant};

use super::{super::reader::Job, Worker};
use crate::{
    answer::Kept,
    chaos::{Ending, Faults, ResetAt, request::with_content_type},
    compare::{Comparison, Expected, Verdict},
    connections::{Failure, Head, Receiver},
    request::Outgoing,
    transform::Problem,
};

const NOT_SENT_CLOSED: &str = "chaos_close";
const NOT_SENT_RESET: &str = "chaos_reset";

/// Where a task waits for its next job.
pub(super) struct Runner {
    job: Cell<Option<Job>>,
    waker: RefCell<Option<Waker>>,
}

impl fmt::Debug for Runner {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Runner")
    }
}

impl Runner {
    pub(super) fn new(job: Job) -> Self {
        Self { job: Cell::new(Some(job)), waker: RefCell::default() }
    }

    pub(super) fn give(&self, job: Job) {
        self.job.set(Some(job));
        if let Some(waker) = self.waker.borrow_mut().take() {
            waker.wake();
        }
    }

    pub(super) async fn job(&self) -> Job {
        poll_fn(|context| match self.job.take() {
            Some(job) => Poll::Ready(job),
            None => {
                *self.waker.borrow_mut() = Some(context.waker().clone());
                Poll::Pending
            }
        })
        .await
    }
}

/// An answer as it comes.
struct Receiving {
    written: Option<Instant>,
    status: u16,
    /// Until the comparison begins: at the head, or, where the answer is kept first, at its end.
    expected: Option<Expected>,
    comparison: Option<Comparison>,
    /// For what looks at the answer itself.
    kept: Option<Kept>,
}

impl Receiving {
    fn new(expected: Option<Expected>, keeps: bool) -> Self {
        Self { written: None, status: 0, expected, comparison: None, kept: keeps.then(Kept::default) }
    }
}

impl Receiver for Receiving {
    fn written(&mut self) {
        self.written = Some(Instant::now());
    }

    fn head(&mut self, head: &Head<'_>) {
        self.status = head.status();
        if let Some(kept) = &mut self.kept {
            kept.head(head);
            return;
        }
        self.comparison = self.expected.take().map(|expected| expected.begin(head));
        if head.header("set-cookie").is_some() {
            let mut kept = Kept::without_body();
            kept.head(head);
            self.kept = Some(kept);
        }
    }

    fn chunk(&mut self, chunk: &[u8]) {
        if let Some(comparison) = &mut self.comparison {
            comparison.chunk(chunk);
            return;
        }
        let Some(kept) = &mut self.kept else { return };
        let before = kept.body().len();
        kept.chunk(chunk);
        if kept.is_truncated()
            && let Some(expected) = self.expected.take()
        {
            // Too long to be kept: compared as it comes, and as recorded.
            let mut comparison = begin(expected, self.status, kept.headers());
            comparison.chunk(&kept.body()[..before]);
            comparison.chunk(chunk);
            self.comparison = Some(comparison);
        }
    }
}

impl Worker {
    /// Sends one request and counts what comes of it.
    pub(super) async fn send(&self, job: &Job, intended: Instant, deadline: Instant) {
        let plan = &self.shared.plan;
        let exchange = &job.prepared.exchange;
        let session = job.prepared.session;
        let warm_up = job.offset < plan.warm_up && self.since_start() < plan.warm_up;
        let mut problems = Vec::new();
        let changed =
            self.sessions.borrow().request(plan, exchange, session, SystemTime::now(), &mut problems);
        let request = match &changed {
            None => &job.prepared.request,
            Some(Ok(request)) => request,
            Some(Err(reason)) => {
                self.shared.tally(self.index).not_sent(reason);
                return;
            }
        };
        let hooked;
        let request = match &self.shared.hook {
            None => request,
            Some(hook) => match hook.ask(&exchange.id, request, plan).await {
                Ok(changed) => {
                    hooked = changed;
                    &hooked
                }
                Err(reason) => {
                    self.shared.tally(self.index).not_sent(reason);
                    return;
                }
            },
        };
        let mut faults = self.faults(job);
        if !faults.delay.is_zero() {
            time::sleep(faults.delay).await;
        }
        if let Some(reason) = not_sent(faults.ending.as_ref(), request) {
            self.shared.tally(self.index).not_sent(reason);
            return;
        }
        let other_type = faults.body.take_content_type();
        let changed_type = other_type.map(|value| with_content_type(request, &value));
        let request = changed_type.as_ref().unwrap_or(request);
        self.shared.tally(self.index).sent(warm_up);
        let Sent { written, answer } =
            self.ask_and_compare(job, request, faults, (intended, deadline), warm_up, &mut problems).await;
        let mut tally = self.shared.tally(self.index);
        tally.transform_errors(&problems);
        tally.written(written.map(|written| written - intended), warm_up);
        match answer {
            Ok((status, latency, verdict)) => tally.answered(status, latency, verdict, warm_up),
            Err(failure) => tally.failed(failure, warm_up),
        }
    }

    fn faults(&self, job: &Job) -> Faults {
        let Some(chaos) = &self.shared.plan.chaos else { return Faults::default() };
        let exchange = &*job.prepared.exchange;
        chaos.draw(exchange, exchange.id.as_bytes(), job.pass, job.offset)
    }

    /// Asks the one target, and looks at the answer.
    async fn ask_and_compare(
        &self,
        job: &Job,
        request: &Outgoing,
        faults: Faults,
        (intended, deadline): (Instant, Instant),
        warm_up: bool,
        problems: &mut Vec<Problem>,
    ) -> Sent {
        let plan = &self.shared.plan;
        let exchange = &job.prepared.exchange;
        let session = job.prepared.session;
        // A comparison is counted where it ends: the warm-up is in no other number.
        let expected = (plan.compare && !warm_up).then(|| plan.expect(exchange));
        let mut receiving = Receiving::new(expected, plan.learns());
        let Faults { delay: _, ending, body: mut faults } = faults;
        let resets = ending.is_some();
        if resets {
            faults.break_halfway();
        }
        let connections = &self.connections;
        let sent = if faults.is_empty() {
            time::timeout_at(deadline, connections.send(request, &mut receiving)).await
        } else {
            // On the heap: hardly any send is one, and every runner would hold the room for it.
            let faulty = Box::pin(connections.send_faulty(request, faults, resets, &mut receiving));
            time::timeout_at(deadline, faulty).await
        };
        let latency = intended.elapsed();
        let Receiving { written, status, comparison, kept, expected } = receiving;
        if let Err(failure) = sent.unwrap_or(Err(Failure::Timeout)) {
            return Sent { written, answer: Err(failure) };
        }
        let mut verdict = comparison.map(|comparison| comparison.finish(latency));
        if let Some(kept) = kept {
            let answer = kept.answer(status);
            let mut sessions = self.sessions.borrow_mut();
            sessions.learn(plan, exchange, session, &answer, problems);
            if expected.is_some() {
                // What the target has issued is expected where the recorded value stood.
                let expected = plan.expect(&sessions.expected(exchange, session));
                let mut comparison = begin(expected, status, answer.headers());
                comparison.chunk(&answer.body);
                verdict = Some(comparison.finish(latency));
            }
        }
        Sent { written, answer: Ok((status, latency, verdict.unwrap_or_else(Verdict::missing))) }
    }
}

/// Begins a comparison with headers that were kept.
fn begin<'a>(
    expected: Expected,
    status: u16,
    headers: impl Iterator<Item = (&'a str, &'a [u8])>,
) -> Comparison {
    let headers: Vec<_> = headers.map(|(name, value)| httparse::Header { name, value }).collect();
    expected.begin(&Head::new(status, 1, &headers))
}

/// Why a request is not sent that ends before it begins.
fn not_sent(ending: Option<&Ending>, request: &Outgoing) -> Option<&'static str> {
    let has_body = request.bytes.len() > request.head_length;
    match ending? {
        Ending::Close => Some(NOT_SENT_CLOSED),
        Ending::Reset(ResetAt::Body) if has_body => None,
        Ending::Reset(_) => Some(NOT_SENT_RESET),
        // A server's, and never drawn here.
        Ending::Error(_) => None,
    }
}

/// What a send came to.
struct Sent {
    /// When it was handed to a connection.
    written: Option<Instant>,
    /// Status, latency from the intended time, comparison.
    answer: Result<(u16, Duration, Verdict), Failure>,
}
