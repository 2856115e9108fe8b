//! What a user types: grpcurl, tapctl, and `tap-agent run`.

use std::process::{Command, Stdio};

use podtap_tests::{Cgroup, Nginx, Running, binary, free_port, until};
use serde_json::Value;

use crate::{
    rig::Rig,
    traffic::{curl, run},
};

pub(crate) fn tapctl(rig: &Rig, arguments: &[&str]) -> String {
    let url = rig.collector.url();
    let arguments: Vec<_> = ["--collector", &url].iter().chain(arguments).copied().collect();
    run(binary("tapctl").unwrap().to_str().unwrap(), &arguments)
}

#[test]
fn grpcurl_needs_no_proto_file() {
    let rig = Rig::new();
    let cgroup = Cgroup::create("grpcurl").unwrap();
    let nginx = Nginx::start(&cgroup).unwrap();
    let agent = rig.tap(&cgroup);
    curl(&[&nginx.url("/json?page=1")]);
    curl(&[&nginx.url("/missing")]);
    rig.stored("", 2);
    let address = rig.collector.address();

    let services = run("grpcurl", &["-plaintext", &address, "list"]);
    for service in ["CaptureService", "IngestService", "LedgerService", "ReplayService"] {
        assert!(services.contains(&format!("tap.v1.{service}")), "{services}");
    }
    assert!(services.contains("grpc.health.v1.Health"), "{services}");
    let described = run("grpcurl", &["-plaintext", &address, "describe", "tap.v1.CaptureService"]);
    assert!(described.contains("rpc Search"), "{described}");

    let request = r#"{"filter": "request.method == \"GET\" && request.path.startsWith(\"/js\")"}"#;
    let found = run("grpcurl", &["-plaintext", "-d", request, &address, "tap.v1.CaptureService/Search"]);
    let found: Value = serde_json::from_str(&found).unwrap();
    let exchanges = found["exchanges"].as_array().unwrap();
    assert_eq!(exchanges.len(), 1, "{found:#}");
    assert_eq!(exchanges[0]["request"]["path"], "/json");
    assert_eq!(exchanges[0]["response"]["status"], 200);

    // A filter that is wrong is refused, with the place.
    let refused = Command::new("grpcurl")
        .args([
            "-plaintext",
            "-d",
            r#"{"filter": "request.colour == 1"}"#,
            &address,
            "tap.v1.CaptureService/Search",
        ])
        .output()
        .unwrap();
    assert!(!refused.status.success());
    assert!(String::from_utf8_lossy(&refused.stderr).contains("InvalidArgument"), "{refused:?}");
    rig.settle(agent);
}

#[test]
fn tapctl_searches_shows_and_replays() {
    let rig = Rig::new();
    let cgroup = Cgroup::create("tapctl").unwrap();
    let nginx = Nginx::start(&cgroup).unwrap();
    let second = Nginx::start_untapped().unwrap();
    let agent = rig.tap(&cgroup);
    for number in 0..10 {
        curl(&[&nginx.url(&format!("/json?n={number}"))]);
    }
    curl(&["-d", "a=1", &nginx.url("/json")]);
    curl(&[&nginx.url("/missing")]);
    rig.stored("", 12);

    let table = tapctl(&rig, &["search"]);
    assert!(table.contains("/json") && table.contains("404"), "{table}");
    let found = tapctl(&rig, &["--output", "jsonl", "search", "response.status == 404"]);
    let exchange: Value = serde_json::from_str(found.trim()).unwrap();
    assert_eq!(exchange["request"]["path"], "/missing", "{found}");
    let id = exchange["id"].as_str().unwrap();
    let shown = tapctl(&rig, &["get", id]);
    assert!(shown.contains("/missing") && shown.contains(id), "{shown}");
    let ledger = tapctl(&rig, &["ledger"]);
    assert!(ledger.contains("web"), "{ledger}");

    let target = second.url("");
    let replayed = tapctl(&rig, &["replay", "--target", &target, "--speed", "100"]);
    assert!(replayed.contains("200") && replayed.contains("404"), "{replayed}");
    let requests = second.requests();
    // The POST was not named as allowed.
    assert_eq!(requests.len(), 11, "{requests:#?}");
    assert!(requests.iter().all(|request| request.contains(" GET ")), "{requests:#?}");
    tapctl(&rig, &["replay", "--target", &target, "--speed", "100", "--allow-method", "POST"]);
    assert_eq!(second.requests().len(), 11 + 12);
    rig.settle(agent);
}

#[test]
fn tapctl_tails() {
    let rig = Rig::new();
    let cgroup = Cgroup::create("tail").unwrap();
    let nginx = Nginx::start(&cgroup).unwrap();
    let agent = rig.tap(&cgroup);
    let mut command = Command::new(binary("tapctl").unwrap());
    command.args([
        "--collector",
        &rig.collector.url(),
        "--output",
        "json",
        "tail",
        r#"request.path == "/json""#,
    ]);
    let mut tail = Running::start("tail", rig.directory.path(), &mut command).unwrap();
    // It begins when it is connected, which only what it shows can tell.
    let mut number = 0;
    until("tail shows a request", || {
        tail.check().map_err(|error| error.to_string())?;
        number += 1;
        curl(&[&nginx.url(&format!("/json?{number}"))]);
        let log = tail.log();
        if log.contains("/json") { Ok(()) } else { Err(log) }
    })
    .unwrap();
    rig.settle(agent);
}

#[test]
fn the_agent_runs_a_command() {
    let rig = Rig::new();
    let port = free_port().unwrap().to_string();
    let mut command = Command::new(binary("tap-agent").unwrap());
    command.args([
        "run",
        "--agent",
        "run",
        "--admin-listen",
        "off",
        "--collector",
        &rig.collector.url(),
        "--",
    ]);
    command.args(["python3", "-m", "http.server", "--bind", "127.0.0.1", &port]);
    let agent = Running::start("agent", rig.directory.path(), &mut command).unwrap();
    let url = format!("http://127.0.0.1:{port}/?run");
    until("the command serves", || {
        let curl = Command::new("curl")
            .args(["-sS", "--noproxy", "*", "-o", "/dev/null", &url])
            .stderr(Stdio::null())
            .status();
        if curl.is_ok_and(|status| status.success()) { Ok(()) } else { Err(agent.log()) }
    })
    .unwrap();
    rig.stored(r#"request.query == "run""#, 1);
    agent.terminate().unwrap();
    rig.settled();
    // Its command has ended with it.
    until("the port is free", || {
        std::net::TcpListener::bind(format!("127.0.0.1:{port}")).map(drop).map_err(|error| error.to_string())
    })
    .unwrap();

    // A command's own exit status is the agent's.
    let status = Command::new(binary("tap-agent").unwrap())
        .args(["run", "--agent", "exit", "--admin-listen", "off", "--collector", &rig.collector.url(), "--"])
        .args(["sh", "-c", "exit 7"])
        .stderr(Stdio::null())
        .stdout(Stdio::null())
        .status()
        .unwrap();
    assert_eq!(status.code(), Some(7));
}
