//! The agent, the API server and the collector end and come back. Each scenario is alone in the cluster.

use std::collections::BTreeSet;

use podtap_tests::{Kubectl, skip, until};
use tap_proto::v1::Exchange;

use crate::{
    cluster::{Turn, eventually, kubectl, nodes, tool},
    installation::{Collector, SYSTEM, ready, system_pod},
    namespace::{Namespace, Pod, Server},
    programs::{until_attached, until_detached},
};

/// A tapped server, and a client on another node.
struct Rig {
    namespace: Namespace,
    server: Pod,
    client: Pod,
}

impl Rig {
    fn new(name: &str) -> Self {
        let [near, far] = nodes();
        let namespace = Namespace::create(name);
        namespace.policy("web", "{selector: {matchLabels: {app: web}}}");
        namespace.deploy(Server { node: &far, ..Server::nginx("web") });
        let client = namespace.client("client", &near);
        namespace.tapped("web", 1);
        let server = namespace.pods("app=web").remove(0);
        until_attached(&server);
        Self { namespace, server, client }
    }

    fn ask(&self, path: &str, count: u32) {
        self.namespace.ask(&self.client.name, &format!("http://{}:8080/{path}/", self.server.ip), 0..count);
    }

    fn filter(&self, path: &str) -> String {
        format!("namespace == \"{}\" && request.path.startsWith(\"/{path}/\")", self.namespace.name())
    }
}

fn ids(exchanges: &[Exchange]) -> BTreeSet<&str> {
    exchanges.iter().map(|exchange| &*exchange.id).collect()
}

fn system() -> Kubectl {
    kubectl().with(&["--namespace", SYSTEM])
}

#[test]
fn the_agent_is_killed() {
    let _turn = Turn::alone();
    let collector = Collector::connect();
    let rig = Rig::new("agent");
    rig.ask("before", 5);
    let before = collector.stored(&rig.filter("before"), 5);

    let agent = system_pod("app.kubernetes.io/component=agent", &rig.server.node);
    system().run(&["delete", "pod", &agent, "--grace-period=0", "--force"]).unwrap();
    // Its programs went with it: the pod is as if it had never been tapped, until the next agent comes.
    rig.ask("meanwhile", 5);
    until("another agent", || {
        let next = system_pod("app.kubernetes.io/component=agent", &rig.server.node);
        if next.is_empty() || next == agent { Err(next) } else { Ok(()) }
    })
    .unwrap();
    ready();
    until_attached(&rig.server);
    rig.namespace.tapped("web", 1);
    rig.ask("after", 5);

    collector.stored(&rig.filter("after"), 5);
    let kept = collector.search(&rig.filter("before"));
    assert_eq!(ids(&kept), ids(&before));
    let meanwhile = collector.search(&rig.filter("meanwhile"));
    assert!(meanwhile.len() <= 5 && ids(&meanwhile).len() == meanwhile.len());
    collector.settled(rig.namespace.name());
}

#[test]
fn the_api_server_is_away() {
    let Some(tool) = tool() else {
        skip("the API server of a cluster that is not the tests' own is not theirs to kill");
        return;
    };
    let _turn = Turn::alone();
    let collector = Collector::connect();
    let rig = Rig::new("api");
    // By no way that needs the API server.
    let number = rig.client.node.trim_start_matches("node").to_owned();
    let ask = |path: &str| {
        let url = format!("http://{}:8080/{path}/[0-4]", rig.server.ip);
        let arguments = ["--node", &*number, "--", "curl", "-fsS", "-m", "10", &*url];
        tool.run(&["enter"], arguments).unwrap();
    };
    ask("before");
    collector.stored(&rig.filter("before"), 5);

    tool.run(&["kill"], ["node1/kube-apiserver"]).unwrap();
    ask("away");
    tool.run(&["revive"], ["node1/kube-apiserver"]).unwrap();
    eventually(&kubectl(), &["get", "--raw", "/readyz"]);
    // The way to the collector broke with the API server, nothing else.
    let collector = Collector::connect();
    collector.stored(&rig.filter("away"), 5);

    // What changes from here on is seen again.
    rig.namespace.deploy(Server { labels: "late: 'true'", ..Server::nginx("late") });
    rig.namespace.policy("late", "{selector: {matchLabels: {app: late}}}");
    rig.namespace.tapped("late", 1);
    let late = rig.namespace.pods("app=late").remove(0);
    until_attached(&late);
    rig.namespace.ask(&rig.client.name, &format!("http://{}:8080/late/", late.ip), 0..2);
    assert_eq!(collector.stored(&rig.filter("late"), 2)[0].pod, late.name);
    rig.namespace.kubectl().run(&["delete", "tappolicy", "web"]).unwrap();
    until_detached(&rig.server);
    let totals = collector.settled(rig.namespace.name());
    assert_eq!(totals.stored.exchanges, 12, "{totals:#?}");
}

#[test]
fn the_collector_is_away() {
    let _turn = Turn::alone();
    let collector = Collector::connect();
    let rig = Rig::new("collector");
    rig.ask("before", 5);
    let before = collector.stored(&rig.filter("before"), 5);
    let first = rig.namespace.pods("app=web");

    system().run(&["scale", "statefulset/podtap-collector", "--replicas=0"]).unwrap();
    eventually(
        &system(),
        &["wait", "--for=delete", "pod", "-l", "app.kubernetes.io/component=collector", "--timeout=20s"],
    );
    rig.ask("away", 20);
    // Nor does the death of the pod lose what it said while nobody listened.
    rig.namespace.kubectl().run(&["scale", "deployment/web", "--replicas=0"]).unwrap();
    system().run(&["scale", "statefulset/podtap-collector", "--replicas=1"]).unwrap();
    ready();

    let collector = Collector::connect();
    let away = collector.stored(&rig.filter("away"), 20);
    assert_eq!(ids(&away).len(), 20);
    assert!(away.iter().all(|exchange| exchange.pod == first[0].name));
    assert_eq!(ids(&collector.search(&rig.filter("before"))), ids(&before));
    let totals = collector.settled(rig.namespace.name());
    assert_eq!(totals.stored.exchanges, 25, "{totals:#?}");
}
