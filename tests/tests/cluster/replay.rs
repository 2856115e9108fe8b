//! `tapctl replay --kubernetes`: as somebody who has no more rights than docs/replay.md names.

use std::{
    fs,
    process::{Command, Output, Stdio},
};

use podtap_tests::{Kubectl, binary, until};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::{
    cluster::{Turn, items, json as objects, kubectl, nodes, text, try_json},
    installation::{Collector, SYSTEM, root},
    namespace::{Namespace, Server},
    programs::until_attached,
};

/// The Role in the documentation.
const ROLE: &str = "    kind: Role\n";

/// A service that was tapped, and another version of it elsewhere.
struct Rig {
    recorded: Namespace,
    staging: Namespace,
    tester: Tester,
    filter: String,
}

/// Who may replay, and nothing else.
struct Tester {
    directory: TempDir,
    name: String,
}

impl Rig {
    fn new(name: &str, count: u32) -> Self {
        let collector = Collector::connect();
        let [near, far] = nodes();
        let recorded = Namespace::create(name);
        recorded.policy("web", "{selector: {matchLabels: {app: web}}}");
        recorded.deploy(Server { node: &far, ..Server::nginx("web") });
        let client = recorded.client("client", &near);
        recorded.tapped("web", 1);
        until_attached(&recorded.pods("app=web").remove(0));
        recorded.ask(&client.name, &format!("http://{}/page/", recorded.cluster_ip("web")), 0..count);
        let filter = format!("namespace == \"{}\"", recorded.name());
        collector.stored(&filter, count as usize);
        let staging = Namespace::create(&format!("{name}-staging"));
        staging.deploy(Server::nginx("v2"));
        let tester = Tester::create(recorded.name());
        Self { recorded, staging, tester, filter }
    }

    /// There is no DNS in the tests' cluster: addresses stand for names.
    fn replay(&self, arguments: &[&str]) -> Command {
        let service = objects(&system(), &["get", "service", "podtap-collector"]);
        let collector = format!("http://{}:7070", text(&service["spec"]["clusterIP"]));
        let target = format!("http://{}", self.staging.cluster_ip("v2"));
        let mut command = Command::new(binary("tapctl").unwrap());
        command
            .env("KUBECONFIG", self.tester.kubeconfig())
            .args(["replay", &self.filter, "--since", "1h", "--target", &target, "-o", "json"])
            .args(["--kubernetes", "--kubernetes-collector", &collector])
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }
}

impl Tester {
    fn create(name: &str) -> Self {
        let documentation = fs::read_to_string(root().join("docs/replay.md")).unwrap();
        let (_, rest) = documentation.split_once(ROLE).expect("the documentation names the rights");
        let rules: String = rest
            .lines()
            .map_while(|line| line.strip_prefix("    "))
            .map(|line| format!("{line}\n"))
            .collect();
        let role = format!("kind: Role\n{rules}");
        kubectl().apply(&role).unwrap();
        let role: Value = serde_yaml_ng::from_str(&role).unwrap();
        let role = text(&role["metadata"]["name"]);
        let binding = format!("tester-{name}");
        let arguments = ["create", "rolebinding", &*binding, "--role", role, "--user", &*binding];
        system().run(&arguments).unwrap();
        let directory = TempDir::with_prefix("podtap-tester-").unwrap();
        let own = fs::read_to_string(kubectl().kubeconfig()).unwrap();
        let mut own: Value = serde_yaml_ng::from_str(&own).unwrap();
        for user in own["users"].as_array_mut().unwrap() {
            user["user"]["as"] = json!(binding);
        }
        let tester = Self { directory, name: binding };
        fs::write(tester.kubeconfig(), own.to_string()).unwrap();
        tester
    }

    fn kubeconfig(&self) -> std::path::PathBuf {
        self.directory.path().join("kubeconfig")
    }
}

impl Drop for Tester {
    fn drop(&mut self) {
        let _ = system().run(&["delete", "rolebinding", &self.name, "--ignore-not-found"]);
    }
}

fn system() -> Kubectl {
    kubectl().with(&["--namespace", SYSTEM])
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn report(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {}", said(output)))
}

/// The name that it says.
fn job(said: &str) -> String {
    let rest = said.split_once("the Job ").expect("it names its Job").1;
    rest.split(' ').next().unwrap().to_owned()
}

/// Waits until nothing of a replay is left.
fn until_gone(job: &str) {
    let selector = format!("podtap.dev/replay={job}");
    until(&format!("nothing is left of {job}"), || {
        let list = try_json(&system(), &["get", "jobs,pods,secrets,configmaps", "--selector", &selector])?;
        if items(&list).is_empty() { Ok(()) } else { Err(format!("{list:#}")) }
    })
    .unwrap();
}

#[test]
fn a_replay_runs_in_shards_and_reports_as_one() {
    let _turn = Turn::shared();
    let rig = Rig::new("replayed", 40);
    let directory = TempDir::with_prefix("podtap-replay-").unwrap();
    let junit = directory.path().join("report.xml");
    let transform = directory.path().join("transform.yaml");
    fs::write(&transform, "rules:\n- headers: {set: {X-Shard: '1'}}\n").unwrap();
    let arguments = [
        "--shards=3",
        "--rate=max",
        "--transform",
        &transform.to_string_lossy(),
        "--fail-if=answered < 40 || failed > 0",
        "--report",
        &format!("junit={}", junit.display()),
    ];
    let output = rig.replay(&arguments).output().unwrap();
    assert!(output.status.success(), "{}", said(&output));
    let merged = report(&output);
    assert_eq!((&merged["selected"], &merged["answered"]), (&json!("40"), &json!("40")), "{merged:#}");
    assert_eq!(merged["statuses"]["200"], "40");
    // Another pod answers, with another name: what every shard found is in the one report.
    assert_eq!(merged["mismatched"]["body"], "40", "{merged:#}");
    assert_eq!(merged["leftOut"]["shard"], "80");
    assert!(fs::read_to_string(&junit).unwrap().contains("in 3 shards"));
    until_gone(&job(&said(&output)));
    assert!(rig.recorded.pods("app=web").len() == 1);
}

#[test]
fn the_log_of_a_shard_tells_nobody_what_it_found() {
    let _turn = Turn::shared();
    let rig = Rig::new("sealed", 10);
    // A condition that holds: the exit status of a replay here.
    let output = rig.replay(&["--keep", "--fail-if=mismatches > 0"]).output().unwrap();
    assert_eq!(output.status.code(), Some(1), "{}", said(&output));
    let job = job(&said(&output));
    let merged = report(&output).to_string();
    let pod = rig.staging.pods("app=v2").remove(0).name;
    assert!(merged.contains("/page/") && merged.contains(&pod), "{merged}");
    let selector = format!("podtap.dev/replay={job}");
    let log = system().run(&["logs", "--selector", &selector, "--tail=-1"]).unwrap();
    assert!(log.contains("podtap-report 1/1 "), "{log}");
    assert!(!log.contains("/page") && !log.contains(&pod), "{log}");
    system().run(&["delete", "jobs", "--selector", &selector]).unwrap();
    until_gone(&job);
}

#[test]
fn an_interrupt_stops_the_pods_and_prints_what_they_did() {
    let _turn = Turn::shared();
    let rig = Rig::new("interrupted", 10);
    let arguments = ["--shards=2", "--rate=20/s", "--loop=forever", "--duration=1h"];
    let child = rig.replay(&arguments).spawn().unwrap();
    let progress = || -> Result<(), String> {
        let list = try_json(&system(), &["get", "pods", "-l", "app.kubernetes.io/component=replay"])?;
        let filter = format!("--filter={}", rig.filter);
        let of_ours = |pod: &&Value| {
            let arguments = pod["spec"]["containers"][0]["args"].as_array();
            arguments.is_some_and(|arguments| arguments.contains(&json!(filter)))
        };
        let pods: Vec<_> = items(&list).iter().filter(of_ours).collect();
        let sends = |pod: &&Value| {
            let log = system().run(&["logs", text(&pod["metadata"]["name"])]);
            log.is_ok_and(|log| log.contains("\"answered\":"))
        };
        if pods.len() == 2 && pods.iter().all(sends) { Ok(()) } else { Err(format!("{} pods", pods.len())) }
    };
    let sending = until("both shards send", progress);
    let kill = Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap();
    assert!(kill.success());
    let output = child.wait_with_output().unwrap();
    sending.unwrap_or_else(|error| panic!("{error:#}: {}", said(&output)));
    assert_eq!(output.status.code(), Some(1), "{}", said(&output));
    let merged = report(&output);
    let sent: u64 = text(&merged["sent"]).parse().unwrap();
    assert!(sent > 0 && merged["sent"] == merged["answered"], "{merged:#}");
    for shard in ["shard 0: stopped before the end", "shard 1: stopped before the end"] {
        assert!(said(&output).contains(shard), "{}", said(&output));
    }
    until_gone(&job(&said(&output)));
}

#[test]
fn a_replay_that_can_not_start_says_why_and_leaves_nothing() {
    let _turn = Turn::shared();
    let rig = Rig::new("unstarted", 1);
    let arguments = ["--kubernetes-image=podtap/none:1", "--kubernetes-wait=5s"];
    let output = rig.replay(&arguments).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let said = said(&output);
    assert!(said.contains("shard 0: ") && said.contains("Image"), "{said}");
    until_gone(&job(&said));
}
