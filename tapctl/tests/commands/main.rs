//! The commands against a collector in this process, and the program's exit status.

#![expect(clippy::unwrap_used, reason = "a test panics")]

mod collector;
mod judging;
mod kubernetes;
mod redaction;
mod stats;
mod transfer;

use std::{
    io::Read as _,
    process::{Command, Stdio},
};

use collector::{Collector, ID_TIME, Served, exchange};
use jiff::tz::TimeZone;
use tap_proto::v1::{AgentLedger, Amount, Body, Ledger, Order, TargetLedger, body::Content};
use tapctl::{
    Verdict,
    cli::{Cli, Invocation},
    render::Style,
    run,
};

async fn tapctl(collector: &Collector, arguments: &[&str]) -> anyhow::Result<(Verdict, String)> {
    at(&collector.url, arguments).await
}

async fn at(url: &str, arguments: &[&str]) -> anyhow::Result<(Verdict, String)> {
    let arguments = ["tapctl", "--collector", url].into_iter().chain(arguments.iter().copied());
    let (cli, program) = Cli::read(arguments).unwrap();
    let style = Style { width: None, colour: false, zone: TimeZone::UTC };
    let mut out = Vec::new();
    let verdict = run(Invocation { cli, program, style }, &mut out).await?;
    Ok((verdict, String::from_utf8(out).unwrap()))
}

async fn ten() -> Collector {
    Collector::start(Served::of(10)).await
}

fn json(text: &str) -> serde_json::Value {
    serde_json::from_str(text).unwrap()
}

fn paths(lines: &str) -> Vec<String> {
    lines.lines().map(|line| json(line)["request"]["path"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn search_follows_pages_up_to_its_limit() {
    let collector = ten().await;

    let (_, all) = tapctl(&collector, &["search", "--limit", "0", "-o", "jsonl"]).await.unwrap();
    assert_eq!(paths(&all), (0..10).rev().map(|index| format!("/{index}")).collect::<Vec<_>>());
    let (_, four) =
        tapctl(&collector, &["search", "--limit", "4", "--oldest-first", "-o", "jsonl"]).await.unwrap();
    assert_eq!(paths(&four), ["/0", "/1", "/2", "/3"]);
    let (_, document) = tapctl(&collector, &["search", "-o", "json"]).await.unwrap();
    assert_eq!(json(&document)["exchanges"].as_array().unwrap().len(), 10);
    let (_, table) = tapctl(&collector, &["search"]).await.unwrap();
    assert_eq!(table.lines().count(), 11, "{table}");
    // Columns stand where they stood on the first page.
    let positions: Vec<_> = table.lines().skip(1).map(|line| line.find("018bcfe5").unwrap()).collect();
    assert!(positions.windows(2).all(|pair| pair[0] == pair[1]), "{table}");
}

#[tokio::test]
async fn a_search_survives_a_restart_of_the_collector() {
    let collector = Collector::start(Served { second_page_fails: 2, ..Served::of(10) }).await;
    let (_, all) = tapctl(&collector, &["search", "--limit", "0", "-o", "jsonl"]).await.unwrap();
    assert_eq!(all.lines().count(), 10);

    let collector = Collector::start(Served { second_page_fails: usize::MAX, ..Served::of(10) }).await;
    let arguments = ["search", "--limit", "0", "--timeout", "1s"];
    let error = tapctl(&collector, &arguments).await.unwrap_err().to_string();
    assert!(error.contains("restarting"), "{error}");
}

#[tokio::test]
async fn search_asks_for_what_was_said() {
    let collector = ten().await;
    tapctl(&collector, &["search", "a || b", "-n", "shop", "--since", "2023-11-14T22:13:20Z"]).await.unwrap();
    let search = collector.served(|served| served.searches[0].clone());
    assert_eq!(search.filter, "(a || b\n) && namespace == \"shop\"");
    assert_eq!(search.start_time, Some(prost_types::Timestamp { seconds: 1_700_000_000, nanos: 0 }));
    assert_eq!(search.end_time, None);
    assert_eq!(search.order(), Order::NewestFirst);
    assert!(search.summary);
}

#[tokio::test]
async fn a_wrong_filter_is_pointed_at() {
    let collector = ten().await;
    let error = tapctl(&collector, &["search", "true && nonsense"]).await.unwrap_err().to_string();
    assert_eq!(error, "filter: line 1, column 9: no such variable\n  true && nonsense\n          ^");
}

#[tokio::test]
async fn get_takes_an_id_or_the_start_of_one() {
    let collector = ten().await;
    let id = exchange(7).id;

    let (_, whole) = tapctl(&collector, &["get", &id, "-o", "json"]).await.unwrap();
    assert_eq!(json(&whole)["request"]["path"], "/7");
    let (_, by_prefix) = tapctl(&collector, &["get", &id[..36 - 1], "-o", "jsonl"]).await.unwrap();
    assert_eq!(paths(&by_prefix), ["/7"]);
    let several = tapctl(&collector, &["get", ID_TIME]).await.unwrap_err().to_string();
    assert!(several.contains("several") && several.contains(&exchange(0).id), "{several}");
    let none = tapctl(&collector, &["get", "018bcfe5-6801"]).await.unwrap_err().to_string();
    assert!(none.contains("no exchange"), "{none}");
    // One millisecond is searched: what the id's time says.
    let search = collector.served(|served| served.searches.last().unwrap().clone());
    assert_eq!(search.start_time, Some(prost_types::Timestamp { seconds: 1_700_000_000, nanos: 1_000_000 }));
    assert_eq!(search.end_time, Some(prost_types::Timestamp { seconds: 1_700_000_000, nanos: 2_000_000 }));

    let missing = "018bcfe5-6800-7abc-8def-ffffffffffff";
    let error = tapctl(&collector, &["get", missing]).await.unwrap_err().to_string();
    assert_eq!(error, format!("no exchange has the id {missing}"));
}

#[tokio::test]
async fn tail_skips_and_repeats_nothing_when_the_collector_goes_away() {
    let collector = ten().await;
    let (_, followed) = tapctl(&collector, &["tail", "--limit", "5", "-o", "json"]).await.unwrap();
    assert_eq!(paths(&followed), ["/0", "/1", "/2", "/3", "/4"]);
    assert_eq!(collector.served(|served| served.tails.clone()), ["", "2", "4"]);
}

#[test]
fn tail_waits_for_a_collector_that_was_killed() {
    use std::io::BufRead as _;

    let first = tokio::runtime::Runtime::new().unwrap();
    let collector = first.block_on(Collector::start_on("127.0.0.1:0", Served::of(1)));
    let address = collector.url.strip_prefix("http://").unwrap().to_owned();
    let mut tail = program()
        .args(["tail", "--limit", "2", "-o", "jsonl", "--collector", &collector.url])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = std::io::BufReader::new(tail.stdout.take().unwrap()).lines();
    assert_eq!(paths(&lines.next().unwrap().unwrap()), ["/0"]);

    first.shutdown_timeout(std::time::Duration::from_secs(5));
    drop(collector);
    let second = tokio::runtime::Runtime::new().unwrap();
    let _collector = second.block_on(Collector::start_on(&address, Served::of(2)));
    assert_eq!(paths(&lines.next().unwrap().unwrap()), ["/1"]);

    let mut error = String::new();
    tail.stderr.take().unwrap().read_to_string(&mut error).unwrap();
    assert!(tail.wait().unwrap().success(), "{error}");
    assert!(error.contains("waiting") && error.contains("back"), "{error}");
}

#[tokio::test]
async fn ledger_check_fails_on_what_is_unaccounted_for() {
    let ledger = |seen| AgentLedger {
        ledger: Some(Ledger {
            agent: format!("node-{seen}"),
            targets: vec![TargetLedger {
                target: "web".into(),
                seen: Some(Amount { bytes: seen, ..Amount::default() }),
                stored: Some(Amount { bytes: 10, ..Amount::default() }),
                ..TargetLedger::default()
            }],
            ..Ledger::default()
        }),
        in_table: Some(Amount { bytes: 10, ..Amount::default() }),
        expired: None,
    };
    let collector =
        Collector::start(Served { agents: vec![ledger(10), ledger(11)], ..Served::default() }).await;

    let (verdict, table) = tapctl(&collector, &["ledger"]).await.unwrap();
    assert_eq!(verdict, Verdict::Good);
    assert!(table.contains("balanced") && table.contains("1 bytes unaccounted for"), "{table}");
    let (verdict, _) = tapctl(&collector, &["ledger", "--check"]).await.unwrap();
    assert_eq!(verdict, Verdict::Bad);
    let (verdict, printed) =
        tapctl(&collector, &["ledger", "--check", "--agent", "node-10", "-o", "json"]).await.unwrap();
    assert_eq!(verdict, Verdict::Good);
    assert_eq!(json(&printed)["agents"][0]["inTable"]["bytes"], "10");
}

#[tokio::test]
async fn a_ledger_of_a_namespace_is_of_its_pods_and_no_other() {
    let ledger = |agent: &str, targets: &[&str]| AgentLedger {
        ledger: Some(Ledger {
            agent: agent.into(),
            targets: targets
                .iter()
                .map(|target| TargetLedger { target: (*target).into(), ..TargetLedger::default() })
                .collect(),
            ..Ledger::default()
        }),
        // Of the whole agent: says nothing of a namespace.
        in_table: Some(Amount { bytes: 10, ..Amount::default() }),
        expired: None,
    };
    let agents = vec![ledger("one", &["shop/a", "shopping/b", "shop"]), ledger("two", &["other/shop"])];
    let collector = Collector::start(Served { agents, ..Served::default() }).await;

    let (verdict, printed) =
        tapctl(&collector, &["ledger", "-n", "shop", "--check", "-o", "json"]).await.unwrap();
    assert_eq!(verdict, Verdict::Good);
    let printed = json(&printed);
    assert_eq!(printed["agents"].as_array().unwrap().len(), 1, "{printed}");
    assert_eq!(printed["agents"][0]["ledger"]["targets"].as_array().unwrap().len(), 1, "{printed}");
    assert_eq!(printed["agents"][0]["ledger"]["targets"][0]["target"], "shop/a");
    let (_, table) = tapctl(&collector, &["ledger", "-n", "shop"]).await.unwrap();
    assert!(table.contains("shop/a") && table.contains("by agent, not by namespace"), "{table}");
    assert!(!table.contains("shopping"), "{table}");
}

/// Answers each GET with 200 and nothing else.
async fn target() -> String {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let _ = stream.read(&mut [0; 4_096]).await;
            let _ =
                stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n").await;
        }
    });
    url
}

#[tokio::test]
async fn replay_sends_the_whole_selection() {
    let collector = ten().await;
    let (verdict, report) =
        tapctl(&collector, &["replay", "--target", &target().await, "-o", "json"]).await.unwrap();
    assert_eq!(verdict, Verdict::Good, "{report}");
    let report = json(&report);
    assert_eq!(report["selected"], "10");
    assert_eq!(report["matched"], "10");
    let search = collector.served(|served| served.searches.last().unwrap().clone());
    assert_eq!(search.filter, r#"role == "inbound""#);
    assert_eq!(search.order(), Order::OldestFirst);
    assert!(search.end_time.is_some() && !search.summary);
}

#[tokio::test]
async fn replay_reports_mismatches_and_failures_by_its_verdict() {
    let mut differs = exchange(1);
    differs.response.as_mut().unwrap().body =
        Some(Body { content: Some(Content::Text("x".into())), size: 1, ..Body::default() });
    let collector = Collector::start(Served { exchanges: vec![differs], ..Served::default() }).await;
    let target = target().await;

    let (verdict, report) = tapctl(&collector, &["replay", "--target", &target]).await.unwrap();
    assert_eq!(verdict, Verdict::Good);
    assert!(report.contains("body: 1"), "{report}");
    let (verdict, _) =
        tapctl(&collector, &["replay", "--target", &target, "--fail-on-mismatch"]).await.unwrap();
    assert_eq!(verdict, Verdict::Bad);

    let bound = tokio::net::TcpSocket::new_v4().unwrap();
    bound.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let closed = format!("http://{}", bound.local_addr().unwrap());
    let (verdict, report) = tapctl(&collector, &["replay", "--target", &closed]).await.unwrap();
    assert_eq!(verdict, Verdict::Bad);
    assert!(report.contains("connection_refused: 1"), "{report}");
}

#[tokio::test]
async fn a_wrong_plan_is_told_whole_before_anything_is_asked() {
    let collector = ten().await;
    let error = tapctl(&collector, &["replay", "--target", "ftp://shop", "--speed", "-1"]).await.unwrap_err();
    let error = error.to_string();
    assert!(error.contains("ftp://shop") && error.contains("speed"), "{error}");
    assert_eq!(collector.served(|served| served.searches.len()), 0);
}

#[tokio::test]
async fn without_a_collector_the_error_says_what_to_do() {
    let bound = tokio::net::TcpSocket::new_v4().unwrap();
    bound.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let url = format!("http://{}", bound.local_addr().unwrap());
    let output = program().args(["search", "--collector", &url]).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let error = String::from_utf8(output.stderr).unwrap();
    for hint in [&url, "refused", "tap-collector", "PODTAP_COLLECTOR", "port-forward"] {
        assert!(error.contains(hint), "{error}");
    }
}

#[test]
fn the_exit_status_tells_wrong_usage_from_failure() {
    let status = |arguments: &[&str]| program().args(arguments).output().unwrap().status.code();
    assert_eq!(status(&["--help"]), Some(0));
    assert_eq!(status(&["--version"]), Some(0));
    assert_eq!(status(&["completion", "bash"]), Some(0));
    for wrong in [&["serach"][..], &[], &["replay"], &["search", "--since", "yesterday"], &["get", "x"]] {
        assert_eq!(status(wrong), Some(64), "{wrong:?}");
    }
    let plan = ["replay", "--target", "ftp://x", "--collector", "http://127.0.0.1:1"];
    assert_eq!(status(&plan), Some(64));
}

#[test]
fn the_plugin_of_kubectl_is_the_same_program_under_its_own_name() {
    let plugin = |arguments: &[&str]| {
        let output = Command::new(env!("CARGO_BIN_EXE_kubectl-tap")).args(arguments).output().unwrap();
        assert!(output.status.success(), "{arguments:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    assert!(plugin(&["search", "--help"]).contains("Usage: kubectl tap search"));
    for shell in ["bash", "zsh", "fish"] {
        let script = plugin(&["completion", shell]);
        assert!(script.contains("kubectl-tap") && script.contains("oldest-first"), "{shell}");
    }
    assert!(!plugin(&["completion", "bash"]).contains("_tapctl"));
}

#[test]
fn a_reader_that_has_seen_enough_is_no_error() {
    let mut child =
        program().args(["completion", "zsh"]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    let mut error = String::new();
    child.stderr.take().unwrap().read_to_string(&mut error).unwrap();
    assert!(child.wait().unwrap().success(), "{error}");
    assert_eq!(error, "");
}

fn program() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tapctl"));
    command.env_remove("PODTAP_COLLECTOR");
    command
}
