//! The statuses of TapPolicies: what of each is valid, how many pods it selects, what became of their traffic.
//!
//! Agents write nothing to the API server; they report in their ledgers. The leading replica adds up the ledgers of its
//! own agents, and those that other replicas put beside the table, and writes each policy's status by server-side
//! apply: where it changed, as [`pace`] says, and never otherwise.

mod conditions;
mod known;
mod losses;
mod pace;
mod reports;

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, SystemTime},
};

use k8s_openapi::{jiff::Timestamp, serde_json::json};
use kube::{
    Api, Client,
    api::{ApiResource, DynamicObject, Patch, PatchParams},
};
use tap_policy::{TapPolicy, TapPolicyStatus};
use tap_proto::v1::Ledger;
use tap_store::RecentLedgers;
use tokio::{
    sync::Notify,
    time::{Instant, MissedTickBehavior, interval, sleep, sleep_until, timeout},
};
use tracing::{debug, info, warn};

use self::{
    conditions::Facts,
    known::{Known, Policies, status_of},
    losses::Losses,
    pace::{Change, Pace, compare},
    reports::{FRESH, Heard, PolicyName, Reports},
};
use super::watch::{chain, watch};
use crate::{
    ledgers::Ledgers,
    metrics::Metrics,
    mirrors::{Mirrors, Told},
    store_gate::StoreGate,
};

const FIELD_MANAGER: &str = "podtap-collector";

/// Ledgers of other replicas' agents are listed this often. A bucket asks money for it.
const STORE_INTERVAL: Duration = Duration::from_secs(15);
const STORE_TIMEOUT: Duration = Duration::from_secs(10);

/// How long a change may go unnoticed of which nobody tells: an agent that fell silent, losses that ceased.
const TICK: Duration = Duration::from_secs(10);
/// Between two looks at everything.
const LOOK_PAUSE: Duration = Duration::from_millis(250);

/// Agents connect again within this after a restart of the collector. Until then what they don't report is not
/// taken for a change of what was written before.
const WARM_UP: Duration = Duration::from_secs(10);

/// Ten writes in a second at most, whatever happens.
const WRITE_PAUSE: Duration = Duration::from_millis(100);
const WRITE_TIMEOUT: Duration = Duration::from_secs(10);
/// After a write that failed, doubled up to the second of these, and a random part of it.
const FIRST_BACKOFF: Duration = Duration::from_secs(1);
const LONGEST_BACKOFF: Duration = Duration::from_secs(60);

pub(super) struct Statuses {
    client: Client,
    resource: ApiResource,
    ledgers: Arc<Ledgers>,
    gate: Arc<StoreGate>,
    mirrors: Mirrors,
    metrics: Metrics,
}

/// What is known while this replica leads.
#[derive(Debug, Default)]
struct Seen {
    policies: Mutex<Policies>,
    /// Policies changed.
    news: Notify,
    /// Ledgers that other replicas put.
    others: Mutex<Vec<Put>>,
}

/// A ledger, and when it was put.
type Put = (Arc<Ledger>, SystemTime);

/// What this replica remembers of one policy.
#[derive(Debug)]
struct Memory {
    uid: String,
    pace: Pace,
    losses: Losses,
}

/// A status to write.
#[derive(Debug)]
struct Due {
    name: PolicyName,
    uid: String,
    status: TapPolicyStatus,
    change: Change,
}

impl Statuses {
    pub(super) fn new(
        client: Client,
        ledgers: Arc<Ledgers>,
        gate: Arc<StoreGate>,
        mirrors: Mirrors,
        metrics: Metrics,
    ) -> Self {
        Self { client, resource: ApiResource::erase::<TapPolicy>(&()), ledgers, gate, mirrors, metrics }
    }

    /// Keeps statuses up to date, for as long as it is polled.
    pub(super) async fn run(&self) {
        let seen = Seen::default();
        tokio::join!(self.follow_policies(&seen), self.follow_store(&seen), self.write(&seen));
    }

    /// Policies are read loosely: one that this version can't read must not hide the others.
    async fn follow_policies(&self, seen: &Seen) {
        let policies = Api::<DynamicObject>::all_with(self.client.clone(), &self.resource);
        watch(policies, "tappolicies", &self.metrics, |event| {
            lock(&seen.policies).handle(event);
            seen.news.notify_one();
        })
        .await;
    }

    /// Reads the ledgers of agents that other replicas serve.
    async fn follow_store(&self, seen: &Seen) {
        let mut recent = RecentLedgers::new(self.gate.opened().await);
        let mut ticks = interval(STORE_INTERVAL);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            let own: HashSet<_> = self.ledgers.connected();
            match timeout(STORE_TIMEOUT, recent.refresh(FRESH, &own)).await {
                Ok(Ok(())) => {
                    *lock(&seen.others) = recent.iter().collect();
                    seen.news.notify_one();
                }
                Ok(Err(error)) => debug!(%error, "ledgers of other collectors can't be read"),
                Err(_) => debug!("ledgers of other collectors can't be read in time"),
            }
        }
    }

    async fn write(&self, seen: &Seen) {
        let begin = Instant::now();
        let mut memories = HashMap::new();
        let mut failing = false;
        let mut backoff = FIRST_BACKOFF;
        loop {
            let (due, next) = self.plan(seen, &mut memories, begin);
            for due in due {
                match self.apply(&due).await {
                    Ok(applied) => {
                        self.metrics.status_write("ok");
                        backoff = FIRST_BACKOFF;
                        if std::mem::take(&mut failing) {
                            info!("statuses of TapPolicies can be written again");
                        }
                        if let Some(status) = applied {
                            lock(&seen.policies).wrote(&due.name, &due.uid, status);
                        }
                        if let Some(memory) = memories.get_mut(&due.name) {
                            memory.pace.written(due.status, due.change, Instant::now());
                        }
                        sleep(WRITE_PAUSE).await;
                    }
                    Err(error) => {
                        self.metrics.status_write("error");
                        let (namespace, policy) = &due.name;
                        if std::mem::replace(&mut failing, true) {
                            debug!(namespace, policy, error, "status still can't be written");
                        } else {
                            warn!(namespace, policy, error, "status can't be written; trying on");
                        }
                        sleep(backoff.mul_f64(rand::random_range(0.5..1.0))).await;
                        backoff = (backoff * 2).min(LONGEST_BACKOFF);
                        // By now something else may be due.
                        break;
                    }
                }
            }
            let tick = Instant::now() + TICK;
            sleep(LOOK_PAUSE).await;
            tokio::select! {
                () = sleep_until(next.map_or(tick, |next| next.min(tick))) => {}
                () = seen.news.notified() => {}
                () = self.ledgers.reports_changed() => {}
            }
        }
    }

    /// What is to be written now, and when to look again at the latest.
    fn plan(
        &self,
        seen: &Seen,
        memories: &mut HashMap<PolicyName, Memory>,
        begin: Instant,
    ) -> (Vec<Due>, Option<Instant>) {
        let policies = lock(&seen.policies);
        let Some(policies) = policies.listed() else { return (Vec::new(), None) };
        let others = lock(&seen.others);
        let is_warm = begin.elapsed() > WARM_UP;
        let reports = self.ledgers.with_newest(|newest| {
            let own = newest.map(|(ledger, at)| Heard { ledger, at });
            let others = others.iter().map(|(ledger, at)| Heard { ledger, at: *at });
            Reports::of(own.chain(others), SystemTime::now())
        });
        let now = Instant::now();
        memories.retain(|name, memory| policies.get(name).is_some_and(|known| known.uid == memory.uid));
        let (mut due, mut next) = (Vec::new(), None::<Instant>);
        for (name, known) in policies {
            let is_written =
                known.status.as_ref().is_some_and(|status| status.observed_generation == known.generation);
            if is_written && !is_warm {
                next = Some(next.map_or(begin + WARM_UP, |next| next.min(begin + WARM_UP)));
                continue;
            }
            let memory =
                memories.entry(name.clone()).or_insert_with(|| Memory::new(known, &reports, name, now));
            let (namespace, policy) = name;
            let mirrors = self.mirrors.of_policy(namespace, policy);
            let status = memory.status(known, &reports, name, &mirrors, now);
            let nothing = TapPolicyStatus::default();
            let change = compare(known.status.as_ref().unwrap_or(&nothing), &status);
            match memory.pace.due(change, &status, now) {
                Some(at) if at <= now => {
                    due.push(Due { name: name.clone(), uid: known.uid.clone(), status, change });
                }
                Some(at) => next = Some(next.map_or(at, |next| next.min(at))),
                None => {}
            }
        }
        (due, next)
    }

    /// The status as the API has it then; `None` where the policy is gone, or another one.
    async fn apply(&self, due: &Due) -> Result<Option<Option<TapPolicyStatus>>, String> {
        let Due { name: (namespace, name), uid, status, change: _ } = due;
        let policies = Api::<DynamicObject>::namespaced_with(self.client.clone(), namespace, &self.resource);
        // With the UID a policy that was made anew by the same name is refused.
        let patch = Patch::Apply(json!({
            "apiVersion": self.resource.api_version,
            "kind": self.resource.kind,
            "metadata": {"name": name, "uid": uid},
            "status": status,
        }));
        let parameters = PatchParams::apply(FIELD_MANAGER).force();
        let patched = policies.patch_status(name, &parameters, &patch);
        match timeout(WRITE_TIMEOUT, patched).await {
            Ok(Ok(policy)) => Ok(Some(status_of(&policy))),
            // The watch will tell.
            Ok(Err(kube::Error::Api(refusal))) if matches!(refusal.code, 404 | 409) => Ok(None),
            Ok(Err(error)) => Err(chain(&error)),
            Err(_) => Err(format!("no answer within {WRITE_TIMEOUT:?}")),
        }
    }
}

impl Memory {
    fn new(known: &Known, reports: &Reports, name: &PolicyName, now: Instant) -> Self {
        let lost = reports.get(name).map_or(0, |report| report.mishaps.count);
        let told = known.status.as_ref().is_some_and(|status| {
            status
                .conditions
                .iter()
                .any(|condition| condition.type_ == "Degraded" && condition.reason == "Losses")
        });
        Self {
            uid: known.uid.clone(),
            pace: Pace::new(now, rand::random_range(0.0..1.0)),
            losses: Losses::new(lost, told, now),
        }
    }

    fn status(
        &mut self,
        known: &Known,
        reports: &Reports,
        name: &PolicyName,
        mirrors: &[Told],
        now: Instant,
    ) -> TapPolicyStatus {
        let report = reports.get(name);
        let lost = report.map_or(0, |report| report.mishaps.count);
        let are_recent = self.losses.are_recent(lost, now);
        let facts = Facts {
            uid: &known.uid,
            generation: known.generation,
            problems: &known.problems,
            report,
            agents: reports.agents,
            losses: report.map(|report| &report.mishaps).filter(|_| are_recent),
            mirrors,
        };
        conditions::status(facts, known.status.as_ref(), Timestamp::now())
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
