//! Bounds what is read and not sent yet, in bytes.
//!
//! A reader that has run full goes on when half of it was sent, not at the first: each thread then works in
//! runs, instead of waking the other for every exchange.

use std::sync::atomic::{AtomicUsize, Ordering};

use tap_proto::v1::{Exchange, body::Content};
use tokio::sync::Notify;

/// Ten pages of a search; with the least cost of an exchange, most of a second at 5,000/s.
pub(super) const MAX_BYTES: usize = 32 * 1024 * 1024;
/// What an exchange costs at least, so that no more than 4,096 are read ahead.
const LEAST_BYTES: usize = 8 * 1024;

#[derive(Debug, Default)]
pub(super) struct ReadAhead {
    bytes: AtomicUsize,
    drained: Notify,
}

impl ReadAhead {
    pub(super) fn take(&self, bytes: usize) {
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    pub(super) fn is_full(&self) -> bool {
        self.bytes.load(Ordering::Relaxed) >= MAX_BYTES
    }

    pub(super) fn give_back(&self, bytes: usize) {
        let before = self.bytes.fetch_sub(bytes, Ordering::Relaxed);
        if before >= MAX_BYTES / 2 && before - bytes < MAX_BYTES / 2 {
            self.drained.notify_one();
        }
    }

    /// Returns once half is free. For one reader.
    pub(super) async fn half_free(&self) {
        while self.bytes.load(Ordering::Relaxed) >= MAX_BYTES / 2 {
            // A permit is kept for a notification that comes before this waits.
            self.drained.notified().await;
        }
    }
}

/// What `exchange` takes of memory, roughly.
pub(super) fn cost(exchange: &Exchange) -> usize {
    let request = exchange.request.as_ref().and_then(|request| request.body.as_ref());
    let response = exchange.response.as_ref().and_then(|response| response.body.as_ref());
    let bodies = request.into_iter().chain(response).filter_map(|body| body.content.as_ref());
    let bytes = bodies.map(|content| match content {
        Content::Text(text) => text.len(),
        Content::Binary(bytes) => bytes.len(),
    });
    // The request is there twice: as recorded and as it will be written.
    bytes.sum::<usize>().clamp(LEAST_BYTES, MAX_BYTES / 2)
}
