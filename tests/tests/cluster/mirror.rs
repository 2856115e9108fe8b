//! A policy's mirror: what a pod answers is sent at a Service, and what becomes of it is told.

use std::process::Command;

use podtap_tests::{Kubectl, binary, until};
use serde_json::{Value, json};

use crate::{
    cluster::{Turn, json as object, kubectl, nodes, text},
    installation::{Collector, SYSTEM, install, ready},
    namespace::{Namespace, Server},
    programs::until_attached,
};

/// The collector's settings, which allow a target for as long as this lives.
struct Allowed {
    before: String,
}

fn system() -> Kubectl {
    kubectl().with(&["--namespace", SYSTEM])
}

fn configure(settings: &str) {
    let patch = json!({"data": {"collector.yaml": settings}});
    system()
        .run(&["patch", "configmap", "podtap-collector", "--type=merge", "--patch", &patch.to_string()])
        .unwrap();
    system().run(&["rollout", "restart", "statefulset/podtap-collector"]).unwrap();
    ready();
}

impl Allowed {
    fn targets(targets: &[&str]) -> Self {
        install();
        let settings = object(&system(), &["get", "configmap", "podtap-collector"]);
        let before = text(&settings["data"]["collector.yaml"]).to_owned();
        let mut settings: Value = serde_yaml_ng::from_str(&before).unwrap();
        settings["mirror"] = json!({"allow_targets": targets});
        configure(&settings.to_string());
        Self { before }
    }
}

impl Drop for Allowed {
    fn drop(&mut self) {
        configure(&self.before);
    }
}

/// `tapctl mirror NAME -o json`
fn tapctl(collector: &Collector, name: &str) -> Result<Value, String> {
    let mut command = Command::new(binary("tapctl").unwrap());
    command.args(["--collector", collector.url(), "mirror", name, "-o", "json"]);
    let output = command.output().map_err(|error| error.to_string())?;
    let said = String::from_utf8_lossy(&output.stderr);
    if !output.status.success() {
        return Err(said.into_owned());
    }
    serde_json::from_slice(&output.stdout).map_err(|error| format!("{error}: {said}"))
}

#[test]
fn what_a_policy_keeps_is_mirrored_to_a_service_and_told() {
    let _turn = Turn::alone();
    let [near, far] = nodes();
    let shadow = Namespace::create("shadow");
    shadow.deploy(Server::nginx("v2"));
    let target = format!("http://{}", shadow.cluster_ip("v2"));
    let _allowed = Allowed::targets(&[&target]);
    let collector = Collector::connect();
    // The shadow's own tap keeps what mirrors sent: so it is known what came there.
    shadow.policy("v2", "{selector: {matchLabels: {app: v2}}, replayed: keep}");
    shadow.tapped("v2", 1);
    until_attached(&shadow.pods("app=v2").remove(0));

    let namespace = Namespace::create("mirrored");
    let refused = "http://10.255.255.1:81";
    namespace.policy(
        "web",
        &format!(
            "{{selector: {{matchLabels: {{app: web}}}}, mirror: {{target: '{target}', prefixes: [/sent/], \
             rewrite: /shadow/, compare: true}}, mirrors: [{{target: '{refused}'}}]}}"
        ),
    );
    namespace.deploy(Server { node: &far, ..Server::nginx("web") });
    let client = namespace.client("client", &near);
    namespace.tapped("web", 1);
    until_attached(&namespace.pods("app=web").remove(0));
    let ask = |path: &str, count: u32| {
        namespace.ask(&client.name, &format!("http://{}/{path}/", namespace.cluster_ip("web")), 0..count);
    };
    ask("sent", 20);
    ask("kept", 5);
    collector.stored(&format!("namespace == \"{}\"", namespace.name()), 25);

    // What came to the shadow: those, each once, under their own path there, and marked.
    let came = collector.stored(&format!("namespace == \"{}\"", shadow.name()), 20);
    for exchange in &came {
        let request = exchange.request.as_ref().unwrap();
        assert!(request.path.starts_with("/shadow/"), "{}", request.path);
        assert!(request.headers.iter().any(|header| header.name.eq_ignore_ascii_case("Podtap-Replay")));
    }
    let name = format!("{}/web/0", namespace.name());
    let mirror = until("the mirror is told", || {
        let mirror = tapctl(&collector, &name)?;
        let report = &mirror["report"];
        if report["answered"] == "20" { Ok(mirror.clone()) } else { Err(format!("{mirror:#}")) }
    })
    .unwrap();
    let report = &mirror["report"];
    assert_eq!((&report["selected"], &report["sent"]), (&json!("20"), &json!("20")), "{report:#}");
    assert_eq!(report["passedOver"]["path"], "5");
    // Each pod answers with its own name.
    assert_eq!((&report["differed"], &report["mismatched"]["body"]), (&json!("20"), &json!("20")));
    // What nobody allowed is sent nowhere, and the policy says so.
    let other = tapctl(&collector, &format!("{}/web/1", namespace.name())).unwrap();
    assert_eq!((&other["state"], &other["target"]), (&json!("REFUSED"), &json!(refused)), "{other:#}");
    let status = namespace.status("web", "the policy tells of its mirrors", |status| {
        condition(status).is_some_and(|mirroring| mirroring["status"] == "False")
    });
    assert_eq!(condition(&status).unwrap()["reason"], "TargetNotAllowed", "{status:#}");
    // With it gone, all is well.
    namespace.policy(
        "web",
        &format!("{{selector: {{matchLabels: {{app: web}}}}, mirror: {{target: '{target}'}}}}"),
    );
    let status = namespace.status("web", "the policy mirrors", |status| {
        condition(status).is_some_and(|mirroring| mirroring["status"] == "True")
    });
    assert_eq!(condition(&status).unwrap()["reason"], "AsExpected", "{status:#}");
    collector.settled(namespace.name());
}

fn condition(status: &Value) -> Option<&Value> {
    status["conditions"].as_array()?.iter().find(|condition| condition["type"] == "Mirroring")
}
