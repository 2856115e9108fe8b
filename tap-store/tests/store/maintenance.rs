//! Retention, compaction and vacuum: what must go goes, and nothing else changes.

use std::{
    collections::BTreeMap,
    fs,
    path::PathBuf,
    time::{Duration, SystemTime},
};

use futures::StreamExt;
use tap_expr::Condition;
use tap_proto::v1::{Amount, Exchange, Ledger, Order, TargetLedger};
use tap_store::{Maintained, Query, Retention, Store, StoreError};
use tempfile::TempDir;

use crate::sample::{after_start, agent, batch, exchange, ids, query, search_all, store, url};

const HOUR: Duration = Duration::from_secs(60 * 60);
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// Steps until nothing is due.
async fn maintain(store: &Store, retention: &Retention, now: SystemTime) -> Vec<Maintained> {
    let mut steps = Vec::new();
    loop {
        match store.maintain(retention, now).await.unwrap() {
            Maintained::Nothing => return steps,
            step => steps.push(step),
        }
        assert!(steps.len() < 100, "{steps:?}");
    }
}

/// As many commits, of `rows` exchanges each.
async fn commits(store: &Store, count: u64, rows: u64) {
    for number in 0..count {
        let batch = batch("a", number + 1, number * rows..(number + 1) * rows);
        store.append(vec![(agent("a", 7), batch)]).await.unwrap();
    }
}

fn data_files(folder: &TempDir) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for partition in fs::read_dir(folder.path().join("exchanges")).unwrap() {
        let partition = partition.unwrap();
        if partition.file_name().to_str().unwrap().starts_with("date=") {
            files.extend(fs::read_dir(partition.path()).unwrap().map(|file| file.unwrap().path()));
        }
    }
    files
}

fn removed(steps: &[Maintained]) -> (u64, u64) {
    steps.iter().fold((0, 0), |(age, bytes), step| match step {
        Maintained::Expired { by_age, by_bytes } => (age + by_age.exchanges, bytes + by_bytes.exchanges),
        _ => (age, bytes),
    })
}

/// Of the agent `a`: what is in the table, and what expired.
async fn account(store: &Store) -> (Amount, Amount) {
    let ledgers = store.ledgers().await.unwrap();
    let of_a = ledgers.into_iter().find(|entry| entry.ledger.as_ref().unwrap().agent == "a");
    let of_a = of_a.unwrap_or_default();
    (of_a.in_table.unwrap_or_default(), of_a.expired.unwrap_or_default())
}

fn namespaces(ages: &[(&str, Duration)]) -> BTreeMap<String, Duration> {
    ages.iter().map(|(namespace, age)| ((*namespace).to_owned(), *age)).collect()
}

#[tokio::test]
async fn a_quiet_table_of_which_nothing_is_due_gets_no_commits() {
    let folder = tempfile::tempdir().unwrap();
    let store = store(&folder).await;
    commits(&store, 3, 10).await;
    let retention = Retention { max_age: Some(DAY), ..Retention::default() };
    let now = after_start(0) + HOUR;
    let steps = maintain(&store, &retention, now).await;
    assert_eq!(steps, [Maintained::Vacuumed { objects: 0, bytes: 0, ledgers: 0 }]);
    let commits = fs::read_dir(folder.path().join("exchanges/_delta_log")).unwrap().count();
    assert!(maintain(&store, &retention, now + HOUR / 2).await.is_empty());
    assert_eq!(fs::read_dir(folder.path().join("exchanges/_delta_log")).unwrap().count(), commits);
}

#[tokio::test]
async fn what_is_too_old_goes_and_the_ledger_knows() {
    let folder = tempfile::tempdir().unwrap();
    let first = store(&folder).await;
    // 40 ms apart, so that there is an old half.
    commits(&first, 10, 40).await;
    let ledger = Ledger { agent: "a".to_owned(), epoch: 7, ..Ledger::default() };
    first.put_ledger(&ledger).await.unwrap();
    let stored = account(&first).await.0;
    assert_eq!(stored.exchanges, 400);
    let mut tail = first.tail(Condition::parse("").unwrap(), None, false).await.unwrap();
    let retention = Retention { max_age: Some(HOUR), ..Retention::default() };
    // The first five files end before this, less an hour.
    let now = after_start(205) + HOUR;
    assert_eq!(removed(&maintain(&first, &retention, now).await), (200, 0));
    let expected: Vec<_> = (200..400).map(|number| exchange("a", number).id).collect();
    assert_eq!(ids(&first).await, expected);

    let other = store(&folder).await;
    assert_eq!(ids(&other).await, expected);
    let (in_table, expired) = account(&other).await;
    assert_eq!((in_table.exchanges, expired.exchanges), (200, 200));
    assert_eq!(in_table.bytes + expired.bytes, stored.bytes);
    // The rest, by another process.
    let later = now + HOUR;
    assert_eq!(removed(&maintain(&other, &retention, later).await), (200, 0));
    let (in_table, expired) = account(&first).await;
    assert_eq!((in_table, expired.exchanges, expired.bytes), (Amount::default(), 400, stored.bytes));
    // What was stored stays known: a redelivery is refused.
    first.append(vec![(agent("a", 7), batch("a", 10, 0..3))]).await.unwrap();
    assert!(ids(&first).await.is_empty());

    // A tail passes over all of it.
    first.append(vec![(agent("a", 7), batch("a", 11, 500..501))]).await.unwrap();
    loop {
        let page = tail.next().await.unwrap().unwrap();
        if let [exchange] = &page.exchanges[..] {
            assert_eq!(exchange.sequence, 11);
            break;
        }
        assert!(page.exchanges.is_empty());
    }
}

#[tokio::test]
async fn beyond_its_bytes_the_table_loses_its_oldest() {
    let folder = tempfile::tempdir().unwrap();
    let store = store(&folder).await;
    commits(&store, 10, 40).await;
    let bytes: u64 = data_files(&folder).iter().map(|file| fs::metadata(file).unwrap().len()).sum();
    let retention = Retention { max_bytes: Some(bytes / 2), ..Retention::default() };
    let (by_age, by_bytes) = removed(&maintain(&store, &retention, after_start(0)).await);
    assert_eq!(by_age, 0);
    assert!(by_bytes >= 160 && by_bytes <= 240, "{by_bytes}");
    let left: Vec<_> = (by_bytes..400).map(|number| exchange("a", number).id).collect();
    assert_eq!(ids(&store).await, left);
}

#[tokio::test]
async fn a_namespace_has_an_age_of_its_own() {
    let folder = tempfile::tempdir().unwrap();
    let store = store(&folder).await;
    // Every file has both namespaces: even numbers are of `shop`.
    commits(&store, 4, 10).await;
    let retention = Retention {
        max_age: Some(30 * DAY),
        namespaces: namespaces(&[("shop", DAY), ("other", HOUR)]),
        ..Retention::default()
    };
    let mut tail = store.tail(Condition::parse("").unwrap(), None, false).await.unwrap();
    assert_eq!(removed(&maintain(&store, &retention, after_start(0) + DAY / 2).await), (0, 0));
    assert_eq!(removed(&maintain(&store, &retention, after_start(0) + 2 * DAY).await), (20, 0));
    let left: Vec<_> = (0..40).filter(|n| n % 2 == 1).map(|number| exchange("a", number).id).collect();
    assert_eq!(ids(&store).await, left);
    let (in_table, expired) = account(&store).await;
    assert_eq!((in_table.exchanges, expired.exchanges), (20, 20));
    // Rows that only moved are not new ones.
    store.append(vec![(agent("a", 7), batch("a", 5, 41..42))]).await.unwrap();
    let mut tailed: Vec<Exchange> = Vec::new();
    while tailed.is_empty() {
        tailed.extend(tail.next().await.unwrap().unwrap().exchanges);
    }
    assert_eq!(tailed.len(), 1);
    assert_eq!(tailed[0].sequence, 5);

    // The longer age of a namespace holds against a shorter one for the rest.
    let retention =
        Retention { max_age: Some(DAY), namespaces: namespaces(&[("billing", 30 * DAY)]), ..retention };
    assert_eq!(removed(&maintain(&store, &retention, after_start(0) + 3 * DAY).await), (0, 0));
    assert_eq!(ids(&store).await.len(), 21);
}

#[tokio::test]
async fn compaction_changes_no_row_and_keeps_order_statistics_and_namespaces_apart() {
    let folder = tempfile::tempdir().unwrap();
    let store = store(&folder).await;
    commits(&store, 70, 5).await;
    let before = search_all(&store, "", Order::OldestFirst, 1000).await;
    let paging = Query { page_size: 5, ..query("", Order::OldestFirst) };
    let page_token = store.search(paging).await.unwrap().next_page_token;
    let retention = Retention {
        max_age: Some(40 * DAY),
        namespaces: namespaces(&[("shop", DAY)]),
        ..Retention::default()
    };
    let steps = maintain(&store, &retention, after_start(0) + HOUR).await;
    assert!(steps.contains(&Maintained::Compacted { files: 70, into: 2 }), "{steps:?}");
    assert_eq!(search_all(&store, "", Order::OldestFirst, 1000).await, before);
    let rest = store.search(Query { page_token, ..query("", Order::OldestFirst) }).await.unwrap();
    assert_eq!(rest.exchanges, before[5..]);

    // Whole files go by what the log says: nothing is rewritten.
    let steps = maintain(&store, &retention, after_start(0) + 2 * DAY).await;
    assert_eq!(removed(&steps), (175, 0));
    assert!(!steps.iter().any(|step| matches!(step, Maintained::Compacted { .. })), "{steps:?}");
    let left: Vec<_> = before.iter().filter(|exchange| exchange.namespace == "billing").cloned().collect();
    assert_eq!(search_all(&store, "", Order::OldestFirst, 1000).await, left);

    // No statistics of what was captured are in the log.
    let log = folder.path().join("exchanges/_delta_log");
    let compaction = fs::read_dir(log)
        .unwrap()
        .filter_map(|entry| fs::read_to_string(entry.unwrap().path()).ok())
        .find(|commit| commit.contains("OPTIMIZE"))
        .unwrap();
    assert!(compaction.contains("minValues") && !compaction.contains("response_"), "{compaction}");
}

/// As a later version would add it.
fn add_a_column(folder: &TempDir) {
    let log = folder.path().join("exchanges/_delta_log");
    let created = fs::read_to_string(log.join("00000000000000000000.json")).unwrap();
    let metadata = created.lines().find(|action| action.contains("\"metaData\"")).unwrap();
    let mut metadata: serde_json::Value = serde_json::from_str(metadata).unwrap();
    let text = &mut metadata["metaData"]["schemaString"];
    let mut schema: serde_json::Value = serde_json::from_str(text.as_str().unwrap()).unwrap();
    let column = r#"{"name": "of_later", "type": "string", "nullable": true, "metadata": {}}"#;
    schema["fields"].as_array_mut().unwrap().push(serde_json::from_str(column).unwrap());
    *text = schema.to_string().into();
    let next = fs::read_dir(&log).unwrap().filter(|file| {
        file.as_ref().unwrap().path().extension().is_some_and(|extension| extension == "json")
    });
    fs::write(log.join(format!("{:020}.json", next.count())), metadata.to_string()).unwrap();
}

#[tokio::test]
async fn a_table_with_columns_of_a_later_version_is_not_rewritten() {
    let folder = tempfile::tempdir().unwrap();
    let store = store(&folder).await;
    commits(&store, 40, 4).await;
    add_a_column(&folder);
    // Namespaces are mixed in every file, so that only a rewrite could remove one of them.
    let retention = Retention { namespaces: namespaces(&[("shop", DAY)]), ..Retention::default() };
    let steps = maintain(&store, &retention, after_start(0) + 30 * DAY).await;
    assert!(matches!(steps[..], [Maintained::Vacuumed { .. }]), "{steps:?}");
    assert_eq!(ids(&store).await.len(), 160);
    // What needs no rewrite is done.
    let retention = Retention { max_age: Some(DAY), ..Retention::default() };
    let steps = maintain(&store, &retention, after_start(0) + 30 * DAY).await;
    assert_eq!(removed(&steps), (160, 0));
}

/// Of a log however long, opening the table needs the newest checkpoint and what came after.
#[tokio::test]
async fn opening_reads_no_commit_before_the_newest_checkpoint() {
    let folder = tempfile::tempdir().unwrap();
    let first = store(&folder).await;
    commits(&first, 230, 1).await;
    let log = folder.path().join("exchanges/_delta_log");
    // Its writer makes it beside its appends.
    let newest = log.join("00000000000000000200.checkpoint.parquet");
    let pointer = log.join("_last_checkpoint");
    while !newest.exists() || !fs::read_to_string(&pointer).is_ok_and(|text| text.contains("200")) {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let before = ids(&first).await;
    for version in 0..=200 {
        fs::remove_file(log.join(format!("{version:020}.json"))).unwrap();
    }
    fs::remove_file(log.join("00000000000000000100.checkpoint.parquet")).unwrap();
    let reopened = store(&folder).await;
    assert_eq!(ids(&reopened).await, before);
    assert_eq!(reopened.durable_sequence(&agent("a", 7)).await.unwrap(), 230);
}

/// The writer whose commit makes a checkpoint due may die before it is made.
#[tokio::test]
async fn a_checkpoint_that_nobody_made_is_made_up_for() {
    let folder = tempfile::tempdir().unwrap();
    let store = store(&folder).await;
    commits(&store, 1, 1).await;
    let log = folder.path().join("exchanges/_delta_log");
    // Commits of another writer, which makes none.
    for version in 2..=205 {
        let mark = format!(r#"{{"txn":{{"appId":"podtap/b/1","version":{version}}}}}"#);
        fs::write(log.join(format!("{version:020}.json")), mark).unwrap();
    }
    let steps = maintain(&store, &Retention::default(), after_start(0) + HOUR).await;
    assert_eq!(steps[0], Maintained::Checkpoint, "{steps:?}");
    let version: serde_json::Value =
        serde_json::from_str(&fs::read_to_string(log.join("_last_checkpoint")).unwrap()).unwrap();
    assert_eq!(version["version"], 206);
}

#[tokio::test]
async fn a_vacuum_deletes_what_nobody_needs_and_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    let store = store(&folder).await;
    commits(&store, 40, 5).await;
    let orphan = folder.path().join("exchanges/date=2026-01-02/part-of-a-crash.parquet");
    fs::write(&orphan, "half a file").unwrap();
    fs::write(folder.path().join("exchanges/not-ours.txt"), "").unwrap();
    let paging = Query { page_size: 5, ..query("", Order::OldestFirst) };
    let page_token = store.search(paging).await.unwrap().next_page_token;
    let retention = Retention::default();
    let now = SystemTime::now();
    let steps = maintain(&store, &retention, now).await;
    assert!(steps.contains(&Maintained::Compacted { files: 40, into: 1 }), "{steps:?}");
    // Everything is too young to be deleted.
    assert!(steps.contains(&Maintained::Vacuumed { objects: 0, bytes: 0, ledgers: 0 }), "{steps:?}");
    assert_eq!(data_files(&folder).len(), 42);
    let before = ids(&store).await;

    let steps = maintain(&store, &retention, now + DAY + HOUR).await;
    let [Maintained::Vacuumed { objects: 41, .. }] = steps[..] else { panic!("{steps:?}") };
    assert_eq!(data_files(&folder).len(), 1);
    assert!(folder.path().join("exchanges/not-ours.txt").exists());
    assert_eq!(ids(&store).await, before);
    let expired = store.search(Query { page_token, ..query("", Order::OldestFirst) }).await;
    let refused = matches!(&expired, Err(StoreError::InvalidToken(reason)) if reason.contains("expired"));
    assert!(refused, "{expired:?}");
}

#[tokio::test]
async fn ledgers_go_with_the_last_exchanges_of_their_time() {
    let folder = tempfile::tempdir().unwrap();
    let store = store(&folder).await;
    commits(&store, 2, 10).await;
    let ledger = Ledger {
        agent: "a".to_owned(),
        epoch: 7,
        targets: vec![TargetLedger::default()],
        ..Ledger::default()
    };
    store.put_ledger(&ledger).await.unwrap();
    let path = folder.path().join("ledger/a/7.binpb");
    let keeps = Retention::default();
    let later = SystemTime::now() + 30 * DAY;
    maintain(&store, &keeps, later).await;
    assert!(path.exists(), "the table still holds what it accounts for");
    let (in_table, _) = account(&store).await;

    let loses = Retention { max_age: Some(HOUR), ..Retention::default() };
    maintain(&store, &loses, later + HOUR).await;
    assert_eq!(account(&store).await.1, in_table);
    maintain(&store, &loses, later + 3 * HOUR).await;
    assert!(!path.exists());
    assert_eq!(account(&store).await, (Amount::default(), Amount::default()));
    // The totals of the epoch live on among those of earlier ones.
    let totals: Vec<_> = fs::read_dir(folder.path().join("expired")).unwrap().collect();
    let [Ok(totals)] = &totals[..] else { panic!("{totals:?}") };
    let totals = fs::read_to_string(totals.path()).unwrap();
    assert!(totals.contains("\"earlier\":{\"exchanges\":20,"), "{totals}");
}

/// Several collectors of one table, as they run: appends go on while each tries to maintain.
#[tokio::test(flavor = "multi_thread")]
async fn collectors_take_turns_and_lose_nothing() {
    const WRITERS: u64 = 3;
    let folder = tempfile::tempdir().unwrap();
    let retention = Retention::default();
    let mut writers = Vec::new();
    for writer in 0..WRITERS {
        let (store, retention) = (store(&folder).await, retention.clone());
        writers.push(tokio::spawn(async move {
            let name = format!("agent-{writer}");
            let mut steps = Vec::new();
            for number in 0..40 {
                let batch = batch(&name, number + 1, number * 2..number * 2 + 2);
                store.append(vec![(agent(&name, 1), batch)]).await.unwrap();
                if number % 5 == 4 {
                    steps.push(store.maintain(&retention, SystemTime::now()).await.unwrap());
                }
            }
            steps
        }));
    }
    let mut steps = Vec::new();
    for writer in writers {
        steps.push(writer.await.unwrap());
    }
    let works = |step: &Maintained| !matches!(step, Maintained::Nothing | Maintained::Elsewhere);
    let workers = steps.iter().filter(|steps| steps.iter().any(works)).count();
    assert_eq!(workers, 1, "{steps:?}");
    assert!(steps.iter().flatten().any(|step| matches!(step, Maintained::Compacted { .. })), "{steps:?}");

    let reader = Store::open_read_only(&url(&folder)).await.unwrap();
    let found = search_all(&reader, "", Order::OldestFirst, 1000).await;
    let mut expected: Vec<_> = (0..WRITERS)
        .flat_map(|writer| (0..80).map(move |number| exchange(&format!("agent-{writer}"), number).id))
        .collect();
    let mut found: Vec<_> = found.into_iter().map(|exchange| exchange.id).collect();
    expected.sort_unstable();
    found.sort_unstable();
    assert_eq!(found, expected);
    let refused = reader.maintain(&retention, SystemTime::now()).await;
    assert!(matches!(refused, Err(StoreError::ReadOnly { .. })));
}
