//! Replays that are judged: conditions, reports, two versions against each other.

use std::{fs, path::Path};

use tap_proto::v1::{Body, Completeness, body::Content, completeness::State};
use tapctl::{Verdict, WrongUsage};

use super::{Collector, Served, exchange, json, tapctl};

/// Answers each request with this body, as JSON.
async fn target(body: &'static str) -> String {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let _ = stream.read(&mut [0; 4_096]).await;
            let head = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close\r\n";
            let answer = format!("{head}Content-Length: {}\r\n\r\n{body}", body.len());
            let _ = stream.write_all(answer.as_bytes()).await;
        }
    });
    url
}

/// A collector with exchanges that were answered with `{"price":1,"mood":"a"}`.
async fn collector() -> Collector {
    let exchanges = (0..4).map(|index| {
        let mut exchange = exchange(index);
        let response = exchange.response.as_mut().unwrap();
        response.headers.clear();
        response.headers.push(tap_proto::v1::Header {
            name: "Content-Type".into(),
            value: "application/json".into(),
            ..Default::default()
        });
        let text = r#"{"price":1,"mood":"a"}"#.to_owned();
        response.body =
            Some(Body { size: text.len() as u64, content: Some(Content::Text(text)), ..Body::default() });
        response.completeness =
            Some(Completeness { state: State::Complete.into(), ..Completeness::default() });
        exchange
    });
    Collector::start(Served { exchanges: exchanges.collect(), ..Served::default() }).await
}

fn option(format: &str, directory: &Path, name: &str) -> String {
    format!("{format}={}", directory.join(name).display())
}

#[tokio::test]
async fn a_replay_fails_by_its_condition_and_writes_what_was_asked_for() {
    let (collector, directory) = (collector().await, tempfile::tempdir().unwrap());
    let target = target(r#"{"price":2,"mood":"a"}"#).await;
    let reports = ["json", "junit", "html"].map(|format| option(format, directory.path(), format));
    let mut arguments = vec!["replay", "--target", &target, "--fail-if", "mismatches > 3 || failed > 0"];
    arguments.extend(reports.iter().flat_map(|report| ["--report", report]));
    let (verdict, printed) = tapctl(&collector, &arguments).await.unwrap();
    assert_eq!(verdict, Verdict::Bad);
    assert!(printed.contains("body.$.price   4   value\n    - 1\n    + 2"), "{printed}");

    let read = |name: &str| fs::read_to_string(directory.path().join(name)).unwrap();
    let report = json(&read("json"));
    assert_eq!(report["endpoints"][0]["fields"][0]["field"], "body.$.price");
    assert_eq!(report["mismatches"], "4");
    let junit = read("junit");
    assert!(junit.contains("<testcase name=\"not mismatches &gt; 3 || failed &gt; 0\""), "{junit}");
    assert!(junit.contains("4 of 4 answers differ"), "{junit}");
    assert!(read("html").contains("<code>body.$.price</code>"));

    let arguments = ["replay", "--target", &target, "--fail-if", "error_rate > 0.5"];
    assert_eq!(tapctl(&collector, &arguments).await.unwrap().0, Verdict::Good);
}

#[tokio::test]
async fn a_report_on_standard_output_stands_there_alone() {
    let (collector, target) = (collector().await, target("{}").await);
    let arguments = ["replay", "--target", &target, "--report", "json=-"];
    let (_, printed) = tapctl(&collector, &arguments).await.unwrap();
    assert_eq!(json(&printed)["differed"], "4");
}

#[tokio::test]
async fn what_can_not_be_judged_is_told_before_anything_is_asked() {
    let (collector, target) = (collector().await, target("{}").await);
    for wrong in [
        &["--fail-if", "mismatchs > 0"][..],
        &["--fail-if", "latency.p99 > 300"],
        &["--report", "json=-", "--report", "html=-"],
        &["--report", "json=/no/such/directory/report.json"],
    ] {
        let arguments = [&["replay", "--target", &target], wrong].concat();
        let error = tapctl(&collector, &arguments).await.unwrap_err();
        assert!(error.is::<WrongUsage>(), "{wrong:?}: {error}");
    }
    assert_eq!(collector.served(|served| served.searches.len()), 0);
}

#[tokio::test]
async fn settings_and_noise_come_from_files() {
    let (collector, directory) = (collector().await, tempfile::tempdir().unwrap());
    let unchanged = target(r#"{"price":1,"mood":"b"}"#).await;
    let baseline = option("json", directory.path(), "baseline.json");
    tapctl(&collector, &["replay", "--target", &unchanged, "--report", &baseline]).await.unwrap();

    let baseline = directory.path().join("baseline.json");
    let fails = async |target: &str, more: &[&str]| {
        let arguments = [&["replay", "--target", target, "--fail-if", "mismatches > 0"], more].concat();
        tapctl(&collector, &arguments).await.unwrap().0 == Verdict::Bad
    };
    let noise = ["--noise-from", baseline.to_str().unwrap()];
    assert!(fails(&unchanged, &[]).await);
    assert!(!fails(&unchanged, &noise).await);
    assert!(fails(&target(r#"{"price":2,"mood":"b"}"#).await, &noise).await);

    let settings = directory.path().join("comparison.yaml");
    fs::write(&settings, "json: {ignore: [$.mood]}").unwrap();
    assert!(!fails(&unchanged, &["--comparison", settings.to_str().unwrap()]).await);
    fs::write(&settings, "json: {ignore: [mood]}").unwrap();
    let arguments = ["replay", "--target", &unchanged, "--comparison", settings.to_str().unwrap()];
    let error = tapctl(&collector, &arguments).await.unwrap_err();
    assert!(error.is::<WrongUsage>() && error.to_string().contains("json.ignore"), "{error}");
}

#[tokio::test]
async fn two_versions_are_compared_from_the_store_or_a_file() {
    let (collector, directory) = (collector().await, tempfile::tempdir().unwrap());
    let (one, same) = (target(r#"{"price":1}"#).await, target(r#"{"price":1}"#).await);
    let other = target(r#"{"price":2}"#).await;
    let (_, exchanges) = tapctl(&collector, &["search", "--oldest-first", "-o", "jsonl"]).await.unwrap();
    let file = directory.path().join("captures.jsonl");
    fs::write(&file, exchanges).unwrap();
    for source in [&[][..], &["--file", file.to_str().unwrap()]] {
        let arguments =
            [&["diff", "--primary", &one, "--secondary", &same, "--candidate", &other], source].concat();
        let (verdict, printed) = tapctl(&collector, &arguments).await.unwrap();
        assert_eq!(verdict, Verdict::Bad);
        assert!(printed.contains("body.$.price   4   value"), "{printed}");
        let arguments = [&["diff", "--primary", &one, "--candidate", &same, "-o", "json"], source].concat();
        let (verdict, printed) = tapctl(&collector, &arguments).await.unwrap();
        assert_eq!((verdict, json(&printed)["matched"].as_str()), (Verdict::Good, Some("4")), "{printed}");
    }
}

#[tokio::test]
async fn reports_of_shards_are_judged_as_one() {
    let (collector, directory) = (collector().await, tempfile::tempdir().unwrap());
    let target = target(r#"{"price":2,"mood":"a"}"#).await;
    let file = |name: &str| directory.path().join(name).display().to_string();
    let shards = ["0", "1"].map(|shard| (shard, file(&format!("{shard}.json"))));
    for (shard, path) in &shards {
        let report = format!("json={path}");
        let arguments =
            ["--session", "none", "--shards", "2", "--shard", *shard, "--rate", "max", "--report", &*report];
        tapctl(&collector, &[&["replay", "--target", &*target], &arguments[..]].concat()).await.unwrap();
    }
    let [(_, first), (_, second)] = &shards;
    let junit = format!("junit={}", file("report.xml"));
    let merge = async |arguments: &[&str]| {
        let all = [&["replay", "merge", &**first, &**second, "-o", "json"], arguments].concat();
        tapctl(&collector, &all).await
    };
    let (verdict, merged) =
        merge(&["--fail-if", "mismatches < 4 || failed > 0", "--report", &junit]).await.unwrap();
    assert_eq!((verdict, &json(&merged)["answered"]), (Verdict::Good, &"4".into()), "{merged}");
    let (verdict, _) = merge(&["--fail-if", "mismatches == 4"]).await.unwrap();
    assert_eq!(verdict, Verdict::Bad);
    assert_eq!(merge(&[]).await.unwrap().0, Verdict::Good);
    assert_eq!(merge(&["--fail-on-mismatch"]).await.unwrap().0, Verdict::Bad);
    let junit = fs::read_to_string(file("report.xml")).unwrap();
    assert!(junit.contains("2 shards of a replay"), "{junit}");
    let wrong = merge(&["--fail-if", "nonsense > 1"]).await.unwrap_err();
    assert!(wrong.is::<WrongUsage>(), "{wrong}");
    // A part of a replay that gave up is no good replay, whatever was answered.
    let text = fs::read_to_string(first).unwrap().replacen('{', r#"{"aborted":"error_rate > 0.5: 0.7","#, 1);
    fs::write(first, text).unwrap();
    assert_eq!(merge(&["--fail-if", "failed > 0"]).await.unwrap().0, Verdict::Bad);
}
