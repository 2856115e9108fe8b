//! Mirrors of what other collectors commit: a collector that only reads follows the table. Its way to production is the bucket.
//!
//! It begins with what is committed after its start, and sends nothing twice: what is committed while it is away is not
//! mirrored. While the store can't be read it waits, goes on where it was, and the mirrors' `max_lag` decides what is too old.

use std::sync::Arc;

use futures::StreamExt as _;
use prost::Message as _;
use tap_expr::Condition;
use tap_proto::v1::Batch;
use tap_store::{Store, StoreError};
use tokio_util::sync::CancellationToken;
use tracing::warn;

use super::Mirrors;
use crate::{backoff::Backoff, store_gate::StoreGate};

impl Mirrors {
    /// Feeds what the table gets, until the shutdown.
    pub(crate) async fn follow_table(self, gate: Arc<StoreGate>, shutdown: CancellationToken) {
        let following = async {
            let store = gate.opened().await;
            let mut resume_token = None;
            let mut backoff = Backoff::default();
            loop {
                match self.follow_from(&store, &gate, &mut resume_token, &mut backoff).await {
                    Ok(()) => {}
                    Err(StoreError::InvalidToken(reason)) => {
                        warn!(reason, "mirrors go on with what is committed from here on");
                        resume_token = None;
                    }
                    Err(error) => gate.failed(&error),
                }
                backoff.pause().await;
            }
        };
        let _ = shutdown.run_until_cancelled(following).await;
    }

    async fn follow_from(
        &self,
        store: &Store,
        gate: &StoreGate,
        resume_token: &mut Option<String>,
        backoff: &mut Backoff,
    ) -> Result<(), StoreError> {
        let mut pages = store.tail(Condition::default(), resume_token.clone(), false).await?;
        gate.reached();
        while let Some(page) = pages.next().await {
            let page = page?;
            gate.reached();
            *backoff = Backoff::default();
            *resume_token = Some(page.resume_token);
            if !page.exchanges.is_empty() {
                let batch = Batch { exchanges: page.exchanges, ..Batch::default() };
                let bytes = batch.encoded_len();
                self.feed_when_room(batch, bytes).await;
            }
        }
        Ok(())
    }
}
