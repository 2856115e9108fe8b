//! An agent as a collector sees one: batches in a spool until they are acknowledged, one stream, and after its end
//! another, to whichever collector.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use prost_types::Timestamp;
use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;
use tap_proto::v1::{
    Batch, Body, Exchange, Hello, IngestRequest, IngestResponse, Request, Response, Role, body::Content,
    ingest_request, ingest_response, ingest_service_client::IngestServiceClient,
};
use tokio::{
    sync::mpsc,
    time::{interval, sleep, timeout},
};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Status, Streaming, codec::CompressionEncoding::Zstd};
use uuid::Uuid;

use crate::collectors::connect;

const EXCHANGES_PER_BATCH: usize = 5;
/// Between two batches.
const PACE: Duration = Duration::from_millis(20);
/// Batches that are not acknowledged; then the agent waits. It drops none: what it made must all be in the table.
const SPOOL: usize = 300;
/// A collector that says nothing for so long is left for another.
const SILENCE: Duration = Duration::from_secs(60);
/// At most so many batches go to a collector before the agent turns to another.
const BATCHES_PER_COLLECTOR: u64 = 60;

/// What the agent knows; it survives every stream.
#[derive(Debug)]
pub(crate) struct Spool {
    agent: String,
    epoch: u64,
    waiting: BTreeMap<u64, Vec<Exchange>>,
    made: u64,
    acknowledged: u64,
    /// Of all exchanges that it ever made.
    pub(crate) ids: Vec<String>,
}

/// What the test tells its agents, and they it.
#[derive(Debug, Default)]
pub(crate) struct Signals {
    /// Make no more batches, and end when all are acknowledged.
    pub(crate) finish: AtomicBool,
    /// Batches that were acknowledged, of all agents.
    pub(crate) acknowledged: AtomicU64,
    pub(crate) streams: AtomicU64,
}

impl Spool {
    pub(crate) fn new(agent: &str, epoch: u64) -> Self {
        let waiting = BTreeMap::new();
        Self { agent: agent.to_owned(), epoch, waiting, made: 0, acknowledged: 0, ids: Vec::new() }
    }

    fn is_finished(&self, signals: &Signals) -> bool {
        signals.finish.load(Ordering::Relaxed) && self.waiting.is_empty()
    }

    /// The batch of this sequence, made where it is the next.
    fn batch(&mut self, sequence: u64) -> Batch {
        if sequence > self.made {
            assert_eq!(sequence, self.made + 1);
            let path = |number| format!("/{}/{sequence}/{number}", self.agent);
            let exchanges: Vec<_> = (0..EXCHANGES_PER_BATCH).map(|number| exchange(&path(number))).collect();
            self.ids.extend(exchanges.iter().map(|exchange| exchange.id.clone()));
            self.waiting.insert(sequence, exchanges);
            self.made = sequence;
        }
        Batch { sequence, exchanges: self.waiting[&sequence].clone(), ledger: None }
    }

    fn acknowledge(&mut self, sequence: u64, signals: &Signals) {
        assert!(
            sequence >= self.acknowledged,
            "{}: {} was acknowledged, and a collector says {sequence}",
            self.agent,
            self.acknowledged
        );
        assert!(sequence <= self.made, "{}: {sequence} was never sent", self.agent);
        signals.acknowledged.fetch_add(sequence - self.acknowledged, Ordering::Relaxed);
        self.acknowledged = sequence;
        self.waiting = self.waiting.split_off(&(sequence + 1));
    }

    /// Sends to the collectors in turn, at random, until the test says to finish and all is acknowledged.
    pub(crate) async fn run(mut self, collectors: Vec<String>, signals: Arc<Signals>, seed: u64) -> Self {
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        while !self.is_finished(&signals) {
            let collector = &collectors[random.random_range(0..collectors.len())];
            // One that has no other to turn to stays.
            let batches =
                if collectors.len() == 1 { u64::MAX } else { random.random_range(1..=BATCHES_PER_COLLECTOR) };
            // Whatever ended the stream: what was not acknowledged is sent again.
            if self.stream(collector, batches, &signals).await.is_err() {
                sleep(Duration::from_millis(50)).await;
            }
        }
        self
    }

    /// One stream, for so many batches; left without a word, with batches on the way.
    pub(crate) async fn stream(
        &mut self,
        collector: &str,
        mut batches: u64,
        signals: &Signals,
    ) -> Result<(), Status> {
        let (requests, mut answers) = self.open(collector).await?;
        let welcome = match answer(&mut answers).await? {
            ingest_response::Message::Welcome(welcome) => welcome.durable_sequence,
            other => panic!("not a welcome: {other:?}"),
        };
        signals.streams.fetch_add(1, Ordering::Relaxed);
        self.acknowledge(welcome, signals);
        let mut next = welcome + 1;
        let mut pace = interval(PACE);
        while !self.is_finished(signals) {
            let finishing = signals.finish.load(Ordering::Relaxed);
            let may_send = next <= self.made || (!finishing && self.waiting.len() < SPOOL);
            let again = next <= self.made;
            let permit = async {
                if !again {
                    pace.tick().await;
                }
                requests.reserve().await
            };
            tokio::select! {
                answer = answer(&mut answers) => match answer? {
                    ingest_response::Message::Acknowledgement(it) => {
                        self.acknowledge(it.durable_sequence, signals);
                        // Of what another collector had in its queue.
                        next = next.max(it.durable_sequence + 1);
                    }
                    other => panic!("not an acknowledgement: {other:?}"),
                },
                permit = permit, if may_send => {
                    let Ok(permit) = permit else { return Err(Status::unavailable("the stream ended")) };
                    permit.send(message(ingest_request::Message::Batch(self.batch(next))));
                    next += 1;
                    batches = batches.saturating_sub(1);
                    if batches == 0 && !finishing {
                        return Ok(());
                    }
                }
            }
        }
        Ok(())
    }

    async fn open(
        &self,
        collector: &str,
    ) -> Result<(mpsc::Sender<IngestRequest>, Streaming<IngestResponse>), Status> {
        let (requests, request_rx) = mpsc::channel(4);
        let hello = Hello { agent: self.agent.clone(), epoch: self.epoch, version: "test".to_owned() };
        requests.send(message(ingest_request::Message::Hello(hello))).await.unwrap();
        let mut client = IngestServiceClient::new(connect(collector).await?).send_compressed(Zstd);
        let answers = client.ingest(ReceiverStream::new(request_rx)).await?.into_inner();
        Ok((requests, answers))
    }
}

async fn answer(answers: &mut Streaming<IngestResponse>) -> Result<ingest_response::Message, Status> {
    let answer = timeout(SILENCE, answers.message()).await;
    let answer = answer.map_err(|_| Status::deadline_exceeded("silence"))??;
    answer.and_then(|answer| answer.message).ok_or_else(|| Status::unavailable("the stream ended"))
}

fn message(message: ingest_request::Message) -> IngestRequest {
    IngestRequest { message: Some(message) }
}

/// A GET of `path`, now.
fn exchange(path: &str) -> Exchange {
    let id = Uuid::now_v7();
    let (seconds, nanos) = id.get_timestamp().unwrap().to_unix();
    Exchange {
        id: id.to_string(),
        role: Role::Inbound.into(),
        time: Some(Timestamp {
            seconds: seconds.cast_signed(),
            nanos: (nanos / 1_000_000 * 1_000_000).cast_signed(),
        }),
        target: "shop".to_owned(),
        request: Some(Request {
            method: "GET".to_owned(),
            host: "shop.example".to_owned(),
            path: path.to_owned(),
            ..Request::default()
        }),
        response: Some(Response {
            status: 200,
            body: Some(Body {
                size: 1000,
                content: Some(Content::Text("x".repeat(1000))),
                ..Body::default()
            }),
            ..Response::default()
        }),
        ..Exchange::default()
    }
}
