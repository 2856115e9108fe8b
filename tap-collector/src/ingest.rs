//! Ingest: batches in, acknowledgements out when they are durable.
//!
//! ```text
//! stream ─ checks ─┐
//! stream ─ checks ─┼─ queue, bounded in bytes ─ committer ─ Store::append ─ acknowledgements
//! stream ─ checks ─┘
//! ```
//!
//! - A stream whose batch finds no room in the queue is not read on: gRPC's flow control holds the agent back.
//! - There is one committer, so that all streams share each commit, and one commit at a time. Where other collectors commit
//!   to the same table and attempts are lost to them, it commits less often, and more at once (`pace`).
//! - Of one agent's epoch only the newest stream is served. It can send again what the older one left in the
//!   queue: the committer leaves out what it has already, the store what the table has already.
//! - In a cluster the ends of its connections are named before a batch is queued, from memory: nothing is waited for.
//! - A batch is acknowledged after the commit that holds it, never earlier.

mod check;
mod committer;
mod epoch;
mod pace;
mod queue;
mod stream;

use std::{pin::Pin, sync::Arc, time::Duration};

use futures::Stream;
use tap_proto::v1::{IngestRequest, IngestResponse, ingest_service_server::IngestService};
use tokio::sync::{Semaphore, mpsc};
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tonic::{Request, Response, Status, Streaming};

pub(crate) use committer::Committer;
pub(crate) use pace::Pace;
pub(crate) use queue::queue;

use crate::{kubernetes::peers::Peers, ledgers::Ledgers, metrics::Metrics, store_gate::StoreGate};
use epoch::Epochs;
use queue::QueueSender;

/// One for each agent and some that reconnect. With the queue this bounds the memory of ingest: each stream
/// holds at most one message that waits for room.
const MAX_STREAMS: usize = 4096;
/// Acknowledgements are cumulative: one on the way, and one that a status may follow.
const ANSWERS: usize = 2;
/// How long the answer that ends a stream may wait for a client that doesn't read.
const LAST_ANSWER: Duration = Duration::from_secs(5);

/// The service; one for all streams.
#[derive(Clone, Debug)]
pub(crate) struct Ingest {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    gate: Arc<StoreGate>,
    ledgers: Arc<Ledgers>,
    queue: QueueSender,
    peers: Option<Arc<Peers>>,
    epochs: Epochs,
    streams: Arc<Semaphore>,
    metrics: Metrics,
    tasks: TaskTracker,
    shutdown: CancellationToken,
}

impl Ingest {
    pub(crate) fn new(
        gate: Arc<StoreGate>,
        ledgers: Arc<Ledgers>,
        queue: QueueSender,
        peers: Option<Arc<Peers>>,
        metrics: Metrics,
        tasks: TaskTracker,
        shutdown: CancellationToken,
    ) -> Self {
        let streams = Arc::new(Semaphore::new(MAX_STREAMS));
        let epochs = Epochs::default();
        Self {
            shared: Arc::new(Shared {
                gate,
                ledgers,
                queue,
                peers,
                epochs,
                streams,
                metrics,
                tasks,
                shutdown,
            }),
        }
    }
}

#[tonic::async_trait]
impl IngestService for Ingest {
    type IngestStream = Pin<Box<dyn Stream<Item = Result<IngestResponse, Status>> + Send>>;

    async fn ingest(
        &self,
        request: Request<Streaming<IngestRequest>>,
    ) -> Result<Response<Self::IngestStream>, Status> {
        let shared = Arc::clone(&self.shared);
        if shared.gate.is_read_only() {
            return Err(Status::failed_precondition("this collector only reads the table (read_only)"));
        }
        let slot = Arc::clone(&shared.streams).try_acquire_owned().map_err(|_| {
            Status::resource_exhausted(format!("this collector serves {MAX_STREAMS} streams already"))
        })?;
        let (answer_tx, answer_rx) = mpsc::channel(ANSWERS);
        let requests = request.into_inner();
        self.shared.tasks.spawn(async move {
            if let Err(status) = stream::serve(&shared, requests, &answer_tx).await {
                // The client may be gone, or deaf.
                let _ = answer_tx.send_timeout(Err(status), LAST_ANSWER).await;
            }
            drop(slot);
        });
        Ok(Response::new(Box::pin(ReceiverStream::new(answer_rx))))
    }
}
