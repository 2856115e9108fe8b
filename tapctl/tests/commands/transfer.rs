//! `tapctl export` and `tapctl import` against a collector in this process.

use std::path::{Path, PathBuf};

use tap_formats::jsonl::Captures;
use tap_proto::v1::{Body, Exchange, Header, Role, body::Content};
use tapctl::Verdict;

use crate::{
    collector::{Collector, Served, exchange},
    json, tapctl, ten,
};

const KEY: &str = "00112233445566778899aabbccddeeff";

/// A directory with a key, and files by their names.
struct Files(tempfile::TempDir);

impl Files {
    fn new() -> Self {
        let files = Self(tempfile::tempdir().unwrap());
        std::fs::write(files.path("key"), KEY).unwrap();
        files
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn text(&self, name: &str) -> String {
        self.path(name).to_str().unwrap().to_owned()
    }
}

async fn import(
    collector: &Collector,
    files: &Files,
    name: &str,
    arguments: &[&str],
) -> anyhow::Result<serde_json::Value> {
    let (file, key) = (files.text(name), files.text("key"));
    let arguments = [&["import", &file, "--key-file", &key, "-o", "json"], arguments].concat();
    tapctl(collector, &arguments).await.map(|(_, out)| json(&out))
}

fn stored(collector: &Collector) -> Vec<Exchange> {
    collector.served(|served| served.ingested.iter().flat_map(|(_, batch)| batch.exchanges.clone()).collect())
}

/// Ten exchanges that hold a secret in each place that redaction knows.
async fn with_secrets() -> Collector {
    let mut served = Served::of(10);
    for exchange in &mut served.exchanges {
        let request = exchange.request.as_mut().unwrap();
        request.method = "POST".into();
        request.scheme = "https".into();
        request.query = "token=s3cr3tvalue".into();
        let content = "{\"email\": \"ada@example.org\"}";
        request.headers =
            [("Host", "shop"), ("Authorization", "Bearer s3cr3tvalue"), ("Content-Type", "application/json")]
                .map(|(name, value)| Header { name: name.into(), value: value.into(), ..Header::default() })
                .to_vec();
        request.body = Some(Body {
            content: Some(Content::Text(content.into())),
            size: content.len() as u64,
            ..Body::default()
        });
        exchange.namespace = "prod".into();
    }
    Collector::start(served).await
}

#[tokio::test]
async fn every_format_is_written_and_what_it_cannot_hold_is_told_by_the_exit_status() {
    let collector = ten().await;
    let files = Files::new();
    for (format, start) in [
        ("har", &b"{\"log\":{\"version\":\"1.2\""[..]),
        ("jsonl", b"{\"id\":"),
        ("gor", b"1 018bcfe5-"),
        ("curl", b"curl -sS "),
        ("pcapng", b"\x0a\x0d\x0d\x0a"),
        ("parquet", b"PAR1"),
    ] {
        let file = files.text(format);
        let arguments = ["export", "--format", format, "--write", &file, "--strict"];
        let (verdict, out) = tapctl(&collector, &arguments).await.unwrap();
        assert_eq!((verdict, out.as_str()), (Verdict::Good, ""), "{format}");
        let written = std::fs::read(&file).unwrap();
        assert!(written.starts_with(start), "{format}: {}", String::from_utf8_lossy(&written[..40]));
        let mode = std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(&file).unwrap().permissions());
        assert_eq!(mode & 0o777, 0o600, "{format}");
    }
    let search = collector.served(|served| served.searches[0].clone());
    assert!(!search.summary && search.end_time.is_some(), "{search:?}");

    let mut served = Served::of(2);
    served.exchanges[0].request = None;
    let collector = Collector::start(served).await;
    let (verdict, har) = tapctl(&collector, &["export", "--format", "har", "--strict"]).await.unwrap();
    assert_eq!(verdict, Verdict::Bad);
    assert_eq!(json(&har)["log"]["entries"].as_array().unwrap().len(), 1);
    let (verdict, _) = tapctl(&collector, &["export", "--format", "har"]).await.unwrap();
    assert_eq!(verdict, Verdict::Good);
}

#[tokio::test]
async fn an_export_takes_the_oldest_up_to_its_limit() {
    let collector = ten().await;
    let (_, lines) = tapctl(&collector, &["export", "--format", "jsonl", "--limit", "4"]).await.unwrap();
    assert_eq!(crate::paths(&lines), ["/0", "/1", "/2", "/3"]);
}

#[tokio::test]
async fn everything_imported_goes_through_redaction() {
    let source = with_secrets().await;
    for format in ["har", "jsonl", "gor", "pcapng"] {
        let files = Files::new();
        let name = format!("in.{format}");
        let file = files.text(&name);
        tapctl(&source, &["export", "--format", format, "--write", &file]).await.unwrap();
        let secret =
            |bytes: &[u8]| bytes.windows(11).any(|it| it == b"s3cr3tvalue" || it.starts_with(b"ada@exampl"));
        assert!(secret(&std::fs::read(&file).unwrap()), "{format}: the file has them");

        let collector = Collector::start(Served::default()).await;
        let report = import(&collector, &files, &name, &["--label", "from=test"]).await.unwrap();
        assert_eq!((&report["read"], &report["stored"]), (&10.into(), &10.into()), "{format}: {report}");
        let stored = stored(&collector);
        assert_eq!(stored.len(), 10, "{format}");
        for exchange in &stored {
            let line = tap_formats::jsonl::line(exchange).unwrap();
            assert!(!secret(line.as_bytes()), "{format}: {line}");
            let request = exchange.request.as_ref().unwrap();
            assert!(request.query.starts_with("token=tok_"), "{format}: {}", request.query);
            let rules: Vec<_> = exchange.redactions.iter().map(|it| it.rule.as_str()).collect();
            assert!(
                rules.contains(&"header.authorization") && rules.contains(&"field.email"),
                "{format}: {rules:?}"
            );
            assert_eq!(exchange.role(), Role::Inbound);
            assert_eq!(exchange.labels["from"], "test");
            assert_eq!(exchange.response.as_ref().unwrap().status, 200, "{format}");
        }
        // What the file says of them beside the traffic.
        if matches!(format, "har" | "jsonl") {
            assert_eq!(stored[3].id, exchange(3).id);
            assert_eq!((stored[3].namespace.as_str(), stored[3].time), ("prod", exchange(3).time));
            assert_eq!(stored[3].request.as_ref().unwrap().scheme, "https");
        } else {
            assert_eq!(stored[3].target, name);
        }
    }
}

#[tokio::test]
async fn flags_win_over_what_the_file_says() {
    let source = with_secrets().await;
    let files = Files::new();
    tapctl(&source, &["export", "--format", "har", "--write", &files.text("a.har")]).await.unwrap();
    let collector = Collector::start(Served::default()).await;
    let flags = ["-n", "staging", "--workload", "Deployment/x", "--target", "t", "--role", "outbound"];
    import(&collector, &files, "a.har", &flags).await.unwrap();
    for exchange in stored(&collector) {
        assert_eq!((exchange.namespace.as_str(), exchange.workload.as_str()), ("staging", "Deployment/x"));
        assert_eq!((exchange.target.as_str(), exchange.role()), ("t", Role::Outbound));
    }
}

#[tokio::test]
async fn importing_a_file_again_stores_nothing_twice() {
    let source = ten().await;
    let files = Files::new();
    tapctl(&source, &["export", "--format", "pcapng", "--write", &files.text("a.pcapng")]).await.unwrap();
    let collector = Collector::start(Served::default()).await;
    let first = import(&collector, &files, "a.pcapng", &[]).await.unwrap();
    assert_eq!((&first["stored"], &first["storedBefore"]), (&10.into(), &0.into()));
    let ledger = collector.served(|served| served.ledgers[0].clone());
    let second = import(&collector, &files, "a.pcapng", &[]).await.unwrap();
    assert_eq!((&second["stored"], &second["storedBefore"]), (&10.into(), &10.into()));
    assert_eq!(second["agent"], first["agent"]);
    assert_eq!(stored(&collector).len(), 10);
    // The account is the same, and balances.
    let again = collector.served(|served| served.ledgers[0].clone());
    assert_eq!(again.targets, ledger.targets);
    assert!(ledger.r#final && ledger.agent.starts_with("import/"), "{ledger:?}");
    let target = &ledger.targets[0];
    let (seen, stored) = (target.seen.unwrap(), target.stored.unwrap());
    let lost: u64 = target.losses.iter().map(|loss| loss.amount.unwrap().bytes).sum();
    assert_eq!(seen.bytes, stored.bytes + lost);
    assert_eq!((target.assembled.unwrap().exchanges, target.pending.unwrap().exchanges), (10, 0));
    let wire: u64 = self::stored(&collector).iter().map(|exchange| exchange.wire_bytes).sum();
    assert_eq!(stored.bytes, wire);
}

#[tokio::test]
async fn a_broken_import_goes_on_where_it_stopped() {
    let source =
        Collector::start(Served { exchanges: (0..1_700).map(exchange).collect(), ..Served::default() }).await;
    let files = Files::new();
    tapctl(&source, &["export", "--format", "gor", "--write", &files.text("a.gor")]).await.unwrap();
    let whole = Collector::start(Served::default()).await;
    import(&whole, &files, "a.gor", &[]).await.unwrap();
    let wanted = stored(&whole);
    assert_eq!(wanted.len(), 1_700);

    let mut served = Served { breaks_after: Some(1), ..Served::default() };
    let mut tries = 0;
    loop {
        let collector = Collector::start(std::mem::take(&mut served)).await;
        tries += 1;
        match import(&collector, &files, "a.gor", &[]).await {
            Ok(report) => {
                assert_eq!(report["stored"], 1_700);
                assert_eq!(stored(&collector), wanted);
                break;
            }
            Err(error) => assert!(error.to_string().contains("the same command goes on"), "{error:#}"),
        }
        let ingested = collector.served(|served| served.ingested.clone());
        assert_eq!(ingested.len(), tries, "one batch more each time");
        served = Served { ingested, breaks_after: Some(1), ..Served::default() };
    }
    assert!(tries >= 4, "{tries}");
}

#[tokio::test]
async fn what_is_no_exchange_is_lost_under_a_reason() {
    let files = Files::new();
    let har = serde_json::json!({"log": {"entries": [
        {"startedDateTime": "2026-11-21T09:00:00Z", "request": {"method": "GET", "url": "http://a/"}, "response": {"status": 200}},
        {"startedDateTime": "2026-11-21T09:00:00Z", "request": {"method": "GET", "url": "blob:http://a/1"}, "response": {"status": 200}},
        {"request": {"method": "GET", "url": "http://a/"}, "response": {"status": 200}},
    ]}});
    std::fs::write(files.path("a.har"), har.to_string()).unwrap();
    let collector = Collector::start(Served::default()).await;
    let report = import(&collector, &files, "a.har", &[]).await.unwrap();
    assert_eq!((&report["read"], &report["stored"]), (&3.into(), &1.into()));
    let losses = report["losses"].as_array().unwrap();
    let reasons =
        losses.iter().map(|loss| (loss["reason"].as_str().unwrap(), loss["exchanges"].as_u64().unwrap()));
    assert_eq!(reasons.collect::<Vec<_>>(), [("no_time", 1), ("not_http", 1)]);
    let target = collector.served(|served| served.ledgers[0].targets[0].clone());
    let lost: u64 = target.losses.iter().map(|loss| loss.amount.unwrap().exchanges).sum();
    assert_eq!((target.assembled.unwrap().exchanges, target.stored.unwrap().exchanges, lost), (3, 1, 2));
    let (file, key) = (files.text("a.har"), files.text("key"));
    let arguments = ["import", &file, "--key-file", &key, "--strict", "--dry-run"];
    let (verdict, told) = tapctl(&collector, &arguments).await.unwrap();
    assert_eq!(verdict, Verdict::Bad);
    assert!(told.contains("3 read, 1 would be stored; 1 lost: no_time; 1 lost: not_http"), "{told}");
}

#[tokio::test]
async fn what_podtap_wrote_can_be_taken_as_it_is() {
    let source = ten().await;
    let files = Files::new();
    tapctl(&source, &["export", "--format", "jsonl", "--write", &files.text("a.jsonl")]).await.unwrap();
    let collector = Collector::start(Served::default()).await;
    let file = files.text("a.jsonl");
    tapctl(&collector, &["import", &file, "--already-redacted"]).await.unwrap();
    let wanted: Vec<Exchange> = Captures::open(Path::new(&file)).unwrap().map(Result::unwrap).collect();
    assert_eq!(stored(&collector), wanted);
    std::fs::write(files.path("a.har"), "{}").unwrap();
    let error =
        tapctl(&collector, &["import", &files.text("a.har"), "--already-redacted"]).await.unwrap_err();
    assert!(error.is::<tapctl::WrongUsage>(), "{error}");
}

#[tokio::test]
async fn a_file_that_breaks_off_is_an_error_with_its_place_and_nothing_of_it() {
    let files = Files::new();
    std::fs::write(files.path("a.gor"), "1 a 5\nGET /s3cr3tvalue HTTP/1.1\r\n").unwrap();
    let collector = Collector::start(Served::default()).await;
    let error = format!("{:#}", import(&collector, &files, "a.gor", &[]).await.unwrap_err());
    assert!(error.contains("a.gor: record 1: ") && !error.contains("s3cr3t"), "{error}");
    let error = import(&collector, &files, "key", &[]).await.unwrap_err();
    assert!(error.is::<tapctl::WrongUsage>() && error.to_string().contains("--format"), "{error}");
}
