//! A list and watch that goes on whatever happens: an API server that restarts or forgot the version it was asked
//! to go on from, a token that expired.
//!
//! Between attempts there is a pause that grows and is random. The log gets one line when an outage begins and
//! one when it ends. A stream that went silent is given up after five minutes.

use std::{fmt::Debug, pin::pin};

use futures::StreamExt as _;
use kube::{
    Api, Resource,
    runtime::{
        WatchStreamExt as _,
        watcher::{self, Event, watcher},
    },
};
use serde::de::DeserializeOwned;
use tracing::{debug, info, warn};

use crate::metrics::Metrics;

/// What can be watched.
pub(crate) trait Watched: Resource + Clone + DeserializeOwned + Debug + Send + 'static {}

impl<K: Resource + Clone + DeserializeOwned + Debug + Send + 'static> Watched for K {}

/// Hands every event to `handle`, for ever. `kind` is how log and metrics call it.
pub(crate) async fn watch<K: Watched>(
    api: Api<K>,
    kind: &'static str,
    metrics: &Metrics,
    mut handle: impl FnMut(&Event<K>),
) {
    let mut events = pin!(watcher(api, watcher::Config::default()).default_backoff());
    let mut away = false;
    while let Some(event) = events.next().await {
        match event {
            Ok(event) => {
                handle(&event);
                // `Init` comes before the first answer.
                if !matches!(event, Event::Init) {
                    metrics.watch_up(kind, true);
                    if std::mem::take(&mut away) {
                        info!(kind, "watching again");
                    }
                }
            }
            Err(error) => {
                metrics.watch_up(kind, false);
                metrics.watch_error(kind);
                if is_ordinary(&error) {
                    debug!(kind, %error, "watch begins anew");
                } else if std::mem::replace(&mut away, true) {
                    debug!(kind, error = chain(&error), "still can't watch");
                } else {
                    warn!(
                        kind,
                        error = chain(&error),
                        "can't watch; going on with what is known, and trying on"
                    );
                }
            }
        }
    }
}

/// The API server doesn't keep versions for ever: the next step is a new list.
fn is_ordinary(error: &watcher::Error) -> bool {
    matches!(error, watcher::Error::WatchError(status) if status.code == 410)
}

/// With the causes that are not in its own words.
pub(super) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(source) = cause {
        let words = source.to_string();
        if !text.contains(&words) {
            text.push_str(": ");
            text.push_str(&words);
        }
        cause = source.source();
    }
    text
}
