//! The table as other engines read it: `docs/table.md` is a contract, and its examples work.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};

use podtap_tests::skip;
use prost_types::Timestamp;
use serde_json::Value;
use tap_proto::v1::{Body, Completeness, Exchange, Header, body::Content, completeness::State};
use tap_store::{Retention, Store};
use tempfile::tempdir;
use url::Url;

use crate::support::{Agent, Collector, exchange};

const BATCHES: u64 = 40;
const ROWS: u64 = 25;

/// The Python that `cargo xtask setup` makes; none on a machine where it did not.
fn python() -> Option<PathBuf> {
    let cache = env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
    let cache = cache.or_else(|| env::home_dir().map(|home| home.join(".cache")));
    let own = cache.map(|cache| cache.join("podtap/python/bin/python3"));
    let python = env::var_os("PODTAP_PYTHON").map(PathBuf::from).or(own);
    python.filter(|python| python.exists())
}

/// What a script prints.
fn run(python: &Path, script: &str, arguments: &[&str]) -> String {
    let output = Command::new(python).arg("-c").arg(script).args(arguments).output().unwrap();
    let (printed, errors) =
        (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{printed}\n{errors}");
    printed.into_owned()
}

/// On the day of the examples: 2026-01-02.
fn captured(number: u64) -> Exchange {
    let mut exchange = exchange(&format!("/cart/{number}"));
    exchange.time = Some(Timestamp { seconds: 1_767_323_045, nanos: number as i32 * 1_000_000 });
    exchange.namespace = ["shop", "billing"][number as usize % 2].to_owned();
    exchange.workload = "Deployment/cart".to_owned();
    exchange.flow = u64::MAX - number;
    exchange.duration = Some(prost_types::Duration { seconds: 0, nanos: 1_000_000 * number as i32 });
    exchange.wire_bytes = 100 + number;
    exchange.labels = [("app".to_owned(), "cart".to_owned())].into();
    let header = |name: &str, value: &str, raw_value: &[u8]| Header {
        name: name.to_owned(),
        value: value.to_owned(),
        raw_value: raw_value.to_vec(),
    };
    let request = exchange.request.as_mut().unwrap();
    request.headers =
        vec![header("User-Agent", "curl/8", b""), header("X-Name", "Zo\u{fffd}", &[b'Z', b'o', 0xeb])];
    let response = exchange.response.as_mut().unwrap();
    response.status = if number % 10 == 0 { 503 } else { 200 };
    response.body =
        Some(Body { size: 5, content: Some(Content::Text("hello".to_owned())), ..Body::default() });
    response.completeness = Some(Completeness { state: State::Truncated.into(), ..Completeness::default() });
    exchange
}

/// A fenced block of the page, by its language.
fn example<'a>(page: &'a str, language: &str) -> &'a str {
    let (_, block) = page.split_once(&format!("```{language}\n")).unwrap();
    block.split_once("```").unwrap().0
}

const CHECK: &str = r#"
import json, sys
import deltalake, polars as pl
table = deltalake.DeltaTable(sys.argv[1])
rows = pl.scan_delta(sys.argv[1])
one = rows.filter(pl.col("path") == "/cart/7").collect().to_dicts()[0]
print(json.dumps({
    "protocol": [table.protocol().min_reader_version, table.protocol().min_writer_version],
    "partitions": table.metadata().partition_columns,
    "files": len(table.file_uris()),
    "rows": rows.select(pl.len()).collect().item(),
    "ids": rows.select(pl.col("id").n_unique()).collect().item(),
    "errors": rows.filter(pl.col("status") >= 500).select(pl.len()).collect().item(),
    "bytes": rows.select(pl.col("wire_bytes").sum()).collect().item(),
    "sequences": rows.select(pl.col("sequence").unique().sort()).collect().to_series().to_list(),
    "ordered": rows.select((pl.col("time").dt.date() == pl.col("date")).all()).collect().item(),
    "types": {field.name: str(field.type) for field in table.schema().fields},
    "one": {
        "flow": str(one["flow"]), "epoch": str(one["epoch"]), "duration_ns": one["duration_ns"],
        "headers": [[h["name"], h["value"], h["raw_value"].hex() if h["raw_value"] else None]
                    for h in one["request_headers"]],
        "body": one["response_body_text"], "request_body_size": one["request_body_size"],
        "completeness": one["response_completeness"]["state"],
        "label": {e["key"]: e["value"] for e in one["labels"]}["app"] if isinstance(one["labels"], list) else one["labels"]["app"],
        "zone": str(one["time"].tzinfo),
    },
}))
"#;

#[tokio::test(flavor = "multi_thread")]
async fn polars_deltalake_and_duckdb_read_what_a_collector_wrote() {
    let Some(python) = python() else {
        return skip("no Python with readers of Delta tables: run cargo xtask setup");
    };
    let folder = tempdir().unwrap();
    let collector = Collector::start(folder.path()).await;
    let epoch = u64::MAX - 3;
    let mut agent = Agent::connect(collector.grpc, "node-1", epoch).await;
    for batch in 0..BATCHES {
        agent.send(batch + 1, (batch * ROWS..(batch + 1) * ROWS).map(captured).collect()).await;
        agent.until_acknowledged(batch + 1).await;
    }
    // A redelivery, which must not be there twice.
    let mut again = Agent::connect(collector.grpc, "node-1", epoch).await;
    again.send(BATCHES, ((BATCHES - 1) * ROWS..BATCHES * ROWS).map(captured).collect()).await;
    again.until_acknowledged(BATCHES).await;
    let table = folder.path().join("exchanges");
    let table = table.to_str().unwrap();
    check(&python, table, epoch);

    // The same after the files were merged.
    let store = Store::open(&Url::from_directory_path(folder.path()).unwrap()).await.unwrap();
    let later = std::time::SystemTime::now() + std::time::Duration::from_secs(3 * 24 * 60 * 60);
    for _ in 0..10 {
        store.maintain(&Retention::default(), later).await.unwrap();
    }
    assert!(check(&python, table, epoch) <= 2);
    collector.stop().await;

    let page = fs::read_to_string("../docs/table.md").unwrap();
    let polars = example(&page, "python");
    let here = polars.replace("/var/lib/podtap/exchanges", table);
    assert!(here.contains(table), "{polars}");
    let printed = run(&python, &here, &[]);
    assert!(printed.contains("Deployment/cart") && printed.contains("100"), "{printed}");

    // DuckDB's own reader of Delta tables comes from the network: the table is handed over by deltalake.
    let sql = example(&page, "sql").replace("delta_scan('s3://captures/prod/exchanges')", "exchanges");
    assert!(sql.contains("FROM exchanges"), "{sql}");
    let duckdb = "import sys, deltalake, duckdb\n\
                  exchanges = deltalake.DeltaTable(sys.argv[1]).to_pyarrow_dataset()\n\
                  print(duckdb.sql(sys.argv[2]).fetchall())";
    let printed = run(&python, duckdb, &[table, &sql]);
    assert_eq!(printed.matches("curl/8").count(), 20, "{printed}");
}

/// Everything that the contract says of the rows. How many files they are in.
fn check(python: &Path, table: &str, epoch: u64) -> u64 {
    let rows = BATCHES * ROWS;
    let seen: Value = serde_json::from_str(&run(python, CHECK, &[table])).unwrap();
    assert_eq!(seen["protocol"], serde_json::json!([1, 2]));
    assert_eq!(seen["partitions"], serde_json::json!(["date"]));
    assert_eq!((&seen["rows"], &seen["ids"]), (&rows.into(), &rows.into()), "{seen}");
    assert_eq!(seen["errors"], rows / 10);
    assert_eq!(seen["bytes"], (0..rows).map(|number| 100 + number).sum::<u64>());
    assert_eq!(seen["sequences"], Value::from((1..=BATCHES).collect::<Vec<_>>()));
    assert_eq!(seen["ordered"], true);
    let of = &seen["one"];
    assert_eq!(of["flow"], (u64::MAX - 7).to_string());
    assert_eq!(of["epoch"], epoch.to_string());
    assert_eq!(of["duration_ns"], 7_000_000);
    assert_eq!(
        of["headers"],
        serde_json::json!([["User-Agent", "curl/8", null], ["X-Name", "Zo\u{fffd}", "5a6feb"]])
    );
    assert_eq!((&of["body"], &of["completeness"]), (&"hello".into(), &"truncated".into()));
    assert_eq!((&of["request_body_size"], &of["label"]), (&Value::Null, &"cart".into()));
    assert_eq!(of["zone"], "UTC");
    let types = seen["types"].as_object().unwrap();
    let page = fs::read_to_string("../docs/table.md").unwrap();
    for (name, found) in types {
        assert!(page.contains(&format!("| `{name}` |")), "{name} is not in docs/table.md");
        assert!(!found.as_str().unwrap().is_empty());
    }
    seen["files"].as_u64().unwrap()
}
