//! The way to the store, which may be away: at the start, or any time after.
//!
//! While it is away the collector is not ready, its gRPC services are NOT_SERVING, the metric
//! `podtap_collector_store_reachable` is 0, and `podtap_collector_store_outage` says why. The log gets a line when that
//! begins, one when the reason becomes another, and one when it ends; each says what an administrator can do. Recovery needs
//! nothing but a store that works again.

use std::sync::{Mutex, PoisonError};

use tap_admin::{Pending, Readiness};
use tap_store::{Outage, Store, StoreError};
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
    /// Set while the store is away.
    away: Mutex<Option<Away>>,
}

#[derive(Debug)]
struct Away {
    /// None before the first attempt to open it has failed.
    outage: Option<Outage>,
    _pending: Pending,
}

impl StoreGate {
    pub(crate) fn new(url: Url, read_only: bool, readiness: Readiness, metrics: Metrics) -> Self {
        let away = Mutex::new(Some(Away { outage: None, _pending: readiness.pending(CONDITION) }));
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
        loop {
            let opened = match self.read_only {
                true => Store::open_read_only(&self.url).await,
                false => Store::open(&self.url).await,
            };
            match opened {
                Ok(store) => return self.hold(store),
                Err(error) => self.failed(&error),
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
        if let Some(away) = self.with_away(Option::take) {
            if let Some(outage) = away.outage {
                self.metrics.store_outage(outage, false);
            }
            info!("store reached");
            self.metrics.store_reachable.set(1);
            self.reachable.send_replace(true);
        }
    }

    /// The store can't be opened, or written, or read where nothing is written; it will be tried again.
    pub(crate) fn failed(&self, error: &StoreError) {
        let outage = error.outage();
        let before = self.with_away(|away| {
            let pending = || Away { outage: None, _pending: self.readiness.pending(CONDITION) };
            away.get_or_insert_with(pending).outage.replace(outage)
        });
        if before == Some(outage) {
            debug!(%error, "store still can't be used");
            return;
        }
        if let Some(before) = before {
            self.metrics.store_outage(before, false);
        }
        self.metrics.store_outage(outage, true);
        self.metrics.store_reachable.set(0);
        self.reachable.send_replace(false);
        let advice = outage.advice(&self.url);
        match self.read_only {
            true => warn!(%outage, %error, "{advice}; it is tried until it succeeds"),
            false => warn!(%outage, %error, "{advice}; what is queued is kept, and tried until it succeeds"),
        }
    }

    /// Whether the store is reachable, and every change.
    pub(crate) fn watch_reachable(&self) -> watch::Receiver<bool> {
        self.reachable.subscribe()
    }

    fn with_away<T>(&self, f: impl FnOnce(&mut Option<Away>) -> T) -> T {
        f(&mut self.away.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
