//! The way to the store, which may be away: at the start, or any time after.
//!
//! While it is away the collector is not ready, its gRPC services are NOT_SERVING, and the metric
//! `podtap_collector_store_reachable` is 0. The log gets one line when that begins and one when it ends.

use std::sync::{Mutex, PoisonError};

use tap_admin::{Pending, Readiness};
use tap_store::{Store, StoreError};
use tokio::sync::watch;
use tonic::Status;
use tracing::{debug, info, warn};
use url::Url;

use crate::{backoff::Backoff, metrics::Metrics};

const CONDITION: &str = "store";

#[derive(Debug)]
pub(crate) struct StoreGate {
    url: Url,
    read_only: bool,
    readiness: Readiness,
    metrics: Metrics,
    store: watch::Sender<Option<Store>>,
    reachable: watch::Sender<bool>,
    /// Held while the store is away.
    away: Mutex<Option<Pending>>,
}

impl StoreGate {
    pub(crate) fn new(url: Url, read_only: bool, readiness: Readiness, metrics: Metrics) -> Self {
        let away = Mutex::new(Some(readiness.pending(CONDITION)));
        Self {
            url,
            read_only,
            readiness,
            metrics,
            store: watch::Sender::new(None),
            reachable: watch::Sender::new(false),
            away,
        }
    }

    /// Opens the store, however long that takes.
    pub(crate) async fn open(&self) {
        let mut backoff = Backoff::default();
        let mut told = false;
        loop {
            let opened = match self.read_only {
                true => Store::open_read_only(&self.url).await,
                false => Store::open(&self.url).await,
            };
            match opened {
                Ok(store) => return self.hold(store),
                // It is away from the start: `failed` would see no change to tell of.
                Err(error) if !told => {
                    warn!(%error, "store can't be reached; trying on");
                    told = true;
                }
                Err(error) => debug!(%error, "store still can't be reached"),
            }
            backoff.pause().await;
        }
    }

    /// The store is open.
    pub(crate) fn hold(&self, store: Store) {
        self.store.send_replace(Some(store));
        self.reached();
    }

    pub(crate) fn is_read_only(&self) -> bool {
        self.read_only
    }

    /// The store, once it was opened.
    pub(crate) fn store(&self) -> Result<Store, Status> {
        self.store
            .borrow()
            .clone()
            .ok_or_else(|| Status::unavailable("the store has not been reached since the collector started"))
    }

    /// The store, as soon as it was opened.
    pub(crate) async fn opened(&self) -> Store {
        let mut store = self.store.subscribe();
        loop {
            if let Some(store) = store.borrow_and_update().clone() {
                return store;
            }
            if store.changed().await.is_err() {
                unreachable!("the gate holds the sender");
            }
        }
    }

    /// A write came through, or a read where nothing is written.
    pub(crate) fn reached(&self) {
        if self.with_away(Option::take).is_some() {
            info!("store reached");
            self.metrics.store_reachable.set(1);
            self.reachable.send_replace(true);
        }
    }

    /// A write failed and will be tried again; or a read where nothing is written.
    pub(crate) fn failed(&self, error: &StoreError) {
        let begins = self.with_away(|away| {
            let begins = away.is_none();
            away.get_or_insert_with(|| self.readiness.pending(CONDITION));
            begins
        });
        if begins {
            match self.read_only {
                true => warn!(%error, "store can't be read; trying on"),
                false => warn!(%error, "store can't be written; what is queued is kept and tried again"),
            }
            self.metrics.store_reachable.set(0);
            self.reachable.send_replace(false);
        } else {
            debug!(%error, "store is still away");
        }
    }

    /// Whether the store is reachable, and every change.
    pub(crate) fn watch_reachable(&self) -> watch::Receiver<bool> {
        self.reachable.subscribe()
    }

    fn with_away<T>(&self, f: impl FnOnce(&mut Option<Pending>) -> T) -> T {
        f(&mut self.away.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
