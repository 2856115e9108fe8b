//! Keeps the table: one step of `tap_store`'s maintenance after the other, for as long as something is due.
//!
//! After each step it rests for three times as long as the step took, so that it takes at most a quarter of the time of
//! one thread, and of the store's, from ingest and queries.

use std::{
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use tap_store::{Maintained, Retention, Store, StoreError};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use crate::{metrics::Metrics, store_gate::StoreGate};

/// How often a table of which nothing is due is looked at: it costs a look at the names of its files.
const INTERVAL: Duration = Duration::from_secs(15);

/// Times the length of a step.
const REST: u32 = 3;
const SHORTEST_REST: Duration = Duration::from_millis(20);

/// Keeps the table until `shutdown`.
pub(crate) async fn maintain_until(
    gate: Arc<StoreGate>,
    retention: Retention,
    metrics: Metrics,
    shutdown: CancellationToken,
) {
    let work = async {
        let store = gate.opened().await;
        let mut failing = false;
        loop {
            let began = Instant::now();
            let step = store.maintain(&retention, SystemTime::now()).await;
            let pause = match step {
                Ok(Maintained::Nothing | Maintained::Elsewhere) => INTERVAL,
                Ok(_) => (began.elapsed() * REST).max(SHORTEST_REST),
                Err(StoreError::ReadOnly { .. }) => return,
                Err(_) => INTERVAL,
            };
            tell(step, &store, &metrics, &mut failing);
            sleep(pause).await;
        }
    };
    tokio::select! {
        () = work => {}
        // In the middle of a step, which the store is made for.
        () = shutdown.cancelled() => {}
    }
}

fn tell(step: Result<Maintained, StoreError>, store: &Store, metrics: &Metrics, failing: &mut bool) {
    let size = store.size();
    metrics.table_files.set(i64::try_from(size.files).unwrap_or(i64::MAX));
    metrics.table_bytes.set(i64::try_from(size.bytes).unwrap_or(i64::MAX));
    let step = match step {
        Ok(step) => step,
        Err(error) if *failing => {
            metrics.maintenance("error");
            return debug!(%error, "maintenance of the table still fails");
        }
        Err(error) => {
            metrics.maintenance("error");
            *failing = true;
            return warn!(%error, "maintenance of the table failed; nothing is lost, and it is tried again");
        }
    };
    if std::mem::take(failing) {
        info!("maintenance of the table goes on");
    }
    match step {
        Maintained::Nothing | Maintained::Elsewhere => {}
        Maintained::Checkpoint => metrics.maintenance("checkpoint"),
        Maintained::Expired { by_age, by_bytes } => {
            metrics.maintenance("expired");
            metrics.expired("age", &by_age);
            metrics.expired("bytes", &by_bytes);
            debug!(by_age = by_age.exchanges, by_bytes = by_bytes.exchanges, "exchanges expired");
        }
        Maintained::Compacted { files, into } => {
            metrics.maintenance("compacted");
            metrics.compacted_files.inc_by(files);
            debug!(files, into, "files compacted");
        }
        Maintained::Vacuumed { objects, bytes, ledgers } => {
            metrics.maintenance("vacuumed");
            metrics.vacuumed_objects.inc_by(objects);
            metrics.vacuumed_bytes.inc_by(bytes);
            debug!(objects, bytes, ledgers, "unused objects deleted");
        }
    }
}
