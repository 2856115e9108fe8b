//! Does a long history slow the opening of a table? See README.md here.
//!
//! The history is made up: commits as appends write them, each with a file's entry, its statistics and a mark, put
//! straight into the log. No data file is there, as none is read.

#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "a benchmark prints, and panics")]

use std::{
    fmt::Write as _,
    fs,
    path::Path,
    time::{Duration, Instant, SystemTime},
};

use tap_store::{Maintained, Retention, Store};
use url::Url;

const COMMITS: u64 = 100_000;
const REPEATS: usize = 7;

fn main() {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    // `cargo test` runs it too, and is to see that it works.
    let commits = if std::env::args().any(|argument| argument == "--bench") { COMMITS } else { 300 };
    runtime.block_on(measure(commits));
}

async fn measure(commits: u64) {
    // What compaction leaves: about one file for every eight hundred commits.
    history(commits, commits - commits / 800, "whose files were merged").await;
    history(commits, 0, "of which no file was merged").await;
}

/// A table of so many commits, of whose files those of the first `merged` are gone.
async fn history(commits: u64, merged: u64, what: &str) {
    let folder = tempfile::tempdir().unwrap();
    let url = Url::from_directory_path(folder.path()).unwrap();
    open(&url).await;
    println!("a new table: opened in {:?}", open(&url).await);
    let log = folder.path().join("exchanges/_delta_log");
    for version in 1..=commits {
        put(&log, version, version > merged);
    }
    report(&url, commits, what).await;
}

async fn report(url: &Url, commits: u64, what: &str) {
    let store = Store::open(url).await.unwrap();
    let began = Instant::now();
    let now = SystemTime::now() + Duration::from_secs(60);
    assert_eq!(store.maintain(&Retention::default(), now).await.unwrap(), Maintained::Checkpoint);
    println!("{commits} commits {what}: a checkpoint took {:?}", began.elapsed());
    let mut opened = Vec::new();
    for _ in 0..REPEATS {
        opened.push(open(url).await);
    }
    opened.sort_unstable();
    println!(
        "{commits} commits {what}: {} files, opened in {:?} ({:?} to {:?})",
        store.size().files,
        opened[REPEATS / 2],
        opened[0],
        opened[REPEATS - 1]
    );
}

async fn open(url: &Url) -> Duration {
    let began = Instant::now();
    Store::open(url).await.unwrap();
    began.elapsed()
}

/// The commit of a second: an entry of a file where it is still in the table, and a mark.
fn put(log: &Path, version: u64, has_file: bool) {
    let second = 1_767_323_045 + version;
    let (hour, minute, second) = (second / 3600 % 24, second / 60 % 60, second % 60);
    let time = format!("2026-01-02T{hour:02}:{minute:02}:{second:02}");
    let mut commit = format!(r#"{{"commitInfo":{{"timestamp":{version},"operation":"WRITE"}}}}"#);
    if has_file {
        let id = uuid::Uuid::from_u128(u128::from(version) << 64);
        let bounds = |end: &str, status: u32| {
            format!(
                r#"{{\"id\":\"{id}\",\"namespace\":\"shop\",\"status\":{status},\"time\":\"{time}.{end}Z\",\"workload\":\"Deployment/cart\"}}"#
            )
        };
        let (least, greatest) = (bounds("000000", 200), bounds("999999", 503));
        let nulls = r#"{\"id\":0,\"namespace\":0,\"status\":3,\"time\":0,\"workload\":0}"#;
        write!(
            commit,
            "\n{{\"add\":{{\"path\":\"date=2026-01-02/part-{id}.parquet\",\"partitionValues\":{{\"date\":\"2026-01-02\"}},\
             \"size\":20000,\"modificationTime\":{version},\"dataChange\":true,\"stats\":\"{{\\\"numRecords\\\":50,\
             \\\"minValues\\\":{least},\\\"maxValues\\\":{greatest},\\\"nullCount\\\":{nulls}}}\"}}}}"
        )
        .unwrap();
    }
    write!(commit, "\n{{\"txn\":{{\"appId\":\"podtap/node-1/7\",\"version\":{version}}}}}").unwrap();
    fs::write(log.join(format!("{version:020}.json")), commit).unwrap();
}
