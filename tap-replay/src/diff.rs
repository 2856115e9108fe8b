//! Two versions against each other: each request goes to a primary, to a candidate, and, so that noise can be
//! learned, to a second instance of the primary's version.
//!
//! The primary's answer takes the place of the recorded response: the candidate's is compared with it, and
//! what the secondary's differs in is noise. All three are sent at the same moment, so that what depends on
//! the time or on other requests is as equal as can be. As many exchanges are under way as the candidate's plan
//! allows in flight, each of them once at every target; nothing here is about load.
//!
//! Answers are kept to be compared, up to [`MAX_BODY_BYTES`] each; longer ones are compared by status and
//! headers, and counted so.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use futures::{Stream, StreamExt as _, future::OptionFuture, pin_mut};
use tap_proto::v1::{
    self, Body, Completeness, Exchange, Header, ReplayReport, body::Content, completeness::State,
};
use tokio::{
    sync::{Semaphore, watch},
    time::{self, Instant},
};
use tokio_util::sync::CancellationToken;

use crate::{
    End, Outcome, Plan,
    compare::{Comparator, Comparison, MAX_BODY_BYTES, Verdict},
    connections::{Connections, Failure, Head, Receiver},
    request::{Outgoing, draft},
    tally::Tally,
};

/// Exchanges under way: three answers of each are kept.
const MAX_IN_FLIGHT: u32 = 256;
const PROGRESS_INTERVAL: Duration = Duration::from_millis(100);
const NAMES: [&str; 3] = ["candidate", "primary", "secondary"];

/// Where requests are sent. The candidate's plan says how many are in flight, and how answers are compared.
#[derive(Clone, Debug)]
pub struct DiffPlan {
    pub candidate: Plan,
    pub primary: Plan,
    /// Of the same version as the primary.
    pub secondary: Option<Plan>,
}

/// What the sends of one comparison share.
struct Diff {
    arms: Vec<Arm>,
    comparator: Arc<Comparator>,
}

/// One target.
struct Arm {
    plan: Plan,
    connections: Connections,
    tally: Mutex<Tally>,
}

/// An answer as it comes.
#[derive(Default)]
struct Answer {
    written: Option<Instant>,
    status: u16,
    headers: Vec<Header>,
    body: Vec<u8>,
    truncated: bool,
}

/// A whole answer, with its latency.
type Answered = Result<(Answer, Duration), Failure>;

/// Sends `exchanges` as `plan` says; the report is of the candidate. Once `stop` is cancelled nothing more is
/// sent; what is in flight is awaited.
pub async fn diff<E>(
    plan: DiffPlan,
    exchanges: impl Stream<Item = Result<Exchange, E>>,
    progress: watch::Sender<ReplayReport>,
    stop: CancellationToken,
) -> Outcome<E> {
    let begun = Instant::now();
    let in_flight = plan.candidate.max_in_flight.clamp(1, MAX_IN_FLIGHT);
    let mut remaining = plan.candidate.max_requests.unwrap_or(u64::MAX);
    let comparator = Arc::clone(&plan.candidate.comparator);
    let DiffPlan { candidate, primary, secondary } = plan;
    let plans = [Some(candidate), Some(primary), secondary].into_iter().flatten();
    let diff = Arc::new(Diff { arms: plans.map(Arm::new).collect(), comparator });
    let places = Arc::new(Semaphore::new(in_flight as usize));
    let mut tick = time::interval(PROGRESS_INTERVAL);
    pin_mut!(exchanges);
    let end = loop {
        if remaining == 0 {
            break End::Finished;
        }
        let next = async {
            let place = Arc::clone(&places).acquire_owned().await.expect("the semaphore is never closed");
            (place, exchanges.next().await)
        };
        pin_mut!(next);
        let next = loop {
            tokio::select! {
                biased;
                () = stop.cancelled() => break None,
                _ = tick.tick() => {
                    progress.send_replace(diff.arms[0].tally().report(begun.elapsed()));
                }
                next = &mut next => break Some(next),
            }
        };
        match next {
            None => break End::Stopped,
            Some((_, None)) => break End::Finished,
            Some((_, Some(Err(error)))) => break End::Failed(error),
            Some((place, Some(Ok(exchange)))) => match diff.requests(&exchange) {
                Ok(requests) => {
                    remaining -= 1;
                    diff.arms.iter().for_each(|arm| arm.tally().sent(false));
                    let diff = Arc::clone(&diff);
                    tokio::spawn(async move {
                        diff.send(exchange, requests).await;
                        drop(place);
                    });
                }
                Err(refusal) => diff.arms[0].tally().not_sent(refusal),
            },
        }
    };
    let _all_places = places.acquire_many(in_flight).await;

    let report = diff.report(begun.elapsed());
    progress.send_replace(report.clone());
    Outcome { report, end }
}

impl Diff {
    /// The exchange's request as it goes to each target; or why it is not sent.
    fn requests(&self, exchange: &Exchange) -> Result<Vec<Outgoing>, &'static str> {
        let request = |arm: &Arm| draft(exchange, &arm.plan)?.encode(&arm.plan);
        self.arms.iter().map(request).collect::<Result<_, _>>().map_err(|refusal| refusal.as_str())
    }

    /// Sends to all targets, awaits their answers, compares.
    async fn send(&self, exchange: Exchange, requests: Vec<Outgoing>) {
        let intended = Instant::now();
        let send = |index: usize| {
            let arm = self.arms.get(index)?;
            Some(arm.send(requests.get(index)?, intended))
        };
        let (candidate, primary, secondary) = tokio::join!(
            OptionFuture::from(send(0)),
            OptionFuture::from(send(1)),
            OptionFuture::from(send(2)),
        );
        let primary = primary.and_then(|primary| self.arms[1].count(primary)).map(|(answer, _)| answer);
        let secondary =
            secondary.and_then(|secondary| self.arms[2].count(secondary)).map(|(answer, _)| answer);
        let Some(Ok((candidate, latency))) = candidate else {
            if let Some(Err(failure)) = candidate {
                self.arms[0].tally().failed(failure, false);
            }
            return;
        };
        let status = candidate.status;
        let expected = Arc::new(Exchange {
            response: primary.map(Answer::into_response),
            // Of the recorded response, which is not compared.
            redactions: Vec::new(),
            ..exchange
        });
        let verdict = self.compare(&expected, candidate).finish(latency);
        self.arms[0].tally().answered(status, latency, verdict, false);
        if let Some(secondary) = secondary.filter(|_| expected.response.is_some()) {
            self.compare(&expected, secondary).finish_noise();
        }
    }

    fn compare(&self, expected: &Arc<Exchange>, answer: Answer) -> Comparison {
        let headers =
            || answer.headers.iter().map(|header| (header.name.as_str(), header.raw_value.as_ref()));
        let mut comparison = self.comparator.expect(expected).begin_with(answer.status, headers);
        comparison.chunk(&answer.body);
        comparison
    }

    fn report(&self, elapsed: Duration) -> ReplayReport {
        let mut report = self.arms[0].tally().final_report(elapsed);
        for (arm, name) in self.arms.iter().zip(NAMES) {
            let of_arm = arm.tally().report(elapsed);
            report.arm_latencies.extend(of_arm.latency.map(|latency| (name.to_owned(), latency)));
            let failures =
                of_arm.failed.into_iter().map(|(reason, count)| (format!("{name}.{reason}"), count));
            report.arm_failures.extend(failures);
        }
        self.comparator.fill(&mut report);
        report
    }
}

impl Arm {
    fn new(plan: Plan) -> Self {
        Self { connections: Connections::new(plan.upstream.clone()), plan, tally: Mutex::new(Tally::new()) }
    }

    fn tally(&self) -> MutexGuard<'_, Tally> {
        self.tally.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn send(&self, request: &Outgoing, intended: Instant) -> Answered {
        let mut answer = Answer::default();
        let deadline = intended + self.plan.timeout;
        let sent = time::timeout_at(deadline, self.connections.send(request, &mut answer)).await;
        let latency = intended.elapsed();
        if let Some(written) = answer.written {
            self.tally().written(Some(written - intended), false);
        }
        sent.unwrap_or(Err(Failure::Timeout)).map(|()| (answer, latency))
    }

    /// Counts what became of a request that is compared with, not compared.
    fn count(&self, answered: Answered) -> Option<(Answer, Duration)> {
        let mut tally = self.tally();
        match &answered {
            Ok((answer, latency)) => tally.answered(answer.status, *latency, Verdict::missing(), false),
            Err(failure) => tally.failed(*failure, false),
        }
        answered.ok()
    }
}

impl Receiver for Answer {
    fn written(&mut self) {
        self.written = Some(Instant::now());
    }

    fn head(&mut self, head: &Head<'_>) {
        self.status = head.status();
        let header = |(name, value): (&str, &[u8])| Header {
            name: name.to_owned(),
            value: String::from_utf8_lossy(value).into_owned(),
            raw_value: value.to_vec(),
        };
        self.headers = head.headers().map(header).collect();
    }

    fn chunk(&mut self, chunk: &[u8]) {
        // One byte more than is looked into: the length then tells that it is too long.
        let room = MAX_BODY_BYTES + 1 - self.body.len();
        self.truncated |= chunk.len() > room;
        self.body.extend_from_slice(&chunk[..chunk.len().min(room)]);
    }
}

impl Answer {
    fn into_response(self) -> v1::Response {
        let state = if self.truncated { State::Truncated } else { State::Complete };
        v1::Response {
            status: u32::from(self.status),
            headers: self.headers,
            body: Some(Body {
                size: self.body.len() as u64,
                content: Some(Content::Binary(self.body.into())),
                ..Body::default()
            }),
            completeness: Some(Completeness { state: state.into(), ..Completeness::default() }),
            ..v1::Response::default()
        }
    }
}
