//! Pods come, change and go: capture follows.

use std::collections::BTreeSet;

use podtap_tests::until;

use crate::{
    cluster::{Turn, eventually, json, nodes, text},
    installation::Collector,
    namespace::{Namespace, Server},
    programs::{assert_untouched, until_attached, until_detached},
};

#[test]
fn a_new_pods_first_request_after_it_is_ready() {
    let _turn = Turn::shared();
    let collector = Collector::connect();
    let [near, far] = nodes();
    let namespace = Namespace::create("new");
    namespace.policy("web", "{selector: {matchLabels: {app: web}}}");
    let client = namespace.client("client", &near);
    for round in 0..3 {
        // Returns as soon as the Deployment's pods are ready.
        namespace.deploy(Server { node: &far, ..Server::nginx("web") });
        let pod = namespace.pods("app=web").remove(0);
        namespace.ask(&client.name, &format!("http://{}:8080/first/", pod.ip), round..round + 1);
        let filter = format!("namespace == \"{}\" && request.path == \"/first/{round}\"", namespace.name());
        assert_eq!(collector.stored(&filter, 1)[0].pod, pod.name);
        namespace.kubectl().run(&["delete", "deployment", "web", "--wait=true"]).unwrap();
    }
    assert_untouched(&client);
}

#[test]
fn a_job_of_one_second() {
    let _turn = Turn::shared();
    let collector = Collector::connect();
    let [near, far] = nodes();
    let namespace = Namespace::create("job");
    namespace.deploy(Server { node: &near, ..Server::nginx("web") });
    let url = format!("http://{}/job", namespace.cluster_ip("web"));
    namespace.policy("short", "{selector: {matchLabels: {app: short}}, direction: outbound}");
    let job = format!(
        "
apiVersion: batch/v1
kind: Job
metadata: {{name: short}}
spec:
  template:
    metadata: {{labels: {{app: short}}}}
    spec:
      nodeName: {far}
      restartPolicy: Never
      automountServiceAccountToken: false
      containers:
      - name: ask
        image: podtap/e2e:1
        command: [sh, -c, 'sleep 1; curl -fsS -o /dev/null {url}']
"
    );
    namespace.kubectl().apply(&job).unwrap();
    eventually(namespace.kubectl(), &["wait", "--for=condition=Complete", "job/short", "--timeout=20s"]);
    let exchange = collector.stored(&format!("namespace == \"{}\"", namespace.name()), 1).remove(0);
    assert_eq!((&*exchange.workload, &*exchange.container), ("Job/short", "ask"));
    let totals = collector.settled(namespace.name());
    assert_eq!(totals.stored.exchanges, 1, "{totals:#?}");
}

#[test]
fn relabelled_scaled_rolled_and_deleted() {
    let _turn = Turn::shared();
    let collector = Collector::connect();
    let [near, _] = nodes();
    let namespace = Namespace::create("change");
    namespace.deploy(Server::nginx("web"));
    let client = namespace.client("client", &near);
    let first = namespace.pods("app=web").remove(0);
    let from = |path: &str| {
        format!("namespace == \"{}\" && request.path.startsWith(\"/{path}/\")", namespace.name())
    };
    let ask_pod = |ip: &str, path: &str| {
        namespace.ask(&client.name, &format!("http://{ip}:8080/{path}/"), 0..2);
    };

    // Not selected; selected by a label; and not any more.
    namespace
        .policy("web", "{selector: {matchExpressions: [{key: tap, operator: In, values: ['yes', 'sure']}]}}");
    namespace.tapped("web", 0);
    assert_untouched(&first);
    ask_pod(&first.ip, "before");
    let label = |pod: &str, value: &str| {
        namespace.kubectl().run(&["label", "--overwrite", "pod", pod, &format!("tap={value}")]).unwrap();
    };
    label(&first.name, "yes");
    until_attached(&first);
    ask_pod(&first.ip, "labelled");
    label(&first.name, "no");
    until_detached(&first);
    ask_pod(&first.ip, "between");
    label(&first.name, "sure");
    until_attached(&first);
    ask_pod(&first.ip, "again");
    collector.stored(&from("labelled"), 2);
    collector.stored(&from("again"), 2);

    // Another policy, for all of the Deployment's pods; three of them.
    namespace.policy("app", "{selector: {matchLabels: {app: web}}}");
    namespace.kubectl().run(&["scale", "deployment/web", "--replicas=3"]).unwrap();
    namespace.rolled_out("web");
    namespace.tapped("app", 3);
    let three = namespace.pods("app=web");
    assert_eq!(three.len(), 3);
    for pod in &three {
        until_attached(pod);
        ask_pod(&pod.ip, "scaled");
    }
    let pods: BTreeSet<_> =
        collector.stored(&from("scaled"), 6).into_iter().map(|exchange| exchange.pod).collect();
    assert_eq!(pods, three.iter().map(|pod| pod.name.clone()).collect());

    // Every pod is replaced by another.
    namespace.kubectl().run(&["rollout", "restart", "deployment/web"]).unwrap();
    namespace.rolled_out("web");
    let rolled = until("the old pods are gone", || {
        let pods = namespace.pods("app=web");
        if pods.len() == 3 { Ok(pods) } else { Err(format!("{pods:?}")) }
    })
    .unwrap();
    assert!(rolled.iter().all(|pod| three.iter().all(|old| old.uid != pod.uid)));
    for pod in &rolled {
        ask_pod(&pod.ip, "rolled");
    }
    let exchanges = collector.stored(&from("rolled"), 6);
    assert!(exchanges.iter().all(|exchange| exchange.workload == "Deployment/web"));

    // The policies go: so do the programs.
    namespace.tapped("app", 3);
    namespace.kubectl().run(&["delete", "tappolicies", "--all"]).unwrap();
    rolled.iter().for_each(until_detached);
    ask_pod(&rolled[0].ip, "after");

    let totals = collector.settled(namespace.name());
    assert_eq!(totals.stored.exchanges, 16, "{totals:#?}");
    for path in ["before", "between", "after"] {
        assert_eq!(collector.search(&from(path)).len(), 0, "{path}");
    }
    assert_untouched(&client);
}

#[test]
fn a_container_that_crashes_and_comes_back() {
    let _turn = Turn::shared();
    let collector = Collector::connect();
    let [near, far] = nodes();
    let namespace = Namespace::create("crash");
    namespace.deploy(Server { node: &far, ..Server::nginx("web") });
    let client = namespace.client("client", &near);
    let pod = namespace.pods("app=web").remove(0);
    namespace.policy("web", "{selector: {matchLabels: {app: web}}, containers: [server]}");
    namespace.tapped("web", 1);

    let url = format!("http://{}:8080/life/", pod.ip);
    namespace.ask(&client.name, &url, 0..1);
    for life in 1..3_u32 {
        let _ = namespace.kubectl().run(&["exec", &pod.name, "--", "sh", "-c", "kill -TERM 1"]);
        until("the container is back", || {
            let object = json(namespace.kubectl(), &["get", "pod", &pod.name]);
            let status = &object["status"]["containerStatuses"][0];
            let back = status["restartCount"] == life && status["ready"] == true;
            if back { Ok(()) } else { Err(format!("{status:#}")) }
        })
        .unwrap();
        namespace.ask(&client.name, &url, life..life + 1);
    }
    let exchanges = collector.stored(&format!("namespace == \"{}\"", namespace.name()), 3);
    for exchange in &exchanges {
        assert_eq!((&*exchange.pod, &*exchange.container), (&*pod.name, "server"));
    }
    let totals = collector.settled(namespace.name());
    assert_eq!(totals.stored.exchanges, 3, "{totals:#?}");
    let object = json(namespace.kubectl(), &["get", "pod", &pod.name]);
    assert_eq!(text(&object["metadata"]["uid"]), pod.uid);
}
