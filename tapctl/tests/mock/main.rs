//! `tapctl mock` with real clients: what they get of a real dependency is recorded, then served without it.

#![expect(clippy::unwrap_used, reason = "a test panics")]

use std::{
    io::{BufRead as _, BufReader, Write as _},
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
};

/// A Python program that serves; killed when dropped.
struct Dependency {
    process: Child,
    url: String,
}

impl Dependency {
    fn start() -> Self {
        let mut command = Command::new("python3");
        let mut process = command.arg(here("dependency.py")).stdout(Stdio::piped()).spawn().unwrap();
        let mut port = String::new();
        BufReader::new(process.stdout.take().unwrap()).read_line(&mut port).unwrap();
        Self { process, url: format!("http://127.0.0.1:{}", port.trim()) }
    }
}

impl Drop for Dependency {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn here(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/mock").join(name)
}

fn tapctl(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_tapctl")).args(arguments).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Whether the client can run; what can't is said, and is an error where everything should be there.
fn can_run(client: &[&str], probe: &[&str]) -> bool {
    let probed = Command::new(client[0]).args(probe).stdout(Stdio::null()).stderr(Stdio::null()).status();
    let can = probed.is_ok_and(|status| status.success());
    if !can {
        assert!(std::env::var_os("CI").is_none(), "{} is missing", client[0]);
        eprintln!("skipped: {} {probe:?} does not run", client[0]);
    }
    can
}

/// What `client` prints against the dependency, against the mock that records it, and against the mock alone.
fn three_times(client: &[&str]) {
    let direct = {
        let dependency = Dependency::start();
        let mut command = Command::new(client[0]);
        let output = command.args(&client[1..]).env("PODTAP_MOCK_URL", &dependency.url).output().unwrap();
        assert!(output.status.success(), "{}", text(&output.stderr));
        text(&output.stdout)
    };
    assert!(direct.contains("201") && direct.lines().count() > 9, "{direct}");

    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("recorded.jsonl");
    let file = file.to_str().unwrap();
    {
        let dependency = Dependency::start();
        let recording =
            ["mock", "--file", "/dev/null", "--listen", "127.0.0.1:0", "--passthrough", &dependency.url];
        let output = tapctl(&[&recording[..], &["--record", file, "--"], client].concat());
        assert!(output.status.success(), "{}", text(&output.stderr));
        assert!(text(&output.stdout).starts_with(&direct), "{}\n{direct}", text(&output.stdout));
    }
    let recorded = std::fs::read_to_string(file).unwrap();
    for secret in ["4111111111111111", "ann@example.com"] {
        assert!(!recorded.contains(secret), "{secret} was recorded");
    }

    let serving = ["mock", "--file", file, "--listen", "127.0.0.1:0", "--fail-on-miss", "--"];
    let output = tapctl(&[&serving[..], client].concat());
    let (printed, told) = (text(&output.stdout), text(&output.stderr));
    assert!(output.status.success(), "{printed}{told}");
    assert!(printed.starts_with(&direct), "{printed}\n{direct}");
    let summary = &printed[direct.len()..];
    assert!(
        summary.contains("misses              0") && summary.contains("never asked           0"),
        "{summary}"
    );
}

#[test]
fn python_gets_the_same_from_the_mock() {
    let client = here("client.py");
    three_times(&["python3", client.to_str().unwrap()]);
}

#[test]
fn the_requests_library_gets_the_same_from_the_mock() {
    let client = here("client_requests.py");
    let client = ["python3", client.to_str().unwrap()];
    if can_run(&client, &["-c", "import requests"]) {
        three_times(&client);
    }
}

#[test]
fn node_gets_the_same_from_the_mock() {
    let client = here("client.mjs");
    let client = ["node", client.to_str().unwrap()];
    if can_run(&client, &["-e", "if (!globalThis.fetch) process.exit(1)"]) {
        three_times(&client);
    }
}

#[test]
fn curl_gets_the_same_from_the_mock() {
    let client = here("client.sh");
    // `--json` came with 7.82.
    if can_run(&["curl"], &["--json", "{}", "--version"]) {
        three_times(&["sh", client.to_str().unwrap()]);
    }
}

/// One recorded exchange in a file.
fn one_exchange(directory: &Path) -> PathBuf {
    let file = directory.join("one.jsonl");
    let complete = r#""completeness":{"state":"COMPLETE"}"#;
    let request = format!(r#""request":{{"method":"GET","path":"/a","host":"pay.example",{complete}}}"#);
    let response = format!(r#""response":{{"status":200,"body":{{"text":"hello","size":"5"}},{complete}}}"#);
    let line = format!(r#"{{"id":"x","role":"ROLE_OUTBOUND",{request},{response}}}"#);
    std::fs::File::create(&file).unwrap().write_all(line.as_bytes()).unwrap();
    file
}

#[test]
fn the_exit_status_is_of_the_command_and_of_misses() {
    let directory = tempfile::tempdir().unwrap();
    let file = one_exchange(directory.path());
    let status = |options: &[&str], command: &str| {
        let mock = ["mock", "--file", file.to_str().unwrap(), "--listen", "127.0.0.1:0"];
        let output = tapctl(&[&mock[..], options, &["--", "python3", "-c", command]].concat());
        (output.status.code().unwrap(), text(&output.stdout), text(&output.stderr))
    };
    let ask = |path: &str| {
        format!(
            "import os, urllib.request, urllib.error
try: urllib.request.urlopen(os.environ['PODTAP_MOCK_URL'] + '{path}', timeout=60)
except urllib.error.HTTPError: pass"
        )
    };
    assert_eq!(status(&["--fail-on-miss"], &ask("/a")).0, 0);
    assert_eq!(status(&[], &ask("/b")).0, 0);
    let (code, summary, _) = status(&["--fail-on-miss"], &ask("/b"));
    assert_eq!(code, 1);
    assert!(summary.contains("no_exchange") && summary.contains("GET /b"), "{summary}");
    assert_eq!(status(&[], "raise SystemExit(3)").0, 1);
    let (_, summary, _) = status(&["-o", "json"], &ask("/a"));
    let summary: serde_json::Value = serde_json::from_str(&summary).unwrap();
    assert_eq!((&summary["statistics"]["hits"], &summary["statistics"]["requests"]), (&1.into(), &1.into()));
    // Not of what it answers from.
    assert_eq!(
        status(&["--filter", "destination.host == \"else\""], &ask("/a")).1.matches("no_exchange").count(),
        2
    );
}

#[test]
fn wrong_arguments_are_told_together() {
    let directory = tempfile::tempdir().unwrap();
    let file = one_exchange(directory.path());
    let chaos = directory.path().join("chaos.yaml");
    std::fs::write(&chaos, "rules: [{probability: 2, close: true}, {when: 'request.pth == 1', close: true}]")
        .unwrap();
    let output = tapctl(&[
        "mock",
        "nonsense",
        "--file",
        file.to_str().unwrap(),
        "--chaos",
        chaos.to_str().unwrap(),
        "--match-header",
        "a b",
    ]);
    let told = text(&output.stderr);
    assert_eq!(output.status.code(), Some(64), "{told}");
    for wrong in ["--match-header \"a b\"", "rules[0].probability", "rules[1].when", "FILTER: line 1"] {
        assert!(told.contains(wrong), "{wrong}: {told}");
    }
}
