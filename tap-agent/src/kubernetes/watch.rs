//! One list and one watch of a kind, for as long as the agent runs.
//!
//! The watch itself (bookmarks, resuming, a new list after 410 Gone) is kube's. Here is what it leaves to its user: pauses
//! between attempts, a new list where the server goes on refusing the version that it is asked to resume from (it may have
//! been restored from an older state), and one line in the log for an outage.

use std::{
    collections::{HashMap, HashSet},
    fmt::Debug,
    pin::pin,
    time::Duration,
};

use futures::StreamExt as _;
use kube::{
    Api, Resource,
    runtime::watcher::{self, Event, watcher},
};
use serde::de::DeserializeOwned;
use tokio::{sync::mpsc, time::sleep};
use tracing::{debug, info, warn};

/// The n-th attempt after a failure waits a random time up to the first of these, doubled n times, and the second at most.
const BACKOFF_FIRST: Duration = Duration::from_millis(500);
const BACKOFF_MAX: Duration = Duration::from_secs(15);
const BACKOFF_MIN: Duration = Duration::from_millis(50);

/// After this many refusals in a row everything is listed anew.
const MAX_REFUSALS: u32 = 4;

/// Objects of one kind that are kept.
const MAX_OBJECTS: usize = 20_000;

/// A change of the objects of one kind.
#[derive(Debug)]
pub(super) enum Change<T> {
    /// A list begins: what does not come before its end is gone.
    ListBegins,
    Put(String, T),
    /// Of the object with this UID.
    Gone(String),
    ListEnds,
}

/// Objects of one kind by UID.
#[derive(Debug)]
pub(super) struct Objects<T> {
    objects: HashMap<String, T>,
    /// While a list comes in: what was there before and has not come yet.
    stale: Option<HashSet<String>>,
    listed: bool,
}

impl<T> Default for Objects<T> {
    fn default() -> Self {
        Self { objects: HashMap::new(), stale: None, listed: false }
    }
}

impl<T> Objects<T> {
    pub(super) fn take(&mut self, change: Change<T>) {
        match change {
            Change::ListBegins => self.stale = Some(self.objects.keys().cloned().collect()),
            Change::Put(uid, object) => {
                if let Some(stale) = &mut self.stale {
                    stale.remove(&uid);
                }
                if self.objects.len() < MAX_OBJECTS || self.objects.contains_key(&uid) {
                    self.objects.insert(uid, object);
                } else {
                    warn!("more than {MAX_OBJECTS} objects of one kind: one is left out");
                }
            }
            Change::Gone(uid) => {
                self.objects.remove(&uid);
            }
            Change::ListEnds => {
                self.listed = true;
                for uid in self.stale.take().into_iter().flatten() {
                    self.objects.remove(&uid);
                }
            }
        }
    }

    /// The object is still there, as it was.
    pub(super) fn keep(&mut self, uid: &str) {
        if let Some(stale) = &mut self.stale {
            stale.remove(uid);
        }
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&String, &T)> {
        self.objects.iter()
    }

    pub(super) fn get(&self, uid: &str) -> Option<&T> {
        self.objects.get(uid)
    }

    pub(super) fn len(&self) -> usize {
        self.objects.len()
    }

    /// Whether everything was listed once.
    pub(super) fn is_listed(&self) -> bool {
        self.listed
    }
}

/// Watches a kind until the receiver is gone. `read` takes from an object its UID and what is to be kept of it.
pub(super) async fn watch<K, T, N>(
    what: &'static str,
    api: Api<K>,
    config: watcher::Config,
    news_tx: mpsc::Sender<N>,
    read: impl Fn(K) -> Option<(String, T)> + Send + 'static,
    news: impl Fn(Change<T>) -> N + Send + 'static,
) where
    K: Resource<DynamicType = ()> + Clone + DeserializeOwned + Debug + Send + 'static,
    T: Send,
    N: Send,
{
    let mut outage = Outage { what, attempt: 0, is_told: false };
    loop {
        let mut events = pin!(watcher(api.clone(), config.clone()));
        let mut refusals = 0;
        while let Some(event) = events.next().await {
            let change = match event {
                // Comes before the server was asked.
                Ok(Event::Init) => Some(Change::ListBegins),
                Ok(event) => {
                    outage.end();
                    refusals = 0;
                    match event {
                        Event::Init => None,
                        Event::InitApply(object) | Event::Apply(object) => {
                            read(object).map(|(uid, kept)| Change::Put(uid, kept))
                        }
                        Event::Delete(object) => read(object).map(|(uid, _)| Change::Gone(uid)),
                        Event::InitDone => Some(Change::ListEnds),
                    }
                }
                Err(error) => {
                    outage.go_on(&error);
                    // The server is back, and has only forgotten where this watch was: nothing to wait for.
                    let pause = if is_gone(&error) { BACKOFF_MIN } else { outage.pause() };
                    sleep(pause).await;
                    refusals += u32::from(is_refusal(&error));
                    if is_gone(&error) || refusals >= MAX_REFUSALS {
                        break;
                    }
                    None
                }
            };
            if let Some(change) = change
                && news_tx.send(news(change)).await.is_err()
            {
                return;
            }
        }
    }
}

/// A time without an answer.
struct Outage {
    what: &'static str,
    attempt: u32,
    is_told: bool,
}

impl Outage {
    fn go_on(&mut self, error: &watcher::Error) {
        self.attempt = self.attempt.saturating_add(1);
        let Self { what, .. } = self;
        if self.is_told {
            debug!("still no watch of {what}: {error}");
        } else if !is_gone(error) {
            self.is_told = true;
            warn!("no watch of {what}: {error}; what is tapped stays so, trying again");
        }
    }

    fn end(&mut self) {
        self.attempt = 0;
        if std::mem::take(&mut self.is_told) {
            info!("watching {} again", self.what);
        }
    }

    /// Random, so that the agents of a cluster don't come back together.
    fn pause(&self) -> Duration {
        let bound = BACKOFF_FIRST.saturating_mul(2_u32.saturating_pow(self.attempt.saturating_sub(1)));
        rand::random_range(BACKOFF_MIN..=bound.min(BACKOFF_MAX))
    }
}

/// The version to resume from is too old; kube lists anew where the watch itself says so, not where its request is refused.
fn is_gone(error: &watcher::Error) -> bool {
    match error {
        watcher::Error::WatchStartFailed(kube::Error::Api(status)) => status.code == 410,
        watcher::Error::WatchError(status) => status.code == 410,
        _ => false,
    }
}

/// The server is there and says no.
fn is_refusal(error: &watcher::Error) -> bool {
    matches!(error, watcher::Error::WatchStartFailed(kube::Error::Api(_)) | watcher::Error::WatchError(_))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(objects: &mut Objects<u8>, uid: &str, value: u8) {
        objects.take(Change::Put(uid.to_owned(), value));
    }

    fn uids(objects: &Objects<u8>) -> Vec<&str> {
        let mut uids: Vec<_> = objects.iter().map(|(uid, _)| uid.as_str()).collect();
        uids.sort_unstable();
        uids
    }

    #[test]
    fn a_list_takes_away_what_is_not_in_it_only_at_its_end() {
        let mut objects = Objects::default();
        objects.take(Change::ListBegins);
        put(&mut objects, "a", 1);
        put(&mut objects, "b", 1);
        assert!(!objects.is_listed());
        objects.take(Change::ListEnds);
        assert!(objects.is_listed());

        objects.take(Change::ListBegins);
        put(&mut objects, "b", 2);
        put(&mut objects, "c", 2);
        assert_eq!(uids(&objects), ["a", "b", "c"], "a may still come");
        objects.take(Change::ListEnds);
        assert_eq!(uids(&objects), ["b", "c"]);
    }

    #[test]
    fn a_list_that_broke_off_takes_nothing_away() {
        let mut objects = Objects::default();
        put(&mut objects, "a", 1);
        objects.take(Change::ListBegins);
        objects.take(Change::ListBegins);
        put(&mut objects, "a", 2);
        objects.take(Change::ListEnds);
        assert_eq!(uids(&objects), ["a"]);
        objects.take(Change::Gone("a".to_owned()));
        assert_eq!(objects.len(), 0);
    }

    #[test]
    fn pauses_grow_to_their_bound() {
        for attempt in 0..100 {
            let pause = Outage { what: "pods", attempt, is_told: false }.pause();
            assert!((BACKOFF_MIN..=BACKOFF_MAX).contains(&pause));
        }
    }
}
