//! Replays in Kubernetes: what is created there, and, with a kubectl whose pods are processes, what comes of it. On a real
//! cluster: tests/tests/cluster/replay.rs.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Output, Stdio},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use k8s_openapi::api::{batch::v1::Job, core::v1::Secret};
use serde_json::Value;
use tempfile::TempDir;
use tokio::process::{Child, Command};

use super::{Collector, Served, json};

/// Longer than any of these replays takes on the slowest machine.
const PATIENCE: Duration = Duration::from_secs(120);

/// Answers each request, and counts them.
async fn target() -> (String, Arc<AtomicUsize>) {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let count = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&count);
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let _ = stream.read(&mut [0; 4_096]).await;
            counter.fetch_add(1, Ordering::Relaxed);
            let _ = stream
                .write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok")
                .await;
        }
    });
    (url, count)
}

/// A cluster in a directory.
struct Cluster {
    directory: TempDir,
    minor: &'static str,
    broken: &'static str,
}

impl Cluster {
    fn new() -> Self {
        Self { directory: tempfile::tempdir().unwrap(), minor: "33+", broken: "" }
    }

    fn path(&self) -> &Path {
        self.directory.path()
    }

    fn replay(&self, collector: &str, arguments: &[&str]) -> Command {
        let kubectl = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/commands/kubernetes");
        let path = std::env::var_os("PATH").unwrap();
        let path = std::env::join_paths([kubectl].into_iter().chain(std::env::split_paths(&path))).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_tapctl"));
        command
            .args(["replay", "--kubernetes", "--kubernetes-collector", collector, "--session", "none"])
            .args(arguments)
            .env_remove("JOB_COMPLETION_INDEX")
            .env("PATH", path)
            .env("CLUSTER", self.path())
            .env("TAPCTL", env!("CARGO_BIN_EXE_tapctl"))
            .env("MINOR", self.minor)
            .env("BROKEN", self.broken)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        command
    }

    async fn run(&self, collector: &str, arguments: &[&str]) -> Output {
        tokio::time::timeout(PATIENCE, self.replay(collector, arguments).output()).await.unwrap().unwrap()
    }

    fn files(&self, prefix: &str, suffix: &str) -> Vec<PathBuf> {
        let entries = fs::read_dir(self.path()).unwrap().map(|entry| entry.unwrap().path());
        let mut files: Vec<_> = entries
            .filter(|path| {
                let name = path.file_name().unwrap().to_string_lossy().into_owned();
                name.starts_with(prefix) && name.ends_with(suffix)
            })
            .collect();
        files.sort();
        files
    }

    /// What the pods printed.
    fn logs(&self) -> String {
        let logs = self.files("pod-", ".log");
        logs.iter().map(|log| fs::read_to_string(log).unwrap()).collect()
    }
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[tokio::test]
async fn shards_of_an_indexed_job_are_one_replay() {
    let collector = Collector::start(Served::of(30)).await;
    let (target, count) = target().await;
    let cluster = Cluster::new();
    let report = cluster.path().join("report.xml");
    let reports = format!("junit={}", report.display());
    let arguments = [
        "--target",
        &target,
        "--since",
        "2h",
        "--rate",
        "max",
        "--shards",
        "3",
        "-o",
        "json",
        "--fail-if",
        "sent < 30 || failed > 0",
        "--report",
        &reports,
    ];
    let output = cluster.run(&collector.url, &arguments).await;
    assert!(output.status.success(), "{}", said(&output));
    let merged = json(&String::from_utf8(output.stdout).unwrap());
    assert_eq!((&merged["selected"], &merged["answered"]), (&"30".into(), &"30".into()), "{merged:#}");
    assert_eq!(count.load(Ordering::Relaxed), 30);
    // All selected the same, although a pod starts when it can.
    let searches = collector.served(|served| served.searches.clone());
    let times: Vec<_> = searches.iter().map(|search| (search.start_time, search.end_time)).collect();
    assert!(times.windows(2).all(|pair| pair[0] == pair[1]), "{times:?}");
    assert_eq!(cluster.files("pod-", ".exit").len(), 3);
    assert!(fs::read_to_string(&report).unwrap().contains("in 3 shards"));
    // Nothing that was captured, or answered, can be read from what the pods print.
    let logs = cluster.logs();
    assert_eq!(logs.matches("podtap-report 1/1 ").count(), 3, "{logs}");
    let of_ours =
        |line: &str| line.starts_with("podtap-report ") || line.starts_with("podtap-progress {\"sent\":");
    assert!(logs.lines().all(of_ours), "{logs}");
    assert!(cluster.path().join("deleted").exists());
}

#[tokio::test]
async fn without_indexed_jobs_each_shard_has_a_job() {
    let collector = Collector::start(Served::of(12)).await;
    let (target, count) = target().await;
    let cluster = Cluster { minor: "20", ..Cluster::new() };
    let arguments = ["--target", &target, "--rate", "max", "--shards", "2", "--keep", "-o", "json"];
    let output = cluster.run(&collector.url, &arguments).await;
    assert!(output.status.success(), "{}", said(&output));
    assert_eq!(json(&String::from_utf8(output.stdout).unwrap())["sent"], "12");
    assert_eq!(count.load(Ordering::Relaxed), 12);
    assert_eq!(cluster.files("Job-", "").len(), 2);
    assert!(!cluster.path().join("deleted").exists());

    // The kept logs say the same to who has the key, and nothing to anybody else.
    let key = cluster.path().join("podtap/run/key");
    let merge = |key: Option<&Path>| {
        let mut command = super::program();
        command.args(["replay", "merge", "-o", "json"]).args(cluster.files("pod-", ".log"));
        if let Some(key) = key {
            command.arg("--seal-key").arg(key);
        }
        command.output().unwrap()
    };
    let opened = merge(Some(&key));
    assert!(opened.status.success(), "{}", said(&opened));
    assert_eq!(json(&String::from_utf8(opened.stdout).unwrap())["sent"], "12");
    assert_eq!(merge(None).status.code(), Some(64));
    fs::write(&key, "0".repeat(64)).unwrap();
    let foreign = merge(Some(&key));
    assert_eq!(foreign.status.code(), Some(1));
    assert!(said(&foreign).contains("another key"), "{}", said(&foreign));
}

#[tokio::test]
async fn a_shard_without_a_report_is_named_and_the_others_count() {
    let collector = Collector::start(Served::of(12)).await;
    let (target, count) = target().await;
    let cluster = Cluster { broken: "1", ..Cluster::new() };
    let output = cluster
        .run(&collector.url, &["--target", &target, "--rate", "max", "--shards", "2", "-o", "json"])
        .await;
    assert_eq!(output.status.code(), Some(1));
    let said = said(&output);
    assert!(said.contains("shard 1: no report: Error, exit status 137\n    out of luck"), "{said}");
    let merged = json(&String::from_utf8(output.stdout).unwrap());
    assert_eq!(merged["sent"].as_str().unwrap().parse(), Ok(count.load(Ordering::Relaxed)));
}

async fn interrupted(child: Child, when: impl Fn() -> bool) -> Output {
    let start = Instant::now();
    while !when() {
        assert!(start.elapsed() < PATIENCE, "nothing happens");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let pid = child.id().unwrap().to_string();
    assert!(std::process::Command::new("kill").args(["-INT", &pid]).status().unwrap().success());
    tokio::time::timeout(PATIENCE, child.wait_with_output()).await.unwrap().unwrap()
}

#[tokio::test]
async fn an_interrupt_stops_the_pods_and_prints_what_they_did() {
    let collector = Collector::start(Served::of(6)).await;
    let (target, count) = target().await;
    let cluster = Cluster::new();
    let arguments = [
        "--target",
        &target,
        "--rate",
        "20/s",
        "--loop",
        "forever",
        "--duration",
        "1h",
        "--shards",
        "2",
        "-o",
        "json",
    ];
    let child = cluster.replay(&collector.url, &arguments).spawn().unwrap();
    let output = interrupted(child, || count.load(Ordering::Relaxed) > 10).await;
    let said = said(&output);
    assert_eq!(output.status.code(), Some(1), "{said}");
    for shard in ["shard 0: stopped before the end", "shard 1: stopped before the end"] {
        assert!(said.contains(shard), "{said}");
    }
    let merged = json(&String::from_utf8(output.stdout).unwrap());
    let sent: usize = merged["sent"].as_str().unwrap().parse().unwrap();
    assert!(sent > 10 && sent == count.load(Ordering::Relaxed), "{merged:#}");
    assert_eq!(cluster.files("pod-", ".exit").len(), 2);
}

fn dry_run(arguments: &[&str]) -> Output {
    let mut command = super::program();
    command.args(["replay", "--kubernetes", "--dry-run"]).args(arguments).env_remove("JOB_COMPLETION_INDEX");
    command.output().unwrap()
}

fn objects(arguments: &[&str]) -> Vec<Value> {
    let output = dry_run(&[arguments, &["-o", "json"]].concat());
    assert!(output.status.success(), "{}", said(&output));
    let list = json(&String::from_utf8(output.stdout).unwrap());
    list["items"].as_array().unwrap().clone()
}

#[test]
fn the_example_is_what_a_dry_run_prints() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/examples/replay-job.yaml");
    let example = fs::read_to_string(path).unwrap();
    // Its command stands in a comment above.
    let command =
        example.lines().find_map(|line| line.strip_prefix("#   tapctl replay --kubernetes ")).unwrap();
    let command = command.replace(" --dry-run", "");
    let arguments: Vec<_> = command.split_whitespace().map(|word| word.trim_matches('\'')).collect();
    let mut objects = objects(&arguments);
    let secret: Secret = serde_json::from_value(objects.pop().unwrap()).unwrap();
    assert_eq!(secret.string_data.unwrap()["key"].len(), 64);
    let [job] = &objects[..] else { panic!("{objects:#?}") };
    let name = job["metadata"]["name"].as_str().unwrap();
    let job = json(&job.to_string().replace(name, "replay-checkout"));
    let known: Value = serde_yaml_ng::from_str(&example).unwrap();
    assert_eq!(job, known, "{}", serde_yaml_ng::to_string(&job).unwrap());
    // Kubernetes knows each of its fields: one that it does not know is not written again.
    let typed: Job = serde_json::from_value(job.clone()).unwrap();
    assert_eq!(serde_json::to_value(&typed).unwrap(), job);
}

#[test]
fn everything_that_was_asked_for_comes_to_the_pods() {
    let directory = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| {
        let path = directory.path().join(name);
        fs::write(&path, text).unwrap();
        path.display().to_string()
    };
    let transform = file("t.yaml", "rules:\n- jwt: {algorithm: HS256, key_file: /secrets/jwt/key}\n");
    let settings = file(
        "s.yaml",
        "pod: {nodeSelector: {disk: fast}, serviceAccountName: replay}\ncontainer: {resources: {limits: {memory: 1Gi}}}",
    );
    let objects = objects(&[
        "request.path != '/a'",
        "--namespace",
        "shop",
        "--until",
        "2026-11-21T10:00:00Z",
        "--target",
        "https://t",
        "--transform",
        &transform,
        "--kubernetes-settings",
        &settings,
        "--kubernetes-secret",
        "jwt",
        "--kubernetes-secret",
        "tls",
        "--client-cert",
        "/secrets/tls/tls.crt",
        "--client-key",
        "/secrets/tls/tls.key",
        "--kubernetes-namespace",
        "testing",
        "--kubernetes-image",
        "registry.example/tapctl:1",
        "--shards",
        "5",
    ]);
    let [job, settings, _] = &objects[..] else { panic!("{objects:#?}") };
    assert_eq!(settings["data"]["transform.yaml"], fs::read_to_string(&transform).unwrap());
    assert_eq!(job["metadata"]["namespace"], "testing");
    assert_eq!((&job["spec"]["completions"], &job["spec"]["parallelism"]), (&5.into(), &5.into()));
    let pod = &job["spec"]["template"]["spec"];
    assert_eq!(
        (&pod["nodeSelector"]["disk"], &pod["serviceAccountName"]),
        (&"fast".into(), &"replay".into())
    );
    let container = &pod["containers"][0];
    assert_eq!(container["image"], "registry.example/tapctl:1");
    assert_eq!(container["resources"]["limits"]["memory"], "1Gi");
    let arguments = container["args"].as_array().unwrap();
    for argument in [
        "--filter=(request.path != '/a'\n) && namespace == \"shop\"",
        "--until=2026-11-21T10:00:00Z",
        "--transform=/podtap/settings/transform.yaml",
        "--client-key=/secrets/tls/tls.key",
        "--shards=5",
    ] {
        assert!(arguments.contains(&argument.into()), "{argument:?} in {arguments:#?}");
    }
    let bucket = self::objects(&["--target", "http://t", "--store", "s3://captures/shop"]);
    assert_eq!(
        bucket[0]["spec"]["template"]["spec"]["containers"][0]["args"][0],
        "--store=s3://captures/shop"
    );
    let mounts = container["volumeMounts"].as_array().unwrap();
    assert!(mounts.iter().any(|mount| mount["mountPath"] == "/secrets/jwt"), "{mounts:#?}");
    let typed: Job = serde_json::from_value(job.clone()).unwrap();
    assert_eq!(&serde_json::to_value(&typed).unwrap(), job);
}

#[test]
fn what_can_not_run_there_is_told_before_anything_is_created() {
    let directory = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| {
        let path = directory.path().join(name);
        fs::write(&path, text).unwrap();
        path.display().to_string()
    };
    let inline = file("inline.yaml", "rules:\n- jwt: {algorithm: HS256, key: hush}\n");
    let containers = file("pod.yaml", "pod: {containers: []}");
    let key = file("key.pem", "hush");
    let large = file("large.yaml", &format!("rules: []\n#{}", "x".repeat(1_000_000)));
    for (arguments, wanted) in [
        (&["--hook", "cat"][..], "--hook"),
        (&["--remote"], "--remote"),
        (&["--file", "x"], "--file"),
        (&["--shards", "65"], "64 at most"),
        (&["--transform", &inline], "key_file"),
        (&["--client-cert", &key, "--client-key", &key], "--kubernetes-secret"),
        (&["--client-cert", "/secrets/tls/a", "--client-key", "/secrets/tls/b"], "--kubernetes-secret"),
        (&["--kubernetes-settings", &containers], "pod.containers"),
        (&["--kubernetes-namespace", "a/b"], "a/b"),
        (&["--transform", &large], "bytes"),
        (&["--comparison", "/nonexistent"], "/nonexistent"),
        (&["--store", "/var/lib/podtap"], "not in the cluster"),
    ] {
        let output = dry_run(&[&["--target", "https://t"], arguments].concat());
        let said = said(&output);
        assert!(output.stdout.is_empty() && !output.status.success(), "{arguments:?}");
        assert!(said.contains(wanted) && !said.contains("hush"), "{arguments:?}: {said}");
    }
}
