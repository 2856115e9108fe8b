//! Two hundred pods that come and go on one node: the agent stays small, and asks the API server once.
//!
//! The API server is real and has no kubelet: the pods are objects, with cgroups that are made here where a kubelet would make
//! them. The agent is the real process, with the rights that the chart gives it.

#![expect(clippy::unwrap_used, reason = "a test panics")]

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    path::{Path, PathBuf},
};

use podtap_tests::{Agent, AgentOptions, ApiServer, Cgroup, Collector, Kubectl, Nginx, Running, until};
use serde_json::{Value, json};
use tempfile::TempDir;

#[path = "end_to_end/client.rs"]
#[expect(dead_code, reason = "shared with the scenarios on one machine")]
mod client;

const NODE: &str = "node-of-fakes";
const NAMESPACE: &str = "churn";
const SERVICE_ACCOUNT: &str = "system:serviceaccount:podtap-system:podtap-agent";

/// At any time.
const PODS: usize = 200;
/// In each of which a quarter of the pods is replaced.
const ROUNDS: usize = 12;

/// What an agent may take beside its rings and its spool.
const MEMORY: u64 = 64 << 20;
const RING_BYTES: u64 = 4 << 20;
const SPOOL_BYTES: u64 = 4 << 20;

/// A pod of the API server, with cgroups like a kubelet's.
struct FakePod {
    name: String,
    uid: String,
    directory: PathBuf,
}

impl FakePod {
    fn container(&self) -> PathBuf {
        self.directory.join(container_id(&self.name))
    }

    /// A command in the pod's container.
    fn command(&self, program: &str) -> std::process::Command {
        let mut command = std::process::Command::new("/bin/sh");
        command
            .args(["-c", r#"echo $$ > "$0/cgroup.procs" && exec "$@""#])
            .arg(self.container())
            .arg(program);
        command
    }
}

impl Drop for FakePod {
    fn drop(&mut self) {
        for directory in [self.container(), self.directory.clone()] {
            // The last of its processes has just been reaped.
            let removed = until("a cgroup is removed", || {
                fs::remove_dir(&directory).map_err(|error| error.to_string())
            });
            if let Err(error) = removed {
                eprintln!("{error:#}");
            }
        }
    }
}

/// 64 hexadecimal digits, as container runtimes give.
fn container_id(name: &str) -> String {
    let digits: String = name.bytes().map(|byte| format!("{byte:02x}")).collect();
    format!("{digits:0<64}")
}

/// The API server's pods of one namespace, by way of `kubectl proxy`: with a kubectl for each, this would take minutes.
struct Pods {
    proxy: SocketAddr,
    tree: PathBuf,
    made: usize,
    _process: Running,
}

impl Pods {
    fn new(server: &ApiServer, directory: &Path, tree: PathBuf) -> Self {
        let mut command = server.kubectl().command(&["proxy", "--port=0"]);
        let mut process = Running::start("proxy", directory, &mut command).unwrap();
        let proxy = until("kubectl proxy listens", || {
            process.check().map_err(|error| error.to_string())?;
            let log = process.log();
            let address =
                log.lines().find_map(|line| line.strip_prefix("Starting to serve on ")?.parse().ok());
            address.ok_or(log)
        })
        .unwrap();
        Self { proxy, tree, made: 0, _process: process }
    }

    /// Asks for `<method> …/pods<path>`; gives the answer's body.
    fn ask(&self, method: &str, path: &str, body: &Value) -> Value {
        let body = body.to_string();
        let mut stream = TcpStream::connect(self.proxy).unwrap();
        write!(
            stream,
            "{method} /api/v1/namespaces/{NAMESPACE}/pods{path} HTTP/1.0\r\nHost: localhost\r\n\
             Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        )
        .unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        assert!(head.split(' ').nth(1).unwrap().starts_with('2'), "{method} {path}: {answer}");
        serde_json::from_str(body).unwrap()
    }

    fn make(&mut self) -> FakePod {
        let name = format!("pod-{}", self.made);
        self.made += 1;
        let wanted = json!({
            "apiVersion": "v1", "kind": "Pod",
            "metadata": {"name": name, "labels": {"app": "churn", "number": self.made.to_string()}},
            "spec": {"nodeName": NODE, "containers": [{"name": "app", "image": "none"}]},
        });
        let mut made = self.ask("POST", "", &wanted);
        let uid = made["metadata"]["uid"].as_str().unwrap().to_owned();
        let directory = self.tree.join(format!("pod{uid}"));
        let pod = FakePod { name, uid, directory };
        fs::create_dir_all(pod.container()).unwrap();
        made["status"] = json!({
            "phase": "Running",
            "qosClass": "BestEffort",
            "conditions": [{"type": "Ready", "status": "True"}],
            "containerStatuses": [{
                "name": "app", "image": "none", "imageID": "none", "ready": true, "restartCount": 0,
                "containerID": format!("containerd://{}", container_id(&pod.name)),
                "state": {"running": {"startedAt": "2026-01-01T00:00:00Z"}},
            }],
        });
        self.ask("PUT", &format!("/{}/status", pod.name), &made);
        pod
    }

    fn delete(&self, pod: FakePod) {
        let options = json!({"apiVersion": "v1", "kind": "DeleteOptions", "gracePeriodSeconds": 0});
        self.ask("DELETE", &format!("/{}", pod.name), &options);
    }
}

/// Bytes of the agent's memory, by kind, as the kernel counts them.
fn memory(pid: i32) -> BTreeMap<String, u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    status
        .lines()
        .filter_map(|line| {
            let (name, value) = line.split_once(':')?;
            let kib: u64 = value.trim().strip_suffix(" kB")?.parse().ok()?;
            (name.starts_with("Rss") || name == "VmRSS" || name == "VmHWM")
                .then(|| (name.to_owned(), kib * 1024))
        })
        .collect()
}

/// What the agent asked of the API server, by verb and resource: all that was not asked by kubectl, nor by curl whether it is
/// ready.
fn requests(server: &ApiServer) -> BTreeMap<String, u64> {
    let mut counts = BTreeMap::new();
    for line in server.audit().unwrap().lines() {
        let request: Value = serde_json::from_str(line).unwrap();
        let client = request["userAgent"].as_str().unwrap_or_default();
        if !["kubectl", "curl"].iter().any(|other| client.starts_with(other)) {
            let resource = request["objectRef"]["resource"].as_str().or(request["requestURI"].as_str());
            let what = format!("{} {}", request["verb"].as_str().unwrap(), resource.unwrap());
            *counts.entry(what).or_default() += 1;
        }
    }
    counts
}

/// The sum of a metric's values, of those lines that contain `part`.
fn metric(agent: &Agent, name: &str, part: &str) -> u64 {
    let metrics = agent.admin("/metrics").unwrap();
    let lines = metrics.lines().filter(|line| line.starts_with(name) && line.contains(part));
    lines.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum::<f64>() as u64
}

#[test]
fn two_hundred_pods_that_come_and_go() {
    let Some(server) = ApiServer::start_or_skip() else { return };
    let kubectl = server.kubectl();
    let package = PathBuf::from(std::env::var_os("CARGO_MANIFEST_DIR").unwrap());
    let manifests = package.parent().unwrap().join("deploy/manifests");
    // The CRD has to be there before anything of its kind.
    until("the manifests are taken", || {
        kubectl.run(&["apply", "-f", &manifests.to_string_lossy()]).map_err(|error| error.to_string())
    })
    .unwrap();
    kubectl.run(&["create", "namespace", NAMESPACE]).unwrap();
    let policy = json!({
        "apiVersion": "podtap.dev/v1alpha1", "kind": "TapPolicy",
        "metadata": {"name": "all", "namespace": NAMESPACE},
        "spec": {"selector": {"matchLabels": {"app": "churn"}}, "labels": ["number"]},
    });
    until("a policy is taken", || kubectl.apply(&policy.to_string()).map_err(|error| error.to_string()))
        .unwrap();

    let directory = TempDir::with_prefix("podtap-churn-").unwrap();
    let collector = Collector::start(directory.path()).unwrap();
    let client = client::Client::new(&collector.url());
    let nginx = Nginx::start_untapped().unwrap();
    let node = Cgroup::create("churn").unwrap();
    let tree = node.path().join("kubepods/besteffort");
    fs::create_dir_all(&tree).unwrap();
    let _tree = Tree(vec![tree.clone(), node.path().join("kubepods")]);
    let mut pods = Pods::new(&server, directory.path(), tree);
    let mut present: Vec<_> = (0..PODS).map(|_| pods.make()).collect();

    // With no other rights than the chart gives.
    let kubeconfig = directory.path().join("kubeconfig");
    let own = fs::read_to_string(server.kubeconfig()).unwrap();
    fs::write(
        &kubeconfig,
        own.replace("user: {client-cert", &format!("user: {{as: '{SERVICE_ACCOUNT}', client-cert")),
    )
    .unwrap();
    let may = |what: &[&str]| Kubectl::new(&kubeconfig).run(&[&["auth", "can-i"], what].concat()).is_ok();
    assert!(may(&["watch", "pods"]) && may(&["list", "tappolicies.podtap.dev"]));
    assert!(!may(&["delete", "pods"]) && !may(&["get", "secrets"]));
    let options = AgentOptions::new(NODE, &collector.url())
        .settings(&format!(
            "kubernetes: {{node: {NODE}, cgroup_root: {}}}\nrings: {{count: 1, bytes: {RING_BYTES}}}\nspool: {{bytes: {SPOOL_BYTES}}}",
            node.path().display(),
        ))
        .env("KUBECONFIG", &kubeconfig.to_string_lossy());
    let agent = Agent::start(&options).unwrap();
    let tapped = |count: usize| {
        until(&format!("{count} pods are tapped"), || {
            let attached = metric(&agent, "podtap_agent_target_state", "state=\"attached\"");
            if attached == count as u64 { Ok(()) } else { Err(format!("{attached}; {}", agent.log())) }
        })
        .unwrap();
    };
    tapped(PODS);
    let at_first = (requests(&server), memory(agent.pid()));

    let mut asked = BTreeSet::new();
    for round in 0..ROUNDS {
        for index in 0..PODS / 4 {
            let pod = present.remove(index);
            pods.delete(pod);
            present.push(pods.make());
        }
        tapped(PODS);
        // The oldest and the newest.
        for pod in [&present[0], &present[PODS - 1]] {
            let url = nginx.url(&format!("/files/{round}"));
            let status = pod.command("curl").args(["-sS", "-o", "/dev/null", &url]).status().unwrap();
            assert!(status.success());
            asked.insert((round, pod.uid.clone()));
        }
    }
    let exchanges = until("every request is stored", || match client.try_search("role == \"outbound\"") {
        Ok(exchanges) if exchanges.len() == asked.len() => Ok(exchanges),
        other => Err(format!("{other:?}")),
    })
    .unwrap();
    let stored: BTreeSet<_> = exchanges
        .iter()
        .map(|exchange| {
            assert_eq!((&*exchange.namespace, &*exchange.container), (NAMESPACE, "app"));
            let round =
                exchange.request.as_ref().unwrap().path.trim_start_matches("/files/").parse().unwrap();
            (round, exchange.pod_uid.clone())
        })
        .collect();
    assert_eq!(stored, asked);

    let at_last = (requests(&server), memory(agent.pid()));
    eprintln!("requests {at_first:?} to {at_last:?}");
    let lists = BTreeMap::from([("list pods".to_owned(), 1), ("list tappolicies".to_owned(), 1)]);
    let others: BTreeMap<_, _> = at_last
        .0
        .iter()
        .filter(|(what, _)| !what.starts_with("watch "))
        .map(|(k, v)| (k.clone(), *v))
        .collect();
    assert_eq!(others, lists, "the agent asks for more than one list of each kind");
    assert_eq!(at_last.0, at_first.0, "pods that come and go cost requests");
    let resident = at_last.1["VmRSS"];
    assert!(resident < MEMORY + RING_BYTES + SPOOL_BYTES, "{resident} bytes: {:?}", at_last.1);
}

/// Directories to be removed, in this order.
struct Tree(Vec<PathBuf>);

impl Drop for Tree {
    fn drop(&mut self) {
        for directory in &self.0 {
            let _ = fs::remove_dir(directory);
        }
    }
}
