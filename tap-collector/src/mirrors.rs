//! Live mirrors: what was just stored is sent at other targets, too.
//!
//! ```text
//! committer ─ feed, bounded in bytes ─ one task: every mirror looks at every exchange ─ queue of each mirror ─ its sends
//! ```
//!
//! - The committer hands over what is durable, and only then: an exchange is mirrored by the collector that stored it, and
//!   never a second time after a crash. docs/design/0008 says what that costs.
//! - It never waits. Where the feed has no room, what was stored goes by unlooked at and is counted: `overrun`.
//! - A collector that only reads follows the table's commits instead (`table`), and may wait.
//! - Mirrors come from the settings, and from the TapPolicies that the API server knows ([`Mirrors::follow`]). Those of policies
//!   go only where the settings allow, and only with what agents say that the policy keeps.

mod metrics;
mod policies;
mod service;
mod table;

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
    time::SystemTime,
};

use tap_proto::v1::{self, Batch, mirror::State};
use tap_replay::mirror::{Mirror, Recent, Rules, Scope, Settings};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore, mpsc},
    task::coop,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing::{info, warn};

pub(crate) use service::MirrorQueries;

use crate::replays::AllowedTarget;

/// Each has a queue of up to 16 MiB and its connections.
const MAX_MIRRORS: usize = 64;
/// Durable batches that wait to be looked at: a moment's worth, as looking is fast.
const FEED_BYTES: usize = 16 * 1024 * 1024;
/// What one permit of the feed stands for. It is charged for an empty batch too.
const UNIT: usize = 1024;
/// Of the marker header, which allows few characters.
const MAX_MARKER: usize = 120;

/// All mirrors of this collector. Clones are the same.
#[derive(Clone, Debug)]
pub(crate) struct Mirrors {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    allowed: Vec<AllowedTarget>,
    /// By name. Replaced as a whole, so that nobody holds the lock while looking at exchanges.
    entries: Mutex<Arc<Entries>>,
    feed: mpsc::UnboundedSender<Fed>,
    room: Arc<Semaphore>,
    tasks: TaskTracker,
}

type Entries = BTreeMap<String, Arc<Entry>>;

/// One mirror, as it was asked for.
#[derive(Debug)]
struct Entry {
    settings: Settings,
    /// `None` for one of the collector's settings.
    scope: Option<Scope>,
    since: SystemTime,
    state: Result<Mirror, Refusal>,
}

/// Why a mirror sends nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Refusal {
    /// In CamelCase, for a condition.
    pub(crate) reason: &'static str,
    pub(crate) message: String,
}

/// What a policy's status says of one of its mirrors.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Told {
    pub(crate) target: String,
    pub(crate) state: Result<Recent, Refusal>,
}

/// A durable batch.
#[derive(Debug)]
struct Fed {
    batch: Arc<Batch>,
    _room: OwnedSemaphorePermit,
}

impl Mirrors {
    /// Starts the mirrors of the settings, which were checked.
    pub(crate) fn start(
        settings: Vec<Settings>,
        allowed: Vec<AllowedTarget>,
        tasks: TaskTracker,
        shutdown: CancellationToken,
    ) -> Self {
        let (feed_tx, feed_rx) = mpsc::unbounded_channel();
        let room = Arc::new(Semaphore::new(FEED_BYTES / UNIT));
        let shared = Shared { allowed, entries: Mutex::default(), feed: feed_tx, room, tasks: tasks.clone() };
        let mirrors = Self { shared: Arc::new(shared) };
        let wanted = settings.into_iter().map(|settings| (settings.name().to_owned(), settings, None));
        mirrors.replace(|entry| entry.scope.is_none(), wanted);
        tasks.spawn(mirrors.clone().look(feed_rx, shutdown));
        mirrors
    }

    /// Hands over what became durable; never waits.
    pub(crate) fn feed(&self, batch: Arc<Batch>, bytes: usize) {
        let entries = self.entries();
        if !entries.values().any(|entry| entry.state.is_ok()) {
            return;
        }
        // One that is larger has the feed for itself.
        let units = bytes.div_ceil(UNIT).clamp(1, FEED_BYTES / UNIT) as u32;
        match Arc::clone(&self.shared.room).try_acquire_many_owned(units) {
            Ok(room) => {
                // It fails at the end of a shutdown only, when nothing is mirrored any more.
                let _ = self.shared.feed.send(Fed { batch, _room: room });
            }
            Err(_) => {
                let count = batch.exchanges.len() as u64;
                running(&entries).for_each(|mirror| mirror.overrun(count));
            }
        }
    }

    /// Hands over what another collector made durable, once there is room.
    async fn feed_when_room(&self, batch: Batch, bytes: usize) {
        let units = bytes.div_ceil(UNIT).clamp(1, FEED_BYTES / UNIT) as u32;
        if let Ok(room) = Arc::clone(&self.shared.room).acquire_many_owned(units).await {
            let _ = self.shared.feed.send(Fed { batch: Arc::new(batch), _room: room });
        }
    }

    /// Shows every mirror every exchange, until the shutdown.
    async fn look(self, mut feed: mpsc::UnboundedReceiver<Fed>, shutdown: CancellationToken) {
        while let Some(Some(Fed { batch, _room })) = shutdown.run_until_cancelled(feed.recv()).await {
            let entries = self.entries();
            for exchange in &batch.exchanges {
                running(&entries).for_each(|mirror| mirror.offer(exchange));
                // Thousands at once would hold up a thread that others need.
                coop::consume_budget().await;
            }
        }
        running(&self.entries()).for_each(Mirror::stop);
    }

    /// Makes the mirrors of which `ours` holds those that are wanted. One that stays as it was runs on.
    fn replace(
        &self,
        ours: impl Fn(&Entry) -> bool,
        wanted: impl Iterator<Item = (String, Settings, Option<Scope>)>,
    ) {
        // Made without the lock, which the committer takes, too: certificates may be read. Nobody else replaces: the settings'
        // mirrors are made before anything runs, and policies are followed by one task.
        let current = self.entries();
        let mut entries: Entries = current
            .iter()
            .filter(|(_, entry)| !ours(entry))
            .map(|(name, entry)| (name.clone(), Arc::clone(entry)))
            .collect();
        for (name, settings, scope) in wanted {
            let same = current.get(&name).filter(|entry| entry.settings == settings && entry.scope == scope);
            let entry = match same {
                Some(entry) => Arc::clone(entry),
                None => {
                    let room = entries.len() < MAX_MIRRORS;
                    Arc::new(self.shared.make(&name, settings, scope, room))
                }
            };
            entries.insert(name, entry);
        }
        for (name, entry) in current.iter() {
            if !entries.get(name).is_some_and(|stays| Arc::ptr_eq(stays, entry)) {
                info!(name, target = entry.settings.target, "mirror ended");
                // Whoever watches it may hold it for a moment longer.
                if let Ok(mirror) = &entry.state {
                    mirror.stop();
                }
            }
        }
        *self.shared.entries.lock().unwrap_or_else(PoisonError::into_inner) = Arc::new(entries);
    }

    fn entries(&self) -> Arc<Entries> {
        Arc::clone(&self.shared.entries.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// What there is to say of a policy's mirrors; empty where it has none here.
    pub(crate) fn of_policy(&self, namespace: &str, policy: &str) -> Vec<Told> {
        let is_of = |scope: &Scope| scope.namespace == namespace && scope.policy == policy;
        let entries = self.entries();
        let of = entries.values().filter(|entry| entry.scope.as_ref().is_some_and(is_of));
        of.map(|entry| Told {
            target: entry.settings.target.clone(),
            state: entry.state.as_ref().map(Mirror::of_late).map_err(Clone::clone),
        })
        .collect()
    }

    fn list(&self) -> Vec<v1::Mirror> {
        self.entries().iter().map(|(name, entry)| entry.show(name)).collect()
    }
}

impl Shared {
    fn make(&self, name: &str, settings: Settings, scope: Option<Scope>, room: bool) -> Entry {
        let state = self.run(name, &settings, scope.clone(), room);
        match &state {
            Ok(_) => info!(name, target = settings.target, "mirror started"),
            Err(Refusal { reason, message }) => {
                warn!(name, target = settings.target, reason, message, "mirror refused");
            }
        }
        Entry { settings, scope, since: SystemTime::now(), state }
    }

    fn run(
        &self,
        name: &str,
        settings: &Settings,
        scope: Option<Scope>,
        room: bool,
    ) -> Result<Mirror, Refusal> {
        // The settings name the targets of their own mirrors themselves.
        let is_allowed = scope.is_none();
        let rules = Rules::new(settings, scope, &marker(name)).map_err(|errors| {
            let errors: Vec<_> = errors.iter().map(ToString::to_string).collect();
            Refusal { reason: "InvalidMirror", message: errors.join("; ") }
        })?;
        if !is_allowed && !self.allowed.iter().any(|allowed| allowed.covers(&settings.target)) {
            let message = "the collector's setting mirror.allow_targets does not list it".to_owned();
            return Err(Refusal { reason: "TargetNotAllowed", message });
        }
        if !room {
            let message = format!("this collector has {MAX_MIRRORS} mirrors already");
            return Err(Refusal { reason: "TooManyMirrors", message });
        }
        Ok(Mirror::start(rules, &self.tasks))
    }
}

impl Entry {
    fn show(&self, name: &str) -> v1::Mirror {
        let Self { settings, scope, since, state } = self;
        let policy = scope.as_ref().map(|scope| format!("{}/{}", scope.namespace, scope.policy));
        v1::Mirror {
            name: name.to_owned(),
            policy: policy.unwrap_or_default(),
            state: if state.is_ok() { State::Running } else { State::Refused }.into(),
            error: state.as_ref().err().map(|refusal| refusal.message.clone()).unwrap_or_default(),
            target: settings.target.clone(),
            settings: serde_yaml_ng::to_string(settings).unwrap_or_default(),
            report: state.as_ref().ok().map(Mirror::report),
            start_time: Some((*since).into()),
        }
    }
}

fn running(entries: &Entries) -> impl Iterator<Item = &Mirror> {
    entries.values().filter_map(|entry| entry.state.as_ref().ok())
}

/// What the marker header says: which mirror sent the request.
fn marker(name: &str) -> String {
    let character = |c: char| if c.is_ascii_alphanumeric() || "-_.".contains(c) { c } else { '-' };
    "mirror.".chars().chain(name.chars().map(character)).take(MAX_MARKER).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_marker_names_the_mirror_in_what_a_header_may_hold() {
        assert_eq!(marker("shop/cart"), "mirror.shop-cart");
        assert_eq!(marker(&"é\r\n".repeat(100)).len(), MAX_MARKER);
    }
}
