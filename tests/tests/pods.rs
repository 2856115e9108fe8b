//! The agent on a node of a cluster: a real API server, pods in a kubelet's tree of real cgroups, real sockets.
//!
//! The kubelet is the test: it makes the pods' objects and cgroups. What the agent has done is read from its metrics, so no
//! collector is needed.

#![expect(clippy::unwrap_used, reason = "a test panics")]

use std::{fs, path::PathBuf, process::Command};

use podtap_tests::{Agent, AgentOptions, ApiServer, Cgroup, Kubectl, PATIENCE, until};

const NODE: &str = "node-1";
/// Below the repository, which Cargo names when the test runs.
const CRD: &str = "../deploy/crds/podtap.dev_tappolicies.yaml";

/// Serves itself `count` requests, which both ends of the connection see: one inbound and one outbound exchange each.
const TALK: &str = "
import http.server, sys, threading, urllib.request
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200); self.send_header('Content-Length', '5'); self.end_headers(); self.wfile.write(b'hello')
    def log_message(self, *arguments): pass
server = http.server.HTTPServer(('127.0.0.1', 0), Handler)
threading.Thread(target=server.serve_forever, daemon=True).start()
for number in range(int(sys.argv[1])):
    urllib.request.urlopen('http://127.0.0.1:%d/item/%d' % (server.server_port, number)).read()
";

struct Node {
    api: ApiServer,
    kubectl: Kubectl,
    agent: Agent,
    // The children first: a cgroup that has some can't be removed.
    pods: Vec<PathBuf>,
    root: Cgroup,
}

impl Node {
    fn start() -> Option<Self> {
        let api = ApiServer::start_or_skip()?;
        let kubectl = api.kubectl();
        let package = PathBuf::from(std::env::var_os("CARGO_MANIFEST_DIR").expect("Cargo runs the tests"));
        kubectl.apply(&fs::read_to_string(package.join(CRD)).unwrap()).unwrap();
        for namespace in ["shop", "bank"] {
            kubectl.run(&["create", "namespace", namespace]).unwrap();
            kubectl.run(&["--namespace", namespace, "create", "serviceaccount", "default"]).unwrap();
        }
        until("TapPolicies are served", || {
            kubectl.run(&["get", "tappolicies", "--all-namespaces"]).map_err(|error| error.to_string())
        })
        .unwrap();
        let root = Cgroup::create("node").unwrap();
        let directories = ["kubepods", "kubepods/burstable"].map(|name| root.path().join(name));
        directories.iter().for_each(|directory| fs::create_dir(directory).unwrap());
        let settings = format!(
            "kubernetes: {{node: {NODE}, cgroup_root: \"{}\"}}\ndrain_timeout: 10ms",
            root.path().display()
        );
        let options = AgentOptions::new(NODE, "http://127.0.0.1:9")
            .settings(&settings)
            .env("KUBECONFIG", api.kubeconfig().to_str().unwrap());
        let agent = Agent::start(&options).unwrap();
        Some(Self { api, kubectl, agent, pods: directories.into(), root })
    }

    /// Makes a pod with one container, as object and as cgroup.
    fn pod(&mut self, namespace: &str, name: &str, app: &str) -> PathBuf {
        let pod = format!(
            "apiVersion: v1\nkind: Pod\nmetadata: {{name: {name}, namespace: {namespace}, labels: {{app: {app}}}}}\n\
             spec: {{nodeName: {NODE}, automountServiceAccountToken: false, containers: [{{name: app, image: none}}]}}\n"
        );
        self.kubectl.apply(&pod).unwrap();
        let uid = ["--namespace", namespace, "get", "pod", name, "--output", "jsonpath={.metadata.uid}"];
        let uid = self.kubectl.run(&uid).unwrap();
        let cgroup = self.root.path().join(format!("kubepods/burstable/pod{uid}"));
        let container = cgroup.join("0123456789abcdef");
        fs::create_dir(&cgroup).unwrap();
        fs::create_dir(&container).unwrap();
        self.pods.extend([cgroup, container.clone()]);
        container
    }

    fn policy(&self, namespace: &str, name: &str, spec: &str) {
        self.kubectl.apply(&tap_policy(namespace, name, spec)).unwrap();
    }

    /// The value of a metric's line that holds all of these.
    fn metric(&self, name: &str, labels: &[&str]) -> u64 {
        let metrics = self.agent.admin("/metrics").unwrap();
        let mut lines = metrics.lines().filter(|line| line.starts_with(&format!("{name}{{")));
        let found = lines.find(|line| labels.iter().all(|label| line.contains(label)));
        found.and_then(|line| line.rsplit_once(' ')?.1.parse().ok()).unwrap_or(0)
    }

    fn until(&self, what: &str, condition: impl Fn(&Self) -> bool) {
        let seen = || self.agent.admin("/metrics").unwrap_or_default();
        until(what, || if condition(self) { Ok(()) } else { Err(seen()) }).unwrap_or_else(|error| {
            panic!("{error:#}\nafter {PATIENCE:?}; the agent said:\n{}", self.agent.log())
        });
    }

    fn is_tapped(&self, pod: &str) -> bool {
        let target = format!("target=\"{pod}\"");
        self.metric("podtap_agent_target_state", &[&target, "state=\"attached\""]) == 1
    }

    fn assembled(&self, pod: &str) -> u64 {
        self.metric("podtap_agent_assembled_exchanges_total", &[&format!("target=\"{pod}\"")])
    }

    fn unkept(&self, pod: &str, reason: &str) -> u64 {
        let target = format!("target=\"{pod}\"");
        let reason = format!("reason=\"{reason}\"");
        self.metric("podtap_agent_lost_exchanges_total", &[&target, "stage=\"policy\"", &reason])
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        for directory in self.pods.iter().rev() {
            let _ = fs::remove_dir(directory);
        }
    }
}

fn tap_policy(namespace: &str, name: &str, spec: &str) -> String {
    format!(
        "apiVersion: podtap.dev/v1alpha1\nkind: TapPolicy\nmetadata: {{name: {name}, namespace: {namespace}}}\nspec: {spec}\n"
    )
}

/// Runs a server and its client in a container, to their end.
fn talk(container: &PathBuf, count: u32) {
    let join = r#"echo $$ > "$0/cgroup.procs" && exec python3 -c "$1" "$2""#;
    let status =
        Command::new("/bin/sh").args(["-c", join]).arg(container).arg(TALK).arg(count.to_string()).status();
    assert!(status.unwrap().success());
}

#[test]
fn what_a_policy_selects_is_captured_as_it_says_and_nothing_else() {
    let Some(mut node) = Node::start() else { return };
    let cart = node.pod("shop", "cart-1", "cart");
    let other = node.pod("shop", "other-1", "other");
    let bank = node.pod("bank", "cart-1", "cart");
    node.policy(
        "shop",
        "cart",
        "{selector: {matchLabels: {app: cart}}, direction: inbound, filter: 'request.path != \"/item/3\"'}",
    );
    node.until("the pod is tapped", |node| node.is_tapped("shop/cart-1"));
    for container in [&cart, &other, &bank] {
        talk(container, 5);
    }
    node.until("both ends of five exchanges", |node| node.assembled("shop/cart-1") == 10);
    node.until("what the policy does not keep", |node| {
        node.unkept("shop/cart-1", "direction") == 5 && node.unkept("shop/cart-1", "filter") == 1
    });
    assert!(!node.is_tapped("shop/other-1") && !node.is_tapped("bank/cart-1"));

    // A pod whose cgroup comes after its object, and one of another policy, in its own namespace.
    let late = node.pod("shop", "cart-2", "cart");
    node.until("a new pod is tapped", |node| node.is_tapped("shop/cart-2"));
    talk(&late, 3);
    node.until("its exchanges", |node| node.assembled("shop/cart-2") == 6);

    // The plan changes while the pod is tapped.
    node.policy("shop", "cart", "{selector: {matchLabels: {app: cart}}, containers: [sidecar]}");
    node.until("the change holds", |node| {
        talk(&cart, 1);
        node.unkept("shop/cart-1", "container") > 0
    });

    node.kubectl.run(&["--namespace", "shop", "label", "pod", "cart-1", "app=x", "--overwrite"]).unwrap();
    node.until("a pod that loses its label is let go", |node| !node.is_tapped("shop/cart-1"));
    node.kubectl.run(&["--namespace", "shop", "delete", "tappolicy", "cart"]).unwrap();
    node.until("without a policy nothing is tapped", |node| !node.is_tapped("shop/cart-2"));
}

#[test]
fn the_api_server_may_go_away_and_forget() {
    let Some(mut node) = Node::start() else { return };
    let cart = node.pod("shop", "cart-1", "cart");
    node.policy("shop", "all", "{selector: {}}");
    node.until("the pod is tapped", |node| node.is_tapped("shop/cart-1"));

    node.api.kill().unwrap();
    talk(&cart, 2);
    node.until("captured while the API server is away", |node| node.assembled("shop/cart-1") == 4);
    assert!(node.is_tapped("shop/cart-1"));
    // It comes back with nothing but the newest state: every watch is answered with 410 Gone.
    node.api.compact().unwrap();
    node.api.revive().unwrap();
    until("it is back", || node.kubectl.run(&["get", "pods"]).map_err(|error| error.to_string())).unwrap();
    let _ = node.pod("shop", "cart-2", "cart");
    node.until("what comes after that is tapped", |node| node.is_tapped("shop/cart-2"));
    node.kubectl
        .run(&["--namespace", "shop", "delete", "pod", "cart-2", "--grace-period=0", "--force"])
        .unwrap();
    node.until("a pod that is gone is let go", |node| !node.is_tapped("shop/cart-2"));
    assert!(node.is_tapped("shop/cart-1"), "all the while");
    let lists = |resource: &str| {
        let audit = node.api.audit().unwrap();
        let is_list = |line: &&str| {
            line.contains("\"verb\":\"list\"") && line.contains(&format!("\"resource\":\"{resource}\""))
        };
        audit.lines().filter(is_list).filter(|line| line.contains("fieldSelector=spec.nodeName")).count()
    };
    assert!((1..=8).contains(&lists("pods")), "pods were listed {} times", lists("pods"));
}

#[test]
fn a_policy_that_is_not_valid_taps_nothing_and_the_others_go_on() {
    let Some(mut node) = Node::start() else { return };
    let _ = node.pod("shop", "cart-1", "cart");
    let _ = node.pod("bank", "safe-1", "safe");
    node.policy("bank", "wrong", "{selector: {}, filter: 'request.paht == \"/\"'}");
    node.policy("shop", "right", "{selector: {}}");
    node.until("the valid one", |node| node.is_tapped("shop/cart-1"));
    assert!(!node.is_tapped("bank/safe-1"));
    assert!(node.agent.log().contains("line 1, column 9"), "{}", node.agent.log());

    // What a schema can tell is refused when it is applied.
    for spec in [
        "{}",
        "{selector: {}, ports: [0]}",
        "{selector: {}, sample: {percent: 101}}",
        "{selector: {}, sample: {percent: 10, key: header}}",
        "{selector: {}, body: {capture: none, maxBytes: 1KiB}}",
        "{selector: {}, direction: sideways}",
    ] {
        let policy = tap_policy("shop", "t", spec);
        assert!(node.kubectl.finish(&["apply", "--dry-run=server", "-f", "-"], &policy).is_err(), "{spec}");
    }
}
