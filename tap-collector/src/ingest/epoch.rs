//! One run of one agent: its durable mark, and the one stream that speaks for it.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, OnceLock, PoisonError, Weak},
};

use tap_store::AgentEpoch;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tonic::Status;

/// The epochs that have a stream or batches in the queue.
#[derive(Debug, Default)]
pub(super) struct Epochs {
    epochs: Mutex<HashMap<AgentEpoch, Weak<Epoch>>>,
}

#[derive(Debug)]
pub(super) struct Epoch {
    pub(super) id: AgentEpoch,
    /// The highest sequence that is known to be durable.
    durable: watch::Sender<u64>,
    /// Ends the newest session.
    newest: Mutex<Arc<End>>,
}

/// One stream's turn to speak for its epoch.
#[derive(Debug)]
pub(super) struct Session {
    pub(super) epoch: Arc<Epoch>,
    end: Arc<End>,
}

#[derive(Debug, Default)]
struct End {
    ended: CancellationToken,
    refusal: OnceLock<Status>,
}

impl Epochs {
    /// Begins a session and ends the one before.
    pub(super) fn enter(&self, id: AgentEpoch) -> Arc<Session> {
        let epoch = {
            let mut epochs = self.epochs.lock().unwrap_or_else(PoisonError::into_inner);
            epochs.retain(|_, epoch| epoch.strong_count() > 0);
            if let Some(epoch) = epochs.get(&id).and_then(Weak::upgrade) {
                epoch
            } else {
                let epoch = Arc::new(Epoch {
                    id: id.clone(),
                    durable: watch::Sender::new(0),
                    newest: Mutex::default(),
                });
                epochs.insert(id, Arc::downgrade(&epoch));
                epoch
            }
        };
        let end = Arc::new(End::default());
        epoch.with_newest(|newest| std::mem::replace(newest, Arc::clone(&end)).ended.cancel());
        Arc::new(Session { epoch, end })
    }
}

impl Epoch {
    pub(super) fn durable(&self) -> watch::Receiver<u64> {
        self.durable.subscribe()
    }

    pub(super) fn durable_sequence(&self) -> u64 {
        *self.durable.borrow()
    }

    /// Everything up to `sequence` is durable. The mark never falls.
    pub(super) fn advance(&self, sequence: u64) {
        self.durable.send_if_modified(|durable| {
            let ahead = sequence > *durable;
            *durable = sequence.max(*durable);
            ahead
        });
    }

    fn with_newest<T>(&self, f: impl FnOnce(&mut Arc<End>) -> T) -> T {
        f(&mut self.newest.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Session {
    /// Runs `f` unless the session has ended. A newer session can't begin meanwhile: what an older one queues
    /// is queued before anything of a newer one.
    pub(super) fn while_newest<T>(&self, f: impl FnOnce() -> T) -> Option<T> {
        self.epoch.with_newest(|_| (!self.end.ended.is_cancelled()).then(f))
    }

    /// Ends the session, and the newest of its epoch, because the store refuses one of their batches for
    /// good: an acknowledgement of any later batch would acknowledge that one too.
    pub(super) fn refuse(&self, status: &Status) {
        self.end.refuse(status);
        self.epoch.with_newest(|newest| newest.refuse(status));
    }

    pub(super) fn is_refused(&self) -> bool {
        self.end.refusal.get().is_some()
    }

    /// Why the session has to end, as soon as it has to.
    pub(super) async fn ended(&self) -> Status {
        self.end.ended.cancelled().await;
        self.end
            .refusal
            .get()
            .cloned()
            .unwrap_or_else(|| Status::aborted("a newer stream of the same agent and epoch took over"))
    }
}

impl End {
    fn refuse(&self, status: &Status) {
        // The first reason stays.
        let _ = self.refusal.set(status.clone());
        self.ended.cancel();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(epoch: u64) -> AgentEpoch {
        AgentEpoch { agent: "node-1".to_owned(), epoch }
    }

    #[test]
    fn a_newer_session_ends_the_older_and_shares_its_mark() {
        let epochs = Epochs::default();
        let older = epochs.enter(id(1));
        older.epoch.advance(7);
        older.epoch.advance(5);
        let newer = epochs.enter(id(1));
        assert_eq!(older.while_newest(|| ()), None);
        assert_eq!(newer.while_newest(|| ()), Some(()));
        assert_eq!(newer.epoch.durable_sequence(), 7);

        let other = epochs.enter(id(2));
        assert_eq!(newer.while_newest(|| ()), Some(()));
        assert_eq!(other.epoch.durable_sequence(), 0);
    }

    #[tokio::test]
    async fn a_refusal_ends_the_newest_session_too() {
        let epochs = Epochs::default();
        let older = epochs.enter(id(1));
        let newer = epochs.enter(id(1));
        older.refuse(&Status::invalid_argument("batch 3"));
        assert!(older.is_refused() && newer.is_refused());
        assert_eq!(newer.ended().await.message(), "batch 3");
        assert!(!epochs.enter(id(1)).is_refused());
    }

    #[test]
    fn an_epoch_without_sessions_is_forgotten() {
        let epochs = Epochs::default();
        drop(epochs.enter(id(1)));
        let _other = epochs.enter(id(2));
        assert_eq!(epochs.epochs.lock().unwrap().len(), 1);
    }
}
