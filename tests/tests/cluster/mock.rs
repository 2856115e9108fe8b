//! The chart's mock, which answers in the cluster as a dependency did.

use std::{env, fs};

use podtap_tests::{Kubectl, until};
use serde_json::json;

use crate::{
    cluster::{Turn, eventually, json as object, kubectl, nodes, text},
    installation::{Collector, SYSTEM},
    namespace::{Namespace, Server},
    programs::until_attached,
};

fn system() -> Kubectl {
    kubectl().with(&["--namespace", SYSTEM])
}

/// Removed on drop.
struct Mock(String);

impl Mock {
    /// Applies what the chart gives, and waits until it answers.
    fn install() -> Self {
        let path = env::var_os("PODTAP_E2E_MOCK").expect("`cargo xtask e2e` renders the chart's mock");
        let mock = Self(fs::read_to_string(path).unwrap());
        system().apply(&mock.0).unwrap();
        // There is no DNS in the tests' cluster.
        let service = object(&system(), &["get", "service", "podtap-collector"]);
        let address = text(&service["spec"]["clusterIP"]);
        let names = json!([{"ip": address, "hostnames": [format!("podtap-collector.{SYSTEM}")]}]);
        let patch = json!({"spec": {"template": {"spec": {"hostAliases": names}}}});
        system().run(&["patch", "deployment", "podtap-mock", "--patch", &patch.to_string()]).unwrap();
        eventually(&system(), &["rollout", "status", "deployment/podtap-mock", "--timeout=20s"]);
        mock
    }
}

impl Drop for Mock {
    fn drop(&mut self) {
        let _ = system().finish(&["delete", "--ignore-not-found", "--wait=false", "-f", "-"], &self.0);
    }
}

#[test]
fn the_charts_mock_answers_as_the_dependency_did() {
    let _turn = Turn::shared();
    let collector = Collector::connect();
    let [near, far] = nodes();
    let dependency = Namespace::create("dependency");
    dependency.deploy(Server { node: &far, ..Server::nginx("payments") });
    let namespace = Namespace::create("depending");
    namespace.policy("client", "{selector: {matchLabels: {app: client}}}");
    let client = namespace.client("client", &near);
    namespace.tapped("client", 1);
    until_attached(&client);
    let address = dependency.cluster_ip("payments");
    namespace.ask(&client.name, &format!("http://{address}/mocked/"), 0..5);
    collector.stored(&format!("namespace == \"{}\" && role == \"outbound\"", namespace.name()), 5);
    let pod = dependency.pods("app=payments").remove(0).name;
    // The dependency goes: from here on nobody but the mock can answer.
    dependency.kubectl().run(&["delete", "deployment,service", "payments"]).unwrap();

    let _mock = Mock::install();
    let mock = object(&system(), &["get", "service", "podtap-mock"]);
    let mock = text(&mock["spec"]["clusterIP"]).to_owned();
    let ask = |path: &str| {
        let url = format!("http://{mock}:9090{path}");
        namespace.kubectl().run(&["exec", &client.name, "--", "curl", "-si", "-m", "10", &url])
    };
    let answer =
        until("the mock answers", || ask("/mocked/3").map_err(|error| format!("{error:#}"))).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    assert!(answer.to_ascii_lowercase().contains("podtap-mock: hit; id="), "{answer}");
    assert!(answer.ends_with(&format!("{pod}\n")), "{answer}");
    let answer = ask("/elsewhere").unwrap();
    assert!(answer.to_ascii_lowercase().contains("podtap-mock: miss; reason="), "{answer}");
}
