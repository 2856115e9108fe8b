//! Mirrors of TapPolicies: only to targets that are allowed, only what the policy keeps, and the policy's status says so.

use kube::{
    Api,
    api::{DynamicObject, Patch, PatchParams},
};
use serde_json::{Value, json};
use tap_proto::v1::Exchange;
use tempfile::tempdir;

use super::cluster::{Cluster, NAMESPACE};
use crate::{
    mirror::shadow,
    support::{Agent, exchange, until},
};

impl Cluster {
    async fn change_mirror(&self, policy: &str, mirror: Value) {
        let resource = kube::api::ApiResource::erase::<tap_policy::TapPolicy>(&());
        let policies = Api::<DynamicObject>::namespaced_with(self.client.clone(), NAMESPACE, &resource);
        let patch = Patch::Merge(json!({"spec": {"mirror": mirror}}));
        policies.patch(policy, &PatchParams::default(), &patch).await.unwrap();
    }
}

#[tokio::test]
async fn a_policys_mirror_gets_what_the_policy_keeps_and_no_other() {
    let Some(cluster) = Cluster::start().await else { return };
    cluster.install_policies().await;
    let store = tempdir().unwrap();
    let (address, heads) = shadow().await;
    let target = format!("http://{address}");
    let collector = cluster.collector_with(store.path(), &["--allow-mirror-target", &target]);
    collector.until_ready().await;

    let elsewhere = json!({"target": "http://elsewhere.example"});
    cluster.policy("cart", json!({"selector": {}, "mirror": elsewhere})).await;
    cluster.policy("plain", json!({"selector": {}})).await;
    cluster.until_condition("cart", "Mirroring", "False", "TargetNotAllowed").await;
    cluster.change_mirror("cart", json!({"target": target, "filter": "request.paht == 1"})).await;
    let status = cluster.until_condition("cart", "Mirroring", "False", "InvalidMirror").await;
    assert!(status.to_string().contains("filter: "), "{status}");
    cluster.change_mirror("cart", json!({"target": target, "filter": null})).await;
    let status = cluster.until_condition("cart", "Mirroring", "True", "AsExpected").await;
    assert!(status["conditions"].as_array().unwrap().iter().any(|condition| condition["type"] == "Accepted"));

    let mut agent = Agent::connect(collector.grpc, "n1", 1).await;
    let of = |namespace: &str, mirrors: &[&str], path: &str| Exchange {
        namespace: namespace.to_owned(),
        mirrors: mirrors.iter().map(|&name| name.to_owned()).collect(),
        ..exchange(path)
    };
    let sent = vec![
        of(NAMESPACE, &["cart"], "/kept"),
        of(NAMESPACE, &[], "/not-kept"),
        of("bank", &["cart"], "/of-another-namespace"),
    ];
    agent.send(1, sent).await;
    agent.until_acknowledged(1).await;
    until("the shadow's share", async || !heads.lock().unwrap().is_empty()).await;
    agent.send(2, vec![of(NAMESPACE, &["plain", "cart"], "/last")]).await;
    until("the last", async || heads.lock().unwrap().iter().any(|head| head.starts_with("GET /last "))).await;
    let heads = heads.lock().unwrap().clone();
    assert_eq!(heads.len(), 2, "{heads:?}");
    assert!(heads[0].starts_with("GET /kept HTTP/1.1\r\n"));
    assert!(heads[0].contains("\r\nPodtap-Replay: mirror.shop-cart\r\n"), "{}", heads[0]);
}
