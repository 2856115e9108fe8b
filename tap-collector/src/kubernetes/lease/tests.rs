//! Elections on a real API server.

use std::{
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use kube::{
    Config,
    config::{KubeConfigOptions, Kubeconfig},
};
use podtap_tests::ApiServer;
use tokio::task::JoinHandle;

use super::*;

const TERMS: Terms = Terms { duration: Duration::from_secs(3), renew: Duration::from_millis(300) };
const PATIENCE: Duration = Duration::from_secs(60);

/// Who leads: one more while a leader works.
#[derive(Debug, Default)]
struct Leaders {
    now: AtomicUsize,
    most: AtomicUsize,
    last: AtomicUsize,
}

/// Counted while it works, and not any more when it is dropped.
struct Leading(Arc<Leaders>);

#[derive(Debug)]
struct Candidate {
    task: JoinHandle<()>,
    shutdown: CancellationToken,
}

impl Leading {
    fn begin(leaders: &Arc<Leaders>, who: usize) -> Self {
        let now = leaders.now.fetch_add(1, Ordering::SeqCst) + 1;
        leaders.most.fetch_max(now, Ordering::SeqCst);
        leaders.last.store(who, Ordering::SeqCst);
        Self(Arc::clone(leaders))
    }
}

impl Drop for Leading {
    fn drop(&mut self) {
        self.0.now.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Leaders {
    async fn until_led(&self, by: impl Fn(usize) -> bool) -> usize {
        let wait = async {
            loop {
                let last = self.last.load(Ordering::SeqCst);
                if self.now.load(Ordering::SeqCst) == 1 && by(last) {
                    return last;
                }
                sleep(Duration::from_millis(20)).await;
            }
        };
        timeout(PATIENCE, wait).await.expect("a leader")
    }

    async fn until_leaderless(&self) {
        let wait = async {
            while self.now.load(Ordering::SeqCst) > 0 {
                sleep(Duration::from_millis(20)).await;
            }
        };
        timeout(PATIENCE, wait).await.expect("no leader");
    }
}

async fn client(kubeconfig: &Path) -> Client {
    crate::kubernetes::client::choose_cryptography();
    let kubeconfig = Kubeconfig::read_from(kubeconfig).unwrap();
    let config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await.unwrap();
    Client::try_from(config).unwrap()
}

async fn stand(server: &ApiServer, leaders: &Arc<Leaders>, who: usize) -> Candidate {
    let client = client(&server.kubeconfig()).await;
    let metrics = Metrics::unregistered();
    let election = Election::new(&client, "default", "podtap", format!("replica-{who}"), TERMS, metrics);
    let shutdown = CancellationToken::new();
    let (stop, leaders) = (shutdown.clone(), Arc::clone(leaders));
    let task = tokio::spawn(async move {
        let work = || async {
            let _leading = Leading::begin(&leaders, who);
            std::future::pending().await
        };
        election.run(&stop, work).await;
    });
    Candidate { task, shutdown }
}

#[tokio::test(flavor = "multi_thread")]
async fn there_is_one_leader_whatever_happens_to_it() {
    let Some(server) = ApiServer::start_or_skip() else { return };
    let leaders = Arc::new(Leaders::default());
    let mut candidates = Vec::new();
    for who in 1..=3 {
        candidates.push(stand(&server, &leaders, who).await);
    }
    let first = leaders.until_led(|_| true).await;

    // It dies: another one takes over when the lease has run out.
    candidates[first - 1].task.abort();
    let second = leaders.until_led(|who| who != first).await;

    // It ends properly: another one takes over.
    candidates[second - 1].shutdown.cancel();
    (&mut candidates[second - 1].task).await.unwrap();
    let third = leaders.until_led(|who| who != first && who != second).await;

    // It can't renew, and stops before anybody else could lead; then it takes the lease again.
    server.kill().unwrap();
    leaders.until_leaderless().await;
    server.revive().unwrap();
    leaders.until_led(|who| who == third).await;
    assert_eq!(leaders.most.load(Ordering::SeqCst), 1);

    let lease: Lease =
        Api::namespaced(client(&server.kubeconfig()).await, "default").get("podtap").await.unwrap();
    let spec = lease.spec.unwrap();
    assert_eq!(spec.holder_identity, Some(format!("replica-{third}")));
    assert_eq!(spec.lease_transitions, Some(2));
}
