//! What is acknowledged is in the table once, whatever happens.

use std::{
    io::{BufRead, BufReader},
    process::{Command, Stdio},
    time::Duration,
};

use tap_store::{Store, StoreError};

use crate::sample::{agent, batch, exchange, ids, store, url};

/// Set in the child of [`killed_at_any_moment`] to the URL of the table.
const WRITER_URL: &str = "PODTAP_TEST_WRITER_URL";
const WRITER_BATCH: u64 = 5;

#[tokio::test]
async fn a_batch_is_stored_once_however_often_it_comes() {
    let folder = tempfile::tempdir().unwrap();
    let first = store(&folder).await;
    let one = agent("a", u64::MAX);
    assert_eq!(first.durable_sequence(&one).await.unwrap(), 0);
    first
        .append(vec![(one.clone(), batch("a", 1, 0..10)), (one.clone(), batch("a", 1, 0..10))])
        .await
        .unwrap();
    first.append(vec![(one.clone(), batch("a", 1, 0..10))]).await.unwrap();
    // Sequence 2 was dropped by the agent's spool.
    first
        .append(vec![(one.clone(), batch("a", 3, 20..30)), (one.clone(), batch("a", 1, 0..10))])
        .await
        .unwrap();
    assert_eq!(first.durable_sequence(&one).await.unwrap(), 3);
    // Late and covered by the mark: not in the table.
    first.append(vec![(one.clone(), batch("a", 2, 10..20))]).await.unwrap();
    // Another epoch of the same agent is another series.
    first.append(vec![(agent("a", 1), batch("a", 1, 30..40))]).await.unwrap();

    let reopened = store(&folder).await;
    reopened
        .append(vec![(one.clone(), batch("a", 3, 20..30)), (one.clone(), batch("a", 4, 40..50))])
        .await
        .unwrap();
    assert_eq!(reopened.durable_sequence(&one).await.unwrap(), 4);
    assert_eq!(first.durable_sequence(&one).await.unwrap(), 4);
    let numbers = (0..10).chain(20..50);
    assert_eq!(ids(&first).await, numbers.map(|number| exchange("a", number).id).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_batch_without_exchanges_moves_the_mark() {
    let folder = tempfile::tempdir().unwrap();
    let store = store(&folder).await;
    store.append(vec![(agent("a", 1), batch("a", 7, 0..0))]).await.unwrap();
    assert_eq!(store.durable_sequence(&agent("a", 1)).await.unwrap(), 7);
    let zero = store.append(vec![(agent("a", 1), batch("a", 0, 0..1))]).await;
    assert!(matches!(zero, Err(StoreError::InvalidBatch { .. })));
}

/// Several collectors, each with redeliveries of the same batches.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn racing_stores_store_every_batch_once() {
    let folder = tempfile::tempdir().unwrap();
    let mut stores = vec![store(&folder).await, store(&folder).await, store(&folder).await];
    stores.push(stores[0].clone());
    let writers = stores.into_iter().enumerate().map(|(index, store)| {
        tokio::spawn(async move {
            let own = format!("own-{index}");
            for sequence in 1..=15 {
                let (shared, first) = (batch("shared", sequence, 0..0), sequence * 3);
                let shared = tap_proto::v1::Batch {
                    exchanges: batch("shared", sequence, first..first + 3).exchanges,
                    ..shared
                };
                let mine = batch(&own, sequence, first..first + 3);
                store.append(vec![(agent("shared", 9), shared), (agent(&own, 9), mine)]).await.unwrap();
            }
        })
    });
    for writer in writers.collect::<Vec<_>>() {
        writer.await.unwrap();
    }
    let mut expected: Vec<_> = ["shared", "own-0", "own-1", "own-2", "own-3"]
        .iter()
        .flat_map(|name| (3..48).map(|number| exchange(name, number).id))
        .collect();
    expected.sort();
    let mut found = ids(&store(&folder).await).await;
    found.sort();
    assert_eq!(found, expected);
}

/// A writer process dies by SIGKILL again and again; each heir goes on from the mark in the table.
#[tokio::test]
async fn killed_at_any_moment() {
    if let Ok(url) = std::env::var(WRITER_URL) {
        return write_until_killed(&url).await;
    }
    let folder = tempfile::tempdir().unwrap();
    drop(store(&folder).await);
    let mut acknowledged = 0;
    for round in 0..12_u64 {
        let mut writer = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "exactly_once::killed_at_any_moment", "--nocapture"])
            .env(WRITER_URL, url(&folder).as_str())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let output = BufReader::new(writer.stdout.take().unwrap());
        let mut killer = Some(writer);
        let mut acks_of_round = 0;
        for line in output.lines() {
            let line = line.unwrap();
            let Some(sequence) = line.strip_prefix("acknowledged ") else { continue };
            acknowledged = acknowledged.max(sequence.parse::<u64>().unwrap());
            acks_of_round += 1;
            if acks_of_round > round % 5
                && let Some(mut writer) = killer.take()
            {
                std::thread::spawn(move || {
                    // Into different moments of the next append.
                    std::thread::sleep(Duration::from_micros(1700 * round));
                    writer.kill().unwrap();
                    writer.wait().unwrap();
                });
            }
        }
    }
    assert!(acknowledged > 12);
    let store = store(&folder).await;
    let durable = store.durable_sequence(&agent("a", 1)).await.unwrap();
    assert!(durable >= acknowledged, "{acknowledged} was acknowledged, {durable} is durable");
    let expected: Vec<_> =
        (WRITER_BATCH..(durable + 1) * WRITER_BATCH).map(|n| exchange("a", n).id).collect();
    assert_eq!(ids(&store).await, expected);
}

#[expect(clippy::print_stdout, reason = "tells the parent process what was acknowledged")]
async fn write_until_killed(url: &str) {
    let store = Store::open(&url.parse().unwrap()).await.unwrap();
    let mut sequence = store.durable_sequence(&agent("a", 1)).await.unwrap();
    for _ in 0..1000 {
        sequence += 1;
        let first = sequence * WRITER_BATCH;
        let batch = batch("a", sequence, first..first + WRITER_BATCH);
        store.append(vec![(agent("a", 1), batch)]).await.unwrap();
        println!("acknowledged {sequence}");
    }
}
