//! What a policy's status says, when it changes, and that it is left alone otherwise.

use std::time::Duration;

use serde_json::{Value, json};
use tap_proto::v1::{Amount, Ledger, Loss, PolicyProblem, PolicyReport, TargetLedger};
use tempfile::tempdir;
use tokio::time::{Instant, sleep};

use super::cluster::{Cluster, NAMESPACE};
use crate::support::{Agent, until};

const API: &str = "podtap.dev/v1alpha1";
const WRITES: (&str, &str) = ("patch", "tappolicies/status");

impl Cluster {
    pub(super) async fn install_policies(&self) {
        let definition = serde_json::to_string(&tap_policy::crd()).unwrap();
        self.server.kubectl().finish(&["apply", "--validate=false", "-f", "-"], &definition).unwrap();
        let list = ["get", "tappolicies", "--all-namespaces"];
        until("the definition is served", async || self.server.kubectl().run(&list).is_ok()).await;
    }

    pub(super) async fn policy(&self, name: &str, spec: Value) -> String {
        let policy = self.create(API, "TapPolicy", json!({"metadata": {"name": name}, "spec": spec})).await;
        policy.metadata.uid.unwrap()
    }

    pub(super) async fn status(&self, name: &str) -> Value {
        self.get(API, "TapPolicy", name).await.data["status"].clone()
    }

    /// Waits until a condition of the policy has this status and reason.
    pub(super) async fn until_condition(
        &self,
        policy: &str,
        kind: &str,
        status: &str,
        reason: &str,
    ) -> Value {
        let mut last = Value::Null;
        until(&format!("{policy}: {kind}={status} {reason}"), async || {
            last = self.status(policy).await;
            let found = condition(&last, kind);
            found["status"] == status && found["reason"] == reason
        })
        .await;
        last
    }

    fn writes(&self) -> usize {
        let (verb, resource) = WRITES;
        self.requests(verb, resource)
    }
}

fn condition<'a>(status: &'a Value, kind: &str) -> &'a Value {
    let conditions = status["conditions"].as_array().map(Vec::as_slice).unwrap_or_default();
    conditions.iter().find(|condition| condition["type"] == kind).unwrap_or(&Value::Null)
}

/// What the agent of one node says of the policy `cart`.
fn ledger(uid: &str, matched_pods: u32, active_taps: u32, stored: u64) -> Ledger {
    let amount = |exchanges| Some(Amount { exchanges, bytes: 100 * exchanges, segments: 0 });
    let sampled = Loss { stage: "policy".to_owned(), reason: "sample".to_owned(), amount: amount(50) };
    Ledger {
        targets: vec![TargetLedger {
            target: format!("{NAMESPACE}/cart-1"),
            seen: amount(stored + 50),
            assembled: amount(stored + 50),
            stored: amount(stored),
            losses: vec![sampled],
            policies: vec![format!("{NAMESPACE}/cart")],
            ..TargetLedger::default()
        }],
        policies: vec![PolicyReport {
            namespace: NAMESPACE.to_owned(),
            name: "cart".to_owned(),
            uid: uid.to_owned(),
            observed_generation: 1,
            matched_pods,
            active_taps,
            problems: Vec::new(),
        }],
        ..Ledger::default()
    }
}

/// Sends the ledger every now and then, as an agent does, for as long as it is polled.
async fn keep_reporting(agent: &Agent, ledger: &Ledger) {
    loop {
        agent.send_ledger(ledger.clone()).await;
        sleep(Duration::from_millis(300)).await;
    }
}

#[tokio::test]
async fn a_status_follows_its_policy_and_the_agents_and_rests_otherwise() {
    let Some(cluster) = Cluster::start().await else { return };
    cluster.install_policies().await;
    let store = tempdir().unwrap();
    let collector = cluster.collector(store.path());
    collector.until_ready().await;

    let selector = json!({"matchLabels": {"app": "cart"}});
    let uid = cluster.policy("cart", json!({"selector": selector})).await;
    let wrong = json!({"selector": selector, "filter": "request.path.startsWith(\"/cart\" &&"});
    cluster.policy("wrong", wrong).await;

    // Nobody reports; each is judged for itself.
    let status = cluster.until_condition("cart", "Capturing", "False", "NoAgents").await;
    assert_eq!(condition(&status, "Accepted")["status"], "True");
    assert_eq!((&status["observedGeneration"], &status["matchedPods"]), (&json!(1), &json!(0)));
    let status = cluster.until_condition("wrong", "Capturing", "False", "NotAccepted").await;
    let accepted = condition(&status, "Accepted");
    assert_eq!((&accepted["status"], &accepted["reason"]), (&json!("False"), &json!("InvalidFilter")));
    let message = accepted["message"].as_str().unwrap();
    assert!(message.starts_with("spec.filter: line 1, column "), "{message}");

    // Two agents of which one has a pod that it can't tap.
    let first = Agent::connect(collector.grpc, "n1", 1).await;
    let second = Agent::connect(collector.grpc, "n2", 2).await;
    first.send_ledger(ledger(&uid, 1, 1, 10)).await;
    let mut partly = ledger(&uid, 2, 1, 5);
    partly.policies[0].problems.push(PolicyProblem {
        reason: "CgroupNotFound".to_owned(),
        message: "no cgroup below kubepods".to_owned(),
        pod: "cart-3".to_owned(),
    });
    second.send_ledger(partly).await;
    let status = cluster.until_condition("cart", "Capturing", "True", "SomePods").await;
    assert_eq!(
        [&status["matchedPods"], &status["activeTaps"], &status["agents"]],
        [3, 2, 2].map(|n| json!(n)).each_ref()
    );
    assert_eq!(condition(&status, "Degraded")["reason"], "CgroupNotFound");
    assert_eq!(condition(&status, "Degraded")["message"], "pod cart-3: no cgroup below kubepods");
    let totals = json!({
        "seenBytes": 11_500, "exchanges": 115, "storedExchanges": 15, "lostExchanges": 0, "lostBytes": 0,
    });
    assert_eq!(status["ledger"], totals);
    let since = condition(&status, "Accepted")["lastTransitionTime"].clone();

    // It can be tapped; the agents say so again and again, which is no news.
    let (all, mended) = (ledger(&uid, 1, 1, 10), ledger(&uid, 2, 2, 5));
    let reporting = async { tokio::join!(keep_reporting(&first, &all), keep_reporting(&second, &mended)) };
    let scenario = async {
        let status = cluster.until_condition("cart", "Capturing", "True", "AllPods").await;
        assert_eq!(condition(&status, "Degraded")["status"], "False");
        assert_eq!(condition(&status, "Accepted")["lastTransitionTime"], since);
        let version = cluster.get(API, "TapPolicy", "cart").await.metadata.resource_version;
        let writes = cluster.writes();
        let quiet = Instant::now() + Duration::from_secs(6);
        tokio::time::sleep_until(quiet).await;
        assert_eq!(cluster.get(API, "TapPolicy", "cart").await.metadata.resource_version, version);
        assert_eq!(cluster.writes(), writes, "a status was written without news");

        // Nor is a restart of the API server.
        cluster.restart_server().await;
        cluster.policy("later", json!({"selector": {}})).await;
        cluster.until_condition("later", "Capturing", "False", "NoPodsMatch").await;
        assert_eq!(cluster.get(API, "TapPolicy", "cart").await.metadata.resource_version, version);
        assert_eq!(cluster.writes(), writes + 1);
    };
    tokio::select! {
        _ = reporting => {}
        () = scenario => {}
    }
    collector.terminate().await;
}

#[tokio::test]
async fn another_replica_goes_on_where_the_leader_ended() {
    let Some(cluster) = Cluster::start().await else { return };
    cluster.install_policies().await;
    let uid = cluster.policy("cart", json!({"selector": {"matchLabels": {"app": "cart"}}})).await;
    let store = tempdir().unwrap();
    let leader = cluster.collector(store.path());
    until("it leads", async || leader.metric("podtap_collector_leading ").await == Some(1.0)).await;
    let follower = cluster.collector(store.path());
    follower.until_ready().await;
    assert_eq!(follower.metric("podtap_collector_leading ").await, Some(0.0));

    // The agent talks to the follower: the leader learns it from the store.
    let agent = Agent::connect(follower.grpc, "n1", 1).await;
    let reported = ledger(&uid, 1, 1, 10);
    let scenario = async {
        let status = cluster.until_condition("cart", "Capturing", "True", "AllPods").await;
        assert_eq!(status["ledger"]["storedExchanges"], 10);
        let version = cluster.get(API, "TapPolicy", "cart").await.metadata.resource_version;

        leader.terminate().await;
        until("the other leads", async || follower.metric("podtap_collector_leading ").await == Some(1.0))
            .await;
        cluster.policy("next", json!({"selector": {}})).await;
        cluster.until_condition("next", "Capturing", "False", "NoPodsMatch").await;
        assert_eq!(cluster.get(API, "TapPolicy", "cart").await.metadata.resource_version, version);
    };
    tokio::select! {
        () = keep_reporting(&agent, &reported) => {}
        () = scenario => {}
    }
    follower.terminate().await;
}
