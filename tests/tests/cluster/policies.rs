//! What a policy may say, who may say it, and what its author is told.

use podtap_tests::until;

use crate::{
    cluster::{Turn, eventually, kubectl, nodes},
    installation::{Collector, install, manifests},
    namespace::{Namespace, Server, policy},
    programs::{assert_untouched, until_attached},
};

#[test]
fn a_wrong_policy_is_refused_or_told_why_and_the_others_go_on() {
    let _turn = Turn::shared();
    let collector = Collector::connect();
    let [near, far] = nodes();
    let namespace = Namespace::create("wrong");
    namespace.deploy(Server { node: &far, ..Server::nginx("web") });
    let client = namespace.client("client", &near);
    namespace.policy("right", "{selector: {matchLabels: {app: web}}}");

    let refused = [
        ("no-selector", "{ports: [80]}", "selector"),
        ("port", "{selector: {}, ports: [70000]}", "spec.ports"),
        ("percent", "{selector: {}, sample: {percent: 101}}", "spec.sample.percent"),
        ("direction", "{selector: {}, direction: sideways}", "spec.direction"),
    ];
    for (name, spec, field) in refused {
        let error = namespace.kubectl().apply(&policy(name, spec)).unwrap_err().to_string();
        assert!(error.contains(field), "{name}: {error}");
    }

    // What a schema of this age can't check is in the status, with the field and the place.
    let told = [
        ("cel", "{selector: {}, filter: 'request.path == '}", "InvalidFilter", "spec.filter"),
        ("name", "{selector: {}, filter: 'request.colour == \"red\"'}", "InvalidFilter", "spec.filter"),
        (
            "selector",
            "{selector: {matchExpressions: [{key: app, operator: In}]}}",
            "InvalidSelector",
            "spec.selector",
        ),
    ];
    for (name, spec, reason, field) in told {
        namespace.policy(name, spec);
        let status = namespace.status(name, &format!("the status of {name} says no"), |status| {
            condition(status, "Accepted").is_some_and(|condition| condition["status"] == "False")
        });
        let accepted = condition(&status, "Accepted").unwrap();
        assert_eq!(accepted["reason"], reason, "{accepted:#}");
        let message = accepted["message"].as_str().unwrap();
        assert!(message.contains(field), "{message}");
        if name != "selector" {
            assert!(message.contains("line 1") || message.contains("1:"), "no position: {message}");
        }
    }

    namespace.tapped("right", 1);
    assert_untouched(&client);
    namespace.ask(&client.name, &format!("http://{}/still/", namespace.cluster_ip("web")), 0..2);
    collector.stored(&format!("namespace == \"{}\"", namespace.name()), 2);

    // Mended, it works.
    namespace.policy(
        "cel",
        r#"{selector: {matchLabels: {app: client}}, filter: 'request.path.startsWith("/kept/")'}"#,
    );
    namespace.tapped("cel", 1);
    until_attached(&client);
    for path in ["kept", "left"] {
        namespace.ask(&client.name, &format!("http://{}/{path}/", namespace.cluster_ip("web")), 0..2);
    }
    let outbound = format!("namespace == \"{}\" && role == \"outbound\"", namespace.name());
    collector.stored(&format!("namespace == \"{}\" && role == \"inbound\"", namespace.name()), 6);
    collector.stored(&outbound, 2);
    let totals = collector.settled(namespace.name());
    assert_eq!(totals.stored.exchanges, 8, "{totals:#?}");
    assert_eq!(totals.losses["policy/filter"].exchanges, 2, "{totals:#?}");
}

fn condition<'a>(status: &'a serde_json::Value, kind: &str) -> Option<&'a serde_json::Value> {
    status["conditions"].as_array()?.iter().find(|condition| condition["type"] == kind)
}

#[test]
fn a_namespaces_owner_taps_there_and_nowhere_else() {
    let _turn = Turn::shared();
    let collector = Collector::connect();
    let [near, _] = nodes();
    let (own, other) = (Namespace::create("owned"), Namespace::create("foreign"));
    own.deploy(Server { node: &near, ..Server::nginx("web") });
    other.deploy(Server { node: &near, ..Server::nginx("web") });
    let client = own.client("client", &near);
    own.kubectl().run(&["create", "rolebinding", "alice", "--clusterrole=edit", "--user=alice"]).unwrap();
    let alice = |namespace: &Namespace| namespace.kubectl().with(&["--as", "alice"]);

    // The role is put together by a controller, a moment after the installation.
    let everything = policy("everything", "{selector: {}}");
    until("alice may tap", || alice(&own).apply(&everything).map_err(|error| error.to_string())).unwrap();
    let error = alice(&other).apply(&everything).unwrap_err().to_string();
    assert!(error.contains("forbidden"), "{error}");
    let error =
        kubectl().with(&["--as", "alice"]).run(&["get", "tappolicies", "-A"]).unwrap_err().to_string();
    assert!(error.contains("forbidden"), "{error}");
    // Nor may she say what its status is.
    let may = |what: &[&str]| alice(&own).run(&[&["auth", "can-i"], what].concat()).is_ok();
    assert!(may(&["patch", "tappolicies"]));
    assert!(!may(&["patch", "tappolicies", "--subresource=status"]));
    own.tapped("everything", 2);

    own.ask(&client.name, &format!("http://{}/own/", own.cluster_ip("web")), 0..1);
    own.ask(&client.name, &format!("http://{}/foreign/", other.cluster_ip("web")), 0..1);
    collector.stored(&format!("namespace == \"{}\"", own.name()), 3);
    assert_eq!(collector.search(&format!("namespace == \"{}\"", other.name())).len(), 0);
    other.pods("app=web").iter().for_each(assert_untouched);
}

#[test]
fn kubectl_explains_and_shows_policies() {
    let _turn = Turn::shared();
    install();
    let namespace = Namespace::create("shown");
    namespace.deploy(Server::nginx("web"));
    namespace.policy("web", "{selector: {matchLabels: {app: web}}}");
    namespace.tapped("web", 1);

    let explained = eventually(namespace.kubectl(), &["explain", "tappolicy.spec"]);
    for field in [
        "selector",
        "containers",
        "ports",
        "direction",
        "filter",
        "sample",
        "body",
        "redaction",
        "collector",
        "labels",
    ] {
        let mut lines = explained.lines();
        assert!(lines.any(|line| line.trim_start().starts_with(field)), "no {field} in:\n{explained}");
    }
    let table = namespace.kubectl().run(&["get", "tap"]).unwrap();
    let (head, row) = table.trim_end().split_once('\n').unwrap();
    let columns: Vec<_> = head.split_whitespace().collect();
    assert_eq!(columns[0], "NAME", "{table}");
    assert!(columns.len() > 3, "{table}");
    assert!(row.starts_with("web "), "{table}");
}

#[test]
fn the_api_server_takes_every_object_of_the_manifests() {
    let _turn = Turn::shared();
    install();
    let manifests = manifests();
    let said = kubectl().run(&["apply", "--dry-run=server", "-f", &manifests.to_string_lossy()]).unwrap();
    let objects: Vec<_> = said.lines().collect();
    assert!(objects.len() > 10, "{said}");
    // As they are installed: a second time changes nothing.
    assert!(objects.iter().all(|line| line.contains("unchanged") || line.contains("configured")), "{said}");
}
