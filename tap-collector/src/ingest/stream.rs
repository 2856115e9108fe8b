//! One agent's stream: hello, welcome, then batches in and acknowledgements out, until one side ends it.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use futures::StreamExt as _;
use prost::Message as _;
use tap_proto::v1::{
    Acknowledgement, Hello, IngestRequest, IngestResponse, Welcome, ingest_request, ingest_response,
};
use tokio::{
    sync::{Notify, mpsc, watch},
    time::timeout,
};
use tonic::{Status, Streaming};
use tracing::debug;

use super::{Shared, check, epoch::Session};
use crate::{metrics::InGauge, status};

/// An agent has nothing to wait for before its hello.
const HELLO_TIMEOUT: Duration = Duration::from_secs(10);

type Answers = mpsc::Sender<Result<IngestResponse, Status>>;

/// What reading and acknowledging share.
#[derive(Debug, Default)]
struct Progress {
    /// The sequence of the stream's newest batch that was queued.
    queued: AtomicU64,
    /// A batch came that was durable already: its agent missed the acknowledgement.
    again: Notify,
}

/// Sends acknowledgements as the durable mark rises.
#[derive(Debug)]
struct Acknowledger<'a> {
    answers: &'a Answers,
    durable: watch::Receiver<u64>,
    progress: &'a Progress,
    acknowledged: u64,
}

/// Ends with `Ok` when everything that the agent sent is acknowledged and the agent has nothing more to send,
/// or when it is gone.
pub(super) async fn serve(
    shared: &Shared,
    mut requests: Streaming<IngestRequest>,
    answers: &Answers,
) -> Result<(), Status> {
    let _gauge = InGauge::new(&shared.metrics.ingest_streams);
    let store = shared.gate.store()?;
    let hello = tokio::select! {
        hello = timeout(HELLO_TIMEOUT, receive_hello(&mut requests)) => {
            hello.map_err(|_| Status::deadline_exceeded("no hello"))??
        }
        () = shared.shutdown.cancelled() => return Err(status::shutting_down()),
    };
    let Some(hello) = hello else { return Ok(()) };
    let version = hello.version.clone();
    let id = check::hello(hello)?;
    let session = shared.epochs.enter(id.clone());
    let durable = tokio::select! {
        durable = store.durable_sequence(&id) => durable.map_err(|error| status::from_store(&error))?,
        ended = session.ended() => return Err(ended),
        () = shared.shutdown.cancelled() => return Err(status::shutting_down()),
    };
    session.epoch.advance(durable);
    debug!(agent = id.agent, epoch = id.epoch, version, durable, "agent connected");

    let progress = Progress::default();
    let mut acknowledger = Acknowledger::welcome(answers, &session, &progress).await?;
    let ledgers = shared.ledgers.open(id.clone());
    let read = read(shared, &session, &progress, requests, |ledger| ledgers.record(ledger));
    let end = tokio::select! {
        biased;
        ended = session.ended() => return Err(ended),
        () = shared.shutdown.cancelled() => Err(status::shutting_down()),
        end = read => Ok(end?),
        () = acknowledger.run(None) => return Ok(()),
    };
    // Nothing more is read; what was queued is still acknowledged.
    tokio::select! {
        biased;
        ended = session.ended() => Err(ended),
        () = acknowledger.run(Some(progress.queued.load(Ordering::Relaxed))) => end,
    }
}

/// `None` when the agent ended the stream without a word.
async fn receive_hello(requests: &mut Streaming<IngestRequest>) -> Result<Option<Hello>, Status> {
    match requests.next().await.transpose()? {
        None => Ok(None),
        Some(IngestRequest { message: Some(ingest_request::Message::Hello(hello)) }) => Ok(Some(hello)),
        Some(_) => Err(Status::invalid_argument("the first message must be hello")),
    }
}

/// Reads until the agent ends its side. Waits while the queue has no room.
async fn read(
    shared: &Shared,
    session: &Arc<Session>,
    progress: &Progress,
    mut requests: Streaming<IngestRequest>,
    record_ledger: impl Fn(tap_proto::v1::Ledger),
) -> Result<(), Status> {
    let epoch = &session.epoch;
    let mut previous = 0;
    while let Some(request) = requests.next().await {
        let mut batch = match request?.message {
            Some(ingest_request::Message::Batch(batch)) => batch,
            Some(ingest_request::Message::Ledger(ledger)) => {
                record_ledger(ledger);
                continue;
            }
            Some(ingest_request::Message::Hello(_)) => {
                return Err(Status::invalid_argument("hello: only the first message may be one"));
            }
            // Of a newer agent, which must be able to do without an answer.
            None => continue,
        };
        let mut bytes = check::batch(&batch, previous).inspect_err(|_| shared.metrics.batch("refused"))?;
        previous = batch.sequence;
        if let Some(ledger) = batch.ledger.take() {
            record_ledger(ledger);
        }
        if batch.sequence <= epoch.durable_sequence() {
            shared.metrics.batch("duplicate");
            progress.again.notify_one();
            continue;
        }
        check::stamp(&mut batch, &epoch.id);
        if let Some(peers) = &shared.peers {
            peers.name(&mut batch.exchanges);
            bytes = batch.encoded_len();
        }
        let room = shared.queue.room_for(bytes).await;
        shared.metrics.batch("queued");
        progress.queued.store(batch.sequence, Ordering::Relaxed);
        shared.queue.push(session, batch, room);
    }
    Ok(())
}

impl<'a> Acknowledger<'a> {
    async fn welcome(
        answers: &'a Answers,
        session: &Session,
        progress: &'a Progress,
    ) -> Result<Self, Status> {
        let mut durable = session.epoch.durable();
        let acknowledged = *durable.borrow_and_update();
        let welcome = ingest_response::Message::Welcome(Welcome { durable_sequence: acknowledged });
        answers
            .send(Ok(IngestResponse { message: Some(welcome) }))
            .await
            .map_err(|_| Status::cancelled("the agent is gone"))?;
        Ok(Self { answers, durable, progress, acknowledged })
    }

    /// Returns when everything up to `until` is acknowledged, or the agent is gone. Can be dropped and run
    /// again at any time.
    async fn run(&mut self, until: Option<u64>) {
        let mut again = false;
        loop {
            let durable = *self.durable.borrow_and_update();
            if durable > self.acknowledged || again {
                // Room first, so that an agent which doesn't read gets the newest mark when it does.
                let Ok(place) = self.answers.reserve().await else { return };
                let durable = *self.durable.borrow_and_update();
                let acknowledgement =
                    ingest_response::Message::Acknowledgement(Acknowledgement { durable_sequence: durable });
                place.send(Ok(IngestResponse { message: Some(acknowledgement) }));
                self.acknowledged = durable;
            }
            if until.is_some_and(|until| self.acknowledged >= until) {
                return;
            }
            again = tokio::select! {
                changed = self.durable.changed() => {
                    if changed.is_err() {
                        return;
                    }
                    false
                }
                () = self.progress.again.notified() => true,
                () = self.answers.closed() => return,
            };
        }
    }
}
