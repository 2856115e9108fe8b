//! The ends of connections have names, whatever becomes of the API server.

use serde_json::json;
use tap_proto::v1::{Endpoint, Exchange, Role};
use tempfile::tempdir;

use super::cluster::{Cluster, NAMESPACE, NODE_IP};
use crate::support::{Agent, exchange, search, until};

/// An exchange of the tapped pod `front-1` as the client of that end, now.
fn call(path: &str, ip: &str, port: u32) -> Exchange {
    let end = |ip: &str, port| Some(Endpoint { ip: ip.to_owned(), port, ..Endpoint::default() });
    Exchange {
        role: Role::Outbound.into(),
        namespace: NAMESPACE.to_owned(),
        pod: "front-1".to_owned(),
        workload: "Deployment/front".to_owned(),
        source: end("10.244.1.1", 40_000),
        destination: end(ip, port),
        ..exchange(path)
    }
}

/// Who was called, of the exchange with this path: pod, service, workload.
async fn called(collector: std::net::SocketAddr, path: &str) -> [String; 3] {
    let found = search(collector, &format!("request.path == {path:?}")).await;
    let [exchange] = found.as_slice() else { panic!("{} exchanges of {path}", found.len()) };
    let Endpoint { pod, service, workload, .. } = exchange.destination.clone().unwrap();
    [pod, service, workload]
}

#[tokio::test]
async fn ends_are_named_while_the_api_server_comes_and_goes() {
    let Some(cluster) = Cluster::start().await else { return };
    let cart = cluster.run_pod("cart", "10.244.2.3").await;
    let spec = json!({"ports": [{"port": 80}], "selector": {"app": "cart"}});
    let service = cluster.create("v1", "Service", json!({"metadata": {"name": "cart"}, "spec": spec})).await;
    let cluster_ip = service.data["spec"]["clusterIP"].as_str().unwrap().to_owned();

    let store = tempdir().unwrap();
    let collector = cluster.collector(store.path());
    collector.until_ready().await;
    let mut agent = Agent::connect(collector.grpc, "n1", 1).await;
    agent
        .send(
            1,
            vec![
                call("/pod", "10.244.2.3", 8080),
                call("/service", &cluster_ip, 80),
                call("/node", NODE_IP, 22),
                call("/outside", "203.0.113.9", 443),
            ],
        )
        .await;
    agent.until_acknowledged(1).await;
    let named = |names: [&str; 3]| names.map(str::to_owned);
    assert_eq!(called(collector.grpc, "/pod").await, named([&cart, "", "Deployment/cart"]));
    assert_eq!(called(collector.grpc, "/service").await, named(["", "cart", ""]));
    assert_eq!(called(collector.grpc, "/node").await, named(["", "", "Node/n1"]));
    assert_eq!(called(collector.grpc, "/outside").await, named(["", "", ""]));
    let by_name = r#"source.workload == "Deployment/front" && destination.pod.startsWith("cart-")"#;
    assert_eq!(search(collector.grpc, by_name).await.len(), 1);
    assert_eq!(collector.metric("podtap_collector_peers_total{result=\"resolved\"} ").await, Some(3.0));
    assert_eq!(collector.metric("podtap_collector_peers_total{result=\"unknown\"} ").await, Some(1.0));

    // Without the API server what was known is known, and nothing waits.
    cluster.server.kill().unwrap();
    agent.send(2, vec![call("/away", "10.244.2.3", 8080)]).await;
    agent.until_acknowledged(2).await;
    assert_eq!(called(collector.grpc, "/away").await, named([&cart, "", "Deployment/cart"]));
    cluster.server.revive().unwrap();
    until("the API server is back", async || cluster.client.apiserver_version().await.is_ok()).await;

    // What changed meanwhile is learnt: the address goes on to another pod.
    cluster.delete_pod(&cart).await;
    let next = cluster.run_pod("next", "10.244.2.3").await;
    let mut sequence = 2;
    until("the next pod is known", async || {
        sequence += 1;
        let path = format!("/next/{sequence}");
        agent.send(sequence, vec![call(&path, "10.244.2.3", 8080)]).await;
        agent.until_acknowledged(sequence).await;
        let [pod, _, _] = called(collector.grpc, &path).await;
        assert!(pod.is_empty() || pod == cart || pod == next, "{pod}");
        pod == next
    })
    .await;
    // One more where the server that came back has no history.
    for kind in ["pods", "services", "nodes"] {
        let lists = cluster.requests("list", kind);
        assert!((1..=2).contains(&lists), "{lists} lists of {kind}");
    }
    collector.terminate().await;
}

#[tokio::test]
async fn a_history_that_the_api_server_forgot_is_listed_anew() {
    let Some(cluster) = Cluster::start().await else { return };
    let cart = cluster.run_pod("cart", "10.244.2.3").await;
    let store = tempdir().unwrap();
    let collector = cluster.collector(store.path());
    collector.until_ready().await;
    let mut agent = Agent::connect(collector.grpc, "n1", 1).await;

    cluster.delete_pod(&cart).await;
    let next = cluster.run_pod("next", "10.244.2.4").await;
    cluster.server.compact().unwrap();
    cluster.restart_server().await;
    let mut sequence = 0;
    until("the next pod is known", async || {
        sequence += 1;
        let path = format!("/{sequence}");
        agent.send(sequence, vec![call(&path, "10.244.2.4", 8080)]).await;
        agent.until_acknowledged(sequence).await;
        called(collector.grpc, &path).await[0] == next
    })
    .await;
    collector.terminate().await;
}

#[tokio::test]
async fn without_an_api_server_the_collector_serves_all_the_same() {
    let store = tempdir().unwrap();
    let folder = tempdir().unwrap();
    let kubeconfig = folder.path().join("kubeconfig");
    // Nobody listens there.
    std::fs::write(
        &kubeconfig,
        "{apiVersion: v1, kind: Config, current-context: c, clusters: [{name: c, cluster: {server: \
         'https://127.0.0.1:1'}}], users: [{name: c, user: {token: t}}], contexts: [{name: c, context: {cluster: c, \
         user: c}}]}",
    )
    .unwrap();
    let collector = crate::process::Process::start_with(store.path(), |command| {
        command.env("KUBECONFIG", &kubeconfig).arg("--kubernetes");
    });
    // What it waits for is told once it is known.
    until("it waits for the API server", async || {
        let (status, pending) = crate::support::get(collector.admin, "/ready").await;
        status == 503 && pending.contains("kubernetes")
    })
    .await;
    // It serves before it is ready.
    until("the store is open", async || {
        collector.metric("podtap_collector_store_reachable ").await == Some(1.0)
    })
    .await;
    let mut agent = Agent::connect(collector.grpc, "n1", 1).await;
    agent.send(1, vec![call("/", "10.244.2.3", 8080)]).await;
    agent.until_acknowledged(1).await;
    assert_eq!(called(collector.grpc, "/").await, ["", "", ""]);
    // In time it is ready without.
    collector.until_ready().await;
    collector.terminate().await;
}
