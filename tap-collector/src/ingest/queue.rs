//! The queue between the streams and the committer, bounded in bytes.

use std::sync::Arc;

use tap_proto::v1::Batch;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};

use super::epoch::Session;
use crate::metrics::{InBytes, Metrics};

/// What one permit stands for. It is charged for an empty batch too, which bounds their number.
const UNIT: usize = 1024;

#[derive(Debug)]
pub(crate) struct QueueSender {
    batches: mpsc::UnboundedSender<Queued>,
    room: Arc<Semaphore>,
    units: usize,
    metrics: Metrics,
}

/// A batch on its way to the table.
#[derive(Debug)]
pub(crate) struct Queued {
    pub(super) session: Arc<Session>,
    /// Shared with the append, so that no attempt copies it.
    pub(super) batch: Arc<Batch>,
    pub(super) bytes: usize,
    /// Given back once the batch is durable or dropped.
    _room: Room,
}

/// A place in the queue.
#[derive(Debug)]
pub(super) struct Room {
    bytes: usize,
    _units: OwnedSemaphorePermit,
    _gauge: InBytes,
}

pub(crate) type QueueReceiver = mpsc::UnboundedReceiver<Queued>;

/// Holds at most `bytes` of encoded batches; one that is larger has the queue for itself.
pub(crate) fn queue(bytes: usize, metrics: Metrics) -> (QueueSender, QueueReceiver) {
    let (sender, receiver) = mpsc::unbounded_channel();
    let units = (bytes / UNIT).clamp(1, Semaphore::MAX_PERMITS.min(u32::MAX as usize));
    let room = Arc::new(Semaphore::new(units));
    (QueueSender { batches: sender, room, units, metrics }, receiver)
}

impl QueueSender {
    /// Waits, in turn, until there is room for a batch of this encoded size.
    pub(super) async fn room_for(&self, bytes: usize) -> Room {
        let units = bytes.div_ceil(UNIT).clamp(1, self.units);
        let units = u32::try_from(units).unwrap_or(u32::MAX);
        match Arc::clone(&self.room).acquire_many_owned(units).await {
            Ok(units) => {
                Room { bytes, _units: units, _gauge: InBytes::new(&self.metrics.queue_bytes, bytes) }
            }
            Err(_) => unreachable!("the semaphore is never closed"),
        }
    }

    /// Queues the batch, unless its session was superseded.
    pub(super) fn push(&self, session: &Arc<Session>, batch: Batch, room: Room) {
        session.while_newest(|| {
            let (session, batch, bytes) = (Arc::clone(session), Arc::new(batch), room.bytes);
            // It fails at the end of a shutdown only, when the committer has gone: nothing is acknowledged then.
            let _ = self.batches.send(Queued { session, batch, bytes, _room: room });
        });
    }
}
