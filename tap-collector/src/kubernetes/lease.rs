//! One leader among the replicas, by a `Lease` of `coordination.k8s.io/v1`, as Kubernetes' own components do.
//!
//! Who holds the lease renews it; the others look at it from time to time, and take it when it was given up, or was
//! not renewed for its whole duration *since they looked*: no two clocks are compared. Whoever can't renew stops
//! leading before the others may take over. Every write names the version that it replaces, so that of two that
//! take the lease at once one fails.

use std::{future::Future, time::Duration};

use k8s_openapi::{
    api::coordination::v1::{Lease, LeaseSpec},
    apimachinery::pkg::apis::meta::v1::MicroTime,
    jiff::Timestamp,
};
use kube::{
    Api, Client,
    api::{ObjectMeta, PostParams},
};
use tokio::time::{Instant, sleep, timeout, timeout_at};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use super::watch::chain;
use crate::metrics::Metrics;

/// Rounded up to a second in the lease itself.
const DURATION: Duration = Duration::from_secs(30);
/// A write in ten seconds for the whole installation.
const RENEW: Duration = Duration::from_secs(10);
/// The shutdown doesn't wait longer for the API server.
const RELEASE_TIMEOUT: Duration = Duration::from_secs(2);

#[derive(Debug)]
pub(super) struct Election {
    leases: Api<Lease>,
    name: String,
    identity: String,
    terms: Terms,
    metrics: Metrics,
}

/// The rhythm of an election.
#[derive(Clone, Copy, Debug)]
pub(super) struct Terms {
    /// A leader that fell silent is followed by another after this.
    pub(super) duration: Duration,
    /// How often the leader renews, and the others look.
    pub(super) renew: Duration,
}

/// The lease as it was last seen, and since when it has been like that.
#[derive(Debug)]
struct Seen {
    version: Option<String>,
    since: Instant,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Turn {
    /// It is ours, or free.
    Take,
    /// Another one's.
    Wait,
}

impl Default for Terms {
    fn default() -> Self {
        Self { duration: DURATION, renew: RENEW }
    }
}

impl Election {
    /// `identity` is unique among the replicas.
    pub(super) fn new(
        client: &Client,
        namespace: &str,
        name: &str,
        identity: String,
        terms: Terms,
        metrics: Metrics,
    ) -> Self {
        let leases = Api::namespaced(client.clone(), namespace);
        Self { leases, name: name.to_owned(), identity, terms, metrics }
    }

    /// Runs `work` for as long as this one leads, again and again, until `shutdown`.
    pub(super) async fn run<F: Future<Output = ()>>(
        &self,
        shutdown: &CancellationToken,
        work: impl Fn() -> F,
    ) {
        let mut failing = false;
        let mut seen = Seen { version: None, since: Instant::now() };
        loop {
            let begin = Instant::now();
            let taken = shutdown.run_until_cancelled(timeout(self.terms.renew, self.take(&mut seen)));
            let Some(taken) = taken.await else { return };
            match taken {
                Ok(Ok(Some(lease))) => {
                    failing = false;
                    info!(
                        lease = self.name,
                        identity = self.identity,
                        "leading: writing the policies' statuses"
                    );
                    self.metrics.leading.set(1);
                    let ended = tokio::select! {
                        lease = self.renew(lease, begin) => lease,
                        () = work() => None,
                        () = shutdown.cancelled() => None,
                    };
                    self.metrics.leading.set(0);
                    if shutdown.is_cancelled() {
                        self.release().await;
                        return;
                    }
                    info!(lease = self.name, holder = ended, "not leading any more");
                }
                Ok(Ok(None)) => failing = false,
                Ok(Err(error)) => {
                    if std::mem::replace(&mut failing, true) {
                        debug!(
                            lease = self.name,
                            error = chain(&error),
                            "still can't take part in the election"
                        );
                    } else {
                        warn!(
                            lease = self.name,
                            error = chain(&error),
                            "can't take part in the election; trying on"
                        );
                    }
                }
                Err(_) => debug!(lease = self.name, "the API server does not answer"),
            }
            tokio::select! {
                // Random, so that replicas that started together don't ask together.
                () = sleep(self.terms.renew.mul_f64(rand::random_range(0.8..1.2))) => {}
                () = shutdown.cancelled() => return,
            }
        }
    }

    /// Takes the lease where it may be taken: the lease as it is then.
    async fn take(&self, seen: &mut Seen) -> kube::Result<Option<Lease>> {
        let Some(lease) = self.leases.get_opt(&self.name).await? else {
            let lease = Lease {
                metadata: ObjectMeta { name: Some(self.name.clone()), ..ObjectMeta::default() },
                spec: Some(self.hold(None)),
            };
            return taken(self.leases.create(&PostParams::default(), &lease).await);
        };
        let now = Instant::now();
        if seen.version != lease.metadata.resource_version {
            *seen = Seen { version: lease.metadata.resource_version.clone(), since: now };
        }
        match self.turn(lease.spec.as_ref(), now - seen.since) {
            Turn::Take => self.replace(lease).await,
            Turn::Wait => Ok(None),
        }
    }

    fn turn(&self, spec: Option<&LeaseSpec>, unchanged: Duration) -> Turn {
        let holder = spec.and_then(|spec| spec.holder_identity.as_deref()).unwrap_or_default();
        if holder.is_empty() || holder == self.identity {
            return Turn::Take;
        }
        let duration = spec.and_then(|spec| u64::try_from(spec.lease_duration_seconds?).ok());
        let duration = duration.map_or(self.terms.duration, Duration::from_secs);
        if unchanged >= duration { Turn::Take } else { Turn::Wait }
    }

    /// Renews until that fails for too long; answers who holds the lease then, where that is known.
    async fn renew(&self, mut lease: Lease, begin: Instant) -> Option<String> {
        let mut renewed = begin;
        loop {
            sleep(self.terms.renew).await;
            // Another one may take it after the whole duration: two thirds leave room for what is under way.
            let deadline = renewed + self.terms.duration * 2 / 3;
            let begin = Instant::now();
            let renewal = timeout_at(deadline, async {
                loop {
                    match self.replace(lease.clone()).await {
                        Ok(Some(lease)) => return Ok(lease),
                        // Another version is there: whose?
                        Ok(None) => match self.leases.get(&self.name).await {
                            Ok(current) if self.is_ours(&current) => lease = current,
                            Ok(current) => return Err(current.spec.and_then(|spec| spec.holder_identity)),
                            Err(error) => debug!(error = chain(&error), "lease can't be read"),
                        },
                        Err(error) => debug!(error = chain(&error), "lease can't be renewed"),
                    }
                    sleep(self.terms.renew / 10).await;
                }
            });
            match renewal.await {
                Ok(Ok(newer)) => (lease, renewed) = (newer, begin),
                Ok(Err(holder)) => return holder,
                Err(_) => {
                    warn!(lease = self.name, "lease could not be renewed in time");
                    return None;
                }
            }
        }
    }

    /// Gives the lease up, so that another one need not wait.
    async fn release(&self) {
        let release = timeout(RELEASE_TIMEOUT, async {
            let mut lease = self.leases.get(&self.name).await?;
            if self.is_ours(&lease) {
                if let Some(spec) = &mut lease.spec {
                    spec.holder_identity = None;
                    spec.lease_duration_seconds = Some(1);
                }
                self.leases.replace(&self.name, &PostParams::default(), &lease).await?;
            }
            Ok::<_, kube::Error>(())
        });
        match release.await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => debug!(error = chain(&error), "lease can't be given up; it runs out"),
            Err(_) => debug!("lease can't be given up in time; it runs out"),
        }
    }

    fn is_ours(&self, lease: &Lease) -> bool {
        lease.spec.as_ref().and_then(|spec| spec.holder_identity.as_ref()) == Some(&self.identity)
    }

    async fn replace(&self, mut lease: Lease) -> kube::Result<Option<Lease>> {
        lease.spec = Some(self.hold(lease.spec));
        taken(self.leases.replace(&self.name, &PostParams::default(), &lease).await)
    }

    /// The lease, held by this one from now on.
    fn hold(&self, before: Option<LeaseSpec>) -> LeaseSpec {
        let before = before.unwrap_or_default();
        let now = Timestamp::now();
        let is_renewal = before.holder_identity.as_ref() == Some(&self.identity);
        let is_first = before.acquire_time.is_none();
        LeaseSpec {
            holder_identity: Some(self.identity.clone()),
            lease_duration_seconds: i32::try_from(self.terms.duration.as_millis().div_ceil(1_000)).ok(),
            acquire_time: if is_renewal { before.acquire_time } else { Some(MicroTime(now)) },
            renew_time: Some(MicroTime(now)),
            lease_transitions: Some(
                before
                    .lease_transitions
                    .unwrap_or_default()
                    .saturating_add(i32::from(!is_renewal && !is_first)),
            ),
            ..before
        }
    }
}

/// `None` where another one was faster.
fn taken(result: kube::Result<Lease>) -> kube::Result<Option<Lease>> {
    match result {
        Ok(lease) => Ok(Some(lease)),
        Err(kube::Error::Api(status)) if status.code == 409 => Ok(None),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests;
