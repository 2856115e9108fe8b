use k8s_openapi::serde_json::{Value, from_value, json};
use prost_types::Timestamp;

use super::*;

/// 2026-01-01T00:00:00Z
const START: i64 = 1_767_225_600;

fn peers() -> Peers {
    Peers::new(Metrics::unregistered())
}

/// Tells of an object as the API server does.
fn apply<K: Watched + Claims>(peers: &Peers, object: Value) {
    let object: K = from_value(object).unwrap();
    let now = START * 1_000 + 60_000;
    let claim = object.claim(now).unwrap();
    peers.with_index(|index| index.apply(claim, now));
}

fn pod(name: &str, ip: &str, owner: Value) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": name, "namespace": "shop", "uid": format!("uid-{name}"),
            "labels": {"pod-template-hash": "6d4cf56db6"}, "ownerReferences": owner,
            "annotations": {"ignored": "yes"},
        },
        "spec": {"nodeName": "n1", "containers": [{"name": "app", "image": "app:1", "ports": [{"containerPort": 8080}]}]},
        "status": {
            "phase": "Running", "hostIP": "10.250.0.1", "podIP": ip, "podIPs": [{"ip": ip}, {"ip": "fd00::5"}],
            "containerStatuses": [{"name": "app", "state": {"running": {"startedAt": "2026-01-01T00:00:10Z"}}}],
        },
    })
}

fn deployed(name: &str) -> Value {
    json!([{"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": name, "uid": "rs", "controller": true}])
}

fn service() -> Value {
    json!({
        "metadata": {"name": "cart", "namespace": "shop", "uid": "uid-cart", "creationTimestamp": "2026-01-01T00:00:00Z"},
        "spec": {
            "clusterIP": "10.96.0.7", "clusterIPs": ["10.96.0.7"],
            "externalIPs": ["10.244.1.9"],
            "ports": [{"port": 80, "targetPort": "http", "nodePort": 30080, "protocol": "TCP"}],
        },
        "status": {"loadBalancer": {"ingress": [{"ip": "192.0.2.1"}, {"hostname": "lb.example"}]}},
    })
}

fn node() -> Value {
    json!({
        "metadata": {"name": "n1", "uid": "uid-n1", "creationTimestamp": "2026-01-01T00:00:00Z"},
        "status": {"addresses": [
            {"type": "InternalIP", "address": "10.250.0.1"}, {"type": "Hostname", "address": "n1"},
        ]},
    })
}

fn host_pod() -> Value {
    let mut pod = pod("exporter", "10.250.0.1", json!([]));
    pod["spec"]["hostNetwork"] = json!(true);
    pod["spec"]["containers"][0]["ports"] =
        json!([{"containerPort": 9100, "hostPort": 9100, "protocol": "TCP"}]);
    pod
}

/// An exchange of the tapped pod `shop/front-1`, 30 seconds after the start.
fn exchange(role: Role, other: (&str, u32)) -> Exchange {
    let end = |(ip, port): (&str, u32)| Some(Endpoint { ip: ip.to_owned(), port, ..Endpoint::default() });
    let tapped = end(("10.244.1.1", 8080));
    let other = end(other);
    let (source, destination) = if role == Role::Inbound { (other, tapped) } else { (tapped, other) };
    Exchange {
        role: role.into(),
        time: Some(Timestamp { seconds: START + 30, nanos: 0 }),
        namespace: "shop".to_owned(),
        pod: "front-1".to_owned(),
        workload: "Deployment/front".to_owned(),
        source,
        destination,
        ..Exchange::default()
    }
}

/// The names of an end: namespace, pod, service, workload.
fn names(end: Option<&Endpoint>) -> [&str; 4] {
    let end = end.unwrap();
    [&end.namespace, &end.pod, &end.service, &end.workload].map(String::as_str)
}

fn cluster() -> Peers {
    let peers = peers();
    apply::<Pod>(&peers, pod("cart-6d4cf56db6-x2", "10.244.2.3", deployed("cart-6d4cf56db6")));
    apply::<Pod>(&peers, host_pod());
    apply::<Service>(&peers, service());
    apply::<Node>(&peers, node());
    peers
}

#[test]
fn both_ends_are_named() {
    let peers = cluster();
    let unknown = ["", "", "", ""];
    let cart = ["shop", "cart-6d4cf56db6-x2", "", "Deployment/cart"];
    let service = ["shop", "", "cart", ""];
    let node = ["", "", "", "Node/n1"];
    let exporter = ["shop", "exporter", "", "Pod/exporter"];
    let cases = [
        (Role::Outbound, ("10.244.2.3", 8080), cart),
        (Role::Inbound, ("10.244.2.3", 43210), cart),
        (Role::Inbound, ("fd00::5", 43210), cart),
        (Role::Outbound, ("10.96.0.7", 80), service),
        (Role::Outbound, ("192.0.2.1", 80), service),
        (Role::Outbound, ("192.0.2.1", 81), unknown),
        (Role::Outbound, ("10.250.0.1", 30080), service),
        (Role::Outbound, ("10.250.0.1", 9100), exporter),
        // A client's port says nothing of who it is.
        (Role::Inbound, ("10.250.0.1", 9100), node),
        (Role::Outbound, ("10.250.0.1", 22), node),
        (Role::Outbound, ("203.0.113.5", 443), unknown),
        // Anybody could have claimed it.
        (Role::Outbound, ("10.244.1.9", 80), unknown),
    ];
    for (role, other, expected) in cases {
        let mut exchanges = [exchange(role, other)];
        peers.name(&mut exchanges);
        let [named] = &exchanges;
        let (tapped, found) = match role {
            Role::Inbound => (named.destination.as_ref(), named.source.as_ref()),
            _ => (named.source.as_ref(), named.destination.as_ref()),
        };
        assert_eq!(names(found), expected, "{role:?} {other:?}");
        assert_eq!(names(tapped), ["shop", "front-1", "", "Deployment/front"]);
    }
    let counted = |result| peers.metrics.peers_named(result);
    assert_eq!([counted("resolved"), counted("unknown"), counted("ambiguous")], [9, 3, 0]);
}

#[test]
fn names_that_are_there_stay() {
    let peers = cluster();
    let mut named = exchange(Role::Outbound, ("10.244.2.3", 8080));
    named.destination.as_mut().unwrap().service = "by-the-agent".to_owned();
    named.source.as_mut().unwrap().workload = "Deployment/other".to_owned();
    let mut without_end = exchange(Role::Inbound, ("10.244.2.3", 1));
    without_end.source = None;
    let before = [named, without_end];
    let mut exchanges = before.clone();
    exchanges[1].destination.as_mut().unwrap().pod = "front-1".to_owned();
    let expected = exchanges.clone();
    peers.name(&mut exchanges);
    assert_eq!(exchanges, expected);
}

#[test]
fn a_pod_that_talks_to_itself_is_at_both_ends() {
    let peers = cluster();
    let talk = |pod: &str, uid: &str| {
        let mut exchanges = [exchange(Role::Outbound, ("127.0.0.1", 15_001))];
        exchanges[0].pod = pod.to_owned();
        exchanges[0].pod_uid = uid.to_owned();
        exchanges[0].source.as_mut().unwrap().ip = "127.0.0.1".to_owned();
        peers.name(&mut exchanges);
        exchanges[0].destination.as_ref().unwrap().pod.clone()
    };
    assert_eq!(talk("cart-6d4cf56db6-x2", "uid-cart-6d4cf56db6-x2"), "cart-6d4cf56db6-x2");
    // On the host's network anybody may listen there; of a pod that is not known it isn't known either.
    assert_eq!(talk("exporter", "uid-exporter"), "");
    assert_eq!(talk("other", "uid-other"), "");
}

#[test]
fn an_exchange_from_before_is_named_by_who_was_there_then() {
    let peers = peers();
    let mut job = pod("job", "10.244.2.3", json!([]));
    job["status"]["phase"] = json!("Succeeded");
    job["status"]["containerStatuses"][0]["state"] = json!({"terminated": {
        "startedAt": "2026-01-01T00:00:10Z", "finishedAt": "2026-01-01T00:00:31Z",
    }});
    apply::<Pod>(&peers, job);
    let mut next = pod("next", "10.244.2.3", json!([]));
    next["status"]["containerStatuses"][0]["state"] =
        json!({"running": {"startedAt": "2026-01-01T00:00:40Z"}});
    apply::<Pod>(&peers, next);
    let found = |seconds| {
        let mut exchanges = [exchange(Role::Outbound, ("10.244.2.3", 80))];
        exchanges[0].time = Some(Timestamp { seconds: START + seconds, nanos: 0 });
        peers.name(&mut exchanges);
        let [exchange] = exchanges;
        exchange.destination.unwrap().pod
    };
    assert_eq!([found(5), found(20), found(35), found(50)], ["", "job", "", "next"]);
}

#[test]
fn hostile_exchanges_do_no_harm() {
    let peers = cluster();
    let mut exchanges = vec![
        Exchange { role: 99, ..exchange(Role::Inbound, ("10.244.2.3", 1)) },
        Exchange { time: None, ..exchange(Role::Inbound, ("10.244.2.3", 1)) },
        Exchange {
            time: Some(Timestamp { seconds: i64::MAX, nanos: i32::MAX }),
            ..exchange(Role::Outbound, ("10.244.2.3", u32::MAX))
        },
        exchange(Role::Inbound, ("not an address", 1)),
    ];
    peers.name(&mut exchanges);
}
